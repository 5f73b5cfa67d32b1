//! Frames to latent moments.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::WanConfig;
use super::blocks::{Head, MidBlock, ResidualBlock};
use super::conv::CausalConv3d;
use super::memory::Memory;
use super::resample::Downsample;
use super::shortcut::AverageDown;

/// The encoder.
pub(super) struct Encoder {
    conv_in: CausalConv3d,
    stages: Vec<Stage>,
    mid: MidBlock,
    head: Head,
}

struct Stage {
    blocks: Vec<ResidualBlock>,
    down: Option<Downsample>,
    shortcut: Option<AverageDown>,
}

impl Encoder {
    pub fn new(cfg: &WanConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let widths: Vec<usize> =
            std::iter::once(1).chain(cfg.dim_mult.iter().copied()).map(|m| m * cfg.base_dim).collect();
        let first = widths.first().copied().unwrap_or(cfg.base_dim);
        let last = widths.last().copied().unwrap_or(cfg.base_dim);
        let mut stages = Vec::new();
        // Wan 2.1 numbers blocks and halvings in one flat list, Wan 2.2 stage by stage.
        let mut flat = 0;
        for (i, pair) in widths.windows(2).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            let down = cfg.temperal_downsample.get(i).copied();
            stages.push(if cfg.is_residual {
                Stage::residual(cfg, inputs, outputs, down, vb.pp("down_blocks").pp(i))?
            } else {
                Stage::flat(cfg, inputs, outputs, down, &mut flat, vb.pp("down_blocks"))?
            });
        }
        Ok(Self {
            conv_in: CausalConv3d::cube(cfg.in_channels, first, vb.pp("conv_in"))?,
            stages,
            mid: MidBlock::new(last, vb.pp("mid_block"))?,
            head: Head::new(last, 2 * cfg.z_dim, vb)?,
        })
    }

    /// One piece [B, T, C, H, W] to its latent frames [B, t, 2·z, h, w].
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x, memory)?;
        for stage in &self.stages {
            x = stage.forward(&x, memory)?;
        }
        let x = self.mid.forward(&x, memory)?;
        self.head.forward(&x, memory)
    }
}

impl Stage {
    fn flat(
        cfg: &WanConfig,
        mut inputs: usize,
        outputs: usize,
        down: Option<bool>,
        at: &mut usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let mut blocks = Vec::new();
        for _ in 0..cfg.num_res_blocks {
            blocks.push(ResidualBlock::new(inputs, outputs, vb.pp(*at))?);
            inputs = outputs;
            *at += 1;
        }
        let down = match down {
            Some(time) => {
                *at += 1;
                Some(Downsample::new(outputs, time, vb.pp(*at - 1))?)
            }
            None => None,
        };
        Ok(Self { blocks, down, shortcut: None })
    }

    fn residual(
        cfg: &WanConfig,
        inputs: usize,
        outputs: usize,
        down: Option<bool>,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let (time, space) = (if down == Some(true) { 2 } else { 1 }, if down.is_some() { 2 } else { 1 });
        if outputs == 0 || (inputs * time * space * space) % outputs != 0 {
            return Err(crate::common::config_error(format!(
                "{inputs} channels cannot be averaged into {outputs}"
            )));
        }
        let blocks = (0..cfg.num_res_blocks)
            .map(|i| {
                ResidualBlock::new(if i == 0 { inputs } else { outputs }, outputs, vb.pp("resnets").pp(i))
            })
            .collect::<Result<_>>()?;
        let down = match down {
            Some(time) => Some(Downsample::new(outputs, time, vb.pp("downsampler"))?),
            None => None,
        };
        Ok(Self { blocks, down, shortcut: Some(AverageDown { outputs, time, space }) })
    }

    fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut y = x.clone();
        for block in &self.blocks {
            y = block.forward(&y, memory)?;
        }
        if let Some(down) = &self.down {
            y = down.forward(&y, memory)?;
        }
        match &self.shortcut {
            Some(shortcut) => y + shortcut.forward(x)?,
            None => Ok(y),
        }
    }
}
