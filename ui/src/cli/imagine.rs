//! `forerun imagine`: futures from the command line.

use std::path::PathBuf;

use clap::Args;
use forerun::Failure;
use forerun::engine::arguments;
use forerun::engine::protocol::{Actions, ImagineSpec, Request, Start};
use forerun::hub::licence;
use serde_json::{Value, json};

use super::ranges::{Range, range};
use super::{Answer, clip, session};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Model folder, or a name that `forerun models list` shows
    #[arg(long, default_value = "tabletop")]
    model: String,
    /// Pictures in order, a clip, a saved future, or DATASET#EPISODE; none: the start is imagined too
    #[arg(long, num_args = 1.., value_name = "PATH")]
    frames: Vec<String>,
    /// Frame to start from, counted from 0; the last one when absent (the first one of an episode)
    #[arg(long, value_name = "K")]
    start: Option<usize>,
    /// What should happen, in English or Traditional Chinese
    #[arg(long, default_value = "")]
    prompt: String,
    /// CSV, Parquet, JSON, DATASET#EPISODE, or hold; none: the words alone drive the future
    #[arg(long, value_name = "FILE")]
    actions: Option<String>,
    /// Number of frames to imagine
    #[arg(long, required_unless_present = "record")]
    steps: Option<usize>,
    /// One future a seed: 7, or 1..4 with both ends included
    #[arg(long, default_value = "0", value_parser = range, value_name = "A..B")]
    seeds: Range,
    /// Denoising steps a frame, 1 (fast) to 8 (fine)
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    refine: u8,
    /// cpu, cpu-bf16 (faster, a little less exact), cuda, cuda:1, metal or wgpu (any other card; as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Imagine this future.json again, bit for bit; only --out, and --model where it has moved, matter then
    #[arg(long, value_name = "FILE", conflicts_with_all = ["frames", "start", "prompt", "actions", "steps", "seeds", "refine"])]
    record: Option<PathBuf>,
    /// Folder to write seed-S/ into
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    clip: clip::Arguments,
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let Arguments { model, frames, start, prompt, actions, steps, seeds, refine, device, record, out, clip } =
        arguments;
    let outcome = match record {
        Some(record) => {
            // The recorded model is used unless another place was named for it.
            let model = Some(model).filter(|model| model != "tabletop");
            session::run(|job| Request::Again { job, record, model, out: Some(out) })?
        }
        None => {
            let start = if frames.is_empty() { Start::Nothing } else { arguments::start(&frames, start)? };
            let actions = actions.as_deref().map_or(Ok(Actions::Free), arguments::actions)?;
            let steps = steps
                .ok_or_else(|| Failure::new("--steps is missing.", "Say how many frames to imagine."))?;
            let spec = ImagineSpec {
                model,
                start,
                prompt,
                actions,
                steps,
                seeds: seeds.numbers(),
                refine: usize::from(refine),
                device,
                out: Some(out),
                clip: clip.settings(),
            };
            if let Some(notice) = licence::first_use(&spec.model) {
                eprintln!("{notice}\n");
            }
            session::run(|job| Request::Imagine { job, spec })?
        }
    };
    for (seed, folder, _) in &outcome.futures {
        if let Some(folder) = folder {
            println!("seed {seed}: {}", folder.display());
        }
    }
    println!("{}", outcome.summary);
    let futures: Vec<Value> = outcome
        .futures
        .iter()
        .map(|(seed, folder, record)| {
            json!({ "seed": seed, "folder": folder, "frames": record["frames"], "timings": record["timings"] })
        })
        .collect();
    let mut value = json!({ "summary": outcome.summary, "futures": futures });
    super::add_report(&mut value, outcome.report);
    Ok(value)
}
