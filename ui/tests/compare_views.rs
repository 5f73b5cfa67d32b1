//! What the Compare screen draws of a pair and of a set, and its numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::{SIDE, Window, compare_seeds, level, picture};
use eframe::egui::{self, Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::Frame;
use forerun::compare::diff::{self, PairView, WipeAxis};
use forerun::compare::set::SetView;
use forerun_ui::compare::Look;
use forerun_ui::transport::Input;
use forerun_ui::widgets::pane::Slot;

const WIDE: [f32; 2] = [1400.0, 900.0];

fn frame(seed: u64, index: usize) -> Frame {
    Frame::new(SIDE, SIDE, picture(level(seed, index))).unwrap()
}

fn drawn(w: &mut Window) -> Arc<Frame> {
    w.app().textures.shown(&Slot::View).expect("a large view is drawn").clone()
}

#[test]
fn without_a_graphics_card_the_pair_is_drawn_by_the_formulas_of_the_library() {
    let mut w = compare_seeds(WIDE, 3, 6);
    w.app().transport.apply(Input::Seek(5), 0.0);
    w.steps(2);
    w.app().compare.doc.edit("test", |doc| {
        let ids: Vec<u64> = doc.panes.iter().map(|p| p.id).collect();
        doc.apply(forerun_ui::compare::Edit::Mark { first: true, pane: ids[2] });
        doc.apply(forerun_ui::compare::Edit::Mark { first: false, pane: ids[0] });
    });
    let (a, b) = (frame(3, 5), frame(1, 5));
    w.app().view.compare.split = 0.25;
    w.app().view.compare.onion = 0.75;
    w.app().view.compare.gain = 4.0;
    for (look, view) in [
        (Look::Wipe, PairView::Wipe { at: 0.25, axis: WipeAxis::Upright }),
        (Look::Onion, PairView::Onion { mix: 0.75 }),
        (Look::Signed, PairView::Signed { gain: 4.0 }),
        (Look::Heat, PairView::Heat),
    ] {
        w.app().view.compare.look = look;
        w.steps(2);
        assert_eq!(*drawn(&mut w), diff::draw(view, &a, &b, 0.0).unwrap(), "{look:?}");
    }
    w.app().view.compare.look = Look::Flicker;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        w.steps(1);
        seen.insert(drawn(&mut w).data[0]);
    }
    assert_eq!(seen, [a.data[0], b.data[0]].into(), "both, and nothing else");
}

#[test]
fn the_line_of_the_wipe_follows_the_pointer() {
    let mut w = compare_seeds(WIDE, 2, 4);
    w.press(Modifiers::NONE, Key::Num2);
    let rect = w.harness.get_by_role_and_label(Role::Image, "Wipe").rect();
    let at = rect.lerp_inside(egui::vec2(0.25, 0.5));
    w.harness.drag_at(at);
    w.steps(1);
    w.harness.drop_at(at);
    w.steps(3);
    assert!((w.app().view.compare.split - 0.25).abs() < 0.02, "{}", w.app().view.compare.split);
    let picture = drawn(&mut w);
    let of_a = picture.data.iter().filter(|v| **v == level(1, 0)).count();
    assert_eq!(of_a, SIDE * SIDE * 3 / 4, "a quarter of the picture is A");
    w.press(Modifiers::NONE, Key::S);
    let of_b = drawn(&mut w).data.iter().filter(|v| **v == level(2, 0)).count();
    assert_eq!(of_b, SIDE * SIDE * 3 / 4, "swapped");
}

#[test]
fn views_of_the_set_are_those_of_the_library_and_leave_muted_panes_out() {
    let mut w = compare_seeds(WIDE, 4, 4);
    w.app().transport.apply(Input::Seek(3), 0.0);
    let last = w.app().compare.doc.get().panes[3].id;
    w.app().compare.doc.edit("test", |doc| doc.apply(forerun_ui::compare::Edit::Mute(last)));
    let frames = [frame(1, 3), frame(2, 3), frame(3, 3)];
    let expected = SetView::new(&frames.iter().collect::<Vec<_>>()).unwrap();
    for (look, picture) in [(Look::Mean, expected.mean.clone()), (Look::Spread, expected.map())] {
        w.app().view.compare.look = look;
        w.until("the view is drawn", |w| {
            w.app().textures.shown(&Slot::View).is_some_and(|shown| **shown == picture)
        });
    }
    w.harness.get_by_label("Spread over the futures");
    w.app().view.compare.look = Look::Median;
    w.until("the median is drawn", |w| {
        w.app().textures.shown(&Slot::View).is_some_and(|shown| **shown == frames[1])
    });
    w.harness.get_by_label("Seed 2: nearest to all 3 futures");
}

#[test]
fn the_most_different_pair_is_found() {
    let mut w = compare_seeds(WIDE, 4, 4);
    w.press(Modifiers::NONE, Key::D);
    w.until("a pair is marked", |w| w.app().compare.doc.get().a.is_some());
    let doc = w.app().compare.doc.get().clone();
    let (a, b) = doc.pair().unwrap();
    assert_eq!((doc.place(a.id), doc.place(b.id)), (Some(0), Some(3)));
}

#[test]
fn numbers_under_the_panes_are_measured_and_a_click_goes_to_the_frame() {
    let mut w = compare_seeds(WIDE, 3, 10);
    w.until("the spread is known", |w| !w.app().compare.measured.set.is_empty());
    w.steps(2);
    // Levels 16 apart: the standard deviation of three is 16.
    w.harness.get_by_label("Whole set: 16.0 /255");
    let plot = w.harness.get_by_label("Pixel spread over time").rect();
    let at = egui::pos2(plot.left() + 72.0 + (plot.width() - 78.0) * 0.7, plot.center().y);
    w.harness.drag_at(at);
    w.steps(1);
    w.harness.drop_at(at);
    w.steps(3);
    assert_eq!(w.app().transport.frame(), 7);
    w.press(Modifiers::NONE, Key::N);
    assert!(w.harness.query_by_label("Pixel spread over time").is_none());
}

#[test]
fn numbers_against_a_recording_need_a_recording() {
    let mut w = compare_seeds(WIDE, 2, 4);
    w.until("measured", |w| !w.app().compare.measured.set.is_empty());
    assert!(w.app().compare.measured.panes.is_empty(), "nothing was recorded, nothing is claimed");
}
