//! Moves the fingertip along straight lines with smooth speed, in steps that the arm can follow.

use crate::world::arm::{self, JOINTS};
use crate::world::ik;
use crate::world::math::{V3, v3};
use crate::world::rng::Rng;

/// Largest change of an arm joint per second, degrees.
const JOINT_RATE: f32 = 95.0;
/// Roll and gripper may move faster: nothing hangs on them.
const ROLL_RATE: f32 = 110.0;
const GRIPPER_RATE: f32 = 160.0;
/// Tip acceleration, m/s2.
const ACCELERATION: f32 = 0.9;

/// Where to go and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    pub tip: V3,
    pub roll: f32,
    pub gripper: f32,
    /// Tip speed, m/s.
    pub speed: f32,
    /// Come to rest there (else run through).
    pub stop: bool,
    /// Pitch of the hand in degrees; `None` = what is comfortable there.
    pub pitch: Option<f32>,
}

/// The commanded posture.
#[derive(Clone, Debug)]
pub(super) struct Mover {
    pub q: [f32; JOINTS],
    pub tip: V3,
    speed: f32,
    dt: f32,
}

impl Mover {
    pub fn new(q: [f32; JOINTS], dt: f32) -> Self {
        Self { q, tip: arm::tip(&q), speed: 0.0, dt }
    }

    /// Seconds per action.
    pub fn dt(&self) -> f32 {
        self.dt
    }

    pub fn hold(&mut self) -> [f32; JOINTS] {
        self.speed = 0.0;
        self.q
    }

    /// One action toward the aim; `state` keeps the command near where the arm really is.
    pub fn toward(&mut self, aim: &Aim, state: &[f32; JOINTS]) -> [f32; JOINTS] {
        let way = aim.tip - self.tip;
        let left = way.len();
        // Accelerate, and brake in time.
        let brake = if aim.stop { (2.0 * ACCELERATION * left).sqrt().max(0.02) } else { aim.speed };
        self.speed = (self.speed + ACCELERATION * self.dt).min(aim.speed).min(brake);
        let step = (self.speed * self.dt).min(left);
        let tip = if left > 1e-6 { self.tip + way * (step / left) } else { self.tip };
        let near = |now: f32, want: f32, rate: f32| now + (want - now).clamp(-rate * self.dt, rate * self.dt);
        let goal = ik::Goal {
            tip: tip.at_height(tip.z.max(0.006)),
            pitch: aim.pitch.unwrap_or_else(|| ik::easy_pitch(tip)),
            roll: near(self.q[4], aim.roll, ROLL_RATE),
            gripper: near(self.q[5], aim.gripper, GRIPPER_RATE),
        };
        let mut q = ik::solve(&goal, &self.q);
        let most = JOINT_RATE * self.dt;
        let fastest = (0..4).map(|j| (q[j] - self.q[j]).abs()).fold(0.0f32, f32::max);
        if fastest > most {
            for (q, now) in q.iter_mut().zip(&self.q).take(4) {
                *q = now + (*q - now) * (most / fastest);
            }
        }
        // Against an obstacle the command does not run away from the arm.
        for (q, at) in q.iter_mut().zip(state).take(4) {
            *q = q.clamp(at - 1.5 * most, at + 1.5 * most);
        }
        self.q = arm::clamp_joints(&q, &self.q);
        self.tip = arm::tip(&self.q);
        self.q
    }
}

/// A smooth wandering offset of the aim (an Ornstein-Uhlenbeck walk, filtered once).
#[derive(Clone, Debug)]
pub(super) struct Drift {
    rng: Rng,
    size: f32,
    fast: V3,
    slow: V3,
}

impl Drift {
    pub fn new(size: f32, seed: u64) -> Self {
        Self { rng: Rng::new(seed, 0x0d_21), size, fast: V3::ZERO, slow: V3::ZERO }
    }

    pub fn next(&mut self) -> V3 {
        let kick = v3(self.rng.normal(), self.rng.normal(), 0.4 * self.rng.normal());
        self.fast = self.fast * 0.85 + kick * (self.size * 0.53);
        self.slow = self.slow * 0.7 + self.fast * 0.3;
        self.slow
    }
}
