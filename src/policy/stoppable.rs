//! A place that ends its episode when a person says stop, and a world model that ends its futures: an imagined episode, or
//! a plan that is searched for, may take longer than anybody waits.

use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::{Channel, Contract, Frame};

use super::place::{Observation, Place, Verdict};
use crate::engine::backend::{Futures, HistoryFrame, Imagined, Stream, WorldModel};
use crate::engine::published::ClipModel;
use crate::failure::Failure;

fn check(cancel: &AtomicBool) -> Result<(), Failure> {
    if cancel.load(Ordering::Relaxed) {
        return Err(Failure::new(
            "The episode was stopped.",
            "Start it again; the same seed gives the same episode.",
        ));
    }
    Ok(())
}

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
        check(self.cancel)?;
        self.inner.step(action)
    }

    fn verdict(&self) -> Verdict {
        self.inner.verdict()
    }
}

/// A world model with a switch that is looked at before every frame.
#[derive(Clone, Copy)]
pub struct StoppableModel<'a> {
    inner: &'a dyn WorldModel,
    cancel: &'a AtomicBool,
}

impl<'a> StoppableModel<'a> {
    /// This model, until `cancel` is set.
    pub fn new(inner: &'a dyn WorldModel, cancel: &'a AtomicBool) -> Self {
        Self { inner, cancel }
    }
}

struct StoppableFutures<'a> {
    inner: Box<dyn Futures + 'a>,
    cancel: &'a AtomicBool,
}

impl Futures for StoppableFutures<'_> {
    fn step(&mut self, actions: &[Option<Vec<f32>>]) -> Result<Vec<Imagined>, Failure> {
        check(self.cancel)?;
        self.inner.step(actions)
    }
}

impl WorldModel for StoppableModel<'_> {
    fn contract(&self) -> &Contract {
        self.inner.contract()
    }

    fn sha256(&self) -> &str {
        self.inner.sha256()
    }

    fn parameters(&self) -> u64 {
        self.inner.parameters()
    }

    fn start<'s>(&'s self, streams: Vec<Stream>, refine: usize) -> Result<Box<dyn Futures + 's>, Failure> {
        check(self.cancel)?;
        Ok(Box::new(StoppableFutures { inner: self.inner.start(streams, refine)?, cancel: self.cancel }))
    }

    fn residual(&self, history: &[HistoryFrame], frame: &Frame) -> Result<f32, Failure> {
        self.inner.residual(history, frame)
    }

    fn clip(&self) -> Option<&ClipModel> {
        self.inner.clip()
    }
}
