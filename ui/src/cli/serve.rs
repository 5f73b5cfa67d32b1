//! `forerun serve`: a policy for other people's robots.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use forerun::policy::Deciding;
use forerun::robot::openpi::{PolicyService, serve, server};
use forerun::{Failure, interrupt};
use serde_json::json;

use super::Answer;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// Websocket and msgpack, as openpi-client speaks it
    Openpi,
}

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Policy folder, or the name of a policy that comes with Forerun (push-direct)
    #[arg(long)]
    policy: PathBuf,
    /// How clients speak
    #[arg(long, value_enum, default_value = "openpi")]
    protocol: Protocol,
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// File with a secret of at least 32 characters that clients send as API key; needed beyond this machine
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The secret in a token file.
pub(super) fn token(path: Option<&PathBuf>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    Ok(Some(text.trim().to_owned()))
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let Protocol::Openpi = arguments.protocol;
    let policy = forerun::policy::load_policy(&arguments.policy)?;
    Deciding::Alone.check(Some(policy.network().config().kind))?;
    let token = token(arguments.token_file.as_ref())?;
    let name = policy.contract().name.clone();
    let listener = server::listen(arguments.listen, token.as_deref()).map_err(Failure::from_error)?;
    let address = listener.local_addr().map_err(Failure::from_error)?;
    interrupt::listen();
    println!("{name} listens on ws://{address}");
    serve(&listener, &Arc::new(PolicyService::new(policy)), token, interrupt::flag());
    Ok(json!({ "policy": arguments.policy, "listen": address.to_string() }))
}
