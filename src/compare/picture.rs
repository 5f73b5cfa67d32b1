//! A picture of a future: in memory, or in a file from which it is read when it is needed.

use std::path::PathBuf;
use std::sync::Arc;

use forerun_models::Frame;

use crate::failure::Failure;
use crate::media;

/// Where a picture is.
#[derive(Clone, Debug)]
pub enum Picture {
    /// In memory.
    Here(Arc<Frame>),
    /// In a file.
    File(PathBuf),
}

impl Picture {
    /// The picture; reads and decodes the file where there is one, so not for a window's thread.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn read(&self) -> Result<Arc<Frame>, Failure> {
        match self {
            Self::Here(frame) => Ok(frame.clone()),
            Self::File(path) => Ok(Arc::new(media::read_picture(path).map_err(Failure::from_error)?)),
        }
    }
}

impl From<Arc<Frame>> for Picture {
    fn from(frame: Arc<Frame>) -> Self {
        Self::Here(frame)
    }
}
