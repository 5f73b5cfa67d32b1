//! The sweep: laid out by a thread, imagined cell by cell, the cheapest first.

use std::collections::BTreeMap;

use forerun::compare::follow::as_track;
use forerun::compare::sweep::{CellState, Sweep};
use forerun::engine::protocol::{Actions, ImagineSpec, JobId, Request};
use forerun::failure::{Failure, caught};
use forerun::models::Contract;

use super::Studio;
use crate::compare::Part;
use crate::compare::sweep::{AxisKind, Which, source_of};
use crate::futures::Run;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::project::run_name;
use crate::screens::Screen;

/// The same future with its numbers written out, so that a channel can be varied. One that words alone drive holds its
/// state.
pub(super) fn written_out(
    mut spec: ImagineSpec,
    blobs: &[Vec<u8>],
    contract: &Contract,
) -> Result<ImagineSpec, Failure> {
    if spec.actions == Actions::Free {
        spec.actions = Actions::Hold;
    }
    as_track(&spec, blobs, contract)
}

impl Studio {
    /// Whether a sweep can be started.
    pub(super) fn can_sweep(&self) -> bool {
        self.view.screen == Screen::Compare
            && self.view.compare.part == Part::Sweep
            && self.model().is_some()
            && !self.compare.sweep.running()
    }

    /// Lays the sweep out around what is set up on the World screen.
    pub(super) fn start_sweep(&mut self) {
        let Some(model) = self.model().cloned() else { return };
        let read = |which| self.compare.sweep.axis(which).read();
        let (x, y) = (read(Which::X), read(Which::Y));
        let no_y = self.compare.sweep.axis(Which::Y).kind == AxisKind::Nothing;
        let (Some(x), true) = (x, y.is_some() || no_y) else {
            self.compare.sweep.trouble = Some(self.strings().compare.axis_unreadable.clone());
            return;
        };
        let out = self.project.scratch().join(run_name(self.link.next_job()));
        let (mut spec, blobs) = self.setup.get().spec(&model.contract, &self.start, Some(out));
        spec.model = model.folder.display().to_string();
        let weights: BTreeMap<String, u64> = self
            .models
            .iter()
            .flatten()
            .flat_map(|m| [(m.name.clone(), m.parameters), (m.folder.display().to_string(), m.parameters)])
            .collect();
        let state = self.start.states.last().cloned().unwrap_or_default();
        let wants_track = [Which::X, Which::Y].iter().any(|w| self.compare.sweep.axis(*w).kind.has_channel());
        self.compare.sweep.trouble = None;
        self.compare.sweep.laying = true;
        self.compare.sweep.blobs = blobs.clone();
        let contract = model.contract;
        self.background.run(&self.ctx, "sweep", move || {
            let laid = caught(|| {
                let spec = if wants_track { written_out(spec, &blobs, &contract)? } else { spec };
                Ok(Box::new(Sweep::new(&spec, x, y, &contract, &state, &weights)?))
            });
            Some(Message::Compare(Wish::SweepLaid(laid.map_err(|f| f.text()))))
        });
    }

    pub(super) fn sweep_laid(&mut self, laid: Result<Box<Sweep>, String>) {
        self.compare.sweep.laying = false;
        match laid {
            Ok(sweep) => self.compare.sweep.laid = Some(*sweep),
            Err(why) => self.compare.sweep.trouble = Some(why),
        }
    }

    /// Starts the next cell when none is being imagined.
    pub(super) fn follow_sweep(&mut self) {
        let Some(sweep) = &self.compare.sweep.laid else { return };
        if sweep.cells.iter().any(|c| matches!(c.state, CellState::Running { .. })) {
            return;
        }
        let Some(next) = sweep.next() else { return };
        let Some(spec) = sweep.cells.get(next).map(|c| c.spec.clone()) else { return };
        let Some(model) = self
            .models
            .iter()
            .flatten()
            .find(|m| m.folder.display().to_string() == spec.model || m.name == spec.model)
        else {
            let reason = self.strings().trouble.no_model.clone();
            if let Some(sweep) = &mut self.compare.sweep.laid {
                sweep.set(next, CellState::Failed { reason });
            }
            return;
        };
        let model = model.clone();
        let mut sent = spec.clone();
        sent.model = model.folder.display().to_string();
        let blobs = self.compare.sweep.blobs.clone();
        let job = self.request_with(Kind::Cell, blobs, |job, _| Request::Imagine { job, spec: sent });
        let rate = model.contract.frame.rate_hz;
        self.runs.open(Run::new(job, spec, &model, rate, self.start.last().cloned(), self.now));
        if let Some(sweep) = &mut self.compare.sweep.laid {
            sweep.set(next, CellState::Running { job });
        }
    }

    /// A cell ended: well, or with a reason, or stopped.
    pub(super) fn cell_ended(&mut self, job: JobId, end: Result<(), Option<String>>) {
        let Some(sweep) = &mut self.compare.sweep.laid else { return };
        let Some(number) = sweep.of_job(job) else { return };
        let folder = sweep.cells.get(number).and_then(source_of).and_then(|s| match s {
            crate::compare::Source::Future { folder, .. } => Some(folder),
            _ => None,
        });
        let state = match (end, folder) {
            (Ok(()), Some(folder)) => CellState::Done { folder },
            (Ok(()), None) | (Err(None), _) => CellState::Cancelled,
            (Err(Some(reason)), _) => CellState::Failed { reason },
        };
        sweep.set(number, state);
    }

    /// Stops the sweep: what is there stays.
    pub(super) fn stop_sweep(&mut self) -> bool {
        let Some(sweep) = &mut self.compare.sweep.laid else { return false };
        let jobs = sweep.cancel();
        let any = !jobs.is_empty();
        jobs.into_iter().for_each(|job| self.cancel(job));
        any
    }

    pub(super) fn sweep_wish(&mut self, wish: Wish) {
        match wish {
            Wish::AxisKind(which, kind) => {
                let setup = self.setup.get();
                let example = kind.example(&setup.prompt, &setup.model);
                let first = self.contract().and_then(|c| c.actions.first()).map(|c| c.name.clone());
                let axis = self.compare.sweep.axis_mut(which);
                axis.kind = kind;
                axis.values = example;
                if kind.has_channel() && axis.channel.is_empty() {
                    axis.channel = first.unwrap_or_default();
                }
            }
            Wish::AxisChannel(which, channel) => self.compare.sweep.axis_mut(which).channel = channel,
            Wish::AxisValues(which, values) => self.compare.sweep.axis_mut(which).values = values,
            Wish::SweepLaid(laid) => self.sweep_laid(laid),
            _ => {}
        }
    }

    /// Lays all futures of the sweep side by side.
    pub(super) fn add_sweep(&mut self) {
        let sources = self.compare.sweep.sources();
        if sources.is_empty() {
            self.log.add(Level::Info, &self.strings().compare.sweep_none, self.now);
            return;
        }
        self.add_to_compare(sources);
        self.view.compare.part = Part::Panes;
    }
}
