//! The record of a future (`future.json`): everything that makes it again, exactly.

use std::path::{Path, PathBuf};

use forerun_models::Contract;
use forerun_models::published::ClipSettings;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The newest `format` of `future.json` that this version reads.
pub const RECORD_FORMAT: u32 = 1;
/// File name of the record in a future's folder.
pub const RECORD_FILE: &str = "future.json";
/// What the names of readings begin with that are the robot's state as the model believes it: `state.elbow_flex.pos`, in
/// the unit of the contract's state channel.
pub const STATE_PREFIX: &str = "state.";

/// A file of the future's folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FileHash {
    /// Path in the future's folder.
    pub file: String,
    /// sha256 of the file's bytes, lower-case hex.
    pub sha256: String,
}

/// The model that imagined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name or folder as it was asked for.
    pub name: String,
    /// sha256 of its weights.
    pub sha256: String,
    /// Number of its weights.
    pub parameters: u64,
}

/// One frame that the future starts from, fitted to the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartFrameRecord {
    /// The fitted picture beside the record, and its hash.
    #[serde(flatten)]
    pub file: FileHash,
    /// sha256 of the picture's RGB bytes before it was fitted.
    pub source_sha256: String,
    /// Where it came from, in words.
    #[serde(default)]
    pub origin: String,
    /// State in the order of the contract's state channels.
    #[serde(default)]
    pub state: Option<Vec<f32>>,
    /// Action to the next start frame in the order of the contract's action channels.
    #[serde(default)]
    pub action: Option<Vec<f32>>,
}

/// What the future starts from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StartRecord {
    /// What was asked for (a `Start`, its paths from the root on): finds the recording or the future that it came from.
    #[serde(default)]
    pub source: serde_json::Value,
    /// What was done to the pictures, in words.
    #[serde(default)]
    pub note: String,
    /// The frames, oldest first; empty: the model imagined the start.
    #[serde(default)]
    pub frames: Vec<StartFrameRecord>,
}

/// The numbers that drove the future, as a track that `--actions` reads again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActionsRecord {
    /// `free`, `hold`, `track`, `file` or `episode`.
    pub kind: String,
    /// Channel names; empty when free.
    #[serde(default)]
    pub channels: Vec<String>,
    /// One row a step; empty when free.
    #[serde(default)]
    pub rows: Vec<Vec<f32>>,
}

/// One imagined frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// The PNG beside the record, and its hash.
    #[serde(flatten)]
    pub file: FileHash,
    /// What the model's heads read off it.
    #[serde(default)]
    pub reading: serde_json::Map<String, serde_json::Value>,
}

/// How fast it went. A batch of futures shares its time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// From the request to the first imagined frame, with a model in memory.
    pub first_frame_ms: f64,
    /// Imagined frames a second of one future, while all of its batch advance.
    pub frames_per_second: f64,
    /// Loading the model; 0 when it was in memory.
    pub load_ms: f64,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FutureRecord {
    /// Version of this file; a newer one than [`RECORD_FORMAT`] is refused.
    pub format: u32,
    /// `future`.
    pub kind: String,
    /// Version of Forerun.
    pub software: String,
    /// Seconds since 1970 when it was made.
    pub made: u64,
    /// The model.
    pub model: ModelRef,
    /// Its contract.
    pub contract: Contract,
    /// All choices of the run, where the model makes whole clips: size, steps, guidance, body, whose numbers are
    /// reproduced (`reference`), memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<ClipSettings>,
    /// Words; empty for none.
    pub prompt: String,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of imagined frames.
    pub steps: usize,
    /// Denoising steps a frame.
    pub refine: usize,
    /// Device by name.
    pub device: String,
    /// Kernels that ran.
    pub kernels: String,
    /// Threads that the kernels had.
    pub threads: usize,
    /// Seeds of the futures that were imagined together, this one's included: sums of a matrix product may be added
    /// in another order for another number of rows, so the last bits belong to the whole batch.
    pub batch: Vec<u64>,
    /// What it starts from.
    pub start: StartRecord,
    /// What drives it.
    pub actions: ActionsRecord,
    /// What a policy chose to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<ActionsRecord>,
    /// What came out, in order; frame 1 is the first imagined one.
    pub frames: Vec<FrameRecord>,
    /// The frames as a clip; absent when nothing was written.
    #[serde(default)]
    pub clip: Option<FileHash>,
    /// How fast it went.
    pub timings: Timings,
}

/// The folder and the record file of `path`, which is one or the other.
pub fn locate(path: &Path) -> (PathBuf, PathBuf) {
    if path.is_dir() {
        (path.to_path_buf(), path.join(RECORD_FILE))
    } else {
        (crate::fsx::parent_of(path).to_path_buf(), path.to_path_buf())
    }
}

impl FutureRecord {
    /// Reads a record; `path` is the file or its folder.
    ///
    /// # Errors
    /// It is missing, damaged or of a newer format.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let (_, file) = locate(path);
        let shown = file.display();
        let bytes = std::fs::read(&file).map_err(|e| Failure::io("read", &file, &e))?;
        let no_record = |why: &dyn std::fmt::Display| {
            Failure::new(
                format!("{shown} is not the record of a future: {why}."),
                "Choose the future.json that `forerun imagine` wrote.",
            )
        };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| no_record(&e))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format > u64::from(RECORD_FORMAT) {
            return Err(Failure::new(
                format!("{shown} has format {format}, this version reads up to {RECORD_FORMAT}."),
                "Update Forerun to open this future.",
            ));
        }
        serde_json::from_value(value).map_err(|e| no_record(&e))
    }

    /// The record as the bytes of `future.json`.
    ///
    /// # Errors
    /// Never for a record of ours; numbers that JSON cannot hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|e| {
            Failure::new(format!("The record could not be written: {e}."), "Report this with the log.")
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use forerun_models::FrameSpec;

    pub(crate) fn example() -> FutureRecord {
        FutureRecord {
            format: RECORD_FORMAT,
            kind: "future".into(),
            software: "0".into(),
            made: 1,
            model: ModelRef { name: "m".into(), sha256: "ab".into(), parameters: 3 },
            contract: Contract {
                format: 1,
                name: "m".into(),
                family: "dreamer".into(),
                frame: FrameSpec { width: 8, height: 8, rate_hz: 10.0, history: 2, fit: Default::default() },
                actions: vec![],
                state: vec![],
                text: true,
                knows: String::new(),
                embodiment: String::new(),
                licence: String::new(),
                familiar_residual: None,
                vocabulary: vec![],
            },
            sampling: None,
            prompt: "把紅色方塊推到左邊".into(),
            seed: u64::MAX,
            steps: 1,
            refine: 4,
            device: "cpu".into(),
            kernels: "portable".into(),
            threads: 2,
            batch: vec![u64::MAX],
            start: StartRecord::default(),
            actions: ActionsRecord {
                kind: "track".into(),
                channels: vec!["a".into()],
                rows: vec![vec![0.1]],
            },
            planned: None,
            frames: vec![],
            clip: None,
            timings: Timings::default(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_whatever_the_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = example();
        // Every bit of an action decides pixels, so all of them must survive the text.
        record.actions.rows =
            vec![vec![0.1 + 0.2, f32::MIN_POSITIVE, 1.0 / 3.0, -109.999_99, 1e-42, f32::MAX]];
        std::fs::write(dir.path().join(RECORD_FILE), record.to_bytes().unwrap()).unwrap();
        assert_eq!(FutureRecord::read(dir.path()).unwrap(), record);
        assert_eq!(FutureRecord::read(&dir.path().join(RECORD_FILE)).unwrap(), record);
    }

    #[test]
    fn newer_and_foreign_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(RECORD_FILE);
        std::fs::write(&file, r#"{"format": 2, "all": "new"}"#).unwrap();
        assert!(FutureRecord::read(&file).unwrap_err().text().contains("Update Forerun"));
        std::fs::write(&file, "{}").unwrap();
        assert!(FutureRecord::read(&file).unwrap_err().text().contains("not the record"));
        std::fs::write(&file, "PNG").unwrap();
        assert!(FutureRecord::read(&file).unwrap_err().text().contains("future.json"));
        assert!(FutureRecord::read(&dir.path().join("nope")).unwrap_err().text().contains("nope"));
    }
}
