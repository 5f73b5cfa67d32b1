//! The agent as a process, against an emulated arm on a pseudo-terminal, in real time. Judged by the trace of commands
//! that arrived at the motors; times are generous, because machines that run tests are busy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forerun::robot::agent::Client;
use forerun::robot::agent::protocol::{AgentView, Ask, Tell};
use forerun::robot::emulator::servo::Servo;
use forerun::robot::emulator::{EmulatedArm, PtyArm, Written};
use forerun::robot::numbers::Mode;

const STEP: f64 = 360.0 / 4095.0;

struct Live {
    arm: PtyArm,
    agent: Child,
    address: String,
    folder: tempfile::TempDir,
    channels: Vec<String>,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Live {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("port");
        let arm = EmulatedArm::new(3);
        let mut robot = arm.robot_file("live arm");
        robot.port.path = Some(link.clone());
        // A machine that runs tests is late now and then; what is judged here is not the bus's timing.
        robot.port.answer_ms = 20;
        robot.watch.bus_hold_cycles = 30;
        robot.watch.bus_fault_ms = 5000;
        robot.raised = Some("live arm".into());
        robot.write(&folder.path().join("robot.toml")).unwrap();
        let channels = robot.channels();
        let arm = PtyArm::start(&link, arm).unwrap();
        let (agent, address) = Self::agent(&folder.path().join("robot.toml"));
        Self { arm, agent, address, folder, channels }
    }

    fn agent(robot: &std::path::Path) -> (Child, String) {
        let mut agent = Command::new(env!("CARGO_BIN_EXE_forerun-agent"))
            .args(["--robot", robot.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        (agent, ready["listen"].as_str().unwrap().to_string())
    }

    fn client(&self, name: &str) -> Client {
        Client::connect(&self.address, None, name).unwrap()
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.agent.id()).unwrap();
        // SAFETY: the process is a child of this one that has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// Heartbeats until the view is as wanted.
    fn until(&self, client: &mut Client, what: &str, wanted: impl Fn(&AgentView) -> bool) -> AgentView {
        let end = Instant::now() + ms(15_000);
        loop {
            client.heartbeat(true).unwrap();
            if let Some(view) = client.view().filter(&wanted) {
                return view;
            }
            let now = client.view().map(|v| (v.robot.state, v.robot.why, v.robot.stands));
            assert!(Instant::now() < end, "waiting for {what}: {now:?} {:?}", client.last_denied);
            std::thread::sleep(ms(40));
        }
    }

    /// A client that controls an arm that stands ready in the middle of its range.
    fn ready(&self) -> Client {
        let mut c = self.client("test window");
        c.ask(Ask::Lease { key: None }).unwrap();
        c.ask(Ask::Connect).unwrap();
        assert!(self.arm.arm().trace.is_empty(), "nothing is written because a port was opened");
        // A client that waits for an answer does not beat; hence the heartbeats around each question.
        c.heartbeat(true).unwrap();
        c.ask(Ask::Arm).unwrap();
        self.until(&mut c, "ready", |v| v.robot.state == "ready");
        let pose = ["shoulder_lift", "elbow_flex", "wrist_flex"].map(|j| (j.to_string(), -45.0));
        c.ask(Ask::GoTo { pose: pose.to_vec() }).unwrap();
        self.until(&mut c, "the pose", |v| v.robot.stands && (v.robot.joints[1].goal + 45.0).abs() < 0.1);
        c
    }

    /// Runs a gentle sway for a while.
    fn sway(&self, c: &mut Client, time: Duration) {
        let base: Vec<f64> = c.view().unwrap().robot.joints.iter().map(|j| j.goal).collect();
        let start = Instant::now();
        let mut number = 0;
        let first = c.agent_seconds().unwrap();
        while start.elapsed() < time {
            c.heartbeat(true).unwrap();
            let now = c.agent_seconds().unwrap();
            if number % 3 == 0 {
                let row = |k: i32| {
                    let t = now - first + f64::from(k) * 0.1;
                    base.iter().map(|b| b + 10.0 * (t * 2.0).sin()).collect::<Vec<f64>>()
                };
                let rows: Vec<Vec<f64>> = (0..15).map(row).collect();
                c.propose(number, &self.channels, now, 0.1, &rows).unwrap();
            }
            number += 1;
            std::thread::sleep(ms(60));
        }
    }

    fn goals(&self, id: u8) -> Vec<Written> {
        self.arm.arm().trace.iter().filter(|w| w.register == 42 && w.id == id).copied().collect()
    }

    /// No two successive goals further apart than the mode's speed allows in a tick, whatever the machine does.
    fn judge(&self, speed: f64) {
        for id in 1..=5 {
            for w in self.goals(id).windows(2) {
                let degrees = f64::from((w[1].value - w[0].value).abs()) * STEP;
                assert!(
                    degrees <= speed * 0.01 * 1.05 + 1.01 * STEP,
                    "servo {id}: {degrees} degrees in a tick"
                );
            }
        }
    }

    /// How long the goals have been standing.
    fn standing(&self) -> Duration {
        let now = self.arm.now();
        let last_change = (1..=6)
            .filter_map(|id| {
                let g = self.goals(id);
                g.windows(2).rev().find(|w| w[0].value != w[1].value).map(|w| w[1].time)
            })
            .max();
        now.saturating_sub(last_change.unwrap_or_default())
    }

    fn holds(&self) -> bool {
        self.arm.arm().servos.iter().all(Servo::holds)
    }

    fn ended(&mut self, time: Duration) -> Option<std::process::ExitStatus> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if let Some(status) = self.agent.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(ms(20));
        }
        None
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

#[test]
fn from_limp_to_running_to_stop_to_park_to_the_end() {
    let mut live = Live::start();
    let mut c = live.ready();
    c.ask(Ask::Run { mode: Mode::Normal, data: vec![] }).unwrap();
    live.sway(&mut c, ms(2500));
    let view = c.view().unwrap();
    assert_eq!(view.robot.state, "running", "{:?} {:?}", view.robot.why, c.last_denied);
    let pan: Vec<i32> = live.goals(1).iter().map(|g| g.value).collect();
    let span = f64::from(pan.iter().max().unwrap() - pan.iter().min().unwrap()) * STEP;
    assert!(span > 12.0, "{span}");
    // Anybody may stop it, and it stays stopped.
    let mut other = live.client("onlooker");
    assert!(other.ask(Ask::Lease { key: None }).unwrap_err().to_string().contains("test window controls"));
    assert!(other.ask(Ask::Resume).unwrap_err().to_string().contains("looking on"));
    other.ask(Ask::Stop { by: "Esc".into() }).unwrap();
    let view = live.until(&mut c, "hold", |v| v.robot.state == "hold" && v.robot.stands);
    assert_eq!(view.robot.why.as_deref(), Some("stopped by Esc (onlooker)"));
    c.ask(Ask::Resume).unwrap();
    live.until(&mut c, "ready again", |v| v.robot.state == "ready");
    // The end of the agent: park, stay stiff, leave.
    live.signal(libc::SIGTERM);
    assert!(live.ended(ms(15_000)).unwrap().success());
    live.judge(90.0);
    assert!(live.holds(), "the arm does not fall because the agent ended");
    let boxes = std::fs::read_dir(live.folder.path().join("black-boxes")).unwrap().count();
    assert!(boxes >= 1, "a stop leaves a black box");
}

#[test]
fn a_program_that_hangs_or_dies_leaves_a_held_arm() {
    let mut live = Live::start();
    let mut c = live.ready();
    c.ask(Ask::Run { mode: Mode::Normal, data: vec![] }).unwrap();
    live.sway(&mut c, ms(1200));
    // It hangs: the connection stays, nothing comes.
    let watcher = live.client("watcher");
    let quiet = Instant::now();
    while watcher.view().is_none_or(|v| v.robot.state != "hold") {
        assert!(quiet.elapsed() < ms(3000), "{:?}", watcher.view().map(|v| v.robot.state));
        std::thread::sleep(ms(10));
    }
    let view = watcher.view().unwrap();
    assert!(view.robot.why.unwrap().contains("silent"));
    // It stays away: the arm parks slowly where it was armed, and holds there.
    let end = Instant::now() + ms(15_000);
    while watcher.view().is_none_or(|v| v.robot.park.as_deref() != Some("parked")) {
        assert!(Instant::now() < end, "{:?}", watcher.view());
        std::thread::sleep(ms(20));
    }
    assert!(live.holds());
    // It comes back, takes control again, runs, and is killed (its connection breaks).
    drop(c);
    let mut c = live.client("second window");
    c.ask(Ask::Lease { key: None }).unwrap();
    live.until(&mut c, "a standing arm", |v| v.robot.stands);
    c.ask(Ask::Resume).unwrap();
    c.ask(Ask::Run { mode: Mode::Normal, data: vec![] }).unwrap();
    live.sway(&mut c, ms(800));
    drop(c);
    let gone = Instant::now();
    while live.standing() < ms(200) {
        assert!(gone.elapsed() < ms(4000), "it still moves");
        std::thread::sleep(ms(10));
    }
    live.judge(90.0);
    // Even the agent may be killed: the motors hold their last goal, and the next agent finds them stiff and limp.
    live.signal(libc::SIGKILL);
    live.ended(ms(3000)).unwrap();
    assert!(live.holds());
    let (agent, address) = Live::agent(&live.folder.path().join("robot.toml"));
    live.agent = agent;
    live.address = address;
    live.arm.arm().trace.clear();
    let mut c = live.client("after");
    c.ask(Ask::Lease { key: None }).unwrap();
    c.ask(Ask::Connect).unwrap();
    let view = live.until(&mut c, "limp", |v| v.robot.state == "limp");
    assert_eq!(view.robot.left_stiff.len(), 6);
    assert!(live.arm.arm().trace.is_empty());
}

#[test]
fn broken_policies_fault_or_hold_and_pulled_cables_come_back_limp() {
    let live = Live::start();
    let mut c = live.ready();
    let here: Vec<f64> = c.view().unwrap().robot.joints.iter().map(|j| j.goal).collect();
    let run_as = |c: &mut Client, mode: Mode| {
        c.heartbeat(true).unwrap();
        c.ask(Ask::Run { mode, data: vec![] }).unwrap();
        let now = c.agent_seconds().unwrap();
        c.propose(1, &live.channels, now, 0.2, &vec![here.clone(); 20]).unwrap();
        live.until(c, "running", |v| v.robot.state == "running");
    };
    let run = |c: &mut Client| run_as(c, Mode::Normal);
    // A policy that joins says nothing of the person: the dead-man key stays as it is held.
    let Tell::Leased { key } = c.ask(Ask::Lease { key: None }).unwrap() else { panic!() };
    run_as(&mut c, Mode::Cautious);
    for _ in 0..12 {
        let mut joins = live.client("policy");
        joins.ask(Ask::Lease { key: Some(key.clone()) }).unwrap();
        c.heartbeat(true).unwrap();
    }
    let view = live.until(&mut c, "news", |v| v.robot.ticks > 0);
    assert_eq!(view.robot.state, "running", "{:?}", view.robot.why);
    c.ask(Ask::Stop { by: "test".into() }).unwrap();
    live.until(&mut c, "hold", |v| v.robot.state == "hold" && v.robot.stands);
    c.ask(Ask::Resume).unwrap();
    live.until(&mut c, "ready", |v| v.robot.state == "ready");
    // A policy beside the window joins with the window's key, and sends a NaN.
    let Tell::Leased { key } = c.ask(Ask::Lease { key: None }).unwrap() else { panic!() };
    run(&mut c);
    let mut policy = live.client("policy");
    policy.ask(Ask::Lease { key: Some(key) }).unwrap();
    assert!(policy.ask(Ask::Arm).is_err(), "a policy may propose and nothing else");
    let mut rows = vec![here.clone(); 5];
    rows[2][1] = f64::NAN;
    let now = c.agent_seconds().unwrap();
    policy.propose(2, &live.channels, now, 0.1, &rows).unwrap();
    let view = live.until(&mut c, "fault", |v| v.robot.state == "fault");
    assert!(view.robot.why.unwrap().contains("action 2 has NaN for shoulder_lift"));
    assert!(live.holds());
    c.ask(Ask::Acknowledge).unwrap();
    live.until(&mut c, "hold", |v| v.robot.state == "hold" && v.robot.stands);
    c.ask(Ask::Resume).unwrap();
    live.until(&mut c, "ready", |v| v.robot.state == "ready");
    // Channels of another robot.
    run(&mut c);
    let mut foreign = live.channels.clone();
    foreign[0] = "waist.pos".into();
    let now = c.agent_seconds().unwrap();
    policy.propose(3, &foreign, now, 0.1, &[here.clone()]).unwrap();
    live.until(&mut c, "hold", |v| v.robot.state == "hold" && v.robot.stands);
    c.ask(Ask::Resume).unwrap();
    // The cable.
    live.arm.arm().plugged = false;
    let view = live.until(&mut c, "fault", |v| v.robot.state == "fault");
    assert!(view.robot.why.unwrap().contains("USB cable"));
    live.arm.arm().plugged = true;
    live.until(&mut c, "limp", |v| v.robot.state == "limp");
    live.judge(90.0);
}

#[test]
fn strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let robot = folder.path().join("robot.toml");
    let token = folder.path().join("token");
    EmulatedArm::new(1).robot_file("arm").write(&robot).unwrap();
    let agent = |extra: &[&str]| {
        let mut c = Command::new(env!("CARGO_BIN_EXE_forerun-agent"));
        c.args(["--robot", robot.to_str().unwrap()])
            .args(extra)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        c.spawn().unwrap()
    };
    let fails = |extra: &[&str], code: i32, words: &str| {
        let out = agent(extra).wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{text}");
    };
    fails(&["--listen", "0.0.0.0:0"], 1, "token");
    fails(&["--listen", "nonsense"], 2, "address");
    fails(&["--bogus"], 2, "--bogus");
    std::fs::write(&token, "short").unwrap();
    let token_path = token.to_str().unwrap().to_string();
    fails(&["--listen", "127.0.0.1:0", "--token-file", &token_path], 1, "32");
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(&token, format!("{secret}\n")).unwrap();
    let mut child = agent(&["--listen", "127.0.0.1:0", "--token-file", &token_path]);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = ready["listen"].as_str().unwrap();
    for wrong in [None, Some(""), Some("0123456789abcdef0123456789abcdeg")] {
        let error = Client::connect(address, wrong, "stranger").err().unwrap().to_string();
        assert!(error.contains("token is wrong"), "{error}");
    }
    assert!(Client::connect(address, Some(secret), "friend").is_ok());
    // Garbage instead of a greeting ends that connection and nothing else.
    let mut raw = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut raw, &[0xff; 64]).unwrap();
    let mut end = Vec::new();
    raw.set_read_timeout(Some(ms(5000))).unwrap();
    let _ = raw.read_to_end(&mut end);
    assert!(Client::connect(address, Some(secret), "friend").is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The emulated arm of `forerun-agent practise` is a whole robot for a person without one.
#[test]
fn an_arm_to_practise_on() {
    let folder = tempfile::tempdir().unwrap();
    let (port, robot): (PathBuf, PathBuf) = (folder.path().join("port"), folder.path().join("robot.toml"));
    let mut arm = Command::new(env!("CARGO_BIN_EXE_forerun-agent"))
        .args(["practise", "--port", port.to_str().unwrap(), "--robot", robot.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(arm.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (mut agent, address) = Live::agent(&robot);
    let mut c = Client::connect(&address, None, "beginner").unwrap();
    c.ask(Ask::Lease { key: None }).unwrap();
    c.ask(Ask::Connect).unwrap();
    let Tell::View(view) = c.ask(Ask::View).unwrap() else { panic!() };
    assert!(view.robot.identity.unwrap().contains("6 STS3215"));
    assert_eq!(view.robot.joints.len(), 6);
    for child in [&mut agent, &mut arm] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
