//! Whether there is enough to see: episodes that are there twice, ranges and speeds that never occur.

use std::collections::HashMap;

use super::View;
use super::finding::{Finding, Severity, Topic};
use super::said::{Said, Sentence};
use super::sample::{Sample, speed, spreads};
use crate::dataset::Matrix;

/// Parts that a channel's range is cut into.
const BINS: usize = 10;
/// Episodes below which a model learns them by heart.
const FEW: usize = 10;
/// Share of standing steps from which it is told.
const STANDING: f32 = 0.7;
/// Share of a channel's time that one tenth of its range may take.
const CROWDED: f32 = 0.9;

pub(super) fn examine(samples: &[Sample]) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(twins(samples));
    if samples.len() < FEW {
        findings.push(Finding::new(
            Severity::Note,
            Topic::Coverage,
            Said::new(Sentence::FewEpisodes, &[("n", &samples.len()), ("few", &FEW)]),
        ));
    }
    findings.extend(standing(samples));
    findings.extend(narrow(samples));
    findings
}

/// Episodes with the same numbers: one of them may be judged on what the other taught.
fn twins(samples: &[Sample]) -> Option<Finding> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let (mut again, mut of) = (Vec::new(), Vec::new());
    for sample in samples {
        let mut bytes = Vec::new();
        for matrix in [sample.action(), sample.state()].into_iter().flatten() {
            bytes.extend(matrix.values.iter().flat_map(|v| v.to_le_bytes()));
        }
        if bytes.is_empty() {
            continue;
        }
        match seen.entry(crate::fsx::sha256_hex(&bytes)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                of.push(*first.get());
                again.push(sample.numbers.index);
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(sample.numbers.index);
            }
        }
    }
    if again.is_empty() {
        return None;
    }
    let shown: Vec<String> = of.iter().zip(&again).take(4).map(|(a, b)| format!("{a} = {b}")).collect();
    let said = Said::new(Sentence::EpisodesTwice, &[("n", &again.len()), ("which", &shown.join(", "))]);
    let fix = View { leave_out: again.clone(), ..View::default() };
    Some(Finding::new(Severity::Problem, Topic::SameEpisode, said).episodes(again).fixed_by(fix, true))
}

fn standing(samples: &[Sample]) -> Option<Finding> {
    let of = |sample: &Sample| -> Option<Matrix> { sample.state().or(sample.action()).cloned() };
    let matrices: Vec<Matrix> = samples.iter().filter_map(of).collect();
    let all = spreads(matrices.iter());
    let speeds: Vec<f32> = matrices.iter().flat_map(|matrix| speed(matrix, &all)).collect();
    if speeds.len() < 20 {
        return None;
    }
    let still = speeds.iter().filter(|v| **v < 0.004).count() as f32 / speeds.len() as f32;
    (still > STANDING).then(|| {
        let said = Said::new(Sentence::StandsStill, &[("part", &format!("{:.0}", still * 100.0))]);
        Finding::new(Severity::Warning, Topic::Coverage, said)
    })
}

/// Channels that spend nearly all their time in a tenth of their range.
fn narrow(samples: &[Sample]) -> Option<Finding> {
    let first = samples.iter().find_map(Sample::state)?;
    let ranges = super::sample::ranges(samples.iter().filter_map(Sample::state));
    let mut crowded = Vec::new();
    for (at, channel) in first.channels.iter().enumerate() {
        let Some((least, most)) = ranges.get(at).copied().filter(|(a, b)| b > a) else { continue };
        let mut bins = [0usize; BINS];
        for matrix in samples.iter().filter_map(Sample::state) {
            for value in (0..matrix.rows()).filter_map(|t| matrix.row(t).get(at)).filter(|v| v.is_finite()) {
                let bin = ((value - least) / (most - least) * BINS as f32) as usize;
                if let Some(count) = bins.get_mut(bin.min(BINS - 1)) {
                    *count += 1;
                }
            }
        }
        let all: usize = bins.iter().sum();
        if bins.iter().max().is_some_and(|most| *most as f32 > CROWDED * all.max(1) as f32) {
            crowded.push(channel.name.clone());
        }
    }
    (!crowded.is_empty()).then(|| {
        let said = Said::new(Sentence::Narrow, &[("channels", &crowded.join(", "))]);
        Finding::new(Severity::Note, Topic::Coverage, said).channels(crowded)
    })
}
