//! Success rates: an agent in many scenes, always beside doing nothing, acting at random and the scripted expert, from
//! the same starts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use forerun_models::kernels::threads;
use serde::{Deserialize, Serialize};

use super::actor::{Yardstick, blind, expert, expert_channels, play, with_agent};
use super::agent::{Agent, AgentSettings, Latency};
use super::align::Columns;
use super::judge::{self, Push};
use super::mind::Mind;
use super::model_place::ModelPlace;
use super::place::{Observation, Place};
use super::stats::wilson;
use super::stoppable::Stoppable;
use super::world_place::WorldPlace;
use crate::engine::backend::WorldModel;
use crate::failure::Failure;
use crate::world::rng::Rng;
use crate::world::{Look, Picture, Preset, SceneDistribution, SceneSpec, TaskName};

/// Where episodes take place.
#[derive(Clone, Copy)]
pub enum Venue<'m> {
    /// Physics.
    World,
    /// Imagination by this model.
    Model(&'m dyn WorldModel),
}

impl std::fmt::Debug for Venue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Venue<'_> {
    /// As on the command line.
    pub fn name(&self) -> String {
        match self {
            Venue::World => "world:tabletop".into(),
            Venue::Model(model) => format!("model:{}", model.contract().name),
        }
    }
}

/// What is evaluated.
#[derive(Clone, Debug, Serialize)]
pub struct EvaluateSettings {
    /// Only this task; without, the four pushes.
    pub task: Option<TaskName>,
    /// Visual domain of the scenes.
    pub look: Look,
    /// Episodes.
    pub episodes: usize,
    /// Seed of the scenes and of all noise.
    pub seed: u64,
    /// Most steps an episode.
    pub steps: usize,
    /// Frames a second.
    pub fps: u32,
    /// How the agent uses its chunks.
    pub agent: AgentSettings,
    /// Denoising steps a frame, in a model.
    pub refine: usize,
    /// Threads; 0 = one for each core. The numbers do not depend on it.
    #[serde(skip)]
    pub threads: usize,
}

impl Default for EvaluateSettings {
    fn default() -> Self {
        Self {
            task: None,
            look: Look::Plain,
            episodes: 50,
            seed: 0,
            steps: 80,
            fps: 10,
            agent: AgentSettings::default(),
            refine: 1,
            threads: 0,
        }
    }
}

/// One episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeResult {
    /// Seed of its scene.
    pub seed: u64,
    /// What was to be done.
    pub prompt: String,
    /// The rule held.
    pub success: bool,
    /// Steps until then, or all.
    pub steps: usize,
    /// Most progress on the way, 0..1.
    pub progress: f32,
}

/// A success rate with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Episodes in which the rule held.
    pub successes: usize,
    /// Episodes.
    pub episodes: usize,
    /// Their share.
    pub rate: f64,
    /// Lower end of Wilson's 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Mean of the most progress.
    pub progress: f64,
}

impl Tally {
    /// Counts episodes.
    pub fn of(results: &[EpisodeResult]) -> Self {
        let (successes, episodes) = (results.iter().filter(|r| r.success).count(), results.len());
        let (low, high) = wilson(successes, episodes);
        let many = episodes.max(1) as f64;
        Self {
            successes,
            episodes,
            rate: successes as f64 / many,
            low,
            high,
            progress: results.iter().map(|r| f64::from(r.progress)).sum::<f64>() / many,
        }
    }
}

/// What an evaluation found.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Where.
    pub place: String,
    /// When an episode is a success, in words.
    pub rule: String,
    /// What was asked for.
    pub settings: EvaluateSettings,
    /// Who, its rate, and its episodes in the order of their seeds: the agent first, then the yardsticks.
    pub actors: Vec<(String, Tally, Vec<EpisodeResult>)>,
    /// Milliseconds a plan: mean and 95th percentile. Not the same from run to run.
    #[serde(skip)]
    pub plan_ms: (f64, f64),
    /// Plans made.
    pub plans: usize,
    /// What minds counted besides.
    pub counts: Vec<(String, u64)>,
}

/// The scenes of an evaluation: a function of its seed, apart from all recordings.
pub fn scenes(settings: &EvaluateSettings) -> Vec<(u64, SceneSpec)> {
    let distribution = SceneDistribution {
        preset: Preset::Push,
        look: settings.look,
        fps: settings.fps,
        task: settings.task,
        picture: Picture::Rgb,
    };
    (0..settings.episodes as u64)
        .map(|i| {
            let seed = Rng::new(settings.seed, 0xe7a1_0000_0000 + i).next_u64() >> 1;
            (seed, distribution.sample(seed, false))
        })
        .collect()
}

/// When an episode in this place is a success, in words.
fn rule(venue: Venue<'_>, scenes: &[(u64, SceneSpec)], steps: usize) -> String {
    let within = format!("at any moment within {steps} steps");
    match venue {
        Venue::Model(_) => {
            let mut rules: Vec<String> = scenes
                .iter()
                .map(|(_, scene)| judge::rule(Push::asked(&scene.task.text).is_some()))
                .collect();
            rules.sort_unstable();
            rules.dedup();
            format!("{}, {within}", rules.join("; or: "))
        }
        Venue::World => {
            let mut rules: Vec<&str> = scenes.iter().map(|(_, scene)| scene.task.name.rule()).collect();
            rules.sort_unstable();
            rules.dedup();
            format!("{}, {within}", rules.join("; or: "))
        }
    }
}

/// Gives each scene's seed its own mind.
pub type MindOf<'m> = dyn Fn(u64) -> Result<Box<dyn Mind + 'm>, Failure> + Sync + 'm;

/// What one actor made of one scene.
struct One {
    result: EpisodeResult,
    latency: Latency,
    counts: Vec<(&'static str, u64)>,
}

/// Evaluates `minds` (each scene gets its own from its seed; `None` = only the yardsticks) and the `yardsticks`.
/// `progress` is told how many of all episodes are over.
///
/// # Errors
/// Settings out of range, a policy, model and place that do not fit together, cancel.
pub fn evaluate(
    venue: Venue<'_>,
    name: &str,
    minds: Option<&MindOf<'_>>,
    yardsticks: &[Yardstick],
    settings: &EvaluateSettings,
    progress: &(dyn Fn(usize, usize) + Sync),
    cancel: &AtomicBool,
) -> Result<Evaluation, Failure> {
    check(settings)?;
    let scenes = scenes(settings);
    let actors: Vec<Option<Yardstick>> =
        minds.map(|_| None).into_iter().chain(yardsticks.iter().copied().map(Some)).collect();
    let jobs: Vec<(usize, usize)> =
        (0..actors.len()).flat_map(|a| (0..scenes.len()).map(move |s| (a, s))).collect();
    let results: Vec<Mutex<Option<Result<One, Failure>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let (workers, each) = crew(settings, jobs.len());
    let work = || {
        threads::with(each, || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((actor, scene)) = jobs.get(at) else { break };
                if cancel.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                    break;
                }
                let (Some(actor), Some((seed, scene))) = (actors.get(*actor), scenes.get(*scene)) else {
                    break;
                };
                let one = episode(venue, *actor, minds, scene, *seed, settings, cancel);
                if one.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                if let Some(slot) = results.get(at) {
                    *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(one);
                }
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
            }
        });
    };
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        work();
        // A helper that panicked leaves its episode without a result, which is told below.
        helpers.into_iter().for_each(|helper| drop(helper.join()));
    });
    let mut ones: Vec<Option<Result<One, Failure>>> =
        results.into_iter().map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner())).collect();
    if let Some(error) = ones.iter_mut().find(|o| matches!(o, Some(Err(_)))).and_then(Option::take) {
        return Err(error.err().unwrap_or_else(stopped));
    }
    let mut evaluation = Evaluation {
        place: venue.name(),
        rule: rule(venue, &scenes, settings.steps),
        settings: settings.clone(),
        actors: Vec::new(),
        plan_ms: (0.0, 0.0),
        plans: 0,
        counts: Vec::new(),
    };
    let mut latency = Latency::default();
    for (actor, part) in actors.iter().zip(ones.chunks_mut(scenes.len().max(1))) {
        let mut episodes = Vec::with_capacity(scenes.len());
        for one in part {
            let one = one.take().and_then(Result::ok).ok_or_else(stopped)?;
            latency.add(&one.latency);
            for (name, count) in one.counts {
                match evaluation.counts.iter_mut().find(|(n, _)| n == name) {
                    Some((_, sum)) => *sum += count,
                    None => evaluation.counts.push((name.to_owned(), count)),
                }
            }
            episodes.push(one.result);
        }
        let name = actor.map_or(name.to_owned(), |yardstick| yardstick.as_str().to_owned());
        evaluation.actors.push((name, Tally::of(&episodes), episodes));
    }
    evaluation.plans = latency.plans();
    evaluation.plan_ms = latency.summary();
    Ok(evaluation)
}

fn stopped() -> Failure {
    Failure::new("The evaluation was stopped.", "Start it again; the same seed gives the same episodes.")
}

/// Episodes side by side, and threads for each: only a few long ones get more than one (which changes no number).
pub(super) fn crew(settings: &EvaluateSettings, jobs: usize) -> (usize, usize) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if settings.threads == 0 { cores } else { settings.threads }.min(jobs).max(1);
    (workers, (cores / workers).max(1))
}

pub(super) fn check(settings: &EvaluateSettings) -> Result<(), Failure> {
    let bad = |what: &str, advice: &str| Err(Failure::new(what, advice));
    if settings.episodes == 0 || settings.episodes > 100_000 {
        return bad("There is nothing to evaluate.", "Ask for 1 to 100000 episodes.");
    }
    if settings.steps == 0 || settings.steps > 10_000 {
        return bad("An episode has 1 to 10000 steps.", "Change the number of steps.");
    }
    if !matches!(settings.fps, 10 | 20 | 30) {
        return bad(
            "The virtual world runs at 10, 20 or 30 steps a second.",
            "Use a policy that was trained at one of these rates.",
        );
    }
    if settings.task == Some(TaskName::Play) {
        return bad("Play has no goal, so nothing can be judged.", "Choose a task, for example push-left.");
    }
    Ok(())
}

fn episode(
    venue: Venue<'_>,
    actor: Option<Yardstick>,
    minds: Option<&MindOf<'_>>,
    scene: &SceneSpec,
    seed: u64,
    settings: &EvaluateSettings,
    cancel: &AtomicBool,
) -> Result<One, Failure> {
    let steps = settings.steps;
    let mut latency = Latency::default();
    let mut counts = Vec::new();
    let mut with_mind = |place: &mut dyn Place| {
        let mind = minds
            .ok_or_else(|| Failure::new("There is no policy to evaluate.", "Name one."))
            .and_then(|minds| minds(seed))?;
        let mut place = Stoppable::new(place, cancel);
        let mut agent = Agent::new(mind, &place, settings.agent)?;
        let (ended, took) = with_agent(&mut place, &mut agent, steps, false)?;
        latency = took;
        counts = agent.counts();
        Ok::<_, Failure>(ended)
    };
    let ended = match (venue, actor) {
        (Venue::World, Some(Yardstick::Expert)) => expert(scene, seed, SIZE, steps, false)?,
        (Venue::World, Some(yardstick)) => {
            blind(&mut WorldPlace::new(scene, MIN_SIZE)?, yardstick, seed, steps)?
        }
        (Venue::World, None) => with_mind(&mut WorldPlace::new(scene, SIZE)?)?,
        (Venue::Model(model), actor) => {
            let mut own = imagined(model, scene, seed, settings.refine)?;
            let mut place = Stoppable::new(&mut own, cancel);
            match actor {
                None => with_mind(&mut place)?,
                Some(Yardstick::Expert) => {
                    let truth = expert(scene, seed, MIN_SIZE, steps, true)?;
                    let columns = Columns::find("actions", &model.contract().actions, &expert_channels())?;
                    let mut rows = truth.actions.iter();
                    let mut last = truth.actions.last().cloned().unwrap_or_default();
                    play(&mut place, steps, false, &mut |_, _| {
                        // When the expert is done in physics, its last target is held.
                        if let Some(row) = rows.next() {
                            last.clone_from(row);
                        }
                        Ok(columns.take(&last))
                    })?
                }
                Some(yardstick) => blind(&mut place, yardstick, seed, steps)?,
            }
        }
    };
    let result = EpisodeResult {
        seed,
        prompt: scene.task.text.clone(),
        success: ended.success,
        steps: ended.steps,
        progress: ended.progress,
    };
    Ok(One { result, latency, counts })
}

/// Side of the pictures that the world is seen in; minds take what size they need from it.
pub(super) const SIZE: usize = 128;
/// Side where nobody looks.
const MIN_SIZE: usize = 64;

/// The start of a scene inside a model: its first picture and state are those of physics.
///
/// # Errors
/// A scene that cannot be built, a model of another robot.
pub(super) fn imagined<'m>(
    model: &'m dyn WorldModel,
    scene: &SceneSpec,
    seed: u64,
    refine: usize,
) -> Result<ModelPlace<'m>, Failure> {
    let frame = &model.contract().frame;
    let mut world = WorldPlace::new(scene, frame.width.max(frame.height))?;
    let seen = world.observe()?;
    let state = Columns::find("state", &model.contract().state, world.state())?.take(&seen.state);
    let picture = crate::engine::fit::fit_for(&seen.frame, frame)?.frame;
    ModelPlace::new(model, Observation { frame: picture, state }, &scene.task.text, seed, refine)
}

impl Evaluation {
    /// The tally of an actor.
    pub fn tally(&self, name: &str) -> Option<&Tally> {
        self.actors.iter().find(|(n, _, _)| n == name).map(|(_, tally, _)| tally)
    }

    /// The same for a program: everything that a re-run repeats, and beside it how long plans took.
    pub fn value(&self) -> serde_json::Value {
        let results: serde_json::Map<String, serde_json::Value> = self
            .actors
            .iter()
            .map(|(name, tally, episodes)| {
                let mut value = serde_json::to_value(tally).unwrap_or_default();
                if let Some(object) = value.as_object_mut() {
                    let list = serde_json::to_value(episodes).unwrap_or_default();
                    object.insert("each".into(), list);
                }
                (name.clone(), value)
            })
            .collect();
        let counts: serde_json::Map<String, serde_json::Value> =
            self.counts.iter().map(|(name, count)| (name.clone(), (*count).into())).collect();
        serde_json::json!({
            "place": self.place, "rule": self.rule, "settings": self.settings, "results": results,
            "plans": self.plans, "counts": counts,
            "timings": { "plan_ms_mean": self.plan_ms.0, "plan_ms_p95": self.plan_ms.1 },
            "kernels": crate::engine::backend::kernels(), "software": env!("CARGO_PKG_VERSION"),
        })
    }

    /// A table for a person: the rule first, then a line an actor.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("success in {}: {}", self.place, self.rule)];
        for (name, tally, _) in &self.actors {
            lines.push(format!(
                "{name:<12} {:>5.1} %   95 % interval {:.1} to {:.1} %   {} of {} episodes   mean progress {:.2}",
                tally.rate * 100.0,
                tally.low * 100.0,
                tally.high * 100.0,
                tally.successes,
                tally.episodes,
                tally.progress
            ));
        }
        if self.plans > 0 {
            lines.push(format!(
                "{} plans, {:.0} ms each, 95 of 100 within {:.0} ms",
                self.plans, self.plan_ms.0, self.plan_ms.1
            ));
        }
        for (name, count) in &self.counts {
            lines.push(format!("{name}: {count}"));
        }
        lines.push(format!("seed {}; the same seed gives the same episodes", self.settings.seed));
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(settings: &EvaluateSettings) -> Evaluation {
        let cancel = AtomicBool::new(false);
        evaluate(Venue::World, "policy", None, &Yardstick::ALL, settings, &|_, _| {}, &cancel).unwrap()
    }

    #[test]
    fn the_expert_succeeds_and_doing_nothing_does_not() {
        let settings = EvaluateSettings { episodes: 6, seed: 3, ..EvaluateSettings::default() };
        let found = run(&settings);
        assert!(found.tally("expert").unwrap().successes >= 5, "{:?}", found.lines());
        assert_eq!(found.tally("nothing").unwrap().successes, 0);
        assert!(found.rule.contains("5 cm") && found.rule.contains("80 steps"), "{}", found.rule);
        // Whatever the number of threads, the same seed gives the same episodes.
        let again = run(&EvaluateSettings { threads: 1, ..settings });
        assert_eq!(again.value()["results"], found.value()["results"]);
    }

    #[test]
    fn settings_out_of_range_and_cancel_are_told() {
        let cancel = AtomicBool::new(true);
        let told = |settings: &EvaluateSettings| {
            let yardsticks = [Yardstick::Nothing];
            evaluate(Venue::World, "p", None, &yardsticks, settings, &|_, _| {}, &cancel).unwrap_err().text()
        };
        let base = EvaluateSettings::default();
        assert!(told(&EvaluateSettings { episodes: 0, ..base.clone() }).contains("1 to 100000"));
        assert!(told(&EvaluateSettings { fps: 15, ..base.clone() }).contains("10, 20 or 30"));
        let play = EvaluateSettings { task: Some(TaskName::Play), ..base.clone() };
        assert!(told(&play).contains("no goal"));
        assert!(told(&base).contains("stopped"));
    }
}
