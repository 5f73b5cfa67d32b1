//! Exporting what the Compare screen shows: clips, pictures, numbers. Written by a thread, whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use forerun::compare::numbers::{Numbers, NumbersFile, write};
use forerun::compare::sheet::{self, SheetFile, SheetLook, SheetPane};
use forerun::failure::caught;

use super::Studio;
use crate::compare::export::{Export, ExportKind, Exporting};
use crate::i18n::fill;
use crate::log::Level;
use crate::message::{Message, Wish};
use crate::screens::Screen;
use crate::screens::compare::words;

impl Studio {
    /// Whether there is something to export.
    pub(super) fn can_export(&self) -> bool {
        self.view.screen == Screen::Compare
            && self.compare.exporting.is_none()
            && !self.export_panes().is_empty()
    }

    /// Panes that are not muted, with their labels and pictures on the common time base.
    fn export_panes(&self) -> Vec<(u64, SheetPane)> {
        let s = self.strings();
        let doc = self.compare.doc.get();
        let mut out = Vec::new();
        for (place, pane) in doc.panes.iter().enumerate().filter(|(_, p)| !p.muted) {
            let Some((run, future)) = self.runs.find(&pane.source) else { continue };
            let pictures = future.pictures();
            let Some(first) = pictures.first().cloned() else { continue };
            // A branch stands still until its time comes.
            let pictures = std::iter::repeat_n(first, pane.offset).chain(pictures).collect();
            let facts = words::facts(self, pane).map(|f| {
                let refine = fill(&s.world.caption_refine, &[("refine", &f.refine)]);
                format!("{refine} · {} {}", run.model, f.hash)
            });
            let under = words::under(self, s, doc, place);
            let note: Vec<String> = facts.into_iter().chain((!under.is_empty()).then_some(under)).collect();
            let label = words::name(self, s, pane);
            out.push((pane.id, SheetPane { label, note: note.join(" · "), pictures }));
        }
        out
    }

    /// Asks where to, then writes.
    pub(super) fn export(&mut self, export: Export) {
        self.sheet = None;
        let panes = self.export_panes();
        let kind = export.kind;
        let index = self.transport.frame();
        let fps = f64::from(self.transport.fps());
        let numbers = self.numbers(&panes);
        let look = SheetLook {
            title: export.title.trim().to_owned(),
            columns: export.columns,
            scale: export.scale,
            light: export.light,
            ..SheetLook::default()
        };
        let done = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        self.compare.exporting =
            Some(Exporting { done: done.clone(), stop: stop.clone(), total: self.transport.available() });
        let picker = self.background.picker();
        let title = self.strings().commands.export.name.trim_end_matches('…').to_owned();
        let ctx = self.ctx.clone();
        self.background.run(&self.ctx, "export", move || {
            let path = picker.save(&title, kind.file_name());
            let Some(path) = path else { return Some(Message::Compare(Wish::Exported(None))) };
            let panes: Vec<SheetPane> = panes.into_iter().map(|(_, pane)| pane).collect();
            let file = match kind {
                ExportKind::Csv | ExportKind::Json => {
                    let kind = if kind == ExportKind::Csv { NumbersFile::Csv } else { NumbersFile::Json };
                    let written = caught(|| write(&path, &numbers, kind));
                    let written = written.map(|()| path).map_err(|f| f.text());
                    return Some(Message::Compare(Wish::Exported(Some(written))));
                }
                ExportKind::Mp4 => SheetFile::Mp4,
                ExportKind::Gif => SheetFile::Gif,
                ExportKind::Sequence => SheetFile::Sequence,
                ExportKind::Sheet => SheetFile::Png { index },
                ExportKind::Strip => {
                    let length = sheet::length(&panes);
                    SheetFile::Strip { from: 0, every: length.div_ceil(8).max(1), most: 8 }
                }
            };
            let mut progress = |at: usize, _all: usize| {
                done.store(at, Ordering::Relaxed);
                ctx.request_repaint();
                !stop.load(Ordering::Relaxed)
            };
            let written = caught(|| sheet::export(&path, file, &panes, &look, fps, &mut progress));
            Some(Message::Compare(Wish::Exported(Some(written.map(|w| w.path).map_err(|f| f.text())))))
        });
    }

    /// What was measured, with the names of the panes.
    fn numbers(&self, panes: &[(u64, SheetPane)]) -> Vec<Numbers> {
        let doc = self.compare.doc.get();
        let name = |id: u64| {
            let place = doc.place(id).map_or(0, |p| p + 1);
            let label = panes.iter().find(|(i, _)| *i == id).map(|(_, p)| p.label.clone());
            format!("{place} {}", label.unwrap_or_default())
        };
        let measured = &self.compare.measured;
        let of_panes = measured.panes.iter().map(|(id, offset, strips)| {
            let shifted = strips.iter().map(|strip| {
                let values = std::iter::repeat_n(None, *offset).chain(strip.values.iter().copied()).collect();
                forerun::compare::metrics::Strip { values, ..strip.clone() }
            });
            let folder = doc.pane(*id).map_or(String::new(), |p| match &p.source {
                crate::compare::Source::Future { folder, .. } => folder.display().to_string(),
                crate::compare::Source::Truth { .. } | crate::compare::Source::World { .. } => String::new(),
            });
            Numbers { label: name(*id), folder, strips: shifted.collect() }
        });
        let set = (!measured.set.is_empty()).then(|| Numbers {
            label: self.strings().compare.whole_set.clone(),
            folder: String::new(),
            strips: measured.set.clone(),
        });
        of_panes.chain(set).collect()
    }

    /// The export ended; `None` = no file was chosen.
    pub(super) fn exported(&mut self, end: Option<Result<PathBuf, String>>) {
        self.compare.exporting = None;
        match end {
            None => {}
            Some(Ok(path)) => {
                let text = fill(&self.strings().compare.exported, &[("path", &path.display())]);
                self.log.add(Level::Info, text, self.now);
            }
            Some(Err(why)) => self.log.add(Level::Error, why, self.now),
        }
    }
}
