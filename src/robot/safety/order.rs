//! Orders to motors. They can be read by every driver and made only by the safety layer.
//!
//! ```compile_fail
//! // No constructor, no public field: a command that did not pass the safety layer cannot be written down.
//! let order = forerun::robot::safety::order::GoalOrder { goals: vec![] };
//! ```

use super::super::calibration::Calibration;

/// One joint's part of a [`GoalOrder`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JointGoal {
    pub(super) position: f64,
    pub(super) speed_cap: f64,
    pub(super) acceleration_cap: f64,
    pub(super) torque: f64,
}

impl JointGoal {
    /// Goal position, unit of the joint: finite and inside its bounds.
    pub fn position(&self) -> f64 {
        self.position
    }
    /// Second line of defence in the motor: speed, unit/s.
    pub fn speed_cap(&self) -> f64 {
        self.speed_cap
    }
    /// Second line of defence in the motor: acceleration, unit/s².
    pub fn acceleration_cap(&self) -> f64 {
        self.acceleration_cap
    }
    /// Torque limit, fraction of the stall torque.
    pub fn torque(&self) -> f64 {
        self.torque
    }
}

/// The goals of all joints for one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalOrder {
    pub(super) goals: Vec<JointGoal>,
}

impl GoalOrder {
    /// One goal a joint, in the order of the robot file.
    pub fn joints(&self) -> &[JointGoal] {
        &self.goals
    }
}

/// The motors' own limits, to be set before torque comes on (or set back).
#[derive(Clone, Debug, PartialEq)]
pub struct PrepareOrder {
    pub(super) bounds: Option<Vec<(f64, f64)>>,
}

impl PrepareOrder {
    /// Position bounds of every joint in its unit; `None` puts the calibrated ranges back.
    pub fn bounds(&self) -> Option<&[(f64, f64)]> {
        self.bounds.as_deref()
    }
}

/// Torque of all joints on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TorqueOrder {
    pub(super) on: bool,
}

impl TorqueOrder {
    /// Whether the motors shall hold.
    pub fn on(&self) -> bool {
        self.on
    }
}

/// A calibration to store in the motors.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationOrder {
    pub(super) joints: Vec<Calibration>,
}

impl CalibrationOrder {
    /// One calibration a joint, in the order of the robot file.
    pub fn joints(&self) -> &[Calibration] {
        &self.joints
    }
}
