//! `forerun train`: a model from recorded episodes.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use forerun::engine::device;
use forerun::engine::places::Places;
use forerun::train::{Budget, Judgement, Stage, TrainSettings};
use forerun::{Failure, interrupt, train};
use serde_json::json;

use super::Answer;

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("budget").required(true).args(["minutes", "iterations"]))]
pub(super) struct Arguments {
    /// Settings of the run
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Datasets to train on
    #[arg(long, required = true, num_args = 1..)]
    dataset: Vec<PathBuf>,
    /// Model folder to write; with --resume, the one to go on with
    #[arg(long)]
    out: PathBuf,
    /// Minutes of training, earlier ones included
    #[arg(long)]
    minutes: Option<f32>,
    /// Iterations, earlier ones included; exactly repeatable
    #[arg(long)]
    iterations: Option<u64>,
    /// Go on from the last checkpoint
    #[arg(long)]
    resume: bool,
    /// Begin with the weights of this model folder, or of a model by its name, instead of fresh ones
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<String>,
    /// Where to learn: cpu, cuda, cuda:1, metal (as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// How often a line about the training is printed.
const PERIOD: Duration = Duration::from_secs(10);

pub(super) fn run(arguments: Arguments) -> Answer {
    let Arguments { config, dataset, out, minutes, iterations, resume, from, device } = arguments;
    let from = from.map(|model| Places::standard(None).find(&model)).transpose()?;
    let device = device::open(&device)?;
    let settings = TrainSettings::read(&config).map_err(Failure::from_error)?;
    let budget = match (minutes, iterations) {
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Budget::Minutes(minutes),
        (None, Some(iterations)) if iterations > 0 => Budget::Iterations(iterations),
        _ => {
            return Err(Failure::new(
                "There is nothing to train for.",
                "Give minutes or iterations above 0.",
            )
            .into());
        }
    };
    interrupt::listen();
    let mut told: Option<Instant> = None;
    let mut last = None;
    let mut watch = |stage: Stage| match stage {
        Stage::Note(note) => eprintln!("{note}"),
        Stage::Loading { done, all } => {
            if done == all || told.is_none_or(|t| t.elapsed() > PERIOD) {
                told = Some(Instant::now());
                eprintln!("reading episodes: {done} of {all}");
            }
        }
        Stage::Training(report) => {
            if report.judgement.is_some() || told.is_none_or(|t| t.elapsed() > PERIOD) {
                told = Some(Instant::now());
                eprintln!(
                    "iteration {}, loss {:.4}, {:.2} dB, {:.0} frames a second, {:.0} min left",
                    report.iteration,
                    report.loss,
                    report.psnr,
                    report.frames_per_second,
                    report.seconds_left / 60.0
                );
                if let Some(judged) = &report.judgement {
                    eprintln!("held out at steps {:?}: {:.2?} dB", judged.horizons, judged.psnr);
                    if let Some(apart) = judged.words_apart.filter(|apart| *apart < Judgement::DEAF) {
                        eprintln!(
                            "the model hardly tells its prompts apart ({apart:.2} of 1): begin with a policy's text encoder \
                             (`words_from` in the settings)"
                        );
                    }
                }
            }
            last = Some(report);
        }
    };
    let ended = train::start(
        settings,
        &dataset,
        &out,
        budget,
        resume,
        from.as_deref(),
        &device,
        &mut watch,
        interrupt::flag(),
    );
    let contract = match ended {
        Ok(contract) => contract,
        Err(error) if interrupt::requested() => {
            return Err(Failure::new(
                format!("Stopped: {error}."),
                "The last checkpoint is in the model folder; go on with --resume.",
            )
            .into());
        }
        Err(error) => return Err(Failure::from_error(error).into()),
    };
    println!("{} is in {}", contract.name, out.display());
    Ok(json!({ "model": out, "contract": contract, "report": last }))
}
