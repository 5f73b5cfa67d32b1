//! Tables for rotary position embedding (Su et al. 2021, "RoFormer", <https://arxiv.org/abs/2104.09864>).
//!
//! Convention everywhere in this crate: **halves**. A head of `hd` numbers has `hd / 2` pairs; pair `i` is
//! (element `i`, element `i + hd / 2`) and turns by the angle of column `i` of the table:
//! `(a, b) -> (a cos - b sin, b cos + a sin)`.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, DeviceLocation, Result, Tensor};

/// Cosines and sines, one row per position, one column per pair of a head.
///
/// Cheap to clone: the numbers are shared. Angles are computed in f64, so that position 5,000 is as exact as position 5.
#[derive(Debug, Clone)]
pub struct RopeTable {
    rows: usize,
    half: usize,
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
    /// The tables as tensors on the device that asked last, so that stock operations do not upload them on every call.
    uploaded: Arc<Mutex<Option<Uploaded>>>,
}

#[derive(Debug)]
struct Uploaded {
    place: DeviceLocation,
    dtype: DType,
    cos: Tensor,
    sin: Tensor,
}

impl RopeTable {
    fn from_parts(rows: usize, half: usize, cos: Vec<f32>, sin: Vec<f32>) -> Self {
        Self { rows, half, cos: cos.into(), sin: sin.into(), uploaded: Arc::default() }
    }

    /// Number of positions.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of pairs in a head: half of the head's width.
    pub fn half_dim(&self) -> usize {
        self.half
    }

    /// Cosines, `rows x half_dim`, row by row.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// Sines, `rows x half_dim`, row by row.
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }

    /// Cosines and sines as two `[rows, half_dim]` tensors on `device`; the last answer is kept.
    ///
    /// # Errors
    /// When the device cannot take the numbers.
    pub fn tensors(&self, device: &Device, dtype: DType) -> Result<(Tensor, Tensor)> {
        let place = device.location();
        let mut kept = self.uploaded.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(u) = kept.as_ref().filter(|u| u.place == place && u.dtype == dtype) {
            return Ok((u.cos.clone(), u.sin.clone()));
        }
        let make =
            |values: &[f32]| Tensor::from_slice(values, (self.rows, self.half), device)?.to_dtype(dtype);
        let (cos, sin) = (make(&self.cos)?, make(&self.sin)?);
        *kept = Some(Uploaded { place, dtype, cos: cos.clone(), sin: sin.clone() });
        Ok((cos, sin))
    }
}

/// Angle per unit of position for pair `i` of `pairs`: `base^(-i / pairs)`.
fn frequency(i: usize, pairs: usize, base: f64) -> f64 {
    base.powf(-(i as f64) / pairs as f64)
}

/// A table for positions on a line (time steps): column `i` turns by `position * base^(-i / half_dim)`.
pub fn rope_table(positions: &[f32], half_dim: usize, base: f32) -> RopeTable {
    let mut cos = Vec::with_capacity(positions.len() * half_dim);
    let mut sin = Vec::with_capacity(positions.len() * half_dim);
    for &p in positions {
        for i in 0..half_dim {
            let angle = f64::from(p) * frequency(i, half_dim, f64::from(base));
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    RopeTable::from_parts(positions.len(), half_dim, cos, sin)
}

/// A table for a grid of `rows x cols` patches (row by row) followed by `registers` tokens that have no place.
///
/// The first `half_dim / 2` pairs turn with the patch's row, the other pairs with its column; register tokens, which come
/// **after** the patches, do not turn (cos 1, sin 0).
pub fn rope_axial_2d(rows: usize, cols: usize, registers: usize, half_dim: usize, base: f32) -> RopeTable {
    let for_rows = half_dim / 2;
    let for_cols = half_dim - for_rows;
    let tokens = rows * cols + registers;
    let mut cos = Vec::with_capacity(tokens * half_dim);
    let mut sin = Vec::with_capacity(tokens * half_dim);
    for token in 0..tokens {
        for i in 0..half_dim {
            let angle = if token >= rows * cols {
                0.0
            } else if i < for_rows {
                (token / cols) as f64 * frequency(i, for_rows, f64::from(base))
            } else {
                (token % cols) as f64 * frequency(i - for_rows, for_cols, f64::from(base))
            };
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    RopeTable::from_parts(tokens, half_dim, cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_do_not_turn() {
        let t = rope_axial_2d(2, 3, 2, 8, 100.0);
        assert_eq!(t.rows(), 8);
        assert!(t.cos()[6 * 8..].iter().all(|&c| c == 1.0));
        assert!(t.sin()[6 * 8..].iter().all(|&s| s == 0.0));
    }

    #[test]
    fn the_grid_table_is_two_line_tables() {
        let grid = rope_axial_2d(4, 5, 0, 6, 50.0);
        let line = rope_table(&[0.0, 1.0, 2.0, 3.0, 4.0], 3, 50.0);
        for r in 0..4 {
            for c in 0..5 {
                let at = (r * 5 + c) * 6;
                assert_eq!(grid.cos()[at..at + 3], line.cos()[r * 3..r * 3 + 3]);
                assert_eq!(grid.sin()[at + 3..at + 6], line.sin()[c * 3..c * 3 + 3]);
            }
        }
    }
}
