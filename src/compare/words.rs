//! What differs between two futures, from their records: structured, so that the window can say it in any language,
//! and in English.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::record::FutureRecord;

/// How the numbers of one channel differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A constant was added (and brought back into the channel's range).
    Offset {
        /// What was added, in the channel's unit.
        by: f32,
    },
    /// The way from the start value was stretched: `start + factor * (value - start)`.
    Gain {
        /// The factor.
        factor: f32,
        /// The value that stays where it is: the state at the start, else the first value.
        about: f32,
    },
    /// Anything else.
    Other {
        /// Mean absolute difference over the steps that differ, in the channel's unit.
        mean: f32,
        /// Largest absolute difference, in the channel's unit.
        largest: f32,
    },
}

/// One thing in which the second future differs from the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Difference {
    /// The noise.
    Seed {
        /// Of the first.
        from: u64,
        /// Of the second.
        to: u64,
    },
    /// Denoising steps a frame.
    Refine {
        /// Of the first.
        from: usize,
        /// Of the second.
        to: usize,
    },
    /// Another model by name.
    Model {
        /// Name in the first.
        from: String,
        /// Name in the second.
        to: String,
    },
    /// The same name, but other weights.
    Weights {
        /// First letters of the hash in the first.
        from: String,
        /// First letters of the hash in the second.
        to: String,
    },
    /// The words.
    Prompt {
        /// Of the first; may be empty.
        from: String,
        /// Of the second; may be empty.
        to: String,
    },
    /// What drives it is of another kind (`free`, `hold`, `track`): the numbers cannot be laid side by side.
    Drive {
        /// Of the first.
        from: String,
        /// Of the second.
        to: String,
    },
    /// One channel's numbers.
    Channel {
        /// Name.
        channel: String,
        /// Unit; may be empty.
        unit: String,
        /// First step that differs, counted from 1: step 1 leads to frame 1.
        from_step: usize,
        /// Last step that differs; `None` = to the end.
        until_step: Option<usize>,
        /// How.
        change: Change,
    },
    /// The pictures that it starts from.
    Start {
        /// Where the first starts, in words; may be empty.
        from: String,
        /// Where the second starts.
        to: String,
    },
    /// Number of imagined frames.
    Steps {
        /// Of the first.
        from: usize,
        /// Of the second.
        to: usize,
    },
    /// Device or kernels: may differ in the last bit of a pixel.
    Machine {
        /// Of the first.
        from: String,
        /// Of the second.
        to: String,
    },
}

/// In what `b` differs from `a`, the most telling things first; empty when they were made in the same way.
pub fn differences(a: &FutureRecord, b: &FutureRecord) -> Vec<Difference> {
    let mut found = Vec::new();
    if a.prompt != b.prompt {
        found.push(Difference::Prompt { from: a.prompt.clone(), to: b.prompt.clone() });
    }
    actions(a, b, &mut found);
    if start_pictures(a) != start_pictures(b) {
        found.push(Difference::Start { from: start_words(a), to: start_words(b) });
    }
    if a.model.sha256 != b.model.sha256 {
        let short = |hash: &str| hash.chars().take(8).collect();
        found.push(if model_name(a) == model_name(b) {
            Difference::Weights { from: short(&a.model.sha256), to: short(&b.model.sha256) }
        } else {
            Difference::Model { from: model_name(a), to: model_name(b) }
        });
    }
    if a.seed != b.seed {
        found.push(Difference::Seed { from: a.seed, to: b.seed });
    }
    if a.refine != b.refine {
        found.push(Difference::Refine { from: a.refine, to: b.refine });
    }
    if a.steps != b.steps {
        found.push(Difference::Steps { from: a.steps, to: b.steps });
    }
    let machine = |r: &FutureRecord| format!("{} ({})", r.device, r.kernels);
    if machine(a) != machine(b) {
        found.push(Difference::Machine { from: machine(a), to: machine(b) });
    }
    found
}

/// The last part of a model's folder, or its name.
fn model_name(record: &FutureRecord) -> String {
    super::gallery::model_name(&record.model.name)
}

/// Hashes of the pictures that it starts from. Its history counts, too: the model looks back at it.
fn start_pictures(record: &FutureRecord) -> Vec<&str> {
    record.start.frames.iter().map(|f| f.file.sha256.as_str()).collect()
}

fn start_words(record: &FutureRecord) -> String {
    record.start.frames.last().map(|f| f.origin.clone()).unwrap_or_default()
}

fn actions(a: &FutureRecord, b: &FutureRecord, found: &mut Vec<Difference>) {
    if a.actions.channels.is_empty() && b.actions.channels.is_empty() {
        return;
    }
    let same_names = |names: &[String]| {
        let (mut x, mut y) = (a.actions.channels.clone(), names.to_vec());
        x.sort();
        y.sort();
        x == y
    };
    if !same_names(&b.actions.channels) {
        let kind = |r: &FutureRecord| r.actions.kind.clone();
        found.push(Difference::Drive { from: kind(a), to: kind(b) });
        return;
    }
    for (i, name) in a.actions.channels.iter().enumerate() {
        let Some(j) = b.actions.channels.iter().position(|n| n == name) else { continue };
        let of = |r: &FutureRecord, at: usize| -> Vec<f32> {
            r.actions.rows.iter().map(|row| row.get(at).copied().unwrap_or(f32::NAN)).collect()
        };
        if let Some(difference) = channel(a, name, &of(a, i), &of(b, j)) {
            found.push(difference);
        }
    }
}

/// Value of a channel when the future starts: the robot's state, else the first number.
fn about(record: &FutureRecord, name: &str, values: &[f32]) -> Option<f32> {
    let at = record.contract.state.iter().position(|c| c.name == name);
    let state = record.start.frames.last().and_then(|f| f.state.as_ref());
    at.zip(state).and_then(|(at, state)| state.get(at).copied()).or_else(|| values.first().copied())
}

fn channel(record: &FutureRecord, name: &str, a: &[f32], b: &[f32]) -> Option<Difference> {
    let known = record.contract.actions.iter().find(|c| c.name == name);
    let (min, max) = known.map_or((f32::MIN, f32::MAX), |c| (c.min, c.max));
    let unit = known.map(|c| c.unit.clone()).unwrap_or_default();
    let close =
        |x: f32, y: f32| (x - y).abs() <= 1e-3 * (1.0 + x.abs().max(y.abs())) || x.to_bits() == y.to_bits();
    let shared = a.len().min(b.len());
    let pairs: Vec<(f32, f32)> = a.iter().copied().zip(b.iter().copied()).collect();
    let first = pairs.iter().position(|(x, y)| !close(*x, *y))?;
    let last = pairs.iter().rposition(|(x, y)| !close(*x, *y))?;
    let span = pairs.get(first..=last)?;
    // What was brought back into the range tells nothing about what was done.
    let at_rim = |y: f32| close(y, min) || close(y, max);
    let free: Vec<(f32, f32)> = span.iter().copied().filter(|(_, y)| !at_rim(*y)).collect();
    let whole = |f: &dyn Fn(f32) -> f32| span.iter().all(|(x, y)| close(f(*x).clamp(min, max), *y));
    let (sum, largest) = span.iter().fold((0.0f32, 0.0f32), |(sum, most), (x, y)| {
        let apart = (y - x).abs();
        (sum + apart, most.max(apart))
    });
    let mut change = Change::Other { mean: sum / span.len() as f32, largest };
    let by = free.first().map(|(x, y)| y - x);
    if let Some(by) = by.filter(|by| by.is_finite() && whole(&|x| x + by)) {
        change = Change::Offset { by };
    } else if let Some(about) = about(record, name, a) {
        // The step farthest from the fixed value shows the factor best.
        let far = free.iter().max_by(|p, q| (p.0 - about).abs().total_cmp(&(q.0 - about).abs()));
        let factor = far.filter(|(x, _)| (x - about).abs() > 1e-3).map(|(x, y)| (y - about) / (x - about));
        if let Some(factor) = factor.filter(|f| f.is_finite() && whole(&|x| about + f * (x - about))) {
            change = Change::Gain { factor, about };
        }
    }
    Some(Difference::Channel {
        channel: name.to_owned(),
        unit,
        from_step: first + 1,
        until_step: (last + 1 < shared).then_some(last + 1),
        change,
    })
}

/// A number for reading: at most two decimals, no needless ones.
pub(super) fn short(value: f32) -> String {
    let text = format!("{value:.2}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A number with its sign.
pub(super) fn signed(value: f32) -> String {
    let text = short(value);
    if text.starts_with('-') || text == "0" { text } else { format!("+{text}") }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none =
            |words: &str| if words.trim().is_empty() { "none".to_owned() } else { format!("\"{words}\"") };
        match self {
            Self::Seed { from, to } => write!(f, "seed {to} instead of {from}"),
            Self::Refine { from, to } => write!(f, "refine {to} instead of {from}"),
            Self::Model { from, to } => write!(f, "model {to} instead of {from}"),
            Self::Weights { from, to } => write!(f, "other weights: {to} instead of {from}"),
            Self::Prompt { from, to } => write!(f, "prompt {} instead of {}", or_none(to), or_none(from)),
            Self::Drive { from, to } => write!(f, "driven by {to} instead of {from}"),
            Self::Channel { channel, unit, from_step, until_step, change } => {
                let gap = if unit.is_empty() { "" } else { " " };
                match change {
                    Change::Offset { by } => write!(f, "{channel} {}{gap}{unit}", signed(*by))?,
                    Change::Gain { factor, .. } => write!(f, "{channel} x {}", short(*factor))?,
                    Change::Other { largest, .. } => {
                        write!(f, "{channel} differs by up to {}{gap}{unit}", short(*largest))?;
                    }
                }
                match until_step {
                    Some(until) if until == from_step => write!(f, " at step {from_step}"),
                    Some(until) => write!(f, " from step {from_step} to {until}"),
                    None => write!(f, " from step {from_step}"),
                }
            }
            Self::Start { to, .. } if to.is_empty() => write!(f, "another start"),
            Self::Start { to, .. } => write!(f, "starts from {to}"),
            Self::Steps { from, to } => write!(f, "{to} steps instead of {from}"),
            Self::Machine { from, to } => write!(f, "on {to} instead of {from}"),
        }
    }
}

/// All differences in one line of English; `same record` when there is none.
pub fn in_words(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "same record".to_owned();
    }
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::record::tests::example;
    use crate::engine::record::{FileHash, StartFrameRecord};
    use forerun_models::{Channel, ChannelMode};

    fn driven(values: &[f32]) -> FutureRecord {
        let mut record = example();
        let joint = Channel {
            name: "elbow_flex.pos".into(),
            unit: "deg".into(),
            min: -90.0,
            max: 90.0,
            mode: ChannelMode::Absolute,
            mean: 0.0,
            std: 1.0,
        };
        record.contract.actions = vec![joint.clone()];
        record.contract.state = vec![joint];
        record.actions.channels = vec!["elbow_flex.pos".into()];
        record.actions.rows = values.iter().map(|v| vec![*v]).collect();
        record.start.frames = vec![StartFrameRecord {
            file: FileHash { file: "start/0000.png".into(), sha256: "s".into() },
            source_sha256: "s".into(),
            origin: "a clip, frame 3".into(),
            state: Some(vec![10.0]),
            action: None,
        }];
        record
    }

    fn told(a: &[f32], b: &[f32]) -> String {
        in_words(&differences(&driven(a), &driven(b)))
    }

    #[test]
    fn an_added_constant_is_told_with_sign_unit_and_step() {
        assert_eq!(told(&[0.0; 6], &[0.0, 0.0, 0.0, 10.0, 10.0, 10.0]), "elbow_flex.pos +10 deg from step 4");
        assert_eq!(
            told(&[1.0, 2.0, 3.0, 4.0], &[1.0, -0.5, 0.5, 4.0]),
            "elbow_flex.pos -2.5 deg from step 2 to 3"
        );
        assert_eq!(told(&[1.0, 2.0, 3.0], &[1.0, 4.0, 3.0]), "elbow_flex.pos +2 deg at step 2");
        // The rim of the range swallowed a part of the last one.
        assert_eq!(told(&[0.0, 40.0, 85.0], &[10.0, 50.0, 90.0]), "elbow_flex.pos +10 deg from step 1");
    }

    #[test]
    fn a_stretched_way_is_told_as_a_factor_about_the_start() {
        // The state at the start is 10: 10 + 0.5 * (x - 10).
        assert_eq!(told(&[10.0, 20.0, 40.0], &[10.0, 15.0, 25.0]), "elbow_flex.pos x 0.5 from step 2");
        // ... and clamped at 90: 10 + 3 * (x - 10).
        assert_eq!(told(&[20.0, 30.0, 80.0], &[40.0, 70.0, 90.0]), "elbow_flex.pos x 3 from step 1");
        assert_eq!(
            told(&[1.0, 2.0, 3.0], &[1.0, 9.0, 2.0]),
            "elbow_flex.pos differs by up to 7 deg from step 2"
        );
    }

    #[test]
    fn everything_else_is_told_by_its_name() {
        let a = driven(&[0.0]);
        let mut b = a.clone();
        assert_eq!(in_words(&differences(&a, &b)), "same record");
        b.seed = 3;
        b.refine = 8;
        b.prompt = String::new();
        b.model.name = "/some/where/other".into();
        b.model.sha256 = "cdcdcdcdcdcd".into();
        b.start.frames[0].file.sha256 = "t".into();
        b.steps = 9;
        b.device = "cuda:0".into();
        let words = in_words(&differences(&a, &b));
        for part in [
            "seed 3 instead of 18446744073709551615",
            "refine 8 instead of 4",
            "prompt none instead of \"把紅色方塊推到左邊\"",
            "model other instead of m",
            "starts from a clip, frame 3",
            "9 steps instead of 1",
            "on cuda:0 (portable) instead of cpu (portable)",
        ] {
            assert!(words.contains(part), "{part:?} is not in {words:?}");
        }
        b.model.name = a.model.name.clone();
        assert!(in_words(&differences(&a, &b)).contains("other weights: cdcdcdcd instead of ab"));
    }

    #[test]
    fn a_free_future_and_a_driven_one_differ_in_what_drives_them() {
        let a = driven(&[0.0]);
        let mut b = a.clone();
        b.actions = crate::engine::record::ActionsRecord { kind: "free".into(), ..Default::default() };
        assert_eq!(in_words(&differences(&a, &b)), "driven by free instead of track");
        // The order of the columns makes no difference.
        let mut c = driven(&[0.0]);
        c.actions.channels = vec!["x".into(), "elbow_flex.pos".into()];
        c.actions.rows = vec![vec![5.0, 1.0]];
        let mut d = c.clone();
        d.actions.channels.reverse();
        d.actions.rows = vec![vec![1.0, 5.0]];
        assert!(differences(&c, &d).is_empty());
    }

    #[test]
    fn a_broken_record_does_not_break_the_words() {
        let mut a = driven(&[0.0, 1.0]);
        let mut b = driven(&[f32::NAN, 2.0]);
        a.actions.rows[1].clear();
        assert!(!in_words(&differences(&a, &b)).is_empty());
        b.actions.rows.clear();
        let _ = in_words(&differences(&a, &b));
    }
}
