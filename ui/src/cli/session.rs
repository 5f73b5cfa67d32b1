//! One request to an engine in this process, with progress on stderr and Ctrl-C as cancel.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use forerun::engine::EngineClient;
use forerun::engine::protocol::{Event, JobId, Request};
use forerun::{Failure, interrupt};
use serde_json::Value;

/// What a job told before it ended well.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One sentence.
    pub summary: String,
    /// Futures that are whole: seed, folder, record.
    pub futures: Vec<(u64, Option<std::path::PathBuf>, Value)>,
    /// Numbers of the last report.
    pub report: Option<Value>,
}

/// How often progress is printed where nobody can see a line change.
const SELDOM: Duration = Duration::from_secs(10);

/// Runs one job and waits for its end.
///
/// # Errors
/// The job failed or was cancelled.
pub fn run(request: impl FnOnce(JobId) -> Request) -> Result<Outcome, Failure> {
    interrupt::listen();
    let client = EngineClient::in_process()?;
    let job = client.next_job();
    client.send(request(job), Vec::new());
    let mut outcome = Outcome::default();
    let mut line = Line::default();
    let mut cancelled = false;
    loop {
        if interrupt::requested() && !cancelled {
            cancelled = true;
            client.send(Request::Cancel { job }, Vec::new());
        }
        let Some(packet) = client.recv_timeout(Duration::from_millis(100)) else { continue };
        match packet.message {
            Event::Progress { done, total, seconds_left, what, .. } => {
                line.show(done, total, seconds_left, &what);
            }
            Event::FutureDone { seed, folder, record, .. } => outcome.futures.push((seed, folder, record)),
            Event::Report { value, .. } => outcome.report = Some(value),
            Event::Log { level, text } if level != "info" => {
                line.clear();
                eprintln!("{level}: {text}");
            }
            Event::Done { summary, .. } => {
                line.clear();
                outcome.summary = summary;
                return Ok(outcome);
            }
            Event::Cancelled { .. } => {
                line.clear();
                return Err(Failure::new("Cancelled; nothing was left half written.", ""));
            }
            Event::Failed { message, advice, .. } => {
                line.clear();
                return Err(Failure::new(message, advice));
            }
            _ => {}
        }
    }
}

/// A line of progress that rewrites itself on a terminal.
#[derive(Default)]
struct Line {
    shown: bool,
    last: Option<Instant>,
}

impl Line {
    fn show(&mut self, done: u64, total: u64, seconds_left: Option<f32>, what: &str) {
        let left =
            seconds_left.filter(|s| *s >= 1.0).map(|s| format!(", {} left", duration(s))).unwrap_or_default();
        let text = if total > 0 { format!("{what}: {done} of {total}{left}") } else { what.to_owned() };
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
            self.shown = true;
        } else if self.last.is_none_or(|last| last.elapsed() > SELDOM) {
            eprintln!("{text}");
            self.last = Some(Instant::now());
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[2K");
        }
    }
}

/// `42 s`, `3 min 5 s`, `2 h 10 min`.
fn duration(seconds: f32) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_like_speech() {
        let shown: Vec<_> = [4.6, 185.0, 7800.0].into_iter().map(super::duration).collect();
        assert_eq!(shown, ["5 s", "3 min 5 s", "2 h 10 min"]);
    }
}
