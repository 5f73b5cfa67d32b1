//! `forerun bench`: measurements of this build on this machine.

use std::time::Duration;

use clap::Subcommand;

use super::Answer;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pictures a second of the virtual world's camera at 128 x 128
    Camera,
    /// Frames a second of recording a dataset, video included
    Record,
    /// First frame, frames a second, and eight futures at once
    Imagine {
        /// Model folder or name
        #[arg(long, default_value = "tabletop")]
        model: String,
        /// cpu, cuda, cuda:1 or metal
        #[arg(long, default_value = "cpu")]
        device: String,
    },
}

pub(super) fn run(command: Command) -> Answer {
    let speed = match command {
        Command::Camera => forerun::bench::camera(Duration::from_secs(5))?,
        Command::Record => forerun::bench::record()?,
        Command::Imagine { model, device } => forerun::bench::imagine(&model, &device)?,
    };
    println!("{speed}");
    Ok(speed.value())
}
