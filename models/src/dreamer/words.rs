//! The text encoder: bytes in, one vector out. Small, trained along with the network, the same for every language.

use candle_core::{Device, Result, Tensor};

use super::adapt::Weights;
use super::config::Config;
use crate::nn::feed_forward::swiglu_feed;
use crate::nn::ops::{RopeTable, attention_space, linear, rms_norm, rope_table};
use crate::nn::params::{Init, Params};

/// Token of an unused place behind the prompt.
const PAD: u32 = 256;
const EPS: f64 = 1e-6;

struct Layer {
    norm_attention: Tensor,
    qkv: Tensor,
    gains: Tensor,
    attention_out: Tensor,
    norm_feed: Tensor,
    feed_in: Tensor,
    feed_out: Tensor,
}

/// Byte embedding, a few transformer blocks, mean over the prompt's bytes, projection to the network's width.
pub(crate) struct Words {
    bytes: usize,
    heads: usize,
    embed: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    out: Tensor,
    rope: RopeTable,
}

/// The bytes of a prompt as the encoder reads them: trimmed, inner white space folded, ASCII letters lowered,
/// cut at `bytes` (at a character border), filled with PAD. The second value is the number of real bytes.
pub fn prompt_tokens(prompt: &str, bytes: usize) -> (Vec<u32>, usize) {
    let folded = prompt.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let mut end = folded.len().min(bytes);
    while !folded.is_char_boundary(end) {
        end -= 1;
    }
    let mut tokens: Vec<u32> = folded.bytes().take(end).map(u32::from).collect();
    tokens.resize(bytes, PAD);
    (tokens, end)
}

impl Words {
    pub(crate) fn new(config: &Config, params: &mut Params) -> Result<Self> {
        let w = config.text_width;
        let heads = (w / 32).max(1);
        let hidden = w * 4;
        let mut layers = Vec::with_capacity(config.text_layers);
        for index in 0..config.text_layers {
            let name = |part: &str| format!("words.layers.{index}.{part}");
            layers.push(Layer {
                norm_attention: params.tensor(&name("norm_attention"), &[w], Init::Const(1.0))?,
                qkv: params.tensor(&name("qkv.weight"), &[3 * w, w], Init::fan_in(w))?,
                gains: params.tensor(&name("gains"), &[2, w / heads], Init::Const(1.0))?,
                attention_out: params.tensor(&name("attention_out.weight"), &[w, w], Init::fan_in(w))?,
                norm_feed: params.tensor(&name("norm_feed"), &[w], Init::Const(1.0))?,
                feed_in: params.tensor(&name("feed_in.weight"), &[2 * hidden, w], Init::fan_in(w))?,
                feed_out: params.tensor(&name("feed_out.weight"), &[w, hidden], Init::fan_in(hidden))?,
            });
        }
        let positions: Vec<f32> = (0..config.text_bytes).map(|p| p as f32).collect();
        Ok(Self {
            bytes: config.text_bytes,
            heads,
            embed: params.tensor("words.embed", &[PAD as usize + 1, w], Init::Normal(0.5))?,
            layers,
            norm: params.tensor("words.norm", &[w], Init::Const(1.0))?,
            out: params.tensor("words.out.weight", &[config.width, w], Init::fan_in(w))?,
            rope: rope_table(&positions, w / heads / 2, 1000.0),
        })
    }

    /// One vector a prompt: `[B, D]`; all zeros for an empty one.
    pub(crate) fn encode(&self, prompts: &[Option<&str>], device: &Device) -> Result<Tensor> {
        let rows = prompts.len();
        let mut tokens = Vec::with_capacity(rows * self.bytes);
        let mut weights = Vec::with_capacity(rows * self.bytes);
        for prompt in prompts {
            let (row, used) = prompt_tokens(prompt.unwrap_or(""), self.bytes);
            tokens.extend(row);
            let share = if used == 0 { 0.0 } else { 1.0 / used as f32 };
            weights.extend((0..self.bytes).map(|i| if i < used { share } else { 0.0 }));
        }
        let ids = Tensor::from_vec(tokens, rows * self.bytes, device)?;
        // [B, L, W]
        let width = self.embed.dim(1)?;
        let mut x = self.embed.index_select(&ids, 0)?.reshape((rows, self.bytes, width))?;
        for layer in &self.layers {
            let h = rms_norm(&x, &layer.norm_attention, EPS)?;
            let h = attention_space(&linear(&h, &layer.qkv, None)?, self.heads, &layer.gains, &self.rope)?;
            x = (x + linear(&h, &layer.attention_out, None)?)?;
            let h = rms_norm(&x, &layer.norm_feed, EPS)?;
            x = (x + swiglu_feed(&h, &layer.feed_in, &layer.feed_out)?)?;
        }
        let x = rms_norm(&x, &self.norm, EPS)?;
        let weights = Tensor::from_vec(weights, (rows, 1, self.bytes), device)?;
        // [B, 1, L] x [B, L, W] -> [B, W]
        let mean = weights.matmul(&x)?.reshape((rows, width))?;
        linear(&mean, &self.out, None)
    }
}

/// The text encoder of other weights (`words.*` of a policy or a model) for a network of this configuration. A narrower one is
/// filled up with zeros, which changes no number that it computes: norms are scaled by the root of the ratio of the widths, and
/// further heads have values of zero.
///
/// # Errors
/// Weights without an encoder, one that is wider or has another number of layers or another size of heads.
pub fn transplant(from: &Weights, config: &Config) -> Result<Weights> {
    let mut fresh = Params::new(0, &Device::Cpu);
    Words::new(config, &mut fresh)?;
    let width = |tensor: &Tensor| tensor.dim(candle_core::D::Minus1);
    let Some(narrow) = from.get("words.embed").map(width).transpose()? else {
        candle_core::bail!("these weights have no text encoder");
    };
    let wide = config.text_width;
    let mut out = Weights::new();
    for (name, like) in fresh.iter() {
        let Some(tensor) = from.get(name) else {
            candle_core::bail!("`{name}` is missing: the text encoder has fewer layers");
        };
        let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(candle_core::DType::F32)?;
        // Queries, keys and values, and the two halves of SwiGLU, are matrices one above the other.
        let blocks = match name {
            _ if name.ends_with("qkv.weight") => 3,
            _ if name.ends_with("feed_in.weight") => 2,
            _ => 1,
        };
        let factor = if name.contains("norm") { (narrow as f64 / wide as f64).sqrt() } else { 1.0 };
        let filled = filled(&tensor.affine(factor, 0.0)?, like.dims(), blocks)?;
        let Some(filled) = filled else {
            candle_core::bail!("`{name}` is {:?} there and {:?} here", tensor.dims(), like.dims());
        };
        out.insert(name.to_owned(), filled);
    }
    match from.keys().find(|name| name.starts_with("words.") && !out.contains_key(*name)) {
        Some(name) => candle_core::bail!("`{name}` is too much: the text encoder has more layers"),
        None => Ok(out),
    }
}

/// `tensor` in the upper left corner of one of the shape `to`, each of its `blocks` of rows in its own; `None` where it does not
/// fit.
fn filled(tensor: &Tensor, to: &[usize], blocks: usize) -> Result<Option<Tensor>> {
    let columns = |dims: &[usize]| dims.last().copied().unwrap_or(1);
    let rows = |dims: &[usize]| dims.iter().rev().skip(1).product::<usize>() / blocks;
    let (from, n, k) = (tensor.dims(), rows(tensor.dims()), columns(tensor.dims()));
    if from.len() != to.len() || n == 0 || k == 0 || n > rows(to) || k > columns(to) {
        return Ok(None);
    }
    let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let mut out = vec![0.0; to.iter().product()];
    let each = rows(to) * columns(to);
    for (block, source) in out.chunks_mut(each).zip(values.chunks(n * k)) {
        for (row, source) in block.chunks_mut(columns(to)).zip(source.chunks(k)) {
            row.iter_mut().zip(source).for_each(|(slot, value)| *slot = *value);
        }
    }
    Tensor::from_vec(out, to, &Device::Cpu).map(Some)
}

/// How far apart an encoder's vectors of several prompts `[B, D]` lie: root of their mean squared distance from their mean over the
/// root of their mean square, 0 (one vector for all: nobody listens) to 1.
///
/// # Errors
/// Device errors.
pub fn apart(vectors: &Tensor) -> Result<f32> {
    let mean = vectors.mean_keepdim(0)?;
    let size = vectors.sqr()?.mean_all()?.to_scalar::<f32>()?;
    let spread = vectors.broadcast_sub(&mean)?.sqr()?.mean_all()?.to_scalar::<f32>()?;
    Ok((spread / size.max(f32::MIN_POSITIVE)).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(text_width: usize, text_layers: usize) -> Config {
        Config { text_width, text_layers, ..Config::micro() }
    }

    fn encoder(config: &Config) -> (Weights, Words) {
        let mut params = Params::new(5, &Device::Cpu);
        let words = Words::new(config, &mut params).unwrap();
        (params.iter().map(|(name, t)| (name.to_owned(), t.clone())).collect(), words)
    }

    #[test]
    fn a_transplanted_encoder_says_what_it_said() {
        let (narrow, wide) = (config(32, 2), config(96, 2));
        let (weights, before) = encoder(&narrow);
        let moved = transplant(&weights, &wide).unwrap();
        let mut params = Params::new(9, &Device::Cpu);
        moved.iter().for_each(|(name, tensor)| params.insert(name, tensor.clone()).unwrap());
        let after = Words::new(&wide, &mut params).unwrap();
        let prompts = [Some("push the red cube to the left"), Some("把紅色方塊推到右邊"), None];
        let said = |words: &Words| words.encode(&prompts, &Device::Cpu).unwrap();
        let (a, b) = (said(&before), said(&after));
        let far = (&a - &b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(far < 1e-4, "{far}");
        assert!(apart(&a.narrow(0, 0, 2).unwrap()).unwrap() > 0.1);
        // Not the other way round, and not with other layers.
        let wider = encoder(&wide).0;
        for (from, to) in [(&wider, &narrow), (&weights, &config(96, 1)), (&weights, &config(96, 3))] {
            assert!(transplant(from, to).is_err());
        }
        assert!(transplant(&Weights::new(), &wide).is_err());
    }

    #[test]
    fn one_vector_for_all_prompts_is_zero_apart() {
        let same = Tensor::ones((4, 8), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(apart(&same).unwrap() < 1e-6);
        let ends = Tensor::from_vec(vec![1.0_f32, -1.0], (2, 1), &Device::Cpu).unwrap();
        assert!((apart(&ends).unwrap() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn prompts_are_folded_and_cut_at_characters() {
        let (tokens, used) = prompt_tokens("  Push  the RED cube ", 96);
        assert_eq!(used, "push the red cube".len());
        assert_eq!(tokens.len(), 96);
        assert_eq!(tokens.first(), Some(&u32::from(b'p')));
        assert_eq!(tokens.last(), Some(&PAD));
        // Three bytes a character: only two fit into eight.
        assert_eq!(prompt_tokens("把紅色", 8).1, 6);
        assert_eq!(prompt_tokens("", 8), (vec![PAD; 8], 0));
    }
}
