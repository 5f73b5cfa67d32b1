//! One block: self-attention, cross-attention, feed-forward, each modulated and gated by the noise level.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::attention::{CrossAttention, SelfAttention};
use super::modulation::Modulate;
use super::time::Time;
use crate::common::rotary::Rotary;
use crate::common::{Linear, linear_no_bias};

/// Sizes of a block.
pub(super) struct BlockShape {
    pub heads: usize,
    pub head_width: usize,
    pub text_width: usize,
    pub mlp_ratio: f64,
    pub lora_width: usize,
    pub picture: bool,
    pub qk_eps: f64,
}

impl BlockShape {
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }
}

/// What cross-attention looks at.
pub(super) struct Context<'a> {
    pub text: &'a Tensor,
    pub picture: Option<&'a Tensor>,
}

/// The block.
pub(super) struct Block {
    norm1: Modulate,
    attn1: SelfAttention,
    norm2: Modulate,
    attn2: CrossAttention,
    norm3: Modulate,
    up: Linear,
    down: Linear,
}

impl Block {
    pub fn new(shape: &BlockShape, vb: VarBuilder<'_>) -> Result<Self> {
        let (width, lora) = (shape.width(), shape.lora_width);
        let hidden = (width as f64 * shape.mlp_ratio) as usize;
        Ok(Self {
            norm1: Modulate::new(width, lora, 3, vb.pp("norm1"))?,
            attn1: SelfAttention::new(shape, vb.pp("attn1"))?,
            norm2: Modulate::new(width, lora, 3, vb.pp("norm2"))?,
            attn2: CrossAttention::new(shape, vb.pp("attn2"))?,
            norm3: Modulate::new(width, lora, 3, vb.pp("norm3"))?,
            up: linear_no_bias(width, hidden, vb.pp("ff.net.0.proj"))?,
            down: linear_no_bias(hidden, width, vb.pp("ff.net.2"))?,
        })
    }

    /// `x` [B, N, width]
    pub fn forward(&self, x: &Tensor, context: &Context<'_>, time: &Time, rotary: &Rotary) -> Result<Tensor> {
        let part = self.norm1.forward(x, time)?;
        let x = part.add_to(x, &self.attn1.forward(&part.inner, rotary)?)?;
        let part = self.norm2.forward(&x, time)?;
        let x = part.add_to(&x, &self.attn2.forward(&part.inner, context)?)?;
        let part = self.norm3.forward(&x, time)?;
        part.add_to(&x, &self.down.forward(&self.up.forward(&part.inner)?.gelu_erf()?)?)
    }
}
