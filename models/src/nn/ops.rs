//! The operations that the networks are made of, each with gradients for all its tensor inputs.
//!
//! Every function takes the fused CPU kernel when all inputs are contiguous f32 tensors on the CPU, and the formula in
//! plain candle operations ([`super::stock`]) otherwise.

use candle_core::{Result, Tensor};

pub use super::rope::{RopeTable, rope_axial_2d, rope_table};
use super::stock;
pub use super::time_cache::TimeCache;

/// Epsilon of the RMS norm of queries and keys.
pub const QK_EPS: f64 = 1e-6;

/// `x [.., K]` times `w [N, K]` transposed, plus `b [N]`: `[.., N]`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    stock::linear(x, w, b)
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
    stock::norm_modulate(x, m, shift_at, scale_at, eps)
}

/// `x + m[gate_at] * y` for `x, y [G, S, D]` and `m [G, C*D]`, the gate being one vector of `D` per group.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn gate_residual(x: &Tensor, y: &Tensor, m: &Tensor, gate_at: usize) -> Result<Tensor> {
    stock::gate_residual(x, y, m, gate_at)
}

/// `silu(a) * b` for `ab [.., 2F]`, `a` being the first `F` columns (Shazeer 2020,
/// <https://arxiv.org/abs/2002.05202>): `[.., F]`.
///
/// # Errors
/// When the last dimension is odd or missing.
pub fn swiglu(ab: &Tensor) -> Result<Tensor> {
    stock::swiglu(ab)
}

/// `x / (1 + exp(-x))`.
///
/// # Errors
/// When the device fails.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// `x / sqrt(mean(x^2) + eps) * gain` over the last dimension of `x [.., D]`, `gain [D]`.
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    stock::rms_norm(x, gain, eps)
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
    stock::attention_space(qkv, heads, gains, rope)
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
    stock::attention_time(qkv, heads, gains, rope, window)
}
