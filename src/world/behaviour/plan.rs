//! Stages: the pieces of which plans are made.

use super::mover::{Aim, Mover};
use crate::world::arm::JOINTS;
use crate::world::ik::roll_for_yaw;
use crate::world::math::{V3, v3, wrap};
use crate::world::physics::World;
use crate::world::scene::Shape;
use crate::world::task::yaw;
use std::collections::VecDeque;

/// One piece of a plan.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// Move the tip in a straight line.
    Go {
        aim: Aim,
        /// Steps after which it gives up.
        patience: u32,
        /// Steps in a row in which the tip hardly moved.
        stuck: u32,
    },
    /// Move the tip along `dir` through an object until that has moved far enough.
    Push(Push),
    /// Push one end of an object around, always across the line to its middle.
    Spin(Spin),
    /// Stay at an aim for some steps while the gripper runs to its value.
    Grip { aim: Aim, steps: u32 },
    /// Keep still, gripper running to a value.
    Wait { steps: u32, gripper: f32 },
}

/// A push along a line.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub object: usize,
    pub dir: V3,
    pub height: f32,
    pub length: f32,
    pub speed: f32,
    pub roll: f32,
    pub gripper: f32,
    /// Steer against drifting off the line through the object's start.
    pub steer: bool,
    pub from: V3,
    pub travelled: f32,
    pub limit: f32,
    /// Steps in a row in which the tip hardly moved.
    pub stuck: u32,
}

/// The tip counts as blocked when it moves less than this in a step (metres), for [`STUCK`] steps in a row.
const CREEP: f32 = 0.0015;
const STUCK: u32 = 3;

/// A turn of an object.
#[derive(Clone, Debug)]
pub(super) struct Spin {
    pub object: usize,
    /// The end, and the unit direction across it, in the object's frame.
    pub end: V3,
    pub across: V3,
    /// Distance from the end's middle to the surface that is pushed.
    pub depth: f32,
    pub height: f32,
    /// Angle of the object about the vertical (radians) from which the turn counts, and how far to turn.
    pub from: f32,
    pub angle: f32,
    pub roll: f32,
    pub patience: u32,
}

impl Spin {
    fn step(&mut self, mover: &mut Mover, world: &World, state: &[f32; JOINTS], nudge: V3) -> Step {
        let Some(pose) = world.poses().get(self.object).copied() else { return Step::Over };
        if self.patience == 0 || wrap(yaw(&pose) - self.from).abs() > self.angle {
            return Step::Over;
        }
        self.patience -= 1;
        let m = pose.matrix();
        let d = m.apply(self.across).flat().unit();
        let end = pose.position + m.apply(self.end);
        if (mover.tip - end).flat().dot(d) > 0.01 {
            return Step::Over;
        }
        let tip = (end + d * (0.012 - self.depth)).at_height(self.height) + nudge;
        let aim = Aim { tip, roll: self.roll, gripper: mover.q[5], speed: 0.11, stop: false, pitch: None };
        Step::Act(mover.toward(&aim, state))
    }
}

/// What a stage wants.
pub(super) enum Step {
    Act([f32; JOINTS]),
    Over,
}

impl Stage {
    pub fn step(&mut self, mover: &mut Mover, world: &World, state: &[f32; JOINTS], nudge: V3) -> Step {
        match self {
            Stage::Go { aim, patience, stuck } => {
                let left = (aim.tip - mover.tip).len();
                let tolerance = if aim.stop { 0.003 } else { 0.010 };
                let turned = (aim.roll - mover.q[4]).abs() < 4.0 || !aim.stop;
                let gripped = (aim.gripper - mover.q[5]).abs() < 3.0 || !aim.stop;
                if (left < tolerance && turned && gripped) || *patience == 0 || *stuck > STUCK {
                    return Step::Over;
                }
                *patience -= 1;
                let before = mover.tip;
                let aim = Aim { tip: aim.tip + nudge, ..*aim };
                let action = mover.toward(&aim, state);
                let moving =
                    (mover.tip - before).len() > CREEP * mover.dt() * 10.0 || (left < tolerance * 2.0);
                *stuck = if moving { 0 } else { *stuck + 1 };
                Step::Act(action)
            }
            Stage::Spin(spin) => spin.step(mover, world, state, nudge),
            Stage::Push(push) => push.step(mover, world, state, nudge),
            Stage::Grip { aim, steps } => {
                if *steps == 0 {
                    return Step::Over;
                }
                *steps -= 1;
                Step::Act(mover.toward(aim, state))
            }
            Stage::Wait { steps, gripper } => {
                if *steps == 0 {
                    return Step::Over;
                }
                *steps -= 1;
                let aim = Aim {
                    tip: mover.tip,
                    roll: mover.q[4],
                    gripper: *gripper,
                    speed: 0.05,
                    stop: true,
                    pitch: None,
                };
                Step::Act(mover.toward(&aim, state))
            }
        }
    }
}

impl Push {
    fn step(&mut self, mover: &mut Mover, world: &World, state: &[f32; JOINTS], nudge: V3) -> Step {
        let Some(pose) = world.poses().get(self.object).copied() else { return Step::Over };
        let place = pose.position.flat();
        let moved = place - self.from;
        let along = moved.dot(self.dir);
        let passed = (mover.tip.flat() - place).dot(self.dir) > 0.012;
        if along >= self.length || self.travelled > self.limit || passed || self.stuck > STUCK {
            return Step::Over;
        }
        let side = v3(-self.dir.y, self.dir.x, 0.0);
        let mut shift = V3::ZERO;
        if self.steer {
            // Push from the side to which the object has drifted.
            let drift = moved.dot(side);
            let offset = (mover.tip.flat() - place).dot(side);
            shift = side * (drift * 0.8 - offset).clamp(-0.006, 0.006);
        }
        let ahead = (self.speed * mover.dt() * 2.0).max(0.01);
        let tip = (mover.tip + self.dir * ahead + shift * 2.0).at_height(self.height) + nudge;
        let aim =
            Aim { tip, roll: self.roll, gripper: self.gripper, speed: self.speed, stop: false, pitch: None };
        let before = mover.tip;
        let action = mover.toward(&aim, state);
        let gone = (mover.tip - before).dot(self.dir);
        self.travelled += gone.max(0.0);
        self.stuck = if gone > CREEP * mover.dt() * 10.0 { 0 } else { self.stuck + 1 };
        Step::Act(action)
    }
}

/// Height of the tip over the table when it travels above the objects.
pub(super) fn travel_height(world: &World) -> f32 {
    let tallest = world
        .spec()
        .objects
        .iter()
        .map(|o| match o.shape {
            Shape::Cylinder { radius, half_height } => (2.0 * half_height).max(2.0 * radius),
            Shape::Cube { half } => 2.0 * half,
            Shape::Tee { half_height, .. } => 2.0 * half_height,
        })
        .fold(0.0f32, f32::max);
    tallest + 0.018
}

/// Whether the fingers can go straight from `a` to `b` at table height without touching an object.
pub(super) fn clear(world: &World, a: V3, b: V3) -> bool {
    let (a, way) = (a.flat(), (b - a).flat());
    let l2 = way.dot(way).max(1e-9);
    world.spec().objects.iter().zip(world.poses()).all(|(o, p)| {
        let c = p.position.flat();
        let t = ((c - a).dot(way) / l2).clamp(0.0, 1.0);
        (a + way * t - c).len() > o.shape.footprint() + 0.021
    })
}

/// Stages that bring the tip to `to` without touching anything on the way.
pub(super) fn approach(
    world: &World,
    mover: &Mover,
    to: V3,
    roll: f32,
    gripper: f32,
    speed: f32,
) -> VecDeque<Stage> {
    let mut out = VecDeque::new();
    let go = |tip: V3, stop: bool| Stage::Go {
        aim: Aim { tip, roll, gripper, speed, stop, pitch: None },
        patience: 40,
        stuck: 0,
    };
    let high = travel_height(world);
    let from = mover.tip;
    if !clear(world, from, to) {
        if from.z < high - 0.012 {
            // Up, already moving the right way when nothing is near.
            out.push_back(go(from.at_height(high), false));
        }
        out.push_back(go(to.at_height(high.max(from.z.min(high + 0.02))), false));
    } else if (to - from).flat().len() > 0.03 && from.z > to.z + 0.03 {
        // Come down along the way rather than at its end only.
        out.push_back(go((from + (to - from) * 0.7).at_height(to.z + 0.012), false));
    }
    out.push_back(go(to, true));
    out
}

/// The roll that sets a flat side of the closed fingers against a push along `dir`, nearest to the present one.
pub(super) fn push_roll(tip: V3, dir: V3, now: f32) -> f32 {
    let yaw = libm::atan2f(dir.y, dir.x);
    let a = roll_for_yaw(tip, yaw);
    let b = if a > 0.0 { a - 90.0 } else { a + 90.0 };
    if (a - now).abs() < (b - now).abs() { a } else { b }
}

/// Room that slanted fingers need behind an object that they pull toward the base, metres.
pub(super) fn lean(behind: V3, dir: V3) -> f32 {
    let out = behind.flat().unit();
    let slant = (90.0 - crate::world::ik::easy_pitch(behind)).max(0.0) / 45.0;
    (-out.dot(dir)).max(0.0) * slant * 0.022
}
