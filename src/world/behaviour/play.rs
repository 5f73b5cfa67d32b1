//! Play: rich in contact, without a goal.

use super::mover::{Aim, Mover};
use super::plan::{Push, Stage, approach, lean, push_roll, travel_height};
use crate::world::distribution::{in_view, reachable};
use crate::world::math::{V3, v3};
use crate::world::physics::World;
use crate::world::rng::Rng;
use crate::world::scene::Shape;
use std::collections::VecDeque;
use std::f32::consts::PI;

/// Where pushes should end, so that things stay in the middle of the picture.
fn home(world: &World, p: V3) -> bool {
    let r = p.flat().len();
    (0.135..=0.28).contains(&r) && p.x > 0.09 && p.y.abs() < 0.125 && in_view(world.camera(), p, 0.12)
}

pub(super) fn plan(world: &World, mover: &Mover, rng: &mut Rng) -> VecDeque<Stage> {
    let dice = rng.unit();
    if dice < 0.07 || world.spec().objects.is_empty() {
        return free(world, mover, rng);
    }
    if dice < 0.12 {
        return VecDeque::from([
            Stage::Wait { steps: 3 + rng.below(3) as u32, gripper: rng.range(10.0, 70.0) },
            Stage::Wait { steps: 2 + rng.below(3) as u32, gripper: rng.range(0.0, 15.0) },
        ]);
    }
    push(world, mover, rng).unwrap_or_else(|| free(world, mover, rng))
}

/// A reach into free space.
fn free(world: &World, mover: &Mover, rng: &mut Rng) -> VecDeque<Stage> {
    let low = travel_height(world);
    let mut tip = mover.tip.at_height(0.09);
    for _ in 0..30 {
        let p = v3(rng.range(0.13, 0.29), rng.range(-0.13, 0.13), rng.range(low, 0.13));
        if reachable(p) && in_view(world.camera(), p, 0.08) {
            tip = p;
            break;
        }
    }
    let (roll, gripper) = (rng.range(-60.0, 60.0), rng.range(0.0, 40.0));
    let up = mover.tip.at_height(mover.tip.z.max(low));
    let go = |tip, stop| Stage::Go {
        aim: Aim { tip, roll, gripper, speed: 0.12, stop, pitch: None },
        patience: 15,
        stuck: 0,
    };
    VecDeque::from([go(up, false), go(tip, true)])
}

/// A push of a random object in a random direction that keeps it in the middle.
fn push(world: &World, mover: &Mover, rng: &mut Rng) -> Option<VecDeque<Stage>> {
    let poses = world.poses();
    let gripper = rng.range(0.0, 12.0);
    let speed = rng.range(0.06, 0.13);
    for _ in 0..60 {
        let object = rng.below(poses.len());
        let (Some(pose), Some(spec)) = (poses.get(object), world.spec().objects.get(object)) else {
            continue;
        };
        let place = pose.position.flat();
        if pose.position.z > 0.08 {
            continue;
        }
        let angle = rng.range(-PI, PI);
        let dir = v3(libm::cosf(angle), libm::sinf(angle), 0.0);
        let length = rng.range(0.04, 0.12);
        let spread = match spec.shape {
            Shape::Tee { half_width, .. } => half_width * 2.8,
            _ => spec.shape.footprint() * 0.55,
        };
        let offset = v3(-dir.y, dir.x, 0.0) * (spread * (rng.unit() + rng.unit() - 1.0));
        let behind = place + offset - dir * (spec.shape.footprint() + 0.018);
        let behind = behind - dir * lean(behind, dir);
        let end = place + dir * length;
        // From outside of the middle any push that leads back is good.
        let good = home(world, end)
            || (!home(world, place)
                && (end - v3(0.2, 0.0, 0.0)).len() < (place - v3(0.2, 0.0, 0.0)).len() - 0.02);
        let blocked = world.spec().objects.iter().zip(&poses).enumerate().any(|(i, (o, p))| {
            i != object && (p.position.flat() - behind).len() < o.shape.footprint() + 0.022
        });
        if !good || blocked || !reachable(behind) || !reachable(end) {
            continue;
        }
        let height = rng.range(0.011, 0.024).min(spec.shape.half_height() * 1.2);
        let start = behind.at_height(height);
        let roll = push_roll(start, dir, mover.q[4]);
        let mut out = approach(world, mover, start, roll, gripper, rng.range(0.10, 0.14));
        out.push_back(Stage::Push(Push {
            object,
            dir,
            height,
            length,
            speed,
            roll,
            gripper,
            steer: rng.chance(0.3),
            from: place,
            travelled: 0.0,
            stuck: 0,
            limit: length + 0.06,
        }));
        return Some(out);
    }
    None
}
