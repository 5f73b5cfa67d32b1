//! Latents to frames.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::WanConfig;
use super::blocks::{Head, MidBlock, ResidualBlock};
use super::conv::CausalConv3d;
use super::memory::Memory;
use super::resample::Upsample;
use super::shortcut::RepeatUp;

/// The decoder.
pub(super) struct Decoder {
    conv_in: CausalConv3d,
    mid: MidBlock,
    stages: Vec<Stage>,
    head: Head,
}

struct Stage {
    blocks: Vec<ResidualBlock>,
    up: Option<Upsample>,
    shortcut: Option<RepeatUp>,
}

impl Decoder {
    pub fn new(cfg: &WanConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let base = cfg.decoder_base_dim.unwrap_or(cfg.base_dim);
        let top = cfg.dim_mult.last().copied().unwrap_or(1);
        let widths: Vec<usize> =
            std::iter::once(top).chain(cfg.dim_mult.iter().rev().copied()).map(|m| m * base).collect();
        let first = widths.first().copied().unwrap_or(base);
        let last = widths.last().copied().unwrap_or(base);
        let doubles: Vec<bool> = cfg.temperal_downsample.iter().rev().copied().collect();
        let mut stages = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            // In Wan 2.1 the doubling before this stage has already halved its channels.
            let inputs = if i > 0 && !cfg.is_residual { inputs / 2 } else { inputs };
            stages.push(Stage::new(cfg, inputs, outputs, doubles.get(i).copied(), vb.pp("up_blocks").pp(i))?);
        }
        Ok(Self {
            conv_in: CausalConv3d::cube(cfg.z_dim, first, vb.pp("conv_in"))?,
            mid: MidBlock::new(first, vb.pp("mid_block"))?,
            stages,
            head: Head::new(last, cfg.out_channels, vb)?,
        })
    }

    /// The part at the size of the latents, with attention over the whole picture: one latent frame [B, 1, z, h, w] to
    /// [B, 1, C, h, w].
    pub fn stem(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        self.mid.forward(&self.conv_in.forward(x, memory)?, memory)
    }

    /// From there to frames [B, t, C, H, W]: one for the first latent frame, four for the others.
    pub fn body(&self, x: &Tensor, memory: &mut Memory, first_piece: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for stage in &self.stages {
            x = stage.forward(&x, memory, first_piece)?;
        }
        self.head.forward(&x, memory)
    }
}

impl Stage {
    fn new(
        cfg: &WanConfig,
        inputs: usize,
        outputs: usize,
        up: Option<bool>,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let blocks = (0..=cfg.num_res_blocks)
            .map(|i| {
                ResidualBlock::new(if i == 0 { inputs } else { outputs }, outputs, vb.pp("resnets").pp(i))
            })
            .collect::<Result<_>>()?;
        let (up, shortcut) = match (up, cfg.is_residual) {
            (None, _) => (None, None),
            (Some(time), false) => {
                (Some(Upsample::new(outputs, outputs / 2, time, vb.pp("upsamplers.0"))?), None)
            }
            (Some(time), true) => {
                let t = if time { 2 } else { 1 };
                if inputs == 0 || (outputs * t * 4) % inputs != 0 {
                    return Err(crate::common::config_error(format!(
                        "{inputs} channels cannot be repeated into {outputs}"
                    )));
                }
                let shortcut = RepeatUp { outputs, time: t, space: 2 };
                (Some(Upsample::new(outputs, outputs, time, vb.pp("upsampler"))?), Some(shortcut))
            }
        };
        Ok(Self { blocks, up, shortcut })
    }

    fn forward(&self, x: &Tensor, memory: &mut Memory, first_piece: bool) -> Result<Tensor> {
        let mut y = x.clone();
        for block in &self.blocks {
            y = block.forward(&y, memory)?;
        }
        if let Some(up) = &self.up {
            y = up.forward(&y, memory)?;
        }
        match &self.shortcut {
            Some(shortcut) => y + shortcut.forward(x, first_piece)?,
            None => Ok(y),
        }
    }
}
