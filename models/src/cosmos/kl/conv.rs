//! Convolutions over space or over time. Before the first frame of a clip, that frame is repeated.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::nn::ops::{conv_clip, conv2d};

/// A convolution with a kernel over space (1×3×3), over time (3×1×1) or over neither.
pub(super) struct Conv {
    /// One 2-D kernel [out, in, kh, kw] per tap in time, oldest first.
    taps: Vec<Tensor>,
    bias: Tensor,
    padding: usize,
    space_stride: usize,
    time_stride: usize,
}

impl Conv {
    /// Kernel 1×1×1.
    pub fn pointwise(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (1, 1), (1, 1), 0, vb)
    }

    /// Kernel 1×3×3; with stride 2 it does not pad.
    pub fn space(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (1, 3), (1, stride), usize::from(stride == 1), vb)
    }

    /// Kernel 3×1×1.
    pub fn time(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Self::new(inputs, outputs, (3, 1), (stride, 1), 0, vb)
    }

    fn new(
        inputs: usize,
        outputs: usize,
        (time, space): (usize, usize),
        (time_stride, space_stride): (usize, usize),
        padding: usize,
        vb: VarBuilder<'_>,
    ) -> Result<Self> {
        let weight = vb.get((outputs, inputs, time, space, space), "weight")?;
        let taps =
            (0..time).map(|t| weight.narrow(2, t, 1)?.squeeze(2)?.contiguous()).collect::<Result<_>>()?;
        let bias = vb.get(outputs, "bias")?.reshape((1, outputs, 1, 1))?;
        Ok(Self { taps, bias, padding, space_stride, time_stride })
    }

    /// `x` [B, T, C, H, W]
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let batch = x.dim(0)?;
        // As many repeats of the first frame as the kernel reaches back, less what the stride skips.
        let repeats = self.taps.len().saturating_sub(self.time_stride);
        let x = match repeats {
            0 => x.clone(),
            n => Tensor::cat(&[&x.narrow(1, 0, 1)?.repeat((1, n, 1, 1, 1))?, x], 1)?,
        };
        let Some(span) = x.dim(1)?.checked_sub(self.taps.len()) else {
            candle_core::bail!("{} frames are too few for a kernel of {}", x.dim(1)?, self.taps.len());
        };
        let outputs = span / self.time_stride + 1;
        let (time, space) = ((0, self.time_stride, outputs), (self.padding, self.space_stride));
        if let Some(done) = conv_clip(&x, &self.taps, &self.bias, time, space)? {
            return Ok(done);
        }
        let mut sum: Option<Tensor> = None;
        for (k, tap) in self.taps.iter().enumerate() {
            let places: Vec<u32> = (0..outputs).map(|i| (i * self.time_stride + k) as u32).collect();
            let frames = match self.time_stride {
                1 => x.narrow(1, k, outputs)?.contiguous()?,
                _ => x.index_select(&Tensor::from_vec(places, outputs, x.device())?, 1)?,
            };
            // [B, t, C, H, W] -> [B·t, C, H, W]
            let part = conv2d(&frames.flatten_to(1)?, tap, self.padding, self.space_stride)?;
            sum = Some(match sum {
                None => part,
                Some(before) => (before + part)?,
            });
        }
        let Some(sum) = sum else { candle_core::bail!("a kernel without taps") };
        let sum = sum.broadcast_add(&self.bias)?;
        let (_, channels, height, width) = sum.dims4()?;
        sum.reshape((batch, outputs, channels, height, width))
    }
}

/// A convolution over space, then one over time.
pub(super) struct SplitConv {
    space: Conv,
    time: Conv,
}

impl SplitConv {
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            space: Conv::space(inputs, outputs, 1, vb.pp("conv_s"))?,
            time: Conv::time(outputs, outputs, 1, vb.pp("conv_t"))?,
        })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.time.forward(&self.space.forward(x)?)
    }
}
