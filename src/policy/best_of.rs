//! Best of N: the policy's chunks are tried in the world model first, and the best one is taken.

use forerun_models::Contract;
use forerun_models::policy::{Chunk, Draw, Policy};

use super::mind::{Mind, Moment, explain};
use super::rehearse::{DOUBTFUL, Rehearser, Worth, best};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;

/// A policy whose proposals are rehearsed.
pub struct BestOf<'a> {
    policy: &'a Policy,
    rehearser: Rehearser<'a>,
    /// Proposals a plan: the mean and samples around it.
    candidates: usize,
    /// Futures a proposal.
    seeds: usize,
    worth: Worth,
    temperature: f32,
    seed: u64,
    doubtful: u64,
    overruled: u64,
}

impl<'a> BestOf<'a> {
    /// Tries `candidates` chunks a plan (the policy's mean first, then samples), each under `seeds` seeds.
    ///
    /// # Errors
    /// A model of another robot or rate, no candidates.
    pub fn new(
        policy: &'a Policy,
        model: &'a dyn WorldModel,
        candidates: usize,
        seeds: usize,
        refine: usize,
        temperature: f32,
        seed: u64,
    ) -> Result<Self, Failure> {
        if !(1..=1024).contains(&candidates) || !(1..=16).contains(&seeds) {
            return Err(Failure::new(
                format!("{candidates} candidates under {seeds} seeds are not possible."),
                "Ask for 1 to 1024 candidates and 1 to 16 seeds.",
            ));
        }
        Ok(Self {
            rehearser: Rehearser::new(model, policy.contract(), refine)?,
            policy,
            candidates,
            seeds,
            worth: Worth::default(),
            temperature,
            seed,
            doubtful: 0,
            overruled: 0,
        })
    }
}

impl Mind for BestOf<'_> {
    fn contract(&self) -> &Contract {
        self.policy.contract()
    }

    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
        let draws: Vec<Draw> = (0..self.candidates as u64)
            .map(|i| Draw {
                seed: self.seed,
                number: number * 4096 + i,
                temperature: if i == 0 { 0.0 } else { self.temperature },
            })
            .collect();
        let chunks = self.policy.plan(&[moment.seen(None)], &[draws]).map_err(explain)?;
        let mut chunks = chunks.into_iter().next().unwrap_or_default();
        // Common seeds for all candidates: they differ by what they do, not by luck.
        let seeds: Vec<u64> = (0..self.seeds as u64).map(|s| self.seed ^ (number << 8) ^ (s + 1)).collect();
        let found = self.rehearser.rehearse(moment, &chunks, &seeds, None, &self.worth)?;
        let chosen = best(&found);
        self.overruled += u64::from(chosen != 0);
        self.doubtful += u64::from(found.get(chosen).is_some_and(|r| r.spread > DOUBTFUL));
        if chosen >= chunks.len() {
            return Err(Failure::new("The policy gave no actions.", "Train it again."));
        }
        Ok(chunks.swap_remove(chosen))
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("plans other than the policy's own", self.overruled), ("doubtful plans", self.doubtful)]
    }
}
