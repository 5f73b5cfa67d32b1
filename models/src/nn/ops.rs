//! The operations that the networks are made of, each with gradients for all its tensor inputs.
//!
//! Every function takes the fused CPU kernel when all inputs are contiguous f32 tensors on the CPU, and the formula in
//! plain candle operations ([`super::stock`]) otherwise.

use candle_core::{D, Result, Tensor};

pub use super::rope::{RopeTable, rope_axial_2d, rope_table};
pub use super::time_cache::TimeCache;
use super::{fused, stock};
use crate::common::Mask;
use crate::kernels::conv::Conv;
use crate::kernels::warp::Warp;

/// Epsilon of the RMS norm of queries and keys.
pub const QK_EPS: f64 = 1e-6;

/// `x [.., K]` times `w [N, K]` transposed, plus `b [N]`: `[.., N]`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let fits = match b {
        Some(b) => fused::usable(&[x, w, b]),
        None => fused::usable(&[x, w]),
    };
    if !fits || x.dims().is_empty() {
        return stock::linear(x, w, b);
    }
    let (n, k) = w.dims2()?;
    let mut dims = x.dims().to_vec();
    if dims.last() != Some(&k) || b.is_some_and(|b| b.dims() != [n]) {
        candle_core::bail!("linear: input {dims:?}, weight {:?}, bias {:?}", w.dims(), b.map(|b| b.dims()));
    }
    let y = fused::linear(&x.reshape(((), k))?, w, b)?;
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    y.reshape(dims)
}

/// RMS norm without gain, then per-group scale and shift (adaptive norm, Peebles & Xie 2022,
/// <https://arxiv.org/abs/2212.09748>).
///
/// `x [G, S, D]`, `m [G, C*D]` holds `C` vectors per group; the result is
/// `x / sqrt(mean(x^2) + eps) * (1 + m[scale_at]) + m[shift_at]`, with the places counted in vectors of `D`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn norm_modulate(x: &Tensor, m: &Tensor, shift_at: usize, scale_at: usize, eps: f64) -> Result<Tensor> {
    check_modulation("norm_modulate", x, m, &[shift_at, scale_at])?;
    if shift_at == scale_at || !fused::usable(&[x, m]) {
        return stock::norm_modulate(x, m, shift_at, scale_at, eps);
    }
    fused::norm_modulate(x, m, shift_at, scale_at, eps)
}

/// `x + m[gate_at] * y` for `x, y [G, S, D]` and `m [G, C*D]`, the gate being one vector of `D` per group.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn gate_residual(x: &Tensor, y: &Tensor, m: &Tensor, gate_at: usize) -> Result<Tensor> {
    check_modulation("gate_residual", x, m, &[gate_at])?;
    if x.dims() != y.dims() {
        candle_core::bail!("gate_residual: {:?} and {:?} differ", x.dims(), y.dims());
    }
    if !fused::usable(&[x, y, m]) {
        return stock::gate_residual(x, y, m, gate_at);
    }
    fused::gate_residual(x, y, m, gate_at)
}

/// Pictures `x [G, P, V]` (patches, see [`crate::dreamer::patches`]) fetched along displacements in pixels
/// `field [G, P, 2 * cells^2]`: see [`Warp`]. The pictures are data: no gradient goes to them.
///
/// # Errors
/// When shapes, formats or devices do not fit together, or the pictures are part of what is differentiated.
pub fn warp(x: &Tensor, field: &Tensor, shape: Warp) -> Result<Tensor> {
    let (g, p, v) = x.dims3()?;
    let patches = shape.rows * shape.cols;
    let wanted = (g, patches, 2 * shape.cells * shape.cells);
    if (p, v) != (patches, shape.patch * shape.patch * 3) || field.dims3()? != wanted || shape.cells == 0 {
        candle_core::bail!("warp: pictures {:?} and field {:?} do not fit {shape:?}", x.dims(), field.dims());
    }
    if x.track_op() {
        candle_core::bail!("warp gives no gradient to its pictures; detach them");
    }
    if fused::usable(&[x, field]) { fused::warp(x, field, shape) } else { stock::warp(x, field, shape) }
}

/// A frame from what was there (`context [G, P, V]`, data: it gets no gradient), what was fetched from beside it
/// (`fetched [G, P, V]`, behind the gate `moved [G, P, V / 3]`) and what is drawn anew with its gate side by side
/// (`fresh [G, P, V + V / 3]`): see [`crate::kernels::blend`].
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn blend(context: &Tensor, fetched: &Tensor, fresh: &Tensor, moved: &Tensor) -> Result<Tensor> {
    let (g, p, v) = context.dims3()?;
    let fits = fetched.dims() == [g, p, v] && v % 3 == 0;
    if !fits || fresh.dims() != [g, p, v + v / 3] || moved.dims() != [g, p, v / 3] {
        candle_core::bail!(
            "blend: context {:?}, fetched {:?}, fresh {:?}, gate {:?}",
            context.dims(),
            fetched.dims(),
            fresh.dims(),
            moved.dims()
        );
    }
    if context.track_op() {
        candle_core::bail!("blend gives no gradient to its context; detach it");
    }
    if fused::usable(&[context, fetched, fresh, moved]) {
        fused::blend(context, fetched, fresh, moved)
    } else {
        stock::blend(context, fetched, fresh, moved)
    }
}

/// The mean of `weight (x - target)^2`, a scalar; `target` and `weight` are data of the shape of `x` and get no gradient.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn weighted_squares(x: &Tensor, target: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if x.dims() != target.dims() || x.dims() != weight.dims() {
        candle_core::bail!(
            "weighted_squares: {:?}, {:?} and {:?} differ",
            x.dims(),
            target.dims(),
            weight.dims()
        );
    }
    if fused::usable(&[x, target, weight]) {
        return fused::weighted_squares(x, target, weight);
    }
    ((x - target.detach())?.sqr()? * weight.detach())?.mean_all()
}

/// `softmax(scale q k^T + mask) v` for `q [B, H, N, D]`, `k [B, H, M, D]` and `v [B, H, M, E]`: `[B, H, N, E]`; `None`
/// where the kernel does not serve (other devices and formats, a gradient that is wanted).
///
/// # Errors
/// When shapes do not fit together.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: &Mask<'_>) -> Result<Option<Tensor>> {
    let ((b, h, _, d), (kb, kh, m, kd), (vb, vh, vm, _)) = (q.dims4()?, k.dims4()?, v.dims4()?);
    if (b, h, d) != (kb, kh, kd) || (b, h, m) != (vb, vh, vm) {
        candle_core::bail!("attend: {:?}, {:?} and {:?} do not fit together", q.dims(), k.dims(), v.dims());
    }
    let bias = match mask {
        Mask::Bias(bias) => Some(*bias),
        _ => None,
    };
    let all = || [q, k, v].into_iter().chain(bias);
    if all().any(Tensor::track_op) || !all().all(|t| fused::usable(&[t])) {
        return Ok(None);
    }
    fused::attend(q, k, v, scale as f32, mask).map(Some)
}

/// Pictures `x [N, C, H, W]` filtered with `w [O, C, kh, kw]`: `[N, O, rows, columns]`.
///
/// Where something is differentiated, candle's own operation does it.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn conv2d(x: &Tensor, w: &Tensor, padding: usize, stride: usize) -> Result<Tensor> {
    let (n, inputs, height, width) = x.dims4()?;
    let (outputs, taken, down, right) = w.dims4()?;
    let shape = Conv { inputs, outputs, height, width, kernel: (down, right), stride, padding };
    let fits = taken == inputs && stride > 0 && shape.result().0 > 0 && shape.result().1 > 0;
    let empty = n * inputs * outputs * down * right == 0;
    if !fits || empty || x.track_op() || w.track_op() || !fused::usable(&[x, w]) {
        return x.conv2d(w, padding, stride, 1, 1);
    }
    fused::conv2d(x, w, shape)
}

/// A convolution over space and time: `x [B, T, C, H, W]` filtered with one picture kernel `[O, C, kh, kw]` a tap in time,
/// oldest first, plus `bias [O]`: `[B, outputs, O, rows, columns]`. Result frame `o` reads frame
/// `o * time_stride + k - zeros` with tap `k`; what lies before the clip is dark and left out. `None` where the kernel does
/// not serve (other devices and formats, a gradient that is wanted), and the caller has to add up by itself.
///
/// # Errors
/// When shapes do not fit together.
pub fn conv_clip(
    x: &Tensor,
    taps: &[Tensor],
    bias: &Tensor,
    (zeros, time_stride, outputs): (usize, usize, usize),
    (padding, stride): (usize, usize),
) -> Result<Option<Tensor>> {
    let (batch, frames, inputs, height, width) = x.dims5()?;
    let Some((channels, taken, down, right)) = taps.first().map(Tensor::dims4).transpose()? else {
        candle_core::bail!("conv_clip: no taps");
    };
    let alike = taps.iter().all(|tap| tap.dims() == [channels, taken, down, right]);
    if !alike || taken != inputs || bias.elem_count() != channels {
        candle_core::bail!("conv_clip: taps, bias and clip {:?} do not fit together", x.dims());
    }
    let shape = Conv { inputs, outputs: channels, height, width, kernel: (down, right), stride, padding };
    let sizes = [x.elem_count(), channels, down, right, stride, outputs];
    if sizes.contains(&0) || shape.result().0 == 0 || shape.result().1 == 0 {
        return Ok(None);
    }
    let all = || taps.iter().chain([x, bias]);
    if all().any(Tensor::track_op) || !taps.iter().chain([bias]).all(|t| fused::usable(&[t])) {
        return Ok(None);
    }
    let x = x.contiguous()?;
    if !fused::usable(&[&x]) {
        return Ok(None);
    }
    let mut plan = Vec::with_capacity(batch * outputs);
    for b in 0..batch {
        for o in 0..outputs {
            let seen = (0..taps.len()).filter_map(|k| {
                let frame = (o * time_stride + k).checked_sub(zeros)?;
                Some((b * frames + frame, k))
            });
            plan.push(seen.collect::<Vec<_>>());
        }
    }
    if plan.iter().flatten().any(|(picture, _)| *picture >= batch * frames) {
        candle_core::bail!("conv_clip: a clip of {frames} frames is too short for {outputs} results");
    }
    let made = fused::conv_frames(&x, taps, bias, &plan, shape)?;
    let (rows, columns) = shape.result();
    made.reshape((batch, outputs, channels, rows, columns)).map(Some)
}

/// Brings the channels of each place of `x [N, C, P]` to length 1, times `gamma [C]`, and sends them through SiLU with
/// `then_silu`. A length below 1e-12 counts as 1e-12. Lengths are taken in f32.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn channel_norm(x: &Tensor, gamma: &Tensor, then_silu: bool) -> Result<Tensor> {
    let (_, channels, _) = x.dims3()?;
    if gamma.elem_count() != channels {
        candle_core::bail!("channel_norm: {:?} channels, {:?} gammas", x.dims(), gamma.dims());
    }
    if !x.track_op() && !gamma.track_op() && fused::usable(&[x, gamma]) && x.elem_count() > 0 {
        return fused::channel_norm(x, gamma, then_silu);
    }
    let wide = x.to_dtype(candle_core::DType::F32)?;
    let length = wide.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
    let gamma = gamma.reshape((channels, 1))?;
    let y = wide.broadcast_div(&length)?.to_dtype(x.dtype())?.broadcast_mul(&gamma)?;
    if then_silu { y.silu() } else { Ok(y) }
}

/// `silu(a) * b` for `ab [.., 2F]`, `a` being the first `F` columns (Shazeer 2020,
/// <https://arxiv.org/abs/2002.05202>): `[.., F]`.
///
/// # Errors
/// When the last dimension is odd or missing.
pub fn swiglu(ab: &Tensor) -> Result<Tensor> {
    if ab.elem_count() == 0 || ab.dim(D::Minus1)? % 2 != 0 || !fused::usable(&[ab]) {
        return stock::swiglu(ab);
    }
    fused::swiglu(ab)
}

/// `x / (1 + exp(-x))`.
///
/// # Errors
/// When the device fails.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    if fused::usable(&[x]) { fused::silu(x) } else { x.silu() }
}

/// `x / sqrt(mean(x^2) + eps) * gain` over the last dimension of `x [.., D]`, `gain [D]`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let d = x.dim(D::Minus1)?;
    if gain.dims() != [d] {
        candle_core::bail!("rms_norm: input {:?}, gain {:?}", x.dims(), gain.dims());
    }
    if d == 0 || !fused::usable(&[x, gain]) {
        return stock::rms_norm(x, gain, eps);
    }
    fused::rms_norm(x, gain, eps)
}

/// Full attention among the `S` tokens of each group: `qkv [G, S, 3D]` -> `[G, S, D]`.
///
/// A row of `qkv` is q, k, v, each of `heads` heads side by side. Queries and keys of each head are RMS-normalised with
/// the gains `gains [2, hd]` (row 0 queries, row 1 keys; Dehghani et al. 2023, <https://arxiv.org/abs/2302.05442>),
/// turned by the rotary table's row of their token (halves convention, see [`super::rope`]), and scores are divided by
/// `sqrt(hd)`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn attention_space(qkv: &Tensor, heads: usize, gains: &Tensor, rope: &RopeTable) -> Result<Tensor> {
    let (_, s, three_d) = qkv.dims3()?;
    check_heads("attention_space", three_d, heads, gains, rope, s)?;
    if !fused::usable(&[qkv, gains]) {
        return stock::attention_space(qkv, heads, gains, rope);
    }
    fused::attention_space(qkv, heads, gains, rope)
}

/// Causal attention along time at each place: `qkv [B, T, P, 3D]` -> `[B, T, P, D]`.
///
/// Step `t` at place `p` looks at the steps `t - window + 1 ..= t` of the same place. The rest as in
/// [`attention_space`], with the rotary table over `T`.
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
    let (_, t, _, three_d) = qkv.dims4()?;
    check_heads("attention_time", three_d, heads, gains, rope, t)?;
    if window == 0 {
        candle_core::bail!("attention_time: the window must hold at least one step");
    }
    if !fused::usable(&[qkv, gains]) {
        return stock::attention_time(qkv, heads, gains, rope, window);
    }
    fused::attention_time(qkv, heads, gains, rope, window)
}

/// Fails unless `m` is `[G, C*D]` for `x [G, S, D]` and holds the vectors `parts`.
fn check_modulation(what: &str, x: &Tensor, m: &Tensor, parts: &[usize]) -> Result<()> {
    let (g, _, d) = x.dims3()?;
    let (mg, md) = m.dims2()?;
    if d == 0 || g != mg || md % d != 0 || parts.iter().any(|&p| p >= md / d) {
        candle_core::bail!(
            "{what}: {:?} does not go with the modulation {:?}, parts {parts:?}",
            x.dims(),
            m.dims()
        );
    }
    Ok(())
}

/// Fails unless `three_d` columns are q, k, v of even heads, with fitting gains and a rotary row per position.
pub(super) fn check_heads(
    what: &str,
    three_d: usize,
    heads: usize,
    gains: &Tensor,
    rope: &RopeTable,
    positions: usize,
) -> Result<()> {
    if heads == 0 || three_d == 0 || !three_d.is_multiple_of(6 * heads) {
        candle_core::bail!("{what}: {three_d} columns do not hold q, k, v of {heads} even heads");
    }
    let hd = three_d / 3 / heads;
    if gains.dims() != [2, hd] {
        candle_core::bail!("{what}: the gains are {:?}, not [2, {hd}]", gains.dims());
    }
    if rope.half_dim() * 2 != hd || rope.rows() != positions {
        candle_core::bail!(
            "{what}: the rotary table is {} x {}, not {positions} x {}",
            rope.rows(),
            rope.half_dim(),
            hd / 2
        );
    }
    Ok(())
}
