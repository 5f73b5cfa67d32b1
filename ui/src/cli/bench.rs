//! `forerun bench`: measurements of this build on this machine.

use std::time::Duration;

use clap::Subcommand;

use forerun::Failure;
use serde_json::Value;

use super::Answer;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Pictures a second of the virtual world's camera at 128 x 128
    Camera,
    /// Frames a second of recording a dataset, video included
    Record,
    /// Frame times of the window with many panes, and how soon a scrubbed frame is there (opens a window)
    Window {
        /// Seconds of playing a set of panes
        #[arg(long, default_value_t = 6.0)]
        seconds: f64,
    },
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
        Command::Window { seconds } => {
            let value = crate::bench::window(seconds.clamp(0.5, 600.0))
                .map_err(|error| Failure::new(error.to_string(), ""))?;
            print_window(&value);
            return Ok(value);
        }
        Command::Camera => forerun::bench::camera(Duration::from_secs(5))?,
        Command::Record => forerun::bench::record()?,
        Command::Imagine { model, device } => forerun::bench::imagine(&model, &device)?,
    };
    println!("{speed}");
    Ok(speed.value())
}

/// The numbers of the window, a line a set of panes.
fn print_window(value: &Value) {
    println!("driver {}", value["driver"].as_str().unwrap_or_default());
    for (name, set) in value.as_object().into_iter().flatten().filter(|(_, set)| set.is_object()) {
        let two = |key: &str| {
            let part = |p: &str| set[key][p].as_f64().unwrap_or(f64::NAN);
            format!("{:.1} / {:.1} ms", part("p50"), part("p95"))
        };
        println!(
            "{name} (p50 / p95): frame {}, window's thread {}, scrub {}, {:.1} ticks/s, frames in memory {} of {} MB",
            two("frame_ms"),
            two("window_thread_ms"),
            two("scrub_ms"),
            set["ticks_per_second"].as_f64().unwrap_or_default(),
            set["memory_mb"],
            set["memory_limit_mb"],
        );
    }
}
