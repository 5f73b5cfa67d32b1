//! Reading frames again that were let go of: a few threads that decode, the window that only says what it wants.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use eframe::egui::Context;
use forerun::engine::protocol::JobId;
use forerun::failure::{Failure, caught};
use forerun::media;

use crate::background::Background;
use crate::futures::Which;
use crate::message::{Message, Wish};

/// Threads that decode.
const THREADS: usize = 2;

/// Which frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Run that holds it.
    pub job: JobId,
    /// Which of its futures.
    pub which: Which,
    /// Frame number.
    pub index: usize,
}

/// What the threads and the window share.
#[derive(Debug, Default)]
struct Shared {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    /// Wanted by now and not begun, the most urgent first.
    wanted: VecDeque<(Place, PathBuf)>,
    /// Begun; the window has not taken the frame yet.
    begun: HashSet<Place>,
    /// Nobody wants anything any more.
    over: bool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most urgent frame, as soon as one is wanted; `None` when it is over.
    fn next(&self) -> Option<(Place, PathBuf)> {
        let mut orders = self.orders();
        loop {
            if orders.over {
                return None;
            }
            if let Some((place, file)) = orders.wanted.pop_front() {
                orders.begun.insert(place);
                return Some((place, file));
            }
            orders = self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The threads, and what they were asked for.
#[derive(Debug, Default)]
pub struct Loader {
    shared: Arc<Shared>,
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.orders().over = true;
        self.shared.changed.notify_all();
    }
}

impl Loader {
    /// Starts the threads.
    pub fn new(ctx: &Context, background: &Background) -> Self {
        let loader = Self::default();
        for _ in 0..THREADS {
            let (shared, answer, ctx) = (loader.shared.clone(), background.sender(), ctx.clone());
            let body = move || {
                while let Some((place, file)) = shared.next() {
                    let frame = caught(|| media::read_picture(&file).map_err(Failure::from_error));
                    let frame = frame.map(Arc::new).map_err(|failure| failure.text());
                    if answer.send(Message::Compare(Wish::Loaded(place, frame))).is_err() {
                        return;
                    }
                    ctx.request_repaint();
                }
            };
            // Without a thread the nearest frame in memory stands in for the one that is not there.
            let _ = std::thread::Builder::new().name("frames".into()).spawn(body);
        }
        loader
    }

    /// Says which frames are wanted, the most urgent first. What was wanted before and is not any more is not read: where
    /// the pointer has been while it scrubbed holds up nothing.
    pub fn want(&self, frames: impl IntoIterator<Item = (Place, PathBuf)>) {
        let mut orders = self.shared.orders();
        let Orders { wanted, begun, .. } = &mut *orders;
        wanted.clear();
        wanted.extend(frames.into_iter().filter(|(place, _)| !begun.contains(place)));
        if !wanted.is_empty() {
            self.shared.changed.notify_all();
        }
    }

    /// A frame was read, or cannot be.
    pub fn arrived(&self, place: Place) {
        self.shared.orders().begun.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: usize) -> Place {
        Place { job: 1, which: Which::Truth, index }
    }

    #[test]
    fn only_what_is_wanted_now_is_read_and_nothing_twice() {
        let loader = Loader::default();
        let file = |index: usize| (place(index), PathBuf::from(index.to_string()));
        loader.want([1, 2, 3].map(file));
        assert_eq!(loader.shared.next(), Some(file(1)));
        // The pointer went on; frame 1 is being read already.
        loader.want([7, 1, 8].map(file));
        assert_eq!(loader.shared.next(), Some(file(7)));
        loader.arrived(place(1));
        loader.want([1].map(file));
        assert_eq!(loader.shared.next(), Some(file(1)));
        let shared = loader.shared.clone();
        drop(loader);
        assert_eq!(shared.next(), None, "the threads end with the window");
    }
}
