#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::compare::testing::{branch, future};

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// A root with two branches, one of which has one of its own: `a`, `b` at 2 of `a`, `c` at 1 of `a`, `d` at 1 of `b`.
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let a = future(&bench.at("a"), 10, 4, |_| {});
        let b = branch(&bench.at("b"), &a, 2, |r| r.made = 2);
        branch(&bench.at("c"), &a, 1, |r| r.made = 3);
        branch(&bench.at("d"), &b, 1, |r| r.made = 4);
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> TreeStore {
        TreeStore::open(self.dir.path(), &Gallery::scan(self.dir.path())).unwrap()
    }

    fn id(&self, store: &TreeStore, name: &str) -> NodeId {
        store.of_folder(&self.at(name)).unwrap()
    }
}

fn names(store: &TreeStore) -> Vec<String> {
    store.nodes().map(|(_, n)| n.folder.clone()).collect()
}

#[test]
fn futures_on_disk_are_adopted_with_their_parents() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(names(&store), ["a", "b", "c", "d"]);
    let parent = |name: &str| {
        let node = store.node(bench.id(&store, name)).unwrap();
        (node.parent.and_then(|p| store.node(p)).map(|n| n.folder.clone()), node.at)
    };
    assert_eq!(parent("a"), (None, 0));
    assert_eq!(parent("b"), (Some("a".into()), 2));
    assert_eq!(parent("c"), (Some("a".into()), 1));
    assert_eq!(parent("d"), (Some("b".into()), 1));
    assert_eq!(store.start_frame(bench.id(&store, "d")), 3);
    let placed: Vec<_> = store.layout().iter().map(|p| (p.row, p.lane, p.depth)).collect();
    assert_eq!(placed, [(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 1, 1)]);
    // One that comes later, while the tree is open.
    let mut store = store;
    branch(&bench.at("e"), &bench.at("c"), 2, |r| r.made = 9);
    let gallery = Gallery::scan(bench.dir.path());
    assert!(store.refresh(&gallery).unwrap());
    assert!(!store.refresh(&gallery).unwrap());
    assert_eq!(store.children(bench.id(&store, "c")), [bench.id(&store, "e")]);
}

#[test]
fn everything_is_kept_and_every_step_is_undone_and_done_again() {
    let bench = Bench::new();
    let mut store = bench.open();
    let (b, c) = (bench.id(&store, "b"), bench.id(&store, "c"));
    store.rename(b, "  慢一點  ").unwrap();
    store.pin(c, true).unwrap();
    let taken = store.delete(b).unwrap();
    assert_eq!(taken, [b, bench.id(&store, "d")]);
    assert_eq!(names(&store), ["a", "c"]);
    // Another window, or the same one after a kill, sees the same.
    let again = bench.open();
    assert_eq!(names(&again), ["a", "c"]);
    assert_eq!(again.node(b).unwrap().name, "慢一點");
    assert!(again.node(c).unwrap().pinned);
    assert_eq!(again.deleted().count(), 2);
    let before = bench.open().nodes;
    assert_eq!(store.undo().unwrap(), Some(StepKind::Delete));
    assert_eq!(bench.open().nodes().count(), 4);
    assert_eq!(store.undo().unwrap(), Some(StepKind::Pin));
    assert_eq!(store.can_undo(), Some(StepKind::Rename));
    store.undo().unwrap();
    assert_eq!((store.undo().unwrap(), store.node(b).unwrap().name.as_str()), (None, ""));
    for _ in 0..3 {
        assert!(store.redo().unwrap().is_some());
    }
    assert_eq!((store.redo().unwrap(), bench.open().nodes), (None, before));
    // A new step forgets what could be done again.
    store.undo().unwrap();
    store.rename(c, "x").unwrap();
    assert_eq!(store.can_redo(), None);
    // What an earlier session deleted comes back, too.
    store.delete(b).unwrap();
    let mut later = bench.open();
    let lost: Vec<NodeId> = later.deleted().map(|(id, _)| id).collect();
    later.restore(&lost).unwrap();
    assert_eq!(later.nodes().count(), 4);
}

#[test]
fn a_branch_that_is_added_knows_its_parent_and_undo_does_not_bring_it_back() {
    let bench = Bench::new();
    let mut store = bench.open();
    let a = bench.id(&store, "a");
    future(&bench.at("run/seed-9"), 50, 1, |_| {});
    let id = store.add(&bench.at("run/seed-9"), Some((a, 3)), "what if").unwrap();
    assert_eq!(store.add(&bench.at("run/seed-9"), None, "").unwrap(), id);
    assert_eq!(bench.open().node(id).unwrap().at, 3);
    store.undo().unwrap();
    // Its folder is still there, but nobody adopts what a person took away.
    assert!(!store.refresh(&Gallery::scan(bench.dir.path())).unwrap());
    assert_eq!(bench.open().nodes().count(), 4);
    store.redo().unwrap();
    assert_eq!(bench.open().nodes().count(), 5);
    assert!(store.add(&bench.at("x"), Some((99, 0)), "").unwrap_err().text().contains("99"));
}

#[test]
fn pinned_futures_outlive_their_parents_and_come_first() {
    let bench = Bench::new();
    future(&bench.at("z"), 200, 1, |r| r.made = 100);
    let mut store = bench.open();
    let (z, b, d) = (bench.id(&store, "z"), bench.id(&store, "b"), bench.id(&store, "d"));
    assert_eq!(store.layout().last().unwrap().id, z);
    store.pin(z, true).unwrap();
    assert_eq!(store.layout()[0].id, z);
    store.pin(d, true).unwrap();
    assert_eq!(store.delete(b).unwrap(), [b]);
    // It hangs on the nearest one above that is left, at the same place of the time base.
    let place = store.layout().into_iter().find(|p| p.id == d).unwrap();
    assert_eq!((place.depth, store.start_frame(d)), (1, 3));
}

#[test]
fn purging_takes_the_folders_and_keeps_what_others_hang_on() {
    let bench = Bench::new();
    let mut store = bench.open();
    let (b, d) = (bench.id(&store, "b"), bench.id(&store, "d"));
    store.pin(d, true).unwrap();
    store.delete(b).unwrap();
    assert!(bench.at("b").exists());
    assert_eq!(store.purge().unwrap(), 1);
    assert!(!bench.at("b").exists() && bench.at("d").exists());
    assert_eq!((store.can_undo(), store.deleted().count()), (None, 0));
    let mut again = bench.open();
    assert_eq!(again.start_frame(d), 3);
    again.restore(&[b]).unwrap();
    assert!(again.node(b).unwrap().deleted, "what is purged does not come back");
    // With its last branch gone, nothing is left of it.
    again.pin(d, false).unwrap();
    again.delete(d).unwrap();
    again.purge().unwrap();
    assert_eq!(names(&bench.open()), ["a", "c"]);
    assert_eq!(bench.open().nodes.len(), 2);
    assert!(std::fs::read_dir(bench.dir.path()).unwrap().flatten().all(|e| {
        let name = e.file_name();
        ["a", "c", TREE_FILE].iter().any(|n| name == *n)
    }));
}

#[test]
fn folders_outside_the_project_are_only_forgotten() {
    let bench = Bench::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = future(&elsewhere.path().join("f"), 1, 1, |_| {});
    let mut store = bench.open();
    let id = store.add(&folder, None, "").unwrap();
    assert_eq!(bench.open().folder(id), Some(folder.clone()));
    store.delete(id).unwrap();
    store.purge().unwrap();
    assert!(folder.exists() && store.node(id).is_none());
}

#[test]
fn a_damaged_file_is_set_aside_and_a_newer_one_is_left_alone() {
    let bench = Bench::new();
    let mut store = bench.open();
    let a = bench.id(&store, "a");
    store.rename(a, "kept").unwrap();
    let file = bench.at(TREE_FILE);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let store = bench.open();
    assert!(store.notes()[0].contains("tree.damaged-1.json"), "{:?}", store.notes());
    assert_eq!(std::fs::read(bench.at("tree.damaged-1.json")).unwrap(), whole[..whole.len() / 2]);
    assert_eq!((names(&store).len(), bench.open().notes().len()), (4, 0));
    std::fs::write(&file, "{\"format\": 2, \"all\": \"new\"}").unwrap();
    let failure = TreeStore::open(bench.dir.path(), &Gallery::default()).unwrap_err();
    assert!(failure.text().contains("Update Forerun"));
    assert!(std::fs::read_to_string(&file).unwrap().contains("all"));
}

#[test]
fn circles_in_a_file_do_no_harm() {
    let bench = Bench::new();
    let node = |parent| Node { folder: format!("n{parent}"), parent: Some(parent), at: 1, ..Node::default() };
    let file = TreeFile { format: 1, next: 1, nodes: BTreeMap::from([(1, node(2)), (2, node(1))]) };
    std::fs::write(bench.at(TREE_FILE), serde_json::to_vec(&file).unwrap()).unwrap();
    let mut store = bench.open();
    assert_eq!(store.layout().len(), 6);
    let _ = store.start_frame(1);
    assert_eq!(store.delete(1).unwrap(), [1, 2]);
    // Numbers are never given twice, whatever the file says.
    assert!(store.nodes.keys().all(|id| *id < store.next));
}

#[cfg(unix)]
#[test]
fn a_change_that_cannot_be_written_is_no_change() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let mut store = bench.open();
    let a = bench.id(&store, "a");
    let lock =
        |mode| std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    lock(0o555);
    let refused = std::fs::write(bench.at("probe"), b"").is_err();
    let renamed = store.rename(a, "x");
    lock(0o755);
    // The administrator may write everywhere; then there is nothing to see.
    if refused {
        assert!(renamed.unwrap_err().text().contains(TREE_FILE));
        assert_eq!((store.node(a).unwrap().name.as_str(), store.can_undo()), ("", None));
    }
}
