//! The way of a bundle to an arm: installed, then replay, rehearse, shadow, cautious, normal; every stage's end is kept,
//! and a bundle that faults in its first minute is rolled back.
//!
//! | file | what it is for |
//! |---|---|
//! | `replay` | its actions beside those of recorded episodes |
//! | `rehearse` | it acts inside the world model |
//! | `pilot` | it watches or moves the arm through the agent |
//! | `engine_brain` | a policy that thinks in an engine's process |
//! | `record` | episodes of a robot, crash-safe, as a dataset |

pub mod engine_brain;
pub mod pilot;
pub mod record;
pub mod rehearse;
pub mod replay;

use std::path::{Path, PathBuf};

use forerun_models::policy::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bundle::{Bundle, Manifest, Progress, Stage, Store};
use super::file::RobotFile;
use crate::failure::Failure;

/// How a stage ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it counts.
    pub clean: bool,
    /// Whether the robot ended in a fault.
    pub fault: bool,
    /// Seconds that the arm followed the policy.
    pub seconds: f64,
    /// In words.
    pub words: String,
    /// Its numbers.
    pub report: Value,
}

/// An installed bundle and what it has gone through on one robot.
pub struct Installed {
    /// Where bundles of this robot are.
    pub store: Store,
    /// Hash of the bundle.
    pub id: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its stages.
    pub progress: Progress,
    /// What is odd without being wrong.
    pub warnings: Vec<String>,
}

/// The folder of bundles that belongs to a robot file.
pub fn store_of(robot: &Path) -> PathBuf {
    robot.with_extension("bundles")
}

impl Installed {
    /// Installs a bundle for a robot, after checking that it fits.
    ///
    /// # Errors
    /// A damaged bundle, a stranger's, one for another robot; a disk that cannot be written.
    pub fn install(file: &Path, robot: &RobotFile, store: Store) -> Result<Self, Failure> {
        // It must fit before anything of it is installed.
        let looked =
            super::bundle::read(file, &store.trusted(), |_, _| Ok(())).map_err(Failure::from_error)?;
        looked.manifest.check(robot).map_err(Failure::from_error)?;
        let Bundle { id, .. } = store.install(file).map_err(Failure::from_error)?;
        Self::open(&id, robot, store)
    }

    /// The current bundle of a store.
    ///
    /// # Errors
    /// When there is none, or it is damaged or does not fit any more.
    pub fn current(robot: &RobotFile, store: Store) -> Result<Self, Failure> {
        let (id, _) = store.current().ok_or_else(|| {
            Failure::new(
                "No bundle is installed on this robot.",
                "Push one: forerun push FILE.bundle --to ROBOT.toml.",
            )
        })?;
        Self::open(&id, robot, store)
    }

    fn open(id: &str, robot: &RobotFile, store: Store) -> Result<Self, Failure> {
        let manifest = store.verify(id).map_err(Failure::from_error)?;
        let warnings = manifest.check(robot).map_err(Failure::from_error)?;
        let mut progress =
            Progress::read(&store.stages_file(id), id, &robot.name).map_err(Failure::from_error)?;
        progress
            .on_calibration(robot.joints.iter().map(|j| j.calibration.map(|c| c.homing_offset)).collect());
        let folder = store.current().map(|(_, f)| f).unwrap_or_default();
        Ok(Self { id: id.into(), folder, manifest, progress, warnings, store })
    }

    /// Its policy.
    ///
    /// # Errors
    /// When the folder is no policy that this version reads.
    pub fn policy(&self) -> Result<Policy, Failure> {
        crate::policy::load_policy(&self.folder)
    }

    /// Keeps how a stage ended; the name of the earlier bundle comes back when this one was rolled back.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn note(&mut self, stage: Stage, outcome: &Outcome) -> Result<Option<String>, Failure> {
        self.progress.note(stage, outcome.clean, &outcome.words);
        self.save()?;
        if !matches!(stage, Stage::Cautious | Stage::Normal) {
            return Ok(None);
        }
        self.store.note_run(outcome.seconds, outcome.fault).map_err(Failure::from_error)
    }

    /// Writes the stages.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn save(&self) -> Result<(), Failure> {
        self.progress.write(&self.store.stages_file(&self.id)).map_err(Failure::from_error)
    }

    /// All stages with their standing, for people and programs.
    pub fn stages(&self) -> Value {
        let one = |s: Stage| {
            let standing = self.progress.standing(s);
            json!({
                "stage": s.to_string(), "done": self.progress.done(s), "clean": standing.clean,
                "needed": s.clean_runs_needed(), "skipped": standing.skipped, "last": standing.last,
            })
        };
        Stage::ALL.into_iter().map(one).collect()
    }
}
