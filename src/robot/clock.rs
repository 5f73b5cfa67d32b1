//! Time as the robot side sees it: a duration since the agent started, from a clock that can be simulated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A point in time: the duration since the clock's start. Never goes back.
pub type Time = Duration;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
    /// Waits until a point in time; returns at once when it has passed.
    fn sleep_until(&self, until: Time);
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.0.elapsed()
    }

    fn sleep_until(&self, until: Time) {
        // `thread::sleep` uses clock_nanosleep on Linux; a signal does not shorten it, and the deadline is absolute,
        // so lateness of one tick does not shift the next.
        let now = self.now();
        if until > now {
            std::thread::sleep(until - now);
        }
    }
}

/// A clock that only moves when it is told to: a day passes in seconds.
#[derive(Clone, Debug, Default)]
pub struct SimulatedClock(Arc<AtomicU64>);

impl SimulatedClock {
    /// Moves time forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2), Ordering::SeqCst);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Time {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, until: Time) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX / 2);
        self.0.fetch_max(nanos, Ordering::SeqCst);
    }
}
