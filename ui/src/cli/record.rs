//! `forerun record`: datasets of the virtual world.

use std::path::PathBuf;

use clap::Args;
use forerun::engine::protocol::{RecordSpec, Request};
use forerun::world::Picture;
use serde_json::json;

use super::{Answer, session};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Virtual world
    #[arg(long, default_value = "tabletop")]
    world: String,
    /// Who moves the arm: play, expert, noisy or idle
    #[arg(long)]
    behaviour: String,
    /// Number of episodes
    #[arg(long)]
    episodes: usize,
    /// Seed: the same one gives the same dataset
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// plain, rich, or a number
    #[arg(long, default_value = "plain")]
    look: String,
    /// Width and height of the pictures
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Pictures a second: 10, 20 or 30
    #[arg(long, default_value_t = 10)]
    fps: u32,
    /// What the pictures show: rgb, depth, segments or edges
    #[arg(long, default_value = "rgb", value_parser = |text: &str| text.parse::<Picture>().map_err(|e| e.to_string()))]
    picture: Picture,
    /// Dataset folder to make
    #[arg(long)]
    out: PathBuf,
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let Arguments { world, behaviour, episodes, seed, look, size, fps, picture, out } = arguments;
    let spec = RecordSpec { world, behaviour, episodes, seed, look, size, fps, picture, out: out.clone() };
    let outcome = session::run(|job| Request::Record { job, spec })?;
    println!("{}", outcome.summary);
    let mut value = json!({ "summary": outcome.summary, "dataset": out });
    super::add_report(&mut value, outcome.report);
    Ok(value)
}
