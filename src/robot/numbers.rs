//! The numbers that keep people and arms whole: limits per mode and the thresholds of the watchdogs.
//!
//! All of them have defaults for a small servo arm (SO-101, STS3215 servos, 270 deg/s without load) and live in
//! the robot file. A number that is looser than its default only counts when the robot's name is typed into
//! `raised` (see [`super::file::RobotFile`]).

use serde::{Deserialize, Serialize};

/// How boldly the arm may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// First runs of a policy, with a finger on the dead-man key.
    Cautious,
    /// Everyday use.
    Normal,
    /// As fast as the safety layer ever allows; opt-in.
    Full,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Mode::Cautious => "cautious",
            Mode::Normal => "normal",
            Mode::Full => "full",
        })
    }
}

/// Unit in which a joint is commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Degrees about the middle of the calibrated range.
    #[serde(rename = "deg")]
    Deg,
    /// Per cent of the calibrated range (grippers).
    #[serde(rename = "%")]
    Percent,
}

impl Unit {
    /// The sign to print behind a number.
    pub fn sign(self) -> &'static str {
        match self {
            Unit::Deg => "°",
            Unit::Percent => " %",
        }
    }
}

/// How a joint may move in one mode. All numbers are positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Greatest speed, unit/s.
    pub speed: f64,
    /// Greatest acceleration, unit/s².
    pub acceleration: f64,
    /// Greatest jerk, unit/s³.
    pub jerk: f64,
    /// Greatest torque, as a fraction of the motor's stall torque, 0..=1.
    pub torque: f64,
}

/// Limits of one joint in all modes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeLimits {
    /// In [`Mode::Cautious`].
    pub cautious: Limits,
    /// In [`Mode::Normal`].
    pub normal: Limits,
    /// In [`Mode::Full`].
    pub full: Limits,
}

impl ModeLimits {
    /// Defaults for a joint that is commanded in `unit`.
    pub fn defaults(unit: Unit) -> Self {
        // The jerk lets a joint reach its full acceleration in 50 ms.
        let of = |speed: f64, acceleration: f64, torque: f64| Limits {
            speed,
            acceleration,
            jerk: acceleration / 0.05,
            torque,
        };
        match unit {
            Unit::Deg => Self {
                cautious: of(30.0, 150.0, 0.40),
                normal: of(90.0, 600.0, 0.70),
                full: of(180.0, 1500.0, 0.70),
            },
            Unit::Percent => Self {
                cautious: of(60.0, 400.0, 0.40),
                normal: of(150.0, 1000.0, 0.50),
                full: of(150.0, 1500.0, 0.50),
            },
        }
    }

    /// Limits in one mode.
    pub fn get(&self, mode: Mode) -> Limits {
        match mode {
            Mode::Cautious => self.cautious,
            Mode::Normal => self.normal,
            Mode::Full => self.full,
        }
    }
}

/// Thresholds of the watchdogs and checks. Distances are degrees of the joint (also for grippers, whose per
/// cents are converted by their calibrated range), times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// The calibrated range is used but for this much at both ends.
    pub margin_deg: f64,
    /// The controlling program is silent for this long: Hold.
    pub silent_hold_ms: u64,
    /// ... and for this long: park, and stay stiff.
    pub silent_park_ms: u64,
    /// No fresh action for this long: Fault (the Hold comes at the first tick without one).
    pub starved_fault_ms: u64,
    /// A command that was sent this long ago is dropped.
    pub command_age_ms: u64,
    /// A controller's lease ends when nothing came from it for this long.
    pub lease_ms: u64,
    /// So many failed bus cycles in a row: Hold.
    pub bus_hold_cycles: u32,
    /// No whole answer from the bus for this long: Fault.
    pub bus_fault_ms: u64,
    /// Goal and position are this far apart and the joint does not follow: stalled.
    pub stall_deg: f64,
    /// Load above this fraction of the stall torque: stalled.
    pub stall_load: f64,
    /// Stalled for this long: Hold.
    pub stall_ms: u64,
    /// The position stands to the bit for this long although the goal is elsewhere: Fault.
    pub stale_ms: u64,
    /// ... where elsewhere means further than this.
    pub stale_deg: f64,
    /// Warn above this temperature.
    pub warm_celsius: f64,
    /// Hold above this temperature.
    pub hot_celsius: f64,
    /// Fault above this temperature.
    pub scorching_celsius: f64,
    /// The first action of a chunk may be this far from where the arm stands.
    pub first_step_deg: f64,
    /// ... and is refused beyond this (blended slowly in between).
    pub refused_step_deg: f64,
    /// A reading further from the last one than any motor could have moved, by more than this: Fault.
    pub jump_deg: f64,
    /// Torque after a servo reported overload, heat or voltage, as a fraction of the stall torque.
    pub relief_torque: f64,
    /// Torque at the start of arming.
    pub arm_torque_from: f64,
    /// Time over which the torque rises while arming.
    pub arm_ramp_ms: u64,
    /// Greatest speed while parking and going to a start pose, deg/s.
    pub park_speed: f64,
    /// Longest cautious run.
    pub cautious_run_ms: u64,
    /// How long "release torque" must be held.
    pub release_hold_ms: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            margin_deg: 3.0,
            silent_hold_ms: 300,
            silent_park_ms: 2000,
            starved_fault_ms: 2000,
            command_age_ms: 200,
            lease_ms: 1000,
            bus_hold_cycles: 3,
            bus_fault_ms: 500,
            stall_deg: 12.0,
            stall_load: 0.80,
            stall_ms: 500,
            stale_ms: 300,
            stale_deg: 5.0,
            warm_celsius: 55.0,
            hot_celsius: 62.0,
            scorching_celsius: 68.0,
            first_step_deg: 15.0,
            refused_step_deg: 30.0,
            jump_deg: 15.0,
            relief_torque: 0.30,
            arm_torque_from: 0.20,
            arm_ramp_ms: 500,
            park_speed: 30.0,
            cautious_run_ms: 30_000,
            release_hold_ms: 1000,
        }
    }
}

impl Thresholds {
    /// Names and values of all numbers that are looser than their defaults; names of numbers that make no sense
    /// (not finite, zero or negative) come back in the second list.
    pub fn looser_than_default(&self) -> (Vec<String>, Vec<String>) {
        let d = Self::default();
        let (mut loose, mut wrong) = (Vec::new(), Vec::new());
        // (name, value, default, looser when larger)
        let reals = [
            ("margin_deg", self.margin_deg, d.margin_deg, false),
            ("stall_deg", self.stall_deg, d.stall_deg, true),
            ("stall_load", self.stall_load, d.stall_load, true),
            ("stale_deg", self.stale_deg, d.stale_deg, true),
            ("warm_celsius", self.warm_celsius, d.warm_celsius, true),
            ("hot_celsius", self.hot_celsius, d.hot_celsius, true),
            ("scorching_celsius", self.scorching_celsius, d.scorching_celsius, true),
            ("first_step_deg", self.first_step_deg, d.first_step_deg, true),
            ("refused_step_deg", self.refused_step_deg, d.refused_step_deg, true),
            ("jump_deg", self.jump_deg, d.jump_deg, true),
            ("relief_torque", self.relief_torque, d.relief_torque, true),
            ("arm_torque_from", self.arm_torque_from, d.arm_torque_from, true),
            ("park_speed", self.park_speed, d.park_speed, true),
        ];
        for (name, value, default, looser_up) in reals {
            if !value.is_finite() || value < 0.0 || (value == 0.0 && name != "margin_deg") {
                wrong.push(format!("watch.{name} = {value}"));
            } else if (looser_up && value > default) || (!looser_up && value < default) {
                loose.push(format!("watch.{name} = {value} (usual: {default})"));
            }
        }
        let times = [
            ("silent_hold_ms", self.silent_hold_ms, d.silent_hold_ms, true),
            ("silent_park_ms", self.silent_park_ms, d.silent_park_ms, true),
            ("starved_fault_ms", self.starved_fault_ms, d.starved_fault_ms, true),
            ("command_age_ms", self.command_age_ms, d.command_age_ms, true),
            ("lease_ms", self.lease_ms, d.lease_ms, true),
            ("bus_hold_cycles", u64::from(self.bus_hold_cycles), u64::from(d.bus_hold_cycles), true),
            ("bus_fault_ms", self.bus_fault_ms, d.bus_fault_ms, true),
            ("stall_ms", self.stall_ms, d.stall_ms, true),
            ("stale_ms", self.stale_ms, d.stale_ms, true),
            ("arm_ramp_ms", self.arm_ramp_ms, d.arm_ramp_ms, false),
            ("cautious_run_ms", self.cautious_run_ms, d.cautious_run_ms, true),
            ("release_hold_ms", self.release_hold_ms, d.release_hold_ms, false),
        ];
        for (name, value, default, looser_up) in times {
            if value == 0 || value > 3_600_000 {
                wrong.push(format!("watch.{name} = {value}"));
            } else if (looser_up && value > default) || (!looser_up && value < default) {
                loose.push(format!("watch.{name} = {value} (usual: {default})"));
            }
        }
        (loose, wrong)
    }
}
