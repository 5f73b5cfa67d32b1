//! The start as it is shown: decoded pictures, the state that came with them, how familiar they are to the model.

use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{Start, WorldScene};

use crate::doc::{StartDoc, start_by_name};

/// How far the reading of a start is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Reading {
    /// Nothing to read, or read.
    #[default]
    Ready,
    /// The engine is at it.
    Reading,
    /// It cannot be used; the text says why.
    Failed(String),
}

/// The start as it is shown. Belongs to one [`StartDoc`].
#[derive(Clone, Debug, Default)]
pub struct StartView {
    /// Which start this shows.
    pub of: StartDoc,
    /// Pictures, oldest first; the last one is the frame to start from.
    pub frames: Vec<Arc<Frame>>,
    /// State of each picture by channel name, where known.
    pub states: Vec<Vec<(String, f32)>>,
    /// Residual against the model's familiar one; above 1 the model has never seen the like.
    pub unfamiliar: Option<f32>,
    /// What the engine says about it.
    pub note: String,
    /// How far it is.
    pub reading: Reading,
}

impl StartView {
    /// A view of `start` that the engine still has to fill.
    pub fn waiting(start: &StartDoc) -> Self {
        let reading = if *start == StartDoc::Nothing { Reading::Ready } else { Reading::Reading };
        Self { of: start.clone(), reading, ..Self::default() }
    }

    /// The frame to start from.
    pub fn last(&self) -> Option<&Arc<Frame>> {
        self.frames.last()
    }

    /// The value that a channel has at the start, in its unit.
    pub fn state_of(&self, channel: &str) -> Option<f32> {
        let state = self.states.last()?;
        state.iter().find(|(name, _)| name == channel).map(|(_, value)| *value)
    }

    /// The start as a request and the pictures beside it. Pictures travel only where the engine could not find
    /// them by itself.
    pub fn request(&self, start: &StartDoc) -> (Start, Vec<Vec<u8>>) {
        if let Some(named) = start_by_name(start) {
            return (named, Vec::new());
        }
        let sizes = self.frames.iter().map(|f| (f.width, f.height)).collect();
        let states = if self.states.len() == self.frames.len() { self.states.clone() } else { Vec::new() };
        // With the scene in the record, physics can run beside the future.
        let world = match start {
            StartDoc::World { seed } => Some(WorldScene { look: "plain".into(), seed: *seed }),
            _ => None,
        };
        (Start::Blobs { sizes, states, world }, self.frames.iter().map(|f| f.data.clone()).collect())
    }
}
