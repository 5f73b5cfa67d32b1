//! Why the safety layer stopped the arm, in words that help.

use serde::{Deserialize, Serialize};

/// What a trip leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A warning; nothing changes.
    Warn,
    /// The arm decelerates and holds; a person resumes.
    Hold,
    /// The arm decelerates and holds; a person must acknowledge first.
    Fault,
}

/// Why a proposed chunk of actions was not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// No action in it.
    #[error("the policy sent no actions")]
    Empty,
    /// More actions than any policy needs.
    #[error("the policy sent {found} actions at once; {most} is the most")]
    TooMany {
        /// Number of actions.
        found: usize,
        /// Greatest number.
        most: usize,
    },
    /// The time between its actions makes no sense.
    #[error("the policy's actions are {milliseconds} ms apart; 1 to 2000 ms are possible")]
    Period {
        /// Time between actions.
        milliseconds: u64,
    },
    /// An action has the wrong number of joints.
    #[error(
        "action {index} has {found} numbers, the robot has {expected} joints: this policy is for another robot"
    )]
    WrongLength {
        /// Which action of the chunk, from 0.
        index: usize,
        /// Numbers in it.
        found: usize,
        /// Joints of the robot.
        expected: usize,
    },
    /// A number is not finite.
    #[error("action {index} has {value} for {joint}: the policy is broken")]
    NotFinite {
        /// Which action of the chunk, from 0.
        index: usize,
        /// Joint.
        joint: String,
        /// `NaN`, `inf` or `-inf`.
        value: String,
    },
    /// A number is far outside of what the policy was trained on.
    #[error("action {index} asks {joint} for {value:.1}, its training data has {low:.1} to {high:.1}")]
    OutsideData {
        /// Which action of the chunk, from 0.
        index: usize,
        /// Joint.
        joint: String,
        /// Its value.
        value: f64,
        /// Smallest allowed value.
        low: f64,
        /// Largest allowed value.
        high: f64,
    },
    /// The chunk starts far from where the arm stands.
    #[error(
        "the first action is {degrees:.0}° away from where {joint} stands (at most {most:.0}°): use \"go to start pose\" first"
    )]
    TooFar {
        /// Joint.
        joint: String,
        /// How far.
        degrees: f64,
        /// Greatest distance.
        most: f64,
    },
    /// The policy takes too long for the length of its chunks.
    #[error(
        "the policy answers after {latency_ms} ms (95 of 100 times), its chunks last {horizon_ms} ms: they must last twice the delay. Use longer chunks or a faster machine"
    )]
    TooSlow {
        /// 95th percentile of the delay.
        latency_ms: u64,
        /// Length of a chunk.
        horizon_ms: u64,
    },
    /// Sent too long ago: dropped, never queued up.
    #[error("the command was sent {age_ms} ms ago and was dropped")]
    Old {
        /// How long ago.
        age_ms: u64,
    },
    /// All its actions are for times that have passed: dropped.
    #[error("all actions of the chunk are for times that have passed; it was dropped")]
    Past,
}

impl Refusal {
    /// What it leads to: a late chunk is only dropped (the watchdog for fresh actions sees to the rest).
    pub fn severity(&self) -> Severity {
        match self {
            Self::Old { .. } | Self::Past => Severity::Warn,
            Self::NotFinite { .. } => Severity::Fault,
            _ => Severity::Hold,
        }
    }
}

/// Why the safety layer stopped the arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "trip", rename_all = "snake_case")]
pub enum Trip {
    /// A person or a program pressed Stop.
    #[error("stopped by {by}")]
    Stopped {
        /// Who: `Esc`, `a client`, `SIGINT`...
        by: String,
    },
    /// Parking was asked for.
    #[error("parking, asked for by {by}")]
    Parked {
        /// Who.
        by: String,
    },
    /// A fault was acknowledged; the arm holds.
    #[error("the fault was acknowledged; the arm holds")]
    Acknowledged,
    /// The controlling program went silent.
    #[error("the controlling program was silent for {ms} ms; it may have crashed or hung")]
    Silent {
        /// How long.
        ms: u64,
    },
    /// The dead-man key was let go.
    #[error("the dead-man key was let go")]
    DeadMan,
    /// A run has a longest time.
    #[error("a cautious run ends after {seconds} s")]
    TimeUp {
        /// How long.
        seconds: u64,
    },
    /// No fresh action.
    #[error("no fresh action from the policy")]
    Starved,
    /// No fresh action for long.
    #[error("no fresh action from the policy for {ms} ms; it may have crashed or hung")]
    StarvedLong {
        /// How long.
        ms: u64,
    },
    /// A chunk was refused.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// Several bus cycles failed in a row.
    #[error("the motors did not answer {cycles} times in a row ({why})")]
    BusTrouble {
        /// How many cycles.
        cycles: u32,
        /// What came instead.
        why: String,
    },
    /// No whole answer for long.
    #[error("the motors have not answered for {ms} ms ({why})")]
    BusLost {
        /// How long.
        ms: u64,
        /// What came instead.
        why: String,
    },
    /// The port is gone.
    #[error("{why}")]
    PortGone {
        /// What the system said.
        why: String,
    },
    /// A motor raised alarms.
    #[error("{joint} reports: {alarms}. Its torque was lowered")]
    Alarm {
        /// Joint.
        joint: String,
        /// In words.
        alarms: String,
    },
    /// A motor's position sensor fails.
    #[error("{joint} reports that its position sensor fails")]
    Sensor {
        /// Joint.
        joint: String,
    },
    /// A joint does not follow.
    #[error(
        "{joint} is blocked or overloaded: {degrees:.0}° behind its goal with {load:.0} % load. It backs off"
    )]
    Stalled {
        /// Joint.
        joint: String,
        /// Distance between goal and position.
        degrees: f64,
        /// Load, per cent of the stall torque.
        load: f64,
    },
    /// A joint's position stands to the bit although it should move.
    #[error(
        "{joint} reports the same position for {ms} ms although it should move: its sensor or its cable fails"
    )]
    Stale {
        /// Joint.
        joint: String,
        /// How long.
        ms: u64,
    },
    /// A position jumped further than a motor can move.
    #[error("{joint} jumped by {degrees:.0}° between two readings: its magnet or its calibration slipped")]
    Jumped {
        /// Joint.
        joint: String,
        /// How far.
        degrees: f64,
    },
    /// A joint is beyond its calibrated range.
    #[error("{joint} shows {position:.0}, beyond its calibrated range: calibrate it again")]
    OutOfRange {
        /// Joint.
        joint: String,
        /// Position in its unit.
        position: f64,
    },
    /// A motor is warm.
    #[error("{joint} is warm ({celsius:.0} °C)")]
    Warm {
        /// Joint.
        joint: String,
        /// Temperature.
        celsius: f64,
    },
    /// A motor is hot.
    #[error("{joint} is hot ({celsius:.0} °C). Let it cool down")]
    Hot {
        /// Joint.
        joint: String,
        /// Temperature.
        celsius: f64,
    },
    /// A motor is close to damage.
    #[error("{joint} is {celsius:.0} °C hot. Switch the power off when the arm lies safely")]
    Scorching {
        /// Joint.
        joint: String,
        /// Temperature.
        celsius: f64,
    },
    /// The supply voltage is outside of its range.
    #[error(
        "{joint} is supplied with {volts:.1} V; {low:.1} to {high:.1} V is right. Check the power supply"
    )]
    Volts {
        /// Joint.
        joint: String,
        /// Supply.
        volts: f64,
        /// Lowest.
        low: f64,
        /// Highest.
        high: f64,
    },
    /// A motor let go by itself.
    #[error("{joint} has let go by itself (a short loss of power, or it protected itself)")]
    LetGo {
        /// Joint.
        joint: String,
    },
    /// A camera is late, frozen or dark.
    #[error("camera {camera}: {why}")]
    Camera {
        /// Camera.
        camera: String,
        /// What is wrong.
        why: String,
    },
}

impl Trip {
    /// The joint whose position is not to be believed any more: what it shows must not be steered by.
    pub fn unbelieved(&self) -> Option<&str> {
        match self {
            Self::Sensor { joint } | Self::Stale { joint, .. } | Self::Jumped { joint, .. } => Some(joint),
            _ => None,
        }
    }

    /// What it leads to.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Warm { .. } => Severity::Warn,
            Self::Refused { refusal } => refusal.severity(),
            Self::StarvedLong { .. }
            | Self::BusLost { .. }
            | Self::PortGone { .. }
            | Self::Sensor { .. }
            | Self::Stale { .. }
            | Self::Jumped { .. }
            | Self::OutOfRange { .. }
            | Self::Scorching { .. }
            | Self::LetGo { .. } => Severity::Fault,
            _ => Severity::Hold,
        }
    }

    /// Whether the torque is lowered along with it.
    pub fn relieves(&self) -> bool {
        matches!(self, Self::Alarm { .. } | Self::Scorching { .. })
    }
}
