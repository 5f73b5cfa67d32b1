//! What may be wrong with a recording although every file is in order, and how to look at it so that it is right.
//!
//! [`examine`] reads a sample of a dataset and returns [`Finding`]s: each says how bad it is, what was measured, and
//! (where there is one) the correction as a [`View`], which is applied while reading. No file is ever rewritten.

mod channels;
mod coverage;
mod finding;
mod frames;
mod lag;
mod said;
mod sample;
mod units;
mod view;

pub use finding::{Examination, Finding, Severity, Topic};
pub use said::{Said, Sentence};
pub use view::{UnitFix, VIEW_FORMAT, View};

use super::Dataset;

/// How actions are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Targets.
    Absolute,
    /// Changes.
    Relative,
}

/// Looks at a dataset as `view` shows it: all its numbers, and the pictures of up to sixteen episodes. What cannot be
/// read is a finding too.
pub fn examine(set: &Dataset, view: &View) -> Examination {
    // Without a reason to stop there is always an answer.
    examine_while(set, view, &mut |_, _| true).unwrap_or_default()
}

/// The same; `go_on` is told how many episodes were read, of how many, and says whether to go on. `None` when not.
pub fn examine_while(
    set: &Dataset,
    view: &View,
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Option<Examination> {
    let (samples, unread) = sample::read(set, view, go_on)?;
    let fps = set.fps();
    let mut findings = Vec::new();
    if let Some((_, reason)) = unread.first() {
        let said = Said::new(Sentence::Unread, &[("n", &unread.len()), ("reason", reason)]);
        let episodes: Vec<usize> = unread.iter().map(|(index, _)| *index).collect();
        let fix = View { leave_out: episodes.clone(), ..View::default() };
        findings.push(
            Finding::new(Severity::Problem, Topic::Unread, said)
                .episodes(episodes)
                .fixed_by(fix, unread.len() < set.len()),
        );
    }
    let guessed = units::mode(&samples);
    let known: Vec<String> = match &guessed {
        Some((Mode::Relative, names)) => {
            names.iter().filter(|name| !view.relative.contains(name)).cloned().collect()
        }
        _ => Vec::new(),
    };
    if !known.is_empty() {
        let fix = View { relative: known.clone(), ..View::default() };
        let said = Said::new(Sentence::Changes, &[]);
        findings
            .push(Finding::new(Severity::Note, Topic::Relative, said).channels(known).fixed_by(fix, true));
    }
    let mode = guessed.map_or(Mode::Absolute, |(mode, _)| mode);
    findings.extend(channels::examine(&samples));
    findings.extend(units::examine(&samples));
    findings.extend(frames::examine(&samples, fps));
    let frozen = findings.iter().any(|finding| finding.topic == Topic::FrozenCamera);
    let (mut action_lag, mut state_lag) = (None, None);
    // A camera that shows nothing says nothing about time.
    if !frozen {
        let (actions, states, about) = lag::examine(&samples, mode, fps);
        action_lag = actions.map(|shift| shift.rows);
        state_lag = states.map(|shift| shift.rows);
        findings.extend(about);
    }
    findings.extend(coverage::examine(&samples));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let frames = samples.iter().map(|sample| sample.pictures.len()).sum();
    Some(Examination { findings, frames, action_lag, state_lag })
}
