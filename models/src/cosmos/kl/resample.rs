//! Halving and doubling: a convolution beside a plain average or repeat, then a pointwise layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::conv::Conv;

/// Halves space, time or both.
pub(super) struct Downsample {
    space: Option<Conv>,
    time: Option<Conv>,
    out: Conv,
}

impl Downsample {
    /// None where nothing is halved.
    pub fn new(channels: usize, space: bool, time: bool, vb: VarBuilder<'_>) -> Result<Option<Self>> {
        if !space && !time {
            return Ok(None);
        }
        Ok(Some(Self {
            space: if space { Some(Conv::space(channels, channels, 2, vb.pp("conv1"))?) } else { None },
            time: if time { Some(Conv::time(channels, channels, 2, vb.pp("conv2"))?) } else { None },
            out: Conv::pointwise(channels, channels, vb.pp("conv3"))?,
        }))
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(conv) = &self.space {
            let (batch, frames, channels, height, width) = x.dims5()?;
            // One row and one column of zeros at the bottom and right for the convolution; the average needs none.
            let filtered = conv.forward(&x.pad_with_zeros(3, 0, 1)?.pad_with_zeros(4, 0, 1)?)?;
            let mean = x.flatten_to(1)?.avg_pool2d(2)?;
            x = (filtered + mean.reshape((batch, frames, channels, height / 2, width / 2))?)?;
        }
        if let Some(conv) = &self.time {
            let doubled = Tensor::cat(&[&x.narrow(1, 0, 1)?, &x], 1)?;
            let (batch, frames, channels, height, width) = doubled.dims5()?;
            let pairs = doubled.narrow(1, 0, frames / 2 * 2)?.reshape((
                batch,
                frames / 2,
                2,
                channels * height * width,
            ))?;
            let mean = pairs.mean(2)?.reshape((batch, frames / 2, channels, height, width))?;
            x = (conv.forward(&doubled)? + mean)?;
        }
        self.out.forward(&x)
    }
}

/// Doubles space, time or both.
pub(super) struct Upsample {
    time: Option<Conv>,
    space: Option<Conv>,
    out: Conv,
}

impl Upsample {
    /// None where nothing is doubled.
    pub fn new(channels: usize, space: bool, time: bool, vb: VarBuilder<'_>) -> Result<Option<Self>> {
        if !space && !time {
            return Ok(None);
        }
        Ok(Some(Self {
            time: if time { Some(Conv::time(channels, channels, 1, vb.pp("conv1"))?) } else { None },
            space: if space { Some(Conv::space(channels, channels, 1, vb.pp("conv2"))?) } else { None },
            out: Conv::pointwise(channels, channels, vb.pp("conv3"))?,
        }))
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        if let Some(conv) = &self.time {
            // The first frame stays one frame; a single frame stays as it is.
            let frames = x.dim(1)?;
            if frames > 1 {
                let places: Vec<u32> = (1..2 * frames as u32).map(|i| i / 2).collect();
                x = x.index_select(&Tensor::from_vec(places, 2 * frames - 1, x.device())?, 1)?;
            }
            x = (conv.forward(&x)? + x)?;
        }
        if let Some(conv) = &self.space {
            let (batch, frames, channels, height, width) = x.dims5()?;
            let large = x.flatten_to(1)?.upsample_nearest2d(2 * height, 2 * width)?;
            x = large.reshape((batch, frames, channels, 2 * height, 2 * width))?;
            x = (conv.forward(&x)? + x)?;
        }
        self.out.forward(&x)
    }
}
