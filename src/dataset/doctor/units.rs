//! What a number means where the dataset does not say, or says it wrongly.
//!
//! LeRobot's files carry no units, and its joints have been -100..100 up to 0.3 and degrees since 0.4 under the same
//! names: a model of one that is run on the other moves wrongly by up to twice, another factor for each joint.

use super::finding::{Finding, Severity, Topic};
use super::said::{Said, Sentence};
use super::sample::{Sample, ranges, spreads};
use super::{Mode, UnitFix, View};
use crate::dataset::Matrix;

/// What joints' numbers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// Beyond anything but degrees.
    Degrees,
    /// They stop at exactly 100.
    Hundred,
    /// A turn is six of them.
    Radians,
    /// Degrees or -100..100: the numbers fit both.
    Either,
}

/// Unit that [`Guess::Hundred`] is called.
const HUNDRED: &str = "-100..100";

struct Joint {
    name: String,
    unit: String,
    least: f32,
    most: f32,
    /// Share of the numbers that lie at 100 or -100, to a tenth.
    at_end: f32,
}

fn is_gripper(name: &str) -> bool {
    name.to_lowercase().contains("gripper")
}

fn joints(samples: &[Sample], of: fn(&Sample) -> Option<&Matrix>) -> Vec<Joint> {
    let matrices = || samples.iter().filter_map(of);
    let Some(first) = matrices().next() else { return Vec::new() };
    first
        .channels
        .iter()
        .zip(ranges(matrices()))
        .enumerate()
        .filter(|(_, (channel, _))| channel.name.ends_with(".pos"))
        .map(|(at, (channel, (least, most)))| {
            let (mut ends, mut all) = (0usize, 0usize);
            for matrix in matrices() {
                for value in (0..matrix.rows()).filter_map(|t| matrix.row(t).get(at)) {
                    all += 1;
                    ends += usize::from((value.abs() - 100.0).abs() <= 0.1);
                }
            }
            Joint {
                name: channel.name.clone(),
                unit: channel.unit.trim().to_lowercase(),
                least,
                most,
                at_end: ends as f32 / all.max(1) as f32,
            }
        })
        .collect()
}

/// What the joints (grippers aside) look like, together: a robot has one convention. `None` without joints.
fn guess(joints: &[&Joint]) -> Option<Guess> {
    let reach = joints.iter().map(|j| j.least.abs().max(j.most.abs())).fold(f32::NEG_INFINITY, f32::max);
    if !reach.is_finite() {
        return None;
    }
    // A joint at rest is small in any unit; all of them together tell.
    let moved = joints.iter().any(|j| j.most - j.least > 0.2);
    let stops = joints.iter().filter(|j| j.at_end > 0.002).count();
    Some(if reach > 101.0 {
        Guess::Degrees
    } else if stops > 0 && reach <= 100.5 {
        Guess::Hundred
    } else if reach <= 3.5 && moved {
        Guess::Radians
    } else {
        Guess::Either
    })
}

fn names(joints: &[&Joint]) -> Vec<String> {
    joints.iter().map(|joint| joint.name.clone()).collect()
}

fn unit_view(joints: &[&Joint], unit: &str, factor: f32) -> View {
    let fix =
        |joint: &&Joint| UnitFix { channel: joint.name.clone(), unit: unit.to_owned(), factor, offset: 0.0 };
    View { units: joints.iter().map(fix).collect(), ..View::default() }
}

/// Units of the joints, as the actions (or else the states) show them.
pub(super) fn examine(samples: &[Sample]) -> Vec<Finding> {
    let found = joints(samples, Sample::action);
    let found = if found.is_empty() { joints(samples, Sample::state) } else { found };
    let (grippers, arm): (Vec<&Joint>, Vec<&Joint>) = found.iter().partition(|joint| is_gripper(&joint.name));
    let mut findings = about_arm(&arm);
    let bare: Vec<&Joint> = grippers
        .into_iter()
        .filter(|j| j.unit.is_empty() && j.least >= -5.0 && j.most <= 105.0 && j.most > 3.5)
        .collect();
    if !bare.is_empty() {
        let said = Said::new(Sentence::GripperBare, &[]);
        findings.push(
            Finding::new(Severity::Note, Topic::Unit, said)
                .channels(names(&bare))
                .fixed_by(unit_view(&bare, "%", 1.0), true),
        );
    }
    findings
}

fn about_arm(arm: &[&Joint]) -> Vec<Finding> {
    let Some(guess) = guess(arm) else { return Vec::new() };
    let widest = arm.iter().max_by(|a, b| {
        let reach = |j: &Joint| j.least.abs().max(j.most.abs());
        reach(a).total_cmp(&reach(b))
    });
    let (name, least, most) = widest.map_or((String::new(), 0.0, 0.0), |j| (j.name.clone(), j.least, j.most));
    let is = |joint: &Joint, units: &[&str]| units.contains(&joint.unit.as_str());
    let in_unit = |units: &[&str]| -> Vec<&Joint> { arm.iter().filter(|j| is(j, units)).copied().collect() };
    let degrees = in_unit(&["deg", "degree", "degrees", "°"]);
    let hundred = in_unit(&["%", "percent", "-100..100", "normalized", "normalised"]);
    let bare = in_unit(&[""]);
    let finding = |severity, joints: &[&Joint], sentence, unit: &str, factor: f32, sure: bool| {
        let (least, most) = (format!("{least:.1}"), format!("{most:.1}"));
        let values: [(&str, &dyn std::fmt::Display); 4] =
            [("joint", &name), ("least", &least), ("most", &most), ("hundred", &HUNDRED)];
        Finding::new(severity, Topic::Unit, Said::new(sentence, &values))
            .channels(names(joints))
            .fixed_by(unit_view(joints, unit, factor), sure)
    };
    let mut out = Vec::new();
    match guess {
        Guess::Degrees => {
            if !hundred.is_empty() {
                let sentence = Sentence::NotHundred;
                out.push(finding(Severity::Problem, &hundred, sentence, "deg", 1.0, true));
            }
            if !bare.is_empty() {
                let sentence = Sentence::BareDegrees;
                out.push(finding(Severity::Note, &bare, sentence, "deg", 1.0, true));
            }
        }
        Guess::Hundred => {
            if !degrees.is_empty() {
                let sentence = Sentence::NotDegrees;
                out.push(finding(Severity::Problem, &degrees, sentence, HUNDRED, 1.0, false));
            }
            if !bare.is_empty() {
                let sentence = Sentence::BareHundred;
                out.push(finding(Severity::Warning, &bare, sentence, HUNDRED, 1.0, true));
            }
        }
        Guess::Radians => {
            let wrong: Vec<&Joint> = degrees.into_iter().chain(hundred).collect();
            if !wrong.is_empty() {
                let sentence = Sentence::NotUnitRadians;
                out.push(finding(
                    Severity::Problem,
                    &wrong,
                    sentence,
                    "deg",
                    180.0 / std::f32::consts::PI,
                    false,
                ));
            }
            if !bare.is_empty() {
                let sentence = Sentence::BareRadians;
                out.push(finding(
                    Severity::Warning,
                    &bare,
                    sentence,
                    "deg",
                    180.0 / std::f32::consts::PI,
                    false,
                ));
            }
        }
        Guess::Either => {
            if !bare.is_empty() {
                let sentence = Sentence::BareEither;
                out.push(finding(Severity::Warning, &bare, sentence, "deg", 1.0, false));
            }
        }
    }
    out
}

/// Whether actions are targets or changes, from how they go with the state: `None` where that cannot be told.
pub(super) fn mode(samples: &[Sample]) -> Option<(Mode, Vec<String>)> {
    let first = samples.iter().find_map(|sample| Some((sample.action()?, sample.state()?)))?;
    let pairs: Vec<(usize, usize)> = first
        .0
        .channels
        .iter()
        .enumerate()
        .filter_map(|(at, channel)| Some((at, first.1.column(&channel.name)?)))
        .collect();
    // Without common names the order is the best guess, where the numbers are as many.
    let pairs = match pairs.is_empty() && first.0.width() == first.1.width() {
        true => (0..first.0.width()).map(|i| (i, i)).collect(),
        false => pairs,
    };
    let names: Vec<String> =
        pairs.iter().filter_map(|(at, _)| first.0.channels.get(*at)).map(|c| c.name.clone()).collect();
    let (mut target, mut change, mut smaller, mut count) = (0.0, 0.0, 0, 0);
    let action_spreads = spreads(samples.iter().filter_map(Sample::action));
    let state_spreads = spreads(samples.iter().filter_map(Sample::state));
    for (a, s) in pairs {
        let (mut xs, mut next, mut delta) = (vec![], vec![], vec![]);
        for (action, state) in samples.iter().filter_map(|sample| Some((sample.action()?, sample.state()?))) {
            for t in 0..action.rows().min(state.rows()).saturating_sub(1) {
                let value = |matrix: &Matrix, t: usize, at: usize| matrix.row(t).get(at).copied();
                let (Some(x), Some(now), Some(then)) =
                    (value(action, t, a), value(state, t, s), value(state, t + 1, s))
                else {
                    continue;
                };
                if x.is_finite() && now.is_finite() && then.is_finite() {
                    xs.push(x);
                    next.push(then);
                    delta.push(then - now);
                }
            }
        }
        let (Some(to), Some(by)) = (pearson(&xs, &next), pearson(&xs, &delta)) else { continue };
        target += to;
        change += by;
        let at = |list: &[f32], i: usize| list.get(i).copied().unwrap_or(0.0);
        smaller += usize::from(at(&action_spreads, a) < 0.5 * at(&state_spreads, s));
        count += 1;
    }
    if count == 0 {
        return None;
    }
    let (target, change) = (target / count as f32, change / count as f32);
    if target > 0.7 {
        return Some((Mode::Absolute, names));
    }
    (change > 0.5 && target < 0.5 && smaller * 2 > count).then_some((Mode::Relative, names))
}

fn pearson(a: &[f32], b: &[f32]) -> Option<f32> {
    if a.len() < 20 {
        return None;
    }
    let mean = |v: &[f32]| v.iter().map(|x| f64::from(*x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (f64::from(*x) - ma, f64::from(*y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    (aa > 1e-12 && bb > 1e-12).then(|| (ab / (aa * bb).sqrt()) as f32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn joint(unit: &str, least: f32, most: f32, at_end: f32) -> Joint {
        Joint { name: "pan.pos".into(), unit: unit.into(), least, most, at_end }
    }

    fn about(unit: &str, least: f32, most: f32, at_end: f32) -> Option<(Severity, String, f32, bool)> {
        let joint = joint(unit, least, most, at_end);
        let finding = about_arm(&[&joint]).into_iter().next()?;
        let fix = finding.fix.unwrap().units.remove(0);
        Some((finding.severity, fix.unit, fix.factor, finding.sure))
    }

    #[test]
    fn degrees_and_hundreds_are_told_apart_where_numbers_tell() {
        assert_eq!(about("deg", -80.0, 160.0, 0.0), None);
        assert_eq!(about("", -80.0, 160.0, 0.0), Some((Severity::Note, "deg".into(), 1.0, true)));
        assert_eq!(about("%", -80.0, 160.0, 0.0), Some((Severity::Problem, "deg".into(), 1.0, true)));
        assert_eq!(about("", -100.0, 80.0, 0.1), Some((Severity::Warning, HUNDRED.into(), 1.0, true)));
        assert_eq!(about("deg", -100.0, 80.0, 0.1), Some((Severity::Problem, HUNDRED.into(), 1.0, false)));
        let (severity, unit, factor, sure) = about("deg", -1.2, 1.5, 0.0).unwrap();
        assert_eq!((severity, unit.as_str(), sure), (Severity::Problem, "deg", false));
        assert!((factor - 57.2958).abs() < 1e-3);
        // Numbers that fit both are asked about, never decided.
        assert!(!about("", -70.0, 80.0, 0.0).unwrap().3);
        assert_eq!(about("deg", -70.0, 80.0, 0.0), None);
    }
}
