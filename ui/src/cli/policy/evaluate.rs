//! `forerun policy evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forerun::engine::device;
use forerun::engine::models::ModelStore;
use forerun::models::policy::Policy;
use forerun::policy::{
    AgentSettings, Deciding, EvaluateSettings, Method, Mind, Parts, SubgoalSettings, Yardstick, evaluate,
    find_policy, load_policy_on, save_score,
};
use forerun::world::{Look, TaskName};
use forerun::{Failure, interrupt};
use serde_json::json;

use super::Answer;
use super::places::{Named, teller};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Search {
    /// Cross-entropy method
    Cem,
    /// Path integrals
    Mppi,
}

#[derive(Args, Debug)]
pub(in super::super) struct Arguments {
    /// Policy folder, or the name of a policy that comes with Forerun (push-direct, push-goal)
    #[arg(long, required_unless_present_any = ["planner", "own_actions"])]
    policy: Option<PathBuf>,
    /// Where: world:tabletop (physics) or model:MODEL (imagination)
    #[arg(long = "in", value_name = "PLACE")]
    place: String,
    /// Only this task, for example push-left; the four pushes when absent
    #[arg(long)]
    task: Option<TaskName>,
    /// Episodes
    #[arg(long, default_value_t = 50)]
    episodes: usize,
    /// Seed: the same one gives the same episodes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// plain, rich, or a number
    #[arg(long, default_value = "plain")]
    look: Look,
    /// Most steps an episode
    #[arg(long, default_value_t = 80)]
    steps: usize,
    /// Steps from one plan to the next
    #[arg(long, default_value_t = 3)]
    every: usize,
    /// Weight of a plan against the next newer one, 0 to 1
    #[arg(long, default_value_t = 0.5)]
    keep: f32,
    /// Steps from an observation to the first action that answers it
    #[arg(long, default_value_t = 0)]
    delay: usize,
    /// Noise of the policy: 0 = its mean, 1 = as demonstrators differ (1 for the candidates of --best-of)
    #[arg(long)]
    temperature: Option<f32>,
    /// Denoising steps a frame, in a model
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    refine: u8,
    /// World model to look ahead with
    #[arg(long = "with", value_name = "MODEL", default_value = "tabletop")]
    with: String,
    /// Try this many of the policy's chunks in the world model and take the best
    #[arg(long, value_name = "N")]
    best_of: Option<usize>,
    /// Futures a candidate; where they disagree, it is worth less
    #[arg(long, default_value_t = 1, value_name = "N")]
    doubt_seeds: usize,
    /// Imagine from the words what to reach, and let a goal policy go there
    #[arg(long, conflicts_with_all = ["best_of", "planner"])]
    subgoals: bool,
    /// Frames ahead that a goal is imagined
    #[arg(long, default_value_t = SubgoalSettings::default().ahead)]
    ahead: usize,
    /// Futures of which the best one's end becomes the goal, or whose actions are taken
    #[arg(long, default_value_t = SubgoalSettings::default().futures)]
    futures: usize,
    /// Let the world model act: it imagines from the words alone, and what it takes to have been done is done
    #[arg(long, conflicts_with_all = ["best_of", "planner", "subgoals", "policy"])]
    own_actions: bool,
    /// Plan in the world model; with --policy the search starts from its chunks
    #[arg(long, value_enum, conflicts_with = "best_of")]
    planner: Option<Search>,
    /// Only the policy, without the yardsticks beside it
    #[arg(long)]
    alone: bool,
    /// Where policy and models run: cpu, cuda, cuda:1, metal, or wgpu for the models (as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Write the numbers into the policy's scorecard.json
    #[arg(long, requires = "policy")]
    save: bool,
}

impl Arguments {
    fn how(&self) -> Deciding {
        let seeds = self.doubt_seeds;
        if self.own_actions {
            return Deciding::OwnActions { futures: self.futures };
        }
        match (self.best_of, self.subgoals, self.planner) {
            (Some(candidates), _, _) => Deciding::BestOf { candidates, seeds },
            (_, true, _) => Deciding::Subgoals { ahead: self.ahead, futures: self.futures },
            (_, _, Some(Search::Cem)) => Deciding::Planner { method: Method::Cem, seeds },
            (_, _, Some(Search::Mppi)) => Deciding::Planner { method: Method::Mppi, seeds },
            _ => Deciding::Alone,
        }
    }
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let a = &arguments;
    let how = a.how();
    let device = device::beside(&a.device)?;
    let policy = a.policy.as_deref().map(|folder| load_policy_on(folder, &device)).transpose()?;
    how.check(policy.as_ref().map(|policy| policy.network().config().kind))?;
    let store = ModelStore::default();
    let place = Named::open(&a.place, &a.device, &store)?;
    let ahead = if how.looks_ahead() { Some(store.get(&a.with, &a.device)?) } else { None };
    let rate = match (&policy, &ahead) {
        (Some(policy), _) => policy.contract().frame.rate_hz,
        (None, Some(ahead)) => ahead.model.contract().frame.rate_hz,
        (None, None) => 10.0,
    };
    let settings = EvaluateSettings {
        task: a.task,
        look: a.look,
        episodes: a.episodes,
        seed: a.seed,
        steps: a.steps,
        fps: rate.round() as u32,
        agent: AgentSettings { every: a.every, keep: a.keep, delay: a.delay },
        refine: usize::from(a.refine),
        threads: 0,
    };
    interrupt::listen();
    let parts = Parts {
        policy: policy.as_ref(),
        model: ahead.as_ref().map(|ahead| ahead.model.as_ref()),
        temperature: a.temperature,
        refine: usize::from(a.refine),
    };
    let minds = |seed: u64| -> Result<Box<dyn Mind + '_>, Failure> { how.mind(&parts, seed) };
    let name = how.name();
    let yardsticks: &[Yardstick] = if a.alone { &[] } else { &Yardstick::ALL };
    let cancel = interrupt::flag();
    let found =
        evaluate(place.venue(), &name, Some(&minds), yardsticks, &settings, &teller("episodes"), cancel)?;
    for line in found.lines() {
        println!("{line}");
    }
    let mut value = found.value();
    let model =
        ahead.as_ref().map(|loaded| json!({ "name": loaded.info.name, "sha256": loaded.info.sha256 }));
    let about = json!({
        "policy": policy.as_ref().map(|policy| about(policy, a)), "mind": name, "how": how,
        "temperature": how.temperature(a.temperature), "with": model, "doubt_seeds": a.doubt_seeds,
    });
    super::super::add_report(&mut value, Some(about));
    if let (true, Some(folder)) = (a.save, &a.policy) {
        save_score(&find_policy(folder), &value)?;
    }
    Ok(value)
}

fn about(policy: &Policy, arguments: &Arguments) -> serde_json::Value {
    json!({
        "name": policy.contract().name, "folder": arguments.policy, "sha256": policy.sha256(),
        "parameters": policy.parameters(),
    })
}
