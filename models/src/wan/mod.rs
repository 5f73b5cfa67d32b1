//! The Wan autoencoders: 2.1 (Predict2, Predict2.5, Transfer2.5, Cosmos Policy; 4×8×8) and 2.2 (Cosmos 3; 4×16×16).
//!
//! A clip passes in pieces: the first frame alone, then groups of four (one latent frame each). Every causal
//! convolution remembers the last two frames that it saw, so a clip of any length needs the memory of one group.
//! Inside, activations are frames first, [B, T, C, H, W]: a frame is then a plain picture for conv2d.

mod blocks;
pub(crate) mod conv;
mod decoder;
mod encoder;
mod memory;
mod place;
mod resample;
mod shortcut;
mod tiles;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use crate::common::config_error;
use conv::CausalConv3d;
use decoder::Decoder;
use encoder::Encoder;
use memory::Memory;
pub use place::WanPlace;
use tiles::{Span, rim, spans};

/// What decoding hands over while it goes on.
pub enum Decoded {
    /// The next frames, [B, 3, frames, H, W] in -1..1.
    Frames(Tensor),
    /// This much of the work is done, of so much.
    Part(usize, usize),
}

/// `config.json` of `AutoencoderKLWan`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct WanConfig {
    /// Channels of the encoder at full size.
    pub base_dim: usize,
    /// Channels of the decoder at full size; the encoder's if not given.
    pub decoder_base_dim: Option<usize>,
    /// Latent channels.
    pub z_dim: usize,
    /// Channels of each stage in units of the base.
    pub dim_mult: Vec<usize>,
    /// Residual blocks per stage.
    pub num_res_blocks: usize,
    /// Scales with attention in the encoder; none in the published ones.
    pub attn_scales: Vec<f64>,
    /// Which of the encoder's halvings halve time too. (The published files spell it so.)
    pub temperal_downsample: Vec<bool>,
    /// Mean of each latent channel over the training data.
    pub latents_mean: Vec<f64>,
    /// Standard deviation of each latent channel.
    pub latents_std: Vec<f64>,
    /// Wan 2.2: stages with averaging shortcuts.
    pub is_residual: bool,
    /// Channels into the encoder (after patching).
    pub in_channels: usize,
    /// Channels out of the decoder (before unpatching).
    pub out_channels: usize,
    /// Side of the pixel patches that become channels (Wan 2.2: 2).
    pub patch_size: Option<usize>,
}

impl Default for WanConfig {
    /// The published Wan 2.1.
    fn default() -> Self {
        Self {
            base_dim: 96,
            decoder_base_dim: None,
            z_dim: 16,
            dim_mult: vec![1, 2, 4, 4],
            num_res_blocks: 2,
            attn_scales: Vec::new(),
            temperal_downsample: vec![false, true, true],
            latents_mean: vec![
                -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517,
                -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
            ],
            latents_std: vec![
                2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652,
                1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
            ],
            is_residual: false,
            in_channels: 3,
            out_channels: 3,
            patch_size: None,
        }
    }
}

impl WanConfig {
    /// Frames per latent frame behind the first one.
    pub fn temporal_factor(&self) -> usize {
        1 << self.temperal_downsample.iter().filter(|halves| **halves).count()
    }

    /// Pixels per latent along each side.
    pub fn spatial_factor(&self) -> usize {
        (1 << self.temperal_downsample.len()) * self.patch_size.unwrap_or(1)
    }

    /// Latents that a decoded pixel depends on beyond its own, on each side.
    pub(crate) fn rim(&self) -> usize {
        rim(self.temperal_downsample.len(), self.num_res_blocks + 1)
    }

    /// Mean and deviation of the latent channels over the training data, each [1, z, 1, 1, 1].
    ///
    /// # Errors
    /// There are not as many numbers as channels.
    pub fn latent_statistics(&self, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let tensor = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            Tensor::from_vec(values, (1, self.z_dim, 1, 1, 1), like.device())?.to_dtype(like.dtype())
        };
        Ok((tensor(&self.latents_mean)?, tensor(&self.latents_std)?))
    }

    fn check(&self) -> Result<()> {
        if self.dim_mult.is_empty() || self.temperal_downsample.len() + 1 != self.dim_mult.len() {
            return Err(config_error("temperal_downsample must have one entry less than dim_mult"));
        }
        if !self.attn_scales.is_empty() {
            return Err(config_error("attn_scales is not empty; no published Wan autoencoder uses it"));
        }
        if self.patch_size == Some(0) || self.base_dim == 0 || self.z_dim == 0 {
            return Err(config_error("patch_size, base_dim and z_dim must not be 0"));
        }
        Ok(())
    }
}

/// A Gaussian over latents, as the encoder gives it.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// Mean, [B, z, T, h, w].
    pub mean: Tensor,
    /// Log of the variance, limited to [-30, 20].
    pub logvar: Tensor,
}

impl Posterior {
    /// From mean and log variance side by side: [B, 2·z, T, h, w].
    pub(crate) fn from_moments(moments: &Tensor) -> Result<Self> {
        let channels = moments.dim(1)? / 2;
        Ok(Self {
            mean: moments.narrow(1, 0, channels)?.contiguous()?,
            logvar: moments.narrow(1, channels, channels)?.contiguous()?.clamp(-30.0, 20.0)?,
        })
    }

    /// A draw, with standard normal `noise` of the mean's shape.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        &self.mean + ((&self.logvar * 0.5)?.exp()? * noise)?
    }
}

/// The autoencoder.
pub struct Wan {
    config: WanConfig,
    encoder: Encoder,
    quant: CausalConv3d,
    post_quant: CausalConv3d,
    decoder: Decoder,
}

impl Wan {
    /// Tensor names as diffusers saves them (`encoder.conv_in.weight`, …).
    pub fn new(cfg: &WanConfig, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let z = cfg.z_dim;
        Ok(Self {
            encoder: Encoder::new(cfg, vb.pp("encoder"))?,
            quant: CausalConv3d::pointwise(2 * z, 2 * z, vb.pp("quant_conv"))?,
            post_quant: CausalConv3d::pointwise(z, z, vb.pp("post_quant_conv"))?,
            decoder: Decoder::new(cfg, vb.pp("decoder"))?,
            config: cfg.clone(),
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &WanConfig {
        &self.config
    }

    /// Encodes a clip [B, 3, T, H, W] in -1..1 to latents of 1 + (T - 1) / 4 frames. Frames that do not fill a
    /// group of four behind the first are left out, as the reference leaves them out. H and W must be multiples of
    /// the spatial factor.
    pub fn encode(&self, video: &Tensor) -> Result<Posterior> {
        let (_, _, frames, height, width) = video.dims5()?;
        let side = self.config.spatial_factor();
        if frames == 0 || height % side != 0 || width % side != 0 || height * width == 0 {
            candle_core::bail!(
                "a clip of {frames} frames of {width}x{height} cannot be encoded: sides must be multiples of {side}"
            );
        }
        let factor = self.config.temporal_factor();
        let mut memory = Memory::default();
        let mut parts = Vec::new();
        let mut start = 0;
        while start < frames {
            let count = if start == 0 { 1 } else { factor };
            if start + count > frames {
                break;
            }
            let piece = frames_first(&self.patch(&video.narrow(2, start, count)?)?)?;
            memory.rewind();
            parts.push(self.encoder.forward(&piece, &mut memory)?);
            start += count;
        }
        let moments = self.quant.forward(&Tensor::cat(&parts, 1)?, &mut Memory::default())?;
        Posterior::from_moments(&channels_first(&moments)?)
    }

    /// Decodes latents [B, z, T, h, w] to a clip of 1 + 4·(T - 1) frames, [B, 3, frames, H, W] in -1..1.
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let mut parts = Vec::new();
        self.decode_pieces(latents, None, |decoded| {
            if let Decoded::Frames(piece) = decoded {
                parts.push(piece);
            }
            Ok(())
        })?;
        Tensor::cat(&parts, 2)
    }

    /// Like [`Wan::decode`], but hands over the frames of each latent frame as soon as they are there, and tells how far
    /// it is. With `tile`, at most that many latents a side (and a rim around them) are in the convolutions at one time,
    /// tile after tile: less memory and more work for the same result, up to the order in which a product adds.
    ///
    /// # Errors
    /// The latents have another shape; whatever `take` returns.
    pub fn decode_pieces(
        &self,
        latents: &Tensor,
        tile: Option<usize>,
        mut take: impl FnMut(Decoded) -> Result<()>,
    ) -> Result<()> {
        let (_, _, frames, height, width) = latents.dims5()?;
        let latents = self.post_quant.forward(&frames_first(latents)?, &mut Memory::default())?;
        let mut memory = Memory::default();
        let mut middle = |frame: usize| {
            memory.rewind();
            self.decoder.stem(&latents.narrow(1, frame, 1)?, &mut memory)
        };
        let finish = |piece: &Tensor| self.unpatch(&channels_first(piece)?)?.clamp(-1.0, 1.0);
        let Some(size) = tile.filter(|size| *size < height.max(width)) else {
            let mut memory = Memory::default();
            for frame in 0..frames {
                memory.rewind();
                let piece = self.decoder.body(&middle(frame)?, &mut memory, frame == 0)?;
                take(Decoded::Frames(finish(&piece)?))?;
                take(Decoded::Part(frame + 1, frames))?;
            }
            return Ok(());
        };
        let rim = self.config.rim();
        let (rows, columns) = (spans(height, size, rim), spans(width, size, rim));
        let middles = (0..frames).map(&mut middle).collect::<Result<Vec<_>>>()?;
        // The insides of all tiles, by latent frame. What the layers remember is dropped with each tile.
        let mut insides = vec![Vec::new(); frames];
        for (number, (row, column)) in
            rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column))).enumerate()
        {
            let mut memory = Memory::default();
            for (frame, (middle, insides)) in middles.iter().zip(&mut insides).enumerate() {
                memory.rewind();
                let seen = cut(&cut(middle, 3, row.from, row.seen)?, 4, column.from, column.seen)?;
                let made = self.decoder.body(&seen, &mut memory, frame == 0)?;
                insides.push(inside(&inside(&made, 3, row)?, 4, column)?.contiguous()?);
                take(Decoded::Part(number * frames + frame + 1, rows.len() * columns.len() * frames))?;
            }
        }
        drop(middles);
        for tiles in insides {
            let bands = tiles.chunks(columns.len()).map(|band| join(band.to_vec(), 4));
            let piece = join(bands.collect::<Result<Vec<_>>>()?, 3)?;
            take(Decoded::Frames(finish(&piece)?))?;
        }
        Ok(())
    }

    /// p × p pixels become channels, in the order (channel, column, row): [B, C, T, H, W] -> [B, C·p², T, H/p, W/p].
    fn patch(&self, x: &Tensor) -> Result<Tensor> {
        let Some(p) = self.config.patch_size.filter(|p| *p > 1) else { return Ok(x.clone()) };
        let (b, c, t, h, w) = x.dims5()?;
        let split = x.reshape(vec![b, c, t, h / p, p, w / p, p])?.permute(vec![0, 1, 6, 4, 2, 3, 5])?;
        split.reshape((b, c * p * p, t, h / p, w / p))
    }

    /// The inverse of [`Wan::patch`].
    fn unpatch(&self, x: &Tensor) -> Result<Tensor> {
        let Some(p) = self.config.patch_size.filter(|p| *p > 1) else { return Ok(x.clone()) };
        let (b, c, t, h, w) = x.dims5()?;
        let split = x.reshape(vec![b, c / (p * p), p, p, t, h, w])?.permute(vec![0, 1, 4, 5, 3, 6, 2])?;
        split.reshape((b, c / (p * p), t, h * p, w * p))
    }
}

/// A part along one axis; the whole as it is.
fn cut(x: &Tensor, axis: usize, from: usize, count: usize) -> Result<Tensor> {
    if count == x.dim(axis)? { Ok(x.clone()) } else { x.narrow(axis, from, count)?.contiguous() }
}

/// What is kept of a decoded tile.
fn inside(x: &Tensor, axis: usize, span: &Span) -> Result<Tensor> {
    let scale = x.dim(axis)? / span.seen;
    cut(x, axis, (span.start - span.from) * scale, span.count * scale)
}

fn join(mut parts: Vec<Tensor>, axis: usize) -> Result<Tensor> {
    if parts.len() == 1 { Ok(parts.swap_remove(0)) } else { Tensor::cat(&parts, axis) }
}

/// [B, C, T, H, W] -> [B, T, C, H, W]
fn frames_first(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()
}

/// [B, T, C, H, W] -> [B, C, T, H, W]
fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.transpose(1, 2)?.contiguous()
}
