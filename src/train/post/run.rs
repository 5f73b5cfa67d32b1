//! The loop of a post-training run: learn, judge against the base, keep the best, go on exactly after a kill.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::Device;
use forerun_models::Contract;
use forerun_models::dreamer::adapt::{Weights, exchange_bodies};
use forerun_models::dreamer::{Config, Dreamer, save_folder};
use forerun_models::kernels::precision;

use super::learner::Learning;
use super::report::{Comparison, Memory, OldWorld, PostReport, smooth};
use super::settings::PostSettings;
use crate::Frame;
use crate::train::batch::{batch, precision_of};
use crate::train::checkpoint::{self, Place};
use crate::train::judge::{Look, Shown, decibel, write_sheet};
use crate::train::tensorboard::Events;
use crate::train::{Budget, Judge, Judgement, Library, TrainError};

/// Everything that a run works on.
pub(super) struct Job<'a> {
    pub settings: PostSettings,
    pub config: Config,
    /// The contract of the new model.
    pub contract: Contract,
    /// The contract with the base's own channels behind: what episodes in memory are made of.
    pub wide: Contract,
    /// Weights to start from.
    pub start: Weights,
    /// Weights of the base, which is silent about channels that it does not know.
    pub before: Weights,
    pub library: &'a Library,
    pub judge: &'a Judge,
    pub old: &'a Judge,
    /// Whether the base's body has become number 1.
    pub new_body: bool,
    pub data: Vec<String>,
    pub out: PathBuf,
    pub budget: Budget,
    pub resume: bool,
    pub device: Device,
}

/// What a run leaves for the scorecard.
pub(super) struct Ended {
    pub weights: Weights,
    pub iteration: u64,
    pub iterations: u64,
    pub seconds: f64,
    pub memory: Memory,
}

struct Run<'a> {
    job: &'a Job<'a>,
    learning: Learning,
    memory: Memory,
    place: Place,
    begun: Instant,
    base: Judgement,
    base_old: Option<Judgement>,
    base_shown: Vec<Shown>,
    events: Events,
}

/// Name of the folder with the best checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// Name of the log.
const LOG: &str = "log.jsonl";

/// Trains until the budget is used up, nothing gets better any more, or `cancel` is set.
///
/// # Errors
/// See [`TrainError`]; the folder holds the last checkpoint, whole.
pub(super) fn run(
    job: &Job<'_>,
    before: &mut dyn FnMut(&Judgement),
    watch: &mut dyn FnMut(&PostReport),
    cancel: &AtomicBool,
) -> Result<Ended, TrainError> {
    let mut run = Run::new(job, cancel)?;
    before(&run.base);
    let result = run.go(watch, cancel);
    if !matches!(result, Err(TrainError::Diverged(_))) {
        run.save()?;
    }
    result?;
    run.end()
}

impl<'a> Run<'a> {
    fn new(job: &'a Job<'a>, cancel: &AtomicBool) -> Result<Self, TrainError> {
        let io = |source| TrainError::File { path: job.out.clone(), source };
        std::fs::create_dir_all(&job.out).map_err(io)?;
        let mut learning = Learning::new(&job.settings, &job.config, &job.start, &job.device)?;
        let mut place = Place::default();
        let budget = format!("{:?}", job.budget);
        let mut memory = Memory { data: job.data.clone(), budget: budget.clone(), ..Memory::default() };
        if job.resume
            && let Some((at, text)) = checkpoint::load_with(&job.out, &mut learning.stepper)?
        {
            place = at;
            memory = serde_json::from_str(&text).map_err(|e| TrainError::Checkpoint {
                path: job.out.clone(),
                reason: format!("its checkpoint is of another kind of run ({e}); choose another folder"),
            })?;
            if memory.data != job.data {
                return Err(TrainError::Data(
                    "the data is not what the run began with; start a new run in another folder".into(),
                ));
            }
        }
        if memory.budget != budget {
            // Prolonged, or cut short: the run counts anew from where it stands.
            let share = match job.budget {
                Budget::Minutes(minutes) => place.seconds / (f64::from(minutes.max(1e-3)) * 60.0),
                Budget::Iterations(all) => place.iteration as f64 / all.max(1) as f64,
            };
            memory.judged = (share * job.settings.judgements as f64) as usize;
            (memory.budget, memory.stopped, memory.waiting) = (budget, None, 0);
        }
        let before = Dreamer::from_weights(job.wide.clone(), &job.config, &job.before, &job.device)?;
        let look = job.judge.look(&before, false, cancel)?;
        let base_old =
            if job.old.is_empty() { None } else { Some(job.look_at_old(&job.before, cancel)?.judgement) };
        let run = Self {
            events: Events::create(&job.out).map_err(io)?,
            base: look.judgement,
            base_old,
            base_shown: look.shown,
            begun: Instant::now(),
            job,
            learning,
            memory,
            place,
        };
        run.cut_log()?;
        Ok(run)
    }

    /// Leaves out lines of the log that a kill has orphaned: their iterations will be done again.
    fn cut_log(&self) -> Result<(), TrainError> {
        let path = self.job.out.join(LOG);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
        let number =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("iteration")?.as_u64();
        let kept: String = text
            .lines()
            .filter(|line| number(line).is_some_and(|n| n <= self.place.iteration && n > 0))
            .map(|line| format!("{line}\n"))
            .collect();
        crate::fsx::write_atomic(&path, kept.as_bytes())
            .map_err(|source| TrainError::File { path: path.clone(), source })
    }

    fn seconds(&self) -> f64 {
        self.place.seconds + self.begun.elapsed().as_secs_f64()
    }

    fn progress(&self) -> f32 {
        match self.job.budget {
            Budget::Minutes(minutes) => (self.seconds() / (f64::from(minutes.max(1e-3)) * 60.0)) as f32,
            Budget::Iterations(all) => self.learning.stepper.iteration as f32 / all.max(1) as f32,
        }
    }

    fn go(&mut self, watch: &mut dyn FnMut(&PostReport), cancel: &AtomicBool) -> Result<(), TrainError> {
        let settings = &self.job.settings;
        let mut saved = Instant::now();
        while self.progress() < 1.0 && self.memory.stopped.is_none() {
            if cancel.load(Ordering::Relaxed) {
                return Err(TrainError::Cancelled);
            }
            let began = Instant::now();
            let mut report = self.iterate(began, cancel)?;
            // Judgements lie at fixed shares of the budget, so that a run of so many iterations repeats exactly.
            let due = (self.memory.judged + 1) as f32 / settings.judgements.max(1) as f32;
            if !self.job.judge.is_empty() && self.progress().min(1.0) >= due - 1e-6 {
                self.judge(&mut report, cancel)?;
                self.save()?;
                saved = Instant::now();
            } else if saved.elapsed().as_secs_f32() > settings.train.checkpoint_minutes * 60.0 {
                self.save()?;
                saved = Instant::now();
            }
            self.log(&report)?;
            watch(&report);
        }
        Ok(())
    }

    fn iterate(&mut self, began: Instant, cancel: &AtomicBool) -> Result<PostReport, TrainError> {
        let settings = &self.job.settings.train;
        let progress = self.progress();
        let iteration = self.learning.stepper.iteration;
        let found = {
            let variables: Vec<_> = self.learning.stepper.variables().map(|(_, var)| var).collect();
            let learner = self.learning.learner();
            batch(settings, self.job.library, learner, &variables, iteration, progress, cancel)?
        };
        let factor = settings.schedule.factor(iteration, progress);
        let stepper = &mut self.learning.stepper;
        let norm = precision::with_cards(precision_of(settings), &self.job.device, || {
            stepper.step(&found.gradients, factor)
        })?;
        if !norm.is_finite() {
            return Err(TrainError::Diverged(iteration));
        }
        let psnr = if found.sharp.1 == 0 { f32::NAN } else { decibel(found.sharp.0 / found.sharp.1 as f64) };
        self.memory.smooth = (smooth(self.memory.smooth.0, found.loss), smooth(self.memory.smooth.1, psnr));
        let seconds = self.seconds();
        let done = iteration + 1;
        let seconds_left = match self.job.budget {
            Budget::Minutes(minutes) => (f64::from(minutes) * 60.0 - seconds).max(0.0),
            Budget::Iterations(all) => seconds / done as f64 * all.saturating_sub(done) as f64,
        };
        Ok(PostReport {
            iteration: done,
            progress: self.progress().min(1.0),
            seconds,
            seconds_left,
            loss: self.memory.smooth.0,
            psnr: self.memory.smooth.1,
            learning_rate: settings.optimiser.learning_rate * factor,
            gradient_norm: norm as f32,
            frames_per_second: found.frames as f32 / began.elapsed().as_secs_f32().max(1e-6),
            ..PostReport::default()
        })
    }

    fn judge(&mut self, report: &mut PostReport, cancel: &AtomicBool) -> Result<(), TrainError> {
        let job = self.job;
        let weights = self.learning.weights()?;
        let model = Dreamer::from_weights(job.wide.clone(), &job.config, &weights, &job.device)?;
        let Look { judgement, spread, shown } = job.judge.look(&model, true, cancel)?;
        let old = match &self.base_old {
            Some(base) => {
                let now = job.look_at_old(&weights, cancel)?.judgement;
                Some(OldWorld { psnr: now.psnr, base: base.psnr.clone() })
            }
            None => None,
        };
        let found = Comparison::new(judgement, &self.base, spread, old);
        self.memory.judged += 1;
        if found.ignores_actions() {
            let words = "The model does the same whatever it is told: its actions are worth less than 0.1 dB. \
                         Check that actions and frames belong together (forerun inspect), then train longer.";
            self.memory.alarm = Some(words.to_owned());
            report.alarm = Some(words.to_owned());
        } else {
            self.memory.alarm = None;
        }
        report.preview = Some(self.preview(report.iteration, &shown)?);
        let (kept, gone) = self.memory.note(report.iteration, found.score, job.settings.keep);
        if kept {
            self.keep(report.iteration, &weights, &found)?;
        }
        for old in gone.iter().filter(|old| old.iteration != report.iteration) {
            let folder = self.folder(old.iteration);
            std::fs::remove_dir_all(&folder)
                .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
                .map_err(|source| TrainError::File { path: folder, source })?;
        }
        let patience = job.settings.patience;
        // In the way down of the learning rate there is always something to gain.
        let plateau = self.progress() < 1.0 - job.settings.train.schedule.decay;
        if patience > 0 && plateau && self.memory.waiting >= patience {
            self.memory.stopped =
                Some(format!("stopped early: {patience} judgements in a row without a better one"));
        }
        report.judgement = Some(found);
        Ok(())
    }

    fn folder(&self, iteration: u64) -> PathBuf {
        self.job.out.join(CHECKPOINTS).join(format!("{iteration:07}"))
    }

    /// A checkpoint as a model folder of its own, so that it can be used as it is.
    fn keep(&self, iteration: u64, weights: &Weights, found: &Comparison) -> Result<(), TrainError> {
        let folder = self.folder(iteration);
        let mut contract = self.job.contract.clone();
        contract.name = format!("{} at {iteration}", contract.name);
        let list: Vec<_> = weights.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        save_folder(&folder, &contract, &self.job.config, &self.job.settings.train.weights.round(list)?)?;
        let path = folder.join("judgement.json");
        let text = serde_json::to_string_pretty(found).unwrap_or_default();
        crate::fsx::write_atomic(&path, text.as_bytes()).map_err(|source| TrainError::File { path, source })
    }

    /// Truth above the base's future above the present one, for a few windows.
    fn preview(&self, iteration: u64, shown: &[Shown]) -> Result<String, TrainError> {
        let name = format!("previews/{iteration:07}.png");
        let rows: Vec<&[Frame]> = shown
            .iter()
            .zip(&self.base_shown)
            .take(4)
            .flat_map(|(now, before)| [now.truth.as_slice(), &before.made, &now.made])
            .collect();
        write_sheet(&self.job.out.join(&name), &rows)?;
        Ok(name)
    }

    fn save(&self) -> Result<(), TrainError> {
        let stepper = &self.learning.stepper;
        let place = Place { iteration: stepper.iteration, seconds: self.seconds() };
        let memory = serde_json::to_string(&self.memory).unwrap_or_default();
        checkpoint::save_with(&self.job.out, stepper, place, "", Some(memory))
    }

    fn log(&mut self, report: &PostReport) -> Result<(), TrainError> {
        use std::io::Write;
        let path = self.job.out.join(LOG);
        let io = |source| TrainError::File { path: path.clone(), source };
        let mut line = serde_json::to_string(report).unwrap_or_default();
        line.push('\n');
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(io)?;
        file.write_all(line.as_bytes()).map_err(io)?;
        let mut numbers = vec![
            ("train/loss".to_owned(), report.loss.unwrap_or(f32::NAN)),
            ("train/psnr".to_owned(), report.psnr.unwrap_or(f32::NAN)),
            ("train/learning_rate".to_owned(), report.learning_rate),
            ("train/gradient_norm".to_owned(), report.gradient_norm),
            ("train/frames_per_second".to_owned(), report.frames_per_second),
        ];
        numbers.extend(report.judgement.iter().flat_map(Comparison::numbers));
        self.events.add(report.iteration, &numbers).map_err(io)
    }

    /// The best weights there were, or the last ones where nothing was judged.
    fn end(self) -> Result<Ended, TrainError> {
        let iterations = self.learning.stepper.iteration;
        let seconds = self.seconds();
        let best = self.memory.kept.first().map(|kept| kept.iteration);
        let (weights, iteration) = match best {
            Some(best) if best != iterations => {
                (forerun_models::dreamer::read_folder(&self.folder(best))?.weights, best)
            }
            _ => (self.learning.weights()?, iterations),
        };
        Ok(Ended { weights, iteration, iterations, seconds, memory: self.memory })
    }
}

impl Job<'_> {
    /// How a model does in the base's own world.
    pub fn look_at_old(&self, weights: &Weights, cancel: &AtomicBool) -> Result<Look, TrainError> {
        let exchanged;
        let weights = if self.new_body {
            exchanged = exchange_bodies(weights, &self.config)?;
            &exchanged
        } else {
            weights
        };
        let model = Dreamer::from_weights(self.wide.clone(), &self.config, weights, &self.device)?;
        self.old.look(&model, false, cancel)
    }
}
