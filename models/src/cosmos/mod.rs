//! The published Cosmos networks: the diffusion transformer of Predict1 to Predict2.5, Transfer2.5, the
//! action-conditioned variants and Cosmos Policy, the two towers of Cosmos 3, and the
//! pipelines around them.

pub mod audio;
pub mod dit;
pub mod kl;
pub mod mot;
pub mod pipeline;
pub mod policy_frames;

use serde::{Deserialize, Serialize};

/// Whose numbers are reproduced where the public diffusers library and NVIDIA's own code differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// The diffusers library: frames per second scale the rotary time axis, q/k norms have epsilon 1e-5.
    #[default]
    Diffusers,
    /// NVIDIA's repositories: no scaling by frames per second, q/k norms have epsilon 1e-6.
    Nvidia,
}
