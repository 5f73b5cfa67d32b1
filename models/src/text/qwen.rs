//! The text tower of Qwen2.5-VL, which Cosmos-Reason1 is: for Predict2.5 and Transfer2.5 it encodes the prompt.
//!
//! Text alone has equal positions on all three axes, so its multi-axis rotary embedding is the plain one.

use candle_core::{D, DType, Module, Result, Tensor};
use candle_nn::{Embedding, VarBuilder};
use serde::Deserialize;

use crate::common::rotary::{Rotary, inverse_frequencies};
use crate::common::{Linear, Mask, RmsNorm, attention, config_error, linear, linear_no_bias, repeat_heads};

/// The fields of `config.json` (or of its `text_config`) that shape the tower.
#[derive(Clone, Debug, Deserialize)]
pub struct QwenConfig {
    /// Number of tokens known.
    pub vocab_size: usize,
    /// Width of the stream.
    pub hidden_size: usize,
    /// Width between the layers of the gated feed-forward part.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies, as older files write it.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// The same, as newer files write it.
    #[serde(default)]
    pub rope_parameters: Option<RopeParameters>,
}

/// Newer place of the rotary settings.
#[derive(Clone, Debug, Deserialize)]
pub struct RopeParameters {
    /// Base of the rotary frequencies.
    #[serde(default)]
    pub rope_theta: Option<f64>,
}

/// `config.json` keeps these fields either at its top or under `text_config`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum QwenFile {
    Nested { text_config: QwenConfig },
    Flat(QwenConfig),
}

impl QwenConfig {
    /// Reads the tower's part of a `config.json`.
    ///
    /// # Errors
    /// A field that is missing or of the wrong kind.
    pub fn from_json(value: serde_json::Value) -> serde_json::Result<Self> {
        Ok(match serde_json::from_value(value)? {
            QwenFile::Nested { text_config } => text_config,
            QwenFile::Flat(config) => config,
        })
    }

    fn theta(&self) -> f64 {
        self.rope_theta.or(self.rope_parameters.as_ref().and_then(|r| r.rope_theta)).unwrap_or(1_000_000.0)
    }
}

/// The tower without its output layer.
pub struct QwenText {
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head_width: usize,
    theta: f64,
}

struct Block {
    norm_attention: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
    groups: usize,
    norm_forward: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl QwenText {
    /// Tensor names as the published files have them (`model.layers.N.…`), or with the newer prefix
    /// `model.language_model.`. The vision tower (`visual.`) and the output layer (`lm_head.`) are not read.
    pub fn new(cfg: &QwenConfig, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.num_attention_heads == 0
            || cfg.num_key_value_heads == 0
            || cfg.num_attention_heads % cfg.num_key_value_heads != 0
        {
            return Err(config_error(
                "num_attention_heads must be a multiple of num_key_value_heads, both not 0",
            ));
        }
        let newer = vb.pp("model.language_model");
        let vb = if newer.contains_tensor("norm.weight") { newer } else { vb.pp("model") };
        Ok(Self {
            embedding: Embedding::new(
                vb.get((cfg.vocab_size, cfg.hidden_size), "embed_tokens.weight")?,
                cfg.hidden_size,
            ),
            blocks: (0..cfg.num_hidden_layers)
                .map(|i| Block::new(cfg, vb.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, vb.pp("norm"))?,
            head_width: cfg.hidden_size / cfg.num_attention_heads,
            theta: cfg.theta(),
        })
    }

    /// Hidden states of the ids [B, N], each [B, N, hidden]: the embeddings, then the output of every block, the
    /// last one through the final norm.
    pub fn hidden_states(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let tokens = ids.dim(1)?;
        let rotary = self.rotary(tokens, ids)?;
        let mut x = self.embedding.forward(ids)?;
        let mut states = vec![x.clone()];
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &rotary)?;
            let last = i + 1 == self.blocks.len();
            states.push(if last { self.norm.forward(&x)? } else { x.clone() });
        }
        Ok(states)
    }

    /// What Predict2.5 takes as its prompt: the hidden states of all blocks, each token of each brought to mean 0
    /// and sample deviation 1, side by side: [B, N, blocks · hidden]. Padding is read as text: no mask.
    pub fn prompt_embeds(&self, ids: &Tensor) -> Result<Tensor> {
        Self::side_by_side(&self.hidden_states(ids)?)
    }

    /// The concatenation of [`QwenText::prompt_embeds`] from hidden states.
    pub fn side_by_side(states: &[Tensor]) -> Result<Tensor> {
        let rows = states.iter().skip(1).map(|state| {
            let x = state.to_dtype(DType::F32)?;
            let width = x.dim(D::Minus1)? as f64;
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let deviation = (centred.sqr()?.sum_keepdim(D::Minus1)? / (width - 1.0))?.sqrt()?;
            centred.broadcast_div(&(deviation + 1e-8)?)?.to_dtype(state.dtype())
        });
        Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, D::Minus1)
    }

    fn rotary(&self, tokens: usize, like: &Tensor) -> Result<Rotary> {
        let frequencies = inverse_frequencies(self.theta as f32, self.head_width);
        let angles = (0..tokens).flat_map(|t| frequencies.iter().map(move |f| t as f32 * f)).collect();
        Rotary::from_angles(angles, tokens, frequencies.len(), like.device())
    }
}

impl Block {
    fn new(cfg: &QwenConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let width = cfg.hidden_size;
        let head = width / cfg.num_attention_heads;
        let (own, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        Ok(Self {
            norm_attention: RmsNorm::new(width, cfg.rms_norm_eps, vb.pp("input_layernorm"))?,
            q: linear(width, cfg.num_attention_heads * head, own.pp("q_proj"))?,
            k: linear(width, cfg.num_key_value_heads * head, own.pp("k_proj"))?,
            v: linear(width, cfg.num_key_value_heads * head, own.pp("v_proj"))?,
            o: linear_no_bias(cfg.num_attention_heads * head, width, own.pp("o_proj"))?,
            heads: cfg.num_attention_heads,
            groups: cfg.num_key_value_heads,
            norm_forward: RmsNorm::new(width, cfg.rms_norm_eps, vb.pp("post_attention_layernorm"))?,
            gate: linear_no_bias(width, cfg.intermediate_size, mlp.pp("gate_proj"))?,
            up: linear_no_bias(width, cfg.intermediate_size, mlp.pp("up_proj"))?,
            down: linear_no_bias(cfg.intermediate_size, width, mlp.pp("down_proj"))?,
        })
    }

    fn forward(&self, x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let normed = self.norm_attention.forward(x)?;
        // [B, N, H·D] -> [B, H, N, D]
        let split = |y: Tensor, heads: usize| y.reshape((batch, tokens, heads, ()))?.transpose(1, 2);
        let q = rotary.apply(&split(self.q.forward(&normed)?, self.heads)?)?;
        let k = rotary.apply(&split(self.k.forward(&normed)?, self.groups)?)?;
        let v = split(self.v.forward(&normed)?, self.groups)?;
        let (k, v) =
            (repeat_heads(&k, self.heads / self.groups)?, repeat_heads(&v, self.heads / self.groups)?);
        let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
        let mixed = attention(&q, &k, &v, scale, Mask::Causal)?;
        // [B, H, N, D] -> [B, N, H·D]
        let x = (x + self.o.forward(&mixed.transpose(1, 2)?.flatten_from(2)?)?)?;
        let normed = self.norm_forward.forward(&x)?;
        let inner = (self.gate.forward(&normed)?.silu()? * self.up.forward(&normed)?)?;
        &x + self.down.forward(&inner)?
    }
}
