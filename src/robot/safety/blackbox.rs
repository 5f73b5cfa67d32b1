//! The black box: the last minute of what was seen, proposed, sent and changed, kept in memory and written as JSON
//! lines when something happens.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::super::clock::Time;
use super::mcap::{Mcap, Topic};

/// How long it remembers.
pub const REMEMBERED: Duration = Duration::from_secs(60);

/// One tick.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tick {
    /// Seconds on the agent's clock.
    pub t: f64,
    /// State of the safety layer.
    pub state: &'static str,
    /// Positions that were read; empty when the bus failed.
    pub present: Vec<f32>,
    /// Loads that were read, fraction of the stall torque.
    pub load: Vec<f32>,
    /// What was wished for before the limiter; empty while nothing was. NaN (a wish to stop) is written as null.
    pub wish: Vec<f32>,
    /// Goals that were sent; empty while nothing was.
    pub sent: Vec<f32>,
    /// Lowest supply voltage of all joints.
    pub volts: f32,
    /// Highest temperature of all joints.
    pub celsius: f32,
    /// Requests that were repeated.
    pub retries: u32,
    /// How long the bus took, milliseconds.
    pub bus_ms: f32,
}

/// Something that happened between or within ticks.
#[derive(Clone, Debug, Serialize)]
pub struct Note {
    /// Seconds on the agent's clock.
    pub t: f64,
    /// What happened, in words.
    pub note: String,
}

/// One chunk that was proposed.
#[derive(Clone, Debug, Serialize)]
pub struct Proposed {
    /// Seconds on the agent's clock.
    pub t: f64,
    /// Its number.
    pub chunk: u64,
    /// Number of its actions.
    pub actions: usize,
    /// Milliseconds since its observation.
    pub delay_ms: f32,
    /// Its first action.
    pub first: Vec<f64>,
    /// `taken`, or why not.
    pub outcome: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Line {
    Tick(Tick),
    Note(Note),
    Proposed(Proposed),
}

impl Line {
    fn time(&self) -> f64 {
        match self {
            Self::Tick(l) => l.t,
            Self::Note(l) => l.t,
            Self::Proposed(l) => l.t,
        }
    }
}

/// A ring of the last [`REMEMBERED`] seconds.
#[derive(Clone, Debug, Default)]
pub struct BlackBox(VecDeque<Line>);

impl BlackBox {
    /// At 250 ticks a second with as many notes and chunks, this is still a minute; it bounds the memory.
    const MOST: usize = 60 * 250 * 2;

    fn push(&mut self, line: Line) {
        let old = line.time() - REMEMBERED.as_secs_f64();
        while self.0.len() >= Self::MOST || self.0.front().is_some_and(|l| l.time() < old) {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    /// Remembers a tick.
    pub fn tick(&mut self, tick: Tick) {
        self.push(Line::Tick(tick));
    }

    /// Remembers something in words.
    pub fn note(&mut self, now: Time, note: impl Into<String>) {
        self.push(Line::Note(Note { t: now.as_secs_f64(), note: note.into() }));
    }

    /// Remembers a proposed chunk.
    pub fn proposed(&mut self, proposed: Proposed) {
        self.push(Line::Proposed(proposed));
    }

    /// Number of remembered lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes all lines to a file: whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        whole(path, |out| {
            for line in &self.0 {
                serde_json::to_writer(&mut *out, line)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    /// Writes the same as MCAP: whole or not at all. `zero` is the time of second 0 of the agent's clock, since 1970.
    pub fn write_mcap(&self, path: &Path, zero: Duration) -> io::Result<()> {
        whole(path, |out| {
            let mut mcap = Mcap::new(out)?;
            for line in &self.0 {
                let topic = match line {
                    Line::Tick(_) => Topic::Ticks,
                    Line::Note(_) => Topic::Notes,
                    Line::Proposed(_) => Topic::Chunks,
                };
                let at = zero + Duration::try_from_secs_f64(line.time()).unwrap_or_default();
                let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
                mcap.message(topic, nanos, &serde_json::to_vec(line)?)?;
            }
            mcap.finish().map(|_| ())
        })
    }
}

/// A file that is written whole or not at all, in a folder that is made where it is missing.
fn whole(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut out = BufWriter::new(file.as_file_mut());
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    super::super::sync_folder(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn it_keeps_a_minute_and_writes_lines() {
        let mut b = BlackBox::default();
        for k in 0..20_000u64 {
            let wish = vec![f32::NAN, 1.0];
            b.tick(Tick { t: k as f64 * 0.01, state: "ready", wish, ..Tick::default() });
        }
        b.note(Duration::from_secs(200), "something");
        assert!((5990..=6010).contains(&b.len()), "{}", b.len());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box/fault.jsonl");
        b.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 64 << 20);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), b.len());
        assert_eq!(lines.last().unwrap()["note"], "something");
        assert!(lines[0]["wish"][0].is_null());
        let mcap = dir.path().join("box/fault.mcap");
        b.write_mcap(&mcap, Duration::from_secs(1_700_000_000)).unwrap();
        let bytes = std::fs::read(&mcap).unwrap();
        assert!(bytes.len() > text.len() && bytes.len() < 64 << 20);
    }
}
