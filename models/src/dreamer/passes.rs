//! One pass of the network after another, wherever its weights are: in candle's hands or on a card of its own kind.
//!
//! Pictures stay where the weights are; only what a rollout asks for comes back.

use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::adapt::Weights;
use super::config::Config;
use super::folder::ModelError;
use super::network::{Condition, Network, Time};
use crate::kernels::precision::{self, Precision};
use crate::nn::TimeCache;

/// Head outputs as plain numbers, a row a future.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Read-outs, next state, action: `head_width` numbers each.
    pub heads: Vec<Vec<f32>>,
    /// As [`super::Output::relative`].
    pub relative: Option<Vec<Vec<f32>>>,
}

/// Head outputs `[G, head_width]` and, where the network has them, relative ones `[G, 2 * CHANNEL_SLOTS]`.
pub struct HeadOutputs {
    /// Read-outs, next state, action.
    pub heads: Tensor,
    /// As [`super::Output::relative`].
    pub relative: Option<Tensor>,
}

impl HeadOutputs {
    /// The same as plain numbers.
    ///
    /// # Errors
    /// Device errors.
    pub fn to_host(&self) -> Result<Readings, ModelError> {
        Ok(Readings {
            heads: self.heads.to_vec2()?,
            relative: self.relative.as_ref().map(Tensor::to_vec2).transpose()?,
        })
    }
}

/// `G` futures that advance together, as the network sees them: the frames that they have reached, what is being denoised,
/// and the memory of the steps before. Pictures are patches (see [`super::patches`]), `G * P * V` numbers.
pub trait Passes {
    /// Sets the present frames.
    ///
    /// # Errors
    /// More numbers than the futures hold, device errors.
    fn set_present(&mut self, patches: &[f32]) -> Result<(), ModelError>;

    /// Sets what the next prediction denoises.
    ///
    /// # Errors
    /// As [`Passes::set_present`].
    fn set_noisy(&mut self, noisy: &[f32]) -> Result<(), ModelError>;

    /// Predicts the clean frames that step number `step` leads to; with `commit` the step is remembered. A step that no
    /// future has a present for (`has_context` of 0) starts from nothing; it is the same for all futures.
    ///
    /// # Errors
    /// A condition of other sizes, device errors.
    fn predict(&mut self, condition: &Condition, step: usize, commit: bool) -> Result<(), ModelError>;

    /// What the heads said in the last prediction.
    ///
    /// # Errors
    /// Device errors.
    fn readings(&mut self) -> Result<Readings, ModelError>;

    /// Moves what is being denoised by `share` (0..=1) of the way to the last prediction.
    ///
    /// # Errors
    /// Device errors.
    fn approach(&mut self, share: f32) -> Result<(), ModelError>;

    /// The last prediction as it is, not clamped.
    ///
    /// # Errors
    /// Device errors.
    fn predicted(&mut self) -> Result<Vec<f32>, ModelError>;

    /// The last prediction, clamped to -1..=1, becomes the present; a copy is handed out.
    ///
    /// # Errors
    /// Device errors.
    fn settle(&mut self) -> Result<Vec<f32>, ModelError>;
}

/// A card that candle does not know, with kernels of its own.
pub trait Accelerator: Send + Sync {
    /// What its driver calls it.
    fn name(&self) -> &str;

    /// Brings a network's weights (f32 on the processor, by name) onto the card.
    ///
    /// # Errors
    /// A card that has no room, refuses the kernels, or weights that are missing.
    fn upload(self: Arc<Self>, config: &Config, weights: &Weights) -> Result<Box<dyn OnCard>, ModelError>;
}

/// A network's weights on such a card.
pub trait OnCard: Send + Sync {
    /// Starts `futures` futures under the prompts `text [futures, D]`. `network` is the same network on the processor:
    /// it makes the conditioning and reads the heads.
    ///
    /// # Errors
    /// A card that has no room.
    fn start<'a>(
        &'a self,
        network: &'a Network,
        text: Tensor,
        futures: usize,
    ) -> Result<Box<dyn Passes + 'a>, ModelError>;
}

/// Passes of a network that candle runs, on whatever device its weights are.
pub(super) struct InCandle<'a> {
    network: &'a Network,
    text: Tensor,
    futures: usize,
    caches: Vec<TimeCache>,
    present: Vec<f32>,
    noisy: Vec<f32>,
    frames: Vec<f32>,
    said: Option<HeadOutputs>,
    precision: Option<Precision>,
}

impl<'a> InCandle<'a> {
    pub(super) fn new(
        network: &'a Network,
        text: Tensor,
        futures: usize,
        precision: Option<Precision>,
    ) -> Self {
        let (present, noisy, frames) = Default::default();
        let (caches, said) = (network.caches(), None);
        Self { caches, network, text, futures, present, noisy, frames, said, precision }
    }
}

impl Passes for InCandle<'_> {
    fn set_present(&mut self, patches: &[f32]) -> Result<(), ModelError> {
        self.present.clear();
        self.present.extend_from_slice(patches);
        Ok(())
    }

    fn set_noisy(&mut self, noisy: &[f32]) -> Result<(), ModelError> {
        self.noisy.clear();
        self.noisy.extend_from_slice(noisy);
        Ok(())
    }

    fn predict(&mut self, condition: &Condition, step: usize, commit: bool) -> Result<(), ModelError> {
        let (config, device) = (self.network.config(), self.network.device());
        let shape = (self.futures, config.patches(), config.patch_values());
        let present = if self.present.len() == self.noisy.len() {
            Tensor::from_slice(&self.present, shape, device)?
        } else {
            Tensor::zeros(shape, DType::F32, device)?
        };
        let noisy = Tensor::from_slice(&self.noisy, shape, device)?;
        let time = Time::Step { caches: &mut self.caches, t: step, commit };
        let wish = self.precision.unwrap_or_else(precision::current);
        let output = precision::with(wish, || {
            self.network.forward(self.futures, &present, &noisy, condition, &self.text, time)
        })?;
        self.frames = output.frames.flatten_all()?.to_vec1()?;
        self.said = Some(HeadOutputs { heads: output.heads, relative: output.relative });
        Ok(())
    }

    fn readings(&mut self) -> Result<Readings, ModelError> {
        self.said.as_ref().map_or_else(|| Ok(Readings::default()), HeadOutputs::to_host)
    }

    fn approach(&mut self, share: f32) -> Result<(), ModelError> {
        for (z, x) in self.noisy.iter_mut().zip(&self.frames) {
            *z += (x - *z) * share;
        }
        Ok(())
    }

    fn predicted(&mut self) -> Result<Vec<f32>, ModelError> {
        Ok(self.frames.clone())
    }

    fn settle(&mut self) -> Result<Vec<f32>, ModelError> {
        self.present.clear();
        self.present.extend(self.frames.iter().map(|v| v.clamp(-1.0, 1.0)));
        Ok(self.present.clone())
    }
}
