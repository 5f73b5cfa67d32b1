//! A lossless queue between threads that holds back its senders when too many bytes wait.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::Packet;

/// Bytes of pictures that may wait before a sender has to.
const BUDGET: usize = 256 << 20;

struct State<T> {
    waiting: VecDeque<Packet<T>>,
    bytes: usize,
    budget: usize,
    closed: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

/// Both ends of a queue of packets; clones share it.
pub struct PacketQueue<T>(Arc<Shared<T>>);

impl<T> Clone for PacketQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for PacketQueue<T> {
    fn default() -> Self {
        Self::with_budget(BUDGET)
    }
}

impl<T> PacketQueue<T> {
    fn with_budget(budget: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, budget, closed: false };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// A queue that never makes a sender wait, for one that must not (the window).
    pub fn unlimited() -> Self {
        Self::with_budget(usize::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // The state is valid between any two statements below, so a panic elsewhere does not spoil it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a packet; waits while more than the budget is waiting. `false` when the queue was closed.
    pub fn push(&self, packet: Packet<T>) -> bool {
        let size = size_of_blobs(&packet);
        let mut state = self.lock();
        while !state.closed && state.bytes > 0 && state.bytes.saturating_add(size) > state.budget {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.bytes += size;
        state.waiting.push_back(packet);
        self.0.changed.notify_all();
        true
    }

    /// The oldest packet, if one waits.
    pub fn try_pop(&self) -> Option<Packet<T>> {
        self.take(&mut self.lock())
    }

    fn take(&self, state: &mut State<T>) -> Option<Packet<T>> {
        let packet = state.waiting.pop_front()?;
        state.bytes = state.bytes.saturating_sub(size_of_blobs(&packet));
        self.0.changed.notify_all();
        Some(packet)
    }

    /// The oldest packet; waits for one at most `timeout`. `None` also when the queue is closed and empty.
    pub fn pop_timeout(&self, timeout: Duration) -> Option<Packet<T>> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(packet) = self.take(&mut state) {
                return Some(packet);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return None;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The oldest packet; waits as long as it takes. `None` when the queue is closed and empty.
    pub fn pop(&self) -> Option<Packet<T>> {
        let mut state = self.lock();
        loop {
            if let Some(packet) = self.take(&mut state) {
                return Some(packet);
            }
            if state.closed {
                return None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until a packet waits (without taking it) or the queue is closed.
    pub fn wait_until_wanted(&self) {
        let mut state = self.lock();
        while state.waiting.is_empty() && !state.closed {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the queue: pushes return `false`, pops give what is left and then `None`.
    pub fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_all();
    }
}

fn size_of_blobs<T>(packet: &Packet<T>) -> usize {
    packet.blobs.iter().map(Vec::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(n: u32, bytes: usize) -> Packet<u32> {
        Packet { message: n, blobs: vec![vec![0; bytes]] }
    }

    #[test]
    fn packets_come_out_in_order_and_closing_drains() {
        let queue = PacketQueue::default();
        assert!(queue.push(packet(1, 1)) && queue.push(packet(2, 1)));
        queue.close();
        assert!(!queue.push(packet(3, 1)));
        assert_eq!(queue.pop().map(|p| p.message), Some(1));
        assert_eq!(queue.pop_timeout(Duration::from_secs(5)).map(|p| p.message), Some(2));
        assert!(queue.pop().is_none() && queue.try_pop().is_none());
    }

    #[test]
    fn a_sender_waits_for_a_slow_receiver_and_loses_nothing() {
        let queue = PacketQueue::default();
        let sender = queue.clone();
        let thread = std::thread::spawn(move || (0..8).all(|n| sender.push(packet(n, BUDGET / 3))));
        let mut got = Vec::new();
        while got.len() < 8 {
            std::thread::sleep(Duration::from_millis(5));
            assert!(queue.lock().bytes <= BUDGET);
            got.extend(queue.try_pop().map(|p| p.message));
        }
        assert_eq!(got, (0..8).collect::<Vec<_>>());
        assert!(thread.join().is_ok_and(|all| all));
    }

    #[test]
    fn closing_frees_a_waiting_sender() {
        let queue = PacketQueue::default();
        let sender = queue.clone();
        let thread = std::thread::spawn(move || {
            (0..4).map(|n| sender.push(packet(n, BUDGET / 2))).collect::<Vec<_>>()
        });
        std::thread::sleep(Duration::from_millis(20));
        queue.close();
        assert_eq!(thread.join().ok().and_then(|sent| sent.last().copied()), Some(false));
    }
}
