//! `forerun reason`: is this future plausible, and why.

use std::path::PathBuf;

use clap::Args;
use forerun::engine::protocol::{ReasonSpec, Request};
use forerun::models::common::Storage;
use serde_json::json;

use super::{Answer, session};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Folder of a published reasoner: Cosmos-Reason1 or Cosmos-Reason2
    #[arg(long)]
    model: PathBuf,
    /// A future (its folder or future.json) or a clip
    #[arg(long)]
    clip: PathBuf,
    /// What to ask; whether it is plausible when absent
    #[arg(long, default_value = "")]
    question: String,
    /// Draw from the likeliest tokens up to this probability; always the likeliest when absent
    #[arg(long)]
    top_p: Option<f64>,
    /// Boldness of the draws
    #[arg(long)]
    temperature: Option<f64>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Most tokens of the answer
    #[arg(long)]
    tokens: Option<usize>,
    /// Keep large layers in 8.5 bits a weight
    #[arg(long)]
    q8: bool,
    /// cpu, cuda, cuda:1 or metal
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let spec = ReasonSpec {
        model: arguments.model,
        clip: arguments.clip,
        question: arguments.question,
        top_p: arguments.top_p,
        temperature: arguments.temperature,
        seed: arguments.seed,
        longest: arguments.tokens,
        storage: if arguments.q8 { Storage::Q8_0 } else { Storage::Plain },
        device: arguments.device,
    };
    let outcome = session::run(|job| Request::Reason { job, spec })?;
    let value = outcome.report.unwrap_or_else(|| json!({}));
    if let Some(text) = value["reasoning"].as_str().filter(|text| !text.is_empty()) {
        println!("{text}\n");
    }
    println!("{}", outcome.summary);
    Ok(value)
}
