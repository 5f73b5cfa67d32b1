//! An episode of a dataset as the engine reads it: pictures of the main camera, states and actions by name.

use std::path::{Path, PathBuf};

use forerun_models::Frame;

use crate::dataset::{self, Dataset, Matrix};
use crate::failure::Failure;

/// One episode, its numbers in memory, its pictures decoded as they are asked for.
pub struct Episode {
    set: Dataset,
    root: PathBuf,
    camera: String,
    episode: dataset::Episode,
}

impl Episode {
    /// Opens an episode of the dataset in `root`.
    ///
    /// # Errors
    /// There is no such dataset or episode, or it has no pictures that can be read.
    pub fn open(root: &Path, episode: usize) -> Result<Self, Failure> {
        let set = Dataset::open(root).map_err(Failure::from_error)?;
        let camera = main_camera(&set)?;
        let episode = set.episode(episode).map_err(Failure::from_error)?;
        Ok(Self { set, root: root.to_path_buf(), camera, episode })
    }

    /// `DATASET#EPISODE`.
    pub fn name(&self) -> String {
        format!("{}#{}", self.root.display(), self.episode.index)
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.episode.length
    }

    /// Whether it has no frames.
    pub fn is_empty(&self) -> bool {
        self.episode.length == 0
    }

    /// Frames a second.
    pub fn fps(&self) -> f64 {
        self.set.fps()
    }

    /// The words that belong to it.
    pub fn task(&self) -> &str {
        &self.episode.task
    }

    /// Frame `index`, counted from 0.
    ///
    /// # Errors
    /// It does not exist or does not decode.
    pub fn frame(&self, index: usize) -> Result<Frame, Failure> {
        self.set.frame(&self.camera, self.episode.index, index).map_err(Failure::from_error)
    }

    /// State at frame `index` by channel name; empty when there is none.
    pub fn state(&self, index: usize) -> Vec<(String, f32)> {
        named(self.episode.state(), index)
    }

    /// Action of frame `index` by channel name; empty when there is none.
    pub fn action(&self, index: usize) -> Vec<(String, f32)> {
        named(self.episode.actions(), index)
    }
}

/// Key of the first camera that can be read.
///
/// # Errors
/// There is none.
pub fn main_camera(set: &Dataset) -> Result<String, Failure> {
    set.main_camera().map(|camera| camera.key.clone()).ok_or_else(|| {
        Failure::new(
            format!("The dataset {} has no pictures that can be read.", set.root().display()),
            "Choose a dataset with a camera in H.264, AV1 or PNG.",
        )
    })
}

/// A row of a table by column name.
pub fn named(matrix: Option<&Matrix>, row: usize) -> Vec<(String, f32)> {
    let Some(matrix) = matrix.filter(|m| row < m.rows()) else { return Vec::new() };
    matrix.channels.iter().map(|c| c.name.clone()).zip(matrix.row(row).iter().copied()).collect()
}
