//! The last stroke: what a token draws anew, put right by what lies around each few pixels.
//!
//! A token draws a patch as one linear map of its numbers: it knows what there is, and blurs where. Here every cell of 4 x 4
//! pixels sees what was fetched and what is drawn, there and in the cells around it, together with what its token tells it.
//! It changes what is drawn anew and its gate, and adds a last touch to the frame that comes of them, which is what gives edges
//! back that were fetched again and again: two convolutions over cells, 20 x 20 pixels wide together.

use candle_core::{D, Result, Tensor};

use super::config::Config;
use crate::kernels::Precision;
use crate::nn::cells::{AROUND, Cells, Way, convolve, reorder};
use crate::nn::ops::silu;
use crate::nn::{Init, Matrix, Params};

/// Pixels along a side of a cell.
pub const CELL: usize = 4;
/// Numbers of a pixel that is fetched; planes of one that is drawn (its colours, then its gate); planes of what changes (those,
/// then what is added to the frame).
const FETCHED: [usize; 1] = [3];
const DRAWN: [usize; 2] = [3, 1];
const CHANGED: [usize; 3] = [3, 1, 3];

/// Cells of a network's pictures; `None` where it has no refiner.
pub fn cells(config: &Config) -> Option<Cells> {
    let (rows, cols) = config.grid();
    (config.refiner > 0).then_some(Cells { rows, cols, across: config.patch / CELL, side: CELL })
}

pub(super) struct Refiner {
    shape: Cells,
    told: Matrix,
    seen: Matrix,
    seen_bias: Tensor,
    near: Matrix,
    near_bias: Tensor,
    far: Matrix,
    far_bias: Tensor,
    width: usize,
}

impl Refiner {
    /// Takes or makes its variables; `None` where the configuration has none.
    pub(super) fn new(config: &Config, params: &mut Params) -> Result<Option<Self>> {
        let Some(shape) = cells(config) else { return Ok(None) };
        let (w, d) = (config.refiner, config.width);
        let (each, n) = (CELL * CELL, shape.in_patch());
        let (seen, changed) = (each * 7, each * 7);
        // Silent at first: a network that was trained without it does what it did.
        let silent = Init::Const(0.0);
        Ok(Some(Self {
            shape,
            told: params.tensor("refiner.told.weight", &[n * w, d], Init::fan_in(d))?.into(),
            seen: params.tensor("refiner.seen.weight", &[w, seen], Init::fan_in(seen))?.into(),
            seen_bias: params.tensor("refiner.seen.bias", &[w], Init::Const(0.0))?,
            near: params.tensor("refiner.near.weight", &[w, AROUND * w], Init::fan_in(AROUND * w))?.into(),
            near_bias: params.tensor("refiner.near.bias", &[w], Init::Const(0.0))?,
            far: params.tensor("refiner.far.weight", &[changed, AROUND * w], silent)?.into(),
            far_bias: params.tensor("refiner.far.bias", &[changed], Init::Const(0.0))?,
            width: w,
        }))
    }

    /// What is drawn, put right, and what is added to the frame `[G, P, V]`. `tokens [G, P, D]`, `fetched [G, P, V]`,
    /// `drawn [G, P, V + V / 3]` (colours, then gates).
    pub(super) fn forward(
        &self,
        tokens: &Tensor,
        fetched: &Tensor,
        drawn: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (g, n, v) = (tokens.dim(0)?, self.shape.in_picture(), fetched.dim(D::Minus1)?);
        let told = self.told.apply(tokens, None)?.reshape((g, n, self.width))?;
        let fetched = reorder(fetched, self.shape, Way::Apart, &FETCHED)?;
        let pictures = Tensor::cat(&[&fetched, &reorder(drawn, self.shape, Way::Apart, &DRAWN)?], 2)?;
        let x = silu(&(self.seen.apply(&pictures, Some(&self.seen_bias))? + told)?)?;
        let x = silu(&convolve(&x, self.shape, &self.near, &self.near_bias)?)?;
        let change = convolve(&x, self.shape, &self.far, &self.far_bias)?;
        let change = reorder(&change, self.shape, Way::Together, &CHANGED)?;
        let drawn = (drawn + change.narrow(D::Minus1, 0, v + v / 3)?.contiguous()?)?;
        Ok((drawn, change.narrow(D::Minus1, v + v / 3, v)?.contiguous()?))
    }

    /// Packs the weights: see [`Matrix::pack`].
    pub(super) fn pack(&mut self, precision: Precision) -> Result<usize> {
        let all = [&mut self.told, &mut self.seen, &mut self.near, &mut self.far];
        all.into_iter().map(|matrix| matrix.pack(precision)).sum()
    }
}
