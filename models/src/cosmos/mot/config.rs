//! `config.json` of Cosmos 3's transformer.

use candle_core::Result;
use serde::Deserialize;

use crate::common::config_error;

/// The fields of `Cosmos3OmniTransformer`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct MotConfig {
    /// Whether attention projections have a bias; none in the published networks.
    pub attention_bias: bool,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Rate at which latent frames are a quarter unit apart.
    pub base_fps: f64,
    /// Whether positions in time depend on the frame rate.
    pub enable_fps_modulation: bool,
    /// Channels of the picture latents.
    pub latent_channel: usize,
    /// Whether rows and columns count from 0 in every clip.
    pub unified_3d_mrope_reset_spatial_ids: bool,
    /// Distance in time between the text and what is generated.
    pub unified_3d_mrope_temporal_modality_margin: usize,
    /// Side of a patch of latents.
    pub latent_patch_size: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Key/value heads.
    pub num_key_value_heads: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Frequency slots of time, height and width.
    pub rope_axes_dim: Option<[usize; 3]>,
    /// Older place of the same.
    pub rope_scaling: Option<RopeScaling>,
    /// Numbers per action.
    pub action_dim: Option<usize>,
    /// Whether there are actions.
    pub action_gen: bool,
    /// Number of embodiments that have weights of their own.
    pub num_embodiment_domains: usize,
    /// Sound channels.
    pub sound_dim: Option<usize>,
    /// Whether there is sound.
    pub sound_gen: bool,
    /// Sound latents per second.
    pub sound_latent_fps: f64,
    /// Factor on the timestep before its sinusoid.
    pub timestep_scale: f64,
    /// Number of text tokens known.
    pub vocab_size: usize,
    /// `silu` (gated; Nano and Super) or `relu2` (squared ReLU; Edge).
    pub hidden_act: String,
    /// Whether text queries and keys are normed.
    pub qk_norm_for_text: bool,
    /// Whether text keys are normed for the generation tower only (Edge).
    pub use_und_k_norm_for_gen: bool,
}

/// Older place of the rotary sections.
#[derive(Clone, Debug, Deserialize)]
pub struct RopeScaling {
    /// Frequency slots of time, height and width.
    #[serde(default)]
    pub mrope_section: Option<[usize; 3]>,
}

impl Default for MotConfig {
    fn default() -> Self {
        Self {
            attention_bias: false,
            head_dim: 128,
            hidden_size: 4096,
            intermediate_size: 12288,
            base_fps: 24.0,
            enable_fps_modulation: true,
            latent_channel: 48,
            unified_3d_mrope_reset_spatial_ids: true,
            unified_3d_mrope_temporal_modality_margin: 15000,
            latent_patch_size: 2,
            num_attention_heads: 32,
            num_hidden_layers: 36,
            num_key_value_heads: 8,
            rms_norm_eps: 1e-6,
            rope_theta: 5_000_000.0,
            rope_axes_dim: None,
            rope_scaling: None,
            action_dim: None,
            action_gen: false,
            num_embodiment_domains: 32,
            sound_dim: None,
            sound_gen: false,
            sound_latent_fps: 25.0,
            timestep_scale: 0.001,
            vocab_size: 151_936,
            hidden_act: "silu".to_owned(),
            qk_norm_for_text: true,
            use_und_k_norm_for_gen: false,
        }
    }
}

impl MotConfig {
    /// Numbers per picture token.
    pub(super) fn patch_width(&self) -> usize {
        self.latent_channel * self.latent_patch_size * self.latent_patch_size
    }

    /// Width of an action row, if there are actions.
    pub fn actions(&self) -> Option<usize> {
        self.action_dim.filter(|_| self.action_gen)
    }

    /// Sound channels, if there is sound.
    pub fn sound(&self) -> Option<usize> {
        self.sound_dim.filter(|_| self.sound_gen)
    }

    /// Frequency slots of time, height and width.
    pub(super) fn axes(&self) -> [usize; 3] {
        let older = self.rope_scaling.as_ref().and_then(|scaling| scaling.mrope_section);
        self.rope_axes_dim.or(older).unwrap_or([24, 20, 20])
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.attention_bias {
            return Err(config_error("attention_bias is true; no published Cosmos 3 network has one"));
        }
        if !matches!(self.hidden_act.as_str(), "silu" | "relu2") {
            return Err(config_error(format!("hidden_act `{}`; known are silu and relu2", self.hidden_act)));
        }
        if self.num_key_value_heads == 0 || self.num_attention_heads % self.num_key_value_heads != 0 {
            return Err(config_error("num_attention_heads must be a multiple of num_key_value_heads"));
        }
        if self.latent_patch_size == 0 || self.head_dim % 2 != 0 || self.head_dim == 0 {
            return Err(config_error("latent_patch_size and head_dim must not be 0, head_dim must be even"));
        }
        Ok(())
    }
}
