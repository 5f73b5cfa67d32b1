//! Statistics of a whole set from those of its episodes.

use std::collections::BTreeMap;

use super::Stats;

/// Grows with each episode; equals what LeRobot computes from all episodes at once.
///
/// Mean and variance are pooled exactly (Chan, Golub, LeVeque 1983). Quantiles of a whole cannot be had from
/// quantiles of parts; like LeRobot 0.6.1 this takes their mean, weighted by the number of frames.
#[derive(Clone, Debug, Default)]
pub(super) struct Aggregate {
    features: BTreeMap<String, Stats>,
}

impl Aggregate {
    pub(super) fn add(&mut self, key: &str, part: &Stats) {
        match self.features.get_mut(key) {
            None => {
                self.features.insert(key.to_owned(), part.clone());
            }
            Some(whole) => merge(whole, part),
        }
    }

    pub(super) fn features(&self) -> &BTreeMap<String, Stats> {
        &self.features
    }
}

fn merge(whole: &mut Stats, part: &Stats) {
    let (n, m) = (whole.count as f64, part.count as f64);
    let total = (n + m).max(1.0);
    let pairs = whole.mean.iter_mut().zip(&mut whole.std).zip(part.mean.iter().zip(&part.std));
    for ((mean, std), (part_mean, part_std)) in pairs {
        let delta = part_mean - *mean;
        let variance =
            (n * *std * *std + m * part_std * part_std) / total + delta * delta * n * m / (total * total);
        *mean += delta * m / total;
        *std = variance.sqrt();
    }
    let each = |to: &mut Vec<f64>, from: &[f64], pick: fn(f64, f64) -> f64| {
        for (a, b) in to.iter_mut().zip(from) {
            *a = pick(*a, *b);
        }
    };
    each(&mut whole.min, &part.min, f64::min);
    each(&mut whole.max, &part.max, f64::max);
    for (to, from) in whole.quantiles.iter_mut().zip(&part.quantiles) {
        for (a, b) in to.iter_mut().zip(from) {
            *a = (n * *a + m * b) / total;
        }
    }
    whole.count += part.count;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn parts_pool_to_the_statistics_of_the_whole() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17) - 3.5).collect();
        let whole = Stats::of_rows(1, &values);
        let mut aggregate = Aggregate::default();
        for part in values.chunks(7) {
            aggregate.add("x", &Stats::of_rows(1, part));
        }
        let pooled = &aggregate.features()["x"];
        assert_eq!((pooled.count, pooled.min[0], pooled.max[0]), (50, whole.min[0], whole.max[0]));
        assert!((pooled.mean[0] - whole.mean[0]).abs() < 1e-9);
        assert!((pooled.std[0] - whole.std[0]).abs() < 1e-9);
        assert!((pooled.quantiles[2][0] - whole.quantiles[2][0]).abs() < 2.0);
        let mut two = Aggregate::default();
        two.add("x", &Stats::of_rows(1, &[1.0, 1.0, 1.0]));
        two.add("x", &Stats::of_rows(1, &[5.0]));
        assert_eq!(two.features()["x"].quantiles[0][0], 2.0);
    }
}
