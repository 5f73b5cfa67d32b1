//! The command line of `forerun`.
//!
//! One file a command. What a command does lives in the library below; here are words, arguments and exit codes:
//! 0 done, 1 failed with a reason on stderr, 2 bad arguments. With `--json` the last line of stdout is one JSON object.

mod bench;
mod bundle;
mod clip;
mod doctor;
mod engine;
mod imagine;
mod inspect;
mod models;
mod policy;
mod post_train;
mod push;
mod ranges;
mod reason;
mod record;
mod score;
mod serve;
mod session;
mod train;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use forerun::Failure;
use serde_json::{Value, json};

/// A studio for world models: give it a picture and an action, and watch what would happen.
#[derive(Debug, Parser)]
#[command(name = "forerun", version, disable_help_subcommand = true)]
struct Arguments {
    /// Project folder to open in the window
    project: Option<PathBuf>,
    /// Make the last line of stdout one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Record a dataset in the virtual world
    Record(record::Arguments),
    /// What a path is, and whether it is sound
    Inspect(inspect::Arguments),
    /// Imagine futures from frames, words and actions
    Imagine(imagine::Arguments),
    /// Ask a published reasoner whether a future is plausible, and why
    Reason(reason::Arguments),
    /// Score a model's futures against recorded episodes
    Score(score::Arguments),
    /// Train a model on recorded episodes
    Train(train::Arguments),
    /// Make a model of one world a model of your own, with little data
    PostTrain(post_train::Arguments),
    /// Train and evaluate policies
    #[command(subcommand)]
    Policy(policy::Command),
    /// Pack a policy for a robot: hashed and signed
    Bundle(bundle::Arguments),
    /// Bring a bundle to a robot, stage by stage
    Push(push::Arguments),
    /// Serve a policy to other people's robots
    Serve(serve::Arguments),
    /// Models that can be used here
    #[command(subcommand)]
    Models(models::Command),
    /// Run the engine for a window (started by the window itself)
    Engine(engine::Arguments),
    /// This machine: what runs here, and how fast
    Doctor,
    /// Measure this build on this machine
    #[command(subcommand)]
    Bench(bench::Command),
}

/// What a command leaves for `--json`: an object.
type Answer = Result<Value, Stop>;

/// Why a command failed, and the numbers that it found all the same.
struct Stop {
    failure: Failure,
    value: Option<Value>,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { failure, value: None }
    }
}

/// Runs the program. `open_window` opens the window on a project folder, or on the last one.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    open_window: impl FnOnce(Option<PathBuf>) -> Result<(), Failure>,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows where each goes.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    if let (Some(project), Some(_)) = (&arguments.project, &arguments.command) {
        eprintln!("{} is no command; forerun --help lists them.", project.display());
        return ExitCode::from(2);
    }
    let json = arguments.json;
    let answer = match arguments.command {
        None => open_window(arguments.project).map(|()| Value::Null).map_err(Stop::from),
        Some(Command::Record(arguments)) => record::run(arguments),
        Some(Command::Inspect(arguments)) => inspect::run(&arguments),
        Some(Command::Imagine(arguments)) => imagine::run(arguments),
        Some(Command::Reason(arguments)) => reason::run(arguments),
        Some(Command::Score(arguments)) => score::run(arguments),
        Some(Command::Train(arguments)) => train::run(arguments),
        Some(Command::PostTrain(arguments)) => post_train::run(arguments),
        Some(Command::Policy(command)) => policy::run(command),
        Some(Command::Bundle(arguments)) => bundle::run(&arguments),
        Some(Command::Push(arguments)) => push::run(arguments),
        Some(Command::Serve(arguments)) => serve::run(arguments),
        Some(Command::Models(command)) => models::run(command),
        Some(Command::Engine(arguments)) => engine::run(&arguments),
        Some(Command::Doctor) => doctor::run(),
        Some(Command::Bench(command)) => bench::run(command),
    };
    match answer {
        Ok(value) => {
            if json && !value.is_null() {
                println!("{value}");
            }
            ExitCode::SUCCESS
        }
        Err(Stop { failure, value }) => {
            eprintln!("{}", failure.text());
            if json {
                let mut object = json!({ "error": failure.message, "advice": failure.advice });
                add_report(&mut object, value);
                println!("{object}");
            }
            ExitCode::from(1)
        }
    }
}

/// Adds a job's numbers to what its command answers.
fn add_report(value: &mut Value, report: Option<Value>) {
    if let (Value::Object(object), Some(Value::Object(report))) = (value, report) {
        object.extend(report);
    }
}
