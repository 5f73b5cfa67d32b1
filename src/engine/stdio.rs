//! The engine as a child process: packets in on stdin, packets out on stdout, log lines on stderr.

use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::core::Engine;
use super::job::Sink;
use super::protocol::{Event, Packet};
use super::wire::{self, WireError};
use crate::failure::Failure;

/// Serves one window over `input` and `output` until it says so or goes away.
///
/// # Errors
/// When the other side sends something that is no message; its end is no error.
pub fn serve(input: impl Read, output: impl Write + Send + 'static) -> Result<(), Failure> {
    let output = Mutex::new(BufWriter::new(output));
    let sink: Sink = Arc::new(move |packet: Packet<Event>| {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        // A window that has gone is noticed by the reading side, which then cancels all jobs.
        let _ = wire::write_packet(&mut *output, &packet);
    });
    let engine = Engine::start(sink)?;
    let mut input = BufReader::new(input);
    loop {
        match wire::read_packet(&mut input) {
            Ok(request) => {
                if !engine.handle(request) {
                    return Ok(());
                }
            }
            Err(WireError::Closed | WireError::Io(_)) => return Ok(()),
            Err(error @ WireError::Malformed(_)) => {
                let advice = "Use the same version of Forerun for the window and the engine.";
                return Err(Failure::new(format!("{error}."), advice));
            }
        }
    }
}

/// Serves over this process's stdin and stdout. What libraries print to stdout goes to stderr instead, so that
/// it cannot spoil a packet.
///
/// # Errors
/// As [`serve`].
pub fn serve_process() -> Result<(), Failure> {
    let output = private_stdout().map_err(|e| {
        Failure::new(format!("Could not take over stdout: {e}."), "Start the engine over pipes.")
    })?;
    serve(std::io::stdin().lock(), output)
}

#[cfg(unix)]
fn private_stdout() -> std::io::Result<std::fs::File> {
    use std::os::fd::{AsFd, AsRawFd};
    let copy = std::io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both numbers are this process's open standard streams; dup2 swaps what stdout means, no memory.
    let moved = unsafe { libc::dup2(std::io::stderr().as_raw_fd(), std::io::stdout().as_raw_fd()) };
    if moved < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(std::fs::File::from(copy))
}

#[cfg(not(unix))]
fn private_stdout() -> std::io::Result<std::io::Stdout> {
    Ok(std::io::stdout())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::engine::protocol::{PROTOCOL_VERSION, Request};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn requests(messages: Vec<Request>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            wire::write_packet(&mut bytes, &Packet { message, blobs: vec![] }).unwrap();
        }
        bytes
    }

    #[test]
    fn hello_is_answered_and_shutdown_ends() {
        let out = Shared::default();
        let input = requests(vec![Request::Hello { version: PROTOCOL_VERSION }, Request::Shutdown]);
        serve(input.as_slice(), out.clone()).unwrap();
        let bytes = out.0.lock().unwrap().clone();
        let event: Packet<Event> = wire::read_packet(&mut bytes.as_slice()).unwrap();
        let Event::Ready { version, devices, .. } = event.message else { panic!("{event:?}") };
        assert_eq!(version, PROTOCOL_VERSION);
        assert_eq!(devices.first().map(String::as_str), Some("cpu"));
    }

    #[test]
    fn another_version_is_told_and_noise_ends_with_a_reason() {
        let out = Shared::default();
        let mut input = requests(vec![Request::Hello { version: 999 }]);
        input.extend_from_slice(b"noise that is no packet");
        let failure = serve(input.as_slice(), out.clone()).unwrap_err();
        assert!(failure.text().contains("same version"));
        let bytes = out.0.lock().unwrap().clone();
        let event: Packet<Event> = wire::read_packet(&mut bytes.as_slice()).unwrap();
        assert!(matches!(event.message, Event::Log { text, .. } if text.contains("999")));
    }
}
