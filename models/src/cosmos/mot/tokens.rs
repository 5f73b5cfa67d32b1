//! Picture latents and actions as tokens.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

/// Picture tokens along each axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub frames: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    pub fn tokens(self) -> usize {
        self.frames * self.rows * self.columns
    }
}

/// The tokens that latents [1, C, T, h, w] make; odd sides are filled up.
pub(super) fn grid(latents: &Tensor, patch: usize) -> Result<Grid> {
    let (batch, _, frames, height, width) = latents.dims5()?;
    if batch != 1 {
        candle_core::bail!("Cosmos 3 runs one sample at a time, {batch} were given");
    }
    Ok(Grid { frames, rows: height.div_ceil(patch), columns: width.div_ceil(patch) })
}

/// [1, C, T, h, w] -> [tokens, p·p·C]; the numbers of a token run in the order (row, column, channel).
pub(super) fn fold(latents: &Tensor, p: usize) -> Result<Tensor> {
    let Grid { frames, rows, columns } = grid(latents, p)?;
    let (_, channels, _, height, width) = latents.dims5()?;
    let filled = latents.squeeze(0)?.pad_with_zeros(2, 0, rows * p - height)?.pad_with_zeros(
        3,
        0,
        columns * p - width,
    )?;
    filled
        .reshape(vec![channels, frames, rows, p, columns, p])?
        .permute(vec![1, 2, 4, 3, 5, 0])?
        .reshape((frames * rows * columns, p * p * channels))
}

/// The inverse of [`fold`], cut to the size of `like`.
pub(super) fn unfold(tokens: &Tensor, grid: Grid, p: usize, like: &Tensor) -> Result<Tensor> {
    let (_, channels, _, height, width) = like.dims5()?;
    let Grid { frames, rows, columns } = grid;
    tokens
        .reshape(vec![frames, rows, columns, p, p, channels])?
        .permute(vec![5, 0, 1, 3, 2, 4])?
        .reshape((1, channels, frames, rows * p, columns * p))?
        .narrow(3, 0, height)?
        .narrow(4, 0, width)?
        .contiguous()
}

/// 1 for the tokens of noisy frames (or rows), 0 for given ones, [tokens, 1]; each mark stands for `per` tokens.
pub(super) fn noisy_mask(given: &[bool], per: usize, like: &Tensor) -> Result<Tensor> {
    let values: Vec<f32> =
        given.iter().flat_map(|given| std::iter::repeat_n(if *given { 0.0 } else { 1.0 }, per)).collect();
    Tensor::from_vec(values, (given.len() * per, 1), like.device())?.to_dtype(like.dtype())
}

/// A linear layer with weights of its own for every embodiment. A row of the table is one matrix, stored [in, out].
pub(super) struct DomainLinear {
    weight: Tensor,
    bias: Tensor,
    inputs: usize,
    outputs: usize,
}

impl DomainLinear {
    pub fn new(inputs: usize, outputs: usize, domains: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            weight: vb.get((domains, inputs * outputs), "fc.weight")?,
            bias: vb.get((domains, outputs), "bias.weight")?,
            inputs,
            outputs,
        })
    }

    /// `x` [N, in] -> [N, out] with the weights of embodiment `domain`.
    pub fn forward(&self, x: &Tensor, domain: usize) -> Result<Tensor> {
        if domain >= self.bias.dim(0)? {
            candle_core::bail!(
                "embodiment {domain} is not one of the {} that this network has",
                self.bias.dim(0)?
            );
        }
        let weight = self.weight.narrow(0, domain, 1)?.reshape((self.inputs, self.outputs))?;
        let x = if x.dtype() == DType::F64 { x.to_dtype(DType::F32)? } else { x.clone() };
        x.matmul(&weight)?.broadcast_add(&self.bias.narrow(0, domain, 1)?)
    }
}
