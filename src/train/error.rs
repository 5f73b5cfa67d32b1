//! Why a training run cannot start or go on.

use std::path::PathBuf;

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
}
