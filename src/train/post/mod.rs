//! Post-training: a model of one world becomes a model of the person's own, with little data.
//!
//! Data and base are brought together by the contract ([`body`](self) matches channels by name and unit), a pre-flight
//! refuses what this machine cannot do, the run judges itself against the base on episodes that it never trains on,
//! and the finished folder carries the table of before and after. A run of a given number of iterations that is killed
//! and resumed ends with the same bits.

mod body;
mod data;
mod learner;
mod preflight;
mod report;
mod run;
mod scorecard;
mod settings;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use forerun_models::dreamer::adapt::{Fresh, Weights, rearrange};
use forerun_models::dreamer::{Config, Network, Stored, read_folder};
use forerun_models::nn::Params;
use forerun_models::{Channel, Contract, FrameSpec};

pub use preflight::Preflight;
pub(crate) use preflight::free_disk;
pub use report::{Comparison, Kept, OldWorld, PostReport, PostStage};
pub use settings::{Method, PostSettings, Wishes};

use self::body::Body;
use self::data::{Loaded, Sources, can_replay};
use self::run::{Ended, Job};
use self::scorecard::{About, Base};
use self::settings::Size;
use super::run::lineage;
use super::{Budget, Judge, TrainError};
use crate::dataset::Dataset;
use crate::dataset::doctor::{Severity, View, examine};

/// What is asked for.
pub struct PostRequest {
    /// Folder of the model to start from.
    pub base: PathBuf,
    /// Datasets of the new body or place.
    pub datasets: Vec<PathBuf>,
    /// Model folder to write.
    pub out: PathBuf,
    /// How long.
    pub budget: Budget,
    /// Whether to go on from the folder's checkpoint.
    pub resume: bool,
    /// What the person wants otherwise than by default.
    pub wishes: Wishes,
    /// Seconds of measuring before the start; 0 = none, and no refusal for lack of time.
    pub measure_seconds: f64,
    /// Where the network learns.
    pub device: Device,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct PostOutcome {
    /// The new model's contract.
    pub contract: Contract,
    /// Before and after, on all held-out windows.
    pub comparison: Comparison,
    /// Iterations done.
    pub iterations: u64,
    /// The one whose weights were best, and are the model's.
    pub best_iteration: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Why it ended before its time.
    pub stopped: Option<String>,
}

/// The settings of a run in its model folder.
const RUN_FILE: &str = "run.toml";
/// Windows of the final table at most.
const FINAL_WINDOWS: usize = 64;
/// Windows of the base's own world.
const OLD_WINDOWS: usize = 8;

/// Post-trains a model. Without `resume` a folder that already holds a model or a run is refused.
///
/// # Errors
/// See [`TrainError`]. After [`TrainError::Cancelled`] the folder holds a checkpoint to resume from.
pub fn post_train(
    request: &PostRequest,
    watch: &mut dyn FnMut(PostStage),
    cancel: &AtomicBool,
) -> Result<PostOutcome, TrainError> {
    let out = &request.out;
    let run_file = out.join(RUN_FILE);
    let begun = run_file.exists();
    if !request.resume && (begun || out.join("contract.json").exists()) {
        return Err(TrainError::Data(format!(
            "{} already holds a model; choose another folder, or go on with it by --resume",
            out.display()
        )));
    }
    let base = read_folder(&request.base)?;
    let name = out.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    let earlier = if request.resume && begun { Some(PostSettings::read(&run_file)?) } else { None };
    if let Some(earlier) = &earlier
        && earlier.base_sha256 != base.sha256
    {
        return Err(TrainError::Base(format!(
            "{} is not the model that this run began with; name that one, or start in another folder",
            request.base.display()
        )));
    }
    let mut wishes = request.wishes.clone();
    let mut found = Vec::new();
    match &earlier {
        Some(earlier) => wishes.views.clone_from(&earlier.views),
        None if wishes.as_is => {}
        None => (wishes.views, found) = mended(request, cancel)?,
    }
    let sources = Sources::open(&request.datasets, &wishes.views, &base.contract)?;
    let body = Body::of(&base.contract, sources.channels.clone());
    let mut notes: Vec<String> = found.iter().chain(&sources.notes).chain(&body.notes).cloned().collect();
    let size = |affordable: Option<f64>| Size {
        frames: sources.frames(wishes.episodes),
        prompts: sources.prompts(),
        episodes: sources.episodes(),
        same_body: !body.plan.new_body,
        can_replay: can_replay(&base.contract),
        fit: base.contract.frame.fit,
        affordable,
        iterations: match request.budget {
            Budget::Iterations(iterations) => Some(iterations),
            Budget::Minutes(_) => None,
        },
    };
    let choose = |affordable| {
        earlier
            .clone()
            .unwrap_or_else(|| PostSettings::choose(&wishes, &size(affordable), &base.sha256, &name))
    };
    let mut settings = choose(None);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if request.device.is_cpu() { cores } else { 0 };
    let frames = sources.frames(None) + settings.replay_episodes * 100;
    let mut preflight = Preflight::room(&base.config, &base.weights, frames, workers, out)?;
    let loaded = sources.load(
        &base.config,
        &body,
        &base.contract,
        settings.train.held_out,
        settings.episodes,
        (settings.replay_episodes, settings.replay_share),
        settings.fit,
        &mut |done, all| watch(PostStage::Loading { done, all }),
        cancel,
    )?;
    notes.extend(loaded.notes.iter().cloned());
    for note in &notes {
        watch(PostStage::Note(note.clone()));
    }
    let seed = settings.train.seed;
    let start = if settings.from_nothing {
        random_weights(&base.config, seed)?
    } else {
        rearrange(&base.weights, &base.config, &body.plan, Fresh::Drawn(seed))?
    };
    let before = rearrange(&base.weights, &base.config, &body.plan, Fresh::Silent)?;
    if request.measure_seconds > 0.0 && earlier.is_none() {
        let seconds = request.measure_seconds;
        let (library, config, device) = (&loaded.library, &base.config, &request.device);
        preflight.measure(&settings, library, config, &start, device, seconds, cancel)?;
        settings = choose(preflight.affordable(request.budget));
    }
    preflight.time(request.budget, frames_each(&settings))?;
    watch(PostStage::Ready(preflight));

    std::fs::create_dir_all(out).map_err(|source| TrainError::File { path: out.clone(), source })?;
    if earlier.is_none() {
        settings.write(&run_file)?;
    }
    let Loaded { library, held_out, old, prompts, sha256, frames, episodes, .. } = loaded;
    let kept = held_out.len();
    let history = base.config.history();
    let all = Judge::new(held_out.clone(), FINAL_WINDOWS, history);
    let judge = Judge::new(held_out, settings.windows, history);
    let old = Judge::new(old, OLD_WINDOWS, history);
    let contract = contract_of(&base, &settings, &body, &sources, &prompts);
    let wide = Contract {
        actions: body.channels.actions.clone(),
        state: body.channels.state.clone(),
        ..contract.clone()
    };
    let job = Job {
        settings,
        config: base.config.clone(),
        contract,
        wide,
        start,
        before,
        library: &library,
        judge: &judge,
        old: &old,
        new_body: body.plan.new_body,
        data: sha256,
        out: out.clone(),
        budget: request.budget,
        resume: request.resume,
        device: request.device.clone(),
    };
    let ended: Ended = {
        // Two callers of one closure, one after the other.
        let said = std::cell::RefCell::new(watch);
        run::run(
            &job,
            &mut |judgement| (said.borrow_mut())(PostStage::Before(judgement.clone())),
            &mut |report| (said.borrow_mut())(PostStage::Training(Box::new(report.clone()))),
            cancel,
        )?
    };
    let about = About { episodes, frames, held_out: kept, windows: all.len(), fresh: body.fresh, notes };
    let from = Base {
        name: base.contract.name.clone(),
        sha256: base.sha256.clone(),
        lineage: lineage(&request.base).unwrap_or_default(),
    };
    let comparison = scorecard::finish(&job, &ended, &all, &from, &about, cancel)?;
    Ok(PostOutcome {
        contract: job.contract.clone(),
        comparison,
        iterations: ended.iterations,
        best_iteration: ended.iteration,
        seconds: ended.seconds,
        stopped: ended.memory.stopped,
    })
}

/// The weights of a network of this size that has learnt nothing.
fn random_weights(config: &Config, seed: u64) -> Result<Weights, TrainError> {
    let mut params = Params::new(seed, &Device::Cpu);
    Network::new(config, &mut params, &Device::Cpu)?;
    Ok(params.iter().map(|(name, tensor)| (name.to_owned(), tensor.detach())).collect())
}

/// The views that were asked for with what the doctor mends without a doubt, and what it found, in words.
fn mended(request: &PostRequest, cancel: &AtomicBool) -> Result<(Vec<View>, Vec<String>), TrainError> {
    let (mut views, mut words) = (Vec::new(), Vec::new());
    for (number, root) in request.datasets.iter().enumerate() {
        if cancel.load(Ordering::Relaxed) {
            return Err(TrainError::Cancelled);
        }
        let set = Dataset::open(root).map_err(|e| TrainError::Data(e.to_string()))?;
        let view = request.wishes.views.get(number).cloned().unwrap_or_default();
        let examination = examine(&set, &view);
        for finding in examination.findings.iter().filter(|f| f.severity > Severity::Note || f.sure) {
            let done =
                if finding.sure && finding.fix.is_some() { " This is mended while reading." } else { "" };
            words.push(format!("{}{done}", finding.words));
        }
        views.push(view.and(&examination.sure_fix()));
    }
    Ok((views, words))
}

/// Frames of a step of the optimiser, on average.
fn frames_each(settings: &PostSettings) -> f64 {
    let mixes = &settings.train.clips;
    let all: f32 = mixes.iter().map(|mix| mix.share).sum();
    mixes.iter().map(|mix| f64::from(mix.share / all.max(1e-6)) * (mix.steps * mix.clips) as f64).sum()
}

fn contract_of(
    base: &Stored,
    settings: &PostSettings,
    body: &Body,
    sources: &Sources,
    prompts: &[String],
) -> Contract {
    let mut words: std::collections::BTreeSet<String> = base.contract.vocabulary.iter().cloned().collect();
    for prompt in prompts {
        words.extend(prompt.split_whitespace().map(str::to_lowercase));
        words.extend(prompt.chars().filter(|c| !c.is_ascii()).map(String::from));
    }
    let own = |channels: &[Channel], count: usize| channels.iter().take(count).cloned().collect::<Vec<_>>();
    let old = &base.contract;
    let knows = match old.knows.trim() {
        "" => String::new(),
        known => format!("{known} "),
    };
    Contract {
        name: settings.train.name.clone(),
        frame: FrameSpec { rate_hz: sources.rate_hz, fit: settings.fit, ..old.frame.clone() },
        actions: own(&body.channels.actions, body.actions),
        state: own(&body.channels.state, body.state),
        text: base.config.text_width > 0 && !words.is_empty(),
        knows: format!("{knows}Post-trained from {} on {}.", old.name, sources.embodiment),
        embodiment: sources.embodiment.clone(),
        familiar_residual: None,
        vocabulary: words.into_iter().collect(),
        ..old.clone()
    }
}
