//! A line of jobs before a fixed number of threads.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::job::{CancelToken, JobContext, JobEnd, Sink, run_body};
use super::protocol::{Event, JobId, Packet};

type Body = Box<dyn FnOnce(&JobContext) -> Result<String, JobEnd> + Send>;

#[derive(Default)]
struct Entry {
    cancel: CancelToken,
    running: bool,
}

/// What [`Registry::cancel`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelFound {
    /// No such job: it has ended, or never was.
    Nothing,
    /// It was still waiting and is out of line now; no other event will tell so.
    Waiting,
    /// It runs, was asked to stop, and will tell when it has.
    Running,
}

/// Jobs that wait or run, with their switches.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<HashMap<JobId, Entry>>>);

impl Registry {
    fn with<R>(&self, action: impl FnOnce(&mut HashMap<JobId, Entry>) -> R) -> R {
        action(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a job in; `None` when its number is already in use.
    fn enter(&self, job: JobId) -> Option<CancelToken> {
        self.with(|jobs| {
            if jobs.contains_key(&job) {
                return None;
            }
            Some(jobs.entry(job).or_default().cancel.clone())
        })
    }

    /// Marks a job as running; `false` when it was cancelled while it waited.
    fn begin(&self, job: JobId, cancel: &CancelToken) -> bool {
        self.with(|jobs| match jobs.get_mut(&job) {
            // Another job may have taken the number of one that was cancelled in line.
            Some(entry) if entry.cancel.same(cancel) => {
                entry.running = true;
                true
            }
            _ => false,
        })
    }

    fn leave(&self, job: JobId) {
        self.with(|jobs| jobs.remove(&job));
    }

    /// Asks one job to stop, or takes it out of line.
    pub fn cancel(&self, job: JobId) -> CancelFound {
        self.with(|jobs| match jobs.get(&job) {
            None => CancelFound::Nothing,
            Some(entry) => {
                entry.cancel.cancel();
                if entry.running {
                    return CancelFound::Running;
                }
                jobs.remove(&job);
                CancelFound::Waiting
            }
        })
    }

    /// Asks all jobs to stop.
    pub fn cancel_all(&self) {
        self.with(|jobs| jobs.values().for_each(|entry| entry.cancel.cancel()));
    }

    /// Number of jobs that wait or run.
    pub fn len(&self) -> usize {
        self.with(|jobs| jobs.len())
    }

    /// Whether nothing waits or runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Threads that run jobs first come, first served. They end when the lane is dropped and their job has ended.
pub struct Lane {
    line: Sender<(JobContext, Body)>,
    registry: Registry,
    sink: Sink,
}

impl Lane {
    /// Starts `threads` threads called `name`.
    pub fn new(name: &str, threads: usize, registry: Registry, sink: Sink) -> std::io::Result<Self> {
        let (line, jobs) = mpsc::channel::<(JobContext, Body)>();
        let jobs = Arc::new(Mutex::new(jobs));
        for i in 0..threads {
            let (jobs, registry, sink) = (jobs.clone(), registry.clone(), sink.clone());
            std::thread::Builder::new()
                .name(format!("{name}-{i}"))
                // Networks recurse little, but decoders and debug builds like room.
                .stack_size(8 << 20)
                .spawn(move || work(&jobs, &registry, &sink))?;
        }
        Ok(Self { line, registry, sink })
    }

    /// Puts a job in line. Its end comes as an event; a number that is in use is refused in the log.
    pub fn submit(
        &self,
        job: JobId,
        body: impl FnOnce(&JobContext) -> Result<String, JobEnd> + Send + 'static,
    ) {
        let Some(cancel) = self.registry.enter(job) else {
            let text = format!("job number {job} is already in use; the second request was ignored");
            (self.sink)(Packet { message: Event::Log { level: "error".into(), text }, blobs: Vec::new() });
            return;
        };
        let context = JobContext::new(job, cancel, self.sink.clone());
        // The threads live as long as the lane, so somebody listens.
        let _ = self.line.send((context, Box::new(body)));
    }
}

fn work(jobs: &Mutex<Receiver<(JobContext, Body)>>, registry: &Registry, sink: &Sink) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((context, body)) = next else { return };
        if !registry.begin(context.job, &context.cancel) {
            continue;
        }
        let end = run_body(&context, body);
        // Out of the registry first: who hears the end may reuse the number at once.
        registry.leave(context.job);
        sink(Packet { message: end, blobs: Vec::new() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use std::time::{Duration, Instant};

    fn lane(threads: usize) -> (Lane, Registry, mpsc::Receiver<Event>) {
        let (tx, rx) = mpsc::channel();
        let sink: Sink = Arc::new(move |packet: Packet<Event>| drop(tx.send(packet.message)));
        let registry = Registry::default();
        (Lane::new("test", threads, registry.clone(), sink).unwrap(), registry, rx)
    }

    #[test]
    fn a_panicking_job_leaves_the_next_one_running() {
        let (lane, _, events) = lane(1);
        lane.submit(1, |_| panic!("boom"));
        lane.submit(2, |_| Ok("fine".into()));
        let wait = Duration::from_secs(5);
        assert!(matches!(events.recv_timeout(wait).unwrap(), Event::Failed { job: 1, .. }));
        assert_eq!(events.recv_timeout(wait).unwrap(), Event::Done { job: 2, summary: "fine".into() });
    }

    #[test]
    fn waiting_and_running_jobs_can_be_cancelled() {
        let (lane, registry, events) = lane(1);
        let (started, wait_for_start) = mpsc::channel();
        lane.submit(1, move |context| {
            started.send(()).unwrap();
            loop {
                context.check()?;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        lane.submit(2, |_| panic!("must not run"));
        wait_for_start.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(registry.cancel(2), CancelFound::Waiting);
        assert_eq!(registry.cancel(1), CancelFound::Running);
        assert_eq!(registry.cancel(9), CancelFound::Nothing);
        let start = Instant::now();
        assert_eq!(events.recv_timeout(Duration::from_secs(5)).unwrap(), Event::Cancelled { job: 1 });
        assert!(start.elapsed() < Duration::from_secs(1));
        assert!(registry.is_empty());
    }

    #[test]
    fn a_number_in_use_is_refused() {
        let (lane, registry, events) = lane(1);
        lane.submit(1, |context| {
            while context.check().is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(JobEnd::Cancelled)
        });
        lane.submit(1, |_| Ok("twice".into()));
        assert!(matches!(events.recv_timeout(Duration::from_secs(5)).unwrap(), Event::Log { .. }));
        registry.cancel_all();
        assert_eq!(events.recv_timeout(Duration::from_secs(5)).unwrap(), Event::Cancelled { job: 1 });
    }
}
