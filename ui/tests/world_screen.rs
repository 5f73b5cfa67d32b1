//! The World screen, driven the way a person drives it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{SIDE, Window, picture};
use eframe::egui::{self, Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::engine::protocol::{Actions, Event, Request, Start};
use forerun_ui::doc::{Edit, Mode, StartDoc};
use forerun_ui::futures::RunState;
use forerun_ui::i18n::fill;

const WIDE: [f32; 2] = [1400.0, 900.0];

fn pick_scene(w: &mut Window) {
    w.harness.get_by_label("Scene 1").click();
    w.steps(3);
}

/// Picks a scene, presses Imagine and lets all frames arrive.
fn first_run(w: &mut Window) -> (u64, forerun::engine::protocol::ImagineSpec) {
    pick_scene(w);
    w.harness.get_by_label("Imagine").click();
    let (job, spec, _) = w.imagined();
    w.stream(job, &spec, 0, spec.steps);
    w.finish(job, &spec);
    w.steps(3);
    (job, spec)
}

#[test]
fn a_newcomer_sees_a_future_within_two_clicks() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    w.harness.get_by_label("Imagine").click();
    let (job, spec, blobs) = w.imagined();
    assert_eq!(spec.prompt, w.s().scenes.left);
    assert_eq!(spec.seeds, [1, 2, 3, 4]);
    let Start::Blobs { sizes, states, world } = &spec.start else { panic!("{:?}", spec.start) };
    let scene = world.as_ref().expect("the record will say which scene it was");
    assert_eq!((scene.look.as_str(), scene.seed), ("plain", forerun_ui::scenes::SEEDS[0]));
    assert_eq!((sizes.as_slice(), blobs.len()), ([(SIDE, SIDE)].as_slice(), 1));
    assert_eq!(blobs[0], picture(forerun_ui::scenes::SEEDS[0] as u8), "the frame of scene 1 and no other");
    assert_eq!(states[0][0], ("shoulder_pan.pos".to_owned(), 12.5));

    w.stream(job, &spec, 0, 3);
    w.steps(3);
    for seed in 1..=4 {
        w.harness.get_by_label(&format!("Future with seed {seed}"));
    }
    assert_eq!(w.app().transport.available(), 4, "frames show while others are still on their way");
    assert_eq!(w.app().transport.expected(), spec.steps + 1);
    assert!(w.app().transport.playing());
    w.stream(job, &spec, 4, spec.steps);
    w.finish(job, &spec);
    w.steps(30);
    assert!(w.app().transport.frame() > 0, "it plays");
    assert_eq!(w.app().runs.shown().unwrap().state, RunState::Done);
}

#[test]
fn the_first_view_has_only_named_widgets_and_known_letters() {
    for language in forerun_ui::i18n::Language::ALL {
        for size in [WIDE, [1280.0, 800.0], [720.0, 480.0]] {
            let mut w = Window::open(size);
            w.app().view.language = language;
            w.app().view.model_card = true;
            // `run` checks names and glyphs, and that the window comes to rest.
            w.harness.run();
            w.app().setup.edit("test", |s| s.apply(Edit::Mode(Mode::Numbers)));
            w.app().view.curves.insert("gripper.pos".into());
            w.app().view.log = true;
            w.harness.run();
        }
    }
}

#[test]
fn a_finished_run_has_only_named_widgets_and_comes_to_rest() {
    for language in forerun_ui::i18n::Language::ALL {
        let mut w = Window::open([1280.0, 800.0]);
        first_run(&mut w);
        w.app().view.language = language;
        w.press(Modifiers::NONE, Key::Space);
        assert!(!w.app().transport.playing());
        w.harness.run();
    }
}

#[test]
fn words_alone_start_a_world() {
    let mut w = Window::open(WIDE);
    w.harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt").click();
    w.steps(2);
    w.harness.get_by_role_and_label(Role::MultilineTextInput, "Prompt").type_text("把紅色方塊推到左邊");
    w.steps(3);
    w.press(Modifiers::COMMAND, Key::Enter);
    let (_, spec, blobs) = w.imagined();
    assert_eq!((spec.start, spec.prompt.as_str()), (Start::Nothing, "把紅色方塊推到左邊"));
    assert_eq!((spec.actions, blobs.len()), (Actions::Free, 0));
}

#[test]
fn words_that_the_model_never_met_are_named() {
    let mut w = Window::open(WIDE);
    w.app().setup.edit("test", |s| s.apply(Edit::Prompt("push the purple cube 大象".into())));
    w.steps(3);
    w.harness.get_by_label("The model never met: purple, 大象");
    w.app().setup.edit("test", |s| s.apply(Edit::Prompt("push the red cube to the left".into())));
    w.steps(3);
    assert!(w.harness.query_by_label_contains("never met").is_none());
}

#[test]
fn escape_stops_a_run_and_what_has_arrived_stays() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    w.press(Modifiers::COMMAND, Key::Enter);
    let (job, spec, _) = w.imagined();
    w.stream(job, &spec, 0, 5);
    w.steps(2);
    w.harness.get_by_label("Cancel");
    w.press(Modifiers::NONE, Key::Escape);
    assert!(w.wire.sent().iter().any(|(r, _)| *r == Request::Cancel { job }));
    w.wire.tell(Event::Cancelled { job }, Vec::new());
    w.steps(3);
    assert_eq!(w.app().runs.shown().unwrap().state, RunState::Cancelled);
    assert_eq!(w.app().transport.available(), 6);
    w.harness.get_by_label("Imagine");
}

#[test]
fn a_slider_moves_a_channel_and_the_others_stay_where_they_were() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    w.harness.get_by_role_and_label(Role::Slider, "gripper.pos").focus();
    w.steps(2);
    w.press(Modifiers::NONE, Key::ArrowRight);
    assert_eq!(w.app().setup.get().mode, Mode::Both, "moving a channel means to use it");
    w.press(Modifiers::COMMAND, Key::Enter);
    let (_, spec, _) = w.imagined();
    let Actions::Track { channels, rows } = spec.actions else { panic!("{:?}", spec.actions) };
    assert_eq!(channels, ["shoulder_pan.pos", "gripper.pos"]);
    assert_eq!(rows.len(), spec.steps);
    assert!(rows.iter().all(|r| r[0] == 12.5 && (r[1] - 41.0).abs() < 1e-3), "{:?}", rows[0]);
}

#[test]
fn keys_of_a_curve_are_added_nudged_and_deleted_by_mouse_and_keyboard() {
    let mut w = Window::open([1400.0, 1600.0]);
    pick_scene(&mut w);
    w.harness.get_by_label("Show the curve of gripper.pos").click();
    w.steps(3);
    for part in [0.25, 0.75] {
        // Looked up anew: the first key switches the mode, and the rows move.
        let lane = w.harness.get_by_label("Curve of gripper.pos").rect();
        let at = lane.lerp_inside(egui::vec2(part, part));
        w.harness.drag_at(at);
        w.steps(1);
        w.harness.drop_at(at);
        w.steps(3);
    }
    let keys = |w: &mut Window| w.app().setup.get().tracks["gripper.pos"].keys().to_vec();
    let before = keys(&mut w);
    assert_eq!(before.len(), 3, "two clicks beside the value of the start: {before:?}");
    let last = *before.last().unwrap();
    let name = format!("gripper.pos at step {}", last.step);
    assert!(w.harness.get_by_label(&name).is_focused(), "the new key has the keyboard");
    w.press(Modifiers::NONE, Key::ArrowLeft);
    w.press(Modifiers::NONE, Key::ArrowUp);
    let after = *keys(&mut w).last().unwrap();
    assert_eq!(after.step, last.step - 1);
    assert!((after.value - last.value - 1.0).abs() < 1e-3);
    let grab = w.harness.get_by_label(&format!("gripper.pos at step {}", after.step)).rect().center();
    w.harness.drag_at(grab);
    w.steps(1);
    w.harness.hover_at(grab + egui::vec2(0.0, -20.0));
    w.steps(2);
    w.harness.drop_at(grab + egui::vec2(0.0, -20.0));
    w.steps(2);
    let dragged = *keys(&mut w).last().unwrap();
    assert!(dragged.value > after.value + 10.0 && dragged.step == after.step, "{dragged:?}");
    w.press(Modifiers::NONE, Key::Delete);
    assert_eq!(keys(&mut w).len(), 2);
}

#[test]
fn undo_takes_back_one_gesture_at_a_time() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    w.harness.get_by_role_and_label(Role::RadioButton, "Numbers").click();
    w.steps(3);
    assert_eq!(w.app().setup.get().mode, Mode::Numbers);
    w.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(w.app().setup.get().mode, Mode::Words);
    w.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(w.app().setup.get().start, StartDoc::Nothing);
    assert_eq!(w.app().setup.get().prompt, "");
    w.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert!(matches!(w.app().setup.get().start, StartDoc::World { .. }));
}

#[test]
fn the_keyboard_plays_steps_and_seeks() {
    let mut w = Window::open(WIDE);
    let (_, spec) = first_run(&mut w);
    w.press(Modifiers::NONE, Key::Space);
    assert!(!w.app().transport.playing());
    w.press(Modifiers::NONE, Key::Home);
    assert_eq!(w.app().transport.frame(), 0);
    w.press(Modifiers::NONE, Key::ArrowRight);
    w.press(Modifiers::NONE, Key::ArrowRight);
    w.press(Modifiers::NONE, Key::ArrowLeft);
    assert_eq!(w.app().transport.frame(), 1);
    w.press(Modifiers::NONE, Key::End);
    assert_eq!(w.app().transport.frame(), spec.steps);
    let timeline = w.harness.get_by_role_and_label(Role::Slider, "Timeline").rect();
    let at = timeline.lerp_inside(egui::vec2(0.5, 0.5));
    w.harness.drag_at(at);
    w.steps(1);
    w.harness.drop_at(at);
    w.steps(3);
    assert!(w.app().transport.frame().abs_diff(spec.steps / 2) <= 1);
}

#[test]
fn an_engine_that_stops_leaves_the_window_and_a_way_on() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    w.press(Modifiers::COMMAND, Key::Enter);
    let (job, spec, _) = w.imagined();
    w.stream(job, &spec, 0, 2);
    w.wire.tell(
        Event::Failed { job, message: "The engine ended.".into(), advice: "Try again.".into() },
        Vec::new(),
    );
    w.wire.tell(Event::EngineGone { reason: "It was killed.".into(), restarting: true }, Vec::new());
    w.steps(3);
    w.harness.get_by_label("The engine stopped and was restarted. It was killed.");
    assert_eq!(w.app().log.toasts().count(), 0, "the banner says it all");
    w.wire
        .tell(Event::Ready { version: 1, software: "0.1.0".into(), devices: vec!["cpu".into()] }, Vec::new());
    w.steps(3);
    let again = w.wire.sent();
    assert!(
        again.iter().any(|(r, _)| matches!(r, Request::ListModels { .. })),
        "the new engine is asked again"
    );
    w.harness.get_by_label("Retry").click();
    let (second, same, _) = w.imagined();
    assert_ne!(job, second);
    assert_eq!(same.seeds, spec.seeds);
    w.stream(second, &same, 0, same.steps);
    w.finish(second, &same);
    w.steps(3);
    assert_eq!(w.app().runs.shown().unwrap().state, RunState::Done);
    assert!(w.harness.query_by_label("Retry").is_none());
}

#[test]
fn a_frame_unlike_the_training_data_is_marked() {
    let mut w = Window::open(WIDE);
    pick_scene(&mut w);
    let job = preview(&mut w).0;
    let event = Event::Pictures {
        job,
        sizes: vec![(SIDE, SIDE)],
        states: vec![],
        unfamiliar: Some(3.2),
        note: String::new(),
    };
    w.wire.tell(event, vec![picture(9)]);
    w.done(job);
    w.steps(3);
    assert!(w.harness.query_all_by_label("Unlike the training data").count() >= 1);
}

fn preview(w: &mut Window) -> (u64, Start) {
    let found = w.wire.sent().into_iter().find_map(|(r, _)| match r {
        Request::Preview { job, start, .. } => Some((job, start)),
        _ => None,
    });
    found.expect("the start is looked at")
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("the path is enough".into())
    }
}

#[test]
fn dropped_pictures_become_the_start_and_broken_ones_say_why() {
    let mut w = Window::open(WIDE);
    w.harness.input_mut().dropped_files.push(Arc::new(Dropped("/pictures/桌面.png".into())));
    w.steps(4);
    let (job, start) = preview(&mut w);
    assert_eq!(start, Start::Files { paths: vec!["/pictures/桌面.png".into()], at: None });
    w.harness.get_by_label("桌面.png");
    let broken =
        Event::Failed { job, message: "桌面.png is no picture.".into(), advice: "Choose a PNG.".into() };
    w.wire.tell(broken, Vec::new());
    w.steps(3);
    assert!(w.harness.query_all_by_label("桌面.png is no picture. Choose a PNG.").count() >= 1);
}

#[test]
fn files_chosen_in_the_dialog_become_the_start() {
    let mut w = Window::cold(WIDE, vec!["/a/1.png".into(), "/a/2.png".into()]);
    w.answer_start();
    w.press(Modifiers::COMMAND, Key::O);
    for _ in 0..200 {
        if w.app().setup.get().start != StartDoc::Nothing {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        w.steps(1);
    }
    assert_eq!(
        w.app().setup.get().start,
        StartDoc::Files { paths: vec!["/a/1.png".into(), "/a/2.png".into()] }
    );
}

#[test]
fn an_episode_comes_with_what_really_happened() {
    let mut w = Window::open(WIDE);
    w.press(Modifiers::COMMAND, Key::E);
    let field = w.s().world.episode_hint.clone();
    w.harness.get_by_role_and_label(Role::TextInput, &field).type_text("no episode");
    w.steps(2);
    w.harness.get_by_label("Use this episode").click();
    w.steps(3);
    assert!(w.harness.query_by_label_contains("names no episode").is_some());
    w.app().outbox.send(forerun_ui::message::Message::Episode("data/play#3@5".into()));
    w.steps(3);
    let (job, start) = preview(&mut w);
    assert_eq!(start, Start::Episode { dataset: "data/play".into(), episode: 3, at: 5 });
    let sizes = vec![(SIDE, SIDE); 4];
    w.wire.tell(
        Event::Pictures {
            job,
            sizes: sizes.clone(),
            states: vec![],
            unfamiliar: Some(0.5),
            note: String::new(),
        },
        vec![picture(1); 4],
    );
    w.done(job);
    w.steps(3);
    w.app().setup.edit("test", |s| s.apply(Edit::Steps(6)));
    w.press(Modifiers::COMMAND, Key::Enter);
    let mut ends = Vec::new();
    // Frames come in stretches as long as the model's history, until all steps have their truth.
    for _ in 0..4 {
        w.steps(2);
        let asked = w.wire.sent().into_iter().find_map(|(r, _)| match r {
            Request::Preview { job, start: Start::Episode { at, .. }, .. } => Some((job, at)),
            _ => None,
        });
        let Some((job, at)) = asked else { break };
        ends.push(at);
        w.wire.tell(
            Event::Pictures {
                job,
                sizes: sizes.clone(),
                states: vec![],
                unfamiliar: None,
                note: String::new(),
            },
            (0..4).map(|i| picture((at - 3 + i) as u8)).collect(),
        );
        w.done(job);
    }
    assert_eq!(ends, [9, 11]);
    w.steps(3);
    w.harness.get_by_role_and_label(Role::Button, "Recorded");
    let run = w.app().runs.shown().unwrap();
    let truth = run.truth.as_ref().unwrap();
    assert_eq!(
        (0..=6).map(|i| truth.frame(i).unwrap().0.data[0]).collect::<Vec<_>>(),
        [1, 6, 7, 8, 9, 10, 11]
    );
}

#[test]
fn saving_keeps_every_finished_future_in_the_project() {
    let mut w = Window::open(WIDE);
    let (_, spec) = first_run(&mut w);
    w.wire.sent();
    w.press(Modifiers::COMMAND, Key::S);
    let saves: Vec<_> = w
        .wire
        .sent()
        .into_iter()
        .filter_map(|(r, _)| match r {
            Request::SaveFuture { job, folder, to } => Some((job, folder, to)),
            _ => None,
        })
        .collect();
    assert_eq!(saves.len(), spec.seeds.len());
    let project = w.folder.path().to_owned();
    for (job, folder, to) in saves {
        assert!(folder.starts_with(spec.out.as_ref().unwrap()));
        assert!(to.starts_with(project.join("futures")), "{to:?}");
        w.done(job);
    }
    w.steps(3);
    assert!(w.app().runs.shown().unwrap().saved.is_some());
    assert!(w.harness.query_by_label_contains("Saved 4 futures").is_some(), "a toast says where");
}

#[test]
fn one_pane_can_be_shown_alone_and_runs_can_be_compared() {
    let mut w = Window::open(WIDE);
    first_run(&mut w);
    w.harness.get_by_label("Future with seed 2").click();
    w.steps(3);
    w.press(Modifiers::NONE, Key::F);
    assert!(w.harness.query_by_label("Future with seed 1").is_none());
    w.harness.get_by_label("Future with seed 2");
    w.press(Modifiers::NONE, Key::Escape);
    w.harness.get_by_label("Future with seed 1");
    w.app().setup.edit("test", |s| s.apply(Edit::Seed(50)));
    w.press(Modifiers::COMMAND, Key::Enter);
    w.steps(2);
    w.harness.get_by_label("Future with seed 50");
    w.press(Modifiers::ALT, Key::ArrowLeft);
    w.harness.get_by_label("Future with seed 1");
    let text = fill(&w.s().world.run_of, &[("n", &1), ("all", &2)]);
    w.harness.get_by_label(&text);
}

#[test]
fn a_frame_of_a_future_is_the_next_start() {
    let mut w = Window::open(WIDE);
    let (_, spec) = first_run(&mut w);
    w.press(Modifiers::NONE, Key::Space);
    w.press(Modifiers::NONE, Key::Home);
    w.press(Modifiers::NONE, Key::ArrowRight);
    w.press(Modifiers::COMMAND, Key::B);
    let folder = spec.out.unwrap().join("seed-1");
    assert_eq!(w.app().setup.get().start, StartDoc::Future { folder: folder.clone(), seed: 1, at: 1 });
    let (_, start) = preview(&mut w);
    assert_eq!(start, Start::Future { folder, at: 1 });
}
