//! Views of a pair of pictures. The formulas are the reference for the window's shaders: whole numbers in, whole
//! numbers out, one rounding, the same for every pixel and every channel.
//!
//! | view | formula for a channel, `a` and `b` in 0..=255 |
//! |---|---|
//! | wipe | `a` where the pixel's centre lies before the line, else `b` |
//! | onion skin | `(a * (255 - w) + b * w + 127) / 255`, `w = round(mix * 255)` |
//! | signed difference | `clamp(floor(128 + gain * (b - a) + 0.5), 0, 255)`; grey 128 = equal |
//! | heat map | [`heat`] of the largest of the three `abs(b - a)` |
//! | flicker | `a` in the first half of each period, `b` in the second |
//!
//! The heat map's scale is fixed: one colour always means one difference, whatever the pictures ([`HEAT_STOPS`]).

use forerun_models::Frame;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Differences (of 255) and their colours. Between two of them each channel runs along a straight line, in whole
/// numbers: `(from * (hi - d) + to * (d - lo) + (hi - lo) / 2) / (hi - lo)`. Brightness only ever rises, so that the
/// map can be read without colours, too.
pub const HEAT_STOPS: [(u8, [u8; 3]); 6] = [
    (0, [0, 0, 0]),
    (8, [44, 16, 102]),
    (24, [146, 30, 116]),
    (64, [232, 92, 52]),
    (128, [252, 196, 64]),
    (255, [255, 255, 255]),
];

/// Amplifications of the signed difference that can be chosen.
pub const GAINS: [f32; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];

/// Where the line of a wipe runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WipeAxis {
    /// The line is upright: `a` on its left.
    #[default]
    Upright,
    /// The line is level: `a` above it.
    Level,
}

/// A view of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "view", rename_all = "snake_case")]
pub enum PairView {
    /// One beside the other along a line.
    Wipe {
        /// Where the line is, 0..=1 of the width or height.
        at: f32,
        /// Which way it runs.
        #[serde(default)]
        axis: WipeAxis,
    },
    /// Both at once.
    Onion {
        /// Share of `b`, 0..=1.
        mix: f32,
    },
    /// `b - a` around grey.
    Signed {
        /// Amplification, over 0.
        gain: f32,
    },
    /// Absolute difference on the fixed scale.
    Heat,
    /// In turn.
    Flicker {
        /// Full periods (both pictures) a second.
        hz: f32,
    },
}

/// Colour of a difference `d` of 0..=255 on the fixed scale.
pub fn heat(d: u8) -> [u8; 3] {
    for pair in HEAT_STOPS.windows(2) {
        let [(lo, from), (hi, to)] = pair else { continue };
        if d <= *hi {
            let (span, up) = (u32::from(hi - lo), u32::from(d.saturating_sub(*lo)));
            let channel = |i: usize| {
                let (from, to) = (u32::from(from[i]), u32::from(to[i]));
                ((from * (span - up) + to * up + span / 2) / span) as u8
            };
            return [channel(0), channel(1), channel(2)];
        }
    }
    [255; 3]
}

/// The whole scale, to be looked up by difference: what the shader and the legend are made from.
pub fn heat_table() -> [[u8; 3]; 256] {
    let mut table = [[0; 3]; 256];
    for (d, colour) in (0..=255u8).zip(&mut table) {
        *colour = heat(d);
    }
    table
}

/// Values and colours to write beside the heat map's legend.
pub fn heat_legend() -> Vec<(u8, [u8; 3])> {
    HEAT_STOPS.to_vec()
}

/// Largest absolute difference of the three channels of each pixel.
///
/// # Errors
/// The pictures differ in size.
pub fn largest_difference(a: &Frame, b: &Frame) -> Result<Vec<u8>, Failure> {
    check(a, b)?;
    let pixels = a.data.chunks_exact(3).zip(b.data.chunks_exact(3));
    Ok(pixels.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)).collect())
}

/// Heat map of the absolute difference on the fixed scale.
///
/// # Errors
/// The pictures differ in size.
pub fn heat_map(a: &Frame, b: &Frame) -> Result<Frame, Failure> {
    let table = heat_table();
    let data = largest_difference(a, b)?
        .into_iter()
        .flat_map(|d| table.get(usize::from(d)).copied().unwrap_or([255; 3]))
        .collect();
    Ok(Frame { width: a.width, height: a.height, data })
}

/// `b - a` around grey 128, amplified.
///
/// # Errors
/// The pictures differ in size; the gain is not a positive number.
pub fn signed_difference(a: &Frame, b: &Frame, gain: f32) -> Result<Frame, Failure> {
    if !(gain.is_finite() && gain > 0.0) {
        return Err(Failure::new(
            format!("A difference cannot be amplified by {gain}."),
            "Choose a number over 0, such as 1 or 4.",
        ));
    }
    each(a, b, |a, b| {
        let by = gain * (f32::from(b) - f32::from(a));
        (128.0 + by + 0.5).floor().clamp(0.0, 255.0) as u8
    })
}

/// `mix` of `b` over `a`.
///
/// # Errors
/// The pictures differ in size.
pub fn onion(a: &Frame, b: &Frame, mix: f32) -> Result<Frame, Failure> {
    let w = (share(mix) * 255.0).round() as u32;
    each(a, b, |a, b| ((u32::from(a) * (255 - w) + u32::from(b) * w + 127) / 255) as u8)
}

/// `a` before the line and `b` after it; a pixel belongs to the side on which its centre lies.
///
/// # Errors
/// The pictures differ in size.
pub fn wipe(a: &Frame, b: &Frame, at: f32, axis: WipeAxis) -> Result<Frame, Failure> {
    check(a, b)?;
    let at = share(at);
    let width = a.width.max(1);
    let line = match axis {
        WipeAxis::Upright => at * a.width as f32,
        WipeAxis::Level => at * a.height as f32,
    };
    let pixels = a.data.chunks_exact(3).zip(b.data.chunks_exact(3)).enumerate();
    let data = pixels
        .flat_map(|(i, (a, b))| {
            let place = match axis {
                WipeAxis::Upright => i % width,
                WipeAxis::Level => i / width,
            };
            if (place as f32 + 0.5) < line { a } else { b }
        })
        .copied()
        .collect();
    Ok(Frame { width: a.width, height: a.height, data })
}

/// Whether a flicker of `hz` periods a second shows the second picture `seconds` after it began.
pub fn flicker_shows_second(seconds: f64, hz: f32) -> bool {
    let phase = seconds * f64::from(hz.clamp(0.1, 30.0));
    phase.is_finite() && phase.rem_euclid(1.0) >= 0.5
}

/// The picture of a view; `seconds` matter to the flicker alone.
///
/// # Errors
/// The pictures differ in size; a gain that is not a positive number.
pub fn draw(view: PairView, a: &Frame, b: &Frame, seconds: f64) -> Result<Frame, Failure> {
    match view {
        PairView::Wipe { at, axis } => wipe(a, b, at, axis),
        PairView::Onion { mix } => onion(a, b, mix),
        PairView::Signed { gain } => signed_difference(a, b, gain),
        PairView::Heat => heat_map(a, b),
        PairView::Flicker { hz } => {
            check(a, b)?;
            Ok(if flicker_shows_second(seconds, hz) { b.clone() } else { a.clone() })
        }
    }
}

/// A share of 0..=1 from any number.
fn share(value: f32) -> f32 {
    if value.is_nan() { 0.5 } else { value.clamp(0.0, 1.0) }
}

pub(super) fn check(a: &Frame, b: &Frame) -> Result<(), Failure> {
    if (a.width, a.height) == (b.width, b.height) && a.data.len() == b.data.len() {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "Pictures of {} x {} and {} x {} pixels cannot be compared pixel by pixel.",
            a.width, a.height, b.width, b.height
        ),
        "Choose two futures of one size.",
    ))
}

fn each(a: &Frame, b: &Frame, f: impl Fn(u8, u8) -> u8) -> Result<Frame, Failure> {
    check(a, b)?;
    let data = a.data.iter().zip(&b.data).map(|(a, b)| f(*a, *b)).collect();
    Ok(Frame { width: a.width, height: a.height, data })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn row(values: &[[u8; 3]]) -> Frame {
        Frame::new(values.len(), 1, values.concat()).unwrap()
    }

    #[test]
    fn the_scale_is_fixed_and_only_gets_brighter() {
        let table = heat_table();
        for (d, colour) in HEAT_STOPS {
            assert_eq!(table[usize::from(d)], colour, "at {d}");
        }
        // Half way from 8 to 24: (44 + 146) / 2, (16 + 30) / 2, (102 + 116) / 2.
        assert_eq!(heat(16), [95, 23, 109]);
        let luma = |c: [u8; 3]| 299 * u32::from(c[0]) + 587 * u32::from(c[1]) + 114 * u32::from(c[2]);
        assert!(table.windows(2).all(|w| luma(w[0]) < luma(w[1])));
        // The same difference has the same colour in pictures of any other contents.
        let small = heat_map(&row(&[[10; 3]]), &row(&[[20; 3]])).unwrap();
        let beside = heat_map(&row(&[[10; 3], [0; 3]]), &row(&[[20; 3], [255; 3]])).unwrap();
        assert_eq!(small.data[..3], beside.data[..3]);
    }

    #[test]
    fn the_largest_channel_decides_the_heat() {
        let (a, b) = (row(&[[100, 50, 7]]), row(&[[90, 50, 71]]));
        assert_eq!(largest_difference(&a, &b).unwrap(), [64]);
        assert_eq!(heat_map(&a, &b).unwrap().data, [232, 92, 52]);
    }

    #[test]
    fn the_signed_difference_has_a_sign_a_gain_and_an_end() {
        let (a, b) = (row(&[[100, 100, 0]]), row(&[[100, 103, 255]]));
        assert_eq!(signed_difference(&a, &b, 4.0).unwrap().data, [128, 140, 255]);
        assert_eq!(signed_difference(&b, &a, 4.0).unwrap().data, [128, 116, 0]);
        // 128 + 0.5 * 3 = 129.5, rounded up.
        assert_eq!(signed_difference(&a, &b, 0.5).unwrap().data[1], 130);
        assert!(signed_difference(&a, &b, 0.0).is_err() && signed_difference(&a, &b, f32::NAN).is_err());
    }

    #[test]
    fn the_onion_skin_runs_from_one_picture_to_the_other() {
        let (a, b) = (row(&[[0, 10, 255]]), row(&[[255, 20, 0]]));
        assert_eq!(onion(&a, &b, 0.0).unwrap(), a);
        assert_eq!(onion(&a, &b, 1.0).unwrap(), b);
        // w = 128: (0 * 127 + 255 * 128 + 127) / 255 = 128; (10 * 127 + 20 * 128 + 127) / 255 = 15.
        assert_eq!(onion(&a, &b, 0.5).unwrap().data, [128, 15, 127]);
        assert_eq!(onion(&a, &b, f32::NAN).unwrap(), onion(&a, &b, 0.5).unwrap());
    }

    #[test]
    fn the_wipe_cuts_at_pixel_centres_either_way() {
        let (a, b) = (Frame::filled(4, 2, [1; 3]), Frame::filled(4, 2, [2; 3]));
        let ones = |at, axis| wipe(&a, &b, at, axis).unwrap().data.iter().filter(|v| **v == 1).count() / 3;
        assert_eq!(ones(0.0, WipeAxis::Upright), 0);
        assert_eq!(ones(0.12, WipeAxis::Upright), 0); // the line at 0.48, the first centre at 0.5
        assert_eq!(ones(0.13, WipeAxis::Upright), 2);
        assert_eq!(ones(0.5, WipeAxis::Upright), 4);
        assert_eq!(ones(0.5, WipeAxis::Level), 4);
        assert_eq!(ones(9.0, WipeAxis::Level), 8);
        let half = wipe(&a, &b, 0.5, WipeAxis::Upright).unwrap();
        assert_eq!((half.pixel(1, 1), half.pixel(2, 0)), (Some([1; 3]), Some([2; 3])));
    }

    #[test]
    fn flicker_takes_turns() {
        let shows: Vec<bool> = (0..8).map(|i| flicker_shows_second(f64::from(i) * 0.125, 2.0)).collect();
        assert_eq!(shows, [false, false, true, true, false, false, true, true]);
        assert!(!flicker_shows_second(f64::INFINITY, 2.0));
        let (a, b) = (row(&[[1; 3]]), row(&[[2; 3]]));
        assert_eq!(draw(PairView::Flicker { hz: 1.0 }, &a, &b, 0.75).unwrap(), b);
    }

    #[test]
    fn pictures_of_two_sizes_are_refused_with_both_sizes() {
        let (a, b) = (Frame::filled(4, 2, [0; 3]), Frame::filled(2, 4, [0; 3]));
        for view in [
            PairView::Wipe { at: 0.5, axis: WipeAxis::Upright },
            PairView::Onion { mix: 0.5 },
            PairView::Signed { gain: 1.0 },
            PairView::Heat,
            PairView::Flicker { hz: 1.0 },
        ] {
            let text = draw(view, &a, &b, 0.0).unwrap_err().text();
            assert!(text.contains("4 x 2") && text.contains("2 x 4"), "{text}");
        }
    }
}
