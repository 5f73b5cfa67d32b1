//! Motion-compensated pictures: each pixel is fetched from where it came from.
//!
//! A coarse field of displacements, `cells` x `cells` a patch, is interpolated between the centres of its cells over
//! the whole picture; each pixel is then sampled between its neighbours at its own place plus its displacement, and places
//! beyond the edge take the edge's pixel. (Spatial transformer sampling: Jaderberg et al. 2015,
//! <https://arxiv.org/abs/1506.02025>; motion instead of new pixels for videos of robot pushing: Finn et al. 2016,
//! <https://arxiv.org/abs/1605.07157>.)

use super::threads::{Shared, for_each};

/// How a pixel between four whole ones is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// From the two neighbours along each axis. Blurs a little, and more with each frame that is fetched from the last.
    #[default]
    Bilinear,
    /// From the four neighbours along each axis by Catmull-Rom's spline (Keys 1981,
    /// <https://doi.org/10.1109/TASSP.1981.1163711>, a = -1/2): ten half-pixel steps keep about three times as much.
    Cubic,
}

/// Pixels before the first and after the last one of an axis, so that no neighbour lies outside.
const BEFORE: usize = 1;
const AFTER: usize = 2;

/// Four neighbours along an axis with margins, with their weights and the slopes of these.
#[derive(Clone, Copy)]
struct Taps {
    /// The first of them.
    at: usize,
    weight: [f32; 4],
    slope: [f32; 4],
}

/// Shapes of pictures that are given as patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warp {
    /// How pixels are made that lie between others.
    pub sampling: Sampling,
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Displacements along a side of a patch.
    pub cells: usize,
}

/// Two neighbours and the share of the second one.
#[derive(Clone, Copy)]
struct Between {
    a: usize,
    b: usize,
    share: f32,
}

/// A place clamped to `0..=last`, between its two whole neighbours; whether it was inside.
#[inline(always)]
fn between(place: f32, last: usize) -> (Between, bool) {
    // NaN goes to 0 by `max`, so that no index can leave the picture.
    let inside = place >= 0.0 && place <= last as f32;
    let place = place.max(0.0).min(last as f32);
    let a = (place as usize).min(last);
    (Between { a, b: (a + 1).min(last), share: place - a as f32 }, inside)
}

/// Weights of the four neighbours of a place that is `t` (0..1) beyond the second one.
#[inline(always)]
fn cubic(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        0.5 * (2.0 * t2 - t - t3),
        0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
        0.5 * (t + 4.0 * t2 - 3.0 * t3),
        0.5 * (t3 - t2),
    ]
}

/// How [`cubic`] changes with `t`.
#[inline(always)]
fn cubic_slope(t: f32) -> [f32; 4] {
    let t2 = t * t;
    [
        0.5 * (4.0 * t - 1.0 - 3.0 * t2),
        0.5 * (9.0 * t2 - 10.0 * t),
        0.5 * (1.0 + 8.0 * t - 9.0 * t2),
        0.5 * (3.0 * t2 - 2.0 * t),
    ]
}

impl Warp {
    /// Numbers of a picture: height * width * 3.
    pub fn picture(&self) -> usize {
        self.rows * self.cols * self.patch * self.patch * 3
    }

    /// Numbers of a field: two (right, down; pixels) for each cell.
    pub fn field(&self) -> usize {
        self.rows * self.cols * self.cells * self.cells * 2
    }

    fn width(&self) -> usize {
        self.cols * self.patch
    }

    fn height(&self) -> usize {
        self.rows * self.patch
    }

    /// What is fetched along one axis at `place`; beyond the axis nothing changes with it.
    #[inline(always)]
    fn taps(&self, place: f32, last: usize) -> Taps {
        let (Between { a, share: t, .. }, inside) = between(place, last);
        let (weight, slope) = match self.sampling {
            Sampling::Bilinear => ([0.0, 1.0 - t, t, 0.0], [0.0, -1.0, 1.0, 0.0]),
            Sampling::Cubic => (cubic(t), cubic_slope(t)),
        };
        // One neighbour lies before the pixel, as many as there are before the axis.
        Taps { at: a, weight, slope: if inside { slope } else { [0.0; 4] } }
    }

    /// Where a pixel lies in a picture that is stored patch by patch.
    #[cfg(test)]
    fn pixel(&self, y: usize, x: usize) -> usize {
        let (row, col) = (y / self.patch, x / self.patch);
        (((row * self.cols + col) * self.patch + y % self.patch) * self.patch + x % self.patch) * 3
    }

    /// Where a cell's displacement lies in a field that is stored patch by patch.
    fn cell(&self, y: usize, x: usize) -> usize {
        let (row, col) = (y / self.cells, x / self.cells);
        ((row * self.cols + col) * self.cells * self.cells + (y % self.cells) * self.cells + x % self.cells)
            * 2
    }

    /// Between which cells the pixels of one axis lie.
    fn axis(&self, pixels: usize, cells: usize) -> Vec<Between> {
        let scale = self.cells as f32 / self.patch.max(1) as f32;
        (0..pixels).map(|i| between((i as f32 + 0.5) * scale - 0.5, cells.saturating_sub(1)).0).collect()
    }

    fn check(&self, pictures: &[f32], fields: &[f32], other: &[f32]) -> usize {
        let n = pictures.len() / self.picture().max(1);
        assert!(
            pictures.len() == n * self.picture()
                && other.len() == pictures.len()
                && fields.len() == n * self.field(),
            "warp: lengths do not fit"
        );
        n
    }

    /// Numbers of a row of patches: they follow each other in a picture.
    fn band(&self) -> usize {
        self.cols * self.patch * self.patch * 3
    }

    /// Line by line, four numbers a pixel, what a picture holds patch by patch, with `before` pixels of margin to the left and
    /// above and `after` to the right and below, which repeat the edge.
    fn raster(&self, picture: &[f32], before: usize, after: usize) -> Raster {
        let (w, h, patch) = (self.width(), self.height(), self.patch);
        let wide = w + before + after;
        let mut pixels = vec![[0.0_f32; 4]; wide * (h + before + after)];
        for (row, band) in picture.chunks_exact(self.band()).enumerate() {
            for (col, cell) in band.chunks_exact(patch * patch * 3).enumerate() {
                for (y, run) in cell.chunks_exact(patch * 3).enumerate() {
                    let at = (row * patch + y + before) * wide + col * patch + before;
                    for (pixel, rgb) in pixels[at..at + patch].iter_mut().zip(run.chunks_exact(3)) {
                        *pixel = [rgb[0], rgb[1], rgb[2], 0.0];
                    }
                }
            }
        }
        for line in pixels.chunks_exact_mut(wide.max(1)).skip(before).take(h) {
            let (first, last) = (line[before], line[before + w - 1]);
            line[..before].fill(first);
            line[before + w..].fill(last);
        }
        for y in (0..before).chain(before + h..before + h + after) {
            let from = y.clamp(before, before + h - 1) * wide;
            pixels.copy_within(from..from + wide, y * wide);
        }
        Raster { wide, pixels }
    }

    /// The displacements of a line of cells between two of the field: `1 - share` of the first, `share` of the second.
    fn cells(&self, field: &[f32], between: Between, line: &mut [[f32; 2]]) {
        for (x, to) in line.iter_mut().enumerate() {
            let (a, b) = (self.cell(between.a, x), self.cell(between.b, x));
            for (i, to) in to.iter_mut().enumerate() {
                *to = field[a + i] * (1.0 - between.share) + field[b + i] * between.share;
            }
        }
    }

    /// `out` = `pictures` fetched along `fields`; any number of pictures one after the other. Bits do not depend on the number
    /// of threads.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn forward(&self, pictures: &[f32], fields: &[f32], out: &mut [f32]) {
        let n = self.check(pictures, fields, out);
        let (picture, field, work) = (self.picture(), self.field(), self.picture() * 32);
        let (down, right) = self.axes();
        let out = Shared::new(out);
        // Pictures go to threads; a single one goes to them row of patches by row of patches.
        for_each(n, n.saturating_mul(work), |i| {
            let raster = self.raster(&pictures[i * picture..(i + 1) * picture], BEFORE, AFTER);
            let field = &fields[i * field..(i + 1) * field];
            for_each(self.rows, work, |row| {
                // SAFETY: rows of patches of different pictures are disjoint.
                let band = unsafe { out.part(i * picture + row * self.band(), self.band()) };
                fetch_band(*self, &raster, field, &down[row * self.patch..], &right, row * self.patch, band);
            });
        });
    }

    /// Gradient of the fields, from the gradient `dout` of the fetched pictures. Bits do not depend on the number of threads.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn backward(&self, pictures: &[f32], fields: &[f32], dout: &[f32], dfields: &mut [f32]) {
        let n = self.check(pictures, fields, dout);
        assert_eq!(fields.len(), dfields.len(), "warp: lengths do not fit");
        let (picture, field) = (self.picture(), self.field());
        let (down, right) = self.axes();
        let out = Shared::new(dfields);
        for_each(n, n.saturating_mul(picture * 64), |i| {
            let raster = self.raster(&pictures[i * picture..(i + 1) * picture], BEFORE, AFTER);
            let pull = self.raster(&dout[i * picture..(i + 1) * picture], 0, 0);
            // SAFETY: fields of different pictures are disjoint.
            let dfield = unsafe { out.part(i * field, field) };
            pull_field(*self, &raster, &fields[i * field..(i + 1) * field], &pull, &down, &right, dfield);
        });
    }

    /// Between which cells each line and each column of pixels lies.
    fn axes(&self) -> (Vec<Between>, Vec<Between>) {
        (self.axis(self.height(), self.rows * self.cells), self.axis(self.width(), self.cols * self.cells))
    }
}

/// Pixels line by line.
struct Raster {
    wide: usize,
    pixels: Vec<[f32; 4]>,
}

/// `a + b c`.
#[inline(always)]
fn add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { b.mul_add(c, a) } else { a + b * c }
}

/// `sum += pixel * weight`, colour by colour.
#[inline(always)]
fn add_pixel<const FMA: bool>(sum: &mut [f32; 4], pixel: &[f32; 4], weight: f32) {
    for (sum, value) in sum.iter_mut().zip(pixel) {
        *sum = add::<FMA>(*sum, *value, weight);
    }
}

/// The displacement of a pixel between two cells of a line.
#[inline(always)]
fn moved_by(cells: &[[f32; 2]], at: Between) -> [f32; 2] {
    let (a, b) = (cells[at.a], cells[at.b]);
    [a[0] * (1.0 - at.share) + b[0] * at.share, a[1] * (1.0 - at.share) + b[1] * at.share]
}

/// A row of patches: the lines of pixels from `top` on.
#[inline(always)]
fn fetch_band_body<const FMA: bool>(
    shape: Warp,
    raster: &Raster,
    field: &[f32],
    down: &[Between],
    right: &[Between],
    top: usize,
    band: &mut [f32],
) {
    let (w, h, patch) = (shape.width(), shape.height(), shape.patch);
    let mut cells = vec![[0.0_f32; 2]; shape.cols * shape.cells];
    for (y, between) in down.iter().enumerate().take(patch) {
        shape.cells(field, *between, &mut cells);
        for (x, at) in right.iter().enumerate() {
            let [dx, dy] = moved_by(&cells, *at);
            let u = shape.taps(x as f32 + dx, w - 1);
            let v = shape.taps((top + y) as f32 + dy, h - 1);
            let mut sum = [0.0_f32; 4];
            for (row, weight) in v.weight.into_iter().enumerate() {
                let at = (v.at + row) * raster.wide + u.at;
                let mut across = [0.0_f32; 4];
                for (pixel, weight) in raster.pixels[at..at + 4].iter().zip(u.weight) {
                    add_pixel::<FMA>(&mut across, pixel, weight);
                }
                add_pixel::<FMA>(&mut sum, &across, weight);
            }
            let to = ((x / patch * patch + y) * patch + x % patch) * 3;
            band[to..to + 3].copy_from_slice(&sum[..3]);
        }
    }
}

/// The gradient of a picture's field, from the gradient `pull` of the fetched picture.
#[inline(always)]
fn pull_field_body<const FMA: bool>(
    shape: Warp,
    raster: &Raster,
    field: &[f32],
    pull: &Raster,
    down: &[Between],
    right: &[Between],
    dfield: &mut [f32],
) {
    let (w, h) = (shape.width(), shape.height());
    let mut cells = vec![[0.0_f32; 2]; shape.cols * shape.cells];
    let mut sums = cells.clone();
    dfield.fill(0.0);
    for (y, between) in down.iter().enumerate() {
        shape.cells(field, *between, &mut cells);
        sums.fill([0.0; 2]);
        for ((x, at), pull) in right.iter().enumerate().zip(&pull.pixels[y * w..(y + 1) * w]) {
            let [dx, dy] = moved_by(&cells, *at);
            let (u, v) = (shape.taps(x as f32 + dx, w - 1), shape.taps(y as f32 + dy, h - 1));
            let (mut along_x, mut along_y) = ([0.0_f32; 4], [0.0_f32; 4]);
            for (row, (weight, slope)) in v.weight.into_iter().zip(v.slope).enumerate() {
                let at = (v.at + row) * raster.wide + u.at;
                let (mut value, mut change) = ([0.0_f32; 4], [0.0_f32; 4]);
                for ((pixel, weight), slope) in raster.pixels[at..at + 4].iter().zip(u.weight).zip(u.slope) {
                    add_pixel::<FMA>(&mut value, pixel, weight);
                    add_pixel::<FMA>(&mut change, pixel, slope);
                }
                add_pixel::<FMA>(&mut along_x, &change, weight);
                add_pixel::<FMA>(&mut along_y, &value, slope);
            }
            let dot = |along: [f32; 4]| along[0] * pull[0] + along[1] * pull[1] + along[2] * pull[2];
            for (i, gradient) in [dot(along_x), dot(along_y)].into_iter().enumerate() {
                sums[at.a][i] += gradient * (1.0 - at.share);
                sums[at.b][i] += gradient * at.share;
            }
        }
        for (x, sum) in sums.iter().enumerate() {
            for (line, share) in [(between.a, 1.0 - between.share), (between.b, between.share)] {
                let to = shape.cell(line, x);
                for (i, sum) in sum.iter().enumerate() {
                    dfield[to + i] += sum * share;
                }
            }
        }
    }
}

multiversion! {
    fn fetch_band(
        shape: Warp,
        raster: &Raster,
        field: &[f32],
        down: &[Between],
        right: &[Between],
        top: usize,
        band: &mut [f32],
    ) = fetch_band_body;
    fn pull_field(
        shape: Warp,
        raster: &Raster,
        field: &[f32],
        pull: &Raster,
        down: &[Between],
        right: &[Between],
        dfield: &mut [f32],
    ) = pull_field_body;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::random::Random;

    const SHAPE: Warp = Warp { sampling: Sampling::Cubic, rows: 2, cols: 3, patch: 8, cells: 2 };
    const PLAIN: Warp = Warp { sampling: Sampling::Bilinear, ..SHAPE };

    fn numbers(n: usize, stream: u64, scale: f32) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Random::new(5, stream, 0).fill_normal(0, &mut values);
        values.iter_mut().for_each(|v| *v *= scale);
        values
    }

    #[test]
    fn no_motion_is_the_same_picture() {
        let picture = numbers(SHAPE.picture() * 2, 1, 1.0);
        for shape in [SHAPE, PLAIN] {
            let mut out = vec![0.0; picture.len()];
            shape.forward(&picture, &vec![0.0; shape.field() * 2], &mut out);
            assert_eq!(out, picture);
        }
    }

    #[test]
    fn a_curve_is_sampled_and_half_steps_blur_less() {
        // A parabola is a cubic: between its pixels nothing is lost, away from the edge.
        let mut picture = vec![0.0; SHAPE.picture()];
        for y in 0..16 {
            for x in 0..24 {
                picture[SHAPE.pixel(y, x)..][..3].fill((x * x) as f32 * 0.01);
            }
        }
        let field: Vec<f32> = (0..SHAPE.field()).map(|i| if i % 2 == 0 { 0.5 } else { 0.0 }).collect();
        let error = |shape: Warp| -> f32 {
            let mut out = vec![0.0; picture.len()];
            shape.forward(&picture, &field, &mut out);
            let miss = |x: usize| (out[shape.pixel(8, x)] - (x as f32 + 0.5).powi(2) * 0.01).abs();
            (2..20).map(miss).fold(0.0, f32::max)
        };
        assert!(error(SHAPE) < 1e-5, "{}", error(SHAPE));
        assert!(error(PLAIN) > 2e-3, "{}", error(PLAIN));
    }

    #[test]
    fn whole_steps_move_pixels_across_patches() {
        let picture = numbers(SHAPE.picture(), 2, 1.0);
        let field: Vec<f32> = (0..SHAPE.field()).map(|i| if i % 2 == 0 { 3.0 } else { -1.0 }).collect();
        let mut out = vec![0.0; picture.len()];
        SHAPE.forward(&picture, &field, &mut out);
        for y in 0..16 {
            for x in 0..24 {
                let from = SHAPE.pixel((y as i32 - 1).max(0) as usize, (x + 3).min(23));
                assert!((out[SHAPE.pixel(y, x)] - picture[from]).abs() < 1e-5, "{y} {x}");
            }
        }
    }

    #[test]
    fn gradients_are_the_slopes() {
        let picture = numbers(SHAPE.picture(), 3, 1.0);
        let field = numbers(SHAPE.field(), 4, 2.0);
        let weight = numbers(SHAPE.picture(), 6, 1.0);
        for shape in [SHAPE, PLAIN] {
            let value = |field: &[f32]| -> f64 {
                let mut out = vec![0.0; picture.len()];
                shape.forward(&picture, field, &mut out);
                out.iter().zip(&weight).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
            };
            let mut gradient = vec![0.0; field.len()];
            shape.backward(&picture, &field, &weight, &mut gradient);
            let mut agreed = 0;
            for i in 0..field.len() {
                let h = 1e-3;
                let mut more = field.clone();
                more[i] += h;
                let mut less = field.clone();
                less[i] -= h;
                let slope = (value(&more) - value(&less)) / f64::from(2.0 * h);
                // Sampling has kinks (at whole pixels, at the edges); a few differences straddle one.
                if (slope - f64::from(gradient[i])).abs() < 0.05 + 0.02 * slope.abs() {
                    agreed += 1;
                }
            }
            assert!(agreed * 10 >= field.len() * 8, "{agreed} of {} slopes agree", field.len());
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let picture = numbers(SHAPE.picture() * 5, 1, 1.0);
        let field = numbers(SHAPE.field() * 5, 2, 3.0);
        for n in [1, 5] {
            let (picture, field) = (&picture[..SHAPE.picture() * n], &field[..SHAPE.field() * n]);
            let run = |threads: usize| {
                let (mut out, mut gradient) = (vec![0.0; picture.len()], vec![0.0; field.len()]);
                crate::kernels::threads::with(threads, || {
                    SHAPE.forward(picture, field, &mut out);
                    SHAPE.backward(picture, field, picture, &mut gradient);
                });
                (out, gradient)
            };
            assert!(run(1) == run(2) && run(1) == run(3), "{n}");
        }
    }

    #[test]
    fn wild_fields_stay_inside() {
        let picture = numbers(SHAPE.picture(), 7, 1.0);
        let mut field = numbers(SHAPE.field(), 8, 1e6);
        field[0] = f32::NAN;
        field[5] = f32::INFINITY;
        let mut out = vec![0.0; picture.len()];
        SHAPE.forward(&picture, &field, &mut out);
        let mut gradient = vec![0.0; field.len()];
        SHAPE.backward(&picture, &field, &picture, &mut gradient);
        assert_eq!(gradient.len(), field.len());
    }
}
