//! adaLN with a low-rank part: shift, scale and gate of a layer norm, from the noise level.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::time::Time;
use crate::common::{Linear, layer_norm, linear_no_bias};

/// Two linear layers on the time embedding; their result plus the shared part is shift, scale (and gate).
pub(super) struct Modulate {
    linear_1: Linear,
    linear_2: Linear,
    parts: usize,
    width: usize,
}

/// A normed and modulated stream, and the gate for what is made of it.
pub(super) struct Modulated {
    /// [B, N, width]
    pub inner: Tensor,
    /// [B, G, 1, width], absent where there is no gate.
    gate: Option<Tensor>,
    groups: usize,
}

impl Modulate {
    /// `parts` is 3 with a gate, 2 without.
    pub fn new(width: usize, lora_width: usize, parts: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            linear_1: linear_no_bias(width, lora_width, vb.pp("linear_1"))?,
            linear_2: linear_no_bias(lora_width, parts * width, vb.pp("linear_2"))?,
            parts,
            width,
        })
    }

    /// `LN(x) · (1 + scale) + shift` for `x` [B, N, width], whose N tokens are G groups of equal size in order.
    pub fn forward(&self, x: &Tensor, time: &Time) -> Result<Modulated> {
        let (batch, groups, _) = time.embedded.dims3()?;
        let own = self.linear_2.forward(&self.linear_1.forward(&time.embedded.silu()?)?)?;
        let vectors = (own + time.shared.narrow(2, 0, self.parts * self.width)?)?;
        // [B, G, parts·width] -> [B, G, 1, width] each
        let part = |i: usize| vectors.narrow(2, i * self.width, self.width)?.unsqueeze(2);
        let grouped = layer_norm(x, 1e-6)?.reshape((batch, groups, (), self.width))?;
        let inner = grouped.broadcast_mul(&(part(1)? + 1.0)?)?.broadcast_add(&part(0)?)?;
        let gate = if self.parts == 3 { Some(part(2)?) } else { None };
        Ok(Modulated { inner: inner.reshape(x.shape())?, gate, groups })
    }
}

impl Modulated {
    /// `x + gate · made`.
    pub fn add_to(&self, x: &Tensor, made: &Tensor) -> Result<Tensor> {
        let Some(gate) = &self.gate else { return x + made };
        let (batch, _, width) = made.dims3()?;
        let gated = made.reshape((batch, self.groups, (), width))?.broadcast_mul(gate)?;
        x + gated.reshape(x.shape())?
    }
}
