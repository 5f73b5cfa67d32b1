//! The way of a new bundle to an arm: replay, rehearse, shadow, cautious, normal. Which stages are done is kept per
//! bundle and robot.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{BundleError, io};

/// A stage, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The policy's actions beside those of held-out episodes.
    Replay,
    /// The policy in the world model.
    Rehearse,
    /// The policy watches a limp arm; nothing is sent.
    Shadow,
    /// Slowly, with the dead-man key held, at most 30 s at a time.
    Cautious,
    /// At normal speed.
    Normal,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Stage; 5] =
        [Stage::Replay, Stage::Rehearse, Stage::Shadow, Stage::Cautious, Stage::Normal];
    /// A stage counts as done after so many clean runs in a row.
    pub fn clean_runs_needed(self) -> u32 {
        if self == Stage::Cautious { 3 } else { 1 }
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stage::Replay => "replay",
            Stage::Rehearse => "rehearse",
            Stage::Shadow => "shadow",
            Stage::Cautious => "cautious",
            Stage::Normal => "normal",
        })
    }
}

/// How a stage stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Clean runs in a row.
    pub clean: u32,
    /// Runs that did not end cleanly.
    pub failed: u32,
    /// Whether a person skipped it by typing the robot's name.
    pub skipped: bool,
    /// The last outcome in words.
    pub last: String,
}

/// Why a stage may not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// An earlier one is to be done.
    #[error(
        "first {missing} ({done} of {needed} clean runs), then {wanted}. To skip it, type the robot's name"
    )]
    Earlier {
        /// What is to be done first.
        missing: Stage,
        /// Clean runs so far.
        done: u32,
        /// Clean runs needed.
        needed: u32,
        /// What was wanted.
        wanted: Stage,
    },
    /// The typed name is not the robot's.
    #[error("to skip a stage, type the robot's name exactly: {0:?}")]
    Name(String),
}

/// The stages of one bundle on one robot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Version of the file.
    pub format: u32,
    /// Hash of the bundle.
    pub bundle: String,
    /// Name of the robot.
    pub robot: String,
    stages: BTreeMap<Stage, Standing>,
    /// Homing offsets of the joints when stages were last run, steps.
    #[serde(default)]
    calibration: Vec<Option<i32>>,
}

/// Joints that were calibrated further apart than this (5 degrees, in steps) are another arm to a policy.
const RECALIBRATED: i32 = 57;

impl Progress {
    /// A bundle that nobody has tried on this robot.
    pub fn new(bundle: &str, robot: &str) -> Self {
        Self {
            format: 1,
            bundle: bundle.into(),
            robot: robot.into(),
            stages: BTreeMap::new(),
            calibration: Vec::new(),
        }
    }

    /// How a stage stands.
    pub fn standing(&self, stage: Stage) -> Standing {
        self.stages.get(&stage).cloned().unwrap_or_default()
    }

    /// Whether a stage is done or skipped.
    pub fn done(&self, stage: Stage) -> bool {
        let s = self.standing(stage);
        s.skipped || s.clean >= stage.clean_runs_needed()
    }

    /// The first stage that is not done; the last one when all are.
    pub fn next(&self) -> Stage {
        Stage::ALL.into_iter().find(|s| !self.done(*s)).unwrap_or(Stage::Normal)
    }

    /// Whether a stage may start now.
    pub fn may_start(&self, wanted: Stage) -> Result<(), StageError> {
        match Stage::ALL.into_iter().take_while(|s| *s < wanted).find(|s| !self.done(*s)) {
            None => Ok(()),
            Some(missing) => Err(StageError::Earlier {
                missing,
                done: self.standing(missing).clean,
                needed: missing.clean_runs_needed(),
                wanted,
            }),
        }
    }

    /// Notes the end of a run. One that was not clean starts the counting of its stage again; a fault at normal speed
    /// sends the bundle back to cautious runs.
    pub fn note(&mut self, stage: Stage, clean: bool, words: &str) {
        let s = self.stages.entry(stage).or_default();
        s.last = words.into();
        if clean {
            s.clean += 1;
            return;
        }
        s.failed += 1;
        s.clean = 0;
        s.skipped = false;
        if stage == Stage::Normal {
            self.again(&[Stage::Cautious]);
        }
    }

    fn again(&mut self, stages: &[Stage]) {
        for stage in stages {
            let s = self.stages.entry(*stage).or_default();
            s.clean = 0;
            s.skipped = false;
        }
    }

    /// The arm was calibrated differently from now on: shadow and cautious runs are to be done again.
    pub fn calibration_changed(&mut self) {
        self.again(&[Stage::Shadow, Stage::Cautious, Stage::Normal]);
    }

    /// Compares the robot's calibration with the one of earlier stages; when it is another, shadow and cautious runs are
    /// to be done again.
    pub fn on_calibration(&mut self, now: Vec<Option<i32>>) {
        let far = |(a, b): (&Option<i32>, &Option<i32>)| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() > RECALIBRATED,
            (None, None) => false,
            _ => true,
        };
        let other = self.calibration.len() != now.len() || self.calibration.iter().zip(&now).any(far);
        if other && !self.calibration.is_empty() {
            self.calibration_changed();
        }
        if other {
            self.calibration = now;
        }
    }

    /// Skips a stage; the person types the robot's name.
    pub fn skip(&mut self, stage: Stage, typed: &str) -> Result<(), StageError> {
        if typed != self.robot {
            return Err(StageError::Name(self.robot.clone()));
        }
        let s = self.stages.entry(stage).or_default();
        s.skipped = true;
        s.last = "skipped by hand".into();
        Ok(())
    }

    /// Reads the progress of a bundle on a robot; a new one where there is none yet.
    pub fn read(path: &Path, bundle: &str, robot: &str) -> Result<Self, BundleError> {
        let Ok(text) = std::fs::read_to_string(path) else {
            return Ok(Self::new(bundle, robot));
        };
        let read: Self = serde_json::from_str(&text)
            .map_err(|e| BundleError::Damaged(format!("{} cannot be read: {e}", path.display())))?;
        // Another bundle or robot starts from nothing.
        Ok(if read.bundle == bundle && read.robot == robot { read } else { Self::new(bundle, robot) })
    }

    /// Writes it: whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| BundleError::Damaged(e.to_string()))?;
        super::super::write_whole(path, &text).map_err(io(path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn stages_come_one_after_another() {
        let mut p = Progress::new("b", "arm");
        assert!(p.may_start(Stage::Replay).is_ok() && p.may_start(Stage::Shadow).is_err());
        p.note(Stage::Replay, true, "");
        p.note(Stage::Rehearse, true, "");
        p.note(Stage::Shadow, false, "a check failed");
        assert_eq!(p.next(), Stage::Shadow);
        p.note(Stage::Shadow, true, "");
        p.note(Stage::Cautious, true, "");
        p.note(Stage::Cautious, true, "");
        let error = p.may_start(Stage::Normal).unwrap_err();
        assert!(error.to_string().contains("cautious (2 of 3"), "{error}");
        p.note(Stage::Cautious, false, "stalled");
        for _ in 0..3 {
            assert!(p.may_start(Stage::Normal).is_err());
            p.note(Stage::Cautious, true, "");
        }
        p.may_start(Stage::Normal).unwrap();
        p.note(Stage::Normal, false, "stale sensor");
        assert_eq!(p.next(), Stage::Cautious);
        for _ in 0..3 {
            p.note(Stage::Cautious, true, "");
        }
        p.on_calibration(vec![Some(10), None]);
        p.on_calibration(vec![Some(40), None]);
        assert_eq!(p.next(), Stage::Normal, "half a turn of nothing changes nothing");
        p.on_calibration(vec![Some(90), None]);
        assert_eq!(p.next(), Stage::Shadow);
    }

    #[test]
    fn skipping_needs_the_robots_name_and_progress_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.json");
        let mut p = Progress::read(&path, "b", "arm").unwrap();
        assert!(p.skip(Stage::Replay, "Arm").is_err());
        p.skip(Stage::Replay, "arm").unwrap();
        p.write(&path).unwrap();
        let read = Progress::read(&path, "b", "arm").unwrap();
        assert_eq!(read, p);
        assert!(read.may_start(Stage::Rehearse).is_ok());
        assert_eq!(Progress::read(&path, "other", "arm").unwrap(), Progress::new("other", "arm"));
    }
}
