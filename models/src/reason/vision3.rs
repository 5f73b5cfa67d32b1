//! The vision tower of Qwen3-VL: learned places stretched to the picture's grid, and outputs of some blocks handed to
//! the first language layers (DeepStack, arXiv 2406.04334).

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::PatchGrid;
use super::vision::{
    LayerNorm, Seen, VisionAttention, VisionConfig, check, frame_lengths, patch_embedding, rotary,
};
use crate::common::{Linear, config_error, linear};

/// The tower.
pub(super) struct Vision3 {
    config: VisionConfig,
    patch: Linear,
    places: Tensor,
    side: usize,
    blocks: Vec<Block>,
    merger: Merger,
    deep: Vec<Merger>,
}

struct Block {
    norm1: LayerNorm,
    attn: VisionAttention,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

/// Merged patches to a token; the norm is over a patch, or over the merged patches.
struct Merger {
    norm: LayerNorm,
    over_merged: bool,
    up: Linear,
    down: Linear,
    merged: usize,
}

impl Merger {
    fn new(cfg: &VisionConfig, over_merged: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let merged = cfg.merged();
        Ok(Self {
            norm: LayerNorm::new(if over_merged { merged } else { cfg.hidden_size }, vb.pp("norm"))?,
            over_merged,
            up: linear(merged, merged, vb.pp("linear_fc1"))?,
            down: linear(merged, cfg.out_hidden_size, vb.pp("linear_fc2"))?,
            merged,
        })
    }

    /// [N, width] -> [tokens, out]
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = match self.over_merged {
            true => self.norm.forward(&x.reshape(((), self.merged))?)?,
            false => self.norm.forward(x)?.reshape(((), self.merged))?,
        };
        self.down.forward(&self.up.forward(&x)?.gelu_erf()?)
    }
}

impl Vision3 {
    pub fn new(cfg: &VisionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let side = cfg.num_position_embeddings.isqrt();
        if side == 0 || cfg.spatial_merge_size == 0 {
            return Err(config_error("num_position_embeddings and spatial_merge_size must not be 0"));
        }
        let blocks = (0..cfg.depth).map(|i| {
            let vb = vb.pp("blocks").pp(i);
            Ok(Block {
                norm1: LayerNorm::new(cfg.hidden_size, vb.pp("norm1"))?,
                attn: VisionAttention::new(cfg, vb.pp("attn"))?,
                norm2: LayerNorm::new(cfg.hidden_size, vb.pp("norm2"))?,
                up: linear(cfg.hidden_size, cfg.intermediate_size, vb.pp("mlp.linear_fc1"))?,
                down: linear(cfg.intermediate_size, cfg.hidden_size, vb.pp("mlp.linear_fc2"))?,
            })
        });
        let deep = (0..cfg.deepstack_visual_indexes.len())
            .map(|i| Merger::new(cfg, true, vb.pp("deepstack_merger_list").pp(i)))
            .collect::<Result<_>>()?;
        Ok(Self {
            patch: patch_embedding(cfg, true, vb.pp("patch_embed.proj"))?,
            places: vb.get((cfg.num_position_embeddings, cfg.hidden_size), "pos_embed.weight")?,
            side,
            blocks: blocks.collect::<Result<_>>()?,
            merger: Merger::new(cfg, false, vb.pp("merger"))?,
            deep,
            config: cfg.clone(),
        })
    }

    /// Patches to tokens.
    pub fn forward(&self, values: &Tensor, grids: &[PatchGrid]) -> Result<Seen> {
        let cfg = &self.config;
        check(cfg, values, grids)?;
        let places: Vec<(usize, usize)> =
            grids.iter().flat_map(|grid| grid.order(cfg.spatial_merge_size)).collect();
        let rotary = rotary(cfg, &places, values.device())?;
        let lengths = frame_lengths(grids);
        let mut x = (self.patch.forward(values)? + self.stretched(grids)?)?;
        let mut deep = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let own = block.attn.forward(&block.norm1.forward(&x)?, &rotary, &lengths)?;
            x = (x + own)?;
            let inner = block.up.forward(&block.norm2.forward(&x)?)?.gelu()?;
            x = (&x + block.down.forward(&inner)?)?;
            let merger =
                cfg.deepstack_visual_indexes.iter().position(|n| *n == i).and_then(|n| self.deep.get(n));
            if let Some(merger) = merger {
                deep.push(merger.forward(&x)?);
            }
        }
        Ok(Seen { tokens: self.merger.forward(&x)?, deep })
    }

    /// The square of learned places, stretched to each grid (bilinear, corners on corners), patch by patch.
    fn stretched(&self, grids: &[PatchGrid]) -> Result<Tensor> {
        let last = self.side - 1;
        let axis = |place: usize, length: usize| -> (usize, usize, f32) {
            let at = place as f32 * last as f32 / (length - 1).max(1) as f32;
            let low = (at as usize).min(last);
            (low, (low + 1).min(last), at - low as f32)
        };
        let mut corners: [Vec<u32>; 4] = Default::default();
        let mut weights: [Vec<f32>; 4] = Default::default();
        for grid in grids {
            for (row, column) in grid.order(self.config.spatial_merge_size) {
                let (top, bottom, down) = axis(row, grid.rows);
                let (left, right, across) = axis(column, grid.columns);
                let four = [
                    (top, left, (1.0 - down) * (1.0 - across)),
                    (top, right, (1.0 - down) * across),
                    (bottom, left, down * (1.0 - across)),
                    (bottom, right, down * across),
                ];
                for (i, (row, column, weight)) in four.into_iter().enumerate() {
                    corners[i].push((row * self.side + column) as u32);
                    weights[i].push(weight);
                }
            }
        }
        let mut sum: Option<Tensor> = None;
        for (corner, weight) in corners.into_iter().zip(weights) {
            let count = corner.len();
            let rows =
                self.places.index_select(&Tensor::from_vec(corner, count, self.places.device())?, 0)?;
            let weight =
                Tensor::from_vec(weight, (count, 1), self.places.device())?.to_dtype(rows.dtype())?;
            let part = rows.broadcast_mul(&weight)?;
            sum = Some(match sum {
                None => part,
                Some(before) => (before + part)?,
            });
        }
        sum.ok_or_else(|| candle_core::Error::Msg("no corners".to_owned()))
    }
}
