//! Scripts that do the tasks.

use super::mover::{Aim, Mover};
use super::plan::{Push, Spin, Stage, approach, lean, push_roll, travel_height};
use crate::world::distribution::reachable;
use crate::world::ik::{easy_pitch, roll_for_yaw};
use crate::world::math::{DEG, M3, Pose, V3, v3};
use crate::world::physics::World;
use crate::world::rng::Rng;
use crate::world::scene::{ObjectSpec, Shape, tee_boxes};
use crate::world::task::{TaskName, yaw};
use std::collections::VecDeque;
use std::f32::consts::PI;

/// Speed of approach and of pushing, m/s.
const FAST: f32 = 0.15;
const STEADY: f32 = 0.12;

fn go(tip: V3, roll: f32, gripper: f32, speed: f32, stop: bool) -> Stage {
    Stage::Go { aim: Aim { tip, roll, gripper, speed, stop, pitch: None }, patience: 40, stuck: 0 }
}

/// A plan for the scene's task from the present state; `sloppy` 0..1 perturbs it. Empty when there is nothing to do.
pub(super) fn plan(world: &World, mover: &Mover, rng: &mut Rng, sloppy: f32) -> VecDeque<Stage> {
    let scene = world.spec();
    let task = &scene.task;
    let poses = world.poses();
    let (Some(spec), Some(pose)) = (scene.objects.get(task.object), poses.get(task.object)) else {
        return VecDeque::new();
    };
    match task.name {
        TaskName::Play => VecDeque::new(),
        TaskName::PushLeft | TaskName::PushRight | TaskName::PushAway | TaskName::PushToward => {
            let Some(d) = task.name.direction() else { return VecDeque::new() };
            let dir = d.on_table(world.camera());
            // What is still missing when an earlier try did not get far enough.
            let done = (pose.position - spec.pose.position).flat().dot(dir).max(0.0);
            let length = (rng.range(0.059, 0.078) - done).max(0.015);
            push(world, mover, rng, sloppy, spec, pose, dir, length)
        }
        TaskName::PushOnto => {
            let Some(goal) = &scene.goal else { return VecDeque::new() };
            let way = v3(goal.center[0], goal.center[1], 0.0) - pose.position.flat();
            push(world, mover, rng, sloppy, spec, pose, way.unit(), way.len() - 0.004)
        }
        TaskName::Turn => turn(world, mover, rng, sloppy, spec, pose),
        TaskName::Place => {
            let Some(bowl) = &scene.bowl else { return VecDeque::new() };
            let to = v3(bowl.center[0], bowl.center[1], 0.0);
            carry(world, mover, rng, sloppy, spec, pose, to, bowl.height + 0.004)
        }
        TaskName::Stack => {
            let other = task.other.and_then(|i| Some((scene.objects.get(i)?, poses.get(i)?)));
            let Some((under, base)) = other else { return VecDeque::new() };
            let top = base.position.z + under.shape.half_height();
            carry(world, mover, rng, sloppy, spec, pose, base.position.flat(), top)
        }
        TaskName::Knock => knock(world, mover, rng, sloppy, spec, pose),
    }
}

fn turned(dir: V3, angle: f32) -> V3 {
    M3::rot_z(angle).apply(dir)
}

fn push(
    world: &World,
    mover: &Mover,
    rng: &mut Rng,
    sloppy: f32,
    spec: &ObjectSpec,
    pose: &Pose,
    dir: V3,
    length: f32,
) -> VecDeque<Stage> {
    let place = pose.position.flat();
    let dir = turned(dir, rng.normal() * 0.45 * sloppy);
    let side = v3(-dir.y, dir.x, 0.0);
    let off = side * (rng.normal() * (0.002 + 0.012 * sloppy));
    let length = (length * (1.0 + 0.35 * sloppy * rng.normal())).max(0.01);
    let mut behind = place + off - dir * (spec.shape.footprint() + rng.range(0.016, 0.022));
    behind = behind - dir * lean(behind, dir);
    if !reachable(behind) {
        behind = place - dir * (spec.shape.footprint() + 0.013);
    }
    let height = rng.range(0.012, 0.019);
    let gripper = rng.range(0.0, 8.0);
    let roll = push_roll(behind, dir, mover.q[4]);
    let mut out = approach(world, mover, behind.at_height(height), roll, gripper, FAST);
    out.push_back(Stage::Push(Push {
        object: world.spec().task.object,
        dir,
        height,
        length,
        speed: rng.range(0.095, 0.135),
        roll,
        gripper,
        steer: sloppy == 0.0,
        from: place,
        travelled: 0.0,
        stuck: 0,
        limit: length + 0.07,
    }));
    // Let go: back a little and up.
    let end = place + dir * (length - spec.shape.footprint() - 0.035);
    out.push_back(go(end.at_height(height + 0.02), roll, gripper, STEADY, false));
    out.push_back(Stage::Wait { steps: 1, gripper });
    out
}

fn knock(
    world: &World,
    mover: &Mover,
    rng: &mut Rng,
    sloppy: f32,
    spec: &ObjectSpec,
    pose: &Pose,
) -> VecDeque<Stage> {
    if pose.matrix().z.z < 0.5 {
        // It has fallen; it only has to come to rest.
        return VecDeque::from([Stage::Wait { steps: 5, gripper: 4.0 }]);
    }
    let place = pose.position.flat();
    let high = spec.shape.half_height() * 2.0 * rng.range(0.78, 0.9);
    let mut dir = v3(0.0, 1.0, 0.0);
    for _ in 0..40 {
        let a = rng.range(-PI, PI);
        dir = v3(libm::cosf(a), libm::sinf(a), 0.0);
        if reachable(place - dir * 0.05) && reachable(place + dir * 0.07) {
            break;
        }
    }
    let side = v3(-dir.y, dir.x, 0.0);
    let off = side * (rng.normal() * 0.012 * sloppy);
    let roll = push_roll(place, dir, mover.q[4]);
    let start = (place + off - dir * (spec.shape.footprint() + 0.022)).at_height(high);
    let mut out = approach(world, mover, start, roll, 4.0, FAST);
    let far = (place + off + dir * rng.range(0.045, 0.06)).at_height(high * 0.9);
    out.push_back(go(far, roll, 4.0, 0.2, false));
    out.push_back(go(far.at_height(0.11), roll, 4.0, FAST, false));
    out.push_back(Stage::Wait { steps: 8, gripper: 4.0 });
    out
}

/// Pushes an end of the T across its own long axis.
fn turn(
    world: &World,
    mover: &Mover,
    rng: &mut Rng,
    sloppy: f32,
    spec: &ObjectSpec,
    pose: &Pose,
) -> VecDeque<Stage> {
    let Shape::Tee { half_width, half_height } = spec.shape else { return VecDeque::new() };
    let m = pose.matrix();
    let [(bar, bar_half), (stem, stem_half)] = tee_boxes(half_width, half_height);
    // Keep on turning the way it has begun to turn.
    let so_far = crate::world::math::wrap(yaw(pose) - yaw(&spec.pose));
    // Ends (in the object's frame), and the two ways across each.
    let ends = [
        (v3(bar_half.x - half_width, bar.y, 0.0), v3(0.0, 1.0, 0.0)),
        (v3(half_width - bar_half.x, bar.y, 0.0), v3(0.0, 1.0, 0.0)),
        (v3(0.0, stem.y - stem_half.y + half_width, 0.0), v3(1.0, 0.0, 0.0)),
    ];
    let mut options = Vec::new();
    for (end, across) in ends {
        for sign in [-1.0f32, 1.0] {
            let (p, d) = (m.apply(end), m.apply(across) * sign);
            let spin = p.x * d.y - p.y * d.x;
            let at = pose.position.flat() + p.flat();
            let start = at - d.flat() * (half_width + 0.032);
            let fits = so_far.abs() < 0.04 || (spin > 0.0) == (so_far > 0.0);
            if fits && reachable(start) && reachable(at + d.flat() * 0.05) {
                options.push((start, d.flat().unit(), end, across * sign));
            }
        }
    }
    // The expert picks the end whose push leads back to the middle of the table.
    let middle = (v3(0.205, 0.0, 0.0) - pose.position).flat();
    options.sort_by(|a: &(V3, V3, V3, V3), b| b.1.dot(middle).total_cmp(&a.1.dot(middle)));
    options.truncate(if sloppy > 0.0 { 3 } else { 1 });
    let Some(&(start, dir, end, across)) = rng.pick(&options) else {
        return push(
            world,
            mover,
            rng,
            sloppy,
            spec,
            pose,
            (v3(0.21, 0.0, 0.0) - pose.position).flat().unit(),
            0.04,
        );
    };
    let height = half_height * 1.1;
    let roll = push_roll(start, dir, mover.q[4]);
    let start = start + v3(-dir.y, dir.x, 0.0) * (rng.normal() * 0.012 * sloppy);
    let mut out = approach(world, mover, start.at_height(height), roll, 4.0, FAST);
    out.push_back(Stage::Spin(Spin {
        object: world.spec().task.object,
        end,
        across,
        depth: half_width,
        height,
        from: yaw(&spec.pose),
        angle: (50.0 + 25.0 * sloppy * rng.normal()) * DEG,
        roll,
        patience: 22,
    }));
    out.push_back(go((start - dir * 0.01).at_height(travel_height(world) + 0.01), roll, 4.0, FAST, false));
    out.push_back(Stage::Wait { steps: 2, gripper: 4.0 });
    out
}

/// Picks the object up and lets it go above `to`, its underside just over `surface`.
fn carry(
    world: &World,
    mover: &Mover,
    rng: &mut Rng,
    sloppy: f32,
    spec: &ObjectSpec,
    pose: &Pose,
    to: V3,
    surface: f32,
) -> VecDeque<Stage> {
    let place = pose.position + v3(rng.normal(), rng.normal(), 0.0) * (0.009 * sloppy);
    let half = spec.shape.half_height();
    let width = match spec.shape {
        Shape::Cube { half } => half,
        Shape::Cylinder { radius, .. } => radius,
        Shape::Tee { half_width, .. } => half_width,
    };
    // Jaws along a face of a cube; any way around a cylinder.
    let face = match spec.shape {
        Shape::Cylinder { .. } => libm::atan2f(place.y, place.x) + 90.0 * DEG,
        _ => yaw(pose),
    };
    let grip = |p: V3, face: f32| {
        let a = roll_for_yaw(p, face);
        let b = if a > 0.0 { a - 90.0 } else { a + 90.0 };
        if a.abs() < b.abs() { (a, face) } else { (b, face + 90.0 * DEG) }
    };
    let (roll, _) = grip(place, face);
    // The opening direction for that roll, hand pointing down.
    let open = |p: V3, roll: f32| {
        let a = libm::atan2f(p.y, p.x) + 90.0 * DEG - roll * DEG;
        v3(libm::cosf(a), libm::sinf(a), 0.0)
    };
    let (wide, shut) = (78.0, 8.0);
    let beside = |p: V3, roll: f32, gap: f32| (p - open(p, roll) * (width + gap)).flat();
    let low = (half * 0.9).max(0.012);
    let lift = (surface + 2.0 * half).max(0.06) + 0.02;
    let down = beside(place, roll, 0.006).at_height(low);
    let high = travel_height(world).max(2.0 * half + 0.03);
    // One pitch from grasp to release keeps the object level.
    let pitch = easy_pitch(place.at_height(0.02)).min(easy_pitch(to.at_height(0.02)));
    let mut out = VecDeque::new();
    let aim = |tip: V3, roll: f32, gripper: f32, speed: f32, stop: bool| Aim {
        tip,
        roll,
        gripper,
        speed,
        stop,
        pitch: Some(pitch),
    };
    let mut go = |aim: Aim| out.push_back(Stage::Go { aim, patience: 25, stuck: 0 });
    let to = to + v3(rng.normal(), rng.normal(), 0.0) * (0.012 * sloppy);
    // The carried object keeps its face to the jaws; so the hand may keep its roll against the base's turn.
    let over = beside(to, roll, 0.0).at_height(lift);
    let release = (surface + low + 0.003).min(lift);
    let grasp = aim(down, roll, wide, 0.12, true);
    let put = aim(over.at_height(release), roll, shut, 0.08, true);
    go(aim(mover.tip.at_height(mover.tip.z.max(high)), mover.q[4], wide, FAST, false));
    go(aim(down.at_height(high), roll, wide, FAST, true));
    go(grasp);
    out.push_back(Stage::Grip { aim: Aim { gripper: shut, ..grasp }, steps: 6 });
    let mut go = |aim: Aim| out.push_back(Stage::Go { aim, patience: 25, stuck: 0 });
    go(aim(down.at_height(lift), roll, shut, 0.10, false));
    go(aim(over, roll, shut, 0.12, true));
    go(put);
    out.push_back(Stage::Grip { aim: Aim { gripper: wide * 0.75, ..put }, steps: 5 });
    let up = aim(over.at_height(lift + 0.02), roll, wide * 0.75, 0.10, false);
    out.push_back(Stage::Go { aim: up, patience: 15, stuck: 0 });
    out.push_back(Stage::Grip { aim: up, steps: 3 });
    out
}
