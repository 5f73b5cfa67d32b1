//! The openpi protocol for policies on another machine: one websocket, msgpack, no pickle.
//!
//! | file | what it is for |
//! |---|---|
//! | `msgpack` | the values, with limits on depth and number |
//! | `array` | numpy arrays inside of them, checked against their own sizes |
//! | `deadline` | a socket whose every read and write ends in time |
//! | `server` | our policy for other people's robots |
//! | `policy` | what the server answers: a policy folder |
//! | `client` | other people's policies for our robots |
//!
//! The protocol (`openpi-client`, <https://github.com/Physical-Intelligence/openpi>): the server's first message is a map of
//! metadata; then one observation is answered by one map with `actions` [steps, channels]. A text message is an error.
//! The protocol itself has no deadline, no size limit and no version; this side has them.

pub mod array;
pub mod client;
mod deadline;
pub mod msgpack;
pub mod policy;
pub mod server;

pub use client::{Answer, Limits, RemotePolicy};
pub use msgpack::Value;
pub use policy::PolicyService;
pub use server::{Service, Session, serve};

/// Longest message, bytes: ten full-HD pictures.
pub const LONGEST: usize = 64 << 20;

/// Why a policy on another machine did not answer soundly.
#[derive(Debug, thiserror::Error)]
pub enum OpenpiError {
    /// The address cannot be used.
    #[error("{0} is no address of a policy server; it looks like ws://192.168.1.5:8000")]
    Address(String),
    /// It cannot be reached, or the connection broke.
    #[error("the policy server cannot be reached ({0}). Is it running, and does it listen on this address?")]
    Broken(String),
    /// It did not answer in time.
    #[error("the policy server did not answer within {0} ms. It may hang, or the network is too slow")]
    Late(u64),
    /// It said that something is wrong.
    #[error("the policy server says: {0}")]
    Said(String),
    /// Its answer cannot be used.
    #[error("the policy server's answer cannot be used: {0}")]
    Unsound(String),
}
