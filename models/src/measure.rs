//! How long the parts of the networks take on this machine, for `forerun bench kernels`.
//!
//! Each case is the work that `benches/reference/torch_bench.py` does in PyTorch under the same name, from the same shapes, so
//! that the two can be laid side by side. Threads: as many as the caller's setting ([`crate::kernels::threads`]); products in the
//! caller's precision ([`crate::kernels::precision`]), with packed weights where nothing is learnt.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::VarBuilder;

use crate::dreamer::{CHANNEL_SLOTS, Condition, Config, Network, Time};
use crate::kernels::precision;
use crate::kernels::threads;
use crate::nn::ops::{attention_space, conv2d, gate_residual, norm_modulate, rope_axial_2d, swiglu};
use crate::nn::{Matrix, Params};
use crate::optim::{Gradients, Settings, Stepper};
use crate::random::Random;
use crate::text::{T5Config, T5Encoder};
use crate::wan::conv::CausalConv3d;
use crate::wan::{Wan, WanConfig};

/// One case's time.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Name of the case.
    pub name: &'static str,
    /// Milliseconds, the median of all rounds.
    pub ms: f64,
    /// Floating-point operations of its matrix products and convolutions (two a multiplication with addition), where the
    /// case is made of these; 0 elsewhere.
    pub operations: f64,
}

impl Measured {
    /// Thousand million operations a second.
    pub fn gflops(&self) -> f64 {
        self.operations / (self.ms * 1e6)
    }
}

/// Names of all cases, in the order in which they run.
pub const CASES: [&str; 14] = [
    "matmul_1024",
    "linear_544x192x1024",
    "attention_8x68",
    "norm_modulate_8x68",
    "swiglu_8x68",
    "conv2d_96",
    "conv3d_96",
    "block_1",
    "block_8",
    "frame_1",
    "frame_8",
    "training_step",
    "vae_decode",
    "text_encoder",
];

/// Tokens of a frame of the tiny size: 64 patches and 4 registers.
const TOKENS: usize = 68;
/// Width of the tiny size.
const WIDTH: usize = 192;
/// Heads of the tiny size.
const HEADS: usize = 4;
/// Clips and steps of a training step.
const CLIPS: usize = 8;
const STEPS: usize = 4;

/// Runs `job` again and again for `time`, at least five times after once for nothing: the median in milliseconds.
fn median(time: Duration, mut job: impl FnMut() -> Result<()>) -> Result<f64> {
    job()?;
    let (began, mut each) = (Instant::now(), Vec::new());
    while each.len() < 5 || began.elapsed() < time {
        let start = Instant::now();
        job()?;
        each.push(start.elapsed().as_secs_f64() * 1e3);
    }
    each.sort_by(f64::total_cmp);
    Ok(each[each.len() / 2])
}

fn normal(seed: u64, shape: &[usize]) -> Result<Tensor> {
    let mut values = vec![0.0_f32; shape.iter().product()];
    Random::new(seed, 0x6d65_6173, 0).fill_normal(0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Measures the case `name`, one of [`CASES`], for about `time`. `None` for a name that is none.
///
/// # Errors
/// Of the networks; none on a CPU with memory enough (2 GB).
pub fn case(name: &str, time: Duration) -> Result<Option<Measured>> {
    let Some(name) = CASES.into_iter().find(|known| *known == name) else { return Ok(None) };
    let (ms, operations) = match name {
        "matmul_1024" => product(1024, 1024, 1024, time)?,
        "linear_544x192x1024" => product(8 * TOKENS, WIDTH, 1024, time)?,
        "attention_8x68" => {
            let qkv = normal(1, &[8, TOKENS, 3 * WIDTH])?;
            let gains = Tensor::ones((2, WIDTH / HEADS), DType::F32, &Device::Cpu)?;
            let rope = rope_axial_2d(8, 8, 4, WIDTH / HEADS / 2, 100.0);
            let ms = median(time, || attention_space(&qkv, HEADS, &gains, &rope).map(drop))?;
            (ms, (4 * 8 * TOKENS * TOKENS * WIDTH) as f64)
        }
        "norm_modulate_8x68" => {
            let (x, m) = (normal(1, &[8, TOKENS, WIDTH])?, normal(2, &[8, 6 * WIDTH])?);
            (median(time, || norm_modulate(&x, &m, 0, 1, 1e-6).map(drop))?, 0.0)
        }
        "swiglu_8x68" => {
            let x = normal(1, &[8, TOKENS, 1024])?;
            (median(time, || swiglu(&x).map(drop))?, 0.0)
        }
        "conv2d_96" => {
            let (x, w) = (normal(1, &[4, 96, 64, 64])?, normal(2, &[96, 96, 3, 3])?);
            let ms = median(time, || conv2d(&x, &w, 1, 1).map(drop))?;
            (ms, 2.0 * f64::from(4 * 96 * 96 * 9 * 64) * 64.0)
        }
        "conv3d_96" => {
            let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
            let filter = CausalConv3d::cube(96, 96, vb)?;
            let x = normal(1, &[1, 4, 96, 64, 64])?;
            let ms = median(time, || filter.filter(&x, 2).map(drop))?;
            // Before the first frame lies darkness, which is left out: three taps of the first two frames.
            (ms, 2.0 * f64::from((4 * 3 - 3) * 96 * 96 * 9 * 64) * 64.0)
        }
        "block_1" => block(1, time)?,
        "block_8" => block(8, time)?,
        "frame_1" => frame(1, time)?,
        "frame_8" => frame(8, time)?,
        "training_step" => training_step(time)?,
        "vae_decode" => {
            let wan = Wan::new(&WanConfig::default(), VarBuilder::zeros(DType::F32, &Device::Cpu))?;
            let latents = normal(1, &[1, 16, 2, 8, 8])?;
            (median(time, || wan.decode(&latents).map(drop))?, 0.0)
        }
        _ => {
            let config = T5Config {
                vocab_size: 1000,
                d_model: 1024,
                d_kv: 64,
                d_ff: 4096,
                num_layers: 4,
                num_heads: 16,
                relative_attention_num_buckets: 32,
                relative_attention_max_distance: 128,
                feed_forward_proj: "relu".into(),
                layer_norm_epsilon: 1e-6,
            };
            let t5 = T5Encoder::new(&config, VarBuilder::zeros(DType::F32, &Device::Cpu))?;
            let ids = Tensor::from_vec((0..128_u32).collect(), (1, 128), &Device::Cpu)?;
            let mask = Tensor::ones((1, 128), DType::F32, &Device::Cpu)?;
            let ms = median(time, || t5.forward(&ids, &mask).map(drop))?;
            let each: usize = 4 * 1024 * 1024 + 2 * 1024 * 4096;
            (ms, (4 * (2 * 128 * each + 4 * 128 * 128 * 1024)) as f64)
        }
    };
    Ok(Some(Measured { name, ms, operations }))
}

/// A weight by chance, ready for the precision of this thread.
fn weight(seed: u64, rows: usize, cols: usize, size: f64) -> Result<Matrix> {
    let mut weight = Matrix::from((normal(seed, &[rows, cols])? * size)?);
    weight.pack(precision::current())?;
    Ok(weight)
}

/// `[rows, inner] x [outputs, inner]^T`.
fn product(rows: usize, inner: usize, outputs: usize, time: Duration) -> Result<(f64, f64)> {
    let (x, w) = (normal(1, &[rows, inner])?, weight(2, outputs, inner, 1.0)?);
    let ms = median(time, || w.apply(&x, None).map(drop))?;
    Ok((ms, (2 * rows * inner * outputs) as f64))
}

/// The matrices of a block's space attention and feed-forward for `n` frames: what a block is measured by.
fn block(n: usize, time: Duration) -> Result<(f64, f64)> {
    let d = WIDTH;
    let x = normal(1, &[n, TOKENS, d])?;
    let m = (normal(2, &[n, 6 * d])? * 0.1)?;
    let scaled = |seed, rows, cols: usize| weight(seed, rows, cols, 1.0 / (cols as f64).sqrt());
    let (qkv, out) = (scaled(3, 3 * d, d)?, scaled(4, d, d)?);
    let (feed_in, feed_out) = (scaled(5, 1024, d)?, scaled(6, d, 512)?);
    let gains = Tensor::ones((2, d / HEADS), DType::F32, &Device::Cpu)?;
    let rope = rope_axial_2d(8, 8, 4, d / HEADS / 2, 100.0);
    let ms = median(time, || {
        let h = norm_modulate(&x, &m, 0, 1, 1e-6)?;
        let h = attention_space(&qkv.apply(&h, None)?, HEADS, &gains, &rope)?;
        let x = gate_residual(&x, &out.apply(&h, None)?, &m, 2)?;
        let h = norm_modulate(&x, &m, 3, 4, 1e-6)?;
        let h = swiglu(&feed_in.apply(&h, None)?)?;
        gate_residual(&x, &feed_out.apply(&h, None)?, &m, 5).map(drop)
    })?;
    let matrices = 4 * d * d + 3 * d * 512;
    Ok((ms, (n * (2 * TOKENS * matrices + 4 * TOKENS * TOKENS * d)) as f64))
}

/// What a batch of `clips` clips of `steps` steps is told, all of it known.
fn condition(clips: usize, steps: usize) -> Condition {
    let groups = clips * steps;
    let mut values = vec![0.0_f32; 2 * groups * CHANNEL_SLOTS];
    Random::new(11, 0x6d65_6173, 1).fill_normal(0, &mut values);
    values.iter_mut().for_each(|v| *v = (*v * 0.3).clamp(-1.0, 1.0));
    let state = values.split_off(groups * CHANNEL_SLOTS);
    Condition {
        target_level: vec![0.0; groups],
        context_noise: vec![0.0; groups],
        step_size: vec![0; groups],
        action: values,
        action_mask: vec![1.0; groups * CHANNEL_SLOTS],
        state,
        state_mask: vec![1.0; groups * CHANNEL_SLOTS],
        has_context: vec![1.0; groups],
        embodiment: vec![0; clips],
    }
}

/// The tiny size with weights by chance; those that start at zero get some, too.
fn network() -> Result<(Network, Params)> {
    let mut params = Params::new(5, &Device::Cpu);
    let network = Network::new(&Config::tiny(), &mut params, &Device::Cpu)?;
    let mut seed = 100;
    for (_, var) in params.trainable() {
        seed += 1;
        var.set(&(var.as_tensor() + (normal(seed, var.dims())? * 0.02)?)?)?;
    }
    Ok((network, params))
}

fn pictures(seed: u64, groups: usize, config: &Config) -> Result<Tensor> {
    (normal(seed, &[groups, config.patches(), config.patch_values()])? * 0.5)?.clamp(-1.0_f32, 1.0_f32)
}

/// One frame of `n` futures at one denoising step, the window of the time attention being full.
fn frame(n: usize, time: Duration) -> Result<(f64, f64)> {
    let (network, params) = network()?;
    let frozen = params.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect::<Vec<_>>();
    let mut store = Params::frozen(&Device::Cpu);
    for (name, tensor) in frozen {
        store.insert(&name, tensor)?;
    }
    let config = network.config().clone();
    let mut network = Network::new(&config, &mut store, &Device::Cpu)?;
    network.pack(precision::current())?;
    let (context, noisy) = (pictures(1, n, &config)?, pictures(2, n, &config)?);
    let (condition, text) = (condition(n, 1), normal(3, &[n, config.width])?);
    let mut caches = network.caches();
    for t in 0..config.window {
        let time = Time::Step { caches: &mut caches, t, commit: true };
        network.forward(n, &context, &noisy, &condition, &text, time)?;
    }
    let t = config.window;
    let ms = median(time, || {
        let time = Time::Step { caches: &mut caches, t, commit: false };
        network.forward(n, &context, &noisy, &condition, &text, time).map(drop)
    })?;
    Ok((ms, n as f64 * operations(&config)))
}

/// Operations of a frame's matrix products, attention and the small networks of the condition left out.
fn operations(config: &Config) -> f64 {
    let (d, v, s) = (config.width, config.patch_values(), config.tokens());
    let pixels = v / 3;
    let layer =
        |i: usize| if config.has_time(i) { 8 * d * d } else { 4 * d * d } + 3 * d * config.feed_forward;
    let blocks: usize = (0..config.layers).map(layer).sum();
    let motion = 2 * config.motion_cells * config.motion_cells + pixels;
    let ends = config.patches() * d * (2 * v + v + pixels + motion);
    (2 * (s * blocks + ends)) as f64
}

/// Forward, backward and AdamW for 8 clips of 4 steps, each thread with its share of the clips.
fn training_step(time: Duration) -> Result<(f64, f64)> {
    let (network, params) = network()?;
    let config = network.config().clone();
    let settings = Settings { muon: false, ..Settings::default() };
    let mut stepper = Stepper::new(&params, settings)?;
    let workers = threads::current().clamp(1, CLIPS);
    let clips = CLIPS / workers;
    let variables: Vec<Var> = stepper.variables().map(|(_, var)| var.clone()).collect();
    let groups = clips * STEPS;
    let wish = precision::current();
    let data = (0..workers as u64).map(|seed| -> Result<_> {
        let [context, noisy, target] = [seed, seed + 10, seed + 20].map(|s| pictures(s, groups, &config));
        Ok((context?, noisy?, target?, normal(seed, &[clips, config.width])?, condition(clips, STEPS)))
    });
    let data = data.collect::<Result<Vec<_>>>()?;
    let ms = median(time, || {
        let one =
            |(context, noisy, target, text, condition): &(Tensor, Tensor, Tensor, Tensor, Condition)| {
                let step = || -> Result<Gradients> {
                    let output = network.forward(clips, context, noisy, condition, text, Time::Sequence)?;
                    let loss = (output.frames - target)?.sqr()?.mean_all()?;
                    Gradients::of(&loss.backward()?, &variables)
                };
                threads::with(1, || precision::with(wish, step))
            };
        let shares: Vec<Result<Gradients>> = std::thread::scope(|scope| {
            let handles: Vec<_> = data
                .iter()
                .filter_map(|part| {
                    let builder = std::thread::Builder::new().stack_size(64 << 20);
                    builder.spawn_scoped(scope, move || one(part)).ok()
                })
                .collect();
            let failed = || Err(candle_core::Error::Msg("a worker stopped".into()));
            handles.into_iter().map(|handle| handle.join().unwrap_or_else(|_| failed())).collect()
        });
        let mut sum = Gradients::default();
        for share in shares {
            sum.add(share?, 1.0)?;
        }
        stepper.step(&sum, 0.0).map(drop)
    })?;
    Ok((ms, (3 * CLIPS * STEPS) as f64 * operations(&config)))
}

/// Writes the weights, inputs and outputs of one training-like pass of the tiny network to a safetensors file, for the
/// Python script to check that it does the same work.
///
/// # Errors
/// The file cannot be written.
pub fn dump(path: &Path) -> Result<()> {
    let (network, params) = network()?;
    let config = network.config().clone();
    let (clips, steps) = (2, STEPS);
    let groups = clips * steps;
    let (context, noisy) = (pictures(1, groups, &config)?, pictures(2, groups, &config)?);
    let (condition, text) = (condition(clips, steps), normal(3, &[clips, config.width])?);
    let output = network.forward(clips, &context, &noisy, &condition, &text, Time::Sequence)?;
    let numbers = |values: &[f32]| Tensor::from_slice(values, (groups, CHANNEL_SLOTS), &Device::Cpu);
    let mut tensors: HashMap<String, Tensor> =
        params.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect();
    for (name, tensor) in [
        ("case.context", context),
        ("case.noisy", noisy),
        ("case.text", text),
        ("case.action", numbers(&condition.action)?),
        ("case.state", numbers(&condition.state)?),
        ("case.frames", output.frames.detach()),
        ("case.heads", output.heads.detach()),
    ] {
        tensors.insert(name.to_owned(), tensor);
    }
    candle_core::safetensors::save(&tensors, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_case_runs_and_has_a_time() {
        for name in [
            "linear_544x192x1024",
            "attention_8x68",
            "norm_modulate_8x68",
            "swiglu_8x68",
            "block_1",
            "frame_1",
        ] {
            let found = case(name, Duration::ZERO).unwrap().unwrap();
            assert!(found.ms > 0.0 && found.name == name, "{found:?}");
        }
        assert!(case("nothing", Duration::ZERO).unwrap().is_none());
    }
}
