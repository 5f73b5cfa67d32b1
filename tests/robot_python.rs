//! The agent against an SO-101 bus that was written by somebody else: a Python emulator which two independent drivers
//! have proven. `FORERUN_FEETECH_EMULATOR` says where its `feetech_pty.py` lies; without it these tests say so and end
//! (our own emulated bus is in `robot_safety.rs`). Everything is judged by the emulator's own
//! trace of commanded goals and its own clock; waiting times are generous, since machines that run tests are busy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forerun::robot::agent::Client;
use forerun::robot::agent::protocol::{AgentView, Ask, Tell};
use forerun::robot::file::RobotFile;
use forerun::robot::numbers::Mode;
use serde_json::{Value, json};

const STEP: f64 = 360.0 / 4095.0;
/// Where runs begin, in the robot's units.
const POSE: [f64; 6] = [0.0, -45.0, -45.0, -45.0, 0.0, 50.0];
/// How far each joint sways about it.
const SWAY: [f64; 6] = [20.0, 10.0, 10.0, 10.0, 10.0, 10.0];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One emulated arm at a time: two would wait for each other's processor.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn emulator() -> Option<PathBuf> {
    let found = std::env::var_os("FORERUN_FEETECH_EMULATOR").map(PathBuf::from);
    if found.is_none() {
        eprintln!("left out: FORERUN_FEETECH_EMULATOR does not name a feetech_pty.py");
    }
    found
}

/// The emulator's control socket.
struct Bus(BufReader<UnixStream>);

impl Bus {
    fn ask(&mut self, what: Value) -> Value {
        writeln!(self.0.get_mut(), "{what}").unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer.get("error").is_none(), "{what}: {answer}");
        answer
    }

    fn state(&mut self) -> Value {
        self.ask(json!({"get": "state"}))
    }

    fn now(&mut self) -> f64 {
        self.state()["t"].as_f64().unwrap()
    }
}

/// One commanded register: emulator's seconds, servo, register, value.
type Written = (f64, i64, i64, i64);

struct Live {
    python: Child,
    agent: Child,
    bus: Bus,
    client: Client,
    address: String,
    key: String,
    channels: Vec<String>,
    trace: Vec<Written>,
    _folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// A policy in a thread of its own that sways the arm until it is dropped, whatever state the robot is in.
struct Policy {
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Policy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

impl Live {
    /// `strict`: the watchdogs' own numbers for the bus. Otherwise a busy machine is given more time on the bus, since
    /// something else is being tested.
    fn start(strict: bool) -> Option<Self> {
        let script = emulator()?;
        let alone = alone();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut python = Command::new("python3")
            .arg(script)
            .arg("--link")
            .arg(path("port"))
            .arg("--ctl")
            .arg(path("ctl"))
            .args(["--max-s", "900"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(python.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        let mut robot = RobotFile::so101("arm of snakes");
        robot.port.path = Some(path("port"));
        robot.port.answer_ms = 20;
        robot.watch.silent_hold_ms = 2000;
        robot.watch.silent_park_ms = 8000;
        robot.watch.lease_ms = 8000;
        robot.watch.command_age_ms = 800;
        if !strict {
            robot.watch.bus_hold_cycles = 40;
            robot.watch.bus_fault_ms = 4000;
        }
        robot.raised = Some(robot.name.clone());
        robot.write(&path("robot.toml")).unwrap();
        let mut agent = Command::new(env!("CARGO_BIN_EXE_forerun-agent"))
            .args(["--listen", "127.0.0.1:0", "--robot"])
            .arg(path("robot.toml"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let address = ready["listen"].as_str().unwrap().to_string();
        let bus = Bus(BufReader::new(UnixStream::connect(path("ctl")).unwrap()));
        let mut client = Client::connect(&address, None, "test window").unwrap();
        let Tell::Leased { key } = client.ask(Ask::Lease { key: None }).unwrap() else { panic!() };
        let channels = robot.channels();
        let trace = Vec::new();
        Some(Self {
            python,
            agent,
            bus,
            client,
            address,
            key,
            channels,
            trace,
            _folder: folder,
            _alone: alone,
        })
    }

    fn say(&mut self, ask: Ask) {
        self.client.heartbeat(true).unwrap();
        let shown = format!("{ask:?}");
        self.client.ask(ask).unwrap_or_else(|e| panic!("{shown}: {e}"));
        self.client.heartbeat(true).unwrap();
    }

    /// Heartbeats until the view is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&AgentView) -> bool) -> AgentView {
        let end = Instant::now() + ms(25_000);
        loop {
            self.client.heartbeat(true).unwrap();
            if let Some(view) = self.client.view().filter(&wanted) {
                return view;
            }
            let now = self.client.view().map(|v| (v.robot.state, v.robot.why, v.robot.last_trip));
            assert!(Instant::now() < end, "waiting for {what}: {now:?}");
            std::thread::sleep(ms(30));
        }
    }

    fn until_state(&mut self, state: &str) -> AgentView {
        self.until(state, |v| v.robot.state == state)
    }

    /// Heartbeats for a while.
    fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.client.heartbeat(true).unwrap();
            std::thread::sleep(ms(40));
        }
    }

    fn view(&self) -> AgentView {
        self.client.view().unwrap()
    }

    /// Takes over what the emulator traced since the last time.
    fn fetch(&mut self) {
        let new = self.bus.ask(json!({"get": "trace"}));
        for w in new["trace"].as_array().unwrap() {
            let n = |i: usize| w[i].as_i64().unwrap();
            self.trace.push((w[0].as_f64().unwrap(), n(1), n(2), n(3)));
        }
    }

    fn goals(&self, id: i64) -> impl Iterator<Item = (f64, i64)> {
        self.trace.iter().filter(move |w| w.1 == id && w.2 == 42).map(|w| (w.0, w.3))
    }

    /// When the goals changed last, by the emulator's clock.
    fn last_motion(&self) -> f64 {
        let of = |id| {
            let goals: Vec<_> = self.goals(id).collect();
            goals.windows(2).rev().find(|w| (w[1].1 - w[0].1).abs() > 1).map_or(0.0, |w| w[1].0)
        };
        (1..=6).map(of).fold(0.0, f64::max)
    }

    /// All commanded goals: inside the range of the motors less the margin, no step larger than a tick allows, and no
    /// 100 ms with more than the speed allows (the emulator may get to see two ticks at once: 30 ms of grace).
    fn judge(&mut self, speed: f64) {
        self.fetch();
        let state = self.bus.state();
        for id in 1..=5_i64 {
            let goals: Vec<_> = self.goals(id).collect();
            let servo = &state["servos"][usize::try_from(id - 1).unwrap()];
            let (low, high) = (servo["lo"].as_i64().unwrap(), servo["hi"].as_i64().unwrap());
            for w in goals.windows(2) {
                let degrees = (w[1].1 - w[0].1).abs() as f64 * STEP;
                assert!(
                    degrees <= speed * 0.01 * 1.05 + 1.01 * STEP,
                    "servo {id}: {degrees} degrees at once"
                );
            }
            for (i, (t, goal)) in goals.iter().enumerate() {
                assert!((low..=high).contains(goal), "servo {id}: goal {goal} outside {low}..{high}");
                for (t2, later) in goals[i..].iter().take_while(|g| g.0 <= t + 0.1) {
                    let degrees = (later - goal).abs() as f64 * STEP;
                    assert!(degrees <= speed * 1.05 * (t2 - t + 0.03) + STEP, "servo {id}: {degrees} at {t}");
                }
            }
        }
    }

    /// Whatever state it is in: healed, acknowledged, resumed or armed again, and in the pose where runs begin.
    fn ready(&mut self) {
        self.bus.ask(json!({"do": "clear"}));
        self.bus.ask(json!({"do": "plug"}));
        let end = Instant::now() + ms(60_000);
        loop {
            // The emulator sleeps while it delays an answer, and whoever asks it something sleeps with it: control may have
            // been lost meanwhile.
            if let Ok(Tell::Leased { key }) = self.client.ask(Ask::Lease { key: None }) {
                self.key = key;
            }
            let view = self.until("any view", |_| true);
            let ask = match view.robot.state.as_str() {
                "disconnected" => Ask::Connect,
                "limp" => Ask::Arm,
                "hold" => Ask::Resume,
                "fault" => Ask::Acknowledge,
                "running" => Ask::Stop { by: "test".into() },
                "ready" if self.go_to_pose() => break,
                _ => Ask::View,
            };
            // What is not possible yet (still moving, voltage still settling) is tried again.
            let denied = self.client.ask(ask).err();
            assert!(Instant::now() < end, "{} {:?} {denied:?}", view.robot.state, view.robot.why);
            self.pass(ms(100));
        }
    }

    /// False: it was held on the way (a joint that was blocked a moment ago backs off once more).
    fn go_to_pose(&mut self) -> bool {
        let names = self.channels.clone();
        if self.client.ask(Ask::GoTo { pose: names.into_iter().zip(POSE).collect() }).is_err() {
            return false;
        }
        self.pass(ms(200));
        let view = self.until("the pose", |v| {
            let there = v.robot.joints.iter().zip(POSE).all(|(j, p)| (j.goal - p).abs() < 0.2);
            v.robot.state != "ready" || (v.robot.stands && there)
        });
        view.robot.state == "ready"
    }

    /// Waits until a limp arm lies still; where.
    fn at_rest(&mut self) -> [f64; 6] {
        let end = Instant::now() + ms(25_000);
        let mut last = [f64::NAN; 6];
        loop {
            self.pass(ms(300));
            let view = self.view();
            let now: [f64; 6] = std::array::from_fn(|i| view.robot.joints[i].position.unwrap_or(f64::NAN));
            if last.iter().zip(&now).all(|(a, b)| (a - b).abs() < 0.2) {
                return now;
            }
            assert!(Instant::now() < end, "it does not come to rest: {now:?}");
            last = now;
        }
    }

    /// A policy that sways about a pose.
    fn policy(&self, pose: [f64; 6], sway: [f64; 6]) -> Policy {
        let end = Arc::new(AtomicBool::new(false));
        let (address, key, channels) = (self.address.clone(), self.key.clone(), self.channels.clone());
        let over = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(&address, None, "policy").unwrap();
            client.ask(Ask::Lease { key: Some(key) }).unwrap();
            while client.agent_seconds().is_none() {
                std::thread::sleep(ms(5));
            }
            let start = client.agent_seconds().unwrap();
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                let now = client.agent_seconds().unwrap();
                let row = |k: i32| {
                    let swing = ((now - start + f64::from(k) * 0.1) * 2.0).sin();
                    pose.iter().zip(sway).map(|(p, s)| p + s * swing).collect::<Vec<f64>>()
                };
                let rows: Vec<_> = (0..30).map(row).collect();
                if client.propose(number, &channels, now, 0.1, &rows).is_err() {
                    break;
                }
                number += 1;
                std::thread::sleep(ms(150));
            }
        });
        Policy { end, thread: Some(thread) }
    }

    /// A run that sways; ends when the policy is dropped.
    fn run(&mut self, mode: Mode) -> Policy {
        self.say(Ask::Run { mode, data: vec![] });
        let policy = self.policy(POSE, SWAY);
        self.pass(ms(1200));
        let view = self.view();
        assert_eq!(view.robot.state, "running", "{:?}", view.robot.why);
        policy
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for child in [&mut self.agent, &mut self.python] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn connect_calibrate_arm_shadow_cautious_normal_stop_park() {
    let Some(mut live) = Live::start(false) else { return };
    live.say(Ask::Connect);
    live.until_state("limp");
    live.fetch();
    assert!(live.trace.is_empty(), "nothing is written because a port was opened: {:?}", live.trace);
    // Calibrate: the robot file has none yet; the motors' is shown, agreed to, and taken over.
    let error = live.client.ask(Ask::Arm).unwrap_err().to_string();
    assert!(error.contains("calibration"), "{error}");
    live.say(Ask::UseCalibration { from_file: false });
    live.until_state("limp");
    let Tell::Calibration { differences, .. } = live.client.ask(Ask::Calibration).unwrap() else { panic!() };
    assert!(differences.is_empty(), "{differences:?}");
    // A limp arm sinks until it lies; nobody has to hold it.
    let rest = live.at_rest();
    // Shadow: everything is checked, nothing is sent. The policy sways about where the arm lies.
    live.say(Ask::StartShadow);
    let policy = live.policy(rest, [5.0; 6]);
    live.until("a few shadowed actions", |v| v.robot.shadow.as_ref().is_some_and(|s| s.actions > 5));
    drop(policy);
    let Tell::Shadow { report: Some(report) } = live.client.ask(Ask::EndShadow).unwrap() else { panic!() };
    assert!(report.actions > 5 && report.failed == 0, "{report:?}");
    assert!(!report.passed, "a few actions are not three hundred");
    live.fetch();
    assert!(live.trace.is_empty(), "shadowing sends nothing: {:?}", live.trace);
    // Arm: it stiffens where it lies.
    let before = live.at_rest();
    live.say(Ask::Arm);
    live.until_state("ready");
    let after = live.view();
    live.fetch();
    for (i, j) in after.robot.joints.iter().enumerate() {
        let goals: Vec<_> = live.goals(i as i64 + 1).map(|g| g.1).collect();
        let span = goals.iter().max().unwrap() - goals.iter().min().unwrap();
        assert!(span <= 1, "{} was moved by {span} steps while arming", j.name);
        assert!((j.position.unwrap() - before[i]).abs() <= 2.0, "{}", j.name);
    }
    for (mode, speed) in [(Mode::Cautious, 30.0), (Mode::Normal, 90.0)] {
        live.ready();
        live.fetch();
        live.trace.clear();
        let policy = live.run(mode);
        live.pass(ms(4000));
        let view = live.view();
        assert_eq!(view.robot.state, "running", "{mode}: {:?}", view.robot.why);
        live.judge(speed);
        let lift: Vec<_> = live.goals(2).map(|g| g.1).collect();
        let span = (lift.iter().max().unwrap() - lift.iter().min().unwrap()) as f64 * STEP;
        assert!(span > 12.0, "{mode}: the arm swayed by {span} degrees only");
        // Stop: the goals stand within the time of braking.
        let pressed = live.bus.now();
        live.say(Ask::Stop { by: "Esc".into() });
        live.until("a stop", |v| v.robot.state == "hold" && v.robot.stands);
        drop(policy);
        live.pass(ms(300));
        live.judge(speed);
        let moved = live.last_motion() - pressed;
        assert!(moved < 1.2, "{mode}: goals moved on for {moved} s after Stop");
    }
    live.client.ask(Ask::Park).unwrap();
    live.until("parked", |v| v.robot.park.as_deref() == Some("parked"));
    live.trace.clear();
    let state = live.bus.state();
    assert!(state["servos"].as_array().unwrap().iter().all(|s| s["torque"] == 1), "parked and stiff");
}

/// What a switch of the emulator must lead to.
struct Case {
    name: &'static str,
    set: Value,
    states: &'static [&'static str],
    why: &'static [&'static str],
    /// Seconds, by the emulator's clock, after which goals stand: the watchdog's time, braking, and a busy machine's share.
    within: f64,
    /// Seconds that the emulator itself is behind: while it delays an answer it sleeps, and goals wait in its queue.
    queue: f64,
}

fn fault_cases(live: &mut Live, cases: &[Case]) {
    for case in cases {
        live.ready();
        live.fetch();
        live.trace.clear();
        // At normal torque this arm carries its heaviest load.
        let mode = if case.name == "payload" { Mode::Cautious } else { Mode::Normal };
        let policy = live.run(mode);
        let began = live.bus.now();
        live.bus.ask(case.set.clone());
        let (states, set) = (case.states, Instant::now());
        let view = live.until(case.name, |v| states.contains(&v.robot.state.as_str()));
        let why = view.robot.why.clone().or(view.robot.last_trip).unwrap_or_default();
        assert!(case.why.iter().any(|w| why.contains(w)), "{}: {why}", case.name);
        let took = set.elapsed().as_secs_f64();
        assert!(took < case.within, "{}: {} came after {took} s ({why})", case.name, view.robot.state);
        live.pass(ms(1500));
        live.judge(90.0);
        let moved = live.last_motion() - began;
        assert!(moved < case.within + case.queue, "{}: goals moved on for {moved} s ({why})", case.name);
        eprintln!("{}: {} after {moved:.2} s of motion: {why}", case.name, view.robot.state);
        drop(policy);
    }
}

#[test]
fn every_fault_of_a_motor_ends_as_it_should() {
    let Some(mut live) = Live::start(false) else { return };
    live.say(Ask::Connect);
    live.say(Ask::UseCalibration { from_file: false });
    let hold: &[&str] = &["hold"];
    let fault: &[&str] = &["fault"];
    let either: &[&str] = &["hold", "fault"];
    let case = |name, set: Value, states, why, within| Case {
        name,
        set: json!({"set": set}),
        states,
        why,
        within,
        queue: 0.0,
    };
    let cases = [
        case("stale", json!({"stale": [2]}), fault, &["same position"], 4.0),
        case("jump", json!({"jump": {"3": 400}}), fault, &["jumped", "beyond"], 2.0),
        case("stuck", json!({"stuck": [1]}), hold, &["blocked"], 5.0),
        case("overload", json!({"overload": [2]}), hold, &["overloaded"], 2.0),
        case("voltage", json!({"voltage": [2]}), hold, &["supply voltage"], 2.0),
        case("angle", json!({"angle": [4]}), fault, &["position sensor"], 2.0),
        case("current", json!({"current": [4]}), either, &["too much current", "let go"], 2.0),
        case("overheat", json!({"overheat": [4]}), either, &["overheated", "let go"], 2.0),
        case("volts", json!({"volts": 9.0}), hold, &["9.0 V", "8.9 V", "8.8 V", "8.7 V"], 2.5),
        case("payload", json!({"payload": 1.0}), either, &["blocked", "overloaded", "let go"], 5.0),
    ];
    fault_cases(&mut live, &cases);
    // Torque 30 % after an alarm, seen in the motors' own registers.
    live.ready();
    let policy = live.run(Mode::Normal);
    live.bus.ask(json!({"set": {"overload": [2]}}));
    live.until_state("hold");
    live.pass(ms(300));
    let state = live.bus.state();
    assert!(
        state["servos"].as_array().unwrap().iter().all(|s| s["torque_limit"].as_i64().unwrap() <= 300),
        "{state}"
    );
    drop(policy);
    // A power dip: the motors have let go, and the robot comes back limp, never running.
    live.ready();
    let policy = live.run(Mode::Normal);
    live.bus.ask(json!({"do": "power_cycle"}));
    let view = live.until_state("fault");
    assert!(view.robot.why.clone().unwrap().contains("let go"), "{:?}", view.robot.why);
    live.say(Ask::Acknowledge);
    live.until_state("limp");
    drop(policy);
    // The cable.
    live.ready();
    let policy = live.run(Mode::Normal);
    live.bus.ask(json!({"do": "unplug"}));
    live.until_state("fault");
    live.bus.ask(json!({"do": "plug"}));
    live.until_state("limp");
    live.fetch();
    live.trace.clear();
    live.pass(ms(600));
    live.fetch();
    assert!(live.trace.is_empty(), "nothing is sent to an arm that came back: {:?}", live.trace);
    drop(policy);
    live.ready();
}

#[test]
fn every_fault_of_the_bus_ends_as_it_should() {
    let Some(mut live) = Live::start(true) else { return };
    live.say(Ask::Connect);
    live.say(Ask::UseCalibration { from_file: false });
    // What comes now and then is repeated. A run goes on, or is held until the bus is better; a fault it is not, unless
    // the bus was gone for half a second.
    for (name, set) in [
        ("noise", json!({"noise": 0.1})),
        ("badsum", json!({"badsum": 0.05})),
        ("swap_id", json!({"swap_id": 0.02})),
        ("mute", json!({"mute": 0.02})),
        ("drop", json!({"drop": 0.002})),
        ("echo", json!({"echo": true})),
        ("jitter_ms", json!({"jitter_ms": 0.5})),
    ] {
        live.ready();
        live.fetch();
        live.trace.clear();
        live.say(Ask::Run { mode: Mode::Normal, data: vec![] });
        let policy = live.policy(POSE, SWAY);
        live.pass(ms(600));
        live.bus.ask(json!({"set": set}));
        live.pass(ms(1500));
        let view = live.view();
        let why = view.robot.why.clone().unwrap_or_default();
        assert!(
            view.robot.state == "running" || why.contains("motors"),
            "{name}: {} {why}",
            view.robot.state
        );
        live.judge(90.0);
        eprintln!("{name}: {} {why}", view.robot.state);
        drop(policy);
    }
    let hold_or_fault: &[&str] = &["hold", "fault"];
    let case = |name: &'static str, set: Value| Case {
        name,
        set: json!({"set": set}),
        states: hold_or_fault,
        why: &["motors", "answer"],
        within: 2.0,
        queue: if name == "late answers" { 12.0 } else { 0.0 },
    };
    for c in [
        case("dead", json!({"dead": [5]})),
        case("mute for good", json!({"mute": 1.0})),
        case("late answers", json!({"delay_ms": 60.0})),
        case("all sums wrong", json!({"badsum": 1.0})),
        case("many bytes lost", json!({"drop": 0.2})),
    ] {
        let name = c.name;
        fault_cases(&mut live, &[c]);
        let view = live.until(name, |v| v.robot.state == "fault");
        // Some of the late answers still count; then the policy, which has ended, is missed first.
        let why = view.robot.why.unwrap();
        assert!(why.contains("not answered for") || why.contains("no fresh action"), "{name}: {why}");
    }
    live.ready();
}
