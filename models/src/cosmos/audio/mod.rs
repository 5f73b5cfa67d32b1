//! The autoencoder of Cosmos 3's sound: 25 latents a second stand for 48 kHz stereo in the published one.
//! Spectrogram and ConvNeXt blocks on the way in, snake activations and transposed convolutions on the way out.

mod decoder;
mod encoder;
mod layers;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::Deserialize;

use crate::common::config_error;
use decoder::Decoder;
use encoder::Encoder;

/// `config.json` of `Cosmos3AVAEAudioTokenizer`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct AudioConfig {
    /// Samples per second.
    pub sampling_rate: f64,
    /// Latent channels.
    pub vocoder_input_dim: usize,
    /// Base width of the decoder.
    pub dec_dim: usize,
    /// Widths of the decoder's stages in units of the base, narrowest first.
    pub dec_c_mults: Vec<usize>,
    /// Strides of the decoder's stages, last stage first.
    pub dec_strides: Vec<usize>,
    /// Channels of the decoded sound.
    pub dec_out_channels: usize,
    /// Whether the encoder takes two channels.
    pub stereo: bool,
    /// Whether sound is brought to full volume before encoding.
    pub normalize_volume: bool,
    /// Samples per latent; the product of the decoder's strides if not given.
    pub hop_size: Option<usize>,
    /// Base width of the encoder.
    pub enc_dim: usize,
    /// ConvNeXt blocks per stage.
    pub enc_num_blocks: usize,
    /// Length of a spectrogram window in samples.
    pub enc_n_fft: usize,
    /// Distance of spectrogram windows in samples.
    pub enc_hop_length: usize,
    /// Channels out of the encoder: means and scales.
    pub enc_latent_dim: usize,
    /// Widths of the encoder's stages in units of the base.
    pub enc_c_mults: Vec<usize>,
    /// Strides of the encoder's stages.
    pub enc_strides: Vec<usize>,
    /// Whether there is an encoder.
    pub encoder_enabled: bool,
}

impl Default for AudioConfig {
    fn default() -> Self {
        Self {
            sampling_rate: 48000.0,
            vocoder_input_dim: 64,
            dec_dim: 320,
            dec_c_mults: vec![1, 2, 4, 8, 16],
            dec_strides: vec![2, 4, 5, 6, 8],
            dec_out_channels: 2,
            stereo: true,
            normalize_volume: true,
            hop_size: None,
            enc_dim: 192,
            enc_num_blocks: 2,
            enc_n_fft: 64,
            enc_hop_length: 16,
            enc_latent_dim: 128,
            enc_c_mults: vec![1, 2, 4],
            enc_strides: vec![4, 5, 6],
            encoder_enabled: true,
        }
    }
}

impl AudioConfig {
    /// Samples per latent.
    pub fn hop(&self) -> usize {
        self.hop_size.unwrap_or_else(|| self.dec_strides.iter().product())
    }

    /// Latents for the sound of a clip.
    pub fn latents(&self, frames: usize, fps: f64) -> usize {
        ((frames as f64 / fps * self.sampling_rate) as usize).div_ceil(self.hop().max(1))
    }

    fn check(&self) -> Result<()> {
        if self.dec_strides.len() != self.dec_c_mults.len()
            || self.dec_strides.contains(&0)
            || self.dec_strides.is_empty()
        {
            return Err(config_error("dec_strides and dec_c_mults must have the same length, no stride 0"));
        }
        if self.enc_strides.len() != self.enc_c_mults.len()
            || self.enc_strides.contains(&0)
            || self.hop() == 0
        {
            return Err(config_error("enc_strides and enc_c_mults must have the same length, no stride 0"));
        }
        if self.enc_hop_length == 0 || self.enc_n_fft < self.enc_hop_length {
            return Err(config_error("enc_n_fft must be at least enc_hop_length, and that not 0"));
        }
        Ok(())
    }
}

/// The autoencoder.
pub struct AudioCodec {
    config: AudioConfig,
    encoder: Option<Encoder>,
    decoder: Decoder,
}

impl AudioCodec {
    /// Tensor names as diffusers saves them. Files without an encoder are taken as they are.
    pub fn new(cfg: &AudioConfig, vb: VarBuilder<'_>) -> Result<Self> {
        cfg.check()?;
        let encoder = vb.pp("encoder");
        let there = cfg.encoder_enabled && layers::is_weight_normed(&encoder.pp("layers.0"));
        Ok(Self {
            encoder: if there { Some(Encoder::new(cfg, encoder)?) } else { None },
            decoder: Decoder::new(cfg, vb.pp("decoder"))?,
            config: cfg.clone(),
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &AudioConfig {
        &self.config
    }

    /// Means of the latents [B, 64, T] of a sound [B, channels, samples], which is filled up to whole latents.
    pub fn encode(&self, sound: &Tensor) -> Result<Tensor> {
        let Some(encoder) = &self.encoder else {
            candle_core::bail!("these files hold only the decoder of the sound")
        };
        let sound = match self.config.normalize_volume {
            true => {
                let top = (sound.abs()?.flatten_all()?.max(0)?.to_dtype(sound.dtype())? + 1e-5)?;
                (sound.broadcast_div(&top)? * 0.95)?
            }
            false => sound.clone(),
        };
        let hop = self.config.hop();
        let missing = (hop - sound.dim(2)? % hop) % hop;
        let moments = encoder.forward(&sound.pad_with_zeros(2, 0, missing)?)?;
        moments.narrow(1, 0, moments.dim(1)? / 2)?.contiguous()
    }

    /// Sound [B, channels, samples] in -1..1 of latents [B, 64, T].
    pub fn decode(&self, latents: &Tensor) -> Result<Tensor> {
        self.decoder.forward(latents)?.clamp(-1f32, 1f32)
    }
}
