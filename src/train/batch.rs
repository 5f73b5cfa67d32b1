//! One iteration's gradients: micro-batches on worker threads, added up in their order whoever computed them.
//!
//! A graphics card works on one micro-batch at a time, a larger one, and keeps the gradients to itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::{Device, Var};
use forerun_models::dreamer::lora::Lora;
use forerun_models::dreamer::{Clip, Network, Recipe, loss};
use forerun_models::kernels::{precision, threads};
use forerun_models::nn::path;
use forerun_models::optim::Gradients;
use forerun_models::random::{Random, stream_of};

use super::{Library, TrainError, TrainSettings};

/// Stack of a worker: the backward pass walks the graph by recursion.
const STACK: usize = 64 << 20;

/// What is trained.
#[derive(Clone, Copy)]
pub(super) enum Learner<'a> {
    /// A network whose own weights are variables.
    Whole(&'a Network),
    /// A frozen one with adapters: each micro-batch makes its own sums of both.
    Adapted(&'a Lora),
}

/// What an iteration found.
pub(super) struct Batch {
    /// Mean gradient of each variable.
    pub gradients: Gradients,
    /// Mean loss.
    pub loss: f32,
    /// Mean loss of the read-outs.
    pub readings: f32,
    /// Sum of squared errors of one-step predictions, and their number.
    pub sharp: (f64, usize),
    /// Frames that were trained on.
    pub frames: usize,
}

/// What one micro-batch gives back.
struct Share {
    gradients: Gradients,
    loss: f32,
    readings: f32,
    sharp: (f64, usize),
}

/// The gradients of iteration number `iteration`: a function of settings, library, weights, `iteration` and
/// `progress` (0..=1) alone.
///
/// # Errors
/// [`TrainError::Cancelled`], or what went wrong in a worker.
pub(super) fn batch(
    settings: &TrainSettings,
    library: &Library,
    learner: Learner<'_>,
    variables: &[&Var],
    iteration: u64,
    progress: f32,
    cancel: &AtomicBool,
) -> Result<Batch, TrainError> {
    let (steps, clips) = length(settings, iteration);
    let device = variables.first().map_or(&Device::Cpu, |var| var.device());
    let at_once = if path::has_kernels(device) { settings.micro_frames } else { settings.gpu_frames };
    let each = (at_once / steps).clamp(1, clips);
    let parts: Vec<(usize, usize)> =
        (0..clips).step_by(each).map(|first| (first, each.min(clips - first))).collect();
    let recipe = Recipe {
        own_past: if progress >= settings.own_past_from { settings.own_past } else { 0.0 },
        ..settings.recipe.clone()
    };
    let one = |first: usize, count: usize| -> Result<Share, TrainError> {
        let clips: Vec<Clip> = (first..first + count)
            .filter_map(|i| library.draw(steps, settings.early, settings.seed, iteration, i as u64))
            .collect();
        let made;
        let network = match learner {
            Learner::Whole(network) => network,
            Learner::Adapted(lora) => {
                made = lora.network()?;
                &made
            }
        };
        let found = loss(network, &clips, &recipe, settings.seed, iteration, first as u64)?;
        let gradients = found.total.backward()?;
        let gradients = Gradients::of(&gradients, variables.iter().copied())?;
        let loss = found.total.to_scalar()?;
        Ok(Share { gradients, loss, readings: found.readings, sharp: found.sharp })
    };
    let shares = on_workers(settings, device, &parts, one, cancel)?;
    let count = shares.len().max(1) as f32;
    let mut sum = Batch {
        gradients: Gradients::default(),
        loss: 0.0,
        readings: 0.0,
        sharp: (0.0, 0),
        frames: steps * clips,
    };
    for share in shares {
        sum.loss += share.loss / count;
        sum.readings += share.readings / count;
        sum.sharp.0 += share.sharp.0;
        sum.sharp.1 += share.sharp.1;
        sum.gradients.add(share.gradients, 1.0)?;
    }
    sum.gradients.divide(count)?;
    Ok(sum)
}

/// Steps a clip and clips of an iteration.
fn length(settings: &TrainSettings, iteration: u64) -> (usize, usize) {
    let pick = Random::new(settings.seed, stream_of("length"), iteration).uniform(0);
    let all: f32 = settings.clips.iter().map(|mix| mix.share).sum();
    let mut left = pick * all;
    let mut chosen = (1, 1);
    for mix in &settings.clips {
        chosen = (mix.steps, mix.clips);
        left -= mix.share;
        if left < 0.0 {
            break;
        }
    }
    chosen
}

/// What the factors of matrix products are rounded to.
pub(super) fn precision_of(settings: &TrainSettings) -> precision::Precision {
    if settings.bf16 { precision::Precision::Bf16 } else { precision::Precision::F32 }
}

fn on_workers(
    settings: &TrainSettings,
    device: &Device,
    parts: &[(usize, usize)],
    one: impl Fn(usize, usize) -> Result<Share, TrainError> + Sync,
    cancel: &AtomicBool,
) -> Result<Vec<Share>, TrainError> {
    let wish = path::current();
    let workers = match settings.workers {
        _ if !path::has_kernels(device) => 1,
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let rounding = precision_of(settings);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Share, TrainError>>>> =
        parts.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        let serve = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((first, count)) = parts.get(at) else { break };
                if cancel.load(Ordering::Relaxed) {
                    break;
                }
                let share = one(*first, *count).map_err(|error| error.on(device));
                if let Some(slot) = results.get(at) {
                    *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(share);
                }
            }
        };
        path::with(wish, || threads::with(1, || precision::with_cards(rounding, device, serve)));
    };
    std::thread::scope(|scope| -> Result<(), TrainError> {
        for _ in 0..workers.min(parts.len()) {
            std::thread::Builder::new()
                .name("train".into())
                .stack_size(STACK)
                .spawn_scoped(scope, work)
                .map_err(|source| TrainError::File { path: "a worker thread".into(), source })?;
        }
        Ok(())
    })?;
    let mut out = Vec::with_capacity(results.len());
    for slot in results {
        match slot.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some(share) => out.push(share?),
            None => return Err(TrainError::Cancelled),
        }
    }
    Ok(out)
}
