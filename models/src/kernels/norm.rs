//! RMS norm, alone and with the per-group scale and shift of adaptive norms, and the gated residual.

use super::math::{dot, fma};
use super::threads::{Shared, for_each};

/// Rows per block of work.
const ROWS: usize = 64;

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(crate) fn inverse_rms<const FMA: bool>(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot::<FMA>(x, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn modulate_body<const FMA: bool>(x: &[f32], shift: &[f32], scale: &[f32], eps: f32, y: &mut [f32]) {
    let d = shift.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let inv = inverse_rms::<FMA>(x, eps);
        for (((y, &x), &shift), &scale) in y.iter_mut().zip(x).zip(shift).zip(scale) {
            *y = fma::<FMA>(x * inv, 1.0 + scale, shift);
        }
    }
}

/// Adds one group's gradients to `dshift` and `dscale` and writes `dx`.
#[inline(always)]
fn modulate_backward_body<const FMA: bool>(
    x: &[f32],
    scale: &[f32],
    dy: &[f32],
    eps: f32,
    dx: &mut [f32],
    dshift: &mut [f32],
    dscale: &mut [f32],
) {
    let d = scale.len();
    // dy times (1 + scale): the gradient of the normalised row.
    let mut inner = vec![0.0; d];
    for ((x, dy), dx) in x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
        let inv = inverse_rms::<FMA>(x, eps);
        for (((((inner, &scale), &dy), &x), dshift), dscale) in
            inner.iter_mut().zip(scale).zip(dy).zip(x).zip(dshift.iter_mut()).zip(dscale.iter_mut())
        {
            *inner = dy * (1.0 + scale);
            *dshift += dy;
            *dscale = fma::<FMA>(dy, x * inv, *dscale);
        }
        row_backward::<FMA>(x, inv, &inner, dx);
    }
}

/// `dx` of `x * inv` where `inv` is the inverse RMS of `x`, given the gradient `inner` of the product.
#[inline(always)]
fn row_backward<const FMA: bool>(x: &[f32], inv: f32, inner: &[f32], dx: &mut [f32]) {
    let along = dot::<FMA>(inner, x) * inv * inv / x.len() as f32;
    for ((dx, &inner), &x) in dx.iter_mut().zip(inner).zip(x) {
        *dx = inv * fma::<FMA>(x, -along, inner);
    }
}

#[inline(always)]
fn gain_body<const FMA: bool>(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32]) {
    let d = gain.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let inv = inverse_rms::<FMA>(x, eps);
        for ((y, &x), &gain) in y.iter_mut().zip(x).zip(gain) {
            *y = x * inv * gain;
        }
    }
}

#[inline(always)]
fn gain_backward_body<const FMA: bool>(
    x: &[f32],
    gain: &[f32],
    dy: &[f32],
    eps: f32,
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    let d = gain.len();
    let mut inner = vec![0.0; d];
    for ((x, dy), dx) in x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
        let inv = inverse_rms::<FMA>(x, eps);
        for ((((inner, &gain), &dy), &x), dgain) in
            inner.iter_mut().zip(gain).zip(dy).zip(x).zip(dgain.iter_mut())
        {
            *inner = dy * gain;
            *dgain = fma::<FMA>(dy, x * inv, *dgain);
        }
        row_backward::<FMA>(x, inv, &inner, dx);
    }
}

#[inline(always)]
fn gate_body<const FMA: bool>(x: &[f32], y: &[f32], gate: &[f32], out: &mut [f32]) {
    let d = gate.len();
    for ((x, y), out) in x.chunks_exact(d).zip(y.chunks_exact(d)).zip(out.chunks_exact_mut(d)) {
        for (((out, &x), &y), &gate) in out.iter_mut().zip(x).zip(y).zip(gate) {
            *out = fma::<FMA>(gate, y, x);
        }
    }
}

#[inline(always)]
fn gate_backward_body<const FMA: bool>(
    y: &[f32],
    gate: &[f32],
    dout: &[f32],
    dy: &mut [f32],
    dgate: &mut [f32],
) {
    let d = gate.len();
    for ((y, dout), dy) in y.chunks_exact(d).zip(dout.chunks_exact(d)).zip(dy.chunks_exact_mut(d)) {
        for ((((dy, &y), &dout), &gate), dgate) in
            dy.iter_mut().zip(y).zip(dout).zip(gate).zip(dgate.iter_mut())
        {
            *dy = gate * dout;
            *dgate = fma::<FMA>(dout, y, *dgate);
        }
    }
}

multiversion! {
    fn modulate_rows(x: &[f32], shift: &[f32], scale: &[f32], eps: f32, y: &mut [f32]) = modulate_body;
    fn modulate_rows_backward(x: &[f32], scale: &[f32], dy: &[f32], eps: f32, dx: &mut [f32],
        dshift: &mut [f32], dscale: &mut [f32]) = modulate_backward_body;
    fn gain_rows(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32]) = gain_body;
    fn gain_rows_backward(x: &[f32], gain: &[f32], dy: &[f32], eps: f32, dx: &mut [f32],
        dgain: &mut [f32]) = gain_backward_body;
    fn gate_rows(x: &[f32], y: &[f32], gate: &[f32], out: &mut [f32]) = gate_body;
    fn gate_rows_backward(y: &[f32], gate: &[f32], dout: &[f32], dy: &mut [f32],
        dgate: &mut [f32]) = gate_backward_body;
}

/// How the rows of activations and the vectors of a modulation lie: `groups` groups of `rows` rows of `d`, and
/// `per_group` vectors of `d` per group.
#[derive(Debug, Clone, Copy)]
pub struct Groups {
    /// Number of groups.
    pub groups: usize,
    /// Rows in each group.
    pub rows: usize,
    /// Width of a row.
    pub d: usize,
    /// Modulation vectors of each group.
    pub per_group: usize,
}

impl Groups {
    fn check(&self, activations: &[&[f32]], m: &[f32], parts: &[usize]) {
        let n = self.groups * self.rows * self.d;
        assert!(activations.iter().all(|a| a.len() == n), "activations of another size");
        assert_eq!(m.len(), self.groups * self.per_group * self.d, "modulation of another size");
        assert!(parts.iter().all(|&p| p < self.per_group), "no such part of the modulation");
    }

    fn vector<'a>(&self, m: &'a [f32], group: usize, part: usize) -> &'a [f32] {
        let at = (group * self.per_group + part) * self.d;
        &m[at..at + self.d]
    }

    /// Calls `f(group, first element, elements)` for blocks of rows that stay inside a group.
    fn row_blocks(&self, f: impl Fn(usize, usize, usize) + Sync) {
        let per_group = self.rows.div_ceil(ROWS);
        for_each(self.groups * per_group, self.groups * self.rows * self.d * 2, |i| {
            let (group, first) = (i / per_group, i % per_group * ROWS);
            let rows = ROWS.min(self.rows - first);
            f(group, (group * self.rows + first) * self.d, rows * self.d);
        });
    }
}

/// `y = x / rms(x) * (1 + m[scale_at]) + m[shift_at]`, `rms(x) = sqrt(mean(x^2) + eps)` per row.
pub fn norm_modulate(
    g: Groups,
    x: &[f32],
    m: &[f32],
    shift_at: usize,
    scale_at: usize,
    eps: f32,
    y: &mut [f32],
) {
    g.check(&[x, y], m, &[shift_at, scale_at]);
    let out = Shared::new(y);
    g.row_blocks(|group, at, n| {
        let (shift, scale) = (g.vector(m, group, shift_at), g.vector(m, group, scale_at));
        // SAFETY: blocks of rows are disjoint.
        modulate_rows(&x[at..at + n], shift, scale, eps, unsafe { out.part(at, n) });
    });
}

/// The gradients of [`norm_modulate`]; `dm` must come filled with zeros.
pub fn norm_modulate_backward(
    g: Groups,
    x: &[f32],
    m: &[f32],
    shift_at: usize,
    scale_at: usize,
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    dm: &mut [f32],
) {
    g.check(&[x, dy, dx], m, &[shift_at, scale_at]);
    assert!(dm.len() == m.len() && shift_at != scale_at);
    let (dx, dm) = (Shared::new(dx), Shared::new(dm));
    let n = g.rows * g.d;
    for_each(g.groups, g.groups * n * 4, |group| {
        let at = group * n;
        let part = |p: usize| (group * g.per_group + p) * g.d;
        // SAFETY: groups are disjoint, and so are the two parts.
        let (dx, dshift, dscale) =
            unsafe { (dx.part(at, n), dm.part(part(shift_at), g.d), dm.part(part(scale_at), g.d)) };
        let scale = g.vector(m, group, scale_at);
        modulate_rows_backward(&x[at..at + n], scale, &dy[at..at + n], eps, dx, dshift, dscale);
    });
}

/// `out = x + m[gate_at] * y`.
pub fn gate_residual(g: Groups, x: &[f32], y: &[f32], m: &[f32], gate_at: usize, out: &mut [f32]) {
    g.check(&[x, y, out], m, &[gate_at]);
    let out = Shared::new(out);
    g.row_blocks(|group, at, n| {
        let gate = g.vector(m, group, gate_at);
        // SAFETY: blocks of rows are disjoint.
        gate_rows(&x[at..at + n], &y[at..at + n], gate, unsafe { out.part(at, n) });
    });
}

/// The gradients of [`gate_residual`] for `y` and `m` (that for `x` is `dout`); `dm` must come filled with zeros.
pub fn gate_residual_backward(
    g: Groups,
    y: &[f32],
    m: &[f32],
    gate_at: usize,
    dout: &[f32],
    dy: &mut [f32],
    dm: &mut [f32],
) {
    g.check(&[y, dout, dy], m, &[gate_at]);
    assert_eq!(dm.len(), m.len());
    let (dy, dm) = (Shared::new(dy), Shared::new(dm));
    let n = g.rows * g.d;
    for_each(g.groups, g.groups * n * 3, |group| {
        let at = group * n;
        // SAFETY: groups are disjoint.
        let (dy, dgate) = unsafe { (dy.part(at, n), dm.part((group * g.per_group + gate_at) * g.d, g.d)) };
        gate_rows_backward(&y[at..at + n], g.vector(m, group, gate_at), &dout[at..at + n], dy, dgate);
    });
}

/// Blocks of [`ROWS`] rows of `d` in a slice of `n` elements.
fn plain_blocks(n: usize, d: usize, f: impl Fn(usize, usize, usize) + Sync) {
    let per = ROWS * d;
    for_each(n.div_ceil(per.max(1)), n.saturating_mul(3), |i| f(i, i * per, per.min(n - i * per)));
}

/// `y = x / rms(x) * gain` per row of `gain.len()`.
pub fn rms_norm(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == y.len() && !gain.is_empty() && x.len().is_multiple_of(gain.len()));
    let out = Shared::new(y);
    plain_blocks(x.len(), gain.len(), |_, at, n| {
        // SAFETY: blocks of rows are disjoint.
        gain_rows(&x[at..at + n], gain, eps, unsafe { out.part(at, n) });
    });
}

/// The gradients of [`rms_norm`]: writes `dx` and `dgain`.
pub fn rms_norm_backward(x: &[f32], gain: &[f32], eps: f32, dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
    let d = gain.len();
    assert!(d > 0 && x.len() == dy.len() && x.len() == dx.len() && dgain.len() == d);
    assert!(x.len().is_multiple_of(d));
    // Each block sums its own rows; the blocks are then added in order, whoever computed them.
    let mut partial = vec![0.0; x.len().div_ceil(ROWS * d) * d];
    {
        let (dx, partial) = (Shared::new(dx), Shared::new(&mut partial));
        plain_blocks(x.len(), d, |i, at, n| {
            // SAFETY: blocks are disjoint.
            let (dx, dgain) = unsafe { (dx.part(at, n), partial.part(i * d, d)) };
            gain_rows_backward(&x[at..at + n], gain, &dy[at..at + n], eps, dx, dgain);
        });
    }
    dgain.fill(0.0);
    for block in partial.chunks_exact(d) {
        dgain.iter_mut().zip(block).for_each(|(sum, v)| *sum += v);
    }
}
