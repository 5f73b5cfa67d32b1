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
    /// The parts that networks are made of; `benches/reference/torch_bench.py` does the same in PyTorch
    Kernels {
        /// Only these cases; all when absent
        #[arg(long = "case", value_name = "CASE")]
        cases: Vec<String>,
        /// Seconds a case
        #[arg(long, default_value_t = 1.0)]
        seconds: f64,
        /// Threads; all cores when absent
        #[arg(long)]
        threads: Option<usize>,
        /// Products of bf16, with packed weights where nothing is learnt; the processor must have them
        #[arg(long)]
        bf16: bool,
        /// Instead of measuring, write weights, inputs and outputs of a pass to this safetensors file
        #[arg(long, value_name = "FILE")]
        dump: Option<std::path::PathBuf>,
    },
    /// How evenly an agent controls an arm at 100 Hz (the virtual one, or an emulated SO-101 on a pseudo-terminal)
    Robot {
        /// tabletop or emulator
        #[arg(long, default_value = "emulator")]
        arm: String,
        /// How long the arm is moved
        #[arg(long, default_value_t = 1.0)]
        minutes: f64,
    },
    /// First frame, frames a second, and eight futures at once
    Imagine {
        /// Model folder or name
        #[arg(long, default_value = "tabletop")]
        model: String,
        /// cpu, cpu-bf16 (faster, a little less exact), cuda, cuda:1, metal or wgpu (any other card; as `doctor` lists them)
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
        Command::Kernels { dump: Some(file), .. } => {
            forerun::bench::dump_kernels(&file)?;
            println!("wrote {}", file.display());
            return Ok(Value::Null);
        }
        Command::Kernels { cases, seconds, threads, bf16, dump: None } => {
            let time = Duration::from_secs_f64(seconds.clamp(0.0, 600.0));
            let tell = |line: &str| println!("{line}");
            return Ok(forerun::bench::kernels(&cases, time, threads.unwrap_or(0), bf16, tell)?);
        }
        Command::Camera => forerun::bench::camera(Duration::from_secs(5))?,
        Command::Record => forerun::bench::record()?,
        Command::Robot { arm, minutes } => forerun::robot::bench::control_loop(&arm, minutes)?,
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
