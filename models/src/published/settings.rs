//! What a person may choose for a run of a published model. Everything is optional: what is absent is the model's own
//! choice, then its publisher's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::common::Storage;
use crate::cosmos::Reference;

/// The numbers that a network computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// 32 bits: what the reference cases are checked with.
    #[default]
    F32,
    /// 16 bits: half the memory. The autoencoder stays at 32.
    Bf16,
}

/// How a run trades memory for time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryMode {
    /// Numbers of text encoder and transformer.
    pub numbers: Option<Numbers>,
    /// Text encoder and autoencoder are in memory only while they work.
    pub offload: Option<bool>,
    /// Decode in squares of this many latents a side (Wan autoencoders); 0 = the whole picture at once.
    pub tile: Option<usize>,
    /// How linear layers of text encoder and transformer are kept.
    pub linear: Option<Storage>,
}

/// An adapter and how strongly it acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterChoice {
    /// File or folder.
    pub path: PathBuf,
    /// 1 = as trained.
    pub strength: f64,
}

/// The choices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipSettings {
    /// Width of the frames in pixels.
    pub width: Option<usize>,
    /// Height of the frames in pixels.
    pub height: Option<usize>,
    /// Frames a second.
    pub rate_hz: Option<f32>,
    /// Frames that the network makes at one time, given ones included; longer futures are made chunk by chunk.
    pub chunk: Option<usize>,
    /// Denoising steps.
    pub denoise: Option<usize>,
    /// Guidance.
    pub guidance: Option<f64>,
    /// What to steer away from.
    pub negative: Option<String>,
    /// Robot body, for models of many bodies.
    pub body: Option<String>,
    /// Where the camera looks from: `ego_view`, `third_person_view`, `wrist_view` or `concat_view`.
    pub view: Option<String>,
    /// The robot's present state in the order of the contract, for policies that start from pictures without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Vec<f32>>,
    /// With a body: read the actions that lead through the given frames, instead of imagining what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inverse: Option<bool>,
    /// Whose numbers are reproduced.
    pub reference: Option<Reference>,
    /// Strength of a control clip.
    pub control_scale: Option<f64>,
    /// Adapters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub adapters: Vec<AdapterChoice>,
    /// Memory.
    pub memory: MemoryMode,
}

impl ClipSettings {
    /// These choices, and where they leave something open, those of `base`.
    pub fn over(&self, base: &Self) -> Self {
        Self {
            width: self.width.or(base.width),
            height: self.height.or(base.height),
            rate_hz: self.rate_hz.or(base.rate_hz),
            chunk: self.chunk.or(base.chunk),
            denoise: self.denoise.or(base.denoise),
            guidance: self.guidance.or(base.guidance),
            negative: self.negative.clone().or_else(|| base.negative.clone()),
            body: self.body.clone().or_else(|| base.body.clone()),
            view: self.view.clone().or_else(|| base.view.clone()),
            state: self.state.clone().or_else(|| base.state.clone()),
            inverse: self.inverse.or(base.inverse),
            reference: self.reference.or(base.reference),
            control_scale: self.control_scale.or(base.control_scale),
            adapters: if self.adapters.is_empty() { base.adapters.clone() } else { self.adapters.clone() },
            memory: MemoryMode {
                numbers: self.memory.numbers.or(base.memory.numbers),
                offload: self.memory.offload.or(base.memory.offload),
                tile: self.memory.tile.or(base.memory.tile),
                linear: self.memory.linear.or(base.memory.linear),
            },
        }
    }

    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl MemoryMode {
    /// Latents a side of a decoded tile, if tiles are wanted.
    pub fn tiles(&self) -> Option<usize> {
        self.tile.filter(|tile| *tile > 0)
    }

    /// Whether text encoder and autoencoder leave memory between their uses.
    pub fn offloads(&self) -> bool {
        self.offload.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_chose_wins_and_the_rest_is_the_models() {
        let own = ClipSettings { denoise: Some(4), ..Default::default() };
        let base = ClipSettings {
            denoise: Some(35),
            guidance: Some(7.0),
            memory: MemoryMode { offload: Some(true), ..Default::default() },
            ..Default::default()
        };
        let both = own.over(&base);
        assert_eq!((both.denoise, both.guidance, both.memory.offloads()), (Some(4), Some(7.0), true));
        assert!(ClipSettings::default().is_empty() && !both.is_empty());
    }
}
