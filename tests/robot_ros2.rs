//! A robot behind ROS 2: a second process speaks as `rosbridge` does and moves joints as a trajectory controller does.
//! What arrived there is what is judged.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "robot_support/agent.rs"]
mod agent;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::Agent;
use forerun::robot::agent::Client;
use forerun::robot::agent::protocol::{AgentView, Ask};
use forerun::robot::file::{DriverKind, RobotFile, RosFile};
use forerun::robot::numbers::Mode;
use serde_json::{Value, json};
use tungstenite::{Error, Message};

/// Joints as ROS names them there: in another order, and one more.
const THERE: [&str; 7] =
    ["gripper", "wrist_roll", "wheel", "wrist_flex", "elbow_flex", "shoulder_lift", "shoulder_pan"];

/// Not a test of its own: the robot that the next one talks to. Every trajectory is told on its output.
#[test]
#[ignore = "run by the test below"]
fn child_that_is_a_robot() {
    if std::env::var_os("FORERUN_TEST_ROS").is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("\nlistens {}", listener.local_addr().unwrap());
    let (stream, _) = listener.accept().unwrap();
    let mut socket = tungstenite::accept(stream).unwrap();
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (mut at, mut goal) = ([0.1f64; 7], [0.1f64; 7]);
    let (mut subscribed, mut next) = (false, Instant::now());
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let v: Value = serde_json::from_str(&text).unwrap();
                match (v["op"].as_str().unwrap(), v["topic"].as_str().unwrap()) {
                    ("subscribe", "/joint_states") => subscribed = true,
                    ("advertise", "/arm/joint_trajectory") => {
                        assert_eq!(v["type"], "trajectory_msgs/msg/JointTrajectory");
                    }
                    ("publish", "/arm/joint_trajectory") => {
                        println!("{}", v["msg"]);
                        let last = v["msg"]["points"].as_array().unwrap().last().unwrap().clone();
                        for (i, name) in v["msg"]["joint_names"].as_array().unwrap().iter().enumerate() {
                            let place = THERE.iter().position(|n| name == n).unwrap();
                            goal[place] = last["positions"][i].as_f64().unwrap();
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return,
            Ok(_) => {}
            // A process that was stopped and goes on finds its read interrupted.
            Err(Error::Io(e))
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
        if subscribed && Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(10);
            for (at, goal) in at.iter_mut().zip(goal) {
                *at += (goal - *at) * 0.5;
            }
            let message = json!({"op": "publish", "topic": "/joint_states",
                "msg": {"name": THERE, "position": at, "velocity": [], "effort": []}});
            if socket.send(Message::text(message.to_string())).is_err() {
                return;
            }
        }
    }
}

struct Ros {
    child: Child,
    address: String,
    told: std::sync::Arc<std::sync::Mutex<Vec<Value>>>,
}

impl Ros {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_a_robot", "--ignored", "--nocapture"])
            .env("FORERUN_TEST_ROS", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|l| l.strip_prefix("listens ").map(str::to_owned)).unwrap();
        let told: std::sync::Arc<std::sync::Mutex<Vec<Value>>> = std::sync::Arc::default();
        let theirs = std::sync::Arc::clone(&told);
        std::thread::spawn(move || {
            for line in lines {
                if let Ok(v) = serde_json::from_str::<Value>(&line) {
                    theirs.lock().unwrap().push(v);
                }
            }
        });
        Self { child, address, told }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn trajectories(&self) -> Vec<Value> {
        self.told.lock().unwrap().clone()
    }
}

impl Drop for Ros {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(c: &mut Client, what: &str, wanted: impl Fn(&AgentView) -> bool) -> AgentView {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        c.heartbeat(true).unwrap();
        if let Some(view) = c.view().filter(&wanted) {
            return view;
        }
        let now = c.view().map(|v| (v.robot.state, v.robot.why));
        assert!(Instant::now() < end, "waiting for {what}: {now:?} {:?}", c.last_denied);
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_robot_behind_ros_is_driven_within_its_limits_and_held_when_it_falls_silent() {
    let ros = Ros::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("robot.toml");
    let mut robot = RobotFile::tabletop("ros arm", 32);
    robot.driver = DriverKind::Ros2;
    robot.cameras.clear();
    robot.ros = Some(RosFile {
        url: format!("ws://{}", ros.address),
        states: "/joint_states".into(),
        trajectory: "/arm/joint_trajectory".into(),
        ends: [("gripper".to_owned(), [0.0, 1.0])].into(),
    });
    // A busy machine is late now and then.
    robot.watch.bus_hold_cycles = 40;
    robot.watch.bus_fault_ms = 4000;
    robot.watch.silent_hold_ms = 4000;
    robot.watch.silent_park_ms = 9000;
    robot.watch.lease_ms = 9000;
    robot.watch.command_age_ms = 2000;
    robot.raised = Some(robot.name.clone());
    robot.write(&path).unwrap();
    let agent = Agent::start(&path);
    let mut c = Client::connect(&agent.address, None, "test").unwrap();
    c.ask(Ask::Lease { key: None }).unwrap();
    c.ask(Ask::Connect).unwrap();
    let view = until(&mut c, "limp", |v| v.robot.state == "limp" && v.robot.joints[0].position.is_some());
    assert!((view.robot.joints[0].position.unwrap() - 0.1f64.to_degrees()).abs() < 0.01);
    assert!((view.robot.joints[5].position.unwrap() - 10.0).abs() < 0.01, "{:?}", view.robot.joints[5]);
    assert_eq!(view.robot.left_stiff.len(), 6, "its controller holds it, and the person is told");
    assert!(ros.trajectories().is_empty(), "nothing is sent because it was connected");
    c.heartbeat(true).unwrap();
    c.ask(Ask::Arm).unwrap();
    until(&mut c, "ready", |v| v.robot.state == "ready");
    for t in ros.trajectories() {
        let first = t["points"][0]["positions"][0].as_f64().unwrap();
        assert!((first - 0.1).abs() < 0.01, "arming moves nothing: {t}");
    }
    c.ask(Ask::Run { mode: Mode::Normal, data: vec![] }).unwrap();
    let channels = robot.channels();
    let base: Vec<f64> = view.robot.joints.iter().map(|j| j.position.unwrap()).collect();
    let first = c.agent_seconds().unwrap();
    let began = Instant::now();
    let mut number = 0;
    while began.elapsed() < Duration::from_millis(2500) {
        c.heartbeat(true).unwrap();
        let now = c.agent_seconds().unwrap();
        let row = |k: i32| {
            let t = now - first + f64::from(k) * 0.1;
            base.iter().map(|b| b + 10.0 * (t * 2.0).sin()).collect::<Vec<f64>>()
        };
        c.propose(number, &channels, now, 0.1, &(0..15).map(row).collect::<Vec<_>>()).unwrap();
        number += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let view = c.view().unwrap();
    assert_eq!(view.robot.state, "running", "{:?} {:?}", view.robot.why, c.last_denied);
    let sent = ros.trajectories();
    assert!(sent.len() > 50, "{}", sent.len());
    let names: Vec<&str> =
        sent[0]["joint_names"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    assert_eq!(names, robot.joints.iter().map(|j| j.name.as_str()).collect::<Vec<_>>());
    let judge = |sent: &[Value]| {
        let row = |t: &Value, j: usize| t["points"][0]["positions"][j].as_f64().unwrap().to_degrees();
        for (j, joint) in robot.joints.iter().take(5).enumerate() {
            let (low, high) = robot.bounds(joint);
            for w in sent.windows(2) {
                let (a, b) = (row(&w[0], j), row(&w[1], j));
                assert!((low - 0.01..=high + 0.01).contains(&b), "{}: {b}", joint.name);
                // A goal that was not sent yet is replaced by the next one: two ticks at most on a machine that keeps
                // up, a few on one that does not.
                assert!((b - a).abs() <= 90.0 * 0.01 * 1.05 * 8.0, "{}: {} at once", joint.name, b - a);
            }
        }
        let pan: Vec<f64> = sent.iter().map(|t| row(t, 0)).collect();
        pan.iter().fold(f64::MIN, |m, p| m.max(*p)) - pan.iter().fold(f64::MAX, |m, p| m.min(*p))
    };
    let span = judge(&sent);
    assert!(span > 12.0, "{span}");
    for t in &sent {
        let (a, b) = (&t["points"][0], &t["points"][1]);
        assert_eq!(a["positions"], b["positions"], "it ends where it holds");
        assert!(a["time_from_start"]["nanosec"].as_u64() < b["time_from_start"]["nanosec"].as_u64());
    }
    // It falls silent: held, then a fault; nothing is sent into the dark but the braking goals.
    ros.signal("-STOP");
    let view = until(&mut c, "a stop", |v| v.robot.state != "running");
    assert!(view.robot.why.clone().unwrap().contains("motors"), "{:?}", view.robot.why);
    ros.signal("-CONT");
    until(&mut c, "standing", |v| v.robot.stands);
    judge(&ros.trajectories());
    // It is gone: a fault that says so.
    ros.signal("-KILL");
    let view = until(&mut c, "a fault", |v| v.robot.state == "fault" && v.robot.why.is_some());
    let why = view.robot.why.unwrap();
    assert!(why.contains("gone") || why.contains("not answered"), "{why}");
}
