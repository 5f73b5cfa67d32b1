//! The Train screen: runs of post-training, from the press of the button to the model that is used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::engine::device::learns;
use forerun::engine::places;
use forerun::engine::protocol::{Actions, ImagineSpec, JobId, PostTrainSpec, Request, Start};
use forerun::train::post::{Method, PostReport};
use forerun::{Frame, media};

use super::Studio;
use super::data::End;
use crate::commands::Command;
use crate::compare::Source;
use crate::doc::Edit;
use crate::i18n::fill;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Message;
use crate::project::run_name;
use crate::screens::Screen;
use crate::train::{Outcome, Preview, RunState, TrainRun, TrainWish, cut};
use crate::transport::Input;

impl Studio {
    /// The model that the next run starts from.
    pub fn train_base(&self) -> Option<&forerun::engine::protocol::ModelInfo> {
        let wanted = &self.train.base;
        let models = || self.models.iter().flatten();
        models()
            .find(|m| m.name == *wanted)
            .or_else(|| models().find(|m| m.name == "tabletop"))
            .or(models().next())
    }

    /// The name of the next model, made from what it learns where the person gave none.
    pub fn train_name(&self) -> String {
        let wish = self.train.name.trim();
        if !wish.is_empty() {
            return wish.to_owned();
        }
        let first = self.train.datasets.iter().next().cloned().unwrap_or_default();
        let taken = |name: &str| {
            self.models.iter().flatten().any(|m| m.name == name)
                || self.training.runs.iter().any(|r| r.name() == name)
                || self.train.unfinished.iter().any(|s| s.out.file_name().is_some_and(|n| n == name))
        };
        let base = if first.is_empty() { "model".to_owned() } else { format!("{first}-model") };
        let numbered = std::iter::once(base.clone()).chain((2..1000).map(|n| format!("{base}-{n}")));
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(base)
    }

    /// Datasets that were listed: choose the only one, forget those that are gone.
    pub(super) fn datasets_listed(&mut self) {
        let names: Vec<String> =
            self.data.entries.iter().flat_map(|all| all.iter()).map(|e| e.name.clone()).collect();
        self.train.datasets.retain(|name| names.contains(name));
        self.policy.datasets.retain(|name| names.contains(name));
        if let [only] = names.as_slice() {
            if self.train.datasets.is_empty() {
                self.train.datasets.insert(only.clone());
            }
            if self.policy.datasets.is_empty() {
                self.policy.datasets.insert(only.clone());
            }
        }
    }

    /// Takes in unfinished runs of earlier sessions, and reads their logs.
    pub(super) fn follow_train(&mut self) {
        if self.view.screen != Screen::Train {
            return;
        }
        if !self.training.recalled {
            self.training.recalled = true;
            for spec in self.train.unfinished.clone() {
                if self.training.of(&spec.out).is_none() {
                    let base = Path::new(&spec.base).file_name().map(|n| n.to_string_lossy().into_owned());
                    self.training.runs.push(TrainRun::new(spec, base.unwrap_or_default(), RunState::Paused));
                }
            }
            self.training.shown =
                self.training.shown.take().or(self.training.runs.last().map(|r| r.spec.out.clone()));
        }
        let asked: Vec<PathBuf> = self
            .training
            .runs
            .iter_mut()
            .filter(|run| run.state == RunState::Paused && run.course.is_empty() && !run.log_asked)
            .map(|run| {
                run.log_asked = true;
                run.spec.out.clone()
            })
            .collect();
        for out in asked {
            let ctx = self.ctx.clone();
            self.background.run(&ctx, "log", move || {
                let text = std::fs::read_to_string(out.join("log.jsonl")).ok()?;
                let lines: Vec<PostReport> =
                    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
                Some(Message::Train(TrainWish::Log(out, Arc::new(lines))))
            });
        }
    }

    /// Frames that are here, frames that will be, frames a second of the shown previews.
    pub(super) fn train_extent(&self) -> (usize, usize, f32) {
        let rate = self.train_base().map_or(10.0, |m| m.contract.frame.rate_hz);
        let frames = self.training.shown().and_then(TrainRun::shown).map_or(0, |rows| rows[0].len());
        // Half the rate: there is a second of it, and three pictures to look at.
        (frames, frames, rate / 2.0)
    }

    /// Whether the next run can start.
    pub fn can_train(&self) -> bool {
        self.train_base().is_some() && !self.train.datasets.is_empty() && self.training.running().is_none()
    }

    pub(super) fn train_enabled(&self, command: Command) -> Option<bool> {
        let shown = self.training.shown();
        Some(match command {
            Command::StartTraining => self.can_train(),
            Command::PauseTraining => {
                shown.is_some_and(|run| run.job.is_some() && run.state == RunState::Running)
            }
            Command::ResumeTraining => {
                self.training.running().is_none()
                    && shown.is_some_and(|run| matches!(run.state, RunState::Paused | RunState::Failed(_)))
            }
            Command::UseTrained => shown.is_some_and(|run| run.state == RunState::Done),
            _ => return None,
        })
    }

    pub(super) fn train_command(&mut self, command: Command) -> bool {
        let shown = self.training.shown().map(|run| run.spec.out.clone());
        match (command, shown) {
            (Command::ShowTrain, _) => self.show(Screen::Train),
            (Command::StartTraining, _) => self.start_training(),
            (Command::PauseTraining, Some(out)) => {
                let run = self.training.of(&out).and_then(|run| {
                    run.state = RunState::Stopping;
                    run.job
                });
                run.into_iter().for_each(|job| self.cancel(job));
            }
            (Command::ResumeTraining, Some(out)) => self.train_wish(TrainWish::Resume(out)),
            (Command::UseTrained, Some(out)) => self.train_wish(TrainWish::Use(out)),
            _ => return false,
        }
        true
    }

    fn start_training(&mut self) {
        let Some(base) = self.train_base().cloned() else { return };
        let chosen: Vec<_> =
            self.train.datasets.iter().filter_map(|name| self.data.entry(name)).cloned().collect();
        if chosen.is_empty() {
            return;
        }
        let views = chosen
            .iter()
            .map(|entry| match self.data.chosen.as_ref() == Some(&entry.name) {
                true if self.data.view.is_some() => self.data.corrections(),
                _ => entry.view.clone(),
            })
            .collect();
        let spec = PostTrainSpec {
            base: base.folder.display().to_string(),
            datasets: chosen.into_iter().map(|entry| entry.folder).collect(),
            camera: String::new(),
            views,
            out: self.project().folder().join("models").join(self.train_name()),
            minutes: self.train.iterations.is_none().then_some(self.train.minutes),
            iterations: self.train.iterations,
            method: self.train.method,
            replay: self.train.replay,
            fit: self.train.fit,
            resume: false,
            device: self.learning_device(),
        };
        self.train.name = String::new();
        self.send_training(spec, base.name, None);
    }

    /// The device that futures run on, where a network can learn there too; the processor else.
    pub(super) fn learning_device(&self) -> String {
        let chosen = &self.setup.get().device;
        if learns(chosen) { chosen.clone() } else { "cpu".into() }
    }

    fn send_training(&mut self, spec: PostTrainSpec, base: String, earlier: Option<TrainRun>) {
        let sent = spec.clone();
        let job = self.request(Kind::Train, |job, _| Request::PostTrain { job, spec: sent });
        let mut run = earlier.unwrap_or_else(|| TrainRun::new(spec.clone(), base, RunState::Running));
        (run.job, run.state, run.outcome) = (Some(job), RunState::Running, None);
        run.spec = spec.clone();
        self.train.note(&spec, true);
        self.training.runs.retain(|other| other.spec.out != spec.out);
        self.training.shown = Some(spec.out);
        self.training.runs.push(run);
        self.transport.apply(Input::Restart, self.now);
    }

    pub(super) fn train_wish(&mut self, wish: TrainWish) {
        match wish {
            TrainWish::Edit(doc) => {
                let unfinished = std::mem::take(&mut self.train.unfinished);
                self.train = doc;
                self.train.unfinished = unfinished;
                self.train.heal();
            }
            TrainWish::Show(out) => {
                self.training.shown = Some(out);
                self.transport.apply(Input::Restart, self.now);
            }
            TrainWish::Resume(out) => {
                if self.training.running().is_some() {
                    return;
                }
                let Some(run) = self.training.of(&out).cloned() else { return };
                let spec = PostTrainSpec { resume: true, ..run.spec.clone() };
                self.send_training(spec, run.base.clone(), Some(run));
            }
            TrainWish::Forget(out) => {
                if let Some(run) = self.training.of(&out).filter(|run| run.job.is_none()).cloned() {
                    self.train.note(&run.spec, false);
                    self.training.runs.retain(|other| other.spec.out != out);
                    self.training.shown = self.training.runs.last().map(|r| r.spec.out.clone());
                }
            }
            TrainWish::Window(at) => {
                if let Some(run) = self.training.shown.clone().and_then(|out| self.training.of(&out)) {
                    run.window = at;
                }
                self.transport.apply(Input::Restart, self.now);
            }
            TrainWish::Preview(out, iteration, frame) => {
                let base = self.training.of(&out).map(|run| PathBuf::from(&run.spec.base));
                let found = self.models.iter().flatten().find(|m| Some(&m.folder) == base.as_ref());
                let size =
                    found.or(self.train_base()).map(|m| (m.contract.frame.width, m.contract.frame.height));
                let Some(run) = self.training.of(&out) else { return };
                if let (Some(sheet), Some((w, h))) = (frame, size) {
                    let first = run.preview.windows.is_empty();
                    run.preview = Preview { iteration, windows: cut(&sheet, w, h) };
                    if first {
                        self.transport.apply(Input::Restart, self.now);
                    }
                }
            }
            TrainWish::Log(out, lines) => {
                if let Some(run) = self.training.of(&out).filter(|run| run.course.is_empty()) {
                    let last = lines.iter().rev().find_map(|l| Some((l.iteration, l.preview.clone()?)));
                    lines.iter().cloned().for_each(|line| run.note(line));
                    if let Some((iteration, name)) = last {
                        let file = out.join(name);
                        self.decode_preview(out, iteration, move || media::read_picture(&file).ok());
                    }
                }
            }
            TrainWish::Use(folder) => self.use_model(folder),
            TrainWish::Used(Ok(name)) => {
                self.setup.amend(|setup| setup.model.clone_from(&name));
                self.list_models();
                self.edit(Edit::Model(name.clone()));
                let text = fill(&self.strings().train.used, &[("name", &name)]);
                self.log.add(Level::Info, text, self.now);
                self.show(Screen::World);
            }
            TrainWish::Used(Err(why)) => self.log.add(Level::Error, why, self.now),
            TrainWish::Compare(out) => self.compare_trained(&out),
        }
    }

    fn list_models(&mut self) {
        self.request(Kind::List, |job, app| Request::ListModels {
            job,
            project: Some(app.project().folder().to_owned()),
        });
    }

    /// Makes a finished model the one of the World screen; a checkpoint is copied into the project's models first.
    fn use_model(&mut self, folder: PathBuf) {
        let models = self.project().folder().join("models");
        let name_of =
            |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if folder.parent() == Some(models.as_path()) {
            return self.train_wish(TrainWish::Used(Ok(name_of(&folder))));
        }
        let run = folder.ancestors().nth(2).map(name_of).unwrap_or_default();
        let iteration = name_of(&folder).trim_start_matches('0').to_owned();
        let name = format!("{run}-at-{iteration}");
        let ctx = self.ctx.clone();
        self.background.run(&ctx, "use", move || {
            let there = models.join(&name);
            let used = if there.join("contract.json").is_file() {
                Ok(name)
            } else {
                places::import(&folder, &models, Some(name.as_str()))
                    .map(|info| info.name)
                    .map_err(|f| f.text())
            };
            Some(Message::Train(TrainWish::Used(used)))
        });
    }

    /// Imagines one held-out start with the base and with the new model, and lays both beside what was recorded.
    fn compare_trained(&mut self, out: &Path) {
        let Some(run) = self.training.of(out).cloned() else { return };
        let Some(dataset) = run.spec.datasets.first().cloned() else { return };
        let held = run.spec.views.first().and_then(|view| view.hold_out.first().copied());
        let about = self.data.about.as_ref().filter(|about| about.folder == dataset);
        let last = about.and_then(|about| about.episodes.last().map(|e| e.index));
        // Without a look at the set, episode 0 is one that is always there.
        let episode = held.or(last).unwrap_or(0);
        let find = |folder: &Path| self.models.iter().flatten().find(|m| m.folder == folder).cloned();
        let Some(after) = find(out) else { return };
        // A base of another body cannot be driven by these recordings.
        let known = |name: &str| after.contract.actions.iter().any(|c| c.name == name);
        let before = find(Path::new(&run.spec.base))
            .filter(|m| m.contract.actions.iter().all(|channel| known(&channel.name)));
        const AT: usize = 4;
        // As far as the recording goes, at most two seconds at the usual rate.
        let length = self.data.about.as_ref().filter(|about| about.folder == dataset);
        let length =
            length.and_then(|about| about.episodes.iter().find(|e| e.index == episode)).map(|e| e.length);
        let steps = length.map_or(20, |length| length.saturating_sub(AT + 1).clamp(1, 20));
        let truth = Source::Truth { dataset: dataset.clone(), episode, at: AT, steps };
        let mut sources = vec![truth];
        for model in before.into_iter().chain([after.clone()]) {
            let name = run_name(self.link.next_job());
            let spec = ImagineSpec {
                model: model.folder.display().to_string(),
                start: Start::Episode { dataset: dataset.clone(), episode, at: AT },
                prompt: String::new(),
                actions: Actions::Episode { dataset: dataset.clone(), episode },
                steps,
                seeds: vec![1],
                refine: 1,
                device: self.setup.get().device.clone(),
                out: Some(self.project().scratch().join(name)),
                clip: Default::default(),
            };
            let sent = spec.clone();
            let job = self.request(Kind::Imagine, |job, _| Request::Imagine { job, spec: sent });
            let rate = model.contract.frame.rate_hz;
            let pushed = crate::futures::Run::new(job, spec, &model, rate, None, self.now);
            sources.extend(pushed.sources());
            self.runs.push(pushed);
        }
        self.add_to_compare(sources);
        self.view.compare.part = crate::compare::Part::Panes;
        self.show(Screen::Compare);
    }

    fn decode_preview(
        &mut self,
        out: PathBuf,
        iteration: u64,
        read: impl FnOnce() -> Option<Frame> + Send + 'static,
    ) {
        let ctx = self.ctx.clone();
        self.background.run(&ctx, "preview", move || {
            let frame = read().map(Arc::new);
            Some(Message::Train(TrainWish::Preview(out, iteration, frame)))
        });
    }

    pub(super) fn train_report(&mut self, job: JobId, value: serde_json::Value, blob: Option<Vec<u8>>) {
        let Some(run) = self.training.of_job(job) else { return };
        match value["stage"].as_str() {
            Some("note") => run.notes.extend(value["note"].as_str().map(str::to_owned)),
            Some("ready") => run.preflight = serde_json::from_value(value["preflight"].clone()).ok(),
            Some("before") => run.before = serde_json::from_value(value["judgement"].clone()).ok(),
            Some("training") => {
                let Ok(report) = serde_json::from_value::<PostReport>(value) else { return };
                let (out, iteration, alarm) = (run.spec.out.clone(), report.iteration, report.alarm.clone());
                let fresh = alarm.as_ref().is_some_and(|a| run.alarm.as_ref() != Some(a));
                run.note(report);
                if let (true, Some(alarm)) = (fresh, alarm) {
                    self.log.add(Level::Warn, alarm, self.now);
                }
                if let Some(png) = blob {
                    let name = out.join("preview");
                    self.decode_preview(out, iteration, move || media::decode_picture(&name, &png).ok());
                }
            }
            Some("done") => run.outcome = serde_json::from_value::<Outcome>(value).ok(),
            _ => {}
        }
    }

    pub(super) fn train_ended(&mut self, job: JobId, end: End) {
        let Some(run) = self.training.of_job(job) else { return };
        run.job = None;
        let spec = run.spec.clone();
        match end {
            End::Done => {
                run.state = RunState::Done;
                let name = run.name();
                self.train.note(&spec, false);
                self.list_models();
                let text = fill(&self.strings().train.finished, &[("name", &name)]);
                self.log.add(Level::Info, text, self.now);
            }
            End::Cancelled => run.state = RunState::Paused,
            End::Failed(text) => {
                // What was refused before the first iteration is no run to go on with.
                let begun = !run.course.is_empty();
                run.state = if begun { RunState::Paused } else { RunState::Failed(text.clone()) };
                if begun {
                    run.notes.push(text.clone());
                } else {
                    self.train.note(&spec, false);
                }
                self.log.add(Level::Error, text, self.now);
            }
        }
    }

    /// The words of a method.
    pub fn method_words(&self, method: Method) -> (&'static str, &'static str) {
        let s = &self.strings().train;
        match method {
            Method::Auto => (&s.auto, &s.auto_tip),
            Method::Full => (&s.full, &s.full_tip),
            Method::Lora => (&s.lora, &s.lora_tip),
        }
    }
}
