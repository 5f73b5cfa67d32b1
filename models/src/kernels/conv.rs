//! Convolution of pictures as matrix products: a tile of the result at a time, the pixels that it sees laid out as a
//! matrix that stays in the cache.
//!
//! (Lowering to a matrix product: Chellapilla et al. 2006, <https://hal.science/inria-00112631>; tile by tile, so that the
//! lowered matrix is never whole in memory.) Tiles do not depend on the number of threads, so neither do the bits.

use std::cell::RefCell;

use super::gemm::{Target, f32_block};
use super::matrix::View;
use super::threads::for_each;

/// Pixels of the result in a tile.
const TILE: usize = 256;
/// Rows of the lowered matrix that are multiplied at a time: with a tile's pixels about half a megabyte.
const DEPTH: usize = 576;

thread_local! {
    static LOWERED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Shapes of a convolution; the same stride and zero padding along both axes, no dilation, no groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the pictures.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Rows of the pictures.
    pub height: usize,
    /// Columns of the pictures.
    pub width: usize,
    /// Rows and columns of the kernel.
    pub kernel: (usize, usize),
    /// Pixels from one result to the next.
    pub stride: usize,
    /// Rows and columns of zeros on each side.
    pub padding: usize,
}

impl Conv {
    /// Rows and columns of the result; 0 where the kernel does not fit.
    pub fn result(&self) -> (usize, usize) {
        let along = |length: usize, kernel: usize| {
            (length + 2 * self.padding).checked_sub(kernel).map_or(0, |span| span / self.stride.max(1) + 1)
        };
        (along(self.height, self.kernel.0), along(self.width, self.kernel.1))
    }

    /// The row of the lowered matrix that tap (`down`, `right`) of the channel `picture` makes for the pixels from `from` on.
    fn gather(&self, picture: &[f32], (down, right): (usize, usize), from: usize, row: &mut [f32]) {
        let columns = self.result().1;
        let (mut pixel, mut rest) = (from, row);
        while !rest.is_empty() {
            let (y, x) = (pixel / columns, pixel % columns);
            let count = (columns - x).min(rest.len());
            let (part, after) = rest.split_at_mut(count);
            let line = (y * self.stride + down)
                .checked_sub(self.padding)
                .filter(|line| *line < self.height)
                .map(|line| &picture[line * self.width..(line + 1) * self.width]);
            match line {
                None => part.fill(0.0),
                Some(line) if self.stride == 1 => {
                    // Column x + right - padding of the line goes to the first place; outside there are zeros.
                    let dark = self.padding.saturating_sub(x + right).min(count);
                    let first = (x + right + dark).saturating_sub(self.padding).min(self.width);
                    let lit = (count - dark).min(self.width - first);
                    part[..dark].fill(0.0);
                    part[dark..dark + lit].copy_from_slice(&line[first..first + lit]);
                    part[dark + lit..].fill(0.0);
                }
                Some(line) => {
                    for (i, value) in part.iter_mut().enumerate() {
                        let at = ((x + i) * self.stride + right).checked_sub(self.padding);
                        *value = at.and_then(|at| line.get(at)).copied().unwrap_or(0.0);
                    }
                }
            }
            pixel += count;
            rest = after;
        }
    }
}

/// `x [n, inputs, height, width]` filtered with `w [outputs, inputs, kernel]`: `[n, outputs, rows, columns]`, see
/// [`Conv::result`].
///
/// # Panics
/// When lengths and shapes do not fit together.
pub fn conv2d(x: &[f32], w: &[f32], shape: Conv) -> Vec<f32> {
    let picture = (shape.inputs * shape.height * shape.width).max(1);
    let plan: Vec<Vec<(usize, usize)>> = (0..x.len() / picture).map(|i| vec![(i, 0)]).collect();
    conv_frames(x, &[w], None, &plan, shape)
}

/// Sums of filtered pictures, as a convolution over space and time needs them: result `i` is `bias` plus, for every
/// `(picture, tap)` of `plan[i]`, picture number `picture` of `x [n, inputs, height, width]` filtered with
/// `taps[tap] [outputs, inputs, kernel]`. Gives `[plan.len(), outputs, rows, columns]`.
///
/// # Panics
/// When lengths, shapes and numbers do not fit together.
pub fn conv_frames(
    x: &[f32],
    taps: &[&[f32]],
    bias: Option<&[f32]>,
    plan: &[Vec<(usize, usize)>],
    shape: Conv,
) -> Vec<f32> {
    let Conv { inputs, outputs, height, width, kernel, stride, .. } = shape;
    let area = kernel.0 * kernel.1;
    let size = inputs * height * width;
    assert!(size > 0 && stride > 0 && x.len().is_multiple_of(size), "conv_frames: pictures do not fit");
    assert!(taps.iter().all(|w| w.len() == outputs * inputs * area), "conv_frames: weights do not fit");
    assert!(bias.is_none_or(|b| b.len() == outputs), "conv_frames: a bias of another size");
    let (rows, columns) = shape.result();
    let pixels = rows * columns;
    let mut out: Vec<f32> = vec![0.0; plan.len() * outputs * pixels];
    if out.is_empty() || area == 0 {
        return out;
    }
    let tiles = pixels.div_ceil(TILE);
    let all = Target { start: out.as_mut_ptr(), row_stride: pixels };
    // Channels whose taps are multiplied at a time.
    let group = (DEPTH / area).max(1);
    let plain = kernel == (1, 1) && stride == 1 && shape.padding == 0;
    let sums: usize = plan.iter().map(Vec::len).sum();
    let work = (sums * outputs * pixels / 16).saturating_mul(inputs * area);
    for_each(plan.len() * tiles, work, |block| {
        let (i, from) = (block / tiles, block % tiles * TILE);
        let count = TILE.min(pixels - from);
        // SAFETY: the tile's columns of the rows of result i lie inside `out`, and no other block touches them.
        let target = unsafe { all.at(i * outputs, from) };
        for (o, bias) in bias.into_iter().flatten().enumerate() {
            // SAFETY: as above: row o of the tile, `count` numbers that are there.
            unsafe { std::slice::from_raw_parts_mut(target.start.add(o * pixels), count) }.fill(*bias);
        }
        LOWERED.with_borrow_mut(|lowered| {
            for (picture, tap) in &plan[i] {
                let picture = &x[picture * size..(picture + 1) * size];
                let weights = View::dense(taps[*tap], outputs, inputs * area);
                if plain {
                    let seen = View::dense(picture, inputs, pixels).part(0, inputs, from, count);
                    // SAFETY: as above; shapes fit, and the numbers that are added to are there.
                    unsafe { f32_block(weights, seen, target, true) };
                    continue;
                }
                for first in (0..inputs).step_by(group) {
                    let channels = group.min(inputs - first);
                    lowered.resize(channels * area * count, 0.0);
                    for (row, values) in lowered.chunks_exact_mut(count).enumerate() {
                        let (channel, tap) = (first + row / area, row % area);
                        let channel = &picture[channel * height * width..(channel + 1) * height * width];
                        shape.gather(channel, (tap / kernel.1, tap % kernel.1), from, values);
                    }
                    let weights = weights.part(0, outputs, first * area, channels * area);
                    // SAFETY: as above.
                    unsafe { f32_block(weights, View::dense(lowered, channels * area, count), target, true) };
                }
            }
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    fn normal(n: usize, stream: u64) -> Vec<f32> {
        let mut x = vec![0.0; n];
        Random::new(13, stream, 0).fill_normal(0, &mut x);
        x
    }

    /// The sum over all taps in f64.
    fn reference(x: &[f32], w: &[f32], s: Conv) -> Vec<f64> {
        let (rows, columns) = s.result();
        let n = x.len() / (s.inputs * s.height * s.width);
        let mut out = Vec::new();
        for i in 0..n {
            for o in 0..s.outputs {
                for y in 0..rows {
                    for z in 0..columns {
                        let mut sum = 0.0;
                        for c in 0..s.inputs {
                            for a in 0..s.kernel.0 {
                                for b in 0..s.kernel.1 {
                                    let v = (y * s.stride + a) as isize - s.padding as isize;
                                    let u = (z * s.stride + b) as isize - s.padding as isize;
                                    if v < 0 || u < 0 || v >= s.height as isize || u >= s.width as isize {
                                        continue;
                                    }
                                    let at =
                                        ((i * s.inputs + c) * s.height + v as usize) * s.width + u as usize;
                                    let tap = ((o * s.inputs + c) * s.kernel.0 + a) * s.kernel.1 + b;
                                    sum += f64::from(x[at]) * f64::from(w[tap]);
                                }
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
    fn agrees_with_the_plain_sum_whatever_the_shape_and_the_threads() {
        for (n, inputs, outputs, height, width, kernel, stride, padding) in [
            (1, 1, 1, 1, 1, (1, 1), 1, 0),
            (2, 3, 5, 7, 9, (3, 3), 1, 1),
            (1, 70, 4, 20, 33, (3, 3), 1, 1),
            (1, 2, 3, 9, 8, (3, 3), 2, 0),
            (1, 2, 3, 9, 8, (3, 3), 2, 1),
            (3, 4, 2, 5, 300, (1, 1), 1, 0),
            (1, 2, 2, 6, 5, (5, 2), 1, 2),
            (1, 2, 2, 2, 2, (3, 3), 1, 3),
            (1, 2, 2, 2, 2, (5, 5), 1, 0),
        ] {
            let shape = Conv { inputs, outputs, height, width, kernel, stride, padding };
            let x = normal(n * inputs * height * width, 1);
            let w = normal(outputs * inputs * kernel.0 * kernel.1, 2);
            let one = threads::with(1, || conv2d(&x, &w, shape));
            let want = reference(&x, &w, shape);
            assert_eq!(one.len(), want.len(), "{shape:?}");
            for (got, want) in one.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-4 * (1.0 + want.abs()),
                    "{shape:?}: {got} {want}"
                );
            }
            assert_eq!(threads::with(2, || conv2d(&x, &w, shape)), one, "threads change bits: {shape:?}");
        }
    }

    #[test]
    fn sums_over_time_are_sums_of_pictures() {
        let shape =
            Conv { inputs: 2, outputs: 3, height: 5, width: 4, kernel: (3, 3), stride: 1, padding: 1 };
        let (x, a, b) = (normal(2 * 40, 1), normal(54, 2), normal(54, 3));
        let bias = [0.5, -1.0, 2.0];
        let plan = [vec![(0, 1)], vec![(0, 0), (1, 1)], vec![]];
        let got = conv_frames(&x, &[&a, &b], Some(&bias), &plan, shape);
        let (first, second) = (reference(&x[..40], &b, shape), reference(&x[40..], &b, shape));
        let past = reference(&x[..40], &a, shape);
        for i in 0..60 {
            let bias = f64::from(bias[i / 20]);
            assert!((f64::from(got[i]) - first[i] - bias).abs() < 1e-4);
            assert!((f64::from(got[60 + i]) - past[i] - second[i] - bias).abs() < 1e-4);
            assert_eq!(f64::from(got[120 + i]), bias);
        }
    }

    #[test]
    fn nan_stays_where_it_is_seen() {
        let shape =
            Conv { inputs: 1, outputs: 1, height: 9, width: 9, kernel: (3, 3), stride: 1, padding: 1 };
        let mut x = vec![1.0; 81];
        x[4 * 9 + 4] = f32::NAN;
        let out = conv2d(&x, &[1.0; 9], shape);
        for (i, v) in out.iter().enumerate() {
            let near = (i / 9).abs_diff(4) <= 1 && (i % 9).abs_diff(4) <= 1;
            assert_eq!(v.is_nan(), near, "pixel {i}");
        }
    }
}
