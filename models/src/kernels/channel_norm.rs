//! The norm of the Wan autoencoder over the channels of each pixel, with SiLU behind it.

use super::math::sigmoid;
use super::threads::{Shared, for_each};

/// Pixels of a block of work: their lengths stay in the first cache while the channels stream by.
const TILE: usize = 1024;
/// Shortest length that is divided by.
const SHORTEST: f32 = 1e-12;

#[inline(always)]
fn add_squares_body<const FMA: bool>(x: &[f32], sum: &mut [f32]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x * x;
    }
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &[f32], length: &[f32], gamma: f32, y: &mut [f32]) {
    for ((y, x), length) in y.iter_mut().zip(x).zip(length) {
        *y = x / length * gamma;
    }
}

#[inline(always)]
fn scale_silu_body<const FMA: bool>(x: &[f32], length: &[f32], gamma: f32, y: &mut [f32]) {
    for ((y, x), length) in y.iter_mut().zip(x).zip(length) {
        let v = x / length * gamma;
        *y = v * sigmoid::<FMA>(v);
    }
}

multiversion! {
    fn add_squares(x: &[f32], sum: &mut [f32]) = add_squares_body;
    fn scale(x: &[f32], length: &[f32], gamma: f32, y: &mut [f32]) = scale_body;
    fn scale_silu(x: &[f32], length: &[f32], gamma: f32, y: &mut [f32]) = scale_silu_body;
}

/// `y = x / max(length, 1e-12) * gamma[channel]` for `x [n, channels, pixels]`, the length being that of a pixel's
/// channels; through SiLU with `then_silu`.
///
/// # Panics
/// When lengths and shapes do not fit together.
pub fn channel_norm(
    x: &[f32],
    gamma: &[f32],
    (n, channels, pixels): (usize, usize, usize),
    then_silu: bool,
    y: &mut [f32],
) {
    let size = channels * pixels;
    assert!(x.len() == n * size && y.len() == x.len() && gamma.len() == channels, "channel_norm");
    let tiles = pixels.div_ceil(TILE);
    let out = Shared::new(y);
    for_each(n * tiles, x.len().saturating_mul(8), |block| {
        let (i, from) = (block / tiles.max(1), block % tiles.max(1) * TILE);
        let count = TILE.min(pixels - from);
        let start = |channel: usize| i * size + channel * pixels + from;
        let mut length = [0.0_f32; TILE];
        let length = &mut length[..count];
        for channel in 0..channels {
            add_squares(&x[start(channel)..start(channel) + count], length);
        }
        // `max` would turn NaN into the shortest length; a pixel that is not a number must stay so.
        length.iter_mut().for_each(|l| {
            let root = l.sqrt();
            *l = if root < SHORTEST { SHORTEST } else { root };
        });
        for (channel, gamma) in gamma.iter().enumerate() {
            let x = &x[start(channel)..start(channel) + count];
            // SAFETY: the runs of different blocks and channels are disjoint.
            let y = unsafe { out.part(start(channel), count) };
            if then_silu { scale_silu(x, length, *gamma, y) } else { scale(x, length, *gamma, y) }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    #[test]
    fn agrees_with_the_formula_whatever_the_threads() {
        let (n, channels, pixels) = (2, 5, 1500);
        let mut x = vec![0.0; n * channels * pixels];
        Random::new(3, 1, 0).fill_normal(0, &mut x);
        // A dark pixel and one that is not a number.
        (0..channels).for_each(|c| x[c * pixels + 7] = 0.0);
        x[2 * pixels + 9] = f32::NAN;
        let gamma = [0.5, 1.0, -2.0, 3.0, 0.0];
        for then_silu in [false, true] {
            let run = |t: usize| {
                let mut y = vec![f32::MAX; x.len()];
                threads::with(t, || channel_norm(&x, &gamma, (n, channels, pixels), then_silu, &mut y));
                y
            };
            let y = run(1);
            let bits = |y: &[f32]| y.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&run(2)), bits(&y));
            for i in 0..n {
                for p in 0..pixels {
                    let at = |c: usize| (i * channels + c) * pixels + p;
                    let length = (0..channels).map(|c| f64::from(x[at(c)]).powi(2)).sum::<f64>().sqrt();
                    for (c, gamma) in gamma.iter().enumerate() {
                        let v = f64::from(x[at(c)]) / length.max(1e-12) * f64::from(*gamma);
                        let want = if then_silu { v / (1.0 + (-v).exp()) } else { v };
                        if i == 0 && p == 9 {
                            assert!(y[at(c)].is_nan());
                        } else {
                            assert!((f64::from(y[at(c)]) - want).abs() < 1e-5, "{p} {c}");
                        }
                    }
                }
            }
        }
    }
}
