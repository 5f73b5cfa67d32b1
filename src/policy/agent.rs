//! The loop between a place and a mind, the same in physics, imagination and on a robot.
//!
//! Every `every` steps the mind is asked for a chunk of the present observation. Chunks overlap, and are blended into one action a
//! step ([`Overlap`]). A chunk can be made to count only `delay` steps after its observation, as it is on a robot whose policy
//! takes its time.

use std::collections::VecDeque;
use std::time::Instant;

use forerun_models::policy::Overlap;
use serde::{Deserialize, Serialize};

use super::align::Columns;
use super::mind::{Mind, Moment};
use super::place::{Observation, Place};
use crate::Frame;
use crate::engine::backend::HistoryFrame;
use crate::engine::fit::fit_for;
use crate::failure::Failure;

/// Frames that an agent remembers for minds that imagine.
const REMEMBERED: usize = 8;

/// How an agent uses its chunks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentSettings {
    /// Steps from one plan to the next.
    pub every: usize,
    /// Weight of a chunk against the next newer one, 0 (only the newest counts) to 1 (all count alike).
    pub keep: f32,
    /// Steps from an observation to the first action that answers it.
    pub delay: usize,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self { every: Overlap::EVERY, keep: Overlap::KEEP, delay: 0 }
    }
}

/// How long plans took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    milliseconds: Vec<f64>,
}

impl Latency {
    /// Notes one plan's time.
    pub fn note(&mut self, milliseconds: f64) {
        self.milliseconds.push(milliseconds);
    }

    /// Takes over another one's plans.
    pub fn add(&mut self, other: &Latency) {
        self.milliseconds.extend(&other.milliseconds);
    }

    /// All of it, milliseconds.
    pub fn total(&self) -> f64 {
        self.milliseconds.iter().sum()
    }

    /// Number of plans.
    pub fn plans(&self) -> usize {
        self.milliseconds.len()
    }

    /// Mean and 95th percentile, milliseconds; zeros without plans.
    pub fn summary(&self) -> (f64, f64) {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
        let at = (sorted.len() * 95).div_ceil(100).saturating_sub(1);
        (mean, sorted.get(at).copied().unwrap_or(0.0))
    }
}

/// An agent in one episode.
pub struct Agent<'a> {
    mind: Box<dyn Mind + 'a>,
    settings: AgentSettings,
    actions: Columns,
    state: Columns,
    plans: Overlap,
    history: VecDeque<HistoryFrame>,
    start: Option<Frame>,
    step: usize,
    planned: u64,
    /// How long the plans took.
    pub latency: Latency,
}

impl<'a> Agent<'a> {
    /// An agent for a place; channels are matched by name and unit.
    ///
    /// # Errors
    /// A place of another robot or another rate, settings out of range.
    pub fn new(
        mind: Box<dyn Mind + 'a>,
        place: &dyn Place,
        settings: AgentSettings,
    ) -> Result<Self, Failure> {
        if settings.every == 0 || !(0.0..=1.0).contains(&settings.keep) || settings.delay > 1000 {
            return Err(Failure::new(
                "An agent plans every 1 or more steps and keeps a share of 0 to 1 of older plans.",
                "Change these numbers.",
            ));
        }
        let contract = mind.contract();
        let rate = contract.frame.rate_hz;
        if (rate - place.rate_hz()).abs() > 0.01 * rate {
            return Err(Failure::new(
                format!("The policy acts {rate} times a second, this place {}.", place.rate_hz()),
                "Train it on data of the place's rate.",
            ));
        }
        let actions = Columns::find("actions", &contract.actions, place.actions())?;
        let state = Columns::find("state", &contract.state, place.state())?;
        Ok(Self {
            mind,
            settings,
            actions,
            state,
            plans: Overlap::default(),
            history: VecDeque::new(),
            start: None,
            step: 0,
            planned: 0,
            latency: Latency::default(),
        })
    }

    /// What the mind counted.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.mind.counts()
    }

    /// The picture that the mind goes for now, where it goes for one.
    pub fn goal(&self) -> Option<&Frame> {
        self.mind.goal()
    }

    /// The action for this observation, in the place's order and units; not a number where nothing is said (the first
    /// steps of a delayed agent), which holds the channel.
    ///
    /// # Errors
    /// When the picture is broken or the mind fails.
    pub fn act(&mut self, seen: &Observation, prompt: &str) -> Result<Vec<f32>, Failure> {
        let spec = &self.mind.contract().frame;
        let frame = fit_for(&seen.frame, spec)?.frame;
        let state = self.state.take(&seen.state);
        let start = self.start.get_or_insert_with(|| frame.clone()).clone();
        self.history.push_back(HistoryFrame { frame, state: Some(state), action: None });
        while self.history.len() > REMEMBERED {
            self.history.pop_front();
        }
        if self.step % self.settings.every == 0 {
            self.plan(&start, prompt)?;
        }
        let AgentSettings { keep, delay, .. } = self.settings;
        let said = self.plans.at(self.step, keep, delay);
        let action = said.unwrap_or_else(|| vec![f32::NAN; self.mind.contract().actions.len()]);
        if let Some(last) = self.history.back_mut() {
            last.action = Some(action.clone());
        }
        self.step += 1;
        Ok(self.actions.put(&action))
    }

    fn plan(&mut self, start: &Frame, prompt: &str) -> Result<(), Failure> {
        let history = self.history.make_contiguous();
        let Some((now, past)) = history.split_last() else { return Ok(()) };
        let moment = Moment {
            now: &now.frame,
            before: past.last().map_or(&now.frame, |h| &h.frame),
            start,
            state: now.state.as_deref().unwrap_or(&[]),
            prompt: Some(prompt).filter(|p| !p.trim().is_empty()),
            step: self.step,
            history,
        };
        let began = Instant::now();
        let rows = self.mind.chunk(&moment, self.planned)?;
        self.latency.note(began.elapsed().as_secs_f64() * 1e3);
        self.planned += 1;
        self.plans.add(self.step, rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::place::Verdict;
    use super::*;
    use crate::train::channel_of;
    use forerun_models::policy::Chunk;
    use forerun_models::{Channel, Contract, FrameSpec};

    /// Says in every chunk `100 * plan + step of the chunk`.
    struct Counting(Contract);

    impl Mind for Counting {
        fn contract(&self) -> &Contract {
            &self.0
        }
        fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
            assert_eq!(moment.step as u64, number * 2);
            Ok((0..6).map(|k| vec![100.0 * number as f32 + k as f32]).collect())
        }
    }

    struct Nowhere(Vec<Channel>);

    impl Place for Nowhere {
        fn actions(&self) -> &[Channel] {
            &self.0
        }
        fn state(&self) -> &[Channel] {
            &self.0
        }
        fn rate_hz(&self) -> f32 {
            10.0
        }
        fn prompt(&self) -> &str {
            ""
        }
        fn observe(&mut self) -> Result<Observation, Failure> {
            Ok(Observation { frame: Frame::filled(8, 8, [0; 3]), state: vec![0.0; self.0.len()] })
        }
        fn step(&mut self, _: &[f32]) -> Result<(), Failure> {
            Ok(())
        }
        fn verdict(&self) -> Verdict {
            Verdict::default()
        }
    }

    fn channel(name: &str) -> Channel {
        channel_of(name, "deg", [0.0, 1.0].into_iter())
    }

    fn actions(settings: AgentSettings) -> Vec<f32> {
        let contract = Contract {
            format: 1,
            name: "counting".into(),
            family: "policy".into(),
            frame: FrameSpec { width: 8, height: 8, rate_hz: 10.0, history: 1, fit: Default::default() },
            actions: vec![channel("a")],
            state: vec![channel("a")],
            text: false,
            knows: String::new(),
            embodiment: String::new(),
            licence: String::new(),
            familiar_residual: None,
            vocabulary: Vec::new(),
        };
        let mut place = Nowhere(vec![channel("z"), channel("a")]);
        let mut agent = Agent::new(Box::new(Counting(contract)), &place, settings).unwrap();
        let seen = place.observe().unwrap();
        (0..5).map(|_| agent.act(&seen, "").unwrap()[1]).collect()
    }

    #[test]
    fn the_newest_chunk_counts_alone_when_nothing_is_kept() {
        let settings = AgentSettings { every: 2, keep: 0.0, delay: 0 };
        assert_eq!(actions(settings), [0.0, 1.0, 100.0, 101.0, 200.0]);
    }

    #[test]
    fn chunks_that_overlap_are_blended() {
        let settings = AgentSettings { every: 2, keep: 0.5, delay: 0 };
        // At step 2 the new chunk says 100 (weight 1), the old one 2 (weight 1/2).
        let found = actions(settings);
        assert!((found[2] - (100.0 + 1.0) / 1.5).abs() < 1e-4, "{found:?}");
        assert!((found[4] - (200.0 + 51.0 + 1.0) / 1.75).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn a_late_chunk_counts_from_its_delay_on() {
        let settings = AgentSettings { every: 2, keep: 0.0, delay: 1 };
        let found = actions(settings);
        assert!(found[0].is_nan());
        assert_eq!(found[1..], [1.0, 2.0, 101.0, 102.0]);
    }

    #[test]
    fn another_robot_or_rate_is_refused() {
        let settings = AgentSettings::default();
        let mut contract_place = Nowhere(vec![channel("b")]);
        let contract = |rate_hz| {
            let mut c: Contract = serde_json::from_value(serde_json::json!({
                "format": 1, "name": "t", "family": "policy",
                "frame": {"width": 8, "height": 8, "rate_hz": 10.0, "history": 1},
                "actions": [], "text": false
            }))
            .unwrap();
            c.frame.rate_hz = rate_hz;
            c.actions = vec![channel("a")];
            c
        };
        let told = |rate, place: &Nowhere| {
            Agent::new(Box::new(Counting(contract(rate))), place, settings).err().unwrap().text()
        };
        assert!(told(10.0, &contract_place).contains("a is missing"));
        contract_place.0 = vec![channel("a")];
        assert!(told(30.0, &contract_place).contains("30 times a second"));
    }

    #[test]
    fn the_95th_percentile_is_an_order_statistic() {
        let mut latency = Latency::default();
        (1..=100).for_each(|i| latency.note(f64::from(i)));
        assert_eq!(latency.summary(), (50.5, 95.0));
        assert_eq!(Latency::default().summary(), (0.0, 0.0));
    }
}
