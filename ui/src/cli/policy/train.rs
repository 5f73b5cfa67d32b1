//! `forerun policy train`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use forerun::engine::device;
use forerun::models::policy::Kind;
use forerun::policy::{PolicySettings, PolicyStage, start};
use forerun::train::Budget;
use forerun::{Failure, interrupt};
use serde_json::json;

use super::Answer;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindName {
    /// Told by words
    Direct,
    /// Told by a picture of what to reach
    Goal,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("budget").args(["minutes", "iterations"]))]
pub(in super::super) struct Arguments {
    /// Datasets to learn from
    #[arg(long, required = true, num_args = 1..)]
    dataset: Vec<PathBuf>,
    /// Policy folder to write; with --resume, the one to go on with
    #[arg(long)]
    out: PathBuf,
    /// What the policy is told to do by; as in the settings when absent
    #[arg(long)]
    kind: Option<KindName>,
    /// Settings of the run
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Policy to start from
    #[arg(long, value_name = "POLICY")]
    from: Option<PathBuf>,
    /// Minutes of training, earlier ones included (30 when nothing is given)
    #[arg(long)]
    minutes: Option<f32>,
    /// Iterations, earlier ones included; exactly repeatable
    #[arg(long)]
    iterations: Option<u64>,
    /// Go on from the last checkpoint
    #[arg(long)]
    resume: bool,
    /// Where to learn: cpu, cuda, cuda:1, metal (as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// How often a line about the training is printed.
const PERIOD: Duration = Duration::from_secs(10);
const MINUTES: f32 = 30.0;

pub(super) fn run(arguments: Arguments) -> Answer {
    let Arguments { dataset, out, kind, config, from, minutes, iterations, resume, device } = arguments;
    let mut settings = match config {
        Some(path) => PolicySettings::read(&path).map_err(Failure::from_error)?,
        None => PolicySettings::default(),
    };
    if let Some(kind) = kind {
        settings.kind = match kind {
            KindName::Direct => Kind::Direct,
            KindName::Goal => Kind::Goal,
        };
    }
    let budget = match (minutes, iterations) {
        (None, None) => Budget::Minutes(MINUTES),
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Budget::Minutes(minutes),
        (None, Some(iterations)) if iterations > 0 => Budget::Iterations(iterations),
        _ => {
            let what = "There is nothing to train for.";
            return Err(Failure::new(what, "Give minutes or iterations above 0.").into());
        }
    };
    learn(settings, Goal { datasets: dataset, out, from, resume, device }, budget)
}

/// From what, and where to.
pub(super) struct Goal {
    pub(super) datasets: Vec<PathBuf>,
    pub(super) out: PathBuf,
    pub(super) from: Option<PathBuf>,
    pub(super) resume: bool,
    /// Name of the device to learn on.
    pub(super) device: String,
}

/// Trains, telling how it goes.
pub(super) fn learn(settings: PolicySettings, goal: Goal, budget: Budget) -> Answer {
    let Goal { datasets, out, from, resume, device } = goal;
    let device = device::open(&device)?;
    interrupt::listen();
    let mut told: Option<Instant> = None;
    let mut last = None;
    let mut held_out = None;
    let mut watch = |stage: PolicyStage| match stage {
        PolicyStage::Note(note) => eprintln!("{note}"),
        PolicyStage::Loading { done, all } => {
            if done == all || told.is_none_or(|t| t.elapsed() > PERIOD) {
                told = Some(Instant::now());
                eprintln!("reading episodes: {done} of {all}");
            }
        }
        PolicyStage::Training(report) => {
            if report.held_out.is_some() || told.is_none_or(|t| t.elapsed() > PERIOD) {
                told = Some(Instant::now());
                eprintln!(
                    "iteration {}, loss {:.4}, labels {:.4}, {:.0} examples a second, {:.0} min left",
                    report.iteration,
                    report.loss,
                    report.readings,
                    report.frames_per_second,
                    report.seconds_left / 60.0
                );
                if let Some(judged) = &report.held_out {
                    let errors: Vec<_> = judged.error.iter().map(|(n, e)| format!("{n} {e:.2}")).collect();
                    eprintln!("held out: loss {:.4}, off by {}", judged.loss, errors.join(", "));
                    held_out = Some(judged.clone());
                }
            }
            last = Some(report);
        }
    };
    let cancel = interrupt::flag();
    let ended =
        start(settings, &datasets, &out, from.as_deref(), budget, resume, &device, &mut watch, cancel);
    let contract = match ended {
        Ok(contract) => contract,
        Err(error) if interrupt::requested() => {
            return Err(Failure::new(
                format!("Stopped: {error}."),
                "The last checkpoint is in the policy folder; go on with --resume.",
            )
            .into());
        }
        Err(error) => return Err(Failure::from_error(error).into()),
    };
    println!("{} is in {}", contract.name, out.display());
    Ok(json!({ "policy": out, "contract": contract, "report": last, "held_out": held_out }))
}
