//! The Compare screen, driven the way a person drives it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{SIDE, Window, compare_seeds, picture};
use eframe::egui::{self, Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::{NodeT, Queryable};
use forerun::engine::protocol::{Event, Reading, Request};
use forerun_ui::compare::{Look, Source};
use forerun_ui::doc::{Edit, StartDoc};
use forerun_ui::i18n::Language;
use forerun_ui::screens::Screen;

const WIDE: [f32; 2] = [1400.0, 900.0];

fn order(w: &mut Window) -> Vec<u64> {
    let panes = w.app().compare.doc.get().panes.clone();
    panes
        .iter()
        .map(|p| match p.source {
            Source::Future { seed, .. } => seed,
            Source::Truth { .. } | Source::World { .. } => 0,
        })
        .collect()
}

#[test]
fn two_clicks_lead_from_a_run_to_its_futures_side_by_side() {
    let mut w = Window::open(WIDE);
    w.run_seeds(4, 12);
    w.app().transport.apply(forerun_ui::transport::Input::Seek(5), 0.0);
    w.harness.get_by_label("Compare these").click();
    w.steps(3);
    assert_eq!(w.app().view.screen, Screen::Compare);
    assert_eq!(order(&mut w), [1, 2, 3, 4]);
    for n in 1..=4 {
        w.harness.get_by_label(&format!("Pane {n}: Seed {n}"));
    }
    assert_eq!(w.app().transport.available(), 13, "the panes share one time base");
    assert_eq!(w.app().transport.frame(), 0, "each screen has its own place in time");
    w.press(Modifiers::NONE, Key::End);
    assert_eq!(w.app().transport.frame(), 12);
    w.harness.get_by_label("World").click();
    w.steps(3);
    assert_eq!(w.app().transport.frame(), 5);
    w.press(Modifiers::COMMAND, Key::Num2);
    assert_eq!((w.app().view.screen, w.app().transport.frame()), (Screen::Compare, 12));
}

#[test]
fn each_pane_shows_its_own_future_at_the_common_frame() {
    let mut w = compare_seeds(WIDE, 3, 6);
    w.app().transport.apply(forerun_ui::transport::Input::Seek(4), 0.0);
    w.steps(2);
    let panes = w.app().compare.doc.get().panes.clone();
    for (i, pane) in panes.iter().enumerate() {
        let slot = forerun_ui::widgets::pane::Slot::Compare(pane.id, false);
        let shown = w.app().textures.shown(&slot).unwrap().data.clone();
        assert_eq!(shown, picture(common::level(i as u64 + 1, 4)));
    }
}

#[test]
fn panes_are_moved_pinned_muted_and_removed_and_undo_brings_them_back() {
    let mut w = compare_seeds(WIDE, 4, 4);
    w.harness.get_by_label("Pane 3: Seed 3").click();
    w.steps(2);
    w.press(Modifiers::COMMAND, Key::ArrowLeft);
    assert_eq!(order(&mut w), [1, 3, 2, 4]);
    w.press(Modifiers::NONE, Key::P);
    assert_eq!(order(&mut w), [3, 1, 2, 4], "pinned panes come first");
    w.press(Modifiers::NONE, Key::M);
    assert!(w.app().compare.doc.get().panes[0].muted);
    w.press(Modifiers::NONE, Key::Delete);
    assert_eq!(order(&mut w), [1, 2, 4]);
    w.harness.get_by_label("Pane removed. Undo brings it back.");
    w.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(order(&mut w), [3, 1, 2, 4]);
    for _ in 0..3 {
        w.press(Modifiers::COMMAND, Key::Z);
    }
    assert_eq!(order(&mut w), [1, 2, 3, 4]);
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(order(&mut w), [1, 3, 2, 4]);
}

#[test]
fn a_pane_is_dragged_to_another_place() {
    let mut w = compare_seeds(WIDE, 4, 4);
    let from = w.harness.get_by_label("Pane 1: Seed 1").rect().center();
    let to = w.harness.get_by_label("Pane 4: Seed 4").rect().center();
    w.harness.drag_at(from);
    w.steps(1);
    w.harness.hover_at(from + egui::vec2(20.0, 0.0));
    w.steps(2);
    w.harness.hover_at(to);
    w.steps(2);
    w.harness.drop_at(to);
    w.steps(3);
    assert_eq!(order(&mut w), [2, 3, 4, 1]);
}

#[test]
fn zoom_is_locked_across_the_panes() {
    let mut w = compare_seeds(WIDE, 4, 4);
    w.press(Modifiers::NONE, Key::Plus);
    w.press(Modifiers::NONE, Key::Plus);
    assert!((w.app().compare.zoom.factor - 2.25).abs() < 1e-4);
    let before = w.app().compare.zoom.centre;
    let at = w.harness.get_by_label("Pane 2: Seed 2").rect().center();
    w.harness.drag_at(at);
    w.steps(1);
    w.harness.hover_at(at + egui::vec2(40.0, 0.0));
    w.steps(2);
    w.harness.drop_at(at + egui::vec2(40.0, 0.0));
    w.steps(2);
    assert!(w.app().compare.zoom.centre.x < before.x, "the picture follows the pointer");
    assert_eq!(order(&mut w), [1, 2, 3, 4], "nothing was reordered");
    let shown = |w: &mut Window| w.app().compare.zoom.part();
    let (start, frame) = (shown(&mut w), w.app().transport.frame());
    for (key, x, y) in [
        (Key::ArrowRight, 1.0, 0.0),
        (Key::ArrowDown, 0.0, 1.0),
        (Key::ArrowLeft, -1.0, 0.0),
        (Key::ArrowUp, 0.0, -1.0),
    ] {
        let before = shown(&mut w).center();
        w.press(Modifiers::SHIFT, key);
        let moved = shown(&mut w).center() - before;
        assert!(moved.x * x > 0.05 || moved.y * y > 0.05, "{key:?} moved by {moved:?}");
    }
    assert!((shown(&mut w).center() - start.center()).length() < 1e-4);
    assert_eq!(w.app().transport.frame(), frame, "the playhead stayed");
    w.press(Modifiers::NONE, Key::Num0);
    assert_eq!(w.app().compare.zoom, Default::default());
}

#[test]
fn a_set_is_opened_again_after_a_restart() {
    let mut w = compare_seeds(WIDE, 2, 4);
    w.app().close();
    let folder = w.folder;
    let mut again = Window::in_folder(WIDE, Vec::new(), folder);
    again.answer_start_but_keep();
    let open: Vec<_> = again
        .kept
        .iter()
        .filter_map(|r| match r {
            Request::OpenFuture { job, folder } => Some((*job, folder.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(open.len(), 2);
    for (i, (job, folder)) in open.iter().enumerate() {
        let seed = i as u64 + 1;
        assert!(folder.ends_with(format!("seed-{seed}")));
        for index in 0..3 {
            let event = Event::FutureFrame {
                job: *job,
                seed,
                index,
                width: SIDE,
                height: SIDE,
                reading: Reading::default(),
            };
            again.wire.tell(event, vec![picture(common::level(seed, index))]);
        }
        again.done(*job);
    }
    again.steps(3);
    again.harness.get_by_label("Pane 2: Seed 2");
    assert_eq!(again.app().transport.available(), 3);
    assert!(again.wire.sent().iter().all(|(r, _)| !matches!(r, Request::OpenFuture { .. })), "opened once");
}

#[test]
fn a_future_whose_folder_is_gone_says_so_in_its_pane() {
    let mut w = compare_seeds(WIDE, 2, 4);
    w.app().compare.doc.edit("test", |doc| {
        doc.apply(forerun_ui::compare::Edit::Add(vec![Source::Future {
            folder: "gone/seed-9".into(),
            seed: 9,
        }]));
    });
    w.steps(2);
    let sent = w.wire.sent();
    let job = sent.iter().find_map(|(r, _)| match r {
        Request::OpenFuture { job, .. } => Some(*job),
        _ => None,
    });
    let event = Event::Failed {
        job: job.unwrap(),
        message: "gone/seed-9 is missing.".into(),
        advice: "Remove it.".into(),
    };
    w.wire.tell(event, Vec::new());
    w.steps(3);
    w.harness.get_by_label("Pane 3: Seed 9");
    assert_eq!(w.app().compare.missing.len(), 1);
    assert!(w.wire.sent().is_empty(), "it is not asked for again and again");
}

#[test]
fn every_look_is_reached_by_mouse_and_by_keyboard() {
    let mut w = compare_seeds(WIDE, 3, 4);
    for (name, key, look) in [
        ("Wipe", Key::Num2, Look::Wipe),
        ("Onion skin", Key::Num3, Look::Onion),
        ("Difference", Key::Num4, Look::Signed),
        ("Heat map", Key::Num5, Look::Heat),
        ("Flicker", Key::Num6, Look::Flicker),
        ("Mean", Key::Num7, Look::Mean),
        ("Spread", Key::Num8, Look::Spread),
        ("Median future", Key::Num9, Look::Median),
        ("Side by side", Key::Num1, Look::Side),
    ] {
        w.harness.get_by_role_and_label(Role::RadioButton, name).click();
        w.steps(3);
        assert_eq!(w.app().view.compare.look, look);
        w.app().view.compare.look = Look::Side;
        w.press(Modifiers::NONE, key);
        assert_eq!(w.app().view.compare.look, look);
    }
}

#[test]
fn every_size_language_and_number_of_panes_has_named_widgets_and_known_letters() {
    for (size, panes) in [(WIDE, 4), ([720.0, 480.0], 3), (WIDE, 40), ([3840.0, 2160.0], 9)] {
        let mut w = compare_seeds(size, panes, 2);
        for language in Language::ALL {
            w.app().view.language = language;
            for look in [Look::Side, Look::Wipe, Look::Heat, Look::Mean, Look::Spread] {
                w.app().view.compare.look = look;
                // `run` checks names and glyphs, and that the window comes to rest.
                w.harness.run();
            }
        }
    }
}

#[test]
fn whoever_scrubs_sees_the_frame_under_the_pointer_in_the_same_frame_of_the_window() {
    let mut w = compare_seeds(WIDE, 3, 8);
    let line = w.harness.get_by_role_and_label(Role::Slider, "Timeline").rect().shrink2(egui::vec2(8.0, 0.0));
    let at = |frame: f32| egui::pos2(line.left() + line.width() * frame / 8.0, line.center().y);
    let shows = |w: &mut Window, frame: usize| {
        let panes = w.app().compare.doc.get().panes.clone();
        panes.iter().enumerate().all(|(i, pane)| {
            let slot = forerun_ui::widgets::pane::Slot::Compare(pane.id, false);
            w.app().textures.shown(&slot).unwrap().data == picture(common::level(i as u64 + 1, frame))
        })
    };
    w.harness.hover_at(at(0.0));
    w.steps(2);
    w.harness.drag_at(at(5.0));
    w.steps(1);
    assert!(shows(&mut w, 5), "pressed: frame {}", w.app().transport.frame());
    w.harness.hover_at(at(2.0));
    w.steps(1);
    assert!(shows(&mut w, 2), "dragged: frame {}", w.app().transport.frame());
    w.harness.drop_at(at(2.0));
    w.steps(2);
    assert!(shows(&mut w, 2) && !w.app().transport.playing());
}

/// Labels that reach out of the window, or into the pane on their right.
fn spilled(w: &mut Window, size: [f32; 2], panes: usize) -> Vec<String> {
    let mut out = Vec::new();
    let words = &w.s().compare.pane;
    let names: Vec<String> =
        (1..=panes).map(|n| forerun_ui::i18n::fill(words, &[("n", &n), ("name", &"")])).collect();
    let cells: Vec<egui::Rect> =
        names.iter().filter_map(|name| w.harness.query_by_label_contains(name)).map(|n| n.rect()).collect();
    assert!(!cells.is_empty(), "the panes have names");
    for node in w.harness.root().children_recursive() {
        let text = node.value().or_else(|| node.accesskit_node().label()).unwrap_or_default();
        if node.accesskit_node().role() != Role::Label || text.is_empty() {
            continue;
        }
        let rect = node.rect();
        if rect.right() > size[0] + 1.0 {
            out.push(format!("{text:.40} ends at {} of {}", rect.right(), size[0]));
        }
        for (left, right) in cells.iter().zip(cells.iter().skip(1)) {
            let under = rect.left() >= left.left() - 1.0 && rect.left() < left.right();
            let below = rect.top() >= left.bottom() - 1.0 && rect.top() < left.bottom() + 60.0;
            if left.top() == right.top() && under && below && rect.right() > right.left() + 1.0 {
                out.push(format!("{text:.40} of the pane at {} runs into the next", left.left()));
            }
        }
    }
    out
}

#[test]
fn long_names_and_prompts_stay_under_their_panes() {
    let english =
        "push the extraordinarily heavy crimson cube slowly and very carefully to the far left ".repeat(4);
    let chinese = "把那個非常非常沉重的深紅色方塊慢慢地小心地推到桌子最左邊的角落".repeat(4);
    for (size, panes) in [(WIDE, 4), ([720.0, 480.0], 3), ([3840.0, 2160.0], 9)] {
        for (language, prompt) in [(Language::English, &english), (Language::Chinese, &chinese)] {
            let mut w = compare_seeds(size, panes, 2);
            w.app().view.language = language;
            let run = w.app().runs.shown_mut().unwrap();
            run.spec.prompt.clone_from(prompt);
            run.model = "my-very-own-tabletop-model-post-trained-on-the-second-of-december".into();
            w.harness.run();
            assert_eq!(spilled(&mut w, size, panes), Vec::<String>::new(), "{size:?} {language:?}");
            let told = w.harness.root().children_recursive().any(|n| {
                n.value()
                    .or_else(|| n.accesskit_node().label())
                    .is_some_and(|text| text.contains(prompt.trim()))
            });
            assert!(told, "the whole prompt is there for who asks: {size:?} {language:?}");
        }
    }
}

#[test]
fn an_empty_set_says_what_to_do() {
    let mut w = Window::open(WIDE);
    w.harness.get_by_label("Compare").click();
    w.steps(3);
    w.harness.get_by_label("Nothing to compare yet");
    w.harness.run();
    w.harness.get_by_label("Go to World").click();
    w.steps(3);
    assert_eq!(w.app().view.screen, Screen::World);
    w.app().setup.edit("test", |s| s.apply(Edit::Start(StartDoc::World { seed: 3 })));
}
