//! The network: a causal space-time transformer on raw patches.
//!
//! Step `t` of a clip is the passage from frame `t` (the *context*) to frame `t + 1` (the *target*). A token of
//! step `t` holds the context's patch and a noisy version of the target's patch at the same place side by side
//! (as DIAMOND joins past frames to the noisy one, Alonso et al. 2024, <https://arxiv.org/abs/2405.12399>), so
//! that every step of a clip is trained with a clean past, and a generated frame costs exactly as many passes as
//! it has denoising steps: no extra pass fills the cache. The network predicts the clean target (x-prediction,
//! Li & He 2025, <https://arxiv.org/abs/2511.13720>) as a gated mix of the context, moved along displacements that
//! the network predicts, and a fresh patch: what rests costs nothing to learn, and what moves need not be drawn anew
//! (Finn et al. 2016, <https://arxiv.org/abs/1605.07157>).
//!
//! Conditioning (action, state, noise level, denoising step size, text, embodiment) enters every block through
//! adaptive norms that start as the identity, and the action is also added to every token of its step: actions
//! that are only tokens in attention tend to be ignored.

use candle_core::{D, DType, Device, Result, Tensor};

use super::config::{CHANNEL_SLOTS, Config};
use super::heads::head_width;
use super::passes::HeadOutputs;
use super::refiner::Refiner;
use super::words::Words;
use crate::kernels::Precision;
use crate::kernels::warp::Warp;
use crate::nn::Matrix;
use crate::nn::feed_forward::swiglu_feed_packed;
use crate::nn::ops::{
    RopeTable, TimeCache, attention_space, attention_time, blend, gate_residual, norm_modulate,
    rope_axial_2d, rope_table, silu, warp,
};
use crate::nn::params::{Init, Params};
use crate::nn::stock::mix;

const EPS: f64 = 1e-6;
/// Harmonics of a noise level.
const LEVEL_HARMONICS: usize = 6;
/// Numbers a noise level.
const LEVEL_FEATURES: usize = 1 + 2 * LEVEL_HARMONICS;
/// Pixels of displacement for an output of 1: a few pixels a step are usual.
const MOTION_SCALE: f64 = 4.0;
/// Denoising step sizes that the network can tell apart: 1 (one step does it all), 1/2, 1/4, 1/8.
pub const STEP_SIZES: usize = 4;

/// How far each action is from the state in the same place, and where both are known. Recordings of a robot name
/// both alike and in one order; where they do not, this is one more mix of numbers that the network knows anyway.
fn relative_actions(condition: &Condition, scale: f32) -> (Vec<f32>, Vec<f32>) {
    let pairs = condition.action.iter().zip(&condition.state);
    let masks = condition.action_mask.iter().zip(&condition.state_mask);
    pairs.zip(masks).map(|((a, s), (m, n))| (((a - s) * scale).clamp(-2.0, 2.0), m * n)).unzip()
}

/// What drives the steps of a batch of clips; `B` clips of `T` steps.
pub struct Condition {
    /// Noise level of the target, 0 (pure noise) to 1 (clean): `B * T`.
    pub target_level: Vec<f32>,
    /// How much noise was mixed into the context on purpose, 0 to 1: `B * T`.
    pub context_noise: Vec<f32>,
    /// Denoising step size as an index: 0 = 1, 1 = 1/2, 2 = 1/4, 3 = 1/8: `B * T`.
    pub step_size: Vec<u32>,
    /// Action channels, each scaled to -1..=1 over its range: `B * T * CHANNEL_SLOTS`.
    pub action: Vec<f32>,
    /// 1 where an action channel is known, else 0: `B * T * CHANNEL_SLOTS`.
    pub action_mask: Vec<f32>,
    /// State channels of the context, scaled like actions: `B * T * CHANNEL_SLOTS`.
    pub state: Vec<f32>,
    /// 1 where a state channel is known, else 0.
    pub state_mask: Vec<f32>,
    /// 1 where there is a context frame, 0 where the clip starts from nothing: `B * T`.
    pub has_context: Vec<f32>,
    /// Embodiment: `B`.
    pub embodiment: Vec<u32>,
}

impl Condition {
    /// The same for `clips` of its clips of one step, from number `first` on; what is not there stays away.
    #[must_use]
    pub fn part(&self, first: usize, clips: usize) -> Self {
        fn of<T: Copy>(values: &[T], first: usize, clips: usize, each: usize) -> Vec<T> {
            values.iter().skip(first * each).take(clips * each).copied().collect()
        }
        let slots = |values: &[f32]| of(values, first, clips, CHANNEL_SLOTS);
        let one = |values: &[f32]| of(values, first, clips, 1);
        Self {
            target_level: one(&self.target_level),
            context_noise: one(&self.context_noise),
            step_size: of(&self.step_size, first, clips, 1),
            action: slots(&self.action),
            action_mask: slots(&self.action_mask),
            state: slots(&self.state),
            state_mask: slots(&self.state_mask),
            has_context: one(&self.has_context),
            embodiment: of(&self.embodiment, first, clips, 1),
        }
    }
}

/// What the network says about a batch.
pub struct Output {
    /// Predicted clean targets `[B*T, P, V]`, -1 to 1 (not clamped).
    pub frames: Tensor,
    /// The context moved along the predicted displacements, `[B*T, P, V]`; absent without motion.
    pub moved: Option<Tensor>,
    /// What is drawn anew, with its gate: `[B*T, P, V + V / 3]`; absent without motion.
    pub drawn: Option<Tensor>,
    /// Head outputs `[B*T, head_width]`: read-outs, next state, action.
    pub heads: Tensor,
    /// How far next state and action are from the state that the network was told, times `relative_scale`:
    /// `[B*T, 2 * CHANNEL_SLOTS]`. Means something where that state is known; absent without a relative scale.
    pub relative: Option<Tensor>,
}

/// What a pass tells the blocks, made of everything but pictures.
pub struct Driven {
    /// What every modulation is made from, `[G, D]`.
    pub mixed: Tensor,
    /// What every token of a step hears, `[G, 1, D]`.
    pub everywhere: Tensor,
}

/// How temporal attention sees the past.
pub enum Time<'a> {
    /// All steps of the clip at once, causally.
    Sequence,
    /// One step, number `t` of the clip, with a cache for each temporal layer; `commit` stores it.
    Step {
        /// One for each temporal layer.
        caches: &'a mut [TimeCache],
        /// Number of this step, from 0.
        t: usize,
        /// Whether this pass is remembered.
        commit: bool,
    },
}

struct TimeLayer {
    qkv: Matrix,
    gains: Tensor,
    out: Matrix,
}

struct Block {
    modulation: Matrix,
    modulation_bias: Tensor,
    qkv: Matrix,
    gains: Tensor,
    out: Matrix,
    time: Option<TimeLayer>,
    feed_in: Matrix,
    feed_out: Matrix,
}

struct Mlp {
    first: Matrix,
    first_bias: Tensor,
    second: Matrix,
}

impl Mlp {
    fn new(name: &str, inputs: usize, width: usize, params: &mut Params) -> Result<Self> {
        Self::scaled(name, inputs, width, 1.0, params)
    }

    /// One that starts `size` times as loud as others.
    fn scaled(name: &str, inputs: usize, width: usize, size: f64, params: &mut Params) -> Result<Self> {
        let second = Init::Normal(size / (width.max(1) as f64).sqrt());
        Ok(Self {
            first: params
                .tensor(&format!("{name}.first.weight"), &[width, inputs], Init::fan_in(inputs))?
                .into(),
            first_bias: params.tensor(&format!("{name}.first.bias"), &[width], Init::Const(0.0))?,
            second: params.tensor(&format!("{name}.second.weight"), &[width, width], second)?.into(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.apply(&silu(&self.first.apply(x, Some(&self.first_bias))?)?, None)
    }

    fn matrices(&mut self) -> [&mut Matrix; 2] {
        [&mut self.first, &mut self.second]
    }
}

/// The weights and their order; immutable but for the optimiser, which changes the variables in place.
pub struct Network {
    config: Config,
    patch_in: Matrix,
    patch_bias: Tensor,
    place: Tensor,
    nothing: Tensor,
    registers: Tensor,
    action: Mlp,
    relative: Option<Mlp>,
    action_token: Matrix,
    state: Mlp,
    level: Mlp,
    step_size: Tensor,
    embodiment: Tensor,
    words: Option<Words>,
    blocks: Vec<Block>,
    last_modulation: Matrix,
    last_modulation_bias: Tensor,
    patch_out: Matrix,
    patch_out_bias: Tensor,
    motion: Option<(Matrix, Tensor)>,
    refiner: Option<Refiner>,
    head: Matrix,
    head_bias: Tensor,
    relative_head: Option<(Matrix, Tensor)>,
    space_rope: RopeTable,
    device: Device,
}

impl Network {
    /// Takes (or makes) the network's variables from `params`.
    ///
    /// # Errors
    /// A variable that is missing or has another shape, or a device error.
    pub fn new(config: &Config, params: &mut Params, device: &Device) -> Result<Self> {
        let (d, p, v) = (config.width, config.patches(), config.patch_values());
        let hd = d / config.heads;
        let residual = Init::Normal(1.0 / (d as f64 * 2.0 * config.layers as f64).sqrt());
        let mut blocks = Vec::with_capacity(config.layers);
        for index in 0..config.layers {
            let name = |part: &str| format!("blocks.{index}.{part}");
            let parts = if config.has_time(index) { 9 } else { 6 };
            let time = if config.has_time(index) {
                Some(TimeLayer {
                    qkv: params.tensor(&name("time.qkv.weight"), &[3 * d, d], Init::fan_in(d))?.into(),
                    gains: params.tensor(&name("time.gains"), &[2, hd], Init::Const(1.0))?,
                    out: params.tensor(&name("time.out.weight"), &[d, d], residual)?.into(),
                })
            } else {
                None
            };
            let f = config.feed_forward;
            blocks.push(Block {
                modulation: params
                    .tensor(&name("modulation.weight"), &[parts * d, d], Init::Const(0.0))?
                    .into(),
                modulation_bias: params.tensor(
                    &name("modulation.bias"),
                    &[parts * d],
                    // Gates (every third vector) start half open, so that a short run wastes no steps on opening
                    // them; shifts and scales start as the identity.
                    Init::Pattern { period: 3 * d, from: 2 * d, value: 0.5 },
                )?,
                qkv: params.tensor(&name("space.qkv.weight"), &[3 * d, d], Init::fan_in(d))?.into(),
                gains: params.tensor(&name("space.gains"), &[2, hd], Init::Const(1.0))?,
                out: params.tensor(&name("space.out.weight"), &[d, d], residual)?.into(),
                time,
                feed_in: params.tensor(&name("feed_in.weight"), &[2 * f, d], Init::fan_in(d))?.into(),
                feed_out: params.tensor(&name("feed_out.weight"), &[d, f], residual)?.into(),
            });
        }
        let (rows, cols) = config.grid();
        let channels = CHANNEL_SLOTS * config.channel_features();
        let head = head_width(config.readings.len());
        let pixels = config.patch * config.patch;
        let words = if config.text_width > 0 { Some(Words::new(config, params)?) } else { None };
        Ok(Self {
            patch_in: params.tensor("patch_in.weight", &[d, 2 * v], Init::fan_in(2 * v))?.into(),
            patch_bias: params.tensor("patch_in.bias", &[d], Init::Const(0.0))?,
            place: params.tensor("place", &[p, d], Init::Normal(0.1))?,
            nothing: params.tensor("nothing", &[1, d], Init::Normal(0.1))?,
            registers: params.tensor("registers", &[config.registers, d], Init::Normal(0.1))?,
            action: Mlp::new("action", channels, d, params)?,
            relative: if config.relative_scale > 0.0 {
                // Quiet at first: weights that were trained without it can go on with it.
                Some(Mlp::scaled("relative", channels, d, 0.1, params)?)
            } else {
                None
            },
            action_token: params.tensor("action_token.weight", &[d, d], Init::fan_in(d))?.into(),
            state: Mlp::new("state", channels, d, params)?,
            level: Mlp::new("level", 2 * LEVEL_FEATURES, d, params)?,
            step_size: params.tensor("step_size", &[STEP_SIZES, d], Init::Normal(0.1))?,
            embodiment: params.tensor("embodiment", &[config.embodiments, d], Init::Normal(0.1))?,
            words,
            blocks,
            last_modulation: params.tensor("last.modulation.weight", &[2 * d, d], Init::Const(0.0))?.into(),
            last_modulation_bias: params.tensor("last.modulation.bias", &[2 * d], Init::Const(0.0))?,
            patch_out: params.tensor("patch_out.weight", &[v + pixels, d], Init::Normal(0.002))?.into(),
            // The gate starts nearly shut: a fresh network repeats the last frame.
            patch_out_bias: params.tensor(
                "patch_out.bias",
                &[v + pixels],
                Init::Pattern { period: v + pixels, from: v, value: -2.0 },
            )?,
            motion: match config.motion_cells {
                0 => None,
                cells => {
                    let field = 2 * cells * cells;
                    let out = field + pixels;
                    // A fresh network moves nothing, and its gate to what is moved is nearly shut: what rests is
                    // copied exactly, since sampling between pixels would blur it a little more each frame.
                    let weight = params.tensor("motion.weight", &[out, d], Init::Const(0.0))?;
                    let shut = Init::Pattern { period: out, from: field, value: -1.0 };
                    Some((weight.into(), params.tensor("motion.bias", &[out], shut)?))
                }
            },
            refiner: Refiner::new(config, params)?,
            head: params.tensor("head.weight", &[head, d], Init::fan_in(d))?.into(),
            head_bias: params.tensor("head.bias", &[head], Init::Const(0.0))?,
            relative_head: if config.relative_scale > 0.0 {
                let out = 2 * CHANNEL_SLOTS;
                let weight = params.tensor("relative_head.weight", &[out, d], Init::Const(0.0))?;
                Some((weight.into(), params.tensor("relative_head.bias", &[out], Init::Const(0.0))?))
            } else {
                None
            },
            space_rope: rope_axial_2d(rows, cols, config.registers, hd / 2, config.rope_base),
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Packs the weights of all linear layers that a frame goes through, for passes with products of this precision (see
    /// [`Matrix::pack`]). The weights must never change afterwards. Says how many bytes that takes: 0 where this processor or
    /// the weights' device has no use for it.
    ///
    /// # Errors
    /// None that weights of a network can cause.
    pub fn pack(&mut self, precision: Precision) -> Result<usize> {
        let mut bytes = 0;
        for block in &mut self.blocks {
            let parts = [
                &mut block.modulation,
                &mut block.qkv,
                &mut block.out,
                &mut block.feed_in,
                &mut block.feed_out,
            ];
            let time = block.time.iter_mut().flat_map(|time| [&mut time.qkv, &mut time.out]);
            for matrix in parts.into_iter().chain(time) {
                bytes += matrix.pack(precision)?;
            }
        }
        let nets = [&mut self.action, &mut self.state, &mut self.level];
        let nets = nets.into_iter().chain(&mut self.relative).flat_map(Mlp::matrices);
        let ends = [
            &mut self.patch_in,
            &mut self.action_token,
            &mut self.last_modulation,
            &mut self.patch_out,
            &mut self.head,
        ];
        let pairs = self.motion.iter_mut().chain(&mut self.relative_head).map(|(weight, _)| weight);
        for matrix in nets.chain(ends).chain(pairs) {
            bytes += matrix.pack(precision)?;
        }
        if let Some(refiner) = &mut self.refiner {
            bytes += refiner.pack(precision)?;
        }
        Ok(bytes)
    }

    /// Empty caches for generation, one for each temporal layer.
    pub fn caches(&self) -> Vec<TimeCache> {
        let config = &self.config;
        let layers = self.blocks.iter().filter(|block| block.time.is_some()).count();
        (0..layers).map(|_| TimeCache::new(config.heads, config.window, config.rope_base)).collect()
    }

    /// Prompts as vectors `[B, D]`; zeros for none, or when the network takes no text.
    ///
    /// # Errors
    /// Device errors.
    pub fn encode_prompts(&self, prompts: &[Option<&str>]) -> Result<Tensor> {
        match &self.words {
            Some(words) => words.encode(prompts, &self.device),
            None => Tensor::zeros((prompts.len(), self.config.width), DType::F32, &self.device),
        }
    }

    /// Everything but pictures, for `B` clips of `T` steps: see [`Network::forward`].
    ///
    /// # Errors
    /// Lengths in `condition` that do not fit, or a device error.
    pub fn drive(&self, clips: usize, condition: &Condition, text: &Tensor) -> Result<Driven> {
        let groups = condition.has_context.len();
        let (steps, d) = (groups / clips.max(1), self.config.width);
        let mut action =
            self.action.forward(&self.channels(&condition.action, &condition.action_mask, groups)?)?;
        if let Some(relative) = &self.relative {
            let (values, mask) = relative_actions(condition, self.config.relative_scale);
            action = (action + relative.forward(&self.channels(&values, &mask, groups)?)?)?;
        }
        let state = self.state.forward(&self.channels(&condition.state, &condition.state_mask, groups)?)?;
        let level = self.level.forward(&self.levels(condition, groups)?)?;
        let sizes = Tensor::from_slice(&condition.step_size, groups, &self.device)?;
        let bodies = Tensor::from_slice(&condition.embodiment, clips, &self.device)?;
        // [B, D] -> [B*T, D]
        let clip = (text + self.embodiment.index_select(&bodies, 0)?)?;
        let clip = clip.reshape((clips, 1, d))?.broadcast_as((clips, steps, d))?.reshape((groups, d))?;
        let mixed = ((&action + state)? + (level + self.step_size.index_select(&sizes, 0)?)?)?;
        let mixed = silu(&(mixed + clip)?)?;
        let has = Tensor::from_slice(&condition.has_context, (groups, 1, 1), &self.device)?;
        let lacks = has.affine(-1.0, 1.0)?;
        let everywhere = (self.action_token.apply(&action, None)?.reshape((groups, 1, d))?
            + lacks.broadcast_mul(&self.nothing)?)?;
        Ok(Driven { mixed, everywhere })
    }

    /// What the heads say of the register tokens `[G, R, D]` after the last norm.
    ///
    /// # Errors
    /// Shapes that do not fit, or a device error.
    pub fn read_registers(&self, registers: &Tensor) -> Result<HeadOutputs> {
        let registers = registers.mean(1)?;
        let heads = self.head.apply(&registers, Some(&self.head_bias))?;
        let relative = match &self.relative_head {
            Some((weight, bias)) => Some(weight.apply(&registers, Some(bias))?),
            None => None,
        };
        Ok(HeadOutputs { heads, relative })
    }

    /// One pass over `B` clips of `T` steps.
    ///
    /// `context` and `noisy` are `[B*T, P, V]` patches (see [`super::patches`]), `text` is `[B, D]` from
    /// [`Network::encode_prompts`].
    ///
    /// # Errors
    /// Lengths in `condition` that do not fit, or a device error.
    pub fn forward(
        &self,
        clips: usize,
        context: &Tensor,
        noisy: &Tensor,
        condition: &Condition,
        text: &Tensor,
        time: Time<'_>,
    ) -> Result<Output> {
        let (groups, p, _) = context.dims3()?;
        let steps = groups / clips.max(1);
        let (d, s, v) = (self.config.width, self.config.tokens(), self.config.patch_values());
        let Driven { mixed, everywhere } = self.drive(clips, condition, text)?;
        let has = Tensor::from_slice(&condition.has_context, (groups, 1, 1), &self.device)?;
        let lacks = has.affine(-1.0, 1.0)?;
        let all_have = condition.has_context.iter().all(|has| *has == 1.0);
        let context = if all_have { context.clone() } else { context.broadcast_mul(&has)? };
        let patches = Tensor::cat(&[&context, noisy], D::Minus1)?;
        let patches = self.patch_in.apply(&patches, Some(&self.patch_bias))?.broadcast_add(&self.place)?;
        let registers = self.registers.reshape((1, self.config.registers, d))?;
        let registers = registers.broadcast_as((groups, self.config.registers, d))?;
        // [G, S, D]: patches, then registers.
        let x = Tensor::cat(&[&patches, &registers.contiguous()?], 1)?;
        let mut x = x.broadcast_add(&everywhere)?;

        let time_rope = match &time {
            Time::Sequence => {
                let positions: Vec<f32> = (0..steps).map(|t| t as f32).collect();
                Some(rope_table(&positions, d / self.config.heads / 2, self.config.rope_base))
            }
            Time::Step { .. } => None,
        };
        let mut time = time;
        let mut time_layer = 0;
        for block in &self.blocks {
            let m = block.modulation.apply(&mixed, Some(&block.modulation_bias))?;
            let h = norm_modulate(&x, &m, 0, 1, EPS)?;
            let qkv = block.qkv.apply(&h, None)?;
            let h = attention_space(&qkv, self.config.heads, &block.gains, &self.space_rope)?;
            x = gate_residual(&x, &block.out.apply(&h, None)?, &m, 2)?;
            if let Some(layer) = &block.time {
                let h = norm_modulate(&x, &m, 6, 7, EPS)?;
                // [B*T, S, 3D] -> [B, T, S, 3D]
                let qkv = layer.qkv.apply(&h, None)?.reshape((clips, steps, s, 3 * d))?;
                let h = match (&mut time, &time_rope) {
                    (Time::Step { caches, t, commit }, _) => {
                        let cache = caches
                            .get_mut(time_layer)
                            .ok_or_else(|| candle_core::Error::Msg("a temporal layer has no cache".into()))?;
                        cache.attend(&qkv, &layer.gains, *t, *commit)?
                    }
                    (Time::Sequence, Some(rope)) => {
                        attention_time(&qkv, self.config.heads, &layer.gains, rope, self.config.window)?
                    }
                    (Time::Sequence, None) => candle_core::bail!("a sequence needs its rotary table"),
                };
                let h = h.reshape((groups, s, d))?;
                x = gate_residual(&x, &layer.out.apply(&h, None)?, &m, 8)?;
                time_layer += 1;
            }
            let h = norm_modulate(&x, &m, 3, 4, EPS)?;
            let h = swiglu_feed_packed(&h, &block.feed_in, &block.feed_out)?;
            x = gate_residual(&x, &h, &m, 5)?;
        }

        let m = self.last_modulation.apply(&mixed, Some(&self.last_modulation_bias))?;
        let x = norm_modulate(&x, &m, 0, 1, EPS)?;
        let HeadOutputs { heads, relative } =
            self.read_registers(&x.narrow(1, p, self.config.registers)?)?;
        let tokens = x.narrow(1, 0, p)?.contiguous()?;
        let out = self.patch_out.apply(&tokens, Some(&self.patch_out_bias))?;
        let mut drawn = None;
        let (frames, moved) = match &self.motion {
            Some((weight, bias)) => {
                let (rows, cols) = self.config.grid();
                let (patch, cells) = (self.config.patch, self.config.motion_cells);
                let motion = weight.apply(&tokens, Some(bias))?;
                let numbers = 2 * cells * cells;
                let field = motion.narrow(D::Minus1, 0, numbers)?.contiguous()?.affine(MOTION_SCALE, 0.0)?;
                let sampling = self.config.motion_sampling;
                let fetched = warp(&context, &field, Warp { sampling, rows, cols, patch, cells })?;
                let gate = motion.narrow(D::Minus1, numbers, v / 3)?.contiguous()?;
                let (out, touch) = match &self.refiner {
                    Some(refiner) => {
                        let (out, touch) = refiner.forward(&tokens, &fetched, &out)?;
                        (out, Some(touch))
                    }
                    None => (out, None),
                };
                // Where there is no context the gate to what is drawn anew is fully open.
                let frames = blend(&context, &fetched, &out, &gate)?;
                let frames = match all_have {
                    true => frames,
                    false => {
                        (frames.broadcast_mul(&has)? + out.narrow(D::Minus1, 0, v)?.broadcast_mul(&lacks)?)?
                    }
                };
                let frames = match touch {
                    Some(touch) => (frames + touch)?,
                    None => frames,
                };
                drawn = Some(out);
                (frames, Some(fetched))
            }
            None => {
                let gate = candle_nn::ops::sigmoid(&out.narrow(D::Minus1, v, v / 3)?.contiguous()?)?;
                let gate = gate.broadcast_mul(&has)?.broadcast_add(&lacks)?;
                (mix(&context, &out.narrow(D::Minus1, 0, v)?, &gate)?, None)
            }
        };
        Ok(Output { frames, moved, drawn, heads, relative })
    }

    /// Channel values and masks to features `[G, CHANNEL_SLOTS * channel_features]`.
    fn channels(&self, values: &[f32], mask: &[f32], groups: usize) -> Result<Tensor> {
        if values.len() != groups * CHANNEL_SLOTS || mask.len() != values.len() {
            candle_core::bail!("channel values do not fit {groups} steps");
        }
        let each = self.config.channel_features();
        let mut features = Vec::with_capacity(values.len() * each);
        for (value, known) in values.iter().zip(mask) {
            let value = value * known;
            features.push(value);
            for harmonic in 0..self.config.harmonics {
                let angle = value * std::f32::consts::PI * (1 << harmonic) as f32 * 0.5;
                features.push(angle.sin() * known);
                features.push(angle.cos() * known);
            }
            features.push(*known);
        }
        Tensor::from_vec(features, (groups, CHANNEL_SLOTS * each), &self.device)
    }

    /// Noise levels of target and context to features `[G, 2 * LEVEL_FEATURES]`.
    fn levels(&self, condition: &Condition, groups: usize) -> Result<Tensor> {
        if condition.target_level.len() != groups || condition.context_noise.len() != groups {
            candle_core::bail!("noise levels do not fit {groups} steps");
        }
        let mut features = Vec::with_capacity(groups * 2 * LEVEL_FEATURES);
        for (target, context) in condition.target_level.iter().zip(&condition.context_noise) {
            for level in [target, context] {
                features.push(*level);
                for harmonic in 0..LEVEL_HARMONICS {
                    let angle = level * std::f32::consts::PI * (1 << harmonic) as f32 * 0.5;
                    features.push(angle.sin());
                    features.push(angle.cos());
                }
            }
        }
        Tensor::from_vec(features, (groups, 2 * LEVEL_FEATURES), &self.device)
    }
}
