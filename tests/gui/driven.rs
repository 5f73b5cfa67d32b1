//! The real program in a real window, driven by the names of its widgets.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// Every test program takes what it needs.
#![allow(dead_code)]

use std::ffi::OsString;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use eframe::egui::{
    Event, Key, Modifiers, MouseWheelSource, MouseWheelUnit, PointerButton, Pos2, TouchPhase,
    accesskit::Node, accesskit::Role, vec2,
};
use egui_inspection::protocol::{Request, Response, read_handshake, read_message, write_message};

/// Longest wait for anything that the window should show; software drawing on a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between these heights of a window of the tests' size nothing covers the screens (the Stop bar covers what is below), points.
const IN_SIGHT: (f32, f32) = (60.0, 740.0);

/// The program in its window; it ends with this value.
pub struct Driven {
    pub child: Child,
    /// The folder of its project.
    pub project: PathBuf,
    stream: TcpStream,
    patience: Duration,
    /// Between these heights (points) widgets are clicked, after scrolling where that helps; anywhere when absent.
    sight: Option<(f32, f32)>,
}

impl Drop for Driven {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is a display to test on.
pub fn display() -> bool {
    if std::env::var_os("DISPLAY").is_some_and(|d| !d.is_empty()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must give the window tests a display (xvfb-run)");
    eprintln!("skipped: DISPLAY is not set");
    false
}

/// Processes whose parent is `parent` and whose command line holds `part`.
pub fn children(parent: u32, part: &str) -> Vec<u32> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in brackets may hold spaces; what follows the last bracket is state, then the parent.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let alive = fields.next()? != "Z";
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        (alive && fields.next()? == parent && line.contains(part)).then_some(pid)
    });
    ours.collect()
}

/// Whether a process runs (a zombie does not).
pub fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Sends a signal to a process that this test has started, or one of its children.
pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// `PATH` for a window whose file dialogs all choose `chosen`: where no desktop answers, they are zenity's, and this one, put
/// into `tools`, asks nobody.
pub fn dialogs_choose(chosen: &Path, tools: PathBuf) -> OsString {
    std::fs::create_dir_all(&tools).unwrap();
    let zenity = tools.join("zenity");
    std::fs::write(&zenity, format!("#!/bin/sh\necho '{}'\n", chosen.display())).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&zenity, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&paths))).unwrap()
}

impl Driven {
    /// A window on a project; what a person's own folder holds is kept in `own`.
    pub fn on(project: &Path, own: &Path) -> Self {
        let mut driven = Self::open(project, own, PATIENCE, |command| {
            command.env("XDG_DATA_HOME", own.join("data"));
        });
        driven.sight = Some(IN_SIGHT);
        driven
    }

    /// A window on a project, with what `more` adds to its start and sockets in `own`; anything that is waited for may take
    /// `patience`.
    pub fn open(project: &Path, own: &Path, patience: Duration, more: impl FnOnce(&mut Command)) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let runtime = own.join("run");
        std::fs::create_dir_all(&runtime).unwrap();
        // Another build of the program, where one is to be looked at.
        let program = std::env::var_os("FORERUN_TEST_PROGRAM");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_forerun").into()));
        command
            .arg(project)
            .env("EGUI_INSPECTION", &address)
            .env("LANG", "en_US.UTF-8")
            .env("LC_ALL", "en_US.UTF-8")
            .env("XDG_RUNTIME_DIR", &runtime)
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .stdout(Stdio::null());
        more(&mut command);
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        let mut stream = loop {
            if let Ok(stream) = TcpStream::connect(&address) {
                break stream;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the window closed at once: {status}");
            }
            assert!(start.elapsed() < patience, "the window never opened");
            std::thread::sleep(Duration::from_millis(50));
        };
        stream.set_read_timeout(Some(patience)).unwrap();
        read_handshake(&mut stream).unwrap();
        Self { child, project: project.to_owned(), stream, patience, sight: None }
    }

    fn ask(&mut self, request: &Request) -> Response {
        write_message(&mut self.stream, request).unwrap();
        read_message(&mut self.stream).unwrap()
    }

    pub fn events(&mut self, events: Vec<Event>) {
        let answer = self.ask(&Request::ApplyEvents { events });
        assert!(matches!(answer, Response::Done), "{answer:?}");
    }

    pub fn nodes(&mut self) -> Vec<Node> {
        match self.ask(&Request::GetTree) {
            Response::Tree { accesskit: Some(tree), .. } => {
                tree.nodes.into_iter().map(|(_, node)| node).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The first widget of this name, of this kind where one is given.
    pub fn find(&mut self, role: Option<Role>, name: &str) -> Option<Node> {
        let named = |node: &Node| {
            let called = node.label().is_some_and(|l| l == name) || node.value().is_some_and(|v| v == name);
            called && role.is_none_or(|r| node.role() == r)
        };
        self.nodes().into_iter().find(named)
    }

    /// Widgets whose name or value holds this.
    pub fn all(&mut self, part: &str) -> Vec<Node> {
        let holds = |node: &Node| {
            node.label().is_some_and(|l| l.contains(part)) || node.value().is_some_and(|v| v.contains(part))
        };
        self.nodes().into_iter().filter(holds).collect()
    }

    pub fn has(&mut self, part: &str) -> bool {
        !self.all(part).is_empty()
    }

    pub fn wait(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !ready(self) {
            if start.elapsed() > self.patience {
                let names: Vec<_> =
                    self.nodes().iter().filter_map(|n| n.label().or(n.value()).map(str::to_owned)).collect();
                panic!("waited in vain for {what}; the window shows {names:?}");
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the window closed while waiting for {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Where a widget is, scrolled into sight where it is not. What scrolling does not move stays in sight by itself.
    fn middle(&mut self, role: Option<Role>, name: &str) -> Pos2 {
        let mut before = None;
        for _ in 0..40 {
            self.wait(name, |w| w.find(role, name).is_some_and(|n| !n.is_disabled() && n.bounds().is_some()));
            let Some(b) = self.find(role, name).and_then(|n| n.bounds()) else { continue };
            let at = Pos2::new(((b.x0 + b.x1) / 2.0) as f32, ((b.y0 + b.y1) / 2.0) as f32);
            let Some((top, bottom)) = self.sight else { return at };
            let by = match at.y {
                y if y > bottom => -140.0,
                y if y < top => 140.0,
                _ => return at,
            };
            if before.replace(at) == Some(at) {
                return at;
            }
            self.events(vec![
                Event::PointerMoved(Pos2::new(at.x, (top + bottom) / 2.0)),
                Event::MouseWheel {
                    unit: MouseWheelUnit::Point,
                    delta: vec2(0.0, by),
                    phase: TouchPhase::Move,
                    source: MouseWheelSource::Unknown,
                    modifiers: Modifiers::NONE,
                },
            ]);
            // Scrolling glides.
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!("{name} does not come into sight");
    }

    pub fn button(&mut self, at: Pos2, pressed: bool) -> Event {
        Event::PointerButton { pos: at, button: PointerButton::Primary, pressed, modifiers: Modifiers::NONE }
    }

    pub fn click_at(&mut self, at: Pos2) {
        self.events(vec![Event::PointerMoved(at)]);
        // Both in one frame: where drawing is slow, two frames would be too long for a click.
        let both = vec![self.button(at, true), self.button(at, false)];
        self.events(both);
    }

    pub fn click(&mut self, name: &str) {
        self.click_role(None, name);
    }

    pub fn click_role(&mut self, role: Option<Role>, name: &str) {
        let at = self.middle(role, name);
        self.click_at(at);
    }

    /// Clicks on one of several widgets that were found.
    pub fn click_node(&mut self, node: &Node) {
        let bounds = node.bounds().unwrap();
        let at = Pos2::new(((bounds.x0 + bounds.x1) / 2.0) as f32, ((bounds.y0 + bounds.y1) / 2.0) as f32);
        self.click_at(at);
    }

    pub fn press(&mut self, modifiers: Modifiers, key: Key) {
        for pressed in [true, false] {
            self.events(vec![Event::Key { key, physical_key: None, pressed, repeat: false, modifiers }]);
        }
    }

    /// Presses the mouse on a widget and leaves it down; where it is let go again.
    pub fn press_down(&mut self, name: &str) -> Pos2 {
        let at = self.middle(None, name);
        self.events(vec![Event::PointerMoved(at)]);
        let down = self.button(at, true);
        self.events(vec![down]);
        at
    }

    /// Types into the text field of this name.
    pub fn fill_in(&mut self, name: &str, text: &str) {
        self.click_role(Some(Role::TextInput), name);
        self.events(vec![Event::Text(text.into())]);
    }

    /// Keeps a picture of the window in the folder that `FORERUN_TEST_KEEP` names, for eyes.
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("FORERUN_TEST_KEEP").map(PathBuf::from) else { return };
        if let Response::Screenshot(png) = self.ask(&Request::GetScreenshot { pixels_per_point: None }) {
            std::fs::write(folder.join(format!("{name}.png")), png.bytes).unwrap();
        }
    }
}
