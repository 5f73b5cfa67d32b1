//! Imagined experience: the policy acts inside the world model, and what surely succeeds becomes data to learn from.
//!
//! A learnt model can be exploited: a policy may find actions that please its heads and nothing else. So an
//! imagined success counts only when the same actions, imagined again under other seeds, succeed as well; where the seeds
//! disagree, the episode is counted as doubtful and left out.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use forerun_models::kernels::threads;
use forerun_models::policy::{Kind, Policy};
use serde::{Deserialize, Serialize};

use super::actor::{Ended, play, with_agent};
use super::agent::{Agent, AgentSettings};
use super::mind::{Mind, PolicyMind};
use super::model_place::ModelPlace;
use super::own_actions::{OwnActions, OwnActionsSettings};
use super::place::Observation;
use super::stoppable::Stoppable;
use super::subgoals::{SubgoalSettings, Subgoals};
use crate::dataset::{ChannelInfo, Dataset, DatasetSpec, DatasetWriter, EpisodeBuffer, encode_episode};
use crate::engine::backend::WorldModel;
use crate::engine::fit::fit_for;
use crate::failure::Failure;
use crate::world::rng::Rng;

/// One round of imagined experience.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExperienceSettings {
    /// Episodes to imagine.
    pub episodes: usize,
    /// Most steps an episode.
    pub steps: usize,
    /// Seed of starts and noise.
    pub seed: u64,
    /// Noise of the policy: it must try what it would not do on average.
    pub temperature: f32,
    /// How the agent uses its chunks.
    pub agent: AgentSettings,
    /// Other seeds that a success is imagined under again.
    pub witnesses: usize,
    /// Of them, those that must succeed.
    pub agreed: usize,
    /// Denoising steps a frame.
    pub refine: usize,
    /// Futures of which the model acts out the best one itself; 0 = the policy acts.
    pub own_actions: usize,
}

impl Default for ExperienceSettings {
    fn default() -> Self {
        Self {
            episodes: 100,
            steps: 40,
            seed: 0,
            temperature: 1.0,
            agent: AgentSettings::default(),
            witnesses: 3,
            agreed: 3,
            refine: 1,
            own_actions: 0,
        }
    }
}

/// What a round brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Experience {
    /// Episodes imagined.
    pub tried: usize,
    /// Episodes that succeeded in imagination, and under the other seeds as well: these are on disk.
    pub accepted: usize,
    /// Episodes that succeeded once but not under enough other seeds.
    pub doubtful: usize,
    /// Frames on disk.
    pub frames: usize,
}

/// Where an episode can start: a first frame with its state and words.
struct Start {
    seen: Observation,
    task: String,
}

/// What became of one imagined episode.
enum Outcome {
    Failed,
    Doubtful,
    Accepted(Box<(String, Ended)>),
}

/// Imagines `settings.episodes` episodes of the policy from the starts of a dataset's episodes, and writes those that
/// surely succeed into the new dataset `out` (none: no dataset). `progress` is told how many are over.
///
/// # Errors
/// Settings out of range; a dataset, policy and model that do not fit together; a folder that cannot be written; cancel.
pub fn imagine_experience(
    policy: &Policy,
    model: &dyn WorldModel,
    dataset: &Path,
    settings: &ExperienceSettings,
    out: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
    cancel: &AtomicBool,
) -> Result<Experience, Failure> {
    if settings.episodes == 0 || settings.steps == 0 || settings.agreed > settings.witnesses {
        return Err(Failure::new(
            "Nothing would be imagined.",
            "Ask for at least one episode of one step, and for no more agreement than there are other seeds.",
        ));
    }
    let starts = starts(dataset, model, settings)?;
    let slots: Vec<Mutex<Option<Result<Outcome, Failure>>>> =
        (0..settings.episodes).map(|_| Mutex::new(None)).collect();
    let (next, done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        threads::with(1, || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(slot) = slots.get(at) else { break };
                if cancel.load(Ordering::Relaxed) || failed.load(Ordering::Relaxed) {
                    break;
                }
                let Some(start) = starts.get(at % starts.len().max(1)) else { break };
                let outcome = episode(policy, model, start, at as u64, settings, cancel);
                failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(outcome);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, settings.episodes);
            }
        });
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores.min(settings.episodes)).map(|_| scope.spawn(work)).collect();
        work();
        helpers.into_iter().for_each(|helper| drop(helper.join()));
    });
    // All of them must be over before anything is written: a run that was stopped leaves no half of a dataset.
    let stopped = || {
        Failure::new("Imagining experience was stopped.", "Start it again; the same seed imagines the same.")
    };
    let outcomes = slots
        .into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()).ok_or_else(stopped)?)
        .collect::<Result<Vec<Outcome>, Failure>>()?;
    let mut experience = Experience::default();
    let mut writer: Option<(DatasetWriter, DatasetSpec)> = None;
    let data = |e: crate::dataset::DatasetError| Failure::from_error(e);
    for outcome in outcomes {
        experience.tried += 1;
        match outcome {
            Outcome::Failed => {}
            Outcome::Doubtful => experience.doubtful += 1,
            Outcome::Accepted(found) => {
                let (task, ended) = *found;
                if writer.is_none() {
                    let spec = spec_of(model);
                    let opened = DatasetWriter::create(out, spec.clone()).map_err(data)?;
                    writer = Some((opened, spec));
                }
                if let Some((writer, spec)) = &mut writer {
                    let encoded = encode_episode(spec, buffer(task, ended)).map_err(data)?;
                    experience.frames += encoded.len();
                    writer.append(encoded).map_err(data)?;
                    experience.accepted += 1;
                }
            }
        }
    }
    if let Some((writer, _)) = writer {
        writer.finish().map_err(data)?;
    }
    Ok(experience)
}

/// First frames of a dataset's episodes in the model's size, order and units, shuffled by the seed.
fn starts(
    dataset: &Path,
    model: &dyn WorldModel,
    settings: &ExperienceSettings,
) -> Result<Vec<Start>, Failure> {
    let set = Dataset::open(dataset).map_err(Failure::from_error)?;
    let contract = model.contract();
    let camera = set
        .main_camera()
        .ok_or_else(|| Failure::new("The dataset has no camera.", "Choose recordings with pictures."))?
        .key
        .clone();
    let mut order: Vec<usize> = (0..set.len()).collect();
    let mut rng = Rng::new(settings.seed, 0x57a7);
    for i in (1..order.len()).rev() {
        order.swap(i, rng.below(i + 1));
    }
    order.truncate(settings.episodes);
    let mut starts = Vec::with_capacity(order.len());
    for index in order {
        let numbers = set.episode(index).map_err(Failure::from_error)?;
        if numbers.task.trim().is_empty() {
            continue;
        }
        let frame = set.frame(&camera, index, 0).map_err(Failure::from_error)?;
        let state = match numbers.state() {
            Some(matrix) => contract
                .state
                .iter()
                .map(|c| matrix.column(&c.name).and_then(|at| matrix.row(0).get(at)).copied())
                .map(|v| v.unwrap_or(f32::NAN))
                .collect(),
            None => vec![f32::NAN; contract.state.len()],
        };
        let frame = fit_for(&frame, &contract.frame)?.frame;
        starts.push(Start { seen: Observation { frame, state }, task: numbers.task });
    }
    if starts.is_empty() {
        return Err(Failure::new(
            "No episode of the dataset says in words what is to be done.",
            "Choose recordings with tasks; success is judged by their words.",
        ));
    }
    Ok(starts)
}

fn episode(
    policy: &Policy,
    model: &dyn WorldModel,
    start: &Start,
    number: u64,
    settings: &ExperienceSettings,
    cancel: &AtomicBool,
) -> Result<Outcome, Failure> {
    let seed = Rng::new(settings.seed, 0xd2ea_0000_0000 + number).next_u64();
    let place = |seed| ModelPlace::new(model, start.seen.clone(), &start.task, seed, settings.refine);
    let mut inside = place(seed)?;
    let mut own = Stoppable::new(&mut inside, cancel);
    // A goal policy is led by goals that the model imagines; what it reaches is hindsight data for it.
    let mind: Box<dyn Mind + '_> = match policy.network().config().kind {
        _ if settings.own_actions > 0 => {
            let own = OwnActionsSettings {
                futures: settings.own_actions,
                refine: settings.refine,
                ..OwnActionsSettings::default()
            };
            Box::new(OwnActions::new(model, own, seed)?)
        }
        Kind::Direct => Box::new(PolicyMind { policy, seed, temperature: settings.temperature }),
        Kind::Goal => Box::new(Subgoals::new(policy, model, SubgoalSettings::default(), seed)?),
    };
    let mut agent = Agent::new(mind, &own, settings.agent)?;
    let (ended, _) = with_agent(&mut own, &mut agent, settings.steps, true)?;
    if !ended.success {
        return Ok(Outcome::Failed);
    }
    let mut agreed = 0;
    for witness in 0..settings.witnesses as u64 {
        let mut other = place(seed ^ ((witness + 1) << 32))?;
        let mut other = Stoppable::new(&mut other, cancel);
        let mut rows = ended.actions.iter();
        let again = play(&mut other, ended.actions.len(), false, &mut |_, _| {
            Ok(rows.next().cloned().unwrap_or_default())
        })?;
        agreed += usize::from(again.success);
        let left = settings.witnesses - 1 - witness as usize;
        if agreed + left < settings.agreed {
            break;
        }
    }
    if agreed < settings.agreed {
        return Ok(Outcome::Doubtful);
    }
    Ok(Outcome::Accepted(Box::new((start.task.clone(), ended))))
}

/// Columns of imagined episodes: the model's channels, and the label that makes them demonstrations.
fn spec_of(model: &dyn WorldModel) -> DatasetSpec {
    let contract = model.contract();
    let channels = |of: &[forerun_models::Channel]| -> Vec<ChannelInfo> {
        of.iter().map(|c| ChannelInfo::new(c.name.clone(), c.unit.clone())).collect()
    };
    DatasetSpec {
        fps: contract.frame.rate_hz.round().max(1.0) as u32,
        robot_type: contract.embodiment.clone(),
        width: contract.frame.width,
        height: contract.frame.height,
        camera: "observation.images.front".into(),
        state: channels(&contract.state),
        action: channels(&contract.actions),
        extra: vec![("label.success".into(), vec![ChannelInfo::new("success", "")])],
    }
}

fn buffer(task: String, ended: Ended) -> EpisodeBuffer {
    let frames = ended.seen.len();
    let mut action = ended.actions;
    // The last frame's action is not carried out; holding the last one is what follows.
    action.extend(action.last().cloned());
    let done = |t: usize| if t + 1 == frames { 1.0 } else { 0.0 };
    let (pictures, state) = ended.seen.into_iter().map(|seen| (seen.frame, seen.state)).unzip();
    EpisodeBuffer {
        task,
        frames: pictures,
        state,
        action,
        extra: vec![(0..frames).map(|t| vec![done(t)]).collect()],
        scene: serde_json::json!({ "imagined": true }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Frame;

    #[test]
    fn an_accepted_episode_is_a_demonstration_of_equal_lengths() {
        let seen = |i: u8| Observation { frame: Frame::filled(16, 16, [i; 3]), state: vec![f32::from(i)] };
        let ended = Ended {
            success: true,
            steps: 2,
            progress: 1.0,
            seen: (0..3).map(seen).collect(),
            actions: vec![vec![1.0], vec![2.0]],
        };
        let buffer = buffer("push".into(), ended);
        assert_eq!((buffer.frames.len(), buffer.state.len(), buffer.action.len()), (3, 3, 3));
        assert_eq!(buffer.action[2], [2.0]);
        assert_eq!(buffer.extra[0], [[0.0], [0.0], [1.0]]);
    }
}
