//! Sound to latent moments.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;

use super::AudioConfig;
use super::layers::{Conv, Snake};

/// The encoder.
pub(super) struct Encoder {
    window: usize,
    hop: usize,
    conv_in: Conv,
    stages: Vec<(Vec<Block>, Conv)>,
    conv_out: Conv,
    transform: Conv,
}

/// A ConvNeXt block: each channel over time, a norm over channels, two pointwise layers.
struct Block {
    depth: Conv,
    norm: Tensor,
    up: Conv,
    act: Snake,
    down: Conv,
}

impl Block {
    fn new(width: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            depth: Conv::plain((width, 1, 7), width, 3, vb.pp("dwconv.1"))?,
            norm: vb.get(width, "norm.weight")?.reshape((1, width, 1))?,
            up: Conv::plain((4 * width, width, 1), 1, 0, vb.pp("pwconv1"))?,
            act: Snake::new(4 * width, vb.pp("act"))?,
            down: Conv::plain((width, 4 * width, 1), 1, 0, vb.pp("pwconv2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.depth.forward(x)?.to_dtype(DType::F32)?;
        // Over the channels of each moment: [B, C, T], statistics along C.
        let centred = y.broadcast_sub(&y.mean_keepdim(1)?)?;
        let variance = centred.sqr()?.mean_keepdim(1)?;
        let unit = centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)?.to_dtype(x.dtype())?;
        let inner = self.act.forward(&self.up.forward(&unit.broadcast_mul(&self.norm)?)?)?;
        x + self.down.forward(&inner)?
    }
}

impl Encoder {
    pub fn new(cfg: &AudioConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let vb = vb.pp("layers");
        let widths: Vec<usize> = cfg.enc_c_mults.iter().map(|m| m * cfg.enc_dim).collect();
        let last = widths.last().copied().unwrap_or(cfg.enc_dim);
        let first = widths.first().copied().unwrap_or(cfg.enc_dim);
        let channels = if cfg.stereo { 2 } else { 1 };
        let conv_in = Conv::normed((first, (cfg.enc_n_fft + 2) * channels, 1), false, 0, vb.pp(0))?;
        let (mut at, mut stages) = (1, Vec::new());
        for (i, (width, stride)) in widths.iter().zip(&cfg.enc_strides).enumerate() {
            let blocks = (0..cfg.enc_num_blocks)
                .map(|n| Block::new(*width, vb.pp(at + n)))
                .collect::<Result<Vec<_>>>()?;
            at += cfg.enc_num_blocks;
            let next = widths.get(i + 1).copied().unwrap_or(last);
            let shrink = Conv::normed((next, *width, 2 * stride), true, stride.div_ceil(2), vb.pp(at))?
                .strided(*stride);
            at += 1;
            stages.push((blocks, shrink));
        }
        Ok(Self {
            window: cfg.enc_n_fft,
            hop: cfg.enc_hop_length,
            conv_in,
            stages,
            conv_out: Conv::normed((cfg.enc_latent_dim, last, 1), false, 0, vb.pp(at))?,
            transform: fourier(cfg.enc_n_fft, cfg.enc_hop_length, vb.device())?,
        })
    }

    /// Sound [B, channels, samples] to moments [B, 2·latents, T].
    pub fn forward(&self, sound: &Tensor) -> Result<Tensor> {
        let (batch, channels, samples) = sound.dims3()?;
        let extra = self.window - self.hop;
        let alone =
            sound.reshape((batch * channels, 1, samples))?.pad_with_zeros(2, extra / 2, extra - extra / 2)?;
        let spectrum = self.transform.forward(&alone.to_dtype(DType::F32)?)?.to_dtype(sound.dtype())?;
        let (_, bins, moments) = spectrum.dims3()?;
        let mut x = self.conv_in.forward(&spectrum.reshape((batch, channels * bins, moments))?)?;
        for (blocks, shrink) in &self.stages {
            for block in blocks {
                x = block.forward(&x)?;
            }
            x = shrink.forward(&x)?;
        }
        self.conv_out.forward(&x)
    }
}

/// The short-time Fourier transform with a Hann window as a convolution: real parts of all bins, then imaginary ones.
fn fourier(window: usize, hop: usize, device: &Device) -> Result<Conv> {
    let turn = std::f64::consts::TAU / window as f64;
    let bins = window / 2 + 1;
    let hann = |n: usize| 0.5 - 0.5 * (turn * n as f64).cos();
    // The angle is reduced first, so that it stays exact.
    let angle = |bin: usize, n: usize| turn * ((bin * n) % window) as f64;
    let real = (0..bins).flat_map(|bin| (0..window).map(move |n| hann(n) * angle(bin, n).cos()));
    let imaginary = (0..bins).flat_map(|bin| (0..window).map(move |n| -hann(n) * angle(bin, n).sin()));
    let kernel: Vec<f32> = real.chain(imaginary).map(|value| value as f32).collect();
    Ok(Conv::fixed(Tensor::from_vec(kernel, (2 * bins, 1, window), device)?, hop))
}
