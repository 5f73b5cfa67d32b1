//! What a training run is asked to do: a TOML file.

use std::path::{Path, PathBuf};

use forerun_models::dreamer::{Config, Recipe, WeightFormat};
use forerun_models::optim::{Schedule, Settings as Optimiser};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// Clips of one length and their share of the batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipMix {
    /// Steps a clip (it has one frame more).
    pub steps: usize,
    /// Clips a batch.
    pub clips: usize,
    /// Share of the iterations that use this length.
    pub share: f32,
}

/// Everything that decides a run, but for the data and its length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Version of this file.
    pub format: u32,
    /// Name of the model: shown in lists.
    pub name: String,
    /// What the model knows, in words, for its contract.
    pub knows: String,
    /// Licence of the weights, SPDX.
    pub licence: String,
    /// `micro`, `tiny`, `small` or `base`.
    pub size: String,
    /// Harmonics of the channels that the network sees, where it is not the size's own number (see
    /// [`Config::harmonics`]). A run from other weights may ask for more than they have.
    pub harmonics: Option<usize>,
    /// Width of the layers that put right what is drawn anew; the size's own unless given (see [`Config::refiner`]). A run
    /// from weights without them may ask for them.
    pub refiner: Option<usize>,
    /// Steps that temporal attention looks back at, where it is not the size's own number (see [`Config::window`]): what the
    /// arm hides for longer is forgotten. No weight depends on it.
    pub window: Option<usize>,
    /// A policy (or model) folder whose text encoder the run begins with. One that learns from pictures only, where words say
    /// little, tends to end as one vector for all prompts; a policy's has to tell them apart.
    pub words_from: Option<PathBuf>,
    /// A policy folder that says what words ask for where a future is given no numbers; the model gets a copy of it. It must see
    /// the same pictures and move the same channels. Without one the network's own guess leads such futures.
    pub intent: Option<PathBuf>,
    /// Seed of weights, order of clips and noise.
    pub seed: u64,
    /// Lengths of clips.
    pub clips: Vec<ClipMix>,
    /// Frames a micro-batch (one worker's share of work at a time).
    pub micro_frames: usize,
    /// Frames a micro-batch on a graphics card: as many as its memory holds at once.
    pub gpu_frames: usize,
    /// Threads that work on micro-batches on the processor; 0 = one for each core.
    pub workers: usize,
    /// Episodes at the end of each dataset that are kept for judging.
    pub held_out: usize,
    /// Share of the run after which clips with the network's own past begin.
    pub own_past_from: f32,
    /// Share of action-driven clips with their own past from then on.
    pub own_past: f32,
    /// Share of the clips of demonstrations that begin with the episode, where the words alone decide what happens.
    pub early: f32,
    /// Minutes between checkpoints.
    pub checkpoint_minutes: f32,
    /// Minutes between judgements on held-out episodes.
    pub judge_minutes: f32,
    /// Whether matrix products round their inputs to bf16 where the processor has instructions for it (to TF32 on
    /// CUDA).
    pub bf16: bool,
    /// How `model.safetensors` stores matrices: `f32`, or `bf16` for half the file. The checkpoint
    /// (`optimizer.safetensors`) stays exact.
    pub weights: WeightFormat,
    /// The mix of cases.
    pub recipe: Recipe,
    /// The optimiser.
    pub optimiser: Optimiser,
    /// The learning rate over the run.
    pub schedule: Schedule,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            format: 1,
            name: "model".into(),
            knows: String::new(),
            licence: "MIT OR Apache-2.0".into(),
            size: "tiny".into(),
            harmonics: None,
            refiner: None,
            window: None,
            words_from: None,
            intent: None,
            seed: 1,
            clips: vec![ClipMix { steps: 8, clips: 16, share: 1.0 }],
            micro_frames: 16,
            gpu_frames: 128,
            workers: 0,
            held_out: 16,
            own_past_from: 0.5,
            own_past: 0.5,
            early: 0.0,
            checkpoint_minutes: 5.0,
            judge_minutes: 5.0,
            bf16: true,
            weights: WeightFormat::F32,
            recipe: Recipe::default(),
            optimiser: Optimiser::default(),
            schedule: Schedule::default(),
        }
    }
}

impl TrainSettings {
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
        if Config::by_name(&self.size).is_none() {
            return Some(format!("size `{}` is none of micro, tiny, small, base", self.size));
        }
        if self.clips.is_empty() || self.clips.iter().any(|mix| mix.steps == 0 || mix.clips == 0) {
            return Some("[[clips]] needs at least one entry with steps and clips above 0".into());
        }
        if self.clips.iter().map(|mix| mix.share).sum::<f32>() <= 0.0 {
            return Some("the shares of [[clips]] add up to nothing".into());
        }
        if self.clips.iter().any(|mix| mix.steps > 512 || mix.clips > 4096) {
            return Some("at most 512 steps a clip and 4096 clips a batch".into());
        }
        if self.harmonics.is_some_and(|n| n > 16) {
            return Some("at most 16 harmonics".into());
        }
        let rate = self.optimiser.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return Some("optimiser.learning_rate must be above 0".into());
        }
        None
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
            TrainSettings::read(&path).map_err(|e| e.to_string())
        };
        assert_eq!(read("seed = 4").unwrap().seed, 4);
        assert!(read("sizze = 'tiny'").unwrap_err().contains("sizze"));
        assert!(read("size = 'huge'").unwrap_err().contains("micro, tiny"));
        assert_eq!(read("seed = 4").unwrap().weights, WeightFormat::F32);
        assert_eq!(read("weights = 'bf16'").unwrap().weights, WeightFormat::Bf16);
        assert!(read("weights = 'int8'").unwrap_err().contains("bf16"));
        assert!(read("format = 2").unwrap_err().contains("update Forerun"));
        assert!(read("= 3").is_err());
        assert!(TrainSettings::read(&dir.path().join("none.toml")).is_err());
    }
}
