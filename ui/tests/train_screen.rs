//! The Train screen, driven the way a person drives it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{SIDE, Window};
use eframe::egui::{Key, Modifiers, Theme, accesskit::Role};
use egui_kittest::kittest::Queryable;
use forerun::Frame;
use forerun::engine::protocol::{Event, PostTrainSpec, Request};
use forerun::project::datasets;
use forerun_ui::i18n::Language;
use forerun_ui::screens::Screen;
use forerun_ui::train::RunState;
use serde_json::json;

const WIDE: [f32; 2] = [1400.0, 1000.0];

/// A window on the Train screen of a project with one dataset, whose actions lie three frames too late.
fn ready(size: [f32; 2]) -> Window {
    let mut w = Window::open(size);
    let folder = w.folder.path().join("elsewhere/robot");
    std::fs::create_dir_all(folder.join("meta")).unwrap();
    std::fs::write(folder.join("meta/info.json"), "{}").unwrap();
    let mut entry = datasets::link(w.folder.path(), &folder).unwrap();
    entry.view.action_lag = 3;
    datasets::write(w.folder.path(), &entry).unwrap();
    w.press(Modifiers::COMMAND, Key::Num4);
    w.until("the datasets", |w| w.app().data.entries.is_some());
    w.steps(2);
    w.wire.sent();
    w
}

fn sent(w: &Window) -> Option<(u64, PostTrainSpec)> {
    w.wire.sent().into_iter().find_map(|(r, _)| match r {
        Request::PostTrain { job, spec } => Some((job, spec)),
        _ => None,
    })
}

fn start(w: &mut Window) -> (u64, PostTrainSpec) {
    w.harness.get_by_label("Start training").click();
    w.steps(3);
    sent(w).expect("one press, one run")
}

fn report(w: &Window, job: u64, value: serde_json::Value, blobs: Vec<Vec<u8>>) {
    w.wire.tell(Event::Report { job, value }, blobs);
}

fn comparison(psnr: f32, delta: f32) -> serde_json::Value {
    json!({ "horizons": [1, 4, 10], "psnr": [psnr + 8.0, psnr + 3.0, psnr], "base": [20.0, 17.0, 15.0],
        "freeze": [25.0, 18.0, 14.0], "shuffled": [psnr, psnr, psnr - delta], "delta": [delta, delta, delta],
        "spread_skill": 0.8, "old": { "psnr": [29.0, 24.0, 20.0], "base": [30.0, 25.0, 20.5] }, "score": psnr + 4.0 })
}

fn line(iteration: u64, judgement: Option<serde_json::Value>, alarm: Option<&str>) -> serde_json::Value {
    let mut value = json!({ "stage": "training", "iteration": iteration, "progress": iteration as f64 / 100.0,
        "seconds": iteration as f64, "seconds_left": 60.0, "loss": 0.0512, "psnr": 21.0, "learning_rate": 1e-3,
        "gradient_norm": 1.0, "frames_per_second": 240.0 });
    if let Some(judgement) = judgement {
        value["judgement"] = judgement;
    }
    if let Some(alarm) = alarm {
        value["alarm"] = json!(alarm);
    }
    value
}

/// A sheet of two held-out starts: three rows each, two frames.
fn sheet() -> Vec<u8> {
    let mut frame = Frame::filled(2 * SIDE, 6 * SIDE, [0; 3]);
    for (i, byte) in frame.data.iter_mut().enumerate() {
        *byte = (i / (2 * SIDE * 3) / SIDE * 40) as u8;
    }
    forerun::media::encode_png(&frame).unwrap()
}

fn until_preflight(w: &mut Window, job: u64) {
    report(w, job, json!({ "stage": "note", "note": "of 2 cameras front is used" }), vec![]);
    let preflight = json!({ "frames_per_second": 250.0, "seconds_per_iteration": 0.5, "iterations": 900, "seconds": 1200.0,
        "memory_needed": 900_000_000u64, "memory_free": 8_000_000_000u64, "disk_needed": 300_000_000u64, "disk_free": 90_000_000_000u64 });
    report(w, job, json!({ "stage": "ready", "preflight": preflight }), vec![]);
    let judged = json!({ "horizons": [1, 4, 10], "psnr": [20.0, 17.0, 15.0], "freeze": [25.0, 18.0, 14.0], "shuffled": [] });
    report(w, job, json!({ "stage": "before", "judgement": judged }), vec![]);
    w.steps(3);
}

#[test]
fn one_button_starts_a_run_with_the_corrections_of_its_data() {
    let mut w = ready(WIDE);
    let (_, spec) = start(&mut w);
    assert_eq!(spec.views[0].action_lag, 3);
    assert_eq!((spec.minutes, spec.iterations, spec.resume), (Some(20.0), None, false));
    assert!(spec.base.ends_with("tabletop"));
    assert_eq!(spec.out, w.folder.path().join("models/robot-model"));
    assert!(spec.datasets[0].ends_with("elsewhere/robot"));
    assert!(!w.app().can_train(), "one at a time");
}

#[test]
fn the_course_of_a_run_is_shown_beside_the_base_and_freeze() {
    let mut w = ready(WIDE);
    let (job, _) = start(&mut w);
    until_preflight(&mut w, job);
    w.harness.get_by_label("of 2 cameras front is used");
    w.harness.get_by_label("250 frames a second measured here: 900 steps in 20 min.");
    report(&w, job, line(5, Some(comparison(16.0, 1.2)), None), vec![sheet()]);
    w.until("the preview", |w| w.app().training.shown().unwrap().shown().is_some());
    w.steps(3);
    w.harness.get_by_label("PSNR at step 10 16.0 dB base 15.0, freeze 14.0");
    w.harness.get_by_label("Worth of actions 1.2 dB it follows its actions");
    w.harness.get_by_label("Course of PSNR on held-out episodes");
    for name in ["What came", "Before", "Now"] {
        w.harness.get_by_role_and_label(Role::Image, name);
    }
    let slot = forerun_ui::widgets::pane::Slot::Preview(1);
    assert_eq!(w.app().textures.shown(&slot).unwrap().data[0], 40);
    w.harness.get_by_label("Start 2").click();
    w.steps(4);
    assert_eq!(w.app().textures.shown(&slot).unwrap().data[0], 160, "the second start's row");
    assert_eq!(w.app().transport.expected(), 2);
}

#[test]
fn a_model_that_ignores_its_actions_sets_off_an_alarm() {
    let mut w = ready(WIDE);
    let (job, _) = start(&mut w);
    until_preflight(&mut w, job);
    let words = "The model does the same whatever it is told.";
    report(&w, job, line(5, Some(comparison(16.0, 0.02)), Some(words)), vec![]);
    w.steps(3);
    assert!(w.harness.query_all_by_label(words).count() >= 2, "on the screen, and as a toast");
    w.harness.get_by_label("Worth of actions 0.0 dB it ignores its actions");
    report(&w, job, line(10, Some(comparison(17.0, 0.9)), None), vec![]);
    w.steps(3);
    assert_eq!(w.app().training.shown().unwrap().alarm, None);
}

#[test]
fn a_run_pauses_resumes_and_ends_in_a_scorecard_and_a_model_to_use() {
    let mut w = ready(WIDE);
    let (job, first) = start(&mut w);
    until_preflight(&mut w, job);
    report(&w, job, line(5, Some(comparison(16.0, 1.0)), None), vec![]);
    w.steps(3);
    w.harness.get_by_label("Pause training").click();
    w.steps(3);
    assert!(w.wire.sent().iter().any(|(r, _)| *r == Request::Cancel { job }));
    w.wire.tell(Event::Cancelled { job }, Vec::new());
    w.steps(3);
    assert_eq!(w.app().training.shown().unwrap().state, RunState::Paused);
    w.harness.get_by_label("Resume training").click();
    w.steps(3);
    let (job, again) = sent(&w).unwrap();
    assert_eq!((again.resume, &again.out), (true, &first.out));
    report(&w, job, line(100, Some(comparison(19.0, 2.0)), None), vec![]);
    let done = json!({ "stage": "done", "model": first.out, "comparison": comparison(19.5, 2.1), "iterations": 100,
        "best_iteration": 100, "stopped": null });
    report(&w, job, done, vec![]);
    w.done(job);
    w.steps(3);
    w.harness.get_by_label("Scorecard");
    w.harness.get_by_label("+4.50 dB");
    w.harness.get_by_label("The base's own world lost 0.50 dB at 10 steps.");
    w.harness.get_by_label("Use checkpoint 100");
    assert!(w.app().train.unfinished.is_empty());
    // The engine is asked for the models; then the new one is the World screen's.
    w.harness.get_by_label("Use this model").click();
    w.steps(3);
    assert_eq!(w.app().view.screen, Screen::World);
    assert_eq!(w.app().setup.get().model, "robot-model");
}

#[test]
fn a_run_that_a_crash_ended_can_go_on_in_the_next_session() {
    let mut w = ready(WIDE);
    let (_, spec) = start(&mut w);
    std::fs::create_dir_all(&spec.out).unwrap();
    let log = format!("{}\n", line(40, Some(comparison(17.0, 1.0)), None));
    std::fs::write(spec.out.join("log.jsonl"), log.replace("\"stage\":\"training\",", "")).unwrap();
    let file = w.folder.path().join(".forerun/window.json");
    w.until("the kept run", |_| {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains("robot-model"))
    });
    let folder = w.folder;
    let mut again = Window::in_folder(WIDE, Vec::new(), folder);
    again.answer_start();
    again.until("the log of the run", |w| w.app().training.shown().is_some_and(|run| !run.course.is_empty()));
    again.steps(2);
    again.harness.get_by_label("PSNR at step 10 17.0 dB base 15.0, freeze 14.0");
    again.harness.get_by_label("Resume training").click();
    again.steps(3);
    assert!(sent(&again).unwrap().1.resume);
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let mut w = ready(WIDE);
    let (job, _) = start(&mut w);
    let (message, advice) = ("The run needs 9 GB of memory, 2 GB are free.".into(), String::new());
    w.wire.tell(Event::Failed { job, message, advice }, Vec::new());
    w.steps(3);
    assert!(w.harness.query_all_by_label("The run needs 9 GB of memory, 2 GB are free.").count() >= 1);
    assert!(w.app().train.unfinished.is_empty(), "nothing to go on with");
    assert!(w.app().can_train());
}

#[test]
fn every_state_has_named_widgets_and_known_letters() {
    for size in [[720.0, 480.0], [1280.0, 800.0]] {
        for language in Language::ALL {
            let mut w = ready(size);
            w.app().view.language = language;
            w.app().view.theme = Theme::Light;
            w.steps(2);
            w.harness.run();
            w.app().outbox.command(forerun_ui::commands::Command::StartTraining);
            w.steps(3);
            let (job, _) = sent(&w).unwrap();
            until_preflight(&mut w, job);
            report(&w, job, line(5, Some(comparison(16.0, 0.05)), Some("Look.")), vec![sheet()]);
            w.until("the preview", |w| w.app().training.shown().unwrap().shown().is_some());
            let done = json!({ "stage": "done", "comparison": comparison(19.5, 2.1), "iterations": 100, "best_iteration": 90,
                "stopped": "stopped early" });
            report(&w, job, done, vec![]);
            w.done(job);
            w.steps(3);
            if w.app().transport.playing() {
                w.press(Modifiers::NONE, Key::Space);
            }
            w.harness.run();
        }
    }
}
