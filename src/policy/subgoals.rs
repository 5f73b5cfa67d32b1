//! Words to a picture to a chunk: the world model imagines how things look a moment ahead, and a goal policy goes there
//! (the division of work of Black et al. 2023, "SuSIE", <https://arxiv.org/abs/2310.10639>).

use forerun_models::policy::{Chunk, Draw, Kind, Policy};
use forerun_models::{Contract, Frame};

use super::mind::{Mind, Moment, explain};
use super::rehearse::{Rehearser, Worth};
use crate::engine::backend::WorldModel;
use crate::engine::fit::fit_for;
use crate::failure::Failure;

/// How goals are imagined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubgoalSettings {
    /// Frames ahead.
    pub ahead: usize,
    /// Futures of which the best one's end becomes the goal.
    pub futures: usize,
    /// Plans that go for one goal before the next is imagined.
    pub plans: u64,
    /// Denoising steps a frame.
    pub refine: usize,
}

impl Default for SubgoalSettings {
    fn default() -> Self {
        Self { ahead: 8, futures: 4, plans: 2, refine: 2 }
    }
}

/// A goal policy led by imagined pictures.
pub struct Subgoals<'a> {
    policy: &'a Policy,
    rehearser: Rehearser<'a>,
    settings: SubgoalSettings,
    seed: u64,
    goal: Option<Frame>,
    imagined: u64,
}

impl<'a> Subgoals<'a> {
    /// A goal policy under this model.
    ///
    /// # Errors
    /// A policy that takes no goal, a model of another robot or rate, or one that takes no words.
    pub fn new(
        policy: &'a Policy,
        model: &'a dyn WorldModel,
        settings: SubgoalSettings,
        seed: u64,
    ) -> Result<Self, Failure> {
        if policy.network().config().kind != Kind::Goal {
            return Err(Failure::new(
                format!("{} is told by words, it does not go for pictures.", policy.contract().name),
                "Let it decide alone, or use a policy of the kind goal (--kind goal).",
            ));
        }
        if !model.contract().text {
            return Err(Failure::new(
                format!("{} takes no words, so it cannot imagine what they ask for.", model.contract().name),
                "Choose a model that was trained with words.",
            ));
        }
        if settings.ahead == 0 || settings.futures == 0 || settings.plans == 0 || settings.futures > 256 {
            return Err(Failure::new("There would be no goal.", "Imagine at least one future of one frame."));
        }
        Ok(Self {
            rehearser: Rehearser::new(model, policy.contract(), settings.refine)?,
            policy,
            settings,
            seed,
            goal: None,
            imagined: 0,
        })
    }
}

impl Mind for Subgoals<'_> {
    fn contract(&self) -> &Contract {
        self.policy.contract()
    }

    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
        if self.goal.is_none() || number % self.settings.plans == 0 {
            let seeds: Vec<u64> =
                (0..self.settings.futures as u64).map(|i| self.seed ^ (number << 8) ^ (i + 1)).collect();
            let worth = Worth { reach: 0.0, ..Worth::default() };
            let dreams = self.rehearser.dream(moment, &seeds, self.settings.ahead, &worth)?;
            let best = dreams.into_iter().reduce(|a, b| if b.worth > a.worth { b } else { a });
            let spec = &self.policy.contract().frame;
            if let Some(best) = best {
                self.goal = Some(fit_for(&best.end, spec)?.frame);
                self.imagined += 1;
            }
        }
        let seen = moment.seen(self.goal.as_ref());
        let mut chunks = self.policy.plan(&[seen], &[vec![Draw::MEAN]]).map_err(explain)?;
        let chunk = chunks.pop().and_then(|mut of| of.pop());
        chunk.ok_or_else(|| Failure::new("The policy gave no actions.", "Train it again."))
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![("goals imagined", self.imagined)]
    }

    fn goal(&self) -> Option<&Frame> {
        self.goal.as_ref()
    }
}
