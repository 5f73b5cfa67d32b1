//! Every view of the Compare screen as it is drawn: found by its name, reached by mouse and by keyboard, and its pixels
//! read back from the window and held against the library's formulas.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{SIDE, Window, device};
use eframe::egui::{Key, Modifiers, Rect, accesskit::Role, pos2};
use egui_kittest::kittest::Queryable;
use forerun::Frame;
use forerun::compare::diff::{self, PairView, WipeAxis};
use forerun::compare::set::SetView;
use forerun_ui::commands::Command;
use forerun_ui::compare::Look;
use forerun_ui::transport::Input;
use forerun_ui::widgets::pane::Slot;

/// A picture without two equal pixels beside each other; every future and every frame has its own.
fn pixels(seed: u64, index: usize) -> Vec<u8> {
    let salt = seed as u32 * 97 + index as u32 * 31;
    let of = |i: u32, shift: u32| ((i + salt).wrapping_mul(2_654_435_761) >> shift) as u8;
    (0..(SIDE * SIDE) as u32).flat_map(|i| [of(i, 24), of(i, 15), of(i, 7)]).collect()
}

fn frame(seed: u64, index: usize) -> Frame {
    Frame::new(SIDE, SIDE, pixels(seed, index)).unwrap()
}

/// A window on the Compare screen with `n` futures, drawn by the graphics device, at frame `at`.
fn window(n: usize, at: usize) -> Option<Window> {
    let mut w = Window::on_device([1400.0, 900.0], device()?);
    w.run_pictures(n, 6, pixels);
    w.app().outbox.command(Command::CompareRun);
    w.steps(3);
    w.app().transport.apply(Input::Seek(at), 0.0);
    // What stands over the pictures (a toast) is not what is read back.
    w.app().view.compare.numbers = false;
    w.steps(2);
    Some(w)
}

/// What the window shows in the middle of each pixel of a picture that fills `rect`, where `part` of it (0..=1) is shown.
fn read(w: &mut Window, rect: Rect, part: Rect) -> Vec<((usize, usize), [u8; 3])> {
    let image = w.harness.render().unwrap();
    let mut out = Vec::new();
    for y in 0..SIDE {
        for x in 0..SIDE {
            let at = pos2((x as f32 + 0.5) / SIDE as f32, (y as f32 + 0.5) / SIDE as f32);
            if !part.contains(at) {
                continue;
            }
            let on = rect.min + (at - part.min) / part.size() * rect.size();
            let p = image.get_pixel(on.x as u32, on.y as u32).0;
            out.push(((x, y), [p[0], p[1], p[2]]));
        }
    }
    out
}

const WHOLE: Rect = Rect { min: pos2(0.0, 0.0), max: pos2(1.0, 1.0) };

fn same(found: &[((usize, usize), [u8; 3])], expected: &Frame, what: &str) {
    assert!(found.len() >= 9, "{what}: too little is shown");
    for ((x, y), colour) in found {
        let wanted = expected.pixel(*x, *y).unwrap();
        let off = colour.iter().zip(wanted).map(|(a, b)| a.abs_diff(b)).max().unwrap();
        assert!(off <= 1, "{what}: pixel {x},{y} is {colour:?}, not {wanted:?}");
    }
}

/// Waits until both pictures of the pair are on the graphics card.
fn pair_is_there(w: &mut Window, a: &Frame, b: &Frame) {
    let (a, b) = (a.clone(), b.clone());
    w.until("the pair is there", |w| {
        let mut shown = |second| w.app().textures.shown(&Slot::Pair(second)).map(|f| (**f).clone());
        shown(false).as_ref() == Some(&a) && shown(true).as_ref() == Some(&b)
    });
    w.steps(1);
}

#[test]
fn every_view_of_a_pair_is_drawn_as_the_library_says_by_mouse_and_by_keyboard() {
    let Some(mut w) = window(3, 4) else { return };
    let (a, b) = (frame(1, 4), frame(2, 4));
    w.app().view.compare.split = 0.5;
    w.app().view.compare.onion = 0.75;
    w.app().view.compare.gain = 4.0;
    let views = [
        ("Wipe", Key::Num2, PairView::Wipe { at: 0.5, axis: WipeAxis::Upright }),
        ("Onion skin", Key::Num3, PairView::Onion { mix: 0.75 }),
        ("Difference", Key::Num4, PairView::Signed { gain: 4.0 }),
        ("Heat map", Key::Num5, PairView::Heat),
    ];
    for (name, key, view) in views {
        for by_mouse in [true, false] {
            w.press(Modifiers::NONE, Key::Num1);
            assert_eq!(w.app().view.compare.look, Look::Side);
            if by_mouse {
                w.harness.get_by_role_and_label(Role::RadioButton, name).click();
                w.steps(3);
            } else {
                w.press(Modifiers::NONE, key);
            }
            pair_is_there(&mut w, &a, &b);
            let rect = w.harness.get_by_role_and_label(Role::Image, name).rect();
            let found = read(&mut w, rect, WHOLE);
            assert_eq!(found.len(), SIDE * SIDE);
            same(&found, &diff::draw(view, &a, &b, 0.0).unwrap(), name);
        }
    }
    // The flicker shows the one and the other, and nothing else.
    w.harness.get_by_role_and_label(Role::RadioButton, "Flicker").click();
    w.steps(3);
    pair_is_there(&mut w, &a, &b);
    let rect = w.harness.get_by_role_and_label(Role::Image, "Flicker").rect();
    let mut seen = [false; 2];
    for _ in 0..120 {
        w.steps(2);
        let found = read(&mut w, rect, WHOLE);
        let is = |f: &Frame| found.iter().all(|((x, y), c)| f.pixel(*x, *y) == Some(*c));
        let (first, second) = (is(&a), is(&b));
        assert!(first != second, "half of the one and half of the other");
        seen[usize::from(second)] = true;
        if seen == [true; 2] {
            break;
        }
    }
    assert_eq!(seen, [true; 2], "it never changed");
}

#[test]
fn a_zoomed_pair_shows_the_same_part_and_the_next_frame_comes_for_both_at_once() {
    let Some(mut w) = window(2, 2) else { return };
    w.press(Modifiers::NONE, Key::Num5);
    w.app().compare.zoom.scale(4.0, eframe::egui::vec2(0.25, 0.5));
    for at in [2, 3] {
        w.app().transport.apply(Input::Seek(at), 0.0);
        let (a, b) = (frame(1, at), frame(2, at));
        pair_is_there(&mut w, &a, &b);
        let rect = w.harness.get_by_role_and_label(Role::Image, "Heat map").rect();
        let part = w.app().compare.zoom.part();
        assert!((part.width() - 0.25).abs() < 1e-6);
        let found = read(&mut w, rect, part);
        same(&found, &diff::heat_map(&a, &b).unwrap(), "zoomed heat map");
    }
}

#[test]
fn views_of_the_set_and_all_panes_are_drawn_as_the_library_says() {
    let Some(mut w) = window(4, 5) else { return };
    let frames: Vec<Frame> = (1..=4).map(|seed| frame(seed, 5)).collect();
    let set = SetView::new(&frames.iter().collect::<Vec<_>>()).unwrap();
    for (name, key, expected) in [("Mean", Key::Num7, set.mean.clone()), ("Spread", Key::Num8, set.map())] {
        for by_mouse in [true, false] {
            w.press(Modifiers::NONE, Key::Num1);
            if by_mouse {
                w.harness.get_by_role_and_label(Role::RadioButton, name).click();
                w.steps(2);
            } else {
                w.press(Modifiers::NONE, key);
            }
            w.until(name, |w| w.app().textures.shown(&Slot::View).is_some_and(|f| **f == expected));
            w.steps(1);
            let rect = w.harness.get_by_role_and_label(Role::Image, name).rect();
            let found = read(&mut w, rect, WHOLE);
            // The corners of the picture are round.
            let inner: Vec<_> = found.into_iter().filter(|((x, y), _)| x % 15 != 0 || y % 15 != 0).collect();
            same(&inner, &expected, name);
        }
    }
    w.harness.get_by_role_and_label(Role::RadioButton, "Median future").click();
    w.until("the median", |w| {
        let shown = w.app().textures.shown(&Slot::View).map(|f| (**f).clone());
        shown.is_some_and(|shown| frames.contains(&shown))
    });
    w.steps(1);
    let shown = (**w.app().textures.shown(&Slot::View).unwrap()).clone();
    let rect = w.harness.get_by_role_and_label(Role::Image, "Median future").rect();
    let found = read(&mut w, rect, WHOLE);
    let inner: Vec<_> = found.into_iter().filter(|((x, y), _)| x % 15 != 0 || y % 15 != 0).collect();
    same(&inner, &shown, "Median future");

    w.harness.get_by_role_and_label(Role::RadioButton, "Side by side").click();
    w.steps(2);
    let panes = w.app().compare.doc.get().panes.clone();
    w.until("all panes", |w| {
        panes.iter().enumerate().all(|(i, pane)| {
            let slot = Slot::Compare(pane.id, false);
            w.app().textures.shown(&slot).is_some_and(|f| **f == frame(i as u64 + 1, 5))
        })
    });
    w.steps(1);
    for n in 1..=4 {
        let rect = w.harness.get_by_label(&format!("Pane {n}: Seed {n}")).rect();
        let side = rect.width().min(rect.height());
        let area = Rect::from_center_size(rect.center(), eframe::egui::Vec2::splat(side));
        let found = read(&mut w, area, WHOLE);
        // Buttons lie over the upper right corner of the selected pane.
        let lower: Vec<_> =
            found.into_iter().filter(|((x, y), _)| (4..15).contains(y) && x % 15 != 0).collect();
        same(&lower, &frame(n, 5), &format!("pane {n}"));
    }
}
