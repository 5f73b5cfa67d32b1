//! Watchdogs over the motors: bus, alarms, heat, voltage, stalls, stale and jumping sensors.
//!
//! Pure bookkeeping over time stamps that are passed in: a day of ticks can be played in a test.

use std::time::Duration;

use super::super::clock::Time;
use super::super::driver::{DriverError, Feedback, Reading};
use super::super::file::RobotFile;
use super::super::numbers::{Thresholds, Unit};
use super::trip::Trip;

/// What the watchdogs remember of one joint.
#[derive(Clone, Debug)]
struct Joint {
    name: String,
    unit: Unit,
    degrees: f64,
    range: (f64, f64),
    last: Option<(Time, Reading)>,
    goal: Option<f64>,
    /// Since when the position stands to the bit, and whether the speed register said otherwise meanwhile.
    same: Option<(Time, bool)>,
    stalled: Option<Time>,
    volts: Option<Time>,
    warned: bool,
}

/// What a joint was told, as far as the watchdogs care.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Its goal, unit of the joint.
    pub goal: f64,
    /// Where it is wished to be in the end: beyond the goal while the goal is on its way or waits for the joint.
    pub wish: f64,
    /// Its torque limit, fraction of the stall torque.
    pub torque: f64,
}

/// Watchdogs over the motors.
#[derive(Clone, Debug)]
pub struct Watch {
    numbers: Thresholds,
    volts: (f64, f64),
    joints: Vec<Joint>,
    failed: u32,
    heard: Option<Time>,
    trouble: String,
    /// Cycles that failed, in all.
    pub failures: u64,
    /// Requests that were repeated, in all.
    pub retries: u64,
}

/// Faster than any of these motors; a greater change between two readings is no motion (deg/s).
const FASTER_THAN_ANY: f64 = 400.0;
/// Below this a joint does not move (deg/s).
const SLOW: f64 = 3.0;
/// A voltage must be wrong for this long: starting motors pull it down for a moment.
const VOLTS_FOR: Duration = Duration::from_millis(300);

impl Watch {
    /// Watchdogs for a robot.
    pub fn new(robot: &RobotFile) -> Self {
        let joints = robot.joints.iter().map(|j| {
            let range = j.calibration.map_or((f64::NEG_INFINITY, f64::INFINITY), |c| c.bounds(j.unit, 0.0));
            Joint {
                name: j.name.clone(),
                unit: j.unit,
                degrees: j.degrees_per_unit(),
                range,
                last: None,
                goal: None,
                same: None,
                stalled: None,
                volts: None,
                warned: false,
            }
        });
        Self {
            numbers: robot.watch,
            volts: robot.volts(),
            joints: joints.collect(),
            failed: 0,
            heard: None,
            trouble: String::new(),
            failures: 0,
            retries: 0,
        }
    }

    /// Forgets everything that depends on what was (after connecting or arming).
    pub fn forget(&mut self, now: Time) {
        self.failed = 0;
        self.heard = Some(now);
        for j in &mut self.joints {
            (j.last, j.goal, j.same, j.stalled, j.volts, j.warned) = (None, None, None, None, None, false);
        }
    }

    /// Forgets stalls and stillness only (a person resumes).
    pub fn forgive(&mut self) {
        for j in &mut self.joints {
            (j.same, j.stalled) = (None, None);
        }
    }

    /// The bus failed in this cycle.
    pub fn failed(&mut self, now: Time, error: &DriverError) -> Vec<Trip> {
        self.failed = self.failed.saturating_add(1);
        self.failures += 1;
        self.trouble = error.to_string();
        if error.is_gone() {
            return vec![Trip::PortGone { why: error.to_string() }];
        }
        let silent = now.saturating_sub(*self.heard.get_or_insert(now));
        if silent >= Duration::from_millis(self.numbers.bus_fault_ms) {
            return vec![Trip::BusLost { ms: millis(silent), why: self.trouble.clone() }];
        }
        if self.failed >= self.numbers.bus_hold_cycles {
            return vec![Trip::BusTrouble { cycles: self.failed, why: self.trouble.clone() }];
        }
        Vec::new()
    }

    /// The bus answered. `told` is what the joints were told last while they hold, and empty while they are limp
    /// (a limp arm may be moved by hand and may lie anywhere).
    pub fn heard(&mut self, now: Time, feedback: &Feedback, told: &[Told]) -> Vec<Trip> {
        self.failed = 0;
        self.heard = Some(now);
        self.retries += u64::from(feedback.retries);
        let mut trips = Vec::new();
        let (numbers, volts) = (self.numbers, self.volts);
        for (i, (joint, reading)) in self.joints.iter_mut().zip(&feedback.joints).enumerate() {
            joint.check_health(now, reading, &numbers, volts, &mut trips);
            if let Some(told) = told.get(i) {
                joint.check_motion(now, reading, told, &numbers, &mut trips);
            }
            joint.last = Some((now, *reading));
        }
        trips
    }

    /// Which joints do not follow at the moment, for at least the stall time.
    pub fn stalled(&self, now: Time) -> Vec<bool> {
        let limit = Duration::from_millis(self.numbers.stall_ms);
        self.joints.iter().map(|j| j.stalled.is_some_and(|t| now.saturating_sub(t) >= limit)).collect()
    }

    /// How long the bus has been silent.
    pub fn silence(&self, now: Time) -> Duration {
        self.heard.map_or(Duration::ZERO, |t| now.saturating_sub(t))
    }
}

impl Joint {
    /// Alarms, temperature and supply: watched in every state.
    fn check_health(
        &mut self,
        now: Time,
        r: &Reading,
        numbers: &Thresholds,
        (low, high): (f64, f64),
        trips: &mut Vec<Trip>,
    ) {
        let joint = || self.name.clone();
        if r.alarms.sensor {
            trips.push(Trip::Sensor { joint: joint() });
        }
        if r.alarms.any() {
            trips.push(Trip::Alarm { joint: joint(), alarms: r.alarms.words() });
        }
        let celsius = r.celsius;
        if celsius > numbers.scorching_celsius {
            trips.push(Trip::Scorching { joint: joint(), celsius });
        } else if celsius > numbers.hot_celsius {
            trips.push(Trip::Hot { joint: joint(), celsius });
        } else if celsius > numbers.warm_celsius {
            if !self.warned {
                trips.push(Trip::Warm { joint: joint(), celsius });
            }
            self.warned = true;
        } else if celsius < numbers.warm_celsius - 2.0 {
            self.warned = false;
        }
        if (low..=high).contains(&r.volts) {
            self.volts = None;
        } else if now.saturating_sub(*self.volts.get_or_insert(now)) >= VOLTS_FOR {
            trips.push(Trip::Volts { joint: joint(), volts: r.volts, low, high });
        }
    }

    /// Jumps, range, stale sensors and stalls: watched while the joint holds.
    fn check_motion(
        &mut self,
        now: Time,
        r: &Reading,
        told: &Told,
        numbers: &Thresholds,
        trips: &mut Vec<Trip>,
    ) {
        let name = self.name.clone();
        let speed = r.speed.abs() * self.degrees;
        if let Some((then, last)) = self.last {
            let moved = (r.position - last.position).abs() * self.degrees;
            // Late ticks leave time for a long way, but a joint goes from where it was to where it was told to go, and
            // no further: a slipped magnet must not hide behind a busy machine.
            let (low, high) = (last.position.min(told.goal), last.position.max(told.goal));
            let astray = (low - r.position).max(r.position - high).max(0.0) * self.degrees;
            let possible = FASTER_THAN_ANY * now.saturating_sub(then).as_secs_f64() + numbers.jump_deg;
            if moved > possible || astray > numbers.jump_deg {
                trips.push(Trip::Jumped { joint: name.clone(), degrees: moved });
            }
            if r.steps == last.steps {
                let (since, moving) = self.same.unwrap_or((then, false));
                self.same = Some((since, moving || speed > SLOW));
            } else {
                self.same = None;
            }
        }
        let beyond = ((self.range.0 - r.position).max(r.position - self.range.1)) * self.degrees;
        if beyond > 5.0 {
            trips.push(Trip::OutOfRange { joint: name.clone(), position: r.position });
        }
        let behind = (told.goal - r.position).abs() * self.degrees;
        let wished = if told.wish.is_finite() { told.wish - r.position } else { told.goal - r.position };
        let missing = wished.abs() * self.degrees;
        let load = r.load.abs();
        let straining = load >= 0.9 * told.torque;
        // A blocked joint stands to the bit as well: but it strains, and its speed register agrees that it stands.
        if let Some((since, moving)) = self.same
            && behind > numbers.stale_deg
            && load > 0.0
            && (moving || load < 0.5 * told.torque)
        {
            let stood = now.saturating_sub(since);
            if stood >= Duration::from_millis(numbers.stale_ms) {
                trips.push(Trip::Stale { joint: name.clone(), ms: millis(stood) });
            }
        }
        // Following late is not stalling: a joint that moves towards where it is wished is only behind. Its goal is
        // compared by the clock: on a machine that is late, goals are slower than they are meant to be.
        let towards = r.speed * wished.signum() * self.degrees;
        let passed = self.last.map_or(0.0, |(then, _)| now.saturating_sub(then).as_secs_f64());
        let goal_moved = self.goal.map_or(0.0, |g| (told.goal - g).abs() * self.degrees);
        self.goal = Some(told.goal);
        let goal_speed = if passed > 1e-4 { goal_moved / passed } else { 0.0 };
        let following = towards > if goal_speed > 0.5 { (0.25 * goal_speed).max(0.5) } else { SLOW };
        let stalling = load > numbers.stall_load
            || (behind.max(missing) > numbers.stall_deg && !following)
            || (behind > 0.4 * numbers.stall_deg && straining && !following);
        if !stalling {
            self.stalled = None;
            return;
        }
        let since = *self.stalled.get_or_insert(now);
        // A gripper that holds something is stalled by design; it eases its grip instead (see `states`).
        if self.unit == Unit::Deg && now.saturating_sub(since) >= Duration::from_millis(numbers.stall_ms) {
            trips.push(Trip::Stalled { joint: name, degrees: behind.max(missing), load: load * 100.0 });
        }
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::robot::driver::Alarms;
    use crate::robot::safety::trip::Severity;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn calm(position: f64) -> Reading {
        Reading {
            position,
            steps: (position * 11.0) as i32,
            volts: 12.0,
            celsius: 30.0,
            load: 0.05,
            ..Reading::default()
        }
    }

    fn watch() -> Watch {
        let mut robot = RobotFile::so101("t");
        robot.joints.truncate(1);
        let mut w = Watch::new(&robot);
        w.forget(MS(0));
        w
    }

    fn told(goal: f64) -> [Told; 1] {
        [Told { goal, wish: goal, torque: 0.7 }]
    }

    /// Feeds a reading every 10 ms until something trips; says what and when.
    fn until(
        w: &mut Watch,
        goal: f64,
        most_ms: u64,
        reading: impl Fn(u64) -> Reading,
    ) -> Option<(u64, Trip)> {
        for ms in (10..=most_ms).step_by(10) {
            let f = Feedback { joints: vec![reading(ms)], retries: 0 };
            if let Some(t) = w.heard(MS(ms), &f, &told(goal)).into_iter().next() {
                return Some((ms, t));
            }
        }
        None
    }

    #[test]
    fn a_calm_joint_never_trips() {
        assert_eq!(until(&mut watch(), 0.0, 10_000, |_| calm(0.0)), None);
        // Standing to the bit near the goal is what a good servo does.
        assert_eq!(until(&mut watch(), 4.0, 10_000, |_| calm(0.0)), None);
    }

    #[test]
    fn heat_warns_holds_and_faults() {
        for (celsius, severity) in [(56.0, Severity::Warn), (62.5, Severity::Hold), (69.0, Severity::Fault)] {
            let (_, t) = until(&mut watch(), 0.0, 100, |_| Reading { celsius, ..calm(0.0) }).unwrap();
            assert_eq!(t.severity(), severity, "{t}");
        }
    }

    #[test]
    fn low_voltage_holds_after_a_moment() {
        let (ms, t) = until(&mut watch(), 0.0, 2000, |_| Reading { volts: 9.0, ..calm(0.0) }).unwrap();
        assert!(matches!(t, Trip::Volts { .. }) && (300..=320).contains(&ms), "{ms} {t}");
    }

    #[test]
    fn alarms_hold_at_once_and_a_failing_sensor_faults() {
        let alarms = Alarms { overload: true, ..Alarms::default() };
        let (ms, t) = until(&mut watch(), 0.0, 100, |_| Reading { alarms, ..calm(0.0) }).unwrap();
        assert!(ms == 10 && t.severity() == Severity::Hold && t.relieves(), "{ms} {t}");
        let alarms = Alarms { sensor: true, ..Alarms::default() };
        let (_, t) = until(&mut watch(), 0.0, 100, |_| Reading { alarms, ..calm(0.0) }).unwrap();
        assert_eq!(t.severity(), Severity::Fault);
    }

    #[test]
    fn a_blocked_joint_stalls_and_a_stale_one_faults() {
        let blocked = |_| Reading { load: 0.7, ..calm(0.0) };
        let (ms, t) = until(&mut watch(), 20.0, 2000, blocked).unwrap();
        assert!(matches!(t, Trip::Stalled { .. }) && (500..=520).contains(&ms), "{ms} {t}");
        // The sensor stands still while the speed register and the low load say that the joint moves.
        let stale = |_| Reading { load: 0.1, speed: 30.0, ..calm(0.0) };
        let (ms, t) = until(&mut watch(), 20.0, 2000, stale).unwrap();
        assert!(matches!(t, Trip::Stale { .. }) && (300..=320).contains(&ms), "{ms} {t}");
    }

    #[test]
    fn a_joint_that_lags_but_moves_is_no_stall() {
        let mut w = watch();
        for ms in (10..2000).step_by(10) {
            let p = ms as f64 * 0.09 - 100.0;
            let f = Feedback { joints: vec![Reading { speed: 90.0, load: 0.4, ..calm(p) }], retries: 0 };
            let trips = w.heard(MS(ms), &f, &[Told { goal: p + 14.0, wish: p + 30.0, torque: 0.7 }]);
            assert_eq!(trips, [], "{ms}");
        }
    }

    #[test]
    fn a_jump_faults_but_only_while_the_joint_holds() {
        let mut w = watch();
        let at = |p| Feedback { joints: vec![calm(p)], retries: 0 };
        assert_eq!(w.heard(MS(10), &at(0.0), &told(0.0)), []);
        assert_eq!(w.heard(MS(20), &at(40.0), &[]), []);
        let trips = w.heard(MS(30), &at(0.0), &told(0.0));
        assert!(matches!(trips[..], [Trip::Jumped { .. }]), "{trips:?}");
    }

    #[test]
    fn a_slip_does_not_hide_behind_a_late_tick() {
        // Of 35 degrees, forwards and backwards, however far the goal is ahead and however late the tick is; forwards the
        // joint may have reached its goal besides.
        for gap in [10, 60, 200, 480, 5000] {
            for goal in [-18.0, -8.0, 0.0, 8.0, 18.0f64] {
                for slip in [-35.0, 35.0 + goal, 35.0, -35.0 + goal] {
                    let mut w = watch();
                    let at = |p| Feedback { joints: vec![calm(p)], retries: 0 };
                    assert_eq!(w.heard(MS(10), &at(0.0), &told(goal)), []);
                    let trips = w.heard(MS(10 + gap), &at(slip), &told(goal));
                    // After seconds without a reading it may be blocked as well, which matters less.
                    let jumped = matches!(trips.first(), Some(Trip::Jumped { .. }));
                    assert!(jumped, "{gap} ms, {goal}, {slip}: {trips:?}");
                }
            }
        }
        // A joint that used the time to go where it was told is no slip.
        let mut w = watch();
        let at = |p| Feedback { joints: vec![Reading { speed: 80.0, ..calm(p) }], retries: 0 };
        assert_eq!(w.heard(MS(10), &at(0.0), &told(30.0)), []);
        assert_eq!(w.heard(MS(400), &at(30.0), &told(31.0)), []);
    }

    #[test]
    fn a_failing_bus_holds_then_faults_and_a_gone_port_faults_at_once() {
        let mut w = watch();
        let bad = DriverError::NoAnswer { joints: vec!["a".into()], why: "silence".into() };
        let mut seen = Vec::new();
        for ms in (10..=600).step_by(10) {
            if let Some(t) = w.failed(MS(ms), &bad).pop() {
                seen.push((ms, t.severity()));
            }
        }
        assert_eq!(seen[0], (30, Severity::Hold));
        assert_eq!(seen.iter().find(|(_, s)| *s == Severity::Fault).unwrap().0, 500);
        let gone = DriverError::Gone { why: "unplugged".into() };
        assert_eq!(watch().failed(MS(10), &gone)[0].severity(), Severity::Fault);
    }
}
