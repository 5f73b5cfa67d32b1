//! The real program in a real window: event loop, drawing, the engine as a child process.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eframe::egui::{Event, Key, Modifiers, PointerButton, Pos2, accesskit::Node};
use egui_inspection::protocol::{Request, Response, read_handshake, read_message, write_message};

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
        let project = tempfile::tempdir().unwrap();
        // Short and quick futures: the machine that tests may have little time for them.
        std::fs::create_dir(project.path().join(".forerun")).unwrap();
        let setup = r#"{ "format": 1, "setup": { "futures": 4, "steps": 12, "refine": 1 } }"#;
        std::fs::write(project.path().join(".forerun/window.json"), setup).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let runtime = project.path().join("run");
        std::fs::create_dir(&runtime).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_forerun"))
            .arg(project.path())
            .env("EGUI_INSPECTION", &address)
            .env("LANG", "en_US.UTF-8")
            .env("LC_ALL", "en_US.UTF-8")
            .env("XDG_RUNTIME_DIR", &runtime)
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
        self.wait(name, |w| w.find(name).is_some_and(|n| !n.is_disabled()));
        let bounds = self.find(name).unwrap().bounds().unwrap();
        let at = Pos2::new(((bounds.x0 + bounds.x1) / 2.0) as f32, ((bounds.y0 + bounds.y1) / 2.0) as f32);
        let button = |pressed| Event::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        self.events(vec![Event::PointerMoved(at)]);
        self.events(vec![button(true)]);
        self.events(vec![button(false)]);
    }

    fn press(&mut self, modifiers: Modifiers, key: Key) {
        for pressed in [true, false] {
            self.events(vec![Event::Key { key, physical_key: None, pressed, repeat: false, modifiers }]);
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
