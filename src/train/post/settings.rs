//! What a post-training run is asked to do, and sensible answers from the size of the data and the time there is.

use std::path::Path;

use forerun_models::Fit;
use forerun_models::dreamer::WeightFormat;
use forerun_models::dreamer::lora::LoraTargets;
use forerun_models::optim::Schedule;
use serde::{Deserialize, Serialize};

use crate::dataset::doctor::View;
use crate::train::{ClipMix, TrainError, TrainSettings};

/// How the base's weights change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Lora for very little data, else full.
    #[default]
    Auto,
    /// All of them.
    Full,
    /// By adapters of low rank, which forget less and learn less.
    Lora,
}

/// Numbers that a person may set; what is `None` is chosen by [`PostSettings::choose`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// How.
    pub method: Method,
    /// Rank of the adapters.
    pub rank: Option<usize>,
    /// Which matrices get one.
    pub targets: Option<LoraTargets>,
    /// Learning rate of the plateau.
    pub learning_rate: Option<f32>,
    /// Episodes of the base's own world to replay; 0 = none.
    pub replay: Option<usize>,
    /// Episodes at the end of each dataset that are kept for judging.
    pub held_out: Option<usize>,
    /// Train on these episodes of each dataset only (first and last number); held-out ones stay the same.
    pub episodes: Option<(usize, usize)>,
    /// Corrections and camera, one for each dataset; missing ones change nothing.
    pub views: Vec<View>,
    /// How pictures of another shape become the model's; as the base's own were when `None`.
    pub fit: Option<Fit>,
    /// Judgements over the whole run.
    pub judgements: Option<usize>,
    /// Leave the data as it is, also where the doctor has no doubt.
    pub as_is: bool,
    /// Seed of fresh weights, order and noise.
    pub seed: Option<u64>,
    /// How the finished weights are stored.
    pub weights: Option<WeightFormat>,
    /// Name of the new model; the folder's name when `None`.
    pub name: Option<String>,
    /// Begin with random weights in the base's place: the control run, which shows what the base is worth.
    pub from_nothing: bool,
}

/// What the choice is made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Frames to train on.
    pub frames: usize,
    /// Different prompts among the episodes.
    pub prompts: usize,
    /// Episodes there are, of which some are held out.
    pub episodes: usize,
    /// Whether the base knows all action channels: the same body in another place.
    pub same_body: bool,
    /// Whether the base's own world can be replayed.
    pub can_replay: bool,
    /// How the base's own pictures were fitted.
    pub fit: Fit,
    /// Frames that the time allows to train on; `None` for a number of iterations.
    pub affordable: Option<f64>,
    /// Iterations, where they were asked for.
    pub iterations: Option<u64>,
}

/// Everything that decides a run but its data and length; `run.toml` in the model folder keeps it for a resumption.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostSettings {
    /// Version of this file.
    pub format: u32,
    /// sha256 of the base's weights: a resumed run must start from the same.
    pub base_sha256: String,
    /// `full` or `lora`, decided.
    pub method: Method,
    /// Rank of the adapters.
    pub rank: usize,
    /// Which matrices get one.
    pub targets: LoraTargets,
    /// Episodes of the base's own world that are replayed.
    pub replay_episodes: usize,
    /// Share of the clips that come from them.
    pub replay_share: f32,
    /// Judgements in a row without a better one after which the run stops; 0 = never.
    pub patience: usize,
    /// Judgements over the whole run.
    pub judgements: usize,
    /// Windows of held-out episodes a judgement.
    pub windows: usize,
    /// Best checkpoints that are kept.
    pub keep: usize,
    /// First and last episode to train on; all when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodes: Option<(usize, usize)>,
    /// How pictures of another shape become the model's.
    #[serde(default)]
    pub fit: Fit,
    /// Whether the run began with random weights instead of the base's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_nothing: bool,
    /// Clips, rates and weights, as for training from nothing.
    pub train: TrainSettings,
    /// Corrections of each dataset.
    #[serde(default)]
    pub views: Vec<View>,
}

/// Newest `format` of a `run.toml` that this version reads.
const FORMAT: u32 = 1;

/// Frames of one iteration at most.
const BATCH_FRAMES: usize = 128;

impl PostSettings {
    /// Chooses what the person did not: by rules that are written beside each number.
    pub fn choose(wishes: &Wishes, size: &Size, base_sha256: &str, name: &str) -> Self {
        // Under a minute of video there is too little to move ten million weights by.
        let little = size.frames < 600;
        let method = match wishes.method {
            // Adapters of random weights learn nothing.
            _ if wishes.from_nothing => Method::Full,
            Method::Auto if little => Method::Lora,
            Method::Auto => Method::Full,
            asked => asked,
        };
        // At least about 500 steps, or all of them are warm-up; large batches only where time allows.
        let steps = 8;
        let clips = match (size.affordable, size.iterations) {
            (Some(frames), _) => ((frames / 500.0) as usize / steps).clamp(4, BATCH_FRAMES / steps),
            _ => 8,
        };
        let iterations = match (size.affordable, size.iterations) {
            (_, Some(iterations)) => iterations as f64,
            (Some(frames), None) => frames / (steps * clips) as f64,
            (None, None) => 1000.0,
        };
        let rate = match method {
            // Adapters start at zero and take larger steps (Hu et al. 2021, table 11).
            Method::Lora => 2e-3,
            _ if wishes.from_nothing => 1.5e-3,
            // Training from nothing uses that; a body or a place that is new needs most of that, more of the same less.
            _ if size.same_body => 7e-4,
            _ => 1e-3,
        };
        let mut train = TrainSettings {
            name: wishes.name.clone().unwrap_or_else(|| name.to_owned()),
            seed: wishes.seed.unwrap_or(1),
            clips: vec![
                ClipMix { steps, clips, share: 0.8 },
                // Long clips for memory and for the model's own past, as many frames as the others.
                ClipMix { steps: 2 * steps, clips: clips.div_ceil(2), share: 0.2 },
            ],
            held_out: wishes.held_out.unwrap_or((size.episodes / 10).clamp(2, 16)),
            own_past_from: 0.5,
            own_past: 0.5,
            checkpoint_minutes: 3.0,
            weights: wishes.weights.unwrap_or_default(),
            schedule: Schedule {
                warmup: (iterations / 20.0).clamp(2.0, 60.0) as u64,
                decay: 0.4,
                last: 0.02,
            },
            ..TrainSettings::default()
        };
        train.optimiser.learning_rate = wishes.learning_rate.unwrap_or(rate);
        train.optimiser.muon = method == Method::Full;
        // The average spans about a thirtieth of the run.
        train.optimiser.ema = (1.0 - 30.0 / iterations.max(1.0)).clamp(0.9, 0.998) as f32;
        if size.prompts <= 1 {
            // One prompt for all says nothing about what happens: words alone are not worth learning from.
            train.recipe.words_only = 0.05;
            train.recipe.mute = 0.7;
        } else {
            train.recipe.words_only = 0.15;
        }
        // There is nothing to forget without a base.
        let replay = if size.can_replay && !wishes.from_nothing { wishes.replay.unwrap_or(24) } else { 0 };
        let share = if size.same_body { 0.2 } else { 0.1 };
        Self {
            format: FORMAT,
            base_sha256: base_sha256.to_owned(),
            method,
            rank: wishes.rank.unwrap_or(16).max(1),
            targets: wishes.targets.unwrap_or_default(),
            replay_episodes: replay,
            replay_share: if replay == 0 { 0.0 } else { share },
            patience: 6,
            judgements: wishes.judgements.unwrap_or(20).max(1),
            windows: 16,
            keep: 3,
            episodes: wishes.episodes,
            fit: wishes.fit.unwrap_or(size.fit),
            from_nothing: wishes.from_nothing,
            train,
            views: wishes.views.clone(),
        }
    }

    /// Reads the settings that a run began with.
    ///
    /// # Errors
    /// The file is missing, damaged or of a newer version.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TrainError::File { path: path.to_path_buf(), source })?;
        let wrong = |reason: String| TrainError::Settings { path: path.to_path_buf(), reason };
        let table: toml::Table = toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))?;
        let found = table.get("format").and_then(toml::Value::as_integer).unwrap_or(0);
        if found > i64::from(FORMAT) {
            return Err(wrong(format!("format {found} is newer than this version reads; update Forerun")));
        }
        toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))
    }

    /// Writes them, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let wrong = |reason: String| TrainError::Settings { path: path.to_path_buf(), reason };
        let text = toml::to_string(self).map_err(|e| wrong(e.to_string()))?;
        crate::fsx::write_atomic(path, text.as_bytes())
            .map_err(|source| TrainError::File { path: path.to_path_buf(), source })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn size(frames: usize, affordable: Option<f64>) -> Size {
        let (prompts, episodes, same_body, can_replay, iterations) = (5, 40, true, true, None);
        let fit = Fit::Crop;
        Size { frames, prompts, episodes, same_body, can_replay, fit, affordable, iterations }
    }

    #[test]
    fn little_data_is_adapted_and_much_is_trained_fully() {
        let choose = |frames| PostSettings::choose(&Wishes::default(), &size(frames, None), "", "m").method;
        assert_eq!((choose(300), choose(5000)), (Method::Lora, Method::Full));
        let asked = Wishes { method: Method::Full, ..Wishes::default() };
        assert_eq!(PostSettings::choose(&asked, &size(300, None), "", "m").method, Method::Full);
    }

    #[test]
    fn little_time_makes_small_batches_so_that_there_are_steps_enough() {
        let clips = |frames| {
            let chosen = PostSettings::choose(&Wishes::default(), &size(5000, Some(frames)), "", "m");
            chosen.train.clips[0].clips
        };
        assert_eq!((clips(5_000.0), clips(40_000.0), clips(1e6)), (4, 10, 16));
    }

    #[test]
    fn a_base_that_cannot_be_replayed_is_not() {
        let none = Size { can_replay: false, ..size(5000, None) };
        let chosen = PostSettings::choose(&Wishes::default(), &none, "", "m");
        assert_eq!((chosen.replay_episodes, chosen.replay_share), (0, 0.0));
    }

    #[test]
    fn pictures_are_fitted_as_the_bases_were_unless_somebody_chooses() {
        let of = |fit: Option<Fit>, base: Fit| {
            let wishes = Wishes { fit, ..Wishes::default() };
            PostSettings::choose(&wishes, &Size { fit: base, ..size(5000, None) }, "", "m").fit
        };
        assert_eq!((of(None, Fit::Crop), of(None, Fit::Bars)), (Fit::Crop, Fit::Bars));
        assert_eq!(of(Some(Fit::Bars), Fit::Crop), Fit::Bars);
    }

    #[test]
    fn a_control_run_has_the_settings_of_training_from_nothing() {
        let wishes = Wishes { method: Method::Lora, from_nothing: true, ..Wishes::default() };
        let chosen = PostSettings::choose(&wishes, &size(300, None), "", "m");
        assert_eq!((chosen.method, chosen.replay_episodes), (Method::Full, 0));
        assert!(chosen.from_nothing && chosen.train.optimiser.learning_rate > 1.4e-3);
    }

    #[test]
    fn settings_survive_their_file_and_newer_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.toml");
        let view = View { action_lag: 2, ..View::default() };
        let wishes = Wishes { views: vec![view], episodes: Some((0, 9)), ..Wishes::default() };
        let chosen = PostSettings::choose(&wishes, &size(5000, Some(9e4)), "abc", "m");
        chosen.write(&path).unwrap();
        assert_eq!(PostSettings::read(&path).unwrap(), chosen);
        let newer = std::fs::read_to_string(&path).unwrap().replacen("format = 1", "format = 9", 1);
        std::fs::write(&path, newer).unwrap();
        assert!(PostSettings::read(&path).unwrap_err().to_string().contains("update Forerun"));
    }
}
