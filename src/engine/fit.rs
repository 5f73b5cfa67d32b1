//! A picture of any size to the size that a model takes.

use forerun_models::Frame;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb};

use crate::failure::Failure;

/// A fitted picture, and in words what was done to it (empty when nothing).
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Picture of exactly the wanted size.
    pub frame: Frame,
    /// `cropped from 1920 x 1080 (44 % cut off), scaled to 128 x 128`.
    pub note: String,
}

/// Cuts the largest centred part of the wanted shape out of the picture and scales it, averaging when it
/// shrinks. Cropping and not bars: a model has never seen bars, and everything in the picture keeps its shape.
/// A picture that has the size already is passed on bit for bit.
///
/// # Errors
/// When the picture is broken (its length does not match its size).
pub fn fit(frame: &Frame, width: usize, height: usize) -> Result<Fitted, Failure> {
    if (frame.width, frame.height) == (width, height) && frame.data.len() == width * height * 3 {
        return Ok(Fitted { frame: frame.clone(), note: String::new() });
    }
    let broken = || Failure::new("A picture is broken: its bytes do not match its size.", "Open it again.");
    let (from_w, from_h) = (dim(frame.width)?, dim(frame.height)?);
    let (to_w, to_h) = (dim(width)?, dim(height)?);
    if frame.data.len() != frame.width * frame.height * 3 {
        return Err(broken());
    }
    let (crop_w, crop_h) = crop_size(from_w, from_h, to_w, to_h);
    let (x, y) = (((from_w - crop_w) / 2) as usize, ((from_h - crop_h) / 2) as usize);
    let rows = frame.data.chunks_exact(frame.width * 3).skip(y).take(crop_h as usize);
    let part: Vec<u8> =
        rows.flat_map(|row| row.iter().skip(x * 3).take(crop_w as usize * 3)).copied().collect();
    let cropped: ImageBuffer<Rgb<u8>, Vec<u8>> =
        ImageBuffer::from_raw(crop_w, crop_h, part).ok_or_else(broken)?;
    let scaled = if (crop_w, crop_h) == (to_w, to_h) {
        cropped
    } else {
        // The triangle filter widens with the scale: an area average when shrinking, bilinear when growing.
        imageops::resize(&cropped, to_w, to_h, FilterType::Triangle)
    };
    let fitted = Frame::new(width, height, scaled.into_raw()).ok_or_else(broken)?;
    let lost = 1.0 - f64::from(crop_w) * f64::from(crop_h) / (f64::from(from_w) * f64::from(from_h));
    let crop =
        if lost > 0.005 { format!("cropped ({:.0} % cut off), ", lost * 100.0) } else { String::new() };
    let note = format!("{crop}scaled from {from_w} x {from_h} to {to_w} x {to_h}");
    Ok(Fitted { frame: fitted, note })
}

fn dim(n: usize) -> Result<u32, Failure> {
    u32::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| {
        Failure::new(format!("A picture cannot be {n} pixels wide or high."), "Open another picture.")
    })
}

/// Largest size of the shape `to` within `from`.
fn crop_size(from_w: u32, from_h: u32, to_w: u32, to_h: u32) -> (u32, u32) {
    let by_width = u64::from(from_w) * u64::from(to_h) / u64::from(to_w);
    if by_width <= u64::from(from_h) {
        (from_w, (by_width as u32).max(1))
    } else {
        let by_height = u64::from(from_h) * u64::from(to_w) / u64::from(to_h);
        ((by_height as u32).clamp(1, from_w), from_h)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_right_size_passes_bit_for_bit() {
        let frame = Frame::new(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let fitted = fit(&frame, 2, 1).unwrap();
        assert_eq!((fitted.frame, fitted.note.as_str()), (frame, ""));
    }

    #[test]
    fn a_wide_picture_loses_its_sides_and_says_so() {
        // Left third black, middle white, right third black: only the white square stays.
        let row: Vec<u8> = [[0u8; 30], [255; 30], [0; 30]].concat();
        let frame = Frame::new(30, 10, row.repeat(10)).unwrap();
        let fitted = fit(&frame, 5, 5).unwrap();
        assert!(fitted.frame.data.iter().all(|&v| v == 255));
        assert!(
            fitted.note.contains("67 % cut off") && fitted.note.contains("30 x 10 to 5 x 5"),
            "{}",
            fitted.note
        );
    }

    #[test]
    fn shrinking_averages() {
        let checker: Vec<u8> =
            (0..64).flat_map(|i| if (i % 8 + i / 8) % 2 == 0 { [0u8; 3] } else { [255; 3] }).collect();
        let fitted = fit(&Frame::new(8, 8, checker).unwrap(), 2, 2).unwrap();
        assert!(fitted.frame.data.iter().all(|&v| (120..=135).contains(&v)), "{:?}", fitted.frame.data);
    }

    #[test]
    fn extreme_shapes_do_not_vanish() {
        let line = Frame::filled(5000, 1, [7, 8, 9]);
        let fitted = fit(&line, 4, 4).unwrap();
        assert_eq!(fitted.frame, Frame::filled(4, 4, [7, 8, 9]));
        let broken = Frame { width: 9, height: 9, data: vec![0; 5] };
        assert!(fit(&broken, 4, 4).is_err());
    }
}
