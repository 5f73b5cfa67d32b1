//! Cosmos 3: two towers of one language-model shape with shared attention ("mixture of transformers").
//!
//! The *understanding* tower reads the text, causally, and never sees anything else; the *generation* tower holds
//! noisy and given picture, sound and action tokens, which look at everything. So the text's keys and values are
//! computed once per prompt ([`Understanding::read`]), after which only the generation tower needs to be in memory.

mod config;
mod layer;
pub mod position;
mod tokens;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Embedding, Module, VarBuilder};

pub use config::MotConfig;
pub use position::Positions;

use crate::common::sinusoid::sinusoid;
use crate::common::{Linear, RmsNorm, Storage, linear, with_storage};
use layer::{GenerationLayer, UnderstandingLayer};
use tokens::DomainLinear;

/// Width of the sinusoid of the noise level.
const TIME_WIDTH: usize = 256;

/// Keys and values of a prompt in every layer, [1, groups, N, head] each.
pub struct PromptMemory {
    layers: Vec<(Tensor, Tensor)>,
    tokens: usize,
}

impl PromptMemory {
    /// Number of text tokens.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

/// The tower that reads the text.
pub struct Understanding {
    config: MotConfig,
    embedding: Embedding,
    layers: Vec<UnderstandingLayer>,
}

impl Understanding {
    /// Tensor names as diffusers saves `Cosmos3OmniTransformer`.
    pub fn new(cfg: &MotConfig, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let table = vb.get((cfg.vocab_size, cfg.hidden_size), "embed_tokens.weight")?;
        let layers = (0..cfg.num_hidden_layers)
            .map(|i| UnderstandingLayer::new(cfg, vb.pp("layers").pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self { embedding: Embedding::new(table, cfg.hidden_size), layers, config: cfg.clone() })
    }

    /// Keys and values of the token ids [N], for every step of every run with this prompt.
    pub fn read(&self, ids: &Tensor) -> Result<PromptMemory> {
        let tokens = ids.dim(0)?;
        let rotary = Positions::text(tokens).rotary(&self.config, ids.device())?;
        let mut x = self.embedding.forward(&ids.unsqueeze(0)?)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (next, keys, values) = layer.forward(&x, &rotary)?;
            x = next;
            layers.push((keys, values));
        }
        Ok(PromptMemory { layers, tokens })
    }
}

/// Latents of all kinds for one call. Given frames and rows carry clean values and get no prediction.
pub struct MotInput<'a> {
    /// Picture latents [1, C, T, h, w].
    pub vision: &'a Tensor,
    /// Which latent frames are given, one entry per frame.
    pub vision_given: &'a [bool],
    /// Sound latents [C, T], all noisy.
    pub sound: Option<&'a Tensor>,
    /// Actions.
    pub actions: Option<MotActions<'a>>,
    /// Place of every token: picture, then sound, then actions.
    pub positions: &'a Positions,
    /// What the network is told about the noise, 0..1000.
    pub timestep: f64,
}

/// Actions of one embodiment.
#[derive(Clone, Copy)]
pub struct MotActions<'a> {
    /// [N, action width], padded with zeros to the model's width.
    pub rows: &'a Tensor,
    /// Which rows are given.
    pub given: &'a [bool],
    /// Number of the embodiment.
    pub domain: usize,
}

/// Velocities; zero where a frame or row is given.
pub struct MotOutput {
    /// [1, C, T, h, w]
    pub vision: Tensor,
    /// [C, T]
    pub sound: Option<Tensor>,
    /// [N, action width]
    pub actions: Option<Tensor>,
}

/// The tower that denoises.
pub struct Generation {
    config: MotConfig,
    layers: Vec<GenerationLayer>,
    norm: RmsNorm,
    proj_in: Linear,
    proj_out: Linear,
    time_1: Linear,
    time_2: Linear,
    sound: Option<SoundTokens>,
    actions: Option<ActionTokens>,
}

struct SoundTokens {
    proj_in: Linear,
    proj_out: Linear,
    kind: Tensor,
}

struct ActionTokens {
    proj_in: DomainLinear,
    proj_out: DomainLinear,
    kind: Tensor,
}

impl Generation {
    /// Tensor names as diffusers saves `Cosmos3OmniTransformer`.
    pub fn new(cfg: &MotConfig, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let width = cfg.hidden_size;
        let patch = cfg.patch_width();
        let layers = (0..cfg.num_hidden_layers)
            .map(|i| GenerationLayer::new(cfg, vb.pp("layers").pp(i)))
            .collect::<Result<_>>()?;
        let sound = match cfg.sound() {
            None => None,
            Some(channels) => Some(SoundTokens {
                proj_in: linear(channels, width, vb.pp("audio_proj_in"))?,
                proj_out: linear(width, channels, vb.pp("audio_proj_out"))?,
                kind: vb.get(width, "audio_modality_embed")?,
            }),
        };
        let actions = match cfg.actions() {
            None => None,
            Some(size) => Some(ActionTokens {
                proj_in: DomainLinear::new(size, width, cfg.num_embodiment_domains, vb.pp("action_proj_in"))?,
                proj_out: DomainLinear::new(
                    width,
                    size,
                    cfg.num_embodiment_domains,
                    vb.pp("action_proj_out"),
                )?,
                kind: vb.get(width, "action_modality_embed")?,
            }),
        };
        // What stands at the edges of the network keeps its precision.
        with_storage(Storage::Plain, || {
            Ok(Self {
                layers,
                norm: RmsNorm::new(width, cfg.rms_norm_eps, vb.pp("norm_moe_gen"))?,
                proj_in: linear(patch, width, vb.pp("proj_in"))?,
                proj_out: linear(width, patch, vb.pp("proj_out"))?,
                time_1: linear(TIME_WIDTH, width, vb.pp("time_embedder.linear_1"))?,
                time_2: linear(width, width, vb.pp("time_embedder.linear_2"))?,
                sound,
                actions,
                config: cfg.clone(),
            })
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &MotConfig {
        &self.config
    }

    /// The type that it computes with; inputs are brought to it, and predictions back.
    pub fn dtype(&self) -> DType {
        self.proj_in.dtype()
    }

    /// The device that its weights are on.
    pub fn device(&self) -> Device {
        self.proj_in.device().clone()
    }

    /// Velocities of everything noisy.
    pub fn forward(&self, prompt: &PromptMemory, input: &MotInput<'_>) -> Result<MotOutput> {
        let own = self.dtype();
        let vision_in = input.vision.to_dtype(own)?;
        let time = self.time(input)?.to_dtype(own)?;
        let patch = self.config.latent_patch_size;
        let grid = tokens::grid(input.vision, patch)?;
        if input.vision_given.len() != grid.frames {
            candle_core::bail!(
                "{} latent frames, but {} marks of given ones",
                grid.frames,
                input.vision_given.len()
            );
        }
        let vision_noisy = tokens::noisy_mask(input.vision_given, grid.rows * grid.columns, &vision_in)?;
        let vision = self.proj_in.forward(&tokens::fold(&vision_in, patch)?)?;
        let mut parts = vec![(vision + vision_noisy.broadcast_mul(&time)?)?];
        let mut counts = vec![grid.tokens()];
        if let Some(latents) = input.sound {
            let Some(sound) = &self.sound else { candle_core::bail!("this network has no sound") };
            // [C, T] -> [T, C]
            let rows = sound
                .proj_in
                .forward(&latents.to_dtype(own)?.t()?.contiguous()?)?
                .broadcast_add(&sound.kind)?;
            counts.push(rows.dim(0)?);
            parts.push(rows.broadcast_add(&time)?);
        }
        let action_noisy = match input.actions {
            None => None,
            Some(actions) => {
                let Some(part) = &self.actions else { candle_core::bail!("this network has no actions") };
                if actions.given.len() != actions.rows.dim(0)? {
                    candle_core::bail!(
                        "{} action rows, but {} marks of given ones",
                        actions.rows.dim(0)?,
                        actions.given.len()
                    );
                }
                let rows_in = actions.rows.to_dtype(own)?;
                let noisy = tokens::noisy_mask(actions.given, 1, &rows_in)?;
                let rows = part.proj_in.forward(&rows_in, actions.domain)?.broadcast_add(&part.kind)?;
                counts.push(rows.dim(0)?);
                parts.push((rows + noisy.broadcast_mul(&time)?)?);
                Some(noisy)
            }
        };
        let rotary = input.positions.rotary(&self.config, input.vision.device())?;
        if input.positions.len() != counts.iter().sum::<usize>() {
            candle_core::bail!(
                "{} positions for {} tokens",
                input.positions.len(),
                counts.iter().sum::<usize>()
            );
        }
        let mut x = Tensor::cat(&parts, 0)?.unsqueeze(0)?;
        for (layer, (keys, values)) in self.layers.iter().zip(&prompt.layers) {
            x = layer.forward(&x, keys, values, &rotary)?;
        }
        let x = self.norm.forward(&x)?.squeeze(0)?;

        let mut start = 0;
        let mut take = |count: usize| {
            start += count;
            x.narrow(0, start - count, count)
        };
        let vision = self.proj_out.forward(&take(grid.tokens())?)?.broadcast_mul(&vision_noisy)?;
        let vision = tokens::unfold(&vision, grid, patch, input.vision)?;
        let sound = match (&self.sound, input.sound) {
            (Some(own), Some(latents)) => {
                Some(own.proj_out.forward(&take(latents.dim(1)?)?)?.t()?.contiguous()?)
            }
            _ => None,
        };
        let actions = match (&self.actions, input.actions, action_noisy) {
            (Some(own), Some(actions), Some(noisy)) => Some(
                own.proj_out.forward(&take(actions.given.len())?, actions.domain)?.broadcast_mul(&noisy)?,
            ),
            _ => None,
        };
        let outside = |x: Tensor| x.to_dtype(input.vision.dtype());
        Ok(MotOutput {
            vision: outside(vision)?,
            sound: sound.map(outside).transpose()?,
            actions: actions.map(outside).transpose()?,
        })
    }

    /// What is added to every noisy token, [1, width].
    fn time(&self, input: &MotInput<'_>) -> Result<Tensor> {
        let told = (input.timestep * self.config.timestep_scale) as f32;
        let wave = sinusoid(&Tensor::new(&[told], input.vision.device())?, TIME_WIDTH)?;
        let dtype = self.time_1.dtype();
        let time = self.time_2.forward(&self.time_1.forward(&wave.to_dtype(dtype)?)?.silu()?)?;
        time.to_dtype(if input.vision.dtype() == DType::F64 { DType::F32 } else { input.vision.dtype() })
    }
}
