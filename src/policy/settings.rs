//! What a policy's training is asked to do: a TOML file, or the defaults.

use std::path::Path;

use forerun_models::dreamer::WeightFormat;
use forerun_models::optim::{Schedule, Settings as Optimiser};
use forerun_models::policy::{Config, Kind, Look, Recipe};
use serde::{Deserialize, Serialize};

use crate::train::TrainError;

/// Everything that decides a run, but for the data and its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// Version of this file.
    pub format: u32,
    /// Name of the policy: shown in lists.
    pub name: String,
    /// What it can do, in words, for its contract.
    pub knows: String,
    /// Licence of the weights, SPDX.
    pub licence: String,
    /// `direct` (words) or `goal` (a picture to reach).
    pub kind: Kind,
    /// `micro`, `small` or `medium`.
    pub size: String,
    /// Pictures that it looks at; empty = those of its kind.
    pub looks: Vec<Look>,
    /// Actions a chunk; 0 = those of its size.
    pub chunk: usize,
    /// Seed of weights, order of examples and noise.
    pub seed: u64,
    /// Examples a batch.
    pub batch: usize,
    /// Examples a micro-batch (one worker's share of work at a time).
    pub micro: usize,
    /// Threads that work on micro-batches; 0 = one for each core.
    pub workers: usize,
    /// Episodes at the end of each dataset that are kept for judging.
    pub held_out: usize,
    /// Leaves out episodes that their labels call a failure.
    pub only_successes: bool,
    /// Goals lie this many steps ahead: least and most (goal policies).
    pub goal_steps: [usize; 2],
    /// Share by which the colours of an example's pictures are changed at most.
    pub colour_jitter: f32,
    /// Share of their sides by which an example's pictures are moved at most, all of them alike.
    pub shift: f32,
    /// Noise on the state, in its standard deviations: an arm is never exactly where it says.
    pub state_noise: f32,
    /// Minutes between checkpoints.
    pub checkpoint_minutes: f32,
    /// Minutes between judgements on held-out episodes.
    pub judge_minutes: f32,
    /// Snapshots of the policy kept under `checkpoints/`, more of them early on: what a ranking is tried on.
    pub snapshots: usize,
    /// Whether matrix products round their inputs to bf16 where the processor has instructions for it.
    pub bf16: bool,
    /// How the weights of the finished policy are stored; a run's own checkpoint stays exact.
    pub weights: WeightFormat,
    /// The mix of cases.
    pub recipe: Recipe,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// The learning rate over the run.
    pub schedule: Schedule,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            format: 1,
            name: "policy".into(),
            knows: String::new(),
            licence: "MIT OR Apache-2.0".into(),
            kind: Kind::Direct,
            size: "small".into(),
            looks: Vec::new(),
            chunk: 0,
            seed: 1,
            batch: 32,
            micro: 16,
            workers: 0,
            held_out: 16,
            only_successes: true,
            goal_steps: [4, 16],
            colour_jitter: 0.1,
            shift: 0.03,
            state_noise: 0.02,
            checkpoint_minutes: 5.0,
            judge_minutes: 2.0,
            snapshots: 0,
            bf16: true,
            weights: WeightFormat::F32,
            recipe: Recipe::default(),
            optimiser: Optimiser::default(),
            schedule: Schedule { warmup: 50, decay: 0.4, last: 0.02 },
        }
    }
}

impl PolicySettings {
    /// The settings that are shipped for a kind of policy, without the name and the knowledge of the shipped one.
    pub fn shipped(kind: Kind) -> Self {
        let text = match kind {
            Kind::Direct => include_str!("../../assets/training/push-direct.toml"),
            Kind::Goal => include_str!("../../assets/training/push-goal.toml"),
        };
        // A test reads both files.
        let settings = toml::from_str::<Self>(text).unwrap_or_default();
        let Self { name, knows, .. } = Self::default();
        Self { kind, name, knows, ..settings }
    }

    /// Reads and checks a settings file.
    ///
    /// # Errors
    /// When it is missing, not TOML, has unknown keys or impossible values.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::File { path: path.to_path_buf(), source })?;
        let wrong = |reason: String| TrainError::Settings { path: path.to_path_buf(), reason };
        let settings: Self = toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))?;
        match settings.problem() {
            Some(problem) => Err(wrong(problem)),
            None => Ok(settings),
        }
    }

    /// What is impossible about these settings, in words.
    pub fn problem(&self) -> Option<String> {
        if self.format > 1 {
            return Some(format!("format {} is newer than this version reads; update Forerun", self.format));
        }
        if Config::by_name(&self.size, self.kind).is_none() {
            return Some(format!("size `{}` is none of micro, small, medium", self.size));
        }
        let within = |name, value: usize, least, most| {
            (!(least..=most).contains(&value))
                .then(|| format!("{name} is {value}; {least} to {most} are possible"))
        };
        let bounds = [
            within("batch", self.batch, 1, 4096),
            within("micro", self.micro, 1, 4096),
            within("chunk", self.chunk, 0, 256),
            within("snapshots", self.snapshots, 0, 100),
            within("the nearest goal", self.goal_steps[0], 1, 1000),
            within("the furthest goal", self.goal_steps[1], self.goal_steps[0], 1000),
            within("recipe.draws", self.recipe.draws, 1, 64),
        ];
        if let Some(problem) = bounds.into_iter().flatten().next() {
            return Some(problem);
        }
        let rate = self.optimiser.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return Some("optimiser.learning_rate must be above 0".into());
        }
        let shares =
            [self.colour_jitter, self.shift, self.state_noise, self.recipe.pure, self.recipe.readings_weight];
        if shares.iter().any(|s| !(0.0..=1.0).contains(s)) {
            return Some(
                "colour_jitter, shift, state_noise, recipe.pure and recipe.readings_weight go from 0 to 1"
                    .into(),
            );
        }
        None
    }

    /// Sizes of the network, without the scales, which come from the data.
    ///
    /// # Errors
    /// A size that does not exist.
    pub fn config(&self) -> Result<Config, TrainError> {
        let mut config = Config::by_name(&self.size, self.kind)
            .ok_or_else(|| TrainError::Data(format!("size `{}` is not known", self.size)))?;
        if !self.looks.is_empty() {
            config.looks = self.looks.clone();
        }
        if self.chunk > 0 {
            config.chunk = self.chunk;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_settings_file_names_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            PolicySettings::read(&path).map_err(|e| e.to_string())
        };
        assert_eq!(read("kind = 'goal'").unwrap().kind, Kind::Goal);
        assert!(read("kind = 'wish'").is_err());
        assert!(read("bach = 3").unwrap_err().contains("bach"));
        assert!(read("batch = 0").unwrap_err().contains("batch is 0"));
        assert!(read("goal_steps = [9, 4]").unwrap_err().contains("goal"));
        assert!(read("format = 2").unwrap_err().contains("update Forerun"));
    }

    #[test]
    fn the_shipped_settings_are_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/training");
        for name in ["push-direct.toml", "push-goal.toml"] {
            let settings = PolicySettings::read(&folder.join(name)).unwrap();
            assert!(settings.config().is_ok());
            let own = PolicySettings::shipped(settings.kind);
            assert_eq!(own, PolicySettings { name: "policy".into(), knows: String::new(), ..settings });
        }
    }
}
