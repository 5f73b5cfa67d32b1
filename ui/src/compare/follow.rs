//! The action-following gauge: one future, and one more for each channel with that channel moved; does the model answer?

use std::sync::Arc;

use forerun::Frame;
use forerun::compare::follow::{Probe, Response, gauge};
use forerun::compare::metrics::Seen;
use forerun::engine::protocol::{ImagineSpec, JobId};

/// Frames of a probe: two seconds of the shipped model, enough for an arm to get where it is sent.
pub const STEPS: usize = 16;

/// A measurement that is going on, or its result.
#[derive(Clone, Debug, Default)]
pub struct Follow {
    /// The future with the numbers as they are.
    pub base: Option<ImagineSpec>,
    /// One for each channel.
    pub probes: Vec<Probe>,
    /// Futures that are whole: the base first, then the probes. Frames 1, 2, ... with what the heads read.
    pub made: Vec<Vec<(Arc<Frame>, Vec<(String, f32)>)>>,
    /// The job that imagines the next one.
    pub job: Option<JobId>,
    /// Whether the probes are being laid out.
    pub laying: bool,
    /// Answers, one a channel, once all are whole.
    pub responses: Vec<Response>,
    /// Name of the model that was measured.
    pub model: String,
    /// Why it cannot be measured.
    pub trouble: Option<String>,
}

impl Follow {
    /// Whether futures are still to come.
    pub fn running(&self) -> bool {
        self.laying || self.base.is_some() && self.made.len() <= self.probes.len()
    }

    /// What to imagine next.
    pub fn next(&self) -> Option<&ImagineSpec> {
        match self.made.len().checked_sub(1) {
            None => self.base.as_ref(),
            Some(probe) => self.probes.get(probe).map(|p| &p.spec),
        }
    }

    /// Part that is done, 0..=1.
    pub fn part(&self) -> f32 {
        self.made.len() as f32 / (self.probes.len() + 1) as f32
    }

    /// Takes a future that is whole; after the last one, measures.
    pub fn put(&mut self, future: Vec<(Arc<Frame>, Vec<(String, f32)>)>) {
        self.job = None;
        self.made.push(future);
        if self.made.len() != self.probes.len() + 1 {
            return;
        }
        let seen = |future: &Vec<(Arc<Frame>, Vec<(String, f32)>)>, i: usize| {
            future.get(i).map(|(frame, reading)| (frame.clone(), reading.clone()))
        };
        let Some(base) = self.made.first().cloned() else { return };
        for (probe, moved) in self.probes.iter().zip(self.made.iter().skip(1)) {
            let pairs: Vec<_> = (0..base.len().min(moved.len()))
                .filter_map(|i| Some((seen(&base, i)?, seen(moved, i)?)))
                .collect();
            let a: Vec<Seen<'_>> =
                pairs.iter().map(|((frame, reading), _)| Seen { frame, reading }).collect();
            let b: Vec<Seen<'_>> =
                pairs.iter().map(|(_, (frame, reading))| Seen { frame, reading }).collect();
            match Response::new(probe, &a, &b) {
                Ok(response) => self.responses.push(response),
                Err(failure) => self.trouble = Some(failure.text()),
            }
        }
        self.made.iter_mut().for_each(Vec::clear);
    }

    /// The gauge: mean over the channels, 0 (deaf) to 1 (follows).
    pub fn gauge(&self) -> Option<f64> {
        gauge(&self.responses).map(|(mean, _)| mean)
    }

    /// Stops; what was measured before stays away.
    pub fn stop(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{contract, spec};
    use forerun::compare::follow::probes;
    use forerun::engine::protocol::Actions;

    #[test]
    fn a_model_that_follows_one_of_two_channels_is_half_deaf() {
        let mut base = spec(&[1], 2);
        base.actions = Actions::Track {
            channels: vec!["shoulder_pan.pos".into(), "gripper.pos".into()],
            rows: vec![vec![0.0, 50.0]; 2],
        };
        let probes = probes(&base, &contract()).unwrap();
        let mut follow = Follow { base: Some(base), probes, ..Follow::default() };
        let grey = |level: u8| vec![(Arc::new(Frame::filled(8, 8, [level; 3])), Vec::new()); 2];
        assert!(follow.running() && follow.next().is_some());
        follow.put(grey(10));
        follow.put(grey(90));
        assert!(follow.gauge().is_none());
        follow.put(grey(10));
        assert!(!follow.running());
        assert_eq!(follow.gauge(), Some(0.5));
        assert_eq!(follow.responses[0].channel, "shoulder_pan.pos");
    }
}
