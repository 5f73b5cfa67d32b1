//! Sinusoidal embedding of a noise level or time.

use candle_core::{D, DType, Result, Tensor};

/// Sinusoids of `t` [N]: [N, `width`], cosines first, frequencies `10000^(-i / (width / 2))`, f32.
pub fn sinusoid(t: &Tensor, width: usize) -> Result<Tensor> {
    let half = width / 2;
    let frequencies: Vec<f32> =
        (0..half).map(|i| (-(10000f32.ln()) * i as f32 / half as f32).exp()).collect();
    let frequencies = Tensor::from_vec(frequencies, (1, half), t.device())?;
    let angles = t.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)?;
    Tensor::cat(&[angles.cos()?, angles.sin()?], D::Minus1)
}
