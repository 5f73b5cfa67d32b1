//! `forerun policy rank`: does the world model rank policies as physics does?

use std::path::{Path, PathBuf};

use clap::Args;
use forerun::engine::models::ModelStore;
use forerun::models::policy::Policy;
use forerun::policy::{EvaluateSettings, load_policy, rank};
use forerun::world::TaskName;
use forerun::{Failure, interrupt};

use super::Answer;
use super::places::teller;

#[derive(Args, Debug)]
pub(in super::super) struct Arguments {
    /// Policy folders
    #[arg(long, num_args = 1.., required_unless_present = "checkpoints_of")]
    policies: Vec<PathBuf>,
    /// Policy whose snapshots on its way are ranked
    #[arg(long, value_name = "POLICY")]
    checkpoints_of: Option<PathBuf>,
    /// World model
    #[arg(long, default_value = "tabletop")]
    model: String,
    /// Only this task; the four pushes when absent
    #[arg(long)]
    task: Option<TaskName>,
    /// Episodes a policy and place
    #[arg(long, default_value_t = 50)]
    episodes: usize,
    /// Seed: the same one gives the same episodes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Most steps an episode
    #[arg(long, default_value_t = 80)]
    steps: usize,
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let mut folders = arguments.policies;
    if let Some(policy) = &arguments.checkpoints_of {
        folders.extend(snapshots(policy)?);
        folders.push(policy.clone());
    }
    let policies = folders
        .iter()
        .map(|folder| Ok((folder.display().to_string(), load_policy(folder)?)))
        .collect::<Result<Vec<(String, Policy)>, Failure>>()?;
    let store = ModelStore::default();
    let model = store.get(&arguments.model, "cpu")?;
    let settings = EvaluateSettings {
        task: arguments.task,
        episodes: arguments.episodes,
        seed: arguments.seed,
        steps: arguments.steps,
        fps: model.model.contract().frame.rate_hz.round() as u32,
        ..EvaluateSettings::default()
    };
    interrupt::listen();
    let tell = teller("episodes");
    let found = rank(&policies, model.model.as_ref(), &settings, &tell, interrupt::flag())?;
    for line in found.lines() {
        println!("{line}");
    }
    Ok(serde_json::to_value(&found).unwrap_or_default())
}

/// The snapshots that a training run kept, earliest first.
fn snapshots(policy: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = policy.join("checkpoints");
    let entries = std::fs::read_dir(&folder).map_err(|e| Failure::io("read", &folder, &e))?;
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.join("contract.json").is_file()).collect();
    found.sort();
    Ok(found)
}
