//! The world model as its own policy: it imagines futures from the words alone, and what it takes to have been done in the
//! best of them is done (world-action models: "DreamGen", Jang et al. 2025, <https://arxiv.org/abs/2505.12705>, reads
//! actions off imagined videos in the same spirit).

use forerun_models::Contract;
use forerun_models::policy::Chunk;

use super::mind::{Mind, Moment};
use super::rehearse::{Rehearser, Worth};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;

/// How the futures are imagined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OwnActionsSettings {
    /// Futures of which the best one is acted out.
    pub futures: usize,
    /// Frames ahead.
    pub ahead: usize,
    /// Denoising steps a frame.
    pub refine: usize,
}

impl Default for OwnActionsSettings {
    fn default() -> Self {
        Self { futures: 4, ahead: 12, refine: 1 }
    }
}

/// A world model that acts.
pub struct OwnActions<'m> {
    model: &'m dyn WorldModel,
    rehearser: Rehearser<'m>,
    settings: OwnActionsSettings,
    seed: u64,
}

impl<'m> OwnActions<'m> {
    /// Lets this model act.
    ///
    /// # Errors
    /// A model that takes no words, numbers out of range.
    pub fn new(model: &'m dyn WorldModel, settings: OwnActionsSettings, seed: u64) -> Result<Self, Failure> {
        let contract = model.contract();
        if !contract.text {
            return Err(Failure::new(
                format!("{} takes no words, so nothing tells it what to do.", contract.name),
                "Choose a model that was trained with words.",
            ));
        }
        if !(1..=256).contains(&settings.futures) || !(1..=256).contains(&settings.ahead) {
            return Err(Failure::new(
                "There would be nothing to act out.",
                "Imagine 1 to 256 futures of 1 to 256 frames.",
            ));
        }
        Ok(Self { rehearser: Rehearser::new(model, contract, settings.refine)?, model, settings, seed })
    }
}

impl Mind for OwnActions<'_> {
    fn contract(&self) -> &Contract {
        self.model.contract()
    }

    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
        let seeds: Vec<u64> =
            (0..self.settings.futures as u64).map(|i| self.seed ^ (number << 8) ^ (i + 1)).collect();
        let dreams = self.rehearser.dream(moment, &seeds, self.settings.ahead, &Worth::default())?;
        let best = dreams.into_iter().reduce(|a, b| if b.worth > a.worth { b } else { a });
        best.map(|dream| dream.actions)
            .ok_or_else(|| Failure::new("The model imagined nothing.", "Imagine at least one future."))
    }
}
