//! The ten statistics that LeRobot keeps of every feature: min, max, mean, std, count and five quantiles.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Frame;

/// Names and probabilities of the quantiles.
pub const QUANTILES: [(&str, f64); 5] =
    [("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)];

/// Statistics of one feature, one number a channel (for pictures: red, green, blue in 0..1).
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Smallest value.
    pub min: Vec<f64>,
    /// Largest value.
    pub max: Vec<f64>,
    /// Mean.
    pub mean: Vec<f64>,
    /// Standard deviation (of the population, as LeRobot).
    pub std: Vec<f64>,
    /// Number of frames that were looked at.
    pub count: u64,
    /// In the order of [`QUANTILES`].
    pub quantiles: [Vec<f64>; 5],
    /// Shaped `[3][1][1]` on disk.
    pub image: bool,
}

impl Stats {
    /// Of `rows x width` numbers, row by row. Quantiles interpolate between neighbours, as numpy does.
    pub fn of_rows(width: usize, values: &[f64]) -> Self {
        let width = width.max(1);
        let rows = values.len() / width;
        let mut stats = Self::empty(rows as u64, false);
        for channel in 0..width {
            let mut column: Vec<f64> = values.iter().skip(channel).step_by(width).copied().collect();
            column.sort_by(f64::total_cmp);
            let n = column.len().max(1) as f64;
            let mean = column.iter().sum::<f64>() / n;
            let variance = column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            stats.min.push(column.first().copied().unwrap_or(0.0));
            stats.max.push(column.last().copied().unwrap_or(0.0));
            stats.mean.push(mean);
            stats.std.push(variance.sqrt());
            for (slot, (_, p)) in stats.quantiles.iter_mut().zip(QUANTILES) {
                slot.push(interpolate(&column, p));
            }
        }
        stats
    }

    /// Of the pixels of a sample of frames, chosen as LeRobot does, in 0..1.
    pub fn of_frames(frames: &[Frame]) -> Self {
        let sample = sample_indices(frames.len());
        let mut histograms = [[0u64; 256]; 3];
        for frame in sample.iter().filter_map(|i| frames.get(*i)) {
            count_pixels(frame, &mut histograms);
        }
        let mut stats = Self::empty(sample.len() as u64, true);
        for histogram in &histograms {
            let n = histogram.iter().sum::<u64>().max(1) as f64;
            let levels = || histogram.iter().zip(0u8..=255).filter(|(c, _)| **c > 0);
            let value = |level: u8| f64::from(level) / 255.0;
            let mean = levels().map(|(c, l)| *c as f64 * value(l)).sum::<f64>() / n;
            let variance = levels().map(|(c, l)| *c as f64 * (value(l) - mean).powi(2)).sum::<f64>() / n;
            stats.min.push(levels().next().map_or(0.0, |(_, l)| value(l)));
            stats.max.push(levels().next_back().map_or(0.0, |(_, l)| value(l)));
            stats.mean.push(mean);
            stats.std.push(variance.sqrt());
            for (slot, (_, p)) in stats.quantiles.iter_mut().zip(QUANTILES) {
                let wanted = p * (n - 1.0);
                let mut seen = 0.0;
                let level = levels().find(|(c, _)| {
                    seen += **c as f64;
                    seen > wanted
                });
                slot.push(level.map_or(0.0, |(_, l)| value(l)));
            }
        }
        stats
    }

    fn empty(count: u64, image: bool) -> Self {
        let (min, max, mean, std) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { min, max, mean, std, count, quantiles: Default::default(), image }
    }

    /// All ten by name, flat; `count` is one number.
    pub fn entries(&self) -> Vec<(&'static str, Vec<f64>)> {
        let mut entries = vec![
            ("min", self.min.clone()),
            ("max", self.max.clone()),
            ("mean", self.mean.clone()),
            ("std", self.std.clone()),
            ("count", vec![self.count as f64]),
        ];
        entries.extend(QUANTILES.iter().zip(&self.quantiles).map(|((name, _), q)| (*name, q.clone())));
        entries
    }

    /// The inverse of [`Stats::entries`]; `None` when one is missing or of another length.
    pub fn from_entries(entries: &BTreeMap<String, Vec<f64>>, image: bool) -> Option<Self> {
        let width = entries.get("mean")?.len();
        let get = |name: &str| entries.get(name).filter(|v| v.len() == width).cloned();
        let mut stats = Self::empty(*entries.get("count")?.first()? as u64, image);
        (stats.min, stats.max, stats.mean, stats.std) = (get("min")?, get("max")?, get("mean")?, get("std")?);
        for (slot, (name, _)) in stats.quantiles.iter_mut().zip(QUANTILES) {
            *slot = get(name)?;
        }
        Some(stats)
    }

    /// As in `stats.json`.
    pub fn to_json(&self) -> Value {
        let entries = self.entries().into_iter().map(|(name, values)| {
            let value = match name {
                "count" => json!([self.count]),
                _ if self.image => values.iter().map(|v| json!([[v]])).collect(),
                _ => json!(values),
            };
            (name.to_owned(), value)
        });
        Value::Object(entries.collect())
    }

    /// From `stats.json`, older sets without quantiles included (these become min, mean and max).
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut entries: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut depth = 0;
        for (name, value) in value.as_object()? {
            let mut flat = Vec::new();
            depth = depth.max(flatten(value, &mut flat));
            entries.insert(name.clone(), flat);
        }
        for (name, p) in QUANTILES {
            let stand_in = if p < 0.5 {
                "min"
            } else if p > 0.5 {
                "max"
            } else {
                "mean"
            };
            if let (false, Some(v)) = (entries.contains_key(name), entries.get(stand_in).cloned()) {
                entries.insert(name.to_owned(), v);
            }
        }
        entries.entry("count".to_owned()).or_insert_with(|| vec![0.0]);
        Self::from_entries(&entries, depth >= 3)
    }
}

/// Collects the numbers of nested lists; gives the depth of nesting.
fn flatten(value: &Value, out: &mut Vec<f64>) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(|v| flatten(v, out)).max().unwrap_or(0),
        Value::Bool(b) => {
            out.push(f64::from(u8::from(*b)));
            0
        }
        other => {
            out.push(other.as_f64().unwrap_or(f64::NAN));
            0
        }
    }
}

fn interpolate(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = p * last as f64;
    let low = at.floor() as usize;
    let a = sorted.get(low).copied().unwrap_or(0.0);
    let b = sorted.get((low + 1).min(last)).copied().unwrap_or(a);
    a + (b - a) * (at - low as f64)
}

/// The frames that LeRobot samples for picture statistics: all of a short episode, about n^0.75 of a long one.
fn sample_indices(len: usize) -> Vec<usize> {
    let wanted = (len as f64).powf(0.75) as usize;
    let count = wanted.min(10_000).max(len.min(100));
    match count {
        0 => Vec::new(),
        1 => vec![0],
        _ => (0..count)
            .map(|i| ((len - 1) as f64 * i as f64 / (count - 1) as f64).round_ties_even() as usize)
            .collect(),
    }
}

/// Counts levels; pictures of 300 pixels and more are thinned out to about 150, as LeRobot does.
fn count_pixels(frame: &Frame, [red, green, blue]: &mut [[u64; 256]; 3]) {
    let longer = frame.width.max(frame.height);
    let step = if longer < 300 { 1 } else { (longer / 150).max(1) };
    for row in frame.data.chunks_exact((frame.width * 3).max(1)).step_by(step) {
        for pixel in row.chunks_exact(3).step_by(step) {
            if let [r, g, b] = pixel {
                red[usize::from(*r)] += 1;
                green[usize::from(*g)] += 1;
                blue[usize::from(*b)] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn statistics_are_those_of_numpy() {
        // numpy.quantile([1, 2, 3, 4, 10], [.01, .1, .5, .9, .99]) = 1.04, 1.4, 3, 7.6, 9.76; std 3.1622776601683795
        let stats = Stats::of_rows(1, &[3.0, 1.0, 10.0, 2.0, 4.0]);
        let expected = [1.04, 1.4, 3.0, 7.6, 9.76];
        for (q, e) in stats.quantiles.iter().zip(expected) {
            assert!((q[0] - e).abs() < 1e-12, "{q:?} {e}");
        }
        assert_eq!((stats.min[0], stats.max[0], stats.mean[0], stats.count), (1.0, 10.0, 4.0, 5));
        assert!((stats.std[0] - 3.1622776601683795).abs() < 1e-12);
    }

    #[test]
    fn channels_do_not_mix_and_json_keeps_everything() {
        let stats = Stats::of_rows(2, &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        assert_eq!((stats.mean[0], stats.mean[1]), (2.0, 20.0));
        assert_eq!(Stats::from_json(&stats.to_json()).unwrap(), stats);
    }

    #[test]
    fn picture_statistics_are_in_0_to_1_and_shaped_for_channels_first() {
        let frames = [Frame::filled(4, 4, [255, 0, 51]), Frame::filled(4, 4, [255, 0, 102])];
        let stats = Stats::of_frames(&frames);
        assert_eq!(stats.mean[0], 1.0);
        assert!((stats.mean[2] - 0.3).abs() < 1e-12 && (stats.std[2] - 0.1).abs() < 1e-12);
        assert_eq!(stats.to_json()["max"][2], json!([[0.4]]));
        assert_eq!(stats.to_json()["count"], json!([2]));
        assert_eq!(Stats::from_json(&stats.to_json()).unwrap(), stats);
    }

    #[test]
    fn long_episodes_are_sampled_as_lerobot_does() {
        assert_eq!(sample_indices(5), [0, 1, 2, 3, 4]);
        assert_eq!(sample_indices(2000).len(), 299);
        assert_eq!(sample_indices(2000).last(), Some(&1999));
        assert_eq!(sample_indices(1), [0]);
    }
}
