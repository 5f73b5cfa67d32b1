//! One episode, from frames and numbers in memory to what goes on disk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DatasetError, Result, Stats};
use crate::Frame;
use crate::media::{Mp4Options, encode_mp4};

/// Name and unit of one number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    /// Name with its suffix, as LeRobot writes it: `shoulder_pan.pos`.
    pub name: String,
    /// `deg`, `%`, `m`, or empty when it has none.
    pub unit: String,
}

impl ChannelInfo {
    /// From name and unit.
    pub fn new(name: impl Into<String>, unit: impl Into<String>) -> Self {
        Self { name: name.into(), unit: unit.into() }
    }
}

/// What every episode of a new data set looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct DatasetSpec {
    /// Frames a second; at least 1, a whole number (LeRobot knows no others).
    pub fps: u32,
    /// Kind of robot body: `so101_follower`.
    pub robot_type: String,
    /// Pixels in a row; even, at least 16.
    pub width: usize,
    /// Rows; even, at least 16.
    pub height: usize,
    /// Feature key of the pictures: `observation.images.front`.
    pub camera: String,
    /// Channels of `observation.state`.
    pub state: Vec<ChannelInfo>,
    /// Channels of `action`; none where only pictures were recorded.
    pub action: Vec<ChannelInfo>,
    /// Further columns with their channels: `label.object_pose`, ...
    pub extra: Vec<(String, Vec<ChannelInfo>)>,
}

impl DatasetSpec {
    /// The number columns in the order of the file: state, action, extras.
    pub(super) fn columns(&self) -> Vec<(&str, &[ChannelInfo])> {
        let mut columns = Vec::new();
        if !self.state.is_empty() {
            columns.push(("observation.state", self.state.as_slice()));
        }
        if !self.action.is_empty() {
            columns.push(("action", self.action.as_slice()));
        }
        columns.extend(self.extra.iter().map(|(key, channels)| (key.as_str(), channels.as_slice())));
        columns
    }

    /// Refuses what LeRobot could not load.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |what: String, next: &str| Err(DatasetError::input(what, next));
        if self.fps == 0 || self.fps > 1000 {
            return fail(format!("{} frames a second", self.fps), "Choose 1 to 1000");
        }
        if self.width < 16 || self.height < 16 || self.width % 2 + self.height % 2 > 0 {
            let what = format!("pictures of {} x {} pixels", self.width, self.height);
            return fail(what, "Width and height must be even and at least 16");
        }
        let reserved = ["timestamp", "frame_index", "episode_index", "index", "task_index", "task"];
        let mut keys = vec![self.camera.as_str()];
        keys.extend(self.columns().iter().map(|(key, _)| *key));
        for (i, key) in keys.iter().enumerate() {
            let taken = keys.iter().skip(i + 1).any(|k| k == key) || reserved.contains(key);
            if taken || key.is_empty() || key.contains(['/', '\\']) || key.starts_with('.') {
                return fail(format!("the column name \"{key}\""), "Names must be unique, without slashes");
            }
        }
        for (key, channels) in self.columns() {
            if channels.is_empty() {
                return fail(format!("the column \"{key}\" has no channels"), "Name at least one");
            }
        }
        Ok(())
    }
}

/// One episode in memory.
#[derive(Clone, Debug, Default)]
pub struct EpisodeBuffer {
    /// What was to be done, in words.
    pub task: String,
    /// One picture a step.
    pub frames: Vec<Frame>,
    /// One row a step, `spec.state.len()` numbers each.
    pub state: Vec<Vec<f32>>,
    /// One row a step, `spec.action.len()` numbers each: what is commanded between frame t and frame t+1.
    pub action: Vec<Vec<f32>>,
    /// For each extra column one row a step.
    pub extra: Vec<Vec<Vec<f32>>>,
    /// Anything that makes the scene again (kept in `meta/forerun_scenes.jsonl`); null for nothing.
    pub scene: serde_json::Value,
}

/// An episode ready to be appended: an MP4 file in memory, columns, statistics.
#[derive(Clone, Debug)]
pub struct EncodedEpisode {
    pub(super) task: String,
    pub(super) length: usize,
    pub(super) mp4: Vec<u8>,
    /// In the order of [`DatasetSpec::columns`], row by row.
    pub(super) columns: Vec<Vec<f32>>,
    pub(super) stats: BTreeMap<String, Stats>,
    pub(super) scene: serde_json::Value,
}

impl EncodedEpisode {
    /// Number of frames.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Never true: an episode without frames is not encoded.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of its video.
    pub fn video_bytes(&self) -> usize {
        self.mp4.len()
    }
}

/// Checks an episode, encodes its video (H.264, two frames a group) and computes its statistics. This is where
/// the work is; call it from several threads.
///
/// # Errors
/// When rows are missing, differ in length or hold NaN or infinity, or pictures differ in size.
pub fn encode_episode(spec: &DatasetSpec, episode: EpisodeBuffer) -> Result<EncodedEpisode> {
    spec.check()?;
    let length = episode.frames.len();
    if length == 0 {
        return Err(DatasetError::input("an episode without frames", "Record at least one frame"));
    }
    if let Some(bad) = episode.frames.iter().find(|f| (f.width, f.height) != (spec.width, spec.height)) {
        return Err(DatasetError::input(
            format!(
                "a picture of {} x {} in a set of {} x {}",
                bad.width, bad.height, spec.width, spec.height
            ),
            "Scale it first",
        ));
    }
    if episode.task.trim().is_empty() {
        return Err(DatasetError::input("an episode without a task", "Say in words what is done"));
    }
    let mut tables = Vec::new();
    if !spec.state.is_empty() {
        tables.push(&episode.state);
    }
    if !spec.action.is_empty() {
        tables.push(&episode.action);
    }
    tables.extend(&episode.extra);
    let columns = spec.columns();
    if tables.len() != columns.len() {
        let what = format!("{} extra columns where {} are named", episode.extra.len(), spec.extra.len());
        return Err(DatasetError::input(what, "Give one table for each"));
    }
    let mut flat = Vec::with_capacity(columns.len());
    let mut stats = BTreeMap::new();
    for ((key, channels), rows) in columns.iter().zip(tables) {
        let values = flatten(key, channels, rows, length)?;
        let wide: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
        stats.insert((*key).to_owned(), Stats::of_rows(channels.len(), &wide));
        flat.push(values);
    }
    stats.insert(spec.camera.clone(), Stats::of_frames(&episode.frames));
    let frame_index: Vec<f64> = (0..length).map(|i| i as f64).collect();
    let fps = f64::from(spec.fps);
    let timestamp: Vec<f64> = (0..length).map(|i| f64::from((i as f64 / fps) as f32)).collect();
    stats.insert("frame_index".to_owned(), Stats::of_rows(1, &frame_index));
    stats.insert("timestamp".to_owned(), Stats::of_rows(1, &timestamp));
    let mp4 = encode_mp4(&episode.frames, Mp4Options::dataset(fps))?;
    Ok(EncodedEpisode { task: episode.task, length, mp4, columns: flat, stats, scene: episode.scene })
}

fn flatten(key: &str, channels: &[ChannelInfo], rows: &[Vec<f32>], length: usize) -> Result<Vec<f32>> {
    if rows.len() != length {
        let what = format!("\"{key}\" has {} rows for {length} frames", rows.len());
        return Err(DatasetError::input(what, "Give one row for each frame"));
    }
    let mut values = Vec::with_capacity(length * channels.len());
    for (t, row) in rows.iter().enumerate() {
        if row.len() != channels.len() {
            let what = format!("\"{key}\" has {} numbers at frame {t}, not {}", row.len(), channels.len());
            return Err(DatasetError::input(what, "Give one number for each channel"));
        }
        if let Some((bad, channel)) = row.iter().zip(channels).find(|(x, _)| !x.is_finite()) {
            let what = format!("\"{key}\", channel \"{}\" is {bad} at frame {t}", channel.name);
            return Err(DatasetError::input(what, "Only finite numbers can be recorded"));
        }
        values.extend(row);
    }
    Ok(values)
}
