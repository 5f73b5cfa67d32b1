//! A past that has gone soft: what hundreds of imagined frames do to a picture, made in one stroke.
//!
//! A frame that was moved and mixed again and again loses its edges, long after the end of the longest clip that a trainer
//! can afford. A network that has seen soft pasts with sharp futures draws the edges again. (Noise in the past serves the
//! same end for networks that draw every frame anew: Valevski et al. 2024, "GameNGen", <https://arxiv.org/abs/2408.14837>.)

use super::config::Config;
use crate::random::{Random, stream_of};

/// How the past of a clip is softened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Blur {
    /// Standard deviation of the Gaussian, pixels.
    sigma: f32,
    /// First step whose context is soft; the ones before stay as they are.
    from: usize,
    /// Left, top, right and bottom of what is softened, as shares of the picture.
    region: [f32; 4],
}

impl Blur {
    /// Draws one for a clip of `steps` steps with at most this standard deviation: half of them cover all the picture, the
    /// others a rectangle of at least a third of each side; half of them begin with the clip.
    pub(super) fn draw(most: f32, steps: usize, seed: u64, place: u64) -> Self {
        let random = Random::new(seed, stream_of("blur"), place);
        let u = |at: u64| random.uniform(at);
        let span = |size: f32, at: f32| {
            let size = (1.0 + 2.0 * size) / 3.0;
            let first = at * (1.0 - size);
            (first, first + size)
        };
        let region = if u(0) < 0.5 {
            [0.0, 0.0, 1.0, 1.0]
        } else {
            let ((left, right), (top, bottom)) = (span(u(1), u(2)), span(u(3), u(4)));
            [left, top, right, bottom]
        };
        let from = if u(5) < 0.5 { 0 } else { random.below(6, steps as u32) as usize };
        Self { sigma: 0.3 + u(7) * (most - 0.3).max(0.0), from, region }
    }

    /// Whether the context of step `t` is soft.
    pub(super) fn covers(&self, t: usize) -> bool {
        t >= self.from
    }

    /// Softens a frame, given as patches (see [`super::patches`]).
    pub(super) fn apply(&self, patches: &mut [f32], config: &Config) {
        let (width, height) = (config.image_width, config.image_height);
        if patches.len() != width * height * 3 {
            return;
        }
        let mut picture = vec![0.0_f32; patches.len()];
        for_lines(config, |from, to, run| {
            if let (Some(line), Some(source)) = (picture.get_mut(to..to + run), patches.get(from..from + run))
            {
                line.copy_from_slice(source);
            }
        });
        let soft = down(&across(&picture, width, self.sigma), width, height, self.sigma);
        let [left, top, right, bottom] = self.region;
        let inside = |at: usize, size: usize, first: f32, last: f32| {
            let at = (at as f32 + 0.5) / size as f32;
            (first..=last).contains(&at)
        };
        for (y, (line, soft)) in
            picture.chunks_exact_mut(width * 3).zip(soft.chunks_exact(width * 3)).enumerate()
        {
            if !inside(y, height, top, bottom) {
                continue;
            }
            for (x, (pixel, soft)) in line.chunks_exact_mut(3).zip(soft.chunks_exact(3)).enumerate() {
                if inside(x, width, left, right) {
                    pixel.copy_from_slice(soft);
                }
            }
        }
        for_lines(config, |to, from, run| {
            if let (Some(line), Some(source)) = (patches.get_mut(to..to + run), picture.get(from..from + run))
            {
                line.copy_from_slice(source);
            }
        });
    }
}

/// Calls `with` for every line of every patch: where it begins among the patches, where in the picture, and its numbers.
fn for_lines(config: &Config, mut with: impl FnMut(usize, usize, usize)) {
    let ((rows, cols), patch) = (config.grid(), config.patch);
    let run = patch * 3;
    for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
        for y in 0..patch {
            let among = ((row * cols + col) * patch + y) * run;
            with(among, ((row * patch + y) * config.image_width + col * patch) * 3, run);
        }
    }
}

/// Half of a Gaussian's weights, the middle first; the whole adds up to 1.
fn weights(sigma: f32) -> Vec<f32> {
    let reach = (2.5 * sigma).ceil().max(1.0) as usize;
    let half: Vec<f32> = (0..=reach).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum: f32 = half.iter().enumerate().map(|(i, w)| if i == 0 { *w } else { 2.0 * w }).sum();
    half.iter().map(|w| w / sum).collect()
}

/// `sum += weight * values`, number by number.
fn add(sum: &mut [f32], values: &[f32], weight: f32) {
    for (s, v) in sum.iter_mut().zip(values) {
        *s += v * weight;
    }
}

/// Along the lines; beyond the edges the last pixel goes on.
fn across(picture: &[f32], width: usize, sigma: f32) -> Vec<f32> {
    let weights = weights(sigma);
    let reach = weights.len() - 1;
    let mut out = vec![0.0_f32; picture.len()];
    let mut wide = vec![0.0_f32; (width + 2 * reach) * 3];
    for (line, sum) in picture.chunks_exact(width * 3).zip(out.chunks_exact_mut(width * 3)) {
        for (x, pixel) in wide.chunks_exact_mut(3).enumerate() {
            let from = x.saturating_sub(reach).min(width - 1) * 3;
            pixel.copy_from_slice(line.get(from..from + 3).unwrap_or(&[0.0; 3]));
        }
        for (i, weight) in weights.iter().enumerate() {
            let sides = if i == 0 { &[reach][..] } else { &[reach - i, reach + i] };
            for at in sides {
                add(sum, wide.get(at * 3..).unwrap_or(&[]), *weight);
            }
        }
    }
    out
}

/// Across the lines, the same.
fn down(picture: &[f32], width: usize, height: usize, sigma: f32) -> Vec<f32> {
    let weights = weights(sigma);
    let run = width * 3;
    let mut out = vec![0.0_f32; picture.len()];
    for (y, sum) in out.chunks_exact_mut(run).enumerate() {
        for (i, weight) in weights.iter().enumerate() {
            let sides = [y.saturating_sub(i), (y + i).min(height - 1)];
            for from in sides.iter().take(if i == 0 { 1 } else { 2 }) {
                add(sum, picture.get(from * run..(from + 1) * run).unwrap_or(&[]), *weight);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::patches::{patchify, unpatchify};
    use super::*;
    use crate::Frame;

    fn soft(frame: &Frame, blur: Blur) -> Frame {
        let config = Config::micro();
        let mut patches = patchify(frame, config.patch);
        blur.apply(&mut patches, &config);
        unpatchify(&patches, frame.width, frame.height, config.patch)
    }

    /// Black on the left, white on the right, a red line along the top.
    fn picture() -> Frame {
        let mut frame = Frame::filled(32, 32, [0, 0, 0]);
        for y in 0..32 {
            for x in 0..32 {
                let colour = if y == 0 { [255, 0, 0] } else { [if x < 16 { 0 } else { 255 }; 3] };
                frame.data[(y * 32 + x) * 3..][..3].copy_from_slice(&colour);
            }
        }
        frame
    }

    #[test]
    fn an_edge_goes_soft_across_patches_and_what_is_even_stays() {
        let all = Blur { sigma: 1.5, from: 0, region: [0.0, 0.0, 1.0, 1.0] };
        let grey = Frame::filled(32, 32, [90, 120, 30]);
        assert_eq!(soft(&grey, all), grey);
        let out = soft(&picture(), all);
        let red = |x: usize, y: usize| f32::from(out.data[(y * 32 + x) * 3]);
        // The edge lies between two patches; a Gaussian step is antisymmetric about it and reaches 0.16 a deviation away.
        assert!((red(15, 20) + red(16, 20) - 255.0).abs() <= 1.0);
        assert!(
            (60.0..110.0).contains(&red(15, 20)) && (10.0..40.0).contains(&red(13, 20)),
            "{}",
            red(13, 20)
        );
        assert_eq!((red(4, 20), red(28, 20)), (0.0, 255.0));
        let blue = |y: usize| out.data[(y * 32 + 28) * 3 + 2];
        assert!(blue(0) > 60 && blue(0) < blue(1) && blue(1) < blue(2) && blue(8) == 255);
    }

    #[test]
    fn only_the_region_goes_soft() {
        let half = Blur { sigma: 1.5, from: 0, region: [0.0, 0.5, 1.0, 1.0] };
        let (before, after) = (picture(), soft(&picture(), half));
        assert_eq!(before.data[..16 * 96], after.data[..16 * 96]);
        assert_ne!(before.data[16 * 96..], after.data[16 * 96..]);
    }

    #[test]
    fn draws_stay_in_their_limits_and_depend_on_their_place_alone() {
        for place in 0..200 {
            let blur = Blur::draw(2.0, 8, 7, place);
            assert_eq!(blur, Blur::draw(2.0, 8, 7, place));
            assert!((0.3..=2.0).contains(&blur.sigma) && blur.from < 8, "{blur:?}");
            let [left, top, right, bottom] = blur.region;
            assert!(left >= 0.0 && top >= 0.0 && right <= 1.001 && bottom <= 1.001, "{blur:?}");
            assert!(right - left > 0.33 && bottom - top > 0.33, "{blur:?}");
        }
    }
}
