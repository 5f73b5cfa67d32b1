//! Pictures and clips in and out: decoding without system libraries, exact colours, clear errors.
//!
//! | in | out |
//! |---|---|
//! | PNG, JPEG, WebP, BMP, GIF, TIFF pictures, told apart by their content | PNG |
//! | MP4 with H.264 or AV1, animated GIF | MP4 with H.264, GIF |
//!
//! Everything else is named in the error together with what to do about it.

mod av1;
mod boxes;
mod clip;
mod demux;
mod describe;
mod error;
mod export;
mod gif;
mod h264;
mod mux;
mod picture;
mod sniff;
mod sps;
mod video;
mod yuv;

pub use clip::{ClipReader, read_clip};
pub use describe::{Description, describe};
pub use error::MediaError;
pub(crate) use error::advice;
pub use export::{Mp4Options, encode_gif_each, encode_mp4, encode_mp4_each, write_gif, write_mp4};
pub use picture::{MAX_PIXELS, decode_picture, encode_png, picture_size, read_picture, write_png};
pub use sniff::{Kind, sniff, sniff_file};

/// Result of everything in this module.
pub type Result<T> = std::result::Result<T, MediaError>;
