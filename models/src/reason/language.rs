//! The language tower of Qwen2.5-VL and Qwen3-VL with its output layer: rotary positions on three axes.

use candle_core::{D, Result, Tensor};
use candle_nn::{Module, VarBuilder};
use serde::Deserialize;

use super::vision::Seen;
use crate::common::rotary::{Rotary, inverse_frequencies};
use crate::common::{Linear, Mask, RmsNorm, attention, linear, linear_no_bias, repeat_heads};

/// `text_config` of the published files.
#[derive(Clone, Debug, Deserialize)]
pub struct LanguageConfig {
    /// Number of tokens known.
    pub vocab_size: usize,
    /// Width of the stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Width of a head, if not the stream divided by the heads.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Rotary settings.
    #[serde(alias = "rope_scaling")]
    pub rope_parameters: RopeParameters,
    /// Base of the frequencies, as older files write it.
    #[serde(default)]
    pub rope_theta: Option<f64>,
}

/// Rotary settings.
#[derive(Clone, Debug, Deserialize)]
pub struct RopeParameters {
    /// Base of the frequencies.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// Frequency slots of time, height and width.
    pub mrope_section: [usize; 3],
}

impl LanguageConfig {
    fn head(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    fn theta(&self) -> f64 {
        self.rope_parameters.rope_theta.or(self.rope_theta).unwrap_or(1_000_000.0)
    }
}

/// The tower.
pub(super) struct Language {
    config: LanguageConfig,
    /// Whether frequency slots take turns between the axes (Qwen3-VL) or lie in sections (Qwen2.5-VL).
    interleaved: bool,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: RmsNorm,
    out: Linear,
}

/// Keys and values of everything read so far, [1, groups, N, head] in every layer.
#[derive(Default)]
pub(super) struct Memory {
    layers: Vec<Option<(Tensor, Tensor)>>,
}

struct Layer {
    norm_attention: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm_q: Option<RmsNorm>,
    norm_k: Option<RmsNorm>,
    norm_forward: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Language {
    /// `third` is true for Qwen3-VL: norms on queries and keys, no bias. `root` holds the output layer, which may be
    /// the embedding once more.
    pub fn new(cfg: &LanguageConfig, third: bool, vb: VarBuilder<'_>, root: &VarBuilder<'_>) -> Result<Self> {
        let embedding = vb.get((cfg.vocab_size, cfg.hidden_size), "embed_tokens.weight")?;
        let out = match root.contains_tensor("lm_head.weight") {
            true => root.get((cfg.vocab_size, cfg.hidden_size), "lm_head.weight")?,
            false => embedding.clone(),
        };
        Ok(Self {
            interleaved: third,
            layers: (0..cfg.num_hidden_layers)
                .map(|i| Layer::new(cfg, third, vb.pp("layers").pp(i)))
                .collect::<Result<_>>()?,
            norm: RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, vb.pp("norm"))?,
            out: Linear::new(out, None),
            embedding,
            config: cfg.clone(),
        })
    }

    /// Scores [1, N, vocabulary]. With `seen` come the rows of what was seen that stand for each token, from 1.
    pub fn logits(&self, ids: &[u32], seen: Option<(&Seen, &[u32])>, places: &[[u32; 3]]) -> Result<Tensor> {
        self.out.forward(&self.read(ids, seen, places, &mut Memory::default())?)
    }

    /// Scores behind the last of `ids`, [1, 1, vocabulary], where `memory` holds what was read before them.
    pub fn next(
        &self,
        ids: &[u32],
        seen: Option<(&Seen, &[u32])>,
        places: &[[u32; 3]],
        memory: &mut Memory,
    ) -> Result<Tensor> {
        let x = self.read(ids, seen, places, memory)?;
        self.out.forward(&x.narrow(1, x.dim(1)? - 1, 1)?)
    }

    /// The normed stream behind `ids`, [1, N, width]; keys and values go into `memory`.
    fn read(
        &self,
        ids: &[u32],
        seen: Option<(&Seen, &[u32])>,
        places: &[[u32; 3]],
        memory: &mut Memory,
    ) -> Result<Tensor> {
        memory.layers.resize_with(self.layers.len(), || None);
        let device = self.embedding.device();
        let words = self.embedding.index_select(&Tensor::from_slice(ids, ids.len(), device)?, 0)?;
        let mut x = words.unsqueeze(0)?;
        let mut deep = Vec::new();
        if let Some((seen, rows)) = seen {
            let rows_tensor = Tensor::from_slice(rows, rows.len(), device)?;
            // Row 0 is nothing, so that words stay words.
            let at_tokens = |values: &Tensor| -> Result<Tensor> {
                let nothing = Tensor::zeros((1, values.dim(1)?), values.dtype(), device)?;
                Tensor::cat(&[&nothing, values], 0)?.index_select(&rows_tensor, 0)?.unsqueeze(0)
            };
            let word: Vec<f32> = rows.iter().map(|row| if *row == 0 { 1.0 } else { 0.0 }).collect();
            let word = Tensor::from_vec(word, (1, rows.len(), 1), device)?.to_dtype(x.dtype())?;
            x = (x.broadcast_mul(&word)? + at_tokens(&seen.tokens)?)?;
            deep = seen.deep.iter().map(at_tokens).collect::<Result<_>>()?;
        }
        let rotary = self.rotary(places)?;
        for (i, (layer, memory)) in self.layers.iter().zip(&mut memory.layers).enumerate() {
            x = layer.forward(&self.config, &x, &rotary, memory)?;
            if let Some(deep) = deep.get(i) {
                x = (x + deep)?;
            }
        }
        self.norm.forward(&x)
    }

    fn rotary(&self, places: &[[u32; 3]]) -> Result<Rotary> {
        let [time, height, width] = self.config.rope_parameters.mrope_section;
        let axis = |slot: usize| match self.interleaved {
            true if slot % 3 == 1 && slot < 3 * height => 1,
            true if slot % 3 == 2 && slot < 3 * width => 2,
            true => 0,
            false if slot < time => 0,
            false if slot < time + height => 1,
            false => 2,
        };
        let frequencies = inverse_frequencies(self.config.theta() as f32, self.config.head());
        let slots: Vec<(usize, f32)> = frequencies.iter().enumerate().map(|(i, f)| (axis(i), *f)).collect();
        let angles =
            places.iter().flat_map(|place| slots.iter().map(|(axis, f)| place[*axis] as f32 * f)).collect();
        Rotary::from_angles(angles, places.len(), slots.len(), self.embedding.device())
    }
}

impl Layer {
    fn new(cfg: &LanguageConfig, third: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let (width, head, eps) = (cfg.hidden_size, cfg.head(), cfg.rms_norm_eps);
        let (own, mlp) = (vb.pp("self_attn"), vb.pp("mlp"));
        let projection = |name: &str, heads: usize| match third {
            true => linear_no_bias(width, heads * head, own.pp(name)),
            false => linear(width, heads * head, own.pp(name)),
        };
        let norm =
            |name: &str| if third { RmsNorm::new(head, eps, own.pp(name)).map(Some) } else { Ok(None) };
        Ok(Self {
            norm_attention: RmsNorm::new(width, eps, vb.pp("input_layernorm"))?,
            q: projection("q_proj", cfg.num_attention_heads)?,
            k: projection("k_proj", cfg.num_key_value_heads)?,
            v: projection("v_proj", cfg.num_key_value_heads)?,
            o: linear_no_bias(cfg.num_attention_heads * head, width, own.pp("o_proj"))?,
            norm_q: norm("q_norm")?,
            norm_k: norm("k_norm")?,
            norm_forward: RmsNorm::new(width, eps, vb.pp("post_attention_layernorm"))?,
            gate: linear_no_bias(width, cfg.intermediate_size, mlp.pp("gate_proj"))?,
            up: linear_no_bias(width, cfg.intermediate_size, mlp.pp("up_proj"))?,
            down: linear_no_bias(cfg.intermediate_size, width, mlp.pp("down_proj"))?,
        })
    }

    /// `memory` holds the keys and values of the tokens before `x`, and takes those of `x`.
    fn forward(
        &self,
        cfg: &LanguageConfig,
        x: &Tensor,
        rotary: &Rotary,
        memory: &mut Option<(Tensor, Tensor)>,
    ) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let normed = self.norm_attention.forward(x)?;
        // [B, N, H·D] -> [B, H, N, D]
        let split = |y: Tensor, heads: usize, norm: Option<&RmsNorm>| -> Result<Tensor> {
            let y = y.reshape((batch, tokens, heads, cfg.head()))?.transpose(1, 2)?.contiguous()?;
            norm.map_or(Ok(y.clone()), |norm| norm.forward(&y))
        };
        let (heads, groups) = (cfg.num_attention_heads, cfg.num_key_value_heads);
        let q = rotary.apply(&split(self.q.forward(&normed)?, heads, self.norm_q.as_ref())?)?;
        let k = rotary.apply(&split(self.k.forward(&normed)?, groups, self.norm_k.as_ref())?)?;
        let v = split(self.v.forward(&normed)?, groups, None)?;
        let (k, v) = match memory.take() {
            None => (k, v),
            Some((keys, values)) => (Tensor::cat(&[&keys, &k], 2)?, Tensor::cat(&[&values, &v], 2)?),
        };
        *memory = Some((k.clone(), v.clone()));
        let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
        let (k, v) = (repeat_heads(&k, heads / groups)?, repeat_heads(&v, heads / groups)?);
        let mixed = attention(&q, &k, &v, scale, Mask::Causal)?;
        // [B, H, N, D] -> [B, N, H·D]
        let x = (x + self.o.forward(&mixed.transpose(1, 2)?.flatten_from(2)?)?)?;
        let normed = self.norm_forward.forward(&x)?;
        &x + self.down.forward(&(self.gate.forward(&normed)?.silu()? * self.up.forward(&normed)?)?)?
    }
}
