//! A picture of any size to the size that a model takes.

use forerun_models::{Fit, Frame, FrameSpec};
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

/// Fits a picture as a model's contract says: in its size, in the way that its own pictures were fitted.
///
/// # Errors
/// When the picture is broken.
pub fn fit_for(frame: &Frame, spec: &FrameSpec) -> Result<Fitted, Failure> {
    fit_as(frame, spec.width, spec.height, spec.fit)
}

/// Fits a picture in the chosen way.
///
/// # Errors
/// When the picture is broken.
pub fn fit_as(frame: &Frame, width: usize, height: usize, how: Fit) -> Result<Fitted, Failure> {
    match how {
        Fit::Crop => fit(frame, width, height),
        Fit::Bars => letterbox(frame, width, height),
    }
}

/// Scales the whole picture into the middle of the wanted size, with black bars where it has another shape.
fn letterbox(frame: &Frame, width: usize, height: usize) -> Result<Fitted, Failure> {
    let (from_w, from_h) = (dim(frame.width)?, dim(frame.height)?);
    let (to_w, to_h) = (dim(width)?, dim(height)?);
    // The largest size of the picture's own shape within the wanted one.
    let (w, h) = crop_size(to_w, to_h, from_w, from_h);
    let inner = fit(frame, w as usize, h as usize)?;
    if (w, h) == (to_w, to_h) {
        return Ok(inner);
    }
    let (x, y) = (((to_w - w) / 2) as usize, ((to_h - h) / 2) as usize);
    let mut out = Frame::filled(width, height, [0; 3]);
    let rows = inner.frame.data.chunks_exact(inner.frame.width * 3);
    for (to, from) in out.data.chunks_exact_mut(width * 3).skip(y).zip(rows) {
        if let Some(part) = to.get_mut(x * 3..(x + inner.frame.width) * 3) {
            part.copy_from_slice(from);
        }
    }
    let empty = 1.0 - f64::from(w) * f64::from(h) / (f64::from(to_w) * f64::from(to_h));
    let note = format!(
        "set between bars ({:.0} % of the picture is black), scaled from {from_w} x {from_h} to {to_w} x {to_h}",
        empty * 100.0
    );
    Ok(Fitted { frame: out, note })
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
    fn bars_keep_all_of_a_picture_and_its_shape() {
        // A wide white picture with a black dot in its middle column.
        let mut wide = Frame::filled(40, 20, [255; 3]);
        for y in 0..20 {
            wide.data[(y * 40 + 20) * 3..(y * 40 + 20) * 3 + 3].copy_from_slice(&[0; 3]);
        }
        let fitted = fit_as(&wide, 20, 20, Fit::Bars).unwrap();
        let at = |x: usize, y: usize| fitted.frame.data[(y * 20 + x) * 3];
        assert!((0..20).all(|x| at(x, 4) == 0 && at(x, 15) == 0), "black above and below");
        assert!((0..20).filter(|x| at(*x, 10) > 200).count() >= 17, "the whole width is there");
        assert!(fitted.note.contains("50 % of the picture is black"), "{}", fitted.note);
        // A high picture gets them at its sides, and the model's own shape none.
        let high = fit_as(&Frame::filled(20, 40, [255; 3]), 20, 20, Fit::Bars).unwrap();
        assert_eq!((high.frame.data[0], high.frame.data[10 * 3], high.frame.data[19 * 3]), (0, 255, 0));
        let square = Frame::filled(8, 8, [7; 3]);
        assert_eq!(fit_as(&square, 8, 8, Fit::Bars).unwrap(), fit(&square, 8, 8).unwrap());
        let scaled = fit_as(&square, 4, 4, Fit::Bars).unwrap();
        assert!(scaled.frame.data.iter().all(|v| *v == 7) && !scaled.note.contains("bars"));
        assert!(fit_as(&Frame { width: 9, height: 4, data: vec![0; 5] }, 4, 4, Fit::Bars).is_err());
    }

    #[test]
    fn a_contract_says_how_and_old_ones_crop() {
        let spec: FrameSpec =
            serde_json::from_str(r#"{ "width": 4, "height": 4, "rate_hz": 10.0, "history": 1 }"#).unwrap();
        assert_eq!(spec.fit, Fit::Crop);
        assert!(!serde_json::to_string(&spec).unwrap().contains("fit"), "old files stay as they are");
        let bars = FrameSpec { fit: Fit::Bars, ..spec.clone() };
        let wide = Frame::filled(8, 4, [9; 3]);
        assert_eq!(fit_for(&wide, &bars).unwrap().frame.data[0], 0);
        assert_eq!(fit_for(&wide, &spec).unwrap().frame.data[0], 9);
        let back: FrameSpec = serde_json::from_value(serde_json::to_value(&bars).unwrap()).unwrap();
        assert_eq!(back, bars);
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
