//! The control branch of Transfer1: a copy of the first blocks of Predict1's transformer that sees the noisy latents and,
//! behind its first block, the control clip through a small perceptron. What each of its blocks gives is added to the
//! stream behind the transformer's block of the same number.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use serde::Deserialize;

use super::DitConfig;
use super::block::{Block, BlockShape, Context};
use super::patch::{self, Patches};
use super::position::{LearnedPosition, rotary};
use super::time::TimeEmbedding;
use crate::common::{Linear, config_error, linear};
use crate::cosmos::Reference;

/// Widths of the perceptron between the patches of the control clip and the stream.
const HINT: [usize; 7] = [16, 16, 32, 32, 96, 96, 256];

/// `config.json` of the branch: the transformer's, and two numbers of its own. The publisher has none.
#[derive(Clone, Debug, Deserialize)]
pub struct Control1Config {
    /// As the transformer's.
    #[serde(flatten)]
    pub dit: DitConfig,
    /// Blocks.
    #[serde(default = "blocks")]
    pub num_control_blocks: usize,
    /// Channels of the control latents, the padding mask not counted: fewer are filled up with zeros.
    #[serde(default = "channels")]
    pub hint_channels: usize,
}

fn blocks() -> usize {
    3
}

fn channels() -> usize {
    128
}

/// What one call takes; shapes as in [`super::DitInput`].
pub struct Control1Input<'a> {
    /// Latents of the control clip, of the noisy latents' shape.
    pub control: &'a Tensor,
    /// Noisy latents.
    pub latents: &'a Tensor,
    /// What the network is told about the noise, [B].
    pub timestep: &'a Tensor,
    /// Text embeddings.
    pub text: &'a Tensor,
    /// 1 where a latent is given.
    pub condition_mask: &'a Tensor,
    /// 1 where a pixel is padding.
    pub padding_mask: Option<&'a Tensor>,
    /// Frames per second of the clip.
    pub fps: Option<f64>,
    /// Strength.
    pub scale: f64,
}

/// The branch.
pub struct Control1 {
    config: Control1Config,
    patches: Patches,
    hint_patches: Patches,
    hint: Vec<Linear>,
    position: Option<LearnedPosition>,
    time: TimeEmbedding,
    blocks: Vec<(Block, Linear)>,
}

impl Control1 {
    /// Tensor names as diffusers would save them: the blocks', embeddings' and tables' are those of
    /// `CosmosTransformer3DModel`, beside `hint_embed.proj`, `input_hint_block.N` and `zero_blocks.blockN`.
    pub fn new(cfg: &Control1Config, reference: Reference, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.dit.check()?;
        if cfg.num_control_blocks == 0 || cfg.num_control_blocks > cfg.dit.num_layers.max(3) {
            return Err(config_error("num_control_blocks is 0, or more than the transformer has"));
        }
        let width = cfg.dit.width();
        let shape = BlockShape {
            heads: cfg.dit.num_attention_heads,
            head_width: cfg.dit.attention_head_dim,
            text_width: cfg.dit.text_embed_dim,
            mlp_ratio: cfg.dit.mlp_ratio,
            lora_width: cfg.dit.adaln_lora_dim,
            picture: false,
            qk_eps: cfg.dit.qk_eps(reference),
        };
        let blocks = (0..cfg.num_control_blocks).map(|i| {
            let block = Block::new(&shape, vb.pp("transformer_blocks").pp(i))?;
            Ok((block, linear(width, width, vb.pp("zero_blocks").pp(format!("block{i}")))?))
        });
        let widths = [&[width][..], &HINT, &[width]].concat();
        let hint = widths.windows(2).enumerate().map(|(i, pair)| match pair {
            // Every second place is an activation.
            [from, to] => linear(*from, *to, vb.pp("input_hint_block").pp(2 * i)),
            _ => Err(config_error("no widths")),
        });
        let padding = usize::from(cfg.dit.concat_padding_mask);
        let patch = cfg.dit.patch_size;
        Ok(Self {
            patches: Patches::new(cfg.dit.patch_channels(), width, patch, vb.pp("patch_embed"))?,
            hint_patches: Patches::new(cfg.hint_channels + padding, width, patch, vb.pp("hint_embed"))?,
            hint: hint.collect::<Result<_>>()?,
            position: match cfg.dit.extra_pos_embed_type.as_deref() {
                Some("learnable") => Some(LearnedPosition::new(&cfg.dit, vb.pp("learnable_pos_embed"))?),
                _ => None,
            },
            time: TimeEmbedding::new(width, vb.pp("time_embed"))?,
            blocks: blocks.collect::<Result<_>>()?,
            config: cfg.clone(),
        })
    }

    /// What is added behind the first blocks of the transformer, one [B, tokens, width] each.
    pub fn forward(&self, input: &Control1Input<'_>) -> Result<Vec<Tensor>> {
        let dtype = self.hint.first().map_or(input.latents.dtype(), Linear::dtype);
        let inside = |x: &Tensor| x.to_dtype(dtype);
        let (latents, control) = (inside(input.latents)?, inside(input.control)?);
        let Some(missing) = self.config.hint_channels.checked_sub(control.dim(1)?) else {
            candle_core::bail!(
                "control latents of {} channels, this network takes {}",
                control.dim(1)?,
                self.config.hint_channels
            );
        };
        let padding = match self.config.dit.concat_padding_mask {
            true => Some(patch::padding_channel(input.padding_mask, &latents)?),
            false => None,
        };
        let control = patch::stack_channels(&control.pad_with_zeros(1, 0, missing)?, None, padding.clone())?;
        let mut hint = self.hint_patches.embed(&control)?;
        for (i, layer) in self.hint.iter().enumerate() {
            hint = layer.forward(&hint)?;
            // The last one stands at the stream.
            if i + 1 < self.hint.len() {
                hint = hint.silu()?;
            }
        }
        let seen = patch::stack_channels(&latents, Some(input.condition_mask), padding)?;
        let grid = self.patches.grid(&seen)?;
        let rotary = rotary(&self.config.dit.rope(), grid, input.fps, seen.device())?;
        let position = self.position.as_ref().map(|table| table.forward(grid)).transpose()?;
        let time = self.time.forward(input.timestep, grid.frames, None, dtype)?;
        let text = inside(input.text)?;
        let context = Context { text: &text, picture: None };
        let mut x = self.patches.embed(&seen)?;
        let mut residuals = Vec::with_capacity(self.blocks.len());
        for (i, (block, out)) in self.blocks.iter().enumerate() {
            if let Some(position) = &position {
                x = x.broadcast_add(&position.to_dtype(dtype)?)?;
            }
            x = block.forward(&x, &context, &time, &rotary)?;
            if i == 0 {
                x = (x + &hint)?;
            }
            residuals.push((out.forward(&x)? * input.scale)?);
        }
        Ok(residuals)
    }
}
