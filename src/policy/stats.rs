//! Numbers about few episodes, with their intervals.

use serde::{Deserialize, Serialize};

use crate::world::rng::Rng;

/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_964;

/// Wilson's 95 % interval of a share (Wilson 1927, <https://doi.org/10.1080/01621459.1927.10502953>); 0..1 without trials.
pub fn wilson(successes: usize, trials: usize) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (trials as f64, successes as f64 / trials as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    (((middle - spread) / whole).max(0.0), ((middle + spread) / whole).min(1.0))
}

/// A number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Difference of two shares and its 95 % interval by Newcombe's method 10 (Newcombe 1998,
/// <https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8%3C873::AID-SIM779%3E3.0.CO;2-I>): `a - b`.
pub fn difference(a: (usize, usize), b: (usize, usize)) -> Estimate {
    let share = |(s, n): (usize, usize)| s as f64 / n.max(1) as f64;
    let (p, q) = (share(a), share(b));
    let ((a_low, a_high), (b_low, b_high)) = (wilson(a.0, a.1), wilson(b.0, b.1));
    let d = p - q;
    Estimate {
        value: d,
        low: d - ((p - a_low).powi(2) + (b_high - q).powi(2)).sqrt(),
        high: d + ((a_high - p).powi(2) + (q - b_low).powi(2)).sqrt(),
    }
}

/// Pearson's correlation; `None` with fewer than two pairs or when one side does not vary.
pub fn pearson(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    if pairs.len() < 2 {
        return None;
    }
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        xy += (x - mx) * (y - my);
        xx += (x - mx).powi(2);
        yy += (y - my).powi(2);
    }
    (xx > 1e-12 && yy > 1e-12).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Ranks from 1, ties sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|v| {
            let below = values.iter().filter(|w| *w < v).count() as f64;
            let same = values.iter().filter(|w| *w == v).count() as f64;
            below + (same + 1.0) / 2.0
        })
        .collect()
}

/// Spearman's rank correlation; `None` as in [`pearson`].
pub fn spearman(pairs: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    pearson(&ranks(&x).into_iter().zip(ranks(&y)).collect::<Vec<_>>())
}

/// Mean maximum rank violation (Li et al. 2024, "SIMPLER", <https://arxiv.org/abs/2405.05941>): for each policy the
/// largest true difference to another one that the model ranks the other way round, averaged. `pairs` are (in the model,
/// in truth); 0 is a perfect ranking.
pub fn mmrv(pairs: &[(f64, f64)]) -> Option<f64> {
    if pairs.len() < 2 {
        return None;
    }
    let worst = |i: usize| {
        pairs
            .iter()
            .enumerate()
            .filter(|(j, _)| *j != i)
            .filter(|(_, other)| (pairs[i].0 < other.0) != (pairs[i].1 < other.1))
            .map(|(_, other)| (pairs[i].1 - other.1).abs())
            .fold(0.0, f64::max)
    };
    Some((0..pairs.len()).map(worst).sum::<f64>() / pairs.len() as f64)
}

/// A statistic of paired outcomes with its bootstrap interval (Efron 1979; 2.5th and 97.5th percentile). `draw` makes one
/// resampled list of pairs; resamples without a value are left out. `None` when the statistic has no value.
pub fn bootstrap(
    pairs: &[(f64, f64)],
    statistic: fn(&[(f64, f64)]) -> Option<f64>,
    resamples: usize,
    seed: u64,
    mut draw: impl FnMut(&mut Rng) -> Vec<(f64, f64)>,
) -> Option<Estimate> {
    let value = statistic(pairs)?;
    let mut rng = Rng::new(seed, 0xb0_07);
    let mut found: Vec<f64> = (0..resamples).filter_map(|_| statistic(&draw(&mut rng))).collect();
    found.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * found.len().saturating_sub(1) as f64).round() as usize;
        found.get(place).copied().unwrap_or(value)
    };
    Some(Estimate { value, low: at(0.025), high: at(0.975) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wilson_is_what_tables_say() {
        // 8 of 10: 0.490 to 0.943; 0 of 10: 0 to 0.278 (Newcombe 1998, table I).
        let (low, high) = wilson(8, 10);
        assert!((low - 0.4902).abs() < 1e-3 && (high - 0.9433).abs() < 1e-3, "{low} {high}");
        let (low, high) = wilson(0, 10);
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-3, "{high}");
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_difference_of_shares_has_newcombes_interval() {
        // 56/70 and 48/80: 0.2, 0.0524 to 0.3339 (Newcombe 1998, table II, method 10).
        let d = difference((56, 70), (48, 80));
        assert!((d.value - 0.2).abs() < 1e-9);
        assert!((d.low - 0.0524).abs() < 1e-3 && (d.high - 0.3339).abs() < 1e-3, "{d:?}");
    }

    #[test]
    fn correlations_know_their_limits() {
        let line: Vec<(f64, f64)> = (0..5).map(|i| (f64::from(i), 3.0 * f64::from(i) + 1.0)).collect();
        assert!((pearson(&line).unwrap() - 1.0).abs() < 1e-12);
        let bent: Vec<(f64, f64)> = (0..5).map(|i| (f64::from(i), -f64::from(i).powi(3))).collect();
        assert!((spearman(&bent).unwrap() + 1.0).abs() < 1e-12);
        assert!(pearson(&bent).unwrap() > -1.0);
        assert_eq!(pearson(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [2.5, 1.0, 2.5]);
    }

    #[test]
    fn rank_violations_cost_what_they_would_in_truth() {
        assert_eq!(mmrv(&[(0.1, 0.2), (0.5, 0.6), (0.6, 0.9)]), Some(0.0));
        // The model swaps the last two, 0.3 apart in truth.
        let swapped = mmrv(&[(0.1, 0.2), (0.6, 0.6), (0.5, 0.9)]).unwrap();
        assert!((swapped - 0.2).abs() < 1e-9, "{swapped}");
    }

    #[test]
    fn the_bootstrap_covers_its_value() {
        let pairs: Vec<(f64, f64)> = (0..8).map(|i| (f64::from(i), f64::from(i * i))).collect();
        let all = pairs.clone();
        let found = bootstrap(&pairs, pearson, 200, 1, |rng| {
            (0..all.len()).filter_map(|_| rng.pick(&all).copied()).collect()
        })
        .unwrap();
        assert!(found.low <= found.value && found.value <= found.high && found.low < found.high, "{found:?}");
    }
}
