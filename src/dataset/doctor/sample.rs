//! What an examination looks at: all numbers, and small grey versions of a share of the pictures.

use crate::Frame;
use crate::dataset::{Dataset, Episode, Matrix};

use super::View;

/// Pictures that are decoded at most, over all episodes.
const PICTURES: usize = 1500;
/// Pixels that are decoded at most: a few seconds of a processor's time.
const PIXELS: usize = 100_000_000;
/// Pictures an episode at least: a shift shows in shorter pieces only by chance.
const PIECE: usize = 60;
/// Episodes that are looked at at most.
const EPISODES: usize = 16;
/// Width of the small pictures: wide enough to see motion, small enough to average the codec's noise away.
const WIDTH: usize = 96;
/// Decoded at a time.
const CHUNK: usize = 32;

/// One episode of the sample.
pub(super) struct Sample {
    /// All its numbers.
    pub numbers: Episode,
    /// Small grey pictures of its first frames; empty for episodes whose pictures are not looked at.
    pub pictures: Vec<Vec<f32>>,
}

impl Sample {
    pub fn action(&self) -> Option<&Matrix> {
        self.numbers.actions()
    }

    pub fn state(&self) -> Option<&Matrix> {
        self.numbers.state()
    }

    /// How much moves between picture `t` and the next one, in grey levels; one number less than pictures.
    pub fn motion(&self) -> Vec<f32> {
        self.pictures.windows(2).map(|pair| difference(pair.first(), pair.last())).collect()
    }
}

/// Mean absolute difference above the noise of a codec.
fn difference(a: Option<&Vec<f32>>, b: Option<&Vec<f32>>) -> f32 {
    const NOISE: f32 = 1.5;
    let (Some(a), Some(b)) = (a, b) else { return 0.0 };
    let sum: f32 = a.iter().zip(b).map(|(a, b)| ((a - b).abs() - NOISE).max(0.0)).sum();
    sum / a.len().max(1) as f32
}

/// How fast something changes between row `t` and the next: the sum over channels of the change over the channel's
/// spread. Channels that do not move count nothing.
pub(super) fn speed(matrix: &Matrix, spreads: &[f32]) -> Vec<f32> {
    (1..matrix.rows())
        .map(|t| {
            let (before, now) = (matrix.row(t - 1), matrix.row(t));
            before
                .iter()
                .zip(now)
                .zip(spreads)
                .filter(|(_, spread)| **spread > 0.0)
                .map(|((a, b), spread)| (b - a).abs() / spread)
                .filter(|change| change.is_finite())
                .sum()
        })
        .collect()
}

/// A grey picture of at most [`WIDTH`] columns, by averaging blocks.
fn small(frame: &Frame) -> Vec<f32> {
    let block = frame.width.div_ceil(WIDTH).max(1);
    let (columns, rows) = (frame.width / block, frame.height / block);
    let mut out = Vec::with_capacity(columns * rows);
    for row in 0..rows {
        for column in 0..columns {
            let mut sum = 0u32;
            for y in row * block..(row + 1) * block {
                let at = (y * frame.width + column * block) * 3;
                sum += frame
                    .data
                    .get(at..at + block * 3)
                    .unwrap_or(&[])
                    .iter()
                    .map(|v| u32::from(*v))
                    .sum::<u32>();
            }
            out.push(sum as f32 / (block * block * 3) as f32);
        }
    }
    out
}

/// Reads the sample. Episodes that cannot be read are returned by number with the reason. `None` when `go_on` says no.
pub(super) fn read(
    set: &Dataset,
    view: &View,
    go_on: &mut dyn FnMut(usize, usize) -> bool,
) -> Option<(Vec<Sample>, Vec<(usize, String)>)> {
    let camera = match view.camera.as_str() {
        "" => set.main_camera().map(|camera| camera.key.clone()),
        named => Some(named.to_owned()),
    };
    let metas: Vec<_> = set.episodes().iter().filter(|meta| !view.leave_out.contains(&meta.index)).collect();
    let size =
        set.cameras().iter().find(|c| Some(&c.key) == camera.as_ref()).map_or(1, |c| c.width * c.height);
    let pictures = (PIXELS / size.max(1)).clamp(4 * PIECE, PICTURES);
    let step = metas.len().div_ceil(EPISODES.min(pictures / PIECE)).max(1);
    let looked = metas.len().div_ceil(step).max(1);
    let each = (pictures / looked).max(PIECE);
    let (mut samples, mut unread) = (Vec::new(), Vec::new());
    for (place, meta) in metas.iter().enumerate() {
        if !go_on(place, metas.len()) {
            return None;
        }
        let numbers = match set.episode(meta.index) {
            Ok(numbers) => view.mend(numbers),
            Err(error) => {
                unread.push((meta.index, error.to_string()));
                continue;
            }
        };
        let mut pictures = Vec::new();
        if let Some(camera) = camera.as_ref().filter(|_| place % step == 0) {
            let wanted = meta.length.min(each);
            for from in (0..wanted).step_by(CHUNK) {
                if !go_on(place, metas.len()) {
                    return None;
                }
                match set.clip(camera, meta.index, from..(from + CHUNK).min(wanted)) {
                    Ok(frames) => pictures.extend(frames.iter().map(small)),
                    Err(error) => {
                        unread.push((meta.index, error.to_string()));
                        break;
                    }
                }
            }
        }
        samples.push(Sample { numbers, pictures });
    }
    Some((samples, unread))
}

/// The spread (largest less smallest) of each channel over all samples.
pub(super) fn spreads<'a>(matrices: impl Iterator<Item = &'a Matrix>) -> Vec<f32> {
    ranges(matrices).into_iter().map(|(least, most)| if most > least { most - least } else { 0.0 }).collect()
}

/// The smallest and largest number of each channel over all samples; `(inf, -inf)` where there is none.
pub(super) fn ranges<'a>(matrices: impl Iterator<Item = &'a Matrix>) -> Vec<(f32, f32)> {
    let mut found: Vec<(f32, f32)> = Vec::new();
    for matrix in matrices {
        found.resize(found.len().max(matrix.width()), (f32::INFINITY, f32::NEG_INFINITY));
        for t in 0..matrix.rows() {
            for (range, value) in found.iter_mut().zip(matrix.row(t)).filter(|(_, v)| v.is_finite()) {
                *range = (range.0.min(*value), range.1.max(*value));
            }
        }
    }
    found
}
