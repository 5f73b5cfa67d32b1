//! What a model was trained on. No model runs without its contract; inputs are checked against it and mapped
//! by *name and unit*, never by position.

use serde::{Deserialize, Serialize};

/// The newest `format` of `contract.json` that this version reads.
pub const CONTRACT_FORMAT: u32 = 1;

/// How a channel's number is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelMode {
    /// The value itself (a joint angle, a target position).
    Absolute,
    /// A change from the present value.
    Relative,
}

/// One number over time: an entry of an action track or of the robot's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Name with its suffix, as LeRobot writes it: `shoulder_pan.pos`.
    pub name: String,
    /// Unit in words: `deg`, `%`, `px`, `m`, or empty when unknown.
    #[serde(default)]
    pub unit: String,
    /// Smallest sensible value, in `unit`.
    pub min: f32,
    /// Largest sensible value, in `unit`.
    pub max: f32,
    /// Absolute or relative.
    pub mode: ChannelMode,
    /// Mean over the training data, in `unit`.
    pub mean: f32,
    /// Standard deviation over the training data, in `unit` (always > 0).
    pub std: f32,
}

/// Size, rate and history of the frames that a model takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameSpec {
    /// Picture width in pixels.
    pub width: usize,
    /// Picture height in pixels.
    pub height: usize,
    /// Frames a second: the time between frame t and frame t+1 is `1 / rate_hz`.
    pub rate_hz: f32,
    /// Number of past frames that the model can look back at.
    pub history: usize,
}

/// What a model was trained on; travels inside the model folder as `contract.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// Version of this file; a newer one than [`CONTRACT_FORMAT`] is refused.
    pub format: u32,
    /// Name to show: `tabletop`.
    pub name: String,
    /// Network family: `dreamer`, later the published ones.
    pub family: String,
    /// Frames in and out.
    pub frame: FrameSpec,
    /// Action channels, in the order of the network's inputs (map to them by name).
    pub actions: Vec<Channel>,
    /// State (proprioception) channels, in the order of the network's inputs.
    #[serde(default)]
    pub state: Vec<Channel>,
    /// Whether a prompt has an effect.
    pub text: bool,
    /// What the model knows, in words for a person: scenes, tasks, objects, languages.
    #[serde(default)]
    pub knows: String,
    /// Kind of robot body: `so101`.
    #[serde(default)]
    pub embodiment: String,
    /// Licence of the weights, SPDX.
    #[serde(default)]
    pub licence: String,
    /// One-step denoising residual that real frames of the training domain stay under (99th percentile of
    /// held-out data, mean squared error on 0..1); frames above it are marked as unlike the training data.
    #[serde(default)]
    pub familiar_residual: Option<f32>,
    /// Words and characters that the text encoder met in training, lower case; others are marked in the prompt.
    #[serde(default)]
    pub vocabulary: Vec<String>,
}
