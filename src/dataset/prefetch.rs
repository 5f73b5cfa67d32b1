//! Clips decoded ahead of their use, on worker threads, in the order asked for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Dataset, DatasetError, Result};
use crate::Frame;

/// Consecutive frames of one camera of one episode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipRequest {
    /// Feature key of the camera.
    pub camera: String,
    /// Episode number.
    pub episode: usize,
    /// Frames.
    pub range: Range<usize>,
}

/// Gives the frames of each request in the order of the requests. At most `ahead` clips are held decoded and
/// unread, so memory stays bounded. Dropping it stops the workers after the clip that they are at.
#[derive(Debug)]
pub struct Prefetch {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dataset: Arc<Dataset>,
    requests: Vec<ClipRequest>,
    ahead: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Next request that a worker takes.
    next: usize,
    /// Next request that the reader wants.
    wanted: usize,
    ready: BTreeMap<usize, Result<Vec<Frame>>>,
    stopped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mine = {
                let mut state = self.state();
                while !state.stopped
                    && state.next < self.requests.len()
                    && state.next >= state.wanted.saturating_add(self.ahead)
                {
                    state = self.wait(state);
                }
                if state.stopped || state.next >= self.requests.len() {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let Some(request) = self.requests.get(mine) else { return };
            let read = std::panic::AssertUnwindSafe(|| {
                self.dataset.clip(&request.camera, request.episode, request.range.clone())
            });
            // A waiting reader must always get an answer.
            let result = std::panic::catch_unwind(read).unwrap_or_else(|_| {
                let what = format!("episode {} could not be decoded", request.episode);
                Err(DatasetError::broken(self.dataset.root(), what))
            });
            self.state().ready.insert(mine, result);
            self.changed.notify_all();
        }
    }
}

impl Prefetch {
    /// Starts `threads` workers (at least 1) that keep up to `ahead` clips (at least 1) decoded.
    pub fn new(dataset: Arc<Dataset>, requests: Vec<ClipRequest>, threads: usize, ahead: usize) -> Self {
        let state = Mutex::new(State::default());
        let shared =
            Arc::new(Shared { dataset, requests, ahead: ahead.max(1), state, changed: Condvar::new() });
        let mut workers = Vec::new();
        for _ in 0..threads.max(1) {
            let shared = shared.clone();
            let spawned = std::thread::Builder::new().name("decode".into()).spawn(move || shared.work());
            workers.extend(spawned.ok());
        }
        Self { shared, workers }
    }
}

impl Iterator for Prefetch {
    type Item = Result<Vec<Frame>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.workers.is_empty() {
            // No thread could be started: decode here.
            let mine = self.shared.state().wanted;
            let request = self.shared.requests.get(mine)?.clone();
            self.shared.state().wanted += 1;
            return Some(self.shared.dataset.clip(&request.camera, request.episode, request.range));
        }
        let mut state = self.shared.state();
        let mine = state.wanted;
        if mine >= self.shared.requests.len() {
            return None;
        }
        loop {
            if let Some(result) = state.ready.remove(&mine) {
                state.wanted += 1;
                self.shared.changed.notify_all();
                return Some(result);
            }
            state = self.shared.wait(state);
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}
