//! What can go wrong with a picture or a clip, and what to do about it.

use std::path::{Path, PathBuf};

/// An error with a picture or a clip. Each message names the file, the fault and the next step.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The system could not read or write the file.
    #[error("{}: {source}. {}", path.display(), advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is no picture or clip at all.
    #[error("{}: this is {found}, not a picture or a clip. Choose a PNG, JPEG, WebP, BMP, GIF, TIFF or MP4 file", path.display())]
    NotMedia {
        /// The file.
        path: PathBuf,
        /// What the content looks like, in words.
        found: String,
    },
    /// A format or codec that exists but is not decoded here.
    #[error("{}: {what} is not supported. {advice}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format or codec by name.
        what: String,
        /// What the person can do.
        advice: String,
    },
    /// The file has the right format but is damaged.
    #[error("{}: the file is damaged or cut off ({what}). Copy or export it again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// More pixels than this program accepts.
    #[error("{}: {width} x {height} pixels is too large (the limit is {} million pixels). Scale it down first", path.display(), limit / 1_000_000)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels in a row.
        width: u64,
        /// Rows.
        height: u64,
        /// Largest number of pixels accepted.
        limit: u64,
    },
    /// A container without a picture track.
    #[error("{}: no video in this file (only {found}). Choose a clip with pictures", path.display())]
    NoVideo {
        /// The file.
        path: PathBuf,
        /// The tracks that it has.
        found: String,
    },
    /// A frame outside the clip.
    #[error("{}: there is no frame {index}; the clip has {len} (0 to {})", path.display(), len.saturating_sub(1))]
    NoFrame {
        /// The file.
        path: PathBuf,
        /// Frame asked for.
        index: usize,
        /// Frames in the clip.
        len: usize,
    },
    /// A clip or picture could not be written.
    #[error("cannot encode: {what}. {advice}")]
    Encode {
        /// What is wrong.
        what: String,
        /// What the person can do.
        advice: String,
    },
}

impl MediaError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn broken(path: &Path, what: impl Into<String>) -> Self {
        Self::Broken { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn unsupported(path: &Path, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), what: what.into(), advice: advice.into() }
    }

    pub(crate) fn encode(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Encode { what: what.into(), advice: advice.into() }
    }
}

/// The next step for a person who meets this error of the system.
pub(crate) fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound => "Check the path",
        K::PermissionDenied => "Choose a place that you may read and write, or change its permissions",
        K::StorageFull | K::QuotaExceeded => "Free some disk space, then try again",
        K::ReadOnlyFilesystem => "Choose a folder on a disk that can be written",
        K::IsADirectory => "Choose a file, not a folder",
        K::UnexpectedEof => "The file is cut off; copy it again",
        _ => "Check the disk and try again",
    }
}
