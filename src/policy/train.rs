//! The training loop of a policy: micro-batches on worker threads, checkpoints that go on exactly.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor};
use forerun_models::kernels::{precision, threads};
use forerun_models::nn::{Params, path};
use forerun_models::optim::{Gradients, Stepper};
use forerun_models::policy::{Config, Example, FAMILY, Kind, Network, Policy, loss, save_folder};
use forerun_models::{Contract, FrameSpec};
use serde::Serialize;

use super::examples::{Cutter, scaling_of};
use super::settings::PolicySettings;
use crate::fsx;
use crate::train::checkpoint::{self, Place};
use crate::train::{Budget, Episode, Library, TrainError};

/// Stack of a worker: the backward pass walks the graph by recursion.
const STACK: usize = 64 << 20;
/// Held-out moments that a judgement looks at.
const JUDGED: usize = 192;
/// Of them at once.
const JUDGED_AT_ONCE: usize = 16;

/// Everything that a run works on.
pub struct PolicyJob<'a> {
    /// What was asked for.
    pub settings: PolicySettings,
    /// Episodes to learn from.
    pub library: &'a Library,
    /// Episodes to judge on.
    pub held_out: &'a [Episode],
    /// Frames a second of the data.
    pub rate_hz: f32,
    /// Kind of robot body.
    pub embodiment: String,
    /// sha256 of the datasets, for the lineage.
    pub data_sha256: Vec<String>,
    /// Policy folder to write.
    pub out: PathBuf,
    /// How long.
    pub budget: Budget,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// Policy whose weights, sizes and scales the run starts from.
    pub base: Option<PathBuf>,
    /// Where weights, gradients and the optimiser's state live.
    pub device: Device,
}

/// How well the mean chunk fits what demonstrators did in episodes that were not learnt from.
#[derive(Clone, Debug, Serialize)]
pub struct HeldOut {
    /// Moments looked at.
    pub moments: usize,
    /// Mean squared error of the chunk in scaled units: 1 is what always answering with the mean would give.
    pub loss: f32,
    /// Mean absolute error of each channel over the first half of the chunk, in its unit.
    pub error: Vec<(String, f32)>,
}

/// Where a run stands, for whoever watches it.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReport {
    /// Iterations done.
    pub iteration: u64,
    /// Share of the budget that is used, 0..=1.
    pub progress: f32,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds left.
    pub seconds_left: f64,
    /// Squared error of chunks in scaled units, averaged over the last iterations.
    pub loss: f32,
    /// Loss of the read-outs.
    pub readings: f32,
    /// Gradient norm before clipping.
    pub gradient_norm: f32,
    /// Examples a second.
    pub frames_per_second: f32,
    /// Judgement on held-out episodes, when one was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
}

/// What one micro-batch gives back.
struct Share {
    gradients: Gradients,
    chunk: f32,
    readings: f32,
    examples: usize,
}

struct Run<'a> {
    job: &'a PolicyJob<'a>,
    cutter: Cutter<'a>,
    config: &'a Config,
    contract: Contract,
    network: Network,
    stepper: Stepper,
    settings_text: String,
    place: Place,
    begun: Instant,
    snapshots: usize,
}

/// Trains, reporting as it goes, until the budget is used up or `cancel` is set. The policy folder always holds the last
/// checkpoint, whole.
///
/// # Errors
/// See [`TrainError`]; after `Cancelled` and `Diverged` the folder holds the last checkpoint.
pub fn run(
    job: &PolicyJob<'_>,
    watch: &mut dyn FnMut(&PolicyReport),
    cancel: &AtomicBool,
) -> Result<Contract, TrainError> {
    let settings = &job.settings;
    let all = job.library.episodes();
    let fit = |e: &&Episode| !settings.only_successes || e.told;
    let episodes: Vec<&Episode> = all.iter().filter(fit).collect();
    if job.library.actions().is_empty() {
        return Err(TrainError::Data(
            "the data has no actions, so there is nothing to imitate; choose recordings of a robot".into(),
        ));
    }
    if episodes.is_empty() {
        return Err(TrainError::Data(if all.is_empty() {
            "there is no episode of two frames or more to learn from; record or choose another dataset".into()
        } else {
            format!(
                "none of {} episodes ends in success by its labels; set only_successes = false to learn from failures too",
                all.len()
            )
        }));
    }
    let config = match start_from(job) {
        Some(folder) => Policy::describe(&folder)?.1,
        None => {
            let mut config = settings.config()?;
            let (actions, state) = (job.library.actions(), job.library.state());
            config.scaling = scaling_of(&episodes, actions, state, config.chunk);
            config
        }
    };
    let mut run = Run::new(job, &config, episodes)?;
    let result = run.go(watch, cancel);
    // What was learnt is kept, however the run ended, unless the numbers went bad.
    if !matches!(result, Err(TrainError::Diverged(_))) {
        run.save()?;
    }
    result.map(|()| run.contract)
}

/// The folder whose sizes and scales a run takes over.
fn start_from(job: &PolicyJob<'_>) -> Option<PathBuf> {
    let own = (job.resume && job.out.join("config.json").exists()).then(|| job.out.clone());
    own.or_else(|| job.base.clone())
}

fn contract_of(job: &PolicyJob<'_>, config: &Config, episodes: &[&Episode]) -> Contract {
    let mut words = std::collections::BTreeSet::new();
    if config.text_width > 0 {
        for prompt in episodes.iter().filter_map(|e| e.prompt.as_deref()) {
            words.extend(prompt.split_whitespace().map(str::to_lowercase));
            words.extend(prompt.chars().filter(|c| !c.is_ascii()).map(String::from));
        }
    }
    Contract {
        format: forerun_models::contract::CONTRACT_FORMAT,
        name: job.settings.name.clone(),
        family: FAMILY.into(),
        frame: FrameSpec {
            width: config.image_width,
            height: config.image_height,
            rate_hz: job.rate_hz,
            history: config.looks.len(),
            fit: Default::default(),
        },
        actions: job.library.actions().to_vec(),
        state: job.library.state().to_vec(),
        text: config.kind == Kind::Direct && !words.is_empty(),
        knows: job.settings.knows.clone(),
        embodiment: job.embodiment.clone(),
        licence: job.settings.licence.clone(),
        familiar_residual: None,
        vocabulary: words.into_iter().collect(),
    }
}

impl<'a> Run<'a> {
    fn new(
        job: &'a PolicyJob<'a>,
        config: &'a Config,
        episodes: Vec<&'a Episode>,
    ) -> Result<Self, TrainError> {
        let settings = &job.settings;
        let device = job.device.clone();
        let mut params = match &job.base {
            Some(base) => {
                let wrong = |e: forerun_models::nn::params::ParamsError| TrainError::Model(e.into());
                Params::load(&base.join("model.safetensors"), &device, true).map_err(wrong)?.0
            }
            None => Params::new(settings.seed, &device),
        };
        let network = Network::new(config, &mut params, &device)?;
        let mut stepper = Stepper::new(&params, settings.optimiser.clone())?;
        std::fs::create_dir_all(&job.out)
            .map_err(|source| TrainError::File { path: job.out.clone(), source })?;
        let settings_text = toml::to_string(settings).unwrap_or_default();
        let place = if job.resume { checkpoint::load(&job.out, &mut stepper)? } else { None };
        Ok(Self {
            contract: contract_of(job, config, &episodes),
            cutter: Cutter::new(config, episodes, settings),
            config,
            network,
            stepper,
            settings_text,
            place: place.unwrap_or_default(),
            begun: Instant::now(),
            snapshots: 0,
            job,
        })
    }

    fn seconds(&self) -> f64 {
        self.place.seconds + self.begun.elapsed().as_secs_f64()
    }

    fn progress(&self) -> f32 {
        match self.job.budget {
            Budget::Minutes(minutes) => (self.seconds() / (f64::from(minutes.max(1e-3)) * 60.0)) as f32,
            Budget::Iterations(all) => self.stepper.iteration as f32 / all.max(1) as f32,
        }
    }

    /// Share of the run at which snapshot `i` is kept: early states differ more than late ones.
    fn snapshot_at(&self, i: usize) -> f32 {
        // The last one lies before the end: the finished policy is a state of its own beside them.
        ((i + 1) as f32 / (self.job.settings.snapshots + 1) as f32).powi(2)
    }

    fn go(&mut self, watch: &mut dyn FnMut(&PolicyReport), cancel: &AtomicBool) -> Result<(), TrainError> {
        let settings = &self.job.settings;
        let (mut saved, mut judged) = (Instant::now(), Instant::now());
        let mut smooth: Option<PolicyReport> = None;
        while self.snapshots < settings.snapshots && self.snapshot_at(self.snapshots) <= self.progress() {
            self.snapshots += 1;
        }
        while self.progress() < 1.0 {
            if cancel.load(Ordering::Relaxed) {
                return Err(TrainError::Cancelled);
            }
            let began = Instant::now();
            let shares = self.iterate(cancel)?;
            let examples: usize = shares.iter().map(|s| s.examples).sum();
            let mut gradients = Gradients::default();
            let (mut chunk, mut readings) = (0.0, 0.0);
            for share in shares {
                let part = share.examples as f32 / examples.max(1) as f32;
                chunk += share.chunk * part;
                readings += share.readings * part;
                gradients.add(share.gradients, part)?;
            }
            let factor = settings.schedule.factor(self.stepper.iteration, self.progress());
            let (rounding, device) = (self.card_precision(), self.network.device());
            let stepper = &mut self.stepper;
            let norm = precision::with_cards(rounding, device, || stepper.step(&gradients, factor))?;
            if !norm.is_finite() {
                return Err(TrainError::Diverged(self.stepper.iteration));
            }
            let speed = examples as f32 / began.elapsed().as_secs_f32().max(1e-6);
            let mut report = self.report(chunk, readings, norm as f32, speed, smooth.take());
            let over = self.progress() >= 1.0;
            if over || judged.elapsed().as_secs_f32() > settings.judge_minutes * 60.0 {
                report.held_out = self.judge()?;
                judged = Instant::now();
            }
            self.log(&report)?;
            watch(&report);
            report.held_out = None;
            smooth = Some(report);
            self.keep_snapshot()?;
            if saved.elapsed().as_secs_f32() > settings.checkpoint_minutes * 60.0 {
                self.save()?;
                saved = Instant::now();
            }
        }
        Ok(())
    }

    fn report(
        &self,
        loss: f32,
        readings: f32,
        norm: f32,
        speed: f32,
        last: Option<PolicyReport>,
    ) -> PolicyReport {
        let seconds = self.seconds();
        // A running mean over about twenty iterations keeps the numbers readable.
        let mix = |old: Option<f32>, new: f32| old.map_or(new, |old| old * 0.95 + new * 0.05);
        let old = last.as_ref();
        PolicyReport {
            iteration: self.stepper.iteration,
            progress: self.progress().min(1.0),
            seconds,
            seconds_left: match self.job.budget {
                Budget::Minutes(minutes) => (f64::from(minutes) * 60.0 - seconds).max(0.0),
                Budget::Iterations(all) => {
                    let done = self.stepper.iteration.saturating_sub(self.place.iteration);
                    let each = self.begun.elapsed().as_secs_f64() / done.max(1) as f64;
                    each * all.saturating_sub(self.stepper.iteration) as f64
                }
            },
            loss: mix(old.map(|o| o.loss), loss),
            readings: mix(old.map(|o| o.readings), readings),
            gradient_norm: mix(old.map(|o| o.gradient_norm), norm),
            frames_per_second: mix(old.map(|o| o.frames_per_second), speed),
            held_out: None,
        }
    }

    /// One iteration's gradients, micro-batch by micro-batch, in their order whoever computed them.
    fn iterate(&self, cancel: &AtomicBool) -> Result<Vec<Share>, TrainError> {
        let settings = &self.job.settings;
        // A graphics card takes all examples at once.
        let device = self.network.device();
        let on_card = !path::has_kernels(device);
        let micro = if on_card { settings.batch.max(1) } else { settings.micro };
        let shares: Vec<(usize, usize)> = (0..settings.batch)
            .step_by(micro)
            .map(|first| (first, micro.min(settings.batch - first)))
            .collect();
        let wish = path::current();
        let workers = match settings.workers {
            _ if on_card => 1,
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<Share, TrainError>>>> =
            shares.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            let serve = || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((first, count)) = shares.get(at) else { break };
                    if cancel.load(Ordering::Relaxed) {
                        break;
                    }
                    let share = self.share(*first, *count).map_err(|error| error.on(device));
                    if let Some(slot) = results.get(at) {
                        *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(share);
                    }
                }
            };
            path::with(wish, || {
                threads::with(1, || precision::with_cards(self.precision(), device, serve));
            });
        };
        std::thread::scope(|scope| -> Result<(), TrainError> {
            for _ in 0..workers.min(shares.len()) {
                std::thread::Builder::new()
                    .name("policy".into())
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

    fn precision(&self) -> precision::Precision {
        if self.job.settings.bf16 { precision::Precision::Bf16 } else { precision::Precision::F32 }
    }

    /// What the optimiser's products are rounded to: on the processor they stay exact.
    fn card_precision(&self) -> precision::Precision {
        if path::has_kernels(self.network.device()) { precision::current() } else { self.precision() }
    }

    fn share(&self, first: usize, count: usize) -> Result<Share, TrainError> {
        let settings = &self.job.settings;
        let iteration = self.stepper.iteration;
        let mut examples = Vec::with_capacity(count);
        for i in first..first + count {
            examples.extend(self.cutter.draw(settings.seed, iteration, i as u64)?);
        }
        let found = loss(&self.network, &examples, &settings.recipe, settings.seed, iteration, first as u64)?;
        let gradients = found.total.backward()?;
        let gradients = Gradients::of(&gradients, self.stepper.variables().map(|(_, var)| var))?;
        Ok(Share { gradients, chunk: found.chunk, readings: found.readings, examples: examples.len() })
    }

    /// The averaged weights as a policy that can act.
    fn policy(&self) -> Result<Policy, TrainError> {
        let device = self.network.device().clone();
        let mut params = Params::new(0, &device);
        let averages: Vec<(String, Tensor)> = self.stepper.averages()?;
        for (name, tensor) in averages {
            params.insert(&name, tensor.detach())?;
        }
        let network = Network::new(self.config, &mut params, &device)?;
        let count = params.elements() as u64;
        Ok(Policy::from_parts(self.contract.clone(), network, String::new(), count))
    }

    fn judge(&self) -> Result<Option<HeldOut>, TrainError> {
        let fit = |e: &&Episode| !self.job.settings.only_successes || e.told;
        let held: Vec<&Episode> = self.job.held_out.iter().filter(fit).collect();
        let cutter = Cutter::new(self.config, held, &self.job.settings);
        if cutter.is_empty() {
            return Ok(None);
        }
        let policy = self.policy()?;
        judge(&policy, &cutter, &self.job.settings).map(Some)
    }

    fn keep_snapshot(&mut self) -> Result<(), TrainError> {
        let wanted = self.job.settings.snapshots;
        if self.snapshots >= wanted || self.progress() < self.snapshot_at(self.snapshots) {
            return Ok(());
        }
        self.snapshots += 1;
        let folder = self.job.out.join("checkpoints").join(format!("{:06}", self.stepper.iteration));
        let mut contract = self.contract.clone();
        contract.name = format!("{} at {}", contract.name, self.stepper.iteration);
        save_folder(&folder, &contract, self.config, &self.stored()?)?;
        Ok(())
    }

    /// The averaged weights as they are stored.
    fn stored(&self) -> Result<Vec<(String, Tensor)>, TrainError> {
        Ok(self.job.settings.weights.round(self.stepper.averages()?)?)
    }

    fn save(&self) -> Result<(), TrainError> {
        let place = Place { iteration: self.stepper.iteration, seconds: self.seconds() };
        checkpoint::save(&self.job.out, &self.stepper, place, &self.settings_text)?;
        let sha256 = save_folder(&self.job.out, &self.contract, self.config, &self.stored()?)?;
        let lineage = serde_json::json!({
            "format": 1,
            "made_by": "policy train",
            "software": env!("CARGO_PKG_VERSION"),
            "iterations": place.iteration,
            "seconds": place.seconds,
            "model_sha256": sha256,
            "datasets": self.job.data_sha256,
            "base": self.job.base.as_ref().map(|b| b.display().to_string()),
            "episodes": self.job.library.len(),
            "moments": self.cutter.len(),
            "settings": self.job.settings,
        });
        let path = self.job.out.join("lineage.json");
        fsx::write_atomic(&path, format!("{lineage:#}\n").as_bytes())
            .map_err(|source| TrainError::File { path, source })
    }

    fn log(&self, report: &PolicyReport) -> Result<(), TrainError> {
        let path = self.job.out.join("log.jsonl");
        let io = |source| TrainError::File { path: path.clone(), source };
        let mut line = serde_json::to_string(report).unwrap_or_default();
        line.push('\n');
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)
    }
}

/// The mean chunk against what was done, at moments spread evenly over the held-out episodes.
fn judge(policy: &Policy, cutter: &Cutter<'_>, settings: &PolicySettings) -> Result<HeldOut, TrainError> {
    let config = policy.network().config();
    let actions = policy.contract().actions.len().max(1);
    let count = JUDGED.min(cutter.len());
    let ahead = settings.goal_steps[0].midpoint(settings.goal_steps[1]);
    let mut examples: Vec<Example> = Vec::with_capacity(count);
    for i in 0..count {
        examples.extend(cutter.cut(i * cutter.len() / count.max(1), ahead)?);
    }
    let (mut squared, mut known) = (0.0_f64, 0.0_f64);
    let (mut off, mut steps) = (vec![0.0_f64; actions], vec![0.0_f64; actions]);
    let half = config.chunk.div_ceil(2) * actions;
    for part in examples.chunks(JUDGED_AT_ONCE) {
        let guesses = policy.mean_scaled(part)?;
        for (example, guess) in part.iter().zip(&guesses) {
            for (i, ((x, y), m)) in guess.iter().zip(&example.chunk).zip(&example.chunk_mask).enumerate() {
                let (error, m) = (f64::from(x - y), f64::from(*m));
                squared += error * error * m;
                known += m;
                let std = config.scaling.std.get(i).copied().unwrap_or(1.0);
                if let (true, Some(o), Some(s)) =
                    (i < half, off.get_mut(i % actions), steps.get_mut(i % actions))
                {
                    *o += error.abs() * f64::from(std) * m;
                    *s += m;
                }
            }
        }
    }
    let names = policy.contract().actions.iter().map(|c| c.name.clone());
    let errors = off.iter().zip(&steps).map(|(o, s)| (o / s.max(1.0)) as f32);
    Ok(HeldOut {
        moments: examples.len(),
        loss: (squared / known.max(1.0)) as f32,
        error: names.zip(errors).collect(),
    })
}
