//! `config.json` of the transformer.

use candle_core::Result;
use serde::Deserialize;

use super::action::ActionConfig;
use super::position::RopeShape;
use super::{ActionLayout, ContextWidths};
use crate::common::config_error;
use crate::cosmos::Reference;

/// The fields of `CosmosTransformer3DModel`, and those that action-conditioned networks add.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct DitConfig {
    /// Latent channels in, with the condition mask (17 for video to world) but without the padding mask.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Width of a head.
    pub attention_head_dim: usize,
    /// Blocks.
    pub num_layers: usize,
    /// Width of the feed-forward part in units of the stream.
    pub mlp_ratio: f64,
    /// Width of the text as the blocks read it.
    pub text_embed_dim: usize,
    /// Width of the low-rank part of adaLN.
    pub adaln_lora_dim: usize,
    /// Largest latent size (frames, rows, columns); learned position tables have this size in patches.
    pub max_size: [usize; 3],
    /// Patch (frames, rows, columns).
    pub patch_size: [usize; 3],
    /// Stretch of the rotary base per axis.
    pub rope_scale: [f64; 3],
    /// Whether a padding mask is one more channel.
    pub concat_padding_mask: bool,
    /// `learnable` (Predict1) or none.
    pub extra_pos_embed_type: Option<String>,
    /// Whether the text passes a linear layer and GELU first (Predict2.5).
    pub use_crossattn_projection: bool,
    /// Width of the text before that layer.
    pub crossattn_proj_in_channels: usize,
    /// Width of the text behind that layer.
    pub encoder_hidden_states_channels: usize,
    /// A control residual comes in behind every n-th block (Transfer2.5).
    pub controlnet_block_every_n: Option<usize>,
    /// Width of the picture embeddings (Transfer2.5).
    pub img_context_dim_in: Option<usize>,
    /// Width of the picture embeddings behind their projection.
    pub img_context_dim_out: usize,
    /// Numbers per action (action-conditioned networks).
    pub action_dim: Option<usize>,
    /// Actions per call (action-conditioned networks).
    pub num_action_per_chunk: Option<usize>,
    /// How actions enter (action-conditioned networks).
    pub action_layout: Option<ActionLayout>,
}

impl Default for DitConfig {
    fn default() -> Self {
        Self {
            in_channels: 16,
            out_channels: 16,
            num_attention_heads: 32,
            attention_head_dim: 128,
            num_layers: 28,
            mlp_ratio: 4.0,
            text_embed_dim: 1024,
            adaln_lora_dim: 256,
            max_size: [128, 240, 240],
            patch_size: [1, 2, 2],
            rope_scale: [2.0, 1.0, 1.0],
            concat_padding_mask: true,
            extra_pos_embed_type: Some("learnable".to_owned()),
            use_crossattn_projection: false,
            crossattn_proj_in_channels: 1024,
            encoder_hidden_states_channels: 1024,
            controlnet_block_every_n: None,
            img_context_dim_in: None,
            img_context_dim_out: 2048,
            action_dim: None,
            num_action_per_chunk: None,
            action_layout: None,
        }
    }
}

impl DitConfig {
    /// Width of the stream.
    pub fn width(&self) -> usize {
        self.num_attention_heads * self.attention_head_dim
    }

    /// Channels that enter the patch embedding.
    pub(super) fn patch_channels(&self) -> usize {
        self.in_channels + usize::from(self.concat_padding_mask)
    }

    pub(super) fn qk_eps(&self, reference: Reference) -> f64 {
        match reference {
            Reference::Diffusers => 1e-5,
            Reference::Nvidia => 1e-6,
        }
    }

    pub(super) fn rope(&self) -> RopeShape {
        RopeShape { head_width: self.attention_head_dim, scale: self.rope_scale }
    }

    /// Size of the learned position tables, in patches.
    pub(super) fn table_sizes(&self) -> [usize; 3] {
        let [t, h, w] = self.max_size;
        let [pt, ph, pw] = self.patch_size;
        [t / pt, h / ph, w / pw]
    }

    pub(super) fn context(&self) -> ContextWidths {
        let text = (self.crossattn_proj_in_channels, self.encoder_hidden_states_channels);
        ContextWidths {
            text: self.use_crossattn_projection.then_some(text),
            picture: self.img_context_dim_in.filter(|n| *n > 0).map(|n| (n, self.img_context_dim_out)),
        }
    }

    /// The action part, if this network has one.
    pub fn action(&self) -> Option<ActionConfig> {
        Some(ActionConfig {
            size: self.action_dim?,
            number: self.num_action_per_chunk?,
            layout: self.action_layout.unwrap_or_default(),
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.patch_size.contains(&0) {
            return Err(config_error("patch_size must not contain 0"));
        }
        if self.patch_size[0] != 1 {
            return Err(config_error(
                "patches over several frames are not supported; published networks use 1",
            ));
        }
        if self.attention_head_dim < 12 || self.attention_head_dim % 2 != 0 {
            return Err(config_error("attention_head_dim must be even and at least 12 for rotary axes"));
        }
        if !matches!(self.extra_pos_embed_type.as_deref(), None | Some("learnable")) {
            return Err(config_error(format!("extra_pos_embed_type {:?}", self.extra_pos_embed_type)));
        }
        Ok(())
    }
}
