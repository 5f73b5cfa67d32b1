//! Taking what the engine tells.

use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{Event, JobId, ModelInfo, Packet};

use super::data::End;
use super::{EngineState, Studio};
use crate::compare::library::Order;
use crate::data::DataJob;
use crate::doc::StartDoc;
use crate::futures::RunState;
use crate::i18n::fill;
use crate::jobs::Kind;
use crate::log::Level;
use crate::start::Reading;

impl Studio {
    pub(super) fn event(&mut self, packet: Packet<Event>) {
        let mut blobs = packet.blobs.into_iter();
        match packet.message {
            Event::Ready { devices, software, .. } => {
                let back = self.engine == EngineState::Restarting;
                self.engine = EngineState::Ready;
                self.devices = devices;
                self.log.add(Level::Quiet, format!("Engine {software}"), self.now);
                if back {
                    // The new engine knows nothing: what was missed is asked for again.
                    self.ask_engine();
                    if self.start.reading == Reading::Reading
                        || matches!(self.start.reading, Reading::Failed(_))
                    {
                        self.start.reading = Reading::Reading;
                        self.read_start();
                    }
                    self.warm();
                    self.compare.missing.clear();
                }
            }
            Event::Models { models, .. } => self.found_models(models),
            Event::Warmed { model, .. } => {
                if let Some(known) = self.models.iter_mut().flatten().find(|m| m.name == model.name) {
                    let clip = known.clip.take();
                    *known = ModelInfo { clip, ..model };
                }
                self.adapt_models();
            }
            Event::Progress { job, done, total, seconds_left, what } => {
                self.jobs.progress(job, done, total, seconds_left, what);
            }
            Event::FutureFrame { job, seed, index, width, height, reading } => {
                let frame = blobs.next().and_then(|data| Frame::new(width, height, data)).map(Arc::new);
                let Some(frame) = frame else { return };
                if let Some(run) = self.runs.of_job(job) {
                    run.put(seed, index, frame, reading);
                } else if !self.haunted(job, index, &frame) {
                    self.policy_frame(job, seed, index, frame, &reading);
                }
            }
            Event::FuturePreview { job, seed, done, total, parts } => {
                let pictures = parts.iter().zip(blobs).filter_map(|((from, to, width, height), data)| {
                    Some(((*from, *to), Arc::new(Frame::new(*width, *height, data)?)))
                });
                if let Some(run) = self.runs.of_job(job) {
                    for (range, picture) in pictures {
                        run.put_preview(seed, range, &picture, (done, total));
                    }
                }
            }
            Event::Pictures { job, sizes, states, unfamiliar, note } => {
                let frames: Vec<Arc<Frame>> = sizes
                    .iter()
                    .zip(blobs)
                    .filter_map(|((w, h), data)| Frame::new(*w, *h, data))
                    .map(Arc::new)
                    .collect();
                self.pictures(job, frames, states, unfamiliar, note);
            }
            Event::FutureDone { job, seed, folder, record } => self.future_done(job, seed, folder, record),
            Event::Report { job, value } => match self.jobs.get(job).map(|j| j.kind.clone()) {
                Some(Kind::Data(kind)) => self.data_report(job, &kind, &value),
                Some(Kind::Train) => self.train_report(job, value, blobs.next()),
                Some(Kind::Policy(kind)) => self.policy_report(job, kind, value),
                Some(Kind::Reason) => self.reasoned(job, &value),
                Some(Kind::Twins) => self.robot_view.twins = Some(value),
                _ => {}
            },
            Event::EngineGone { reason, restarting } => self.engine_gone(&reason, restarting),
            Event::Done { job, summary } => {
                let kind = self.jobs.end(job);
                if !summary.is_empty() && kind.as_ref().is_some_and(Kind::prominent) {
                    self.log.add(Level::Quiet, summary, self.now);
                }
                match kind {
                    Some(Kind::Imagine) => {
                        self.end_run(job, RunState::Done);
                        self.order(Order::Refresh);
                    }
                    Some(Kind::Save { run }) => self.saved(run),
                    Some(Kind::Data(kind)) => self.data_ended(job, &kind, End::Done),
                    Some(Kind::Train) => self.train_ended(job, End::Done),
                    Some(Kind::Policy(kind)) => self.policy_ended(job, kind, End::Done),
                    Some(Kind::Open { source }) => self.opened(job, &source),
                    Some(Kind::Again) => self.end_run(job, RunState::Done),
                    Some(Kind::Probe) => self.probe_ended(job, None),
                    Some(Kind::Keep { from, to }) => self.kept(&from, &to),
                    Some(Kind::Fetch { .. } | Kind::Install | Kind::Remove) => self.models_changed(),
                    Some(Kind::Reason) => self.reason_ended(job),
                    Some(Kind::Ghost) => self.ghost_ended(true),
                    Some(Kind::Cell) => {
                        self.end_run(job, RunState::Done);
                        self.cell_ended(job, Ok(()));
                    }
                    _ => {}
                }
            }
            Event::Cancelled { job } => match self.jobs.end(job) {
                Some(Kind::Reason) => self.reason_ended(job),
                Some(Kind::Ghost) => self.ghost_ended(false),
                Some(Kind::Imagine) => self.end_run(job, RunState::Cancelled),
                Some(Kind::Open { source }) => self.not_opened(job, source, String::new()),
                Some(Kind::Again) => self.end_run(job, RunState::Cancelled),
                Some(Kind::Data(kind)) => self.data_ended(job, &kind, End::Cancelled),
                Some(Kind::Train) => self.train_ended(job, End::Cancelled),
                Some(Kind::Policy(kind)) => self.policy_ended(job, kind, End::Cancelled),
                Some(Kind::Probe) => self.probe_ended(job, Some(String::new())),
                Some(Kind::Cell) => {
                    self.end_run(job, RunState::Cancelled);
                    self.cell_ended(job, Err(None));
                }
                _ => {}
            },
            Event::Failed { job, message, advice } => self.failed(job, message, advice),
            Event::Log { level, text } => {
                let level = match level.as_str() {
                    "error" => Level::Error,
                    "warn" => Level::Warn,
                    _ => Level::Quiet,
                };
                self.log.add(level, text, self.now);
            }
        }
    }

    fn found_models(&mut self, models: Vec<ModelInfo>) {
        let chosen = &self.setup.get().model;
        if !models.iter().any(|m| m.name == *chosen) {
            let best = models.iter().find(|m| m.name == "tabletop").or(models.first());
            if let Some(name) = best.map(|m| m.name.clone()) {
                self.setup.amend(|setup| setup.model = name);
            }
        }
        self.models = Some(models);
        self.adapt_models();
        if self.start.reading == Reading::Reading && self.start.frames.is_empty() {
            self.read_start();
        } else if self.start.unfamiliar.is_none() {
            self.ask_familiarity();
        }
    }

    fn pictures(
        &mut self,
        job: JobId,
        frames: Vec<Arc<Frame>>,
        states: Vec<Vec<(String, f32)>>,
        unfamiliar: Option<f32>,
        note: String,
    ) {
        match self.jobs.get(job).map(|j| j.kind.clone()) {
            Some(Kind::Scene(i)) => {
                let drawn = self.scenes.get_mut(i).map(|scene| {
                    scene.frame = frames.last().cloned();
                    scene.state = states.last().cloned().unwrap_or_default();
                    scene.seed
                });
                // The start may be this very scene and have waited for it.
                if drawn.is_some_and(|seed| self.start.of == StartDoc::World { seed })
                    && self.start.frames.is_empty()
                {
                    self.start_drawn(frames, states);
                }
            }
            Some(Kind::DrawStart) if self.start.frames.is_empty() => self.start_drawn(frames, states),
            Some(Kind::ReadStart) => {
                let drawn = matches!(self.start.of, StartDoc::World { .. });
                self.start.unfamiliar = unfamiliar;
                if !drawn {
                    self.start.frames = frames;
                    self.start.states = states;
                    self.start.note = note;
                    self.start.reading = Reading::Ready;
                }
            }
            Some(Kind::Data(DataJob::Episode)) => self.data_pictures(job, note, frames),
            Some(Kind::Truth { run, end }) => {
                let first = (end + 1).saturating_sub(frames.len());
                if let Some(run) = self.runs.of_job(run) {
                    for (i, frame) in frames.into_iter().enumerate() {
                        run.put_truth(first + i, frame);
                    }
                }
                self.ask_truth(run, end);
            }
            _ => {}
        }
    }

    fn start_drawn(&mut self, frames: Vec<Arc<Frame>>, states: Vec<Vec<(String, f32)>>) {
        self.start.frames = frames;
        self.start.states = states;
        self.start.reading = Reading::Ready;
        self.ask_familiarity();
        if std::mem::take(&mut self.imagine_when_ready) {
            self.imagine();
        }
    }

    fn failed(&mut self, job: JobId, message: String, advice: String) {
        let kind = self.jobs.end(job);
        match &kind {
            Some(Kind::Imagine) => {
                self.end_run(job, RunState::Failed(message.clone(), advice.clone()));
                self.can_retry = true;
            }
            Some(Kind::ReadStart) if matches!(self.start.of, StartDoc::World { .. }) => {
                // Only its familiarity is unknown; the frame itself is fine.
                self.log.add(Level::Quiet, format!("{message} {advice}"), self.now);
                return;
            }
            Some(Kind::ReadStart | Kind::DrawStart) => {
                self.start.reading = Reading::Failed(format!("{message} {advice}"));
                self.imagine_when_ready = false;
                return;
            }
            Some(Kind::Data(kind)) => {
                let text = format!("{message} {advice}").trim().to_owned();
                return self.data_ended(job, kind, End::Failed(text));
            }
            Some(Kind::Train) => {
                let text = format!("{message} {advice}").trim().to_owned();
                return self.train_ended(job, End::Failed(text));
            }
            Some(Kind::Policy(kind)) => {
                let text = format!("{message} {advice}").trim().to_owned();
                return self.policy_ended(job, *kind, End::Failed(text));
            }
            Some(Kind::Probe) => {
                self.probe_ended(job, Some(format!("{message} {advice}")));
                return;
            }
            Some(Kind::Cell) => {
                self.end_run(job, RunState::Failed(message.clone(), advice.clone()));
                self.cell_ended(job, Err(Some(format!("{message} {advice}"))));
                return;
            }
            Some(Kind::Again) => self.end_run(job, RunState::Failed(message.clone(), advice.clone())),
            // The branches that wait for the copy have no start; why is told below.
            Some(Kind::Keep { to, .. }) => self.compare.keeping.retain(|(waits, _)| waits != to),
            Some(Kind::Reason) => self.reason_ended(job),
            Some(Kind::Ghost) => self.ghost_ended(false),
            Some(Kind::Open { source }) => {
                self.not_opened(job, source.clone(), format!("{message} {advice}"));
                return;
            }
            Some(Kind::Truth { .. }) => {
                // The recording ends before the futures do.
                self.log.add(Level::Quiet, format!("{message} {advice}"), self.now);
                return;
            }
            _ => {}
        }
        self.failures.push((kind, message, advice));
    }

    /// Tells of failures, but for those that an engine's end explains.
    pub(super) fn report_failures(&mut self) {
        for (kind, message, advice) in std::mem::take(&mut self.failures) {
            let level = if kind.is_some_and(|k| k.prominent()) { Level::Error } else { Level::Warn };
            self.log.add(level, format!("{message} {advice}").trim().to_owned(), self.now);
        }
    }

    fn engine_gone(&mut self, reason: &str, restarting: bool) {
        self.engine = if restarting { EngineState::Restarting } else { EngineState::Gone };
        self.failures.clear();
        let words = if restarting {
            &self.strings().trouble.engine_stopped
        } else {
            &self.strings().trouble.engine_not_started
        };
        let text = fill(words, &[("reason", &reason.trim_end_matches('.'))]);
        self.log.add(Level::Quiet, text.clone(), self.now);
        self.banner = Some(text);
    }

    fn saved(&mut self, run: JobId) {
        if self.jobs.any(|k| *k == Kind::Save { run }) {
            return;
        }
        let Some((_, folder)) = self.save_to.take_if(|(of, _)| *of == run) else { return };
        let s = self.strings();
        let run_job = run;
        if let Some(run) = self.runs.of_job(run) {
            let n = run.futures.iter().filter(|f| f.folder.is_some()).count();
            run.saved = Some(folder.clone());
            let text = fill(&s.world.saved_to, &[("n", &n), ("folder", &folder.display())]);
            self.log.add(Level::Info, text, self.now);
        }
        self.follow_saved(run_job);
        self.order(Order::Refresh);
    }
}
