//! What the engine asks of a world model, whatever its family.

use std::path::Path;

use candle_core::Device;
use forerun_models::{Contract, Frame};

use crate::failure::Failure;

/// One past frame as a model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryFrame {
    /// Picture at the contract's size.
    pub frame: Frame,
    /// State in the contract's order and units; `None` when unknown.
    pub state: Option<Vec<f32>>,
    /// Action that led from this frame to the next one of the history, in the contract's order and units.
    pub action: Option<Vec<f32>>,
}

/// One future to imagine.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Seed of its noise.
    pub seed: u64,
    /// Words.
    pub prompt: Option<String>,
    /// Past frames; the last one is the present. Empty: the model imagines the start.
    pub history: Vec<HistoryFrame>,
}

/// One imagined frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Imagined {
    /// The picture.
    pub frame: Frame,
    /// What the heads read off it.
    pub reading: Vec<(String, f32)>,
}

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
    /// Starts futures that advance together, with `refine` denoising steps a frame.
    ///
    /// # Errors
    /// When the streams do not fit the contract.
    fn start<'a>(&'a self, streams: Vec<Stream>, refine: usize) -> Result<Box<dyn Futures + 'a>, Failure>;
    /// One-step denoising residual of `frame` after `history`, in the unit of the contract's `familiar_residual`.
    ///
    /// # Errors
    /// As [`WorldModel::start`].
    fn residual(&self, history: &[HistoryFrame], frame: &Frame) -> Result<f32, Failure>;
}

/// Loads a model folder onto a device.
///
/// # Errors
/// When the folder is no sound model, or its family is unknown here.
pub fn load(folder: &Path, _device: &Device) -> Result<Box<dyn WorldModel>, Failure> {
    let contract = Contract::load(folder).map_err(Failure::from_error)?;
    Err(Failure::new(
        format!(
            "The model {} is of the family {}, which this version does not know.",
            contract.name, contract.family
        ),
        "Update Forerun, or choose another model.",
    ))
}
