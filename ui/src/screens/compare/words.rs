//! What stands under a pane: its name, what it was made with, and in what it differs from the pane on its left.

use forerun::compare::live::Drive;
use forerun::compare::words::{Change, Difference, differences};

use crate::app::Studio;
use crate::compare::{CompareDoc, PaneDoc, Source};
use crate::futures::{Future, Run};
use crate::i18n::{Strings, fill};

/// What a future was made with.
pub struct Facts {
    /// First letters of the model's hash.
    pub hash: String,
    /// Denoising steps a frame.
    pub refine: usize,
}

/// What a pane is called.
pub fn name(app: &Studio, s: &Strings, pane: &PaneDoc) -> String {
    match &pane.source {
        Source::Future { seed, .. } => {
            let seed = app.runs.find(&pane.source).map_or(*seed, |(_, f)| f.seed);
            fill(&s.world.caption_seed, &[("seed", &seed)])
        }
        Source::Truth { dataset, episode, .. } => {
            let set = dataset.file_name().unwrap_or(dataset.as_os_str()).to_string_lossy();
            fill(&s.compare.truth_of, &[("episode", episode), ("name", &set)])
        }
        Source::World { .. } => s.compare.world.clone(),
    }
}

/// What the future of a pane was made with.
pub fn facts(app: &Studio, pane: &PaneDoc) -> Option<Facts> {
    let (run, _) = app.runs.find(&pane.source).filter(|_| matches!(pane.source, Source::Future { .. }))?;
    (!run.model_hash.is_empty()).then(|| Facts { hash: run.model_hash.clone(), refine: run.spec.refine })
}

/// The second line under a pane: what drives it, or what it changes against its left neighbour.
pub fn under(app: &Studio, s: &Strings, doc: &CompareDoc, place: usize) -> String {
    let Some(pane) = doc.panes.get(place) else { return String::new() };
    if matches!(pane.source, Source::Truth { .. }) {
        return s.compare.truth.clone();
    }
    if let Source::World { seed, .. } = &pane.source {
        return world(s, app.runs.find(&pane.source).and_then(|(run, _)| run.drive), *seed);
    }
    let Some(here) = app.runs.find(&pane.source) else { return String::new() };
    let left = place.checked_sub(1).and_then(|i| doc.panes.get(i));
    let left = left.filter(|l| matches!(l.source, Source::Future { .. }));
    let branch = (pane.offset > 0).then(|| fill(&s.compare.branch_at, &[("frame", &pane.offset)]));
    let words = match left.and_then(|l| app.runs.find(&l.source)) {
        Some(before) => changes(s, before, here, pane.offset > 0),
        None => driven_by(s, here.0),
    };
    branch.into_iter().chain((!words.is_empty()).then_some(words)).collect::<Vec<_>>().join(" · ")
}

/// What moves the arm of the virtual world.
fn world(s: &Strings, drive: Option<Drive>, seed: u64) -> String {
    let w = &s.compare;
    match drive {
        Some(Drive::Numbers) => fill(&w.world_numbers, &[("seed", &seed)]),
        Some(Drive::Imagined) => fill(&w.world_imagined, &[("seed", &seed)]),
        Some(Drive::Held) => w.world_held.clone(),
        None => fill(&w.world_beside, &[("seed", &seed)]),
    }
}

/// In what the second future differs from the first, in words. That a branch starts elsewhere and is shorter is said
/// already.
pub fn changes(s: &Strings, before: (&Run, &Future), here: (&Run, &Future), branch: bool) -> String {
    if let (Some(a), Some(b)) = (&before.1.record, &here.1.record) {
        let mut found = differences(a, b);
        found.retain(|d| !branch || !matches!(d, Difference::Start { .. } | Difference::Steps { .. }));
        if found.is_empty() {
            return s.compare.equal.clone();
        }
        return found.iter().map(|d| said(s, d)).collect::<Vec<_>>().join(" · ");
    }
    // A future that is still being imagined has no record: what was asked for tells the most.
    let (a, b) = (&before.0.spec, &here.0.spec);
    let mut words = Vec::new();
    if a.prompt != b.prompt {
        words.push(driven_by(s, here.0));
    }
    if before.1.seed != here.1.seed {
        words.push(fill(&s.compare.diff_seed, &[("to", &here.1.seed), ("from", &before.1.seed)]));
    }
    if a.refine != b.refine {
        words.push(fill(&s.compare.diff_refine, &[("to", &b.refine), ("from", &a.refine)]));
    }
    words.join(" · ")
}

/// One difference in the language of the window.
fn said(s: &Strings, difference: &Difference) -> String {
    let w = &s.compare;
    match difference {
        Difference::Seed { from, to } => fill(&w.diff_seed, &[("to", to), ("from", from)]),
        Difference::Refine { from, to } => fill(&w.diff_refine, &[("to", to), ("from", from)]),
        Difference::Model { from, to } => fill(&w.diff_model, &[("to", to), ("from", from)]),
        Difference::Weights { from, to } => fill(&w.diff_weights, &[("to", to), ("from", from)]),
        Difference::Prompt { to, .. } if to.trim().is_empty() => w.diff_no_prompt.clone(),
        Difference::Prompt { to, .. } => format!("“{to}”"),
        Difference::Drive { .. } => w.diff_drive.clone(),
        Difference::Channel { channel, unit, from_step, until_step, change } => {
            let what = match change {
                Change::Offset { by } => format!("{channel} {}{}", signed(*by), with_gap(unit)),
                Change::Gain { factor, .. } => format!("{channel} × {}", short(*factor)),
                Change::Other { largest, .. } => {
                    format!("{channel} ±{}{}", short(*largest), with_gap(unit))
                }
            };
            match until_step {
                Some(until) => fill(&w.diff_steps, &[("what", &what), ("from", from_step), ("to", until)]),
                None => fill(&w.diff_from_step, &[("what", &what), ("from", from_step)]),
            }
        }
        Difference::Start { .. } => w.diff_start.clone(),
        Difference::Steps { from, to } => fill(&w.diff_length, &[("to", to), ("from", from)]),
        Difference::Machine { to, .. } => fill(&w.diff_machine, &[("to", to)]),
    }
}

fn with_gap(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" {unit}") }
}

/// A number for reading: at most two decimals, no needless ones.
pub fn short(value: f32) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn signed(value: f32) -> String {
    let text = short(value);
    if text.starts_with('-') || text == "0" { text } else { format!("+{text}") }
}

/// What drives a future, in a few words.
pub fn driven_by(s: &Strings, run: &Run) -> String {
    use forerun::engine::protocol::Actions;
    if !run.spec.prompt.is_empty() {
        return format!("“{}”", run.spec.prompt);
    }
    match run.spec.actions {
        Actions::Free => s.world.mode_free.clone(),
        Actions::Episode { .. } => s.numbers.recorded.clone(),
        _ => s.numbers.numbers.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::{Language, strings};

    #[test]
    fn a_change_of_a_channel_is_said_with_sign_unit_and_step() {
        let change = Difference::Channel {
            channel: "elbow".into(),
            unit: "deg".into(),
            from_step: 4,
            until_step: None,
            change: Change::Offset { by: 10.0 },
        };
        assert_eq!(said(strings(Language::English), &change), "elbow +10 deg from step 4");
        assert_eq!(said(strings(Language::Chinese), &change), "elbow +10 deg（第 4 步起）");
        let other = Difference::Prompt { from: "a".into(), to: " ".into() };
        assert_eq!(said(strings(Language::English), &other), "no words");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            (short(10.0), short(-0.001), short(2.5), signed(0.25)),
            ("10".into(), "0".into(), "2.5".into(), "+0.25".into())
        );
    }
}
