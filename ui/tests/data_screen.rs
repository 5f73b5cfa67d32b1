//! The Data screen, driven the way a person drives it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;

use common::{SIDE, Window, picture};
use eframe::egui::{self, Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::dataset::doctor::{Examination, Finding, Said, Severity, Topic, UnitFix, View};
use forerun::engine::protocol::{Event, Request};
use forerun::project::datasets;
use forerun_ui::i18n::Language;
use forerun_ui::screens::Screen;
use serde_json::json;

const WIDE: [f32; 2] = [1400.0, 900.0];

/// A folder that looks like a dataset of the project.
fn put(w: &Window, name: &str) -> PathBuf {
    let folder = w.folder.path().join("datasets").join(name);
    std::fs::create_dir_all(folder.join("meta")).unwrap();
    std::fs::write(folder.join("meta/info.json"), "{}").unwrap();
    folder
}

fn about(folder: &std::path::Path) -> serde_json::Value {
    let channel = |name: &str| json!({ "name": name, "unit": "deg" });
    json!({
        "folder": folder, "version": "v3.0", "fps": 10.0, "robot": "so101", "frames": 90,
        "cameras": [
            { "key": "observation.images.front", "width": SIDE, "height": SIDE, "trouble": "" },
            { "key": "observation.images.wrist", "width": SIDE, "height": SIDE, "trouble": "" },
        ],
        "main_camera": "observation.images.front",
        "action": [channel("a.pos"), channel("b.pos")], "state": [channel("a.pos"), channel("b.pos")],
        "episodes": [
            { "index": 0, "length": 5, "task": "push it" }, { "index": 1, "length": 5, "task": "把它推開" },
            { "index": 2, "length": 5, "task": null },
        ],
        "problems": [],
    })
}

fn report(w: &Window, job: u64, value: serde_json::Value) {
    w.wire.tell(Event::Report { job, value }, Vec::new());
}

/// A window on the Data screen that shows episode 0 of `pusht`, whole.
fn shown(size: [f32; 2]) -> Window {
    let mut w = Window::open(size);
    let folder = put(&w, "pusht");
    w.press(Modifiers::COMMAND, Key::Num3);
    w.until("the list of datasets", |w| w.app().data.chosen().is_some());
    answer(&mut w, &folder);
    w
}

/// Answers what the screen asks for until it asks no more; returns other requests.
fn answer(w: &mut Window, folder: &std::path::Path) -> Vec<Request> {
    let mut others = Vec::new();
    for _ in 0..6 {
        w.steps(2);
        for (request, _) in w.wire.sent() {
            match request {
                Request::ReadDataset { job, .. } => {
                    report(w, job, about(folder));
                    w.done(job);
                }
                Request::ReadEpisode { job, spec } => {
                    let table = json!({ "channels": [{ "name": "a.pos", "unit": "deg" }, { "name": "b.pos", "unit": "deg" }],
                        "values": (0..10).map(f64::from).collect::<Vec<_>>() });
                    report(
                        w,
                        job,
                        json!({ "episode": spec.episode, "length": 5, "task": "push it", "action": table, "state": table }),
                    );
                    for camera in ["front", "wrist"] {
                        let event = Event::Pictures {
                            job,
                            sizes: vec![(SIDE, SIDE); 5],
                            states: Vec::new(),
                            unfamiliar: None,
                            note: format!("observation.images.{camera}"),
                        };
                        w.wire.tell(event, (0..5).map(|i| picture(40 * i + spec.episode as u8)).collect());
                    }
                    w.done(job);
                }
                other => others.push(other),
            }
        }
    }
    others
}

#[test]
fn an_empty_project_says_what_to_do_and_a_chosen_folder_is_taken_in() {
    let mut w = Window::cold(WIDE, vec![PathBuf::from("/somewhere/pusht")]);
    w.answer_start();
    w.press(Modifiers::COMMAND, Key::Num3);
    w.until("the empty project", |w| w.app().data.entries.is_some());
    w.steps(2);
    w.harness.get_by_label("Open dataset").click();
    w.until("the import", |w| w.app().jobs.any(|k| matches!(k, forerun_ui::jobs::Kind::Data(_))));
    let sent = w.wire.sent();
    let found = sent.iter().find_map(|(r, _)| match r {
        Request::ImportDataset { job, project, paths } => Some((*job, project.clone(), paths.clone())),
        _ => None,
    });
    let (job, project, paths) = found.unwrap();
    assert_eq!((project.as_path(), paths), (w.folder.path(), vec![PathBuf::from("/somewhere/pusht")]));
    let folder = put(&w, "pusht");
    report(&w, job, json!({ "entry": { "name": "pusht" }, "notes": ["pictures became smaller"] }));
    w.done(job);
    w.until("the dataset", |w| w.app().data.chosen().is_some_and(|e| e.name == "pusht"));
    answer(&mut w, &folder);
    w.harness.get_by_label("Picture of front");
    w.harness.get_by_label("Picture of wrist");
    w.harness.get_by_label("pictures became smaller");
}

#[test]
fn what_cannot_be_imported_is_told_in_words() {
    let mut w = Window::open(WIDE);
    w.press(Modifiers::COMMAND, Key::Num3);
    w.app().outbox.send(forerun_ui::message::Message::Files(vec!["demo.hdf5".into()]));
    w.steps(3);
    let job = w.wire.sent().iter().find_map(|(r, _)| r.job()).unwrap();
    let (message, advice) =
        ("demo.hdf5 is an HDF5 file, which is not read yet.".into(), "Convert it.".into());
    w.wire.tell(Event::Failed { job, message, advice }, Vec::new());
    w.steps(3);
    w.harness.get_by_label("demo.hdf5 is an HDF5 file, which is not read yet. Convert it.");
}

#[test]
fn episodes_are_browsed_with_pictures_and_numbers_on_one_time_base() {
    let mut w = shown(WIDE);
    assert_eq!((w.app().transport.available(), w.app().transport.fps()), (5, 10.0));
    w.press(Modifiers::NONE, Key::End);
    assert_eq!(w.app().transport.frame(), 4);
    w.steps(2);
    let front = forerun_ui::widgets::pane::Slot::Camera("observation.images.front".into());
    assert_eq!(w.app().textures.shown(&front).unwrap().data[0], 160);
    // A click on a plot moves all pictures.
    let plot = w.harness.get_by_label("Channels of Action").rect();
    let at = egui::pos2(plot.left() + 47.0, plot.center().y);
    w.harness.hover_at(at);
    w.harness.drag_at(at);
    w.harness.drop_at(at);
    w.steps(3);
    assert_eq!(w.app().transport.frame(), 0);
    w.harness.get_by_label("Episode 1").click();
    let folder = w.app().data.chosen().unwrap().folder.clone();
    answer(&mut w, &folder);
    w.steps(2);
    assert_eq!(w.app().textures.shown(&front).unwrap().data[0], 1, "the pictures are those of episode 1");
    w.harness.get_by_label("Imagine from here").click();
    w.steps(3);
    assert_eq!(w.app().view.screen, Screen::World);
    assert!(format!("{:?}", w.app().setup.get().start).contains("episode: 1"));
}

#[test]
fn episodes_are_split_by_hand_and_the_split_is_kept_and_undone() {
    let mut w = shown(WIDE);
    w.harness.get_by_role_and_label(Role::RadioButton, "Judge").click();
    w.steps(3);
    let read = |w: &Window| datasets::list(w.folder.path())[0].view.clone();
    w.until("the kept split", |w| read(w).hold_out == [0]);
    w.harness.get_by_role_and_label(Role::RadioButton, "Leave out").click();
    w.until("the other use", |w| read(w).leave_out == [0] && read(w).hold_out.is_empty());
    w.press(Modifiers::COMMAND, Key::Z);
    w.until("the undone use", |w| read(w).hold_out == [0]);
    w.harness.get_by_label("wrist").click();
    w.until("the camera", |w| read(w).camera == "observation.images.wrist");
}

#[test]
fn the_doctor_names_what_is_wrong_and_one_click_mends_it() {
    let mut w = shown(WIDE);
    w.harness.get_by_label("Examine").click();
    w.steps(3);
    let examine = |w: &Window| {
        w.wire.sent().into_iter().find_map(|(r, _)| match r {
            Request::Examine { job, view, .. } => Some((job, view)),
            _ => None,
        })
    };
    let (job, view) = examine(&w).unwrap();
    assert!(view.is_plain());
    let finding = |severity, topic, words: &str, fix: Option<View>, sure| Finding {
        severity,
        topic,
        words: words.into(),
        said: Said::default(),
        channels: vec!["b.pos".into()],
        episodes: vec![1],
        fix,
        sure,
    };
    let lag = View { action_lag: 3, ..View::default() };
    let dead = View { without: vec!["b.pos".into()], ..View::default() };
    let found = Examination {
        findings: vec![
            finding(Severity::Problem, Topic::Lag, "Actions lie 3 frames too late.", Some(lag), true),
            finding(Severity::Problem, Topic::DeadChannel, "b.pos does not move.", Some(dead), false),
            finding(
                Severity::Warning,
                Topic::Unit,
                "Degrees or -100..100: say which.",
                Some(View {
                    units: vec![UnitFix {
                        channel: "a.pos".into(),
                        unit: "deg".into(),
                        factor: 1.0,
                        offset: 0.0,
                    }],
                    ..View::default()
                }),
                false,
            ),
            finding(Severity::Note, Topic::Coverage, "Only slow movements.", None, false),
        ],
        frames: 15,
        action_lag: Some(3),
        state_lag: Some(0),
    };
    report(&w, job, json!({ "examination": found }));
    w.done(job);
    w.steps(3);
    w.harness.get_by_label("Actions lie 3 frames too late.");
    w.harness.get_by_label("Camera");
    w.harness.get_by_label("Mend: Dead channel");
    // Where the numbers fit both units, the person is asked.
    w.harness.get_by_label("These are deg");
    w.harness.get_by_label("These are -100..100");
    w.harness.get_by_label("Mend all that is sure").click();
    w.steps(4);
    // The doctor looks again, through the correction.
    let (job, view) = examine(&w).unwrap();
    assert_eq!((view.action_lag, view.without.len()), (3, 0));
    report(&w, job, json!({ "examination": Examination { frames: 15, ..Examination::default() } }));
    w.done(job);
    w.until("the written correction", |w| datasets::list(w.folder.path())[0].view.action_lag == 3);
    w.steps(2);
    w.harness.get_by_label("Nothing is wrong");
    w.harness.get_by_label("Take back: Actions 3 frames earlier").click();
    w.until("the taken back correction", |w| datasets::list(w.folder.path())[0].view.action_lag == 0);
}

#[test]
fn the_virtual_world_is_recorded_into_the_project() {
    let mut w = shown(WIDE);
    w.harness.get_by_label("Record in the virtual world").click();
    w.steps(3);
    w.harness.get_by_role_and_label(Role::RadioButton, "Rich look").click();
    w.steps(2);
    w.harness.get_by_label("Record").click();
    w.steps(3);
    let found = w.wire.sent().into_iter().find_map(|(r, _)| match r {
        Request::Record { job, spec } => Some((job, spec)),
        _ => None,
    });
    let (job, spec) = found.unwrap();
    assert_eq!((spec.look.as_str(), spec.behaviour.as_str(), spec.episodes), ("rich", "expert", 50));
    assert_eq!(spec.out, w.folder.path().join("datasets/tabletop"));
    put(&w, "tabletop");
    w.done(job);
    w.until("the recording", |w| w.app().data.chosen().is_some_and(|e| e.name == "tabletop"));
}

#[test]
fn every_state_has_named_widgets_and_known_letters() {
    for size in [[720.0, 480.0], [1280.0, 800.0]] {
        for language in Language::ALL {
            let mut w = shown(size);
            w.app().view.language = language;
            let found = Finding {
                severity: Severity::Warning,
                topic: Topic::Exposure,
                words: "It becomes brighter.".into(),
                said: Said::default(),
                channels: vec![],
                episodes: (0..12).collect(),
                fix: Some(View { leave_out: vec![1], ..View::default() }),
                sure: true,
            };
            let found = Examination { findings: vec![found], ..Examination::default() };
            w.app().data.found = Some((found, View::default()));
            w.app().view.theme = egui::Theme::Light;
            w.steps(3);
            w.harness.run();
        }
    }
}
