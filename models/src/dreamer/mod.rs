//! The shipped family: a small causal space-time transformer that imagines frames from frames, numbers and words.

pub mod adapt;
mod config;
mod folder;
pub mod heads;
pub mod lora;
mod network;
mod objective;
pub mod patches;
mod rollout;
pub(crate) mod words;

pub use config::{CHANNEL_SLOTS, CONFIG_FORMAT, Config};
pub(crate) use folder::write_json;
pub use folder::{Dreamer, ModelError, Stored, WeightFormat, read_folder, save_folder};
pub use network::{Condition, Network, Output, STEP_SIZES, Time};
pub use objective::{Clip, Loss, Recipe, loss};
pub use rollout::{HistoryFrame, Imagined, Rollout, Stream};
pub use words::prompt_tokens;
