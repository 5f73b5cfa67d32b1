//! Policies as jobs: learning, evaluating, improving, ranking, and one episode in two places.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forerun_models::Frame;
use forerun_models::policy::{Kind, Policy};
use serde_json::{Value, json};

use super::Tools;
use crate::engine::backend::WorldModel;
use crate::engine::device;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::models::Loaded;
use crate::engine::protocol::{Event, Reading};
use crate::engine::specs::{
    PolicyEvaluateSpec, PolicyImproveSpec, PolicyRankSpec, PolicyTrainSpec, PolicyTwinSpec,
};
use crate::failure::Failure;
use crate::policy::{
    AgentSettings, Deciding, EvaluateSettings, ExperienceSettings, Mind, Pace, Parts, PolicySettings,
    PolicyStage, StoppableModel, TwinFrame, TwinSettings, Venue, Yardstick, evaluate, imagine_experience,
    is_shipped, load_policy, measure, rank, save_score, start, twin,
};
use crate::train::{Budget, TrainError};
use crate::world::{Look, TaskName};

/// How often a line of the log is passed on.
const PERIOD: Duration = Duration::from_millis(500);

fn report(context: &JobContext, value: Value) {
    context.send(Event::Report { job: context.job, value }, Vec::new());
}

/// A failure after a cancel is no failure.
fn ended(context: &JobContext, failure: Failure) -> JobEnd {
    if context.cancel.is_cancelled() { JobEnd::Cancelled } else { failure.into() }
}

fn budget(minutes: Option<f32>, iterations: Option<u64>) -> Result<Budget, Failure> {
    match (minutes, iterations) {
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Ok(Budget::Minutes(minutes)),
        (None, Some(iterations)) if iterations > 0 => Ok(Budget::Iterations(iterations)),
        _ => Err(Failure::new("There is nothing to train for.", "Give minutes or iterations above 0.")),
    }
}

fn look(name: &str) -> Result<Look, Failure> {
    name.parse().map_err(Failure::from_error)
}

fn task(name: Option<&str>) -> Result<Option<TaskName>, Failure> {
    name.map(|name| name.parse().map_err(Failure::from_error)).transpose()
}

/// Learns a policy. Its course comes as [`Event::Report`]s with a `stage` each: `note`, `training`, `done`. Cancelled, it
/// leaves a checkpoint to resume from.
///
/// # Errors
/// See [`start`].
pub fn train_policy(context: &JobContext, spec: &PolicyTrainSpec) -> Result<String, JobEnd> {
    let name = spec.out.file_name().map_or_else(|| "policy".into(), |n| n.to_string_lossy().into_owned());
    let kind = if spec.goal { Kind::Goal } else { Kind::Direct };
    let settings = PolicySettings {
        name,
        size: spec.size.clone(),
        snapshots: spec.snapshots,
        ..PolicySettings::shipped(kind)
    };
    learn(context, settings, &spec.datasets, &spec.out, spec.from.as_deref(), spec)?;
    Ok(format!("{} is learnt", spec.out.display()))
}

fn learn(
    context: &JobContext,
    settings: PolicySettings,
    datasets: &[PathBuf],
    out: &Path,
    from: Option<&Path>,
    spec: &PolicyTrainSpec,
) -> Result<(), JobEnd> {
    let budget = budget(spec.minutes, spec.iterations)?;
    let mut told: Option<Instant> = None;
    let mut watch = |stage: PolicyStage| match stage {
        PolicyStage::Loading { done, all } => context.progress(done as u64, all as u64, "reading episodes"),
        PolicyStage::Note(note) => report(context, json!({ "stage": "note", "note": note })),
        PolicyStage::Training(found) => {
            if found.held_out.is_none() && told.is_some_and(|told| told.elapsed() < PERIOD) {
                return;
            }
            told = Some(Instant::now());
            let event = Event::Progress {
                job: context.job,
                done: (found.progress * 1000.0) as u64,
                total: 1000,
                seconds_left: Some(found.seconds_left as f32),
                what: "training".into(),
            };
            context.send(event, Vec::new());
            let mut value = serde_json::to_value(&found).unwrap_or_default();
            if let Value::Object(object) = &mut value {
                object.insert("stage".into(), "training".into());
            }
            report(context, value);
        }
    };
    let device = device::open_or_cpu(&spec.device)?;
    let cancel = context.cancel.flag();
    match start(settings, datasets, out, from, budget, spec.resume, &device, &mut watch, cancel) {
        Ok(_) if context.cancel.is_cancelled() => Err(JobEnd::Cancelled),
        Ok(contract) => {
            report(context, json!({ "stage": "done", "policy": out, "name": contract.name }));
            Ok(())
        }
        Err(TrainError::Cancelled) => Err(JobEnd::Cancelled),
        Err(error) => Err(ended(context, Failure::from_error(error))),
    }
}

/// What acts in an episode, loaded: a policy, a world model to look ahead in, or both.
struct Acting {
    how: Deciding,
    policy: Option<Policy>,
    model: Option<Arc<Loaded>>,
}

impl Acting {
    fn load(tools: &Tools, policy: Option<&Path>, model: &str, how: Deciding) -> Result<Self, Failure> {
        let policy = policy.map(load_policy).transpose()?;
        // Said before a world model is loaded for nothing.
        how.check(policy.as_ref().map(|policy| policy.network().config().kind))?;
        let model = if how.looks_ahead() { Some(tools.models.get(model, "cpu")?) } else { None };
        Ok(Self { how, policy, model })
    }

    /// Actions a second; the virtual world's own where nothing says.
    fn fps(&self) -> u32 {
        let own = self.policy.as_ref().map(Policy::contract);
        let rate = own.or(self.model.as_ref().map(|loaded| loaded.model.contract()));
        rate.map_or(10, |contract| contract.frame.rate_hz.round() as u32)
    }

    fn mind<'m>(
        &'m self,
        model: Option<&'m StoppableModel<'m>>,
        seed: u64,
    ) -> Result<Box<dyn Mind + 'm>, Failure> {
        let model = model.map(|model| model as &dyn WorldModel);
        let parts = Parts { policy: self.policy.as_ref(), model, temperature: None, refine: 1 };
        self.how.mind(&parts, seed)
    }

    fn about(&self, folder: Option<&Path>) -> Value {
        self.policy.as_ref().map_or(
            Value::Null,
            |policy| json!({ "name": policy.contract().name, "folder": folder, "sha256": policy.sha256() }),
        )
    }
}

/// How often a policy succeeds, beside doing nothing, acting at random and the scripted expert. How long it will take
/// comes first, measured; with `measure` nothing follows. The numbers come as one [`Event::Report`], and are kept in the
/// policy's scorecard.
///
/// # Errors
/// A policy, model or place that cannot be used, settings out of range.
pub fn evaluate_policy(
    tools: &Tools,
    context: &JobContext,
    spec: &PolicyEvaluateSpec,
) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let inside = match spec.place.split_once(':') {
        Some(("world", "tabletop")) => None,
        Some(("model", model)) => Some(model),
        _ => {
            let what = format!("{} is no place.", spec.place);
            return Err(Failure::new(what, "Use world:tabletop, or model: and a model.").into());
        }
    };
    let acting = Acting::load(tools, spec.policy.as_deref(), &spec.with, spec.how)?;
    let inside = inside.map(|model| tools.models.get(model, "cpu")).transpose()?;
    let settings = EvaluateSettings {
        task: task(spec.task.as_deref())?,
        look: look(&spec.look)?,
        episodes: spec.episodes,
        seed: spec.seed,
        steps: spec.steps,
        fps: acting.fps(),
        ..EvaluateSettings::default()
    };
    let cancel = context.cancel.flag();
    let ahead = acting.model.as_ref().map(|loaded| StoppableModel::new(loaded.model.as_ref(), cancel));
    let place = inside.as_ref().map(|loaded| StoppableModel::new(loaded.model.as_ref(), cancel));
    let minds = |seed: u64| -> Result<Box<dyn Mind + '_>, Failure> { acting.mind(ahead.as_ref(), seed) };
    let venue = place.as_ref().map_or(Venue::World, |model| Venue::Model(model));
    let stopped = |failure| ended(context, failure);
    context.progress(0, 1, "measuring");
    let (period, many) = (spec.how.period(), Yardstick::ALL.len());
    let pace = measure(venue, &minds, period, many, &settings, cancel).map_err(stopped)?;
    report(context, json!({ "stage": "pace", "pace": pace, "episodes": settings.episodes }));
    if spec.measure {
        return Ok(format!("{:.0} s at most", pace.seconds));
    }
    let told = Telling::new(context, pace, settings.episodes, many);
    let name = spec.how.name();
    let found =
        evaluate(venue, &name, Some(&minds), &Yardstick::ALL, &settings, &|done, _| told.over(done), cancel)
            .map_err(stopped)?;
    let mut value = found.value();
    if let Value::Object(object) = &mut value {
        object.insert("stage".into(), "evaluated".into());
        object.insert("order".into(), found.actors.iter().map(|(name, _, _)| name.clone()).collect());
        object.insert("policy".into(), acting.about(spec.policy.as_deref()));
        object.insert("how".into(), serde_json::to_value(spec.how).unwrap_or_default());
        object.insert("with".into(), about(acting.model.as_ref().or(inside.as_ref())));
    }
    // What comes with the program stays as it came.
    if let Some(folder) = spec.policy.as_ref().filter(|folder| !is_shipped(folder)) {
        save_score(folder, &value)?;
    }
    report(context, value);
    let line = found.lines().into_iter().nth(1).unwrap_or_default();
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The progress of an evaluation in measured time: the agent's episodes come first and last longest, so that counting
/// episodes would promise far too much time to come.
struct Telling<'c> {
    context: &'c JobContext,
    pace: Pace,
    episodes: usize,
    total: u64,
}

impl<'c> Telling<'c> {
    const WHAT: &'static str = "trying episodes";

    fn new(context: &'c JobContext, pace: Pace, episodes: usize, yardsticks: usize) -> Self {
        let each = pace.agent_ms + yardsticks as f64 * pace.yardstick_ms;
        let total = ((episodes as f64 * each) as u64).max(1);
        context.progress(0, total, Self::WHAT);
        let seconds_left = Some(pace.seconds as f32);
        let what = Self::WHAT.to_owned();
        context.send(Event::Progress { job: context.job, done: 0, total, seconds_left, what }, Vec::new());
        Self { context, pace, episodes, total }
    }

    fn over(&self, done: usize) {
        let own = done.min(self.episodes) as f64 * self.pace.agent_ms;
        let others = done.saturating_sub(self.episodes) as f64 * self.pace.yardstick_ms;
        self.context.progress(((own + others) as u64).min(self.total), self.total, Self::WHAT);
    }
}

fn about(model: Option<&Arc<Loaded>>) -> Value {
    model.map_or(Value::Null, |loaded| {
        json!({ "name": loaded.info.name, "sha256": loaded.info.sha256, "folder": loaded.info.folder })
    })
}

/// One round of imagined experience: the policy (or the model itself) acts in the model, and what surely succeeds there is learnt along with
/// the old data.
///
/// # Errors
/// See [`imagine_experience`] and [`start`]; no episode that surely succeeds.
pub fn improve_policy(
    tools: &Tools,
    context: &JobContext,
    spec: &PolicyImproveSpec,
) -> Result<String, JobEnd> {
    let mut folder = spec.out.clone().into_os_string();
    folder.push("-imagined");
    let imagined = PathBuf::from(folder);
    if spec.out.join("contract.json").exists() || imagined.exists() {
        let what = format!("{} or {} exists already.", spec.out.display(), imagined.display());
        return Err(Failure::new(what, "Choose another name.").into());
    }
    context.progress(0, 1, "loading");
    let policy = load_policy(&spec.policy)?;
    let model = tools.models.get(&spec.model, "cpu")?;
    let wanted = ExperienceSettings {
        episodes: spec.episodes,
        steps: spec.steps,
        seed: spec.seed,
        witnesses: spec.witnesses,
        agreed: spec.witnesses,
        own_actions: spec.own_actions,
        ..ExperienceSettings::default()
    };
    let told = |done: usize, all: usize| context.progress(done as u64, all as u64, "imagining episodes");
    let cancel = context.cancel.flag();
    let starts = spec.starts.as_ref().unwrap_or(&spec.dataset);
    let found = imagine_experience(&policy, model.model.as_ref(), starts, &wanted, &imagined, &told, cancel)
        .map_err(|failure| ended(context, failure))?;
    report(context, json!({ "stage": "imagined", "experience": found, "dataset": imagined }));
    if found.accepted == 0 {
        return Err(Failure::new(
            format!(
                "Of {} imagined episodes none surely succeeded, so there is nothing new to learn.",
                found.tried
            ),
            "Imagine more episodes, train the policy or the model longer, or ask for fewer witnesses.",
        )
        .into());
    }
    let settings = PolicySettings {
        name: format!("{}, improved", policy.contract().name),
        ..PolicySettings::shipped(policy.network().config().kind)
    };
    let training =
        PolicyTrainSpec { minutes: spec.minutes, iterations: spec.iterations, ..PolicyTrainSpec::default() };
    let datasets = [spec.dataset.clone(), imagined];
    learn(context, settings, &datasets, &spec.out, Some(&spec.policy), &training)?;
    Ok(format!("{} of {} imagined episodes were learnt from", found.accepted, found.tried))
}

/// Whether the model ranks policies as physics does; one [`Event::Report`].
///
/// # Errors
/// See [`rank`].
pub fn rank_policies(tools: &Tools, context: &JobContext, spec: &PolicyRankSpec) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let mut folders = spec.policies.clone();
    if let Some(policy) = &spec.checkpoints_of {
        folders.extend(snapshots(policy));
        folders.push(policy.clone());
    }
    let mut policies = Vec::with_capacity(folders.len());
    for folder in &folders {
        context.check()?;
        let policy = load_policy(folder)?;
        Deciding::Alone.check(Some(policy.network().config().kind))?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        policies.push((name, policy));
    }
    let model = tools.models.get(&spec.model, "cpu")?;
    let settings = EvaluateSettings {
        task: task(spec.task.as_deref())?,
        episodes: spec.episodes,
        seed: spec.seed,
        steps: spec.steps,
        fps: model.model.contract().frame.rate_hz.round() as u32,
        ..EvaluateSettings::default()
    };
    let told = |done: usize, all: usize| context.progress(done as u64, all as u64, "trying episodes");
    let found = rank(&policies, model.model.as_ref(), &settings, &told, context.cancel.flag())
        .map_err(|failure| ended(context, failure))?;
    let mut value = serde_json::to_value(&found).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        object.insert("stage".into(), "ranked".into());
        object.insert("with".into(), about(Some(&model)));
    }
    report(context, value);
    Ok(format!("{} policies ranked", found.policies.len()))
}

/// The snapshots that a training run kept, earliest first.
fn snapshots(policy: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(policy.join("checkpoints"));
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(|p| p.join("contract.json").is_file()).collect();
    found.sort();
    found
}

/// One episode in physics (seed 0 of [`Event::FutureFrame`]) and in imagination (seed 1), with what the agent goes for
/// (seed 2); readings are `progress` and `success`. How it ended comes as one [`Event::Report`].
///
/// # Errors
/// See [`twin`].
pub fn twin_episode(tools: &Tools, context: &JobContext, spec: &PolicyTwinSpec) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let acting = Acting::load(tools, spec.policy.as_deref(), &spec.model, spec.how)?;
    let loaded = tools.models.get(&spec.model, "cpu")?;
    let model = StoppableModel::new(loaded.model.as_ref(), context.cancel.flag());
    let settings = TwinSettings {
        task: task(spec.task.as_deref())?,
        look: look(&spec.look)?,
        seed: spec.seed,
        steps: spec.steps.clamp(1, 10_000),
        fps: acting.fps(),
        agent: AgentSettings::default(),
        refine: 1,
        in_model: spec.in_model,
    };
    let all = settings.steps as u64;
    let mut shown: Option<Frame> = None;
    let mut watch = |found: TwinFrame<'_>| {
        if let Some(goal) = found.goal.filter(|goal| shown.as_ref() != Some(goal)) {
            let event = Event::FutureFrame {
                job: context.job,
                seed: 2,
                index: found.index.saturating_sub(1),
                width: goal.width,
                height: goal.height,
                reading: Reading::default(),
            };
            context.send(event, vec![goal.data.clone()]);
            shown = Some(goal.clone());
        }
        let sides = [(found.world, found.world_verdict), (found.model, found.model_verdict)];
        for (seed, (frame, verdict)) in sides.into_iter().enumerate() {
            let success = if verdict.success { 1.0 } else { 0.0 };
            let values = vec![("progress".into(), verdict.progress), ("success".into(), success)];
            let event = Event::FutureFrame {
                job: context.job,
                seed: seed as u64,
                index: found.index,
                width: frame.width,
                height: frame.height,
                reading: Reading { values },
            };
            context.send(event, vec![frame.data.clone()]);
        }
        context.progress(found.index as u64, all, "acting in both places");
    };
    let mind = acting.mind(Some(&model), spec.seed)?;
    let found = twin(mind, &model, &settings, &mut watch, context.cancel.flag())
        .map_err(|failure| ended(context, failure))?;
    let summary = format!("{}: {} steps", found.prompt, found.steps);
    let value = json!({
        "stage": "twin", "prompt": found.prompt, "rules": found.rules, "world": found.world, "model": found.model,
        "steps": found.steps, "seed": spec.seed, "how": spec.how, "dataset": spec.out, "with": about(Some(&loaded)),
    });
    if let Some(out) = &spec.out {
        found.save(out)?;
    }
    report(context, value);
    Ok(summary)
}
