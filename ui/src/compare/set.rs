//! The set as it is shown: the document, the selected pane, zoom, and what could not be opened.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use eframe::egui::{Pos2, Rect, Vec2, pos2, vec2};

use super::blind::Round;
use super::doc::{CompareDoc, Source};
use super::export::Exporting;
use super::follow::Follow;
use super::library::Snapshot;
use super::numbers::{Measured, Truths};
use super::sweep::SweepState;
use super::thumbs::Thumbs;
use super::views::Views;
use crate::history::History;
use crate::shell::sheets::Branch;

/// Largest factor of zoom.
pub const MAX_ZOOM: f32 = 32.0;

/// The part of the pictures that all panes show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Zoom {
    /// 1 = the whole picture.
    pub factor: f32,
    /// What lies in the middle, 0..=1 of the picture.
    pub centre: Pos2,
}

impl Default for Zoom {
    fn default() -> Self {
        Self { factor: 1.0, centre: pos2(0.5, 0.5) }
    }
}

impl Zoom {
    /// The visible part in picture coordinates 0..=1.
    pub fn part(self) -> Rect {
        Rect::from_center_size(self.centre, Vec2::splat(1.0 / self.factor))
    }

    /// Zooms by `by`; the point `at` (0..=1 of the visible part) stays where it is.
    pub fn scale(&mut self, by: f32, at: Vec2) {
        let before = self.part();
        let point = before.min + before.size() * at;
        self.factor = (self.factor * by).clamp(1.0, MAX_ZOOM);
        let size = Vec2::splat(1.0 / self.factor);
        self.centre = point + size * (vec2(0.5, 0.5) - at);
        self.heal();
    }

    /// Moves the pictures by `by` (in widths and heights of the pane).
    pub fn shift(&mut self, by: Vec2) {
        self.centre -= by / self.factor;
        self.heal();
    }

    /// Keeps the visible part inside the picture.
    fn heal(&mut self) {
        let half = 0.5 / self.factor;
        self.centre = self.centre.clamp(pos2(half, half), pos2(1.0 - half, 1.0 - half));
    }
}

/// The set as it is shown.
#[derive(Debug)]
pub struct Compare {
    /// The panes, with undo.
    pub doc: History<CompareDoc>,
    /// Number of the selected pane.
    pub selected: Option<u64>,
    /// The pane that is shown alone.
    pub alone: Option<u64>,
    /// What all panes show.
    pub zoom: Zoom,
    /// Sources that are being opened.
    pub opening: HashSet<Source>,
    /// Sources that cannot be opened, and why.
    pub missing: HashMap<Source, String>,
    /// Pictures that are made of several futures.
    pub views: Views,
    /// Numbers of the panes.
    pub measured: Arc<Measured>,
    /// Panes, their frames and places in time that the numbers are of, or are being made of.
    pub measured_of: Vec<(u64, usize, usize)>,
    /// Whether they are being made.
    pub measuring: bool,
    /// Recordings that were read.
    pub truths: Truths,
    /// The project's futures.
    pub library: Arc<Snapshot>,
    /// Their small pictures.
    pub thumbs: Thumbs,
    /// Folder of the future that is chosen in the tree or the gallery.
    pub chosen: Option<PathBuf>,
    /// The node that is being renamed, and what was typed.
    pub renaming: Option<(u64, String)>,
    /// What was typed to search.
    pub query: String,
    /// Branches that wait until their parent has been copied into the project, with the folder of the copy.
    pub keeping: Vec<(PathBuf, Branch)>,
    /// The sweep.
    pub sweep: SweepState,
    /// The action-following gauge.
    pub follow: Follow,
    /// Pictures that go beside its requests.
    pub follow_blobs: Vec<Vec<u8>>,
    /// The blind round.
    pub blind: Option<Round>,
    /// One vote is written at a time.
    pub voting: Arc<Mutex<()>>,
    /// The export that is being written.
    pub exporting: Option<Exporting>,
}

impl Compare {
    /// A set that has just been read.
    pub fn new(doc: CompareDoc) -> Self {
        Self {
            selected: doc.panes.first().map(|p| p.id),
            doc: History::new(doc),
            alone: None,
            zoom: Zoom::default(),
            opening: HashSet::new(),
            missing: HashMap::new(),
            views: Views::default(),
            measured: Arc::default(),
            measured_of: Vec::new(),
            measuring: false,
            truths: Truths::default(),
            library: Arc::default(),
            thumbs: Thumbs::default(),
            chosen: None,
            renaming: None,
            query: String::new(),
            keeping: Vec::new(),
            sweep: SweepState::default(),
            follow: Follow::default(),
            follow_blobs: Vec::new(),
            blind: None,
            voting: Arc::default(),
            exporting: None,
        }
    }

    /// Whether the future of a folder is in the set.
    pub fn has(&self, folder: &Path) -> bool {
        let of = |s: &Source| matches!(s, Source::Future { folder: f, .. } if f == folder);
        self.doc.get().panes.iter().any(|p| of(&p.source))
    }

    /// Selects the pane `by` places on.
    pub fn go(&mut self, by: isize) {
        let doc = self.doc.get();
        let Some(last) = doc.panes.len().checked_sub(1) else { return };
        let here = self.selected.and_then(|id| doc.place(id));
        let place = here.map_or(0, |at| at.saturating_add_signed(by).min(last));
        self.selected = doc.panes.get(place).map(|p| p.id);
        if self.alone.is_some() {
            self.alone = self.selected;
        }
    }

    /// After a change: the selection stays on a pane that is there.
    pub fn settle_selection(&mut self, place_before: Option<usize>) {
        let doc = self.doc.get();
        if self.selected.is_none_or(|id| doc.pane(id).is_none()) {
            let place = place_before.unwrap_or(0).min(doc.panes.len().saturating_sub(1));
            self.selected = doc.panes.get(place).map(|p| p.id);
        }
        if self.alone.is_some_and(|id| doc.pane(id).is_none()) {
            self.alone = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zooming_keeps_the_point_under_the_pointer() {
        let mut zoom = Zoom::default();
        let at = vec2(0.25, 0.75);
        let point = |z: Zoom| z.part().min + z.part().size() * at;
        let before = point(zoom);
        zoom.scale(4.0, at);
        assert!((point(zoom) - before).length() < 1e-5);
        assert_eq!(zoom.part().width(), 0.25);
        zoom.scale(0.001, at);
        assert_eq!(zoom, Zoom::default());
    }

    #[test]
    fn the_visible_part_never_leaves_the_picture() {
        let mut zoom = Zoom::default();
        zoom.scale(1e9, vec2(0.0, 0.0));
        assert_eq!(zoom.factor, MAX_ZOOM);
        for by in [vec2(100.0, -100.0), vec2(-500.0, 3.0)] {
            zoom.shift(by);
            let part = zoom.part();
            assert!(part.min.x >= -1e-6 && part.max.x <= 1.0 + 1e-6, "{part:?}");
            assert!(part.min.y >= -1e-6 && part.max.y <= 1.0 + 1e-6, "{part:?}");
        }
    }
}
