//! Residual block, attention block and the middle of encoder and decoder.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::conv::{CausalConv3d, ChannelNorm, PictureConv};
use super::memory::Memory;
use crate::common::{Mask, attention};

/// Two causal 3×3×3 convolutions with norm and SiLU before each, around a shortcut.
pub(super) struct ResidualBlock {
    norm1: ChannelNorm,
    conv1: CausalConv3d,
    norm2: ChannelNorm,
    conv2: CausalConv3d,
    shortcut: Option<CausalConv3d>,
}

impl ResidualBlock {
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let shortcut = match inputs == outputs {
            true => None,
            false => Some(CausalConv3d::pointwise(inputs, outputs, vb.pp("conv_shortcut"))?),
        };
        Ok(Self {
            norm1: ChannelNorm::new(inputs, 3, vb.pp("norm1"))?,
            conv1: CausalConv3d::cube(inputs, outputs, vb.pp("conv1"))?,
            norm2: ChannelNorm::new(outputs, 3, vb.pp("norm2"))?,
            conv2: CausalConv3d::cube(outputs, outputs, vb.pp("conv2"))?,
            shortcut,
        })
    }

    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let inner = self.conv1.forward(&self.norm1.forward_silu(x)?, memory)?;
        let inner = self.conv2.forward(&self.norm2.forward_silu(&inner)?, memory)?;
        match &self.shortcut {
            Some(shortcut) => inner + shortcut.filter(x, 0)?,
            None => inner + x,
        }
    }
}

/// Attention of one head over the pixels of each frame by itself.
struct AttentionBlock {
    norm: ChannelNorm,
    to_qkv: PictureConv,
    proj: PictureConv,
}

impl AttentionBlock {
    fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let pixelwise = |outputs: usize, vb: VarBuilder<'_>| PictureConv::new(channels, outputs, 1, 0, 1, vb);
        Ok(Self {
            norm: ChannelNorm::new(channels, 2, vb.pp("norm"))?,
            to_qkv: pixelwise(3 * channels, vb.pp("to_qkv"))?,
            proj: pixelwise(channels, vb.pp("proj"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, frames, channels, height, width) = x.dims5()?;
        // [B, T, C, H, W] -> [B·T, 3·C, H·W] -> [B·T, 1, H·W, 3·C]
        let pictures = self.norm.forward(x)?.flatten_to(1)?;
        let qkv = self.to_qkv.forward(&pictures)?.flatten_from(2)?.transpose(1, 2)?.unsqueeze(1)?;
        let part = |i: usize| qkv.narrow(3, i * channels, channels)?.contiguous();
        let mixed = attention(&part(0)?, &part(1)?, &part(2)?, 1.0 / (channels as f64).sqrt(), Mask::None)?;
        // [B·T, 1, H·W, C] -> [B·T, C, H, W]
        let mixed = mixed.squeeze(1)?.transpose(1, 2)?.reshape((batch * frames, channels, height, width))?;
        x + self.proj.forward(&mixed)?.reshape(x.shape())?
    }
}

/// Residual block, attention, residual block.
pub(super) struct MidBlock {
    first: ResidualBlock,
    attention: AttentionBlock,
    second: ResidualBlock,
}

impl MidBlock {
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            first: ResidualBlock::new(channels, channels, vb.pp("resnets.0"))?,
            attention: AttentionBlock::new(channels, vb.pp("attentions.0"))?,
            second: ResidualBlock::new(channels, channels, vb.pp("resnets.1"))?,
        })
    }

    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let x = self.first.forward(x, memory)?;
        let x = self.attention.forward(&x)?;
        self.second.forward(&x, memory)
    }
}

/// Norm, SiLU and the last convolution.
pub(super) struct Head {
    norm: ChannelNorm,
    conv: CausalConv3d,
}

impl Head {
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            norm: ChannelNorm::new(inputs, 3, vb.pp("norm_out"))?,
            conv: CausalConv3d::cube(inputs, outputs, vb.pp("conv_out"))?,
        })
    }

    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        self.conv.forward(&self.norm.forward_silu(x)?, memory)
    }
}
