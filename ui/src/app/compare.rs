//! The Compare screen: carrying out its wishes and commands, opening what its panes need.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::vec2;
use forerun::Frame;
use forerun::compare::open::picture_files;
use forerun::compare::truth::{Truth, TruthPlace};
use forerun::engine::protocol::{JobId, Request, Start};
use forerun::engine::record::FutureRecord;
use forerun::failure::caught;

use super::world_pane::spilled;
use super::{EngineState, Studio};
use crate::commands::Command;
use crate::compare::export::Export;
use crate::compare::loader::Place;
use crate::compare::{Edit, Look, MAX_PANES, Part, Source, Zoom};
use crate::futures::{Future, MEMORY_LIMIT, Run, RunState, Which};
use crate::i18n::fill;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::project::run_name;
use crate::screens::Screen;
use crate::shell::sheets::Sheet;
use crate::transport::{Input, Transport};

/// Futures that are read from their folders at once.
const OPENING_AT_ONCE: usize = 4;

/// Frames that are read before their time comes while the panes play.
const AHEAD: usize = 24;

/// Step of one press of the keys that zoom.
const ZOOM_STEP: f32 = 1.5;
/// Part of a pane by which one press of the keys that pan moves the pictures.
const PAN: f32 = 0.25;

impl Studio {
    /// Goes to a screen; each keeps its own place in time.
    pub fn show(&mut self, screen: Screen) {
        if screen == self.view.screen {
            return;
        }
        self.transport.apply(Input::Pause, self.now);
        let other = self.parked.remove(&screen).unwrap_or_else(|| {
            let mut fresh = Transport::default();
            fresh.apply(Input::Rate(self.transport.rate()), self.now);
            fresh
        });
        let left = std::mem::replace(&mut self.transport, other);
        self.parked.insert(self.view.screen, left);
        self.view.screen = screen;
    }

    /// Frames that are here, frames that will be, frames a second of all panes together.
    pub(super) fn compare_extent(&self) -> (usize, usize, f32) {
        let sources: Vec<(Source, usize)> = match (self.view.compare.part, &self.compare.sweep.laid) {
            (Part::Sweep, Some(sweep)) => {
                sweep.cells.iter().filter_map(crate::compare::sweep::source_of).map(|s| (s, 0)).collect()
            }
            _ => self.compare.doc.get().panes.iter().map(|p| (p.source.clone(), p.offset)).collect(),
        };
        let found = sources.iter().filter_map(|(s, offset)| Some((self.runs.find(s)?, *offset)));
        found.fold((0, 0, 10.0), |(here, all, fps), ((run, future), offset)| {
            let ready = future.ready() + offset;
            let running = run.state == RunState::Running && run.spec.steps < 50_000;
            let expected = if running { run.spec.steps + 1 + offset } else { ready };
            (ready.max(here), expected.max(all).max(ready), if here == 0 { run.rate_hz } else { fps })
        })
    }

    pub(super) fn compare_wish(&mut self, wish: Wish) {
        let view = &mut self.view.compare;
        match wish {
            Wish::Edit(edit) => self.compare_edit(edit),
            Wish::Select(id) => self.compare.selected = Some(id),
            Wish::Retry(id) => {
                self.compare.selected = Some(id);
                self.retry(Some(id));
            }
            Wish::Alone(id) => {
                self.compare.alone = if self.compare.alone == Some(id) { None } else { Some(id) };
                self.compare.selected = Some(id);
            }
            Wish::Part(part) => view.part = part,
            Wish::Look(look) => {
                view.look = look;
                view.part = Part::Panes;
            }
            Wish::Split(at) => view.split = at.clamp(0.0, 1.0),
            Wish::Onion(mix) => view.onion = mix.clamp(0.0, 1.0),
            Wish::Gain(gain) => {
                view.gain = gain;
                view.heal();
            }
            Wish::Zoom(by, at) => self.compare.zoom.scale(by, at),
            Wish::Shift(by) => self.compare.zoom.shift(by),
            Wish::Metric(name) => view.metric = name,
            Wish::Export(export) => self.export(export),
            Wish::StopExport => {
                if let Some(export) = &self.compare.exporting {
                    export.stop.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            }
            Wish::EndBlind => self.compare.blind = None,
            Wish::Standings(standings) => {
                if let Some(round) = &mut self.compare.blind {
                    round.standings = Some(standings);
                }
            }
            Wish::SetMade(frames, made) => {
                self.compare.views.pending = false;
                if let Some(made) = made {
                    self.compare.views.put(&frames, made);
                }
            }
            Wish::Probes(Ok(laid)) => {
                let (probes, base) = *laid;
                self.compare.follow.laying = false;
                self.compare.follow.probes = probes;
                self.compare.follow.base = Some(base);
            }
            Wish::Probes(Err(why)) => {
                self.compare.follow.stop();
                self.compare.follow.trouble = Some(why);
            }
            Wish::MiddleMade(middle) => self.middle_made(middle),
            Wish::Measured(found, all) => self.measured(found, all),
            Wish::Exported(end) => self.exported(end),
            wish @ (Wish::Choose(_)
            | Wish::Query(_)
            | Wish::Renamed(_)
            | Wish::Branch(_)
            | Wish::Library(_)
            | Wish::Thumb(..)
            | Wish::Trouble(_)) => self.library_wish(wish),
            wish @ (Wish::AxisKind(..)
            | Wish::AxisChannel(..)
            | Wish::AxisValues(..)
            | Wish::SweepLaid(_)) => self.sweep_wish(wish),
            Wish::Truth { job, source, frames } => self.truth_read(job, source, frames),
            Wish::Loaded(place, frame) => self.loaded(place, frame),
            wish @ (Wish::WorldBegun { .. } | Wish::WorldFrame { .. } | Wish::WorldEnded { .. }) => {
                self.world_wish(wish);
            }
        }
    }

    pub(super) fn compare_edit(&mut self, edit: Edit) {
        let before = self.compare.selected.and_then(|id| self.compare.doc.get().place(id));
        let removed = matches!(edit, Edit::Remove(_));
        self.compare.doc.edit(&edit.kind(), |doc| doc.apply(edit.clone()));
        self.compare.settle_selection(before);
        if removed {
            let keys = Command::Undo.text(self.strings()).name.clone();
            let text = fill(&self.strings().compare.removed, &[("undo", &keys)]);
            self.log.add(Level::Info, text, self.now);
        }
    }

    /// Whether a command of the Compare screen can be carried out; `None` for the commands of others.
    pub(super) fn compare_enabled(&self, command: Command) -> Option<bool> {
        let here = self.view.screen == Screen::Compare;
        if let Some(enabled) = self.library_enabled(command).or_else(|| self.blind_enabled(command)) {
            return Some(enabled);
        }
        let doc = self.compare.doc.get();
        let panes = here && self.view.compare.part == Part::Panes;
        let some = panes && self.compare.selected.is_some();
        Some(match command {
            Command::ShowWorld | Command::ShowCompare | Command::ShowRobot | Command::ShowModels => true,
            Command::ShowPanes | Command::ShowTree | Command::ShowSweep | Command::ShowGallery => here,
            Command::ToggleNumbers => panes,
            Command::StartSweep => self.can_sweep(),
            Command::MeasureFollowing => self.can_measure_following(),
            Command::AddSweep => here && !self.compare.sweep.sources().is_empty(),
            Command::Export => self.can_export(),
            Command::CompareRun => !here && self.runs.shown().is_some_and(|r| !r.sources().is_empty()),
            Command::ComparePane => !here && self.selected_source().is_some(),
            Command::NextPane | Command::PreviousPane => panes && doc.panes.len() > 1,
            Command::PaneLeft | Command::PaneRight => some && doc.panes.len() > 1,
            Command::PinPane | Command::MutePane | Command::RemovePane => some,
            Command::MarkA | Command::MarkB => some && doc.panes.len() > 1,
            Command::AddWorld => panes && self.world_beside().is_some(),
            Command::RetryPane => panes && self.missing_of(self.compare.selected).is_some(),
            Command::ClearPanes => here && doc.panes.iter().any(|p| !p.pinned),
            Command::ZoomPanesIn | Command::ZoomPanesOut | Command::ZoomPanesWhole => {
                panes && !doc.panes.is_empty()
            }
            Command::PanLeft | Command::PanRight | Command::PanUp | Command::PanDown => {
                panes && self.compare.zoom.factor > 1.001
            }
            Command::SwapPair | Command::MostDifferent => panes && doc.pair().is_some(),
            Command::LookSide
            | Command::LookWipe
            | Command::LookOnion
            | Command::LookSigned
            | Command::LookHeat
            | Command::LookFlicker
            | Command::LookMean
            | Command::LookSpread
            | Command::LookMedian => here,
            Command::Undo if here => self.compare.doc.can_undo(),
            Command::Redo if here => self.compare.doc.can_redo(),
            Command::ToggleMaximise if here => some,
            Command::PreviousRun | Command::NextRun | Command::SaveFutures if here => false,
            Command::Cancel if here => {
                self.sheet.is_some()
                    || self.jobs.imagining().is_some()
                    || self.compare.alone.is_some()
                    || self.compare.blind.is_some()
                    || self.compare.sweep.running()
                    || self.compare.follow.running()
            }
            _ => return None,
        })
    }

    /// The look that a command asks for.
    pub fn look_of(command: Command) -> Option<Look> {
        Some(match command {
            Command::LookSide => Look::Side,
            Command::LookWipe => Look::Wipe,
            Command::LookOnion => Look::Onion,
            Command::LookSigned => Look::Signed,
            Command::LookHeat => Look::Heat,
            Command::LookFlicker => Look::Flicker,
            Command::LookMean => Look::Mean,
            Command::LookSpread => Look::Spread,
            Command::LookMedian => Look::Median,
            _ => return None,
        })
    }

    /// Carries out a command of the Compare screen; `false` for the commands of others.
    pub(super) fn compare_command(&mut self, command: Command) -> bool {
        let here = self.view.screen == Screen::Compare;
        let selected = self.compare.selected;
        if let Some(look) = Self::look_of(command) {
            self.compare_wish(Wish::Look(look));
            return true;
        }
        if self.library_command(command) || self.blind_command(command) {
            return true;
        }
        match command {
            Command::ShowPanes => self.view.compare.part = Part::Panes,
            Command::ShowTree => self.view.compare.part = Part::Tree,
            Command::ShowSweep => self.view.compare.part = Part::Sweep,
            Command::ShowGallery => self.view.compare.part = Part::Gallery,
            Command::ToggleNumbers => self.view.compare.numbers = !self.view.compare.numbers,
            Command::StartSweep => self.start_sweep(),
            Command::AddSweep => self.add_sweep(),
            Command::MeasureFollowing => self.measure_following(),
            Command::MostDifferent => self.most_different(),
            Command::AddWorld => self.add_world(),
            Command::RetryPane => self.retry(selected),
            Command::Export => {
                let title = self.model().map(|m| m.name.clone()).unwrap_or_default();
                self.sheet = Some(Sheet::Export(Export { title, ..Export::default() }));
            }
            Command::ShowWorld => self.show(Screen::World),
            Command::ShowCompare => self.show(Screen::Compare),
            Command::ShowRobot => self.show(Screen::Robot),
            Command::ShowModels => self.show(Screen::Models),
            Command::CompareRun => {
                let sources = self.runs.shown().map(Run::sources).unwrap_or_default();
                self.add_to_compare(sources);
                self.view.compare.part = Part::Panes;
                self.show(Screen::Compare);
            }
            Command::ComparePane => {
                let sources: Vec<Source> = self.selected_source().into_iter().collect();
                self.add_to_compare(sources);
            }
            Command::NextPane => self.compare.go(1),
            Command::PreviousPane => self.compare.go(-1),
            Command::PaneLeft | Command::PaneRight => {
                let place = selected.and_then(|id| Some((id, self.compare.doc.get().place(id)?)));
                if let Some((pane, at)) = place {
                    let to = if command == Command::PaneLeft { at.saturating_sub(1) } else { at + 1 };
                    self.compare_edit(Edit::Move { pane, to });
                    self.compare.doc.settle();
                }
            }
            Command::PinPane => selected.into_iter().for_each(|id| self.compare_edit(Edit::Pin(id))),
            Command::MutePane => selected.into_iter().for_each(|id| self.compare_edit(Edit::Mute(id))),
            Command::RemovePane => selected.into_iter().for_each(|id| self.compare_edit(Edit::Remove(id))),
            Command::MarkA | Command::MarkB => {
                let first = command == Command::MarkA;
                selected.into_iter().for_each(|pane| self.compare_edit(Edit::Mark { first, pane }));
            }
            Command::SwapPair => self.compare_edit(Edit::Swap),
            Command::ClearPanes => self.compare_edit(Edit::Clear),
            Command::ZoomPanesIn => self.compare.zoom.scale(ZOOM_STEP, eframe::egui::Vec2::splat(0.5)),
            Command::ZoomPanesOut => self.compare.zoom.scale(1.0 / ZOOM_STEP, eframe::egui::Vec2::splat(0.5)),
            Command::ZoomPanesWhole => self.compare.zoom = Zoom::default(),
            // The pictures go the other way than the eye.
            Command::PanLeft => self.compare.zoom.shift(vec2(PAN, 0.0)),
            Command::PanRight => self.compare.zoom.shift(vec2(-PAN, 0.0)),
            Command::PanUp => self.compare.zoom.shift(vec2(0.0, PAN)),
            Command::PanDown => self.compare.zoom.shift(vec2(0.0, -PAN)),
            Command::Undo if here => self.compare_history(true),
            Command::Redo if here => self.compare_history(false),
            Command::ToggleMaximise if here => {
                self.compare.alone = if self.compare.alone.is_some() { None } else { selected };
            }
            Command::Cancel if here && self.sheet.is_none() && self.jobs.imagining().is_none() => {
                let probe = self.compare.follow.job;
                if self.compare.follow.running() {
                    self.compare.follow.stop();
                }
                probe.into_iter().for_each(|job| self.cancel(job));
                if !self.stop_sweep() && probe.is_none() {
                    self.compare.alone = None;
                    self.compare.blind = None;
                }
            }
            _ => return false,
        }
        true
    }

    /// What a pane shows, when it could not be opened.
    fn missing_of(&self, pane: Option<u64>) -> Option<&Source> {
        let source = &self.compare.doc.get().pane(pane?)?.source;
        self.compare.missing.contains_key(source).then_some(source)
    }

    /// Opens what a pane shows once more.
    fn retry(&mut self, pane: Option<u64>) {
        if let Some(source) = self.missing_of(pane).cloned() {
            self.compare.missing.remove(&source);
        }
    }

    fn compare_history(&mut self, back: bool) {
        let before = self.compare.selected.and_then(|id| self.compare.doc.get().place(id));
        if back {
            self.compare.doc.undo();
        } else {
            self.compare.doc.redo();
        }
        self.compare.settle_selection(before);
    }

    fn selected_source(&self) -> Option<Source> {
        let run = self.runs.shown()?;
        run.source(run.futures.get(self.selected)?)
    }

    /// Adds panes to the set, and says so when the person is elsewhere.
    pub(super) fn add_to_compare(&mut self, sources: Vec<Source>) {
        let before = self.compare.doc.get().panes.len();
        let wanted = sources.len();
        let known = sources.iter().filter(|s| self.compare.doc.get().panes.iter().any(|p| p.source == **s));
        let known = known.count();
        self.compare_edit(Edit::Add(sources));
        self.compare.doc.settle();
        let added = self.compare.doc.get().panes.len() - before;
        let s = self.strings();
        if added + known < wanted {
            self.log.add(Level::Warn, fill(&s.compare.full, &[("n", &MAX_PANES)]), self.now);
        } else if self.view.screen != Screen::Compare {
            let text =
                if added == 0 { s.compare.in_set.clone() } else { fill(&s.compare.added, &[("n", &added)]) };
            self.log.add(Level::Info, text, self.now);
        }
    }

    /// Opens what the panes of the set need and is not in memory; lets go of what no pane needs.
    pub(super) fn follow_compare(&mut self) {
        if self.view.screen != Screen::Compare || self.engine != EngineState::Ready {
            return;
        }
        let wanted: Vec<Source> = self.compare.doc.get().panes.iter().map(|p| p.source.clone()).collect();
        for source in &wanted {
            let busy = self.compare.opening.contains(source) || self.compare.missing.contains_key(source);
            if busy || self.runs.find(source).is_some() {
                continue;
            }
            if self.compare.opening.len() >= OPENING_AT_ONCE {
                break;
            }
            if matches!(source, Source::World { .. }) {
                self.open_world(source);
            } else {
                self.open_source(source.clone());
            }
        }
        let cells: Vec<Source> = self
            .compare
            .sweep
            .laid
            .iter()
            .flat_map(|s| &s.cells)
            .filter_map(crate::compare::sweep::source_of)
            .collect();
        self.runs.shrink_opened(MEMORY_LIMIT, |run| {
            run.state == RunState::Running || wanted.iter().chain(&cells).any(|s| run.find(s).is_some())
        });
    }

    /// Goes to a frame now and not with the next frame of the window: what is laid out after this shows it already.
    pub fn seek(&mut self, frame: usize) {
        let before = self.transport.frame();
        self.transport.apply(Input::Seek(frame), self.now);
        if self.transport.frame() != before {
            self.follow_frames();
        }
    }

    /// Asks for the frames that are about to be shown and were let go of; keeps memory within [`MEMORY_LIMIT`].
    pub(super) fn follow_frames(&mut self) {
        let compare = self.view.screen == Screen::Compare;
        let looked_at: Vec<(Source, usize)> = match (compare, &self.compare.sweep.laid) {
            (true, Some(sweep)) if self.view.compare.part == Part::Sweep => {
                sweep.cells.iter().filter_map(crate::compare::sweep::source_of).map(|s| (s, 0)).collect()
            }
            (true, _) => self.compare.doc.get().panes.iter().map(|p| (p.source.clone(), p.offset)).collect(),
            (false, _) => {
                let shown = self.runs.shown().map(Run::sources).unwrap_or_default();
                shown.into_iter().map(|s| (s, 0)).collect()
            }
        };
        let frame = self.transport.frame();
        let mut near: Vec<(JobId, Which, usize)> = Vec::new();
        let mut wanted: Vec<(usize, Place, PathBuf)> = Vec::new();
        let mut tick = 0;
        for (source, offset) in &looked_at {
            let Some((run, future)) = self.runs.find(source) else { continue };
            let imagined = source.imagined();
            let which = if imagined { Which::Seed(future.seed) } else { Which::Truth };
            let at = frame.saturating_sub(*offset);
            near.push((run.job, which, at));
            tick += future.frame(at).map_or(0, |(f, _)| f.data.len());
            let ahead = if self.transport.playing() { AHEAD } else { 1 };
            for step in 0..=ahead {
                // Behind the last frame of a loop comes the first.
                let next = frame + step;
                let all = self.transport.available().max(1);
                let next = if self.transport.looping() { next % all } else { next };
                if let Some((index, file)) = future.away(next.saturating_sub(*offset)) {
                    wanted.push((step, Place { job: run.job, which, index }, file.to_owned()));
                }
            }
        }
        // What is read ahead must fit beside what is shown.
        let room = (MEMORY_LIMIT / 2).checked_div(tick).unwrap_or(AHEAD).clamp(1, AHEAD);
        wanted.retain(|(step, ..)| *step < room);
        wanted.sort_by_key(|(step, ..)| *step);
        self.loader.want(wanted.into_iter().map(|(_, place, file)| (place, file)));
        let which_of = |run: &Run, future: &Future| {
            let truth = run.truth.as_ref().is_some_and(|t| std::ptr::eq(t, future));
            if truth { Which::Truth } else { Which::Seed(future.seed) }
        };
        self.runs.release(MEMORY_LIMIT, |run, future| {
            let which = which_of(run, future);
            near.iter().find(|(job, w, _)| *job == run.job && *w == which).map(|(.., at)| *at)
        });
    }

    /// A frame was read again.
    fn loaded(&mut self, place: Place, frame: Result<Arc<Frame>, String>) {
        self.loader.arrived(place);
        match frame {
            Ok(frame) => {
                let run = self.runs.of_job(place.job);
                if let Some(future) = run.and_then(|run| run.which_mut(place.which)) {
                    future.put_back(place.index, frame);
                }
            }
            // Its file is gone. That is said once, and its neighbour stands in for it.
            Err(why) => {
                let run = self.runs.of_job(place.job);
                if let Some(future) = run.and_then(|run| run.which_mut(place.which)) {
                    future.lose(place.index);
                }
                self.log.add(Level::Warn, why, self.now);
            }
        }
    }

    fn open_source(&mut self, source: Source) {
        let now = self.now;
        match &source {
            Source::Future { folder, seed } => {
                let (folder, seed) = (folder.clone(), *seed);
                let sent = folder.clone();
                let kind = Kind::Open { source: source.clone() };
                let job = self.request(kind, |job, _| Request::OpenFuture { job, folder: sent });
                self.runs.open(Run::opened(job, &folder, seed, now));
                self.compare.opening.insert(source);
            }
            // Opened by `open_world`.
            Source::World { .. } => {}
            Source::Truth { dataset, episode, at, steps } => {
                // The size of the pictures is the model's.
                let Some(contract) = self.contract().cloned() else { return };
                let start = Start::Episode { dataset: dataset.clone(), episode: *episode, at: *at };
                let place = TruthPlace { dataset: dataset.clone(), episode: *episode, at: *at, after: 0 };
                let job = self.link.next_job();
                let mut run = Run::hollow(job, start, *steps, now);
                run.rate_hz = contract.frame.rate_hz;
                run.truth = Some(Future::empty());
                let steps = *steps;
                self.runs.open(run);
                self.compare.opening.insert(source.clone());
                let spill = self.project.scratch().join(format!("recording-{}", run_name(job)));
                let waiting = source.clone();
                let started = self.background.run(&self.ctx, "truth", move || {
                    let read = caught(|| {
                        let truth = Truth::load(&place, &contract, steps)?;
                        let files = spilled(&truth.frames, &spill)?;
                        Ok((truth.frames, files))
                    });
                    let frames = read.map_err(|failure| failure.text());
                    Some(Message::Compare(Wish::Truth { job, source, frames }))
                });
                if !started {
                    let why = self.strings().compare.no_thread.clone();
                    self.not_opened(job, waiting, why);
                }
            }
        }
    }

    /// What really happened was read.
    fn truth_read(
        &mut self,
        job: JobId,
        source: Source,
        frames: Result<(Vec<Arc<Frame>>, Vec<PathBuf>), String>,
    ) {
        self.compare.opening.remove(&source);
        match frames {
            Ok((frames, files)) => {
                if let Some(run) = self.runs.of_job(job) {
                    frames.into_iter().enumerate().for_each(|(i, frame)| run.put_truth(i, frame));
                    if let Some(truth) = &mut run.truth {
                        truth.note_files(files);
                    }
                }
                self.end_run(job, RunState::Done);
            }
            Err(why) => self.not_opened(job, source, why),
        }
    }

    /// A future was read whole.
    pub(super) fn opened(&mut self, job: JobId, source: &Source) {
        self.compare.opening.remove(source);
        self.end_run(job, RunState::Done);
    }

    /// A future could not be read.
    pub(super) fn not_opened(&mut self, job: JobId, source: Source, why: String) {
        self.compare.opening.remove(&source);
        self.runs.forget(job);
        self.compare.missing.insert(source, why);
    }

    /// A future is whole: imagined, or read from its folder.
    pub(super) fn future_done(
        &mut self,
        job: JobId,
        seed: u64,
        folder: Option<PathBuf>,
        record: serde_json::Value,
    ) {
        let opened = matches!(self.jobs.get(job).map(|j| &j.kind), Some(Kind::Open { .. } | Kind::Again));
        let record: Option<FutureRecord> = serde_json::from_value(record).ok();
        let Some(run) = self.runs.of_job(job) else { return };
        if let Some(record) = record.as_ref().filter(|_| opened) {
            run.describe(record);
        }
        if let Some(future) = run.futures.iter_mut().find(|f| f.seed == seed || opened) {
            future.done = true;
            future.record = record.map(Arc::new);
            if !opened {
                future.folder = folder;
            }
            // From now on its frames can be let go of and read again.
            if let (Some(folder), Some(record)) = (&future.folder, &future.record) {
                future.note_files(picture_files(folder, record));
            }
        }
    }

    /// Panes that show futures of `run` name them by the folder in which they were kept just now.
    pub(super) fn follow_saved(&mut self, run: JobId) {
        let Some(run) = self.runs.of_job(run).cloned() else { return };
        self.compare.doc.amend(|doc| {
            for pane in &mut doc.panes {
                let Some(source) = pane.source.future() else { continue };
                let kept = run.find(&source).and_then(|future| run.source(future));
                if let Some(Source::Future { folder, seed }) = kept {
                    pane.source = match pane.source {
                        Source::World { .. } => Source::World { folder, seed },
                        _ => Source::Future { folder, seed },
                    };
                }
            }
        });
    }
}
