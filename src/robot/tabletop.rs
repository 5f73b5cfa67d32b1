//! The virtual world's arm as a robot: physics in real time behind the same safety layer as real motors.
//!
//! Physics follows the agent's clock: whenever the motors are read, it catches up with the time that has passed. A
//! virtual arm without torque stays where it is (its world has no falling arm), so releasing shows less here than on a
//! real one. The load is estimated from how far a joint lags behind its goal; the world's motors have no gauge.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Clock, Time};
use super::driver::{Driver, DriverError, Eye, Feedback, Identity, Reading, Standing};
use super::file::{CameraFile, RobotFile};
use super::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};
use crate::Frame;
use crate::world::{JOINTS, Look, SceneDistribution, World};

/// Steps of physics a second.
const HZ: f64 = 240.0;
/// After a longer gap the world does not catch up: it stood still meanwhile.
const LONGEST_GAP: Duration = Duration::from_millis(200);
/// A lag of this much is full load, units of the joint.
const FULL_LOAD_LAG: f64 = 12.0;

struct Sim {
    world: World,
    goal: [f32; JOINTS],
    on: bool,
    torque: Vec<f64>,
    now: Option<Time>,
    /// Physics steps owed, in parts.
    owed: f64,
    last: [f32; JOINTS],
    speed: [f64; JOINTS],
    /// Counts pictures, for the sensor's noise.
    shots: u64,
}

/// The virtual world's arm.
pub struct TabletopArm {
    names: Vec<String>,
    seed: u64,
    clock: Arc<dyn Clock>,
    sim: Arc<Mutex<Option<Sim>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic elsewhere leaves a world that can still be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TabletopArm {
    /// An arm for a robot file with the virtual arm's six joints; the scene comes from its `scene_seed`.
    ///
    /// # Errors
    /// Another number of joints.
    pub fn new(robot: &RobotFile, clock: Arc<dyn Clock>) -> Result<Self, DriverError> {
        let names: Vec<String> = robot.joints.iter().map(|j| j.name.clone()).collect();
        let wanted = crate::world::JOINT_NAMES.iter().map(|n| n.trim_end_matches(".pos"));
        if !names.iter().map(String::as_str).eq(wanted) {
            return Err(DriverError::Unsupported(
                "the virtual arm has the six joints of an SO-101; make its robot file with `forerun-agent new --tabletop`"
                    .into(),
            ));
        }
        Ok(Self { names, seed: robot.scene_seed.unwrap_or(1), clock, sim: Arc::default() })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Sim) -> T) -> Result<T, DriverError> {
        let now = self.clock.now();
        let mut sim = lock(&self.sim);
        let sim = sim.as_mut().ok_or(DriverError::Closed)?;
        sim.catch_up(now);
        Ok(f(sim))
    }

    /// Looks at the world, for tests and for recordings with labels; `None` while it is closed.
    pub fn look<T>(&self, f: impl FnOnce(&World) -> T) -> Option<T> {
        lock(&self.sim).as_ref().map(|sim| f(&sim.world))
    }
}

impl Sim {
    fn catch_up(&mut self, now: Time) {
        let passed = now.saturating_sub(self.now.unwrap_or(now)).min(LONGEST_GAP).as_secs_f64();
        self.now = Some(now);
        self.owed += passed * HZ;
        let steps = self.owed.floor();
        self.owed -= steps;
        if steps < 1.0 {
            return;
        }
        let goal = if self.on { self.goal } else { [f32::NAN; JOINTS] };
        self.world.advance(&goal, steps as u32);
        let state = self.world.state();
        for ((speed, new), old) in self.speed.iter_mut().zip(state).zip(self.last) {
            *speed = f64::from(new - old) / (steps / HZ);
        }
        self.last = state;
    }
}

impl Driver for TabletopArm {
    fn open(&mut self) -> Result<Identity, DriverError> {
        let mut sim = lock(&self.sim);
        // Opened again, the world is as it was: nothing jumps because a program connected.
        if sim.is_none() {
            let scenes = SceneDistribution { look: Look::Plain, ..SceneDistribution::default() };
            let world = World::new(&scenes.sample(self.seed, false))
                .map_err(|e| DriverError::Unsupported(e.to_string()))?;
            let state = world.state();
            *sim = Some(Sim {
                world,
                goal: state,
                on: false,
                torque: vec![0.0; JOINTS],
                now: None,
                owed: 0.0,
                last: state,
                speed: [0.0; JOINTS],
                shots: 0,
            });
        }
        let task = sim.as_ref().map(|s| s.world.spec().task.text.clone()).unwrap_or_default();
        let stiff = sim.as_ref().is_some_and(|s| s.on);
        Ok(Identity {
            description: format!("the virtual world's arm, scene {}: {task}", self.seed),
            calibration: None,
            stiff: vec![stiff; JOINTS],
        })
    }

    fn close(&mut self) {
        if let Some(sim) = lock(&self.sim).as_mut() {
            sim.now = None;
        }
    }

    fn read(&mut self) -> Result<Feedback, DriverError> {
        self.with(|sim| {
            let joints = (0..JOINTS).map(|j| {
                let at = |row: &[f32; JOINTS]| f64::from(row.get(j).copied().unwrap_or(0.0));
                let (position, goal) = (at(&sim.last), at(&sim.goal));
                let most = sim.torque.get(j).copied().unwrap_or(0.0);
                let load = if sim.on { ((goal - position) / FULL_LOAD_LAG).clamp(-most, most) } else { 0.0 };
                Reading {
                    position,
                    steps: (position * 100.0).round() as i32,
                    speed: sim.speed.get(j).copied().unwrap_or(0.0),
                    load,
                    volts: 12.0,
                    celsius: 30.0,
                    amps: load.abs(),
                    ..Reading::default()
                }
            });
            Feedback { joints: joints.collect(), retries: 0 }
        })
    }

    fn standing(&mut self) -> Result<Vec<Standing>, DriverError> {
        self.with(|sim| {
            let goals = sim.goal.iter().zip(&sim.torque);
            goals
                .map(|(goal, torque)| Standing {
                    torque: sim.on,
                    goal: f64::from(*goal),
                    torque_limit: *torque,
                })
                .collect()
        })
    }

    fn prepare(&mut self, _: &PrepareOrder) -> Result<(), DriverError> {
        Ok(())
    }

    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError> {
        self.with(|sim| {
            let slots = sim.goal.iter_mut().zip(sim.torque.iter_mut());
            for ((goal, torque), joint) in slots.zip(order.joints()) {
                *goal = joint.position() as f32;
                *torque = joint.torque();
            }
        })
    }

    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError> {
        self.with(|sim| sim.on = order.on())
    }

    fn eye(&self) -> Option<Eye> {
        let sim = Arc::clone(&self.sim);
        Some(Arc::new(move |camera: &CameraFile| {
            let (spec, state, poses, shot) = {
                let mut sim = lock(&sim);
                let sim = sim.as_mut()?;
                sim.shots += 1;
                (sim.world.spec().clone(), sim.world.state(), sim.world.poses(), sim.shots)
            };
            // Drawn without the lock: a slow picture must not hold up the motors.
            let mut frame = crate::world::render_state(
                &spec,
                &state,
                &poses,
                camera.width as usize,
                camera.height as usize,
            );
            grain(&mut frame, shot);
            Some(frame)
        }))
    }

    fn store_calibration(&mut self, _: &CalibrationOrder) -> Result<(), DriverError> {
        let joint = self.names.first().cloned().unwrap_or_default();
        Err(DriverError::Wrong {
            joint,
            why: "virtual motors keep no calibration; there is nothing to store".into(),
        })
    }
}

/// A sensor's noise, one grey level here and there: real pictures of a scene that stands are never identical, and the
/// watchdog for frozen cameras counts on that.
fn grain(frame: &mut Frame, shot: u64) {
    let mut x = shot.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in frame.data.iter_mut().step_by(5) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        *byte = byte.saturating_add((x & 1) as u8);
    }
}
