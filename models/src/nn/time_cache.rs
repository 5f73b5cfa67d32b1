//! The memory of causal time attention while frames are generated one by one.

use std::collections::VecDeque;

use candle_core::{Result, Tensor};

use super::ops::check_heads;
use super::rope::rope_table;
use super::{fused, stock};

/// Normalised and turned keys and plain values of the last steps of one attention layer.
///
/// A step costs the same at frame 5 and at frame 5,000. Cloning is cheap (tensors are shared), so a branch of a future
/// starts with [`TimeCache::fork`]. Results equal [`super::ops::attention_time`] over the whole sequence.
#[derive(Debug, Clone)]
pub struct TimeCache {
    heads: usize,
    window: usize,
    base: f32,
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    t: usize,
    /// Normalised and turned keys, `[B * P, D]`.
    k: Tensor,
    /// Values, `[B * P, D]`.
    v: Tensor,
}

impl TimeCache {
    /// An empty cache for a layer with `heads` heads that looks at `window` steps (itself included), with the rotary
    /// base that the layer was trained with.
    pub fn new(heads: usize, window: usize, base: f32) -> Self {
        Self { heads, window, base, steps: VecDeque::new() }
    }

    /// Number of stored steps, at most the window.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing is stored yet.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// A copy that goes its own way; shares the stored tensors.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Attention of step `t` over itself and the stored steps `t - window + 1 .. t`.
    ///
    /// `qkv [B, 1, P, 3D]`, `gains [2, hd]`; gives `[B, 1, P, D]`. With `commit` the step's keys and values are stored
    /// (stored steps from `t` on are dropped: going back in time overwrites); without, this is a refinement pass that
    /// leaves the cache as it was. No gradients.
    ///
    /// # Errors
    /// When shapes do not fit together or to the stored steps.
    pub fn attend(&mut self, qkv: &Tensor, gains: &Tensor, t: usize, commit: bool) -> Result<Tensor> {
        let (b, one, p, three_d) = qkv.dims4()?;
        if one != 1 {
            candle_core::bail!("TimeCache::attend takes one step, not {one}");
        }
        let heads = self.heads;
        if heads == 0 || self.window == 0 || !three_d.is_multiple_of(6 * heads) {
            candle_core::bail!("TimeCache: {three_d} columns, {heads} heads, window {}", self.window);
        }
        let rope = rope_table(&[t as f32], three_d / 3 / heads / 2, self.base);
        check_heads("TimeCache", three_d, heads, gains, &rope, 1)?;
        let (qkv, gains) = (qkv.detach().contiguous()?, gains.detach().contiguous()?);
        let rows = b * p;
        if let Some(s) = self.steps.iter().find(|s| s.k.dims() != [rows, three_d / 3]) {
            candle_core::bail!("TimeCache holds {:?}, the step is [{rows}, {}]", s.k.dims(), three_d / 3);
        }
        let seen: Vec<(&Tensor, &Tensor)> =
            self.steps.iter().filter(|s| s.t < t && s.t + self.window > t).map(|s| (&s.k, &s.v)).collect();
        let (out, k, v) = if fused::usable(&[&qkv, &gains]) {
            fused::attention_step(&qkv, heads, &gains, &rope, &seen)?
        } else {
            stock::attention_step(&qkv, heads, &gains, &rope, &seen)?
        };
        if commit {
            self.steps.retain(|s| s.t < t);
            self.steps.push_back(Step { t, k, v });
            while self.steps.len() > self.window {
                self.steps.pop_front();
            }
        }
        Ok(out)
    }
}
