//! Motion-compensated pictures: each pixel is fetched from where it came from.
//!
//! A coarse field of displacements, `cells` x `cells` a patch, is interpolated between the centres of its cells over
//! the whole picture; each pixel is then sampled bilinearly at its own place plus its displacement, and places beyond
//! the edge take the edge's pixel. (Spatial transformer sampling: Jaderberg et al. 2015,
//! <https://arxiv.org/abs/1506.02025>; motion instead of new pixels for videos of robot pushing: Finn et al. 2016,
//! <https://arxiv.org/abs/1605.07157>.)

/// Shapes of pictures that are given as patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warp {
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
                let (u, _) = between(x as f32 + dx, w - 1);
                let (v, _) = between(y as f32 + dy, h - 1);
                let (aa, ab) = (self.pixel(v.a, u.a), self.pixel(v.a, u.b));
                let (ba, bb) = (self.pixel(v.b, u.a), self.pixel(v.b, u.b));
                for c in 0..3 {
                    let top = picture[aa + c] + (picture[ab + c] - picture[aa + c]) * u.share;
                    let low = picture[ba + c] + (picture[bb + c] - picture[ba + c]) * u.share;
                    out[at + c] = top + (low - top) * v.share;
                }
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
                let (u, in_x) = between(x as f32 + dx, w - 1);
                let (v, in_y) = between(y as f32 + dy, h - 1);
                let (aa, ab) = (self.pixel(v.a, u.a), self.pixel(v.a, u.b));
                let (ba, bb) = (self.pixel(v.b, u.a), self.pixel(v.b, u.b));
                let mut gradient = [0.0_f32; 2];
                for c in 0..3 {
                    let (p, q, r, s) = (picture[aa + c], picture[ab + c], picture[ba + c], picture[bb + c]);
                    let across = (q - p) + ((s - r) - (q - p)) * v.share;
                    let along = (r - p) + ((s - q) - (r - p)) * u.share;
                    gradient[0] += dout[at + c] * across;
                    gradient[1] += dout[at + c] * along;
                }
                let gradient = [if in_x { gradient[0] } else { 0.0 }, if in_y { gradient[1] } else { 0.0 }];
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

    const SHAPE: Warp = Warp { rows: 2, cols: 3, patch: 8, cells: 2 };

    fn numbers(n: usize, stream: u64, scale: f32) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Random::new(5, stream, 0).fill_normal(0, &mut values);
        values.iter_mut().for_each(|v| *v *= scale);
        values
    }

    #[test]
    fn no_motion_is_the_same_picture() {
        let picture = numbers(SHAPE.picture() * 2, 1, 1.0);
        let mut out = vec![0.0; picture.len()];
        SHAPE.forward(&picture, &vec![0.0; SHAPE.field() * 2], &mut out);
        assert_eq!(out, picture);
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
        let value = |field: &[f32]| -> f64 {
            let mut out = vec![0.0; picture.len()];
            SHAPE.forward(&picture, field, &mut out);
            out.iter().zip(&weight).map(|(o, w)| f64::from(*o) * f64::from(*w)).sum()
        };
        let mut gradient = vec![0.0; field.len()];
        SHAPE.backward(&picture, &field, &weight, &mut gradient);
        let mut agreed = 0;
        for i in 0..field.len() {
            let h = 1e-3;
            let mut more = field.clone();
            more[i] += h;
            let mut less = field.clone();
            less[i] -= h;
            let slope = (value(&more) - value(&less)) / f64::from(2.0 * h);
            // Bilinear sampling has kinks at whole pixels; a few differences straddle one.
            if (slope - f64::from(gradient[i])).abs() < 0.05 + 0.02 * slope.abs() {
                agreed += 1;
            }
        }
        assert!(agreed * 10 >= field.len() * 8, "{agreed} of {} slopes agree", field.len());
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
