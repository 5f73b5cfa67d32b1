//! The control branch of Transfer2.5: a few blocks of its own that read a control clip (edges, depth, segments,
//! blur) beside the noisy latents, and give what the transformer adds to its stream.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use serde::Deserialize;

use super::block::{Block, BlockShape, Context};
use super::patch::{self, Patches};
use super::position::{RopeShape, rotary};
use super::time::TimeEmbedding;
use super::{ContextWidths, context_projections};
use crate::common::{Linear, config_error, linear};
use crate::cosmos::Reference;

/// `config.json` of `CosmosControlNetModel`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ControlConfig {
    /// Blocks, one residual each.
    pub n_controlnet_blocks: usize,
    /// Channels of the control patch embedding, masks included: control latents are filled up with zeros to this.
    pub in_channels: usize,
    /// Channels of the noisy latents with both masks.
    pub latent_channels: usize,
    /// Width of the stream.
    pub model_channels: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Width of a head.
    pub attention_head_dim: usize,
    /// Width of the feed-forward part in units of the stream.
    pub mlp_ratio: f64,
    /// Width of the text as the blocks read it.
    pub text_embed_dim: usize,
    /// Width of the low-rank part of adaLN.
    pub adaln_lora_dim: usize,
    /// Patch (frames, rows, columns).
    pub patch_size: [usize; 3],
    /// Stretch of the rotary base per axis.
    pub rope_scale: [f64; 3],
    /// None in the published networks; learned tables are not supported here.
    pub extra_pos_embed_type: Option<String>,
    /// Width of the picture embeddings.
    pub img_context_dim_in: Option<usize>,
    /// Width of the picture embeddings behind their projection.
    pub img_context_dim_out: usize,
    /// Whether the text passes a linear layer and GELU first.
    pub use_crossattn_projection: bool,
    /// Width of the text before that layer.
    pub crossattn_proj_in_channels: usize,
    /// Width of the text behind that layer.
    pub encoder_hidden_states_channels: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            n_controlnet_blocks: 4,
            in_channels: 130,
            latent_channels: 18,
            model_channels: 2048,
            num_attention_heads: 32,
            attention_head_dim: 128,
            mlp_ratio: 4.0,
            text_embed_dim: 1024,
            adaln_lora_dim: 256,
            patch_size: [1, 2, 2],
            rope_scale: [2.0, 1.0, 1.0],
            extra_pos_embed_type: None,
            img_context_dim_in: None,
            img_context_dim_out: 2048,
            use_crossattn_projection: false,
            crossattn_proj_in_channels: 1024,
            encoder_hidden_states_channels: 1024,
        }
    }
}

/// What one call takes; shapes as in [`super::DitInput`].
pub struct ControlInput<'a> {
    /// Latents of the control clip, of the noisy latents' shape.
    pub control: &'a Tensor,
    /// Noisy latents.
    pub latents: &'a Tensor,
    /// Noise level.
    pub timestep: &'a Tensor,
    /// Text embeddings.
    pub text: &'a Tensor,
    /// Whether they have passed [`ControlNet::project_text`] already.
    pub text_is_projected: bool,
    /// Picture embeddings before their projection.
    pub picture: Option<&'a Tensor>,
    /// 1 where a latent is given.
    pub condition_mask: &'a Tensor,
    /// 1 where a pixel is padding.
    pub padding_mask: Option<&'a Tensor>,
    /// Strength of each block; the last one stands for all that follow.
    pub scales: &'a [f64],
}

/// The control branch.
pub struct ControlNet {
    config: ControlConfig,
    patches: Patches,
    patches_base: Patches,
    time: TimeEmbedding,
    text_projection: Option<Linear>,
    picture_projection: Option<Linear>,
    before: Linear,
    blocks: Vec<(Block, Linear)>,
}

impl ControlNet {
    /// Tensor names as diffusers saves `CosmosControlNetModel`.
    pub fn new(cfg: &ControlConfig, reference: Reference, vb: VarBuilder<'_>) -> Result<Self> {
        let width = cfg.model_channels;
        if width != cfg.num_attention_heads * cfg.attention_head_dim {
            return Err(config_error("model_channels is not num_attention_heads times attention_head_dim"));
        }
        if cfg.extra_pos_embed_type.is_some() || cfg.patch_size.contains(&0) || cfg.patch_size[0] != 1 {
            return Err(config_error(
                "learned positions and patches over time are not supported in a control network",
            ));
        }
        let picture_width = cfg.img_context_dim_in.filter(|n| *n > 0);
        let shape = BlockShape {
            heads: cfg.num_attention_heads,
            head_width: cfg.attention_head_dim,
            text_width: cfg.text_embed_dim,
            mlp_ratio: cfg.mlp_ratio,
            lora_width: cfg.adaln_lora_dim,
            picture: picture_width.is_some(),
            qk_eps: match reference {
                Reference::Diffusers => 1e-5,
                Reference::Nvidia => 1e-6,
            },
        };
        let text_widths = (cfg.crossattn_proj_in_channels, cfg.encoder_hidden_states_channels);
        let widths = ContextWidths {
            text: cfg.use_crossattn_projection.then_some(text_widths),
            picture: picture_width.map(|n| (n, cfg.img_context_dim_out)),
        };
        let (text_projection, picture_projection) = context_projections(widths, vb.clone())?;
        let blocks = (0..cfg.n_controlnet_blocks).map(|i| {
            let vb = vb.pp("control_blocks").pp(i);
            Ok((Block::new(&shape, vb.clone())?, linear(width, width, vb.pp("after_proj"))?))
        });
        Ok(Self {
            patches: Patches::new(cfg.in_channels, width, cfg.patch_size, vb.pp("patch_embed"))?,
            patches_base: Patches::new(
                cfg.latent_channels,
                width,
                cfg.patch_size,
                vb.pp("patch_embed_base"),
            )?,
            time: TimeEmbedding::new(width, vb.pp("time_embed"))?,
            text_projection,
            picture_projection,
            before: linear(width, width, vb.pp("control_blocks.0.before_proj"))?,
            blocks: blocks.collect::<Result<_>>()?,
            config: cfg.clone(),
        })
    }

    /// The prompt as the blocks read it; it can be kept for all steps.
    pub fn project_text(&self, text: &Tensor) -> Result<Tensor> {
        let text = text.to_dtype(self.before.dtype())?;
        match &self.text_projection {
            Some(layer) => layer.forward(&text)?.gelu_erf(),
            None => Ok(text),
        }
    }

    /// The residuals, one [B, tokens, width] per block, each times its strength.
    pub fn forward(&self, input: &ControlInput<'_>) -> Result<Vec<Tensor>> {
        let dtype = self.before.dtype();
        let inside = |x: &Tensor| x.to_dtype(dtype);
        let (own_control, own_latents) = (inside(input.control)?, inside(input.latents)?);
        let (_, channels, _, _, _) = own_control.dims5()?;
        let mask = Some(input.condition_mask);
        let Some(missing) = self.config.in_channels.checked_sub(channels + 2) else {
            candle_core::bail!(
                "control latents of {channels} channels, this network takes {}",
                self.config.in_channels
            );
        };
        let padding = patch::padding_channel(input.padding_mask, &own_control)?;
        let control = own_control.pad_with_zeros(1, 0, missing)?;
        let control = patch::stack_channels(&control, mask, Some(padding.clone()))?;
        let base = patch::stack_channels(&own_latents, mask, Some(padding))?;
        let grid = self.patches.grid(&control)?;
        let rope = RopeShape { head_width: self.config.attention_head_dim, scale: self.config.rope_scale };
        let rotary = rotary(&rope, grid, None, control.device())?;
        let time = self.time.forward(input.timestep, grid.frames, None, control.dtype())?;
        let picture = match (&self.picture_projection, input.picture) {
            (Some(layer), Some(picture)) => Some(layer.forward(&inside(picture)?)?.gelu_erf()?),
            _ => None,
        };
        let text = if input.text_is_projected { input.text.clone() } else { self.project_text(input.text)? };
        let context = Context { text: &text, picture: picture.as_ref() };

        let mut x =
            (self.before.forward(&self.patches.embed(&control)?)? + self.patches_base.embed(&base)?)?;
        let mut residuals = Vec::with_capacity(self.blocks.len());
        for (i, (block, after)) in self.blocks.iter().enumerate() {
            x = block.forward(&x, &context, &time, &rotary)?;
            let scale = input.scales.get(i).or(input.scales.last()).copied().unwrap_or(1.0);
            residuals.push((after.forward(&x)? * scale)?);
        }
        Ok(residuals)
    }
}
