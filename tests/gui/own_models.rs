//! A model and a policy of one's own, by mouse in the real program: a folder is taken in, examined, learnt from; before and
//! after are compared and the model is used; a policy is learnt and tried. With the smallest sizes and a few iterations.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use eframe::egui::{Event, Modifiers, PointerButton, Pos2, accesskit::Node, accesskit::Role};
use egui_inspection::protocol::{Request, Response, read_handshake, read_message, write_message};
use forerun::world::{Behaviour, EpisodeSettings, Look, RecordSettings, SceneDistribution, record};

/// Longest wait for anything that the window should show; learning on a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(900);

/// What is set up: the smallest sizes and a few iterations.
const SETUP: &str = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "micro", "futures": 1, "steps": 4, "refine": 1 },
            "train": { "base": "micro", "iterations": 6, "replay": 0 },
            "policy": { "size": "micro", "iterations": 4, "snapshots": 2, "episodes": 2, "steps": 4, "model": "micro" } }"#;

/// The program in its window, on a project with the smallest world model; dialogs choose the dataset.
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

fn display() -> bool {
    if std::env::var_os("DISPLAY").is_some_and(|d| !d.is_empty()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI must give the window tests a display (xvfb-run)");
    eprintln!("skipped: DISPLAY is not set");
    false
}

/// Records a few episodes of the expert.
fn dataset(folder: &Path, episodes: usize, size: usize, look: Look) {
    let scenes = SceneDistribution { look, ..SceneDistribution::default() };
    let settings = RecordSettings {
        episode: EpisodeSettings { behaviour: Behaviour::Expert, size, scenes, ..EpisodeSettings::default() },
        episodes,
        seed: 3,
        threads: 0,
    };
    record(&settings, folder, |_| {}, &AtomicBool::new(false)).unwrap();
}

impl Window {
    fn open() -> Self {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        dataset(&root.join("elsewhere/pushes"), 5, 64, Look::Plain);
        forerun::models::testing::random_model(&root.join("models/micro"), 7).unwrap();
        Self::on(project, SETUP)
    }

    /// A window on this project, whose dataset lies in `elsewhere/pushes`.
    fn on(project: tempfile::TempDir, setup: &str) -> Self {
        let root = project.path();
        std::fs::create_dir(root.join(".forerun")).unwrap();
        std::fs::write(root.join(".forerun/window.json"), setup).unwrap();
        // Where no desktop answers, file dialogs are zenity's: this one chooses the dataset without asking anybody.
        let tools = root.join("tools");
        std::fs::create_dir(&tools).unwrap();
        let zenity = tools.join("zenity");
        std::fs::write(&zenity, format!("#!/bin/sh\necho '{}'\n", root.join("elsewhere/pushes").display()))
            .unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&zenity, std::fs::Permissions::from_mode(0o755)).unwrap();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths =
            std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&paths))).unwrap();
        let runtime = root.join("run");
        std::fs::create_dir(&runtime).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        // Another build of the program, where one is to be looked at.
        let program = std::env::var_os("FORERUN_TEST_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_forerun").into());
        let mut child = Command::new(program)
            .arg(root)
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
        let mut window = Self { child, stream, project };
        window.wait("the engine", |w| w.has("Engine ready"));
        window
    }

    fn ask(&mut self, request: &Request) -> Response {
        write_message(&mut self.stream, request).unwrap();
        read_message(&mut self.stream).unwrap()
    }

    fn nodes(&mut self) -> Vec<Node> {
        match self.ask(&Request::GetTree) {
            Response::Tree { accesskit: Some(tree), .. } => {
                tree.nodes.into_iter().map(|(_, node)| node).collect()
            }
            _ => Vec::new(),
        }
    }

    fn all(&mut self, part: &str) -> Vec<Node> {
        let holds = |node: &Node| {
            node.label().is_some_and(|l| l.contains(part)) || node.value().is_some_and(|v| v.contains(part))
        };
        self.nodes().into_iter().filter(holds).collect()
    }

    fn has(&mut self, part: &str) -> bool {
        !self.all(part).is_empty()
    }

    fn find(&mut self, role: Option<Role>, name: &str) -> Option<Node> {
        self.all(name).into_iter().find(|n| {
            (n.label() == Some(name) || n.value() == Some(name)) && role.is_none_or(|role| n.role() == role)
        })
    }

    fn wait(&mut self, what: &str, mut ready: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        eprintln!("waiting for {what}");
        while !ready(self) {
            if start.elapsed() > PATIENCE {
                let names: Vec<_> =
                    self.nodes().iter().filter_map(|n| n.label().or(n.value()).map(str::to_owned)).collect();
                panic!("waited in vain for {what}; the window shows {names:?}");
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the window closed while waiting for {what}");
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    fn click(&mut self, name: &str) {
        self.click_role(None, name);
    }

    fn click_role(&mut self, role: Option<Role>, name: &str) {
        self.wait(name, |w| w.find(role, name).is_some_and(|n| !n.is_disabled()));
        let node = self.find(role, name).unwrap();
        self.click_node(&node);
    }

    fn click_node(&mut self, node: &Node) {
        let bounds = node.bounds().unwrap();
        let at = Pos2::new(((bounds.x0 + bounds.x1) / 2.0) as f32, ((bounds.y0 + bounds.y1) / 2.0) as f32);
        let button = |pressed| Event::PointerButton {
            pos: at,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::NONE,
        };
        // Pressed and released in one frame: on a busy machine two frames are further apart than a click may be long.
        for events in [vec![Event::PointerMoved(at)], vec![button(true), button(false)]] {
            let answer = self.ask(&Request::ApplyEvents { events });
            assert!(matches!(answer, Response::Done), "{answer:?}");
        }
    }

    /// Keeps a picture of the window in the folder that `FORERUN_TEST_KEEP` names, for eyes.
    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("FORERUN_TEST_KEEP").map(PathBuf::from) else { return };
        if let Response::Screenshot(png) = self.ask(&Request::GetScreenshot { pixels_per_point: None }) {
            std::fs::write(folder.join(format!("{name}.png")), png.bytes).unwrap();
        }
    }

    /// Takes the dataset into the project.
    fn import(&mut self) {
        self.click_role(Some(Role::Button), "Data");
        self.click("Open dataset");
        self.wait("the episodes", |w| w.has("Picture of front"));
    }
}

/// Number of whole futures that the engine has written into the project's scratch folder.
fn written(project: &Path) -> usize {
    let runs = std::fs::read_dir(project.join(".forerun/scratch")).into_iter().flatten().flatten();
    let seeds = runs.filter_map(|run| std::fs::read_dir(run.path()).ok()).flatten().flatten();
    seeds.filter(|seed| seed.path().join("future.json").is_file()).count()
}

#[test]
fn a_folder_becomes_a_model_that_is_used() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click("Episode 2");
    w.wait("another episode", |w| w.has("What episode 2 is for"));
    w.click("Examine");
    w.wait("the doctor's findings", |w| w.has("pictures looked at"));
    w.picture("data");
    let link = std::fs::read_to_string(w.project.path().join("datasets/pushes.toml")).unwrap();
    assert!(link.contains("elsewhere/pushes"), "{link}");

    w.click_role(Some(Role::Button), "Train");
    w.click("Start training");
    w.wait("the pictures of the first judgement", |w| w.find(Some(Role::Image), "What came").is_some());
    w.wait("the table of before and after", |w| w.has("Scorecard"));
    assert!(w.find(Some(Role::Image), "Before").is_some() && w.find(Some(Role::Image), "After").is_some());
    w.picture("train");
    let model = w.project.path().join("models/pushes-model");
    for file in ["contract.json", "model.safetensors", "lineage.json", "scorecard.json"] {
        assert!(model.join(file).is_file(), "{file}");
    }
    w.click("Compare before and after");
    w.wait("base, model and truth side by side", |w| w.has("Pane 3: "));
    w.picture("before-and-after");
    w.click_role(Some(Role::Button), "Train");
    w.click("Use this model");
    w.wait("the World screen with the new model", |w| {
        w.find(None, "Imagine").is_some() && w.has("pushes-model")
    });
    let before = written(w.project.path());
    w.click("New frame");
    w.click("Imagine");
    w.wait("a whole future of the new model", |w| written(w.project.path()) > before);
}

#[test]
fn a_policy_is_learnt_tried_and_watched_in_both_places() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click("Learn policy");
    let policy = w.project.path().join("policies/pushes-policy");
    w.wait("the policy", |w| w.has("Done") && policy.join("model.safetensors").is_file());
    w.picture("policy-learnt");
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    assert!(w.has("Success: ") && w.has("Do nothing") && w.has("At random"));
    w.picture("policy-evaluated");
    assert!(policy.join("scorecard.json").is_file());
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("physics and imagination side by side", |w| {
        w.find(Some(Role::Image), "Physics").is_some() && w.find(Some(Role::Image), "Imagination").is_some()
    });
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    w.picture("policy-watched");
    w.click_role(Some(Role::RadioButton), "Rank");
    w.click("Rank policies");
    w.wait("the ranking", |w| w.has("Success in imagination against success in physics"));
    w.picture("policy-ranked");
    assert!(w.has("Pearson") && w.has("MMRV"));
}

#[test]
fn a_goal_policy_is_learnt_led_by_imagined_pictures_and_watched() {
    if !display() {
        return;
    }
    let mut w = Window::open();
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click_role(Some(Role::RadioButton), "Goal pictures");
    w.wait("what goal policies are", |w| w.has("Goes where a picture shows"));
    w.picture("goal-learn");
    w.click("Learn policy");
    let policy = w.project.path().join("policies/pushes-goal-policy");
    w.wait("the policy", |w| w.has("Done") && policy.join("model.safetensors").is_file());
    w.click_role(Some(Role::RadioButton), "Evaluate");
    // It can do nothing alone, so subgoals were chosen for it.
    w.wait("subgoals", |w| w.has("Frames ahead") && w.has("Imagined futures"));
    w.click("How long will it take?");
    w.wait("the measured time", |w| w.has("At most ") && w.has("a plan takes"));
    w.picture("goal-measured");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    assert!(w.has("goals imagined: ") && w.has("subgoals 8 frames ahead"));
    w.picture("goal-evaluated");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("the picture that it goes for", |w| w.find(Some(Role::Image), "Goal picture").is_some());
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    assert!(w.has("subgoals 8 frames ahead"), "it is watched as it was evaluated");
    w.picture("goal-watched");

    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click_role(Some(Role::RadioButton), "Alone");
    w.wait("what to choose instead", |w| w.has("Choose Subgoals"));
    assert!(w.find(Some(Role::Button), "Evaluate policy").is_some_and(|n| n.is_disabled()));
    w.picture("goal-alone");
    w.click_role(Some(Role::RadioButton), "Planner");
    w.click("Start from the policy's plans");
    w.click("Evaluate policy");
    w.wait("the planner's rates", |w| w.has("tracks tried: ") && w.has("planner CEM"));
    w.picture("planner-evaluated");
    w.click_role(Some(Role::RadioButton), "Watch");
    w.click("Watch episode");
    w.wait("the planner at work", |w| w.has("Branch from here") && w.has("planner CEM"));
    assert!(w.find(Some(Role::Image), "Goal picture").is_none());
}

/// Pictures of the three screens for `docs/images/`, with the shipped model: set `FORERUN_TEST_KEEP` to a folder and run it
/// by name with `--ignored`.
#[test]
#[ignore = "takes minutes and is for eyes"]
fn pictures_of_the_screens() {
    if !display() {
        return;
    }
    let project = tempfile::Builder::new().prefix("push-study-").tempdir().unwrap();
    dataset(&project.path().join("elsewhere/pushes"), 12, 128, Look::Rich);
    let setup = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "tabletop", "futures": 1 },
        "train": { "iterations": 8, "replay": 0 },
        "policy": { "size": "small", "iterations": 24, "snapshots": 3, "episodes": 8, "steps": 40, "look": "rich" } }"#;
    let mut w = Window::on(project, setup);
    let both = |w: &mut Window, name: &str| {
        w.picture(&format!("{name}-dark"));
        w.click("Dark or light");
        std::thread::sleep(Duration::from_secs(2));
        w.picture(&format!("{name}-light"));
        w.click("Dark or light");
    };
    w.import();
    w.click("Episode 3");
    w.click("Examine");
    w.wait("the doctor's findings", |w| w.has("pictures looked at"));
    both(&mut w, "data");
    w.click_role(Some(Role::Button), "Train");
    w.click("Start training");
    w.wait("the table of before and after", |w| w.has("Scorecard"));
    both(&mut w, "train");
    w.click_role(Some(Role::Button), "Policy");
    w.click("Learn policy");
    w.wait("the policy", |w| w.has("Done") && w.has("Learn policy"));
    both(&mut w, "policy-learn");
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("Scripted expert"));
    both(&mut w, "policy-evaluate");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("the end of the episode", |w| w.has("Branch from here"));
    both(&mut w, "policy-watch");
}

/// The same for policies that are led by goal pictures.
#[test]
#[ignore = "takes minutes and is for eyes"]
fn pictures_of_a_goal_policy() {
    if !display() {
        return;
    }
    let project = tempfile::Builder::new().prefix("push-study-").tempdir().unwrap();
    dataset(&project.path().join("elsewhere/pushes"), 12, 128, Look::Plain);
    let setup = r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "model": "tabletop", "futures": 1 },
        "policy": { "size": "small", "iterations": 24, "snapshots": 0, "episodes": 4, "steps": 20 } }"#;
    let mut w = Window::on(project, setup);
    w.import();
    w.click_role(Some(Role::Button), "Policy");
    w.click_role(Some(Role::RadioButton), "Goal pictures");
    w.click("Learn policy");
    let policy = w.project.path().join("policies/pushes-goal-policy");
    w.wait("the goal policy", |w| policy.join("model.safetensors").is_file() && w.has("Learn policy"));
    w.click_role(Some(Role::RadioButton), "Evaluate");
    w.wait("subgoals", |w| w.has("Frames ahead"));
    w.click("How long will it take?");
    w.wait("the measured time", |w| w.has("At most "));
    w.click("Evaluate policy");
    w.wait("the rates", |w| w.has("goals imagined: "));
    w.picture("policy-subgoals");
    w.wait("a failure", |w| w.has("Watch episode with seed"));
    let failure = w.all("Watch episode with seed").into_iter().next().unwrap();
    w.click_node(&failure);
    w.wait("the end of the episode", |w| {
        w.has("Branch from here") && w.find(Some(Role::Image), "Goal picture").is_some()
    });
    w.picture("policy-goals");
    w.click("中文");
    std::thread::sleep(Duration::from_secs(1));
    w.picture("policy-goals-chinese");
}
