//! Views of a set of futures: mean, standard deviation, the future in the middle, the two farthest apart.

use forerun_models::Frame;

use super::diff::{check, heat_table};
use crate::failure::Failure;

/// Heat-map levels a unit of standard deviation: the fixed scale of the uncertainty map. A deviation of 16 of 255
/// has the colour of a difference of 64.
pub const LEVELS_PER_DEVIATION: f32 = 4.0;

/// Mean and spread of one frame over several futures.
#[derive(Clone, Debug, PartialEq)]
pub struct SetView {
    /// Mean of each channel, rounded: `(sum + n / 2) / n`.
    pub mean: Frame,
    /// Standard deviation of each pixel, on 0..=255, rows from top to bottom: the root of the mean over the three
    /// channels of the sample variance (divisor `n - 1`).
    pub deviation: Vec<f32>,
    /// Number of futures.
    pub count: usize,
}

impl SetView {
    /// Mean and deviation of the same frame of at least two futures.
    ///
    /// # Errors
    /// Fewer than two pictures, or pictures of several sizes.
    pub fn new(frames: &[&Frame]) -> Result<Self, Failure> {
        let (Some(first), true) = (frames.first(), frames.len() >= 2) else {
            return Err(Failure::new(
                "The spread of fewer than two futures is not known.",
                "Choose two or more futures.",
            ));
        };
        for frame in frames {
            check(first, frame)?;
        }
        let n = frames.len() as u64;
        let mut sums = vec![0u64; first.data.len()];
        let mut squares = vec![0u64; first.data.len()];
        for frame in frames {
            for ((value, sum), square) in frame.data.iter().zip(&mut sums).zip(&mut squares) {
                *sum += u64::from(*value);
                *square += u64::from(*value) * u64::from(*value);
            }
        }
        let data = sums.iter().map(|sum| ((sum + n / 2) / n) as u8).collect();
        // In whole numbers, n * sum(x^2) - sum(x)^2 is exact and never negative.
        let scale = 1.0 / (3.0 * n as f64 * (n - 1) as f64);
        let deviation = sums
            .chunks_exact(3)
            .zip(squares.chunks_exact(3))
            .map(|(sums, squares)| {
                let sum: u64 = sums.iter().zip(squares).map(|(s, q)| n * q - s * s).sum();
                (sum as f64 * scale).sqrt() as f32
            })
            .collect();
        Ok(Self {
            mean: Frame { width: first.width, height: first.height, data },
            deviation,
            count: frames.len(),
        })
    }

    /// The uncertainty map: [`LEVELS_PER_DEVIATION`] levels of the heat map's fixed scale a unit, rounded.
    pub fn map(&self) -> Frame {
        let table = heat_table();
        let data = self.deviation.iter().flat_map(|d| {
            let level = (d * LEVELS_PER_DEVIATION + 0.5).floor().clamp(0.0, 255.0) as usize;
            table.get(level).copied().unwrap_or([255; 3])
        });
        Frame { width: self.mean.width, height: self.mean.height, data: data.collect() }
    }

    /// Root mean square of the deviation over all pixels, 0..=255: how open the future is at this frame.
    pub fn spread(&self) -> f64 {
        let sum: f64 = self.deviation.iter().map(|d| f64::from(*d).powi(2)).sum();
        (sum / self.deviation.len().max(1) as f64).sqrt()
    }
}

/// Deviations and colours to write beside the uncertainty map's legend.
pub fn deviation_legend() -> Vec<(f32, [u8; 3])> {
    super::diff::HEAT_STOPS.iter().map(|(d, c)| (f32::from(*d) / LEVELS_PER_DEVIATION, *c)).collect()
}

/// Squared distances of every two futures of a set, added up frame by frame, so that not all frames need to be in
/// memory at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Distances {
    count: usize,
    /// Sum and number of squared differences of each pair `(i, j)`, `i < j`, row by row.
    pairs: Vec<(f64, u64)>,
}

impl Distances {
    /// For `count` futures.
    pub fn new(count: usize) -> Self {
        Self { count, pairs: vec![(0.0, 0); count * count.saturating_sub(1) / 2] }
    }

    /// Number of futures.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Place of a pair in the list.
    fn place(&self, i: usize, j: usize) -> Option<usize> {
        let (i, j) = (i.min(j), i.max(j));
        (i < j && j < self.count).then(|| i * (2 * self.count - i - 1) / 2 + (j - i - 1))
    }

    /// Adds one frame of every future, in their order; a future that has no such frame (or one of another size) adds
    /// nothing to its pairs.
    pub fn add(&mut self, frames: &[Option<&Frame>]) {
        for (i, a) in frames.iter().enumerate() {
            for (j, b) in frames.iter().enumerate().skip(i + 1) {
                let (Some(a), Some(b)) = (a, b) else { continue };
                if check(a, b).is_err() {
                    continue;
                }
                let Some(pair) = self.place(i, j).and_then(|p| self.pairs.get_mut(p)) else { continue };
                let squares = a.data.iter().zip(&b.data).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
                pair.0 += squares.sum::<u64>() as f64;
                pair.1 += a.data.len() as u64;
            }
        }
    }

    /// Root of the mean squared difference of two futures, 0..=255; `None` where they share no frame.
    pub fn between(&self, i: usize, j: usize) -> Option<f64> {
        if i == j && i < self.count {
            return Some(0.0);
        }
        let (sum, n) = *self.pairs.get(self.place(i, j)?)?;
        (n > 0).then(|| (sum / n as f64).sqrt())
    }

    /// The median future: the one whose squared distance to all others is least (the medoid: a future that really
    /// was imagined, not a blend). The first of several; `None` for an empty set or one without a shared frame.
    pub fn median(&self) -> Option<usize> {
        if self.count == 1 {
            return Some(0);
        }
        let total = |i: usize| -> Option<f64> {
            let apart: Vec<f64> =
                (0..self.count).filter(|j| *j != i).filter_map(|j| self.between(i, j)).collect();
            (!apart.is_empty()).then(|| apart.iter().map(|d| d * d).sum::<f64>() / apart.len() as f64)
        };
        let sums = (0..self.count).filter_map(|i| Some((i, total(i)?)));
        sums.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(i, _)| i)
    }

    /// The two futures that differ most and their distance; the first of several.
    pub fn most_different(&self) -> Option<(usize, usize, f64)> {
        let mut best: Option<(usize, usize, f64)> = None;
        for i in 0..self.count {
            for j in i + 1..self.count {
                if let Some(d) = self.between(i, j)
                    && best.is_none_or(|(_, _, most)| d > most)
                {
                    best = Some((i, j, d));
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn grey(values: &[u8]) -> Frame {
        Frame::new(values.len(), 1, values.iter().flat_map(|v| [*v; 3]).collect()).unwrap()
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_book() {
        let frames = [grey(&[10, 0]), grey(&[20, 0]), grey(&[33, 0])];
        let view = SetView::new(&frames.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(view.mean.data[..4], [21, 21, 21, 0]); // 63 / 3
        // Sample variance of 10, 20, 33: (121 + 1 + 144) / 2 = 133.
        assert!((view.deviation[0] - 133.0f32.sqrt()).abs() < 1e-4);
        assert_eq!((view.deviation[1], view.count), (0.0, 3));
        assert!((view.spread() - (133.0f64 / 2.0).sqrt()).abs() < 1e-4);
        // 11.53 * 4 = 46.1: level 46 of the fixed scale.
        assert_eq!(view.map().data[..3], super::super::diff::heat(46));
        assert_eq!(view.map().data[3..], [0, 0, 0]);
    }

    #[test]
    fn one_channel_that_wavers_counts_a_third() {
        let a = Frame::new(1, 1, vec![0, 50, 50]).unwrap();
        let b = Frame::new(1, 1, vec![6, 50, 50]).unwrap();
        let view = SetView::new(&[&a, &b]).unwrap();
        // Variance 18 in red alone: the root of 18 / 3.
        assert!((view.deviation[0] - 6.0f32.sqrt()).abs() < 1e-5);
        assert!(SetView::new(&[&a]).is_err());
        assert!(SetView::new(&[&a, &grey(&[1, 2])]).is_err());
    }

    #[test]
    fn the_median_future_and_the_most_different_pair_are_found() {
        let mut distances = Distances::new(4);
        // Two frames each; the third future lacks the second frame.
        let first = [grey(&[0]), grey(&[10]), grey(&[12]), grey(&[60])];
        let second = [grey(&[0]), grey(&[10]), grey(&[12]), grey(&[60])];
        distances.add(&first.iter().map(Some).collect::<Vec<_>>());
        let mut frames: Vec<_> = second.iter().map(Some).collect();
        frames[2] = None;
        distances.add(&frames);
        assert_eq!(distances.between(0, 1), Some(10.0));
        assert_eq!(distances.between(3, 2), Some(48.0));
        assert_eq!(distances.between(1, 1), Some(0.0));
        assert_eq!(distances.between(0, 4), None);
        assert_eq!(distances.median(), Some(2)); // 144 + 4 + 2304 < 100 + 4 + 2500
        assert_eq!(distances.most_different(), Some((0, 3, 60.0)));
        assert_eq!(Distances::new(0).median(), None);
        assert_eq!(Distances::new(1).median(), Some(0));
        assert_eq!(Distances::new(3).most_different(), None);
    }

    #[test]
    fn the_legend_is_in_units_of_the_deviation() {
        assert_eq!(
            deviation_legend().iter().map(|(d, _)| *d).collect::<Vec<_>>(),
            [0.0, 2.0, 6.0, 16.0, 32.0, 63.75]
        );
    }
}
