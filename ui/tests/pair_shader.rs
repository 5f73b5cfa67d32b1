//! The shaders of the pair views, pixel by pixel against the library's formulas.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::device;
use eframe::egui::{Rect, pos2};
use eframe::egui_wgpu::RenderState;
use forerun::Frame;
use forerun::compare::diff::{self, PairView, WipeAxis};
use forerun_ui::widgets::pair_view::{PairCallback, picture, read_back};

/// A picture in which every value of every channel occurs, and no two rows are alike.
fn noise(salt: u32) -> Arc<Frame> {
    let (width, height) = (67, 33); // odd sizes: rows are padded when they are read back
    let mut data = Vec::new();
    for i in 0..(width * height) as u32 {
        let mixed = (i + 1).wrapping_mul(2_654_435_761).wrapping_add(salt.wrapping_mul(40_503));
        data.extend([
            (mixed >> 24) as u8,
            (mixed >> 13) as u8,
            (i as u8).wrapping_mul(3).wrapping_add(salt as u8),
        ]);
    }
    Arc::new(Frame::new(width, height, data).unwrap())
}

fn shader(device: &RenderState, view: PairView, seconds: f64, a: &Arc<Frame>, b: &Arc<Frame>) -> Frame {
    let call = PairCallback {
        slot: 0,
        pictures: [a, b].map(|f| picture(&device.device, &device.queue, f)),
        view,
        seconds,
        part: Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0)),
        scale: 1.0,
    };
    read_back(&device.device, &device.queue, &call).unwrap()
}

#[test]
fn every_view_is_the_same_on_the_graphics_card_and_on_the_processor() {
    let Some(device) = device() else { return };
    let (a, b) = (noise(1), noise(2));
    let axis = WipeAxis::Upright;
    let mut views = vec![
        PairView::Wipe { at: 0.0, axis },
        PairView::Wipe { at: 0.37, axis },
        PairView::Wipe { at: 1.0, axis },
        PairView::Wipe { at: 0.62, axis: WipeAxis::Level },
        PairView::Heat,
        PairView::Flicker { hz: 1.0 },
    ];
    views.extend([0.0, 0.25, 0.5, 0.73, 1.0].map(|mix| PairView::Onion { mix }));
    views.extend(diff::GAINS.map(|gain| PairView::Signed { gain }));
    for view in views {
        for seconds in [0.2, 0.7] {
            let drawn = shader(&device, view, seconds, &a, &b);
            let expected = diff::draw(view, &a, &b, seconds).unwrap();
            let worst = drawn.data.iter().zip(&expected.data).map(|(x, y)| x.abs_diff(*y)).max().unwrap();
            let off = drawn.data.iter().zip(&expected.data).filter(|(x, y)| x != y).count();
            assert!(worst <= 1, "{view:?}: {worst} of 255 off");
            assert!(off * 200 <= drawn.data.len(), "{view:?}: {off} of {} values differ", drawn.data.len());
        }
    }
}

#[test]
fn equal_pictures_have_no_heat_and_are_grey() {
    let Some(device) = device() else { return };
    let a = noise(5);
    assert!(shader(&device, PairView::Heat, 0.0, &a, &a).data.iter().all(|v| *v == 0));
    let grey = shader(&device, PairView::Signed { gain: 8.0 }, 0.0, &a, &a);
    assert!(grey.data.iter().all(|v| *v == 128));
}

#[test]
fn zooming_shows_the_part_and_keeps_pixels_square() {
    let Some(device) = device() else { return };
    let (a, b) = (noise(1), noise(2));
    // The part is a third of the width, so each pixel of the middle third is three pixels wide.
    let call = PairCallback {
        slot: 0,
        pictures: [&a, &b].map(|f| picture(&device.device, &device.queue, f)),
        view: PairView::Wipe { at: 1.0, axis: WipeAxis::Upright },
        seconds: 0.0,
        part: Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0 / 67.0, 1.0 / 33.0)),
        scale: 67.0,
    };
    let drawn = read_back(&device.device, &device.queue, &call).unwrap();
    let first = a.pixel(0, 0).unwrap();
    let middle = drawn.pixel(33, 16).unwrap();
    assert_eq!(middle, first, "one pixel fills the view");
}
