//! The orthogonalisation of the Muon optimiser.
//!
//! Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks",
//! <https://kellerjordan.github.io/posts/muon/>: a Newton-Schulz iteration of degree 5 with the coefficients published
//! there brings all singular values near 1 (about 0.7 to 1.2 after five steps; it is not meant to converge further).

use super::gemm::matmul;
use super::matrix::{View, ViewMut};
use super::optim::sum_squares;

pub(crate) const A: f32 = 3.4445;
pub(crate) const B: f32 = -4.7750;
pub(crate) const C: f32 = 2.0315;

/// Number of Newton-Schulz steps that the write-up uses.
pub const STEPS: usize = 5;

/// Replaces `g [rows, cols]` by a nearly (semi-)orthogonal matrix with the same singular vectors.
///
/// A matrix of zeros stays zero. Products run in the thread's precision; bf16 is what the write-up uses.
pub fn orthogonalise(g: &mut [f32], rows: usize, cols: usize) {
    assert_eq!(g.len(), rows * cols);
    let norm = sum_squares(g).sqrt() as f32;
    let scale = 1.0 / (norm + 1e-7);
    // Work with the short side first: the products are small x small.
    let flip = rows > cols;
    let (r, c) = if flip { (cols, rows) } else { (rows, cols) };
    let mut x: Vec<f32> = if flip {
        (0..r * c).map(|i| g[i % c * cols + i / c] * scale).collect()
    } else {
        g.iter().map(|v| v * scale).collect()
    };
    let mut gram = vec![0.0; r * r];
    let mut poly = vec![0.0; r * r];
    let mut next = vec![0.0; r * c];
    for _ in 0..STEPS {
        let xv = View::dense(&x, r, c);
        matmul(xv, xv.t(), ViewMut::dense(&mut gram, r, r), false);
        let gv = View::dense(&gram, r, r);
        matmul(gv, gv, ViewMut::dense(&mut poly, r, r), false);
        for (p, g) in poly.iter_mut().zip(&gram) {
            *p = B * g + C * *p;
        }
        next.iter_mut().zip(&x).for_each(|(n, x)| *n = A * x);
        matmul(View::dense(&poly, r, r), View::dense(&x, r, c), ViewMut::dense(&mut next, r, c), true);
        std::mem::swap(&mut x, &mut next);
    }
    if flip {
        for (i, v) in x.iter().enumerate() {
            g[i % c * cols + i / c] = *v;
        }
    } else {
        g.copy_from_slice(&x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Largest and smallest stretch of the matrix, by power iteration on `g g^T` and on its complement.
    fn stretches(g: &[f32], rows: usize, cols: usize) -> (f64, f64) {
        let gram: Vec<f64> = (0..rows * rows)
            .map(|i| {
                (0..cols).map(|c| f64::from(g[i / rows * cols + c]) * f64::from(g[i % rows * cols + c])).sum()
            })
            .collect();
        let top = |shift: f64| {
            let mut v: Vec<f64> = (0..rows).map(|i| 1.0 + (i as f64).sin()).collect();
            let mut value = 0.0;
            for _ in 0..3000 {
                let w: Vec<f64> = (0..rows)
                    .map(|r| (0..rows).map(|c| gram[r * rows + c] * v[c]).sum::<f64>() - shift * v[r])
                    .collect();
                value = w.iter().map(|x| x * x).sum::<f64>().sqrt();
                v = w.iter().map(|x| x / value).collect();
            }
            value
        };
        let max = top(0.0);
        (max.sqrt(), (max - top(max)).max(0.0).sqrt())
    }

    #[test]
    fn singular_values_come_near_one() {
        for (rows, cols) in [(24, 40), (40, 24), (32, 32)] {
            let mut g = vec![0.0; rows * cols];
            Random::new(5, 1, 0).fill_normal(0, &mut g);
            orthogonalise(&mut g, rows, cols);
            let (r, c) = if rows > cols { (cols, rows) } else { (rows, cols) };
            let short: Vec<f32> =
                if rows > cols { (0..r * c).map(|i| g[i % c * cols + i / c]).collect() } else { g.clone() };
            let (max, min) = stretches(&short, r, c);
            assert!(max < 1.25, "{rows}x{cols}: {max}");
            // A square random matrix has singular values near zero, which five steps cannot lift.
            assert!(rows == cols || min > 0.6, "{rows}x{cols}: {min}");
        }
        let mut zero = vec![0.0; 12];
        orthogonalise(&mut zero, 3, 4);
        assert!(zero.iter().all(|&v| v == 0.0));
    }
}
