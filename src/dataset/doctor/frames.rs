//! Pictures that stand still while the robot moves, come twice, are missing, or change their brightness at once.

use super::View;
use super::finding::{Finding, Severity, Topic};
use super::said::{Said, Sentence};
use super::sample::{Sample, speed, spreads};

/// Mean difference in grey levels below which two pictures are one: codecs repeat a still picture almost exactly.
const SAME: f32 = 0.02;
/// Share of a state's spread per step from which a robot counts as moving, summed over its channels.
const MOVING: f32 = 0.03;
/// Share of moving steps with a repeated picture from which it is told.
const REPEATED: f32 = 0.03;
/// Jump of the mean brightness in grey levels that no robot makes.
const JUMP: f32 = 8.0;

pub(super) fn examine(samples: &[Sample], fps: f64) -> Vec<Finding> {
    let mut findings = still(samples);
    findings.extend(dropped(samples, fps));
    findings.extend(exposure(samples));
    findings
}

/// Cameras that freeze, for good or for a moment.
fn still(samples: &[Sample]) -> Vec<Finding> {
    let all = spreads(samples.iter().filter_map(Sample::state));
    let (mut frozen, mut stutter) = (Vec::new(), Vec::new());
    let (mut looked, mut repeated, mut steps) = (0usize, 0usize, 0usize);
    for sample in samples.iter().filter(|sample| sample.pictures.len() > 4) {
        let speeds = match sample.state().or(sample.action()) {
            Some(numbers) => speed(numbers, &all),
            None => continue,
        };
        let moving: Vec<bool> = sample
            .pictures
            .windows(2)
            .zip(&speeds)
            .filter(|(_, v)| **v > MOVING)
            .map(|(p, _)| same(p))
            .collect();
        if moving.len() < 4 {
            continue;
        }
        looked += 1;
        let twice = moving.iter().filter(|same| **same).count();
        steps += moving.len();
        if twice == moving.len() {
            frozen.push(sample.numbers.index);
        } else if twice as f32 > REPEATED * moving.len() as f32 {
            stutter.push(sample.numbers.index);
            repeated += twice;
        }
    }
    let mut findings = Vec::new();
    if !frozen.is_empty() {
        let said = match frozen.len() == looked {
            true => Said::new(Sentence::CameraFrozen, &[]),
            false => Said::new(Sentence::CameraFrozenSome, &[("n", &frozen.len()), ("all", &looked)]),
        };
        let finding = Finding::new(Severity::Problem, Topic::FrozenCamera, said).episodes(frozen.clone());
        // Leaving out every episode would leave nothing.
        findings.push(if frozen.len() < looked {
            finding.fixed_by(View { leave_out: frozen, ..View::default() }, true)
        } else {
            finding
        });
    }
    if !stutter.is_empty() {
        let said = Said::new(
            Sentence::PicturesTwice,
            &[("n", &stutter.len()), ("repeated", &repeated), ("steps", &steps)],
        );
        let mut finding =
            Finding::new(Severity::Warning, Topic::RepeatedFrames, said).episodes(stutter.clone());
        if stutter.len() * 2 < looked {
            finding = finding.fixed_by(View { leave_out: stutter, ..View::default() }, false);
        }
        findings.push(finding);
    }
    findings
}

fn same(pair: &[Vec<f32>]) -> bool {
    let (Some(a), Some(b)) = (pair.first(), pair.last()) else { return false };
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
    sum / a.len().max(1) as f32 <= SAME
}

/// Gaps in the times of the table.
fn dropped(samples: &[Sample], fps: f64) -> Option<Finding> {
    let mut episodes = Vec::new();
    let mut gaps = 0usize;
    for sample in samples {
        let Some(times) = sample.numbers.columns.get("timestamp") else { continue };
        let late = times
            .values
            .windows(2)
            .filter(|pair| match pair {
                [a, b] => f64::from(b - a) > 1.5 / fps,
                _ => false,
            })
            .count();
        if late > 0 {
            gaps += late;
            episodes.push(sample.numbers.index);
        }
    }
    if episodes.is_empty() {
        return None;
    }
    let said = Said::new(Sentence::FramesMissing, &[("gaps", &gaps), ("n", &episodes.len())]);
    let finding = Finding::new(Severity::Warning, Topic::DroppedFrames, said).episodes(episodes.clone());
    Some(if episodes.len() * 2 < samples.len() {
        finding.fixed_by(View { leave_out: episodes, ..View::default() }, false)
    } else {
        finding
    })
}

/// Brightness of the whole picture that jumps.
fn exposure(samples: &[Sample]) -> Option<Finding> {
    let mut episodes = Vec::new();
    let mut jumps = 0usize;
    for sample in samples {
        let means: Vec<f32> =
            sample.pictures.iter().map(|p| p.iter().sum::<f32>() / p.len().max(1) as f32).collect();
        let changes: Vec<f32> = means
            .windows(2)
            .map(|pair| match pair {
                [a, b] => (b - a).abs(),
                _ => 0.0,
            })
            .collect();
        let mut sorted = changes.clone();
        sorted.sort_by(f32::total_cmp);
        let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let found = changes.iter().filter(|change| **change > JUMP.max(8.0 * usual)).count();
        if found > 0 {
            jumps += found;
            episodes.push(sample.numbers.index);
        }
    }
    (jumps > 0).then(|| {
        let said = Said::new(Sentence::BrightnessJumps, &[("jumps", &jumps), ("n", &episodes.len())]);
        Finding::new(Severity::Warning, Topic::Exposure, said).episodes(episodes)
    })
}
