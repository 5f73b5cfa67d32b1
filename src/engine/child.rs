//! Keeps an engine process alive: starts it, carries packets, notices its death, says why, starts the next.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, BufWriter, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::Inbox;
use super::outbox::Outbox;
use super::protocol::{Event, PROTOCOL_VERSION, Packet, Request};
use super::queue::PacketQueue;
use super::wire::{self, WireError};

/// Lines of the child's last words that are kept.
const LAST_WORDS: usize = 40;
/// How long a child may take to leave when it was asked to.
const LEAVE: Duration = Duration::from_secs(5);
/// A child that died younger than this, and without work, will hardly do better at once.
const YOUNG: Duration = Duration::from_secs(2);

/// What keeps one engine process alive.
pub(super) struct Supervisor {
    pub exe: PathBuf,
    pub arguments: Vec<OsString>,
    pub inbox: Inbox,
    pub outbox: Outbox,
    pub pid: Arc<AtomicU32>,
}

type LastWords = Arc<Mutex<VecDeque<String>>>;

impl Supervisor {
    /// Runs until the client goes.
    pub fn run(self) {
        let mut first = true;
        loop {
            let born = Instant::now();
            let queue = self.outbox.queue();
            let outcome = self.live(queue, first);
            first = false;
            self.pid.store(0, Ordering::Relaxed);
            let Some(died_with) = self.outbox.bury() else { return };
            // A process that dies young and without work would only do so again; one that died of a job may live.
            let restarting = outcome.is_ok() && (!died_with.is_empty() || born.elapsed() > YOUNG);
            let reason = match outcome {
                Ok(reason) => reason,
                Err(error) => format!("The engine {} could not be started: {error}.", self.exe.display()),
            };
            for job in died_with {
                self.inbox.tell(Event::Failed {
                    job,
                    message: reason.clone(),
                    advice:
                        "Nothing is half written; start it again, with fewer or shorter futures if memory \
                             ran out."
                            .into(),
                });
            }
            self.inbox.tell(Event::EngineGone { reason, restarting });
            if !restarting {
                // Starting again by itself would only fail again: the next request tries.
                self.wait_for_request();
            }
            if self.outbox.is_closed() {
                return;
            }
        }
    }

    fn wait_for_request(&self) {
        self.outbox.queue().wait_until_wanted();
    }

    /// Starts one child and carries packets until it ends. `Ok` with the reason of its end.
    fn live(&self, queue: PacketQueue<Request>, first: bool) -> std::io::Result<String> {
        let mut child = Command::new(&self.exe)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        self.pid.store(child.id(), Ordering::Relaxed);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(std::io::Error::other("its pipes are missing"));
        };
        let last_words = LastWords::default();
        let listener = self.listen(stderr, last_words.clone())?;
        // A restarted engine was never greeted by the client.
        let carrier = carry(queue.clone(), stdin, !first)?;
        let broken = self.receive(stdout);
        // The reading side decides when a life is over; the writing side follows.
        queue.close();
        let status = leave(&mut child);
        let _ = carrier.join();
        let _ = listener.join();
        let words = last_words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(reason(status, broken, &words))
    }

    /// Passes events on until the child's output ends; `Some` when it spoke nonsense.
    fn receive(&self, stdout: impl Read) -> Option<String> {
        let mut input = BufReader::with_capacity(1 << 16, stdout);
        loop {
            match wire::read_packet::<Event>(&mut input) {
                Ok(packet) => {
                    self.outbox.note_end(&packet.message);
                    self.inbox.push(packet);
                }
                Err(error @ WireError::Malformed(_)) => return Some(error.to_string()),
                Err(WireError::Closed | WireError::Io(_)) => return None,
            }
        }
    }

    /// Passes the child's stderr on as log lines and remembers the last ones.
    fn listen(&self, stderr: ChildStderr, last_words: LastWords) -> std::io::Result<JoinHandle<()>> {
        let inbox = self.inbox.clone();
        std::thread::Builder::new().name("engine-stderr".into()).spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            // Bytes, not text: a library may print anything. A line is cut at 4 KiB.
            while read_line(&mut lines, &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if text.is_empty() {
                    continue;
                }
                let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
                if words.len() == LAST_WORDS {
                    words.pop_front();
                }
                words.push_back(text.clone());
                drop(words);
                inbox.tell(Event::Log { level: "info".into(), text });
            }
        })
    }
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    matches!(input.by_ref().take(4096).read_until(b'\n', line), Ok(n) if n > 0)
}

/// Writes requests to the child until the line is closed or the pipe breaks.
fn carry(queue: PacketQueue<Request>, stdin: ChildStdin, greet: bool) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("engine-stdin".into()).spawn(move || {
        let mut out = BufWriter::new(stdin);
        if greet {
            let hello = Packet { message: Request::Hello { version: PROTOCOL_VERSION }, blobs: Vec::new() };
            if wire::write_packet(&mut out, &hello).is_err() {
                return;
            }
        }
        while let Some(packet) = queue.pop() {
            if wire::write_packet(&mut out, &packet).is_err() {
                // The reading side sees the end too and reports it.
                return;
            }
        }
    })
}

/// Waits for a child whose output has ended; ends it when it lingers.
fn leave(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + LEAVE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                let _ = child.kill();
                return child.wait().ok();
            }
            Err(_) => return None,
        }
    }
}

fn reason(status: Option<ExitStatus>, broken: Option<String>, words: &VecDeque<String>) -> String {
    if let Some(broken) = broken {
        return format!("The engine was stopped, because it {}.", broken.replace("the other side ", ""));
    }
    let how = match status {
        None => "has gone".to_owned(),
        Some(status) => describe_exit(status),
    };
    match words.back() {
        Some(last) => format!("The engine {how}; its last words were \"{last}\"."),
        None => format!("The engine {how}."),
    }
}

#[cfg(unix)]
fn describe_exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(libc::SIGKILL) => {
            "was killed by the system or a person (out of memory is the usual reason)".into()
        }
        Some(libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGABRT | libc::SIGFPE) => {
            format!("crashed ({status})")
        }
        Some(_) => format!("was ended from outside ({status})"),
        None => format!("ended by itself ({status})"),
    }
}

#[cfg(not(unix))]
fn describe_exit(status: ExitStatus) -> String {
    format!("ended by itself ({status})")
}
