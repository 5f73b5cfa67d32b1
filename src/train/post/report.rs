//! What a run says while it goes on, and what it remembers between two starts.

use serde::{Deserialize, Serialize};

use super::preflight::Preflight;
use crate::train::Judgement;

/// A judgement on held-out episodes, beside what the base made of the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Steps after the start frame.
    pub horizons: Vec<usize>,
    /// PSNR now, dB.
    pub psnr: Vec<f32>,
    /// PSNR of the base, which is told only the channels that it knows.
    pub base: Vec<f32>,
    /// PSNR of the repeated start frame.
    pub freeze: Vec<f32>,
    /// PSNR under another window's actions.
    pub shuffled: Vec<f32>,
    /// `psnr - shuffled`: what the actions are worth.
    pub delta: Vec<f32>,
    /// Spread of two futures over their error at the last horizon; 1 = as unsure as wrong.
    pub spread_skill: Option<f32>,
    /// The base's own world: PSNR now and of the base at each horizon, where it is replayed.
    pub old: Option<OldWorld>,
    /// What checkpoints are ranked by: mean PSNR over the horizons.
    pub score: f32,
}

/// What became of the base's own world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OldWorld {
    /// PSNR now, dB.
    pub psnr: Vec<f32>,
    /// PSNR of the base, dB.
    pub base: Vec<f32>,
}

impl OldWorld {
    /// How many dB were lost at the last horizon; negative = gained.
    pub fn loss_db(&self) -> Option<f32> {
        self.base.last().zip(self.psnr.last()).map(|(base, now)| base - now)
    }
}

impl Comparison {
    /// Puts the numbers of now beside those of before.
    pub(super) fn new(now: Judgement, base: &Judgement, spread: Option<f32>, old: Option<OldWorld>) -> Self {
        let delta = now.psnr.iter().zip(&now.shuffled).map(|(a, b)| a - b).collect();
        let score = now.psnr.iter().sum::<f32>() / now.psnr.len().max(1) as f32;
        Self {
            horizons: now.horizons,
            psnr: now.psnr,
            base: base.psnr.clone(),
            freeze: now.freeze,
            shuffled: now.shuffled,
            delta,
            spread_skill: spread,
            old,
            score,
        }
    }

    /// Whether the model does as well whatever it is told: the field's most common silent failure.
    pub fn ignores_actions(&self) -> bool {
        const WORTH: f32 = 0.1;
        !self.delta.is_empty() && self.delta.iter().all(|delta| *delta < WORTH)
    }

    /// Named numbers for TensorBoard.
    pub(super) fn numbers(&self) -> Vec<(String, f32)> {
        let mut out = Vec::new();
        let lists =
            [("psnr", &self.psnr), ("base", &self.base), ("freeze", &self.freeze), ("delta", &self.delta)];
        for (what, values) in lists {
            out.extend(self.horizons.iter().zip(values).map(|(h, v)| (format!("held_out/h{h}/{what}"), *v)));
        }
        out.extend(self.spread_skill.map(|spread| ("held_out/spread_skill".to_owned(), spread)));
        if let Some(old) = &self.old {
            out.extend(
                self.horizons.iter().zip(&old.psnr).map(|(h, v)| (format!("base_world/h{h}/psnr"), *v)),
            );
        }
        out
    }
}

/// Where a run stands, for whoever watches it; a line of `log.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PostReport {
    /// Iterations done.
    pub iteration: u64,
    /// Share of the budget that is used, 0..=1.
    pub progress: f32,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Seconds left.
    pub seconds_left: f64,
    /// Weighted loss, averaged over the last iterations.
    pub loss: Option<f32>,
    /// One-step PSNR on training clips, dB.
    pub psnr: Option<f32>,
    /// Learning rate of this iteration.
    pub learning_rate: f32,
    /// Gradient norm before clipping.
    pub gradient_norm: f32,
    /// Frames a second.
    pub frames_per_second: f32,
    /// Judgement on held-out episodes, when one was just made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<Comparison>,
    /// Something that a person should look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// Preview of truth, before and after, when one was just drawn: a PNG in the model folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// A checkpoint that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Its iteration, and its folder's name under `checkpoints/`.
    pub iteration: u64,
    /// Its score.
    pub score: f32,
}

/// What a run remembers beside the optimiser's numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// sha256 of the datasets.
    pub data: Vec<String>,
    /// The budget that judgements are counted by.
    #[serde(default)]
    pub budget: String,
    /// Judgements made.
    pub judged: usize,
    /// Best checkpoints, the best first.
    pub kept: Vec<Kept>,
    /// Judgements since the best one.
    pub waiting: usize,
    /// Why the run ended before its time.
    pub stopped: Option<String>,
    /// The last alarm.
    pub alarm: Option<String>,
    /// Running means of loss and PSNR.
    pub smooth: (Option<f32>, Option<f32>),
}

impl Memory {
    /// Notes a judged checkpoint. Returns whether it is kept, and those that are not any more.
    pub fn note(&mut self, iteration: u64, score: f32, keep: usize) -> (bool, Vec<Kept>) {
        let best = self.kept.first().map_or(f32::NEG_INFINITY, |kept| kept.score);
        self.waiting = if score > best + 0.01 { 0 } else { self.waiting + 1 };
        self.kept.push(Kept { iteration, score });
        self.kept.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.iteration.cmp(&b.iteration)));
        let gone = self.kept.split_off(keep.max(1).min(self.kept.len()));
        (gone.iter().all(|kept| kept.iteration != iteration), gone)
    }
}

/// What a run says.
#[derive(Clone, Debug)]
pub enum PostStage {
    /// Episodes are read: how many so far, of how many.
    Loading {
        /// Episodes read.
        done: usize,
        /// All episodes.
        all: usize,
    },
    /// Something a person should know.
    Note(String),
    /// Memory, disk and time suffice.
    Ready(Preflight),
    /// What the base makes of the new data.
    Before(Judgement),
    /// An iteration is done.
    Training(Box<PostReport>),
}

/// A running mean over about twenty values; ones that are no numbers are passed over.
pub(super) fn smooth(old: Option<f32>, new: f32) -> Option<f32> {
    match old {
        Some(old) if new.is_finite() => Some(old * 0.95 + new * 0.05),
        None if new.is_finite() => Some(new),
        old => old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_checkpoints_are_kept_in_order_and_waiting_is_counted() {
        let mut memory = Memory::default();
        assert_eq!(memory.note(10, 20.0, 2), (true, vec![]));
        assert_eq!(memory.note(20, 22.0, 2), (true, vec![]));
        assert_eq!(memory.note(30, 21.0, 2), (true, vec![Kept { iteration: 10, score: 20.0 }]));
        assert_eq!(memory.note(40, 19.0, 2), (false, vec![Kept { iteration: 40, score: 19.0 }]));
        assert_eq!(memory.waiting, 2);
        assert_eq!(memory.kept.iter().map(|k| k.iteration).collect::<Vec<_>>(), [20, 30]);
        memory.note(50, 30.0, 2);
        assert_eq!((memory.waiting, memory.kept.len()), (0, 2));
    }

    #[test]
    fn a_model_that_does_the_same_whatever_it_is_told_is_found_out() {
        let judged = |shuffled: Vec<f32>| Judgement {
            horizons: vec![1, 10],
            psnr: vec![30.0, 20.0],
            freeze: vec![20.0, 15.0],
            shuffled,
            words_apart: None,
        };
        let compare = |shuffled| Comparison::new(judged(shuffled), &judged(vec![]), None, None);
        assert!(compare(vec![29.98, 19.95]).ignores_actions());
        assert!(!compare(vec![29.98, 18.0]).ignores_actions());
        assert_eq!(compare(vec![29.0, 18.0]).score, 25.0);
    }
}
