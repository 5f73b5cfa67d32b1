//! `forerun models`: what is installed, what it knows, how to add one.

use std::path::PathBuf;

use clap::Subcommand;
use forerun::Failure;
use forerun::engine::places::{self, Places};
use forerun::engine::protocol::{ClipSettings, ModelInfo, Request};
use forerun::engine::published::{ClipInfo, gigabytes, is_published};
use forerun::hub::catalogue::find;
use forerun::hub::{FetchSpec, TOKEN_VARIABLE, catalogue, installed, licence};
use forerun::models::Channel;
use forerun::models::published::Licence;
use serde_json::{Value, json};

use super::{Answer, Stop, clip, session};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Names of the models that can be used
    List {
        /// Also the models of this project
        #[arg(long)]
        project: Option<PathBuf>,
        /// Published models that can be downloaded, instead
        #[arg(long)]
        published: bool,
    },
    /// What a model was trained on, in words
    Info {
        /// Name or folder
        model: String,
    },
    /// Run our network on a reference case and compare every tensor; of an installed model, check every file
    Verify {
        /// Folder with case.json, case.safetensors and the model as its library saves it; or the name of a model
        folder: PathBuf,
        /// cpu, cuda, cuda:1 or metal
        #[arg(long, default_value = "cpu")]
        device: String,
    },
    /// Take a model folder among your own models, so that it has a name; a publisher's folder stays where it is
    Import {
        /// Model folder
        folder: PathBuf,
        /// Name to give it; the folder's own when absent
        #[arg(long)]
        name: Option<String>,
        /// Copy a publisher's folder too
        #[arg(long)]
        copy: bool,
        #[command(flatten)]
        clip: clip::Arguments,
    },
    /// Download a published model
    Fetch {
        /// A name of `forerun models list --published`, or OWNER/NAME
        model: String,
        /// Branch, tag or commit
        #[arg(long)]
        revision: Option<String>,
        /// Address of the hub; else FORERUN_HUB, else the public one
        #[arg(long)]
        endpoint: Option<String>,
        /// File with the token for gated models; else HF_TOKEN
        #[arg(long)]
        token_file: Option<PathBuf>,
        /// Name to give it
        #[arg(long)]
        name: Option<String>,
        /// You have read the terms that the command shows
        #[arg(long)]
        accept_licence: bool,
    },
    /// Remove one of your own models
    Remove {
        /// Its name
        name: String,
    },
}

pub(super) fn run(command: Command) -> Answer {
    match command {
        Command::List { published: true, .. } => Ok(published()),
        Command::List { project, .. } => list(project),
        Command::Info { model } => info(&model),
        Command::Verify { folder, device } => verify(&folder, &device),
        Command::Import { folder, name, copy, clip } => import(&folder, name, copy, &clip.settings()),
        Command::Fetch { model, revision, endpoint, token_file, name, accept_licence } => {
            let token = token(token_file.as_deref())?;
            let spec = FetchSpec { model, revision, endpoint, token, name, folder: None };
            fetch(spec, accept_licence)
        }
        Command::Remove { name } => {
            let folder = installed::remove(&name, None)?;
            println!("{} was removed", folder.display());
            Ok(json!({ "removed": folder }))
        }
    }
}

/// Published models, without asking anybody.
fn published() -> Value {
    for entry in catalogue() {
        println!(
            "{:<18} {:>5.1} G weights {:>6.1} GB  {}{}  {}",
            entry.name,
            entry.billions,
            entry.gigabytes,
            entry.licence().name(),
            if entry.gated { ", account needed" } else { "" },
            entry.repository,
        );
    }
    let all = catalogue().iter().map(|entry| {
        json!({
            "name": entry.name, "repository": entry.repository, "revision": entry.revision,
            "family": entry.family.name(), "licence": entry.licence().name(), "gated": entry.gated,
            "billions": entry.billions, "gigabytes": entry.gigabytes,
        })
    });
    json!({ "published": all.collect::<Vec<_>>() })
}

/// The token of a file, or of the environment.
fn token(file: Option<&std::path::Path>) -> Result<Option<String>, Failure> {
    let token = match file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|e| Failure::io("read", file, &e))?),
        None => std::env::var(TOKEN_VARIABLE).ok(),
    };
    Ok(token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()))
}

fn fetch(spec: FetchSpec, accepted: bool) -> Answer {
    // What is not in the catalogue may have any terms; the strictest notice cannot hurt.
    let terms = find(&spec.model).map_or(Licence::NvidiaOpenModel, |entry| entry.licence());
    if !licence::accepted(terms) {
        println!("{}", licence::notice(terms));
        if !accepted {
            return Err(Failure::new(
                format!("Nothing was downloaded: the terms ({}) have to be read first.", terms.name()),
                "Read them above and at the publisher's, then add --accept-licence.",
            )
            .into());
        }
        licence::accept(terms)?;
    }
    let outcome = session::run(|job| Request::FetchModel { job, spec })?;
    println!("{}", outcome.summary);
    Ok(outcome.report.unwrap_or_else(|| json!({})))
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
        "contract": model.contract, "clip": model.clip,
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
    if let Some(clip) = &info.clip {
        clip_lines(clip);
    }
    Ok(summary(&info))
}

/// More about a model that makes whole clips.
fn clip_lines(clip: &ClipInfo) {
    println!("  pipeline    {}", clip.class);
    let bodies: Vec<&str> = clip.bodies.iter().map(|b| b.name.as_str()).collect();
    if !bodies.is_empty() {
        println!("  bodies      {} (--body)", bodies.join(", "));
    }
    println!("  files       {}", gigabytes(clip.bytes));
    println!(
        "  memory      about {} for one chunk, {} with --offload --tile 32 --linear q4_k",
        gigabytes(clip.memory),
        gigabytes(clip.memory_least)
    );
    if clip.guardrail_clause {
        println!("\n{}", licence::notice(Licence::NvidiaOpenModel));
    }
}

fn channels(channels: &[Channel]) -> String {
    if channels.is_empty() {
        return "none".into();
    }
    let shown = |c: &Channel| format!("{} ({} to {} {})", c.name, c.min, c.max, c.unit);
    channels.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn import(folder: &std::path::Path, name: Option<String>, copy: bool, clip: &ClipSettings) -> Answer {
    let own = places::own_models().ok_or_else(|| {
        Failure::new(
            "This account has no folder for application data.",
            "Set HOME, or use the model by its folder.",
        )
    })?;
    let info = match is_published(folder) && !copy {
        true => places::refer(folder, &own, name.as_deref(), clip)?,
        false => places::import(folder, &own, name.as_deref())?,
    };
    println!("{} is installed in {}", info.name, info.folder.display());
    Ok(summary(&info))
}

fn verify(folder: &std::path::Path, device: &str) -> Answer {
    let name = folder.to_string_lossy().into_owned();
    if !folder.join("case.json").is_file() && (!folder.exists() || places::is_model(folder)) {
        let outcome = session::run(|job| Request::CheckModel { job, model: name })?;
        println!("{}", outcome.summary);
        return Ok(json!({ "passed": true, "summary": outcome.summary }));
    }
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
