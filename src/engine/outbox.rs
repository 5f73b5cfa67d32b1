//! Requests on their way to an engine, and the jobs that it owes an end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::protocol::{Event, JobId, Packet, Request};
use super::queue::PacketQueue;

struct State {
    /// Requests for the engine that lives now, or for the next one when none does.
    queue: PacketQueue<Request>,
    unfinished: BTreeSet<JobId>,
    closed: bool,
}

/// Shared by the client that sends and the thread that carries.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Mutex<State>>);

impl Default for Outbox {
    fn default() -> Self {
        let state = State { queue: PacketQueue::unlimited(), unfinished: BTreeSet::new(), closed: false };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request in line for the engine of now (one lock for the line and the list of owed ends, so that a
    /// dying engine's jobs are exactly those that went into its line).
    pub fn send(&self, packet: Packet<Request>) {
        let mut state = self.lock();
        if let Some(job) = packet.message.job() {
            state.unfinished.insert(job);
        }
        state.queue.push(packet);
    }

    /// Notes that a job ended.
    pub fn note_end(&self, event: &Event) {
        if let Some(job) = event.ended_job() {
            self.lock().unfinished.remove(&job);
        }
    }

    /// Jobs without an end.
    pub fn unfinished(&self) -> Vec<JobId> {
        self.lock().unfinished.iter().copied().collect()
    }

    /// The line of the engine of now.
    pub fn queue(&self) -> PacketQueue<Request> {
        self.lock().queue.clone()
    }

    /// Ends the line of a dead engine and opens one for the next. Returns the jobs that died with it, or `None`
    /// when the client has gone and no next engine is wanted.
    pub fn bury(&self) -> Option<Vec<JobId>> {
        let mut state = self.lock();
        state.queue.close();
        if state.closed {
            return None;
        }
        state.queue = PacketQueue::unlimited();
        Some(std::mem::take(&mut state.unfinished).into_iter().collect())
    }

    /// The client goes: what is in line is still carried, nothing new is taken.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.close();
    }

    /// Whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }
}
