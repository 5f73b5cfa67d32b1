//! Squared errors of pictures, weighted pixel by pixel, and their gradient.

use std::sync::Mutex;

use super::threads::{Shared, for_each};

/// Numbers a block: sums of blocks are added in their order, so threads change no bit.
const BLOCK: usize = 16_384;
/// Sums side by side in a block.
const LANES: usize = 16;

#[inline(always)]
fn weighted_block_body<const FMA: bool>(x: &[f32], target: &[f32], weight: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let chunks = x.chunks_exact(LANES).zip(target.chunks_exact(LANES)).zip(weight.chunks_exact(LANES));
    for ((x, t), w) in chunks {
        for (((sum, x), t), w) in sums.iter_mut().zip(x).zip(t).zip(w) {
            let d = x - t;
            *sum += d * d * w;
        }
    }
    let rest = x.len() / LANES * LANES;
    let tail = x[rest..].iter().zip(&target[rest..]).zip(&weight[rest..]);
    sums.iter().sum::<f32>() + tail.map(|((x, t), w)| (x - t) * (x - t) * w).sum::<f32>()
}

#[inline(always)]
fn pull_block_body<const FMA: bool>(x: &[f32], target: &[f32], weight: &[f32], scale: f32, dx: &mut [f32]) {
    for (((dx, x), t), w) in dx.iter_mut().zip(x).zip(target).zip(weight) {
        *dx = (x - t) * w * scale;
    }
}

multiversion! {
    fn weighted_block(x: &[f32], target: &[f32], weight: &[f32]) -> f32 = weighted_block_body;
    fn pull_block(x: &[f32], target: &[f32], weight: &[f32], scale: f32, dx: &mut [f32]) = pull_block_body;
}

/// The mean of `weight (x - target)^2`; 0 for nothing.
///
/// # Panics
/// When lengths differ.
pub fn weighted_mean(x: &[f32], target: &[f32], weight: &[f32]) -> f32 {
    assert!(x.len() == target.len() && x.len() == weight.len(), "squares: lengths differ");
    let blocks = x.len().div_ceil(BLOCK);
    let sums: Vec<Mutex<f32>> = (0..blocks).map(|_| Mutex::new(0.0)).collect();
    for_each(blocks, x.len(), |i| {
        let range = i * BLOCK..((i + 1) * BLOCK).min(x.len());
        let sum = weighted_block(&x[range.clone()], &target[range.clone()], &weight[range]);
        *sums[i].lock().unwrap_or_else(|e| e.into_inner()) = sum;
    });
    let sum: f64 =
        sums.into_iter().map(|s| f64::from(s.into_inner().unwrap_or_else(|e| e.into_inner()))).sum();
    (sum / x.len().max(1) as f64) as f32
}

/// The gradient of [`weighted_mean`] for `x`, times `dy`.
///
/// # Panics
/// When lengths differ.
pub fn weighted_mean_backward(x: &[f32], target: &[f32], weight: &[f32], dy: f32, dx: &mut [f32]) {
    assert!(x.len() == target.len() && x.len() == weight.len() && x.len() == dx.len());
    let scale = 2.0 * dy / x.len().max(1) as f32;
    let out = Shared::new(dx);
    for_each(x.len().div_ceil(BLOCK), x.len(), |i| {
        let range = i * BLOCK..((i + 1) * BLOCK).min(x.len());
        // SAFETY: blocks are disjoint.
        let dx = unsafe { out.part(range.start, range.len()) };
        pull_block(&x[range.clone()], &target[range.clone()], &weight[range], scale, dx);
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    fn numbers(n: usize, stream: u64) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Random::new(4, stream, 0).fill_normal(0, &mut values);
        values
    }

    #[test]
    fn means_and_slopes_follow_the_formula_on_any_number_of_threads() {
        for n in [1, 17, 40_003, 600_000] {
            let (x, t, w) = (numbers(n, 1), numbers(n, 2), numbers(n, 3));
            let each = x.iter().zip(&t).zip(&w).map(|((x, t), w)| f64::from(*w) * f64::from(x - t).powi(2));
            let wanted = each.sum::<f64>() / n as f64;
            let run = |count: usize| {
                threads::with(count, || {
                    let mut dx = vec![0.0; n];
                    weighted_mean_backward(&x, &t, &w, 0.7, &mut dx);
                    (weighted_mean(&x, &t, &w), dx)
                })
            };
            let (mean, dx) = run(1);
            assert!((f64::from(mean) - wanted).abs() < 1e-4 * (1.0 + wanted.abs()), "{n}: {mean} {wanted}");
            for i in [0, n / 2, n - 1] {
                let slope = 2.0 * 0.7 * w[i] * (x[i] - t[i]) / n as f32;
                assert!((dx[i] - slope).abs() <= 1e-5 * slope.abs() + 1e-12, "{n} {i}");
            }
            assert!(run(2) == (mean, dx));
        }
        assert_eq!(weighted_mean(&[], &[], &[]), 0.0);
    }
}
