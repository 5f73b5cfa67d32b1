//! Who acts in an episode: an agent, or the yardsticks beside it.

use serde::{Deserialize, Serialize};

use super::agent::{Agent, Latency};
use super::place::{Observation, Place};
use super::world_place::{WorldPlace, joints};
use crate::failure::Failure;
use crate::world::behaviour::Driver;
use crate::world::rng::Rng;
use crate::world::{Behaviour, SceneSpec};

/// What every success rate is shown beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Yardstick {
    /// Holds still.
    Nothing,
    /// Goes to random places near where it stands.
    Random,
    /// The scripted expert, which sees the true poses; in a model, its actions from physics.
    Expert,
}

impl Yardstick {
    /// All of them.
    pub const ALL: [Yardstick; 3] = [Yardstick::Nothing, Yardstick::Random, Yardstick::Expert];

    /// Its name in tables and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Yardstick::Nothing => "nothing",
            Yardstick::Random => "random",
            Yardstick::Expert => "expert",
        }
    }
}

/// How an episode ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// The success rule held at some step.
    pub success: bool,
    /// Steps taken until then, or all.
    pub steps: usize,
    /// Most progress on the way.
    pub progress: f32,
    /// Observations, when they were asked for: one more than actions.
    pub seen: Vec<Observation>,
    /// Actions, when they were asked for.
    pub actions: Vec<Vec<f32>>,
}

/// Runs an episode until the success rule holds or `steps` are over. `act` gives the action for each observation.
///
/// # Errors
/// What the place or `act` says.
pub fn play(
    place: &mut dyn Place,
    steps: usize,
    keep: bool,
    act: &mut dyn FnMut(&dyn Place, &Observation) -> Result<Vec<f32>, Failure>,
) -> Result<Ended, Failure> {
    let mut ended = Ended::default();
    while ended.steps < steps {
        let seen = place.observe()?;
        let action = act(place, &seen)?;
        place.step(&action)?;
        ended.steps += 1;
        if keep {
            ended.seen.push(seen);
            ended.actions.push(action);
        }
        let verdict = place.verdict();
        ended.progress = ended.progress.max(verdict.progress);
        if verdict.success {
            ended.success = true;
            break;
        }
    }
    if keep {
        ended.seen.push(place.observe()?);
    }
    Ok(ended)
}

/// An agent's episode, and how long its plans took.
pub(super) fn with_agent(
    place: &mut dyn Place,
    agent: &mut Agent<'_>,
    steps: usize,
    keep: bool,
) -> Result<(Ended, Latency), Failure> {
    let prompt = place.prompt().to_owned();
    let ended = play(place, steps, keep, &mut |_, seen| agent.act(seen, &prompt))?;
    Ok((ended, agent.latency.clone()))
}

/// Random targets: a new one every few steps, within this share of each channel's range around where it stands.
const RANDOM_REACH: f32 = 0.12;
const RANDOM_STEPS: usize = 4;

/// An episode of a yardstick that needs no physics.
pub(super) fn blind(
    place: &mut dyn Place,
    yardstick: Yardstick,
    seed: u64,
    steps: usize,
) -> Result<Ended, Failure> {
    let ranges: Vec<(f32, f32)> = place.actions().iter().map(|c| (c.min, c.max)).collect();
    let stands: Vec<Option<usize>> =
        place.actions().iter().map(|a| place.state().iter().position(|s| s.name == a.name)).collect();
    let mut rng = Rng::new(seed, 0x7a_4d);
    let (mut held, mut step): (Option<Vec<f32>>, usize) = (None, 0);
    play(place, steps, false, &mut |_, seen| {
        let now = |i: usize| stands.get(i).copied().flatten().and_then(|at| seen.state.get(at)).copied();
        let fresh = held.is_none() || (yardstick == Yardstick::Random && step % RANDOM_STEPS == 0);
        if fresh {
            let target = ranges.iter().enumerate().map(|(i, (min, max))| {
                let from = now(i).unwrap_or(0.5 * (min + max));
                let way = if yardstick == Yardstick::Random {
                    rng.range(-RANDOM_REACH, RANDOM_REACH) * (max - min)
                } else {
                    0.0
                };
                (from + way).clamp(*min, *max)
            });
            held = Some(target.collect());
        }
        step += 1;
        Ok(held.clone().unwrap_or_default())
    })
}

/// The expert's episode in physics; with `keep`, its observations and actions (in the order of the joints).
pub(super) fn expert(
    scene: &SceneSpec,
    seed: u64,
    size: usize,
    steps: usize,
    keep: bool,
) -> Result<Ended, Failure> {
    let mut place = WorldPlace::new(scene, size)?;
    let mut driver = Driver::new(Behaviour::Expert, place.world(), seed);
    let mut ended = Ended::default();
    while ended.steps < steps {
        if keep {
            ended.seen.push(place.observe()?);
        }
        let action = driver.act(place.world()).to_vec();
        place.step(&action)?;
        ended.steps += 1;
        if keep {
            ended.actions.push(action);
        }
        let verdict = place.verdict();
        ended.progress = ended.progress.max(verdict.progress);
        if verdict.success {
            ended.success = true;
            break;
        }
    }
    if keep {
        ended.seen.push(place.observe()?);
    }
    Ok(ended)
}

/// Names and units of the expert's rows.
pub(super) fn expert_channels() -> Vec<forerun_models::Channel> {
    joints()
}
