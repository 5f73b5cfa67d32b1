//! `forerun score`: how good a model is on recorded episodes.

use std::path::PathBuf;

use clap::Args;
use forerun::engine::protocol::{Request, ScoreSpec};
use serde_json::Value;

use super::ranges::{Range, list, range};
use super::{Answer, session};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Model folder, or a name that `forerun models list` shows
    #[arg(long, default_value = "tabletop")]
    model: String,
    /// Dataset to score on
    #[arg(long)]
    dataset: PathBuf,
    /// First and last episode, both included; all when absent
    #[arg(long, value_parser = range, value_name = "A..B")]
    episodes: Option<Range>,
    /// Steps ahead to judge at
    #[arg(long, value_parser = |text: &str| list(text).map(Horizons), default_value = "1,4,10,20,40")]
    horizons: Horizons,
    /// Number of windows, spread over the episodes
    #[arg(long)]
    windows: Option<usize>,
    /// Denoising steps a frame, 1 to 8
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    refine: u8,
    /// Seed of the noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// cpu, cpu-bf16 (faster, a little less exact), cuda, cuda:1, metal or wgpu (any other card; as `doctor` lists them)
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Also check that words alone move the right thing the right way
    #[arg(long)]
    text: bool,
    /// Also check that futures of this many frames stay sharp and keep their objects
    #[arg(long, value_name = "FRAMES")]
    long: Option<usize>,
    /// Also set the newest episodes beside their imagined twins, this many frames of each
    #[arg(long, value_name = "FRAMES")]
    twins: Option<usize>,
}

/// Steps ahead. A type of its own, since clap reads a bare list as many arguments.
#[derive(Clone, Debug)]
struct Horizons(Vec<usize>);

pub(super) fn run(arguments: Arguments) -> Answer {
    let spec = ScoreSpec {
        model: arguments.model,
        dataset: arguments.dataset,
        episodes: arguments.episodes.map(|r| (r.first as usize, r.last as usize)),
        horizons: arguments.horizons.0,
        windows: arguments.windows,
        refine: usize::from(arguments.refine),
        seed: arguments.seed,
        device: arguments.device,
        text: arguments.text,
        long: arguments.long,
        twins: arguments.twins,
    };
    let outcome = session::run(|job| Request::Score { job, spec })?;
    let value = outcome.report.unwrap_or_default();
    println!("{}", outcome.summary);
    print_table(&value);
    print_twins(&value["twins"]);
    Ok(value)
}

/// Recorded episodes beside their imagined twins, a line each.
fn print_twins(twins: &Value) {
    for e in twins["episodes"].as_array().into_iter().flatten() {
        let number = |key: &str| e[key].as_f64().map_or_else(|| "-".to_owned(), |v| format!("{v:.2}"));
        println!(
            "episode {} and its twin, {} frames: r {}, joints off by {} (standing still: {}), psnr {}",
            e["episode"],
            e["steps"],
            number("r"),
            number("error"),
            number("stay"),
            number("psnr"),
        );
    }
}

/// Columns of the table for people, with the keys that they show.
const COLUMNS: [(&str, &str); 8] = [
    ("psnr", "psnr"),
    ("changed", "changed_psnr"),
    ("freeze", "freeze_psnr"),
    ("dead", "dead_psnr"),
    ("delta", "delta_psnr"),
    ("ssim", "ssim"),
    ("contact", "contact_skill"),
    ("error px", "object_error_px"),
];

fn print_table(value: &Value) {
    println!("{:>8}{}", "steps", COLUMNS.map(|(title, _)| format!("{title:>10}")).concat());
    let Some(horizons) = value["horizons"].as_object() else { return };
    let mut rows: Vec<_> = horizons.iter().collect();
    rows.sort_by_key(|(h, _)| h.parse::<usize>().unwrap_or(0));
    for (steps, numbers) in rows {
        let cell = |key: &str| numbers[key].as_f64().map_or("-".to_owned(), |n| format!("{n:.2}"));
        println!("{steps:>8}{}", COLUMNS.map(|(_, key)| format!("{:>10}", cell(key))).concat());
    }
    for key in ["spread_skill", "first_frame_ms", "frames_per_second", "text", "long"] {
        if let Some(found) = value.get(key).filter(|v| !v.is_null()) {
            println!("{key}: {found}");
        }
    }
}
