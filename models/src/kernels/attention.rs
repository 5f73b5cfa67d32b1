//! Attention with normalised, turned queries and keys: among the tokens of a frame, and along time at one place.
//!
//! A row of `qkv` is q, k, v, each `heads` heads of `hd` numbers side by side. The backward passes compute everything
//! again from `qkv`; nothing is kept.

use super::gemm::matmul;
use super::math::{LANES, add_scaled, dot, exp, fma};
use super::matrix::{View, ViewMut};
use super::norm::inverse_rms;
use super::threads::{Shared, for_each};

/// Shape and constants of an attention layer.
#[derive(Debug, Clone, Copy)]
pub struct Heads {
    /// Number of heads.
    pub heads: usize,
    /// Width of a head (even).
    pub hd: usize,
    /// Epsilon of the norm of queries and keys.
    pub eps: f32,
}

impl Heads {
    /// Width of all heads together.
    pub fn d(&self) -> usize {
        self.heads * self.hd
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.hd as f64).sqrt()) as f32
    }

    fn check(&self, gains: &[f32]) {
        assert!(
            self.hd > 0 && self.hd.is_multiple_of(2) && self.heads > 0,
            "heads must be even and not empty"
        );
        assert_eq!(gains.len(), 2 * self.hd, "gains of another size");
    }
}

/// A row of the rotary table.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// Cosines, one per pair.
    pub cos: &'a [f32],
    /// Sines, one per pair.
    pub sin: &'a [f32],
}

/// A rotary table, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Turns<'a> {
    /// Cosines, `rows x half`.
    pub cos: &'a [f32],
    /// Sines, `rows x half`.
    pub sin: &'a [f32],
    /// Pairs per head.
    pub half: usize,
}

impl<'a> Turns<'a> {
    fn check(&self, rows: usize, hd: usize) {
        assert!(
            self.half * 2 == hd && self.cos.len() == rows * self.half && self.sin.len() == self.cos.len()
        );
    }

    fn row(&self, i: usize) -> Turn<'a> {
        let at = i * self.half..(i + 1) * self.half;
        Turn { cos: &self.cos[at.clone()], sin: &self.sin[at] }
    }
}

/// `out = turn(x / rms(x) * gain) * scale` for one head of one token.
#[inline(always)]
fn prepare<const FMA: bool>(x: &[f32], gain: &[f32], turn: Turn<'_>, eps: f32, scale: f32, out: &mut [f32]) {
    let inv = inverse_rms::<FMA>(x, eps) * scale;
    let half = turn.cos.len();
    let (xa, xb) = x.split_at(half);
    let (ga, gb) = gain.split_at(half);
    let (oa, ob) = out.split_at_mut(half);
    for i in 0..half {
        let (a, b) = (xa[i] * inv * ga[i], xb[i] * inv * gb[i]);
        let (c, s) = (turn.cos[i], turn.sin[i]);
        oa[i] = a * c - b * s;
        ob[i] = fma::<FMA>(a, s, b * c);
    }
}

/// The backward pass of [`prepare`]: writes `dx`, adds to `dgain`. `dout` is used up.
#[inline(always)]
fn prepare_backward<const FMA: bool>(
    x: &[f32],
    gain: &[f32],
    turn: Turn<'_>,
    eps: f32,
    scale: f32,
    dout: &mut [f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    let inv = inverse_rms::<FMA>(x, eps);
    let half = turn.cos.len();
    {
        let (da, db) = dout.split_at_mut(half);
        for i in 0..half {
            let (c, s) = (turn.cos[i] * scale, turn.sin[i] * scale);
            let (p, q) = (da[i], db[i]);
            da[i] = fma::<FMA>(p, c, q * s);
            db[i] = q * c - p * s;
        }
    }
    for (((d, &gain), &x), dgain) in dout.iter_mut().zip(gain).zip(x).zip(dgain.iter_mut()) {
        *dgain = fma::<FMA>(*d, x * inv, *dgain);
        *d *= gain;
    }
    let along = dot::<FMA>(dout, x) * inv * inv / x.len() as f32;
    for ((dx, &d), &x) in dx.iter_mut().zip(dout.iter()).zip(x) {
        *dx = inv * fma::<FMA>(x, -along, d);
    }
}

/// Softmax of every row of `width` numbers. A NaN makes its whole row NaN.
#[inline(always)]
fn softmax_body<const FMA: bool>(scores: &mut [f32], width: usize) {
    for row in scores.chunks_exact_mut(width) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let chunks = row.chunks_exact(LANES);
        for (i, &v) in chunks.remainder().iter().enumerate() {
            lanes[i] = if v > lanes[i] { v } else { lanes[i] };
        }
        for c in chunks {
            for i in 0..LANES {
                lanes[i] = if c[i] > lanes[i] { c[i] } else { lanes[i] };
            }
        }
        let max = lanes.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
        row.iter_mut().for_each(|v| *v = exp::<FMA>(*v - max));
        let mut acc = [0.0; LANES];
        let chunks = row.chunks_exact(LANES);
        for (a, &v) in acc.iter_mut().zip(chunks.remainder()) {
            *a += v;
        }
        for c in chunks {
            for i in 0..LANES {
                acc[i] += c[i];
            }
        }
        let inv = 1.0 / super::math::fold_lanes(acc);
        row.iter_mut().for_each(|v| *v *= inv);
    }
}

/// `dp = p * (dp - sum(p * dp))` per row: the gradient of the scores before the softmax.
#[inline(always)]
fn softmax_backward_body<const FMA: bool>(p: &[f32], dp: &mut [f32], width: usize) {
    for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
        let sum = dot::<FMA>(p, dp);
        dp.iter_mut().zip(p).for_each(|(d, &p)| *d = p * (*d - sum));
    }
}

/// Prepares one head (its columns start at `at` in rows of `width`) of all tokens, token `i` with row `i` of the table.
#[inline(always)]
fn prepare_rows_body<const FMA: bool>(
    qkv: &[f32],
    width: usize,
    at: usize,
    gain: &[f32],
    turns: Turns<'_>,
    eps: f32,
    scale: f32,
    out: &mut [f32],
) {
    let hd = gain.len();
    for (i, (row, out)) in qkv.chunks_exact(width).zip(out.chunks_exact_mut(hd)).enumerate() {
        prepare::<FMA>(&row[at..at + hd], gain, turns.row(i), eps, scale, out);
    }
}

#[inline(always)]
fn prepare_rows_backward_body<const FMA: bool>(
    qkv: &[f32],
    width: usize,
    at: usize,
    gain: &[f32],
    turns: Turns<'_>,
    eps: f32,
    scale: f32,
    dout: &mut [f32],
    dqkv: &mut [f32],
    dgain: &mut [f32],
) {
    let hd = gain.len();
    let rows = qkv.chunks_exact(width).zip(dqkv.chunks_exact_mut(width)).zip(dout.chunks_exact_mut(hd));
    for (i, ((row, drow), dout)) in rows.enumerate() {
        let dx = &mut drow[at..at + hd];
        prepare_backward::<FMA>(&row[at..at + hd], gain, turns.row(i), eps, scale, dout, dx, dgain);
    }
}

multiversion! {
    pub(super) fn softmax_rows(scores: &mut [f32], width: usize) = softmax_body;
    fn softmax_rows_backward(p: &[f32], dp: &mut [f32], width: usize) = softmax_backward_body;
    fn prepare_rows(qkv: &[f32], width: usize, at: usize, gain: &[f32], turns: Turns<'_>, eps: f32,
        scale: f32, out: &mut [f32]) = prepare_rows_body;
    fn prepare_rows_backward(qkv: &[f32], width: usize, at: usize, gain: &[f32], turns: Turns<'_>,
        eps: f32, scale: f32, dout: &mut [f32], dqkv: &mut [f32], dgain: &mut [f32])
        = prepare_rows_backward_body;
    fn time_place(h: Heads, t: usize, window: usize, qkv: &[f32], gains: &[f32], turns: Turns<'_>,
        out: &mut [f32]) = time_place_body;
    fn time_place_backward(h: Heads, t: usize, window: usize, qkv: &[f32], gains: &[f32],
        turns: Turns<'_>, dout: &[f32], dqkv: &mut [f32], dgains: &mut [f32]) = time_place_backward_body;
    fn step_rows(h: Heads, qkv: &[f32], gains: &[f32], turn: Turn<'_>, past: &[(&[f32], &[f32])],
        out: &mut [f32], k: &mut [f32], v: &mut [f32]) = step_body;
}

/// Buffers for one head of `s` tokens.
struct Scratch {
    q: Vec<f32>,
    k: Vec<f32>,
    p: Vec<f32>,
}

impl Scratch {
    fn new(s: usize, hd: usize) -> Self {
        Self { q: vec![0.0; s * hd], k: vec![0.0; s * hd], p: vec![0.0; s * s] }
    }

    /// Fills in queries, keys and probabilities of head `head` of one group.
    fn fill(&mut self, h: Heads, s: usize, qkv: &[f32], head: usize, gains: &[f32], turns: Turns<'_>) {
        let (d, hd) = (h.d(), h.hd);
        let (gq, gk) = gains.split_at(hd);
        prepare_rows(qkv, 3 * d, head * hd, gq, turns, h.eps, h.scale(), &mut self.q);
        prepare_rows(qkv, 3 * d, d + head * hd, gk, turns, h.eps, 1.0, &mut self.k);
        let (q, k) = (View::dense(&self.q, s, hd), View::dense(&self.k, s, hd));
        matmul(q, k.t(), ViewMut::dense(&mut self.p, s, s), false);
        softmax_rows(&mut self.p, s);
    }
}

/// Attention of all tokens of a group on each other: `qkv [g, s, 3d]` -> `out [g, s, d]`.
pub fn space(h: Heads, g: usize, s: usize, qkv: &[f32], gains: &[f32], turns: Turns<'_>, out: &mut [f32]) {
    let (d, hd) = (h.d(), h.hd);
    h.check(gains);
    turns.check(s, hd);
    assert!(qkv.len() == g * s * 3 * d && out.len() == g * s * d);
    if s == 0 {
        return;
    }
    let out = Shared::new(out);
    for_each(g, g * s * s * d / 4, |i| {
        let qkv = &qkv[i * s * 3 * d..(i + 1) * s * 3 * d];
        // SAFETY: groups are disjoint.
        let out = unsafe { out.part(i * s * d, s * d) };
        let mut scratch = Scratch::new(s, hd);
        for head in 0..h.heads {
            scratch.fill(h, s, qkv, head, gains, turns);
            let v = View::new(&qkv[2 * d + head * hd..], s, hd, 3 * d, 1);
            let o = ViewMut::new(&mut out[head * hd..], s, hd, d);
            matmul(View::dense(&scratch.p, s, s), v, o, false);
        }
    });
}

/// The gradients of [`space`]: writes `dqkv` and `dgains [2, hd]`.
pub fn space_backward(
    h: Heads,
    g: usize,
    s: usize,
    qkv: &[f32],
    gains: &[f32],
    turns: Turns<'_>,
    dout: &[f32],
    dqkv: &mut [f32],
    dgains: &mut [f32],
) {
    let (d, hd) = (h.d(), h.hd);
    h.check(gains);
    turns.check(s, hd);
    assert!(qkv.len() == g * s * 3 * d && dqkv.len() == qkv.len() && dout.len() == g * s * d);
    dgains.fill(0.0);
    if s == 0 || g == 0 {
        return;
    }
    let mut partial = vec![0.0; g * 2 * hd];
    {
        let (dqkv, partial) = (Shared::new(dqkv), Shared::new(&mut partial));
        for_each(g, g * s * s * d, |i| {
            let qkv = &qkv[i * s * 3 * d..(i + 1) * s * 3 * d];
            let dout = &dout[i * s * d..(i + 1) * s * d];
            // SAFETY: groups are disjoint.
            let (dqkv, dgains) =
                unsafe { (dqkv.part(i * s * 3 * d, s * 3 * d), partial.part(i * 2 * hd, 2 * hd)) };
            group_backward(h, s, qkv, gains, turns, dout, dqkv, dgains);
        });
    }
    add_blocks(&partial, dgains);
}

/// Adds blocks of `sum.len()` numbers, in order.
fn add_blocks(blocks: &[f32], sum: &mut [f32]) {
    for block in blocks.chunks_exact(sum.len()) {
        sum.iter_mut().zip(block).for_each(|(s, v)| *s += v);
    }
}

fn group_backward(
    h: Heads,
    s: usize,
    qkv: &[f32],
    gains: &[f32],
    turns: Turns<'_>,
    dout: &[f32],
    dqkv: &mut [f32],
    dgains: &mut [f32],
) {
    let (d, hd) = (h.d(), h.hd);
    let mut scratch = Scratch::new(s, hd);
    let mut dp = vec![0.0; s * s];
    let mut dx = vec![0.0; s * hd];
    let (gq, gk) = gains.split_at(hd);
    let (dgq, dgk) = dgains.split_at_mut(hd);
    for head in 0..h.heads {
        scratch.fill(h, s, qkv, head, gains, turns);
        let (at_q, at_k, at_v) = (head * hd, d + head * hd, 2 * d + head * hd);
        let p = View::dense(&scratch.p, s, s);
        let v = View::new(&qkv[at_v..], s, hd, 3 * d, 1);
        let dout = View::new(&dout[head * hd..], s, hd, d, 1);
        matmul(p.t(), dout, ViewMut::new(&mut dqkv[at_v..], s, hd, 3 * d), false);
        matmul(dout, v.t(), ViewMut::dense(&mut dp, s, s), false);
        softmax_rows_backward(&scratch.p, &mut dp, s);
        let ds = View::dense(&dp, s, s);
        matmul(ds, View::dense(&scratch.k, s, hd), ViewMut::dense(&mut dx, s, hd), false);
        prepare_rows_backward(qkv, 3 * d, at_q, gq, turns, h.eps, h.scale(), &mut dx, dqkv, dgq);
        matmul(ds.t(), View::dense(&scratch.q, s, hd), ViewMut::dense(&mut dx, s, hd), false);
        prepare_rows_backward(qkv, 3 * d, at_k, gk, turns, h.eps, 1.0, &mut dx, dqkv, dgk);
    }
}

/// First step that step `i` may look at.
fn first_seen(i: usize, window: usize) -> usize {
    (i + 1).saturating_sub(window)
}

/// Probabilities of query `q` over `keys` (one head each, `stride` apart), in `p`.
#[inline(always)]
fn probabilities<const FMA: bool>(q: &[f32], keys: &[f32], stride: usize, p: &mut [f32]) {
    let hd = q.len();
    for (j, p) in p.iter_mut().enumerate() {
        *p = dot::<FMA>(q, &keys[j * stride..j * stride + hd]);
    }
    let width = p.len();
    softmax_body::<FMA>(p, width);
}

/// All heads and steps of one place; `qkv [t, 3d]` and `out [t, d]` are that place's rows.
#[inline(always)]
fn time_place_body<const FMA: bool>(
    h: Heads,
    t: usize,
    window: usize,
    qkv: &[f32],
    gains: &[f32],
    turns: Turns<'_>,
    out: &mut [f32],
) {
    let (d, hd) = (h.d(), h.hd);
    let (gq, gk) = gains.split_at(hd);
    let (mut q, mut k) = (vec![0.0; t * hd], vec![0.0; t * hd]);
    let mut p = vec![0.0; window.min(t)];
    out.fill(0.0);
    for head in 0..h.heads {
        let (at_q, at_k, at_v) = (head * hd, d + head * hd, 2 * d + head * hd);
        prepare_rows_body::<FMA>(qkv, 3 * d, at_q, gq, turns, h.eps, h.scale(), &mut q);
        prepare_rows_body::<FMA>(qkv, 3 * d, at_k, gk, turns, h.eps, 1.0, &mut k);
        for i in 0..t {
            let first = first_seen(i, window);
            let p = &mut p[..i + 1 - first];
            probabilities::<FMA>(&q[i * hd..(i + 1) * hd], &k[first * hd..], hd, p);
            let o = &mut out[i * d + head * hd..i * d + (head + 1) * hd];
            for (j, &p) in p.iter().enumerate() {
                let v = (first + j) * 3 * d + at_v;
                add_scaled::<FMA>(o, p, &qkv[v..v + hd]);
            }
        }
    }
}

#[inline(always)]
fn time_place_backward_body<const FMA: bool>(
    h: Heads,
    t: usize,
    window: usize,
    qkv: &[f32],
    gains: &[f32],
    turns: Turns<'_>,
    dout: &[f32],
    dqkv: &mut [f32],
    dgains: &mut [f32],
) {
    let (d, hd) = (h.d(), h.hd);
    let (gq, gk) = gains.split_at(hd);
    let (dgq, dgk) = dgains.split_at_mut(hd);
    let (mut q, mut k) = (vec![0.0; t * hd], vec![0.0; t * hd]);
    let (mut dq, mut dk) = (vec![0.0; t * hd], vec![0.0; t * hd]);
    let (mut p, mut dp) = (vec![0.0; window.min(t)], vec![0.0; window.min(t)]);
    dqkv.fill(0.0);
    for head in 0..h.heads {
        let (at_q, at_k, at_v) = (head * hd, d + head * hd, 2 * d + head * hd);
        prepare_rows_body::<FMA>(qkv, 3 * d, at_q, gq, turns, h.eps, h.scale(), &mut q);
        prepare_rows_body::<FMA>(qkv, 3 * d, at_k, gk, turns, h.eps, 1.0, &mut k);
        dq.fill(0.0);
        dk.fill(0.0);
        for i in 0..t {
            let first = first_seen(i, window);
            let n = i + 1 - first;
            let (p, dp) = (&mut p[..n], &mut dp[..n]);
            let here = i * hd..(i + 1) * hd;
            probabilities::<FMA>(&q[here.clone()], &k[first * hd..], hd, p);
            let go = &dout[i * d + head * hd..i * d + (head + 1) * hd];
            for (j, (dp, &p)) in dp.iter_mut().zip(p.iter()).enumerate() {
                let v = (first + j) * 3 * d + at_v;
                *dp = dot::<FMA>(go, &qkv[v..v + hd]);
                add_scaled::<FMA>(&mut dqkv[v..v + hd], p, go);
            }
            softmax_backward_body::<FMA>(p, dp, n);
            for (j, &ds) in dp.iter().enumerate() {
                let there = (first + j) * hd..(first + j + 1) * hd;
                add_scaled::<FMA>(&mut dq[here.clone()], ds, &k[there.clone()]);
                add_scaled::<FMA>(&mut dk[there], ds, &q[here.clone()]);
            }
        }
        prepare_rows_backward_body::<FMA>(qkv, 3 * d, at_q, gq, turns, h.eps, h.scale(), &mut dq, dqkv, dgq);
        prepare_rows_backward_body::<FMA>(qkv, 3 * d, at_k, gk, turns, h.eps, 1.0, &mut dk, dqkv, dgk);
    }
}

/// Places that one block of work handles; fixed, so that sums over places have one order.
const PLACES: usize = 4;

/// Shape of attention along time: `b` sequences of `t` steps at `p` places, each step looking at the last `window`.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// Number of sequences.
    pub b: usize,
    /// Steps.
    pub t: usize,
    /// Places (tokens of a frame).
    pub p: usize,
    /// Steps that a step may look at, itself included.
    pub window: usize,
}

impl Time {
    /// Calls `f(block, sequence, place)` for all places, several blocks at a time.
    fn places(&self, work: usize, f: impl Fn(usize, usize, usize) + Sync) {
        let per = self.p.div_ceil(PLACES);
        for_each(self.b * per, work, |i| {
            let (b, first) = (i / per, i % per * PLACES);
            (first..self.p.min(first + PLACES)).for_each(|p| f(i, b, p));
        });
    }

    /// Copies the rows of one place, `width` wide, out of `all [b, t, p, width]`.
    fn gather(&self, all: &[f32], b: usize, p: usize, width: usize) -> Vec<f32> {
        let mut rows = Vec::with_capacity(self.t * width);
        for t in 0..self.t {
            let at = ((b * self.t + t) * self.p + p) * width;
            rows.extend_from_slice(&all[at..at + width]);
        }
        rows
    }

    /// Copies the rows of one place back.
    fn scatter(&self, rows: &[f32], all: &Shared<'_>, b: usize, p: usize, width: usize) {
        for (t, row) in rows.chunks_exact(width).enumerate() {
            let at = ((b * self.t + t) * self.p + p) * width;
            // SAFETY: each row of each place is written by the block that owns the place.
            unsafe { all.part(at, width) }.copy_from_slice(row);
        }
    }
}

/// Causal attention along time at each place: `qkv [b, t, p, 3d]` -> `out [b, t, p, d]`.
pub fn time(h: Heads, s: Time, qkv: &[f32], gains: &[f32], turns: Turns<'_>, out: &mut [f32]) {
    let d = h.d();
    h.check(gains);
    turns.check(s.t, h.hd);
    let rows = s.b * s.t * s.p;
    assert!(qkv.len() == rows * 3 * d && out.len() == rows * d && s.window > 0);
    let out = Shared::new(out);
    s.places(rows * d * (s.t.min(s.window) + 8), |_, b, p| {
        let rows = s.gather(qkv, b, p, 3 * d);
        let mut place = vec![0.0; s.t * d];
        time_place(h, s.t, s.window, &rows, gains, turns, &mut place);
        s.scatter(&place, &out, b, p, d);
    });
}

/// The gradients of [`time`]: writes `dqkv` and `dgains [2, hd]`.
pub fn time_backward(
    h: Heads,
    s: Time,
    qkv: &[f32],
    gains: &[f32],
    turns: Turns<'_>,
    dout: &[f32],
    dqkv: &mut [f32],
    dgains: &mut [f32],
) {
    let (d, hd) = (h.d(), h.hd);
    h.check(gains);
    turns.check(s.t, hd);
    let rows = s.b * s.t * s.p;
    assert!(qkv.len() == rows * 3 * d && dqkv.len() == qkv.len() && dout.len() == rows * d && s.window > 0);
    dgains.fill(0.0);
    let mut partial = vec![0.0; s.b * s.p.div_ceil(PLACES) * 2 * hd];
    {
        let (dqkv, partial) = (Shared::new(dqkv), Shared::new(&mut partial));
        s.places(rows * d * (s.t.min(s.window) + 8) * 3, |block, b, p| {
            let rows = s.gather(qkv, b, p, 3 * d);
            let dplace = s.gather(dout, b, p, d);
            let mut drows = vec![0.0; s.t * 3 * d];
            // SAFETY: blocks are disjoint, and a block handles its places one after the other.
            let dgains = unsafe { partial.part(block * 2 * hd, 2 * hd) };
            time_place_backward(h, s.t, s.window, &rows, gains, turns, &dplace, &mut drows, dgains);
            s.scatter(&drows, &dqkv, b, p, 3 * d);
        });
    }
    add_blocks(&partial, dgains);
}

/// Some rows (places) of one step against the same rows of past steps, whose prepared keys and values are `past`.
#[inline(always)]
fn step_body<const FMA: bool>(
    h: Heads,
    qkv: &[f32],
    gains: &[f32],
    turn: Turn<'_>,
    past: &[(&[f32], &[f32])],
    out: &mut [f32],
    k: &mut [f32],
    v: &mut [f32],
) {
    let (d, hd, heads) = (h.d(), h.hd, h.heads);
    let (gq, gk) = gains.split_at(hd);
    let seen = past.len() + 1;
    let mut q = vec![0.0; out.len()];
    let mut p = vec![0.0; out.len() / hd * seen];
    let rows = qkv.chunks_exact(3 * d).zip(q.chunks_exact_mut(d)).zip(k.chunks_exact_mut(d));
    for (((row, q), k), v) in rows.zip(v.chunks_exact_mut(d)) {
        v.copy_from_slice(&row[2 * d..]);
        for head in 0..heads {
            let cols = head * hd..(head + 1) * hd;
            prepare::<FMA>(&row[cols.clone()], gq, turn, h.eps, h.scale(), &mut q[cols.clone()]);
            prepare::<FMA>(&row[d..][cols.clone()], gk, turn, h.eps, 1.0, &mut k[cols]);
        }
    }
    // One step of the past after another: its rows lie side by side, while a row's steps are far apart in memory.
    let (k, v): (&[f32], &[f32]) = (k, v);
    for (j, (k, _)) in past.iter().copied().chain([(k, v)]).enumerate() {
        let pairs = q.chunks_exact(hd).zip(k.chunks_exact(hd));
        for (p, (q, k)) in p.iter_mut().skip(j).step_by(seen).zip(pairs) {
            *p = dot::<FMA>(q, k);
        }
    }
    softmax_body::<FMA>(&mut p, seen);
    out.fill(0.0);
    for (j, (_, v)) in past.iter().copied().chain([(k, v)]).enumerate() {
        let pairs = out.chunks_exact_mut(hd).zip(v.chunks_exact(hd));
        for (p, (o, v)) in p.iter().skip(j).step_by(seen).zip(pairs) {
            add_scaled::<FMA>(o, *p, v);
        }
    }
}

/// One step of generation: `qkv [rows, 3d]` against the steps before it, oldest first, each with prepared keys and
/// values `[rows, d]`; writes the result and this step's own prepared keys and values, `[rows, d]` each.
pub fn step(
    h: Heads,
    rows: usize,
    qkv: &[f32],
    gains: &[f32],
    turn: Turn<'_>,
    past: &[(&[f32], &[f32])],
    out: &mut [f32],
    k: &mut [f32],
    v: &mut [f32],
) {
    const ROWS: usize = 16;
    let d = h.d();
    h.check(gains);
    let n = rows * d;
    assert!(turn.cos.len() * 2 == h.hd && turn.sin.len() == turn.cos.len());
    assert!(qkv.len() == 3 * n && out.len() == n && k.len() == n && v.len() == n);
    assert!(past.iter().all(|(k, v)| k.len() == n && v.len() == n), "past steps of another size");
    let (out, k, v) = (Shared::new(out), Shared::new(k), Shared::new(v));
    for_each(rows.div_ceil(ROWS), n * (past.len() + 4), |i| {
        let first = i * ROWS;
        let (at, len) = (first * d, ROWS.min(rows - first) * d);
        let past: Vec<_> = past.iter().map(|(k, v)| (&k[at..at + len], &v[at..at + len])).collect();
        // SAFETY: blocks of rows are disjoint.
        let (out, k, v) = unsafe { (out.part(at, len), k.part(at, len), v.part(at, len)) };
        step_rows(h, &qkv[3 * at..3 * (at + len)], gains, turn, &past, out, k, v);
    });
}
