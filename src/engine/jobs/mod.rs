//! One function a request: what a job does, from its settings to its events.

mod data;
mod imagining;
mod loading;
mod looking;
mod managing;
mod planning;
mod policies;
mod post_training;
mod reasoning;
mod recording;
mod saved;
mod stages;
mod training;

use std::sync::Mutex;

use super::models::ModelStore;

pub use crate::score::job::score;
pub use data::{examine_dataset, import, read_dataset, read_episode};
pub use imagining::{again, imagine, track_of};
pub use loading::warm;
pub use looking::{preview, world_frame};
pub use managing::{accept_terms, check_model, fetch_model, import_model, remove_model};
pub use planning::{Live, plan};
pub use policies::{evaluate_policy, improve_policy, rank_policies, train_policy, twin_episode};
pub use post_training::post_train;
pub use reasoning::{QUESTION, reason};
pub use recording::record;
pub use saved::{open_future, save_future};
pub use stages::try_bundle;
pub use training::train;

/// What jobs share.
#[derive(Default)]
pub struct Tools {
    /// Models in memory.
    pub models: ModelStore,
    /// The policy that moves a robot.
    pub live: Mutex<Option<Live>>,
}
