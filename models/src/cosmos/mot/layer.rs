//! One layer of each tower. Both have the shape of a Qwen3 (or, for Edge, Nemotron) decoder layer.

use candle_core::{D, Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::MotConfig;
use crate::common::rotary::Rotary;
use crate::common::{Linear, Mask, RmsNorm, attention, linear_no_bias, repeat_heads};

/// Gated SiLU or squared ReLU.
struct FeedForward {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
}

impl FeedForward {
    fn new(cfg: &MotConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (width, inner) = (cfg.hidden_size, cfg.intermediate_size);
        let gate = match cfg.hidden_act.as_str() {
            "silu" => Some(linear_no_bias(width, inner, vb.pp("gate_proj"))?),
            _ => None,
        };
        Ok(Self {
            gate,
            up: linear_no_bias(width, inner, vb.pp("up_proj"))?,
            down: linear_no_bias(inner, width, vb.pp("down_proj"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let inner = match &self.gate {
            Some(gate) => (gate.forward(x)?.silu()? * up)?,
            None => up.relu()?.sqr()?,
        };
        self.down.forward(&inner)
    }
}

/// Projections of one tower.
struct Projections {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm_q: Option<RmsNorm>,
    norm_k: Option<RmsNorm>,
    heads: usize,
    groups: usize,
    head: usize,
}

/// Names of a tower's projections: q, k, v, out and the two norms.
struct Names {
    layers: [&'static str; 4],
    norms: Option<[&'static str; 2]>,
}

impl Projections {
    fn new(cfg: &MotConfig, names: &Names, vb: VarBuilder<'_>) -> Result<Self> {
        let (width, head) = (cfg.hidden_size, cfg.head_dim);
        let (queries, keys) = (cfg.num_attention_heads * head, cfg.num_key_value_heads * head);
        let [q, k, v, out] = names.layers;
        let norm = |i: usize| match names.norms.as_ref().and_then(|norms| norms.get(i)) {
            Some(name) => RmsNorm::new(head, cfg.rms_norm_eps, vb.pp(name)).map(Some),
            None => Ok(None),
        };
        Ok(Self {
            q: linear_no_bias(width, queries, vb.pp(q))?,
            k: linear_no_bias(width, keys, vb.pp(k))?,
            v: linear_no_bias(width, keys, vb.pp(v))?,
            out: linear_no_bias(queries, width, vb.pp(out))?,
            norm_q: norm(0)?,
            norm_k: norm(1)?,
            heads: cfg.num_attention_heads,
            groups: cfg.num_key_value_heads,
            head,
        })
    }

    /// [1, N, heads·D] -> [1, heads, N, D], normed if there is a norm.
    fn split(&self, x: &Tensor, heads: usize, norm: Option<&RmsNorm>) -> Result<Tensor> {
        let (batch, tokens, _) = x.dims3()?;
        let x = x.reshape((batch, tokens, heads, self.head))?.transpose(1, 2)?.contiguous()?;
        norm.map_or(Ok(x.clone()), |norm| norm.forward(&x))
    }

    fn queries(&self, x: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        rotary.apply(&self.split(&self.q.forward(x)?, self.heads, self.norm_q.as_ref())?)
    }

    /// Keys before the rotation.
    fn keys(&self, x: &Tensor) -> Result<Tensor> {
        self.split(&self.k.forward(x)?, self.groups, self.norm_k.as_ref())
    }

    fn values(&self, x: &Tensor) -> Result<Tensor> {
        self.split(&self.v.forward(x)?, self.groups, None)
    }

    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, mask: Mask<'_>) -> Result<Tensor> {
        let times = self.heads / self.groups;
        let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
        let mixed = attention(q, &repeat_heads(k, times)?, &repeat_heads(v, times)?, scale, mask)?;
        // [1, heads, N, D] -> [1, N, heads·D]
        self.out.forward(&mixed.transpose(1, 2)?.flatten_from(2)?)
    }
}

/// A layer of the tower that reads text.
pub(super) struct UnderstandingLayer {
    norm_attention: RmsNorm,
    own: Projections,
    /// Edge: the generation tower reads text keys through a norm of their own.
    norm_k_for_gen: Option<RmsNorm>,
    norm_forward: RmsNorm,
    mlp: FeedForward,
}

impl UnderstandingLayer {
    pub fn new(cfg: &MotConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let names = Names {
            layers: ["to_q", "to_k", "to_v", "to_out"],
            norms: cfg.qk_norm_for_text.then_some(["norm_q", "norm_k"]),
        };
        let attention = vb.pp("self_attn");
        let norm_k_for_gen = match cfg.use_und_k_norm_for_gen && !cfg.qk_norm_for_text {
            true => Some(RmsNorm::new(cfg.head_dim, cfg.rms_norm_eps, attention.pp("k_norm_und_for_gen"))?),
            false => None,
        };
        Ok(Self {
            norm_attention: RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, vb.pp("input_layernorm"))?,
            own: Projections::new(cfg, &names, attention)?,
            norm_k_for_gen,
            norm_forward: RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, vb.pp("post_attention_layernorm"))?,
            mlp: FeedForward::new(cfg, vb.pp("mlp"))?,
        })
    }

    /// `x` [1, N, width]; also the keys and values that the generation tower reads.
    pub fn forward(&self, x: &Tensor, rotary: &Rotary) -> Result<(Tensor, Tensor, Tensor)> {
        let normed = self.norm_attention.forward(x)?;
        let plain = self.own.keys(&normed)?;
        let keys = rotary.apply(&plain)?;
        let shared = match &self.norm_k_for_gen {
            Some(norm) => rotary.apply(&norm.forward(&plain)?)?,
            None => keys.clone(),
        };
        let values = self.own.values(&normed)?;
        let x = (x + self.own.attend(&self.own.queries(&normed, rotary)?, &keys, &values, Mask::Causal)?)?;
        let x = (&x + self.mlp.forward(&self.norm_forward.forward(&x)?)?)?;
        Ok((x, shared, values))
    }
}

/// A layer of the tower that denoises.
pub(super) struct GenerationLayer {
    norm_attention: RmsNorm,
    own: Projections,
    norm_forward: RmsNorm,
    mlp: FeedForward,
}

impl GenerationLayer {
    pub fn new(cfg: &MotConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let names = Names {
            layers: ["add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"],
            norms: Some(["norm_added_q", "norm_added_k"]),
        };
        let norm = |name: &str| RmsNorm::new(cfg.hidden_size, cfg.rms_norm_eps, vb.pp(name));
        Ok(Self {
            norm_attention: norm("input_layernorm_moe_gen")?,
            own: Projections::new(cfg, &names, vb.pp("self_attn"))?,
            norm_forward: norm("post_attention_layernorm_moe_gen")?,
            mlp: FeedForward::new(cfg, vb.pp("mlp_moe_gen"))?,
        })
    }

    /// `x` [1, N, width] looks at the text's `keys` and `values` and at itself.
    pub fn forward(&self, x: &Tensor, keys: &Tensor, values: &Tensor, rotary: &Rotary) -> Result<Tensor> {
        let normed = self.norm_attention.forward(x)?;
        let keys = Tensor::cat(&[keys, &rotary.apply(&self.own.keys(&normed)?)?], 2)?;
        let values = Tensor::cat(&[values, &self.own.values(&normed)?], 2)?;
        let x = (x + self.own.attend(&self.own.queries(&normed, rotary)?, &keys, &values, Mask::None)?)?;
        &x + self.mlp.forward(&self.norm_forward.forward(&x)?)?
    }
}
