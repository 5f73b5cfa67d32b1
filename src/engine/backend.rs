//! What the engine asks of a world model, whatever its family.

use std::path::Path;

use candle_core::Device;
use forerun_models::dreamer::{Dreamer, ModelError, Rollout};
use forerun_models::kernels::precision;
use forerun_models::{Contract, Frame};

pub use forerun_models::dreamer::{HistoryFrame, Imagined, Stream};

use super::device::Place;
use super::published::{self, ClipModel};
use crate::failure::Failure;

/// Futures under way; all of a rollout advance together.
pub trait Futures {
    /// Imagines the next frame of each stream. `actions[i]` leads stream `i` from its present to that frame;
    /// `None` = free.
    ///
    /// # Errors
    /// When the device fails or runs out of memory.
    fn step(&mut self, actions: &[Option<Vec<f32>>]) -> Result<Vec<Imagined>, Failure>;
}

/// A loaded world model.
pub trait WorldModel: Send + Sync {
    /// Its contract.
    fn contract(&self) -> &Contract;
    /// sha256 of its weights.
    fn sha256(&self) -> &str;
    /// Number of its weights.
    fn parameters(&self) -> u64;
    /// Starts futures that advance together, with `refine` denoising steps a frame. Their histories should have
    /// one length: they are cut to the shortest.
    ///
    /// # Errors
    /// When the streams do not fit the contract.
    fn start<'a>(&'a self, streams: Vec<Stream>, refine: usize) -> Result<Box<dyn Futures + 'a>, Failure>;
    /// One-step denoising residual of `frame` after `history`, in the unit of the contract's `familiar_residual`.
    ///
    /// # Errors
    /// As [`WorldModel::start`].
    fn residual(&self, history: &[HistoryFrame], frame: &Frame) -> Result<f32, Failure>;
    /// The model that makes whole clips, where it is one; such a model cannot be started frame by frame.
    fn clip(&self) -> Option<&ClipModel> {
        None
    }
}

/// Loads a model folder.
///
/// # Errors
/// When the folder is no sound model, its family is unknown here or does not run there.
pub fn load(folder: &Path, place: &Place) -> Result<Box<dyn WorldModel>, Failure> {
    if published::is_published(folder) {
        return match place {
            Place::Candle(device) => Ok(Box::new(published::load(folder, device)?)),
            Place::Packed => Err(Failure::new(
                "Published models do not run with packed bf16 weights.",
                "Use the device cpu, or a build for a card (docs/gpu.md).",
            )),
            Place::Card(card) => Err(Failure::new(
                format!("Published models do not run on {} this way.", card.name()),
                "Use the device cpu, or a build for the card (docs/gpu.md).",
            )),
        };
    }
    let contract = Contract::load(folder).map_err(Failure::from_error)?;
    match contract.family.as_str() {
        "dreamer" => {
            let loaded = match place {
                Place::Candle(device) => Dreamer::load(folder, device),
                Place::Packed => Dreamer::load(folder, &Device::Cpu).and_then(Dreamer::packed),
                Place::Card(card) => Dreamer::load_on(folder, card.clone()),
            };
            Ok(Box::new(loaded.map_err(explain)?))
        }
        family => Err(Failure::new(
            format!(
                "The model {} is of the family {family}, which this version does not know.",
                contract.name
            ),
            "Update Forerun, or choose another model.",
        )),
    }
}

fn explain(error: ModelError) -> Failure {
    let advice = match &error {
        ModelError::Weights(_) | ModelError::Json { .. } | ModelError::File { .. } => {
            "Restore the model folder from where it came, or train it again."
        }
        ModelError::Compute(_) | ModelError::Card(_) => {
            "Ask for fewer futures at once, or use the device cpu."
        }
        _ => "",
    };
    Failure::new(format!("{}.", error.to_string().trim_end_matches('.')), advice)
}

impl WorldModel for Dreamer {
    fn contract(&self) -> &Contract {
        self.contract()
    }

    fn sha256(&self) -> &str {
        self.sha256()
    }

    fn parameters(&self) -> u64 {
        self.parameters()
    }

    fn start<'a>(&'a self, streams: Vec<Stream>, refine: usize) -> Result<Box<dyn Futures + 'a>, Failure> {
        Ok(Box::new(self.start(streams, refine).map_err(explain)?))
    }

    fn residual(&self, history: &[HistoryFrame], frame: &Frame) -> Result<f32, Failure> {
        self.residual(history, frame).map_err(explain)
    }
}

impl Futures for Rollout<'_> {
    fn step(&mut self, actions: &[Option<Vec<f32>>]) -> Result<Vec<Imagined>, Failure> {
        self.step(actions).map_err(explain)
    }
}

/// Which kernels run on this processor, for the record.
pub fn kernels() -> String {
    forerun_models::kernels::name()
}

/// Which of them run when a model imagines on the device of that name.
pub fn kernels_on(device: &str) -> String {
    precision::with(super::device::precision(device), kernels)
}

/// Threads that the kernels have.
pub fn threads() -> usize {
    forerun_models::kernels::threads::current()
}
