//! A planner without a policy: action tracks are drawn, tried in the world model, and drawn again around the best ones
//! (cross-entropy method, Rubinstein 1999; or path integrals, Williams et al. 2015, "MPPI",
//! <https://arxiv.org/abs/1509.01149>).
//!
//! A track is a few knots, each a posture, joined by straight lines from where the robot stands: smooth, and few numbers
//! to search. The next plan starts its search from the rest of the last one.

use forerun_models::policy::{Chunk, Draw, Policy};
use forerun_models::random::{Random, stream_of};
use forerun_models::{Contract, Frame};
use serde::{Deserialize, Serialize};

use super::align::Columns;
use super::mind::{Mind, Moment, explain};
use super::rehearse::{DOUBTFUL, Rehearsal, Rehearser, Worth};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;

/// How the search narrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Mean and spread of the best tracks.
    Cem,
    /// All tracks, weighted by how good they are.
    Mppi,
}

/// Size of the search; the defaults take about two seconds a plan on two cores with a tiny model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannerSettings {
    /// How the search narrows.
    pub method: Method,
    /// Tracks a round.
    pub candidates: usize,
    /// Tracks that the next round is drawn around.
    pub elites: usize,
    /// Rounds.
    pub rounds: usize,
    /// Steps ahead.
    pub horizon: usize,
    /// Knots a track.
    pub knots: usize,
    /// Spread of the first round, as a share of each channel's range.
    pub spread: f32,
    /// Futures a track.
    pub seeds: usize,
    /// Denoising steps a frame.
    pub refine: usize,
    /// What counts.
    pub worth: Worth,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        Self {
            method: Method::Cem,
            candidates: 12,
            elites: 3,
            rounds: 2,
            horizon: 8,
            knots: 2,
            spread: 0.06,
            seeds: 1,
            refine: 1,
            worth: Worth::default(),
        }
    }
}

/// Temperature of MPPI's weights, in units of worth.
const SOFT: f32 = 0.1;
/// Share of a knot's spread that a round keeps at least: a search must not stop by accident.
const LEAST_SPREAD: f32 = 0.15;

/// A planner inside a world model.
pub struct Planner<'a> {
    model: &'a dyn WorldModel,
    rehearser: Rehearser<'a>,
    stands: Columns,
    settings: PlannerSettings,
    /// Proposals of a policy to start the search from.
    prior: Option<&'a Policy>,
    /// A picture to reach, instead of words.
    goal: Option<Frame>,
    seed: u64,
    /// Knots of the last plan.
    last: Option<Vec<Vec<f32>>>,
    doubtful: u64,
    tried: u64,
}

impl<'a> Planner<'a> {
    /// A planner in this model, from a policy's proposals where there is one, toward the words or toward a picture.
    ///
    /// # Errors
    /// Settings out of range, a model whose actions are not places to go to, a policy of another robot.
    pub fn new(
        model: &'a dyn WorldModel,
        prior: Option<&'a Policy>,
        goal: Option<Frame>,
        settings: PlannerSettings,
        seed: u64,
    ) -> Result<Self, Failure> {
        let s = &settings;
        let sane = (1..=4096).contains(&s.candidates)
            && (1..=s.candidates).contains(&s.elites)
            && (1..=100).contains(&s.rounds)
            && (1..=1000).contains(&s.horizon)
            && (1..=s.horizon).contains(&s.knots)
            && (1..=16).contains(&s.seeds)
            && s.spread > 0.0
            && s.spread <= 1.0;
        if !sane {
            return Err(Failure::new(
                "The planner's search is not possible.",
                "Ask for at least one candidate, elite, round, step, knot and seed, and no more elites than candidates.",
            ));
        }
        let contract = model.contract();
        let stands = Columns::find("state", &contract.actions, &contract.state)?;
        if let Some(policy) = prior {
            let own = policy.contract();
            let same = own.actions.iter().map(|c| &c.name).eq(contract.actions.iter().map(|c| &c.name))
                && own.state.iter().map(|c| &c.name).eq(contract.state.iter().map(|c| &c.name))
                && (own.frame.width, own.frame.height) == (contract.frame.width, contract.frame.height);
            if !same {
                return Err(Failure::new(
                    format!("{} and {} differ in channels or pictures.", own.name, contract.name),
                    "Plan without the policy, or train one on the model's data.",
                ));
            }
        }
        Ok(Self {
            rehearser: Rehearser::new(model, contract, settings.refine)?,
            model,
            stands,
            settings,
            prior,
            goal,
            seed,
            last: None,
            doubtful: 0,
            tried: 0,
        })
    }

    /// Step at which knot `i` is reached, counted from 1.
    fn knot_step(&self, i: usize) -> usize {
        (self.settings.horizon * (i + 1)).div_ceil(self.settings.knots)
    }

    /// The rows of a track: straight lines from where the robot stands through its knots.
    fn track(&self, from: &[f32], knots: &[Vec<f32>]) -> Chunk {
        let (mut rows, mut before, mut at) = (Vec::with_capacity(self.settings.horizon), from.to_vec(), 0);
        for (i, knot) in knots.iter().enumerate() {
            let reached = self.knot_step(i);
            for step in at + 1..=reached {
                let share = (step - at) as f32 / (reached - at).max(1) as f32;
                rows.push(before.iter().zip(knot).map(|(a, b)| a + (b - a) * share).collect());
            }
            before.clone_from(knot);
            at = reached;
        }
        rows
    }

    /// Knots of a chunk: its rows where the knots are.
    fn knots_of(&self, chunk: &Chunk) -> Vec<Vec<f32>> {
        (0..self.settings.knots)
            .filter_map(|i| chunk.get(self.knot_step(i) - 1).or_else(|| chunk.last()).cloned())
            .collect()
    }

    fn proposals(&self, moment: &Moment<'_>, number: u64) -> Result<Vec<Vec<Vec<f32>>>, Failure> {
        let Some(policy) = self.prior else { return Ok(Vec::new()) };
        let count = (self.settings.candidates / 2).max(1) as u64;
        let draws = (0..count)
            .map(|i| Draw {
                seed: self.seed,
                number: number * 4096 + i,
                temperature: if i == 0 { 0.0 } else { 1.0 },
            })
            .collect();
        let chunks = policy.plan(&[moment.seen(self.goal.as_ref())], &[draws]).map_err(explain)?;
        Ok(chunks.into_iter().flatten().map(|chunk| self.knots_of(&chunk)).collect())
    }

    /// Mean and spread of the next round from this one's tracks.
    fn narrow(
        &self,
        tracks: &[Vec<Vec<f32>>],
        found: &[Rehearsal],
        mean: &mut [Vec<f32>],
        spread: &mut [Vec<f32>],
    ) {
        let mut order: Vec<usize> = (0..found.len().min(tracks.len())).collect();
        order.sort_by(|a, b| found[*b].value.total_cmp(&found[*a].value).then(a.cmp(b)));
        let top = order.first().map_or(0.0, |i| found[*i].value);
        let weights: Vec<(usize, f32)> = match self.settings.method {
            Method::Cem => order.iter().take(self.settings.elites).map(|i| (*i, 1.0)).collect(),
            Method::Mppi => order.iter().map(|i| (*i, ((found[*i].value - top) / SOFT).exp())).collect(),
        };
        let all: f32 = weights.iter().map(|(_, w)| w).sum::<f32>().max(1e-9);
        for (knot, (mean, spread)) in mean.iter_mut().zip(spread.iter_mut()).enumerate() {
            for (channel, (mean, spread)) in mean.iter_mut().zip(spread.iter_mut()).enumerate() {
                let value = |i: usize| tracks[i][knot][channel];
                let m = weights.iter().map(|(i, w)| value(*i) * w).sum::<f32>() / all;
                let v = weights.iter().map(|(i, w)| (value(*i) - m).powi(2) * w).sum::<f32>() / all;
                *mean = m;
                *spread = v.sqrt().max(*spread * LEAST_SPREAD);
            }
        }
    }
}

impl Mind for Planner<'_> {
    fn contract(&self) -> &Contract {
        self.model.contract()
    }

    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
        let s = self.settings;
        let channels = &self.model.contract().actions;
        let from: Vec<f32> = self
            .stands
            .take(moment.state)
            .iter()
            .zip(channels)
            .map(|(v, c)| if v.is_finite() { *v } else { c.mean })
            .collect();
        let mut mean = self.last.take().unwrap_or_else(|| vec![from.clone(); s.knots]);
        let first: Vec<f32> = channels.iter().map(|c| (c.max - c.min) * s.spread).collect();
        let mut spread = vec![first; s.knots];
        let proposals = self.proposals(moment, number)?;
        let seeds: Vec<u64> = (0..s.seeds as u64).map(|i| self.seed ^ (number << 8) ^ (i + 1)).collect();
        let mut best: Option<(Vec<Vec<f32>>, Rehearsal)> = None;
        for round in 0..s.rounds {
            let random = Random::new(self.seed, stream_of("planner"), number * 128 + round as u64);
            let mut tracks: Vec<Vec<Vec<f32>>> = if round == 0 { proposals.clone() } else { Vec::new() };
            // The middle of the search itself, then draws around it.
            tracks.push(mean.clone());
            let mut place = 0;
            while tracks.len() < s.candidates.max(proposals.len() + 1) {
                let mut track = mean.clone();
                for (knot, spread) in track.iter_mut().zip(&spread) {
                    for ((value, spread), channel) in knot.iter_mut().zip(spread).zip(channels) {
                        *value = (*value + spread * random.normal(place)).clamp(channel.min, channel.max);
                        place += 1;
                    }
                }
                tracks.push(track);
            }
            let rows: Vec<Chunk> = tracks.iter().map(|knots| self.track(&from, knots)).collect();
            let found = self.rehearser.rehearse(moment, &rows, &seeds, self.goal.as_ref(), &s.worth)?;
            self.tried += rows.len() as u64;
            let top = super::rehearse::best(&found);
            if let (Some(track), Some(rehearsal)) = (tracks.get(top), found.get(top))
                && best.as_ref().is_none_or(|(_, b)| rehearsal.value > b.value)
            {
                best = Some((track.clone(), *rehearsal));
            }
            self.narrow(&tracks, &found, &mut mean, &mut spread);
        }
        let Some((knots, rehearsal)) = best else {
            return Err(Failure::new("The planner found nothing.", "Ask for more candidates."));
        };
        self.doubtful += u64::from(rehearsal.spread > DOUBTFUL);
        let rows = self.track(&from, &knots);
        // The search for the next plan begins where this one leads.
        self.last = Some(knots);
        Ok(rows)
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("tracks tried", self.tried), ("doubtful plans", self.doubtful)]
    }
}
