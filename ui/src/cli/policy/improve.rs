//! `forerun policy improve`: one round of imagined experience.

use std::path::PathBuf;

use clap::Args;
use forerun::engine::device;
use forerun::engine::models::ModelStore;
use forerun::policy::{ExperienceSettings, PolicySettings, imagine_experience, load_policy_on};
use forerun::{Failure, interrupt};
use serde_json::json;

use super::Answer;
use super::places::teller;
use super::train::{self, Goal};

#[derive(Args, Debug)]
pub(in super::super) struct Arguments {
    /// Policy to improve
    #[arg(long)]
    policy: PathBuf,
    /// World model to act in
    #[arg(long, default_value = "tabletop")]
    model: String,
    /// Data that the policy was learnt from, which is learnt along with the new episodes
    #[arg(long)]
    dataset: PathBuf,
    /// Recordings whose first frames and words the episodes start from; those of --dataset when absent. Demonstrations are
    /// not needed here: a picture of the table and a task are enough
    #[arg(long)]
    starts: Option<PathBuf>,
    /// Improved policy to write; the imagined episodes go beside it, into OUT-imagined
    #[arg(long)]
    out: PathBuf,
    /// Episodes to imagine
    #[arg(long, default_value_t = ExperienceSettings::default().episodes)]
    episodes: usize,
    /// Most steps an episode
    #[arg(long, default_value_t = ExperienceSettings::default().steps)]
    steps: usize,
    /// Seed of starts and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Noise of the policy
    #[arg(long, default_value_t = 1.0)]
    temperature: f32,
    /// The world model acts instead of the policy: it imagines this many futures from the words and takes the best one's
    /// actions (for a policy that cannot do much yet)
    #[arg(long, value_name = "N", default_value_t = 0)]
    own_actions: usize,
    /// Other seeds under which a success must succeed again
    #[arg(long, default_value_t = ExperienceSettings::default().witnesses)]
    witnesses: usize,
    /// Settings of the training
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Minutes of training
    #[arg(long, default_value_t = 15.0)]
    minutes: f32,
    /// Where to imagine and to learn: cpu, cuda, cuda:1, metal (as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let a = arguments;
    let policy = load_policy_on(&a.policy, &device::beside(&a.device)?)?;
    let mut settings = match &a.config {
        Some(path) => PolicySettings::read(path).map_err(Failure::from_error)?,
        None => PolicySettings::default(),
    };
    settings.kind = policy.network().config().kind;
    settings.name = format!("{}, improved", policy.contract().name);
    let mut folder = a.out.clone().into_os_string();
    folder.push("-imagined");
    let imagined = PathBuf::from(folder);
    if a.out.join("contract.json").exists() || imagined.exists() {
        return Err(Failure::new(
            format!("{} or {} exists already.", a.out.display(), imagined.display()),
            "Choose another folder.",
        )
        .into());
    }
    let store = ModelStore::default();
    let model = store.get(&a.model, &a.device)?;
    let wanted = ExperienceSettings {
        episodes: a.episodes,
        steps: a.steps,
        seed: a.seed,
        temperature: a.temperature,
        witnesses: a.witnesses,
        agreed: a.witnesses,
        own_actions: a.own_actions,
        ..ExperienceSettings::default()
    };
    interrupt::listen();
    let cancel = interrupt::flag();
    let tell = teller("episodes imagined");
    let starts = a.starts.as_ref().unwrap_or(&a.dataset);
    let found = imagine_experience(&policy, model.model.as_ref(), starts, &wanted, &imagined, &tell, cancel)?;
    println!(
        "{} episodes imagined: {} surely succeed, {} only under one seed and are left out",
        found.tried, found.accepted, found.doubtful
    );
    if found.accepted == 0 {
        return Err(Failure::new(
            "No imagined episode surely succeeded, so there is nothing new to learn.",
            "Imagine more episodes, train the policy or the model longer, or ask for fewer witnesses.",
        )
        .into());
    }
    let goal = Goal {
        datasets: vec![a.dataset, imagined.clone()],
        out: a.out,
        from: Some(a.policy),
        resume: false,
        device: a.device,
    };
    let mut value = train::learn(settings, goal, forerun::train::Budget::Minutes(a.minutes))?;
    let report = json!({
        "experience": found, "experience_settings": wanted, "imagined": imagined,
        "model": { "name": model.info.name, "sha256": model.info.sha256 },
    });
    super::super::add_report(&mut value, Some(report));
    Ok(value)
}
