//! Episodes that a person shows an arm, through its agent: guided by hand while it is limp, moved by targets while it runs,
//! kept, discarded, and what is left when the agent is killed. On the emulated SO-101's serial bus.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "robot_support/agent.rs"]
mod agent;
mod robot_support;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agent::{Agent, patient};
use forerun::dataset::Dataset;
use forerun::robot::agent::Client;
use forerun::robot::agent::protocol::{Ask, Tell};
use forerun::robot::emulator::{EmulatedArm, PtyArm};
use forerun::robot::file::{CameraFile, RobotFile};
use forerun::robot::numbers::Mode;
use forerun::robot::push::record::Recorder;
use robot_support::Eyes;

/// Pictures a second of the camera, so moments a second of what is shown.
const FPS: f64 = 2.0;

/// An emulated arm with a camera, and its agent as a process.
struct Bench {
    dir: tempfile::TempDir,
    arm: PtyArm,
    robot: RobotFile,
    agent: Agent,
    _eyes: Eyes,
    _alone: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        // One arm in real time at a time.
        static ONE: Mutex<()> = Mutex::new(());
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let emulated = EmulatedArm::new(3);
        let mut robot = emulated.robot_file("desk arm");
        robot.port.path = Some(dir.path().join("port"));
        let eye = dir.path().join("front.png");
        robot.cameras = vec![CameraFile {
            name: "front".into(),
            // A picture counts as late after two periods; the machine may be busy for one.
            fps: FPS,
            width: 32,
            height: 32,
            required: true,
            source: Some(format!("file:{}", eye.display())),
        }];
        patient(&mut robot);
        let file = dir.path().join("robot.toml");
        robot.write(&file).unwrap();
        let arm = PtyArm::start(&dir.path().join("port"), emulated).unwrap();
        let agent = Agent::start(&file);
        Self { _eyes: Eyes::open(eye), dir, arm, robot, agent, _alone: alone }
    }

    fn set(&self) -> PathBuf {
        self.dir.path().join("shown")
    }

    /// The program that controls.
    fn controller(&self) -> Client {
        let mut client = Client::connect(&self.agent.address, None, "a person").unwrap();
        client.ask(Ask::Lease { key: None }).unwrap();
        client.ask(Ask::Connect).unwrap();
        self.until(&mut client, "limp");
        client
    }

    fn until(&self, client: &mut Client, state: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            client.heartbeat(true).unwrap();
            let Tell::View(view) = client.ask(Ask::View).unwrap() else { panic!("no view") };
            if view.robot.state == state {
                return;
            }
            assert!(Instant::now() < end, "it is {}, not {state}: {:?}", view.robot.state, view.robot.why);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn begin(&self, task: &str) -> Recorder {
        Recorder::begin(&self.agent.address, None, &self.robot, &self.set(), task).unwrap()
    }

    /// Waits for this many moments; `meanwhile` is called again and again.
    fn collect(&self, recorder: &Recorder, frames: usize, mut meanwhile: impl FnMut()) {
        let end = Instant::now() + Duration::from_secs(60);
        while recorder.progress().frames < frames {
            assert!(Instant::now() < end, "only {:?}", recorder.progress());
            meanwhile();
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A channel of an episode, action and state.
fn channel(set: &Path, episode: usize, name: &str) -> (Vec<f32>, Vec<f32>) {
    let episode = Dataset::open(set).unwrap().episode(episode).unwrap();
    let of = |m: Option<&forerun::dataset::Matrix>| {
        let m = m.unwrap();
        let column = m.column(name).unwrap();
        (0..m.rows()).map(|t| m.row(t)[column]).collect::<Vec<f32>>()
    };
    (of(episode.actions()), of(episode.state()))
}

fn span(values: &[f32]) -> f32 {
    values.iter().fold(f32::MIN, |m, v| m.max(*v)) - values.iter().fold(f32::MAX, |m, v| m.min(*v))
}

#[test]
fn what_a_person_shows_is_kept_or_discarded() {
    let bench = Bench::new();
    let mut client = bench.controller();
    // A hand turns the first joint of the limp arm.
    let guided = bench.begin("turn it by hand");
    bench.collect(&guided, 6, || {
        bench.arm.arm().servos[0].angle += 6.0;
        client.heartbeat(false).unwrap();
    });
    assert!(guided.progress().seconds > 1.0 && !guided.progress().full);
    let frames = guided.finish().unwrap();
    assert!(frames >= 6);
    let set = Dataset::open(&bench.set()).unwrap();
    assert_eq!((set.len(), set.fps()), (1, FPS));
    let about = set.episode(0).unwrap();
    assert_eq!((about.task.as_str(), about.length), ("turn it by hand", frames));
    let (action, state) = channel(&bench.set(), 0, "shoulder_pan.pos");
    assert!(span(&state) > 3.0, "the hand's motion is in the state: {state:?}");
    assert_eq!(action[..frames - 1], state[1..], "what a hand did is where the joint went next");

    // The next one is a failed try: forgotten, and the first stays as it is.
    let failed = bench.begin("a slip");
    bench.collect(&failed, 3, || client.heartbeat(false).unwrap());
    drop(failed);
    assert_eq!(Dataset::open(&bench.set()).unwrap().len(), 1);

    // Moved by targets: what it was sent is its action.
    client.ask(Ask::Arm).unwrap();
    bench.until(&mut client, "ready");
    client.ask(Ask::Run { mode: Mode::Normal, data: Vec::new() }).unwrap();
    let moved = bench.begin("turn it by sliders");
    let mut goal = None;
    bench.collect(&moved, 6, || {
        client.heartbeat(true).unwrap();
        let Tell::View(view) = client.ask(Ask::View).unwrap() else { panic!("no view") };
        assert_eq!(view.robot.state, "running", "{:?}", view.robot.why);
        let pan = goal.get_or_insert(view.robot.joints[0].goal);
        *pan += if *pan > 0.0 { -0.6 } else { 0.6 };
        let pose = view.robot.joints.iter().enumerate();
        let pose = pose.map(|(i, j)| (j.name.clone(), if i == 0 { *pan } else { j.goal })).collect();
        client.ask(Ask::Target { pose }).unwrap();
    });
    moved.finish().unwrap();
    client.ask(Ask::Stop { by: "the test".into() }).unwrap();
    assert_eq!(Dataset::open(&bench.set()).unwrap().len(), 2);
    let (action, state) = channel(&bench.set(), 1, "shoulder_pan.pos");
    assert!(span(&action) > 1.0 && span(&state) > 0.5, "{action:?} {state:?}");
    assert_ne!(action[..action.len() - 1], state[1..], "goals, not what came of them");
}

#[test]
fn a_killed_agent_loses_no_episode() {
    let mut bench = Bench::new();
    let mut client = bench.controller();
    let first = bench.begin("one");
    bench.collect(&first, 4, || client.heartbeat(false).unwrap());
    let frames = first.progress().frames;
    bench.agent.child.kill().unwrap();
    bench.agent.child.wait().unwrap();
    // What was seen before the agent died is an episode.
    assert!(first.finish().unwrap() >= frames.min(4));
    let bytes = |set: &Path| std::fs::read(set.join("meta/info.json")).unwrap();
    let kept = bytes(&bench.set());
    assert_eq!(Dataset::open(&bench.set()).unwrap().len(), 1);
    // Nothing of a running episode is in the dataset, so nothing of it can break what is there.
    let gone = Recorder::begin(&bench.agent.address, None, &bench.robot, &bench.set(), "two");
    assert!(gone.is_err(), "there is no agent any more");
    assert_eq!(bytes(&bench.set()), kept);
}

#[test]
fn episodes_of_another_robot_are_refused_before_anything_is_shown() {
    let bench = Bench::new();
    let mut client = bench.controller();
    let first = bench.begin("one");
    bench.collect(&first, 2, || client.heartbeat(false).unwrap());
    first.finish().unwrap();
    let mut other = bench.robot.clone();
    other.cameras[0].width = 64;
    let told = Recorder::begin(&bench.agent.address, None, &other, &bench.set(), "two").err().unwrap().text();
    assert!(told.contains("Choose a new folder"), "{told}");
    other.cameras.clear();
    let told = Recorder::begin(&bench.agent.address, None, &other, &bench.set(), "two").err().unwrap().text();
    assert!(told.contains("no camera"), "{told}");
}
