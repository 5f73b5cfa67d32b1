//! T5 encoder (Raffel et al. 2020), the text encoder of Predict1, Predict2 and Cosmos Policy (published: t5-11b).

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Embedding, VarBuilder};
use serde::Deserialize;

use crate::common::{Linear, Mask, RmsNorm, attention, config_error, linear_no_bias};

/// The fields of `config.json` that shape the encoder.
#[derive(Clone, Debug, Deserialize)]
pub struct T5Config {
    /// Number of tokens known.
    pub vocab_size: usize,
    /// Width of the stream.
    pub d_model: usize,
    /// Width of one head.
    pub d_kv: usize,
    /// Width between the two layers of the feed-forward part.
    pub d_ff: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Number of heads; heads times `d_kv` may be wider than the stream.
    pub num_heads: usize,
    /// Number of position buckets.
    pub relative_attention_num_buckets: usize,
    /// Distance from which on all positions share a bucket.
    #[serde(default = "default_distance")]
    pub relative_attention_max_distance: usize,
    /// `relu` (T5 1.0) or `gated-gelu` (T5 1.1).
    #[serde(default = "default_projection")]
    pub feed_forward_proj: String,
    /// Epsilon of the RMS norms.
    pub layer_norm_epsilon: f64,
}

fn default_distance() -> usize {
    128
}

fn default_projection() -> String {
    "relu".to_owned()
}

/// The encoder.
pub struct T5Encoder {
    embedding: Embedding,
    position_bias: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    buckets: usize,
    max_distance: usize,
}

struct Block {
    norm_attention: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
    norm_forward: RmsNorm,
    forward: FeedForward,
}

enum FeedForward {
    /// `wo(relu(wi x))`
    Relu { wi: Linear, wo: Linear },
    /// `wo(gelu(wi_0 x) · wi_1 x)`
    GatedGelu { gate: Linear, wi: Linear, wo: Linear },
}

impl T5Encoder {
    /// Tensor names as `transformers.T5EncoderModel` saves them (`shared.weight`, `encoder.block.N.…`).
    pub fn new(cfg: &T5Config, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.relative_attention_num_buckets < 4 || cfg.num_heads == 0 {
            return Err(config_error("relative_attention_num_buckets must be at least 4, num_heads not 0"));
        }
        let shared = vb.get((cfg.vocab_size, cfg.d_model), "shared.weight")?;
        // Some files hold the same table a second time under the encoder's own name.
        if vb.contains_tensor("encoder.embed_tokens.weight") {
            vb.get((cfg.vocab_size, cfg.d_model), "encoder.embed_tokens.weight")?;
        }
        let encoder = vb.pp("encoder");
        let blocks =
            (0..cfg.num_layers).map(|i| Block::new(cfg, encoder.pp("block").pp(i))).collect::<Result<_>>()?;
        let bias = encoder.get(
            (cfg.relative_attention_num_buckets, cfg.num_heads),
            "block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        )?;
        Ok(Self {
            embedding: Embedding::new(shared, cfg.d_model),
            position_bias: Embedding::new(bias, cfg.num_heads),
            blocks,
            norm: RmsNorm::new(cfg.d_model, cfg.layer_norm_epsilon, encoder.pp("final_layer_norm"))?,
            buckets: cfg.relative_attention_num_buckets,
            max_distance: cfg.relative_attention_max_distance,
        })
    }

    /// Last hidden state [B, N, d_model] of the ids [B, N]. `mask` [B, N] is 1 where a token counts, 0 for padding,
    /// which no token looks at.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (batch, tokens) = ids.dims2()?;
        // [B, N] -> [B, 1, 1, N]
        let hidden = mask.to_dtype(DType::F32)?.affine(f64::from(f32::MAX), -f64::from(f32::MAX))?;
        let hidden = hidden.reshape((batch, 1, 1, tokens))?;
        let bias = self.relative_bias(tokens, ids.device())?.to_dtype(DType::F32)?.broadcast_add(&hidden)?;
        let mut x = self.embedding.forward(ids)?;
        for block in &self.blocks {
            x = block.forward(&x, &bias)?;
        }
        self.norm.forward(&x)
    }

    /// What the pipelines pass on: the last hidden state with the rows of padding set to zero.
    pub fn prompt_embeds(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let hidden = self.forward(ids, mask)?;
        hidden.broadcast_mul(&mask.to_dtype(hidden.dtype())?.unsqueeze(2)?)
    }

    /// The learned bias of each head for each distance: [1, heads, N, N].
    fn relative_bias(&self, tokens: usize, device: &Device) -> Result<Tensor> {
        let distances = (0..tokens).flat_map(|query| (0..tokens).map(move |key| key as i64 - query as i64));
        let buckets: Vec<u32> = distances.map(|d| bucket(d, self.buckets, self.max_distance)).collect();
        let buckets = Tensor::from_vec(buckets, (tokens, tokens), device)?;
        self.position_bias.forward(&buckets)?.permute((2, 0, 1))?.unsqueeze(0)?.contiguous()
    }
}

/// Bucket of a distance, key minus query: half the buckets for each direction; in each half the first half is exact,
/// the rest grows with the logarithm. In f32, as the reference computes it.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> u32 {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let (far, exact) = (distance.unsigned_abs() as usize, half / 2);
    let within = if far < exact {
        far
    } else {
        let scale = (max_distance as f64 / exact as f64).ln() as f32;
        let log = (far as f32 / exact as f32).ln() / scale * (half - exact) as f32;
        (exact + log as usize).min(half - 1)
    };
    (side + within) as u32
}

impl Block {
    fn new(cfg: &T5Config, vb: VarBuilder<'_>) -> Result<Self> {
        let inner = cfg.num_heads * cfg.d_kv;
        let (attention, forward) = (vb.pp("layer.0"), vb.pp("layer.1"));
        let own = attention.pp("SelfAttention");
        Ok(Self {
            norm_attention: RmsNorm::new(cfg.d_model, cfg.layer_norm_epsilon, attention.pp("layer_norm"))?,
            q: linear_no_bias(cfg.d_model, inner, own.pp("q"))?,
            k: linear_no_bias(cfg.d_model, inner, own.pp("k"))?,
            v: linear_no_bias(cfg.d_model, inner, own.pp("v"))?,
            o: linear_no_bias(inner, cfg.d_model, own.pp("o"))?,
            heads: cfg.num_heads,
            norm_forward: RmsNorm::new(cfg.d_model, cfg.layer_norm_epsilon, forward.pp("layer_norm"))?,
            forward: FeedForward::new(cfg, forward.pp("DenseReluDense"))?,
        })
    }

    fn forward(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let normed = self.norm_attention.forward(x)?;
        // [B, N, H·D] -> [B, H, N, D]
        let split = |y: Tensor| y.reshape((batch, tokens, self.heads, ()))?.transpose(1, 2);
        let (q, k, v) = (
            split(self.q.forward(&normed)?)?,
            split(self.k.forward(&normed)?)?,
            split(self.v.forward(&normed)?)?,
        );
        // T5 leaves the scores unscaled: the scale is in its weights.
        let mixed = attention(&q, &k, &v, 1.0, Mask::Bias(bias))?;
        // [B, H, N, D] -> [B, N, H·D]
        let x = (x + self.o.forward(&mixed.transpose(1, 2)?.flatten_from(2)?)?)?;
        &x + self.forward.forward(&self.norm_forward.forward(&x)?)?
    }
}

impl FeedForward {
    fn new(cfg: &T5Config, vb: VarBuilder<'_>) -> Result<Self> {
        let wo = linear_no_bias(cfg.d_ff, cfg.d_model, vb.pp("wo"))?;
        match cfg.feed_forward_proj.as_str() {
            "relu" => Ok(Self::Relu { wi: linear_no_bias(cfg.d_model, cfg.d_ff, vb.pp("wi"))?, wo }),
            "gated-gelu" => Ok(Self::GatedGelu {
                gate: linear_no_bias(cfg.d_model, cfg.d_ff, vb.pp("wi_0"))?,
                wi: linear_no_bias(cfg.d_model, cfg.d_ff, vb.pp("wi_1"))?,
                wo,
            }),
            other => Err(config_error(format!("feed_forward_proj `{other}`; known are relu and gated-gelu"))),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Relu { wi, wo } => wo.forward(&wi.forward(x)?.relu()?),
            Self::GatedGelu { gate, wi, wo } => wo.forward(&(gate.forward(x)?.gelu()? * wi.forward(x)?)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bucket;

    /// Values of the published layout (32 buckets, distance 128), worked out by hand from the paper's rule.
    #[test]
    fn distances_fall_into_the_published_buckets() {
        for (distance, wanted) in
            [(0, 0), (-1, 1), (-7, 7), (-8, 8), (-16, 10), (-32, 12), (-64, 14), (-127, 15), (-1000, 15)]
        {
            assert_eq!(bucket(distance, 32, 128), wanted, "distance {distance}");
        }
        assert_eq!(bucket(1, 32, 128), 17);
        assert_eq!(bucket(1000, 32, 128), 31);
    }
}
