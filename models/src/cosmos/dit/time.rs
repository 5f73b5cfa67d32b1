//! The noise level as the blocks read it.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::action::ActionVectors;
use crate::common::sinusoid::sinusoid;
use crate::common::{Linear, RmsNorm, linear_no_bias};

/// Vectors per group of tokens: one group per latent frame, or one for the whole clip.
pub(super) struct Time {
    /// Normed sinusoid [B, G, width], which every block's adaLN reads.
    pub embedded: Tensor,
    /// Shared part of all adaLN vectors [B, G, 3·width].
    pub shared: Tensor,
}

/// Sinusoid, its norm, and two linear layers on it.
pub(super) struct TimeEmbedding {
    linear_1: Linear,
    linear_2: Linear,
    norm: RmsNorm,
    width: usize,
}

impl TimeEmbedding {
    pub fn new(width: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let layers = vb.pp("t_embedder");
        Ok(Self {
            linear_1: linear_no_bias(width, width, layers.pp("linear_1"))?,
            linear_2: linear_no_bias(width, 3 * width, layers.pp("linear_2"))?,
            norm: RmsNorm::new(width, 1e-6, vb.pp("norm"))?,
            width,
        })
    }

    /// `timestep` is [B] or [B, 1, T, 1, 1]. Actions come in per frame.
    pub fn forward(
        &self,
        timestep: &Tensor,
        frames: usize,
        actions: Option<&ActionVectors>,
        dtype: DType,
    ) -> Result<Time> {
        let batch = timestep.dim(0)?;
        let groups = match timestep.rank() {
            1 => 1,
            5 if timestep.dim(2)? == frames => frames,
            _ => candle_core::bail!("timestep of shape {:?} for {frames} latent frames", timestep.dims()),
        };
        let wave = sinusoid(&timestep.flatten_all()?, self.width)?.to_dtype(dtype)?;
        // [B·G, width] -> [B, G, width]
        let wave = wave.reshape((batch, groups, self.width))?;
        let shared = self.linear_2.forward(&self.linear_1.forward(&wave)?.silu()?)?;
        match actions {
            None => Ok(Time { embedded: self.norm.forward(&wave)?, shared }),
            Some(actions) => Ok(Time {
                embedded: self.norm.forward(&wave.broadcast_add(&actions.narrow)?)?,
                shared: shared.broadcast_add(&actions.wide)?,
            }),
        }
    }
}
