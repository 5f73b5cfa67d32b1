//! A place that ends its episode when a person says stop: an imagined episode may take longer than anybody waits.

use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::Channel;

use super::place::{Observation, Place, Verdict};
use crate::failure::Failure;

/// A place with a switch that is looked at before every step.
pub(super) struct Stoppable<'a> {
    inner: &'a mut (dyn Place + 'a),
    cancel: &'a AtomicBool,
}

impl<'a> Stoppable<'a> {
    pub fn new(inner: &'a mut (dyn Place + 'a), cancel: &'a AtomicBool) -> Self {
        Self { inner, cancel }
    }
}

impl Place for Stoppable<'_> {
    fn actions(&self) -> &[Channel] {
        self.inner.actions()
    }

    fn state(&self) -> &[Channel] {
        self.inner.state()
    }

    fn rate_hz(&self) -> f32 {
        self.inner.rate_hz()
    }

    fn prompt(&self) -> &str {
        self.inner.prompt()
    }

    fn observe(&mut self) -> Result<Observation, Failure> {
        self.inner.observe()
    }

    fn step(&mut self, action: &[f32]) -> Result<(), Failure> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Failure::new(
                "The episode was stopped.",
                "Start it again; the same seed gives the same episode.",
            ));
        }
        self.inner.step(action)
    }

    fn verdict(&self) -> Verdict {
        self.inner.verdict()
    }
}
