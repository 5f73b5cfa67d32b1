//! The Cosmos diffusion transformer (Cosmos world foundation models, arXiv 2501.03575; Predict2.5, 2511.00062):
//! patches of latents, rotary positions in time, height and width, self-attention, cross-attention to the text,
//! and adaLN with a low-rank part per block.

mod action;
mod attention;
mod block;
mod config;
mod control;
mod control1;
mod infer;
mod modulation;
mod patch;
mod position;
mod time;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Module, VarBuilder};

pub use action::{ActionConfig, ActionLayout};
pub use config::DitConfig;
pub use control::{ControlConfig, ControlInput, ControlNet};
pub use control1::{Control1, Control1Config, Control1Input};
pub use infer::infer;

use super::Reference;
use crate::common::{Linear, Storage, linear, linear_no_bias, with_storage};
use action::ActionEmbedder;
use block::{Block, Context};
use modulation::Modulate;
use patch::Patches;
use position::{LearnedPosition, rotary};
use time::TimeEmbedding;

/// Everything that one call of the network takes. B samples, T latent frames of h × w latents.
pub struct DitInput<'a> {
    /// Noisy latents [B, C, T, h, w].
    pub latents: &'a Tensor,
    /// What the network is told about the noise: [B], or one value per latent frame [B, 1, T, 1, 1].
    pub timestep: &'a Tensor,
    /// Text embeddings [B, N, width].
    pub text: &'a Tensor,
    /// Whether they have passed [`Dit::project_text`] already.
    pub text_is_projected: bool,
    /// Embeddings of a picture [B, M, width] (Transfer2.5).
    pub picture: Option<&'a Tensor>,
    /// 1 where a latent is given, [B, 1, T, h, w] (video to world).
    pub condition_mask: Option<&'a Tensor>,
    /// 1 where a pixel is padding, [1, 1, h·8, w·8]; none means no padding.
    pub padding_mask: Option<&'a Tensor>,
    /// Frames per second of the clip, for networks that were trained with it.
    pub fps: Option<f64>,
    /// What a control network adds to the stream, one entry per injection ([`ControlNet::forward`]).
    pub control: Option<&'a [Tensor]>,
    /// The same behind the first blocks, one entry each (Transfer1: [`Control1::forward`]).
    pub control_first: Option<&'a [Tensor]>,
    /// Arm actions [B, number, size] (action-conditioned networks).
    pub actions: Option<&'a Tensor>,
}

impl<'a> DitInput<'a> {
    /// An input without any of the optional parts.
    pub fn new(latents: &'a Tensor, timestep: &'a Tensor, text: &'a Tensor) -> Self {
        Self {
            latents,
            timestep,
            text,
            text_is_projected: false,
            picture: None,
            condition_mask: None,
            padding_mask: None,
            fps: None,
            control: None,
            control_first: None,
            actions: None,
        }
    }
}

/// The network.
pub struct Dit {
    config: DitConfig,
    reference: Reference,
    patches: Patches,
    position: Option<LearnedPosition>,
    time: TimeEmbedding,
    action: Option<ActionEmbedder>,
    text_projection: Option<Linear>,
    picture_projection: Option<Linear>,
    blocks: Vec<Block>,
    norm_out: Modulate,
    proj_out: Linear,
}

impl Dit {
    /// Tensor names as diffusers saves `CosmosTransformer3DModel`.
    pub fn new(cfg: &DitConfig, reference: Reference, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let width = cfg.width();
        let (text, picture) = context_projections(cfg.context(), vb.clone())?;
        let shape = block::BlockShape {
            heads: cfg.num_attention_heads,
            head_width: cfg.attention_head_dim,
            text_width: cfg.text_embed_dim,
            mlp_ratio: cfg.mlp_ratio,
            lora_width: cfg.adaln_lora_dim,
            picture: cfg.img_context_dim_in.is_some_and(|n| n > 0),
            qk_eps: cfg.qk_eps(reference),
        };
        let blocks = (0..cfg.num_layers)
            .map(|i| Block::new(&shape, vb.pp("transformer_blocks").pp(i)))
            .collect::<Result<_>>()?;
        let outputs = cfg.out_channels * cfg.patch_size.iter().product::<usize>();
        // What stands at the edges of the network keeps its precision: it is small, and errors there reach everything.
        with_storage(Storage::Plain, || {
            Ok(Self {
                patches: Patches::new(cfg.patch_channels(), width, cfg.patch_size, vb.pp("patch_embed"))?,
                position: match cfg.extra_pos_embed_type.as_deref() {
                    Some("learnable") => Some(LearnedPosition::new(cfg, vb.pp("learnable_pos_embed"))?),
                    _ => None,
                },
                time: TimeEmbedding::new(width, vb.pp("time_embed"))?,
                action: match cfg.action() {
                    Some(action) => Some(ActionEmbedder::new(action, width, vb.clone())?),
                    None => None,
                },
                text_projection: text,
                picture_projection: picture,
                blocks,
                norm_out: Modulate::new(width, cfg.adaln_lora_dim, 2, vb.pp("norm_out"))?,
                proj_out: linear_no_bias(width, outputs, vb.pp("proj_out"))?,
                config: cfg.clone(),
                reference,
            })
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &DitConfig {
        &self.config
    }

    /// Whose numbers it reproduces.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// The type that it computes with: inputs are brought to it, its prediction is in f32 or f64 as the latents were.
    pub fn dtype(&self) -> DType {
        self.proj_out.dtype()
    }

    /// The prompt as the blocks read it. It does not depend on the latents, so it can be kept for all steps (and
    /// on disk: for Predict2.5 it is a hundred times smaller than the embeddings).
    pub fn project_text(&self, text: &Tensor) -> Result<Tensor> {
        let text = text.to_dtype(self.dtype())?;
        match &self.text_projection {
            Some(layer) => layer.forward(&text)?.gelu_erf(),
            None => Ok(text),
        }
    }

    /// Prediction for the latents, [B, out channels, T, h, w].
    pub fn forward(&self, input: &DitInput<'_>) -> Result<Tensor> {
        let outside = input.latents.dtype();
        let own = input.latents.to_dtype(self.dtype())?;
        let latents = patch::stack_channels(&own, input.condition_mask, self.padding(input, &own)?)?;
        let grid = self.patches.grid(&latents)?;
        let fps = match self.reference {
            Reference::Diffusers => input.fps,
            Reference::Nvidia if self.position.is_some() => input.fps,
            Reference::Nvidia => None,
        };
        let rotary = rotary(&self.config.rope(), grid, fps, latents.device())?;
        let position = match &self.position {
            Some(table) => Some(table.forward(grid)?),
            None => None,
        };
        let actions = match (&self.action, input.actions) {
            (Some(embedder), Some(actions)) => {
                let actions = actions.to_dtype(self.dtype())?;
                Some(embedder.forward(&actions, grid.frames, input.condition_mask)?)
            }
            (None, None) => None,
            (Some(_), None) => {
                candle_core::bail!("this network is conditioned on actions, but none were given")
            }
            (None, Some(_)) => candle_core::bail!("actions were given to a network that takes none"),
        };
        let time = self.time.forward(input.timestep, grid.frames, actions.as_ref(), latents.dtype())?;
        let picture = match (&self.picture_projection, input.picture) {
            (Some(layer), Some(picture)) => {
                Some(layer.forward(&picture.to_dtype(self.dtype())?)?.gelu_erf()?)
            }
            _ => None,
        };
        let text = if input.text_is_projected { input.text.clone() } else { self.project_text(input.text)? };
        let context = Context { text: &text, picture: picture.as_ref() };

        let mut x = self.patches.embed(&latents)?;
        for (i, block) in self.blocks.iter().enumerate() {
            if let Some(position) = &position {
                x = x.broadcast_add(&position.to_dtype(x.dtype())?)?;
            }
            x = block.forward(&x, &context, &time, &rotary)?;
            if let Some(residual) = input.control_first.and_then(|all| all.get(i)) {
                x = (x + residual.to_dtype(self.dtype())?)?;
            }
            if let Some(residual) = self.control_residual(i, input.control)? {
                x = (x + residual.to_dtype(self.dtype())?)?;
            }
        }
        let x = self.proj_out.forward(&self.norm_out.forward(&x, &time)?.inner)?;
        self.patches.unfold(&x, grid, self.config.out_channels)?.to_dtype(outside)
    }

    /// The padding mask as a channel of the latents, [B, 1, T, h, w], for networks that take one.
    fn padding(&self, input: &DitInput<'_>, latents: &Tensor) -> Result<Option<Tensor>> {
        match self.config.concat_padding_mask {
            true => patch::padding_channel(input.padding_mask, latents).map(Some),
            false => Ok(None),
        }
    }

    /// What the control network adds behind block `i`: entry n behind block n · `controlnet_block_every_n`.
    fn control_residual<'a>(&self, i: usize, control: Option<&'a [Tensor]>) -> Result<Option<&'a Tensor>> {
        let (Some(control), Some(every)) = (control, self.config.controlnet_block_every_n) else {
            return Ok(None);
        };
        if every == 0 || i % every != 0 {
            return Ok(None);
        }
        match control.get(i / every) {
            Some(residual) => Ok(Some(residual)),
            None => candle_core::bail!(
                "the control network gave {} residuals, block {i} needs one more",
                control.len()
            ),
        }
    }
}

/// Widths of the two context projections.
pub(super) struct ContextWidths {
    /// Text: in and out, if projected.
    pub text: Option<(usize, usize)>,
    /// Picture: in and out, if there is one.
    pub picture: Option<(usize, usize)>,
}

/// `crossattn_proj` and `img_context_proj`.
fn context_projections(
    widths: ContextWidths,
    vb: VarBuilder<'_>,
) -> Result<(Option<Linear>, Option<Linear>)> {
    let layer = |pair: Option<(usize, usize)>, name: &str| match pair {
        Some((inputs, outputs)) => linear(inputs, outputs, vb.pp(name).pp(0)).map(Some),
        None => Ok(None),
    };
    Ok((layer(widths.text, "crossattn_proj")?, layer(widths.picture, "img_context_proj")?))
}
