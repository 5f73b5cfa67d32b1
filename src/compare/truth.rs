//! What really happened after the frame that a future starts from, where the start is a recorded episode.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun_models::{Contract, Frame};

use crate::dataset::Dataset;
use crate::engine::episode::{main_camera, named};
use crate::engine::fit::fit_for;
use crate::engine::protocol::Start;
use crate::engine::record::{FutureRecord, locate};
use crate::engine::start::stride_of;
use crate::failure::Failure;
use crate::train::label_readings;
use crate::world::{ColourName, SceneSpec};

/// Most branches one after another that are followed back to a recording.
const GENERATIONS: usize = 64;

/// A place in a recorded episode.
#[derive(Clone, Debug, PartialEq)]
pub struct TruthPlace {
    /// Dataset folder.
    pub dataset: PathBuf,
    /// Episode number.
    pub episode: usize,
    /// Frame of the episode (in the dataset's own count) that the future's chain of branches began at.
    pub at: usize,
    /// Frames of the model between that frame and frame 0 of this future.
    pub after: usize,
}

/// What really happened. Index 0 of each list is the start, index `k` belongs to imagined frame `k`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Pictures, fitted to the model.
    pub frames: Vec<Arc<Frame>>,
    /// Labels as the model's heads would read them: `red.x`, `gripper.z`, `contact` (metres; 0 or 1); empty lists
    /// where the dataset has none.
    pub readings: Vec<Vec<(String, f32)>>,
    /// Robot's state by channel name; empty lists where the dataset has none.
    pub states: Vec<Vec<(String, f32)>>,
    /// Colours of the objects that can be looked for in the pictures, by name.
    pub colours: Vec<(String, [u8; 3])>,
}

/// Where the truth of a future lies: a recorded start, or a branch (of a branch ...) of a future with a recorded
/// start. `None` when nothing recorded what came next.
pub fn place_of(record: &FutureRecord) -> Option<TruthPlace> {
    place_through(record, GENERATIONS)
}

fn place_through(record: &FutureRecord, generations: usize) -> Option<TruthPlace> {
    match serde_json::from_value(record.start.source.clone()).ok()? {
        Start::Episode { dataset, episode, at } => Some(TruthPlace { dataset, episode, at, after: 0 }),
        Start::Future { folder, at } if generations > 0 => {
            let parent = FutureRecord::read(&locate(&folder).0).ok()?;
            let mut place = place_through(&parent, generations - 1)?;
            place.after += at;
            Some(place)
        }
        _ => None,
    }
}

impl Truth {
    /// Reads up to `steps` frames after the place (and the one at it), at the model's rate and size. What the
    /// episode no longer has is left out.
    ///
    /// # Errors
    /// The dataset is missing or damaged, or ends before the place.
    pub fn load(place: &TruthPlace, contract: &Contract, steps: usize) -> Result<Self, Failure> {
        let set = Dataset::open(&place.dataset).map_err(Failure::from_error)?;
        let camera = main_camera(&set)?;
        let episode = set.episode(place.episode).map_err(Failure::from_error)?;
        let (stride, _) = stride_of(set.fps(), f64::from(contract.frame.rate_hz), "The episode");
        let scene = set.scene(place.episode);
        let labels = label_readings(&episode, scene);
        let mut truth = Self { colours: colours(scene), ..Self::default() };
        for k in 0..=steps {
            let at = place.at + ((place.after + k) as f64 * stride).round() as usize;
            if at >= episode.length {
                break;
            }
            let picture = set.frame(&camera, place.episode, at).map_err(Failure::from_error)?;
            truth.frames.push(Arc::new(fit_for(&picture, &contract.frame)?.frame));
            truth.readings.push(labels.get(at).cloned().unwrap_or_default());
            truth.states.push(named(episode.state(), at));
        }
        if truth.frames.is_empty() {
            return Err(Failure::new(
                format!(
                    "The recording {}#{} ends before this future starts.",
                    place.dataset.display(),
                    place.episode
                ),
                "Compare with another future instead.",
            ));
        }
        Ok(truth)
    }

    /// Another future (or the virtual world) in the place of the truth: pictures and what the heads read off them.
    pub fn from_frames(frames: Vec<Arc<Frame>>, readings: Vec<Vec<(String, f32)>>) -> Self {
        Self { frames, readings, states: Vec::new(), colours: Vec::new() }
    }

    /// The truth of a saved future, when there is one.
    ///
    /// # Errors
    /// The record is damaged; as [`Truth::load`].
    pub fn of_future(folder: &Path) -> Result<Option<Self>, Failure> {
        let record = FutureRecord::read(folder)?;
        match place_of(&record) {
            Some(place) => Self::load(&place, &record.contract, record.steps).map(Some),
            None => Ok(None),
        }
    }
}

/// Names and colours of the objects of a scene of the virtual world.
fn colours(scene: Option<&serde_json::Value>) -> Vec<(String, [u8; 3])> {
    let spec = scene.and_then(|scene| serde_json::from_value::<SceneSpec>(scene.clone()).ok());
    let name = |colour: ColourName| colour.en().to_owned();
    spec.map(|spec| spec.objects.iter().map(|o| (name(o.colour), o.rgb)).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::record::{RECORD_FILE, tests::example};

    #[test]
    fn a_branch_of_a_branch_knows_where_its_recording_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, start: Start| {
            let mut record = example();
            record.start.source = serde_json::to_value(start).unwrap();
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(RECORD_FILE), record.to_bytes().unwrap()).unwrap();
            (folder, record)
        };
        let (root, _) = save("root", Start::Episode { dataset: "data".into(), episode: 3, at: 10 });
        let (child, _) = save("child", Start::Future { folder: root, at: 4 });
        let (_, last) = save("last", Start::Future { folder: child, at: 2 });
        let place = place_of(&last).unwrap();
        assert_eq!(place, TruthPlace { dataset: "data".into(), episode: 3, at: 10, after: 6 });
        let (_, free) = save("free", Start::Nothing);
        assert_eq!(place_of(&free), None);
        let (_, lost) = save("lost", Start::Future { folder: dir.path().join("gone"), at: 1 });
        assert_eq!(place_of(&lost), None);
    }

    #[test]
    fn a_future_that_is_its_own_parent_ends_the_search() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = example();
        let own = Start::Future { folder: dir.path().to_path_buf(), at: 1 };
        record.start.source = serde_json::to_value(own).unwrap();
        std::fs::write(dir.path().join(RECORD_FILE), record.to_bytes().unwrap()).unwrap();
        assert_eq!(place_of(&record), None);
    }
}
