//! The real program in a real window: event loop, drawing, the engine as a child process.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eframe::egui::{Event, Key, Modifiers, PointerButton, Pos2, accesskit::Node, accesskit::Role};
use egui_inspection::protocol::{Request, Response, read_handshake, read_message, write_message};
use forerun::compare::gallery::Gallery;
use forerun::compare::tree::TreeStore;
use forerun::engine::record::FutureRecord;

/// Longest wait for anything that the window should show; software drawing on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The program in its window; ends with this value.
struct Window {
    child: Child,
    stream: TcpStream,
    project: tempfile::TempDir,
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is a display to test on.
fn display() -> bool {
    if std::env::var_os("DISPLAY").is_some_and(|d| !d.is_empty()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must give the window tests a display (xvfb-run)");
    eprintln!("skipped: DISPLAY is not set");
    false
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
    fn on(project: tempfile::TempDir) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let runtime = project.path().join("run");
        std::fs::create_dir_all(&runtime).unwrap();
        // Where no desktop answers, file dialogs are zenity's: this one chooses a file without asking anybody.
        let tools = project.path().join("tools");
        std::fs::create_dir_all(&tools).unwrap();
        let zenity = tools.join("zenity");
        std::fs::write(&zenity, format!("#!/bin/sh\necho '{}'\n", exported(project.path()).display()))
            .unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&zenity, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(tools).chain(std::env::split_paths(&paths));
        let paths = std::env::join_paths(paths).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_forerun"))
            .arg(project.path())
            .env("EGUI_INSPECTION", &address)
            .env("LANG", "en_US.UTF-8")
            .env("LC_ALL", "en_US.UTF-8")
            .env("XDG_RUNTIME_DIR", &runtime)
            .env("PATH", paths)
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let mut stream = loop {
            if let Ok(stream) = TcpStream::connect(&address) {
                break stream;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the window closed at once: {status}");
            }
            assert!(start.elapsed() < PATIENCE, "the window never opened");
            std::thread::sleep(Duration::from_millis(50));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        read_handshake(&mut stream).unwrap();
        Self { child, stream, project }
    }

    fn ask(&mut self, request: &Request) -> Response {
        write_message(&mut self.stream, request).unwrap();
        read_message(&mut self.stream).unwrap()
    }

    fn events(&mut self, events: Vec<Event>) {
        let answer = self.ask(&Request::ApplyEvents { events });
        assert!(matches!(answer, Response::Done), "{answer:?}");
    }

    fn nodes(&mut self) -> Vec<Node> {
        match self.ask(&Request::GetTree) {
            Response::Tree { accesskit: Some(tree), .. } => {
                tree.nodes.into_iter().map(|(_, node)| node).collect()
            }
            _ => Vec::new(),
        }
    }

    fn find(&mut self, name: &str) -> Option<Node> {
        let named =
            |node: &Node| node.label().is_some_and(|l| l == name) || node.value().is_some_and(|v| v == name);
        self.nodes().into_iter().find(named)
    }

    fn has(&mut self, part: &str) -> bool {
        let holds = |node: &Node| {
            node.label().is_some_and(|l| l.contains(part)) || node.value().is_some_and(|v| v.contains(part))
        };
        self.nodes().iter().any(holds)
    }

    fn wait(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !ready(self) {
            if start.elapsed() > PATIENCE {
                let names: Vec<_> =
                    self.nodes().iter().filter_map(|n| n.label().or(n.value()).map(str::to_owned)).collect();
                panic!("waited in vain for {what}; the window shows {names:?}");
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the window closed while waiting for {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn click(&mut self, name: &str) {
        self.click_at(name, 0.5);
    }

    /// Clicks at this part of a widget's width.
    fn click_at(&mut self, name: &str, part: f64) {
        self.wait(name, |w| w.find(name).is_some_and(|n| !n.is_disabled()));
        let bounds = self.find(name).unwrap().bounds().unwrap();
        let x = bounds.x0 + (bounds.x1 - bounds.x0) * part;
        let at = Pos2::new(x as f32, ((bounds.y0 + bounds.y1) / 2.0) as f32);
        let button = |pressed| Event::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.events(vec![Event::PointerMoved(at)]);
        // Both in one frame: where drawing is slow, two frames would be too long for a click.
        self.events(vec![button(true), button(false)]);
    }

    fn press(&mut self, modifiers: Modifiers, key: Key) {
        for pressed in [true, false] {
            self.events(vec![Event::Key { key, physical_key: None, pressed, repeat: false, modifiers }]);
        }
    }

    /// Keeps a picture of the window in the folder that `FORERUN_TEST_KEEP` names, for eyes.
    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("FORERUN_TEST_KEEP").map(PathBuf::from) else { return };
        if let Response::Screenshot(png) = self.ask(&Request::GetScreenshot { pixels_per_point: None }) {
            std::fs::write(folder.join(format!("{name}.png")), png.bytes).unwrap();
        }
    }

    /// Process number of the engine, the child of the window.
    fn engine(&self) -> Option<u32> {
        let parent = self.child.id().to_string();
        std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name in brackets may hold spaces; what follows the last bracket is state, then the parent.
            let (_, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_whitespace();
            let alive = fields.next()? != "Z";
            (alive && fields.next()? == parent).then_some(pid)
        })
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
    w.wait("the scenes", |w| w.find("Scene 6").is_some_and(|n| !n.is_disabled()));
    w.click("Scene 2");
    w.wait("the words of the scene", |w| w.has("push the red cube to the right"));
    w.press(Modifiers::COMMAND, Key::Q);
    let start = Instant::now();
    while w.child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < PATIENCE, "the window does not close");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(w.child.wait().unwrap().success());
    let kept = std::fs::read_to_string(w.project.path().join(".forerun/window.json")).unwrap();
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
    w.wait("a future", |w| w.find("Future with seed 1").is_some());
    w.wait("whole futures", |w| written(w.project.path()).len() == 4);
    w.wait("the end of the run", |w| w.find("Imagine").is_some());

    // Kill the engine in the middle of the next run.
    w.click("Imagine");
    w.wait("the run", |w| w.find("Cancel").is_some());
    let engine = w.engine().expect("the engine is a child of the window");
    assert!(Command::new("kill").args(["-9", &engine.to_string()]).status().unwrap().success());
    w.wait("the banner", |w| w.has("The engine stopped"));
    w.wait("the new engine", |w| w.has("Engine ready") && w.engine().is_some_and(|pid| pid != engine));
    w.click("Retry");
    w.wait("whole futures after the crash", |w| written(w.project.path()).len() == 8);
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
    w.wait("a whole future", |w| written(w.project.path()).len() == 1);
    w.wait("the end of the run", |w| w.find("Imagine").is_some());
    w.click("Compare these");
    w.wait("its pane", |w| w.find("Pane 1: Seed 1").is_some());
    w.click_at("Timeline", 0.5);
    w.click("Branch");
    w.click("Imagine");
    w.wait("the first branch in the tree", |w| kept(w.project.path()).len() == 2);
    w.click("Branch");
    w.click("Another seed");
    w.click("Imagine");
    w.wait("the second branch in the tree", |w| kept(w.project.path()).len() == 3);
    w.click("Virtual world beside it");
    w.wait("the truth", |w| w.find("Pane 4: Virtual world").is_some());
    w.wait("numbers against the truth", |w| w.find("against the virtual world").is_some());
    w.wait("numbers of both branches", |w| {
        ["PSNR of pane 2", "PSNR of pane 3"].iter().all(|name| w.find(name).is_some())
    });
    w.click("Export");
    w.click("Sheet (PNG)");
    w.click("Choose where…");
    w.wait("the sheet", |w| exported(w.project.path()).is_file() && w.has("Exported to"));
    let sheet = forerun::media::read_picture(&exported(w.project.path())).unwrap();
    // Four panes of 128 x 128 at twice their size, two beside each other, with labels.
    assert!(sheet.width >= 512 && sheet.height >= 512, "{sheet:?}");
    let branches = kept(w.project.path());
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
    w.wait("the run", |w| w.has("Cancel") || kept(w.project.path()).len() > 3);
    w.child.kill().unwrap();
    w.child.wait().unwrap();
    let project = std::mem::replace(&mut w.project, tempfile::tempdir().unwrap());
    let futures = project.path().join("futures");
    let mut again = Window::on(project);
    // Which part was open is kept a moment after the last change; the kill may have come before.
    again.click("Panes");
    again.wait("the panes", |w| w.find("Pane 4: Virtual world").is_some());
    again.click("Tree");
    let rows = |w: &mut Window| {
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
