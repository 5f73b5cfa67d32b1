//! The place `model:MODEL`: imagination. Success and progress are what the model's heads read off its own frames
//! ([`super::judge`]).

use forerun_models::Channel;

use super::judge::Judge;
use super::place::{Observation, Place, Verdict};
use crate::engine::backend::{Futures, HistoryFrame, Imagined, Stream, WorldModel};
use crate::failure::Failure;

/// An episode inside a world model.
pub struct ModelPlace<'m> {
    model: &'m dyn WorldModel,
    futures: Box<dyn Futures + 'm>,
    now: Observation,
    prompt: String,
    judge: Judge,
    verdict: Verdict,
}

/// A read-out by name, 0 when the model has none of it.
pub(crate) fn reading(imagined: &Imagined, name: &str) -> f32 {
    imagined.reading.iter().find(|(n, _)| n == name).map_or(0.0, |(_, v)| *v)
}

impl<'m> ModelPlace<'m> {
    /// An episode that starts from a known frame and state (the contract's size, order and units).
    ///
    /// # Errors
    /// A start that does not fit the model; a model without a success head.
    pub fn new(
        model: &'m dyn WorldModel,
        start: Observation,
        prompt: &str,
        seed: u64,
        refine: usize,
    ) -> Result<Self, Failure> {
        let history = vec![HistoryFrame {
            frame: start.frame.clone(),
            state: Some(start.state.clone()).filter(|s| !s.is_empty()),
            action: None,
        }];
        let stream = Stream { seed, prompt: Some(prompt.to_owned()), history };
        let futures = model.start(vec![stream], refine)?;
        let (judge, prompt) = (Judge::new(prompt), prompt.to_owned());
        Ok(Self { model, futures, now: start, prompt, judge, verdict: Verdict::default() })
    }
}

impl Place for ModelPlace<'_> {
    fn actions(&self) -> &[Channel] {
        &self.model.contract().actions
    }

    fn state(&self) -> &[Channel] {
        &self.model.contract().state
    }

    fn rate_hz(&self) -> f32 {
        self.model.contract().frame.rate_hz
    }

    fn prompt(&self) -> &str {
        &self.prompt
    }

    fn observe(&mut self) -> Result<Observation, Failure> {
        Ok(self.now.clone())
    }

    fn step(&mut self, action: &[f32]) -> Result<(), Failure> {
        let mut frames = self.futures.step(&[Some(action.to_vec())])?;
        let Some(imagined) = frames.pop() else {
            return Err(Failure::new("The model gave no frame.", "Choose another model."));
        };
        self.verdict = self.judge.note(&imagined).ok_or_else(|| {
            Failure::new(
                "This model has no success head, so nothing can be judged inside it.",
                "Choose a model that was trained on labelled episodes, or evaluate in world:tabletop.",
            )
        })?;
        self.now = Observation { frame: imagined.frame, state: imagined.state };
        Ok(())
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }
}
