//! One episode in two places at once: physics and imagination, from the same start, under the same actions.
//!
//! The agent looks at one of them, the leader; what it does there is done in the other as well. So the pictures side by
//! side show where the model is wrong, and nothing else differs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::agent::{Agent, AgentSettings};
use super::align::Columns;
use super::evaluate::imagined;
use super::judge::{self, Push};
use super::mind::Mind;
use super::place::{Observation, Place, Verdict};
use super::world_place::WorldPlace;

use crate::Frame;
use crate::dataset::{ChannelInfo, DatasetSpec, DatasetWriter, EpisodeBuffer, encode_episode};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;
use crate::world::{Look, Picture, Preset, SceneDistribution, TaskName};

/// Side of the pictures of physics.
const SIZE: usize = 128;
/// Steps that an episode goes on for after its leader has succeeded: the other may need a moment more.
const AFTER: usize = 6;

/// Which episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwinSettings {
    /// Only this task; without, the four pushes.
    pub task: Option<TaskName>,
    /// Visual domain.
    pub look: Look,
    /// Seed of the scene, as an evaluation lists it.
    pub seed: u64,
    /// Most steps.
    pub steps: usize,
    /// Frames a second.
    pub fps: u32,
    /// How the agent uses its chunks.
    pub agent: AgentSettings,
    /// Denoising steps a frame.
    pub refine: usize,
    /// Whether the agent looks at the imagined frames, not at those of physics.
    pub in_model: bool,
}

/// How an episode went in one of the places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TwinSide {
    /// The success rule held.
    pub success: bool,
    /// Steps until then, or all.
    pub steps: usize,
    /// Most progress on the way, 0..1.
    pub progress: f32,
}

impl TwinSide {
    fn note(&mut self, verdict: Verdict, step: usize) {
        self.progress = self.progress.max(verdict.progress);
        if !self.success {
            self.steps = step;
            self.success = verdict.success;
        }
    }
}

/// What a twin episode found.
#[derive(Clone, Debug)]
pub struct Twin {
    /// What was to be done.
    pub prompt: String,
    /// When it counts as done in physics, and in the model.
    pub rules: [String; 2],
    /// In physics.
    pub world: TwinSide,
    /// In the model.
    pub model: TwinSide,
    /// Steps taken.
    pub steps: usize,
    record: (DatasetSpec, EpisodeBuffer),
}

/// A frame of both places. `index` 0 is the start.
#[derive(Debug)]
pub struct TwinFrame<'f> {
    /// Steps taken so far.
    pub index: usize,
    /// Physics.
    pub world: &'f Frame,
    /// Imagination.
    pub model: &'f Frame,
    /// How far the task is in physics.
    pub world_verdict: Verdict,
    /// How far it is in the model.
    pub model_verdict: Verdict,
    /// The picture that the agent went for on its way to this frame, where it goes for one.
    pub goal: Option<&'f Frame>,
}

fn tell(
    watch: &mut dyn FnMut(TwinFrame<'_>),
    index: usize,
    seen: &(Observation, Observation),
    (world_verdict, model_verdict): (Verdict, Verdict),
    goal: Option<&Frame>,
) {
    let (world, model) = (&seen.0.frame, &seen.1.frame);
    watch(TwinFrame { index, world, model, world_verdict, model_verdict, goal });
}

/// Runs an episode. `watch` gets every frame as it is made.
///
/// # Errors
/// A scene that cannot be built; mind, model and place that do not fit together; `cancel`.
pub fn twin(
    mind: Box<dyn Mind + '_>,
    model: &dyn WorldModel,
    settings: &TwinSettings,
    watch: &mut dyn FnMut(TwinFrame<'_>),
    cancel: &AtomicBool,
) -> Result<Twin, Failure> {
    let distribution = SceneDistribution {
        preset: Preset::Push,
        look: settings.look,
        fps: settings.fps,
        task: settings.task,
        picture: Picture::Rgb,
    };
    let scene = distribution.sample(settings.seed, false);
    let mut world = WorldPlace::new(&scene, SIZE)?;
    let mut inside = imagined(model, &scene, settings.seed, settings.refine)?;
    let prompt = scene.task.text.clone();
    let (to_model, to_world) = (
        Columns::find("actions", inside.actions(), world.actions())?,
        Columns::find("actions", world.actions(), inside.actions())?,
    );
    let leader: &dyn Place = if settings.in_model { &inside } else { &world };
    let mut agent = Agent::new(mind, leader, settings.agent)?;
    let (mut in_world, mut in_model) = (TwinSide::default(), TwinSide::default());
    let mut kept: Vec<(Observation, Vec<f32>)> = Vec::new();
    let mut seen = (world.observe()?, inside.observe()?);
    tell(watch, 0, &seen, (Verdict::default(), Verdict::default()), None);
    let mut steps = 0;
    while steps < settings.steps {
        if cancel.load(Ordering::Relaxed) {
            return Err(Failure::new("The episode was stopped.", "Start it again; it will be the same."));
        }
        let action = agent.act(if settings.in_model { &seen.1 } else { &seen.0 }, &prompt)?;
        let (for_world, for_model) = match settings.in_model {
            true => (to_world.take(&action), action),
            false => {
                let other = to_model.take(&action);
                (action, other)
            }
        };
        world.step(&for_world)?;
        inside.step(&for_model)?;
        steps += 1;
        let verdicts = (world.verdict(), inside.verdict());
        in_world.note(verdicts.0, steps);
        in_model.note(verdicts.1, steps);
        let next = (world.observe()?, inside.observe()?);
        kept.push((std::mem::replace(&mut seen, next).0, for_world));
        tell(watch, steps, &seen, verdicts, agent.goal());
        let lead = if settings.in_model { &in_model } else { &in_world };
        let other = if settings.in_model { &in_world } else { &in_model };
        if lead.success && (other.success || steps >= lead.steps + AFTER) {
            break;
        }
    }
    let channels = |of: &[forerun_models::Channel]| -> Vec<ChannelInfo> {
        of.iter().map(|c| ChannelInfo::new(c.name.clone(), c.unit.clone())).collect()
    };
    let spec = DatasetSpec {
        fps: settings.fps,
        robot_type: model.contract().embodiment.clone(),
        width: SIZE,
        height: SIZE,
        camera: "observation.images.front".into(),
        state: channels(world.state()),
        action: channels(world.actions()),
        extra: vec![("label.success".into(), vec![ChannelInfo::new("success", "")])],
    };
    // The last frame's action is never carried out; holding the one before is what follows.
    let held = kept.last().map(|(_, action)| action.clone());
    kept.extend(held.map(|action| (seen.0, action)));
    let done = |t: usize| if in_world.success && t >= in_world.steps { 1.0 } else { 0.0 };
    let extra = vec![(0..kept.len()).map(|t| vec![done(t)]).collect()];
    let mut buffer = EpisodeBuffer { task: prompt.clone(), extra, ..EpisodeBuffer::default() };
    for (observed, action) in kept {
        buffer.frames.push(observed.frame);
        buffer.state.push(observed.state);
        buffer.action.push(action);
    }
    let within = format!("at any moment within {} steps", settings.steps);
    let rules = [
        format!("{}, {within}", scene.task.name.rule()),
        format!("{}, {within}", judge::rule(Push::asked(&scene.task.text).is_some())),
    ];
    Ok(Twin { prompt, rules, world: in_world, model: in_model, steps, record: (spec, buffer) })
}

impl Twin {
    /// Writes what happened in physics as a dataset of one episode: to look at, and to branch from.
    ///
    /// # Errors
    /// When the folder is not empty or cannot be written.
    pub fn save(self, out: &Path) -> Result<(), Failure> {
        let (spec, buffer) = self.record;
        let encoded = encode_episode(&spec, buffer).map_err(Failure::from_error)?;
        let mut writer = DatasetWriter::create(out, spec).map_err(Failure::from_error)?;
        writer.append(encoded).map_err(Failure::from_error)?;
        writer.finish().map_err(Failure::from_error)?;
        Ok(())
    }
}
