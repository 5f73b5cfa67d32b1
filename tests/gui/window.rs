//! The real program in a real window: event loop, drawing, the engine as a child process.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driven;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use driven::{Driven, PATIENCE, children, dialogs_choose, display, signal};
use eframe::egui::{Key, Modifiers, accesskit::Node, accesskit::Role};
use forerun::compare::gallery::Gallery;
use forerun::compare::tree::TreeStore;
use forerun::engine::record::FutureRecord;

/// The program in its window on a project of its own; ends with this value.
struct Window {
    driven: Driven,
    folder: tempfile::TempDir,
}

impl Deref for Window {
    type Target = Driven;

    fn deref(&self) -> &Driven {
        &self.driven
    }
}

impl DerefMut for Window {
    fn deref_mut(&mut self) -> &mut Driven {
        &mut self.driven
    }
}

/// Whether the shipped model is there, without which nothing can be imagined.
fn shipped_model() -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/tabletop/model.safetensors");
    if folder.is_file() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "the shipped model is missing: {}", folder.display());
    eprintln!("skipped: no shipped model at {}", folder.display());
    false
}

impl Window {
    fn open() -> Self {
        Self::with_setup(r#"{ "futures": 4, "steps": 12, "refine": 1 }"#)
    }

    /// A window on a new project in which only the length and number of futures are set: the machine that tests may have
    /// little time for them.
    fn with_setup(setup: &str) -> Self {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join(".forerun")).unwrap();
        let setup = format!(r#"{{ "format": 1, "setup": {setup} }}"#);
        std::fs::write(project.path().join(".forerun/window.json"), setup).unwrap();
        Self::on(project)
    }

    /// A window on this project.
    fn on(folder: tempfile::TempDir) -> Self {
        let root = folder.path();
        let paths = dialogs_choose(&exported(root), root.join("tools"));
        let driven = Driven::open(root, root, PATIENCE, |command| {
            command.env("PATH", paths);
        });
        Self { driven, folder }
    }
}

/// The file that every dialog of a window on `project` chooses.
fn exported(project: &Path) -> PathBuf {
    project.join("sheet.png")
}

/// Records of whole futures in the project's tree.
fn kept(project: &Path) -> Vec<FutureRecord> {
    let runs = std::fs::read_dir(project.join("futures")).into_iter().flatten().flatten();
    let seeds = runs.filter_map(|run| std::fs::read_dir(run.path()).ok()).flatten().flatten();
    seeds.filter_map(|seed| FutureRecord::read(&seed.path()).ok()).collect()
}

/// Folders of whole futures that the engine has written into the project's scratch folder.
fn written(project: &Path) -> Vec<PathBuf> {
    let runs = std::fs::read_dir(project.join(".forerun/scratch")).into_iter().flatten().flatten();
    let seeds = runs.filter_map(|run| std::fs::read_dir(run.path()).ok()).flatten().flatten();
    seeds.map(|seed| seed.path()).filter(|p| p.join("future.json").is_file()).collect()
}

#[test]
fn the_window_opens_shows_scenes_and_closes_with_its_state_kept() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.wait("the engine", |w| w.has("Engine ready"));
    // A scene is a disabled button until the engine has drawn it.
    w.wait("the scenes", |w| w.find(None, "Scene 6").is_some_and(|n| !n.is_disabled()));
    w.click("Scene 2");
    w.wait("the words of the scene", |w| w.has("push the red cube to the right"));
    w.press(Modifiers::COMMAND, Key::Q);
    let start = Instant::now();
    while w.child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "the window does not close");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(w.child.wait().unwrap().success());
    let kept = std::fs::read_to_string(w.project.join(".forerun/window.json")).unwrap();
    assert!(kept.contains("push the red cube to the right"), "{kept}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_engine_leaves_the_window_and_the_next_job_runs() {
    if !display() || !shipped_model() {
        return;
    }
    let mut w = Window::open();
    // Two clicks from the first start to a future.
    w.click("Scene 1");
    w.click("Imagine");
    w.wait("a future", |w| w.find(None, "Future with seed 1").is_some());
    w.wait("whole futures", |w| written(&w.project).len() == 4);
    w.wait("the end of the run", |w| w.find(None, "Imagine").is_some());

    // Kill the engine in the middle of the next run.
    w.click("Imagine");
    w.wait("the run", |w| w.find(None, "Cancel").is_some());
    let engine = children(w.child.id(), "engine").pop().expect("the engine is a child of the window");
    signal(engine, "-9");
    w.wait("the banner", |w| w.has("The engine stopped"));
    w.wait("the new engine", |w| {
        w.has("Engine ready") && children(w.child.id(), "engine").pop().is_some_and(|pid| pid != engine)
    });
    w.click("Retry");
    w.wait("whole futures after the crash", |w| written(&w.project).len() == 8);
}

/// From an empty project to two branches beside the truth and a sheet of them in a file: thirteen clicks. Then the window
/// is killed in the middle of a third branch, and the next one finds the tree.
#[cfg(target_os = "linux")]
#[test]
fn thirteen_clicks_lead_to_a_sheet_of_two_branches_and_the_truth_and_the_tree_survives_a_kill() {
    if !display() || !shipped_model() {
        return;
    }
    let mut w = Window::with_setup(r#"{ "futures": 1, "steps": 4, "refine": 1 }"#);
    w.click("Scene 1");
    w.click("Imagine");
    w.wait("a whole future", |w| written(&w.project).len() == 1);
    w.wait("the end of the run", |w| w.find(None, "Imagine").is_some());
    w.click("Compare these");
    w.wait("its pane", |w| w.find(None, "Pane 1: Seed 1").is_some());
    w.click("Timeline");
    w.click("Branch");
    w.click("Imagine");
    w.wait("the first branch in the tree", |w| kept(&w.project).len() == 2);
    w.click("Branch");
    w.click("Another seed");
    w.click("Imagine");
    w.wait("the second branch in the tree", |w| kept(&w.project).len() == 3);
    w.click("Virtual world beside it");
    w.wait("the truth", |w| w.find(None, "Pane 4: Virtual world").is_some());
    w.wait("numbers against the truth", |w| w.find(None, "against the virtual world").is_some());
    w.wait("numbers of both branches", |w| {
        ["PSNR of pane 2", "PSNR of pane 3"].iter().all(|name| w.find(None, name).is_some())
    });
    w.click("Export");
    w.click("Sheet (PNG)");
    w.click("Choose where…");
    w.wait("the sheet", |w| exported(&w.project).is_file() && w.has("Exported to"));
    let sheet = forerun::media::read_picture(&exported(&w.project)).unwrap();
    // Four panes of 128 x 128 at twice their size, two beside each other, with labels.
    assert!(sheet.width >= 512 && sheet.height >= 512, "{sheet:?}");
    let branches = kept(&w.project);
    let from_a_future = branches.iter().filter(|r| r.start.source["kind"] == "future");
    let mut seeds: Vec<u64> = from_a_future.map(|r| r.seed).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [1, 2]);

    // Every view by its key, in the real window.
    w.picture("panes");
    for (key, name) in [
        (Key::Num2, "Wipe"),
        (Key::Num3, "Onion skin"),
        (Key::Num4, "Difference"),
        (Key::Num5, "Heat map"),
        (Key::Num6, "Flicker"),
        (Key::Num7, "Mean"),
        (Key::Num8, "Spread"),
        (Key::Num9, "Median future"),
    ] {
        w.press(Modifiers::NONE, key);
        w.wait(name, |w| w.nodes().iter().any(|n| n.role() == Role::Image && n.label() == Some(name)));
        std::thread::sleep(Duration::from_millis(300));
        w.picture(name);
    }
    w.press(Modifiers::NONE, Key::Num1);
    for (key, name) in [(Key::T, "tree"), (Key::X, "sweep"), (Key::G, "gallery")] {
        w.press(Modifiers::NONE, key);
        std::thread::sleep(Duration::from_millis(500));
        w.picture(name);
    }
    w.press(Modifiers::NONE, Key::V);

    // Killed in the middle of a run, with nothing said to it.
    w.click("Branch");
    w.click("Imagine");
    w.wait("the run", |w| w.has("Cancel") || kept(&w.project).len() > 3);
    w.child.kill().unwrap();
    w.child.wait().unwrap();
    let project = std::mem::replace(&mut w.folder, tempfile::tempdir().unwrap());
    let futures = project.path().join("futures");
    let mut again = Window::on(project);
    // Which part was open is kept a moment after the last change; the kill may have come before.
    again.click("Panes");
    again.wait("the panes", |w| w.find(None, "Pane 4: Virtual world").is_some());
    again.click("Tree");
    let rows = |w: &mut Driven| {
        let row = |n: &Node| n.label().is_some_and(|l| l.contains(", seed "));
        w.nodes().iter().filter(|n| row(n)).count()
    };
    again.wait("the tree", |w| rows(w) >= 3);
    let gallery = Gallery::scan(&futures);
    assert!(gallery.broken().is_empty(), "{:?}", gallery.broken());
    let tree = TreeStore::open(&futures, &gallery).unwrap();
    assert!(tree.notes().is_empty(), "{:?}", tree.notes());
    let root = tree.nodes().find(|(_, n)| n.parent.is_none()).unwrap().0;
    assert!(tree.children(root).len() >= 2);
}

#[test]
fn without_a_display_it_says_in_one_sentence_what_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_forerun"))
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .env("LANG", "en_US.UTF-8")
        .env("LC_ALL", "en_US.UTF-8")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no display") && text.contains("--help"), "{text}");
    assert_eq!(text.trim().lines().count(), 1, "{text}");
}
