//! Published models as a person meets them: a publisher's folder in, a clip out.
//!
//! | file | what it is for |
//! |---|---|
//! | `settings` | what a person may choose: size, steps, guidance, body, reference, memory |
//! | `family`, `folder` | what a folder holds, without reading a weight; its contract |
//! | `bodies` | action channels by robot body, with names, units and ranges |
//! | `parts` | networks into memory, and out of it |
//! | `policy` | what a robot's policy takes, gives and is scaled by |
//! | `prompts` | words as the networks read them, kept for the next time |
//! | `run`, `clip` | from frames, words and actions to frames, chunk by chunk |
//! | `noise` | the noise of a run as a function of its seed |
//! | `preview` | a small picture of latents |
//! | `memory`, `clip_shape` | how much memory a run needs, before it begins |

mod bodies;
mod clip;
mod clip_shape;
mod family;
mod folder;
mod memory;
mod noise;
mod parts;
mod policy;
mod preview;
mod prompts;
mod run;
mod settings;

pub use bodies::{Body, bodies};
pub use family::{Family, Licence};
pub use folder::{INDEX_FILE, OWN_SETTINGS_FILE, PublishedFolder, is_published};
pub use memory::{Need, need};
pub use parts::{PromptStore, Published};
pub use policy::PolicyFacts;
pub use run::{ClipJob, ClipMade, ClipMoment, Planned};
pub use settings::{AdapterChoice, ClipSettings, MemoryMode, Numbers};

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::cosmos::pipeline::PipelineError;
use crate::cosmos::pipeline::prompt::PromptError;
use crate::text::TokenizerError;

/// Why a published model cannot be used, or gave no clip.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// A file of the folder is missing, damaged or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor is missing or of another shape, or a computation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The words could not be read.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// The run did not come to its end.
    #[error(transparent)]
    Pipeline(PipelineError),
    /// The folder holds a pipeline that this version does not run.
    #[error("{} holds the pipeline {class}, which this version does not run. Runnable are: {known}.", .folder.display())]
    Class {
        /// The folder.
        folder: PathBuf,
        /// Its class.
        class: String,
        /// Known classes.
        known: String,
    },
    /// What was asked for does not fit the model; the text says what would.
    #[error("{0}")]
    Input(String),
    /// It was asked to stop.
    #[error("stopped on request")]
    Stopped,
}

impl From<PipelineError> for PublishedError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::Stopped => Self::Stopped,
            PipelineError::Input(text) => Self::Input(text),
            other => Self::Pipeline(other),
        }
    }
}
