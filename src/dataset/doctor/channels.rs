//! Channels that carry nothing, and numbers that are not there.

use super::View;
use super::finding::{Finding, Severity, Topic};
use super::said::{Said, Sentence};
use super::sample::{Sample, ranges};
use crate::dataset::Matrix;

/// Share of a unit below which a channel does not move at all.
const STILL: f32 = 1e-4;

pub(super) fn examine(samples: &[Sample]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let dead = |of: fn(&Sample) -> Option<&Matrix>| -> Vec<(String, f32, bool)> {
        let Some(first) = samples.iter().find_map(of) else { return Vec::new() };
        let found = ranges(samples.iter().filter_map(of));
        first
            .channels
            .iter()
            .zip(found)
            .map(|(channel, (least, most))| {
                let still = !(most - least > STILL * least.abs().max(most.abs()).max(1.0));
                (channel.name.clone(), least, still)
            })
            .collect()
    };
    let (actions, states) = (dead(Sample::action), dead(Sample::state));
    let moves =
        |list: &[(String, f32, bool)], name: &str| list.iter().any(|(n, _, still)| n == name && !still);
    if !actions.is_empty() && actions.iter().all(|(_, _, still)| *still) {
        findings.push(Finding::new(
            Severity::Problem,
            Topic::DeadChannel,
            Said::new(Sentence::NoActionMoves, &[]),
        ));
        return findings;
    }
    for (name, value, _) in states.iter().filter(|(_, _, still)| *still) {
        let (severity, sentence) = match moves(&actions, name) {
            true => (Severity::Problem, Sentence::StateDead),
            false => (Severity::Warning, Sentence::NeverMoves),
        };
        let said = Said::new(sentence, &[("channel", name), ("value", &format!("{value:.2}"))]);
        let fix = View { without: vec![name.clone()], ..View::default() };
        findings.push(
            Finding::new(severity, Topic::DeadChannel, said)
                .channels(vec![name.clone()])
                .fixed_by(fix, false),
        );
    }
    for (name, value, _) in actions.iter().filter(|(_, _, still)| *still) {
        if states.iter().any(|(n, _, still)| n == name && *still) {
            continue;
        }
        let said = Said::new(Sentence::ActionStays, &[("channel", name), ("value", &format!("{value:.2}"))]);
        let mut finding =
            Finding::new(Severity::Warning, Topic::DeadChannel, said).channels(vec![name.clone()]);
        if !moves(&states, name) {
            finding = finding.fixed_by(View { without: vec![name.clone()], ..View::default() }, false);
        }
        findings.push(finding);
    }
    findings.extend(missing(samples));
    findings
}

fn missing(samples: &[Sample]) -> Option<Finding> {
    let mut names: Vec<String> = Vec::new();
    let mut episodes = Vec::new();
    for sample in samples {
        let mut bad = false;
        for matrix in [sample.action(), sample.state()].into_iter().flatten() {
            for (at, channel) in matrix.channels.iter().enumerate() {
                let gap = (0..matrix.rows()).any(|t| matrix.row(t).get(at).is_none_or(|v| !v.is_finite()));
                if gap {
                    bad = true;
                    if !names.contains(&channel.name) {
                        names.push(channel.name.clone());
                    }
                }
            }
        }
        if bad {
            episodes.push(sample.numbers.index);
        }
    }
    if episodes.is_empty() {
        return None;
    }
    let said =
        Said::new(Sentence::NumbersMissing, &[("channels", &names.join(", ")), ("n", &episodes.len())]);
    let all = episodes.len() == samples.len();
    let finding =
        Finding::new(Severity::Warning, Topic::Missing, said).channels(names).episodes(episodes.clone());
    Some(if all { finding } else { finding.fixed_by(View { leave_out: episodes, ..View::default() }, false) })
}
