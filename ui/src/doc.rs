//! What is set up for the next futures: the document that undo works on and that is kept between sessions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forerun::engine::protocol::{Actions, ClipSettings, ImagineSpec, Start};
use forerun::engine::published::makes_clips;
use forerun::models::{ChannelMode, Contract};
use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::start::StartView;

/// Most futures of one run.
pub const MAX_FUTURES: usize = 16;
/// Most steps of one run.
pub const MAX_STEPS: usize = 1000;
/// Most denoising steps a frame.
pub const MAX_REFINE: usize = 8;

/// Where the next futures start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StartDoc {
    /// No frame: the model imagines the start.
    #[default]
    Nothing,
    /// Picture files in order, or one clip.
    Files {
        /// The files.
        paths: Vec<PathBuf>,
    },
    /// A recorded episode.
    Episode {
        /// Dataset folder.
        dataset: PathBuf,
        /// Episode number.
        episode: usize,
        /// Frame to start from, counted from 0.
        at: usize,
    },
    /// A scene drawn by the virtual world.
    World {
        /// Seed of the scene.
        seed: u64,
    },
    /// A frame of a future.
    Future {
        /// Folder of the future.
        folder: PathBuf,
        /// Its seed, to show.
        seed: u64,
        /// Frame number, 0 is its start.
        at: usize,
    },
}

/// What drives the futures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The prompt alone.
    #[default]
    Words,
    /// The channels alone.
    Numbers,
    /// Both.
    Both,
    /// Neither.
    Free,
}

impl Mode {
    /// Whether the prompt is used.
    pub fn uses_words(self) -> bool {
        matches!(self, Self::Words | Self::Both)
    }

    /// Whether the channels are used.
    pub fn uses_numbers(self) -> bool {
        matches!(self, Self::Numbers | Self::Both)
    }
}

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setup {
    /// Model name; empty until one is known.
    pub model: String,
    /// Device to run on.
    pub device: String,
    /// Where it starts.
    pub start: StartDoc,
    /// Words.
    pub prompt: String,
    /// What drives it.
    pub mode: Mode,
    /// Edited channels; a channel that is not here follows the start.
    pub tracks: BTreeMap<String, Curve>,
    /// Drive by the recorded actions of the episode instead of `tracks`.
    pub recorded: bool,
    /// Number of futures, 1..=[`MAX_FUTURES`].
    pub futures: usize,
    /// Seed of the first future; the others count up.
    pub seed: u64,
    /// Denoising steps a frame, 1..=[`MAX_REFINE`].
    pub refine: usize,
    /// Frames to imagine, 1..=[`MAX_STEPS`].
    pub steps: usize,
    /// Choices for models that make whole clips.
    pub clip: ClipSettings,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            model: String::new(),
            device: "cpu".into(),
            start: StartDoc::Nothing,
            prompt: String::new(),
            mode: Mode::Words,
            tracks: BTreeMap::new(),
            recorded: false,
            futures: 4,
            seed: 1,
            // The shipped model is trained for one step most of all: more take longer and look no better.
            refine: 1,
            steps: 40,
            clip: ClipSettings::default(),
        }
    }
}

/// A change of the document.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // One variant a field of `Setup`.
pub enum Edit {
    Start(StartDoc),
    /// A starter scene: its frame and the words that go with it.
    Scene {
        start: StartDoc,
        prompt: String,
    },
    Prompt(String),
    Mode(Mode),
    /// A channel's curve; `None` lets it follow the start.
    Track {
        channel: String,
        curve: Option<Curve>,
    },
    ResetNumbers,
    Recorded(bool),
    Futures(usize),
    Seed(u64),
    Refine(usize),
    Steps(usize),
    Model(String),
    Device(String),
    /// Choices for models that make whole clips.
    Clip(ClipSettings),
}

impl Edit {
    /// Edits of one kind within one gesture are one undo step.
    pub fn kind(&self) -> String {
        match self {
            Self::Track { channel, .. } => format!("track {channel}"),
            other => format!("{:?}", std::mem::discriminant(other)),
        }
    }
}

impl Setup {
    /// Carries out one change; values outside their range are brought inside.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Start(start) => self.set_start(start),
            Edit::Scene { start, prompt } => {
                self.set_start(start);
                self.prompt = prompt;
            }
            Edit::Prompt(prompt) => self.prompt = prompt,
            Edit::Mode(mode) => self.mode = mode,
            Edit::Track { channel, curve: Some(curve) } => {
                self.tracks.insert(channel, curve);
                // Moving a channel means to use it.
                self.recorded = false;
                self.mode = match self.mode {
                    Mode::Words if self.prompt.trim().is_empty() => Mode::Numbers,
                    Mode::Words => Mode::Both,
                    Mode::Free => Mode::Numbers,
                    other => other,
                };
            }
            Edit::Track { channel, curve: None } => {
                self.tracks.remove(&channel);
            }
            Edit::ResetNumbers => {
                self.tracks.clear();
                self.recorded = false;
            }
            Edit::Recorded(on) => {
                self.recorded = on;
                if on && !self.mode.uses_numbers() {
                    self.mode = Mode::Numbers;
                }
            }
            Edit::Futures(n) => self.futures = n.clamp(1, MAX_FUTURES),
            Edit::Seed(seed) => self.seed = seed,
            Edit::Refine(n) => self.refine = n.clamp(1, MAX_REFINE),
            Edit::Steps(n) => self.steps = n.clamp(1, MAX_STEPS),
            Edit::Model(model) => self.model = model,
            Edit::Device(device) => self.device = device,
            Edit::Clip(clip) => self.clip = clip,
        }
    }

    /// A setup that came from a file may hold anything; this brings it inside its ranges.
    pub fn heal(&mut self) {
        self.futures = self.futures.clamp(1, MAX_FUTURES);
        self.refine = self.refine.clamp(1, MAX_REFINE);
        self.steps = self.steps.clamp(1, MAX_STEPS);
        if self.device.is_empty() {
            self.device = "cpu".into();
        }
        if matches!(&self.start, StartDoc::Files { paths } if paths.is_empty()) {
            self.start = StartDoc::Nothing;
        }
    }

    fn set_start(&mut self, start: StartDoc) {
        if !matches!(start, StartDoc::Episode { .. }) {
            self.recorded = false;
        }
        self.start = start;
    }

    /// Seeds of the futures.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.futures as u64).map(|i| self.seed.wrapping_add(i)).collect()
    }

    /// The value that a channel has at `step`, in its unit: its curve, else the state at the start, else the mean
    /// of the training data (0 for a relative channel).
    pub fn value(&self, contract: &Contract, start: &StartView, channel: &str, step: usize) -> f32 {
        if let Some(value) = self.tracks.get(channel).and_then(|c| c.at(step)) {
            return value;
        }
        match contract.actions.iter().find(|c| c.name == channel) {
            Some(c) if c.mode == ChannelMode::Absolute => {
                start.state_of(channel).unwrap_or(c.mean).clamp(c.min, c.max)
            }
            _ => 0.0,
        }
    }

    /// The numbers to send for this setup.
    pub fn actions(&self, contract: &Contract, start: &StartView) -> Actions {
        if !self.mode.uses_numbers() || contract.actions.is_empty() {
            return Actions::Free;
        }
        if let (true, StartDoc::Episode { dataset, episode, .. }) = (self.recorded, &self.start) {
            return Actions::Episode { dataset: dataset.clone(), episode: *episode };
        }
        let channels: Vec<String> = contract.actions.iter().map(|c| c.name.clone()).collect();
        if !channels.iter().any(|c| self.tracks.contains_key(c)) {
            return Actions::Hold;
        }
        let rows = (0..self.steps)
            .map(|step| channels.iter().map(|c| self.value(contract, start, c, step)).collect())
            .collect();
        Actions::Track { channels, rows }
    }

    /// The whole job, and the pictures that go beside it. `out` is the folder for the engine's files.
    pub fn spec(
        &self,
        contract: &Contract,
        start: &StartView,
        out: Option<PathBuf>,
    ) -> (ImagineSpec, Vec<Vec<u8>>) {
        let (start_request, blobs) = start.request(&self.start);
        let words = self.mode.uses_words() && contract.text;
        let spec = ImagineSpec {
            model: self.model.clone(),
            start: start_request,
            prompt: if words { self.prompt.trim().to_owned() } else { String::new() },
            actions: self.actions(contract, start),
            steps: self.steps,
            seeds: self.seeds(),
            refine: self.refine,
            device: self.device.clone(),
            out,
            clip: if makes_clips(contract) { self.clip.clone() } else { ClipSettings::default() },
        };
        (spec, blobs)
    }
}

/// A start as the engine understands it, when it needs no pictures of ours.
pub fn start_by_name(start: &StartDoc) -> Option<Start> {
    Some(match start {
        StartDoc::Nothing => Start::Nothing,
        StartDoc::Files { paths } => Start::Files { paths: paths.clone(), at: None },
        StartDoc::Episode { dataset, episode, at } => {
            Start::Episode { dataset: dataset.clone(), episode: *episode, at: *at }
        }
        StartDoc::Future { folder, at, .. } => Start::Future { folder: folder.clone(), at: *at },
        StartDoc::World { .. } => return None,
    })
}

/// Reads `DATASET#EPISODE` or `DATASET#EPISODE@FRAME`.
pub fn parse_episode(text: &str) -> Option<StartDoc> {
    let (dataset, rest) = text.trim().rsplit_once('#')?;
    let (episode, at) = rest.split_once('@').unwrap_or((rest, "0"));
    let dataset = dataset.trim();
    (!dataset.is_empty()).then_some(StartDoc::Episode {
        dataset: PathBuf::from(dataset),
        episode: episode.trim().parse().ok()?,
        at: at.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::contract;

    #[test]
    fn untouched_channels_hold_and_touched_ones_make_a_track() {
        let contract = contract();
        let start =
            StartView { states: vec![vec![("shoulder_pan.pos".into(), 12.0)]], ..StartView::default() };
        let mut setup = Setup { mode: Mode::Numbers, steps: 3, ..Setup::default() };
        assert_eq!(setup.actions(&contract, &start), Actions::Hold);
        let mut curve = Curve::constant(0.0);
        curve.set(2, 20.0);
        setup.apply(Edit::Track { channel: "gripper.pos".into(), curve: Some(curve) });
        let Actions::Track { channels, rows } = setup.actions(&contract, &start) else { panic!("no track") };
        let pan = channels.iter().position(|c| c == "shoulder_pan.pos").unwrap();
        let gripper = channels.iter().position(|c| c == "gripper.pos").unwrap();
        assert_eq!(
            rows.iter().map(|r| (r[pan], r[gripper])).collect::<Vec<_>>(),
            [(12.0, 0.0), (12.0, 10.0), (12.0, 20.0)]
        );
    }

    #[test]
    fn the_mode_decides_what_is_sent() {
        let contract = contract();
        let start = StartView::default();
        let mut setup = Setup { prompt: " push ".into(), mode: Mode::Words, ..Setup::default() };
        let (spec, _) = setup.spec(&contract, &start, None);
        assert_eq!((spec.prompt.as_str(), spec.actions), ("push", Actions::Free));
        setup.mode = Mode::Numbers;
        let (spec, _) = setup.spec(&contract, &start, None);
        assert_eq!((spec.prompt.as_str(), spec.actions), ("", Actions::Hold));
        setup.mode = Mode::Free;
        let (spec, _) = setup.spec(&contract, &start, None);
        assert_eq!((spec.prompt.as_str(), spec.actions), ("", Actions::Free));
        assert_eq!(spec.seeds, [1, 2, 3, 4]);
    }

    #[test]
    fn moving_a_channel_switches_numbers_on() {
        let mut setup = Setup { prompt: "push".into(), ..Setup::default() };
        setup.apply(Edit::Track { channel: "a".into(), curve: Some(Curve::constant(1.0)) });
        assert_eq!(setup.mode, Mode::Both);
    }

    #[test]
    fn episodes_are_read_as_the_command_line_writes_them() {
        let found = parse_episode(" data/push#T#3 ").unwrap();
        assert_eq!(found, StartDoc::Episode { dataset: "data/push#T".into(), episode: 3, at: 0 });
        let at = parse_episode("d#3@17").unwrap();
        assert_eq!(at, StartDoc::Episode { dataset: "d".into(), episode: 3, at: 17 });
        for bad in ["", "d", "#3", "d#", "d#x", "d#-1"] {
            assert_eq!(parse_episode(bad), None, "{bad}");
        }
    }

    #[test]
    fn values_stay_in_their_ranges() {
        let mut setup = Setup { futures: 0, refine: 99, steps: 0, device: String::new(), ..Setup::default() };
        setup.heal();
        assert_eq!((setup.futures, setup.refine, setup.steps, setup.device.as_str()), (1, 8, 1, "cpu"));
        setup.apply(Edit::Futures(400));
        assert_eq!(setup.seeds().len(), MAX_FUTURES);
    }
}
