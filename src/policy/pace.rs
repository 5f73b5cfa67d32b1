//! How long an evaluation will take: its first steps are taken on all threads at once, as the evaluation itself will, and
//! timed.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use forerun_models::kernels::threads;
use serde::{Deserialize, Serialize};

use super::agent::Agent;
use super::evaluate::{EvaluateSettings, MindOf, SIZE, Venue, check, crew, imagined, scenes};
use super::place::Place;
use super::stoppable::Stoppable;
use super::world_place::WorldPlace;
use crate::failure::Failure;
use crate::world::SceneSpec;

/// How long an evaluation will take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// Milliseconds a plan.
    pub plan_ms: f64,
    /// Milliseconds a step of the place, plans aside.
    pub step_ms: f64,
    /// Milliseconds an episode of the agent, when it takes all its steps, on its thread.
    pub agent_ms: f64,
    /// Milliseconds an episode of a yardstick.
    pub yardstick_ms: f64,
    /// Seconds for everything, at most: episodes that succeed end earlier.
    pub seconds: f64,
}

/// Times the first steps of an evaluation with `yardsticks` yardsticks, whose minds do the same work every `period` plans.
///
/// # Errors
/// As [`super::evaluate`].
pub fn measure(
    venue: Venue<'_>,
    minds: &MindOf<'_>,
    period: usize,
    yardsticks: usize,
    settings: &EvaluateSettings,
    cancel: &AtomicBool,
) -> Result<Pace, Failure> {
    check(settings)?;
    let scenes = scenes(settings);
    let episodes = scenes.len();
    let (workers, each) = crew(settings, episodes * (1 + yardsticks));
    let steps = (settings.agent.every * period.max(1)).min(settings.steps).max(1);
    let probes: Vec<&(u64, SceneSpec)> = scenes.iter().take(workers).collect();
    let probe = |(seed, scene): &(u64, SceneSpec)| {
        threads::with(each, || timed(venue, minds, scene, *seed, steps, settings, cancel))
    };
    let found: Vec<Result<[f64; 3], Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = probes.iter().map(|one| scope.spawn(|| probe(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(ended()))).collect()
    });
    let mut sum = [0.0; 3];
    for one in found {
        sum.iter_mut().zip(one?).for_each(|(sum, value)| *sum += value);
    }
    let [plan, plans, place] = sum;
    let plan_ms = plan / plans.max(1.0);
    let step_ms = place / (steps * probes.len().max(1)) as f64;
    let yardstick_ms = settings.steps as f64 * step_ms;
    let agent_ms = yardstick_ms + settings.steps.div_ceil(settings.agent.every) as f64 * plan_ms;
    let all = episodes as f64 * (agent_ms + yardsticks as f64 * yardstick_ms);
    Ok(Pace { plan_ms, step_ms, agent_ms, yardstick_ms, seconds: all / 1e3 / workers as f64 })
}

fn ended() -> Failure {
    Failure::new("The measurement ended early.", "Try again with fewer candidates or futures.")
}

/// Milliseconds in plans, the number of plans, milliseconds in the place, of the first `steps` steps of an episode.
fn timed(
    venue: Venue<'_>,
    minds: &MindOf<'_>,
    scene: &SceneSpec,
    seed: u64,
    steps: usize,
    settings: &EvaluateSettings,
    cancel: &AtomicBool,
) -> Result<[f64; 3], Failure> {
    let (mut world, mut inside);
    let place: &mut dyn Place = match venue {
        Venue::World => {
            world = WorldPlace::new(scene, SIZE)?;
            &mut world
        }
        Venue::Model(model) => {
            inside = imagined(model, scene, seed, settings.refine)?;
            &mut inside
        }
    };
    let mut place = Stoppable::new(place, cancel);
    let mut agent = Agent::new(minds(seed)?, &place, settings.agent)?;
    let prompt = place.prompt().to_owned();
    let began = Instant::now();
    for _ in 0..steps {
        let seen = place.observe()?;
        let action = agent.act(&seen, &prompt)?;
        place.step(&action)?;
    }
    let planning = agent.latency.total();
    let rest = (began.elapsed().as_secs_f64() * 1e3 - planning).max(0.0);
    Ok([planning, agent.latency.plans() as f64, rest])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Yardstick;
    use super::super::mind::{Mind, Moment};
    use super::*;
    use crate::policy::agent::AgentSettings;
    use forerun_models::Contract;
    use forerun_models::policy::Chunk;
    use std::time::Duration;

    /// Thinks for a known time, then stays where it is.
    struct Slow(Contract);

    impl Mind for Slow {
        fn contract(&self) -> &Contract {
            &self.0
        }
        fn chunk(&mut self, _: &Moment<'_>, _: u64) -> Result<Chunk, Failure> {
            std::thread::sleep(Duration::from_millis(60));
            Ok(vec![vec![f32::NAN; self.0.actions.len()]; 4])
        }
    }

    #[test]
    fn the_time_of_a_plan_is_measured_and_multiplied() {
        let contract = forerun_models::testing::random_contract();
        let minds = |_: u64| -> Result<Box<dyn Mind + '_>, Failure> { Ok(Box::new(Slow(contract.clone()))) };
        let settings = EvaluateSettings {
            episodes: 3,
            steps: 10,
            threads: 1,
            agent: AgentSettings { every: 2, ..AgentSettings::default() },
            ..EvaluateSettings::default()
        };
        let cancel = AtomicBool::new(false);
        let pace = measure(Venue::World, &minds, 2, Yardstick::ALL.len(), &settings, &cancel).unwrap();
        assert!((60.0..600.0).contains(&pace.plan_ms), "{pace:?}");
        assert!(pace.step_ms > 0.0);
        // Ten steps, a plan every two.
        assert!((pace.agent_ms - 10.0 * pace.step_ms - 5.0 * pace.plan_ms).abs() < 1e-6);
        assert!((pace.seconds - 3.0 * (pace.agent_ms + 3.0 * pace.yardstick_ms) / 1e3).abs() < 1e-9);
        cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(measure(Venue::World, &minds, 1, 0, &settings, &cancel).is_err());
    }
}
