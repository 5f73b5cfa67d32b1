//! Open clips that wait for their next use, shared by threads.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::Frame;
use crate::media::{ClipReader, MediaError};

/// Most clips kept open.
const OPEN: usize = 24;

/// Lends clip readers: a thread takes one out, reads, and puts it back. Two threads on one file get two readers.
#[derive(Debug, Default)]
pub(super) struct ClipPool {
    idle: Mutex<Vec<(PathBuf, ClipReader)>>,
}

impl ClipPool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, ClipReader)>> {
        // A reader that panicked never came back, so what is in the list is sound.
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs `read` on a reader of this file.
    pub(super) fn with<T>(
        &self,
        path: &Path,
        read: impl FnOnce(&mut ClipReader) -> Result<T, MediaError>,
    ) -> Result<T, MediaError> {
        let waiting = {
            let mut idle = self.idle();
            let found = idle.iter().rposition(|(p, _)| p == path);
            found.map(|i| idle.remove(i).1)
        };
        let mut reader = match waiting {
            Some(reader) => reader,
            None => ClipReader::open(path)?,
        };
        let result = read(&mut reader);
        let mut idle = self.idle();
        if idle.len() >= OPEN {
            // The first one has waited longest.
            idle.remove(0);
        }
        idle.push((path.to_owned(), reader));
        result
    }

    /// The frame shown nearest to `seconds`, no further away than `tolerance` seconds.
    pub(super) fn frame_at(&self, path: &Path, seconds: f64, tolerance: f64) -> Result<Frame, MediaError> {
        self.with(path, |clip| {
            let index = clip.index_at(seconds, tolerance).ok_or_else(|| MediaError::Broken {
                path: path.to_owned(),
                what: format!("it has no frame at {seconds:.3} s"),
            })?;
            clip.frame(index)
        })
    }
}
