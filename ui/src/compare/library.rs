//! The futures of the project and their tree, as the window sees them. The disk is read and written by a thread of its
//! own; the window sends orders and gets snapshots.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use eframe::egui::Context;
use forerun::compare::gallery::{Broken, Entry, Gallery};
use forerun::compare::lanes::Placed;
use forerun::compare::tree::{Node, NodeId, TreeStore};

use crate::background::Background;
use crate::message::{Message, Wish};

/// Orders that may wait.
const QUEUE: usize = 64;

/// What the window asks for.
#[derive(Clone, Debug)]
pub enum Order {
    /// Look at the disk again.
    Refresh,
    /// Give a future a name.
    Rename(NodeId, String),
    /// Pin a future, or let it go.
    Pin(NodeId, bool),
    /// Delete a future and what branched from it.
    Delete(NodeId),
    /// Take the last change of the tree back.
    Undo,
    /// Do it again.
    Redo,
}

/// The project's futures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sound futures that are not deleted, newest first.
    pub entries: Vec<Entry>,
    /// Folders that cannot be used.
    pub broken: Vec<Broken>,
    /// Rows of the tree.
    pub rows: Vec<Placed>,
    /// Its nodes.
    pub nodes: HashMap<NodeId, Node>,
    /// Folders of the nodes.
    pub folders: HashMap<NodeId, PathBuf>,
    /// Whether a change of the tree can be taken back.
    pub can_undo: bool,
    /// Whether it can be done again.
    pub can_redo: bool,
}

impl Snapshot {
    fn new(gallery: &Gallery, tree: Option<&TreeStore>) -> Self {
        let Some(tree) = tree else {
            let (entries, broken) = (gallery.entries().to_vec(), gallery.broken().to_vec());
            return Self { entries, broken, ..Self::default() };
        };
        let nodes: HashMap<_, _> = tree.nodes().map(|(id, node)| (id, node.clone())).collect();
        let folders: HashMap<_, _> = nodes.keys().filter_map(|id| Some((*id, tree.folder(*id)?))).collect();
        let there: std::collections::HashSet<_> = folders.values().collect();
        let entries = gallery.entries().iter().filter(|e| there.contains(&e.folder)).cloned().collect();
        // A row whose folder was removed by hand cannot be shown.
        let known = |id: &NodeId| folders.get(id).is_some_and(|f| gallery.entry(f).is_some());
        let rows = tree.layout().into_iter().filter(|p| known(&p.id)).collect();
        Self {
            entries,
            broken: gallery.broken().to_vec(),
            rows,
            nodes,
            folders,
            can_undo: tree.can_undo().is_some(),
            can_redo: tree.can_redo().is_some(),
        }
    }

    /// The future of a folder.
    pub fn entry(&self, folder: &std::path::Path) -> Option<&Entry> {
        self.entries.iter().find(|e| e.folder == folder)
    }

    /// The node of a folder.
    pub fn node_of(&self, folder: &std::path::Path) -> Option<NodeId> {
        self.folders.iter().find(|(_, f)| f.as_path() == folder).map(|(id, _)| *id)
    }
}

/// Sends orders to the thread.
#[derive(Debug)]
pub struct Library {
    sender: Option<SyncSender<Order>>,
}

impl Library {
    /// Starts the thread for the project's `futures` folder; its first answer is a snapshot of what is there.
    pub fn new(ctx: &Context, background: &Background, futures: PathBuf) -> Self {
        let (sender, orders) = sync_channel(QUEUE);
        let (answer, ctx) = (background.sender(), ctx.clone());
        let body = move || {
            let send = |wish| {
                let sent = answer.send(Message::Compare(wish)).is_ok();
                ctx.request_repaint();
                sent
            };
            let mut gallery = Gallery::scan(&futures);
            // Without a folder there is nothing to keep, and none is made before there is.
            let open = |gallery: &Gallery| -> Option<TreeStore> {
                if !futures.is_dir() {
                    return None;
                }
                match TreeStore::open(&futures, gallery) {
                    Ok(tree) => {
                        for note in tree.notes() {
                            send(Wish::Trouble(note.clone()));
                        }
                        Some(tree)
                    }
                    Err(failure) => {
                        send(Wish::Trouble(failure.text()));
                        None
                    }
                }
            };
            let mut tree = open(&gallery);
            if !send(Wish::Library(Arc::new(Snapshot::new(&gallery, tree.as_ref())))) {
                return;
            }
            while let Ok(order) = orders.recv() {
                if matches!(order, Order::Refresh) {
                    gallery.refresh();
                    tree = match tree {
                        None => open(&gallery),
                        some => some,
                    };
                }
                let done = match (tree.as_mut(), order) {
                    (None, _) => Ok(()),
                    (Some(tree), Order::Refresh) => tree.refresh(&gallery).map(|_| ()),
                    (Some(tree), Order::Rename(id, name)) => tree.rename(id, &name),
                    (Some(tree), Order::Pin(id, on)) => tree.pin(id, on),
                    (Some(tree), Order::Delete(id)) => tree.delete(id).map(|_| ()),
                    (Some(tree), Order::Undo) => tree.undo().map(|_| ()),
                    (Some(tree), Order::Redo) => tree.redo().map(|_| ()),
                };
                if let Err(failure) = done {
                    send(Wish::Trouble(failure.text()));
                }
                if !send(Wish::Library(Arc::new(Snapshot::new(&gallery, tree.as_ref())))) {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("library".into()).spawn(body).is_ok();
        Self { sender: started.then_some(sender) }
    }

    /// Sends an order; `false` when it could not be taken.
    pub fn order(&self, order: Order) -> bool {
        self.sender.as_ref().is_some_and(|s| s.try_send(order).is_ok())
    }
}
