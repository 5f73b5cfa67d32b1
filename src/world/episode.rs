//! One episode: frames, states, actions and labels of a scene under a behaviour.

use super::WorldError;
use super::arm::JOINTS;
use super::behaviour::{Behaviour, Driver};
use super::distribution::SceneDistribution;
use super::physics::{Labels, World};
use super::scene::SceneSpec;
use crate::Frame;

/// How episodes are made.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeSettings {
    /// Who moves the arm.
    pub behaviour: Behaviour,
    /// Which scenes.
    pub scenes: SceneDistribution,
    /// Side of the square pictures, 64..=512 pixels.
    pub size: usize,
    /// Most frames of an episode; `None` chooses by behaviour and task.
    pub frames: Option<usize>,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        Self { behaviour: Behaviour::Play, scenes: SceneDistribution::default(), size: 128, frames: None }
    }
}

impl EpisodeSettings {
    /// Checks the numbers a person can set.
    ///
    /// # Errors
    /// [`WorldError::BadSetting`] with the allowed range.
    pub fn check(&self) -> Result<(), WorldError> {
        if !(64..=512).contains(&self.size) {
            return Err(WorldError::BadSetting(format!(
                "a picture side of {} is outside 64 to 512",
                self.size
            )));
        }
        if !matches!(self.scenes.fps, 10 | 20 | 30) {
            return Err(WorldError::BadSetting(format!(
                "{} frames per second: use 10, 20 or 30",
                self.scenes.fps
            )));
        }
        if self.frames.is_some_and(|n| !(2..=100_000).contains(&n)) {
            return Err(WorldError::BadSetting("an episode has 2 to 100,000 frames".into()));
        }
        Ok(())
    }

    /// Most frames of an episode with this scene.
    fn limit(&self, scene: &SceneSpec) -> usize {
        let seconds = match self.behaviour {
            Behaviour::Play => 8.0,
            Behaviour::Idle => 3.0,
            Behaviour::Expert | Behaviour::Noisy => match scene.task.name {
                super::TaskName::Place | super::TaskName::Stack | super::TaskName::Turn => 18.0,
                _ => 8.0,
            },
        };
        self.frames.unwrap_or((seconds * scene.fps as f32) as usize).max(2)
    }
}

/// A finished episode; all lists have one entry per frame.
#[derive(Clone, Debug)]
pub struct Episode {
    /// The scene, enough to draw any frame again.
    pub scene: SceneSpec,
    /// The task's phrase.
    pub task: String,
    /// Pictures.
    pub frames: Vec<Frame>,
    /// Joint values at each frame: degrees, gripper 0..100.
    pub states: Vec<[f32; JOINTS]>,
    /// Absolute joint targets that move the world from each frame to the next (the last one repeats).
    pub actions: Vec<[f32; JOINTS]>,
    /// Labels at each frame.
    pub labels: Vec<Labels>,
}

/// Runs the scene of a seed under the settings' behaviour. The same settings and seed give the same episode.
///
/// # Errors
/// [`WorldError::BadSetting`] for settings out of range.
pub fn generate_episode(settings: &EpisodeSettings, seed: u64) -> Result<Episode, WorldError> {
    run(settings, seed, true)
}

/// Like [`generate_episode`] without pictures (`frames` stays empty): for measuring behaviours.
///
/// # Errors
/// [`WorldError::BadSetting`] for settings out of range.
pub fn simulate_episode(settings: &EpisodeSettings, seed: u64) -> Result<Episode, WorldError> {
    run(settings, seed, false)
}

fn run(settings: &EpisodeSettings, seed: u64, pictures: bool) -> Result<Episode, WorldError> {
    settings.check()?;
    let play = settings.behaviour == Behaviour::Play
        || (settings.behaviour == Behaviour::Idle && settings.scenes.task.is_none());
    let scene = settings.scenes.sample(seed, play);
    let limit = settings.limit(&scene);
    let mut world = World::new(&scene)?;
    let mut driver = Driver::new(settings.behaviour, &world, seed);
    let mut episode = Episode {
        task: scene.task.text.clone(),
        scene,
        frames: Vec::new(),
        states: Vec::new(),
        actions: Vec::new(),
        labels: Vec::new(),
    };
    // A finished script is shown at rest for a moment.
    let rest = (0.4 * episode.scene.fps as f32) as usize;
    let mut idle = 0;
    while episode.states.len() < limit {
        if pictures {
            episode.frames.push(world.picture(settings.scenes.picture, settings.size, settings.size));
        }
        episode.states.push(world.state());
        episode.labels.push(world.labels());
        let action = driver.act(&world);
        episode.actions.push(action);
        if settings.behaviour != Behaviour::Idle && driver.finished() {
            idle += 1;
            if idle > rest {
                break;
            }
        }
        world.step(&action);
    }
    Ok(episode)
}
