//! Robots by mouse in the real program: a policy of the project goes on the virtual arm in real time, then on an emulated
//! SO-101; the window, its engine and its heart are killed and stopped while an arm moves. What arrived at the motors is
//! what is judged.
//!
//! Needs a display (CI starts Xvfb). Without one it is skipped with a line on stderr, but where `CI` is set it fails.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driven;
#[path = "../robot_support/mod.rs"]
mod robot_support;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use driven::{Driven, children, display, runs, signal};
use eframe::egui::accesskit::Role;
use forerun::dataset::Dataset;
use forerun::robot::bundle::{SigningKey, Stage, Store, from_policy};
use forerun::robot::emulator::servo::Servo;
use forerun::robot::emulator::{EmulatedArm, PtyArm};
use forerun::robot::file::{CameraFile, RobotFile};
use forerun::robot::numbers::Mode;
use forerun::robot::push::{Installed, store_of};
use robot_support::{Eyes, judge, last_motion};

/// One window and one arm at a time: two would wait for each other's processor.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A project with a trained policy, the virtual arm and an emulated SO-101.
struct Bench {
    project: tempfile::TempDir,
    own: tempfile::TempDir,
    arm: PtyArm,
    so101: RobotFile,
    _eyes: Eyes,
    _alone: MutexGuard<'static, ()>,
}

/// Numbers for a machine that has little time for its window: how long it may be silent, milliseconds.
fn patient(robot: &mut RobotFile, silent_ms: u64) {
    robot.port.answer_ms = 20;
    robot.watch.silent_hold_ms = silent_ms;
    robot.watch.silent_park_ms = silent_ms + 2500;
    robot.watch.lease_ms = 20_000;
    robot.watch.command_age_ms = 2000;
    robot.watch.starved_fault_ms = 8000;
    robot.watch.bus_hold_cycles = 40;
    robot.watch.bus_fault_ms = 5000;
    robot.raised = Some(robot.name.clone());
}

impl Bench {
    fn new(silent_ms: u64) -> Self {
        let alone = alone();
        let project = tempfile::Builder::new().prefix("push-study-").tempdir().unwrap();
        let own = tempfile::tempdir().unwrap();
        let robots = project.path().join("robots");
        std::fs::create_dir(&robots).unwrap();
        robot_support::so101_policy(&project.path().join("policies/push"));
        let camera = |source: &str| CameraFile {
            name: "front".into(),
            fps: 1.0,
            width: 128,
            height: 128,
            required: true,
            source: Some(source.into()),
        };
        let mut virtual_arm = RobotFile::tabletop("virtual arm", 128);
        virtual_arm.cameras = vec![camera("tabletop")];
        patient(&mut virtual_arm, silent_ms);
        virtual_arm.write(&robots.join("virtual-arm.toml")).unwrap();
        let emulated = EmulatedArm::new(3);
        let mut so101 = emulated.robot_file("desk arm");
        so101.port.path = Some(own.path().join("port"));
        let eye = own.path().join("front.png");
        so101.cameras =
            vec![CameraFile { width: 32, height: 32, ..camera(&format!("file:{}", eye.display())) }];
        patient(&mut so101, silent_ms);
        so101.write(&robots.join("desk-arm.toml")).unwrap();
        let arm = PtyArm::start(&own.path().join("port"), emulated).unwrap();
        let setup =
            r#"{ "format": 1, "view": { "size": [1380.0, 860.0] }, "setup": { "futures": 1, "steps": 4 } }"#;
        std::fs::create_dir(project.path().join(".forerun")).unwrap();
        std::fs::write(project.path().join(".forerun/window.json"), setup).unwrap();
        Self { _eyes: Eyes::open(eye), project, own, arm, so101, _alone: alone }
    }

    fn file(&self) -> PathBuf {
        self.project.path().join("robots/desk-arm.toml")
    }

    /// Installs the policy on the SO-101 and skips to the last stage, as a person who knows why would.
    fn install(&self) {
        let key = SigningKey::open_or_create(&self.own.path().join("key")).unwrap();
        let store = Store::open(&store_of(&self.file())).unwrap();
        store.trust(&key.public()).unwrap();
        let bundle = self.own.path().join("push.bundle");
        from_policy::pack(&self.project.path().join("policies/push"), &self.so101, &bundle, &key).unwrap();
        let mut installed = Installed::install(&bundle, &self.so101, store).unwrap();
        for stage in [Stage::Replay, Stage::Rehearse, Stage::Shadow, Stage::Cautious] {
            installed.progress.skip(stage, "desk arm").unwrap();
        }
        installed.save().unwrap();
    }

    fn window(&self) -> Driven {
        let mut w = Driven::on(self.project.path(), self.own.path());
        w.click_role(Some(Role::Button), "Robot");
        w
    }

    /// A window in which a policy moves the SO-101.
    fn moving(&self) -> Driven {
        let mut w = self.window();
        w.click("Connect to desk-arm");
        w.click("Run Normal");
        let end = Instant::now() + driven::PATIENCE;
        w.wait("a run", |w| w.has("The arm follows what is proposed"));
        let began = self.arm.now();
        while self.last_motion() < began + Duration::from_millis(600) {
            assert!(Instant::now() < end, "the policy does not move the arm");
            std::thread::sleep(Duration::from_millis(20));
        }
        w
    }

    /// When the goals changed last, by the emulated arm's clock.
    fn last_motion(&self) -> Duration {
        last_motion(&self.arm.arm().trace)
    }

    fn judge(&self) {
        judge(&self.so101, &self.arm.arm().trace, Mode::Normal);
    }

    fn holds(&self) -> bool {
        self.arm.arm().servos.iter().all(Servo::holds)
    }

    /// Waits until the goals have stood for a while; when they came to stand.
    fn until_still(&self) -> Duration {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let (last, now) = (self.last_motion(), self.arm.now());
            if now > last + Duration::from_millis(700) {
                return last;
            }
            assert!(Instant::now() < end, "it still moves");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn gone(pid: u32) {
    let end = Instant::now() + Duration::from_secs(25);
    while runs(pid) {
        assert!(Instant::now() < end, "process {pid} still runs");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Skips the stage that comes next, by typing the robot's name.
fn skip(w: &mut Driven, robot: &str, next: &str) {
    if w.find(Some(Role::TextInput), "Skip this stage").is_none() {
        w.click("Skip this stage");
    }
    w.wait("the field", |w| w.find(Some(Role::TextInput), "Skip this stage").is_some());
    w.fill_in("Skip this stage", robot);
    w.click("Skip");
    w.wait(next, |w| w.find(None, next).is_some());
}

#[test]
fn a_policy_goes_on_the_virtual_arm_and_then_on_an_so101() {
    if !display() {
        return;
    }
    let bench = Bench::new(6000);
    let mut w = bench.window();
    w.wait("the robots of the project", |w| w.has("Connect to desk-arm"));
    w.picture("robot-connect");
    w.click("Virtual arm");
    w.wait("a limp arm", |w| {
        w.has("The motors are only read") && w.find(Some(Role::Image), "front").is_some()
    });
    // From the trained policy to a signed bundle on this robot.
    w.click("Pack push");
    w.wait("the checklist", |w| w.find(None, "Run Replay").is_some());
    w.picture("robot-bundle");
    skip(&mut w, "virtual arm", "Run Rehearse");
    skip(&mut w, "virtual arm", "Run Shadow");
    skip(&mut w, "virtual arm", "Run Cautious");
    // Cautious: it moves while the button is held, and stops when it is let go.
    w.click("Run Cautious");
    let at = w.press_down("Hold to move");
    w.wait("a run", |w| w.has("The arm follows what is proposed"));
    w.picture("robot-cautious");
    std::thread::sleep(Duration::from_millis(800));
    let up = w.button(at, false);
    w.events(vec![up]);
    w.wait("the end of the run", |w| w.has("the dead-man key was let go"));
    w.wait("the end of the stage", |w| w.find(None, "Run Cautious").is_some());
    skip(&mut w, "virtual arm", "Run Normal");
    w.click("Run Normal");
    w.wait("a run", |w| w.has("The arm follows what is proposed"));
    w.picture("robot-virtual");
    w.click("Stop");
    w.wait("a stop", |w| w.has("stopped by"));
    // A run that was stopped does not count: the stage before comes again.
    w.wait("the end of the run", |w| w.find(None, "Run Cautious").is_some());
    w.click("Leave");
    // The same policy on the SO-101: packed for it, and from the first stage again.
    w.click("Connect to desk-arm");
    w.wait("a limp arm", |w| w.has("The motors are only read"));
    assert!(bench.arm.arm().trace.is_empty(), "nothing is written because it was connected");
    w.click("Pack push");
    w.wait("the checklist", |w| w.find(None, "Run Replay").is_some());
    for next in ["Run Rehearse", "Run Shadow", "Run Cautious", "Run Normal"] {
        skip(&mut w, "desk arm", next);
    }
    w.click("Run Normal");
    w.wait("a run", |w| w.has("The arm follows what is proposed"));
    std::thread::sleep(Duration::from_millis(800));
    w.picture("robot-so101");
    let pressed = bench.arm.now();
    w.click("Stop");
    w.wait("a stop", |w| w.has("stopped by"));
    assert!(bench.last_motion() > Duration::ZERO && bench.arm.now() > pressed && bench.holds());
    bench.judge();
    w.wait("the end of the stage", |w| w.find(None, "Run Cautious").is_some());
    w.picture("robot-stopped");
    bench.judge();
}

#[test]
fn a_killed_engine_does_not_disturb_an_arm_and_a_killed_window_leaves_it_held() {
    if !display() {
        return;
    }
    let bench = Bench::new(6000);
    bench.install();
    let mut w = bench.moving();
    // The engine: the arm goes on as its policy says, the window stays, Stop works.
    // One that dies within its first two seconds is started again only when it is wanted.
    std::thread::sleep(Duration::from_millis(2500));
    // The oldest one serves the screens; the policy thinks in one of its own.
    let engine = children(w.child.id(), "engine").into_iter().min().expect("an engine");
    // Stopped, it says nothing any more; the arm does not need it.
    signal(engine, "-STOP");
    let stopped = bench.arm.now();
    w.wait("the run to go on", |w| w.has("Stop") && bench.arm.now() > stopped + Duration::from_secs(1));
    assert!(bench.last_motion() > stopped, "the arm stood still without the engine");
    bench.judge();
    signal(engine, "-KILL");
    gone(engine);
    let killed = bench.arm.now();
    w.wait("another engine", |w| children(w.child.id(), "engine").len() == 2);
    w.wait("the run to go on", |w| w.has("Stop") && bench.arm.now() > killed + Duration::from_millis(500));
    bench.judge();
    let agent = children(w.child.id(), "forerun-agent").pop().expect("an agent");
    w.click("Stop");
    bench.until_still();
    bench.judge();
    assert!(bench.holds() && runs(agent));
    w.wait("the end of the stage", |w| w.find(None, "Run Cautious").is_some());
    skip(&mut w, "desk arm", "Run Normal");
    // The window: its agent parks the arm, holds it, and ends.
    w.click("Run Normal");
    w.wait("a run", |w| w.has("The arm follows what is proposed"));
    let engine = children(w.child.id(), "engine");
    signal(w.child.id(), "-KILL");
    w.child.wait().unwrap();
    gone(agent);
    engine.into_iter().for_each(gone);
    bench.judge();
    assert!(bench.holds(), "the arm does not fall because its programs are gone");
    let last = bench.until_still();
    assert!(bench.arm.now() > last);
}

#[test]
fn a_policy_whose_process_is_killed_leaves_a_held_arm() {
    if !display() {
        return;
    }
    let bench = Bench::new(6000);
    bench.install();
    let mut w = bench.moving();
    let screens = children(w.child.id(), "engine").into_iter().min().expect("an engine");
    let thinks = children(w.child.id(), "engine").into_iter().find(|pid| *pid != screens);
    signal(thinks.expect("the policy's own process"), "-KILL");
    w.wait("the end of the stage, and why", |w| w.has("no fresh action from the policy (the policy: "));
    bench.until_still();
    bench.judge();
    assert!(bench.holds() && runs(screens), "the arm is held, and the screens go on");
    w.wait("no clean run", |w| w.has("Normal: does not count"));
}

#[test]
fn a_stopped_window_is_a_silent_one() {
    if !display() {
        return;
    }
    const SILENT: u64 = 1500;
    let bench = Bench::new(SILENT);
    bench.install();
    let mut w = bench.moving();
    let agent = children(w.child.id(), "forerun-agent").pop().expect("an agent");
    let engine = children(w.child.id(), "engine");
    signal(w.child.id(), "-STOP");
    let stopped = bench.arm.now();
    // Held after the time of silence and braking; a busy machine gets a second.
    let end = Instant::now() + Duration::from_millis(SILENT + 1500);
    let mut still = None;
    while Instant::now() < end {
        let (last, now) = (bench.last_motion(), bench.arm.now());
        if now > last + Duration::from_millis(400) && still.is_none() {
            still = Some(last);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let still = still.expect("it moves on without its window");
    assert!(still <= stopped + Duration::from_millis(SILENT + 1000), "{still:?} {stopped:?}");
    // Then it parks slowly and stays stiff; the agent is there for whoever comes.
    std::thread::sleep(Duration::from_millis(2500));
    bench.judge();
    assert!(bench.holds() && runs(agent));
    // A window that never wakes is killed in the end, and leaves nothing running.
    signal(w.child.id(), "-KILL");
    w.child.wait().unwrap();
    gone(agent);
    engine.into_iter().for_each(gone);
    bench.judge();
    assert!(bench.holds());
}

#[test]
fn episodes_that_a_person_shows_are_recorded_on_the_data_screen() {
    if !display() {
        return;
    }
    let bench = Bench::new(4000);
    let mut w = bench.window();
    w.click_role(Some(Role::Button), "Data");
    w.click("Record from a robot");
    w.click("Connect to desk-arm");
    w.wait("the limp arm", |w| w.has("guide it by hand"));
    w.fill_in("What is done", "turn it by hand");
    w.click("Record episode");
    // A hand turns the first joint.
    w.wait("some pictures", |w| {
        bench.arm.arm().servos[0].angle += 4.0;
        w.has("Recording: 3.0 s, 3 pictures")
    });
    w.picture("record-robot");
    w.click("Keep episode");
    let set = bench.project.path().join("datasets/robot");
    w.wait("the episode on disk", |w| w.has("frames recorded"));
    let opened = Dataset::open(&set).unwrap();
    assert_eq!((opened.len(), opened.episode(0).unwrap().task.as_str()), (1, "turn it by hand"));
    w.wait("the episode in the list", |w| w.find(Some(Role::Button), "Episode 0").is_some());
    w.click("Record episode");
    w.wait("a picture", |w| w.has("1 pictures"));
    w.click("Discard");
    w.wait("the end of the try", |w| w.find(None, "Record episode").is_some());
    assert_eq!(Dataset::open(&set).unwrap().len(), 1, "a discarded try leaves nothing");
    w.picture("record-robot-kept");
}
