//! Data sets of robots and worlds: LeRobotDataset v3.0, v2.1 and v2.0 in, v3.0 out.
//!
//! [`Dataset`] opens a folder and gives any frame of any episode; [`Prefetch`] decodes ahead on worker threads;
//! [`encode_episode`] and [`DatasetWriter`] write sets that stay loadable whenever the program is killed.

pub mod actions;
mod aggregate;
mod describe;
pub mod doctor;
mod encode;
mod episodes;
mod error;
pub mod import;
mod info;
mod pool;
mod prefetch;
mod reader;
mod stats;
mod table;
mod writer;
mod writer_tables;

pub use describe::{CameraReport, Report, describe};
pub use encode::{ChannelInfo, DatasetSpec, EncodedEpisode, EpisodeBuffer, encode_episode};
pub use episodes::{EpisodeMeta, VideoPlace};
pub use error::DatasetError;
pub use info::{Camera, CameraKind, Feature, Version};
pub use prefetch::{ClipRequest, Prefetch};
pub use reader::{Dataset, Episode, Matrix};
pub use stats::{QUANTILES, Stats};
pub use writer::DatasetWriter;

/// Width and height of a dataset's pictures, from its index alone: those of the named camera, or of the first one that can
/// be read.
pub fn picture_size(root: &std::path::Path, camera: &str) -> Option<(usize, usize)> {
    let info = info::Info::read(root).ok()?;
    let usable = |c: &&Camera| !matches!(c.kind, CameraKind::Unsupported(_));
    let found = info.cameras.iter().find(|c| c.key == camera).or_else(|| info.cameras.iter().find(usable))?;
    Some((found.width, found.height))
}

/// Result of everything in this module.
pub type Result<T> = std::result::Result<T, DatasetError>;
