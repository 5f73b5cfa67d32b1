//! Clips out: MP4 with H.264, GIF.

use std::borrow::Cow;
use std::path::Path;

use super::h264::H264Encoder;
use super::mux::{Track, write_mp4 as mux};
use super::yuv::from_frame;
use super::{MediaError, Result};
use crate::Frame;

/// How a clip is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mp4Options {
    /// Frames a second.
    pub fps: f64,
    /// A key picture every so many frames; 2 for datasets (any frame is at most two decodes away).
    pub gop: u32,
    /// Quantiser, 12 (near lossless, large) to 51; 20 looks the same as the original.
    pub quantiser: u8,
}

impl Mp4Options {
    /// For looking at: small files, good quality.
    pub fn export(fps: f64) -> Self {
        Self { fps, gop: 30, quantiser: 20 }
    }

    /// For datasets: random access, good quality.
    pub fn dataset(fps: f64) -> Self {
        Self { fps, gop: 2, quantiser: 20 }
    }
}

/// An MP4 file in memory: H.264 (no B-frames, 4:2:0, BT.601 limited range), index first, one track. An odd
/// width or height is rounded up by repeating the last column or row.
///
/// # Errors
/// When there are no frames, they differ in size, or the size is outside 16 x 16 to 3840 x 2160.
pub fn encode_mp4(frames: &[Frame], options: Mp4Options) -> Result<Vec<u8>> {
    encode_mp4_each(frames.iter().map(|frame| Ok(Cow::Borrowed(frame))), options)
}

/// As [`encode_mp4`], asking for one frame after another, so that long and large clips never lie in memory as pixels.
///
/// # Errors
/// As [`encode_mp4`]; the first error among the frames.
pub fn encode_mp4_each<'a>(
    frames: impl Iterator<Item = Result<Cow<'a, Frame>>>,
    options: Mp4Options,
) -> Result<Vec<u8>> {
    let mut encoder = H264Encoder::new(options.fps, options.gop, options.quantiser)?;
    let mut samples = Vec::new();
    let mut first = None;
    let mut size = (0, 0);
    for (i, frame) in frames.enumerate() {
        let frame = frame?;
        let (width, height) = *first.get_or_insert((frame.width, frame.height));
        let (longer, shorter) = (width.max(height), width.min(height));
        if shorter < 16 || longer > 3840 || shorter > 2160 {
            return Err(MediaError::encode(
                format!("a clip of {width} x {height} pixels"),
                "Choose a size of 16 x 16 to 3840 x 2160",
            ));
        }
        if (frame.width, frame.height) != (width, height) {
            return Err(MediaError::encode(
                format!("frame {i} is {} x {}, the first is {width} x {height}", frame.width, frame.height),
                "All frames of a clip must have one size",
            ));
        }
        let yuv = from_frame(&frame).ok_or_else(|| {
            MediaError::encode(format!("frame {i} is not sound"), "It must have width * height * 3 bytes")
        })?;
        size = (yuv.width, yuv.height);
        samples.push(encoder.encode(&yuv)?);
    }
    if samples.is_empty() {
        return Err(MediaError::encode("a clip without frames", "Give at least one frame"));
    }
    let track = Track {
        width: size.0 as u16,
        height: size.1 as u16,
        fps: options.fps,
        sps: &encoder.sps,
        pps: &encoder.pps,
    };
    mux(&track, &samples)
}

/// Writes [`encode_mp4`] to a file: whole or not at all.
///
/// # Errors
/// As [`encode_mp4`]; [`MediaError::Io`] when it cannot be written.
pub fn write_mp4(path: &Path, frames: &[Frame], options: Mp4Options) -> Result<()> {
    let bytes = encode_mp4(frames, options)?;
    super::picture::write_file(path, &bytes)
}

/// Writes an endlessly looping GIF: whole or not at all.
///
/// # Errors
/// When a frame is not sound; [`MediaError::Io`] when it cannot be written.
pub fn write_gif(path: &Path, frames: &[Frame], fps: f64) -> Result<()> {
    if frames.is_empty() {
        return Err(MediaError::encode("a clip without frames", "Give at least one frame"));
    }
    let bytes = encode_gif_each(frames.iter().map(|frame| Ok(Cow::Borrowed(frame))), fps)?;
    super::picture::write_file(path, &bytes)
}

/// An endlessly looping GIF in memory, asking for one frame after another.
///
/// # Errors
/// When there is no frame or one is not sound; the first error among the frames.
pub fn encode_gif_each<'a>(
    frames: impl Iterator<Item = Result<Cow<'a, Frame>>>,
    fps: f64,
) -> Result<Vec<u8>> {
    super::gif::encode_gif(frames, fps)
}
