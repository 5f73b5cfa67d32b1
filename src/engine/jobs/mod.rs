//! One function a request: what a job does, from its settings to its events.

mod imagining;
mod loading;
mod looking;
mod post_training;
mod recording;
mod saved;

use super::models::ModelStore;

pub use crate::score::job::score;
pub use imagining::{again, imagine, track_of};
pub use loading::warm;
pub use looking::{preview, world_frame};
pub use post_training::post_train;
pub use recording::record;
pub use saved::{open_future, save_future};

/// What jobs share.
#[derive(Default)]
pub struct Tools {
    /// Models in memory.
    pub models: ModelStore,
}
