//! What the Data screen holds: the project's datasets, the episode that is looked at, what the doctor found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::Frame;
use forerun::dataset::ChannelInfo;
use forerun::dataset::doctor::{Examination, View};
use forerun::engine::protocol::{JobId, RecordSpec};
use forerun::project::datasets::DatasetEntry;
use serde::Deserialize;

use crate::history::History;

/// Bytes that the pictures of one episode may take.
const PICTURES: usize = 256 << 20;

/// Jobs of the engine that this screen starts.
#[derive(Clone, Debug, PartialEq)]
pub enum DataJob {
    /// Taking something into the project.
    Import,
    /// The index of a dataset.
    Read,
    /// The pictures and numbers of an episode.
    Episode,
    /// The doctor's look.
    Examine,
    /// A recording from the virtual world.
    Record(PathBuf),
}

/// What a person wishes, or a thread answers, on this screen.
#[derive(Clone, Debug)]
pub enum DataWish {
    /// Take these files into the project.
    Import(Vec<PathBuf>),
    /// Show this dataset.
    Choose(String),
    /// Show this episode.
    Episode(usize),
    /// Use an episode for this.
    Use(usize, EpisodeUse),
    /// Change the corrections; the name of the change makes undo steps.
    Correct(&'static str, View),
    /// Look through this camera.
    Camera(String),
    /// Record.
    Record(RecordForm),
    /// Take a linked dataset out of the project.
    Unlink(String),
    /// Start futures from the frame that is shown.
    StartHere,
    /// The project's datasets were listed.
    Listed(Arc<Vec<DatasetEntry>>),
    /// Corrections were written.
    Saved,
}

/// What an episode is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpisodeUse {
    /// To learn from.
    Learn,
    /// To judge by.
    Judge,
    /// For nothing.
    LeaveOut,
}

/// A recording as the sheet describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordForm {
    /// Name of the new dataset.
    pub name: String,
    /// `play`, `expert`, `noisy` or `idle`.
    pub behaviour: String,
    /// `plain`, `rich` or a number.
    pub look: String,
    /// Episodes.
    pub episodes: usize,
    /// Seed of the first scene.
    pub seed: u64,
    /// What the pictures show.
    pub picture: forerun::world::Picture,
}

impl Default for RecordForm {
    fn default() -> Self {
        Self {
            name: "tabletop".into(),
            behaviour: "expert".into(),
            look: "plain".into(),
            episodes: 50,
            seed: 1,
            picture: forerun::world::Picture::Rgb,
        }
    }
}

impl RecordForm {
    /// The job for it.
    pub fn spec(&self, out: PathBuf) -> RecordSpec {
        RecordSpec {
            world: "tabletop".into(),
            behaviour: self.behaviour.clone(),
            episodes: self.episodes.max(1),
            seed: self.seed,
            look: self.look.clone(),
            size: 128,
            fps: 10,
            picture: self.picture,
            out,
        }
    }
}

/// A camera of a dataset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CameraAbout {
    /// Its key.
    pub key: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Why it cannot be read; empty when it can.
    pub trouble: String,
}

/// An episode of a dataset.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EpisodeAbout {
    /// Its number.
    pub index: usize,
    /// Frames.
    pub length: usize,
    /// What is done in it.
    pub task: Option<String>,
}

/// What the index of a dataset tells.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct About {
    /// Its folder.
    pub folder: PathBuf,
    /// Layout.
    pub version: String,
    /// Frames a second.
    pub fps: f64,
    /// Robot body.
    pub robot: String,
    /// Frames of all episodes.
    pub frames: usize,
    /// Cameras.
    pub cameras: Vec<CameraAbout>,
    /// The camera that is used where none is named.
    pub main_camera: Option<String>,
    /// Action channels.
    pub action: Vec<ChannelInfo>,
    /// State channels.
    pub state: Vec<ChannelInfo>,
    /// Episodes.
    pub episodes: Vec<EpisodeAbout>,
    /// What is wrong with its files.
    pub problems: Vec<String>,
}

/// Rows of named numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Table {
    /// Names and units.
    pub channels: Vec<ChannelInfo>,
    /// Row by row; what is no number is missing.
    pub values: Vec<Option<f32>>,
}

impl Table {
    /// The values of a channel, a row each.
    pub fn column(&self, at: usize) -> Vec<f32> {
        let width = self.channels.len().max(1);
        self.values.chunks(width).map(|row| row.get(at).copied().flatten().unwrap_or(f32::NAN)).collect()
    }
}

/// The episode that is looked at.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// Which one.
    pub of: Option<(PathBuf, usize, View)>,
    /// The job that reads it.
    pub job: Option<JobId>,
    /// Frames it has.
    pub length: usize,
    /// What is done in it.
    pub task: String,
    /// What was commanded.
    pub action: Option<Table>,
    /// What was measured.
    pub state: Option<Table>,
    /// Pictures of each camera, as far as they are here.
    pub frames: BTreeMap<String, Vec<Arc<Frame>>>,
    /// Why it cannot be shown.
    pub trouble: Option<String>,
}

impl Clip {
    /// Frames that every camera has.
    pub fn ready(&self) -> usize {
        self.frames.values().map(Vec::len).min().unwrap_or(0)
    }

    /// The longest side of pictures of which a whole episode fits into memory.
    pub fn side(length: usize, cameras: usize) -> usize {
        // A picture of three to four takes 2.25 bytes a square pixel of its longest side.
        let each = PICTURES as f64 / (length.max(1) * cameras.max(1)) as f64;
        ((each / 2.25).sqrt() as usize).clamp(96, 360)
    }
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Data {
    /// The project's datasets; `None` until they were listed.
    pub entries: Option<Arc<Vec<DatasetEntry>>>,
    /// Whether they are being listed.
    pub listing: bool,
    /// Name of the one that is shown.
    pub chosen: Option<String>,
    /// What its index says.
    pub about: Option<About>,
    /// Why it does not open.
    pub trouble: Option<String>,
    /// The folder whose index was asked for.
    pub asked: Option<PathBuf>,
    /// Number of the episode that is shown.
    pub episode: usize,
    /// That episode.
    pub clip: Clip,
    /// The corrections of the shown dataset, with undo.
    pub view: Option<History<View>>,
    /// Whether they are being written.
    pub saving: bool,
    /// What the doctor found, and through which corrections it looked.
    pub found: Option<(Examination, View)>,
    /// The doctor at work.
    pub examining: Option<(JobId, View)>,
    /// Whether the doctor looks again when the corrections change.
    pub follow: bool,
}

impl Data {
    /// The dataset of this name.
    pub fn entry(&self, name: &str) -> Option<&DatasetEntry> {
        self.entries.as_ref()?.iter().find(|entry| entry.name == name)
    }

    /// The dataset that is shown.
    pub fn chosen(&self) -> Option<&DatasetEntry> {
        self.entry(self.chosen.as_deref()?)
    }

    /// The corrections of the shown dataset as they stand now.
    pub fn corrections(&self) -> View {
        self.view.as_ref().map(|view| view.get().clone()).unwrap_or_default()
    }

    /// The index of the shown dataset, once it is here.
    pub fn shown(&self) -> Option<&About> {
        let folder: &Path = &self.chosen()?.folder;
        self.about.as_ref().filter(|about| about.folder == folder)
    }

    /// Forgets everything about the shown dataset.
    pub fn forget(&mut self) {
        *self = Self { entries: self.entries.take(), listing: self.listing, ..Self::default() };
    }
}

/// What an episode is for, by the corrections of its dataset.
pub fn use_of(view: &View, index: usize) -> EpisodeUse {
    if view.leave_out.contains(&index) {
        EpisodeUse::LeaveOut
    } else if view.hold_out.contains(&index) {
        EpisodeUse::Judge
    } else {
        EpisodeUse::Learn
    }
}

/// Corrections under which an episode is for something else.
pub fn use_for(view: &View, index: usize, what: EpisodeUse) -> View {
    let mut view = view.clone();
    view.leave_out.retain(|i| *i != index);
    view.hold_out.retain(|i| *i != index);
    match what {
        EpisodeUse::Learn => {}
        EpisodeUse::Judge => view.hold_out.push(index),
        EpisodeUse::LeaveOut => view.leave_out.push(index),
    }
    view.leave_out.sort_unstable();
    view.hold_out.sort_unstable();
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_for_one_thing_at_a_time() {
        let mut view = View::default();
        for what in [EpisodeUse::Judge, EpisodeUse::LeaveOut, EpisodeUse::Judge, EpisodeUse::Learn] {
            view = use_for(&view, 4, what);
            assert_eq!(use_of(&view, 4), what);
        }
        assert_eq!(view, View::default());
    }

    #[test]
    fn long_episodes_are_shown_smaller() {
        assert_eq!(Clip::side(50, 1), 360);
        assert!(Clip::side(3000, 2) < 200);
        assert_eq!(Clip::side(usize::MAX >> 8, 4), 96);
    }

    #[test]
    fn missing_numbers_are_gaps() {
        let table: Table = serde_json::from_value(serde_json::json!({
            "channels": [{ "name": "a", "unit": "" }, { "name": "b", "unit": "deg" }], "values": [1.0, null, 3.0, 4.0]
        }))
        .unwrap_or_default();
        assert_eq!(table.column(0), [1.0, 3.0]);
        assert!(table.column(1)[0].is_nan());
    }
}
