//! A picture to put pictures and words on.

use forerun_models::Frame;

use super::glyphs::{self, Weight};

/// A picture under construction. Everything outside it is cut off.
#[derive(Clone, Debug)]
pub struct Canvas {
    frame: Frame,
}

/// How a line of text looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    /// Pixels an em.
    pub size: f32,
    /// How dark.
    pub weight: Weight,
    /// Colour.
    pub rgb: [u8; 3],
}

impl Canvas {
    /// A canvas of one colour; at least 1 x 1.
    pub fn new(width: usize, height: usize, rgb: [u8; 3]) -> Self {
        Self { frame: Frame::filled(width.max(1), height.max(1), rgb) }
    }

    /// Fills a rectangle.
    pub fn rectangle(&mut self, x: usize, y: usize, width: usize, height: usize, rgb: [u8; 3]) {
        let stride = self.frame.width * 3;
        let right = x.saturating_add(width).min(self.frame.width);
        if x >= right {
            return;
        }
        for row in self.frame.data.chunks_exact_mut(stride).skip(y).take(height) {
            for pixel in row.get_mut(x * 3..right * 3).unwrap_or_default().chunks_exact_mut(3) {
                pixel.copy_from_slice(&rgb);
            }
        }
    }

    /// Puts a picture with its left upper corner at (x, y), every pixel as a square of `scale` pixels: nothing is
    /// smoothed, so that what is seen is what the model made.
    pub fn picture(&mut self, frame: &Frame, x: usize, y: usize, scale: usize) {
        let scale = scale.max(1);
        let stride = self.frame.width * 3;
        if frame.width == 0 {
            return;
        }
        let mut rows = self.frame.data.chunks_exact_mut(stride).skip(y);
        for line in frame.data.chunks_exact(frame.width * 3) {
            let wide: Vec<u8> =
                line.chunks_exact(3).flat_map(|p| std::iter::repeat_n(p, scale).flatten()).copied().collect();
            for _ in 0..scale {
                let Some(row) = rows.next() else { return };
                let Some(place) = row.get_mut(x.saturating_mul(3)..) else { return };
                let n = place.len().min(wide.len());
                if let (Some(to), Some(from)) = (place.get_mut(..n), wide.get(..n)) {
                    to.copy_from_slice(from);
                }
            }
        }
    }

    /// Writes one line of text with the left upper corner of its room at (x, y), cut with an ellipsis at `room` pixels.
    pub fn text(&mut self, text: &str, x: usize, y: usize, room: usize, style: TextStyle) {
        let text = glyphs::shorten(text, style.size, style.weight, room);
        let mask = glyphs::draw(&text, style.size, style.weight);
        if mask.width == 0 {
            return;
        }
        let stride = self.frame.width * 3;
        let rows = self.frame.data.chunks_exact_mut(stride).skip(y);
        for (row, line) in rows.zip(mask.data.chunks_exact(mask.width)) {
            let Some(place) = row.get_mut(x.saturating_mul(3)..) else { return };
            for (pixel, cover) in place.chunks_exact_mut(3).zip(line) {
                let cover = u32::from(*cover);
                for (value, ink) in pixel.iter_mut().zip(style.rgb) {
                    let mixed = u32::from(*value) * (255 - cover) + u32::from(ink) * cover + 127;
                    *value = (mixed / 255) as u8;
                }
            }
        }
    }

    /// The finished picture.
    pub fn finish(self) -> Frame {
        self.frame
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn pictures_are_put_in_place_pixel_by_pixel() {
        let mut canvas = Canvas::new(6, 5, [9; 3]);
        let picture = Frame::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        canvas.picture(&picture, 1, 2, 2);
        let frame = canvas.finish();
        for (x, y, wanted) in [
            (0, 2, [9; 3]),
            (1, 2, [1, 2, 3]),
            (2, 3, [1, 2, 3]),
            (3, 2, [4, 5, 6]),
            (4, 3, [4, 5, 6]),
            (5, 2, [9; 3]),
            (1, 4, [9; 3]),
        ] {
            assert_eq!(frame.pixel(x, y), Some(wanted), "at {x}, {y}");
        }
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let mut canvas = Canvas::new(4, 4, [0; 3]);
        canvas.picture(&Frame::filled(9, 9, [7; 3]), 2, 2, 3);
        canvas.rectangle(3, 0, usize::MAX, 2, [5; 3]);
        canvas.rectangle(9, 9, 2, 2, [5; 3]);
        let style = TextStyle { size: 12.0, weight: Weight::Regular, rgb: [255; 3] };
        canvas.text("wide words", 3, 3, 500, style);
        canvas.text("far", 99, 99, 500, style);
        let frame = canvas.finish();
        assert_eq!((frame.pixel(1, 1), frame.pixel(2, 2)), (Some([0; 3]), Some([7; 3])));
        assert_eq!(frame.pixel(3, 1), Some([5; 3]));
    }
}
