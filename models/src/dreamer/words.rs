//! The text encoder: bytes in, one vector out. Small, trained along with the network, the same for every language.

use candle_core::{Device, Result, Tensor};

use super::config::Config;
use crate::nn::ops::{RopeTable, attention_space, linear, rms_norm, rope_table, swiglu};
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
            let h = swiglu(&linear(&h, &layer.feed_in, None)?)?;
            x = (x + linear(&h, &layer.feed_out, None)?)?;
        }
        let x = rms_norm(&x, &self.norm, EPS)?;
        let weights = Tensor::from_vec(weights, (rows, 1, self.bytes), device)?;
        // [B, 1, L] x [B, L, W] -> [B, W]
        let mean = weights.matmul(&x)?.reshape((rows, width))?;
        linear(&mean, &self.out, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
