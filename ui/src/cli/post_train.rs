//! `forerun post-train`: a model of one world becomes a model of your own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use forerun::dataset::doctor::View;
use forerun::engine::{device, places};
use forerun::models::Fit;
use forerun::models::dreamer::WeightFormat;
use forerun::train::post::{
    Comparison, Method, PostOutcome, PostReport, PostRequest, PostStage, Wishes, post_train,
};
use forerun::train::{Budget, TrainError};
use forerun::{Failure, interrupt};
use serde_json::json;

use super::Answer;
use super::ranges::{Range, range};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// LoRA for very little data, else full
    Auto,
    /// All weights
    Full,
    /// Adapters of low rank, merged at the end
    Lora,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stored {
    /// As they were trained
    F32,
    /// Half the file
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// The largest middle part is kept
    Crop,
    /// All of it is kept, with black bars
    Bars,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("budget").required(true).args(["minutes", "iterations"]))]
pub(super) struct Arguments {
    /// Model to start from: a folder, or a name of `models list`
    #[arg(long)]
    base: String,
    /// Datasets of your own
    #[arg(long, required = true, num_args = 1..)]
    dataset: Vec<PathBuf>,
    /// Model folder to write; with --resume, the one to go on with
    #[arg(long)]
    out: PathBuf,
    /// How the weights change
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    method: Way,
    /// Minutes of training, earlier ones included
    #[arg(long)]
    minutes: Option<f32>,
    /// Iterations, earlier ones included; exactly repeatable
    #[arg(long)]
    iterations: Option<u64>,
    /// Go on from the last checkpoint, with the settings of then
    #[arg(long)]
    resume: bool,
    /// Rank of LoRA's adapters [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    rank: Option<u64>,
    /// Learning rate of the plateau [default: by method and data]
    #[arg(long)]
    learning_rate: Option<f32>,
    /// Episodes of the base's own world to replay against forgetting [default: 24 where there are any; 0 = none]
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    replay: Option<u64>,
    /// Episodes at the end of each dataset that are kept for judging [default: a tenth, 2 to 16]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    held_out: Option<u64>,
    /// Train on these episodes only, as 0..9; those for judging stay the same
    #[arg(long, value_parser = range)]
    episodes: Option<Range>,
    /// Camera to look through [default: the first]
    #[arg(long)]
    camera: Option<String>,
    /// Begin with random weights instead of the base's, for comparison: what is the base worth?
    #[arg(long, conflicts_with_all = ["replay", "rank"])]
    from_nothing: bool,
    /// How pictures of another shape become the model's [default: as the base's own were]
    #[arg(long, value_enum)]
    fit: Option<Shape>,
    /// Take the data as it is, also where it is surely wrong (see `inspect`)
    #[arg(long)]
    as_is: bool,
    /// Seed of fresh weights, order and noise
    #[arg(long)]
    seed: Option<u64>,
    /// How the finished weights are stored
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    weights: Stored,
    /// Name of the new model [default: the folder's]
    #[arg(long)]
    name: Option<String>,
    /// Where to learn: cpu, cuda, cuda:1, metal (as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// How often a line about the training is printed.
const PERIOD: Duration = Duration::from_secs(10);
/// Seconds of measuring before the start.
const MEASURE: f64 = 10.0;

pub(super) fn run(arguments: Arguments) -> Answer {
    let request = request(arguments)?;
    interrupt::listen();
    let mut told: Option<Instant> = None;
    let mut last = None;
    let mut watch = |stage: PostStage| match stage {
        PostStage::Note(note) => eprintln!("{note}"),
        PostStage::Loading { done, all } => {
            if done == all || told.is_none_or(|t| t.elapsed() > PERIOD) {
                told = Some(Instant::now());
                eprintln!("reading episodes: {done} of {all}");
            }
        }
        PostStage::Ready(found) => {
            eprintln!(
                "about {} iterations in {:.0} min ({:.0} frames a second), {:.1} GB of memory, {:.1} GB of disk",
                found.iterations,
                found.seconds / 60.0,
                found.frames_per_second,
                found.memory_needed as f64 / 1e9,
                found.disk_needed as f64 / 1e9
            );
        }
        PostStage::Before(base) => {
            eprintln!(
                "before: {} dB at steps {:?}, start frame repeated {} dB",
                decibels(&base.psnr),
                base.horizons,
                decibels(&base.freeze)
            );
        }
        PostStage::Training(report) => {
            if report.judgement.is_some()
                || report.alarm.is_some()
                || told.is_none_or(|t| t.elapsed() > PERIOD)
            {
                told = Some(Instant::now());
                tell(&report);
            }
            last = Some(report);
        }
    };
    let ended = post_train(&request, &mut watch, interrupt::flag());
    let outcome = match ended {
        Ok(outcome) => outcome,
        Err(TrainError::Cancelled) => {
            return Err(Failure::new(
                "Stopped.",
                "What was learnt is in the last checkpoint; go on with --resume.",
            )
            .into());
        }
        Err(error) => return Err(Failure::from_error(error).into()),
    };
    for line in table(&outcome) {
        println!("{line}");
    }
    println!("{} is in {}", outcome.contract.name, request.out.display());
    Ok(json!({
        "model": request.out,
        "contract": outcome.contract,
        "comparison": outcome.comparison,
        "iterations": outcome.iterations,
        "best_iteration": outcome.best_iteration,
        "seconds": outcome.seconds,
        "stopped": outcome.stopped,
        "report": last,
    }))
}

fn request(arguments: Arguments) -> Result<PostRequest, Failure> {
    let budget = match (arguments.minutes, arguments.iterations) {
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Budget::Minutes(minutes),
        (None, Some(iterations)) if iterations > 0 => Budget::Iterations(iterations),
        _ => {
            return Err(Failure::new(
                "There is nothing to train for.",
                "Give minutes or iterations above 0.",
            ));
        }
    };
    if arguments.learning_rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
        return Err(Failure::new("That learning rate is not possible.", "Choose one above 0, 0.001 say."));
    }
    let number = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    let view = View { camera: arguments.camera.unwrap_or_default(), ..View::default() };
    let wishes = Wishes {
        method: match arguments.method {
            Way::Auto => Method::Auto,
            Way::Full => Method::Full,
            Way::Lora => Method::Lora,
        },
        rank: number(arguments.rank),
        targets: None,
        learning_rate: arguments.learning_rate,
        replay: number(arguments.replay),
        held_out: number(arguments.held_out),
        episodes: arguments.episodes.map(|range| (range.first as usize, range.last as usize)),
        views: arguments.dataset.iter().map(|_| view.clone()).collect(),
        fit: arguments.fit.map(|fit| match fit {
            Shape::Crop => Fit::Crop,
            Shape::Bars => Fit::Bars,
        }),
        judgements: None,
        as_is: arguments.as_is,
        seed: arguments.seed,
        weights: Some(match arguments.weights {
            Stored::F32 => WeightFormat::F32,
            Stored::Bf16 => WeightFormat::Bf16,
        }),
        name: arguments.name,
        from_nothing: arguments.from_nothing,
    };
    Ok(PostRequest {
        base: places::Places::standard(None).find(&arguments.base)?,
        datasets: arguments.dataset,
        out: arguments.out,
        budget,
        resume: arguments.resume,
        wishes,
        measure_seconds: MEASURE,
        device: device::open(&arguments.device)?,
    })
}

fn decibels(values: &[f32]) -> String {
    values.iter().map(|value| format!("{value:.1}")).collect::<Vec<_>>().join(" / ")
}

fn tell(report: &PostReport) {
    let number = |value: Option<f32>| value.unwrap_or(f32::NAN);
    eprintln!(
        "iteration {}, loss {:.4}, {:.2} dB, {:.0} frames a second, {:.0} min left",
        report.iteration,
        number(report.loss),
        number(report.psnr),
        report.frames_per_second,
        report.seconds_left / 60.0
    );
    if let Some(found) = &report.judgement {
        eprintln!(
            "held out at steps {:?}: {} dB (base {}, start frame {}), actions are worth {} dB",
            found.horizons,
            decibels(&found.psnr),
            decibels(&found.base),
            decibels(&found.freeze),
            decibels(&found.delta)
        );
        if let Some(loss) = found.old.as_ref().and_then(|old| old.loss_db()) {
            eprintln!("the base's own world: {loss:+.2} dB lost");
        }
    }
    if let Some(alarm) = &report.alarm {
        eprintln!("{alarm}");
    }
}

/// Before and after.
fn table(outcome: &PostOutcome) -> Vec<String> {
    let Comparison { horizons, psnr, base, freeze, delta, .. } = &outcome.comparison;
    let mut lines = vec!["step   before    after   frozen   worth of actions".to_owned()];
    for (i, horizon) in horizons.iter().enumerate() {
        let at = |list: &[f32]| list.get(i).copied().unwrap_or(f32::NAN);
        lines.push(format!(
            "{horizon:4}  {:7.2}  {:7.2}  {:7.2}  {:7.2} dB",
            at(base),
            at(psnr),
            at(freeze),
            at(delta)
        ));
    }
    if let Some(loss) = outcome.comparison.old.as_ref().and_then(|old| old.loss_db()) {
        lines.push(format!("the base's own world: {loss:+.2} dB lost"));
    }
    if let Some(why) = &outcome.stopped {
        lines.push(why.clone());
    }
    lines
}
