//! Pieces of recorded episodes to judge on: what came before the start, what really came after, what drove it.

use std::sync::Arc;

use forerun_models::{Contract, Frame};

use crate::dataset::{Dataset, Episode};
use crate::engine::backend::HistoryFrame;
use crate::engine::episode::{main_camera, named};
use crate::engine::fit::fit_for;
use crate::engine::start::in_order;
use crate::failure::Failure;
use crate::world::{JOINT_NAMES, JOINTS, Pose, Renderer, SceneSpec};

/// A dataset as a model sees it.
pub struct Source {
    set: Dataset,
    camera: String,
    contract: Contract,
    /// Frames of the dataset a frame of the model.
    stride: usize,
    /// Number, and length in the model's frames, of each episode that is judged.
    pub episodes: Vec<(usize, usize)>,
}

/// Where a window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the episode.
    pub episode: usize,
    /// Start frame, in the model's frames.
    pub start: usize,
    /// Frames after the start that the episode has, at most the longest horizon.
    pub length: usize,
}

/// One window with its pictures.
pub struct Window {
    /// Where it is.
    pub place: Place,
    /// Frames up to the start; the last one is the start.
    pub history: Vec<HistoryFrame>,
    /// What really came: frame 1, 2, ...
    pub truth: Vec<Frame>,
    /// What drove it: the action to frame 1, 2, ...; `None` where the dataset has no such channels.
    pub rows: Option<Vec<Vec<f32>>>,
    /// The scene, where the dataset is of our virtual world.
    pub scene: Option<Arc<Scene>>,
}

/// A scene of the virtual world along a window.
pub struct Scene {
    /// What it is made of.
    pub spec: SceneSpec,
    /// Joint values at frame 0, 1, ... of the window.
    joints: Vec<[f32; JOINTS]>,
    /// Poses of the objects at the start.
    poses: Vec<Pose>,
    size: (usize, usize),
}

impl Window {
    /// The true start frame.
    pub fn start(&self) -> Option<&Frame> {
        self.history.last().map(|h| &h.frame)
    }
}

impl Scene {
    /// The true picture at frame `step` of the window with the objects nailed to where they stood at its start.
    pub fn dead(&self, step: usize, contract: &Contract) -> Option<Frame> {
        let joints = self.joints.get(step)?;
        let frame = Renderer::new(&self.spec, self.size.0, self.size.1).render(joints, &self.poses);
        fit_for(&frame, &contract.frame).ok().map(|f| f.frame)
    }
}

impl Source {
    /// Opens a dataset for a model. `range`: first and last episode, both included.
    ///
    /// # Errors
    /// It cannot be read, has no pictures or no such episodes.
    pub fn open(
        root: &std::path::Path,
        range: Option<(usize, usize)>,
        contract: &Contract,
    ) -> Result<Self, Failure> {
        let set = Dataset::open(root).map_err(Failure::from_error)?;
        let camera = main_camera(&set)?;
        let ratio = set.fps() / f64::from(contract.frame.rate_hz);
        let stride = ratio.round().max(1.0);
        if (ratio - stride).abs() > 0.05 * stride {
            return Err(Failure::new(
                format!(
                    "The dataset has {} frames a second and the model {}.",
                    set.fps(),
                    contract.frame.rate_hz
                ),
                "Score on a dataset whose rate is the model's, or a whole multiple of it.",
            ));
        }
        let stride = stride as usize;
        let wanted = |index: usize| range.is_none_or(|(first, last)| (first..=last).contains(&index));
        let episodes: Vec<_> = set
            .episodes()
            .iter()
            .filter(|e| wanted(e.index))
            .map(|e| (e.index, e.length.div_ceil(stride)))
            .collect();
        if episodes.is_empty() {
            let last = set.episodes().last().map_or(0, |e| e.index);
            return Err(Failure::new(
                "The dataset has none of these episodes.",
                format!("Its episodes are 0..{last}."),
            ));
        }
        Ok(Self { set, camera, contract: contract.clone(), stride, episodes })
    }

    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.set
    }

    /// Frames of all judged episodes, as the dataset counts them.
    pub fn frames(&self) -> usize {
        let judged = |index: usize| self.episodes.iter().any(|(e, _)| *e == index);
        self.set.episodes().iter().filter(|e| judged(e.index)).map(|e| e.length).sum()
    }

    /// Chooses `count` windows, as many in each episode as can be, their starts spread evenly over it: up to where `room`
    /// frames still follow, so that in short episodes the longest horizon has fewer windows. Every second
    /// window of an episode of the virtual world begins a few frames before the robot first touches something in its
    /// part of the episode, so that contact is well represented.
    ///
    /// # Errors
    /// An episode's table cannot be read.
    pub fn choose(&self, count: usize, longest: usize, room: usize) -> Result<Vec<Place>, Failure> {
        let each = count.div_ceil(self.episodes.len().max(1)).max(1);
        let mut places = Vec::new();
        for (number, &(episode, length)) in self.episodes.iter().enumerate() {
            if length < 2 || places.len() >= count {
                continue;
            }
            let last = length.saturating_sub(room + 1);
            let contact = self.contacts(episode)?;
            let mut starts = Vec::new();
            for k in 0..each {
                let (from, to) = (last * k / each, last * (k + 1) / each);
                let even = (from + to) / 2;
                let onset = if (number + k) % 2 == 1 { first_touch(&contact, from, last) } else { None };
                starts.push(onset.unwrap_or(even).min(last));
            }
            starts.dedup();
            places.extend(starts.into_iter().map(|start| Place {
                episode,
                start,
                length: longest.min(length - 1 - start),
            }));
        }
        places.truncate(count);
        Ok(places)
    }

    /// Whether the robot touches something, at each of the model's frames; empty where nobody knows.
    fn contacts(&self, episode: usize) -> Result<Vec<bool>, Failure> {
        if !self.set.features().iter().any(|f| f.key == "label.contact") {
            return Ok(Vec::new());
        }
        let episode = self.set.episode(episode).map_err(Failure::from_error)?;
        let contact = episode.columns.get("label.contact");
        Ok(contact
            .map(|m| m.values.iter().step_by(self.stride).map(|v| *v > 0.5).collect())
            .unwrap_or_default())
    }

    /// Reads the pictures and numbers of a window.
    ///
    /// # Errors
    /// A picture or a table cannot be read.
    pub fn load(&self, place: Place) -> Result<Window, Failure> {
        let first = (place.start + 1).saturating_sub(self.contract.frame.history.max(1));
        let episode = self.set.episode(place.episode).map_err(Failure::from_error)?;
        let mut frames = self.pictures(place.episode, first..place.start + place.length + 1)?.into_iter();
        let history = (first..=place.start)
            .zip(frames.by_ref())
            .map(|(t, frame)| HistoryFrame {
                frame,
                state: in_order(&named(episode.state(), t * self.stride), &self.contract.state),
                action: if t < place.start { self.action(&episode, t) } else { None },
            })
            .collect();
        let truth: Vec<Frame> = frames.collect();
        let rows = (place.start..place.start + place.length).map(|t| self.action(&episode, t)).collect();
        let scene = self.scene(&episode, place).map(Arc::new);
        Ok(Window { place, history, truth, rows, scene })
    }

    /// The actions of a window alone.
    ///
    /// # Errors
    /// The episode's table cannot be read.
    pub fn rows(&self, place: Place) -> Result<Option<Vec<Vec<f32>>>, Failure> {
        let episode = self.set.episode(place.episode).map_err(Failure::from_error)?;
        Ok((place.start..place.start + place.length).map(|t| self.action(&episode, t)).collect())
    }

    /// Where the joints stood at the start of a window and after each of its steps, in the contract's order; `None` where
    /// the dataset does not have the contract's state.
    ///
    /// # Errors
    /// The episode's table cannot be read.
    pub fn states(&self, place: Place) -> Result<Option<Vec<Vec<f32>>>, Failure> {
        let episode = self.set.episode(place.episode).map_err(Failure::from_error)?;
        let frames = place.start..=place.start + place.length;
        Ok(frames.map(|t| in_order(&named(episode.state(), t * self.stride), &self.contract.state)).collect())
    }

    /// Pictures of an episode by the model's count, fitted to its size.
    ///
    /// # Errors
    /// One does not exist or does not decode.
    pub fn pictures(&self, episode: usize, range: std::ops::Range<usize>) -> Result<Vec<Frame>, Failure> {
        let frame = &self.contract.frame;
        let fitted = |picture: &Frame| fit_for(picture, frame).map(|f| f.frame);
        if self.stride == 1 {
            let clip = self.set.clip(&self.camera, episode, range).map_err(Failure::from_error)?;
            return clip.iter().map(fitted).collect();
        }
        range
            .map(|t| {
                let picture = self.set.frame(&self.camera, episode, t * self.stride);
                fitted(&picture.map_err(Failure::from_error)?)
            })
            .collect()
    }

    /// The action from the model's frame `t` to the next one, in the contract's order and within its ranges.
    fn action(&self, episode: &Episode, t: usize) -> Option<Vec<f32>> {
        // Where the dataset is faster, the last target before the next frame is the one in force there.
        let row = (t + 1) * self.stride - 1;
        let named = named(episode.actions(), row.min(episode.length.saturating_sub(1)));
        let mut values = in_order(&named, &self.contract.actions)?;
        for (value, channel) in values.iter_mut().zip(&self.contract.actions) {
            *value = value.clamp(channel.min, channel.max);
        }
        Some(values)
    }

    fn scene(&self, episode: &Episode, place: Place) -> Option<Scene> {
        let spec: SceneSpec = serde_json::from_value(self.set.scene(place.episode)?.clone()).ok()?;
        spec.check().ok()?;
        let camera = self.set.cameras().iter().find(|c| c.key == self.camera)?;
        let joints = (place.start..=place.start + place.length)
            .map(|t| {
                let state = named(episode.state(), t * self.stride);
                let mut joints = [0.0; JOINTS];
                for (joint, name) in joints.iter_mut().zip(JOINT_NAMES) {
                    *joint = state.iter().find(|(n, _)| n == name)?.1;
                }
                Some(joints)
            })
            .collect::<Option<_>>()?;
        let labels = episode.columns.get("label.objects")?;
        let row = labels.row(place.start * self.stride);
        let poses = row
            .chunks_exact(7)
            .take(spec.objects.len())
            .map(|p| p.try_into().ok().map(|p: [f32; 7]| Pose::from_array(&p)))
            .collect::<Option<Vec<_>>>()?;
        (poses.len() == spec.objects.len()).then_some(Scene {
            spec,
            joints,
            poses,
            size: (camera.width, camera.height),
        })
    }
}

/// Frames before the first touch at which a window begins.
const BEFORE_TOUCH: usize = 3;

fn first_touch(contact: &[bool], from: usize, last: usize) -> Option<usize> {
    let touch = (from..contact.len())
        .find(|&t| contact.get(t) == Some(&true) && (t == 0 || contact.get(t - 1) == Some(&false)))?;
    Some(touch.saturating_sub(BEFORE_TOUCH)).filter(|start| (from..=last).contains(start))
}

#[cfg(test)]
mod tests {
    use super::first_touch;

    #[test]
    fn a_window_begins_a_moment_before_the_touch() {
        let contact = [false, false, false, false, false, true, true, false, false, true, false, false];
        assert_eq!(first_touch(&contact, 0, 11), Some(2));
        assert_eq!(first_touch(&contact, 6, 11), Some(6));
        assert_eq!(first_touch(&contact, 10, 11), None);
        assert_eq!(first_touch(&contact, 0, 1), None);
        assert_eq!(first_touch(&[], 0, 5), None);
    }
}
