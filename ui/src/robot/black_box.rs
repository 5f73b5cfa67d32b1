//! A black box, read for looking at.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// One tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// Seconds on the agent's clock.
    pub t: f64,
    /// State of the safety layer.
    pub state: String,
    /// Positions.
    pub present: Vec<f64>,
    /// Goals; empty while nothing was sent.
    pub sent: Vec<f64>,
    /// Loads, fraction of the stall torque.
    pub load: Vec<f64>,
}

/// The last minute of a robot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Ticks in order.
    pub moments: Vec<Moment>,
    /// (seconds, what happened).
    pub notes: Vec<(f64, String)>,
    /// Where it is on disk.
    pub path: String,
}

impl Replay {
    /// Notes up to a moment, the newest last.
    pub fn notes_until(&self, t: f64) -> impl Iterator<Item = &(f64, String)> {
        self.notes.iter().filter(move |(at, _)| *at <= t + 1e-6)
    }

    /// Number of the moment of the last hold or fault, where there is one.
    pub fn trip(&self) -> Option<usize> {
        let mut before = "";
        let mut found = None;
        for (i, m) in self.moments.iter().enumerate() {
            if matches!(m.state.as_str(), "hold" | "fault") && before != m.state {
                found = Some(i);
            }
            before = &m.state;
        }
        found
    }

    /// Reads the lines of a black box; lines that are none are left out.
    pub fn parse(text: &str) -> Self {
        let mut replay = Self::default();
        let row = |v: &Value| -> Vec<f64> {
            v.as_array().into_iter().flatten().map(|n| n.as_f64().unwrap_or(f64::NAN)).collect()
        };
        for line in text.lines() {
            let Ok(v) = serde_json::from_str::<Value>(line) else { continue };
            let t = v["t"].as_f64().unwrap_or(0.0);
            if let Some(note) = v["note"].as_str() {
                replay.notes.push((t, note.to_owned()));
            } else if let Some(state) = v["state"].as_str() {
                replay.moments.push(Moment {
                    t,
                    state: state.to_owned(),
                    present: row(&v["present"]),
                    sent: row(&v["sent"]),
                    load: row(&v["load"]),
                });
            } else if let Some(outcome) = v["outcome"].as_str().filter(|o| *o != "taken") {
                replay.notes.push((t, format!("chunk {}: {outcome}", v["chunk"])));
            }
        }
        replay
    }
}

/// Reads a black box that is just being written.
pub(super) fn read_soon(path: &Path) -> Result<Replay, String> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(Replay { path: path.display().to_string(), ..Replay::parse(&text) }),
            Err(e) if Instant::now() > end => return Err(format!("{}: {e}", path.display())),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_black_box_is_read_line_by_line() {
        let text = r#"{"t":1.0,"state":"running","present":[1.5],"load":[0.1],"wish":[null],"sent":[2.0]}
{"t":1.005,"note":"Hold: stopped by Esc"}
broken
{"t":1.01,"chunk":4,"outcome":"the policy sent no actions"}
{"t":1.02,"state":"hold","present":[],"load":[],"wish":[],"sent":[2.0]}"#;
        let replay = Replay::parse(text);
        assert_eq!(replay.moments.len(), 2);
        assert_eq!((replay.moments[0].present[0], replay.trip()), (1.5, Some(1)));
        assert_eq!(replay.notes_until(1.006).count(), 1);
        assert!(replay.notes[1].1.contains("chunk 4: the policy sent no actions"));
    }
}
