//! Who moves the arm: play, expert, noisy and idle drivers, each a function of (scene, seed) and what it sees.

mod mover;
mod plan;
mod play;
mod script;

use self::mover::{Drift, Mover};
use self::plan::{Stage, Step};
use super::arm::JOINTS;
use super::physics::World;
use super::rng::Rng;
use super::task::TaskName;
use super::{WorldError, math::V3};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Kinds of behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// Aims at random objects from random sides and pushes them around; now and then reaches into free space
    /// or moves the gripper.
    Play,
    /// Scripts that do the scene's task.
    Expert,
    /// The scripts with perturbed goals and drifting aim: failures too.
    Noisy,
    /// Holds still.
    Idle,
}

impl Behaviour {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Behaviour::Play => "play",
            Behaviour::Expert => "expert",
            Behaviour::Noisy => "noisy",
            Behaviour::Idle => "idle",
        }
    }
}

impl std::str::FromStr for Behaviour {
    type Err = WorldError;
    fn from_str(s: &str) -> Result<Self, WorldError> {
        [Behaviour::Play, Behaviour::Expert, Behaviour::Noisy, Behaviour::Idle]
            .into_iter()
            .find(|b| b.as_str() == s)
            .ok_or_else(|| WorldError::BadBehaviour(s.to_string()))
    }
}

/// Drives one episode.
#[derive(Debug)]
pub struct Driver {
    kind: Behaviour,
    mover: Mover,
    drift: Option<Drift>,
    stages: VecDeque<Stage>,
    rng: Rng,
    /// 0 for the expert; how far goals are perturbed otherwise.
    sloppy: f32,
    attempts: u32,
    done: bool,
    hold: [f32; JOINTS],
}

impl Driver {
    /// A driver for a world that has just been built.
    pub fn new(kind: Behaviour, world: &World, seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0xd2_1e_44 + kind as u64);
        let hold = world.spec().start_joints();
        let (sloppy, drift) = match kind {
            Behaviour::Noisy => {
                let s = rng.range(0.3, 1.0);
                (s, Some(Drift::new(0.011 * s, rng.next_u64())))
            }
            Behaviour::Play => (0.0, Some(Drift::new(0.002, rng.next_u64()))),
            _ => (0.0, None),
        };
        Self {
            kind,
            mover: Mover::new(hold, 1.0 / world.spec().fps as f32),
            drift,
            stages: VecDeque::new(),
            rng,
            sloppy,
            attempts: 0,
            done: kind == Behaviour::Idle,
            hold,
        }
    }

    /// Whether it has nothing more to do (play never ends).
    pub fn finished(&self) -> bool {
        self.done
    }

    /// The next action: absolute joint targets in degrees, gripper 0..100, within limits.
    pub fn act(&mut self, world: &World) -> [f32; JOINTS] {
        if self.kind == Behaviour::Idle {
            return self.hold;
        }
        let state = world.state();
        let nudge = self.drift.as_mut().map_or(V3::ZERO, Drift::next);
        // A plan may be over at once; a few tries are enough to find something to do.
        for _ in 0..4 {
            if self.stages.is_empty() {
                self.plan(world);
            }
            if self.done {
                break;
            }
            while let Some(stage) = self.stages.front_mut() {
                match stage.step(&mut self.mover, world, &state, nudge) {
                    Step::Act(action) => return action,
                    Step::Over => {
                        self.stages.pop_front();
                    }
                }
            }
        }
        self.mover.hold()
    }

    fn plan(&mut self, world: &World) {
        if self.kind == Behaviour::Play || world.spec().task.name == TaskName::Play {
            self.stages = play::plan(world, &self.mover, &mut self.rng);
            return;
        }
        let tries = if self.sloppy > 0.0 { 2 } else { 6 };
        if self.attempts > 0 && (world.judgement().success || self.attempts >= tries) {
            self.done = true;
            return;
        }
        self.attempts += 1;
        self.stages = script::plan(world, &self.mover, &mut self.rng, self.sloppy);
        if self.stages.is_empty() {
            self.done = true;
        }
    }
}
