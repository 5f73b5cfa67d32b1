//! The window's end of an engine, as the app sees it.

use forerun::Failure;
use forerun::engine::EngineClient;
use forerun::engine::protocol::{Event, JobId, Packet, Request};

/// Sends requests, receives events; nothing here waits.
pub trait Link {
    /// A job number that has not been used yet.
    fn next_job(&self) -> JobId;
    /// Sends a request with its pictures.
    fn send(&self, request: Request, blobs: Vec<Vec<u8>>);
    /// The oldest event, if one waits.
    fn try_recv(&self) -> Option<Packet<Event>>;
    /// Calls `wake` (from another thread) whenever events wait.
    fn set_wake(&self, wake: Box<dyn Fn() + Send + Sync>);
}

impl Link for EngineClient {
    fn next_job(&self) -> JobId {
        Self::next_job(self)
    }

    fn send(&self, request: Request, blobs: Vec<Vec<u8>>) {
        Self::send(self, request, blobs);
    }

    fn try_recv(&self) -> Option<Packet<Event>> {
        Self::try_recv(self)
    }

    fn set_wake(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.set_notifier(wake);
    }
}

/// The engine of the window: a child process of this very program.
///
/// # Errors
/// When the program does not know its own place, or the system gives no threads.
pub fn child() -> Result<Box<dyn Link>, Failure> {
    let exe = std::env::current_exe().map_err(|e| {
        Failure::new(format!("Forerun cannot find its own program: {e}."), "Start it by its full path.")
    })?;
    Ok(Box::new(EngineClient::spawn_child(&exe)?))
}
