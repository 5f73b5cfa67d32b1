//! The futures that have been imagined in this session: frames as they arrive, readings, folders.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{ImagineSpec, JobId, ModelInfo, Reading};

/// Frames of all runs together may take this many bytes; the oldest runs go first.
pub const MEMORY_LIMIT: usize = 512 << 20;

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// Frames are arriving.
    Running,
    /// All are here.
    Done,
    /// The person stopped it.
    Cancelled,
    /// It went wrong; message and advice.
    Failed(String, String),
}

/// One continuation.
#[derive(Clone, Debug)]
pub struct Future {
    /// Its seed.
    pub seed: u64,
    frames: Vec<Option<Arc<Frame>>>,
    readings: Vec<Option<Reading>>,
    /// Folder with its record, once it is whole.
    pub folder: Option<PathBuf>,
    /// Whether it is whole.
    pub done: bool,
}

impl Future {
    fn new(seed: u64) -> Self {
        Self { seed, frames: Vec::new(), readings: Vec::new(), folder: None, done: false }
    }

    /// Number of frames from the start that are here without a gap.
    pub fn ready(&self) -> usize {
        self.frames.iter().take_while(|f| f.is_some()).count()
    }

    /// The frame at `index` (0 = start), or the last one that is here; the flag says that it is a held one.
    pub fn frame(&self, index: usize) -> Option<(&Arc<Frame>, bool)> {
        let ready = self.ready();
        let at = index.min(ready.checked_sub(1)?);
        Some((self.frames.get(at)?.as_ref()?, at != index))
    }

    /// What the heads read off frame `index`.
    pub fn reading(&self, index: usize) -> Option<&Reading> {
        self.readings.get(index)?.as_ref()
    }

    /// The values of one read-out over all frames; NaN where there is none.
    pub fn series(&self, name: &str) -> Vec<f32> {
        let of = |r: &Reading| r.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        self.readings.iter().map(|r| r.as_ref().and_then(of).unwrap_or(f32::NAN)).collect()
    }

    fn put(&mut self, index: usize, frame: Arc<Frame>, reading: Reading) {
        if self.frames.len() <= index {
            self.frames.resize(index + 1, None);
            self.readings.resize(index + 1, None);
        }
        if let (Some(f), Some(r)) = (self.frames.get_mut(index), self.readings.get_mut(index)) {
            *f = Some(frame);
            *r = (!reading.values.is_empty()).then_some(reading);
        }
    }
}

/// The futures of one press of Imagine.
#[derive(Clone, Debug)]
pub struct Run {
    /// Job that makes it.
    pub job: JobId,
    /// What was asked for.
    pub spec: ImagineSpec,
    /// Name of the model.
    pub model: String,
    /// First letters of the model's hash.
    pub model_hash: String,
    /// Frames a second.
    pub rate_hz: f32,
    /// One entry a seed.
    pub futures: Vec<Future>,
    /// What really happened, where the start is a recorded episode; frame 0 is the start.
    pub truth: Option<Future>,
    /// How far it is.
    pub state: RunState,
    /// Clock time of the start of the job, seconds.
    pub started: f64,
    /// Clock time of its end.
    pub ended: Option<f64>,
    /// Where it was saved.
    pub saved: Option<PathBuf>,
}

impl Run {
    /// A run that has just been asked for. Panes show `start` until frames arrive.
    pub fn new(
        job: JobId,
        spec: ImagineSpec,
        model: &ModelInfo,
        rate_hz: f32,
        start: Option<Arc<Frame>>,
        now: f64,
    ) -> Self {
        let futures = spec
            .seeds
            .iter()
            .map(|seed| {
                let mut future = Future::new(*seed);
                if let Some(frame) = &start {
                    future.put(0, frame.clone(), Reading::default());
                }
                future
            })
            .collect();
        Self {
            job,
            spec,
            model: model.name.clone(),
            model_hash: model.sha256.chars().take(8).collect(),
            rate_hz,
            futures,
            truth: None,
            state: RunState::Running,
            started: now,
            ended: None,
            saved: None,
        }
    }

    /// Frames that can be shown in at least one pane, counting the start.
    pub fn available(&self) -> usize {
        self.futures.iter().map(Future::ready).max().unwrap_or(0)
    }

    /// Frames when all have arrived, counting the start.
    pub fn expected(&self) -> usize {
        if self.state == RunState::Running { self.spec.steps + 1 } else { self.available() }
    }

    /// Takes an arrived frame; `false` when the seed is none of this run's.
    pub fn put(&mut self, seed: u64, index: usize, frame: Arc<Frame>, reading: Reading) -> bool {
        // An index far beyond what was asked for is a broken message, not a reason to fill the memory.
        let Some(future) =
            self.futures.iter_mut().find(|f| f.seed == seed).filter(|_| index <= self.spec.steps)
        else {
            return false;
        };
        future.put(index, frame, reading);
        true
    }

    /// Takes frame `index` of what really happened.
    pub fn put_truth(&mut self, index: usize, frame: Arc<Frame>) {
        if index > self.spec.steps {
            return;
        }
        let start = self.futures.first().and_then(|f| f.frame(0)).map(|(frame, _)| frame.clone());
        let truth = self.truth.get_or_insert_with(|| Future::new(0));
        if let (0, Some(start)) = (truth.ready(), start) {
            truth.put(0, start, Reading::default());
        }
        truth.put(index, frame, Reading::default());
    }

    fn bytes(&self) -> usize {
        let all = self.futures.iter().chain(&self.truth).flat_map(|f| f.frames.iter().flatten());
        all.map(|f| f.data.len()).sum()
    }
}

/// All runs, oldest first, and the one that is shown.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: VecDeque<Run>,
    shown: usize,
}

impl Runs {
    /// Adds a run and shows it.
    pub fn push(&mut self, run: Run) {
        self.runs.push_back(run);
        self.shown = self.runs.len() - 1;
        while self.runs.len() > 1 && self.runs.iter().map(Run::bytes).sum::<usize>() > MEMORY_LIMIT {
            self.runs.pop_front();
            self.shown = self.shown.saturating_sub(1);
        }
    }

    /// The run that is shown.
    pub fn shown(&self) -> Option<&Run> {
        self.runs.get(self.shown)
    }

    /// The run that is shown.
    pub fn shown_mut(&mut self) -> Option<&mut Run> {
        self.runs.get_mut(self.shown)
    }

    /// The run of a job.
    pub fn of_job(&mut self, job: JobId) -> Option<&mut Run> {
        self.runs.iter_mut().find(|r| r.job == job)
    }

    /// All runs, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Number of the shown run (from 1) and of all.
    pub fn position(&self) -> (usize, usize) {
        (self.shown + 1, self.runs.len())
    }

    /// Shows the run `by` places on.
    pub fn go(&mut self, by: isize) {
        let last = self.runs.len().saturating_sub(1);
        self.shown = self.shown.saturating_add_signed(by).min(last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{model, spec};

    fn frame(level: u8) -> Arc<Frame> {
        Arc::new(Frame::filled(4, 4, [level; 3]))
    }

    #[test]
    fn panes_hold_the_last_frame_that_has_arrived() {
        let mut run = Run::new(1, spec(&[7, 8], 5), &model(), 10.0, Some(frame(0)), 0.0);
        assert!(run.put(7, 1, frame(1), Reading::default()));
        assert!(run.put(7, 3, frame(3), Reading::default()), "frame 2 is still on its way");
        assert_eq!(run.futures[0].ready(), 2);
        assert_eq!(run.futures[0].frame(3).map(|(f, held)| (f.data[0], held)), Some((1, true)));
        assert_eq!(run.futures[1].frame(3).map(|(f, held)| (f.data[0], held)), Some((0, true)));
        assert_eq!((run.available(), run.expected()), (2, 6));
    }

    #[test]
    fn strange_frames_are_left_out() {
        let mut run = Run::new(1, spec(&[7], 5), &model(), 10.0, None, 0.0);
        assert!(!run.put(99, 0, frame(0), Reading::default()));
        assert!(!run.put(7, usize::MAX, frame(0), Reading::default()));
        assert_eq!(run.available(), 0);
        assert!(run.futures[0].frame(0).is_none());
    }

    #[test]
    fn old_runs_make_room() {
        let mut runs = Runs::default();
        for job in 0..4 {
            let mut run = Run::new(job, spec(&[1], 5), &model(), 10.0, None, 0.0);
            run.put(1, 0, Arc::new(Frame::filled(9000, 9000, [0; 3])), Reading::default());
            runs.push(run);
        }
        assert_eq!(runs.iter().map(|r| r.job).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(runs.shown().unwrap().job, 3);
        runs.go(-5);
        assert_eq!(runs.position(), (1, 2));
    }
}
