//! Optimiser steps on plain slices, in place.

use super::math::fma;

/// The settings of one AdamW step.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the mean square.
    pub eps: f32,
    /// Decoupled weight decay, times `lr` per step.
    pub weight_decay: f32,
}

#[inline(always)]
fn adamw_body<const FMA: bool>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    s: AdamW,
    correct1: f32,
    correct2: f32,
) {
    let keep = 1.0 - s.lr * s.weight_decay;
    let rate = s.lr * correct1;
    for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
        *m = fma::<FMA>(s.beta1, *m, (1.0 - s.beta1) * g);
        *v = fma::<FMA>(s.beta2, *v, (1.0 - s.beta2) * g * g);
        *p = *p * keep - rate * *m / ((*v * correct2).sqrt() + s.eps);
    }
}

#[inline(always)]
fn ema_body<const FMA: bool>(ema: &mut [f32], p: &[f32], decay: f32) {
    for (e, &p) in ema.iter_mut().zip(p) {
        *e = fma::<FMA>(decay, *e, (1.0 - decay) * p);
    }
}

#[inline(always)]
fn add_body<const FMA: bool>(y: &mut [f32], s: f32, x: &[f32]) {
    super::math::add_scaled::<FMA>(y, s, x);
}

#[inline(always)]
fn sum_squares_body<const FMA: bool>(x: &[f32]) -> f64 {
    const LANES: usize = 8;
    let mut acc = [0.0_f64; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest = chunks.remainder();
    for c in chunks {
        for i in 0..LANES {
            let v = f64::from(c[i]);
            acc[i] += v * v;
        }
    }
    for (a, &v) in acc.iter_mut().zip(rest) {
        *a += f64::from(v) * f64::from(v);
    }
    acc.iter().sum()
}

multiversion! {
    fn adamw_slices(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: AdamW, correct1: f32,
        correct2: f32) = adamw_body;
    fn ema_slices(ema: &mut [f32], p: &[f32], decay: f32) = ema_body;
    fn add_slices(y: &mut [f32], s: f32, x: &[f32]) = add_body;
    /// Sum of squares in f64, in a fixed order.
    pub fn sum_squares(x: &[f32]) -> f64 = sum_squares_body;
}

/// One AdamW step (Loshchilov & Hutter 2019, <https://arxiv.org/abs/1711.05101>) on parameters `p` with gradients `g`
/// and moments `m`, `v`; `step` counts from 1.
pub fn adamw_step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: AdamW, step: u64) {
    assert!(p.len() == g.len() && p.len() == m.len() && p.len() == v.len());
    let step = step.max(1) as f64;
    let correct = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(step))) as f32;
    adamw_slices(p, g, m, v, s, correct(s.beta1), correct(s.beta2));
}

/// `ema = decay * ema + (1 - decay) * p`.
pub fn ema_step(ema: &mut [f32], p: &[f32], decay: f32) {
    assert_eq!(ema.len(), p.len());
    ema_slices(ema, p, decay);
}

/// `y += s * x`.
pub fn add_scaled(y: &mut [f32], s: f32, x: &[f32]) {
    assert_eq!(x.len(), y.len());
    add_slices(y, s, x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn adamw_follows_the_formula() {
        let n = 37;
        let (mut p, mut g) = (vec![0.0; n], vec![0.0; n]);
        Random::new(1, 0, 0).fill_normal(0, &mut p);
        let s = AdamW { lr: 1e-2, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };
        let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<[f64; 3]> = p.iter().map(|&p| [f64::from(p), 0.0, 0.0]).collect();
        for step in 1..=20_u64 {
            Random::new(2, 0, step).fill_normal(0, &mut g);
            adamw_step(&mut p, &g, &mut m, &mut v, s, step);
            for (w, &g) in want.iter_mut().zip(&g) {
                let g = f64::from(g);
                w[1] = 0.9 * w[1] + 0.1 * g;
                w[2] = 0.99 * w[2] + 0.01 * g * g;
                let (m, v) =
                    (w[1] / (1.0 - 0.9_f64.powi(step as i32)), w[2] / (1.0 - 0.99_f64.powi(step as i32)));
                w[0] -= 1e-2 * (m / (v.sqrt() + 1e-8) + 0.1 * w[0]);
            }
        }
        for (p, w) in p.iter().zip(&want) {
            assert!((f64::from(*p) - w[0]).abs() < 2e-6, "{p} {}", w[0]);
        }
    }

    #[test]
    fn small_sums_and_averages() {
        let x: Vec<f32> = (0..1001).map(|i| i as f32 * 0.1 - 30.0).collect();
        let want: f64 = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((sum_squares(&x) - want).abs() < 1e-9 * want);
        assert!(sum_squares(&[1.0, f32::NAN]).is_nan());
        let mut e = vec![2.0; 1001];
        ema_step(&mut e, &x, 0.75);
        add_scaled(&mut e, -0.25, &x);
        assert!(e.iter().all(|&v| (v - 1.5).abs() < 2e-5));
    }
}
