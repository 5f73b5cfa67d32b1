//! The tree of a project's futures: which branched from which, what they are called, which are pinned or deleted.
//!
//! The file is `futures/tree.json` in the project. It only holds what the records do not say; every change is written at
//! once, whole or not at all, so that it survives a kill at any moment. Futures on disk that it does not know (a run
//! that ended just before a kill, a folder that was copied in) are adopted: their records say where they branched.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gallery::{Gallery, name_below};
use super::lanes::{Knot, Placed, place};
use crate::failure::Failure;
use crate::fsx;

/// The newest `format` of `tree.json` that this version reads.
pub const TREE_FORMAT: u32 = 1;
/// File name of the tree in the project's `futures/` folder.
pub const TREE_FILE: &str = "tree.json";
/// Steps that can be undone.
const UNDO: usize = 200;

/// Number of a node, the same for as long as the tree lives.
pub type NodeId = u64;

/// One future in the tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Folder of the future: below the project's `futures/` with `/`, or absolute when it lies elsewhere.
    pub folder: String,
    /// The node that it branched from.
    #[serde(default)]
    pub parent: Option<NodeId>,
    /// Frame of the parent that it starts at: 0 is the parent's own start.
    #[serde(default)]
    pub at: usize,
    /// Name that a person gave it; empty = the window makes one from the record.
    #[serde(default)]
    pub name: String,
    /// Kept at the top, and never deleted with its parent.
    #[serde(default)]
    pub pinned: bool,
    /// Out of sight; the folder stays on disk until [`TreeStore::purge`].
    #[serde(default)]
    pub deleted: bool,
    /// Its folder was purged; it stays as long as something that branched from it is there.
    #[serde(default)]
    pub gone: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TreeFile {
    format: u32,
    next: NodeId,
    nodes: BTreeMap<NodeId, Node>,
}

/// Nodes as they were before and after one step; `None` = not there.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    what: StepKind,
    changes: Vec<(NodeId, Option<Node>, Option<Node>)>,
}

/// What a step did, for the words beside "Undo".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A future was added.
    Add,
    /// One was renamed.
    Rename,
    /// One was deleted with what branched from it.
    Delete,
    /// A deleted one was brought back.
    Restore,
    /// One was pinned or let go.
    Pin,
}

/// The tree of a project, its file, and what can be undone.
#[derive(Clone, Debug)]
pub struct TreeStore {
    /// The project's `futures/` folder.
    root: PathBuf,
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    done: Vec<Step>,
    undone: Vec<Step>,
    /// What a person should know about the file.
    notes: Vec<String>,
}

impl TreeStore {
    /// Opens the tree of the project's `futures/` folder and adopts what is new on disk. A missing file is an empty
    /// tree. A damaged one is set aside as `tree.damaged-N.json` and the tree made again from the records (names, pins
    /// and deletions are lost then; [`TreeStore::notes`] says so).
    ///
    /// # Errors
    /// The file is of a newer format, or the folder cannot be read or written.
    pub fn open(futures: &Path, gallery: &Gallery) -> Result<Self, Failure> {
        let file = futures.join(TREE_FILE);
        let mut store = Self {
            root: futures.to_path_buf(),
            nodes: BTreeMap::new(),
            next: 1,
            done: Vec::new(),
            undone: Vec::new(),
            notes: Vec::new(),
        };
        fsx::sweep(futures);
        match std::fs::read(&file) {
            Ok(bytes) => store.load(&file, &bytes)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::io("read", &file, &e)),
        }
        if store.adopt(gallery) {
            store.save()?;
        }
        Ok(store)
    }

    fn load(&mut self, file: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let value: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        let format = value.as_ref().and_then(|v| v.get("format")).and_then(serde_json::Value::as_u64);
        if format.is_some_and(|f| f > u64::from(TREE_FORMAT)) {
            return Err(Failure::new(
                format!(
                    "{} has format {}, this version reads up to {TREE_FORMAT}.",
                    file.display(),
                    format.unwrap_or(0)
                ),
                "Update Forerun to open this project.",
            ));
        }
        match value.and_then(|v| serde_json::from_value::<TreeFile>(v).ok()) {
            Some(tree) => {
                let above = tree.nodes.keys().next_back().map_or(1, |last| last.saturating_add(1));
                (self.nodes, self.next) = (tree.nodes, tree.next.max(above));
            }
            None => {
                let aside = (1..1000u32)
                    .map(|n| self.root.join(format!("tree.damaged-{n}.json")))
                    .find(|path| !path.exists());
                if let Some(aside) = aside {
                    std::fs::rename(file, &aside).map_err(|e| Failure::io("set aside", file, &e))?;
                    self.notes.push(format!(
                        "The tree of futures was damaged and is made again from the records; names and pins may be \
                         lost. The damaged file is {}.",
                        aside.display()
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a person should know about the file since it was opened.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes in futures on disk that the tree does not know, with their parents as the records say. Adopting is no step
    /// that can be undone. Returns whether there were any; [`TreeStore::refresh`] also saves.
    fn adopt(&mut self, gallery: &Gallery) -> bool {
        let known: HashMap<PathBuf, NodeId> =
            self.nodes.iter().map(|(id, node)| (self.path_of(node), *id)).collect();
        let mut new: Vec<_> = gallery.entries().iter().filter(|e| !known.contains_key(&e.folder)).collect();
        if new.is_empty() {
            return false;
        }
        // Oldest first: numbers follow the order in which futures were made.
        new.sort_by(|a, b| a.made.cmp(&b.made).then_with(|| a.name.cmp(&b.name)));
        let mut ids = known;
        for entry in &new {
            let id = self.take_id();
            ids.insert(entry.folder.clone(), id);
            let folder = self.stored(&entry.folder);
            self.nodes.insert(id, Node { folder, ..Node::default() });
        }
        for entry in new {
            let Some((parent, at)) = gallery.parent_of(entry) else { continue };
            let (Some(id), Some(parent)) = (ids.get(&entry.folder), ids.get(&parent.folder)) else {
                continue;
            };
            if self.descends(*parent, *id) {
                continue;
            }
            if let Some(node) = self.nodes.get_mut(id) {
                (node.parent, node.at) = (Some(*parent), at);
            }
        }
        true
    }

    /// Adopts what is new in a gallery that was looked at again. True when something was.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn refresh(&mut self, gallery: &Gallery) -> Result<bool, Failure> {
        let new = self.adopt(gallery);
        if new {
            self.save()?;
        }
        Ok(new)
    }

    fn take_id(&mut self) -> NodeId {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        id
    }

    /// Whether `node` is `above` or branched from it, however far.
    fn descends(&self, node: NodeId, above: NodeId) -> bool {
        let mut at = Some(node);
        // More steps than nodes: a circle.
        for _ in 0..=self.nodes.len() {
            match at {
                Some(id) if id == above => return true,
                Some(id) => at = self.nodes.get(&id).and_then(|n| n.parent),
                None => return false,
            }
        }
        true
    }

    /// A folder as the file keeps it.
    fn stored(&self, folder: &Path) -> String {
        match folder.strip_prefix(&self.root) {
            Ok(inside) => name_below(inside),
            Err(_) => folder.to_string_lossy().into_owned(),
        }
    }

    fn path_of(&self, node: &Node) -> PathBuf {
        // Joining an absolute path gives that path.
        self.root.join(&node.folder)
    }

    /// Folder of a node.
    pub fn folder(&self, id: NodeId) -> Option<PathBuf> {
        self.nodes.get(&id).map(|node| self.path_of(node))
    }

    /// The node of a folder.
    pub fn of_folder(&self, folder: &Path) -> Option<NodeId> {
        self.nodes.iter().find(|(_, node)| self.path_of(node) == folder).map(|(id, _)| *id)
    }

    /// One node, deleted or not.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All nodes that are not deleted, by number.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().filter(|(_, n)| !n.deleted).map(|(id, n)| (*id, n))
    }

    /// Deleted nodes that can be brought back, by number.
    pub fn deleted(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().filter(|(_, n)| n.deleted && !n.gone).map(|(id, n)| (*id, n))
    }

    /// What branched from a node and is not deleted, by number.
    pub fn children(&self, id: NodeId) -> Vec<NodeId> {
        self.nodes().filter(|(_, n)| n.parent == Some(id)).map(|(id, _)| id).collect()
    }

    /// Frames between the start of a node's root and the node's own start: its place on the common time base.
    pub fn start_frame(&self, id: NodeId) -> usize {
        let (mut frames, mut at) = (0usize, Some(id));
        for _ in 0..=self.nodes.len() {
            let Some(node) = at.and_then(|id| self.nodes.get(&id)) else { break };
            if node.parent.is_some() {
                frames = frames.saturating_add(node.at);
            }
            at = node.parent;
        }
        frames
    }

    /// Where every node that is not deleted is drawn; trees with a pinned node come first, then by number. A node whose
    /// parent was deleted hangs on the nearest one above that was not.
    pub fn layout(&self) -> Vec<Placed> {
        let visible = |mut parent: Option<NodeId>| {
            for _ in 0..=self.nodes.len() {
                let node = self.nodes.get(&parent?)?;
                if !node.deleted {
                    return parent;
                }
                parent = node.parent;
            }
            None
        };
        let mut knots: Vec<Knot> =
            self.nodes().map(|(id, n)| Knot { id, parent: visible(n.parent) }).collect();
        let pinned: std::collections::HashSet<NodeId> =
            self.nodes().filter(|(_, n)| n.pinned).map(|(id, _)| self.root_of(id)).collect();
        knots.sort_by_key(|k| (!pinned.contains(&self.root_of(k.id)), k.id));
        place(&knots)
    }

    fn root_of(&self, id: NodeId) -> NodeId {
        let mut at = id;
        for _ in 0..=self.nodes.len() {
            match self.nodes.get(&at).and_then(|n| n.parent).filter(|p| self.nodes.contains_key(p)) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    /// Adds a future: `folder` with its record, branched at frame `at` of `parent`. A folder that the tree has already
    /// keeps its number.
    ///
    /// # Errors
    /// There is no such parent; the file cannot be written (then nothing has changed).
    pub fn add(
        &mut self,
        folder: &Path,
        parent: Option<(NodeId, usize)>,
        name: &str,
    ) -> Result<NodeId, Failure> {
        if let Some(id) = self.of_folder(folder) {
            return Ok(id);
        }
        if let Some((parent, _)) = parent {
            self.known(parent)?;
        }
        let id = self.take_id();
        let node = Node {
            folder: self.stored(folder),
            parent: parent.map(|(id, _)| id),
            at: parent.map_or(0, |(_, at)| at),
            name: name.to_owned(),
            ..Node::default()
        };
        // Taken back, it is deleted and not unknown: its folder is still there and would be adopted again.
        let undone = Node { deleted: true, ..node.clone() };
        if let Err(failure) = self.change(StepKind::Add, vec![(id, Some(undone), Some(node))]) {
            self.nodes.remove(&id);
            return Err(failure);
        }
        Ok(id)
    }

    fn known(&self, id: NodeId) -> Result<&Node, Failure> {
        self.nodes.get(&id).ok_or_else(|| {
            Failure::new(
                format!("The tree has no future number {id}."),
                "Refresh the tree and choose one of it.",
            )
        })
    }

    fn edit(&mut self, what: StepKind, id: NodeId, edit: impl FnOnce(&mut Node)) -> Result<(), Failure> {
        let before = self.known(id)?.clone();
        let mut after = before.clone();
        edit(&mut after);
        self.change(what, vec![(id, Some(before), Some(after))])
    }

    /// Gives a future a name; an empty one lets the window make it from the record.
    ///
    /// # Errors
    /// There is no such node; the file cannot be written.
    pub fn rename(&mut self, id: NodeId, name: &str) -> Result<(), Failure> {
        let name = name.trim().to_owned();
        self.edit(StepKind::Rename, id, |node| node.name = name)
    }

    /// Pins a future, or lets it go.
    ///
    /// # Errors
    /// There is no such node; the file cannot be written.
    pub fn pin(&mut self, id: NodeId, pinned: bool) -> Result<(), Failure> {
        self.edit(StepKind::Pin, id, |node| node.pinned = pinned)
    }

    /// What [`TreeStore::delete`] would take: the node and everything that branched from it, but for pinned futures and
    /// what branched from those.
    pub fn would_delete(&self, id: NodeId) -> Vec<NodeId> {
        let mut taken = Vec::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !taken.contains(&id) && self.nodes.get(&id).is_some_and(|n| !n.deleted) {
                taken.push(id);
                open.extend(
                    self.nodes().filter(|(_, n)| n.parent == Some(id) && !n.pinned).map(|(id, _)| id),
                );
            }
        }
        taken.sort_unstable();
        taken
    }

    /// Deletes a future and what branched from it, as one step that can be undone. The folders stay on disk until
    /// [`TreeStore::purge`]. Returns what was deleted.
    ///
    /// # Errors
    /// There is no such node; the file cannot be written.
    pub fn delete(&mut self, id: NodeId) -> Result<Vec<NodeId>, Failure> {
        self.known(id)?;
        let taken = self.would_delete(id);
        self.mark(StepKind::Delete, &taken, true)?;
        Ok(taken)
    }

    /// Brings deleted futures back, also those of an earlier session.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn restore(&mut self, ids: &[NodeId]) -> Result<(), Failure> {
        self.mark(StepKind::Restore, ids, false)
    }

    fn mark(&mut self, what: StepKind, ids: &[NodeId], deleted: bool) -> Result<(), Failure> {
        let changes: Vec<_> = ids
            .iter()
            .filter_map(|id| {
                let node = self.nodes.get(id).filter(|n| !n.gone)?;
                Some((*id, Some(node.clone()), Some(Node { deleted, ..node.clone() })))
            })
            .collect();
        self.change(what, changes)
    }

    fn change(
        &mut self,
        what: StepKind,
        changes: Vec<(NodeId, Option<Node>, Option<Node>)>,
    ) -> Result<(), Failure> {
        if changes.iter().all(|(_, before, after)| before == after) {
            return Ok(());
        }
        let step = Step { what, changes };
        self.put(&step, false);
        if let Err(failure) = self.save() {
            self.put(&step, true);
            return Err(failure);
        }
        self.done.push(step);
        if self.done.len() > UNDO {
            self.done.remove(0);
        }
        self.undone.clear();
        Ok(())
    }

    fn put(&mut self, step: &Step, back: bool) {
        for (id, before, after) in &step.changes {
            match if back { before } else { after } {
                Some(node) => drop(self.nodes.insert(*id, node.clone())),
                None => drop(self.nodes.remove(id)),
            }
        }
    }

    /// What undo would take back.
    pub fn can_undo(&self) -> Option<StepKind> {
        self.done.last().map(|s| s.what)
    }

    /// What redo would do again.
    pub fn can_redo(&self) -> Option<StepKind> {
        self.undone.last().map(|s| s.what)
    }

    /// Takes the last step back; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be written (then nothing has changed).
    pub fn undo(&mut self) -> Result<Option<StepKind>, Failure> {
        let Some(step) = self.done.pop() else { return Ok(None) };
        self.put(&step, true);
        if let Err(failure) = self.save() {
            self.put(&step, false);
            self.done.push(step);
            return Err(failure);
        }
        let what = step.what;
        self.undone.push(step);
        Ok(Some(what))
    }

    /// Does the step again that was taken back last.
    ///
    /// # Errors
    /// The file cannot be written (then nothing has changed).
    pub fn redo(&mut self) -> Result<Option<StepKind>, Failure> {
        let Some(step) = self.undone.pop() else { return Ok(None) };
        self.put(&step, false);
        if let Err(failure) = self.save() {
            self.put(&step, true);
            self.undone.push(step);
            return Err(failure);
        }
        let what = step.what;
        self.done.push(step);
        Ok(Some(what))
    }

    /// Removes the folders of deleted futures from disk, those outside the project's `futures/` excepted (they are only
    /// forgotten). This cannot be undone: the window asks first. Returns how many are gone.
    ///
    /// # Errors
    /// A folder cannot be removed, or the file cannot be written; what was removed before stays removed.
    pub fn purge(&mut self) -> Result<usize, Failure> {
        let gone: Vec<NodeId> = self.deleted().map(|(id, _)| id).collect();
        for id in &gone {
            let Some(node) = self.nodes.get(id).cloned() else { continue };
            let folder = self.path_of(&node);
            if let Some(hidden) = self.hidden_name(&node, *id) {
                // Out of sight under one rename, so that a kill never leaves half a future under its name.
                match std::fs::rename(&folder, &hidden) {
                    Ok(()) => {
                        std::fs::remove_dir_all(&hidden).map_err(|e| Failure::io("remove", &folder, &e))?;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Failure::io("remove", &folder, &e)),
                }
            }
            if let Some(node) = self.nodes.get_mut(id) {
                node.gone = true;
            }
            self.save()?;
        }
        self.forget_childless();
        self.done.clear();
        self.undone.clear();
        self.save()?;
        Ok(gone.len())
    }

    /// Takes purged nodes out that nothing hangs on any more.
    fn forget_childless(&mut self) {
        loop {
            let parents: std::collections::HashSet<NodeId> =
                self.nodes.values().filter_map(|n| n.parent).collect();
            let before = self.nodes.len();
            self.nodes.retain(|id, n| !n.gone || parents.contains(id));
            if self.nodes.len() == before {
                return;
            }
        }
    }

    /// A hidden name in `futures/` for the folder of a node that lies inside it.
    fn hidden_name(&self, node: &Node, id: NodeId) -> Option<PathBuf> {
        let relative = Path::new(&node.folder);
        let inside = relative.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        // The name is one that `fsx::sweep` knows, so that a killed purge is finished by the next start.
        let name = format!(".purged.{}-0.{id}.tmp", std::process::id());
        (inside && !node.folder.is_empty()).then(|| self.root.join(name))
    }

    fn save(&self) -> Result<(), Failure> {
        let file = self.root.join(TREE_FILE);
        let tree = TreeFile { format: TREE_FORMAT, next: self.next, nodes: self.nodes.clone() };
        let mut bytes = serde_json::to_vec_pretty(&tree).map_err(Failure::from_error)?;
        bytes.push(b'\n');
        std::fs::create_dir_all(&self.root).map_err(|e| Failure::io("make", &self.root, &e))?;
        fsx::write_atomic(&file, &bytes).map_err(|e| Failure::io("write", &file, &e))
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
