//! `forerun inspect`: what a path is, and whether it is sound.

use std::path::PathBuf;

use clap::Args;
use forerun::Failure;

use super::{Answer, Stop};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Model, dataset, future, picture or clip
    path: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Answer {
    let found = forerun::inspect::inspect(&arguments.path)?;
    for line in &found.lines {
        println!("{line}");
    }
    println!("{}", if found.sound { "sound" } else { "not sound" });
    if found.sound {
        return Ok(found.value);
    }
    for problem in &found.problems {
        eprintln!("{problem}");
    }
    let failure = Failure::new(
        format!("{} is not sound.", arguments.path.display()),
        "Restore it from where it came, or make it again.",
    );
    Err(Stop { failure, value: Some(found.value) })
}
