//! Training a world model: data in memory, micro-batches on worker threads, checkpoints that go on exactly.

mod batch;
mod borrow;
pub(crate) mod checkpoint;
mod episodes;
mod error;
mod from_world;
mod judge;
mod load;
pub mod post;
mod run;
mod settings;
mod start;
mod tensorboard;

pub use episodes::{Episode, Library, channel_of};
pub use error::TrainError;
pub use from_world::{episode_of, readings_of};
pub use judge::{Judge, Judgement};
pub use load::{Channels, Loaded, PICTURE_MEMORY, channels_of, label_readings, load};
pub use run::{Budget, Report, TrainJob, run};
pub use settings::{ClipMix, TrainSettings};
pub use start::{Stage, start};
