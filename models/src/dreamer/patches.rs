//! Pictures to patches and back.
//!
//! A patch vector holds `patch * patch` pixels row by row, R G B each, as numbers from -1 (black) to 1 (white).

use crate::Frame;

/// Brightness 0..=255 to -1..=1.
pub fn to_unit(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// -1..=1 to brightness 0..=255, clamped; anything that is not a number becomes black.
pub fn to_byte(value: f32) -> u8 {
    // `as` saturates and sends NaN to 0, which is the wanted clamp.
    ((value + 1.0) * 127.5).round() as u8
}

/// Writes the patches of `frame` (row by row over the grid) into `out`.
///
/// `out` has `width * height * 3` numbers. Width and height must be multiples of `patch`, or the rest of the
/// picture is left out.
pub fn patchify_into(frame: &Frame, patch: usize, out: &mut [f32]) {
    let (rows, cols) = (frame.height / patch, frame.width / patch);
    let run = patch * 3;
    for (index, target) in out.chunks_exact_mut(patch * run).take(rows * cols).enumerate() {
        let (row, col) = (index / cols, index % cols);
        for (y, line) in target.chunks_exact_mut(run).enumerate() {
            let from = ((row * patch + y) * frame.width + col * patch) * 3;
            if let Some(source) = frame.data.get(from..from + run) {
                for (value, byte) in line.iter_mut().zip(source) {
                    *value = to_unit(*byte);
                }
            }
        }
    }
}

/// The patches of a frame: `[rows * cols * patch * patch * 3]`.
pub fn patchify(frame: &Frame, patch: usize) -> Vec<f32> {
    let mut out = vec![0.0; frame.width * frame.height * 3];
    patchify_into(frame, patch, &mut out);
    out
}

/// The picture of `width` x `height` pixels that the patches show.
pub fn unpatchify(values: &[f32], width: usize, height: usize, patch: usize) -> Frame {
    let cols = width / patch;
    let run = patch * 3;
    let mut data = vec![0_u8; width * height * 3];
    for (index, source) in values.chunks_exact(patch * run).enumerate() {
        let (row, col) = (index / cols, index % cols);
        for (y, line) in source.chunks_exact(run).enumerate() {
            let to = ((row * patch + y) * width + col * patch) * 3;
            if let Some(target) = data.get_mut(to..to + run) {
                for (byte, value) in target.iter_mut().zip(line) {
                    *byte = to_byte(*value);
                }
            }
        }
    }
    Frame { width, height, data }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_picture_survives_the_way_there_and_back() {
        let (width, height) = (32, 16);
        let data = (0..width * height * 3).map(|i| (i * 7 % 256) as u8).collect();
        let frame = Frame::new(width, height, data).unwrap();
        assert_eq!(unpatchify(&patchify(&frame, 8), width, height, 8), frame);
    }

    #[test]
    fn the_second_patch_is_the_one_to_the_right() {
        let mut frame = Frame::filled(16, 8, [0, 0, 0]);
        frame.data[8 * 3] = 255; // column 8 of row 0 = first pixel of patch 1
        let patches = patchify(&frame, 8);
        assert_eq!(patches[8 * 8 * 3], 1.0);
        assert_eq!(patches.iter().filter(|v| **v > 0.0).count(), 1);
    }

    #[test]
    fn wild_values_are_clamped() {
        assert_eq!([to_byte(-9.0), to_byte(9.0), to_byte(f32::NAN), to_byte(0.0)], [0, 255, 0, 128]);
    }
}
