//! `manifest.json`: what is in a bundle, and for which robot it is.

use serde::{Deserialize, Serialize};

use super::super::file::{CameraFile, RobotFile};
use super::super::numbers::Unit;
use super::BundleError;

/// The newest `format` of a manifest that this version reads.
pub const MANIFEST_FORMAT: u32 = 1;

/// One file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Path inside the bundle, with `/`.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// sha256, lower-case hexadecimal digits.
    pub sha256: String,
}

/// One joint that the policy commands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleJoint {
    /// Name without suffix: `shoulder_pan`.
    pub name: String,
    /// Unit of its numbers.
    pub unit: Unit,
    /// Homing offset of the arm that the data came from, steps, where known.
    #[serde(default)]
    pub homing_offset: Option<i32>,
    /// 1st and 99th percentile of its actions in the training data, where known.
    #[serde(default)]
    pub data: Option<(f64, f64)>,
}

/// What is in a bundle, and for which robot it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the file.
    pub format: u32,
    /// Name of the policy.
    pub name: String,
    /// Kind of body: `so101`.
    pub embodiment: String,
    /// Joints in the order of the policy's outputs.
    pub joints: Vec<BundleJoint>,
    /// Actions a second.
    pub rate_hz: f64,
    /// Cameras that the policy looks through.
    #[serde(default)]
    pub cameras: Vec<CameraFile>,
    /// Normalisation of inputs and outputs, as the policy's network wants it.
    #[serde(default)]
    pub normalisation: serde_json::Value,
    /// Where the policy came from: data, training, scores, versions.
    #[serde(default)]
    pub lineage: serde_json::Value,
    /// Software that packed it.
    pub software: String,
    /// All other files.
    pub members: Vec<Member>,
}

impl Manifest {
    /// Reads a manifest; a newer format is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged =
            |e: serde_json::Error| BundleError::Damaged(format!("its manifest cannot be read: {e}"));
        let head: Head = serde_json::from_slice(bytes).map_err(damaged)?;
        if head.format > MANIFEST_FORMAT {
            return Err(BundleError::Newer { found: head.format, newest: MANIFEST_FORMAT });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Whether this bundle may be pushed to a robot: same body, joints, units, cameras, a rate that fits. Warnings (the
    /// stages shadow and cautious must be done again) come back; anything else is refused.
    pub fn check(&self, robot: &RobotFile) -> Result<Vec<String>, BundleError> {
        let mut wrong = Vec::new();
        if self.embodiment != robot.embodiment {
            wrong.push(format!(
                "it is for the body {:?}, this robot is {:?}",
                self.embodiment, robot.embodiment
            ));
        }
        for j in &self.joints {
            match robot.joints.iter().find(|r| r.name == j.name) {
                None => wrong.push(format!("the robot has no joint {}", j.name)),
                Some(r) if r.unit != j.unit => {
                    let (a, b) = (j.unit.sign().trim(), r.unit.sign().trim());
                    wrong.push(format!("{} is in {a} in the bundle and in {b} on the robot", j.name));
                }
                Some(_) => {}
            }
        }
        for r in &robot.joints {
            match self.joints.iter().filter(|j| j.name == r.name).count() {
                0 => wrong.push(format!("it does not command {}", r.name)),
                1 => {}
                _ => wrong.push(format!("it commands {} twice", r.name)),
            }
        }
        if !(0.5..=robot.rates.control_hz).contains(&self.rate_hz) {
            wrong.push(format!(
                "its {} actions a second do not fit the robot's {}",
                self.rate_hz, robot.rates.control_hz
            ));
        }
        for c in &self.cameras {
            match robot.cameras.iter().find(|r| r.name == c.name) {
                None => wrong.push(format!("the robot has no camera {:?}", c.name)),
                Some(r) if (r.width, r.height) != (c.width, c.height) => {
                    wrong.push(format!(
                        "camera {:?} gives {}x{}, not {}x{}",
                        c.name, r.width, r.height, c.width, c.height
                    ));
                }
                Some(r) if r.fps < c.fps => {
                    wrong.push(format!("camera {:?} is slower than {} pictures a second", c.name, c.fps))
                }
                Some(_) => {}
            }
        }
        if !wrong.is_empty() {
            return Err(BundleError::Mismatch(wrong));
        }
        let mut warnings = Vec::new();
        for j in &self.joints {
            let calibration = robot.joints.iter().find(|r| r.name == j.name).and_then(|r| r.calibration);
            if let (Some(trained), Some(now)) = (j.homing_offset, calibration) {
                let degrees = f64::from((trained - now.homing_offset).abs())
                    * super::super::calibration::DEGREES_PER_STEP;
                if degrees > 5.0 {
                    warnings.push(format!(
                        "{} was calibrated {degrees:.0}° apart when the data was recorded",
                        j.name
                    ));
                }
            }
        }
        Ok(warnings)
    }
}
