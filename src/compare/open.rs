//! A saved future in memory: pictures and what the heads read, frame by frame.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun_models::Frame;

use super::metrics::Seen;
use super::picture::Picture;
use crate::engine::record::{FutureRecord, locate};
use crate::failure::Failure;
use crate::media;

/// A saved future. Index 0 of the lists is the start (the last start frame), index `k` imagined frame `k`. Where the start
/// was imagined, too, index 0 repeats frame 1, so that all futures share one time base.
#[derive(Clone, Debug)]
pub struct OpenFuture {
    /// Its folder.
    pub folder: PathBuf,
    /// Its record.
    pub record: FutureRecord,
    /// Pictures.
    pub frames: Vec<Arc<Frame>>,
    /// What the heads read; empty for the start.
    pub readings: Vec<Vec<(String, f32)>>,
}

/// Files of the pictures of a future, numbered as [`OpenFuture::frames`].
pub fn picture_files(folder: &Path, record: &FutureRecord) -> Vec<PathBuf> {
    let start = record.start.frames.last().map(|s| &s.file).or(record.frames.first().map(|f| &f.file));
    let files = start.into_iter().chain(record.frames.iter().map(|f| &f.file));
    files.map(|file| folder.join(&file.file)).collect()
}

impl OpenFuture {
    /// Reads a future with all its pictures: not for the window's thread. `path` is its folder or its record.
    ///
    /// # Errors
    /// The record or a picture is missing or damaged.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let (folder, _) = locate(path);
        let record = FutureRecord::read(path)?;
        let read = |file: PathBuf| media::read_picture(&file).map(Arc::new).map_err(Failure::from_error);
        let frames = picture_files(&folder, &record).into_iter().map(read).collect::<Result<_, _>>()?;
        let named = |map: &serde_json::Map<String, serde_json::Value>| {
            map.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()? as f32))).collect()
        };
        let readings =
            std::iter::once(Vec::new()).chain(record.frames.iter().map(|f| named(&f.reading))).collect();
        Ok(Self { folder, record, frames, readings })
    }

    /// Pictures with their readings, as [`super::metrics`] takes them.
    pub fn seen(&self) -> Vec<Seen<'_>> {
        let pairs = self.frames.iter().zip(&self.readings);
        pairs.map(|(frame, reading)| Seen { frame, reading }).collect()
    }

    /// Its pictures for a sheet.
    pub fn pictures(&self) -> Vec<Picture> {
        self.frames.iter().cloned().map(Picture::Here).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::compare::testing::future;

    #[test]
    fn a_future_is_read_with_its_start_and_readings() {
        let dir = tempfile::tempdir().unwrap();
        let folder = future(dir.path(), 10, 2, |r| {
            r.frames[1].reading.insert("gripper.x".into(), 0.25.into());
            r.frames[1].reading.insert("words".into(), "none".into());
        });
        let open = OpenFuture::read(&folder.join("future.json")).unwrap();
        let reds: Vec<u8> = open.frames.iter().map(|f| f.data[0]).collect();
        assert_eq!((reds, open.folder.as_path()), (vec![10, 11, 12], folder.as_path()));
        assert_eq!(open.readings, [vec![], vec![], vec![("gripper.x".to_owned(), 0.25)]]);
        assert_eq!((open.seen().len(), open.pictures().len()), (3, 3));
        // Without a start picture, the first imagined one stands in its place.
        let mut record = open.record.clone();
        record.start.frames.clear();
        let files = picture_files(&folder, &record);
        assert_eq!((files.len(), files[0] == files[1]), (3, true));
        std::fs::remove_file(folder.join("frames/00002.png")).unwrap();
        assert!(OpenFuture::read(&folder).unwrap_err().text().contains("00002.png"));
    }
}
