//! The network: a transformer that reads, and a small one that writes the chunk.
//!
//! The reader sees one token a place of the picture, which holds the patches of all looks at that place side by side (so
//! that "moved since the start" is a difference inside one token), one query token an action of the chunk and a few
//! registers; state and words enter every block through adaptive norms. What the query tokens have read becomes the
//! *plan*, together with a glance at all places side by side (attention alone takes long to find out where to look). The
//! writer turns noise into a chunk under that plan by flow matching with prediction of the clean chunk
//! (Lipman et al. 2022, <https://arxiv.org/abs/2210.02747>; chunks of actions: Zhao et al. 2023, "ACT",
//! <https://arxiv.org/abs/2304.13705>). The pictures are read once, so many chunks of one plan cost little more than
//! one; a single pass from zero noise gives the mean chunk, which is what a regression would give.

use candle_core::{D, Device, Result, Tensor};

use super::config::{Config, feed_forward};
use crate::dreamer::{self, words::Words};
use crate::nn::feed_forward::swiglu_feed;
use crate::nn::ops::{
    RopeTable, attention_space, gate_residual, linear, norm_modulate, rope_axial_2d, rope_table, silu, swiglu,
};
use crate::nn::params::{Init, Params};

const EPS: f64 = 1e-6;
/// Tokens beside patches and queries, which the readings are read off.
const REGISTERS: usize = 2;
/// Harmonics of the noise level.
const LEVEL_HARMONICS: usize = 5;
const LEVEL_FEATURES: usize = 1 + 2 * LEVEL_HARMONICS;
/// Numbers a place of the glance.
const GLANCE: usize = 8;

struct Mlp {
    first: Tensor,
    first_bias: Tensor,
    second: Tensor,
}

impl Mlp {
    fn new(name: &str, inputs: usize, width: usize, params: &mut Params) -> Result<Self> {
        Ok(Self {
            first: params.tensor(&format!("{name}.first.weight"), &[width, inputs], Init::fan_in(inputs))?,
            first_bias: params.tensor(&format!("{name}.first.bias"), &[width], Init::Zeros)?,
            second: params.tensor(&format!("{name}.second.weight"), &[width, width], Init::fan_in(width))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(&silu(&linear(x, &self.first, Some(&self.first_bias))?)?, &self.second, None)
    }
}

/// Attention and feed-forward, both under adaptive norms.
struct Block {
    modulation: Tensor,
    modulation_bias: Tensor,
    qkv: Tensor,
    gains: Tensor,
    out: Tensor,
    feed_in: Tensor,
    feed_out: Tensor,
}

impl Block {
    fn new(name: &str, d: usize, heads: usize, layers: usize, params: &mut Params) -> Result<Self> {
        let of = |part: &str| format!("{name}.{part}");
        let residual = Init::Normal(1.0 / (d as f64 * 2.0 * layers as f64).sqrt());
        let f = feed_forward(d);
        Ok(Self {
            modulation: params.tensor(&of("modulation.weight"), &[6 * d, d], Init::Zeros)?,
            modulation_bias: params.tensor(
                &of("modulation.bias"),
                &[6 * d],
                // Gates (every third vector) start half open; shifts and scales start as the identity.
                Init::Pattern { period: 3 * d, from: 2 * d, value: 0.5 },
            )?,
            qkv: params.tensor(&of("qkv.weight"), &[3 * d, d], Init::fan_in(d))?,
            gains: params.tensor(&of("gains"), &[2, d / heads], Init::Ones)?,
            out: params.tensor(&of("out.weight"), &[d, d], residual)?,
            feed_in: params.tensor(&of("feed_in.weight"), &[2 * f, d], Init::fan_in(d))?,
            feed_out: params.tensor(
                &of("feed_out.weight"),
                &[d, f],
                Init::Normal(1.0 / (f as f64 * 2.0 * layers as f64).sqrt()),
            )?,
        })
    }

    /// `x [B, S, D]` under the condition `mixed [B, D]`.
    fn forward(&self, x: &Tensor, mixed: &Tensor, heads: usize, rope: &RopeTable) -> Result<Tensor> {
        let m = linear(mixed, &self.modulation, Some(&self.modulation_bias))?;
        let h = norm_modulate(x, &m, 0, 1, EPS)?;
        let h = attention_space(&linear(&h, &self.qkv, None)?, heads, &self.gains, rope)?;
        let x = gate_residual(x, &linear(&h, &self.out, None)?, &m, 2)?;
        let h = norm_modulate(&x, &m, 3, 4, EPS)?;
        gate_residual(&x, &swiglu_feed(&h, &self.feed_in, &self.feed_out)?, &m, 5)
    }
}

/// What the reader made of some observations.
pub struct Encoded {
    /// What to do: `[B, chunk, chunk_width]`.
    pub plan: Tensor,
    /// Read-outs in network units: `[B, readings]`.
    pub readings: Tensor,
}

/// The weights and their order; immutable but for the optimiser, which changes the variables in place.
pub struct Network {
    config: Config,
    stem_in: Tensor,
    stem_bias: Tensor,
    stem_out: Tensor,
    place: Tensor,
    queries: Tensor,
    registers: Tensor,
    state: Mlp,
    always: Tensor,
    words: Option<Words>,
    blocks: Vec<Block>,
    last: Tensor,
    last_bias: Tensor,
    plan: Tensor,
    glance: Tensor,
    glance_plan: Tensor,
    glance_reading: Tensor,
    reading: Tensor,
    reading_bias: Tensor,
    level: Mlp,
    noisy: Tensor,
    writer: Vec<Block>,
    write_last: Tensor,
    write_last_bias: Tensor,
    write: Tensor,
    write_bias: Tensor,
    rope: RopeTable,
    writer_rope: RopeTable,
    device: Device,
}

impl Network {
    /// Takes (or makes) the network's variables from `params`.
    ///
    /// # Errors
    /// A variable that is missing or has another shape, or a device error.
    pub fn new(config: &Config, params: &mut Params, device: &Device) -> Result<Self> {
        if let Some(problem) = config.problem() {
            candle_core::bail!("{problem}");
        }
        let (d, h) = (config.width, config.chunk_width);
        let (v, p, a) = (config.token_values(), config.patches(), config.actions());
        let blocks = (0..config.layers)
            .map(|i| Block::new(&format!("blocks.{i}"), d, config.heads, config.layers, params))
            .collect::<Result<Vec<_>>>()?;
        let writer = (0..config.chunk_layers)
            .map(|i| Block::new(&format!("writer.blocks.{i}"), h, config.chunk_heads, 2, params))
            .collect::<Result<Vec<_>>>()?;
        let words = if config.text_width > 0 {
            let sizes = dreamer::Config {
                width: d,
                text_width: config.text_width,
                text_layers: config.text_layers,
                text_bytes: config.text_bytes,
                ..dreamer::Config::micro()
            };
            Some(Words::new(&sizes, params)?)
        } else {
            None
        };
        let (rows, cols) = config.grid();
        let steps: Vec<f32> = (0..config.chunk).map(|k| k as f32).collect();
        let r = config.readings.len().max(1);
        Ok(Self {
            stem_in: params.tensor("stem.in.weight", &[2 * config.stem, v], Init::fan_in(v))?,
            stem_bias: params.tensor("stem.in.bias", &[2 * config.stem], Init::Zeros)?,
            stem_out: params.tensor("stem.out.weight", &[d, config.stem], Init::fan_in(config.stem))?,
            // As large as what is seen there: with small places a policy stays blind for hundreds of iterations.
            place: params.tensor("place", &[p, d], Init::Normal(1.0))?,
            queries: params.tensor("queries", &[config.chunk, d], Init::Normal(0.5))?,
            registers: params.tensor("registers", &[REGISTERS, d], Init::Normal(0.5))?,
            // A policy without state still has a condition: one input that is always 0.
            state: Mlp::new("state", config.state().max(1), d, params)?,
            always: params.tensor("always", &[d], Init::Zeros)?,
            words,
            blocks,
            last: params.tensor("last.weight", &[2 * d, d], Init::Zeros)?,
            last_bias: params.tensor("last.bias", &[2 * d], Init::Zeros)?,
            plan: params.tensor("plan.weight", &[h, d], Init::fan_in(d))?,
            glance: params.tensor("glance.weight", &[GLANCE, d], Init::fan_in(d))?,
            glance_plan: params.tensor("glance.plan.weight", &[h, GLANCE * p], Init::fan_in(GLANCE * p))?,
            glance_reading: params.tensor(
                "glance.reading.weight",
                &[r, GLANCE * p],
                Init::fan_in(GLANCE * p),
            )?,
            reading: params.tensor("reading.weight", &[r, d], Init::fan_in(d))?,
            reading_bias: params.tensor("reading.bias", &[r], Init::Zeros)?,
            level: Mlp::new("writer.level", LEVEL_FEATURES, h, params)?,
            noisy: params.tensor("writer.noisy.weight", &[h, a], Init::fan_in(a))?,
            writer,
            write_last: params.tensor("writer.last.weight", &[2 * h, h], Init::Zeros)?,
            write_last_bias: params.tensor("writer.last.bias", &[2 * h], Init::Zeros)?,
            write: params.tensor("writer.out.weight", &[a, h], Init::Normal(0.02))?,
            write_bias: params.tensor("writer.out.bias", &[a], Init::Zeros)?,
            rope: rope_axial_2d(rows, cols, config.chunk + REGISTERS, d / config.heads / 2, config.rope_base),
            writer_rope: rope_table(&steps, h / config.chunk_heads / 2, config.rope_base),
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where its weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Prompts as vectors `[B, width]`; zeros where there are no words or the policy takes none.
    ///
    /// # Errors
    /// Device errors.
    pub fn encode_prompts(&self, prompts: &[Option<&str>]) -> Result<Tensor> {
        match &self.words {
            Some(words) => words.encode(prompts, &self.device),
            None => Tensor::zeros((prompts.len(), self.config.width), candle_core::DType::F32, &self.device),
        }
    }

    /// Reads observations: `pictures [B, P, token_values]` (-1 to 1), `state [B, max(S, 1)]` (scaled), and the prompts
    /// of [`Network::encode_prompts`].
    ///
    /// # Errors
    /// Shapes that do not fit, device errors.
    pub fn encode(&self, pictures: &Tensor, state: &Tensor, text: &Tensor) -> Result<Encoded> {
        let d = self.config.width;
        let (p, c) = (self.config.patches(), self.config.chunk);
        let (b, places, values) = pictures.dims3()?;
        if places != p || values != self.config.token_values() || text.dims() != [b, d] {
            candle_core::bail!(
                "a policy of {p} places of {} numbers was given {:?} and words {:?}",
                self.config.token_values(),
                pictures.dims(),
                text.dims()
            );
        }
        let mixed = (self.state.forward(state)? + text)?.broadcast_add(&self.always)?;
        let mixed = silu(&mixed)?;
        let x = swiglu(&linear(pictures, &self.stem_in, Some(&self.stem_bias))?)?;
        let x = linear(&x, &self.stem_out, None)?.broadcast_add(&self.place)?;
        let fixed = Tensor::cat(&[&self.queries, &self.registers], 0)?;
        let fixed =
            fixed.reshape((1, c + REGISTERS, d))?.broadcast_as((b, c + REGISTERS, d))?.contiguous()?;
        // [B, P + C + R, D]: patches, queries, registers.
        let mut x = Tensor::cat(&[&x, &fixed], 1)?;
        for block in &self.blocks {
            x = block.forward(&x, &mixed, self.config.heads, &self.rope)?;
        }
        let m = linear(&mixed, &self.last, Some(&self.last_bias))?;
        let x = norm_modulate(&x, &m, 0, 1, EPS)?;
        let plan = linear(&x.narrow(1, p, c)?.contiguous()?, &self.plan, None)?;
        // What is seen at each place, all places side by side: a straight way from where a thing is to what to do.
        let glance =
            linear(&x.narrow(1, 0, p)?.contiguous()?, &self.glance, None)?.reshape((b, GLANCE * p))?;
        let everywhere =
            linear(&glance, &self.glance_plan, None)?.reshape((b, 1, self.config.chunk_width))?;
        let plan = plan.broadcast_add(&everywhere)?;
        let seen = x.narrow(1, p + c, REGISTERS)?.mean(1)?;
        let readings = (linear(&seen, &self.reading, Some(&self.reading_bias))?
            + linear(&glance, &self.glance_reading, None)?)?;
        Ok(Encoded { plan, readings })
    }

    /// The clean chunk `[B, chunk, actions]` (scaled) that the writer sees in a noisy one, under `plan`.
    ///
    /// `noisy = noise * (1 - level) + chunk * level`, with one level (0 = pure noise) for each of the `B`.
    ///
    /// # Errors
    /// Shapes that do not fit, device errors.
    pub fn denoise(&self, plan: &Tensor, noisy: &Tensor, level: &[f32]) -> Result<Tensor> {
        let (b, _, _) = noisy.dims3()?;
        if level.len() != b || plan.dim(0)? != b {
            candle_core::bail!("{} noise levels and {:?} plans for {b} chunks", level.len(), plan.dims());
        }
        let mut features = Vec::with_capacity(b * LEVEL_FEATURES);
        for level in level {
            features.push(*level);
            for harmonic in 0..LEVEL_HARMONICS {
                let angle = level * std::f32::consts::PI * (1 << harmonic) as f32 * 0.5;
                features.push(angle.sin());
                features.push(angle.cos());
            }
        }
        let features = Tensor::from_vec(features, (b, LEVEL_FEATURES), &self.device)?;
        let mixed = silu(&self.level.forward(&features)?)?;
        let mut x = (linear(noisy, &self.noisy, None)? + plan)?;
        for block in &self.writer {
            x = block.forward(&x, &mixed, self.config.chunk_heads, &self.writer_rope)?;
        }
        let m = linear(&mixed, &self.write_last, Some(&self.write_last_bias))?;
        let x = norm_modulate(&x, &m, 0, 1, EPS)?;
        linear(&x, &self.write, Some(&self.write_bias))
    }

    /// Each plan `times` times over, one after another: `[B, C, H]` to `[B * times, C, H]`.
    ///
    /// # Errors
    /// Device errors.
    pub fn repeat(plan: &Tensor, times: usize) -> Result<Tensor> {
        let (b, c, h) = plan.dims3()?;
        plan.reshape((b, 1, c, h))?.broadcast_as((b, times, c, h))?.contiguous()?.reshape((b * times, c, h))
    }

    /// Number of read-outs (at least 1: the head has one output even where none is named).
    pub fn reading_width(&self) -> Result<usize> {
        self.reading.dim(D::Minus2)
    }
}
