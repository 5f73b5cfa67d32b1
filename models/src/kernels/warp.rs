//! Motion-compensated pictures: each pixel is fetched from where it came from.
//!
//! A coarse field of displacements, `cells` x `cells` a patch, is interpolated between the centres of its cells over
//! the whole picture; each pixel is then sampled between its neighbours at its own place plus its displacement, and places
//! beyond the edge take the edge's pixel. (Spatial transformer sampling: Jaderberg et al. 2015,
//! <https://arxiv.org/abs/1506.02025>; motion instead of new pixels for videos of robot pushing: Finn et al. 2016,
//! <https://arxiv.org/abs/1605.07157>.)

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

/// Four neighbours along an axis, clamped to it, with their weights and the slopes of these.
#[derive(Clone, Copy)]
struct Taps {
    at: [usize; 4],
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
fn between(place: f32, last: usize) -> (Between, bool) {
    // NaN goes to 0 by `max`, so that no index can leave the picture.
    let inside = place >= 0.0 && place <= last as f32;
    let place = place.max(0.0).min(last as f32);
    let a = (place as usize).min(last);
    (Between { a, b: (a + 1).min(last), share: place - a as f32 }, inside)
}

/// Weights of the four neighbours of a place that is `t` (0..1) beyond the second one.
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
    fn taps(&self, place: f32, last: usize) -> Taps {
        let (Between { a, share: t, .. }, inside) = between(place, last);
        let at = [a.saturating_sub(1), a, (a + 1).min(last), (a + 2).min(last)];
        let (weight, slope) = match self.sampling {
            Sampling::Bilinear => ([0.0, 1.0 - t, t, 0.0], [0.0, -1.0, 1.0, 0.0]),
            Sampling::Cubic => (cubic(t), cubic_slope(t)),
        };
        Taps { at, weight, slope: if inside { slope } else { [0.0; 4] } }
    }

    /// Where a pixel lies in a picture that is stored patch by patch.
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

    /// Calls `f` for every pixel with its place in the patches, its four cells with their weights, and its
    /// displacement.
    fn each(&self, field: &[f32], mut f: impl FnMut(usize, usize, usize, [(usize, f32); 4], [f32; 2])) {
        let down = self.axis(self.height(), self.rows * self.cells);
        let right = self.axis(self.width(), self.cols * self.cells);
        for (y, v) in down.iter().enumerate() {
            for (x, h) in right.iter().enumerate() {
                let cells = [
                    (self.cell(v.a, h.a), (1.0 - v.share) * (1.0 - h.share)),
                    (self.cell(v.a, h.b), (1.0 - v.share) * h.share),
                    (self.cell(v.b, h.a), v.share * (1.0 - h.share)),
                    (self.cell(v.b, h.b), v.share * h.share),
                ];
                let mut move_by = [0.0_f32; 2];
                for (cell, weight) in cells {
                    move_by[0] += field[cell] * weight;
                    move_by[1] += field[cell + 1] * weight;
                }
                f(self.pixel(y, x), y, x, cells, move_by);
            }
        }
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

    /// `out` = `pictures` fetched along `fields`; any number of pictures one after the other.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn forward(&self, pictures: &[f32], fields: &[f32], out: &mut [f32]) {
        let n = self.check(pictures, fields, out);
        let (w, h) = (self.width(), self.height());
        for i in 0..n {
            let picture = &pictures[i * self.picture()..(i + 1) * self.picture()];
            let field = &fields[i * self.field()..(i + 1) * self.field()];
            let out = &mut out[i * self.picture()..(i + 1) * self.picture()];
            self.each(field, |at, y, x, _, [dx, dy]| {
                let (u, v) = (self.taps(x as f32 + dx, w - 1), self.taps(y as f32 + dy, h - 1));
                let mut sum = [0.0_f32; 3];
                for (row, down) in v.at.into_iter().zip(v.weight).filter(|(_, weight)| *weight != 0.0) {
                    for (col, right) in u.at.into_iter().zip(u.weight) {
                        let (from, weight) = (self.pixel(row, col), down * right);
                        for (sum, value) in sum.iter_mut().zip(&picture[from..from + 3]) {
                            *sum += value * weight;
                        }
                    }
                }
                out[at..at + 3].copy_from_slice(&sum);
            });
        }
    }

    /// Gradient of the fields, from the gradient `dout` of the fetched pictures.
    ///
    /// # Panics
    /// When the lengths do not fit together.
    pub fn backward(&self, pictures: &[f32], fields: &[f32], dout: &[f32], dfields: &mut [f32]) {
        let n = self.check(pictures, fields, dout);
        assert_eq!(fields.len(), dfields.len(), "warp: lengths do not fit");
        let (w, h) = (self.width(), self.height());
        for i in 0..n {
            let picture = &pictures[i * self.picture()..(i + 1) * self.picture()];
            let field = &fields[i * self.field()..(i + 1) * self.field()];
            let dout = &dout[i * self.picture()..(i + 1) * self.picture()];
            let dfield = &mut dfields[i * self.field()..(i + 1) * self.field()];
            dfield.fill(0.0);
            self.each(field, |at, y, x, cells, [dx, dy]| {
                let (u, v) = (self.taps(x as f32 + dx, w - 1), self.taps(y as f32 + dy, h - 1));
                let mut gradient = [0.0_f32; 2];
                for (j, row) in v.at.into_iter().enumerate() {
                    for (i, col) in u.at.into_iter().enumerate() {
                        let from = self.pixel(row, col);
                        let pull: f32 =
                            picture[from..from + 3].iter().zip(&dout[at..at + 3]).map(|(p, d)| p * d).sum();
                        gradient[0] += pull * u.slope[i] * v.weight[j];
                        gradient[1] += pull * u.weight[i] * v.slope[j];
                    }
                }
                for (cell, weight) in cells {
                    dfield[cell] += gradient[0] * weight;
                    dfield[cell + 1] += gradient[1] * weight;
                }
            });
        }
    }
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
