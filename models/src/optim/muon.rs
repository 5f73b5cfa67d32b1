//! Muon: momentum whose matrix is made nearly orthogonal before it is applied (Jordan et al. 2024,
//! <https://kellerjordan.github.io/posts/muon/>); scaled as in Liu et al. 2025 (<https://arxiv.org/abs/2502.16982>),
//! so that it shares its learning rate and weight decay with AdamW.

use candle_core::{Device, Result, Tensor};

/// Newton-Schulz coefficients of the public write-up.
const A: f64 = 3.4445;
const B: f64 = -4.7750;
const C: f64 = 2.0315;
const STEPS: usize = 5;

/// The nearly orthogonal matrix next to `matrix` (`rows x cols`, row by row), by five Newton-Schulz steps.
///
/// Singular values of the result lie roughly between 0.7 and 1.2; a matrix of zeros stays one.
///
/// # Errors
/// When the length does not fit the shape.
pub(super) fn orthogonalise(matrix: &[f32], rows: usize, cols: usize) -> Result<Vec<f32>> {
    let norm = matrix.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if norm < 1e-20 || !norm.is_finite() {
        return Ok(vec![0.0; matrix.len()]);
    }
    let tall = rows > cols;
    let x = Tensor::from_slice(matrix, (rows, cols), &Device::Cpu)?.affine(1.0 / (norm + 1e-7), 0.0)?;
    let mut x = if tall { x.t()?.contiguous()? } else { x };
    for _ in 0..STEPS {
        let square = x.matmul(&x.t()?)?;
        let mix = (square.affine(B, 0.0)? + square.matmul(&square)?.affine(C, 0.0)?)?;
        x = (x.affine(A, 0.0)? + mix.matmul(&x)?)?;
    }
    let x = if tall { x.t()?.contiguous()? } else { x };
    x.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::Random;

    #[test]
    fn rows_become_nearly_orthonormal() {
        for (rows, cols) in [(8, 24), (24, 8), (16, 16)] {
            let mut values = vec![0.0; rows * cols];
            Random::new(1, 2, 3).fill_normal(0, &mut values);
            let x = orthogonalise(&values, rows, cols).unwrap();
            let x = Tensor::from_vec(x, (rows, cols), &Device::Cpu).unwrap();
            let x = if rows > cols { x.t().unwrap().contiguous().unwrap() } else { x };
            let square: Vec<Vec<f32>> = x.matmul(&x.t().unwrap()).unwrap().to_vec2().unwrap();
            let side = square.len();
            let off: f32 = (0..side)
                .flat_map(|i| (0..side).filter(move |j| *j != i).map(move |j| (i, j)))
                .map(|(i, j)| square[i][j].powi(2))
                .sum::<f32>()
                .sqrt();
            let trace: f32 = (0..side).map(|i| square[i][i]).sum();
            assert!(trace / side as f32 > 0.4 && trace / (side as f32) < 1.5, "{trace}");
            assert!(off < 0.35 * trace, "{off} {trace}");
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(orthogonalise(&[0.0; 12], 3, 4).unwrap(), vec![0.0; 12]);
    }
}
