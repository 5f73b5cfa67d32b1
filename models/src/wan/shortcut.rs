//! Shortcuts of Wan 2.2 past a whole stage: averaging down, repeating up. They have no weights.

use candle_core::{Result, Tensor};

/// Folds `time` × `space` × `space` neighbours into channels and averages groups of channels.
pub(super) struct AverageDown {
    pub outputs: usize,
    pub time: usize,
    pub space: usize,
}

impl AverageDown {
    /// [B, T, C, H, W] -> [B, T / time, outputs, H / space, W / space]. If the frames do not divide, zeros are put
    /// in front.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (t, s) = (self.time, self.space);
        let missing = (t - x.dim(1)? % t) % t;
        let x = if missing > 0 { x.pad_with_zeros(1, missing, 0)? } else { x.clone() };
        let (batch, frames, channels, height, width) = x.dims5()?;
        let group = channels * t * s * s / self.outputs;
        // Folded channels run in the order (channel, frame, row, column).
        x.reshape(vec![batch, frames / t, t, channels, height / s, s, width / s, s])?
            .permute(vec![0, 1, 3, 2, 5, 7, 4, 6])?
            .reshape(vec![batch, frames / t, self.outputs, group, height / s, width / s])?
            .mean(3)
    }
}

/// Repeats channels and unfolds them into `time` × `space` × `space` neighbours.
pub(super) struct RepeatUp {
    pub outputs: usize,
    pub time: usize,
    pub space: usize,
}

impl RepeatUp {
    /// [B, T, C, H, W] -> [B, T·time, outputs, H·space, W·space]. Of a clip's first piece only the last of the
    /// `time` frames is kept.
    pub fn forward(&self, x: &Tensor, first_piece: bool) -> Result<Tensor> {
        let (t, s) = (self.time, self.space);
        let (batch, frames, channels, height, width) = x.dims5()?;
        let repeats = self.outputs * t * s * s / channels;
        let wide = x
            .unsqueeze(3)?
            .expand(vec![batch, frames, channels, repeats, height, width])?
            .reshape(vec![batch, frames, self.outputs, t, s, s, height, width])?;
        let x = wide.permute(vec![0, 1, 3, 2, 6, 4, 7, 5])?.reshape((
            batch,
            frames * t,
            self.outputs,
            height * s,
            width * s,
        ))?;
        if first_piece { x.narrow(1, t - 1, frames * t - (t - 1)) } else { Ok(x) }
    }
}
