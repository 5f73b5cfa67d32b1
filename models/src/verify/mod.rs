//! `forerun models verify FOLDER`: our networks on the stored inputs of a reference case, compared tensor by tensor
//! with what the public Python libraries computed.
//!
//! A case is a folder with `case.json`, `case.safetensors` and the model as its library saves it. Every tensor of
//! the case must be used as an input or be compared: a case that is only half checked fails.

mod bars;
mod case;
mod cosmos3;
mod models;
mod pipelines;
mod report;
mod schedulers;

use std::path::Path;

use candle_core::{DType, Device};

use crate::checkpoint::{Checkpoint, CheckpointError};
use case::Case;
pub use report::{OutputReport, Report};

/// Why a case could not be run at all. A case that runs but differs is a [`Report`] that did not pass.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The model in the folder is incomplete or damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder is no reference case.
    #[error("{folder}: {reason}. A reference case is a folder with case.json, case.safetensors and a model.")]
    NoCase {
        /// The folder.
        folder: String,
        /// What is missing.
        reason: String,
    },
    /// A kind of model that is not implemented.
    #[error("{folder}: this version cannot run {what}")]
    Unsupported {
        /// The folder.
        folder: String,
        /// The model's class.
        what: String,
    },
    /// The network could not be built or run.
    #[error("{folder}: {source}")]
    Run {
        /// The folder.
        folder: String,
        /// What candle or the network said.
        source: candle_core::Error,
    },
    /// A sampler's settings were refused.
    #[error(transparent)]
    Sampler(#[from] crate::sampler::SamplerError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] crate::text::TokenizerError),
    /// A pipeline ended without frames.
    #[error("{folder}: {source}")]
    Pipeline {
        /// The folder.
        folder: String,
        /// Why.
        source: crate::cosmos::pipeline::PipelineError,
    },
    /// A prompt could not be encoded.
    #[error("{folder}: {source}")]
    Prompt {
        /// The folder.
        folder: String,
        /// Why.
        source: crate::cosmos::pipeline::prompt::PromptError,
    },
    /// Tensors of the case that this version neither uses nor compares.
    #[error("{folder}: the case holds tensors that were not checked: {names}")]
    Unchecked {
        /// The folder.
        folder: String,
        /// Their names.
        names: String,
    },
}

/// Runs the case in `folder` in f32 on the CPU and compares every stored output.
///
/// # Errors
/// The folder is no case, its model is damaged, or the case holds tensors that were not checked.
pub fn verify_folder(folder: &Path) -> Result<Report, VerifyError> {
    verify_folder_on(folder, &Device::Cpu)
}

/// The same on any device. On a GPU the bars are ten times as wide (its kernels add in another order).
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_folder_on(folder: &Path, device: &Device) -> Result<Report, VerifyError> {
    let mut case = Case::open(folder, device)?;
    let name = |path: &str| folder.join(path).is_file();
    if name("model_index.json") {
        pipelines::run(&mut case)?;
    } else if name("config.json") {
        models::single(&mut case)?;
    } else if name("transformer/config.json") && name("controlnet/config.json") {
        models::transfer(&mut case)?;
    } else if case.has("action_read") {
        models::policy_frames(&mut case)?;
    } else if schedulers::is_scheduler_case(&case) {
        schedulers::run(&mut case)?;
    } else {
        return Err(VerifyError::NoCase {
            folder: folder.display().to_string(),
            reason: "there is a case.json, but no config.json or model_index.json beside it".to_owned(),
        });
    }
    case.finish()
}

/// Opens the weights of `folder`, builds a network from them and makes sure that no tensor is left over.
fn build<T>(
    case: &Case,
    folder: &Path,
    unused: &[&str],
    make: impl FnOnce(candle_nn::VarBuilder<'static>) -> candle_core::Result<T>,
) -> Result<T, VerifyError> {
    let checkpoint = Checkpoint::open(folder)?;
    let network = make(checkpoint.builder(DType::F32, case.device())).map_err(|e| case.run_error(e))?;
    checkpoint.finish(unused)?;
    Ok(network)
}
