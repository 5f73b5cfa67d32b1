//! The one picture type that all floors share.

/// An RGB picture, 8 bits a channel, rows from top to bottom, no padding: `data.len() == width * height * 3`.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// `height * width * 3` bytes, R G B.
    pub data: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

impl Frame {
    /// A picture from its bytes; `None` when the length does not match the size.
    pub fn new(width: usize, height: usize, data: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(3)?;
        (data.len() == bytes && bytes > 0).then_some(Self { width, height, data })
    }

    /// A picture of one colour.
    pub fn filled(width: usize, height: usize, rgb: [u8; 3]) -> Self {
        let data = std::iter::repeat_n(rgb, width * height).flatten().collect();
        Self { width, height, data }
    }

    /// The colour at column `x`, row `y`; `None` outside the picture.
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let i = (y * self.width + x) * 3;
        Some([*self.data.get(i)?, *self.data.get(i + 1)?, *self.data.get(i + 2)?])
    }

    /// The picture as R G B A with A = 255, each pixel as a square of `scale` by `scale`.
    pub fn rgba(&self, scale: usize) -> Vec<u8> {
        let line = self.width * scale * 4;
        let mut out = vec![255; line * self.height * scale];
        let rows = self.data.chunks_exact((self.width * 3).max(1));
        for (row, block) in rows.zip(out.chunks_exact_mut((line * scale).max(1))) {
            let (first, others) = block.split_at_mut(line);
            if scale == 1 {
                for (from, to) in row.chunks_exact(3).zip(first.chunks_exact_mut(4)) {
                    if let ([r, g, b], [x, y, z, _]) = (from, to) {
                        (*x, *y, *z) = (*r, *g, *b);
                    }
                }
            } else {
                for (from, to) in row.chunks_exact(3).zip(first.chunks_exact_mut(4 * scale)) {
                    for pixel in to.chunks_exact_mut(4) {
                        pixel.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                    }
                }
            }
            others.chunks_exact_mut(line.max(1)).for_each(|line| line.copy_from_slice(first));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_becomes_a_square() {
        let frame = Frame { width: 2, height: 2, data: vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] };
        let small = [1, 2, 3, 255, 4, 5, 6, 255, 7, 8, 9, 255, 10, 11, 12, 255];
        assert_eq!(frame.rgba(1), small);
        let row = [1, 2, 3, 255, 1, 2, 3, 255, 4, 5, 6, 255, 4, 5, 6, 255];
        let below = row.map(|v| if v == 255 { v } else { v + 6 });
        assert_eq!(frame.rgba(2), [row, row, below, below].concat());
        assert!(Frame { width: 0, height: 0, data: Vec::new() }.rgba(3).is_empty());
    }
}
