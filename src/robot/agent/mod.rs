//! The agent: the one process that owns a robot's port. Everything else proposes to it over a connection.

pub mod cameras;
pub mod child;
pub mod client;
mod lease;
mod period;
pub(super) mod priority;
pub mod protocol;
mod requests;
mod run;
mod server;
pub mod tls;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod v4l2;

pub use client::{Client, ClientError};
pub use run::{Agent, AgentError, Options};
pub use server::ListenError;
pub(crate) use server::same as same_secret;
