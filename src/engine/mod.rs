//! The engine: everything heavy happens behind its messages, never in the window.
//!
//! | file | what it is for |
//! |---|---|
//! | `protocol`, `specs` | the messages |
//! | `wire`, `stdio`, `child` | messages between processes |
//! | `queue`, `outbox`, `client` | the window's end |
//! | `core`, `lane`, `job` | the engine's end: lines of jobs, cancel, progress, panics |
//! | `places`, `models`, `backend`, `device` | models: where they are, in memory, what they can do, where they run |
//! | `published`, `clips`, `hashes` | published models: whole clips, with a small picture of every step |
//! | `prompts` | what text encoders made of words, kept on disk |
//! | `arguments` | what a person writes for a start or for actions |
//! | `start`, `fit`, `track`, `track_files` | what a future starts from and what drives it |
//! | `imagine`, `record` | futures and their records |
//! | `jobs` | one function a request |

pub mod arguments;
pub mod backend;
mod child;
pub mod client;
mod clips;
pub mod core;
pub mod device;
pub mod episode;
pub mod fit;
mod hashes;
pub mod imagine;
pub mod job;
pub mod jobs;
pub mod lane;
pub mod models;
mod outbox;
pub mod places;
mod prompts;
pub mod protocol;
pub mod published;
mod queue;
pub mod record;
pub mod specs;
pub mod start;
pub mod stdio;
pub mod track;
mod track_files;
pub mod wire;

pub use client::EngineClient;
