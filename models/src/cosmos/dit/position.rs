//! Where a token is: rotary angles over time, height and width, and Predict1's learned tables.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::DitConfig;
use super::patch::Grid;
use crate::common::rotary::{Rotary, inverse_frequencies};

/// Rate at which one latent frame is one unit of the rotary time axis.
const BASE_FPS: f32 = 24.0;

/// What the rotary angles depend on.
pub(super) struct RopeShape {
    pub head_width: usize,
    pub scale: [f64; 3],
}

/// Angles of every token. A head is divided into time, height and width, about 2 : 2 : 2 with the rest for time;
/// the base of each axis is stretched by `scale^(d / (d - 2))` (NTK-aware). With `fps`, frames are 24 / fps apart.
pub(super) fn rotary(shape: &RopeShape, grid: Grid, fps: Option<f64>, device: &Device) -> Result<Rotary> {
    let side = shape.head_width / 6 * 2;
    let widths = [shape.head_width - 2 * side, side, side];
    let frequencies: Vec<Vec<f32>> = widths
        .iter()
        .zip(shape.scale)
        .map(|(width, scale)| {
            let stretch = scale.powf(*width as f64 / (*width as f64 - 2.0));
            inverse_frequencies((10000.0 * stretch) as f32, *width)
        })
        .collect();
    let moment = |frame: usize| match fps {
        Some(fps) => frame as f32 / fps as f32 * BASE_FPS,
        None => frame as f32,
    };
    let half = shape.head_width / 2;
    let tokens = grid.frames * grid.rows * grid.columns;
    let mut angles = Vec::with_capacity(tokens * half);
    for frame in 0..grid.frames {
        for row in 0..grid.rows {
            for column in 0..grid.columns {
                let places = [moment(frame), row as f32, column as f32];
                for (place, axis) in places.iter().zip(&frequencies) {
                    angles.extend(axis.iter().map(|f| place * f));
                }
            }
        }
    }
    Rotary::from_angles(angles, tokens, half, device)
}

/// Predict1's tables, one row per frame, row and column; their sum is brought to about unit length per number.
pub(super) struct LearnedPosition {
    time: Tensor,
    rows: Tensor,
    columns: Tensor,
    width: usize,
}

impl LearnedPosition {
    pub fn new(cfg: &DitConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let width = cfg.width();
        let [t, h, w] = cfg.table_sizes();
        Ok(Self {
            time: vb.get((t, width), "pos_emb_t")?,
            rows: vb.get((h, width), "pos_emb_h")?,
            columns: vb.get((w, width), "pos_emb_w")?,
            width,
        })
    }

    /// [1, tokens, width]
    pub fn forward(&self, grid: Grid) -> Result<Tensor> {
        let table = |table: &Tensor, count: usize, shape: (usize, usize, usize, usize)| -> Result<Tensor> {
            if count > table.dim(0)? {
                candle_core::bail!(
                    "{count} patches along one axis, but this network was made for {}",
                    table.dim(0)?
                );
            }
            table.narrow(0, 0, count)?.reshape(shape)
        };
        let Grid { frames, rows, columns } = grid;
        let sum = table(&self.time, frames, (frames, 1, 1, self.width))?
            .broadcast_add(&table(&self.rows, rows, (1, rows, 1, self.width))?)?
            .broadcast_add(&table(&self.columns, columns, (1, 1, columns, self.width))?)?;
        let sum = sum.reshape((1, frames * rows * columns, self.width))?;
        let length = sum.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        sum.broadcast_div(&length.affine(1.0 / (self.width as f64).sqrt(), 1e-6)?)
    }
}
