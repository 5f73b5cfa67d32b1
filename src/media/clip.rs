//! Clips: any picture of any supported clip, by number or by time.

use std::path::Path;

use super::gif::read_gif;
use super::video::VideoReader;
use super::{Kind, MediaError, Result, sniff_file};
use crate::Frame;

/// An open clip. Going forward frame by frame decodes each picture once; a jump decodes from the nearest key
/// picture before it. Use several readers to decode on several threads.
pub struct ClipReader {
    source: Source,
    path: std::path::PathBuf,
}

enum Source {
    Video(Box<VideoReader>),
    Gif { frames: Vec<Frame>, fps: f64 },
}

impl std::fmt::Debug for ClipReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClipReader({}, {} frames)", self.path.display(), self.len())
    }
}

impl ClipReader {
    /// Opens an MP4 (H.264 or AV1) or a GIF, told by its content.
    ///
    /// # Errors
    /// [`MediaError`] naming what it is instead, or what is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let convert = "Convert it to MP4 with H.264 (ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4)";
        let source = match sniff_file(path)? {
            Kind::Mp4 => Source::Video(Box::new(VideoReader::open(path)?)),
            Kind::Gif => {
                let (frames, fps) = read_gif(path)?;
                Source::Gif { frames, fps }
            }
            kind @ (Kind::Matroska | Kind::Avi) => {
                return Err(MediaError::unsupported(path, kind.words(), convert));
            }
            kind if kind.is_picture() => {
                return Err(MediaError::unsupported(
                    path,
                    format!("{} where a clip is expected", kind.words()),
                    "Open it as a picture, or choose an MP4",
                ));
            }
            Kind::Heif => {
                return Err(MediaError::unsupported(path, "HEIC or AVIF", "Convert it to PNG or JPEG"));
            }
            kind => {
                return Err(MediaError::NotMedia { path: path.to_owned(), found: kind.words().into() });
            }
        };
        Ok(Self { source, path: path.to_owned() })
    }

    /// Number of frames; at least 1.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Video(video) => video.len(),
            Source::Gif { frames, .. } => frames.len(),
        }
    }

    /// Never true: a clip without frames does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames a second (the mean, where it varies).
    pub fn fps(&self) -> f64 {
        match &self.source {
            Source::Video(video) => video.fps(),
            Source::Gif { fps, .. } => *fps,
        }
    }

    /// Width and height in pixels as the file says them.
    pub fn size(&self) -> (usize, usize) {
        match &self.source {
            Source::Video(video) => video.size(),
            Source::Gif { frames, .. } => frames.first().map_or((0, 0), |f| (f.width, f.height)),
        }
    }

    /// `H.264`, `AV1` or `GIF`.
    pub fn codec(&self) -> &'static str {
        match &self.source {
            Source::Video(video) => video.codec(),
            Source::Gif { .. } => "GIF",
        }
    }

    /// Whether the file also has sound (which is ignored).
    pub fn has_audio(&self) -> bool {
        matches!(&self.source, Source::Video(video) if video.has_audio())
    }

    /// Number of pictures from which decoding can start.
    pub fn keys(&self) -> usize {
        match &self.source {
            Source::Video(video) => video.keys(),
            Source::Gif { frames, .. } => frames.len(),
        }
    }

    /// Frame `index`, counted from 0 in the order of showing.
    ///
    /// # Errors
    /// [`MediaError::NoFrame`] outside the clip, [`MediaError::Broken`] where it does not decode (other frames
    /// may still do).
    pub fn frame(&mut self, index: usize) -> Result<Frame> {
        match &mut self.source {
            Source::Video(video) => video.frame(index),
            Source::Gif { frames, .. } => frames.get(index).cloned().ok_or_else(|| MediaError::NoFrame {
                path: self.path.clone(),
                index,
                len: frames.len(),
            }),
        }
    }

    /// Number of the frame shown nearest to `seconds` after the first, when it is nearer than `tolerance`
    /// seconds.
    pub fn index_at(&self, seconds: f64, tolerance: f64) -> Option<usize> {
        let last = self.len().checked_sub(1)?;
        let time = |i: usize| match &self.source {
            Source::Video(video) => video.time(i),
            Source::Gif { fps, .. } => Some(i as f64 / fps),
        };
        // The constant rate gives the answer almost always; otherwise search the times, which rise.
        let guess = (seconds * self.fps()).round().clamp(0.0, last as f64) as usize;
        let near = |i: usize| time(i).is_some_and(|t| (t - seconds).abs() <= tolerance);
        if near(guess) {
            return Some(guess);
        }
        let (mut low, mut high) = (0, last + 1);
        while low < high {
            let middle = low.midpoint(high);
            if time(middle)? < seconds { low = middle + 1 } else { high = middle }
        }
        let off = |i: usize| time(i).map_or(f64::MAX, |t| (t - seconds).abs());
        let best =
            if low > last || (low > 0 && off(low - 1) <= off(low)) { low.checked_sub(1)? } else { low };
        near(best).then_some(best)
    }
}

/// All frames of a clip and its rate. For long clips use [`ClipReader`].
///
/// # Errors
/// As [`ClipReader::open`] and [`ClipReader::frame`]; also when the frames would take more than 4 GB.
pub fn read_clip(path: &Path) -> Result<(Vec<Frame>, f64)> {
    let mut reader = ClipReader::open(path)?;
    let (width, height) = reader.size();
    if (width * height * 3).saturating_mul(reader.len()) > 4 << 30 {
        let advice = "Cut a shorter piece out of it";
        return Err(MediaError::unsupported(path, "a clip of more than 4 GB of pixels", advice));
    }
    let frames = (0..reader.len()).map(|i| reader.frame(i)).collect::<Result<_>>()?;
    Ok((frames, reader.fps()))
}
