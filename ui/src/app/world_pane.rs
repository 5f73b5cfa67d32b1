//! The virtual world as a pane: physics beside a future, on a thread of its own; its frames stream in as they are drawn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::Frame;
use forerun::compare::live::{Drive, LiveFrame, LiveWorld, WorldPlan};
use forerun::engine::protocol::{JobId, Reading, Start};
use forerun::engine::record::{FutureRecord, STATE_PREFIX};
use forerun::failure::{Failure, caught};
use forerun::media;

use super::Studio;
use crate::compare::{Edit, MAX_PANES, Source};
use crate::futures::{Future, Run, RunState};
use crate::i18n::fill;
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::project::run_name;

/// A recording or a world whose frames take more bytes than this is written to files as well, so that its frames can be
/// let go of and read again.
const SPILL: usize = 16 << 20;

impl Studio {
    /// The future that the virtual world would run beside: the selected pane's, or the only one.
    pub(super) fn world_beside(&self) -> Option<(Source, usize)> {
        let doc = self.compare.doc.get();
        let selected = self.compare.selected.and_then(|id| doc.pane(id)).filter(|p| p.source.imagined());
        let pane = selected.or_else(|| doc.panes.iter().find(|p| p.source.imagined()))?;
        match &pane.source {
            Source::Future { folder, seed } => {
                Some((Source::World { folder: folder.clone(), seed: *seed }, pane.offset))
            }
            _ => None,
        }
    }

    /// Lays the virtual world beside the selected future.
    pub(super) fn add_world(&mut self) {
        if let Some((source, offset)) = self.world_beside() {
            self.compare_edit(Edit::Branch { sources: vec![source.clone()], offset });
            self.compare.doc.settle();
            if !self.compare.doc.get().panes.iter().any(|p| p.source == source) {
                let text = fill(&self.strings().compare.full, &[("n", &MAX_PANES)]);
                self.log.add(Level::Warn, text, self.now);
            }
        }
    }

    /// Starts the world of a pane, as soon as the record of its future is known: `false` while it is not.
    pub(super) fn open_world(&mut self, source: &Source) -> bool {
        let Some(future) = source.future() else { return false };
        let Source::Future { folder, .. } = &future else { return false };
        let known = self.runs.find(&future);
        if known.is_some_and(|(run, f)| run.state == RunState::Running && f.record.is_none()) {
            return false;
        }
        let record = known.and_then(|(_, f)| f.record.clone());
        let folder = known.and_then(|(_, f)| f.folder.clone()).unwrap_or_else(|| folder.clone());
        let job = self.link.next_job();
        let mut run = Run::hollow(job, Start::Nothing, crate::futures::MOST_STEPS, self.now);
        run.of = Some(source.clone());
        run.truth = Some(Future::empty());
        self.runs.open(run);
        self.compare.opening.insert(source.clone());
        let (sender, ctx, source) = (self.background.sender(), self.ctx.clone(), source.clone());
        let spill = self.project.scratch().join(format!("world-{}", run_name(job)));
        let waiting = source.clone();
        let started = self.background.run(&self.ctx, "world", move || {
            let tell = |wish| {
                let told = sender.send(Message::Compare(wish)).is_ok();
                ctx.request_repaint();
                told
            };
            Some(ended(job, source, || {
                let record = record.map_or_else(|| FutureRecord::read(&folder).map(Arc::new), Ok)?;
                run_world(job, record, &spill, tell)
            }))
        });
        if !started {
            let why = self.strings().compare.no_thread.clone();
            self.not_opened(job, waiting, why);
        }
        true
    }

    pub(super) fn world_wish(&mut self, wish: Wish) {
        match wish {
            Wish::WorldBegun { job, drive, colours, steps, record } => {
                if let Some(run) = self.runs.of_job(job) {
                    (run.drive, run.colours, run.spec.steps) = (Some(drive), colours, steps);
                    run.rate_hz = record.contract.frame.rate_hz;
                    if let Some(world) = &mut run.truth {
                        world.record = Some(record);
                    }
                }
            }
            Wish::WorldFrame { job, index, frame, file } => {
                let LiveFrame { frame, labels, state } = *frame;
                let state = state.into_iter().map(|(name, v)| (format!("{STATE_PREFIX}{name}"), v));
                let values = labels.into_iter().chain(state).collect();
                if let Some(run) = self.runs.of_job(job) {
                    run.put_world(index, Arc::new(frame), Reading { values }, file);
                }
            }
            Wish::WorldEnded { job, source, trouble } => {
                self.compare.opening.remove(&source);
                match trouble {
                    Some(why) => self.not_opened(job, source, why),
                    None => self.end_run(job, RunState::Done),
                }
            }
            _ => {}
        }
    }
}

/// Runs a world to its end and tells of it, however it ends: a pane that waits must hear why nothing comes.
fn ended(job: JobId, source: Source, run: impl FnOnce() -> Result<(), Failure>) -> Message {
    let trouble = caught(run).err().map(|failure| failure.text());
    Message::Compare(Wish::WorldEnded { job, source, trouble })
}

/// Runs the world beside a future and tells of every frame; ends early when nobody listens any more.
fn run_world(
    job: JobId,
    record: Arc<FutureRecord>,
    spill: &Path,
    tell: impl Fn(Wish) -> bool,
) -> Result<(), Failure> {
    let plan = WorldPlan::of(&record)?;
    let (drive, colours, steps): (Drive, _, _) = (plan.drive, plan.colours(), plan.steps());
    let frame = &record.contract.frame;
    let large = frame.width * frame.height * 3 * (steps + 1) > SPILL;
    if !tell(Wish::WorldBegun { job, drive, colours, steps, record }) {
        return Ok(());
    }
    let mut live = LiveWorld::new(plan)?;
    let mut index = 0;
    while let Some(frame) = live.advance()? {
        let file = if large { Some(write(spill, index, &frame.frame)?) } else { None };
        if !tell(Wish::WorldFrame { job, index, frame: Box::new(frame), file }) {
            return Ok(());
        }
        index += 1;
    }
    Ok(())
}

fn write(folder: &Path, index: usize, frame: &Frame) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::io("make", folder, &e))?;
    let file = folder.join(format!("{index:05}.png"));
    media::write_png(&file, frame).map_err(Failure::from_error)?;
    Ok(file)
}

/// Files for the frames of a long recording; none for a short one, which stays in memory.
pub(super) fn spilled(frames: &[Arc<Frame>], folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let bytes: usize = frames.iter().map(|f| f.data.len()).sum();
    if bytes <= SPILL {
        return Ok(Vec::new());
    }
    frames.iter().enumerate().map(|(i, frame)| write(folder, i, frame)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    #[test]
    fn a_world_that_panics_ends_with_what_happened() {
        let source = Source::World { folder: "futures/a/seed-1".into(), seed: 1 };
        let end = |run: fn() -> Result<(), Failure>| match ended(7, source.clone(), run) {
            Message::Compare(Wish::WorldEnded { job: 7, source: of, trouble }) if of == source => trouble,
            other => panic!("{other:?}"),
        };
        assert_eq!(end(|| Ok(())), None);
        assert_eq!(end(|| Err(Failure::new("No scene.", "Draw one."))), Some("No scene. Draw one.".into()));
        let panicked = end(|| panic!("the arm left the table"));
        assert!(panicked.is_some_and(|why| why.contains("the arm left the table")));
    }
}
