//! Policies as jobs: learning, evaluating, improving, ranking, and one episode in two places.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    AgentSettings, BestOf, EvaluateSettings, ExperienceSettings, Mind, PolicyMind, PolicySettings,
    PolicyStage, TwinFrame, TwinSettings, Venue, Yardstick, evaluate, imagine_experience, load_policy, rank,
    save_score, start, twin,
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
    let settings = PolicySettings {
        name,
        size: spec.size.clone(),
        kind: if spec.goal { Kind::Goal } else { Kind::Direct },
        snapshots: spec.snapshots,
        ..PolicySettings::default()
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

/// A policy by itself, or one whose chunks are tried in a model first.
fn mind<'m>(
    policy: &'m Policy,
    ahead: Option<(&'m dyn WorldModel, usize)>,
    seed: u64,
) -> Result<Box<dyn Mind + 'm>, Failure> {
    Ok(match ahead {
        Some((model, n)) => Box::new(BestOf::new(policy, model, n, 1, 1, 1.0, seed)?),
        None => Box::new(PolicyMind { policy, seed, temperature: 0.0 }),
    })
}

fn direct(policy: &Policy) -> Result<(), Failure> {
    if policy.network().config().kind == Kind::Goal {
        return Err(Failure::new(
            "This policy goes for pictures, and here nothing says for which.",
            "Evaluate it on the command line with --subgoals: a world model imagines them from the words.",
        ));
    }
    Ok(())
}

/// How often a policy succeeds, beside doing nothing, acting at random and the scripted expert. The numbers come as one
/// [`Event::Report`], and are kept in the policy's scorecard.
///
/// # Errors
/// A policy, model or place that cannot be used, settings out of range.
pub fn evaluate_policy(
    tools: &Tools,
    context: &JobContext,
    spec: &PolicyEvaluateSpec,
) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let policy = load_policy(&spec.policy)?;
    direct(&policy)?;
    let inside = match spec.place.split_once(':') {
        Some(("world", "tabletop")) => None,
        Some(("model", model)) => Some(tools.models.get(model, "cpu")?),
        _ => {
            let what = format!("{} is no place.", spec.place);
            return Err(Failure::new(what, "Use world:tabletop, or model: and a model.").into());
        }
    };
    let ahead =
        spec.best_of.map(|n| tools.models.get(&spec.with, "cpu").map(|loaded| (loaded, n))).transpose()?;
    let settings = EvaluateSettings {
        task: task(spec.task.as_deref())?,
        look: look(&spec.look)?,
        episodes: spec.episodes,
        seed: spec.seed,
        steps: spec.steps,
        fps: policy.contract().frame.rate_hz.round() as u32,
        ..EvaluateSettings::default()
    };
    let minds = |seed: u64| -> Result<Box<dyn Mind + '_>, Failure> {
        mind(&policy, ahead.as_ref().map(|(loaded, n)| (loaded.model.as_ref(), *n)), seed)
    };
    let venue = match &inside {
        Some(loaded) => Venue::Model(loaded.model.as_ref()),
        None => Venue::World,
    };
    let name = spec.best_of.map_or("policy".to_owned(), |n| format!("best of {n}"));
    let told = |done: usize, all: usize| context.progress(done as u64, all as u64, "trying episodes");
    let cancel = context.cancel.flag();
    let found = evaluate(venue, &name, Some(&minds), &Yardstick::ALL, &settings, &told, cancel)
        .map_err(|failure| ended(context, failure))?;
    let mut value = found.value();
    if let Value::Object(object) = &mut value {
        object.insert("stage".into(), "evaluated".into());
        object.insert("order".into(), found.actors.iter().map(|(name, _, _)| name.clone()).collect());
        object.insert(
            "policy".into(),
            json!({ "name": policy.contract().name, "folder": spec.policy, "sha256": policy.sha256() }),
        );
        object.insert("with".into(), about(ahead.as_ref().map(|(loaded, _)| loaded).or(inside.as_ref())));
    }
    save_score(&spec.policy, &value)?;
    report(context, value);
    let line = found.lines().into_iter().nth(1).unwrap_or_default();
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn about(model: Option<&Arc<Loaded>>) -> Value {
    model.map_or(Value::Null, |loaded| json!({ "name": loaded.info.name, "sha256": loaded.info.sha256 }))
}

/// One round of imagined experience: the policy acts in the model, and what surely succeeds there is learnt along with
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
        ..ExperienceSettings::default()
    };
    let told = |done: usize, all: usize| context.progress(done as u64, all as u64, "imagining episodes");
    let cancel = context.cancel.flag();
    let found =
        imagine_experience(&policy, model.model.as_ref(), &spec.dataset, &wanted, &imagined, &told, cancel)
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
        kind: policy.network().config().kind,
        ..PolicySettings::default()
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
        direct(&policy)?;
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

/// One episode in physics (seed 0 of [`Event::FutureFrame`]) and in imagination (seed 1); readings are `progress` and
/// `success`. How it ended comes as one [`Event::Report`].
///
/// # Errors
/// See [`twin`].
pub fn twin_episode(tools: &Tools, context: &JobContext, spec: &PolicyTwinSpec) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let policy = load_policy(&spec.policy)?;
    direct(&policy)?;
    let loaded = tools.models.get(&spec.model, "cpu")?;
    let model = loaded.model.as_ref();
    let settings = TwinSettings {
        task: task(spec.task.as_deref())?,
        look: look(&spec.look)?,
        seed: spec.seed,
        steps: spec.steps.clamp(1, 10_000),
        fps: policy.contract().frame.rate_hz.round() as u32,
        agent: AgentSettings::default(),
        refine: 1,
        in_model: spec.in_model,
    };
    let all = settings.steps as u64;
    let mut watch = |found: TwinFrame<'_>| {
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
    let mind = mind(&policy, spec.best_of.map(|n| (model, n)), spec.seed)?;
    let found = twin(mind, model, &settings, &mut watch, context.cancel.flag())
        .map_err(|failure| ended(context, failure))?;
    let summary = format!("{}: {} steps", found.prompt, found.steps);
    let value = json!({
        "stage": "twin", "prompt": found.prompt, "rules": found.rules, "world": found.world, "model": found.model,
        "steps": found.steps, "seed": spec.seed, "dataset": spec.out, "with": about(Some(&loaded)),
    });
    if let Some(out) = &spec.out {
        found.save(out)?;
    }
    report(context, value);
    Ok(summary)
}
