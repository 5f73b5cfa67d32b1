//! The window's end of an engine: send requests, receive events, survive the engine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::child;
use super::core::Engine;
use super::outbox::Outbox;
use super::protocol::{Event, JobId, PROTOCOL_VERSION, Packet, Request};
use super::queue::PacketQueue;
use crate::failure::Failure;

/// Called (from another thread) when events wait; must be quick.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// Events on their way to the window, with the bell that tells of them.
#[derive(Clone, Default)]
pub(super) struct Inbox {
    pub queue: PacketQueue<Event>,
    bell: Arc<Mutex<Option<Notify>>>,
}

impl Inbox {
    pub fn push(&self, packet: Packet<Event>) {
        if self.queue.push(packet) {
            let bell = self.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(bell) = bell {
                bell();
            }
        }
    }

    pub fn tell(&self, message: Event) {
        self.push(Packet { message, blobs: Vec::new() });
    }
}

/// A connection to an engine. Nothing here waits, but for [`EngineClient::recv_timeout`].
pub struct EngineClient {
    inbox: Inbox,
    outbox: Outbox,
    next_job: AtomicU64,
    pid: Arc<AtomicU32>,
}

impl EngineClient {
    fn new() -> Self {
        Self {
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            next_job: AtomicU64::new(1),
            pid: Arc::default(),
        }
    }

    /// An engine in this process, for the command line and for tests.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn in_process() -> Result<Self, Failure> {
        let client = Self::new();
        let inbox = client.inbox.clone();
        let outbox = client.outbox.clone();
        let ends = client.outbox.clone();
        let sink = Arc::new(move |packet: Packet<Event>| {
            ends.note_end(&packet.message);
            inbox.push(packet);
        });
        let engine = Engine::start(sink)?;
        start_thread("engine-in-process", move || {
            while let Some(request) = outbox.queue().pop() {
                if !engine.handle(request) {
                    break;
                }
            }
        })?;
        client.hello();
        Ok(client)
    }

    /// An engine as a child process: `exe engine --stdio`. When the child dies, its jobs are reported as failed,
    /// [`Event::EngineGone`] says why, and a new child is started.
    ///
    /// # Errors
    /// When the system gives no threads. A child that cannot be started is told by `EngineGone`.
    pub fn spawn_child(exe: &Path) -> Result<Self, Failure> {
        Self::spawn_command(exe, &["engine".into(), "--stdio".into()])
    }

    /// As [`EngineClient::spawn_child`] with other arguments (a wrapper, a remote shell).
    ///
    /// # Errors
    /// As [`EngineClient::spawn_child`].
    pub fn spawn_command(exe: &Path, arguments: &[std::ffi::OsString]) -> Result<Self, Failure> {
        let client = Self::new();
        let supervisor = child::Supervisor {
            exe: PathBuf::from(exe),
            arguments: arguments.to_vec(),
            inbox: client.inbox.clone(),
            outbox: client.outbox.clone(),
            pid: client.pid.clone(),
        };
        client.hello();
        start_thread("engine-child", move || supervisor.run())?;
        Ok(client)
    }

    fn hello(&self) {
        self.outbox.send(Packet { message: Request::Hello { version: PROTOCOL_VERSION }, blobs: Vec::new() });
    }

    /// Sets the bell that rings when events wait (for the window: request a repaint). It rings at once, since
    /// some may wait already.
    pub fn set_notifier(&self, notify: impl Fn() + Send + Sync + 'static) {
        let notify: Notify = Arc::new(notify);
        *self.inbox.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(notify.clone());
        notify();
    }

    /// A job number that this connection has not used yet.
    pub fn next_job(&self) -> JobId {
        self.next_job.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request with its pictures. Never waits and never fails: when the engine is gone, the request waits
    /// for the new one.
    pub fn send(&self, message: Request, blobs: Vec<Vec<u8>>) {
        self.outbox.send(Packet { message, blobs });
    }

    /// The oldest event, if one waits.
    pub fn try_recv(&self) -> Option<Packet<Event>> {
        self.inbox.queue.try_pop()
    }

    /// The oldest event; waits for one at most `timeout`. Not for the window's thread.
    pub fn recv_timeout(&self, timeout: Duration) -> Option<Packet<Event>> {
        self.inbox.queue.pop_timeout(timeout)
    }

    /// Process number of the child engine; `None` in process, or while there is none.
    pub fn child_pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    /// Jobs that were sent and have not ended.
    pub fn unfinished(&self) -> Vec<JobId> {
        self.outbox.unfinished()
    }
}

impl Drop for EngineClient {
    fn drop(&mut self) {
        self.outbox.send(Packet { message: Request::Shutdown, blobs: Vec::new() });
        self.outbox.close();
        self.inbox.queue.close();
    }
}

pub(super) fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    std::thread::Builder::new().name(name.into()).spawn(body).map(drop).map_err(|e| {
        Failure::new(format!("The system gives no more threads: {e}."), "Close other programs and try again.")
    })
}
