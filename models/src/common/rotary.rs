//! Rotary position embedding, half-rotation layout: the first half of a head is paired with the second.

use candle_core::{D, DType, Device, Result, Tensor};

/// Cosines and sines of all positions: each [tokens, head width / 2], f32.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// From the angle of each token and frequency slot, row by row: `angles.len() == tokens * half`.
    pub fn from_angles(angles: Vec<f32>, tokens: usize, half: usize, device: &Device) -> Result<Self> {
        let angles = Tensor::from_vec(angles, (tokens, half), device)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// The positions `start .. start + count` only.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(0, start, count)?, sin: self.sin.narrow(0, start, count)? })
    }

    /// Turns `x` [B, H, N, D] by the angles of its N tokens.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let wide = x.to_dtype(DType::F32)?;
        let (first, second) = (wide.narrow(D::Minus1, 0, half)?, wide.narrow(D::Minus1, half, half)?);
        let left = (first.broadcast_mul(&self.cos)? - second.broadcast_mul(&self.sin)?)?;
        let right = (second.broadcast_mul(&self.cos)? + first.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[left, right], D::Minus1)?.to_dtype(x.dtype())
    }
}

/// `count` inverse frequencies `1 / theta^(2i / width)`, in f32 as the reference libraries take them.
pub fn inverse_frequencies(theta: f32, width: usize) -> Vec<f32> {
    (0..width / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / width as f32)).collect()
}
