//! Halving and doubling the size in space, and in time.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::conv::{CausalConv3d, PictureConv};
use super::memory::{Memory, Slot};

/// Halves height and width; with `time`, the number of frames too.
pub(super) struct Downsample {
    conv: PictureConv,
    time: Option<CausalConv3d>,
}

impl Downsample {
    pub fn new(channels: usize, with_time: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let time = match with_time {
            true => Some(CausalConv3d::time(channels, channels, 2, vb.pp("time_conv"))?),
            false => None,
        };
        Ok(Self { conv: PictureConv::new(channels, channels, 3, 0, 2, vb.pp("resample.1"))?, time })
    }

    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let (batch, frames, channels, height, width) = x.dims5()?;
        // One row and one column of zeros at the bottom and right, as the reference pads.
        let pictures = x.flatten_to(1)?.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 0, 1)?;
        let x = self.conv.forward(&pictures)?.reshape((batch, frames, channels, height / 2, width / 2))?;
        let Some(time) = &self.time else { return Ok(x) };
        let slot = memory.slot();
        let last = x.narrow(1, frames - 1, 1)?.contiguous()?;
        // The first frame of a clip stands for itself; from then on two frames become one, looking back by one.
        match std::mem::replace(slot, Slot::Frames(last)) {
            Slot::Frames(past) => time.filter(&Tensor::cat(&[&past, &x], 1)?, 0),
            Slot::Empty | Slot::FirstPassed => Ok(x),
        }
    }
}

/// Doubles height and width; with `time`, the number of frames too.
pub(super) struct Upsample {
    conv: PictureConv,
    time: Option<CausalConv3d>,
}

impl Upsample {
    pub fn new(channels: usize, outputs: usize, with_time: bool, vb: VarBuilder<'_>) -> Result<Self> {
        let time = match with_time {
            true => Some(CausalConv3d::time(channels, 2 * channels, 1, vb.pp("time_conv"))?),
            false => None,
        };
        Ok(Self { conv: PictureConv::new(channels, outputs, 3, 1, 1, vb.pp("resample.1"))?, time })
    }

    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let x = match &self.time {
            Some(time) => double_frames(time, x, memory)?,
            None => x.clone(),
        };
        let (batch, frames, _, height, width) = x.dims5()?;
        let pictures = x.flatten_to(1)?.upsample_nearest2d(2 * height, 2 * width)?;
        let pictures = self.conv.forward(&pictures)?;
        pictures.reshape((batch, frames, (), 2 * height, 2 * width))
    }
}

/// The first frame of a clip stays one frame; every later one becomes two, one in each half of the channels.
fn double_frames(time: &CausalConv3d, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
    let slot = memory.slot();
    let past = match std::mem::take(slot) {
        Slot::Empty => {
            *slot = Slot::FirstPassed;
            return Ok(x.clone());
        }
        // The first frame is not looked back at: the second starts from darkness.
        Slot::FirstPassed => None,
        Slot::Frames(past) => Some(past),
    };
    let (seen, zeros) = match &past {
        None => (x.clone(), 2),
        Some(past) => (Tensor::cat(&[past, x], 1)?, 2 - past.dim(1)?),
    };
    let keep = seen.dim(1)?.min(2);
    *slot = Slot::Frames(seen.narrow(1, seen.dim(1)? - keep, keep)?.contiguous()?);
    let (batch, frames, channels, height, width) = x.dims5()?;
    // [B, T, 2·C, H, W] -> [B, 2·T, C, H, W]
    time.filter(&seen, zeros)?.reshape((batch, 2 * frames, channels, height, width))
}
