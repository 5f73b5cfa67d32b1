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
}
