//! A small picture of latents, without decoding them: each latent becomes one pixel.
//!
//! Which colour stands for which latent is learned from the model's own autoencoder: a card of known colours is encoded
//! once, and a linear map from its latents back to the colours is fitted (least squares).

use candle_core::{Device, Result, Tensor};

use crate::frame::Frame;

/// Colours along each axis of the card; it has their third power of patches.
const LEVELS: usize = 4;
/// Latents a side of a patch of one colour.
const PATCH: usize = 2;
/// Patches a side: LEVELS³ = SIDE².
const SIDE: usize = 8;

/// Weights [channels + 1][3] from latents (and one) to RGB in 0..1.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    weights: Vec<[f32; 3]>,
}

/// The card, [1, 3, 1, H, W] in -1..1, for latents of `factor` pixels a side.
pub(super) fn card(factor: usize, device: &Device) -> Result<Tensor> {
    let side = SIDE * PATCH * factor;
    let mut values = Vec::with_capacity(3 * side * side);
    for channel in 0..3 {
        for y in 0..side {
            for x in 0..side {
                values.push(colour(y / (PATCH * factor), x / (PATCH * factor))[channel] * 2.0 - 1.0);
            }
        }
    }
    Tensor::from_vec(values, (1, 3, 1, side, side), device)
}

fn colour(row: usize, column: usize) -> [f32; 3] {
    let number = row * SIDE + column;
    let level = |n: usize| (n % LEVELS) as f32 / (LEVELS - 1) as f32;
    [level(number), level(number / LEVELS), level(number / LEVELS / LEVELS)]
}

impl Projection {
    /// Fits the map to the (normalised) latents of the card, [1, C, 1, h, w].
    pub fn fit(latents: &Tensor) -> Result<Self> {
        let (_, channels, _, height, width) = latents.dims5()?;
        let rows = latents.squeeze(0)?.squeeze(1)?.flatten_from(1)?.t()?.contiguous()?.to_vec2::<f32>()?;
        let size = channels + 1;
        // Normal equations with a little ridge, so that channels that say nothing stay small.
        let mut normal = vec![vec![0f64; size]; size];
        let mut right = vec![[0f64; 3]; size];
        for (i, row) in rows.iter().enumerate() {
            let (y, x) = (i / width.max(1), i % width.max(1));
            let target = colour(y * SIDE / height.max(1), x * SIDE / width.max(1));
            let at = |k: usize| if k < channels { f64::from(row[k]) } else { 1.0 };
            for a in 0..size {
                for b in 0..size {
                    normal[a][b] += at(a) * at(b);
                }
                for c in 0..3 {
                    right[a][c] += at(a) * f64::from(target[c]);
                }
            }
        }
        let trace: f64 = (0..size).map(|i| normal[i][i]).sum();
        for (i, row) in normal.iter_mut().enumerate() {
            row[i] += 1e-4 * trace / size as f64 + 1e-9;
        }
        Ok(Self { weights: solve(normal, right) })
    }

    /// One picture per latent frame of `latents` [1, C, T, h, w].
    pub fn pictures(&self, latents: &Tensor) -> Result<Vec<Frame>> {
        let (_, channels, frames, height, width) = latents.dims5()?;
        // [1, C, T, h, w] -> [T, h·w, C]
        let rows = latents.squeeze(0)?.permute((1, 2, 3, 0))?.reshape((frames, height * width, channels))?;
        let rows = rows.to_dtype(candle_core::DType::F32)?.to_vec3::<f32>()?;
        let level = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
        Ok(rows
            .iter()
            .filter_map(|pixels| {
                let mut data = Vec::with_capacity(3 * pixels.len());
                for pixel in pixels {
                    let mut rgb = self.weights.last().copied().unwrap_or([0.5; 3]);
                    for (value, weight) in pixel.iter().zip(&self.weights) {
                        for c in 0..3 {
                            rgb[c] += value * weight[c];
                        }
                    }
                    data.extend(rgb.map(level));
                }
                Frame::new(width, height, data)
            })
            .collect())
    }
}

/// Gaussian elimination with pivots; the matrix is symmetric and, by its ridge, regular.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<[f64; 3]>) -> Vec<[f32; 3]> {
    let size = right.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))
            .unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let head = matrix[column][column];
        if head == 0.0 {
            continue;
        }
        for row in 0..size {
            if row == column {
                continue;
            }
            let factor = matrix[row][column] / head;
            if factor == 0.0 {
                continue;
            }
            for k in column..size {
                let above = matrix[column][k];
                matrix[row][k] -= factor * above;
            }
            for c in 0..3 {
                right[row][c] -= factor * right[column][c];
            }
        }
    }
    (0..size)
        .map(|i| {
            let head = matrix[i][i];
            right[i].map(|v| if head == 0.0 { 0.0 } else { (v / head) as f32 })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_linear_code_of_colours_is_undone() {
        // Latents that mix the colours of the card: the fitted map must find them again.
        let picture = card(1, &Device::Cpu).unwrap();
        let mix = Tensor::new(
            &[[1f32, 0.5, 0.0], [0.0, -1.0, 2.0], [3.0, 0.0, 0.2], [0.0, 0.0, 0.0]],
            &Device::Cpu,
        );
        let flat = picture.flatten_from(2).unwrap().squeeze(0).unwrap();
        let latents = mix.unwrap().matmul(&flat).unwrap().reshape((1, 4, 1, 16, 16)).unwrap();
        let projection = Projection::fit(&latents).unwrap();
        let frame = projection.pictures(&latents).unwrap().remove(0);
        for (y, x) in [(0, 0), (5, 9), (15, 15), (2, 13)] {
            let wanted = colour(y / 2, x / 2).map(|v| (v * 255.0).round() as i32);
            let got = frame.pixel(x, y).unwrap().map(i32::from);
            assert!(wanted.iter().zip(got).all(|(a, b)| (a - b).abs() <= 3), "{wanted:?} {got:?}");
        }
    }
}
