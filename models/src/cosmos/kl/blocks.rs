//! Residual block, attention over space and time, and the middle of encoder and decoder.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use super::conv::{Conv, SplitConv};
use crate::common::{Mask, attention};

/// All channels and pixels of one frame brought to mean 0 and variance 1, then weight and bias per channel.
pub(super) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let shaped = |name: &str| vb.get(channels, name)?.reshape((channels, 1, 1));
        Ok(Self { weight: shaped("weight")?, bias: shaped("bias")? })
    }

    /// `x` [B, T, C, H, W]; statistics in f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, frames, channels, height, width) = x.dims5()?;
        let flat = x.to_dtype(DType::F32)?.reshape((batch, frames, channels * height * width))?;
        let centred = flat.broadcast_sub(&flat.mean_keepdim(2)?)?;
        let variance = centred.sqr()?.mean_keepdim(2)?;
        let unit = centred.broadcast_div(&(variance + 1e-6)?.sqrt()?)?.reshape(x.shape())?;
        unit.to_dtype(x.dtype())?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Two split convolutions with norm and SiLU before each, around a shortcut.
pub(super) struct Residual {
    norm1: GroupNorm,
    conv1: SplitConv,
    norm2: GroupNorm,
    conv2: SplitConv,
    shortcut: Option<Conv>,
}

impl Residual {
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let shortcut = match inputs == outputs {
            true => None,
            false => Some(Conv::pointwise(inputs, outputs, vb.pp("conv_shortcut"))?),
        };
        Ok(Self {
            norm1: GroupNorm::new(inputs, vb.pp("norm1.norm"))?,
            conv1: SplitConv::new(inputs, outputs, vb.pp("conv1"))?,
            norm2: GroupNorm::new(outputs, vb.pp("norm2.norm"))?,
            conv2: SplitConv::new(outputs, outputs, vb.pp("conv2"))?,
            shortcut,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.conv1.forward(&self.norm1.forward(x)?.silu()?)?;
        let inner = self.conv2.forward(&self.norm2.forward(&inner)?.silu()?)?;
        match &self.shortcut {
            Some(shortcut) => inner + shortcut.forward(x)?,
            None => inner + x,
        }
    }
}

/// One head of attention, with a norm before and a shortcut around it.
struct Attention {
    norm: GroupNorm,
    q: Conv,
    k: Conv,
    v: Conv,
    out: Conv,
}

impl Attention {
    fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let layer = |name: &str| Conv::pointwise(channels, channels, vb.pp(name));
        Ok(Self {
            norm: GroupNorm::new(channels, vb.pp("norm.norm"))?,
            q: layer("to_q")?,
            k: layer("to_k")?,
            v: layer("to_v")?,
            out: layer("to_out.0")?,
        })
    }

    /// Over the pixels of each frame, or over the frames at each pixel, the past only.
    fn forward(&self, x: &Tensor, over_time: bool) -> Result<Tensor> {
        let (batch, frames, channels, height, width) = x.dims5()?;
        let normed = self.norm.forward(x)?;
        let rows = |y: Tensor| -> Result<Tensor> {
            match over_time {
                // [B, T, C, H, W] -> [B·H·W, 1, T, C]
                true => y.permute((0, 3, 4, 1, 2))?.reshape((batch * height * width, 1, frames, channels)),
                // [B, T, C, H, W] -> [B·T, 1, H·W, C]
                false => y.permute((0, 1, 3, 4, 2))?.reshape((batch * frames, 1, height * width, channels)),
            }
        };
        let (q, k, v) = (
            rows(self.q.forward(&normed)?)?,
            rows(self.k.forward(&normed)?)?,
            rows(self.v.forward(&normed)?)?,
        );
        let mask = if over_time { Mask::Causal } else { Mask::None };
        let mixed = attention(&q, &k, &v, 1.0 / (channels as f64).sqrt(), mask)?;
        let mixed = match over_time {
            true => mixed.reshape((batch, height, width, frames, channels))?.permute((0, 3, 4, 1, 2))?,
            false => mixed.reshape((batch, frames, height, width, channels))?.permute((0, 1, 4, 2, 3))?,
        };
        x + self.out.forward(&mixed.contiguous()?)?
    }
}

/// Attention over space, then over time.
pub(super) struct SpaceTimeAttention {
    space: Attention,
    time: Attention,
}

impl SpaceTimeAttention {
    /// The `i`th of a stage.
    pub fn new(channels: usize, i: usize, vb: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            space: Attention::new(channels, vb.pp("attentions").pp(i))?,
            time: Attention::new(channels, vb.pp("temp_attentions").pp(i))?,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.time.forward(&self.space.forward(x, false)?, true)
    }
}

/// Residual block, attention, residual block.
pub(super) struct Mid {
    first: Residual,
    attention: SpaceTimeAttention,
    second: Residual,
}

impl Mid {
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            first: Residual::new(channels, channels, vb.pp("resnets.0"))?,
            attention: SpaceTimeAttention::new(channels, 0, &vb)?,
            second: Residual::new(channels, channels, vb.pp("resnets.1"))?,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward(&self.first.forward(x)?)?;
        self.second.forward(&x)
    }
}
