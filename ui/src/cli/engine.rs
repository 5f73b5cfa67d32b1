//! `forerun engine`: the engine for a window.

use clap::Args;
use forerun::engine::stdio;
use serde_json::Value;

use super::Answer;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Speak over stdin and stdout (how a window starts it)
    #[arg(long, required = true)]
    stdio: bool,
}

pub(super) fn run(_arguments: &Arguments) -> Answer {
    stdio::serve_process()?;
    Ok(Value::Null)
}
