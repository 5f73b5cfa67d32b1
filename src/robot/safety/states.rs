//! The states of a robot as types. A robot that is not `Running` has no `propose`, so a program that would send a
//! policy's actions to a held, faulted or limp arm does not compile:
//!
//! ```compile_fail
//! use forerun::robot::safety::{Chunk, Hold, Robot};
//! fn sneak(robot: &mut Robot<Hold>, chunk: &Chunk) {
//!     robot.propose(std::time::Duration::ZERO, chunk); // no such method on a held robot
//! }
//! ```
//!
//! ```compile_fail
//! use forerun::robot::safety::{Limp, Robot};
//! fn rush(robot: Robot<Limp>) {
//!     robot.run(std::time::Duration::ZERO, Default::default()); // a limp robot must be armed first
//! }
//! ```
//!
//! The same call on a running robot compiles:
//!
//! ```
//! use forerun::robot::safety::{Chunk, Robot, Running};
//! fn follow(robot: &mut Robot<Running>, chunk: &Chunk) {
//!     let _ = robot.propose(std::time::Duration::ZERO, chunk);
//! }
//! ```

use std::time::Duration;

use super::super::calibration::{Calibration, CalibrationDifference, differences};
use super::super::clock::Time;
use super::super::driver::{Driver, DriverError};
use super::super::file::RobotFile;
use super::super::numbers::Mode;
use super::any::AnyRobot;
use super::blackbox::Proposed;
use super::core::Core;
use super::order::CalibrationOrder;
use super::plan::{Chunk, Join, JointCheck, Plan};
use super::shadow::{Shadow, ShadowReport};
use super::trip::{Refusal, Severity, Trip};
use super::watch::millis;

/// Why a robot could not be armed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    /// A joint has no calibration.
    #[error("{joint} has no calibration yet. Calibrate the arm first")]
    Uncalibrated {
        /// Joint.
        joint: String,
    },
    /// The motors hold another calibration than the robot file.
    #[error(
        "{joint} is calibrated differently in the robot file and in its motor ({degrees:.1}° apart). Look at both and choose one, or calibrate again"
    )]
    CalibrationDiffers {
        /// Joint.
        joint: String,
        /// How far apart, degrees.
        degrees: f64,
    },
    /// Something about the arm is not fit for moving.
    #[error("the arm cannot be armed: {0}")]
    Unfit(Trip),
    /// The arm moves.
    #[error("{joint} is moving. Let the arm come to rest, or hold it, then arm again")]
    Moving {
        /// Joint.
        joint: String,
    },
    /// A joint did not take the goal that it was sent.
    #[error(
        "{joint} did not take its goal ({degrees:.1}° off). Nothing was stiffened; try again, then check the cable"
    )]
    ReadBack {
        /// Joint.
        joint: String,
        /// How far off, degrees.
        degrees: f64,
    },
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Why a request that fits the state was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Something about the arm is not fit.
    #[error("not yet: {0}")]
    Unfit(Trip),
    /// The arm still moves.
    #[error("not yet: the arm is still coming to rest")]
    Moving,
    /// A pose names a joint that the robot does not have, or a number that is no position.
    #[error("the pose cannot be used: {0}")]
    Pose(String),
    /// Release must be held.
    #[error("to release torque, hold the button for {0:.1} s; the arm will fall")]
    HoldLonger(f64),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// A robot in a state. Time stamps passed to its methods never go back.
pub struct Robot<S> {
    pub(super) core: Box<Core>,
    pub(super) state: S,
}

/// No port is open.
pub struct Disconnected(());
/// Connected and only read. The motors do what an earlier program left them doing; nothing is written to them.
pub struct Limp {
    shadow: Option<Shadow>,
}
/// Torque is on and rising; the arm holds where it was.
pub struct Armed(());
/// Stiff and standing, waiting for a run.
pub struct Ready {
    targets: Vec<f64>,
    wiggle: Option<Wiggle>,
}
/// Following a policy's (or a person's) proposals.
pub struct Running {
    plan: Plan,
    rules: RunRules,
    since: Time,
    fresh: Time,
    pending: Option<Trip>,
}
/// Stopped: decelerating, then standing. Latched: a person resumes.
pub struct Hold {
    pub(super) why: Trip,
    since: Time,
    fresh: Time,
    targets: Vec<f64>,
    pub(super) park: Park,
    release: Option<Time>,
}
/// Stopped because something is wrong. Latched: a person acknowledges first.
pub struct Fault {
    pub(super) why: Trip,
    targets: Vec<f64>,
    release: Option<Time>,
}

/// Whether a held arm goes to its rest pose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Park {
    No,
    WhenStanding,
    Going,
    Arrived,
}

/// A small motion there and back of one joint, so that a person sees which one it is.
#[derive(Clone, Debug, PartialEq)]
struct Wiggle {
    joint: usize,
    /// Where the joint stood, and where it stands again at the end.
    home: f64,
    /// Where it goes next, the last one first.
    way: Vec<f64>,
}

/// How far a joint goes to show which one it is, degrees: seen by an eye that looks, no harm to what stands beside.
const WIGGLE_DEG: f64 = 4.0;
/// It may use this much more torque than what holds it at the moment, fraction of the stall torque.
const WIGGLE_TORQUE: f64 = 0.15;

/// How a run is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRules {
    /// How boldly.
    pub mode: Mode,
    /// Whether a dead-man key must be held all the time.
    pub dead_man: bool,
    /// Longest time, where there is one.
    pub longest: Option<Duration>,
    /// q01 and q99 of the training data by joint, where known.
    pub data: Vec<Option<(f64, f64)>>,
}

impl RunRules {
    /// The usual rules of a mode: a cautious run needs the dead-man key and ends by itself.
    pub fn of(mode: Mode, robot: &RobotFile) -> Self {
        let cautious = mode == Mode::Cautious;
        let longest = cautious.then(|| Duration::from_millis(robot.watch.cautious_run_ms));
        Self { mode, dead_man: cautious, longest, data: Vec::new() }
    }
}

/// Chunk blending: five ticks when it starts near, half a second when it starts further away or is the first.
const SHORT_BLEND_TICKS: u32 = 5;
const LONG_BLEND: Duration = Duration::from_millis(500);
/// A new run may wait this long for its first chunk.
const FIRST_CHUNK: Duration = Duration::from_secs(2);

impl<S> Robot<S> {
    fn with<T>(self, state: T) -> Robot<T> {
        Robot { core: self.core, state }
    }

    /// The robot file.
    pub fn file(&self) -> &RobotFile {
        &self.core.robot
    }

    /// The controlling program is alive; `dead_man` tells whether the dead-man key is held.
    pub fn heartbeat(&mut self, now: Time, dead_man: bool) {
        self.core.heartbeat = now;
        self.core.dead_man = dead_man;
    }

    fn silence(&self, now: Time) -> Duration {
        now.saturating_sub(self.core.heartbeat)
    }

    fn silent(&self, now: Time) -> Option<Trip> {
        let silence = self.silence(now);
        let limit = Duration::from_millis(self.core.robot.watch.silent_hold_ms);
        (silence >= limit).then(|| Trip::Silent { ms: millis(silence) })
    }

    fn note_trip(&mut self, now: Time, trip: &Trip) {
        self.core.black_box.note(now, format!("{:?}: {trip}", trip.severity()));
        self.core.last_trip = Some(trip.clone());
    }

    /// Stops for a reason, within the limits. The next tick sends the first decelerating goal; sending one here too would
    /// put two goals into one tick and double the speed for a moment.
    pub(super) fn trip(mut self, now: Time, fresh: Time, trip: Trip) -> AnyRobot {
        self.note_trip(now, &trip);
        let targets = self.core.stop_targets(&trip);
        if trip.severity() == Severity::Fault {
            return self.with(Fault { why: trip, targets, release: None }).into();
        }
        let park = if matches!(trip, Trip::Parked { .. }) { Park::WhenStanding } else { Park::No };
        self.with(Hold { why: trip, since: now, fresh, targets, park, release: None }).into()
    }

    /// Stops for a reason that was found in this tick, whose goal has not been sent yet.
    fn trip_in_tick(self, now: Time, fresh: Time, trip: Trip) -> AnyRobot {
        match self.trip(now, fresh, trip) {
            AnyRobot::Hold(mut r) => {
                let targets = std::mem::take(&mut r.state.targets);
                r.core.drive(now, &targets, "hold");
                r.state.targets = targets;
                r.into()
            }
            AnyRobot::Fault(mut r) => {
                let targets = std::mem::take(&mut r.state.targets);
                r.core.drive(now, &targets, "fault");
                r.state.targets = targets;
                r.into()
            }
            other => other,
        }
    }

    /// Where the arm parks: its rest pose, or where it was armed.
    fn rest(&self) -> Vec<f64> {
        let joints = self.core.robot.joints.iter().zip(&self.core.home);
        joints.map(|(j, home)| self.core.robot.rest.get(&j.name).copied().unwrap_or(*home)).collect()
    }
}

/// The gravest trip of a tick; the first among equals.
fn gravest(trips: Vec<Trip>) -> Option<Trip> {
    let mut worst: Option<Trip> = None;
    for t in trips {
        if worst.as_ref().is_none_or(|w| t.severity() > w.severity()) {
            worst = Some(t);
        }
    }
    worst
}

impl Robot<Disconnected> {
    /// A robot that is not connected yet.
    pub fn new(file: RobotFile, driver: Box<dyn Driver>) -> Self {
        Self { core: Box::new(Core::new(file, driver)), state: Disconnected(()) }
    }

    /// Opens the port and checks that it is this robot. Nothing moves, stiffens or falls because of it.
    pub fn connect(mut self, now: Time) -> Result<Robot<Limp>, (Self, DriverError)> {
        match self.core.driver.open() {
            Ok(identity) => {
                self.core.black_box.note(now, format!("connected: {}", identity.description));
                self.core.identity = Some(identity);
                self.core.watch.forget(now);
                Ok(self.with(Limp { shadow: None }))
            }
            Err(e) => Err((self, e)),
        }
    }
}

impl Robot<Limp> {
    /// One tick: reads, and notices when the port goes away.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let trips = self.core.sense(now, false);
        if let Some(shadow) = &mut self.state.shadow {
            shadow.tick(now);
        }
        self.core.record(now, "limp", &[], false);
        match gravest(trips) {
            Some(trip @ Trip::PortGone { .. }) => {
                self.note_trip(now, &trip);
                self.disconnect(now).into()
            }
            _ => self.into(),
        }
    }

    /// Closes the port.
    pub fn disconnect(mut self, now: Time) -> Robot<Disconnected> {
        self.core.driver.close();
        self.core.identity = None;
        self.core.last = None;
        self.core.black_box.note(now, "disconnected");
        self.with(Disconnected(()))
    }

    /// Stiffens the arm where it is, after checking that it is fit, at rest and inside its range.
    pub fn arm(mut self, now: Time) -> Result<Robot<Armed>, (Self, ArmError)> {
        match self.core.arm(now) {
            Ok(()) => Ok(self.with(Armed(()))),
            Err(e) => {
                self.core.black_box.note(now, format!("not armed: {e}"));
                Err((self, e))
            }
        }
    }

    /// Differences between the robot file's calibration and the motors'.
    pub fn calibration_differences(&self) -> Vec<CalibrationDifference> {
        let joints: Vec<_> =
            self.core.robot.joints.iter().map(|j| (j.name.clone(), j.unit, j.calibration)).collect();
        let stored = self.core.identity.as_ref().and_then(|i| i.calibration.as_deref());
        stored.map_or_else(Vec::new, |stored| differences(&joints, stored))
    }

    /// The calibration that the motors hold.
    pub fn stored_calibration(&self) -> Option<Vec<Calibration>> {
        self.core.identity.as_ref()?.calibration.clone()
    }

    /// Stores a calibration in the motors. The caller has shown the difference and a person has agreed; keep the
    /// calibration that is there (`driver::Identity::calibration`) in a file first.
    pub fn store_calibration(&mut self, now: Time, joints: Vec<Calibration>) -> Result<(), DriverError> {
        if joints.len() != self.core.robot.joints.len() || !joints.iter().all(Calibration::is_sound) {
            return Err(DriverError::Wrong {
                joint: self.core.robot.name.clone(),
                why: "this calibration is not for this arm or cannot be; calibrate again".into(),
            });
        }
        self.core.driver.store_calibration(&CalibrationOrder { joints: joints.clone() })?;
        if let Some(identity) = &mut self.core.identity {
            identity.calibration = Some(joints);
        }
        self.core.black_box.note(now, "calibration stored in the motors");
        Ok(())
    }

    /// Starts a shadow run: proposals are checked as in a real run and nothing is sent.
    pub fn start_shadow(&mut self, now: Time) {
        self.state.shadow = Some(Shadow::new(now));
    }

    /// Ends the shadow run.
    pub fn end_shadow(&mut self) -> Option<ShadowReport> {
        self.state.shadow.take().map(|s| s.report().clone())
    }

    /// How the shadow run goes.
    pub fn shadow(&self) -> Option<&ShadowReport> {
        self.state.shadow.as_ref().map(Shadow::report)
    }

    /// Proposes a chunk to the shadow run. Nothing is sent to the motors.
    pub fn propose_shadow(&mut self, now: Time, chunk: &Chunk, rules: &RunRules) -> Result<(), Refusal> {
        let present = self.core.positions();
        let checks = with_data(&self.core.checks, rules);
        self.core.latency.note(now.saturating_sub(chunk.observed));
        let outcome = chunk
            .check(now, &checks, &present, &present, &self.core.robot.watch)
            .and_then(|_| self.core.latency.check(chunk));
        self.core.black_box.proposed(describe(now, chunk, &outcome));
        if let Some(shadow) = &mut self.state.shadow {
            match &outcome {
                Ok(()) => shadow.taken(now, chunk, &present),
                Err(refusal) => shadow.refused(refusal),
            }
        }
        outcome
    }

    /// Where the shadowed policy would have the arm now (the ghost to draw).
    pub fn ghost(&self, now: Time) -> Option<Vec<f64>> {
        let plan = &self.state.shadow.as_ref()?.plan;
        (0..self.core.checks.len()).map(|j| plan.at(now, j)).collect()
    }
}

fn with_data(checks: &[JointCheck], rules: &RunRules) -> Vec<JointCheck> {
    let mut checks = checks.to_vec();
    for (check, data) in checks.iter_mut().zip(&rules.data) {
        check.data = data.map(|(low, high)| JointCheck::widen(low, high));
    }
    checks
}

fn describe(now: Time, chunk: &Chunk, outcome: &Result<(), Refusal>) -> Proposed {
    Proposed {
        t: now.as_secs_f64(),
        chunk: chunk.number,
        actions: chunk.actions.len(),
        delay_ms: now.saturating_sub(chunk.observed).as_secs_f32() * 1e3,
        first: chunk.actions.first().cloned().unwrap_or_default(),
        outcome: outcome.as_ref().map_or_else(ToString::to_string, |()| "taken".into()),
    }
}

impl Robot<Armed> {
    /// One tick: the torque rises; then the robot is ready.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let trips = self.core.sense(now, true);
        let goals = self.core.goals();
        if let Some(trip) = gravest(trips).or_else(|| self.silent(now)) {
            return self.trip_in_tick(now, now, trip);
        }
        self.core.drive(now, &goals, "armed");
        if self.core.torque_is_up() {
            self.with(Ready { targets: goals, wiggle: None }).into()
        } else {
            self.into()
        }
    }
}

impl Robot<Ready> {
    /// One tick: holds, or goes on to the pose that it was sent to.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let trips = self.core.sense(now, true);
        if let Some(trip) = gravest(trips).or_else(|| self.silent(now)) {
            return self.trip_in_tick(now, now, trip);
        }
        self.go_on_wiggling(now);
        let targets = std::mem::take(&mut self.state.targets);
        self.core.drive(now, &targets, "ready");
        self.state.targets = targets;
        self.into()
    }

    /// Moves one joint a little, twice there and back, with hardly more torque than it needs to hold itself: a person sees
    /// which joint it is. It is a motion of the safety layer itself: any Stop ends it, and so does whatever is in its way.
    ///
    /// # Errors
    /// A joint that the robot does not have, an arm that still moves or is not fit.
    pub fn wiggle(&mut self, now: Time, joint: &str) -> Result<(), Denied> {
        let name = joint.strip_suffix(".pos").unwrap_or(joint);
        let index = self.core.robot.joints.iter().position(|j| j.name == name);
        let Some(index) = index else {
            return Err(Denied::Pose(format!("this robot has no joint {name:?}")));
        };
        if !self.core.stands() || self.state.wiggle.is_some() {
            return Err(Denied::Moving);
        }
        self.core.fit().map_err(Denied::Unfit)?;
        let per = self.core.robot.joints.get(index).map_or(1.0, |j| j.degrees_per_unit()).max(1e-6);
        let (Some(home), Some((low, high))) =
            (self.state.targets.get(index).copied(), self.core.soft_bounds(index))
        else {
            return Err(Denied::Moving);
        };
        // Towards the middle of the range, where there is room.
        let there = home + WIGGLE_DEG / per * if home < (low + high) / 2.0 { 1.0 } else { -1.0 };
        self.core.use_gentle_torque(index, WIGGLE_TORQUE);
        self.core.black_box.note(now, format!("showing which joint {name} is"));
        self.state.wiggle = Some(Wiggle { joint: index, home, way: vec![home, there, home, there] });
        Ok(())
    }

    /// Whether a joint is just being shown.
    pub fn is_wiggling(&self) -> bool {
        self.state.wiggle.is_some()
    }

    fn go_on_wiggling(&mut self, now: Time) {
        let Some(wiggle) = &mut self.state.wiggle else { return };
        if !self.core.stands() {
            return;
        }
        match (wiggle.way.pop(), self.state.targets.get_mut(wiggle.joint)) {
            (Some(next), Some(target)) => *target = next,
            _ => self.end_wiggling(now),
        }
    }

    fn end_wiggling(&mut self, now: Time) {
        let Some(wiggle) = self.state.wiggle.take() else { return };
        if let Some(target) = self.state.targets.get_mut(wiggle.joint) {
            *target = wiggle.home;
        }
        self.core.use_slow_limits();
        self.core.black_box.note(now, "the joint was shown");
    }

    /// Goes slowly to a pose (joints that are not named stay). It is a motion of the safety layer itself: any Stop
    /// ends it.
    pub fn go_to(&mut self, now: Time, pose: &[(String, f64)]) -> Result<(), Denied> {
        self.end_wiggling(now);
        let mut targets = self.state.targets.clone();
        for (name, value) in pose {
            let joint = name.strip_suffix(".pos").unwrap_or(name);
            let index = self.core.robot.joints.iter().position(|j| j.name == joint);
            let slot = index.and_then(|i| targets.get_mut(i));
            let Some(slot) = slot else {
                return Err(Denied::Pose(format!("this robot has no joint {joint:?}")));
            };
            if !value.is_finite() {
                return Err(Denied::Pose(format!("{joint} = {value} is no position")));
            }
            *slot = *value;
        }
        self.core.black_box.note(now, format!("going to {targets:.1?}"));
        self.state.targets = targets;
        Ok(())
    }

    /// Whether the arm stands where it was sent.
    pub fn arrived(&self) -> bool {
        self.core.stands()
    }

    /// Starts a run: from now on proposals are followed.
    pub fn run(mut self, now: Time, rules: RunRules) -> Result<Robot<Running>, (Self, Denied)> {
        if !self.core.stands() || self.is_wiggling() {
            return Err((self, Denied::Moving));
        }
        if let Err(trip) = self.core.fit() {
            return Err((self, Denied::Unfit(trip)));
        }
        if rules.dead_man && !self.core.dead_man {
            return Err((self, Denied::Unfit(Trip::DeadMan)));
        }
        self.core.black_box.note(now, format!("run, {}", rules.mode));
        self.core.use_limits(rules.mode);
        self.core.watch.forgive();
        let running = Running { plan: Plan::default(), rules, since: now, fresh: now, pending: None };
        Ok(self.with(running))
    }
}

impl Robot<Running> {
    /// Proposes a chunk of actions. A refusal has consequences at the next tick ([`Refusal::severity`]).
    pub fn propose(&mut self, now: Time, chunk: &Chunk) -> Result<(), Refusal> {
        let (present, goals) = (self.core.positions(), self.core.goals());
        let checks = with_data(&self.core.checks, &self.state.rules);
        let checked = chunk.check(now, &checks, &present, &goals, &self.core.robot.watch);
        let outcome = checked.and_then(|join| {
            self.core.latency.note(now.saturating_sub(chunk.observed));
            self.core.latency.check(chunk).map(|()| join)
        });
        let told = outcome.clone().map(|_| ());
        self.core.black_box.proposed(describe(now, chunk, &told));
        match outcome {
            Ok(join) => {
                let near = join == Join::Near && self.state.plan.started();
                let short = Duration::from_secs_f64(self.core.dt) * SHORT_BLEND_TICKS;
                self.state.plan.take(now, chunk, &goals, if near { short } else { LONG_BLEND });
                self.state.fresh = now;
            }
            Err(refusal) if refusal.severity() > Severity::Warn => {
                let trip = Trip::Refused { refusal };
                // A fault is not hidden by a lesser refusal of the same tick.
                let worse = self.state.pending.as_ref().is_none_or(|p| p.severity() < trip.severity());
                if worse {
                    self.state.pending = Some(trip);
                }
            }
            Err(_) => {}
        }
        told
    }

    /// Reports a camera's picture; false for a camera that the robot file does not name.
    pub fn saw(&mut self, camera: &str, look: super::camera::Look) -> bool {
        self.core.cameras.saw(camera, look)
    }

    /// One tick: follows the plan within the limits, or stops.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let mut trips = self.core.sense(now, true);
        trips.extend(self.state.pending.take());
        trips.extend(self.silent(now));
        trips.extend(self.core.cameras.check(now));
        if self.state.rules.dead_man && !self.core.dead_man {
            trips.push(Trip::DeadMan);
        }
        if let Some(longest) = self.state.rules.longest
            && now.saturating_sub(self.state.since) >= longest
        {
            trips.push(Trip::TimeUp { seconds: longest.as_secs() });
        }
        let waiting = !self.state.plan.started() && now.saturating_sub(self.state.since) < FIRST_CHUNK;
        if !self.state.plan.fresh(now) && !waiting {
            trips.push(Trip::Starved);
        }
        if let Some(trip) = gravest(trips) {
            let fresh = self.state.fresh;
            return self.trip_in_tick(now, fresh, trip);
        }
        let wish = if self.state.plan.started() {
            let limits = self.file().joints.iter().map(|j| j.limits(self.state.rules.mode));
            let points =
                limits.enumerate().map(|(j, l)| self.state.plan.stop_point(now, j, &l, self.core.dt));
            points.map(|p| p.unwrap_or(f64::NAN)).collect()
        } else {
            self.core.goals()
        };
        self.core.drive(now, &wish, "running");
        self.into()
    }

    /// How boldly it runs.
    pub fn mode(&self) -> Mode {
        self.state.rules.mode
    }

    pub(super) fn fresh(&self) -> Time {
        self.state.fresh
    }
}

impl Robot<Hold> {
    /// One tick: decelerates and stands; parks when that was asked for or the controlling program stays away.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let trips = self.core.sense(now, true);
        let grave = trips.into_iter().find(|t| t.severity() == Severity::Fault);
        if let Some(trip) = grave.or_else(|| self.starved_long(now)) {
            return self.trip_in_tick(now, now, trip);
        }
        let away = Duration::from_millis(self.core.robot.watch.silent_park_ms);
        if matches!(self.state.why, Trip::Silent { .. })
            && self.state.park == Park::No
            && self.silence(now) >= away
        {
            self.core.black_box.note(now, "the controlling program stays away: parking");
            self.state.park = Park::WhenStanding;
        }
        if self.state.park == Park::WhenStanding && self.core.stands() && self.core.fit().is_ok() {
            self.core.use_slow_limits();
            self.state.targets = self.rest();
            self.state.park = Park::Going;
        } else if self.state.park == Park::Going && self.core.stands() {
            self.core.black_box.note(now, "parked");
            self.state.park = Park::Arrived;
        }
        let targets = std::mem::take(&mut self.state.targets);
        self.core.drive(now, &targets, "hold");
        self.state.targets = targets;
        self.into()
    }

    fn starved_long(&self, now: Time) -> Option<Trip> {
        let limit = Duration::from_millis(self.core.robot.watch.starved_fault_ms);
        let hungry = now.saturating_sub(self.state.fresh.max(self.state.since));
        (self.state.why == Trip::Starved && hungry >= limit).then(|| Trip::StarvedLong { ms: millis(hungry) })
    }

    /// Why it stopped.
    pub fn why(&self) -> &Trip {
        &self.state.why
    }

    /// The policy answers again; only a person's resume lets it go on.
    pub fn heard_from_policy(&mut self, now: Time) {
        self.state.fresh = now;
    }

    /// A person resumes: the robot is ready again when it stands and is fit.
    pub fn resume(mut self, now: Time) -> Result<Robot<Ready>, (Self, Denied)> {
        if !self.core.stands() {
            return Err((self, Denied::Moving));
        }
        if let Err(trip) = self.core.fit() {
            return Err((self, Denied::Unfit(trip)));
        }
        self.core.forgive();
        self.core.use_slow_limits();
        self.core.black_box.note(now, "resumed");
        let targets = self.core.goals();
        Ok(self.with(Ready { targets, wiggle: None }))
    }

    /// Parks (slowly, to the rest pose) once it stands.
    pub fn park(&mut self) {
        if self.state.park == Park::No {
            self.state.park = Park::WhenStanding;
        }
    }

    /// Whether it is parked.
    pub fn parked(&self) -> bool {
        self.state.park == Park::Arrived
    }

    /// Whether it decelerated to a standstill.
    pub fn stands(&self) -> bool {
        self.core.stands()
    }

    /// Stop again: ends parking too.
    pub(super) fn stop_again(mut self, now: Time, by: String) -> AnyRobot {
        self.state.park = Park::No;
        let fresh = self.state.fresh;
        self.trip(now, fresh, Trip::Stopped { by })
    }
}

impl Robot<Fault> {
    /// One tick: decelerates and stands.
    pub fn tick(mut self, now: Time) -> AnyRobot {
        let trips = self.core.sense(now, true);
        if let Some(trip) = trips.into_iter().find(|t| matches!(t, Trip::PortGone { .. })) {
            if !self.lost_port() {
                self.note_trip(now, &trip);
                self.state.why = trip;
            }
            return self.into();
        }
        let targets = std::mem::take(&mut self.state.targets);
        self.core.drive(now, &targets, "fault");
        self.state.targets = targets;
        self.into()
    }

    /// Why it stopped.
    pub fn why(&self) -> &Trip {
        &self.state.why
    }

    /// Whether the port itself is gone, so that only [`Robot::reconnect`] can help.
    pub fn lost_port(&self) -> bool {
        matches!(self.state.why, Trip::PortGone { .. })
    }

    /// Opens the port again. The robot comes back limp: whatever it was doing, it does not go on.
    pub fn reconnect(mut self, now: Time) -> Result<Robot<Limp>, (Self, DriverError)> {
        self.core.driver.close();
        match self.core.driver.open() {
            Ok(identity) => {
                self.core.black_box.note(now, format!("connected again: {}", identity.description));
                self.core.identity = Some(identity);
                self.core.watch.forget(now);
                Ok(self.with(Limp { shadow: None }))
            }
            Err(e) => Err((self, e)),
        }
    }

    /// A person acknowledges the fault. A fit arm that still holds is held; one that has let go is limp.
    pub fn acknowledge(mut self, now: Time) -> Result<AnyRobot, (Self, Denied)> {
        if let Err(trip) = self.core.fit() {
            return Err((self, Denied::Unfit(trip)));
        }
        let standing = match self.core.driver.standing() {
            Ok(s) => s,
            Err(e) => return Err((self, e.into())),
        };
        self.core.black_box.note(now, "fault acknowledged");
        if standing.iter().any(|s| !s.torque) {
            return Ok(self.with(Limp { shadow: None }).into());
        }
        self.core.watch.forget(now);
        let targets = std::mem::take(&mut self.state.targets);
        let why = Trip::Acknowledged;
        Ok(self.with(Hold { why, since: now, fresh: now, targets, park: Park::No, release: None }).into())
    }
}

/// States in which torque may be released: stopped ones only.
macro_rules! release {
    ($state:ty) => {
        impl Robot<$state> {
            /// The release button goes down. Torque is released when it is still down a second later.
            pub fn begin_release(&mut self, now: Time) {
                self.state.release = Some(now);
            }

            /// The release button was held: torque goes off and **the arm falls**.
            pub fn release(mut self, now: Time) -> Result<Robot<Limp>, (Self, Denied)> {
                let needed = Duration::from_millis(self.core.robot.watch.release_hold_ms);
                let held = self.state.release.take().map(|t| now.saturating_sub(t));
                // A press that was forgotten for long is none.
                if held.is_none_or(|h| h < needed || h > needed * 5) {
                    return Err((self, Denied::HoldLonger(needed.as_secs_f64())));
                }
                match self.core.let_go(now) {
                    Ok(()) => Ok(self.with(Limp { shadow: None })),
                    Err(e) => Err((self, e.into())),
                }
            }
        }
    };
}
release!(Hold);
release!(Fault);
