//! The operations of [`super::ops`] in plain, differentiable candle operations.
//!
//! They run on every device and in every number format, and the fused kernels are tested against them. Only
//! operations with a gradient are used: candle-nn's fused `rms_norm`, `softmax_last_dim` and `rope` drop the gradient
//! without an error (huggingface/candle #2168). Norms and softmax are computed in f32 whatever the input is.

use candle_core::{D, DType, Device, Result, Tensor};

use super::RopeTable;
use super::ops::QK_EPS;
use crate::kernels::warp::{Sampling, Warp};

/// `x [.., K]` times `w [N, K]` transposed, plus `b [N]`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (n, k) = w.dims2()?;
    let mut dims = x.dims().to_vec();
    let Some(last) = dims.last_mut() else {
        candle_core::bail!("linear: the input has no dimensions");
    };
    if *last != k {
        candle_core::bail!("linear: the input ends in {last}, the weight takes {k}");
    }
    *last = n;
    let y = x.reshape(((), k))?.matmul(&w.t()?)?;
    let y = match b {
        Some(b) => y.broadcast_add(b)?,
        None => y,
    };
    y.reshape(dims)
}

/// `x / rms(x)` over the last dimension.
fn normalise(x: &Tensor, eps: f64) -> Result<Tensor> {
    let dtype = x.dtype();
    let x = x.to_dtype(DType::F32)?;
    let ms = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(ms + eps)?.sqrt()?)?.to_dtype(dtype)
}

/// Part `at` of the modulation `m [G, C*D]`, as `[G, 1, D]`.
fn part(m: &Tensor, at: usize, d: usize) -> Result<Tensor> {
    m.narrow(1, at * d, d)?.unsqueeze(1)
}

/// See [`super::ops::blend`].
///
/// # Errors
/// When the device fails.
pub fn blend(context: &Tensor, fetched: &Tensor, fresh: &Tensor, moved: &Tensor) -> Result<Tensor> {
    let v = context.dim(D::Minus1)?;
    let gate = fresh.narrow(D::Minus1, v, v / 3)?.contiguous()?;
    let base = mix(context, fetched, &candle_nn::ops::sigmoid(moved)?)?;
    mix(&base, &fresh.narrow(D::Minus1, 0, v)?, &candle_nn::ops::sigmoid(&gate)?)
}

/// `a + gate * (b - a)` for `a, b [G, P, V]` and one gate for the three colours of a pixel, `gate [G, P, V / 3]`.
///
/// # Errors
/// When shapes do not fit or the device fails.
pub fn mix(a: &Tensor, b: &Tensor, gate: &Tensor) -> Result<Tensor> {
    let (g, p, v) = a.dims3()?;
    let change = (b - a)?.reshape((g, p, v / 3, 3))?;
    let change = change.broadcast_mul(&gate.reshape((g, p, v / 3, 1))?)?.reshape((g, p, v))?;
    a + change
}

/// See [`super::ops::warp`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn warp(x: &Tensor, field: &Tensor, shape: Warp) -> Result<Tensor> {
    let Warp { sampling, rows, cols, patch, cells } = shape;
    let (g, _, _) = x.dims3()?;
    let (h, w) = (rows * patch, cols * patch);
    let (dtype, device) = (x.dtype(), x.device());
    // Patch by patch to line by line.
    let lines = |t: &Tensor, side: usize, last: usize| -> Result<Tensor> {
        t.to_dtype(DType::F32)?
            .reshape(&[g, rows, cols, side, side, last][..])?
            .permute(vec![0, 1, 3, 2, 4, 5])?
            .contiguous()?
            .reshape((g, rows * side * cols * side, last))
    };
    let picture = lines(x, patch, 3)?;
    let field = lines(field, cells, 2)?;
    // Interpolation between cells along one axis as a matrix `[pixels, cells]`.
    let axis = |pixels: usize, cells_all: usize| -> Result<Tensor> {
        let mut m = vec![0.0_f32; pixels * cells_all];
        let last = cells_all.saturating_sub(1);
        for (i, row) in m.chunks_mut(cells_all.max(1)).enumerate() {
            let place = ((i as f32 + 0.5) * cells as f32 / patch as f32 - 0.5).max(0.0).min(last as f32);
            let a = place as usize;
            let share = place - a as f32;
            for (k, weight) in [(a, 1.0 - share), ((a + 1).min(last), share)] {
                if let Some(slot) = row.get_mut(k) {
                    *slot += weight;
                }
            }
        }
        Tensor::from_vec(m, (pixels, cells_all), device)
    };
    // [G, cells down, cells right * 2] -> [G, H, cells right, 2] -> [G, 2, H, W]
    let field = field.reshape((g, rows * cells, cols * cells * 2))?;
    let field = axis(h, rows * cells)?.broadcast_left(g)?.contiguous()?.matmul(&field)?;
    let field = field.reshape((g, h, cols * cells, 2))?.permute((0, 3, 1, 2))?.contiguous()?;
    let across = axis(w, cols * cells)?.t()?.contiguous()?;
    let field = field.reshape((g * 2 * h, cols * cells))?.matmul(&across)?.reshape((g, 2, h, w))?;
    // Neighbours along one axis, as places and weights.
    let taps = |which: usize, length: usize| -> Result<Vec<(Tensor, Tensor)>> {
        let along: Vec<f32> =
            (0..h * w).map(|i| if which == 0 { (i % w) as f32 } else { (i / w) as f32 }).collect();
        let along = Tensor::from_vec(along, (1, h, w), device)?;
        let last = length.saturating_sub(1) as f64;
        let at = field.narrow(1, which, 1)?.squeeze(1)?.broadcast_add(&along)?.clamp(0.0, last)?;
        let a = at.detach().floor()?;
        let t = (at - &a)?;
        // Coefficients of 1, t, t^2 and t^3 for the neighbours at -1, 0, 1 and 2.
        let weights: [[f64; 4]; 4] = match sampling {
            Sampling::Bilinear => [[0.0; 4], [1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0; 4]],
            Sampling::Cubic => {
                [[0.0, -0.5, 1.0, -0.5], [1.0, 0.0, -2.5, 1.5], [0.0, 0.5, 2.0, -1.5], [0.0, 0.0, -0.5, 0.5]]
            }
        };
        let mut out = Vec::new();
        for (offset, c) in [-1.0, 0.0, 1.0, 2.0].into_iter().zip(weights).filter(|(_, c)| *c != [0.0; 4]) {
            // Horner's rule.
            let weight = t.affine(c[3], c[2])?.mul(&t)?.affine(1.0, c[1])?.mul(&t)?.affine(1.0, c[0])?;
            out.push(((&a + offset)?.clamp(0.0, last)?, weight.reshape((g, h * w, 1))?));
        }
        Ok(out)
    };
    let (across, down) = (taps(0, w)?, taps(1, h)?);
    let mut out = picture.zeros_like()?;
    for (y, v) in &down {
        for (x, u) in &across {
            let index = (y.affine(w as f64, 0.0)? + x)?.reshape((g, h * w, 1))?.to_dtype(DType::U32)?;
            let fetched = picture.gather(&index.broadcast_as((g, h * w, 3))?.contiguous()?, 1)?;
            out = (out + fetched.broadcast_mul(&(u * v)?)?)?;
        }
    }
    out.reshape(&[g, rows, patch, cols, patch, 3][..])?
        .permute(vec![0, 1, 3, 2, 4, 5])?
        .contiguous()?
        .reshape((g, rows * cols, patch * patch * 3))?
        .to_dtype(dtype)
}

/// See [`super::ops::norm_modulate`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn norm_modulate(x: &Tensor, m: &Tensor, shift_at: usize, scale_at: usize, eps: f64) -> Result<Tensor> {
    let (_, _, d) = x.dims3()?;
    let scale = (part(m, scale_at, d)? + 1.0)?;
    normalise(x, eps)?.broadcast_mul(&scale)?.broadcast_add(&part(m, shift_at, d)?)
}

/// See [`super::ops::gate_residual`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn gate_residual(x: &Tensor, y: &Tensor, m: &Tensor, gate_at: usize) -> Result<Tensor> {
    let (_, _, d) = x.dims3()?;
    x + y.broadcast_mul(&part(m, gate_at, d)?)?
}

/// See [`super::ops::swiglu`].
///
/// # Errors
/// When the last dimension is odd or missing.
pub fn swiglu(ab: &Tensor) -> Result<Tensor> {
    let two_f = ab.dim(D::Minus1)?;
    if two_f % 2 != 0 {
        candle_core::bail!("swiglu: the last dimension, {two_f}, is odd");
    }
    let f = two_f / 2;
    ab.narrow(D::Minus1, 0, f)?.silu()? * ab.narrow(D::Minus1, f, f)?
}

/// See [`super::ops::rms_norm`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    normalise(x, eps)?.broadcast_mul(gain)
}

/// Turns `x [.., R, P, hd]` by the table, whose row is the index in dimension `R` (`P` is repeated).
fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let a = x.narrow(D::Minus1, 0, half)?;
    let b = x.narrow(D::Minus1, half, half)?;
    let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
    let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
    Tensor::cat(&[&first, &second], D::Minus1)
}

/// Softmax of f32 scores over the last dimension; the maximum is only a shift, so it carries no gradient.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let max = scores.max_keepdim(D::Minus1)?.detach();
    let e = scores.broadcast_sub(&max)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// `softmax(q k^T / sqrt(hd) + mask) v` for `[N, heads, queries, hd]` against `[N, heads, keys, hd]`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let hd = q.dim(D::Minus1)?;
    let q = (q * (1.0 / (hd as f64).sqrt()))?.contiguous()?;
    let scores = q.matmul(&k.t()?.contiguous()?)?.to_dtype(DType::F32)?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    softmax(&scores)?.to_dtype(v.dtype())?.matmul(&v.contiguous()?)
}

/// Splits `qkv [.., 3D]` into normalised and turned q, k and plain v, each `[.., heads, hd]`.
///
/// `cos` and `sin` must broadcast against `[.., heads, hd / 2]`.
fn split_qkv(qkv: &Tensor, heads: usize, gains: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<[Tensor; 3]> {
    let mut dims = qkv.dims().to_vec();
    let three_d = dims.pop().unwrap_or(0);
    if heads == 0 || three_d == 0 || !three_d.is_multiple_of(6 * heads) {
        candle_core::bail!("attention: {three_d} columns do not hold q, k, v of {heads} even heads");
    }
    let d = three_d / 3;
    let hd = d / heads;
    dims.extend([heads, hd]);
    let take = |i: usize| qkv.narrow(D::Minus1, i * d, d)?.contiguous()?.reshape(dims.as_slice());
    let turned = |i: usize| {
        let x = rms_norm(&take(i)?, &gains.get(i)?, QK_EPS)?;
        rotate(&x, cos, sin)
    };
    Ok([turned(0)?, turned(1)?, take(2)?])
}

/// See [`super::ops::attention_space`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn attention_space(qkv: &Tensor, heads: usize, gains: &Tensor, rope: &RopeTable) -> Result<Tensor> {
    let (g, s, three_d) = qkv.dims3()?;
    if rope.rows() != s {
        candle_core::bail!("attention_space: {s} tokens, {} rotary rows", rope.rows());
    }
    let (cos, sin) = rope.tensors(qkv.device(), qkv.dtype())?;
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let [q, k, v] = split_qkv(qkv, heads, gains, &cos, &sin)?;
    let o = attend(&q.transpose(1, 2)?, &k.transpose(1, 2)?, &v.transpose(1, 2)?, None)?;
    o.transpose(1, 2)?.reshape((g, s, three_d / 3))
}

/// 0 where query step `i` may look at key step `j` (`i - window < j <= i`), minus infinity elsewhere; `[t, t]`.
fn window_mask(t: usize, window: usize, device: &Device) -> Result<Tensor> {
    let mut mask = vec![f32::NEG_INFINITY; t * t];
    for (i, row) in mask.chunks_mut(t.max(1)).enumerate() {
        for (j, m) in row.iter_mut().enumerate() {
            if j <= i && i < j + window {
                *m = 0.0;
            }
        }
    }
    Tensor::from_vec(mask, (t, t), device)
}

/// See [`super::ops::attention_time`].
///
/// # Errors
/// When shapes, formats or devices do not fit together, or the window is 0.
pub fn attention_time(
    qkv: &Tensor,
    heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
    window: usize,
) -> Result<Tensor> {
    let (b, t, p, three_d) = qkv.dims4()?;
    if rope.rows() != t {
        candle_core::bail!("attention_time: {t} steps, {} rotary rows", rope.rows());
    }
    if window == 0 {
        candle_core::bail!("attention_time: the window must hold at least one step");
    }
    let (cos, sin) = rope.tensors(qkv.device(), qkv.dtype())?;
    let half = rope.half_dim();
    let (cos, sin) = (cos.reshape((t, 1, 1, half))?, sin.reshape((t, 1, 1, half))?);
    let [q, k, v] = split_qkv(qkv, heads, gains, &cos, &sin)?;
    // [B, T, P, H, hd] -> [B * P, H, T, hd]
    let hd = three_d / 3 / heads;
    let by_place = |x: &Tensor| x.permute((0, 2, 3, 1, 4))?.contiguous()?.reshape((b * p, heads, t, hd));
    let mask = window_mask(t, window, qkv.device())?;
    let o = attend(&by_place(&q)?, &by_place(&k)?, &by_place(&v)?, Some(&mask))?;
    o.reshape((b, p, heads, t, hd))?.permute((0, 3, 1, 2, 4))?.contiguous()?.reshape((b, t, p, three_d / 3))
}

/// One step of generation, as [`super::fused::attention_step`].
pub(super) fn attention_step(
    qkv: &Tensor,
    heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
    past: &[(&Tensor, &Tensor)],
) -> Result<(Tensor, Tensor, Tensor)> {
    let (b, _, p, three_d) = qkv.dims4()?;
    let d = three_d / 3;
    let (cos, sin) = rope.tensors(qkv.device(), qkv.dtype())?;
    let [q, k, v] = split_qkv(qkv, heads, gains, &cos, &sin)?;
    let (k, v) = (k.reshape((b * p, d))?, v.reshape((b * p, d))?);
    // [B * P, D] of each step -> [B * P, H, steps, hd]
    let steps = |of: Vec<&Tensor>| {
        let n = of.len();
        Tensor::stack(&of, 1)?.reshape((b * p, n, heads, d / heads))?.transpose(1, 2)
    };
    let ks = steps(past.iter().map(|s| s.0).chain([&k]).collect())?;
    let vs = steps(past.iter().map(|s| s.1).chain([&v]).collect())?;
    let q = q.reshape((b * p, heads, 1, d / heads))?;
    let out = attend(&q, &ks, &vs, None)?.reshape((b, 1, p, d))?;
    Ok((out, k, v))
}
