//! A socket whose every read and write ends at a point in time, however slowly the other side drips.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A socket with a point in time at which everything ends.
#[derive(Debug)]
pub(super) struct Deadline {
    socket: TcpStream,
    until: Instant,
}

impl Deadline {
    pub fn new(socket: TcpStream, within: Duration) -> Self {
        let _ = socket.set_nodelay(true);
        Self { socket, until: Instant::now() + within }
    }

    /// From now on everything ends within this time.
    pub fn within(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(left.max(Duration::from_millis(1)))
        }
    }
}

/// A socket's own timeout looks like "try again"; here nobody shall.
fn late(e: io::Error) -> io::Error {
    if e.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { e }
}

/// Whether a process that was stopped goes on: no reason to end a conversation.
fn interrupted(result: &io::Result<usize>) -> bool {
    result.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::Interrupted)
}

impl Read for Deadline {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            let read = self.socket.read(into);
            if !interrupted(&read) {
                return read.map_err(late);
            }
        }
    }
}

impl Write for Deadline {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.socket.set_write_timeout(Some(self.left()?))?;
            let written = self.socket.write(bytes);
            if !interrupted(&written) {
                return written.map_err(late);
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
