//! What every kind of robot can do for the safety layer, and how it fails.

use super::calibration::Calibration;
use super::safety::order::{CalibrationOrder, GoalOrder, PrepareOrder, TorqueOrder};

/// What one joint says of itself in one cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Position, unit of the joint.
    pub position: f64,
    /// Position in the motor's own steps (to see whether it stands to the bit).
    pub steps: i32,
    /// Speed, unit/s.
    pub speed: f64,
    /// Load, fraction of the stall torque, -1..=1.
    pub load: f64,
    /// Supply, volts.
    pub volts: f64,
    /// Temperature, degrees Celsius.
    pub celsius: f64,
    /// Current, ampere.
    pub amps: f64,
    /// Alarms that the motor itself raises.
    pub alarms: Alarms,
}

/// Alarms that a motor raises by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// Supply voltage outside its limits.
    pub voltage: bool,
    /// Its position sensor fails.
    pub sensor: bool,
    /// Too hot.
    pub heat: bool,
    /// Too much current.
    pub current: bool,
    /// Too much torque for too long.
    pub overload: bool,
}

impl Alarms {
    /// Whether any is raised.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    /// In words.
    pub fn words(&self) -> String {
        let names = [
            (self.voltage, "supply voltage"),
            (self.sensor, "position sensor"),
            (self.heat, "overheated"),
            (self.current, "too much current"),
            (self.overload, "overloaded"),
        ];
        names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// One cycle's answer of all joints, in the order of the robot file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// One reading a joint.
    pub joints: Vec<Reading>,
    /// Requests that had to be repeated in this cycle.
    pub retries: u32,
}

/// What a joint's command registers say (read now and then, to see that the motor still does as told).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Whether the motor holds.
    pub torque: bool,
    /// Its goal, unit of the joint.
    pub goal: f64,
    /// Its torque limit, fraction of the stall torque.
    pub torque_limit: f64,
}

/// What was found when a robot was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// In words, for the person: port, models, firmware.
    pub description: String,
    /// Calibration stored in the motors, where there is such a thing.
    pub calibration: Option<Vec<Calibration>>,
    /// Joints that hold already (an earlier program left them stiff).
    pub stiff: Vec<bool>,
}

/// Why a robot did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The port is not there.
    #[error("no robot on {port}: {why}. Plug in its USB cable and switch on its power, then connect again")]
    NotFound {
        /// Which port.
        port: String,
        /// What the system said.
        why: String,
    },
    /// Another program has the port.
    #[error("{port} is in use by another program. Close that program, then connect again")]
    Busy {
        /// Which port.
        port: String,
    },
    /// The port went away while it was used.
    #[error(
        "the connection to the robot is gone ({why}). Check the USB cable and the power, then connect again"
    )]
    Gone {
        /// What the system said.
        why: String,
    },
    /// Some joints do not answer, or not soundly, after all retries.
    #[error("no sound answer from {}: {why}. Check the cable between the motors", joints.join(", "))]
    NoAnswer {
        /// Names of the joints.
        joints: Vec<String>,
        /// What came instead.
        why: String,
    },
    /// A joint is not what the robot file says, or refused a setting.
    #[error("{joint}: {why}")]
    Wrong {
        /// Which joint.
        joint: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The driver is not open.
    #[error("the robot is not connected")]
    Closed,
    /// This build or machine cannot drive such a robot.
    #[error("{0}")]
    Unsupported(String),
}

impl DriverError {
    /// Whether the port itself is gone, so that only opening it again can help.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::NotFound { .. } | Self::Closed)
    }
}

/// Takes a picture with a camera; may be called from any thread.
pub type Eye = std::sync::Arc<dyn Fn(&super::file::CameraFile) -> Option<crate::Frame> + Send + Sync>;

/// A robot's motors. Everything that moves them takes an order, and orders are made by the safety layer alone.
pub trait Driver: Send {
    /// Finds and opens the robot, and checks that it is the one of the robot file. Writes nothing that moves it,
    /// stiffens it or lets it go.
    fn open(&mut self) -> Result<Identity, DriverError>;
    /// Closes the port. Motors keep doing what they do.
    fn close(&mut self);
    /// Reads all joints once, with retries.
    fn read(&mut self) -> Result<Feedback, DriverError>;
    /// Reads the command registers of all joints.
    fn standing(&mut self) -> Result<Vec<Standing>, DriverError>;
    /// Sets the motors' own limits, before their torque comes on; also undoes it.
    fn prepare(&mut self, order: &PrepareOrder) -> Result<(), DriverError>;
    /// Sends goals to all joints.
    fn command(&mut self, order: &GoalOrder) -> Result<(), DriverError>;
    /// Switches torque.
    fn torque(&mut self, order: &TorqueOrder) -> Result<(), DriverError>;
    /// Cameras that come with the robot itself (`source = "tabletop"`).
    fn eye(&self) -> Option<Eye> {
        None
    }
    /// Stores a calibration in the motors (limp arms only), after keeping what is there.
    fn store_calibration(&mut self, order: &CalibrationOrder) -> Result<(), DriverError>;
}
