//! A policy on its way to an arm: packed, installed, and flown on the virtual arm in real time through the agent.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "robot_support/agent.rs"]
mod agent;
mod robot_support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agent::{Agent, patient};
use forerun::Frame;
use forerun::dataset::Dataset;
use forerun::policy::load_policy;
use forerun::robot::agent::Client;
use forerun::robot::agent::protocol::{AgentView, Ask, Tell};
use forerun::robot::bundle::{SigningKey, Stage, Store, from_policy};
use forerun::robot::emulator::servo::Servo;
use forerun::robot::emulator::{EmulatedArm, PtyArm};
use forerun::robot::file::{CameraFile, RobotFile};
use forerun::robot::numbers::Mode;
use forerun::robot::openpi::server::listen;
use forerun::robot::openpi::{Limits, PolicyService, RemotePolicy, serve};
use forerun::robot::push::pilot::{Brain, FlightPlan, Hand, PolicyBrain, RemoteBrain, fly};
use forerun::robot::push::replay::{ReplaySettings, replay};
use forerun::robot::push::{Installed, store_of};
use robot_support::{Eyes, judge, last_motion, so101_policy};

/// The virtual arm, on a machine that has little time for it.
fn robot(folder: &Path) -> RobotFile {
    let mut robot = RobotFile::tabletop("virtual arm", 32);
    robot.cameras[0].fps = 5.0;
    patient(&mut robot);
    robot.write(&folder.join("robot.toml")).unwrap();
    robot
}

/// A hand that holds the dead-man key until a moment, and writes down what it saw.
#[derive(Default)]
struct Watcher {
    lets_go_after: Option<Duration>,
    running_since: Option<Instant>,
    states: Vec<String>,
    pan: Vec<f64>,
}

impl Hand for Watcher {
    fn dead_man(&mut self) -> bool {
        match (self.lets_go_after, self.running_since) {
            (Some(after), Some(since)) => since.elapsed() < after,
            _ => true,
        }
    }
    fn stop(&mut self) -> bool {
        false
    }
    fn show(&mut self, view: &AgentView) {
        if view.robot.state == "running" {
            self.running_since.get_or_insert_with(Instant::now);
            self.pan.push(view.robot.joints[0].goal);
        }
        if self.states.last() != Some(&view.robot.state) {
            self.states.push(view.robot.state.clone());
        }
    }
}

fn plan(address: &str, stage: Stage, seconds: u64) -> FlightPlan {
    FlightPlan {
        address: address.to_owned(),
        token: None,
        stage,
        time: Duration::from_secs(seconds),
        data: Vec::new(),
        record: None,
        task: "go".into(),
    }
}

#[test]
fn a_policy_is_packed_installed_shadowed_flown_recorded_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let robot_file = robot(dir.path());
    so101_policy(&path("policy"));
    let key = SigningKey::open_or_create(&path("key")).unwrap();
    let bundle = from_policy::pack(&path("policy"), &robot_file, &path("go.bundle"), &key).unwrap();
    assert_eq!(bundle.manifest.joints.len(), 6);
    assert_eq!((bundle.manifest.rate_hz, bundle.manifest.cameras.len()), (10.0, 1));
    let looked = forerun::inspect::inspect(&path("go.bundle")).unwrap();
    assert!(looked.sound && looked.lines.concat().contains(&key.public()), "{:?}", looked.lines);
    let mut bytes = std::fs::read(path("go.bundle")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path("bad.bundle"), &bytes).unwrap();
    assert!(!forerun::inspect::inspect(&path("bad.bundle")).unwrap().sound);

    // A stranger's bundle is not installed, nor one for another arm; the refusals say why.
    let store = Store::open(&store_of(&path("robot.toml"))).unwrap();
    let refused = |r: &RobotFile| {
        let store = Store::open(&store_of(&path("robot.toml"))).unwrap();
        Installed::install(&path("go.bundle"), r, store).err().unwrap().text()
    };
    assert!(refused(&robot_file).contains("not trusted"));
    store.trust(&key.public()).unwrap();
    let mut other = robot_file.clone();
    other.cameras[0].width = 640;
    assert!(refused(&other).contains("camera"), "{}", refused(&other));
    let mut installed = Installed::install(&path("go.bundle"), &robot_file, store).unwrap();
    assert_eq!(installed.progress.next(), Stage::Replay);
    assert!(installed.progress.may_start(Stage::Cautious).is_err());
    let policy = installed.policy().unwrap();

    let agent = Agent::start(&path("robot.toml"));
    let mut brain = PolicyBrain::new(&policy, Some("go".into()));
    let data: Vec<(String, f64, f64)> = brain.channels().into_iter().map(|c| (c, -150.0, 150.0)).collect();
    // Shadow: nothing moves, nothing fails, and two seconds are not enough.
    let mut watcher = Watcher::default();
    let shadowed = fly(&plan(&agent.address, Stage::Shadow, 3), &mut brain, &mut watcher).unwrap();
    assert!(!shadowed.clean && shadowed.report["failed"] == 0, "{}", shadowed.words);
    assert!(watcher.states.iter().all(|s| s == "limp"), "{:?}", watcher.states);
    // Cautious, with the key held, recorded.
    let mut watcher = Watcher::default();
    let mut cautious = plan(&agent.address, Stage::Cautious, 4);
    cautious.data = data.clone();
    cautious.record = Some(path("episodes"));
    let flown = fly(&cautious, &mut brain, &mut watcher).unwrap();
    assert!(flown.clean && !flown.fault, "{} {:?}", flown.words, watcher.states);
    let span = watcher.pan.iter().fold(0.0f64, |m, p| m.max((p - watcher.pan[0]).abs()));
    assert!(span > 0.3, "the policy moved the arm: {:?}", watcher.pan);
    assert_eq!(installed.note(Stage::Cautious, &flown).unwrap(), None);
    assert!(installed.store.seconds_run(&installed.id) >= 3.0);
    let recorded = Dataset::open(&path("episodes")).unwrap();
    assert!(recorded.len() == 1 && recorded.total_frames() >= 3, "{recorded:?}");
    assert_eq!(recorded.episode(0).unwrap().tasks, ["go"]);
    // Letting go of the key stops it, and that is no clean run.
    let mut watcher = Watcher { lets_go_after: Some(Duration::from_millis(800)), ..Watcher::default() };
    cautious.record = None;
    let flown = fly(&cautious, &mut brain, &mut watcher).unwrap();
    assert!(!flown.clean && flown.words.contains("dead-man"), "{}", flown.words);
    // What it recorded can be replayed.
    let settings = ReplaySettings { episodes: 1, moments: 2 };
    let replayed = replay(&policy, &path("episodes"), settings, &AtomicBool::new(false)).unwrap();
    assert!(replayed.report["actions"].as_u64().unwrap() > 0, "{}", replayed.words);
    assert_eq!(replayed.report["not_finite"], 0);
}

/// A brain that breaks after a while.
struct Broken {
    channels: Vec<String>,
    plans: usize,
    here: Vec<f64>,
}

impl Brain for Broken {
    fn channels(&self) -> Vec<String> {
        self.channels.clone()
    }
    fn state(&self) -> Vec<String> {
        self.channels.clone()
    }
    fn period(&self) -> f64 {
        0.1
    }
    fn chunk(&mut self, _: &Frame, state: &[f32]) -> Result<Vec<Vec<f64>>, String> {
        self.plans += 1;
        if self.here.is_empty() {
            self.here = state.iter().map(|v| f64::from(*v)).collect();
        }
        let mut rows = vec![self.here.clone(); 20];
        if self.plans > 4 {
            rows[3][2] = f64::NAN;
        }
        Ok(rows)
    }
}

#[test]
fn a_bundle_that_faults_twice_in_its_first_minute_is_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let robot_file = robot(dir.path());
    so101_policy(&path("policy"));
    let key = SigningKey::open_or_create(&path("key")).unwrap();
    let store = Store::open(&store_of(&path("robot.toml"))).unwrap();
    store.trust(&key.public()).unwrap();
    let good = from_policy::pack(&path("policy"), &robot_file, &path("good.bundle"), &key).unwrap();
    store.install(&path("good.bundle")).unwrap();
    std::fs::write(path("policy/scorecard.json"), "{\"format\":1,\"evaluations\":[]}").unwrap();
    from_policy::pack(&path("policy"), &robot_file, &path("bad.bundle"), &key).unwrap();
    let mut bad = Installed::install(&path("bad.bundle"), &robot_file, store).unwrap();
    assert_ne!(bad.id, good.id);
    let mut rolled_back = None;
    for _ in 0..2 {
        let agent = Agent::start(&path("robot.toml"));
        let mut brain = Broken { channels: robot_file.channels(), plans: 0, here: Vec::new() };
        let flown =
            fly(&plan(&agent.address, Stage::Normal, 20), &mut brain, &mut Watcher::default()).unwrap();
        assert!(flown.fault && flown.words.contains("action 3 has NaN for elbow_flex"), "{}", flown.words);
        rolled_back = bad.note(Stage::Normal, &flown).unwrap();
    }
    assert_eq!(rolled_back, Some(good.id.clone()));
    assert_eq!(bad.store.current().unwrap().0, good.id);
}

/// Not a test of its own: the policy server that the next one stops and kills.
#[test]
#[ignore = "run by the test below"]
fn child_that_serves() {
    let Some(folder) = std::env::var_os("FORERUN_TEST_POLICY") else { return };
    let service = Arc::new(PolicyService::new(load_policy(Path::new(&folder)).unwrap()));
    let listener = listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
    println!("\nlistens {}", listener.local_addr().unwrap());
    serve(&listener, &service, None, &AtomicBool::new(false));
}

struct PolicyServer {
    child: Child,
    address: String,
}

impl PolicyServer {
    fn start(policy: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_serves", "--ignored", "--nocapture"])
            .env("FORERUN_TEST_POLICY", policy)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("listens ").map(str::to_owned));
        Self { child, address: said.unwrap() }
    }
}

impl Drop for PolicyServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A hand that does something to another process once the arm has followed it for two seconds.
struct Ambush {
    signal: &'static str,
    process: u32,
    running_since: Option<Instant>,
    sent: Option<Instant>,
    ended: Option<Duration>,
}

impl Hand for Ambush {
    fn dead_man(&mut self) -> bool {
        true
    }
    fn stop(&mut self) -> bool {
        false
    }
    fn show(&mut self, view: &AgentView) {
        let running = view.robot.state == "running";
        if running {
            let since = *self.running_since.get_or_insert_with(Instant::now);
            if self.sent.is_none() && since.elapsed() > Duration::from_secs(2) {
                let process = self.process.to_string();
                assert!(Command::new("kill").args([self.signal, &process]).status().unwrap().success());
                self.sent = Some(Instant::now());
            }
        } else if let (Some(sent), None) = (self.sent, self.ended) {
            self.ended = Some(sent.elapsed());
        }
    }
}

#[test]
fn a_policy_server_that_hangs_or_is_killed_leaves_a_held_and_parked_arm() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    so101_policy(&path("policy"));
    // An emulated bus, so that what arrived at the motors is judged.
    let emulated = EmulatedArm::new(3);
    let mut robot_file = emulated.robot_file("desk arm");
    robot_file.port.path = Some(path("port"));
    robot_file.cameras = vec![CameraFile {
        name: "front".into(),
        fps: 1.0,
        width: 32,
        height: 32,
        required: true,
        source: Some(format!("file:{}", path("front.png").display())),
    }];
    patient(&mut robot_file);
    robot_file.write(&path("robot.toml")).unwrap();
    let _eyes = Eyes::open(path("front.png"));
    let arm = PtyArm::start(&path("port"), emulated).unwrap();
    for signal in ["-STOP", "-KILL"] {
        // The agent before was killed: what it left stiff is armed anew where it has sunk to.
        arm.arm().trace.clear();
        let server = PolicyServer::start(&path("policy"));
        let agent = Agent::start(&path("robot.toml"));
        let limits = Limits { answer: Duration::from_secs(5), ..Limits::default() };
        let remote = RemotePolicy::connect(&server.address, None, limits).unwrap();
        let mut brain = RemoteBrain::new(remote, &robot_file, Some("go".into()));
        let process = server.child.id();
        let mut ambush = Ambush { signal, process, running_since: None, sent: None, ended: None };
        let flown = fly(&plan(&agent.address, Stage::Normal, 60), &mut brain, &mut ambush).unwrap();
        let ended = ambush.ended.unwrap_or_else(|| panic!("{signal}: {}", flown.words));
        assert!(!flown.clean && flown.words.contains("no fresh action"), "{signal}: {}", flown.words);
        // Its last chunk lasts for 2.4 s; the rest is a busy machine's share.
        assert!(ended < Duration::from_secs(8), "{signal}: {ended:?}");
        let (mut client, parked) = (Client::connect(&agent.address, None, "after").unwrap(), Instant::now());
        loop {
            let Tell::View(view) = client.ask(Ask::View).unwrap() else { panic!() };
            if view.robot.park.as_deref() == Some("parked") {
                break;
            }
            assert!(parked.elapsed() < Duration::from_secs(20), "{signal}: {:?}", view.robot.state);
            std::thread::sleep(Duration::from_millis(50));
        }
        judge(&robot_file, &arm.arm().trace, Mode::Normal);
        assert!(last_motion(&arm.arm().trace) > Duration::ZERO);
        assert!(arm.arm().servos.iter().all(Servo::holds), "{signal}: it holds");
    }
}
