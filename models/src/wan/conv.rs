//! Causal 3-D convolution as a sum of 2-D convolutions over the taps in time, and the norm used between them.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::memory::{Memory, Slot};
use crate::nn::ops::{channel_norm, conv_clip, conv2d};

/// A convolution over time and space that never looks ahead: all its padding in time is in front.
pub(crate) struct CausalConv3d {
    /// One 2-D kernel [out, in, kh, kw] per tap in time, oldest first.
    taps: Vec<Tensor>,
    bias: Tensor,
    space_padding: usize,
    time_stride: usize,
}

impl CausalConv3d {
    /// Kernel 3×3×3.
    pub fn cube(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (3, 3), 1, vb)
    }

    /// Kernel 1×1×1.
    pub fn pointwise(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (1, 1), 1, vb)
    }

    /// Kernel 3×1×1 over time, of which every `stride`th result is kept.
    pub fn time(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (3, 1), stride, vb)
    }

    fn new(
        inputs: usize,
        outputs: usize,
        (time, space): (usize, usize),
        time_stride: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = vb.get((outputs, inputs, time, space, space), "weight")?;
        let taps =
            (0..time).map(|t| weight.narrow(2, t, 1)?.squeeze(2)?.contiguous()).collect::<Result<_>>()?;
        let bias = vb.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        Ok(Self { taps, bias, space_padding: space / 2, time_stride })
    }

    /// Filters the next piece [B, T, C, H, W] of a clip, with the frames remembered from the pieces before it.
    /// Before the first piece lies darkness: zeros.
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let reach = self.taps.len() - 1;
        if reach == 0 {
            return self.filter(x, 0);
        }
        let slot = memory.slot();
        let (x, known) = match std::mem::take(slot) {
            Slot::Frames(past) => (Tensor::cat(&[&past, x], 1)?, past.dim(1)?),
            Slot::Empty | Slot::FirstPassed => (x.clone(), 0),
        };
        let seen = x.dim(1)?;
        let keep = reach.min(seen);
        *slot = Slot::Frames(x.narrow(1, seen - keep, keep)?.contiguous()?);
        self.filter(&x, reach - known)
    }

    /// Filters frames [B, T, C, H, W] as they stand, with `zeros` dark frames before them: with kernel length n the
    /// result has (T + zeros - n) / stride + 1 frames.
    pub fn filter(&self, x: &Tensor, zeros: usize) -> Result<Tensor> {
        let (batch, frames, _, _, _) = x.dims5()?;
        let Some(span) = (frames + zeros).checked_sub(self.taps.len()) else {
            candle_core::bail!("{frames} frames are too few for a kernel of {} frames", self.taps.len());
        };
        let outputs = span / self.time_stride + 1;
        let (time, space) = ((zeros, self.time_stride, outputs), (self.space_padding, 1));
        if let Some(done) = conv_clip(x, &self.taps, &self.bias, time, space)? {
            return Ok(done);
        }
        let mut sum: Option<Tensor> = None;
        for (k, tap) in self.taps.iter().enumerate() {
            // Result frame o reads frame o * stride + k - zeros; the first few may fall into the dark.
            let dark = zeros.saturating_sub(k).div_ceil(self.time_stride);
            if dark >= outputs {
                continue;
            }
            let start = dark * self.time_stride + k - zeros;
            let frames = self.every(x, start, outputs - dark)?;
            // [B, t, C, H, W] -> [B·t, C, H, W]
            let filtered = conv2d(&frames.flatten_to(1)?, tap, self.space_padding, 1)?;
            let (_, channels, height, width) = filtered.dims4()?;
            let filtered = filtered.reshape((batch, outputs - dark, channels, height, width))?;
            let filtered = if dark > 0 { filtered.pad_with_zeros(1, dark, 0)? } else { filtered };
            sum = Some(match sum {
                None => filtered,
                Some(before) => (before + filtered)?,
            });
        }
        match sum {
            Some(sum) => sum.broadcast_add(&self.bias),
            None => candle_core::bail!("a clip without frames cannot be filtered"),
        }
    }

    /// `count` frames from `start`, one stride apart.
    fn every(&self, x: &Tensor, start: usize, count: usize) -> Result<Tensor> {
        if self.time_stride == 1 {
            return x.narrow(1, start, count)?.contiguous();
        }
        let places: Vec<u32> = (0..count).map(|i| (start + i * self.time_stride) as u32).collect();
        x.index_select(&Tensor::from_vec(places, count, x.device())?, 1)
    }
}

/// A convolution over each picture [N, C, H, W], with a bias.
pub(super) struct PictureConv {
    weight: Tensor,
    bias: Tensor,
    padding: usize,
    stride: usize,
}

impl PictureConv {
    /// Kernel `side` x `side`.
    pub fn new(
        inputs: usize,
        outputs: usize,
        side: usize,
        padding: usize,
        stride: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = vb.get((outputs, inputs, side, side), "weight")?;
        let bias = vb.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        Ok(Self { weight, bias, padding, stride })
    }

    /// [N, C, H, W] to [N, outputs, rows, columns].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        conv2d(&x.contiguous()?, &self.weight, self.padding, self.stride)?.broadcast_add(&self.bias)
    }
}

/// The norm of Wan: each pixel's channels are brought to length 1, times sqrt(channels) and a learned gamma.
/// Unlike RMSNorm it has no epsilon inside the root, only a floor of 1e-12 for the length.
pub(super) struct ChannelNorm {
    gamma: Tensor,
}

impl ChannelNorm {
    /// Reads `gamma`, stored as [C, 1, 1, 1] for clips or [C, 1, 1] for pictures.
    pub fn new(channels: usize, trailing: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let shape: Vec<usize> = std::iter::once(channels).chain(std::iter::repeat_n(1, trailing)).collect();
        let gamma = vb.get(shape, "gamma")?.reshape(channels)?;
        Ok(Self { gamma: (gamma * (channels as f64).sqrt())? })
    }

    /// Normalises the channels of `x` [B, T, C, H, W]. Lengths are taken in f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, false)
    }

    /// [`ChannelNorm::forward`] and SiLU behind it.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, true)
    }

    fn apply(&self, x: &Tensor, then_silu: bool) -> Result<Tensor> {
        let (batch, frames, channels, height, width) = x.dims5()?;
        let flat = x.reshape((batch * frames, channels, height * width))?;
        channel_norm(&flat, &self.gamma, then_silu)?.reshape(x.shape())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::{DType, Device, Var};
    use candle_nn::VarMap;

    fn random(seed: f64, shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i as f64 + 1.0) * (seed + 0.618)).sin() as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn cube() -> CausalConv3d {
        let map = VarMap::new();
        let mut data = map.data().lock().unwrap();
        data.insert("weight".to_owned(), Var::from_tensor(&random(0.3, &[3, 2, 3, 3, 3])).unwrap());
        data.insert("bias".to_owned(), Var::from_tensor(&random(0.9, &[3])).unwrap());
        drop(data);
        CausalConv3d::cube(2, 3, VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu)).unwrap()
    }

    /// The definition, written as loops.
    fn by_hand(x: &Tensor) -> Vec<f32> {
        let (w, b) = (random(0.3, &[3, 2, 3, 3, 3]), random(0.9, &[3]).to_vec1::<f32>().unwrap());
        let w = w.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (_, t, c, h, width) = x.dims5().unwrap();
        let x = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let at = |f: i64, ch: usize, y: i64, z: i64| {
            let inside = f >= 0 && y >= 0 && z >= 0 && y < h as i64 && z < width as i64;
            if inside { x[((f as usize * c + ch) * h + y as usize) * width + z as usize] } else { 0.0 }
        };
        let mut out = Vec::new();
        for f in 0..t as i64 {
            for (o, bias) in b.iter().enumerate() {
                for y in 0..h as i64 {
                    for z in 0..width as i64 {
                        let mut sum = *bias;
                        for ch in 0..c {
                            for (i, (a, (p, q))) in (0..27).map(|i| (i, (i / 9, (i / 3 % 3, i % 3)))) {
                                sum += w[(o * c + ch) * 27 + i]
                                    * at(f + a as i64 - 2, ch, y + p as i64 - 1, z + q as i64 - 1);
                            }
                        }
                        out.push(sum);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn pieces_give_the_same_as_the_definition_over_the_whole_clip() {
        let (conv, clip) = (cube(), random(0.1, &[1, 6, 2, 4, 5]));
        let wanted = by_hand(&clip);
        for cut in [vec![6], vec![1, 5], vec![1, 1, 4], vec![3, 3], vec![1, 1, 1, 1, 1, 1]] {
            let (mut memory, mut start, mut parts) = (Memory::default(), 0, Vec::new());
            for count in &cut {
                memory.rewind();
                parts.push(conv.forward(&clip.narrow(1, start, *count).unwrap(), &mut memory).unwrap());
                start += count;
            }
            let got = Tensor::cat(&parts, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let worst = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "cut {cut:?}: {worst}");
        }
    }
}
