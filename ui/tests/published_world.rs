//! The World screen drives published models through a real engine: frames, words, actions, small pictures of every
//! step, futures, records, and the same again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Chooses, Window};
use eframe::egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use forerun::engine::EngineClient;
use forerun::engine::protocol::{ClipSettings, Event, Request};
use forerun::models::testing::published::{Tiny, tiny, tiny_reasoner};
use forerun_ui::app::Studio;
use forerun_ui::commands::Command;
use forerun_ui::curve::Curve;
use forerun_ui::doc::{Edit, Mode, StartDoc};
use forerun_ui::futures::RunState;
use forerun_ui::i18n::Language;
use forerun_ui::project::Project;
use forerun_ui::screens::Screen;
use forerun_ui::shelf::Wish;
use forerun_ui::{fonts, theme};

/// The app with a real engine, once the first pass has made it.
struct Real {
    project: PathBuf,
    app: Option<Studio>,
}

struct Desk {
    harness: Harness<'static, Real>,
    folder: tempfile::TempDir,
}

impl Desk {
    /// A window on a project with these models, whose engine has listed them.
    fn open(kinds: &[(Tiny, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (kind, name) in kinds {
            let model = folder.path().join("models").join(name);
            std::fs::create_dir_all(&model).unwrap();
            tiny(*kind, &model, 3, 2).unwrap();
        }
        let data = (0..32 * 16).flat_map(|i: usize| [(i % 32 * 7) as u8, (i / 32 * 15) as u8, 90]).collect();
        let picture = forerun::Frame::new(32, 16, data).unwrap();
        forerun::media::write_png(&folder.path().join("a.png"), &picture).unwrap();
        let state = Real { project: folder.path().to_owned(), app: None };
        let harness = Harness::builder()
            .with_size([1400.0, 900.0])
            .with_max_steps(12)
            .with_context_setup(|ctx| {
                fonts::install(ctx);
                theme::install(ctx);
            })
            .build_ui_state(
                |ui, state: &mut Real| {
                    let app = state.app.get_or_insert_with(|| {
                        let project = Project::new(Some(state.project.clone()));
                        let link = Box::new(EngineClient::in_process().unwrap());
                        let mut app =
                            Studio::new(ui.ctx(), link, project, Arc::new(Chooses(Vec::new())), None);
                        app.view.language = Language::English;
                        app
                    });
                    app.logic(&ui.ctx().clone());
                    app.ui(ui);
                },
                state,
            );
        let mut desk = Self { harness, folder };
        desk.until("the models are listed", |app| app.models.is_some());
        desk
    }

    fn app(&mut self) -> &mut Studio {
        self.harness.state_mut().app.as_mut().unwrap()
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Studio) -> bool) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(180) {
            self.harness.run_steps(1);
            if done(self.app()) {
                self.harness.run_steps(2);
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it never came to this: {what}");
    }

    /// Sets a small job up: this model, the picture as its start, `steps` frames.
    fn set_up(&mut self, model: &str, steps: usize, clip: ClipSettings) {
        self.set_up_from(model, 1, steps, clip);
    }

    /// The same with the picture so many times.
    fn set_up_from(&mut self, model: &str, pictures: usize, steps: usize, clip: ClipSettings) {
        let paths = vec![self.folder.path().join("a.png"); pictures];
        let clip = ClipSettings {
            width: Some(32),
            height: Some(16),
            denoise: clip.denoise.or(Some(6)),
            guidance: Some(1.0),
            ..clip
        };
        self.app().setup.edit("test", |setup| {
            setup.apply(Edit::Model(model.into()));
            setup.apply(Edit::Clip(clip.clone()));
            setup.apply(Edit::Mode(Mode::Words));
            setup.apply(Edit::Start(StartDoc::Files { paths: paths.clone() }));
            setup.apply(Edit::Prompt("the arm turns the T".into()));
            setup.apply(Edit::Futures(1));
            setup.apply(Edit::Steps(steps));
        });
        self.until("the start is read", |app| app.start.last().is_some());
    }

    /// The shown future and its record, imagined once more by the engine of another window: every frame the same.
    fn comes_again(&mut self, model: &str) -> forerun_ui::futures::Future {
        let future = self.app().runs.shown().unwrap().futures.first().unwrap().clone();
        let client = EngineClient::in_process().unwrap();
        let job = client.next_job();
        let request = Request::Again { job, record: future.folder.clone().unwrap(), model: None, out: None };
        client.send(request, Vec::new());
        let identical = loop {
            match client.recv_timeout(Duration::from_secs(60)).expect("an answer").message {
                Event::Report { value, .. } => break value["identical"].clone(),
                Event::Failed { message, advice, .. } => panic!("{message} {advice}"),
                _ => {}
            }
        };
        assert_eq!(identical, true, "{model}");
        future
    }

    /// Presses Imagine and waits for the end. Denoising steps and small pictures that were seen on the way.
    fn imagine(&mut self) -> (Vec<usize>, usize) {
        self.harness.get_by_label("Imagine").click();
        self.harness.run_steps(2);
        let (mut steps, mut small) = (Vec::new(), 0);
        self.until("the run ends", |app| {
            let Some(run) = app.runs.shown() else { return false };
            if let Some((done, _)) = run.denoised
                && steps.last() != Some(&done)
            {
                steps.push(done);
            }
            let shown = run.futures.first().and_then(|f| f.frame(1));
            small += usize::from(shown.is_some_and(|(frame, held)| !held && frame.width < 32));
            run.state != RunState::Running
        });
        let state = self.app().runs.shown().unwrap().state.clone();
        assert_eq!(state, RunState::Done);
        (steps, small)
    }
}

#[test]
fn a_model_of_each_group_is_driven_from_the_world_screen() {
    let mut desk = Desk::open(&[
        (Tiny::Predict2, "p2"),
        (Tiny::Predict25, "p25"),
        (Tiny::Predict2Arm, "arm"),
        (Tiny::Cosmos3, "c3"),
        (Tiny::Predict1, "p1"),
        (Tiny::Transfer25, "t25"),
    ]);
    // These terms were read in a session before.
    desk.app().shelf.read.insert("NVIDIA Open Model License".into());
    // Frames and words. A control model makes each of its frames from one of the control clip.
    for (model, pictures) in [("p2", 1), ("p25", 1), ("c3", 1), ("p1", 1), ("t25", 4)] {
        // Enough steps to see some of them on the way.
        let many = ClipSettings { denoise: Some(40), chunk: Some(5), ..ClipSettings::default() };
        desk.set_up_from(model, pictures, 4, many);
        desk.harness.get_by_label("Denoising steps value");
        let (steps, small) = desk.imagine();
        assert!(steps.last() == Some(&40), "{model}: {steps:?}");
        assert!(small > 0, "{model}: no small picture of the latents was seen");
        let future = desk.comes_again(model);
        assert_eq!(future.ready(), 5, "{model}");
        assert!(
            future.frames().iter().all(|f| (f.width, f.height) == (32, 16)),
            "small pictures were replaced"
        );
        let record = future.record.clone().unwrap();
        assert_eq!(record.sampling.as_ref().unwrap().denoise, Some(40));
        assert_eq!((record.prompt.as_str(), record.frames.len()), ("the arm turns the T", 4), "{model}");
        assert_eq!(record.start.frames.len(), pictures, "{model}");
    }
    // Words alone: the first frame of the future stands where there is no start.
    desk.set_up("p25", 4, ClipSettings { denoise: Some(40), ..ClipSettings::default() });
    desk.app().setup.edit("test", |setup| setup.apply(Edit::Start(StartDoc::Nothing)));
    let (_, small) = desk.imagine();
    let future = &desk.app().runs.shown().unwrap().futures[0];
    assert!(future.ready() == 5 && small > 0, "{} {small}", future.ready());
    assert_eq!(future.frame(0).unwrap().0.data, future.frame(1).unwrap().0.data);
    assert_eq!(future.record.as_ref().unwrap().steps, 4);
    // Arm actions and a body's channels move the frames, by name; what moved them is in the record, which makes them again.
    for (model, body, channel) in [("arm", None, "dx"), ("c3", Some("bridge_orig_lerobot"), "x")] {
        let clip = ClipSettings { body: body.map(str::to_owned), chunk: Some(5), ..ClipSettings::default() };
        desk.set_up(model, 4, clip);
        let names: Vec<String> =
            desk.app().contract().unwrap().actions.iter().map(|c| c.name.clone()).collect();
        let place = names.iter().position(|name| name == channel).unwrap();
        desk.app().setup.edit("test", |setup| setup.apply(Edit::Mode(Mode::Numbers)));
        let mut ends = Vec::new();
        for value in [-0.2, 0.2] {
            let curve = Some(Curve::constant(value));
            let channel = channel.to_owned();
            desk.app().setup.edit("test", |setup| {
                setup.apply(Edit::Track { channel: channel.clone(), curve: curve.clone() });
            });
            desk.imagine();
            ends.push(desk.app().runs.shown().unwrap().futures[0].frames().last().unwrap().clone());
        }
        assert!(ends[0].data != ends[1].data, "{model}: the actions changed nothing");
        let record = desk.comes_again(model).record.unwrap();
        assert_eq!(record.actions.channels, names, "{model}");
        assert!(record.actions.rows.iter().all(|row| (row[place] - 0.2).abs() < 1e-6), "{model}");
    }
}

#[test]
fn a_clip_is_watched_while_it_is_denoised_and_stopped_within_a_step() {
    let mut desk = Desk::open(&[(Tiny::Cosmos3, "c3")]);
    let many = ClipSettings::default();
    desk.set_up("c3", 8, many);
    desk.app().setup.edit("test", |setup| {
        let clip =
            ClipSettings { denoise: Some(200), width: Some(512), height: Some(256), ..setup.clip.clone() };
        setup.apply(Edit::Clip(clip));
    });
    desk.harness.get_by_label("Imagine").click();
    desk.harness.run_steps(2);
    desk.until("small pictures arrive", |app| {
        let run = app.runs.shown();
        run.and_then(|r| r.futures.first()?.frame(8)).is_some_and(|(f, held)| !held && f.width == 32)
    });
    assert!(desk.harness.query_all_by_label_contains("of 200").next().is_some());
    let began = Instant::now();
    desk.app().outbox.command(Command::Cancel);
    desk.until("it stops", |app| app.runs.shown().is_some_and(|r| r.state == RunState::Cancelled));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_reasoner_is_asked_about_the_selected_future_and_answers_beside_it() {
    let mut desk = Desk::open(&[(Tiny::Cosmos3, "c3")]);
    let reasoner = desk.folder.path().join("reasoner");
    std::fs::create_dir_all(&reasoner).unwrap();
    tiny_reasoner(&reasoner, 3).unwrap();
    desk.set_up("c3", 4, ClipSettings::default());
    assert!(!desk.app().enabled(Command::AskReasoner), "there is no future yet");
    desk.imagine();
    desk.app().outbox.command(Command::AskReasoner);
    desk.harness.run_steps(3);
    let field = desk.harness.get_by_role_and_label(Role::TextInput, "Folder of the reasoner");
    field.click();
    desk.harness.run_steps(2);
    let field = desk.harness.get_by_role_and_label(Role::TextInput, "Folder of the reasoner");
    field.type_text(&reasoner.to_string_lossy());
    desk.harness.run_steps(3);
    desk.harness.get_by_label("Ask").click();
    desk.harness.run_steps(2);
    desk.until("it has answered", |app| app.verdict.as_ref().is_some_and(|v| v.job.is_none()));
    let verdict = desk.app().verdict.clone().unwrap();
    let text = if verdict.answer.is_empty() { verdict.reasoning } else { verdict.answer };
    assert!(!text.is_empty());
    assert!(desk.harness.query_all_by_label(&text).next().is_some(), "{text}");
    desk.harness.get_by_label("Put the answer away").click();
    desk.harness.run_steps(3);
    assert!(desk.app().verdict.is_none());
}

#[test]
fn the_models_screen_tells_what_each_takes_and_holds_a_first_use_up_for_its_terms() {
    let mut desk = Desk::open(&[(Tiny::Predict25, "p25"), (Tiny::Cosmos3, "c3")]);
    desk.harness.get_by_label("Models").click();
    desk.harness.run_steps(3);
    assert_eq!(desk.app().view.screen, Screen::Models);
    for (name, words) in
        [("p25", "NVIDIA Open Model License"), ("c3", "OpenMDW-1.1"), ("predict2-14b", "38.8 GB")]
    {
        desk.app().outbox.send(forerun_ui::message::Message::Models(Wish::Select(name.into())));
        desk.harness.run_steps(3);
        assert!(desk.harness.query_all_by_label_contains(words).next().is_some(), "{name}: {words}");
    }
    for language in Language::ALL {
        desk.app().view.language = language;
        // `run` checks names and glyphs, and that the window comes to rest.
        desk.harness.run();
    }
    desk.app().view.language = Language::English;
    desk.app().outbox.send(forerun_ui::message::Message::Models(Wish::Use("p25".into())));
    desk.set_up("p25", 4, ClipSettings::default());
    assert_eq!(desk.app().view.screen, Screen::World);
    desk.harness.get_by_label("Imagine").click();
    desk.harness.run_steps(3);
    if desk.app().runs.shown().is_none() {
        // Nobody has read these terms on this machine.
        assert!(desk.harness.query_by_label_contains("guardrail clause").is_some());
        desk.harness.get_by_label("Not now").click();
        desk.harness.run_steps(3);
        assert!(desk.app().sheet.is_none() && desk.app().runs.shown().is_none());
    }
}

#[test]
fn a_download_shows_its_terms_its_progress_and_can_be_stopped() {
    let mut w = Window::open([1400.0, 900.0]);
    w.harness.get_by_label("Models").click();
    w.steps(3);
    w.harness.get_by_role_and_label(Role::Button, "predict2-2b").click();
    w.steps(3);
    w.harness.get_by_role_and_label(Role::TextInput, "Hub address").click();
    w.steps(2);
    w.harness.get_by_role_and_label(Role::TextInput, "Hub address").type_text("http://127.0.0.1:1");
    w.steps(3);
    assert!(w.wire.sent().iter().all(|(r, _)| !matches!(r, Request::FetchModel { .. })));
    w.harness.get_by_label("Download").click();
    w.steps(3);
    assert!(
        w.wire.sent().iter().all(|(r, _)| !matches!(r, Request::FetchModel { .. })),
        "the terms come first"
    );
    w.harness.get_by_label("I have read this").click();
    w.steps(4);
    let sent = w.wire.sent();
    let spec = sent.iter().find_map(|(r, _)| match r {
        Request::FetchModel { job, spec } => Some((*job, spec.clone())),
        _ => None,
    });
    let (job, spec) = spec.expect("the download starts once the terms were read");
    assert_eq!((spec.model.as_str(), spec.endpoint.as_deref()), ("predict2-2b", Some("http://127.0.0.1:1")));
    assert!(sent.iter().any(|(r, _)| matches!(r, Request::AcceptTerms { .. })));
    let what = "downloading (MB)".to_owned();
    w.wire.tell(Event::Progress { job, done: 10, total: 100, seconds_left: Some(9.0), what }, Vec::new());
    w.steps(3);
    w.harness.get_by_label("Stop the download").click();
    w.steps(3);
    assert!(w.wire.sent().iter().any(|(r, _)| matches!(r, Request::Cancel { job: j } if *j == job)));
    w.wire.tell(Event::Cancelled { job }, Vec::new());
    w.steps(3);
    w.harness.get_by_label("Download");
}
