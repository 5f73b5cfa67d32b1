//! Reading frames again that were let go of: a few threads that decode, the window that only asks.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::Context;
use forerun::engine::protocol::JobId;
use forerun::media;

use crate::background::Background;
use crate::futures::Which;
use crate::message::{Message, Wish};

/// Threads that decode.
const THREADS: usize = 2;
/// Frames that may be asked for at once: those of one tick of a full grid.
const QUEUE: usize = crate::compare::MAX_PANES;

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

/// The threads, and what they were asked for.
#[derive(Debug, Default)]
pub struct Loader {
    sender: Option<SyncSender<(Place, PathBuf)>>,
    waiting: HashSet<Place>,
}

impl Loader {
    /// Starts the threads.
    pub fn new(ctx: &Context, background: &Background) -> Self {
        let (sender, orders) = sync_channel(QUEUE);
        let orders = Arc::new(Mutex::new(orders));
        let mut started = false;
        for _ in 0..THREADS {
            let (orders, answer, ctx) = (orders.clone(), background.sender(), ctx.clone());
            let body = move || {
                let next = |orders: &Mutex<Receiver<(Place, PathBuf)>>| {
                    orders.lock().unwrap_or_else(PoisonError::into_inner).recv()
                };
                while let Ok((place, file)) = next(&orders) {
                    let frame = media::read_picture(&file).map(Arc::new).map_err(|e| e.to_string());
                    if answer.send(Message::Compare(Wish::Loaded(place, frame))).is_err() {
                        return;
                    }
                    ctx.request_repaint();
                }
            };
            started |= std::thread::Builder::new().name("frames".into()).spawn(body).is_ok();
        }
        Self { sender: started.then_some(sender), waiting: HashSet::new() }
    }

    /// Asks for a frame; `false` when no more can be asked for now.
    pub fn ask(&mut self, place: Place, file: PathBuf) -> bool {
        if self.waiting.contains(&place) {
            return true;
        }
        let asked = self.sender.as_ref().is_some_and(|s| s.try_send((place, file)).is_ok());
        if asked {
            self.waiting.insert(place);
        }
        asked
    }

    /// A frame was read, or cannot be.
    pub fn arrived(&mut self, place: Place) {
        self.waiting.remove(&place);
    }
}
