//! Why a training run cannot start or go on.

use std::path::PathBuf;

use candle_core::Device;

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file cannot be read or written.
    #[error("{path}: {source}. Check that the folder exists, is writable and has room")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The settings file is wrong.
    #[error("{path}: {reason}")]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// A checkpoint that does not belong to this run.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The base cannot be post-trained.
    #[error("{0}")]
    Base(String),
    /// It would not fit into memory.
    #[error(
        "this needs about {} of memory and {} are free; train on fewer episodes, or close other programs",
        gigabytes(*need), gigabytes(*have)
    )]
    Memory {
        /// Bytes that the run needs.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// It would not fit on the disk.
    #[error("{path} needs {} of free disk space and has {}; free some, or choose another folder", gigabytes(*need), gigabytes(*have))]
    Disk {
        /// The model folder.
        path: PathBuf,
        /// Bytes that checkpoints and models need.
        need: u64,
        /// Bytes that are free.
        have: u64,
    },
    /// There is too little time for it to be of use.
    #[error(
        "{minutes:.1} minutes are enough for {iterations} steps on this machine ({seconds:.1} s each), and fewer than {least} teach nothing; give it {needed:.0} minutes or more"
    )]
    TooShort {
        /// What was given.
        minutes: f32,
        /// Steps that fit.
        iterations: u64,
        /// Seconds a step, measured.
        seconds: f64,
        /// Fewest useful steps.
        least: u64,
        /// Minutes for those.
        needed: f64,
    },
    /// The loss is no longer a number.
    #[error(
        "the loss stopped being a number at iteration {0}; lower `learning_rate` and resume from the last checkpoint"
    )]
    Diverged(u64),
    /// The person stopped the run; what was learnt is in the last checkpoint.
    #[error("stopped; resume it with --resume")]
    Cancelled,
    /// The model could not be made or saved.
    #[error(transparent)]
    Model(#[from] forerun_models::dreamer::ModelError),
    /// The network could not be run.
    #[error("training failed: {0}")]
    Compute(#[from] candle_core::Error),
    /// The network could not be run on a graphics card.
    #[error(
        "the graphics card cannot go on: {0}. Where its memory is too small, lower `gpu_frames` in the settings (`batch` for a policy); with --device cpu the run goes on from the last checkpoint"
    )]
    Card(candle_core::Error),
}

impl TrainError {
    /// The same, with what to do about it where it happened on a graphics card.
    pub(crate) fn on(self, device: &Device) -> Self {
        match self {
            Self::Compute(error) if !device.is_cpu() => Self::Card(error),
            other => other,
        }
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
