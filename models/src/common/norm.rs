//! Root-mean-square and layer normalisation over the last dimension.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::ops;

/// RMSNorm with a learned weight (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + eps) * weight`.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// Reads `weight` [`width`].
    pub fn new(width: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: vb.get(width, "weight")?, eps })
    }

    /// Normalises the last dimension of `x`. Statistics are taken in f32, the result has the type of `x`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.dtype() == DType::F32 && self.weight.dtype() == DType::F32 {
            return ops::rms_norm(&x.contiguous()?, &self.weight, self.eps);
        }
        let wide = x.to_dtype(DType::F32)?;
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = wide.broadcast_div(&(mean_square + self.eps)?.sqrt()?)?;
        unit.to_dtype(x.dtype())?.broadcast_mul(&self.weight)
    }
}

/// Layer normalisation without learned parameters: mean 0 and variance 1 over the last dimension.
pub fn layer_norm(x: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)?.to_dtype(x.dtype())
}
