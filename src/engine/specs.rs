//! What the jobs about datasets and policies are told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dataset::doctor::View;
use crate::policy::Deciding;
use crate::robot::bundle::Stage;

/// Look at one episode: its numbers, and the pictures of all its cameras.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpisodeSpec {
    /// Dataset folder.
    pub dataset: PathBuf,
    /// Corrections to apply to the numbers.
    #[serde(default)]
    pub view: View,
    /// Number of the episode.
    pub episode: usize,
    /// Longest side of the pictures that are sent, pixels.
    pub side: usize,
}

/// Train a world model from recorded episodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Settings of the run, a TOML file.
    pub config: PathBuf,
    /// Datasets to train on.
    pub datasets: Vec<PathBuf>,
    /// Model folder to write.
    pub out: PathBuf,
    /// Model whose weights it begins with (folder or name); fresh ones when absent.
    #[serde(default)]
    pub from: Option<String>,
    /// Minutes of training, or else `iterations`.
    pub minutes: Option<f32>,
    /// Iterations of training, exactly repeatable.
    pub iterations: Option<u64>,
    /// Go on from the folder's checkpoint.
    #[serde(default)]
    pub resume: bool,
    /// Device to learn on: `cpu`, `cuda`, `cuda:0`, `metal`; the processor when empty.
    #[serde(default)]
    pub device: String,
}

/// Learn a policy from recorded episodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTrainSpec {
    /// Datasets to learn from.
    pub datasets: Vec<PathBuf>,
    /// Policy folder to write.
    pub out: PathBuf,
    /// Policy to start from.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// `micro`, `small` or `medium`.
    pub size: String,
    /// Whether it is led by pictures of what to reach, not by words.
    #[serde(default)]
    pub goal: bool,
    /// Minutes of training, or else `iterations`.
    pub minutes: Option<f32>,
    /// Iterations of training, exactly repeatable.
    pub iterations: Option<u64>,
    /// Snapshots to keep on the way, for a ranking.
    #[serde(default)]
    pub snapshots: usize,
    /// Go on from the folder's checkpoint.
    #[serde(default)]
    pub resume: bool,
    /// Device to learn on: `cpu`, `cuda`, `cuda:0`, `metal`; the processor when empty.
    #[serde(default)]
    pub device: String,
}

/// How often a policy succeeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyEvaluateSpec {
    /// Policy folder; only a planner does without.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// `world:tabletop`, or `model:` and a model.
    pub place: String,
    /// Only this task; the four pushes when absent.
    #[serde(default)]
    pub task: Option<String>,
    /// `plain`, `rich` or a number.
    pub look: String,
    /// Episodes.
    pub episodes: usize,
    /// Seed: the same one gives the same episodes.
    pub seed: u64,
    /// Most steps an episode.
    pub steps: usize,
    /// How it decides.
    #[serde(default)]
    pub how: Deciding,
    /// World model to look ahead with.
    #[serde(default)]
    pub with: String,
    /// Only measure how long it would take.
    #[serde(default)]
    pub measure: bool,
}

/// One round of imagined experience.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyImproveSpec {
    /// Policy to improve.
    pub policy: PathBuf,
    /// World model to act in.
    pub model: String,
    /// Data that the policy was learnt from.
    pub dataset: PathBuf,
    /// Recordings whose first frames and words the episodes start from; without, `dataset`.
    #[serde(default)]
    pub starts: Option<PathBuf>,
    /// Futures of which the model acts out the best one itself; 0 = the policy acts.
    #[serde(default)]
    pub own_actions: usize,
    /// Policy folder to write; the imagined episodes go beside it, into `OUT-imagined`.
    pub out: PathBuf,
    /// Episodes to imagine.
    pub episodes: usize,
    /// Most steps an episode.
    pub steps: usize,
    /// Seed of starts and noise.
    pub seed: u64,
    /// Other seeds under which a success must succeed again.
    pub witnesses: usize,
    /// Minutes of training, or else `iterations`.
    pub minutes: Option<f32>,
    /// Iterations of training.
    pub iterations: Option<u64>,
}

/// Whether a model ranks policies as physics does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyRankSpec {
    /// Policy folders.
    pub policies: Vec<PathBuf>,
    /// A policy whose snapshots are ranked too.
    #[serde(default)]
    pub checkpoints_of: Option<PathBuf>,
    /// World model.
    pub model: String,
    /// Only this task; the four pushes when absent.
    #[serde(default)]
    pub task: Option<String>,
    /// Episodes a policy and place.
    pub episodes: usize,
    /// Seed of the scenes.
    pub seed: u64,
    /// Most steps an episode.
    pub steps: usize,
}

/// Try a bundle's policy without an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundleTrySpec {
    /// Its policy folder.
    pub policy: PathBuf,
    /// `replay` or `rehearse`.
    pub stage: Stage,
    /// Recorded episodes of the robot, for `replay`.
    #[serde(default)]
    pub dataset: Option<PathBuf>,
    /// World model, for `rehearse`.
    #[serde(default)]
    pub model: String,
    /// Imagined episodes.
    pub episodes: usize,
    /// Most steps an episode.
    pub steps: usize,
}

/// The next actions of a policy that moves a robot; its picture comes as a blob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// Policy folder.
    pub policy: PathBuf,
    /// Whether a task begins with this picture.
    pub begin: bool,
    /// What it is told.
    #[serde(default)]
    pub prompt: Option<String>,
    /// Where the robot stands, in the order of the policy's contract.
    pub state: Vec<f32>,
    /// Width of the picture, pixels.
    pub width: usize,
    /// Height of the picture, pixels.
    pub height: usize,
}

/// One episode in physics and in imagination at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyTwinSpec {
    /// Policy folder; only a planner does without.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// World model.
    pub model: String,
    /// Only this task; the four pushes when absent.
    #[serde(default)]
    pub task: Option<String>,
    /// `plain`, `rich` or a number.
    pub look: String,
    /// Seed of the scene, as an evaluation lists it.
    pub seed: u64,
    /// Most steps.
    pub steps: usize,
    /// How it decides.
    #[serde(default)]
    pub how: Deciding,
    /// Whether the agent looks at the imagined frames, not at those of physics.
    #[serde(default)]
    pub in_model: bool,
    /// Dataset folder to keep what happened in physics.
    #[serde(default)]
    pub out: Option<PathBuf>,
}
