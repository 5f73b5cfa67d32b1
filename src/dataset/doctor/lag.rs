//! Whether actions and states belong to the frames that they lie beside: what the numbers say moves is compared with
//! what the pictures show moving, at every shift.

use super::finding::{Finding, Severity, Topic};
use super::said::{Said, Sentence};
use super::sample::{Sample, speed, spreads};
use super::{Mode, View};

/// Steps that a correlation needs.
const LEAST: usize = 80;
/// Correlation from which a shift is believed.
const CLEAR: f32 = 0.3;
/// By how much a shift must beat none.
const BETTER: f32 = 0.04;
/// Longest delay in seconds with which a body follows its targets without anything being wrong.
const FOLLOWS: f64 = 0.25;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// Rows by which the numbers lie too late.
    pub rows: i32,
    /// Correlation there.
    pub strength: f32,
    /// Correlation without a shift.
    pub still: f32,
}

impl Shift {
    /// A sentence about it.
    fn said(&self, sentence: Sentence, fps: f64) -> Said {
        let frames = self.rows.abs();
        let ms = format!("{:.0}", f64::from(frames) / fps * 1e3);
        let (found, still) = (format!("{:.2}", self.strength), format!("{:.2}", self.still));
        Said::new(sentence, &[("frames", &frames), ("ms", &ms), ("found", &found), ("still", &still)])
    }
}

/// Finds the shift `k` at which `numbers[t + k]` follows `motion[t]` best, over several episodes: each pair of lists
/// has entry `t` for the step from frame `t` to the next. `None` where nothing clear comes out.
pub(super) fn shift(pairs: &[(Vec<f32>, Vec<f32>)], most: i32) -> Option<Shift> {
    let steps: usize = pairs.iter().map(|(motion, _)| motion.len()).sum();
    if steps < LEAST {
        return None;
    }
    let at = |k: i32| correlation(pairs, k);
    let still = at(0)?;
    let mut best = (0, still);
    for k in (1..=most).flat_map(|k| [k, -k]) {
        if let Some(strength) = at(k).filter(|strength| *strength > best.1) {
            best = (k, strength);
        }
    }
    (best.1 >= CLEAR).then_some(Shift { rows: best.0, strength: best.1, still })
}

/// Pearson's correlation of `motion[t]` and `numbers[t + k]`, with each episode's own means taken off.
fn correlation(pairs: &[(Vec<f32>, Vec<f32>)], k: i32) -> Option<f32> {
    let (mut both, mut left, mut right) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (motion, numbers) in pairs {
        let overlap: Vec<(f64, f64)> = motion
            .iter()
            .enumerate()
            .filter_map(|(t, m)| {
                let other = usize::try_from(t as i64 + i64::from(k)).ok()?;
                Some((f64::from(*m), f64::from(*numbers.get(other)?)))
            })
            .collect();
        if overlap.len() < 10 {
            continue;
        }
        let n = overlap.len() as f64;
        let mean = overlap.iter().fold((0.0, 0.0), |sum, (a, b)| (sum.0 + a / n, sum.1 + b / n));
        for (a, b) in overlap {
            let (a, b) = (a - mean.0, b - mean.1);
            both += a * b;
            left += a * a;
            right += b * b;
        }
    }
    (left > 1e-9 && right > 1e-9).then(|| (both / (left * right).sqrt()) as f32)
}

/// The shifts of actions and of states, and what they mean.
pub(super) fn examine(
    samples: &[Sample],
    mode: Mode,
    fps: f64,
) -> (Option<Shift>, Option<Shift>, Vec<Finding>) {
    let most = ((fps * 0.5) as i32).clamp(5, 15);
    let seen = || samples.iter().filter(|sample| sample.pictures.len() > 10);
    let pairs = |numbers: &dyn Fn(&Sample) -> Option<Vec<f32>>| -> Vec<(Vec<f32>, Vec<f32>)> {
        seen().filter_map(|sample| Some((sample.motion(), numbers(sample)?))).collect()
    };
    let action_spreads = spreads(samples.iter().filter_map(Sample::action));
    let state_spreads = spreads(samples.iter().filter_map(Sample::state));
    let actions = pairs(&|sample| {
        let action = sample.action()?;
        Some(match mode {
            // What is asked for from step t on is new against what was asked for before it.
            Mode::Absolute => {
                let mut changes = vec![0.0];
                changes.extend(speed(action, &action_spreads));
                changes
            }
            Mode::Relative => (0..action.rows())
                .map(|t| {
                    let row = action.row(t).iter().zip(&action_spreads).filter(|(_, spread)| **spread > 0.0);
                    row.map(|(v, spread)| v.abs() / spread).filter(|v| v.is_finite()).sum()
                })
                .collect(),
        })
    });
    let states = pairs(&|sample| Some(speed(sample.state()?, &state_spreads)));
    let (actions, states) = (shift(&actions, most), shift(&states, most));
    let mut findings = Vec::new();
    if let Some(found) = actions {
        findings.extend(about_actions(&found, fps));
    }
    if let Some(found) = states.filter(|found| found.rows.abs() >= 2 && found.strength - found.still > BETTER)
    {
        let fix = View { state_lag: found.rows, ..View::default() };
        findings.push(
            Finding::new(
                Severity::Warning,
                Topic::Lag,
                found.said(if found.rows > 0 { Sentence::StatesLate } else { Sentence::StatesEarly }, fps),
            )
            .fixed_by(fix, found.strength > 0.5),
        );
    }
    (actions, states, findings)
}

fn about_actions(found: &Shift, fps: f64) -> Option<Finding> {
    if found.strength - found.still <= BETTER {
        return None;
    }
    let delay = -found.rows;
    if found.rows > 0 {
        // Nothing moves before it is told to.
        let fix = View { action_lag: found.rows, ..View::default() };
        let said = found.said(Sentence::ActionsLate, fps);
        return Some(Finding::new(Severity::Problem, Topic::Lag, said).fixed_by(fix, found.strength > 0.45));
    }
    let seconds = f64::from(delay) / fps;
    if delay > 1 && seconds > FOLLOWS {
        let fix = View { action_lag: found.rows, ..View::default() };
        let said = found.said(Sentence::FollowsSlowly, fps);
        return Some(Finding::new(Severity::Warning, Topic::Lag, said).fixed_by(fix, false));
    }
    (delay > 0).then(|| Finding::new(Severity::Note, Topic::Lag, found.said(Sentence::Follows, fps)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Motion in bursts, and numbers that show the same `late` steps later.
    fn pairs(late: i32) -> Vec<(Vec<f32>, Vec<f32>)> {
        let burst = |t: i64| ((t as f32 * 0.37).sin() * (t as f32 * 0.113).cos()).max(0.0);
        let list = |from: i32| (0..120).map(|t| burst(t - i64::from(from))).collect::<Vec<_>>();
        vec![(list(0), list(late)), (list(7), list(late + 7))]
    }

    #[test]
    fn a_shift_is_found_in_both_directions_and_none_where_there_is_none() {
        for late in [-3, 0, 1, 3] {
            let found = shift(&pairs(late), 8).unwrap();
            assert_eq!(found.rows, late);
            assert!(found.strength > 0.95, "{found:?}");
        }
        let flat = vec![(vec![1.0; 200], vec![2.0; 200])];
        assert_eq!(shift(&flat, 8), None);
        let few = vec![(vec![0.0, 1.0, 0.0], vec![0.0, 1.0, 0.0])];
        assert_eq!(shift(&few, 8), None);
    }

    #[test]
    fn late_actions_are_a_problem_and_a_slow_robot_is_not() {
        let about = |rows| about_actions(&Shift { rows, strength: 0.8, still: 0.3 }, 10.0);
        let late = about(3).unwrap();
        assert_eq!((late.severity, late.sure), (Severity::Problem, true));
        assert_eq!(late.fix.unwrap().action_lag, 3);
        assert_eq!(about(-1).unwrap().severity, Severity::Note);
        assert_eq!(about(-4).unwrap().severity, Severity::Warning);
        assert_eq!(about_actions(&Shift { rows: 2, strength: 0.5, still: 0.49 }, 10.0), None);
    }
}
