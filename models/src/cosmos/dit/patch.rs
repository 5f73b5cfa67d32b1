//! Latents to tokens and back.

use candle_core::{DType, Result, Tensor};
use candle_nn::{Module, VarBuilder};

use crate::common::{Linear, linear_no_bias};

/// Number of tokens along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub frames: usize,
    pub rows: usize,
    pub columns: usize,
}

/// The patch embedding.
pub(super) struct Patches {
    proj: Linear,
    size: [usize; 3],
}

impl Patches {
    pub fn new(channels: usize, width: usize, size: [usize; 3], vb: VarBuilder<'_>) -> Result<Self> {
        let numbers = channels * size.iter().product::<usize>();
        Ok(Self { proj: linear_no_bias(numbers, width, vb.pp("proj"))?, size })
    }

    /// The tokens that latents [B, C, T, h, w] make.
    pub fn grid(&self, x: &Tensor) -> Result<Grid> {
        let (_, _, t, h, w) = x.dims5()?;
        let [pt, ph, pw] = self.size;
        if t == 0 || t % pt != 0 || h % ph != 0 || w % pw != 0 {
            candle_core::bail!(
                "latents of {t} frames of {w}x{h} cannot be cut into patches of {pt}x{ph}x{pw}"
            );
        }
        Ok(Grid { frames: t / pt, rows: h / ph, columns: w / pw })
    }

    /// [B, C, T, h, w] -> [B, tokens, width]; the numbers of a patch run in the order (channel, frame, row, column).
    pub fn embed(&self, x: &Tensor) -> Result<Tensor> {
        let (b, c, t, h, w) = x.dims5()?;
        let [pt, ph, pw] = self.size;
        let split = x.reshape(vec![b, c, t / pt, pt, h / ph, ph, w / pw, pw])?;
        let tokens = split.permute(vec![0, 2, 4, 6, 1, 3, 5, 7])?;
        let tokens = tokens.reshape((b, (t / pt) * (h / ph) * (w / pw), c * pt * ph * pw))?;
        self.proj.forward(&tokens)
    }

    /// [B, tokens, numbers] -> [B, channels, T, h, w]; here the numbers of a patch run in the order
    /// (row, column, frame, channel), which is *not* the order of [`Patches::embed`].
    pub fn unfold(&self, x: &Tensor, grid: Grid, channels: usize) -> Result<Tensor> {
        let b = x.dim(0)?;
        let [pt, ph, pw] = self.size;
        let Grid { frames, rows, columns } = grid;
        x.reshape(vec![b, frames, rows, columns, ph, pw, pt, channels])?
            .permute(vec![0, 7, 1, 6, 2, 4, 3, 5])?
            .reshape((b, channels, frames * pt, rows * ph, columns * pw))
    }
}

/// Latents, then the condition mask, then the padding mask, as channels.
pub(super) fn stack_channels(
    latents: &Tensor,
    condition: Option<&Tensor>,
    padding: Option<Tensor>,
) -> Result<Tensor> {
    let mut parts = vec![latents.clone()];
    if let Some(mask) = condition {
        parts.push(mask.to_dtype(latents.dtype())?);
    }
    parts.extend(padding);
    Tensor::cat(&parts, 1)
}

/// A padding mask [1, 1, H, W] at pixel size, taken at every latent (nearest) and repeated for every frame and
/// sample: [B, 1, T, h, w]. No mask means no padding: zeros.
pub(super) fn padding_channel(mask: Option<&Tensor>, latents: &Tensor) -> Result<Tensor> {
    let (b, _, t, h, w) = latents.dims5()?;
    let Some(mask) = mask else { return Tensor::zeros((b, 1, t, h, w), latents.dtype(), latents.device()) };
    let (_, _, height, width) = mask.dims4()?;
    // Nearest: latent i takes pixel floor(i · size / latents).
    let places = |latents: usize, pixels: usize| -> Vec<u32> {
        (0..latents).map(|i| (i * pixels / latents) as u32).collect()
    };
    let rows = Tensor::from_vec(places(h, height), h, mask.device())?;
    let columns = Tensor::from_vec(places(w, width), w, mask.device())?;
    let small = mask.to_dtype(DType::F32)?.index_select(&rows, 2)?.index_select(&columns, 3)?;
    small.unsqueeze(2)?.expand((b, 1, t, h, w))?.contiguous()?.to_dtype(latents.dtype())
}
