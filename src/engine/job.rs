//! What every job has: a way to stop it, a way to tell how far it is, and an end that is whole or none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::protocol::{Event, JobId, Packet};
use crate::failure::Failure;

/// A switch that stops a job; clones share it. Polled between steps, at least every second.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the job to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the job was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether both are the same switch.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The flag itself, for libraries that poll one.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// The flag itself, shared.
    pub fn shared_flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// Why a job gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// A person stopped it.
    Cancelled,
    /// Something is wrong.
    Failed(Failure),
}

impl From<Failure> for JobEnd {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Where a job's events go.
pub type Sink = Arc<dyn Fn(Packet<Event>) + Send + Sync>;

/// How often a job's progress is told at most.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

struct Pace {
    started: Instant,
    told: Option<Instant>,
    /// Work that was done when the present phase began, and when that was.
    phase: (String, u64, Instant),
}

/// What a running job talks to.
pub struct JobContext {
    /// Its number.
    pub job: JobId,
    /// Its switch.
    pub cancel: CancelToken,
    sink: Sink,
    pace: Mutex<Pace>,
}

impl JobContext {
    /// The context of job `job`.
    pub fn new(job: JobId, cancel: CancelToken, sink: Sink) -> Self {
        let now = Instant::now();
        let pace = Mutex::new(Pace { started: now, told: None, phase: (String::new(), 0, now) });
        Self { job, cancel, sink, pace }
    }

    /// Sends an event with its pictures.
    pub fn send(&self, message: Event, blobs: Vec<Vec<u8>>) {
        (self.sink)(Packet { message, blobs });
    }

    /// `Err(Cancelled)` once the job was asked to stop.
    pub fn check(&self) -> Result<(), JobEnd> {
        if self.cancel.is_cancelled() { Err(JobEnd::Cancelled) } else { Ok(()) }
    }

    /// Seconds since the job began to run.
    pub fn seconds(&self) -> f64 {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner).started.elapsed().as_secs_f64()
    }

    /// Tells how far the job is (at most ten times a second, but always at the end of a phase). Time left is the
    /// mean pace since `what` last changed: loading a model says nothing about the pace of imagining.
    pub fn progress(&self, done: u64, total: u64, what: &str) {
        let now = Instant::now();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.phase.0 != what {
            pace.phase = (what.to_owned(), done, now);
            pace.told = None;
        }
        let recent = pace.told.is_some_and(|told| now.duration_since(told) < PROGRESS_PERIOD);
        if recent && done < total {
            return;
        }
        pace.told = Some(now);
        let (_, from, since) = pace.phase;
        let work = done.saturating_sub(from);
        let seconds_left = (work > 0).then(|| {
            let spent = now.duration_since(since).as_secs_f64();
            (spent / work as f64 * total.saturating_sub(done) as f64) as f32
        });
        drop(pace);
        self.send(
            Event::Progress { job: self.job, done, total, seconds_left, what: what.to_owned() },
            Vec::new(),
        );
    }

    /// A line for the log.
    pub fn log(&self, level: &str, text: impl Into<String>) {
        self.send(Event::Log { level: level.to_owned(), text: text.into() }, Vec::new());
    }
}

/// Runs a job's body. A panic is a failed job, not a dead engine. Returns the event that ends the job.
pub fn run_body(context: &JobContext, body: impl FnOnce(&JobContext) -> Result<String, JobEnd>) -> Event {
    let job = context.job;
    if context.cancel.is_cancelled() {
        return Event::Cancelled { job };
    }
    // The body owns what it works on; what it shares (the model store) guards its own state with locks that
    // recover, so a half-done job leaves nothing broken behind.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(context))) {
        Ok(Ok(summary)) => Event::Done { job, summary },
        Ok(Err(JobEnd::Cancelled)) => Event::Cancelled { job },
        Ok(Err(JobEnd::Failed(failure))) => {
            Event::Failed { job, message: failure.message, advice: failure.advice }
        }
        Err(panic) => {
            let Failure { message, advice } = Failure::of_panic(panic.as_ref());
            Event::Failed { job, message, advice }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn context() -> (JobContext, Arc<Mutex<Vec<Event>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = seen.clone();
        let sink: Sink = Arc::new(move |packet: Packet<Event>| copy.lock().unwrap().push(packet.message));
        (JobContext::new(3, CancelToken::default(), sink), seen)
    }

    #[test]
    fn a_panic_is_a_failed_job_with_its_text() {
        let (context, _) = context();
        let event = run_body(&context, |_| panic!("index {} out of range", 4));
        let Event::Failed { job: 3, message, .. } = event else { panic!("{event:?}") };
        assert!(message.contains("index 4 out of range"));
    }

    #[test]
    fn a_job_cancelled_before_it_runs_never_runs() {
        let (context, _) = context();
        context.cancel.cancel();
        let event = run_body(&context, |_| panic!("ran"));
        assert_eq!(event, Event::Cancelled { job: 3 });
    }

    #[test]
    fn progress_is_told_rarely_but_always_at_the_end() {
        let (context, seen) = context();
        for done in 0..=1000 {
            context.progress(done, 1000, "frames");
        }
        let seen = seen.lock().unwrap();
        assert!(seen.len() < 50, "{}", seen.len());
        let Some(Event::Progress { done: 1000, seconds_left: Some(left), .. }) = seen.last() else {
            panic!("{seen:?}")
        };
        assert!(left.abs() < 1e-6);
    }
}
