//! The training loop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Device, Tensor, Var};
use forerun_models::dreamer::adapt::with_harmonics;
use forerun_models::dreamer::{Config, Dreamer, Network, read_folder, save_folder};
use forerun_models::kernels::precision;
use forerun_models::nn::Params;
use forerun_models::optim::Stepper;
use forerun_models::{Contract, FrameSpec};
use serde::Serialize;

use super::batch::{Batch, Learner, batch, precision_of};
use super::borrow::{Intent, words_of};
use super::checkpoint::{self, Place};
use super::judge::decibel;
use super::load::config_of;
use super::{Judge, Judgement, Library, TrainError, TrainSettings};

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Minutes of training, those before a resumption included.
    Minutes(f32),
    /// Iterations, those before a resumption included. Exactly repeatable.
    Iterations(u64),
}

/// Everything that a run works on.
pub struct TrainJob<'a> {
    /// What was asked for.
    pub settings: TrainSettings,
    /// Episodes to train on.
    pub library: &'a Library,
    /// Windows of held-out episodes.
    pub judge: &'a Judge,
    /// Frames a second of the data.
    pub rate_hz: f32,
    /// Kind of robot body.
    pub embodiment: String,
    /// sha256 of the datasets, for the lineage.
    pub data_sha256: Vec<String>,
    /// Model folder to write.
    pub out: PathBuf,
    /// How long.
    pub budget: Budget,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// Model folder whose weights the run begins with, instead of fresh ones. What this version's network has and the
    /// folder has not starts fresh. A resumed run has its own weights already.
    pub from: Option<PathBuf>,
    /// Where weights, gradients and the optimiser's state live.
    pub device: Device,
}

/// Where a run stands, for whoever watches it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Iterations done.
    pub iteration: u64,
    /// Share of the budget that is used, 0..=1.
    pub progress: f32,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds left.
    pub seconds_left: f64,
    /// Weighted loss, averaged over the last iterations.
    pub loss: f32,
    /// One-step PSNR on training clips, dB.
    pub psnr: f32,
    /// Loss of the read-outs.
    pub readings: f32,
    /// Gradient norm before clipping.
    pub gradient_norm: f32,
    /// Frames a second.
    pub frames_per_second: f32,
    /// Judgement on held-out episodes, when one was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Judgement>,
}

struct Run<'a> {
    job: &'a TrainJob<'a>,
    config: Config,
    contract: Contract,
    /// What the model gets to go by words.
    intent: Option<Intent>,
    network: Network,
    stepper: Stepper,
    settings_text: String,
    place: Place,
    begun: Instant,
    /// Lineage of the model that the run began with.
    base: Option<serde_json::Value>,
}

/// Trains, reporting as it goes, until the budget is used up or `cancel` is set. The model folder always holds the
/// last checkpoint, whole.
///
/// # Errors
/// See [`TrainError`]; after `Cancelled` and `Diverged` the folder holds the last checkpoint.
pub fn run(
    job: &TrainJob<'_>,
    watch: &mut dyn FnMut(&Report),
    cancel: &AtomicBool,
) -> Result<Contract, TrainError> {
    if job.library.is_empty() {
        return Err(TrainError::Data(
            "there is no episode of two frames or more to train on; record or choose another dataset".into(),
        ));
    }
    let mut run = Run::new(job)?;
    let result = run.go(watch, cancel);
    // What was learnt is kept, however the run ended, unless the numbers went bad.
    if !matches!(result, Err(TrainError::Diverged(_))) {
        run.save()?;
    }
    result.map(|()| run.contract)
}

fn contract_of(job: &TrainJob<'_>, config: &Config) -> Contract {
    let mut words = std::collections::BTreeSet::new();
    for prompt in job.library.episodes().iter().filter_map(|e| e.prompt.as_deref()) {
        words.extend(prompt.split_whitespace().map(str::to_lowercase));
        words.extend(prompt.chars().filter(|c| !c.is_ascii()).map(String::from));
    }
    Contract {
        format: forerun_models::contract::CONTRACT_FORMAT,
        name: job.settings.name.clone(),
        family: "dreamer".into(),
        frame: FrameSpec {
            width: config.image_width,
            height: config.image_height,
            rate_hz: job.rate_hz,
            history: config.history(),
            fit: Default::default(),
        },
        actions: job.library.actions().to_vec(),
        state: job.library.state().to_vec(),
        text: config.text_width > 0 && !words.is_empty(),
        knows: job.settings.knows.clone(),
        embodiment: job.embodiment.clone(),
        licence: job.settings.licence.clone(),
        familiar_residual: None,
        vocabulary: words.into_iter().collect(),
    }
}

/// Puts a model folder's weights into the store, for a network of this configuration, and returns where they come from.
fn begin_with(folder: &Path, config: &Config, params: &mut Params) -> Result<serde_json::Value, TrainError> {
    let stored = read_folder(folder)?;
    for (name, tensor) in with_harmonics(&stored.weights, &stored.config, config.harmonics)? {
        params.insert(&name, tensor)?;
    }
    Ok(serde_json::json!({ "model_sha256": stored.sha256, "lineage": lineage(folder) }))
}

/// What a model folder says about where it comes from.
pub(super) fn lineage(folder: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(folder.join("lineage.json")).ok()?).ok()
}

impl<'a> Run<'a> {
    fn new(job: &'a TrainJob<'a>) -> Result<Self, TrainError> {
        let settings = &job.settings;
        let config = config_of(settings, &job.out, job.resume)?;
        let device = job.device.clone();
        let mut params = Params::new(settings.seed, &device);
        let base = match &job.from {
            Some(folder) => Some(begin_with(folder, &config, &mut params)?),
            // A run that goes on began where its own record says.
            None if job.resume => lineage(&job.out).and_then(|mut own| own.get_mut("base").map(|b| b.take())),
            None => None,
        };
        if let (Some(folder), false) = (&settings.words_from, job.resume) {
            for (name, tensor) in words_of(folder, &config)? {
                params.insert(&name, tensor)?;
            }
        }
        let network = Network::new(&config, &mut params, &device)?;
        if let (Some(name), Some(folder)) = (params.unused().first(), &job.from) {
            return Err(TrainError::Data(format!(
                "{} has a tensor `{name}` that a network of the size `{}` does not have; begin with another model, or without one",
                folder.display(),
                settings.size
            )));
        }
        let mut stepper = Stepper::new(&params, settings.optimiser.clone())?;
        let contract = contract_of(job, &config);
        let intent = settings.intent.as_deref().map(|folder| Intent::of(folder, &contract)).transpose()?;
        std::fs::create_dir_all(&job.out)
            .map_err(|source| TrainError::File { path: job.out.clone(), source })?;
        let settings_text = toml::to_string(settings).unwrap_or_default();
        let place = if job.resume { checkpoint::load(&job.out, &mut stepper)? } else { None };
        Ok(Self {
            contract,
            intent,
            config,
            network,
            stepper,
            settings_text,
            place: place.unwrap_or_default(),
            begun: Instant::now(),
            base,
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

    fn go(&mut self, watch: &mut dyn FnMut(&Report), cancel: &AtomicBool) -> Result<(), TrainError> {
        let settings = &self.job.settings;
        let mut saved = Instant::now();
        let mut judged = Instant::now();
        let mut smooth: Option<Report> = None;
        while self.progress() < 1.0 {
            if cancel.load(Ordering::Relaxed) {
                return Err(TrainError::Cancelled);
            }
            let began = Instant::now();
            let batch = self.batch(cancel)?;
            let Batch { gradients, loss: total, readings, sharp, frames } = batch;
            let factor = settings.schedule.factor(self.stepper.iteration, self.progress());
            let (rounding, device) = (precision_of(settings), self.network.device());
            let stepper = &mut self.stepper;
            let norm = precision::with_cards(rounding, device, || stepper.step(&gradients, factor))?;
            if !norm.is_finite() {
                return Err(TrainError::Diverged(self.stepper.iteration));
            }
            let speed = frames as f32 / began.elapsed().as_secs_f32().max(1e-6);
            let report = self.report(total, readings, sharp, norm as f32, speed, smooth.take());
            let mut report = report;
            if judged.elapsed().as_secs_f32() > settings.judge_minutes * 60.0 && !self.job.judge.is_empty() {
                report.judgement = Some(self.judge()?);
                judged = Instant::now();
            }
            self.log(&report)?;
            watch(&report);
            report.judgement = None;
            smooth = Some(report);
            if saved.elapsed().as_secs_f32() > settings.checkpoint_minutes * 60.0 {
                self.save()?;
                saved = Instant::now();
            }
        }
        if !self.job.judge.is_empty() {
            let judgement = self.judge()?;
            if let Some(mut report) = smooth {
                report.judgement = Some(judgement);
                report.progress = 1.0;
                report.seconds_left = 0.0;
                self.log(&report)?;
                watch(&report);
            }
        }
        Ok(())
    }

    fn report(
        &self,
        loss: f32,
        readings: f32,
        sharp: (f64, usize),
        norm: f32,
        speed: f32,
        last: Option<Report>,
    ) -> Report {
        let progress = self.progress().min(1.0);
        let seconds = self.seconds();
        let psnr = if sharp.1 == 0 { f32::NAN } else { decibel(sharp.0 / sharp.1 as f64) };
        // A running mean over about twenty iterations keeps the numbers readable.
        let mix = |old: f32, new: f32| match (old.is_finite(), new.is_finite()) {
            (true, true) => old * 0.95 + new * 0.05,
            (false, true) => new,
            _ => old,
        };
        let old = last.as_ref();
        Report {
            iteration: self.stepper.iteration,
            progress,
            seconds,
            seconds_left: match self.job.budget {
                Budget::Minutes(minutes) => (f64::from(minutes) * 60.0 - seconds).max(0.0),
                Budget::Iterations(all) => {
                    let done = self.stepper.iteration - self.place.iteration;
                    let each = self.begun.elapsed().as_secs_f64() / done.max(1) as f64;
                    each * all.saturating_sub(self.stepper.iteration) as f64
                }
            },
            loss: mix(old.map_or(f32::NAN, |o| o.loss), loss),
            psnr: mix(old.map_or(f32::NAN, |o| o.psnr), psnr),
            readings: mix(old.map_or(f32::NAN, |o| o.readings), readings),
            gradient_norm: mix(old.map_or(f32::NAN, |o| o.gradient_norm), norm),
            frames_per_second: mix(old.map_or(f32::NAN, |o| o.frames_per_second), speed),
            judgement: None,
        }
    }

    fn batch(&self, cancel: &AtomicBool) -> Result<Batch, TrainError> {
        let variables: Vec<&Var> = self.stepper.variables().map(|(_, var)| var).collect();
        batch(
            &self.job.settings,
            self.job.library,
            Learner::Whole(&self.network),
            &variables,
            self.stepper.iteration,
            self.progress(),
            cancel,
        )
    }

    /// The averaged weights as a model that can imagine.
    fn model(&self) -> Result<Dreamer, TrainError> {
        let device = self.network.device().clone();
        let mut params = Params::new(0, &device);
        let averages: Vec<(String, Tensor)> = self.stepper.averages()?;
        for (name, tensor) in averages {
            params.insert(&name, tensor)?;
        }
        let network = Network::new(&self.config, &mut params, &device)?;
        let count = params.elements() as u64;
        Ok(Dreamer::from_parts(self.contract.clone(), network, String::new(), count))
    }

    fn judge(&mut self) -> Result<Judgement, TrainError> {
        let name = format!("{:07}.png", self.stepper.iteration);
        let model = self.model()?;
        self.contract.familiar_residual = self.job.judge.familiar(&model)?;
        self.job.judge.judge(&model, Some(&self.job.out.join("previews").join(name)))
    }

    fn save(&self) -> Result<(), TrainError> {
        let place = Place { iteration: self.stepper.iteration, seconds: self.seconds() };
        checkpoint::save(&self.job.out, &self.stepper, place, &self.settings_text)?;
        let weights = self.job.settings.weights.round(self.stepper.averages()?)?;
        if let Some(intent) = &self.intent {
            intent.put_into(&self.job.out)?;
        }
        let sha256 = save_folder(&self.job.out, &self.contract, &self.config, &weights)?;
        let lineage = serde_json::json!({
            "format": 1,
            "made_by": "train",
            "software": env!("CARGO_PKG_VERSION"),
            "iterations": place.iteration,
            "seconds": place.seconds,
            "model_sha256": sha256,
            "intent_sha256": self.intent.as_ref().map(Intent::sha256),
            "datasets": self.job.data_sha256,
            "episodes": self.job.library.len(),
            "frames": self.job.library.frames(),
            "settings": self.job.settings,
            "base": self.base,
        });
        write_whole(&self.job.out.join("lineage.json"), format!("{lineage:#}\n").as_bytes())
    }

    fn log(&self, report: &Report) -> Result<(), TrainError> {
        let path = self.job.out.join("log.jsonl");
        let io = |source| TrainError::File { path: path.clone(), source };
        let mut line = serde_json::to_string(report).unwrap_or_default();
        line.push('\n');
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)
    }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let io = |source| TrainError::File { path: path.to_path_buf(), source };
    let mut file =
        tempfile::NamedTempFile::new_in(path.parent().unwrap_or_else(|| Path::new("."))).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
