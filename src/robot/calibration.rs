//! Calibration of one joint: from the motor's steps to degrees and per cents and back, and LeRobot's file of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::numbers::Unit;

/// Steps of one turn of an STS servo.
pub const STEPS_PER_TURN: f64 = 4096.0;

/// Degrees of one step in LeRobot's convention, which divides by the largest reading (4095), not by the number of
/// steps. Policies are trained on these numbers, so we keep them.
pub const DEGREES_PER_STEP: f64 = 360.0 / 4095.0;

/// Calibration of one joint, in the words of LeRobot's file; the same values live in the servo's EEPROM
/// (registers 31, 9 and 11) and must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    /// 1 turns per cents around (LeRobot applies it to per cents only, never to degrees).
    #[serde(default)]
    pub drive_mode: u8,
    /// Added by the servo: present = actual - offset, -2047..=2047 steps.
    pub homing_offset: i32,
    /// Smallest position that the joint reaches, steps.
    pub range_min: i32,
    /// Largest position that the joint reaches, steps.
    pub range_max: i32,
}

impl Calibration {
    /// Whether the numbers can be a calibration at all: ordered, on the scale, and at least 5 degrees apart.
    pub fn is_sound(&self) -> bool {
        (0..=4095).contains(&self.range_min)
            && (0..=4095).contains(&self.range_max)
            && self.range_max - self.range_min >= 57
            && (-2047..=2047).contains(&self.homing_offset)
            && self.drive_mode <= 1
    }

    /// Position in `unit` of a reading in steps.
    pub fn from_steps(&self, unit: Unit, steps: f64) -> f64 {
        let (min, max) = (f64::from(self.range_min), f64::from(self.range_max));
        match unit {
            Unit::Deg => (steps - (min + max) / 2.0) * DEGREES_PER_STEP,
            Unit::Percent => {
                let share = (steps - min) / (max - min) * 100.0;
                if self.drive_mode == 1 { 100.0 - share } else { share }
            }
        }
    }

    /// The step nearest to a position in `unit`; `None` for a number that is not finite.
    pub fn to_steps(&self, unit: Unit, position: f64) -> Option<i32> {
        let (min, max) = (f64::from(self.range_min), f64::from(self.range_max));
        let steps = match unit {
            Unit::Deg => position / DEGREES_PER_STEP + (min + max) / 2.0,
            Unit::Percent => {
                let share = if self.drive_mode == 1 { 100.0 - position } else { position };
                min + share / 100.0 * (max - min)
            }
        };
        // Beyond these bounds the number is no position of a servo; the cast below then cannot wrap.
        (steps.is_finite() && steps.abs() < 32_767.0).then(|| steps.round() as i32)
    }

    /// Degrees of the joint for one `unit`.
    pub fn degrees_per(&self, unit: Unit) -> f64 {
        match unit {
            Unit::Deg => 1.0,
            Unit::Percent => f64::from(self.range_max - self.range_min) * DEGREES_PER_STEP / 100.0,
        }
    }

    /// Smallest and largest position in `unit`, less `margin_deg` degrees at both ends.
    pub fn bounds(&self, unit: Unit, margin_deg: f64) -> (f64, f64) {
        let margin = margin_deg / self.degrees_per(unit);
        let (a, b) = (
            self.from_steps(unit, f64::from(self.range_min)),
            self.from_steps(unit, f64::from(self.range_max)),
        );
        (a.min(b) + margin, a.max(b) - margin)
    }
}

/// One joint in LeRobot's calibration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LeRobotJoint {
    id: u8,
    #[serde(default)]
    drive_mode: u8,
    homing_offset: i32,
    range_min: i32,
    range_max: i32,
}

/// Why a calibration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// The file cannot be read or written.
    #[error("the calibration file {path} cannot be opened ({source}); check the path and its permissions")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not LeRobot's calibration.
    #[error(
        "{path} is not a LeRobot calibration file ({why}); it is the JSON file under calibration/robots/"
    )]
    Format {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Calibrations by joint name, with the servo's id.
pub type Calibrations = BTreeMap<String, (u8, Calibration)>;

/// Reads LeRobot's calibration file.
pub fn read_lerobot(path: &Path) -> Result<Calibrations, CalibrationError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|source| CalibrationError::Io { path: shown.clone(), source })?;
    let joints: BTreeMap<String, LeRobotJoint> = serde_json::from_str(&text)
        .map_err(|e| CalibrationError::Format { path: shown.clone(), why: e.to_string() })?;
    let mut out = Calibrations::new();
    for (name, j) in joints {
        let calibration = Calibration {
            drive_mode: j.drive_mode,
            homing_offset: j.homing_offset,
            range_min: j.range_min,
            range_max: j.range_max,
        };
        if !calibration.is_sound() {
            let why = format!("{name} has a range of {}..{} steps", j.range_min, j.range_max);
            return Err(CalibrationError::Format { path: shown, why });
        }
        out.insert(name, (j.id, calibration));
    }
    Ok(out)
}

/// Writes LeRobot's calibration file. A file that is already there is kept beside it as `NAME.backup-N`.
pub fn write_lerobot(path: &Path, calibrations: &Calibrations) -> Result<(), CalibrationError> {
    let io = |source| CalibrationError::Io { path: path.display().to_string(), source };
    if path.exists() {
        let mut n = 1;
        let backup = loop {
            let name = format!("{}.backup-{n}", path.display());
            if !Path::new(&name).exists() {
                break name;
            }
            n += 1;
        };
        std::fs::copy(path, backup).map_err(io)?;
    }
    let joints: BTreeMap<&String, LeRobotJoint> = calibrations
        .iter()
        .map(|(name, (id, c))| {
            let joint = LeRobotJoint {
                id: *id,
                drive_mode: c.drive_mode,
                homing_offset: c.homing_offset,
                range_min: c.range_min,
                range_max: c.range_max,
            };
            (name, joint)
        })
        .collect();
    let text = serde_json::to_string_pretty(&joints).map_err(|e| io(e.into()))?;
    super::write_whole(path, text.as_bytes()).map_err(io)
}

/// One difference between two calibrations of the same joint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationDifference {
    /// Joint.
    pub joint: String,
    /// In the robot file; `None` when the file has none.
    pub file: Option<Calibration>,
    /// In the servo's EEPROM.
    pub servo: Calibration,
    /// How far the same pose would be read apart, degrees (NaN-free; 0 when the file has none).
    pub degrees_apart: f64,
}

/// Differences between the robot file's calibration and the servo's, joint by joint. Empty when they agree.
pub fn differences(
    joints: &[(String, Unit, Option<Calibration>)],
    servo: &[Calibration],
) -> Vec<CalibrationDifference> {
    let mut out = Vec::new();
    for ((name, unit, file), servo) in joints.iter().zip(servo) {
        // The drive mode lives in the file only.
        let same = file.is_some_and(|f| {
            (f.homing_offset, f.range_min, f.range_max)
                == (servo.homing_offset, servo.range_min, servo.range_max)
        });
        if same {
            continue;
        }
        let degrees_apart = file.map_or(0.0, |f| {
            // The same shaft angle, read with both calibrations.
            let actual = 2048.0;
            let a = f.from_steps(*unit, actual - f64::from(f.homing_offset)) * f.degrees_per(*unit);
            let b =
                servo.from_steps(*unit, actual - f64::from(servo.homing_offset)) * servo.degrees_per(*unit);
            (a - b).abs()
        });
        out.push(CalibrationDifference { joint: name.clone(), file: *file, servo: *servo, degrees_apart });
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const C: Calibration = Calibration { drive_mode: 0, homing_offset: -12, range_min: 740, range_max: 3440 };

    #[test]
    fn steps_and_units_go_there_and_back() {
        for unit in [Unit::Deg, Unit::Percent] {
            for drive_mode in [0, 1] {
                let c = Calibration { drive_mode, ..C };
                for steps in [740, 1000, 2090, 3440] {
                    let p = c.from_steps(unit, f64::from(steps));
                    assert_eq!(c.to_steps(unit, p), Some(steps), "{unit:?} {drive_mode}");
                }
            }
        }
        assert_eq!(C.from_steps(Unit::Deg, 2090.0), 0.0);
        assert_eq!(C.to_steps(Unit::Deg, f64::NAN), None);
        assert_eq!(C.to_steps(Unit::Deg, 1e300), None);
    }

    #[test]
    fn bounds_keep_the_margin_in_degrees_for_per_cents_too() {
        let (lo, hi) = C.bounds(Unit::Deg, 3.0);
        assert!((lo + 115.68).abs() < 0.01 && (hi - 115.68).abs() < 0.01, "{lo} {hi}");
        let (lo, hi) = C.bounds(Unit::Percent, 3.0);
        assert!((lo - 1.264).abs() < 0.001 && (hi - 98.736).abs() < 0.001, "{lo} {hi}");
    }

    #[test]
    fn a_lerobot_file_is_read_and_written_with_a_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arm.json");
        std::fs::write(
            &path,
            r#"{"shoulder_pan":{"id":1,"drive_mode":0,"homing_offset":-12,"range_min":740,"range_max":3440}}"#,
        )
        .unwrap();
        let mut read = read_lerobot(&path).unwrap();
        assert_eq!(read["shoulder_pan"], (1, C));
        read.insert("gripper".into(), (6, C));
        write_lerobot(&path, &read).unwrap();
        assert_eq!(read_lerobot(&path).unwrap(), read);
        let backup = dir.path().join("arm.json.backup-1");
        assert_eq!(read_lerobot(&backup).unwrap().len(), 1);
        std::fs::write(&path, "[]").unwrap();
        assert!(read_lerobot(&path).unwrap_err().to_string().contains("not a LeRobot calibration"));
    }

    #[test]
    fn differences_name_the_joint_and_how_far_apart() {
        let other = Calibration { homing_offset: 100, ..C };
        let joints = [
            ("a".to_string(), Unit::Deg, Some(C)),
            ("b".into(), Unit::Deg, Some(C)),
            ("c".into(), Unit::Deg, None),
        ];
        let d = differences(&joints, &[C, other, C]);
        assert_eq!(d.iter().map(|d| d.joint.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert!((d[0].degrees_apart - 112.0 * DEGREES_PER_STEP).abs() < 1e-9);
    }
}
