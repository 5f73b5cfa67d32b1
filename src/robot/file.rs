//! The robot file `ROBOT.toml`: which robot, on which port, with which joints, limits and cameras.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::numbers::{Limits, Mode, ModeLimits, Thresholds, Unit};

/// The newest `format` of `ROBOT.toml` that this version reads.
pub const ROBOT_FORMAT: u32 = 1;

/// No joint may ever be asked to move faster than this, whatever is typed: the no-load speed of the servo, deg/s.
pub const GREATEST_SPEED: f64 = 270.0;

/// What speaks to the motors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// Feetech STS/SMS servos on a serial bus (SO-100, SO-101).
    Feetech,
    /// Dynamixel X servos by protocol 2.0 on a serial bus (Koch, ALOHA).
    Dynamixel,
    /// The virtual world's arm, in real time.
    Tabletop,
    /// A robot behind ROS 2, through rosbridge.
    Ros2,
}

/// Where a robot behind ROS 2 is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RosFile {
    /// Address of its rosbridge: `ws://127.0.0.1:9090`. Whoever reaches a rosbridge may move its robot: keep it on this
    /// machine or behind a tunnel.
    pub url: String,
    /// Topic of its joint states.
    #[serde(default = "joint_states")]
    pub states: String,
    /// Topic of its trajectory controller.
    #[serde(default = "joint_trajectory")]
    pub trajectory: String,
    /// Radians of 0 and 100 per cent, for grippers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, [f64; 2]>,
}

fn joint_states() -> String {
    "/joint_states".into()
}

fn joint_trajectory() -> String {
    "/joint_trajectory_controller/joint_trajectory".into()
}

/// What stays when the agent ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnQuit {
    /// Park, then keep holding: nothing falls. The servos hold until their power goes.
    #[default]
    StayStiff,
    /// Park, then let go: for arms whose rest pose lies on something.
    ReleaseWhenParked,
}

/// Where the port is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFile {
    /// USB serial number of the adapter (part of a name under `/dev/serial/by-id`). Survives replugging.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// A path instead, for ports without a serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Bits a second.
    #[serde(default = "default_baud")]
    pub baud: u32,
    /// How long to wait for an answer of the bus, 2..=20 ms. USB adapters differ; the watchdogs' times do not depend
    /// on it.
    #[serde(default = "default_answer_ms")]
    pub answer_ms: u64,
}

impl Default for PortFile {
    fn default() -> Self {
        Self { serial: None, path: None, baud: default_baud(), answer_ms: default_answer_ms() }
    }
}

fn default_answer_ms() -> u64 {
    12
}

fn default_baud() -> u32 {
    1_000_000
}

/// Rates of the loops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Control ticks a second, 20..=250.
    pub control_hz: f64,
    /// Telemetry messages a second, 1..=100.
    pub telemetry_hz: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { control_hz: 100.0, telemetry_hz: 20.0 }
    }
}

/// One joint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JointFile {
    /// Name without suffix, as LeRobot has it: `shoulder_pan`. Its channel is `shoulder_pan.pos`.
    pub name: String,
    /// Servo id, 1..=253.
    pub id: u8,
    /// Unit of its commands.
    pub unit: Unit,
    /// Smallest and largest position that a person allows, in `unit`; the calibrated range counts as well.
    pub range: [f64; 2],
    /// Calibration; without one the arm cannot be armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Limits per mode; defaults by unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ModeLimits>,
}

impl JointFile {
    /// Limits in one mode.
    pub fn limits(&self, mode: Mode) -> Limits {
        self.limits.unwrap_or_else(|| ModeLimits::defaults(self.unit)).get(mode)
    }

    /// Degrees of the joint for one of its units.
    pub fn degrees_per_unit(&self) -> f64 {
        self.calibration.map_or(1.0, |c| c.degrees_per(self.unit))
    }
}

/// One camera that a policy on this robot looks through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraFile {
    /// Name, as in datasets: `front`.
    pub name: String,
    /// Pictures a second.
    pub fps: f64,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether a run needs it: a late or frozen picture then holds the arm.
    #[serde(default = "yes")]
    pub required: bool,
    /// Where its pictures come from: `tabletop` (the virtual world), `v4l2:/dev/video0` (a camera of this machine; Linux),
    /// or `file:PATH`, a picture that another program writes again and again (whole, by renaming). Without one, a program
    /// reports what it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

fn yes() -> bool {
    true
}

/// A robot, as `ROBOT.toml` describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RobotFile {
    /// Version of the file.
    pub format: u32,
    /// Name that the person gave it; typed to confirm dangerous things.
    pub name: String,
    /// Kind of body: `so101`.
    #[serde(default)]
    pub embodiment: String,
    /// What speaks to the motors.
    pub driver: DriverKind,
    /// Supply voltage of the kit, volts: 12 or 7.4.
    #[serde(default = "twelve")]
    pub supply_volts: f64,
    /// What stays when the agent ends.
    #[serde(default)]
    pub on_quit: OnQuit,
    /// Scene of the virtual world, for its arm only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scene_seed: Option<u64>,
    /// The robot's name, typed by a person who has understood that numbers in this file are looser than usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<String>,
    /// Where the port is found.
    #[serde(default)]
    pub port: PortFile,
    /// Where a robot behind ROS 2 is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ros: Option<RosFile>,
    /// Rates of the loops.
    #[serde(default)]
    pub rates: Rates,
    /// Pose to park in, by joint; joints without one go back to where they were armed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rest: BTreeMap<String, f64>,
    /// Thresholds of the watchdogs.
    #[serde(default)]
    pub watch: Thresholds,
    /// Joints, in the order of commands.
    #[serde(default, rename = "joint")]
    pub joints: Vec<JointFile>,
    /// Cameras.
    #[serde(default, rename = "camera", skip_serializing_if = "Vec::is_empty")]
    pub cameras: Vec<CameraFile>,
}

fn twelve() -> f64 {
    12.0
}

/// Why a robot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RobotFileError {
    /// The file cannot be read or written.
    #[error("the robot file {path} cannot be opened ({source}); check the path and its permissions")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no robot file.
    #[error("{path} is not a robot file: {why}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        why: String,
    },
    /// It was written by a newer version.
    #[error("this robot file has format {found}, this version reads up to {ROBOT_FORMAT}; update Forerun")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// Something in it cannot be.
    #[error("the robot file cannot be used: {why}")]
    Wrong {
        /// What, and what would be right.
        why: String,
    },
    /// Looser numbers without the typed confirmation.
    #[error(
        "these numbers are looser than usual: {}. If that is meant, add the line  raised = \"{name}\"  (the robot's name, typed by you)",
        numbers.join(", ")
    )]
    Raised {
        /// The robot's name.
        name: String,
        /// The numbers.
        numbers: Vec<String>,
    },
}

impl RobotFile {
    /// An SO-101 with the usual numbers and no calibration yet.
    pub fn so101(name: &str) -> Self {
        let joint = |name: &str, id: u8, unit: Unit, range: [f64; 2]| JointFile {
            name: name.into(),
            id,
            unit,
            range,
            calibration: None,
            limits: None,
        };
        Self {
            format: ROBOT_FORMAT,
            name: name.into(),
            embodiment: "so101".into(),
            driver: DriverKind::Feetech,
            supply_volts: 12.0,
            on_quit: OnQuit::StayStiff,
            scene_seed: None,
            raised: None,
            port: PortFile::default(),
            ros: None,
            rates: Rates::default(),
            rest: BTreeMap::new(),
            watch: Thresholds::default(),
            joints: vec![
                joint("shoulder_pan", 1, Unit::Deg, [-120.0, 120.0]),
                joint("shoulder_lift", 2, Unit::Deg, [-120.0, 120.0]),
                joint("elbow_flex", 3, Unit::Deg, [-120.0, 120.0]),
                joint("wrist_flex", 4, Unit::Deg, [-120.0, 120.0]),
                joint("wrist_roll", 5, Unit::Deg, [-178.0, 178.0]),
                joint("gripper", 6, Unit::Percent, [0.0, 100.0]),
            ],
            cameras: Vec::new(),
        }
    }

    /// The arm of the virtual world, with a camera of `size` x `size` pixels.
    pub fn tabletop(name: &str, size: u32) -> Self {
        let mut robot = Self::so101(name);
        robot.driver = DriverKind::Tabletop;
        for (i, joint) in robot.joints.iter_mut().enumerate() {
            let limits = crate::world::JOINT_LIMITS.get(i).copied().unwrap_or([-90.0, 90.0]);
            let [low, high] = limits.map(f64::from);
            // The virtual joints' ranges lie evenly about 0 degrees, the middle of a servo's turn; a gripper unit is
            // half a degree.
            let degrees = if joint.unit == Unit::Deg { high - low } else { 50.0 };
            let half = (degrees / 2.0 / super::calibration::DEGREES_PER_STEP).round() as i32;
            let (range_min, range_max) = (2047 - half, 2047 + half);
            joint.calibration = Some(Calibration { drive_mode: 0, homing_offset: 0, range_min, range_max });
            joint.range = [low, high];
        }
        robot.cameras = vec![CameraFile {
            name: "front".into(),
            fps: 10.0,
            width: size,
            height: size,
            required: true,
            source: Some("tabletop".into()),
        }];
        robot
    }

    /// Reads and checks a robot file.
    pub fn read(path: &Path) -> Result<Self, RobotFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RobotFileError::Io { path: path.into(), source })?;
        Self::parse(&text).map_err(|e| match e {
            RobotFileError::Syntax { why, .. } => RobotFileError::Syntax { path: path.into(), why },
            other => other,
        })
    }

    /// Reads and checks the text of a robot file.
    pub fn parse(text: &str) -> Result<Self, RobotFileError> {
        let syntax = |e: toml::de::Error| RobotFileError::Syntax {
            path: PathBuf::new(),
            why: e.to_string().trim().into(),
        };
        // The format is looked at first: a newer file may have anything else in it.
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = toml::from_str(text).map_err(syntax)?;
        if head.format > ROBOT_FORMAT {
            return Err(RobotFileError::Newer { found: head.format });
        }
        let robot: Self = toml::from_str(text).map_err(syntax)?;
        robot.check()?;
        Ok(robot)
    }

    /// Writes the file: whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RobotFileError> {
        self.check()?;
        let text = toml::to_string(self).map_err(|e| RobotFileError::Wrong { why: e.to_string() })?;
        super::write_whole(path, text.as_bytes())
            .map_err(|source| RobotFileError::Io { path: path.into(), source })
    }

    /// Checks every number: sense first, then the confirmation for numbers that are looser than usual.
    pub fn check(&self) -> Result<(), RobotFileError> {
        let wrong = |why: String| Err(RobotFileError::Wrong { why });
        if self.name.trim().is_empty() {
            return wrong("the robot needs a name".into());
        }
        if self.joints.is_empty() || self.joints.len() > 32 {
            return wrong(format!("it has {} joints; 1 to 32 are possible", self.joints.len()));
        }
        if !(20.0..=250.0).contains(&self.rates.control_hz)
            || !(1.0..=100.0).contains(&self.rates.telemetry_hz)
        {
            return wrong("rates must be control_hz 20..250 and telemetry_hz 1..100".into());
        }
        if !(2..=20).contains(&self.port.answer_ms) {
            return wrong(format!("port.answer_ms = {} (2 to 20 are possible)", self.port.answer_ms));
        }
        if !(5.0..=30.0).contains(&self.supply_volts) {
            return wrong(format!("supply_volts = {} (12 or 7.4 are the usual kits)", self.supply_volts));
        }
        let (mut loose, nonsense) = self.watch.looser_than_default();
        if !nonsense.is_empty() {
            return wrong(format!("{} (must be above zero)", nonsense.join(", ")));
        }
        for (i, joint) in self.joints.iter().enumerate() {
            self.check_joint(i, joint, &mut loose)?;
        }
        for name in self.rest.keys() {
            if !self.joints.iter().any(|j| &j.name == name) {
                return wrong(format!("rest names the joint {name:?}, which the robot does not have"));
            }
        }
        if self.rest.values().any(|v| !v.is_finite()) {
            return wrong("rest has a number that is not finite".into());
        }
        for camera in &self.cameras {
            if !(0.1..=1000.0).contains(&camera.fps) || camera.width == 0 || camera.height == 0 {
                return wrong(format!("camera {:?} needs fps, width and height", camera.name));
            }
        }
        if !loose.is_empty() && self.raised.as_deref() != Some(self.name.as_str()) {
            return Err(RobotFileError::Raised { name: self.name.clone(), numbers: loose });
        }
        Ok(())
    }

    fn check_joint(
        &self,
        index: usize,
        joint: &JointFile,
        loose: &mut Vec<String>,
    ) -> Result<(), RobotFileError> {
        let wrong = |why: String| Err(RobotFileError::Wrong { why });
        let name = &joint.name;
        if name.trim().is_empty() {
            return wrong(format!("joint {} has no name", index + 1));
        }
        if self.joints.iter().take(index).any(|j| j.name == *name || j.id == joint.id) {
            return wrong(format!("two joints are called {name:?} or have the id {}", joint.id));
        }
        if !(1..=253).contains(&joint.id) {
            return wrong(format!("{name} has id {}; servo ids are 1 to 253", joint.id));
        }
        let [lo, hi] = joint.range;
        if !(lo.is_finite() && hi.is_finite() && lo < hi && lo.abs() <= 36_000.0 && hi.abs() <= 36_000.0) {
            return wrong(format!("{name} has the range {lo}..{hi}"));
        }
        if let Some(c) = joint.calibration {
            if !c.is_sound() {
                return wrong(format!("{name} has a calibration that cannot be; calibrate it again"));
            }
            let (lo, hi) = self.bounds(joint);
            if lo >= hi {
                return wrong(format!("{name}: its range and its calibrated range do not overlap"));
            }
        }
        let usual = ModeLimits::defaults(joint.unit);
        for mode in [Mode::Cautious, Mode::Normal, Mode::Full] {
            let (l, u) = (joint.limits(mode), usual.get(mode));
            let numbers = [
                ("speed", l.speed, u.speed),
                ("acceleration", l.acceleration, u.acceleration),
                ("jerk", l.jerk, u.jerk),
                ("torque", l.torque, u.torque),
            ];
            for (what, value, usual) in numbers {
                if !value.is_finite() || value <= 0.0 {
                    return wrong(format!("{name}: {mode} {what} = {value} (must be above zero)"));
                }
                if value > usual {
                    loose.push(format!("{name} {mode} {what} = {value} (usual: {usual})"));
                }
            }
            if l.speed > GREATEST_SPEED || l.torque > 1.0 || l.acceleration > 1e5 || l.jerk > 1e7 {
                return wrong(format!("{name}: the {mode} limits are beyond what such a motor can do"));
            }
        }
        Ok(())
    }

    /// Smallest and largest position that a joint may be commanded to, in its unit: the calibrated range less
    /// the margin, and the range that the person allows.
    pub fn bounds(&self, joint: &JointFile) -> (f64, f64) {
        let (lo, hi) = joint
            .calibration
            .map_or((f64::NEG_INFINITY, f64::INFINITY), |c| c.bounds(joint.unit, self.watch.margin_deg));
        let [a, b] = joint.range;
        (lo.max(a), hi.min(b))
    }

    /// Lowest and highest supply voltage that is sound for this kit, volts.
    pub fn volts(&self) -> (f64, f64) {
        // 12 V kit: 10..13 V; 7.4 V kit: 6..8.6 V; others in proportion.
        match self.supply_volts {
            v if (v - 12.0).abs() < 0.01 => (10.0, 13.0),
            v if (v - 7.4).abs() < 0.01 => (6.0, 8.6),
            v => (v * 0.83, v * 1.1),
        }
    }

    /// Names of the joints' channels, in the order of commands: `shoulder_pan.pos`.
    pub fn channels(&self) -> Vec<String> {
        self.joints.iter().map(|j| format!("{}.pos", j.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_robot_goes_through_its_file_unchanged() {
        let mut robot = RobotFile::so101("left arm");
        robot.joints[0].calibration =
            Some(Calibration { drive_mode: 0, homing_offset: 3, range_min: 700, range_max: 3400 });
        robot.joints[1].limits = Some(ModeLimits::defaults(Unit::Deg));
        robot.rest.insert("gripper".into(), 10.0);
        robot.cameras.push(CameraFile {
            name: "front".into(),
            fps: 30.0,
            width: 640,
            height: 480,
            required: true,
            source: None,
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("robot.toml");
        robot.write(&path).unwrap();
        assert_eq!(RobotFile::read(&path).unwrap(), robot);
    }

    #[test]
    fn a_small_file_gets_the_usual_numbers() {
        let robot = RobotFile::parse(
            "format = 1\nname = 'arm'\ndriver = 'feetech'\n[[joint]]\nname = 'a'\nid = 1\nunit = 'deg'\nrange = [-90, 90]\n",
        )
        .unwrap();
        assert_eq!(robot.joints[0].limits(Mode::Cautious).speed, 30.0);
        assert_eq!(robot.watch, Thresholds::default());
        assert_eq!(robot.rates.control_hz, 100.0);
        assert_eq!(robot.volts(), (10.0, 13.0));
    }

    #[test]
    fn looser_numbers_need_the_robots_name() {
        let mut robot = RobotFile::so101("arm");
        let mut limits = ModeLimits::defaults(Unit::Deg);
        limits.cautious.speed = 45.0;
        robot.joints[2].limits = Some(limits);
        robot.watch.silent_hold_ms = 900;
        let text = robot.check().unwrap_err().to_string();
        assert!(text.contains("elbow_flex cautious speed = 45") && text.contains("silent_hold_ms"), "{text}");
        robot.raised = Some("another".into());
        assert!(robot.check().is_err());
        robot.raised = Some("arm".into());
        robot.check().unwrap();
        // Nothing that is typed allows what a motor cannot do, or nonsense.
        limits.full.speed = 400.0;
        robot.joints[2].limits = Some(limits);
        assert!(robot.check().is_err());
        limits.full.speed = f64::NAN;
        robot.joints[2].limits = Some(limits);
        assert!(robot.check().is_err());
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        let cases = [
            ("format = 9\nwhatever = true", "update Forerun"),
            ("name = 3", "format"),
            ("format = 1\nname = 'a'\ndriver = 'feetech'", "0 joints"),
        ];
        for (text, expected) in cases {
            let error = RobotFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let mut robot = RobotFile::so101("a");
        robot.joints[1].id = 1;
        assert!(robot.check().unwrap_err().to_string().contains("id 1"));
        let mut robot = RobotFile::so101("a");
        robot.watch.stall_ms = 0;
        assert!(robot.check().is_err());
    }
}
