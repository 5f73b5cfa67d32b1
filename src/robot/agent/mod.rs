//! The agent: the one process that owns a robot's port. Everything else proposes to it over a connection.

pub mod client;
mod lease;
mod period;
pub mod protocol;
mod requests;
mod run;
mod server;

pub use client::{Client, ClientError};
pub use run::{Agent, AgentError, Options};
pub use server::ListenError;
