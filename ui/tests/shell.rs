//! What stands around every screen: palette, languages, themes, toasts, what is kept between sessions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Window;
use eframe::egui::{Key, Modifiers, Theme, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::engine::protocol::Event;
use forerun_ui::commands::Command;
use forerun_ui::doc::Edit;
use forerun_ui::i18n::Language;
use strum::IntoEnumIterator;

const WIDE: [f32; 2] = [1400.0, 900.0];

fn palette(w: &mut Window, query: &str) {
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::P);
    let hint = w.s().shell.search_hint.clone();
    w.harness.get_by_role_and_label(Role::TextInput, &hint).type_text(query);
    w.steps(3);
}

#[test]
fn the_palette_finds_and_runs_a_command() {
    let mut w = Window::open(WIDE);
    palette(&mut w, "dark or");
    w.press(Modifiers::NONE, Key::Enter);
    assert_eq!(w.app().view.theme, Theme::Light);
    assert!(w.app().sheet.is_none(), "the palette closes");
    w.harness.run();
}

#[test]
fn the_palette_lists_every_command() {
    let mut w = Window::open([1400.0, 3000.0]);
    palette(&mut w, "");
    let s = w.s();
    let other = |c: &Command| *c != Command::Palette;
    let missing: Vec<_> = Command::iter()
        .filter(other)
        .filter(|c| forerun_ui::shell::sheets::search(&c.text(s).name, s, s).first() != Some(c))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are not the first answer to their own name");
    for key in [Key::ArrowDown, Key::ArrowDown, Key::ArrowUp] {
        w.press(Modifiers::NONE, key);
    }
    w.press(Modifiers::NONE, Key::Escape);
    assert!(w.app().sheet.is_none());
}

#[test]
fn the_language_can_be_switched_in_the_running_window() {
    let mut w = Window::open(WIDE);
    let before = w.s().world.imagine.clone();
    w.harness.get_by_label("中文").click();
    w.steps(3);
    assert_eq!(w.app().view.language, Language::Chinese);
    let after = w.s().world.imagine.clone();
    assert_ne!(before, after);
    w.harness.get_by_label(&after);
    w.harness.run();
}

#[test]
fn shortcuts_are_listed_and_typing_does_not_set_them_off() {
    let mut w = Window::open(WIDE);
    w.press(Modifiers::NONE, Key::F1);
    let count = w.harness.query_all_by_label("Keyboard shortcuts").count();
    assert_eq!(count, 3, "the button, the title of the sheet, and its own line");
    w.harness.run();
    w.press(Modifiers::NONE, Key::Escape);
    w.harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt").focus();
    w.steps(2);
    let looping = w.app().transport.looping();
    w.press(Modifiers::NONE, Key::L);
    assert_eq!(w.app().transport.looping(), looping);
}

#[test]
fn errors_stay_until_they_are_closed_and_are_never_only_a_toast() {
    let mut w = Window::open(WIDE);
    w.wire.tell(Event::Log { level: "error".into(), text: "The disk is full.".into() }, Vec::new());
    w.wire.tell(Event::Log { level: "info".into(), text: "A detail.".into() }, Vec::new());
    w.steps(3);
    w.harness.get_by_label("The disk is full.");
    assert!(w.harness.query_by_label("A detail.").is_none(), "details are for the log");
    w.harness.get_by_label("Copy details").click();
    w.steps(3);
    w.harness.get_by_label("Copied");
    w.harness.query_all_by_label("Dismiss").next().unwrap().click();
    w.steps(3);
    w.press(Modifiers::COMMAND, Key::L);
    w.harness.get_by_label("The disk is full.");
    w.harness.get_by_label("A detail.");
}

#[test]
fn setup_and_layout_survive_a_restart() {
    let mut w = Window::open(WIDE);
    w.app().setup.edit("test", |s| s.apply(Edit::Prompt("推".into())));
    w.app().view.inspector = 400.0;
    w.app().view.theme = Theme::Light;
    w.steps(2);
    w.app().close();
    let folder = w.folder;
    let mut again = Window::in_folder(WIDE, Vec::new(), folder);
    assert_eq!(again.app().setup.get().prompt, "推");
    assert_eq!(again.app().view.theme, Theme::Light);
}

#[test]
fn changes_are_written_by_themselves() {
    let mut w = Window::open(WIDE);
    w.app().setup.edit("test", |s| s.apply(Edit::Seed(777)));
    let file = w.folder.path().join(".forerun/window.json");
    for _ in 0..400 {
        w.steps(1);
        if std::fs::read_to_string(&file).is_ok_and(|t| t.contains("777")) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{} does not hold the change", file.display());
}

#[test]
fn jobs_show_how_far_they_are_and_can_be_stopped() {
    let mut w = Window::open(WIDE);
    w.harness.get_by_label("Scene 1").click();
    w.steps(3);
    w.press(Modifiers::COMMAND, Key::Enter);
    let (job, _, _) = w.imagined();
    w.wire.tell(
        Event::Progress {
            job,
            done: 40,
            total: 160,
            seconds_left: Some(12.3),
            what: "frame 10 of 40".into(),
        },
        Vec::new(),
    );
    w.steps(3);
    w.harness.get_by_label("12 s left");
    w.harness.get_by_label("Cancel imagining futures").click();
    w.steps(3);
    assert!(w.wire.sent().iter().any(|(r, _)| *r == forerun::engine::protocol::Request::Cancel { job }));
}

#[test]
fn in_a_low_window_no_button_of_the_rail_lies_on_another() {
    for height in [480.0, 560.0, 900.0] {
        let w = Window::open([720.0, height]);
        let names = [
            "World",
            "Compare",
            "Data",
            "Train",
            "Policy",
            "Robot",
            "Models",
            "Show the log",
            "Keyboard shortcuts",
        ];
        let mut rects: Vec<_> =
            names.iter().map(|name| w.harness.get_by_role_and_label(Role::Button, name).rect()).collect();
        rects.sort_by(|a, b| a.top().total_cmp(&b.top()));
        for pair in rects.windows(2) {
            assert!(pair[1].top() >= pair[0].bottom() - 0.5, "{pair:?} at {height}");
        }
        assert!(rects.last().unwrap().bottom() <= height, "at {height}");
    }
}
