//! Softmax attention in slices of queries, so that the score matrix never exceeds a fixed size.

use candle_core::{D, DType, Result, Tensor};

use crate::nn::ops;

/// Scores that may be in memory at one time (elements): 256 MB in f32.
const SCORE_BUDGET: usize = 64 << 20;

/// What is added to the scores before the softmax.
#[derive(Clone, Copy)]
pub enum Mask<'a> {
    /// Every query sees every key.
    None,
    /// Query i sees the keys 0 ..= i + (number of keys - number of queries).
    Causal,
    /// A bias that broadcasts to [batch, heads, queries, keys]; its query dimension is 1 or the number of queries.
    Bias(&'a Tensor),
}

/// `softmax(scale * q kᵀ + mask) v`.
///
/// `q` is [B, H, N, D], `k` and `v` are [B, H, M, D]; the result is [B, H, N, D] in the type of `q`.
/// The softmax runs in f32 whatever the type of the inputs.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64, mask: Mask<'_>) -> Result<Tensor> {
    if let Some(made) = ops::attend(&q.contiguous()?, &k.contiguous()?, &v.contiguous()?, scale, &mask)? {
        return Ok(made);
    }
    let (batch, heads, queries, _) = q.dims4()?;
    let keys = k.dim(2)?;
    let keys_t = k.transpose(2, 3)?.contiguous()?;
    let v = v.contiguous()?;
    let rows = (SCORE_BUDGET / (batch * heads * keys).max(1)).clamp(1, queries.max(1));
    let mut parts = Vec::with_capacity(queries.div_ceil(rows));
    let mut start = 0;
    while start < queries {
        let count = rows.min(queries - start);
        let slice = (q.narrow(2, start, count)?.contiguous()? * scale)?;
        let scores = slice.matmul(&keys_t)?.to_dtype(DType::F32)?;
        let scores = match mask {
            Mask::None => scores,
            Mask::Causal => scores.broadcast_add(&causal_bias(start, count, queries, keys, q)?)?,
            Mask::Bias(bias) if bias.dim(2)? == 1 => scores.broadcast_add(bias)?,
            Mask::Bias(bias) => scores.broadcast_add(&bias.narrow(2, start, count)?)?,
        };
        let weights = softmax(&scores)?.to_dtype(v.dtype())?;
        parts.push(weights.matmul(&v)?);
        start += count;
    }
    match parts.len() {
        1 => Ok(parts.swap_remove(0)),
        _ => Tensor::cat(&parts, 2),
    }
}

/// Softmax over the last dimension, from differentiable operations.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let top = scores.max_keepdim(D::Minus1)?;
    let weights = scores.broadcast_sub(&top)?.exp()?;
    weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
}

/// 0 where a query may look, -inf where not: [1, 1, count, keys] for the queries from `start` on.
fn causal_bias(start: usize, count: usize, queries: usize, keys: usize, like: &Tensor) -> Result<Tensor> {
    let past = keys.saturating_sub(queries);
    let bias: Vec<f32> = (start..start + count)
        .flat_map(|row| (0..keys).map(move |key| if key <= row + past { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(bias, (1, 1, count, keys), like.device())
}

/// Repeats each of the key/value heads [B, H, N, D] `times` times: [B, H·times, N, D] (grouped queries).
pub fn repeat_heads(x: &Tensor, times: usize) -> Result<Tensor> {
    if times == 1 {
        return Ok(x.clone());
    }
    let (batch, heads, tokens, width) = x.dims4()?;
    x.unsqueeze(2)?.expand((batch, heads, times, tokens, width))?.reshape((
        batch,
        heads * times,
        tokens,
        width,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::Device;

    fn ramp(shape: (usize, usize, usize, usize), step: f64) -> Tensor {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let values: Vec<f32> = (0..count).map(|i| (i as f64 * step).sin() as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_causal_query_sees_only_the_past() {
        let (q, k, v) = (ramp((1, 2, 5, 4), 0.7), ramp((1, 2, 5, 4), 0.3), ramp((1, 2, 5, 4), 1.1));
        let whole = attention(&q, &k, &v, 0.5, Mask::Causal).unwrap();
        let first = attention(
            &q.narrow(2, 0, 3).unwrap(),
            &k.narrow(2, 0, 3).unwrap(),
            &v.narrow(2, 0, 3).unwrap(),
            0.5,
            Mask::Causal,
        )
        .unwrap();
        let same = (whole.narrow(2, 0, 3).unwrap() - first).unwrap().abs().unwrap();
        assert!(same.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-6);
        let free = attention(&q, &k, &v, 0.5, Mask::None).unwrap();
        let differs =
            (whole.narrow(2, 0, 1).unwrap() - free.narrow(2, 0, 1).unwrap()).unwrap().abs().unwrap();
        assert!(differs.max_all().unwrap().to_scalar::<f32>().unwrap() > 1e-3);
    }

    #[test]
    fn the_gradient_reaches_all_three_inputs() {
        let vars: Vec<_> = [0.7, 0.3, 1.1]
            .iter()
            .map(|s| candle_core::Var::from_tensor(&ramp((1, 1, 3, 4), *s)).unwrap())
            .collect();
        let out = attention(&vars[0], &vars[1], &vars[2], 0.5, Mask::None).unwrap();
        let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for var in &vars {
            let grad = grads.get(var).expect("no gradient").abs().unwrap().sum_all().unwrap();
            assert!(grad.to_scalar::<f32>().unwrap() > 1e-4);
        }
    }

    #[test]
    fn heads_are_repeated_side_by_side() {
        let x = ramp((1, 2, 1, 1), 1.0);
        let twice = repeat_heads(&x, 2).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(twice[0], twice[1]);
        assert_eq!(twice[2], twice[3]);
        assert_ne!(twice[1], twice[2]);
    }
}
