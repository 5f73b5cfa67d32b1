//! What all states share: the driver, the limiter's motions, the watchdogs, the black box. Private to the safety layer.

use std::time::Duration;

use super::super::calibration::DEGREES_PER_STEP;
use super::super::clock::Time;
use super::super::driver::{Driver, DriverError, Feedback, Identity};
use super::super::file::RobotFile;
use super::super::numbers::{Limits, Mode, Unit};
use super::blackbox::{BlackBox, Tick};
use super::camera::CameraWatch;
use super::limiter::{self, Bounds, Motion};
use super::order::{GoalOrder, JointGoal, PrepareOrder, TorqueOrder};
use super::plan::{JointCheck, Latency};
use super::states::ArmError;
use super::trip::{Severity, Trip};
use super::watch::{Told, Watch};

/// The motor's own limits stand a little above ours: a second line that does not disturb the first.
const SPEED_CAP: f64 = 1.05;
const ACCELERATION_CAP: f64 = 1.5;
/// How hard a gripper keeps squeezing what stops it: this much beyond where it was stopped, degrees.
const SQUEEZE_DEG: f64 = 4.0;
/// How far a goal may run ahead of its joint once the joint has shown that it lacks torque, degrees: at least this ...
const LEAD_LEAST: f64 = 0.5;
/// ... and growing back at this rate while it has torque to spare, deg/s.
const LEAD_GROWS: f64 = 15.0;
/// Command registers are read back every so many ticks.
const LOOK_BACK_TICKS: u64 = 10;
/// A joint that stands this near its goal is left alone by a stop: pulling the goal to the position would let a loaded
/// arm sag a little more at every stop.
const SETTLED_DEG: f64 = 5.0;

pub(super) struct Core {
    pub robot: RobotFile,
    pub driver: Box<dyn Driver>,
    pub identity: Option<Identity>,
    pub checks: Vec<JointCheck>,
    /// Bounds of the robot file.
    soft: Vec<Bounds>,
    /// Bounds in force: as `soft`, but wide enough for a joint that was armed outside, until it comes inside.
    bounds: Vec<Bounds>,
    pub motions: Vec<Motion>,
    limits: Vec<Limits>,
    pub torque: Vec<f64>,
    torque_goal: Vec<f64>,
    relief: bool,
    grips: Vec<Option<(f64, f64)>>,
    /// Wishes of the last tick, for the watchdogs.
    wishes: Vec<f64>,
    /// How far each goal may run ahead of its joint at the moment, degrees.
    leads: Vec<f64>,
    pub home: Vec<f64>,
    pub dt: f64,
    pub watch: Watch,
    pub cameras: CameraWatch,
    pub last: Option<Feedback>,
    answered: bool,
    pub heartbeat: Time,
    pub dead_man: bool,
    pub latency: Latency,
    pub black_box: BlackBox,
    pub last_trip: Option<Trip>,
    /// Warnings since they were last taken.
    pub warnings: Vec<Trip>,
    pub ticks: u64,
    bus_ms: f32,
}

impl Core {
    pub fn new(robot: RobotFile, driver: Box<dyn Driver>) -> Self {
        let soft: Vec<Bounds> = robot
            .joints
            .iter()
            .map(|j| {
                let (low, high) = robot.bounds(j);
                Bounds { low, high }
            })
            .collect();
        let checks = robot.joints.iter().map(|j| JointCheck {
            name: j.name.clone(),
            unit: j.unit,
            degrees: j.degrees_per_unit(),
            data: None,
        });
        let n = robot.joints.len();
        Self {
            checks: checks.collect(),
            bounds: soft.clone(),
            soft,
            motions: vec![Motion::default(); n],
            limits: robot.joints.iter().map(|j| j.limits(Mode::Cautious)).collect(),
            torque: vec![0.0; n],
            torque_goal: vec![0.0; n],
            relief: false,
            grips: vec![None; n],
            wishes: vec![f64::NAN; n],
            leads: vec![f64::INFINITY; n],
            home: vec![0.0; n],
            dt: 1.0 / robot.rates.control_hz,
            watch: Watch::new(&robot),
            cameras: CameraWatch::new(&robot.cameras),
            last: None,
            answered: false,
            heartbeat: Time::ZERO,
            dead_man: false,
            latency: Latency::default(),
            black_box: BlackBox::default(),
            last_trip: None,
            warnings: Vec::new(),
            ticks: 0,
            bus_ms: 0.0,
            identity: None,
            driver,
            robot,
        }
    }

    pub fn positions(&self) -> Vec<f64> {
        self.last.as_ref().map_or_else(Vec::new, |f| f.joints.iter().map(|r| r.position).collect())
    }

    pub fn goals(&self) -> Vec<f64> {
        self.motions.iter().map(|m| m.position).collect()
    }

    pub fn stands(&self) -> bool {
        self.motions.iter().all(Motion::stands)
    }

    /// Reads the motors once and asks the watchdogs. `holds`: whether the arm is stiff by our own order.
    pub fn sense(&mut self, now: Time, holds: bool) -> Vec<Trip> {
        self.ticks += 1;
        let told: Vec<Told> = if holds {
            let joints = self.motions.iter().zip(&self.torque).zip(&self.wishes);
            joints.map(|((m, t), w)| Told { goal: m.position, wish: *w, torque: *t }).collect()
        } else {
            Vec::new()
        };
        let started = std::time::Instant::now();
        let read = self.driver.read();
        self.bus_ms = started.elapsed().as_secs_f32() * 1e3;
        self.answered = read.is_ok();
        let mut trips = match read {
            Ok(feedback) => {
                let trips = self.watch.heard(now, &feedback, &told);
                self.learn_leads(&feedback);
                self.last = Some(feedback);
                trips
            }
            Err(error) => self.watch.failed(now, &error),
        };
        if holds && self.answered && self.ticks % LOOK_BACK_TICKS == 0 {
            trips.extend(self.look_back());
        }
        if !holds {
            // A limp arm that is warm or badly supplied is shown, not stopped; only its port can fail it.
            trips.retain(|t| {
                matches!(t, Trip::PortGone { .. } | Trip::BusLost { .. } | Trip::BusTrouble { .. })
            });
        }
        if trips.iter().any(Trip::relieves) {
            self.relieve();
        }
        let (warnings, trips) = trips.into_iter().partition(|t| t.severity() == Severity::Warn);
        self.warnings.extend::<Vec<_>>(warnings);
        self.warnings.truncate(64);
        trips
    }

    /// A joint that uses all the torque that it may use cannot follow: its goal must not run away from it, or it would
    /// rush after it when the load goes. How far a goal may be ahead shrinks while there is no torque to spare.
    fn learn_leads(&mut self, feedback: &Feedback) {
        for (i, lead) in self.leads.iter_mut().enumerate() {
            let (Some(r), Some(m), Some(t), Some(c)) =
                (feedback.joints.get(i), self.motions.get(i), self.torque.get(i), self.checks.get(i))
            else {
                continue;
            };
            let load = r.load.abs();
            if load >= 0.9 * t && *t > 0.0 {
                let ahead = (m.position - r.position).abs() * c.degrees;
                *lead = (lead.min(ahead) * 0.9).max(LEAD_LEAST);
            } else if load < 0.75 * t {
                *lead += LEAD_GROWS * self.dt;
                if *lead > self.robot.watch.stall_deg {
                    *lead = f64::INFINITY;
                }
            }
        }
    }

    /// Keeps a moving goal from running away from a joint that lacks torque.
    fn wait_for_joint(&self, i: usize, wanted: f64) -> f64 {
        let position = self.last.as_ref().and_then(|f| f.joints.get(i)).map(|r| r.position);
        let (Some(p), Some(lead), Some(c), Some(m)) =
            (position, self.leads.get(i), self.checks.get(i), self.motions.get(i))
        else {
            return wanted;
        };
        let moving = (wanted - m.position).abs() * c.degrees > LEAD_LEAST;
        if !moving || !lead.is_finite() {
            return wanted;
        }
        let lead = lead / c.degrees.max(1e-6);
        wanted.clamp(p - lead, p + lead)
    }

    /// Whether any motor has let go by itself. A failed reading says nothing: the next cycle's reading will.
    fn look_back(&mut self) -> Option<Trip> {
        let standing = self.driver.standing().ok()?;
        let joints = self.robot.joints.iter().zip(&standing);
        let loose = joints.into_iter().find(|(_, s)| !s.torque)?;
        Some(Trip::LetGo { joint: loose.0.name.clone() })
    }

    fn relieve(&mut self) {
        self.relief = true;
        let cap = self.robot.watch.relief_torque;
        for t in &mut self.torque {
            *t = t.min(cap);
        }
    }

    /// Sets the limits in force. Only for a standing arm, or to loosen them.
    pub fn use_limits(&mut self, mode: Mode) {
        self.limits = self.robot.joints.iter().map(|j| j.limits(mode)).collect();
        self.torque_goal = self.limits.iter().map(|l| l.torque).collect();
    }

    /// Limits for what the safety layer does by itself: parking and going to a pose, with normal torque.
    pub fn use_slow_limits(&mut self) {
        let park = self.robot.watch.park_speed;
        self.limits = self
            .robot
            .joints
            .iter()
            .map(|j| {
                let l = j.limits(Mode::Cautious);
                Limits { speed: l.speed.min(park / j.degrees_per_unit()), ..l }
            })
            .collect();
        self.torque_goal = self.robot.joints.iter().map(|j| j.limits(Mode::Normal).torque).collect();
    }

    /// The bounds of a joint by the robot file.
    pub fn soft_bounds(&self, joint: usize) -> Option<(f64, f64)> {
        self.soft.get(joint).map(|b| (b.low, b.high))
    }

    /// One joint gets hardly more torque than what holds it at the moment; never more than the limits in force give it.
    pub fn use_gentle_torque(&mut self, joint: usize, spare: f64) {
        let load = self.last.as_ref().and_then(|f| f.joints.get(joint)).map_or(0.0, |r| r.load.abs());
        if let Some(goal) = self.torque_goal.get_mut(joint) {
            *goal = goal.min(load + spare);
        }
    }

    /// Where the joints should stop from now on: the position, plus the way that its own speed needs to brake.
    pub fn stop_targets(&self, why: &Trip) -> Vec<f64> {
        let mut targets = Vec::with_capacity(self.motions.len());
        for (i, m) in self.motions.iter().enumerate() {
            let reading = self.last.as_ref().filter(|_| self.answered).and_then(|f| f.joints.get(i));
            let (Some(r), Some(l), Some(c)) = (reading, self.limits.get(i), self.checks.get(i)) else {
                targets.push(f64::NAN); // Not known where it is: brake the goal.
                continue;
            };
            if self.robot.joints.get(i).is_some_and(|j| why.unbelieved() == Some(j.name.as_str())) {
                targets.push(f64::NAN); // It shows a place where it is not: going there would move the arm.
                continue;
            }
            if m.stands() && (r.position - m.position).abs() * c.degrees < SETTLED_DEG {
                targets.push(m.position);
            } else {
                targets.push(r.position + r.speed * r.speed.abs() / (2.0 * l.acceleration));
            }
        }
        targets
    }

    /// Moves the goals one tick towards where they should come to rest, and sends them.
    pub fn drive(&mut self, now: Time, wish: &[f64], state: &'static str) {
        let stalled = self.watch.stalled(now);
        let mut goals = Vec::with_capacity(self.motions.len());
        let step = self.torque_step();
        for i in 0..self.motions.len() {
            let wanted = wish.get(i).copied().unwrap_or(f64::NAN);
            let wanted = self.ease_grip(i, wanted, stalled.get(i) == Some(&true));
            if let (Some(w), Some(b)) = (self.wishes.get_mut(i), self.bounds.get(i)) {
                *w = wanted.clamp(b.low, b.high.max(b.low));
            }
            // Stopping goes where it said, at once; only motions on the way to somewhere wait.
            let wanted =
                if matches!(state, "running" | "ready") { self.wait_for_joint(i, wanted) } else { wanted };
            let (Some(m), Some(b), Some(s), Some(l)) =
                (self.motions.get_mut(i), self.bounds.get_mut(i), self.soft.get(i), self.limits.get(i))
            else {
                continue;
            };
            *m = limiter::next(m, wanted, b, l, self.dt);
            // Armed outside its bounds? Then inwards only, until it is inside for good.
            b.low = s.low.min(b.low.max(m.position));
            b.high = s.high.max(b.high.min(m.position));
            if let (Some(t), Some(goal)) = (self.torque.get_mut(i), self.torque_goal.get(i)) {
                let goal = if self.relief { goal.min(self.robot.watch.relief_torque) } else { *goal };
                *t = if *t > goal { (*t - step).max(goal) } else { (*t + step).min(goal) };
            }
            goals.push(JointGoal {
                position: m.position,
                speed_cap: l.speed * SPEED_CAP,
                acceleration_cap: l.acceleration * ACCELERATION_CAP,
                torque: self.torque.get(i).copied().unwrap_or(0.0),
            });
        }
        // The limiter gives finite numbers only; this is the last look before the wire.
        if goals.iter().all(|g| g.position.is_finite() && g.torque.is_finite()) {
            if let Err(e) = self.driver.command(&GoalOrder { goals }) {
                self.black_box.note(now, format!("goals were not sent: {e}"));
            }
        } else {
            self.black_box.note(now, "goals were not sent: not finite");
        }
        self.record(now, state, wish, true);
    }

    /// A gripper that something stops keeps a little squeeze instead of its full torque, until it is told to open or
    /// what it holds gives way.
    fn ease_grip(&mut self, i: usize, wanted: f64, stalled: bool) -> f64 {
        let (Some(check), Some(m)) = (self.checks.get(i), self.motions.get(i)) else {
            return wanted;
        };
        let present = self.last.as_ref().and_then(|f| f.joints.get(i)).map(|r| r.position);
        let (Unit::Percent, Some(present), Some(grip)) = (check.unit, present, self.grips.get_mut(i)) else {
            return wanted;
        };
        let squeeze = SQUEEZE_DEG / check.degrees.max(1e-6);
        if stalled && grip.is_none() && (m.position - present).abs() > squeeze {
            *grip = Some((present, (m.position - present).signum()));
        }
        let Some((anchor, direction)) = *grip else {
            return wanted;
        };
        let gave_way = (present - anchor) * direction > squeeze;
        if gave_way || !((wanted - anchor) * direction > squeeze) {
            *grip = None;
            return wanted;
        }
        anchor + direction * squeeze
    }

    fn torque_step(&self) -> f64 {
        let w = &self.robot.watch;
        let ramp = Duration::from_millis(w.arm_ramp_ms).as_secs_f64();
        (0.7 - w.arm_torque_from).max(0.1) / ramp * self.dt
    }

    /// Whether the torque has reached what the limits in force allow.
    pub fn torque_is_up(&self) -> bool {
        self.torque.iter().zip(&self.torque_goal).all(|(t, g)| t + 1e-9 >= *g)
    }

    pub fn record(&mut self, now: Time, state: &'static str, wish: &[f64], sent: bool) {
        let short = |v: &[f64]| v.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let joints = self.last.as_ref().filter(|_| self.answered).map_or(&[][..], |f| &f.joints);
        let tick = Tick {
            t: now.as_secs_f64(),
            state,
            present: joints.iter().map(|r| r.position as f32).collect(),
            load: joints.iter().map(|r| r.load as f32).collect(),
            wish: short(wish),
            sent: if sent { self.motions.iter().map(|m| m.position as f32).collect() } else { Vec::new() },
            volts: joints.iter().map(|r| r.volts as f32).fold(f32::INFINITY, f32::min),
            celsius: joints.iter().map(|r| r.celsius as f32).fold(f32::NEG_INFINITY, f32::max),
            retries: self.last.as_ref().map_or(0, |f| f.retries),
            bus_ms: self.bus_ms,
        };
        self.black_box.tick(tick);
    }

    /// Whether the arm, as it was last read, may be moved at all.
    pub fn fit(&self) -> Result<(), Trip> {
        let w = &self.robot.watch;
        let (low, high) = self.robot.volts();
        let feedback = match &self.last {
            Some(f) if self.answered => f,
            _ => return Err(Trip::BusTrouble { cycles: 1, why: "the last reading failed".into() }),
        };
        for (j, r) in self.robot.joints.iter().zip(&feedback.joints) {
            let joint = j.name.clone();
            if r.alarms.any() {
                return Err(Trip::Alarm { joint, alarms: r.alarms.words() });
            }
            if r.celsius > w.hot_celsius {
                return Err(Trip::Hot { joint, celsius: r.celsius });
            }
            if !(low..=high).contains(&r.volts) {
                return Err(Trip::Volts { joint, volts: r.volts, low, high });
            }
        }
        Ok(())
    }

    /// Stiffens a limp arm where it is: goal := present, read back, torque on at its lowest.
    pub fn arm(&mut self, now: Time) -> Result<(), ArmError> {
        if let Some(j) = self.robot.joints.iter().find(|j| j.calibration.is_none()) {
            return Err(ArmError::Uncalibrated { joint: j.name.clone() });
        }
        self.check_calibration()?;
        self.answered = false;
        let feedback = self.driver.read()?;
        self.answered = true;
        self.last = Some(feedback.clone());
        self.fit().map_err(ArmError::Unfit)?;
        let margin = self.robot.watch.margin_deg;
        for (j, r) in self.robot.joints.iter().zip(&feedback.joints) {
            let per = j.degrees_per_unit();
            let (low, high) = j.calibration.map_or((0.0, 0.0), |c| c.bounds(j.unit, 0.0));
            // A limp arm rests against its ends: a little beyond the calibrated range is usual, more is not.
            let beyond = (low - r.position).max(r.position - high) * per;
            if beyond > margin {
                return Err(ArmError::Unfit(Trip::OutOfRange {
                    joint: j.name.clone(),
                    position: r.position,
                }));
            }
            if r.speed.abs() * per > 4.0 {
                return Err(ArmError::Moving { joint: j.name.clone() });
            }
        }
        let positions: Vec<f64> = feedback.joints.iter().map(|r| r.position).collect();
        self.bounds = self
            .soft
            .iter()
            .zip(&positions)
            .map(|(s, p)| Bounds { low: s.low.min(*p), high: s.high.max(*p) })
            .collect();
        let bounds = self.bounds.iter().map(|b| (b.low, b.high)).collect();
        self.driver.prepare(&PrepareOrder { bounds: Some(bounds) })?;
        self.use_slow_limits();
        self.relief = false;
        self.torque = self.torque_goal.iter().map(|g| g.min(self.robot.watch.arm_torque_from)).collect();
        self.grips = vec![None; positions.len()];
        self.wishes = vec![f64::NAN; positions.len()];
        self.leads = vec![f64::INFINITY; positions.len()];
        // The goal is where the joint is now, read again: the settings above took a moment.
        let positions: Vec<f64> = self.driver.read()?.joints.iter().map(|r| r.position).collect();
        self.motions =
            positions.iter().zip(&self.bounds).map(|(p, b)| Motion::at(p.clamp(b.low, b.high))).collect();
        self.home = self.goals();
        let goals = self.motions.iter().zip(&self.limits).zip(&self.torque);
        let goals = goals.map(|((m, l), t)| JointGoal {
            position: m.position,
            speed_cap: l.speed * SPEED_CAP,
            acceleration_cap: l.acceleration * ACCELERATION_CAP,
            torque: *t,
        });
        let order = GoalOrder { goals: goals.collect() };
        let mut last = None;
        for _ in 0..3 {
            self.driver.command(&order)?;
            match self.read_back() {
                Ok(()) => {
                    last = None;
                    break;
                }
                Err(e) => last = Some(e),
            }
        }
        if let Some(e) = last {
            return Err(e);
        }
        if let Err(e) = self.driver.torque(&TorqueOrder { on: true }) {
            // Half stiff helps nobody, and the arm was limp a moment ago.
            let _ = self.driver.torque(&TorqueOrder { on: false });
            return Err(e.into());
        }
        self.watch.forget(now);
        self.heartbeat = now;
        self.black_box.note(now, "armed");
        Ok(())
    }

    /// The motors apply their stored offset themselves: when it is another than the robot file's, every position is
    /// read wrongly by the difference.
    fn check_calibration(&self) -> Result<(), ArmError> {
        let Some(stored) = self.identity.as_ref().and_then(|i| i.calibration.as_ref()) else {
            return Ok(());
        };
        for (j, stored) in self.robot.joints.iter().zip(stored) {
            let Some(file) = j.calibration else { continue };
            let degrees = f64::from((file.homing_offset - stored.homing_offset).abs()) * DEGREES_PER_STEP;
            if degrees > 1.0 {
                return Err(ArmError::CalibrationDiffers { joint: j.name.clone(), degrees });
            }
        }
        Ok(())
    }

    fn read_back(&mut self) -> Result<(), ArmError> {
        let standing = self.driver.standing()?;
        for ((j, m), s) in self.robot.joints.iter().zip(&self.motions).zip(&standing) {
            let off = (s.goal - m.position).abs() * j.degrees_per_unit();
            if off > 0.5 {
                return Err(ArmError::ReadBack { joint: j.name.clone(), degrees: off });
            }
        }
        Ok(())
    }

    /// Lets go of all joints and puts the motors' own limits back.
    pub fn let_go(&mut self, now: Time) -> Result<(), DriverError> {
        self.driver.torque(&TorqueOrder { on: false })?;
        self.black_box.note(now, "torque released");
        self.driver.prepare(&PrepareOrder { bounds: None })
    }

    /// A person resumes: what was stalled may try again, and full torque may come back.
    pub fn forgive(&mut self) {
        self.watch.forgive();
        self.relief = false;
    }
}
