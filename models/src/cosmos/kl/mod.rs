//! The autoencoder of Predict1 and Transfer1 ("CV8x8x8"): Haar wavelets, then causal convolutions split into a spatial
//! and a temporal part, with attention over space and, causally, over time in the middle.
//!
//! Inside, activations are frames first, [B, T, C, H, W]. Unlike Wan's, a clip passes as a whole.

mod blocks;
mod conv;
mod place;
mod resample;
mod wavelet;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use crate::common::config_error;
use blocks::{GroupNorm, Mid, Residual, SpaceTimeAttention};
use conv::{Conv, SplitConv};
pub use place::KlPlace;
use resample::{Downsample, Upsample};

/// `config.json` of `AutoencoderKLCosmos`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct KlConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of a decoded picture.
    pub out_channels: usize,
    /// Latent channels.
    pub latent_channels: usize,
    /// Channels of the encoder's stages.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of the decoder's stages, widest last.
    pub decode_block_out_channels: Vec<usize>,
    /// Sizes at which stages have attention.
    pub attention_resolutions: Vec<usize>,
    /// Picture size that the attention sizes are counted from.
    pub resolution: usize,
    /// Residual blocks per stage of the encoder; the decoder has one more.
    pub num_layers: usize,
    /// Side of the wavelet patches, a power of two.
    pub patch_size: usize,
    /// Only `haar` is known.
    pub patch_type: String,
    /// Pixels per latent along each side.
    pub spatial_compression_ratio: usize,
    /// Frames per latent frame.
    pub temporal_compression_ratio: usize,
    /// Mean of each latent channel and latent frame, channel by channel.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of the same.
    pub latents_std: Option<Vec<f64>>,
}

impl Default for KlConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 16,
            encoder_block_out_channels: vec![128, 256, 512, 512],
            decode_block_out_channels: vec![256, 512, 512, 512],
            attention_resolutions: vec![32],
            resolution: 1024,
            num_layers: 2,
            patch_size: 4,
            patch_type: "haar".to_owned(),
            spatial_compression_ratio: 8,
            temporal_compression_ratio: 8,
            latents_mean: None,
            latents_std: None,
        }
    }
}

impl KlConfig {
    fn check(&self) -> Result<()> {
        if self.patch_type != "haar" {
            return Err(config_error(format!("patch_type `{}`; known is haar", self.patch_type)));
        }
        let powers = [self.patch_size, self.spatial_compression_ratio, self.temporal_compression_ratio];
        if !powers.iter().all(|n| n.is_power_of_two()) || powers.iter().any(|n| *n < self.patch_size) {
            return Err(config_error(
                "patch size and compression ratios must be powers of two, no ratio below the patch",
            ));
        }
        if self.encoder_block_out_channels.len() < 2 || self.decode_block_out_channels.len() < 2 {
            return Err(config_error("encoder and decoder need at least two stages"));
        }
        Ok(())
    }

    /// Mean and deviation of the latents over the training data, [1, 16, T, 1, 1] for T latent frames; none if the
    /// files hold none.
    ///
    /// # Errors
    /// The clip is longer than the autoencoder was made for.
    pub fn latent_statistics(&self, like: &Tensor) -> Result<Option<(Tensor, Tensor)>> {
        let frames = like.dim(2)?;
        let (Some(mean), Some(std)) = (&self.latents_mean, &self.latents_std) else {
            return Ok(None);
        };
        let tensor = |values: &[f64]| {
            let slots = values.len() / self.latent_channels.max(1);
            if slots < frames {
                candle_core::bail!(
                    "latents of {frames} frames, but the autoencoder was made for at most {slots}"
                );
            }
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            let all = Tensor::from_vec(values, (1, self.latent_channels, slots, 1, 1), like.device())?;
            all.narrow(2, 0, frames)?.to_dtype(like.dtype())
        };
        Ok(Some((tensor(mean)?, tensor(std)?)))
    }

    /// Halvings behind the wavelets, in space and in time.
    fn halvings(&self) -> (usize, usize) {
        let patch = self.patch_size.ilog2();
        let of = |ratio: usize| (ratio.ilog2() - patch) as usize;
        (of(self.spatial_compression_ratio), of(self.temporal_compression_ratio))
    }
}

/// The autoencoder.
pub struct KlCosmos {
    config: KlConfig,
    encoder: Encoder,
    quant: Conv,
    post_quant: Conv,
    decoder: Decoder,
}

impl KlCosmos {
    /// Tensor names as diffusers saves them.
    pub fn new(cfg: &KlConfig, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let z = cfg.latent_channels;
        Ok(Self {
            encoder: Encoder::new(cfg, vb.pp("encoder"))?,
            quant: Conv::pointwise(z, z, vb.pp("quant_conv"))?,
            post_quant: Conv::pointwise(z, z, vb.pp("post_quant_conv"))?,
            decoder: Decoder::new(cfg, vb.pp("decoder"))?,
            config: cfg.clone(),
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &KlConfig {
        &self.config
    }

    /// Encodes a clip [B, 3, T, H, W] in -1..1 with T = 8k + 1: latents [B, 16, k + 1, H/8, W/8].
    pub fn encode(&self, video: &Tensor) -> Result<Tensor> {
        let (_, _, frames, height, width) = video.dims5()?;
        let (side, time) = (self.config.spatial_compression_ratio, self.config.temporal_compression_ratio);
        if frames % time != 1 || height % side != 0 || width % side != 0 || height * width == 0 {
            candle_core::bail!(
                "{frames} frames of {width}x{height}: {time}k + 1 frames with sides of multiples of {side} can be encoded"
            );
        }
        let x = wavelet::patch(&video.transpose(1, 2)?.contiguous()?, self.config.patch_size)?;
        let x = self.quant.forward(&self.encoder.forward(&x)?)?;
        x.transpose(1, 2)?.contiguous()
    }

    /// Decodes latents [B, 16, T, h, w] to [B, 3, 8·(T - 1) + 1, 8·h, 8·w].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        let x = self.post_quant.forward(&latents.transpose(1, 2)?.contiguous()?)?;
        let x = wavelet::unpatch(&self.decoder.forward(&x)?, self.config.patch_size)?;
        x.transpose(1, 2)?.contiguous()
    }
}

/// Residual blocks, each followed by attention where the stage has it.
struct Stage {
    blocks: Vec<(Residual, Option<SpaceTimeAttention>)>,
}

impl Stage {
    fn new(
        count: usize,
        inputs: usize,
        outputs: usize,
        attention: bool,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let blocks = (0..count).map(|i| {
            let block =
                Residual::new(if i == 0 { inputs } else { outputs }, outputs, vb.pp("resnets").pp(i))?;
            let attention = if attention { Some(SpaceTimeAttention::new(outputs, i, vb)?) } else { None };
            Ok((block, attention))
        });
        Ok(Self { blocks: blocks.collect::<Result<_>>()? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (block, attention) in &self.blocks {
            x = block.forward(&x)?;
            if let Some(attention) = attention {
                x = attention.forward(&x)?;
            }
        }
        Ok(x)
    }
}

struct Encoder {
    conv_in: SplitConv,
    stages: Vec<(Stage, Option<Downsample>)>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: SplitConv,
}

impl Encoder {
    fn new(cfg: &KlConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let widths = &cfg.encoder_block_out_channels;
        let (first, last) = (widths.first().copied().unwrap_or(1), widths.last().copied().unwrap_or(1));
        let (spatial, temporal) = cfg.halvings();
        let mut size = cfg.resolution / cfg.patch_size;
        let mut stages = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            let vb = vb.pp("down_blocks").pp(i);
            let stage =
                Stage::new(cfg.num_layers, inputs, outputs, cfg.attention_resolutions.contains(&size), &vb)?;
            let down = if i + 2 < widths.len() {
                size /= 2;
                Downsample::new(outputs, i < spatial, i < temporal, vb.pp("downsamplers.0"))?
            } else {
                None
            };
            stages.push((stage, down));
        }
        Ok(Self {
            conv_in: SplitConv::new(cfg.in_channels * cfg.patch_size.pow(3), first, vb.pp("conv_in"))?,
            stages,
            mid: Mid::new(last, vb.pp("mid_block"))?,
            norm_out: GroupNorm::new(last, vb.pp("norm_out.norm"))?,
            conv_out: SplitConv::new(last, cfg.latent_channels, vb.pp("conv_out"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(x)?;
        for (stage, down) in &self.stages {
            x = stage.forward(&x)?;
            if let Some(down) = down {
                x = down.forward(&x)?;
            }
        }
        let x = self.mid.forward(&x)?;
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?)
    }
}

struct Decoder {
    conv_in: SplitConv,
    mid: Mid,
    stages: Vec<(Stage, Option<Upsample>)>,
    norm_out: GroupNorm,
    conv_out: SplitConv,
}

impl Decoder {
    fn new(cfg: &KlConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let widths: Vec<usize> = cfg.decode_block_out_channels.iter().rev().copied().collect();
        let (first, last) = (widths.first().copied().unwrap_or(1), widths.last().copied().unwrap_or(1));
        let (spatial, temporal) = cfg.halvings();
        let mut size = (cfg.resolution / cfg.patch_size) >> (widths.len() - 2);
        let mut stages = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            let vb = vb.pp("up_blocks").pp(i);
            let stage = Stage::new(
                cfg.num_layers + 1,
                inputs,
                outputs,
                cfg.attention_resolutions.contains(&size),
                &vb,
            )?;
            let up = if i + 2 < widths.len() {
                size *= 2;
                let in_time = i > 0 && i < temporal + 1;
                let in_space = in_time || (i < spatial && spatial > temporal);
                Upsample::new(outputs, in_space, in_time, vb.pp("upsamplers.0"))?
            } else {
                None
            };
            stages.push((stage, up));
        }
        Ok(Self {
            conv_in: SplitConv::new(cfg.latent_channels, first, vb.pp("conv_in"))?,
            mid: Mid::new(first, vb.pp("mid_block"))?,
            stages,
            norm_out: GroupNorm::new(last, vb.pp("norm_out.norm"))?,
            conv_out: SplitConv::new(last, cfg.out_channels * cfg.patch_size.pow(3), vb.pp("conv_out"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.mid.forward(&self.conv_in.forward(x)?)?;
        for (stage, up) in &self.stages {
            x = stage.forward(&x)?;
            if let Some(up) = up {
                x = up.forward(&x)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?)
    }
}
