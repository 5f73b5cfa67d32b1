//! Drives the whole window without a display: real widgets, real messages, an engine whose answers the test writes.
#![allow(dead_code, clippy::unwrap_used)] // Each test program uses a part of this.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eframe::egui;
use eframe::egui_wgpu::{RenderState, RendererOptions};
use egui_kittest::Harness;
use egui_kittest::wgpu::{WgpuTestRenderer, create_render_state, default_wgpu_setup};
use forerun::engine::protocol::{Event, ImagineSpec, JobId, ModelInfo, Packet, Reading, Request};
use forerun::models::{Channel, ChannelMode, Contract, FrameSpec};
use forerun_ui::app::Studio;
use forerun_ui::background::FilePicker;
use forerun_ui::i18n::{Language, Strings, strings};
use forerun_ui::link::Link;
use forerun_ui::project::Project;
use forerun_ui::{fonts, theme};

/// Size of the pictures of the tests.
pub const SIDE: usize = 16;

/// An engine whose answers the test writes.
#[derive(Clone, Default)]
pub struct Wire(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sent: Mutex<Vec<(Request, Vec<Vec<u8>>)>>,
    events: Mutex<VecDeque<Packet<Event>>>,
    next: AtomicU64,
}

impl Link for Wire {
    fn next_job(&self) -> JobId {
        self.0.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn send(&self, request: Request, blobs: Vec<Vec<u8>>) {
        self.0.sent.lock().unwrap().push((request, blobs));
    }

    fn try_recv(&self) -> Option<Packet<Event>> {
        self.0.events.lock().unwrap().pop_front()
    }

    fn set_wake(&self, _wake: Box<dyn Fn() + Send + Sync>) {}
}

impl Wire {
    /// The engine tells this.
    pub fn tell(&self, message: Event, blobs: Vec<Vec<u8>>) {
        self.0.events.lock().unwrap().push_back(Packet { message, blobs });
    }

    /// Takes the requests that were sent since the last call.
    pub fn sent(&self) -> Vec<(Request, Vec<Vec<u8>>)> {
        std::mem::take(&mut *self.0.sent.lock().unwrap())
    }
}

/// A device to draw with: the software driver where there is one. Without any, the test says so; in CI it fails.
pub fn device() -> Option<RenderState> {
    // As the window is opened: pictures are shown level by level.
    let options = RendererOptions { dithering: false, ..Default::default() };
    let made = std::panic::catch_unwind(|| create_render_state(default_wgpu_setup(), options));
    if made.is_err() {
        let text =
            "no Vulkan or OpenGL driver was found (Debian: apt install mesa-vulkan-drivers libvulkan1)";
        assert!(std::env::var_os("CI").is_none(), "{text}");
        eprintln!("SKIPPED: {text}");
    }
    made.ok()
}

/// A person who chooses these files in every dialog.
pub struct Chooses(pub Vec<PathBuf>);

impl FilePicker for Chooses {
    fn frames(&self, _title: &str) -> Vec<PathBuf> {
        self.0.clone()
    }

    fn folder(&self, _title: &str) -> Option<PathBuf> {
        self.0.first().cloned()
    }

    fn save(&self, _title: &str, name: &str) -> Option<PathBuf> {
        Some(self.0.first()?.join(name))
    }
}

/// The window under test.
pub struct Window {
    pub harness: Harness<'static, State>,
    pub wire: Wire,
    pub folder: tempfile::TempDir,
    /// Requests that came while the start was being answered and were not answered.
    pub kept: Vec<Request>,
}

/// The app, once the first pass has made it.
pub struct State {
    wire: Wire,
    project: PathBuf,
    picks: Vec<PathBuf>,
    render: Option<RenderState>,
    pub app: Option<Studio>,
}

pub fn contract() -> Contract {
    let channel = |name: &str, unit: &str, min: f32, max: f32| Channel {
        name: name.into(),
        unit: unit.into(),
        min,
        max,
        mode: ChannelMode::Absolute,
        mean: (min + max) / 2.0,
        std: (max - min) / 4.0,
    };
    let channels =
        vec![channel("shoulder_pan.pos", "deg", -110.0, 110.0), channel("gripper.pos", "%", 0.0, 100.0)];
    Contract {
        format: 1,
        name: "tabletop".into(),
        family: "dreamer".into(),
        frame: FrameSpec { width: SIDE, height: SIDE, rate_hz: 10.0, history: 4, fit: Default::default() },
        actions: channels.clone(),
        state: channels,
        text: true,
        knows: "Pushing one cube on a table, in English and Chinese.".into(),
        embodiment: "so101".into(),
        licence: "Apache-2.0".into(),
        familiar_residual: Some(0.01),
        vocabulary: "push the red cube to left right away toward you 把 紅 色 方 塊 推 到 左 右 邊"
            .split(' ')
            .map(str::to_owned)
            .collect(),
    }
}

pub fn model() -> ModelInfo {
    ModelInfo {
        name: "tabletop".into(),
        folder: "models/tabletop".into(),
        sha256: "0123456789abcdef".repeat(4),
        parameters: 6_200_000,
        contract: contract(),
        clip: None,
    }
}

/// A picture of one grey.
pub fn picture(level: u8) -> Vec<u8> {
    vec![level; SIDE * SIDE * 3]
}

/// Grey level of a frame of a future of [`Window::run_seeds`].
pub fn level(seed: u64, index: usize) -> u8 {
    (20 + seed as usize * 16 + index * 3) as u8
}

/// A window on the Compare screen with `n` futures of `steps` frames, paused at frame 0.
pub fn compare_seeds(size: [f32; 2], n: usize, steps: usize) -> Window {
    let mut window = Window::open(size);
    window.run_seeds(n, steps);
    window.app().outbox.command(forerun_ui::commands::Command::CompareRun);
    window.steps(3);
    window
}

impl Window {
    /// A window in English of this size, whose engine has answered: one model, six drawn scenes.
    pub fn open(size: [f32; 2]) -> Self {
        let mut window = Self::cold(size, Vec::new());
        window.answer_start();
        window
    }

    /// A window whose engine has not answered yet; dialogs choose `picks`.
    pub fn cold(size: [f32; 2], picks: Vec<PathBuf>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(size, picks, folder)
    }

    /// A window on the project in `folder`.
    pub fn in_folder(size: [f32; 2], picks: Vec<PathBuf>, folder: tempfile::TempDir) -> Self {
        Self::build(size, picks, folder, None)
    }

    /// A window that is drawn with a graphics device, as a person's is: textures come from their thread, shaders run.
    pub fn on_device(size: [f32; 2], device: RenderState) -> Self {
        let mut window = Self::build(size, Vec::new(), tempfile::tempdir().unwrap(), Some(device));
        window.answer_start();
        window
    }

    fn build(
        size: [f32; 2],
        picks: Vec<PathBuf>,
        folder: tempfile::TempDir,
        render: Option<RenderState>,
    ) -> Self {
        let wire = Wire::default();
        let project = folder.path().to_owned();
        let state = State { wire: wire.clone(), project, picks, render: render.clone(), app: None };
        let builder = Harness::builder();
        let builder = match render {
            Some(device) => builder.renderer(WgpuTestRenderer::from_render_state(device)),
            None => builder,
        };
        let harness = builder
            .with_size(size)
            .with_max_steps(12)
            .with_context_setup(|ctx| {
                fonts::install(ctx);
                theme::install(ctx);
            })
            .build_ui_state(frame, state);
        let mut window = Self { harness, wire, folder, kept: Vec::new() };
        window.app().view.language = Language::English;
        window.steps(3);
        window
    }

    /// Answers everything that is asked at the start.
    pub fn answer_start(&mut self) {
        let ready = Event::Ready { version: 1, software: "0.1.0".into(), devices: vec!["cpu".into()] };
        self.wire.tell(ready, Vec::new());
        for (request, _) in self.wire.sent() {
            match request {
                Request::ListModels { job, .. } => {
                    self.wire.tell(Event::Models { job, models: vec![model()] }, Vec::new());
                    self.done(job);
                }
                Request::WorldFrame { job, seed, .. } => self.draw(job, seed as u8),
                _ => {}
            }
        }
        self.steps(3);
        let warms: Vec<_> = self.wire.sent().into_iter().filter_map(|(r, _)| r.job()).collect();
        warms.into_iter().for_each(|job| self.done(job));
        self.steps(2);
    }

    /// Answers what is asked at the start; what else is asked for goes to `kept`.
    pub fn answer_start_but_keep(&mut self) {
        let ready = Event::Ready { version: 1, software: "0.1.0".into(), devices: vec!["cpu".into()] };
        self.wire.tell(ready, Vec::new());
        for round in 0..4 {
            for (request, _) in self.wire.sent() {
                match request {
                    Request::ListModels { job, .. } => {
                        self.wire.tell(Event::Models { job, models: vec![model()] }, Vec::new());
                        self.done(job);
                    }
                    Request::WorldFrame { job, seed, .. } => self.draw(job, seed as u8),
                    Request::Warm { job, .. } | Request::Preview { job, .. } => self.done(job),
                    other => self.kept.push(other),
                }
            }
            self.steps(2 + usize::from(round == 0));
        }
    }

    /// Imagines `futures` futures of `steps` frames on the World screen, whole; each frame has a level of its own.
    pub fn run_seeds(&mut self, futures: usize, steps: usize) -> (JobId, ImagineSpec) {
        self.run_pictures(futures, steps, |seed, index| picture(level(seed, index)))
    }

    /// The same with other pictures, by seed and frame.
    pub fn run_pictures(
        &mut self,
        futures: usize,
        steps: usize,
        drawn: impl Fn(u64, usize) -> Vec<u8>,
    ) -> (JobId, ImagineSpec) {
        self.app().setup.edit("test", |s| {
            s.apply(forerun_ui::doc::Edit::Prompt("push".into()));
            s.futures = futures;
            s.steps = steps;
        });
        self.app().outbox.command(forerun_ui::commands::Command::Imagine);
        let (job, spec, _) = self.imagined();
        for index in 0..=steps {
            for seed in &spec.seeds {
                let values = vec![("progress".to_owned(), index as f32 / 10.0)];
                let event = Event::FutureFrame {
                    job,
                    seed: *seed,
                    index,
                    width: SIDE,
                    height: SIDE,
                    reading: Reading { values },
                };
                self.wire.tell(event, vec![drawn(*seed, index)]);
            }
        }
        self.finish(job, &spec);
        self.steps(3);
        if self.app().transport.playing() {
            self.app().outbox.command(forerun_ui::commands::Command::TogglePlay);
        }
        self.steps(2);
        (job, spec)
    }

    /// Answers a request for a frame of the virtual world.
    pub fn draw(&self, job: JobId, level: u8) {
        let states = vec![vec![("shoulder_pan.pos".to_owned(), 12.5), ("gripper.pos".to_owned(), 40.0)]];
        let event =
            Event::Pictures { job, sizes: vec![(SIDE, SIDE)], states, unfamiliar: None, note: String::new() };
        self.wire.tell(event, vec![picture(level)]);
        self.done(job);
    }

    pub fn done(&self, job: JobId) {
        self.wire.tell(Event::Done { job, summary: String::new() }, Vec::new());
    }

    /// Streams the frames `from..=to` of each future.
    pub fn stream(&self, job: JobId, spec: &ImagineSpec, from: usize, to: usize) {
        for index in from..=to {
            for seed in &spec.seeds {
                let values = vec![("progress".to_owned(), index as f32 / 10.0)];
                let reading = Reading { values };
                let event =
                    Event::FutureFrame { job, seed: *seed, index, width: SIDE, height: SIDE, reading };
                self.wire.tell(event, vec![picture((index * 3) as u8)]);
            }
        }
    }

    /// Ends a job of imagining well.
    pub fn finish(&self, job: JobId, spec: &ImagineSpec) {
        for seed in &spec.seeds {
            let folder = spec.out.as_ref().map(|out| out.join(format!("seed-{seed}")));
            self.wire.tell(
                Event::FutureDone { job, seed: *seed, folder, record: serde_json::json!({}) },
                Vec::new(),
            );
        }
        self.done(job);
    }

    /// Draws until `done` holds: for what threads answer.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..2000 {
            self.steps(1);
            if done(self) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it never came to this: {what}");
    }

    pub fn app(&mut self) -> &mut Studio {
        self.harness.state_mut().app.as_mut().unwrap()
    }

    pub fn steps(&mut self, n: usize) {
        self.harness.run_steps(n);
    }

    pub fn s(&mut self) -> &'static Strings {
        strings(self.app().view.language)
    }

    /// The one job of imagining that was asked for since the last look at what was sent.
    pub fn imagined(&mut self) -> (JobId, ImagineSpec, Vec<Vec<u8>>) {
        self.steps(3);
        let found: Vec<_> = self
            .wire
            .sent()
            .into_iter()
            .filter_map(|(r, blobs)| match r {
                Request::Imagine { job, spec } => Some((job, spec, blobs)),
                _ => None,
            })
            .collect();
        assert_eq!(found.len(), 1, "one press, one job");
        found.into_iter().next().unwrap()
    }

    pub fn press(&mut self, modifiers: egui::Modifiers, key: egui::Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.steps(3);
    }
}

fn frame(ui: &mut egui::Ui, state: &mut State) {
    let app = state.app.get_or_insert_with(|| {
        let project = Project::new(Some(state.project.clone()));
        let picker = Arc::new(Chooses(state.picks.clone()));
        Studio::new(ui.ctx(), Box::new(state.wire.clone()), project, picker, state.render.clone())
    });
    app.logic(&ui.ctx().clone());
    app.ui(ui);
}
