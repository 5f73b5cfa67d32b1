//! Futures that lie on disk: look at one, keep a copy.

use std::path::Path;

use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::{Event, Reading};
use crate::engine::record::{FutureRecord, locate};
use crate::failure::Failure;
use crate::{fsx, media};

/// Sends the frames and the record of a saved future.
///
/// # Errors
/// It is missing or damaged; cancel.
pub fn open_future(context: &JobContext, path: &Path) -> Result<String, JobEnd> {
    let (folder, _) = locate(path);
    let record = FutureRecord::read(path)?;
    let start = record.start.frames.last().map(|s| (0, &s.file.file, Reading::default()));
    let imagined = record.frames.iter().enumerate().map(|(i, frame)| {
        let values = frame.reading.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()? as f32)));
        (i + 1, &frame.file.file, Reading { values: values.collect() })
    });
    for (index, file, reading) in start.into_iter().chain(imagined) {
        context.check()?;
        let frame = media::read_picture(&folder.join(file)).map_err(Failure::from_error)?;
        let (width, height) = (frame.width, frame.height);
        let event = Event::FutureFrame { job: context.job, seed: record.seed, index, width, height, reading };
        context.send(event, vec![frame.data]);
        context.progress(index as u64, record.frames.len() as u64, "reading the future");
    }
    let value = serde_json::to_value(&record).unwrap_or_default();
    let done = Event::FutureDone { job: context.job, seed: record.seed, folder: Some(folder), record: value };
    context.send(done, Vec::new());
    Ok(format!("{} frames", record.frames.len()))
}

/// Copies a saved future, whole or not at all.
///
/// # Errors
/// It is no future, the target exists or cannot be written.
pub fn save_future(_context: &JobContext, path: &Path, to: &Path) -> Result<String, JobEnd> {
    let (folder, _) = locate(path);
    FutureRecord::read(path)?;
    if to.exists() {
        let message = format!("{} is there already.", to.display());
        return Err(Failure::new(message, "Choose another folder, or remove that one.").into());
    }
    let failed = |e: std::io::Error| Failure::io("write", to, &e);
    let pending = fsx::PendingFolder::new(to).map_err(failed)?;
    fsx::copy_tree(&folder, pending.path()).map_err(failed)?;
    pending.commit().map_err(failed)?;
    Ok(format!("saved to {}", to.display()))
}
