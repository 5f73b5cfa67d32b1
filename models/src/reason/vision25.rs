//! The vision tower of Qwen2.5-VL: most blocks see windows of the picture, a few the whole of it.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};

use super::PatchGrid;
use super::grid::windows;
use super::vision::{Seen, VisionAttention, VisionConfig, check, frame_lengths, patch_embedding, rotary};
use crate::common::{Linear, RmsNorm, config_error, linear};

/// The tower.
pub(super) struct Vision25 {
    config: VisionConfig,
    patch: Linear,
    blocks: Vec<Block>,
    norm: RmsNorm,
    merge_1: Linear,
    merge_2: Linear,
}

struct Block {
    norm1: RmsNorm,
    attn: VisionAttention,
    norm2: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Vision25 {
    pub fn new(cfg: &VisionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        if cfg.spatial_merge_size == 0
            || cfg.window_size / cfg.spatial_merge_size.max(1) / cfg.patch_size.max(1) == 0
        {
            return Err(config_error("window_size must hold at least one merged patch"));
        }
        let blocks = (0..cfg.depth).map(|i| Block::new(cfg, vb.pp("blocks").pp(i))).collect::<Result<_>>()?;
        let merger = vb.pp("merger");
        Ok(Self {
            patch: patch_embedding(cfg, false, vb.pp("patch_embed.proj"))?,
            blocks,
            norm: RmsNorm::new(cfg.hidden_size, 1e-6, merger.pp("ln_q"))?,
            merge_1: linear(cfg.merged(), cfg.merged(), merger.pp("mlp.0"))?,
            merge_2: linear(cfg.merged(), cfg.out_hidden_size, merger.pp("mlp.2"))?,
            config: cfg.clone(),
        })
    }

    /// Patches to tokens.
    pub fn forward(&self, values: &Tensor, grids: &[PatchGrid]) -> Result<Seen> {
        let cfg = &self.config;
        check(cfg, values, grids)?;
        let side = cfg.window_size / cfg.spatial_merge_size / cfg.patch_size;
        // Tokens in the order of their windows, over all pictures.
        let (mut order, mut lengths) = (Vec::new(), Vec::new());
        for grid in grids {
            let start = order.len();
            let (own, counts) = windows(*grid, cfg.spatial_merge_size, side);
            order.extend(own.into_iter().map(|token| token + start));
            lengths.extend(counts.into_iter().map(|count| count * cfg.unit()));
        }
        let unit = cfg.unit();
        let patches: Vec<u32> =
            order.iter().flat_map(|token| (0..unit).map(move |i| (token * unit + i) as u32)).collect();
        let places: Vec<(usize, usize)> =
            grids.iter().flat_map(|grid| grid.order(cfg.spatial_merge_size)).collect();
        let places: Vec<(usize, usize)> =
            patches.iter().filter_map(|i| places.get(*i as usize).copied()).collect();
        let count = patches.len();
        let patches = Tensor::from_vec(patches, count, values.device())?;
        let rotary = rotary(cfg, &places, values.device())?;
        let whole = frame_lengths(grids);

        let mut x = self.patch.forward(&values.index_select(&patches, 0)?)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let lengths = if cfg.fullatt_block_indexes.contains(&i) { &whole } else { &lengths };
            let own = block.attn.forward(&block.norm1.forward(&x)?, &rotary, lengths)?;
            x = (x + own)?;
            x = (&x + block.feed(&block.norm2.forward(&x)?)?)?;
        }
        let merged = self.norm.forward(&x)?.reshape((count / unit, cfg.merged()))?;
        let merged = self.merge_2.forward(&self.merge_1.forward(&merged)?.gelu_erf()?)?;
        // Back to the order of the picture.
        let mut back = vec![0u32; order.len()];
        for (at, token) in order.iter().enumerate() {
            if let Some(place) = back.get_mut(*token) {
                *place = at as u32;
            }
        }
        let count = back.len();
        let tokens = merged.index_select(&Tensor::from_vec(back, count, values.device())?, 0)?;
        Ok(Seen { tokens, deep: Vec::new() })
    }
}

impl Block {
    fn new(cfg: &VisionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (width, inner) = (cfg.hidden_size, cfg.intermediate_size);
        Ok(Self {
            norm1: RmsNorm::new(width, 1e-6, vb.pp("norm1"))?,
            attn: VisionAttention::new(cfg, vb.pp("attn"))?,
            norm2: RmsNorm::new(width, 1e-6, vb.pp("norm2"))?,
            gate: linear(width, inner, vb.pp("mlp.gate_proj"))?,
            up: linear(width, inner, vb.pp("mlp.up_proj"))?,
            down: linear(inner, width, vb.pp("mlp.down_proj"))?,
        })
    }

    fn feed(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&(self.gate.forward(x)?.silu()? * self.up.forward(x)?)?)
    }
}
