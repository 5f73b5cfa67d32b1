//! One function a request: what a job does, from its settings to its events.

mod loading;

use super::models::ModelStore;

pub use loading::warm;

/// What jobs share.
#[derive(Default)]
pub struct Tools {
    /// Models in memory.
    pub models: ModelStore,
}
