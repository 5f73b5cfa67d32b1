//! The set of panes that are compared: the document that undo works on and that is kept with the project.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Most panes of a set.
pub const MAX_PANES: usize = 64;

/// Where a pane's pictures come from, by a name that outlives the session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// A future.
    Future {
        /// Its folder; while it is being imagined, the folder that it will have.
        folder: PathBuf,
        /// Its seed.
        seed: u64,
    },
    /// What really happened in a recorded episode.
    Truth {
        /// Dataset folder.
        dataset: PathBuf,
        /// Episode number.
        episode: usize,
        /// Frame that is frame 0 of the pane.
        at: usize,
        /// Frames after it.
        steps: usize,
    },
    /// The virtual world beside a future: its start and its numbers, and physics instead of the model.
    World {
        /// Folder of the future.
        folder: PathBuf,
        /// Its seed.
        seed: u64,
    },
}

impl Source {
    /// The future that this is, or that it runs beside.
    pub fn future(&self) -> Option<Source> {
        match self {
            Self::Future { folder, seed } | Self::World { folder, seed } => {
                Some(Self::Future { folder: folder.clone(), seed: *seed })
            }
            Self::Truth { .. } => None,
        }
    }

    /// Whether a model imagined it.
    pub fn imagined(&self) -> bool {
        matches!(self, Self::Future { .. })
    }
}

/// A pane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PaneDoc {
    /// Its number, never used twice in a set.
    pub id: u64,
    /// Where its pictures come from.
    pub source: Source,
    /// Stays in front, and stays when the set is emptied.
    #[serde(default)]
    pub pinned: bool,
    /// Left out of the views and numbers of the whole set.
    #[serde(default)]
    pub muted: bool,
    /// Frame of the common time base at which it starts: a branch starts where it left its parent.
    #[serde(default)]
    pub offset: usize,
}

/// The set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompareDoc {
    /// Panes in the order of the grid; pinned ones come first.
    pub panes: Vec<PaneDoc>,
    /// The first pane of the pair that is looked at.
    pub a: Option<u64>,
    /// The second one.
    pub b: Option<u64>,
    next: u64,
}

/// A change of the set.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// More panes, behind the others; what is there already stays where it is.
    Add(Vec<Source>),
    /// Branches that start at a frame of the common time base.
    Branch {
        /// The branches.
        sources: Vec<Source>,
        /// The frame.
        offset: usize,
    },
    /// One pane less.
    Remove(u64),
    /// A pane to another place.
    Move {
        /// Which one.
        pane: u64,
        /// Place among all panes, counted from 0.
        to: usize,
    },
    /// Pin or unpin.
    Pin(u64),
    /// Mute or unmute.
    Mute(u64),
    /// Make a pane the first (`true`) or the second of the pair.
    Mark {
        /// First of the pair?
        first: bool,
        /// Which pane.
        pane: u64,
    },
    /// The two of the pair change places.
    Swap,
    /// Only pinned panes stay.
    Clear,
}

impl Edit {
    /// Edits of one kind within one gesture are one undo step.
    pub fn kind(&self) -> String {
        match self {
            Self::Move { pane, .. } => format!("move {pane}"),
            other => format!("{other:?}"),
        }
    }
}

impl CompareDoc {
    /// A pane by its number.
    pub fn pane(&self, id: u64) -> Option<&PaneDoc> {
        self.panes.iter().find(|p| p.id == id)
    }

    /// Place of a pane in the grid.
    pub fn place(&self, id: u64) -> Option<usize> {
        self.panes.iter().position(|p| p.id == id)
    }

    /// The pair that is looked at: what was marked, else the first panes that are left.
    pub fn pair(&self) -> Option<(&PaneDoc, &PaneDoc)> {
        let marked = |id: Option<u64>| id.and_then(|id| self.pane(id));
        let a = marked(self.a);
        let b = marked(self.b).filter(|b| a.is_none_or(|a| a.id != b.id));
        let other = |than: &PaneDoc| self.panes.iter().find(|p| p.id != than.id);
        match (a, b) {
            (Some(a), Some(b)) => Some((a, b)),
            (Some(a), None) => Some((a, other(a)?)),
            (None, Some(b)) => Some((other(b)?, b)),
            (None, None) => {
                let a = self.panes.first()?;
                Some((a, other(a)?))
            }
        }
    }

    /// Carries out one change.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Add(sources) => self.add(sources, 0),
            Edit::Branch { sources, offset } => self.add(sources, offset),
            Edit::Remove(id) => self.panes.retain(|p| p.id != id),
            Edit::Move { pane, to } => {
                if let Some(from) = self.place(pane) {
                    let moved = self.panes.remove(from);
                    // Pinned panes stay in front of the others, whatever is dragged where.
                    let pinned = self.panes.iter().filter(|p| p.pinned).count();
                    let range = if moved.pinned { 0..=pinned } else { pinned..=self.panes.len() };
                    self.panes.insert(to.clamp(*range.start(), *range.end()), moved);
                }
            }
            Edit::Pin(id) => {
                if let Some(pane) = self.panes.iter_mut().find(|p| p.id == id) {
                    pane.pinned = !pane.pinned;
                    self.panes.sort_by_key(|p| !p.pinned);
                }
            }
            Edit::Mute(id) => {
                if let Some(pane) = self.panes.iter_mut().find(|p| p.id == id) {
                    pane.muted = !pane.muted;
                }
            }
            Edit::Mark { first, pane } => {
                let (this, other) =
                    if first { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) };
                if *other == Some(pane) {
                    *other = *this;
                }
                *this = Some(pane);
            }
            Edit::Swap => {
                if let Some((a, b)) = self.pair().map(|(a, b)| (a.id, b.id)) {
                    (self.a, self.b) = (Some(b), Some(a));
                }
            }
            Edit::Clear => self.panes.retain(|p| p.pinned),
        }
        let there = |id: &u64| self.panes.iter().any(|p| p.id == *id);
        (self.a, self.b) = (self.a.filter(there), self.b.filter(there));
    }

    fn add(&mut self, sources: Vec<Source>, offset: usize) {
        for source in sources {
            if self.panes.len() < MAX_PANES && !self.panes.iter().any(|p| p.source == source) {
                self.panes.push(PaneDoc { id: self.next, source, pinned: false, muted: false, offset });
                self.next += 1;
            }
        }
    }

    /// A set that came from a file may hold anything; this brings it in order.
    pub fn heal(&mut self) {
        self.panes.truncate(MAX_PANES);
        let mut seen = std::collections::HashSet::new();
        self.panes.retain(|p| seen.insert(p.id));
        self.panes.sort_by_key(|p| !p.pinned);
        self.next = self.panes.iter().map(|p| p.id.saturating_add(1)).max().unwrap_or(0).max(self.next);
        self.apply(Edit::Add(Vec::new()));
    }
}

/// What the screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The panes.
    #[default]
    Panes,
    /// Which future came from which.
    Tree,
    /// Two things varied against each other.
    Sweep,
    /// All futures of the project.
    Gallery,
}

/// How the panes are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// All, side by side.
    #[default]
    Side,
    /// The pair: left of a line the one, right of it the other.
    Wipe,
    /// The pair: one shining through the other.
    Onion,
    /// The pair: what is brighter and what is darker.
    Signed,
    /// The pair: how large the difference is.
    Heat,
    /// The pair: one after the other, fast.
    Flicker,
    /// The set: the mean of each pixel.
    Mean,
    /// The set: how far the pixels of the futures lie apart.
    Spread,
    /// The set: the median of each pixel.
    Median,
}

impl Look {
    /// Whether it looks at a pair.
    pub fn of_pair(self) -> bool {
        matches!(self, Self::Wipe | Self::Onion | Self::Signed | Self::Heat | Self::Flicker)
    }

    /// Whether it looks at the whole set at once.
    pub fn of_set(self) -> bool {
        matches!(self, Self::Mean | Self::Spread | Self::Median)
    }
}

/// How the screen looks: kept, but no part of undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CompareView {
    /// What is shown.
    pub part: Part,
    /// How the panes are looked at.
    pub look: Look,
    /// Where the line of the wipe stands, 0..=1 from the left.
    pub split: f32,
    /// How much of the second picture shines through, 0..=1.
    pub onion: f32,
    /// Amplification of the signed difference, 0.5 to 8.
    pub gain: f32,
    /// Whether the strips of numbers are shown.
    pub numbers: bool,
    /// Name of the metric that is shown.
    pub metric: String,
}

impl Default for CompareView {
    fn default() -> Self {
        Self {
            part: Part::Panes,
            look: Look::Side,
            split: 0.5,
            onion: 0.5,
            gain: 2.0,
            numbers: true,
            metric: "psnr".into(),
        }
    }
}

impl CompareView {
    /// Values of a file may be anything; this brings them inside their ranges.
    pub fn heal(&mut self) {
        for value in [&mut self.split, &mut self.onion] {
            *value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.5 };
        }
        self.gain = if self.gain.is_finite() { self.gain.clamp(0.5, 8.0) } else { 1.0 };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(seed: u64) -> Source {
        Source::Future { folder: format!("futures/a/seed-{seed}").into(), seed }
    }

    fn set(n: u64) -> CompareDoc {
        let mut doc = CompareDoc::default();
        doc.apply(Edit::Add((0..n).map(source).collect()));
        doc
    }

    fn order(doc: &CompareDoc) -> Vec<u64> {
        doc.panes.iter().map(|p| p.id).collect()
    }

    #[test]
    fn a_future_is_in_the_set_once_and_the_set_has_an_end() {
        let mut doc = set(3);
        doc.apply(Edit::Add(vec![source(1), source(7)]));
        assert_eq!(order(&doc), [0, 1, 2, 3]);
        doc.apply(Edit::Remove(1));
        doc.apply(Edit::Add(vec![source(1)]));
        assert_eq!(order(&doc), [0, 2, 3, 4], "a number is never used twice");
        doc.apply(Edit::Add((100..400).map(source).collect()));
        assert_eq!(doc.panes.len(), MAX_PANES);
    }

    #[test]
    fn pinned_panes_stay_in_front_and_survive() {
        let mut doc = set(4);
        doc.apply(Edit::Pin(2));
        assert_eq!(order(&doc), [2, 0, 1, 3]);
        doc.apply(Edit::Move { pane: 3, to: 0 });
        assert_eq!(order(&doc), [2, 3, 0, 1], "nothing gets before a pinned pane");
        doc.apply(Edit::Move { pane: 2, to: 3 });
        assert_eq!(order(&doc), [2, 3, 0, 1]);
        doc.apply(Edit::Clear);
        assert_eq!(order(&doc), [2]);
    }

    #[test]
    fn the_pair_is_what_was_marked_or_the_first_two() {
        let mut doc = set(3);
        let pair = |doc: &CompareDoc| doc.pair().map(|(a, b)| (a.id, b.id));
        assert_eq!(pair(&doc), Some((0, 1)));
        doc.apply(Edit::Mark { first: false, pane: 0 });
        assert_eq!(pair(&doc), Some((1, 0)));
        doc.apply(Edit::Mark { first: true, pane: 2 });
        assert_eq!(pair(&doc), Some((2, 0)));
        doc.apply(Edit::Mark { first: true, pane: 0 });
        assert_eq!(pair(&doc), Some((0, 2)), "marking the other one swaps");
        doc.apply(Edit::Swap);
        assert_eq!(pair(&doc), Some((2, 0)));
        doc.apply(Edit::Remove(2));
        assert_eq!(pair(&doc), Some((1, 0)));
        doc.apply(Edit::Remove(1));
        assert_eq!(pair(&doc), None);
    }

    #[test]
    fn a_broken_file_is_brought_in_order() {
        let pane = |id, pinned| PaneDoc { id, source: source(id), pinned, muted: false, offset: 0 };
        let mut doc =
            CompareDoc { panes: vec![pane(5, false), pane(5, true), pane(9, true)], ..CompareDoc::default() };
        doc.a = Some(77);
        doc.heal();
        assert_eq!((order(&doc), doc.a), (vec![9, 5], None));
        doc.apply(Edit::Add(vec![source(1000)]));
        assert_eq!(order(&doc), [9, 5, 10]);
    }
}
