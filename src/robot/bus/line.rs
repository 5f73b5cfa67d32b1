//! A line of bytes to a bus: a serial port, a pty, or an emulated bus in memory.

use std::io;
use std::time::Duration;

/// A half-duplex line.
pub trait Line: Send {
    /// Sends all bytes.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Waits until something comes, at most `wait`, and takes what is there. 0 bytes: nothing came.
    fn receive(&mut self, into: &mut [u8], wait: Duration) -> io::Result<usize>;
    /// Throws away what came unasked.
    fn discard(&mut self) -> io::Result<()>;
}

/// Opens lines; kept by a driver to connect again after a replug.
pub type Opener =
    Box<dyn FnMut() -> Result<(String, Box<dyn Line>), super::super::driver::DriverError> + Send>;
