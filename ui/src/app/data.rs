//! The Data screen: the project's datasets, their episodes, their corrections.

use std::path::PathBuf;
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{EpisodeSpec, JobId, Request};
use forerun::project::datasets;

use super::Studio;
use crate::commands::Command;
use crate::data::{Clip, DataJob, DataWish, RecordForm, Table, use_for};
use crate::doc::{Edit, StartDoc};
use crate::history::History;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Message;
use crate::screens::Screen;
use crate::shell::sheets::Sheet;

/// How a job ended.
pub(super) enum End {
    Done,
    Cancelled,
    Failed(String),
}

impl Studio {
    /// Lists the project's datasets anew.
    pub(super) fn list_datasets(&mut self) {
        self.data.listing = true;
        let (ctx, project) = (self.ctx.clone(), self.project().folder().to_owned());
        self.background.run(&ctx, "datasets", move || {
            Some(Message::Data(DataWish::Listed(Arc::new(datasets::list(&project)))))
        });
    }

    /// Makes what the screen shows follow what is chosen.
    pub(super) fn follow_data(&mut self) {
        if !matches!(self.view.screen, Screen::Data | Screen::Train | Screen::Policy) {
            return;
        }
        let saved = self.robot.saved();
        let new = self.robot_view.listed_saved != saved;
        if (self.data.entries.is_none() || new) && !self.data.listing {
            self.robot_view.listed_saved = saved;
            if new {
                // The index of what is shown may have grown.
                self.data.asked = None;
            }
            self.list_datasets();
        }
        if self.view.screen != Screen::Data {
            return;
        }
        if self.data.chosen().is_none() {
            if self.data.listing {
                return;
            }
            let first = self.data.entries.iter().flat_map(|all| all.first()).map(|e| e.name.clone()).next();
            if first.is_none() {
                return;
            }
            self.data.forget();
            self.data.chosen = first;
        }
        let Some(entry) = self.data.chosen().cloned() else { return };
        if self.data.view.is_none() {
            self.data.view = Some(History::new(entry.view.clone()));
        }
        if !entry.trouble.is_empty() {
            self.data.trouble = Some(entry.trouble);
            return;
        }
        if self.data.asked.as_ref() != Some(&entry.folder) {
            self.data.asked = Some(entry.folder.clone());
            let folder = entry.folder.clone();
            self.request(Kind::Data(DataJob::Read), |job, _| Request::ReadDataset { job, folder });
        }
        self.follow_clip(&entry.folder);
        self.follow_corrections();
    }

    fn follow_clip(&mut self, folder: &std::path::Path) {
        let Some(about) = self.data.shown() else { return };
        let Some(meta) = about.episodes.iter().find(|e| e.index == self.data.episode) else {
            if let Some(first) = about.episodes.first().map(|e| e.index) {
                self.data.episode = first;
            }
            return;
        };
        // Numbers are shown as they are corrected; which episodes are used changes none of them.
        let mut view = self.data.corrections();
        (view.leave_out, view.hold_out, view.camera, view.format) = Default::default();
        let wanted = (folder.to_owned(), meta.index, view.clone());
        if self.data.clip.of.as_ref() == Some(&wanted) {
            return;
        }
        let side = Clip::side(meta.length, about.cameras.len());
        let (length, episode) = (meta.length, meta.index);
        if let Some(job) = self.data.clip.job.take() {
            self.cancel(job);
        }
        let same = self.data.clip.of.as_ref().is_some_and(|(f, e, _)| f == folder && *e == episode);
        self.data.clip = Clip { of: Some(wanted), length, ..Clip::default() };
        let spec = EpisodeSpec { dataset: folder.to_owned(), view, episode, side };
        let job = self.request(Kind::Data(DataJob::Episode), |job, _| Request::ReadEpisode { job, spec });
        self.data.clip.job = Some(job);
        if !same {
            self.transport.apply(crate::transport::Input::First, self.now);
        }
    }

    /// Writes corrections when they changed, and lets the doctor look again.
    fn follow_corrections(&mut self) {
        let now = self.data.corrections();
        let Some(entry) = self.data.chosen().cloned() else { return };
        if entry.view != now && !self.data.saving {
            self.data.saving = true;
            let changed = datasets::DatasetEntry { view: now.clone(), ..entry };
            if let Some(entries) = &mut self.data.entries {
                let all = Arc::make_mut(entries);
                all.iter_mut().filter(|e| e.name == changed.name).for_each(|e| *e = changed.clone());
            }
            let (ctx, project) = (self.ctx.clone(), self.project().folder().to_owned());
            let sender = self.background.sender();
            self.background.run(&ctx, "corrections", move || {
                if let Err(failure) = datasets::write(&project, &changed) {
                    let _ = sender.send(Message::Tell(Level::Error, failure.text()));
                }
                Some(Message::Data(DataWish::Saved))
            });
        }
        let seen = match (&self.data.examining, &self.data.found) {
            (Some((_, view)), _) | (None, Some((_, view))) => view,
            (None, None) => return,
        };
        if self.data.follow && *seen != now {
            self.examine();
        }
    }

    fn examine(&mut self) {
        let Some(folder) = self.data.chosen().map(|e| e.folder.clone()) else { return };
        if let Some((job, _)) = self.data.examining.take() {
            self.cancel(job);
        }
        let view = self.data.corrections();
        let sent = view.clone();
        let job =
            self.request(Kind::Data(DataJob::Examine), |job, _| Request::Examine { job, folder, view: sent });
        self.data.examining = Some((job, view));
        self.data.follow = true;
    }

    pub(super) fn import(&mut self, paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let project = self.project().folder().to_owned();
        self.request(Kind::Data(DataJob::Import), |job, _| Request::ImportDataset { job, project, paths });
    }

    pub(super) fn data_wish(&mut self, wish: DataWish) {
        match wish {
            DataWish::Import(paths) => self.import(paths),
            DataWish::Choose(name) => {
                if self.data.chosen.as_ref() != Some(&name) {
                    for job in self.data.clip.job.into_iter().chain(self.data.examining.as_ref().map(|e| e.0))
                    {
                        self.link.send(Request::Cancel { job }, Vec::new());
                    }
                    self.data.forget();
                    self.data.chosen = Some(name);
                }
            }
            DataWish::Episode(index) => self.data.episode = index,
            DataWish::Use(index, what) => {
                if let Some(view) = &mut self.data.view {
                    view.edit("use", |view| *view = use_for(view, index, what));
                    view.settle();
                }
            }
            DataWish::Correct(kind, new) => {
                if let Some(view) = &mut self.data.view {
                    view.edit(kind, |view| *view = new);
                    view.settle();
                }
            }
            DataWish::Camera(key) => {
                if let Some(view) = &mut self.data.view {
                    view.edit("camera", |view| view.camera = key);
                    view.settle();
                }
            }
            DataWish::Record(form) => self.record(&form),
            DataWish::Unlink(name) => {
                if let Some(entry) = self.data.entry(&name).cloned() {
                    let (ctx, project) = (self.ctx.clone(), self.project().folder().to_owned());
                    let sender = self.background.sender();
                    self.background.run(&ctx, "datasets", move || {
                        if let Err(failure) = datasets::unlink(&project, &entry) {
                            let _ = sender.send(Message::Tell(Level::Error, failure.text()));
                        }
                        Some(Message::Data(DataWish::Listed(Arc::new(datasets::list(&project)))))
                    });
                }
            }
            DataWish::StartHere => {
                let Some(folder) = self.data.chosen().map(|e| e.folder.clone()) else { return };
                let (dataset, episode, at) = (folder, self.data.episode, self.transport.frame());
                self.edit(Edit::Start(StartDoc::Episode { dataset, episode, at }));
                self.show(Screen::World);
            }
            DataWish::Listed(entries) => {
                self.data.listing = false;
                self.data.entries = Some(entries);
                self.datasets_listed();
            }
            DataWish::Saved => self.data.saving = false,
        }
    }

    fn record(&mut self, form: &RecordForm) {
        self.sheet = None;
        let folder = self.project().folder().join("datasets");
        // A look at a few names, as the sheet closes: the engine refuses a folder that is taken.
        let taken = |name: &str| self.data.entry(name).is_some();
        let numbered =
            std::iter::once(form.name.clone()).chain((2..100).map(|n| format!("{} {n}", form.name)));
        let name = numbered.into_iter().find(|name| !taken(name)).unwrap_or_else(|| form.name.clone());
        let out = folder.join(name);
        let spec = form.spec(out.clone());
        self.request(Kind::Data(DataJob::Record(out)), |job, _| Request::Record { job, spec });
    }

    /// Whether a command of this screen can be carried out; `None` for other commands.
    pub(super) fn data_enabled(&self, command: Command) -> Option<bool> {
        let here = self.view.screen == Screen::Data;
        Some(match command {
            Command::ExamineData => here && self.data.shown().is_some() && self.data.examining.is_none(),
            Command::MendData => {
                here && self.data.found.as_ref().is_some_and(|(found, view)| {
                    *view == self.data.corrections() && !found.sure_fix().is_plain()
                })
            }
            Command::Undo if here => self.data.view.as_ref().is_some_and(History::can_undo),
            Command::Redo if here => self.data.view.as_ref().is_some_and(History::can_redo),
            _ => return None,
        })
    }

    /// Carries out a command of this screen; `false` for other commands.
    pub(super) fn data_command(&mut self, command: Command) -> bool {
        let here = self.view.screen == Screen::Data;
        let s = self.strings();
        match command {
            Command::ShowData => self.show(Screen::Data),
            Command::ImportData | Command::ImportClips => {
                self.show(Screen::Data);
                let (ctx, picker) = (self.ctx.clone(), self.background.picker());
                let title = command.text(s).name.trim_end_matches('…').to_owned();
                self.background.run(&ctx, "dialog", move || {
                    let paths = match command {
                        Command::ImportClips => picker.frames(&title),
                        _ => picker.folder(&title).into_iter().collect(),
                    };
                    (!paths.is_empty()).then_some(Message::Data(DataWish::Import(paths)))
                });
            }
            Command::RecordData => {
                self.show(Screen::Data);
                self.sheet = Some(Sheet::Record(RecordForm::default()));
            }
            Command::RecordRobot => {
                self.show(Screen::Data);
                self.robot_view.recording = !self.robot_view.recording;
            }
            Command::ExamineData => self.examine(),
            Command::MendData => {
                let fix = self.data.found.as_ref().map(|(found, _)| found.sure_fix());
                if let (Some(fix), Some(view)) = (fix, &mut self.data.view) {
                    view.edit("mend", |view| *view = view.clone().and(&fix));
                    view.settle();
                }
            }
            Command::Undo if here => self.data.view.iter_mut().for_each(History::undo),
            Command::Redo if here => self.data.view.iter_mut().for_each(History::redo),
            _ => return false,
        }
        true
    }

    /// Takes what a job of this screen reports.
    pub(super) fn data_report(&mut self, job: JobId, kind: &DataJob, value: &serde_json::Value) {
        match kind {
            DataJob::Import => {
                for note in value["notes"].as_array().into_iter().flatten().filter_map(|n| n.as_str()) {
                    self.log.add(Level::Info, note, self.now);
                }
                if let Some(name) = value["entry"]["name"].as_str() {
                    self.data_wish(DataWish::Choose(name.to_owned()));
                }
                self.list_datasets();
            }
            DataJob::Read => {
                self.data.about = serde_json::from_value(value.clone()).ok();
                self.data.trouble = None;
            }
            DataJob::Episode if self.data.clip.job == Some(job) => {
                let table =
                    |key: &str| serde_json::from_value::<Option<Table>>(value[key].clone()).ok().flatten();
                self.data.clip.length = value["length"].as_u64().unwrap_or(0) as usize;
                self.data.clip.task = value["task"].as_str().unwrap_or_default().to_owned();
                self.data.clip.action = table("action");
                self.data.clip.state = table("state");
            }
            DataJob::Examine => {
                if let Some((_, view)) = self.data.examining.take_if(|(own, _)| *own == job) {
                    let found = serde_json::from_value(value["examination"].clone()).unwrap_or_default();
                    self.data.found = Some((found, view));
                }
            }
            DataJob::Episode | DataJob::Record(_) => {}
        }
    }

    /// Takes pictures of the episode that is being read.
    pub(super) fn data_pictures(&mut self, job: JobId, camera: String, frames: Vec<Arc<Frame>>) {
        if self.data.clip.job == Some(job) {
            self.data.clip.frames.entry(camera).or_default().extend(frames);
        }
    }

    /// A job of this screen ended.
    pub(super) fn data_ended(&mut self, job: JobId, kind: &DataJob, end: End) {
        match (kind, end) {
            (DataJob::Read, End::Failed(text)) => self.data.trouble = Some(text),
            (DataJob::Episode, end) if self.data.clip.job == Some(job) => {
                self.data.clip.job = None;
                if let End::Failed(text) = end {
                    self.data.clip.trouble = Some(text);
                }
            }
            (DataJob::Examine, end) => {
                self.data.examining.take_if(|(own, _)| *own == job);
                if let End::Failed(text) = end {
                    self.log.add(Level::Error, text, self.now);
                }
            }
            (DataJob::Import, End::Failed(text)) => self.log.add(Level::Error, text, self.now),
            (DataJob::Record(out), end) => {
                if let End::Failed(text) = end {
                    self.log.add(Level::Error, text, self.now);
                }
                // What was recorded before a stop is whole and stays.
                if let Some(name) = out.file_name() {
                    self.data_wish(DataWish::Choose(name.to_string_lossy().into_owned()));
                }
                self.list_datasets();
            }
            _ => {}
        }
    }
}
