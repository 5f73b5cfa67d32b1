//! Views and numbers of the whole set: started on threads of their own, taken when they are there.

use std::sync::Arc;

use eframe::egui::Context;
use forerun::Frame;
use forerun::compare::picture::Picture;
use forerun::failure::caught;

use super::Studio;
use crate::compare::numbers::{Measurand, Measured, measure};
use crate::compare::views::{Middle, SetPictures};
use crate::compare::{Edit, PaneDoc, Part, Source};
use crate::futures::{Future, Run, RunState};
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::screens::Screen;

impl Studio {
    /// Mean and spread of these frames: those of the frames before, until the right ones are there.
    pub fn set_pictures(&mut self, ctx: &Context, frames: &[Arc<Frame>]) -> Option<SetPictures> {
        if let Some(found) = self.compare.views.set(frames) {
            return Some(found.clone());
        }
        if !self.compare.views.pending {
            self.compare.views.pending = true;
            let frames = frames.to_vec();
            self.background.run(ctx, "set view", move || {
                let made = SetPictures::new(&frames).ok();
                Some(Message::Compare(Wish::SetMade(frames, made)))
            });
        }
        let size = frames.first().map(|f| (f.width, f.height));
        self.compare.views.newest().filter(|p| Some((p.mean.width, p.mean.height)) == size).cloned()
    }

    /// Panes of the set that take part in its views and numbers, with all their frames.
    fn members(&self) -> Vec<(u64, Vec<Picture>)> {
        let panes = self.compare.doc.get().panes.iter();
        let futures = panes.filter(|p| !p.muted && matches!(p.source, Source::Future { .. }));
        futures.filter_map(|p| Some((p.id, self.runs.find(&p.source)?.1.pictures()))).collect()
    }

    /// The future in the middle of the set; `None` until it is known.
    pub fn median(&mut self, ctx: &Context) -> Option<u64> {
        self.follow_middle(ctx);
        let middle = self.compare.views.middle.as_ref()?;
        middle.median.filter(|id| self.compare.doc.get().pane(*id).is_some_and(|p| !p.muted))
    }

    /// Starts to compute the distances of the set's futures, when they are not known.
    fn follow_middle(&mut self, ctx: &Context) {
        let members = self.members();
        let of: Vec<(u64, usize)> = members.iter().map(|(id, f)| (*id, f.len())).collect();
        let known = self.compare.views.middle.as_ref().is_some_and(|m| m.of == of);
        if !known && !self.compare.views.measuring {
            self.compare.views.measuring = true;
            self.background.run(ctx, "distances", move || {
                Some(Message::Compare(Wish::MiddleMade(Middle::new(&members))))
            });
        }
    }

    /// Makes the two futures that differ most the pair, as soon as they are known.
    pub(super) fn most_different(&mut self) {
        self.compare.views.wants_farthest = true;
        self.compare.views.middle = None;
        let ctx = self.ctx.clone();
        self.follow_middle(&ctx);
    }

    pub(super) fn middle_made(&mut self, middle: Middle) {
        self.compare.views.measuring = false;
        let farthest = middle.farthest;
        self.compare.views.middle = Some(middle);
        if std::mem::take(&mut self.compare.views.wants_farthest) {
            match farthest {
                Some((a, b)) => {
                    self.compare_edit(Edit::Mark { first: true, pane: a });
                    self.compare_edit(Edit::Mark { first: false, pane: b });
                }
                None => self.log.add(Level::Info, &self.strings().compare.two_needed, self.now),
            }
        }
    }

    /// Measures the panes again when frames have come or the set has changed. While futures are being imagined it waits.
    pub(super) fn follow_numbers(&mut self) {
        let wanted = self.view.screen == Screen::Compare
            && self.view.compare.part == Part::Panes
            && self.view.compare.numbers
            && !self.compare.measuring;
        if !wanted {
            return;
        }
        let doc = self.compare.doc.get();
        let mut panes = Vec::new();
        let mut recorded = None;
        let mut worlds = Vec::new();
        let mut of = Vec::new();
        for pane in &doc.panes {
            let Some((run, future)) = self.runs.find(&pane.source) else { continue };
            if run.state == RunState::Running {
                return;
            }
            if pane.muted && pane.source.imagined() {
                continue;
            }
            of.push((pane.id, future.ready(), pane.offset));
            match &pane.source {
                Source::Future { .. } => panes.push((pane, run, future)),
                Source::Truth { .. } => recorded = recorded.or(Some((pane, run, future))),
                Source::World { .. } => worlds.push((pane, run, future)),
            }
        }
        if of == self.compare.measured_of {
            return;
        }
        let measurand = |(pane, run, future): &(&PaneDoc, &Run, &Future)| Measurand {
            id: pane.id,
            frames: future.pictures(),
            readings: future.all_readings(),
            offset: pane.offset,
            record: future.record.clone(),
            colours: run.colours.clone(),
        };
        let panes: Vec<Measurand> = panes.iter().map(measurand).collect();
        let worlds: Vec<Measurand> = worlds.iter().map(measurand).collect();
        let recorded = recorded.as_ref().map(measurand);
        let truths = self.compare.truths.clone();
        self.compare.measured_of = of;
        self.compare.measuring = true;
        let (sender, ctx) = (self.background.sender(), self.ctx.clone());
        self.background.run(&self.ctx, "numbers", move || {
            let mut so_far = |found: &Measured| {
                // When the window has much to do, it waits for the next one.
                let _ = sender.try_send(Message::Compare(Wish::Measured(Arc::new(found.clone()), false)));
                ctx.request_repaint();
            };
            let found = caught(|| Ok(measure(&panes, recorded.as_ref(), &worlds, &truths, &mut so_far)));
            let found =
                found.unwrap_or_else(|bug| Measured { troubles: vec![bug.text()], ..Measured::default() });
            Some(Message::Compare(Wish::Measured(Arc::new(found), true)))
        });
    }

    pub(super) fn measured(&mut self, found: Arc<Measured>, all: bool) {
        if !all {
            self.compare.measured = found;
            return;
        }
        self.compare.measuring = false;
        for trouble in &found.troubles {
            self.log.add(Level::Warn, trouble, self.now);
        }
        self.compare.measured = found;
    }
}
