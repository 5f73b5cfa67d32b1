//! The action-following gauge: its futures are imagined one after the other and never written.

use forerun::compare::follow::probes;
use forerun::engine::protocol::{JobId, Request};
use forerun::failure::caught;

use super::Studio;
use crate::compare::Part;
use crate::compare::follow::{Follow, STEPS};
use crate::futures::{Run, RunState};
use crate::jobs::Kind;
use crate::message::{Message, Wish};
use crate::screens::Screen;

impl Studio {
    /// Whether the gauge can be measured.
    pub(super) fn can_measure_following(&self) -> bool {
        self.view.screen == Screen::Compare
            && self.view.compare.part == Part::Sweep
            && self.contract().is_some_and(|c| !c.actions.is_empty())
            && !self.compare.follow.running()
    }

    /// Lays out the probes around what is set up on the World screen.
    pub(super) fn measure_following(&mut self) {
        let Some(model) = self.model().cloned() else { return };
        let (mut spec, blobs) = self.setup.get().spec(&model.contract, &self.start, None);
        spec.model = model.folder.display().to_string();
        spec.steps = spec.steps.min(STEPS);
        spec.seeds.truncate(1);
        self.compare.follow = Follow { laying: true, model: model.name, ..Follow::default() };
        self.compare.follow_blobs = blobs.clone();
        let contract = model.contract;
        self.background.run(&self.ctx, "probes", move || {
            let laid = caught(|| {
                let base = super::sweep::written_out(spec, &blobs, &contract)?;
                Ok(Box::new((probes(&base, &contract)?, base)))
            });
            Some(Message::Compare(Wish::Probes(laid.map_err(|failure| failure.text()))))
        });
    }

    /// Starts the next future of the gauge.
    pub(super) fn follow_gauge(&mut self) {
        if self.compare.follow.job.is_some() || !self.compare.follow.running() {
            return;
        }
        let Some(spec) = self.compare.follow.next().cloned() else { return };
        let Some(model) = self.models.iter().flatten().find(|m| m.folder.display().to_string() == spec.model)
        else {
            return;
        };
        let model = model.clone();
        let sent = spec.clone();
        let blobs = self.compare.follow_blobs.clone();
        let job = self.request_with(Kind::Probe, blobs, |job, _| Request::Imagine { job, spec: sent });
        self.runs.open(Run::new(job, spec, &model, model.contract.frame.rate_hz, None, self.now));
        self.compare.follow.job = Some(job);
    }

    /// A future of the gauge ended; `why` = it did not end well.
    pub(super) fn probe_ended(&mut self, job: JobId, why: Option<String>) {
        if self.compare.follow.job != Some(job) {
            return;
        }
        self.end_run(job, RunState::Done);
        let future = self.runs.of_job(job).and_then(|run| run.futures.first().cloned());
        self.runs.forget(job);
        match (why, future) {
            (None, Some(future)) => {
                let frames = future.frames().into_iter().zip(future.all_readings()).skip(1).collect();
                self.compare.follow.put(frames);
            }
            (why, _) => {
                self.compare.follow.stop();
                self.compare.follow.trouble = why;
            }
        }
    }
}
