//! What can go wrong with a data set, and what to do about it.

use std::path::{Path, PathBuf};

use crate::media::{MediaError, advice};

/// An error with a data set. Each message names the file, the fault and the next step.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// A picture or clip of the set.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The system could not read or write a file.
    #[error("{}: {source}. {}", path.display(), advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder holds no data set.
    #[error("{}: not a data set ({what}). Choose the folder that contains meta/info.json", path.display())]
    NotDataset {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// A layout that is newer or older than what is read.
    #[error("{}: LeRobotDataset {version} is not supported (v2.0, v2.1 and v3.0 are). Convert it with lerobot, or update this program", path.display())]
    Version {
        /// The folder.
        path: PathBuf,
        /// What info.json says.
        version: String,
    },
    /// A table or JSON file that cannot be read.
    #[error("{}: {what}. {next}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What the person can do.
        next: String,
    },
    /// An episode that the set does not have.
    #[error("{}: there is no episode {index}; the set has {have}", path.display())]
    NoEpisode {
        /// The folder.
        path: PathBuf,
        /// Episode asked for.
        index: usize,
        /// What there is, in words.
        have: String,
    },
    /// A frame that the episode does not have.
    #[error("episode {episode} has no frame {index}; it has {len} (0 to {})", len.saturating_sub(1))]
    NoFrame {
        /// Episode number.
        episode: usize,
        /// Frame asked for.
        index: usize,
        /// Frames of the episode.
        len: usize,
    },
    /// A camera that the set does not have.
    #[error("{}: there is no camera \"{name}\"; the set has {have}", path.display())]
    NoCamera {
        /// The folder.
        path: PathBuf,
        /// Camera asked for.
        name: String,
        /// The cameras that there are.
        have: String,
    },
    /// A camera that is not decoded here.
    #[error("camera \"{name}\" is not supported: {what}. Use another camera, or convert it to 8-bit H.264")]
    UnsupportedCamera {
        /// The camera.
        name: String,
        /// Why.
        what: String,
    },
    /// What should be written does not fit together.
    #[error("cannot write the data set: {what}. {next}")]
    Input {
        /// What is wrong.
        what: String,
        /// What the person can do.
        next: String,
    },
}

impl DatasetError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    /// A damaged file: copy it again.
    pub(crate) fn broken(path: &Path, what: impl Into<String>) -> Self {
        let next = "Copy or download the data set again".to_owned();
        Self::Broken { path: path.to_owned(), what: what.into(), next }
    }

    pub(crate) fn input(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Input { what: what.into(), next: next.into() }
    }
}
