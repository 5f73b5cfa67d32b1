//! What proposes chunks of actions.

use forerun_models::policy::{Chunk, Draw, Policy, Seen};
use forerun_models::{Contract, Frame};

use crate::engine::backend::HistoryFrame;
use crate::failure::Failure;

/// A moment as a mind sees it: frames in its contract's size, numbers in its contract's order and units.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The present frame.
    pub now: &'a Frame,
    /// The frame before.
    pub before: &'a Frame,
    /// The frame at which the task was given.
    pub start: &'a Frame,
    /// The present state.
    pub state: &'a [f32],
    /// Words.
    pub prompt: Option<&'a str>,
    /// Steps since the start.
    pub step: usize,
    /// The last frames, the present one last, each with its state and the action that followed it.
    pub history: &'a [HistoryFrame],
}

/// Proposes chunks: a policy, a policy whose proposals are tried in the model first, a planner.
pub trait Mind {
    /// Sizes, rate and channels of what it sees and says.
    fn contract(&self) -> &Contract;
    /// The next chunk; `number` counts the plans of an episode.
    ///
    /// # Errors
    /// When the network fails.
    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure>;
    /// What happened besides: numbers by name, added up over an episode (`doubtful plans`).
    fn counts(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// The picture that it goes for now, where it goes for one; in its contract's size.
    fn goal(&self) -> Option<&Frame> {
        None
    }
}

/// What a network's complaint means to a person.
pub(crate) fn explain(error: forerun_models::dreamer::ModelError) -> Failure {
    Failure::new(format!("{}.", error.to_string().trim_end_matches('.')), "")
}

impl Moment<'_> {
    /// The moment as a policy sees it.
    pub fn seen<'s>(&'s self, goal: Option<&'s Frame>) -> Seen<'s> {
        Seen {
            now: self.now,
            before: Some(self.before),
            start: Some(self.start),
            goal,
            state: self.state,
            prompt: self.prompt,
        }
    }
}

/// A policy as it is.
pub struct PolicyMind<'p> {
    /// The policy.
    pub policy: &'p Policy,
    /// Seed of its noise.
    pub seed: u64,
    /// Size of its noise; 0 = the mean chunk.
    pub temperature: f32,
}

impl Mind for PolicyMind<'_> {
    fn contract(&self) -> &Contract {
        self.policy.contract()
    }

    fn chunk(&mut self, moment: &Moment<'_>, number: u64) -> Result<Chunk, Failure> {
        let draw = Draw { seed: self.seed, number, temperature: self.temperature };
        let mut chunks = self.policy.plan(&[moment.seen(None)], &[vec![draw]]).map_err(explain)?;
        let chunk = chunks.pop().and_then(|mut of| of.pop());
        chunk.ok_or_else(|| Failure::new("The policy gave no actions.", "Train it again."))
    }
}
