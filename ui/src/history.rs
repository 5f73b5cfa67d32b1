//! Undo and redo over a small document.
//!
//! An edit that follows another one of the same kind within one gesture (a drag, a run of typing) replaces it, so
//! that one undo takes back what the person did in one go.

/// Most steps back that are kept.
const DEPTH: usize = 100;

/// A document with its past and its undone future.
#[derive(Clone, Debug)]
pub struct History<T> {
    present: T,
    past: Vec<T>,
    undone: Vec<T>,
    /// Kind of the gesture that is still going on.
    open: Option<String>,
}

impl<T: Clone + PartialEq> History<T> {
    /// A document without a past.
    pub fn new(present: T) -> Self {
        Self { present, past: Vec::new(), undone: Vec::new(), open: None }
    }

    /// The document as it stands.
    pub fn get(&self) -> &T {
        &self.present
    }

    /// Changes the document by `edit`. `kind` names what is changed (`prompt`, `curve shoulder_pan`): edits of one
    /// kind make one undo step until [`History::settle`].
    pub fn edit(&mut self, kind: &str, edit: impl FnOnce(&mut T)) {
        let before = self.present.clone();
        edit(&mut self.present);
        if before == self.present {
            return;
        }
        self.undone.clear();
        if self.open.as_deref() != Some(kind) {
            self.past.push(before);
            if self.past.len() > DEPTH {
                self.past.remove(0);
            }
            self.open = Some(kind.to_owned());
        }
    }

    /// The gesture is over: the next edit makes an undo step of its own.
    pub fn settle(&mut self) {
        self.open = None;
    }

    /// Changes the document without an undo step: for what the machine fills in by itself.
    pub fn amend(&mut self, edit: impl FnOnce(&mut T)) {
        edit(&mut self.present);
    }

    /// Whether there is something to undo.
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is something to redo.
    pub fn can_redo(&self) -> bool {
        !self.undone.is_empty()
    }

    /// Takes the last step back.
    pub fn undo(&mut self) {
        if let Some(before) = self.past.pop() {
            self.undone.push(std::mem::replace(&mut self.present, before));
            self.open = None;
        }
    }

    /// Does the last undone step again.
    pub fn redo(&mut self) {
        if let Some(after) = self.undone.pop() {
            self.past.push(std::mem::replace(&mut self.present, after));
            self.open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gesture_is_one_step() {
        let mut h = History::new(0);
        for value in 1..=30 {
            h.edit("drag", |v| *v = value);
        }
        h.settle();
        h.edit("drag", |v| *v = 99);
        h.undo();
        assert_eq!(*h.get(), 30);
        h.undo();
        assert_eq!(*h.get(), 0);
        assert!(!h.can_undo());
        h.redo();
        h.redo();
        assert_eq!(*h.get(), 99);
    }

    #[test]
    fn another_kind_of_edit_starts_a_step() {
        let mut h = History::new((0, 0));
        h.edit("a", |v| v.0 = 1);
        h.edit("b", |v| v.1 = 1);
        h.undo();
        assert_eq!(*h.get(), (1, 0));
    }

    #[test]
    fn an_edit_drops_what_was_undone_and_nothing_changed_is_no_edit() {
        let mut h = History::new(1);
        h.edit("a", |v| *v = 1);
        assert!(!h.can_undo());
        h.edit("a", |v| *v = 2);
        h.undo();
        h.edit("b", |v| *v = 3);
        assert!(!h.can_redo());
    }

    #[test]
    fn the_past_is_bounded() {
        let mut h = History::new(0);
        for value in 1..1000 {
            h.edit("a", |v| *v = value);
            h.settle();
        }
        let mut steps = 0;
        while h.can_undo() {
            h.undo();
            steps += 1;
        }
        assert_eq!(steps, DEPTH);
    }
}
