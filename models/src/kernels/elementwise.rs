//! Activations and their gradients.

use super::math::sigmoid;
use super::threads::{Shared, for_each};

/// Elements per block of work.
const BLOCK: usize = 16_384;

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = x * sigmoid::<FMA>(x);
    }
}

#[inline(always)]
fn silu_backward_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        let s = sigmoid::<FMA>(x);
        *dx = dy * s * (1.0 + x * (1.0 - s));
    }
}

#[inline(always)]
fn swiglu_row_body<const FMA: bool>(ab: &[f32], y: &mut [f32]) {
    let (a, b) = ab.split_at(y.len());
    for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
        *y = a * sigmoid::<FMA>(a) * b;
    }
}

#[inline(always)]
fn swiglu_row_backward_body<const FMA: bool>(ab: &[f32], dy: &[f32], dab: &mut [f32]) {
    let f = dy.len();
    let (a, b) = ab.split_at(f);
    let (da, db) = dab.split_at_mut(f);
    for ((((da, db), &a), &b), &dy) in da.iter_mut().zip(db).zip(a).zip(b).zip(dy) {
        let s = sigmoid::<FMA>(a);
        *da = dy * b * s * (1.0 + a * (1.0 - s));
        *db = dy * a * s;
    }
}

multiversion! {
    fn silu_block(x: &[f32], y: &mut [f32]) = silu_body;
    fn silu_backward_block(x: &[f32], dy: &[f32], dx: &mut [f32]) = silu_backward_body;
    fn swiglu_row(ab: &[f32], y: &mut [f32]) = swiglu_row_body;
    fn swiglu_row_backward(ab: &[f32], dy: &[f32], dab: &mut [f32]) = swiglu_row_backward_body;
}

/// Calls `f(first, len)` for blocks of a slice of `n` elements.
fn blocks(n: usize, f: impl Fn(usize, usize) + Sync) {
    for_each(n.div_ceil(BLOCK), n.saturating_mul(8), |i| {
        let first = i * BLOCK;
        f(first, BLOCK.min(n - first));
    });
}

/// `y = x / (1 + e^-x)`; slices of one length.
pub fn silu(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let out = Shared::new(y);
    // SAFETY: blocks are disjoint.
    blocks(x.len(), |at, n| silu_block(&x[at..at + n], unsafe { out.part(at, n) }));
}

/// The gradient of [`silu`] for its input.
pub fn silu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dy.len() && x.len() == dx.len());
    let out = Shared::new(dx);
    blocks(x.len(), |at, n| {
        // SAFETY: blocks are disjoint.
        silu_backward_block(&x[at..at + n], &dy[at..at + n], unsafe { out.part(at, n) });
    });
}

/// Calls `g(first_row, rows)` for blocks of about [`BLOCK`] elements of rows of `2 f`.
fn row_blocks(rows: usize, f: usize, g: impl Fn(usize, usize) + Sync) {
    let per = (BLOCK / (2 * f).max(1)).max(1);
    for_each(rows.div_ceil(per), rows.saturating_mul(f * 10), |i| {
        let first = i * per;
        g(first, per.min(rows - first));
    });
}

/// `y = silu(a) * b` for rows `[a | b]` of `2 f` numbers; `y` has rows of `f`.
pub fn swiglu(ab: &[f32], f: usize, y: &mut [f32]) {
    if f == 0 {
        return;
    }
    assert!(ab.len() == 2 * y.len() && y.len().is_multiple_of(f));
    let rows = y.len() / f;
    let out = Shared::new(y);
    row_blocks(rows, f, |at, n| {
        // SAFETY: blocks of rows are disjoint.
        let y = unsafe { out.part(at * f, n * f) };
        let ab = &ab[2 * at * f..2 * (at + n) * f];
        ab.chunks_exact(2 * f).zip(y.chunks_exact_mut(f)).for_each(|(ab, y)| swiglu_row(ab, y));
    });
}

/// The gradient of [`swiglu`] for `ab`.
pub fn swiglu_backward(ab: &[f32], f: usize, dy: &[f32], dab: &mut [f32]) {
    if f == 0 {
        return;
    }
    assert!(ab.len() == 2 * dy.len() && ab.len() == dab.len() && dy.len().is_multiple_of(f));
    let rows = dy.len() / f;
    let out = Shared::new(dab);
    row_blocks(rows, f, |at, n| {
        // SAFETY: blocks of rows are disjoint.
        let dab = unsafe { out.part(2 * at * f, 2 * n * f) };
        let ab = &ab[2 * at * f..2 * (at + n) * f];
        let dy = &dy[at * f..(at + n) * f];
        for ((ab, dy), dab) in ab.chunks_exact(2 * f).zip(dy.chunks_exact(f)).zip(dab.chunks_exact_mut(2 * f))
        {
            swiglu_row_backward(ab, dy, dab);
        }
    });
}
