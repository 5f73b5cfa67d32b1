//! Frames to patches, as the published preprocessors make them.

use candle_core::{Device, Result, Tensor};

use super::{PatchGrid, ReasonConfig};
use crate::frame::Frame;

/// Mean and deviation of the pixel values that Qwen2.5-VL was trained with.
const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// A clip as patches.
pub struct Clip {
    /// [patches, 3 · frames · side · side], in blocks of merged patches.
    pub values: Tensor,
    /// Its grid.
    pub grid: PatchGrid,
}

/// Cuts frames of one size into patches. Sides are brought to multiples of a token's side by nearest pixels, at most
/// `longest` pixels; an odd number of frames is filled up with the last one.
///
/// # Errors
/// There is no frame, or frames differ in size.
pub fn look_at(config: &ReasonConfig, frames: &[Frame], longest: usize, device: &Device) -> Result<Clip> {
    let vision = &config.vision_config;
    let (patch, merge, pair) =
        (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size.max(1));
    let unit = (patch * merge).max(1);
    let Some(first) = frames.first() else { candle_core::bail!("there is no frame to look at") };
    if frames.iter().any(|f| (f.width, f.height) != (first.width, first.height)) {
        candle_core::bail!("the frames differ in size");
    }
    let scale = (longest as f64 / first.width.max(first.height).max(1) as f64).min(1.0);
    let side = |pixels: usize| (((pixels as f64 * scale) / unit as f64).round() as usize).max(1) * unit;
    let (width, height) = (side(first.width), side(first.height));
    let (mean, std) = match config.model_type.as_str() {
        "qwen3_vl" => ([0.5; 3], [0.5; 3]),
        _ => (CLIP_MEAN, CLIP_STD),
    };
    let grid =
        PatchGrid { frames: frames.len().div_ceil(pair), rows: height / patch, columns: width / patch };
    let value = |frame: usize, channel: usize, y: usize, x: usize| -> f32 {
        let Some(frame) = frames.get(frame.min(frames.len() - 1)) else { return 0.0 };
        let (from_y, from_x) = (y * frame.height / height, x * frame.width / width);
        let byte = frame.data.get((from_y * frame.width + from_x) * 3 + channel).copied().unwrap_or(0);
        (f32::from(byte) / 255.0 - mean[channel]) / std[channel]
    };
    let numbers = 3 * pair * patch * patch;
    let mut values = Vec::with_capacity(grid.patches() * numbers);
    let per_frame = grid.rows * grid.columns;
    for (i, (row, column)) in grid.order(merge).into_iter().enumerate() {
        let group = i / per_frame.max(1);
        // The numbers of a patch run in the order (channel, frame, row, column).
        for channel in 0..3 {
            for t in 0..pair {
                for y in 0..patch {
                    for x in 0..patch {
                        values.push(value(group * pair + t, channel, row * patch + y, column * patch + x));
                    }
                }
            }
        }
    }
    Ok(Clip { values: Tensor::from_vec(values, (grid.patches(), numbers), device)?, grid })
}
