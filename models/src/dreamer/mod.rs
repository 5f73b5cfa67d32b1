//! The shipped family: a small causal space-time transformer that imagines frames from frames, numbers and words.

pub mod adapt;
mod blur;
mod config;
mod folder;
pub mod heads;
pub mod intent;
pub mod lora;
mod network;
mod objective;
mod passes;
pub mod patches;
pub mod refiner;
mod rollout;
pub mod words;

pub use adapt::Weights;
pub use config::{CHANNEL_SLOTS, CONFIG_FORMAT, Config};
pub use folder::{Dreamer, ModelError, Stored, WeightFormat, read_folder, save_folder};
pub(crate) use folder::{stored_as_f32, write_json};
pub use network::{Condition, Driven, Network, Output, STEP_SIZES, Time};
pub use objective::{Clip, Loss, Recipe, loss};
pub use passes::{Accelerator, HeadOutputs, OnCard, Passes, Readings};
pub use rollout::{HistoryFrame, Imagined, Rollout, Stream};
pub use words::prompt_tokens;
