//! The learning rate over a run.

use serde::{Deserialize, Serialize};

/// Warm-up, a plateau, then a straight way down ("warm-up, stable, decay", Hu et al. 2024,
/// <https://arxiv.org/abs/2404.06395>): a run can be prolonged from its plateau, and cut short by decaying early.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Schedule {
    /// Iterations of the straight way up.
    pub warmup: u64,
    /// Share of the run that the way down takes, 0..=1.
    pub decay: f32,
    /// Learning rate at the end as a share of the plateau.
    pub last: f32,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { warmup: 100, decay: 0.3, last: 0.02 }
    }
}

impl Schedule {
    /// Factor on the learning rate at `iteration` when `progress` (0..=1) of the run is over.
    pub fn factor(&self, iteration: u64, progress: f32) -> f32 {
        let up = if self.warmup == 0 { 1.0 } else { ((iteration + 1) as f32 / self.warmup as f32).min(1.0) };
        let begins = 1.0 - self.decay.clamp(0.0, 1.0);
        let down = if progress <= begins || self.decay <= 0.0 {
            1.0
        } else {
            let way = ((progress - begins) / self.decay).clamp(0.0, 1.0);
            1.0 - way * (1.0 - self.last)
        };
        up * down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_up_stays_and_comes_down() {
        let schedule = Schedule { warmup: 10, decay: 0.5, last: 0.1 };
        assert!((schedule.factor(0, 0.0) - 0.1).abs() < 1e-6);
        assert!((schedule.factor(9, 0.1) - 1.0).abs() < 1e-6);
        assert!((schedule.factor(50, 0.5) - 1.0).abs() < 1e-6);
        assert!((schedule.factor(75, 0.75) - 0.55).abs() < 1e-6);
        assert!((schedule.factor(100, 1.0) - 0.1).abs() < 1e-6);
    }
}
