//! What both vision towers share.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{Module, VarBuilder};
use serde::Deserialize;

use super::PatchGrid;
use crate::common::rotary::{Rotary, inverse_frequencies};
use crate::common::{Linear, Mask, attention, linear};

/// `vision_config` of the published files.
#[derive(Clone, Debug, Deserialize)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width of the stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Heads.
    pub num_heads: usize,
    /// Width of the language tower.
    pub out_hidden_size: usize,
    /// Pixels along a patch.
    pub patch_size: usize,
    /// Patches along the side of a token.
    pub spatial_merge_size: usize,
    /// Frames in a patch.
    pub temporal_patch_size: usize,
    /// Channels of a picture.
    #[serde(default = "three")]
    pub in_channels: usize,
    /// Pixels along an attention window (Qwen2.5-VL).
    #[serde(default)]
    pub window_size: usize,
    /// Blocks that see the whole picture (Qwen2.5-VL).
    #[serde(default)]
    pub fullatt_block_indexes: Vec<usize>,
    /// Units of time per second (Qwen2.5-VL).
    #[serde(default)]
    pub tokens_per_second: Option<f64>,
    /// Learned places, a square (Qwen3-VL).
    #[serde(default)]
    pub num_position_embeddings: usize,
    /// Blocks whose output the first language layers see too (Qwen3-VL).
    #[serde(default)]
    pub deepstack_visual_indexes: Vec<usize>,
}

fn three() -> usize {
    3
}

impl VisionConfig {
    pub(super) fn patch_numbers(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches that become one token.
    pub(super) fn unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Width of those patches side by side.
    pub(super) fn merged(&self) -> usize {
        self.hidden_size * self.unit()
    }
}

/// What the language tower gets of pictures and clips.
#[derive(Clone)]
pub(super) struct Seen {
    /// [tokens, width]
    pub tokens: Tensor,
    /// For each of the first language layers what is added behind it, [tokens, width].
    pub deep: Vec<Tensor>,
}

impl Seen {
    /// Tokens of several one behind the other.
    pub fn join(parts: &[Self]) -> Result<Self> {
        let tokens: Vec<&Tensor> = parts.iter().map(|part| &part.tokens).collect();
        let layers = parts.iter().map(|part| part.deep.len()).min().unwrap_or(0);
        let deep = (0..layers).map(|i| {
            let layer: Vec<&Tensor> = parts.iter().filter_map(|part| part.deep.get(i)).collect();
            Tensor::cat(&layer, 0)
        });
        Ok(Self { tokens: Tensor::cat(&tokens, 0)?, deep: deep.collect::<Result<_>>()? })
    }
}

/// Reads the patch embedding, stored as a 3-D convolution whose kernel is its stride, as a linear layer.
pub(super) fn patch_embedding(cfg: &VisionConfig, bias: bool, vb: VarBuilder<'_>) -> Result<Linear> {
    let (time, side) = (cfg.temporal_patch_size, cfg.patch_size);
    let weight = vb.get((cfg.hidden_size, cfg.in_channels, time, side, side), "weight")?;
    let bias = if bias { Some(vb.get(cfg.hidden_size, "bias")?) } else { None };
    Ok(Linear::new(weight.reshape((cfg.hidden_size, cfg.patch_numbers()))?, bias))
}

/// Rotary angles of patches at (row, column): half of the frequencies turn with the row, half with the column.
pub(super) fn rotary(cfg: &VisionConfig, places: &[(usize, usize)], device: &Device) -> Result<Rotary> {
    let half = cfg.hidden_size / cfg.num_heads / 2;
    let frequencies = inverse_frequencies(10000.0, half);
    let turn = |place: usize| frequencies.iter().map(move |f| place as f32 * f);
    let angles = places.iter().flat_map(|(row, column)| turn(*row).chain(turn(*column))).collect();
    Rotary::from_angles(angles, places.len(), half, device)
}

/// Attention inside pieces of the sequence.
pub(super) struct VisionAttention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl VisionAttention {
    pub fn new(cfg: &VisionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let width = cfg.hidden_size;
        let (qkv, proj) = (linear(width, 3 * width, vb.pp("qkv"))?, linear(width, width, vb.pp("proj"))?);
        Ok(Self { qkv, proj, heads: cfg.num_heads })
    }

    /// `x` [N, width]; `lengths` are those of the pieces and sum to N.
    pub fn forward(&self, x: &Tensor, rotary: &Rotary, lengths: &[usize]) -> Result<Tensor> {
        let (tokens, width) = x.dims2()?;
        // [N, 3·H·D] -> [3, H, N, D]
        let qkv = self
            .qkv
            .forward(x)?
            .reshape((tokens, 3, self.heads, width / self.heads))?
            .permute((1, 2, 0, 3))?;
        let part = |i: usize| qkv.narrow(0, i, 1)?.contiguous();
        let (q, k, v) = (rotary.apply(&part(0)?)?, rotary.apply(&part(1)?)?, part(2)?);
        let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
        let mut parts = Vec::with_capacity(lengths.len());
        let mut start = 0;
        for length in lengths {
            let piece = |y: &Tensor| y.narrow(2, start, *length);
            parts.push(attention(&piece(&q)?, &piece(&k)?, &piece(&v)?, scale, Mask::None)?);
            start += length;
        }
        // [1, H, N, D] -> [N, H·D]
        let mixed = Tensor::cat(&parts, 2)?.squeeze(0)?.transpose(0, 1)?.flatten_from(1)?;
        self.proj.forward(&mixed)
    }
}

/// Patches of each frame: pieces that do not see each other.
pub(super) fn frame_lengths(grids: &[PatchGrid]) -> Vec<usize> {
    grids.iter().flat_map(|grid| std::iter::repeat_n(grid.rows * grid.columns, grid.frames)).collect()
}

/// Refuses patches that do not make whole tokens.
pub(super) fn check(cfg: &VisionConfig, values: &Tensor, grids: &[PatchGrid]) -> Result<()> {
    let merge = cfg.spatial_merge_size;
    let wanted: usize = grids.iter().map(|grid| grid.patches()).sum();
    let whole = grids.iter().all(|grid| grid.rows % merge == 0 && grid.columns % merge == 0);
    if values.dims() != [wanted, cfg.patch_numbers()] || !whole || wanted == 0 {
        candle_core::bail!(
            "patches of shape {:?} do not fit {grids:?} of {} numbers",
            values.dims(),
            cfg.patch_numbers()
        );
    }
    Ok(())
}

/// Layer norm with weight and bias.
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub fn new(width: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self { weight: vb.get(width, "weight")?, bias: vb.get(width, "bias")? })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let unit = crate::common::layer_norm(&x.to_dtype(DType::F32)?, 1e-6)?.to_dtype(x.dtype())?;
        unit.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}
