//! Weight-normed convolutions over time and the snake activation.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

/// Whether a layer of this name is there.
pub(super) fn is_weight_normed(vb: &VarBuilder<'_>) -> bool {
    vb.contains_tensor("weight_v") || vb.contains_tensor("parametrizations.weight.original1")
}

/// Weight normalisation (Salimans and Kingma 2016): each row of the first dimension is brought to length `g`. Two
/// spellings are in use, that of the older torch and that of the newer.
fn normed_weight(shape: (usize, usize, usize), vb: &VarBuilder<'_>) -> Result<Tensor> {
    let (g, v) = match vb.contains_tensor("weight_v") {
        true => ("weight_g", "weight_v"),
        false => ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    };
    let (g, v) = (vb.get((shape.0, 1, 1), g)?, vb.get(shape, v)?);
    let length = v.sqr()?.sum_keepdim((1, 2))?.sqrt()?;
    v.broadcast_mul(&g.broadcast_div(&length)?)
}

/// A convolution over time.
pub(super) struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    padding: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
}

impl Conv {
    /// Weight-normed, [outputs, inputs, kernel].
    pub fn normed(
        shape: (usize, usize, usize),
        bias: bool,
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let bias = if bias { Some(vb.get(shape.0, "bias")?.reshape((1, shape.0, 1))?) } else { None };
        Ok(Self { weight: normed_weight(shape, &vb)?, bias, padding, stride: 1, dilation: 1, groups: 1 })
    }

    /// Plain, [outputs, inputs / groups, kernel], with bias.
    pub fn plain(
        shape: (usize, usize, usize),
        groups: usize,
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let bias = Some(vb.get(shape.0, "bias")?.reshape((1, shape.0, 1))?);
        Ok(Self { weight: vb.get(shape, "weight")?, bias, padding, stride: 1, dilation: 1, groups })
    }

    /// A fixed kernel.
    pub fn fixed(weight: Tensor, stride: usize) -> Self {
        Self { weight, bias: None, padding: 0, stride, dilation: 1, groups: 1 }
    }

    /// The same with a stride.
    pub fn strided(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with holes.
    pub fn dilated(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// `x` [B, C, T]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y =
            x.contiguous()?.conv1d(&self.weight, self.padding, self.stride, self.dilation, self.groups)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// A weight-normed transposed convolution that makes time `stride` times longer.
pub(super) struct Grow {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

impl Grow {
    pub fn new(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let bias = vb.get(outputs, "bias")?.reshape((1, outputs, 1))?;
        Ok(Self { weight: normed_weight((inputs, outputs, 2 * stride), &vb)?, bias, stride })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let s = self.stride;
        x.contiguous()?
            .conv_transpose1d(&self.weight, s.div_ceil(2), s % 2, s, 1, 1)?
            .broadcast_add(&self.bias)
    }
}

/// Snake (Ziyin et al. 2020) with a scale of its own: `x + sin²(a x) / b`, a and b stored as logarithms.
pub(super) struct Snake {
    a: Tensor,
    inverse_b: Tensor,
}

impl Snake {
    pub fn new(channels: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let a = vb.get((1, channels, 1), "alpha")?.exp()?;
        let inverse_b = (vb.get((1, channels, 1), "beta")?.exp()? + 1e-9)?.recip()?;
        Ok(Self { a, inverse_b })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x + x.broadcast_mul(&self.a)?.sin()?.sqr()?.broadcast_mul(&self.inverse_b)?
    }
}
