//! `forerun models`: what is installed, what it knows, how to add one.

use std::path::PathBuf;

use clap::Subcommand;
use forerun::Failure;
use forerun::engine::places::{self, Places};
use forerun::engine::protocol::ModelInfo;
use forerun::models::Channel;
use serde_json::{Value, json};

use super::{Answer, Stop};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Names of the models that can be used
    List {
        /// Also the models of this project
        #[arg(long)]
        project: Option<PathBuf>,
    },
    /// What a model was trained on, in words
    Info {
        /// Name or folder
        model: String,
    },
    /// Run our network on a reference case and compare every tensor
    Verify {
        /// Folder with case.json, case.safetensors and the model as its library saves it
        folder: PathBuf,
        /// cpu, cuda, cuda:1 or metal
        #[arg(long, default_value = "cpu")]
        device: String,
    },
    /// Copy a model folder to your own models, so that it has a name
    Import {
        /// Model folder
        folder: PathBuf,
        /// Name to give it; the folder's own when absent
        #[arg(long)]
        name: Option<String>,
    },
}

pub(super) fn run(command: Command) -> Answer {
    match command {
        Command::List { project } => list(project),
        Command::Info { model } => info(&model),
        Command::Verify { folder, device } => verify(&folder, &device),
        Command::Import { folder, name } => import(&folder, name),
    }
}

fn list(project: Option<PathBuf>) -> Answer {
    let (models, broken) = Places::standard(project.as_deref()).list();
    for model in &models {
        println!(
            "{:<20} {:>7.1} M  {} x {} at {} Hz  {}",
            model.name,
            model.parameters as f64 / 1e6,
            model.contract.frame.width,
            model.contract.frame.height,
            model.contract.frame.rate_hz,
            model.folder.display()
        );
    }
    for failure in broken {
        eprintln!("{}", failure.text());
    }
    if models.is_empty() {
        println!("No model is installed. Train one with `forerun train`, or `forerun models import FOLDER`.");
    }
    Ok(json!({ "models": models.iter().map(summary).collect::<Vec<_>>() }))
}

fn summary(model: &ModelInfo) -> Value {
    json!({
        "name": model.name, "folder": model.folder, "sha256": model.sha256, "parameters": model.parameters,
        "contract": model.contract,
    })
}

fn info(model: &str) -> Answer {
    let folder = Places::standard(None).find(model)?;
    let info = places::describe(&folder)?;
    let contract = &info.contract;
    println!("{}  ({})", info.name, folder.display());
    println!("  weights     {:.1} M, sha256 {}", info.parameters as f64 / 1e6, info.sha256);
    let frame = &contract.frame;
    println!(
        "  frames      {} x {}, {} a second, looks back {} frames",
        frame.width, frame.height, frame.rate_hz, frame.history
    );
    println!("  words       {}", if contract.text { "yes" } else { "no effect" });
    println!("  actions     {}", channels(&contract.actions));
    println!("  state       {}", channels(&contract.state));
    for (label, text) in
        [("knows", &contract.knows), ("body", &contract.embodiment), ("licence", &contract.licence)]
    {
        if !text.is_empty() {
            println!("  {label:<11} {text}");
        }
    }
    Ok(summary(&info))
}

fn channels(channels: &[Channel]) -> String {
    if channels.is_empty() {
        return "none".into();
    }
    let shown = |c: &Channel| format!("{} ({} to {} {})", c.name, c.min, c.max, c.unit);
    channels.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn import(folder: &std::path::Path, name: Option<String>) -> Answer {
    let own = places::own_models().ok_or_else(|| {
        Failure::new(
            "This account has no folder for application data.",
            "Set HOME, or use the model by its folder.",
        )
    })?;
    let info = places::import(folder, &own, name.as_deref())?;
    println!("{} is installed in {}", info.name, info.folder.display());
    Ok(summary(&info))
}

fn verify(folder: &std::path::Path, device: &str) -> Answer {
    let report = forerun::engine::places::verify(folder, device)?;
    println!("{:<28} {:>10} {:>10} {:>10}", "output", "max abs", "max rel", "rms rel");
    for (name, output) in &report.outputs {
        let verdict = if output.passed { "pass" } else { "FAIL" };
        println!(
            "{name:<28} {:>10.2e} {:>10.2e} {:>10.2e}  {verdict}",
            output.max_abs, output.max_rel, output.rms_rel
        );
    }
    let value = serde_json::to_value(&report).unwrap_or_default();
    if report.passed {
        return Ok(value);
    }
    let failure = Failure::new(
        format!("{} did not pass.", report.case),
        "The numbers of this build on this device cannot be trusted: try the device cpu, and report it.",
    );
    Err(Stop { failure, value: Some(value) })
}
