//! Episodes of the new body and of the base's own world, in one library.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::dreamer::Config;
use forerun_models::{Channel, ChannelMode, Contract, Fit};

use super::body::{Body, PARKED};
use crate::dataset::Dataset;
use crate::dataset::doctor::View;
use crate::engine::fit::{fit, fit_as};
use crate::train::load::{Intake, describe, episode};
use crate::train::{Channels, Episode, Library, TrainError, episode_of};
use crate::world::{self, Behaviour, EpisodeSettings, JOINT_NAMES, SceneDistribution};

/// Open datasets, before any picture is read.
pub(super) struct Sources {
    sets: Vec<Dataset>,
    views: Vec<View>,
    stride: usize,
    /// Frames a second of the run.
    pub rate_hz: f32,
    /// Channels of the data.
    pub channels: Channels,
    /// Kind of robot body, as the first dataset names it.
    pub embodiment: String,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Everything that a run trains on and is judged by.
pub(super) struct Loaded {
    /// To train on.
    pub library: Library,
    /// To judge on: the new domain.
    pub held_out: Vec<Episode>,
    /// To judge on: the base's own.
    pub old: Vec<Episode>,
    /// Different prompts.
    pub prompts: Vec<String>,
    /// sha256 of each dataset's content.
    pub sha256: Vec<String>,
    /// Frames of the datasets, without replayed ones.
    pub frames: usize,
    /// Episodes of the datasets, without replayed ones.
    pub episodes: usize,
    /// What a person should know.
    pub notes: Vec<String>,
}

fn data(error: impl ToString) -> TrainError {
    TrainError::Data(error.to_string())
}

impl Sources {
    /// Opens the datasets and describes their channels.
    ///
    /// # Errors
    /// Sets that cannot be read, of different rates, or with too many channels.
    pub fn open(roots: &[PathBuf], views: &[View], base: &Contract) -> Result<Self, TrainError> {
        let sets =
            roots.iter().map(|root| Dataset::open(root).map_err(data)).collect::<Result<Vec<_>, _>>()?;
        let first = sets.first().ok_or_else(|| data("name at least one dataset"))?;
        let mut notes = Vec::new();
        if let Some(other) = sets.iter().find(|set| (set.fps() - first.fps()).abs() > 0.01) {
            return Err(data(format!(
                "{} has {} frames a second, the first dataset {}; post-train on sets of one rate",
                other.root().display(),
                other.fps(),
                first.fps()
            )));
        }
        // The base's rate, where the data's is a whole multiple of it: what it knows about speeds stays true.
        let ratio = first.fps() / f64::from(base.frame.rate_hz);
        let whole = ratio.round().max(1.0);
        let stride = if (ratio - whole).abs() <= 0.05 * whole { whole as usize } else { 1 };
        let rate_hz = first.fps() as f32 / stride as f32;
        if stride > 1 {
            notes.push(format!("every {}. frame is used: {} a second, the base's rate", stride, rate_hz));
        } else if (rate_hz - base.frame.rate_hz).abs() > 0.05 * base.frame.rate_hz {
            notes.push(format!(
                "the data has {rate_hz} frames a second and the base {}: the model learns another speed",
                base.frame.rate_hz
            ));
        }
        let views: Vec<View> = (0..sets.len()).map(|i| views.get(i).cloned().unwrap_or_default()).collect();
        for (set, view) in sets.iter().zip(&views).filter(|(_, view)| !view.camera.is_empty()) {
            if !set.cameras().iter().any(|camera| camera.key == view.camera) {
                let has: Vec<&str> = set.cameras().iter().map(|camera| camera.key.as_str()).collect();
                return Err(data(format!(
                    "{} has no camera `{}`; choose one of {}",
                    set.root().display(),
                    view.camera,
                    has.join(", ")
                )));
            }
        }
        if let (Some(camera), Some(view)) = (first.main_camera(), views.first())
            && first.cameras().len() > 1
            && view.camera.is_empty()
        {
            notes.push(format!("of {} cameras {} is used", first.cameras().len(), camera.key));
        }
        let mut channels = describe(&sets, &views)?;
        for channel in &mut channels.actions {
            if views.iter().any(|view| view.relative.contains(&channel.name)) {
                channel.mode = ChannelMode::Relative;
            }
        }
        let embodiment = first.robot_type().to_owned();
        Ok(Self { embodiment, stride, rate_hz, channels, notes, views, sets })
    }

    /// Frames of the run that the episodes have, or those of a range of them (both ends included).
    pub fn frames(&self, only: Option<(usize, usize)>) -> usize {
        let wanted = |index: usize| only.is_none_or(|(a, b)| (a..=b).contains(&index));
        let all = self.sets.iter().flat_map(Dataset::episodes);
        all.filter(|e| wanted(e.index)).map(|e| e.length.div_ceil(self.stride)).sum()
    }

    /// Episodes of all sets.
    pub fn episodes(&self) -> usize {
        self.sets.iter().map(Dataset::len).sum()
    }

    /// Different prompts of all sets.
    pub fn prompts(&self) -> usize {
        self.sets.iter().map(|set| set.tasks().len()).sum()
    }

    /// Reads everything. `replay`: episodes of the base's own world, and the share of clips that they get; `fit`: how
    /// pictures of another shape become the model's.
    ///
    /// # Errors
    /// No episode that can be trained on; [`TrainError::Cancelled`].
    pub fn load(
        &self,
        config: &Config,
        body: &Body,
        base: &Contract,
        held_out: usize,
        only: Option<(usize, usize)>,
        replay: (usize, f32),
        fit: Fit,
        progress: &mut dyn FnMut(usize, usize),
        cancel: &AtomicBool,
    ) -> Result<Loaded, TrainError> {
        let channels = &body.channels;
        let mut notes = Vec::new();
        let (mut train, mut kept) = (Vec::new(), Vec::new());
        let mut sha256 = Vec::new();
        let all = self.episodes() + replay.0;
        let mut done = 0;
        for (set, view) in self.sets.iter().zip(&self.views) {
            sha256.push(set.sha256().map_err(data)?);
            let intake = Intake { view: view.clone(), stride: self.stride, may_lack: true, fit };
            let keep = held_out.min(set.len() / 4).max(usize::from(set.len() > 1));
            for (place, meta) in set.episodes().iter().enumerate() {
                stop(cancel)?;
                done += 1;
                let judged = match view.hold_out.as_slice() {
                    [] => place + keep >= set.len(),
                    chosen => chosen.contains(&meta.index),
                };
                let wanted = judged || only.is_none_or(|(a, b)| (a..=b).contains(&meta.index));
                if !wanted || view.leave_out.contains(&meta.index) {
                    continue;
                }
                match episode(set, meta.index, config, channels, &intake) {
                    Ok(episode) if judged => kept.push(episode),
                    Ok(episode) => train.push(episode),
                    Err(reason) => {
                        notes.push(format!("{}#{} is left out: {reason}", set.root().display(), meta.index))
                    }
                }
                progress(done, all);
            }
            notes.extend(self.shape_note(set, view, config, fit));
        }
        let mut prompts: Vec<String> = train.iter().chain(&kept).filter_map(|e| e.prompt.clone()).collect();
        prompts.sort();
        prompts.dedup();
        let frames = train.iter().map(|e| e.frames.len()).sum::<usize>();
        let mut loaded = Loaded {
            library: Library::new(config, channels.actions.clone(), channels.state.clone()),
            held_out: kept,
            old: Vec::new(),
            prompts,
            sha256,
            frames,
            episodes: train.len(),
            notes,
        };
        let mut replayed = Vec::new();
        for index in 0..replay.0 {
            stop(cancel)?;
            let episode = own_world(config, base, body, index).map_err(data)?;
            // A quarter of them is never trained on: what the base forgets is measured on those.
            if index % 4 == 3 {
                loaded.old.push(episode)
            } else {
                replayed.push(episode)
            }
            progress(done + index + 1, all);
        }
        // Weights are for each frame: the replayed episodes together get their share.
        let of = |episodes: &[Episode]| -> f32 {
            episodes.iter().map(|e| e.frames.len().saturating_sub(1) as f32).sum()
        };
        let (new, old) = (of(&train), of(&replayed));
        let weight = if old > 0.0 { new * replay.1 / (old * (1.0 - replay.1).max(0.01)) } else { 0.0 };
        for episode in train {
            loaded.library.add(episode);
        }
        if loaded.library.is_empty() {
            return Err(data(
                "there is no episode of two frames or more to train on; record more, or choose other episodes",
            ));
        }
        for mut episode in replayed {
            episode.weight = weight;
            loaded.library.add(episode);
        }
        Ok(loaded)
    }

    /// What becomes of the pictures' shape.
    fn shape_note(&self, set: &Dataset, view: &View, config: &Config, how: Fit) -> Option<String> {
        let camera =
            set.cameras().iter().find(|camera| camera.key == view.camera).or_else(|| set.main_camera())?;
        let blank = forerun_models::Frame::filled(camera.width, camera.height, [0; 3]);
        let note = fit_as(&blank, config.image_width, config.image_height, how).ok()?.note;
        (!note.is_empty()).then(|| format!("{}: pictures are {note}", camera.key))
    }
}

fn stop(cancel: &AtomicBool) -> Result<(), TrainError> {
    if cancel.load(Ordering::Relaxed) { Err(TrainError::Cancelled) } else { Ok(()) }
}

/// Whether the base's own world is our virtual one, so that its episodes can be made again.
pub(super) fn can_replay(base: &Contract) -> bool {
    let frame = &base.frame;
    frame.width == frame.height
        && [10.0, 20.0, 30.0].contains(&frame.rate_hz)
        && JOINT_NAMES.iter().all(|joint| base.actions.iter().any(|channel| channel.name == *joint))
}

/// Seeds that no recording uses by itself.
const REPLAY_SEED: u64 = 0x0f0e_4e11_0000;

/// Episode number `index` of the base's own world, its numbers where this body has them.
fn own_world(config: &Config, base: &Contract, body: &Body, index: usize) -> Result<Episode, String> {
    let behaviour = [Behaviour::Play, Behaviour::Expert, Behaviour::Play, Behaviour::Noisy]
        .get(index % 4)
        .copied()
        .unwrap_or(Behaviour::Play);
    let settings = EpisodeSettings {
        behaviour,
        scenes: SceneDistribution { fps: base.frame.rate_hz as u32, ..SceneDistribution::default() },
        // The world draws no smaller pictures; averaging larger ones down is what a camera does.
        size: config.image_width.clamp(64, 512),
        frames: None,
    };
    let made = world::generate_episode(&settings, REPLAY_SEED + index as u64).map_err(|e| e.to_string())?;
    let told = matches!(behaviour, Behaviour::Expert)
        && made.labels.last().is_some_and(|labels| labels.judgement.success);
    let mut episode = episode_of(made, told, 1.0);
    for frame in &mut episode.frames {
        let fitted = fit(frame, config.image_width, config.image_height).map_err(|e| e.text())?;
        *frame = fitted.frame;
    }
    // Its channels are the base's, wherever they lie now; those of the new body it does not have.
    let place = |rows: &[Vec<f32>], channels: &[Channel], plan: &[Option<usize>]| -> Vec<Vec<f32>> {
        rows.iter()
            .map(|row| {
                channels
                    .iter()
                    .zip(plan)
                    .map(|(channel, from)| {
                        let known = channel.name.strip_suffix(PARKED).unwrap_or(&channel.name);
                        let joint = JOINT_NAMES.iter().position(|name| *name == known);
                        from.and(joint).and_then(|at| row.get(at)).copied().unwrap_or(f32::NAN)
                    })
                    .collect()
            })
            .collect()
    };
    episode.action = place(&episode.action, &body.channels.actions, &body.plan.actions);
    episode.state = place(&episode.state, &body.channels.state, &body.plan.state);
    episode.embodiment = u32::from(body.plan.new_body);
    Ok(episode)
}
