//! Chunks that overlap, blended into one action a step.
//!
//! At each step the weighted mean of what all living chunks say about it is taken, newer ones weighing more (a form of the
//! temporal ensembling of Zhao et al. 2023, <https://arxiv.org/abs/2304.13705>): no jump when a new chunk comes in.

use std::collections::VecDeque;

use super::plan::Chunk;

struct Living {
    /// Step of its observation.
    born: usize,
    rows: Chunk,
}

/// The chunks of one episode that still have something to say.
#[derive(Default)]
pub struct Overlap {
    /// The newest first.
    living: VecDeque<Living>,
}

impl Overlap {
    /// Steps from one chunk to the next, unless told otherwise.
    pub const EVERY: usize = 3;
    /// Weight of a chunk against the next newer one, unless told otherwise.
    pub const KEEP: f32 = 0.5;

    /// A chunk that answers the observation of step `born`: its row `k` is for step `born + k`.
    pub fn add(&mut self, born: usize, rows: Chunk) {
        self.living.push_front(Living { born, rows });
    }

    /// Step of the newest chunk's observation.
    pub fn newest(&self) -> Option<usize> {
        self.living.front().map(|chunk| chunk.born)
    }

    /// What is said about `step`, a number a channel; `None` where nothing is. A chunk weighs `keep` (0 to 1) of the next newer
    /// one, and counts from `delay` steps after its observation on. Steps must not go back.
    pub fn at(&mut self, step: usize, keep: f32, delay: usize) -> Option<Vec<f32>> {
        self.living.retain(|chunk| step < chunk.born + chunk.rows.len());
        let mut sum: Option<Vec<f32>> = None;
        let (mut all, mut weight) = (0.0_f32, 1.0_f32);
        for chunk in self.living.iter().filter(|chunk| step >= chunk.born + delay) {
            let Some(row) = chunk.rows.get(step - chunk.born) else { continue };
            let sum = sum.get_or_insert_with(|| vec![0.0; row.len()]);
            sum.iter_mut().zip(row).for_each(|(s, v)| *s += v * weight);
            all += weight;
            weight *= keep;
            if weight <= 0.0 {
                break;
            }
        }
        sum.map(|sum| sum.into_iter().map(|s| s / all).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Says `100 * number + row`.
    fn chunk(number: usize) -> Chunk {
        (0..4).map(|k| vec![(100 * number + k) as f32]).collect()
    }

    #[test]
    fn newer_chunks_weigh_more_and_old_ones_die() {
        let mut overlap = Overlap::default();
        assert_eq!((overlap.newest(), overlap.at(0, 0.5, 0)), (None, None));
        overlap.add(0, chunk(0));
        assert_eq!(overlap.at(0, 0.5, 0).unwrap(), [0.0]);
        overlap.add(2, chunk(1));
        assert_eq!(overlap.at(2, 0.0, 0).unwrap(), [100.0]);
        assert!((overlap.at(2, 0.5, 0).unwrap()[0] - (100.0 + 1.0) / 1.5).abs() < 1e-4);
        // A chunk that is late leaves the word to the one before.
        assert_eq!(overlap.at(2, 0.5, 1).unwrap(), [2.0]);
        assert_eq!(overlap.at(4, 0.5, 0).unwrap(), [102.0]);
        assert_eq!((overlap.at(6, 0.5, 0), overlap.newest()), (None, None));
    }
}
