//! Carrying out messages: commands, edits, answers of background threads.

use std::path::{Path, PathBuf};

use eframe::egui::{Context, gui_zoom};
use forerun::engine::protocol::{Request, Start};
use forerun::models::published::Family;

use super::{EngineState, Studio};
use crate::commands::Command;
use crate::doc::{Edit, StartDoc, parse_episode, start_by_name};
use crate::futures::{Run, RunState};
use crate::i18n::fill;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Message;
use crate::project::{Project, run_name};
use crate::scenes;
use crate::screens::Screen;
use crate::shelf::Held;
use crate::shell::sheets::Sheet;
use crate::start::{Reading, StartView};
use crate::state_file::View;
use crate::transport::Input;

/// A seed that nobody chose, from the clock: small enough to read aloud.
fn fresh_seed() -> u64 {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    // Multiplying by a large odd number spreads neighbouring times over all digits (Knuth's multiplicative hash).
    ((nanos as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 100_000
}

impl Studio {
    pub(super) fn apply(&mut self, ctx: &Context, message: Message) {
        match message {
            Message::Do(command) => {
                if self.enabled(command) {
                    self.command(ctx, command);
                }
            }
            Message::Edit(edit) => self.edit(edit),
            Message::Transport(input) => self.transport.apply(input, self.now),
            Message::SelectPane(i) => self.selected = i,
            Message::Maximise(i) => self.maximised = if self.maximised == Some(i) { None } else { Some(i) },
            Message::PickScene(i) => {
                let Some(seed) = self.scenes.get(i).map(|s| s.seed) else { return };
                let prompt = scenes::prompt(&self.strings().scenes, i).to_owned();
                self.edit(Edit::Scene { start: StartDoc::World { seed }, prompt });
            }
            Message::Compare(wish) => self.compare_wish(wish),
            Message::Data(wish) => self.data_wish(wish),
            Message::Train(wish) => self.train_wish(wish),
            Message::Policy(wish) => self.policy_wish(wish),
            Message::Files(paths) if self.view.screen == Screen::Data => self.import(paths),
            Message::Robot(wish) => self.robot.wish(wish),
            Message::Twins => self.twins(),
            Message::PickBundle => {
                self.background.pick_bundle(ctx, self.strings().robot.install.trim_end_matches('…').into());
            }
            Message::Models(wish) => self.models_wish(ctx, wish),
            Message::Ask(ask) => self.ask_reasoner(ask),
            Message::CloseVerdict => {
                if let Some(job) = self.verdict.take().and_then(|v| v.job) {
                    self.cancel(job);
                }
            }
            Message::Files(paths) => self.files(paths),
            Message::Episode(text) => match parse_episode(&text) {
                Some(start) => {
                    self.sheet = None;
                    self.edit(Edit::Start(start));
                }
                None => {
                    let trouble = fill(&self.strings().trouble.not_an_episode, &[("text", &text)]);
                    self.sheet = Some(Sheet::Episode { text, trouble: Some(trouble) });
                }
            },
            Message::BrowseDataset => {
                self.background.pick_dataset(ctx, self.strings().world.episode_hint.clone())
            }
            Message::PastedImage(image) => {
                let trouble = self.strings().trouble.cannot_read_image.clone();
                self.background.keep_pasted(ctx, image, self.project.pasted(), trouble);
            }
            Message::Project(folder) => self.open_project(ctx, folder),
            Message::CancelJob(job) => self.cancel(job),
            Message::Retry => {
                self.banner = None;
                self.can_retry = false;
                self.imagine();
            }
            Message::DismissBanner => self.banner = None,
            Message::DismissToast(id) => self.log.dismiss(id),
            Message::Copy(text) => {
                ctx.copy_text(text);
                self.log.add(Level::Info, &self.strings().shell.copied, self.now);
            }
            Message::ToggleCurve(channel) => {
                if !self.view.curves.remove(&channel) {
                    self.view.curves.insert(channel);
                }
            }
            Message::CloseSheet => self.sheet = None,
            Message::Tell(level, text) => self.log.add(level, text, self.now),
        }
    }

    fn command(&mut self, ctx: &Context, command: Command) {
        let s = self.strings();
        let own = self.data_command(command) || self.train_command(command) || self.policy_command(command);
        if own || self.compare_command(command) {
            return;
        }
        let mut drive = |input| self.transport.apply(input, self.now);
        match command {
            Command::TogglePlay => drive(Input::Toggle),
            Command::StepForward => drive(Input::Step(1)),
            Command::StepBack => drive(Input::Step(-1)),
            Command::FirstFrame => drive(Input::First),
            Command::LastFrame => drive(Input::Last),
            Command::ToggleLoop => drive(Input::ToggleLoop),
            Command::Faster => drive(Input::Faster),
            Command::Slower => drive(Input::Slower),
            Command::Imagine => self.imagine(),
            Command::Cancel => {
                if self.sheet.is_some() {
                    self.sheet = None;
                } else if let Some(job) = self.jobs.imagining() {
                    self.cancel(job);
                } else {
                    self.maximised = None;
                }
            }
            Command::SaveFutures => self.save_futures(),
            Command::NewWorldFrame => {
                let seed = fresh_seed() + 1000;
                self.edit(Edit::Start(StartDoc::World { seed }));
            }
            Command::OpenFrames => {
                self.background.pick_frames(ctx, s.commands.open_frames.name.trim_end_matches('…').into())
            }
            Command::OpenEpisode => {
                let text = match &self.setup.get().start {
                    StartDoc::Episode { dataset, episode, .. } => format!("{}#{episode}", dataset.display()),
                    _ => String::new(),
                };
                self.sheet = Some(Sheet::Episode { text, trouble: None });
            }
            Command::OpenProject => {
                self.background.pick_project(ctx, s.commands.open_project.name.trim_end_matches('…').into())
            }
            Command::ClearStart => self.edit(Edit::Start(StartDoc::Nothing)),
            Command::AskReasoner => self.sheet = Some(Sheet::Ask(self.ask.clone())),
            Command::BranchHere => {
                if let Some((folder, seed)) = self.selected_folder() {
                    self.edit(Edit::Start(StartDoc::Future { folder, seed, at: self.transport.frame() }));
                }
            }
            Command::RerollSeed => self.edit(Edit::Seed(fresh_seed())),
            Command::MoreFutures => self.edit(Edit::Futures(self.setup.get().futures + 1)),
            Command::FewerFutures => self.edit(Edit::Futures(self.setup.get().futures.saturating_sub(1))),
            Command::ResetNumbers => self.edit(Edit::ResetNumbers),
            Command::Undo => self.setup.undo(),
            Command::Redo => self.setup.redo(),
            Command::ToggleMaximise => {
                self.maximised = if self.maximised.is_some() { None } else { Some(self.selected) };
            }
            Command::PreviousRun => self.go_run(-1),
            Command::NextRun => self.go_run(1),
            Command::ToggleSmooth => self.view.smooth = !self.view.smooth,
            Command::ShowModel => self.view.model_card = !self.view.model_card,
            Command::Palette => self.sheet = Some(Sheet::Palette { query: String::new(), marked: 0 }),
            Command::Shortcuts => self.sheet = Some(Sheet::Shortcuts),
            Command::ToggleLog => self.view.log = !self.view.log,
            Command::ToggleTheme => {
                use eframe::egui::Theme::{Dark, Light};
                self.view.theme = if self.view.theme == Dark { Light } else { Dark };
            }
            Command::ToggleLanguage => self.view.language = self.view.language.other(),
            Command::ZoomIn => gui_zoom::zoom_in(ctx),
            Command::ZoomOut => gui_zoom::zoom_out(ctx),
            Command::ZoomReset => ctx.set_zoom_factor(1.0),
            Command::ResetLayout => {
                let keep = (self.view.language, self.view.theme);
                let screen = self.view.screen;
                self.view = View { language: keep.0, theme: keep.1, screen, ..View::default() };
                ctx.memory_mut(|m| m.reset_areas());
            }
            Command::StopRobot => self.robot.wish(crate::robot::Wish::Stop("the window")),
            Command::Quit => self.quit = true,
            // The rest was carried out by the screens' own functions.
            _ => {}
        }
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        self.setup.edit(&edit.kind(), |setup| setup.apply(edit.clone()));
    }

    fn go_run(&mut self, by: isize) {
        self.runs.go(by);
        self.selected = 0;
        self.maximised = None;
        self.transport.apply(Input::Restart, self.now);
    }

    fn files(&mut self, paths: Vec<PathBuf>) {
        let Some(first) = paths.first() else { return };
        if paths.len() == 1 && first.is_dir() {
            // One look at the folder, no reading: a dataset says so by its metadata, a future by its record.
            let start = if first.join("future.json").is_file() {
                StartDoc::Future { folder: first.clone(), seed: seed_of(first), at: 0 }
            } else {
                StartDoc::Episode { dataset: first.clone(), episode: 0, at: 0 }
            };
            return self.edit(Edit::Start(start));
        }
        if paths.len() == 1 && first.file_name().is_some_and(|n| n == "future.json") {
            let folder = first.parent().unwrap_or(Path::new(".")).to_owned();
            return self.edit(Edit::Start(StartDoc::Future { seed: seed_of(&folder), folder, at: 0 }));
        }
        self.edit(Edit::Start(StartDoc::Files { paths }));
    }

    fn open_project(&mut self, ctx: &Context, folder: PathBuf) {
        self.close();
        self.project = Project::new(Some(folder));
        self.compare = crate::compare::Compare::new(Default::default());
        if let crate::state_file::Found::State(state) = crate::state_file::read(&self.project.window_file()) {
            self.setup = crate::history::History::new(state.setup.clone());
            self.view = state.view.clone();
            self.compare = crate::compare::Compare::new(state.compare.clone());
            (self.train, self.policy) = (state.train.clone(), state.policy.clone());
            self.kept = *state;
        }
        self.parked.clear();
        self.data = Default::default();
        self.training = Default::default();
        self.policies = Default::default();
        self.library = None;
        self.models = None;
        self.runs = Default::default();
        self.transport = Default::default();
        self.textures.retain(|_| false);
        self.start = StartView::default();
        self.ask_engine();
        ctx.request_repaint();
    }

    pub(super) fn cancel(&mut self, job: u64) {
        self.jobs.cancelling(job);
        self.link.send(Request::Cancel { job }, Vec::new());
    }

    /// Starts imagining; waits with it while the start is being drawn.
    pub(super) fn imagine(&mut self) {
        let Some(model) = self.model().cloned() else {
            self.log.add(Level::Warn, &self.strings().trouble.no_model, self.now);
            return;
        };
        if let Some(family) = model.clip.as_ref().and_then(|_| Family::of_name(&model.contract.family))
            && self.hold_for_terms(family.licence(), Held::Imagine)
        {
            return;
        }
        if self.start.of != self.setup.get().start {
            self.follow_setup();
        }
        let drawn = matches!(self.setup.get().start, StartDoc::World { .. });
        if drawn && self.start.frames.is_empty() {
            self.imagine_when_ready = self.start.reading == Reading::Reading;
            return;
        }
        self.imagine_when_ready = false;
        self.banner = None;
        if let Some(job) = self.jobs.imagining() {
            self.cancel(job);
        }
        let name = run_name(self.link.next_job());
        let (mut spec, blobs) =
            self.setup.get().spec(&model.contract, &self.start, Some(self.project.scratch().join(name)));
        spec.model = model.folder.display().to_string();
        let sent = spec.clone();
        let job = self.request_with(Kind::Imagine, blobs, |job, _| Request::Imagine { job, spec: sent });
        let start = self.start.last().filter(|_| self.start.reading == Reading::Ready).cloned();
        let rate = model.contract.frame.rate_hz;
        self.runs.push(Run::new(job, spec, &model, rate, start, self.now));
        self.selected = 0;
        self.maximised = None;
        self.can_retry = false;
        self.transport.apply(Input::Restart, self.now);
        self.ask_truth(job, 0);
    }

    /// Asks for the next stretch of what really happened in the episode that run `run` starts from: frames up to
    /// `from` (counted from the start) are here already.
    pub(super) fn ask_truth(&mut self, run: u64, from: usize) {
        let history = self.contract().map_or(1, |c| c.frame.history.max(1));
        let Some(spec) = self.runs.of_job(run).map(|r| r.spec.clone()) else { return };
        let Start::Episode { dataset, episode, at } = spec.start else { return };
        let end = (from + history).min(spec.steps);
        if end > from {
            let start = Start::Episode { dataset, episode, at: at + end };
            let model = spec.model;
            self.request(Kind::Truth { run, end }, |job, _| Request::Preview { job, start, model });
        }
    }

    fn save_futures(&mut self) {
        let futures = self.project.futures();
        let Some(run) = self.runs.shown() else { return };
        let job = run.job;
        let folders: Vec<PathBuf> = run.futures.iter().filter_map(|f| f.folder.clone()).collect();
        if folders.is_empty() {
            self.log.add(Level::Warn, &self.strings().trouble.nothing_to_save, self.now);
            return;
        }
        let name = folders
            .first()
            .and_then(|f| f.parent()?.file_name())
            .map_or_else(|| run_name(job).into(), ToOwned::to_owned);
        for folder in folders {
            let to = futures.join(&name).join(folder.file_name().unwrap_or(folder.as_os_str()));
            self.request(Kind::Save { run: job }, |job, _| Request::SaveFuture { job, folder, to });
        }
        self.save_to = Some((job, futures.join(name)));
    }

    /// Brings the contracts of models that make whole clips to the size and body that are set up.
    pub(super) fn adapt_models(&mut self) {
        let wanted = self.setup.get().clip.clone();
        for model in self.models.iter_mut().flatten() {
            let Some(clip) = &model.clip else { continue };
            let contract = clip.contract(&wanted);
            if contract != model.contract {
                model.contract = contract;
            }
        }
    }

    /// Makes everything that hangs on the setup follow it: the start's pictures, the model's vocabulary.
    pub(super) fn follow_setup(&mut self) {
        self.adapt_models();
        let setup = self.setup.get();
        if self.vocabulary.0 != setup.model {
            let words = self.contract().map(|c| c.vocabulary.iter().cloned().collect());
            if let Some(words) = words {
                self.vocabulary = (self.setup.get().model.clone(), words);
                self.warm();
            }
        }
        let start = self.setup.get().start.clone();
        if self.start.of == start {
            return;
        }
        self.start = StartView::waiting(&start);
        self.read_start();
    }

    /// Asks for the pictures of the start.
    pub(super) fn read_start(&mut self) {
        let start = self.setup.get().start.clone();
        let model = self.model_place();
        match (&start, start_by_name(&start)) {
            (StartDoc::Nothing, _) => {}
            (StartDoc::World { seed }, _) => {
                let seed = *seed;
                if let Some(scene) = self.scenes.iter().find(|s| s.seed == seed && s.frame.is_some()).cloned()
                {
                    self.start.frames = scene.frame.into_iter().collect();
                    self.start.states = vec![scene.state];
                    self.start.reading = Reading::Ready;
                    self.ask_familiarity();
                } else {
                    self.request(Kind::DrawStart, |job, _| Request::WorldFrame {
                        job,
                        look: "plain".into(),
                        seed,
                    });
                }
            }
            (_, Some(named)) if !model.is_empty() => {
                self.request(Kind::ReadStart, |job, _| Request::Preview { job, start: named, model });
            }
            // The model is not known yet; this runs again as soon as it is.
            _ => {}
        }
    }

    /// Asks how familiar a frame of the virtual world is to the model.
    pub(super) fn ask_familiarity(&mut self) {
        let model = self.model_place();
        if model.is_empty() || self.start.frames.is_empty() || self.engine == EngineState::Gone {
            return;
        }
        let (start, blobs) = self.start.request(&self.start.of.clone());
        self.request_with(Kind::ReadStart, blobs, |job, _| Request::Preview { job, start, model });
    }

    pub(super) fn warm(&mut self) {
        let (model, device) = (self.model_place(), self.setup.get().device.clone());
        self.request(Kind::Warm, |job, _| Request::Warm { job, model, device });
    }

    pub(super) fn end_run(&mut self, job: u64, state: RunState) {
        let now = self.now;
        if let Some(run) = self.runs.of_job(job) {
            run.state = state;
            run.ended = Some(now);
        }
    }
}

fn seed_of(folder: &Path) -> u64 {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.strip_prefix("seed-").and_then(|s| s.parse().ok()).unwrap_or(0)
}
