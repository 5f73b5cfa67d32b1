//! The log and its toasts: one line is both. A toast is never the only trace of what happened.

use std::collections::VecDeque;

/// Most lines that are kept.
const LINES: usize = 1000;
/// Seconds that a toast stays; errors stay until they are closed.
const INFO_SECONDS: f64 = 5.0;
const WARN_SECONDS: f64 = 10.0;
/// Most toasts at once; older ones stay in the log.
const TOASTS: usize = 4;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Level {
    /// Only in the log.
    Quiet,
    /// Something went well.
    Info,
    /// Something to know.
    Warn,
    /// Something went wrong.
    Error,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Number of the line.
    pub id: u64,
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub text: String,
    /// Clock time, seconds.
    pub at: f64,
}

/// All lines, and which of them are toasts now.
#[derive(Clone, Debug, Default)]
pub struct Log {
    lines: VecDeque<Line>,
    toasts: Vec<(u64, Option<f64>)>,
    next: u64,
}

impl Log {
    /// Adds a line; `now` in seconds. A line that repeats the newest toast only renews it.
    pub fn add(&mut self, level: Level, text: impl Into<String>, now: f64) {
        let (id, text) = (self.next, text.into());
        self.next += 1;
        let until = match level {
            Level::Quiet | Level::Info => Some(now + INFO_SECONDS),
            Level::Warn => Some(now + WARN_SECONDS),
            Level::Error => None,
        };
        if self.lines.back().is_some_and(|l| l.text == text) {
            if let Some(last) = self.lines.back().map(|l| l.id) {
                self.toasts.retain(|(toast, _)| *toast != last);
            }
        }
        if level != Level::Quiet {
            self.toasts.push((id, until));
        }
        if self.toasts.len() > TOASTS {
            self.toasts.remove(0);
        }
        self.lines.push_back(Line { id, level, text, at: now });
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    /// Lets old toasts go; returns seconds until the next one goes.
    pub fn expire(&mut self, now: f64) -> Option<f64> {
        self.toasts.retain(|(_, until)| until.is_none_or(|t| t > now));
        self.toasts.iter().filter_map(|(_, until)| *until).map(|t| t - now).reduce(f64::min)
    }

    /// Closes a toast; the line stays in the log.
    pub fn dismiss(&mut self, id: u64) {
        self.toasts.retain(|(toast, _)| *toast != id);
    }

    /// Lines that are shown as toasts, oldest first.
    pub fn toasts(&self) -> impl Iterator<Item = &Line> {
        self.toasts.iter().filter_map(|(id, _)| self.lines.iter().find(|l| l.id == *id))
    }

    /// All lines, oldest first.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &Line> {
        self.lines.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_and_others_go() {
        let mut log = Log::default();
        log.add(Level::Info, "saved", 0.0);
        log.add(Level::Error, "broken", 0.0);
        log.add(Level::Quiet, "detail", 0.0);
        assert_eq!(log.expire(1.0), Some(4.0));
        log.expire(100.0);
        assert_eq!(log.toasts().map(|l| l.text.as_str()).collect::<Vec<_>>(), ["broken"]);
        let id = log.toasts().map(|l| l.id).next().unwrap_or_default();
        log.dismiss(id);
        assert_eq!(log.toasts().count(), 0);
        assert_eq!(log.lines().count(), 3, "nothing is lost");
    }

    #[test]
    fn the_same_line_again_is_one_toast() {
        let mut log = Log::default();
        for _ in 0..3 {
            log.add(Level::Warn, "again", 0.0);
        }
        assert_eq!(log.toasts().count(), 1);
        for i in 0..20 {
            log.add(Level::Warn, format!("line {i}"), 0.0);
        }
        assert_eq!(log.toasts().count(), TOASTS);
    }
}
