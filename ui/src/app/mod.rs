//! The app: what the window shows, and the one place that changes it.
//!
//! A frame runs in two parts. [`Studio::logic`] takes events of the engine, answers of background threads and the
//! messages that widgets sent in the frame before, and carries them out. [`Studio::ui`] draws, and collects new
//! messages. Nothing here waits for anything.

mod apply;
mod blind;
mod compare;
mod data;
mod events;
mod export;
mod follow;
mod ghost;
mod library;
mod measure;
mod models;
mod policy;
mod reason;
mod run;
mod sweep;
mod train;
mod world_pane;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use eframe::egui::{self, Context, Key, Ui};
use forerun::engine::protocol::{ModelInfo, Request};
use forerun::models::Contract;
use strum::IntoEnumIterator;

use crate::background::{Background, FilePicker};
use crate::commands::Command;
use crate::compare::Compare;
use crate::data::Data;
use crate::doc::{Setup, StartDoc};
use crate::futures::Runs;
use crate::history::History;
use crate::i18n::{Strings, strings};
use crate::jobs::{Jobs, Kind};
use crate::link::Link;
use crate::log::{Level, Log};
use crate::message::{Message, Outbox};
use crate::policy::{Policies, PolicyDoc};
use crate::project::Project;
use crate::scenes::{self, Scene};
use crate::screens::{self, Screen};
use crate::shelf::Shelf;
use crate::shell::{bars, sheets, toasts};
use crate::software::Software;
use crate::start::StartView;
use crate::state_file::{self, Found, STATE_FORMAT, State, View};
use crate::train::{TrainDoc, Training};
use crate::transport::{Input, Transport};
use crate::verdict::{Ask, Verdict};
use crate::widgets::pane::Textures;

pub use ghost::Ghost;
pub use run::{StartError, run};
pub(crate) use run::{display_missing, start_error};

/// Bytes of pictures that are taken from the engine in one frame of the window.
const MOST_TAKEN: usize = 32 << 20;

/// Seconds without a change after which layout and setup are written.
const SAVE_AFTER: f64 = 2.0;

/// How long a frame of the window waits for pictures that it has just asked for, while nothing plays.
const PATIENCE: Duration = Duration::from_millis(16);

/// Whether the engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It has been started and has not answered yet.
    Starting,
    /// It answers.
    Ready,
    /// It died and a new one is being started.
    Restarting,
    /// It died and will not come back by itself.
    Gone,
}

/// The window's whole state.
pub struct Studio {
    /// Wakes the window when a thread answers.
    ctx: Context,
    link: Box<dyn Link>,
    background: Background,
    project: Project,
    /// What is set up, with undo.
    pub setup: History<Setup>,
    /// The start as it is shown.
    pub start: StartView,
    /// Models that can be used; `None` until the engine has told.
    pub models: Option<Vec<ModelInfo>>,
    /// Devices that can be chosen.
    pub devices: Vec<String>,
    vocabulary: (String, HashSet<String>),
    /// Futures of this session.
    pub runs: Runs,
    /// The clock of all panes.
    pub transport: Transport,
    /// Jobs of the engine.
    pub jobs: Jobs,
    /// The log and its toasts.
    pub log: Log,
    /// How the window looks.
    pub view: View,
    /// What is open over the window.
    pub sheet: Option<sheets::Sheet>,
    /// The line over the stage, when the engine stopped.
    pub banner: Option<String>,
    /// Starter scenes.
    pub scenes: Vec<Scene>,
    /// Whether the engine answers.
    pub engine: EngineState,
    /// Number of the selected pane.
    pub selected: usize,
    /// Number of the pane that is shown alone.
    pub maximised: Option<usize>,
    /// The robot, and the threads that talk to it.
    pub robot: crate::robot::Robot,
    /// What the Robot screen remembers.
    pub robot_view: screens::robot::RobotView,
    /// What is imagined over the robot's camera.
    pub ghost: Ghost,
    /// The set of the Compare screen.
    pub compare: Compare,
    /// What the Data screen holds.
    pub data: Data,
    /// What is set up on the Train screen.
    pub train: TrainDoc,
    /// Runs of post-training.
    pub training: Training,
    /// What is set up on the Policy screen.
    pub policy: PolicyDoc,
    /// The project's policies and what was found about them.
    pub policies: Policies,
    /// What a reasoner said last.
    pub verdict: Option<Verdict>,
    /// What was asked last.
    pub ask: Ask,
    /// The Models screen.
    pub shelf: Shelf,
    /// Clocks of the screens that are not shown.
    parked: std::collections::HashMap<Screen, Transport>,
    library: Option<crate::compare::library::Library>,
    loader: crate::compare::loader::Loader,
    /// Pictures.
    pub textures: Textures,
    /// Where widgets put their messages.
    pub outbox: Outbox,
    /// Clock time of this frame, seconds.
    pub now: f64,
    imagine_when_ready: bool,
    save_to: Option<(u64, std::path::PathBuf)>,
    can_retry: bool,
    failures: Vec<(Option<Kind>, String, String)>,
    quit: bool,
    kept: State,
    changed_at: Option<f64>,
    may_save: bool,
    shown_theme: Option<(egui::Theme, String)>,
}

impl Studio {
    /// The state of a window that has just been opened. `ctx` is woken whenever something arrives.
    pub fn new(
        ctx: &Context,
        link: Box<dyn Link>,
        project: Project,
        picker: Arc<dyn FilePicker>,
        render: Option<eframe::egui_wgpu::RenderState>,
    ) -> Self {
        let waker = ctx.clone();
        link.set_wake(Box::new(move || waker.request_repaint()));
        if let Some(software) = render.as_ref().and_then(Software::wanted) {
            ctx.add_plugin(software);
        }
        let mut log = Log::default();
        let (state, may_save) = match state_file::read(&project.window_file()) {
            Found::Nothing => (State::default(), true),
            Found::State(state) => (*state, true),
            Found::Newer => {
                let s = strings(View::default().language);
                let path = project.window_file();
                log.add(
                    Level::Warn,
                    crate::i18n::fill(&s.trouble.state_newer, &[("path", &path.display())]),
                    0.0,
                );
                (State::default(), false)
            }
            Found::Broken(reason) => {
                let s = strings(View::default().language);
                log.add(Level::Warn, crate::i18n::fill(&s.trouble.state_broken, &[("reason", &reason)]), 0.0);
                (State::default(), true)
            }
        };
        let cannot_save = strings(state.view.language).trouble.cannot_save_state.clone();
        let mut studio = Self {
            ctx: ctx.clone(),
            background: Background::new(ctx, picker, cannot_save),
            link,
            project,
            setup: History::new(state.setup.clone()),
            start: StartView::default(),
            models: None,
            devices: Vec::new(),
            vocabulary: Default::default(),
            runs: Runs::default(),
            transport: Transport::default(),
            jobs: Jobs::default(),
            log,
            view: state.view.clone(),
            sheet: None,
            banner: None,
            scenes: scenes::all(),
            engine: EngineState::Starting,
            selected: 0,
            maximised: None,
            robot: crate::robot::Robot::new(ctx),
            robot_view: Default::default(),
            ghost: Ghost::default(),
            compare: Compare::new(state.compare.clone()),
            data: Data::default(),
            train: state.train.clone(),
            training: Training::default(),
            policy: state.policy.clone(),
            policies: Policies::default(),
            verdict: None,
            ask: Ask::default(),
            shelf: Shelf::default(),
            parked: Default::default(),
            library: None,
            loader: Default::default(),
            textures: Textures::new(ctx, render),
            outbox: Outbox::default(),
            now: 0.0,
            imagine_when_ready: false,
            save_to: None,
            can_retry: false,
            failures: Vec::new(),
            quit: false,
            kept: state,
            changed_at: None,
            may_save,
            shown_theme: None,
        };
        studio.loader = crate::compare::loader::Loader::new(ctx, &studio.background);
        studio.ask_engine();
        studio.background.sweep(ctx, studio.project.scratch());
        studio
    }

    /// The words of the window's language.
    pub fn strings(&self) -> &'static Strings {
        strings(self.view.language)
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// The chosen model.
    pub fn model(&self) -> Option<&ModelInfo> {
        self.models.iter().flatten().find(|m| m.name == self.setup.get().model)
    }

    /// How requests name the chosen model: by its folder, which says it without doubt; empty when there is none.
    pub fn model_place(&self) -> String {
        self.model().map(|m| m.folder.display().to_string()).unwrap_or_default()
    }

    /// Its contract.
    pub fn contract(&self) -> Option<&Contract> {
        self.model().map(|m| &m.contract)
    }

    /// Its vocabulary.
    pub fn vocabulary(&self) -> &HashSet<String> {
        &self.vocabulary.1
    }

    /// Whether the failed job can be tried again.
    pub fn can_retry(&self) -> bool {
        self.can_retry
    }

    /// The step of the curves that belongs to the frame that is shown: action t leads from frame t to frame t+1.
    pub fn playhead_step(&self) -> usize {
        self.transport.frame().min(self.setup.get().steps.saturating_sub(1))
    }

    /// Whether a command can be carried out now.
    pub fn enabled(&self, command: Command) -> bool {
        let some = self.transport.available() > 0;
        let own = [
            self.data_enabled(command),
            self.train_enabled(command),
            self.policy_enabled(command),
            self.compare_enabled(command),
        ];
        if let Some(enabled) = own.into_iter().flatten().next() {
            return enabled;
        }
        match command {
            Command::Imagine => self.model().is_some(),
            Command::Cancel => {
                self.jobs.imagining().is_some() || self.sheet.is_some() || self.maximised.is_some()
            }
            Command::SaveFutures => self
                .runs
                .shown()
                .is_some_and(|r| r.saved.is_none() && r.futures.iter().any(|f| f.folder.is_some())),
            Command::BranchHere | Command::AskReasoner => self.selected_folder().is_some(),
            Command::ClearStart => self.setup.get().start != StartDoc::Nothing,
            Command::ResetNumbers => !self.setup.get().tracks.is_empty(),
            Command::Undo => self.setup.can_undo(),
            Command::Redo => self.setup.can_redo(),
            Command::TogglePlay
            | Command::StepForward
            | Command::StepBack
            | Command::FirstFrame
            | Command::LastFrame => some,
            Command::StopRobot => self.robot.is_stiff(),
            Command::ToggleMaximise => self.runs.shown().is_some(),
            Command::PreviousRun => self.runs.position().0 > 1,
            Command::NextRun => self.runs.position().0 < self.runs.position().1,
            _ => true,
        }
    }

    fn selected_folder(&self) -> Option<(std::path::PathBuf, u64)> {
        let future = self.runs.shown()?.futures.get(self.selected)?;
        Some((future.folder.clone()?, future.seed))
    }

    fn ask_engine(&mut self) {
        self.request(Kind::List, |job, app| Request::ListModels {
            job,
            project: Some(app.project.folder().to_owned()),
        });
        for i in 0..self.scenes.len() {
            if self.scenes.get(i).is_some_and(|s| s.frame.is_none()) {
                let seed = self.scenes.get(i).map_or(0, |s| s.seed);
                self.request(Kind::Scene(i), |job, _| Request::WorldFrame {
                    job,
                    look: "plain".into(),
                    seed,
                });
            }
        }
    }

    fn request(&mut self, kind: Kind, request: impl FnOnce(u64, &Self) -> Request) -> u64 {
        self.request_with(kind, Vec::new(), request)
    }

    fn request_with(
        &mut self,
        kind: Kind,
        blobs: Vec<Vec<u8>>,
        request: impl FnOnce(u64, &Self) -> Request,
    ) -> u64 {
        let job = self.link.next_job();
        let request = request(job, self);
        self.jobs.start(job, kind, self.now);
        self.link.send(request, blobs);
        job
    }

    /// Takes what has arrived and carries out what was asked for. Call it before [`Studio::ui`].
    pub fn logic(&mut self, ctx: &Context) {
        self.now = ctx.input(|i| i.time);
        let mut taken = 0;
        while let Some(packet) = self.link.try_recv() {
            taken += packet.blobs.iter().map(Vec::len).sum::<usize>();
            self.event(packet);
            // What a frame of the window does is bounded; the rest waits for the next one.
            if taken > MOST_TAKEN {
                ctx.request_repaint();
                break;
            }
        }
        self.report_failures();
        while let Some(message) = self.background.try_recv() {
            self.apply(ctx, message);
        }
        self.robot_input(ctx);
        self.haunt();
        self.input(ctx);
        for message in self.outbox.take() {
            self.apply(ctx, message);
        }
        if !ctx.egui_is_using_pointer() && !ctx.text_edit_focused() {
            self.setup.settle();
            self.compare.doc.settle();
        }
        self.dress(ctx);
        self.follow_setup();
        self.follow_library();
        self.follow_compare();
        self.follow_frames();
        self.follow_sweep();
        self.follow_gauge();
        self.follow_numbers();
        self.follow_data();
        self.follow_train();
        self.follow_policy();
        self.follow_shelf(ctx);
        self.clock(ctx);
        self.keep(ctx);
        if self.quit {
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    /// Draws the window.
    pub fn ui(&mut self, ui: &mut Ui) {
        // The theme may have changed in `logic`, after this `Ui` was made.
        ui.reset_style();
        self.textures.arrive();
        bars::top_bar(self, ui);
        bars::tray(self, ui);
        bars::rail(self, ui);
        bars::log_panel(self, ui);
        crate::shell::stop_bar::show(self, ui);
        match self.view.screen {
            Screen::World => screens::world::show(self, ui),
            Screen::Compare => screens::compare::show(self, ui),
            Screen::Data => screens::data::show(self, ui),
            Screen::Train => screens::train::show(self, ui),
            Screen::Policy => screens::policy::show(self, ui),
            Screen::Robot => screens::robot::show(self, ui),
            Screen::Models => screens::models::show(self, ui),
        }
        toasts::toasts(self, ui.ctx());
        sheets::sheet(self, ui.ctx());
        self.drop_hint(ui);
        // While something plays, the next frame comes anyway, and nothing is waited for.
        let patience = if self.transport.playing() { Duration::ZERO } else { PATIENCE };
        self.textures.depart(patience);
        let ctx = ui.ctx().clone();
        if let Some(size) = ctx.input(|i| i.viewport().inner_rect.map(|r| (r.width(), r.height()))) {
            self.view.size = Some(size);
        }
        // What widgets sent is carried out in the next frame; make sure that there is one.
        let sent = self.outbox.take();
        if !sent.is_empty() {
            ctx.request_repaint();
            sent.into_iter().for_each(|m| self.outbox.send(m));
        }
    }

    fn dress(&mut self, ctx: &Context) {
        let title = match self.project.name() {
            Some(name) => format!("{name} — Forerun"),
            None => "Forerun".to_owned(),
        };
        let wanted = (self.view.theme, title);
        if self.shown_theme.as_ref() != Some(&wanted) {
            ctx.set_theme(wanted.0);
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(wanted.1.clone()));
            self.shown_theme = Some(wanted);
        }
    }

    /// Tells the robot's threads that the window is alive, and takes Escape and Space for Stop while motors hold: before
    /// anything else can have them.
    fn robot_input(&mut self, ctx: &Context) {
        let held = self.robot_view.dead_man || ctx.input(|i| i.modifiers.shift && i.focused);
        self.robot.frame(held);
        if self.robot.is_connected() {
            ctx.request_repaint_after_secs(0.05);
        }
        if !self.robot.is_stiff() {
            return;
        }
        let typing = ctx.text_edit_focused();
        let pressed = ctx.input_mut(|i| {
            let escape = i.consume_key(egui::Modifiers::NONE, Key::Escape);
            let space = !typing && i.consume_key(egui::Modifiers::NONE, Key::Space);
            // Whatever else is held: a hand on Escape means stop.
            escape || space || i.key_pressed(Key::Escape)
        });
        if pressed {
            self.robot.wish(crate::robot::Wish::Stop("the keyboard"));
        } else if self.view.screen == Screen::Robot
            || (self.view.screen == Screen::Data && self.robot_view.recording)
        {
            screens::robot::teleop::by_keys(self, ctx, typing);
        }
    }

    /// Shortcuts, dropped files, pasted pictures.
    fn input(&mut self, ctx: &Context) {
        let typing = ctx.text_edit_focused();
        let busy = ctx.egui_wants_keyboard_input();
        let mut pressed = Vec::new();
        ctx.input_mut(|input| {
            let mut all: Vec<_> =
                Command::iter().flat_map(|c| c.bindings().into_iter().map(move |b| (c, b))).collect();
            // The most modifiers first, or Ctrl+Z would take Ctrl+Shift+Z away.
            all.sort_by_key(|(_, b)| {
                let m = b.shortcut.modifiers;
                std::cmp::Reverse([m.shift, m.alt, m.command, m.ctrl].map(u8::from).iter().sum::<u8>())
            });
            for (command, binding) in all {
                let blocked = binding.bare && (typing || busy && binding.shortcut.logical_key != Key::Escape);
                let own_undo = typing && matches!(command, Command::Undo | Command::Redo);
                let sheet = self.sheet.is_some() && !matches!(command, Command::Palette | Command::Quit);
                // A bare key that means nothing here is left to the widgets.
                let blocked = blocked || binding.bare && !self.enabled(command);
                if !blocked && !own_undo && !sheet && input.consume_shortcut(&binding.shortcut) {
                    pressed.push(command);
                }
            }
        });
        for command in pressed {
            self.outbox.command(command);
        }
        let (dropped, pasted) = ctx.input(|i| {
            let files: Vec<_> = i.raw.dropped_files.iter().map(|f| f.path().to_owned()).collect();
            let pasted = i.events.iter().find_map(|e| match e {
                egui::Event::PasteImage(image) => Some(image.clone()),
                _ => None,
            });
            (files, pasted)
        });
        if !dropped.is_empty() {
            self.outbox.send(Message::Files(dropped));
        }
        if let Some(image) = pasted {
            self.outbox.send(Message::PastedImage(image));
        }
    }

    fn clock(&mut self, ctx: &Context) {
        let extent = match self.view.screen {
            Screen::World => self.runs.shown().map(|run| (run.available(), run.expected(), run.rate_hz)),
            Screen::Compare => Some(self.compare_extent()),
            Screen::Data => {
                let clip = &self.data.clip;
                let fps = self.data.shown().map_or(10.0, |about| about.fps.max(0.1) as f32);
                let expected = if clip.job.is_some() { clip.length.max(clip.ready()) } else { clip.ready() };
                Some((clip.ready(), expected, fps))
            }
            Screen::Train => Some(self.train_extent()),
            Screen::Policy => Some(self.policy_extent()),
            Screen::Robot => None,
            Screen::Models => None,
        };
        if let Some((available, expected, fps)) = extent {
            self.transport.apply(Input::Extent { available, expected, fps }, self.now);
        }
        self.transport.apply(Input::Tick, self.now);
        let next = [
            self.transport.due_in(self.now),
            self.log.expire(self.now),
            self.jobs.shown(self.now).next().map(|_| 0.5),
        ];
        if let Some(seconds) = next.into_iter().flatten().reduce(f64::min) {
            ctx.request_repaint_after_secs(seconds.max(0.001) as f32);
        }
    }

    /// All that is kept.
    fn state(&self) -> State {
        State {
            format: STATE_FORMAT,
            view: self.view.clone(),
            setup: self.setup.get().clone(),
            compare: self.compare.doc.get().clone(),
            train: self.train.clone(),
            policy: self.policy.clone(),
        }
    }

    /// Writes layout and setup a moment after the last change.
    fn keep(&mut self, ctx: &Context) {
        let now = self.state();
        if now == self.kept || !self.may_save {
            self.changed_at = None;
            return;
        }
        let since = *self.changed_at.get_or_insert(self.now);
        if self.now - since >= SAVE_AFTER || self.quit {
            if self.background.save(self.project.window_file(), now.clone()) {
                self.kept = now;
            }
            self.changed_at = None;
        } else {
            ctx.request_repaint_after_secs((SAVE_AFTER - (self.now - since)) as f32 + 0.01);
        }
    }

    /// Writes layout and setup now, on this thread: the window is closing.
    pub fn close(&mut self) {
        let now = self.state();
        if now != self.kept && self.may_save {
            // The window is gone: there is nobody left to tell, and the next start finds the state before.
            let _ = state_file::write(&self.project.window_file(), &now);
        }
    }

    fn drop_hint(&self, ui: &Ui) {
        if ui.input(|i| i.raw.hovered_files.is_empty()) {
            return;
        }
        let t = crate::theme::tokens(ui);
        let painter = ui
            .ctx()
            .layer_painter(egui::LayerId::new(egui::Order::Foreground, egui::Id::unique("drop hint")));
        let rect = ui.ctx().content_rect();
        painter.rect_filled(rect, 0, *t.shade);
        painter.rect_stroke(
            rect.shrink(12.0),
            12,
            egui::Stroke::new(2.0, *t.accent),
            egui::StrokeKind::Inside,
        );
        let font = egui::FontId::new(20.0, crate::theme::semibold());
        painter.text(
            rect.center(),
            egui::Align2::CENTER_CENTER,
            match self.view.screen {
                Screen::Data => &self.strings().data.drop_here,
                _ => &self.strings().world.drop_here,
            },
            font,
            egui::Color32::WHITE,
        );
    }
}

impl eframe::App for Studio {
    fn logic(&mut self, ctx: &Context, _frame: &mut eframe::Frame) {
        Self::logic(self, ctx);
    }

    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        Self::ui(self, ui);
    }

    fn on_exit(&mut self) {
        self.close();
    }
}
