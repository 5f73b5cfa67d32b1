//! Datasets on disk into memory, ready for training.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::dreamer::Config;
use forerun_models::{Channel, Fit};

use super::episodes::channel_of;
use super::{Episode, Library, TrainError, TrainSettings};
use crate::dataset::doctor::View;
use crate::dataset::{self, Dataset, Matrix};
use crate::engine::fit::fit_as;
use crate::world::{ColourName, SceneSpec};

/// Bytes of pictures that a run keeps in memory at most, unless the caller says otherwise.
pub const PICTURE_MEMORY: usize = 12 << 30;

/// What was loaded.
pub struct Loaded {
    /// Episodes to train on.
    pub library: Library,
    /// Episodes to judge on.
    pub held_out: Vec<Episode>,
    /// Frames a second.
    pub rate_hz: f32,
    /// Kind of robot body, as the first dataset names it.
    pub embodiment: String,
    /// sha256 of each dataset's content.
    pub sha256: Vec<String>,
    /// Things a person should know: episodes left out and why.
    pub notes: Vec<String>,
}

/// Where the channels of the data come from.
#[derive(Clone, Debug, Default)]
pub struct Channels {
    /// Action channels, in the library's order.
    pub actions: Vec<Channel>,
    /// State channels, in the library's order.
    pub state: Vec<Channel>,
}

fn data(error: dataset::DatasetError) -> TrainError {
    TrainError::Data(error.to_string())
}

/// Reads all episodes of some datasets, fitted to the network's picture size. The last `held_out` episodes of each
/// are kept for judging. `channels` are those of a model that is trained on; without them they are described from
/// the first dataset's numbers, and the others must have the same names.
///
/// # Errors
/// Datasets that cannot be read, that disagree in rate or channel names, or that do not fit into memory.
pub fn load(
    roots: &[PathBuf],
    config: &Config,
    channels: Option<Channels>,
    held_out: usize,
    memory: usize,
    progress: &mut dyn FnMut(usize, usize),
    cancel: &AtomicBool,
) -> Result<Loaded, TrainError> {
    let sets = roots.iter().map(|root| Dataset::open(root).map_err(data)).collect::<Result<Vec<_>, _>>()?;
    let first = sets.first().ok_or_else(|| TrainError::Data("name at least one dataset".into()))?;
    let rate_hz = first.fps() as f32;
    let all: usize = sets.iter().map(Dataset::len).sum();
    let frames: usize = sets.iter().map(Dataset::total_frames).sum();
    let need = frames.saturating_mul(config.image_width * config.image_height * 3);
    if need > memory {
        return Err(TrainError::Data(format!(
            "{frames} frames need {:.1} GB of memory, {:.1} GB are allowed; train on fewer episodes",
            need as f64 / 1e9,
            memory as f64 / 1e9
        )));
    }
    let channels = match channels {
        Some(channels) => channels,
        None => describe(&sets, &[])?,
    };
    let mut loaded = Loaded {
        library: Library::new(config, channels.actions.clone(), channels.state.clone()),
        held_out: Vec::new(),
        rate_hz,
        embodiment: first.robot_type().to_owned(),
        sha256: Vec::new(),
        notes: Vec::new(),
    };
    let mut done = 0;
    for (set, root) in sets.iter().zip(roots) {
        if (set.fps() as f32 - rate_hz).abs() > 0.01 {
            return Err(TrainError::Data(format!(
                "{} has {} frames a second, the first dataset {rate_hz}; train on sets of one rate",
                root.display(),
                set.fps()
            )));
        }
        loaded.sha256.push(set.sha256().map_err(data)?);
        let kept = held_out.min(set.len() / 4);
        for index in 0..set.len() {
            if cancel.load(Ordering::Relaxed) {
                return Err(TrainError::Cancelled);
            }
            match episode(set, index, config, &channels, &Intake::default()) {
                Ok(episode) if index + kept >= set.len() => loaded.held_out.push(episode),
                Ok(episode) => loaded.library.add(episode),
                Err(reason) => loaded.notes.push(format!("{}#{index} is left out: {reason}", root.display())),
            }
            done += 1;
            progress(done, all);
        }
    }
    Ok(loaded)
}

/// How one dataset is looked at.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// Corrections, and the camera.
    pub view: View,
    /// Frames of the dataset a frame of the run.
    pub stride: usize,
    /// Whether a channel that the dataset lacks is not a number instead of an error.
    pub may_lack: bool,
    /// How pictures of another shape become the model's.
    pub fit: Fit,
}

impl Default for Intake {
    fn default() -> Self {
        Self { view: View::default(), stride: 1, may_lack: false, fit: Fit::Crop }
    }
}

/// Frames that are decoded before they are made small: a long episode of large pictures does not fit into memory.
const CHUNK: usize = 32;

/// Channels from the numbers that occur in all episodes, named by the first dataset. `views` are the corrections of
/// each; sets beyond its end have none.
pub(super) fn describe(sets: &[Dataset], views: &[View]) -> Result<Channels, TrainError> {
    let mut names: [Vec<(String, String)>; 2] = [Vec::new(), Vec::new()];
    let mut values: [Vec<Vec<f32>>; 2] = [Vec::new(), Vec::new()];
    let plain = View::default();
    for (number, set) in sets.iter().enumerate() {
        let view = views.get(number).unwrap_or(&plain);
        for meta in set.episodes().iter().filter(|meta| !view.leave_out.contains(&meta.index)) {
            let Ok(episode) = set.episode(meta.index).map(|episode| view.mend(episode)) else { continue };
            for (kind, matrix) in [episode.actions(), episode.state()].into_iter().enumerate() {
                let (Some(matrix), Some(names), Some(values)) =
                    (matrix, names.get_mut(kind), values.get_mut(kind))
                else {
                    continue;
                };
                if names.is_empty() {
                    *names = matrix.channels.iter().map(|c| (c.name.clone(), c.unit.clone())).collect();
                    *values = vec![Vec::new(); names.len()];
                }
                for ((name, _), column) in names.iter().zip(values) {
                    if let Some(at) = matrix.column(name) {
                        column.extend((0..matrix.rows()).filter_map(|t| matrix.row(t).get(at)));
                    }
                }
            }
        }
    }
    let [action_names, state_names] = names;
    let [actions, state] = values;
    // A channel that is both state and action has one range, so that "hold" means the same on both sides.
    let both = |name: &str, own: &[f32]| -> Vec<f32> {
        let others = action_names.iter().zip(&actions).chain(state_names.iter().zip(&state));
        let same = others.filter(|((other, _), _)| other == name).flat_map(|(_, column)| column.iter());
        let all: Vec<f32> = same.copied().collect();
        if all.is_empty() { own.to_vec() } else { all }
    };
    let make = |names: &[(String, String)], columns: &[Vec<f32>]| -> Vec<Channel> {
        names
            .iter()
            .zip(columns)
            .map(|((name, unit), column)| channel_of(name, unit, both(name, column).into_iter()))
            .collect()
    };
    let channels = Channels { actions: make(&action_names, &actions), state: make(&state_names, &state) };
    for (kind, list) in [("action", &channels.actions), ("state", &channels.state)] {
        if list.len() > forerun_models::dreamer::CHANNEL_SLOTS {
            return Err(TrainError::Data(format!(
                "the data has {} {kind} channels, at most {} are possible",
                list.len(),
                forerun_models::dreamer::CHANNEL_SLOTS
            )));
        }
    }
    Ok(channels)
}

/// One episode, fitted to the network's picture size and brought to the run's rate.
pub(super) fn episode(
    set: &Dataset,
    index: usize,
    config: &Config,
    channels: &Channels,
    intake: &Intake,
) -> Result<Episode, String> {
    let numbers = set.episode(index).map(|numbers| intake.view.mend(numbers)).map_err(|e| e.to_string())?;
    let camera = match intake.view.camera.as_str() {
        "" => set.main_camera().ok_or("it has no camera")?.key.clone(),
        named => named.to_owned(),
    };
    let stride = intake.stride.max(1);
    let mut frames = Vec::with_capacity(numbers.length.div_ceil(stride));
    for from in (0..numbers.length).step_by(CHUNK * stride) {
        let to = (from + CHUNK * stride).min(numbers.length);
        // With a stride only every so manieth picture is wanted, but a clip decodes in order anyway.
        let pictures = set.clip(&camera, index, from..to).map_err(|e| e.to_string())?;
        for picture in pictures.iter().step_by(stride) {
            let (width, height) = (config.image_width, config.image_height);
            let fitted = fit_as(picture, width, height, intake.fit).map_err(|e| e.to_string())?;
            frames.push(fitted.frame);
        }
    }
    // The last target before the next frame is the one in force there.
    let during = |t: usize| ((t + 1) * stride - 1).min(numbers.length.saturating_sub(1));
    let every = |rows: Vec<Vec<f32>>, at: &dyn Fn(usize) -> usize| -> Vec<Vec<f32>> {
        if rows.is_empty() {
            return rows;
        }
        (0..frames.len()).map(|t| rows.get(at(t)).cloned().unwrap_or_default()).collect()
    };
    let action = every(rows(numbers.actions(), &channels.actions, intake.may_lack)?, &during);
    let state = every(rows(numbers.state(), &channels.state, intake.may_lack)?, &|t| t * stride);
    let mut readings = label_readings(&numbers, set.scene(index));
    if stride > 1 && !readings.is_empty() {
        readings = readings.into_iter().step_by(stride).collect();
    }
    let done = numbers.columns.get("label.success").map(|success| success.values.contains(&1.0));
    Ok(Episode {
        prompt: Some(numbers.task.clone()).filter(|task| !task.trim().is_empty()),
        // Without labels a task is believed: people record demonstrations.
        told: done.unwrap_or(true),
        frames,
        state,
        action,
        readings,
        embodiment: 0,
        weight: 1.0,
    })
}

/// The rows of a matrix in the channels' order, by name.
fn rows(matrix: Option<&Matrix>, channels: &[Channel], may_lack: bool) -> Result<Vec<Vec<f32>>, String> {
    let Some(matrix) = matrix else { return Ok(Vec::new()) };
    let columns = channels
        .iter()
        .map(|channel| match matrix.column(&channel.name) {
            None if !may_lack => {
                let has: Vec<&str> = matrix.channels.iter().map(|c| c.name.as_str()).collect();
                Err(format!("it has no channel `{}` (it has {})", channel.name, has.join(", ")))
            }
            found => Ok(found),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let value = |row: &[f32], at: &Option<usize>| at.and_then(|at| row.get(at)).copied().unwrap_or(f32::NAN);
    Ok((0..matrix.rows()).map(|t| columns.iter().map(|at| value(matrix.row(t), at)).collect()).collect())
}

/// What the heads should read off each frame of an episode (names and units of `readings_of`), from the columns that the
/// virtual world writes and the episode's scene; empty for other data.
pub fn label_readings(
    numbers: &dataset::Episode,
    scene: Option<&serde_json::Value>,
) -> Vec<Vec<(String, f32)>> {
    let Some(scene) = scene.and_then(|scene| serde_json::from_value::<SceneSpec>(scene.clone()).ok()) else {
        return Vec::new();
    };
    let column = |key: &str| numbers.columns.get(key);
    let (Some(objects), Some(present)) = (column("label.objects"), column("label.objects_present")) else {
        return Vec::new();
    };
    let colours: Vec<ColourName> = scene.objects.iter().map(|object| object.colour).collect();
    (0..numbers.length)
        .map(|t| {
            let mut values = Vec::new();
            for (i, colour) in colours.iter().enumerate() {
                if present.row(t).get(i).is_none_or(|there| *there < 0.5) {
                    continue;
                }
                values.push((format!("{}.present", colour.en()), 1.0));
                for (axis, value) in ["x", "y", "z"].iter().zip(objects.row(t).iter().skip(i * 7)) {
                    values.push((format!("{}.{axis}", colour.en()), *value));
                }
            }
            if let Some(gripper) = column("label.gripper") {
                for (axis, value) in ["x", "y", "z"].iter().zip(gripper.row(t)) {
                    values.push((format!("gripper.{axis}"), *value));
                }
            }
            for name in ["contact", "success", "progress"] {
                if let Some(value) = column(&format!("label.{name}")).and_then(|c| c.row(t).first()) {
                    values.push((name.to_owned(), *value));
                }
            }
            values
        })
        .collect()
}

/// Reads the channels of a model folder that a run goes on from.
///
/// # Errors
/// When the folder's contract cannot be read.
pub fn channels_of(folder: &Path) -> Result<Option<Channels>, TrainError> {
    let path = folder.join("contract.json");
    if !path.exists() {
        return Ok(None);
    }
    let wrong = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let text = std::fs::read(&path).map_err(|source| TrainError::File { path: path.clone(), source })?;
    let contract: forerun_models::Contract =
        serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(Some(Channels { actions: contract.actions, state: contract.state }))
}

/// The shape of the network of a run: the folder's own when a run goes on, so that a newer version of this program
/// does not change it half-way; else that of the size.
///
/// # Errors
/// A size that nobody knows, a folder whose `config.json` cannot be read.
pub fn config_of(settings: &TrainSettings, folder: &Path, resume: bool) -> Result<Config, TrainError> {
    let path = folder.join("config.json");
    if !resume || !path.exists() {
        let size = &settings.size;
        let config =
            Config::by_name(size).ok_or_else(|| TrainError::Data(format!("size `{size}` is not known")))?;
        let config = Config {
            harmonics: settings.harmonics.unwrap_or(config.harmonics),
            refiner: settings.refiner.unwrap_or(config.refiner),
            window: settings.window.unwrap_or(config.window),
            ..config
        };
        return match config.problem() {
            Some(problem) => Err(TrainError::Data(problem)),
            None => Ok(config),
        };
    }
    let wrong = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let text = std::fs::read(&path).map_err(|source| TrainError::File { path: path.clone(), source })?;
    let config: Config = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    match config.problem() {
        Some(problem) => Err(wrong(problem)),
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_run_that_goes_on_keeps_its_shape() {
        let dir = tempfile::tempdir().unwrap();
        let tiny = Config::by_name("tiny").unwrap();
        let settings = |size: &str| TrainSettings { size: size.into(), ..TrainSettings::default() };
        let config_of = |size: &str, folder: &Path, resume| config_of(&settings(size), folder, resume);
        assert_eq!(config_of("tiny", dir.path(), true).unwrap(), tiny);
        let own = Config { layers: 3, ..tiny.clone() };
        std::fs::write(dir.path().join("config.json"), serde_json::to_vec(&own).unwrap()).unwrap();
        assert_eq!(config_of("tiny", dir.path(), true).unwrap(), own);
        assert_eq!(config_of("tiny", dir.path(), false).unwrap(), tiny);
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(config_of("tiny", dir.path(), true).is_err());
        assert!(config_of("huge", dir.path(), false).is_err());
        let finer =
            TrainSettings { harmonics: Some(7), refiner: Some(48), window: Some(24), ..settings("tiny") };
        let wanted = Config { harmonics: 7, refiner: 48, window: 24, ..tiny };
        assert_eq!(super::config_of(&finer, dir.path(), false).unwrap(), wanted);
        let wild = TrainSettings { refiner: Some(100_000), ..settings("tiny") };
        assert!(super::config_of(&wild, dir.path(), false).is_err());
    }
}
