//! The project's futures on the Compare screen: what is chosen, renamed, branched from, imagined again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::engine::protocol::{Actions, ImagineSpec, Request, Start};

use super::Studio;
use crate::commands::Command;
use crate::compare::library::{Library, Order, Snapshot};
use crate::compare::thumbs::Thumbs;
use crate::compare::{Edit, Part, Source};
use crate::futures::Run;
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Wish;
use crate::project::run_name;
use crate::screens::Screen;
use crate::shell::sheets::{Branch, Sheet};

impl Studio {
    /// Starts what reads the project's futures, when the Compare screen is first shown on this project.
    pub(super) fn follow_library(&mut self) {
        if self.view.screen == Screen::Compare && self.library.is_none() {
            let ctx = self.ctx.clone();
            self.library = Some(Library::new(&ctx, &self.background, self.project.futures()));
            self.compare.thumbs = Thumbs::new(&ctx, &self.background);
        }
    }

    pub(super) fn order(&mut self, order: Order) {
        if let Some(library) = &self.library {
            library.order(order);
        }
    }

    pub(super) fn library_read(&mut self, snapshot: Arc<Snapshot>) {
        let gone = |f: &PathBuf| snapshot.entry(f).is_none();
        if self.compare.chosen.as_ref().is_some_and(gone) {
            self.compare.chosen = None;
        }
        self.compare.library = snapshot;
    }

    /// The part of the screen that shows the project's futures is open.
    pub(super) fn in_library(&self) -> bool {
        self.view.screen == Screen::Compare && matches!(self.view.compare.part, Part::Tree | Part::Gallery)
    }

    fn chosen_node(&self) -> Option<u64> {
        self.compare.library.node_of(self.compare.chosen.as_deref()?)
    }

    /// Whether a command can be carried out on the chosen future; `None` for other commands.
    pub(super) fn library_enabled(&self, command: Command) -> Option<bool> {
        let here = self.in_library();
        let chosen = here && self.compare.chosen.is_some();
        Some(match command {
            Command::AddChosen | Command::ImagineAgain => chosen,
            Command::RenameFuture => chosen && self.chosen_node().is_some(),
            Command::BranchFrom => self.branch_point().is_some(),
            Command::PinPane | Command::RemovePane if here => self.chosen_node().is_some(),
            Command::NextPane | Command::PreviousPane if here => !self.compare.library.entries.is_empty(),
            Command::Undo if here => self.compare.library.can_undo,
            Command::Redo if here => self.compare.library.can_redo,
            Command::ToggleMaximise if here => false,
            _ => return None,
        })
    }

    /// Carries out a command on the chosen future; `false` for other commands.
    pub(super) fn library_command(&mut self, command: Command) -> bool {
        let here = self.in_library();
        match command {
            Command::AddChosen => self.add_chosen(),
            Command::ImagineAgain => self.imagine_again(),
            Command::BranchFrom => self.open_branch(),
            Command::RenameFuture => {
                if let Some(id) = self.chosen_node() {
                    let name = self.compare.library.nodes.get(&id).map(|n| n.name.clone());
                    self.compare.renaming = Some((id, name.unwrap_or_default()));
                    self.view.compare.part = Part::Tree;
                }
            }
            Command::PinPane if here => {
                if let Some(id) = self.chosen_node() {
                    let pinned = self.compare.library.nodes.get(&id).is_some_and(|n| n.pinned);
                    self.order(Order::Pin(id, !pinned));
                }
            }
            Command::RemovePane if here => {
                if let Some(id) = self.chosen_node() {
                    self.order(Order::Delete(id));
                    self.log.add(Level::Info, &self.strings().compare.deleted, self.now);
                }
            }
            Command::Undo if here => self.order(Order::Undo),
            Command::Redo if here => self.order(Order::Redo),
            Command::NextPane if here => self.choose_next(1),
            Command::PreviousPane if here => self.choose_next(-1),
            _ => return false,
        }
        true
    }

    fn choose_next(&mut self, by: isize) {
        let library = &self.compare.library;
        let folders: Vec<&PathBuf> = if self.view.compare.part == Part::Tree {
            library.rows.iter().filter_map(|r| library.folders.get(&r.id)).collect()
        } else {
            library.entries.iter().map(|e| &e.folder).collect()
        };
        let here = self.compare.chosen.as_ref().and_then(|c| folders.iter().position(|f| *f == c));
        let last = folders.len().saturating_sub(1);
        let next = here.map_or(0, |i| i.saturating_add_signed(by).min(last));
        self.compare.chosen = folders.get(next).map(|f| (*f).clone());
    }

    fn chosen_source(&self) -> Option<Source> {
        let folder = self.compare.chosen.clone()?;
        let seed = self.compare.library.entry(&folder).map_or(0, |e| e.seed);
        Some(Source::Future { folder, seed })
    }

    fn add_chosen(&mut self) {
        let Some(source) = self.chosen_source() else { return };
        let before = self.compare.doc.get().panes.len();
        self.add_to_compare(vec![source]);
        let s = self.strings();
        if self.compare.doc.get().panes.len() > before {
            self.log.add(Level::Info, crate::i18n::fill(&s.compare.added, &[("n", &1)]), self.now);
        } else {
            self.log.add(Level::Info, &s.compare.in_set, self.now);
        }
    }

    /// Imagines the chosen future again from its record and lays both beside each other: they must be equal.
    fn imagine_again(&mut self) {
        let Some(source) = self.chosen_source() else { return };
        let Source::Future { folder, seed } = source.clone() else { return };
        let out = self.project.scratch().join(run_name(self.link.next_job()));
        let (record, to) = (folder, out.clone());
        let kind = Kind::Again;
        let job = self.request(kind, |job, _| Request::Again { job, record, model: None, out: Some(to) });
        let again = out.join(format!("seed-{seed}"));
        self.runs.open(Run::opened(job, &again, seed, self.now));
        let copy = Source::Future { folder: again, seed };
        self.add_to_compare(vec![source.clone(), copy.clone()]);
        let doc = self.compare.doc.get();
        let id = |s: &Source| doc.panes.iter().find(|p| p.source == *s).map(|p| p.id);
        if let (Some(a), Some(b)) = (id(&source), id(&copy)) {
            self.compare_edit(Edit::Mark { first: true, pane: a });
            self.compare_edit(Edit::Mark { first: false, pane: b });
        }
        self.view.compare.part = Part::Panes;
        self.view.compare.look = crate::compare::Look::Heat;
    }

    /// The future and the frame that a branch would start from: of the selected pane, or the chosen future's last frame.
    fn branch_point(&self) -> Option<(PathBuf, u64, usize)> {
        if self.view.screen != Screen::Compare {
            return None;
        }
        if self.in_library() {
            let folder = self.compare.chosen.clone()?;
            let entry = self.compare.library.entry(&folder)?;
            return Some((folder, entry.seed, entry.steps));
        }
        if self.view.compare.part != Part::Panes {
            return None;
        }
        let pane = self.compare.doc.get().pane(self.compare.selected?)?;
        let Source::Future { .. } = pane.source else { return None };
        let (_, future) = self.runs.find(&pane.source)?;
        let folder = future.folder.clone().filter(|_| future.done || future.record.is_some())?;
        let at = self.transport.frame().saturating_sub(pane.offset).min(future.ready().saturating_sub(1));
        Some((folder, future.seed, at))
    }

    fn open_branch(&mut self) {
        let Some((folder, seed, at)) = self.branch_point() else { return };
        let known = self.runs.find(&Source::Future { folder: folder.clone(), seed });
        let (prompt, steps, numbers) = match known {
            Some((run, _)) => {
                let left = run.spec.steps.saturating_sub(at);
                let numbers = run.spec.actions != Actions::Free;
                (run.spec.prompt.clone(), if left == 0 { run.spec.steps } else { left }, numbers)
            }
            None => {
                let entry = self.compare.library.entry(&folder);
                (entry.map(|e| e.prompt.clone()).unwrap_or_default(), entry.map_or(40, |e| e.steps), false)
            }
        };
        let branch =
            Branch { folder, seed, at, prompt, steps, new_seed: seed, futures: 1, pace: 1.0, numbers };
        self.sheet = Some(Sheet::Branch(branch));
    }

    /// Imagines the branch that the sheet describes, keeps it in the project's tree, and lays it beside its parent. A parent
    /// that nobody has kept yet is copied into the project first, so that the branch's record names a place that stays.
    pub(super) fn branch(&mut self, mut branch: Branch) {
        if let Some(to) = self.place_in_project(&branch.folder) {
            let from = std::mem::replace(&mut branch.folder, to.clone());
            self.compare.keeping.push((to.clone(), branch));
            let copying = |kind: &Kind| matches!(kind, Kind::Keep { to: place, .. } if *place == to);
            if !self.jobs.any(copying) {
                let (folder, place) = (from.clone(), to.clone());
                self.request(Kind::Keep { from, to }, |job, _| Request::SaveFuture {
                    job,
                    folder,
                    to: place,
                });
            }
            return;
        }
        let source = Source::Future { folder: branch.folder.clone(), seed: branch.seed };
        let parent = self.runs.find(&source).map(|(run, future)| {
            let mut spec = run.spec.clone();
            // What a file or an episode holds is in the record.
            if let Some(record) = future.record.as_ref().filter(|r| !r.actions.rows.is_empty()) {
                let (channels, rows) = (record.actions.channels.clone(), record.actions.rows.clone());
                spec.actions = Actions::Track { channels, rows };
            }
            spec
        });
        let Some(model) = self.model().cloned() else {
            self.log.add(Level::Warn, &self.strings().trouble.no_model, self.now);
            return;
        };
        let out = self.project.futures().join(run_name(self.link.next_job()));
        let actions = parent.as_ref().map_or(Actions::Free, |p| rest(&p.actions, branch.at, branch.pace));
        let steps = match &actions {
            Actions::Track { rows, .. } => rows.len().max(1),
            _ => branch.steps,
        };
        let spec = ImagineSpec {
            model: model.folder.display().to_string(),
            start: Start::Future { folder: branch.folder.clone(), at: branch.at },
            prompt: branch.prompt.trim().to_owned(),
            actions,
            steps,
            seeds: (0..branch.futures.max(1) as u64).map(|i| branch.new_seed.wrapping_add(i)).collect(),
            refine: parent.as_ref().map_or(self.setup.get().refine, |p| p.refine),
            device: self.setup.get().device.clone(),
            out: Some(out),
            clip: Default::default(),
        };
        let sent = spec.clone();
        let job = self.request(Kind::Imagine, |job, _| Request::Imagine { job, spec: sent });
        let start = self.runs.find(&source).and_then(|(_, f)| f.frame(branch.at)).map(|(f, _)| f.clone());
        let run = Run::new(job, spec, &model, model.contract.frame.rate_hz, start, self.now);
        let sources = run.sources();
        self.runs.push(run);
        let offset = self.compare.doc.get().panes.iter().find(|p| p.source == source).map_or(0, |p| p.offset);
        self.add_to_compare(vec![source]);
        self.compare_edit(Edit::Branch { sources, offset: offset + branch.at });
        self.compare.doc.settle();
        self.view.compare.part = Part::Panes;
    }

    /// Where the project keeps a future that nobody has kept yet: its branches need a parent after a week, too.
    fn place_in_project(&self, folder: &Path) -> Option<PathBuf> {
        if !folder.starts_with(self.project.scratch()) {
            return None;
        }
        let run = folder.parent().and_then(Path::file_name).unwrap_or_default();
        Some(self.project.futures().join(run).join(folder.file_name().unwrap_or_default()))
    }

    /// A future was copied into the project: its panes mean the copy from now on, and the branches that waited for it
    /// start.
    pub(super) fn kept(&mut self, from: &Path, to: &Path) {
        self.runs.moved(from, to);
        self.compare.doc.amend(|doc| {
            for pane in &mut doc.panes {
                match &mut pane.source {
                    Source::Future { folder, .. } | Source::World { folder, .. } if folder == from => {
                        *folder = to.to_owned();
                    }
                    _ => {}
                }
            }
        });
        self.order(Order::Refresh);
        let (ready, waiting) =
            std::mem::take(&mut self.compare.keeping).into_iter().partition(|(place, _)| place == to);
        self.compare.keeping = waiting;
        let ready: Vec<(PathBuf, Branch)> = ready;
        ready.into_iter().for_each(|(_, branch)| self.branch(branch));
    }

    /// A name was typed, or the typing was given up.
    pub(super) fn renamed(&mut self, keep: bool) {
        if let Some((id, name)) = self.compare.renaming.take().filter(|_| keep) {
            self.order(Order::Rename(id, name));
        }
    }

    pub(super) fn library_wish(&mut self, wish: Wish) {
        match wish {
            Wish::Choose(folder) => self.compare.chosen = Some(folder),
            Wish::Query(text) => self.compare.query = text,
            Wish::Renamed(keep) => self.renamed(keep),
            Wish::Library(snapshot) => self.library_read(snapshot),
            Wish::Thumb(file, frame) => self.compare.thumbs.put(file, frame),
            Wish::Trouble(text) => self.log.add(Level::Warn, text, self.now),
            Wish::Branch(branch) => {
                self.sheet = None;
                self.branch(branch);
            }
            _ => {}
        }
    }
}

/// What is left of the numbers from step `at` on, at another pace: 0.5 takes twice as long for the same way.
pub fn rest(actions: &Actions, at: usize, pace: f32) -> Actions {
    match actions {
        Actions::Track { channels, rows } => {
            let left = rows.get(at..).unwrap_or_default();
            let (Some(last), true) = (rows.last(), pace.is_finite() && pace > 0.0) else {
                return Actions::Hold;
            };
            if left.is_empty() {
                return Actions::Track { channels: channels.clone(), rows: vec![last.clone(); rows.len()] };
            }
            let steps = ((left.len() as f32 / pace).round() as usize).clamp(1, crate::doc::MAX_STEPS);
            // Before the first action the world stands where the action before it led to.
            let before = at.checked_sub(1).and_then(|i| rows.get(i)).or(left.first());
            let point = |i: usize| if i == 0 { before } else { left.get(i - 1) };
            let rows = (1..=steps)
                .map(|step| {
                    let place = (step as f32 * pace).min(left.len() as f32);
                    let (low, part) = (place.floor() as usize, place.fract());
                    let (from, to) = (point(low), point((low + 1).min(left.len())));
                    let blend = |a: &f32, b: &f32| a + (b - a) * part;
                    match (from, to) {
                        (Some(a), Some(b)) => a.iter().zip(b).map(|(a, b)| blend(a, b)).collect(),
                        _ => last.clone(),
                    }
                })
                .collect();
            Actions::Track { channels: channels.clone(), rows }
        }
        Actions::Free => Actions::Free,
        // Without a record nobody knows what a file or an episode holds; the robot stays where it is.
        Actions::Hold | Actions::File(_) | Actions::Episode { .. } => Actions::Hold,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn track(values: &[f32]) -> Actions {
        Actions::Track { channels: vec!["pan".into()], rows: values.iter().map(|v| vec![*v]).collect() }
    }

    fn values(actions: &Actions) -> Vec<f32> {
        let Actions::Track { rows, .. } = actions else { panic!("{actions:?}") };
        rows.iter().map(|r| r[0]).collect()
    }

    #[test]
    fn a_branch_goes_on_with_the_numbers_that_are_left() {
        let all = track(&[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(values(&rest(&all, 2, 1.0)), [2.0, 3.0]);
        assert_eq!(values(&rest(&all, 0, 1.0)), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn half_the_pace_takes_twice_as_long_for_the_same_way() {
        let slow = values(&rest(&track(&[0.0, 1.0, 2.0, 4.0]), 2, 0.5));
        assert_eq!(slow, [1.5, 2.0, 3.0, 4.0]);
        let fast = values(&rest(&track(&[0.0, 1.0, 2.0, 3.0, 4.0]), 1, 2.0));
        assert_eq!(fast, [2.0, 4.0]);
    }

    #[test]
    fn at_the_end_the_last_numbers_are_held() {
        assert_eq!(values(&rest(&track(&[0.0, 5.0]), 2, 1.0)), [5.0, 5.0]);
        assert_eq!(rest(&Actions::Free, 3, 0.5), Actions::Free);
        assert_eq!(rest(&track(&[]), 0, 1.0), Actions::Hold);
    }
}
