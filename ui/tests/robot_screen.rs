//! The Robot screen with a real agent and the virtual arm behind it, in real time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::Window;
use eframe::egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable;
use forerun::engine::protocol::{Actions, Event, Reading, Request, Start};
use forerun::robot::file::RobotFile;
use forerun_ui::commands::Command;
use forerun_ui::robot::{Shown, Wish};

const WIDE: [f32; 2] = [1400.0, 900.0];

/// A window whose project has a virtual arm that is patient with a busy machine.
fn window() -> Window {
    let folder = tempfile::tempdir().unwrap();
    let robots = folder.path().join("robots");
    std::fs::create_dir(&robots).unwrap();
    let mut robot = RobotFile::tabletop("virtual arm", 32);
    robot.cameras[0].fps = 2.0;
    robot.cameras[0].required = false;
    robot.watch.silent_hold_ms = 10_000;
    robot.watch.silent_park_ms = 30_000;
    robot.watch.lease_ms = 20_000;
    robot.watch.command_age_ms = 2000;
    robot.watch.starved_fault_ms = 20_000;
    robot.raised = Some(robot.name.clone());
    robot.write(&robots.join("virtual-arm.toml")).unwrap();
    let mut window = Window::in_folder(WIDE, Vec::new(), folder);
    window.answer_start();
    window.app().outbox.command(Command::ShowRobot);
    window.steps(3);
    window
}

/// Steps until the threads have heard what is wanted.
fn until(w: &mut Window, what: &str, wanted: impl Fn(&Shown) -> bool) -> Shown {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        w.steps(1);
        let shown = w.app().robot.shown();
        if wanted(&shown) {
            w.steps(2);
            return shown;
        }
        let state = shown.view.map(|v| (v.robot.state, v.robot.why));
        assert!(Instant::now() < end, "waiting for {what}: {state:?} {:?}", shown.trouble);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn until_state(w: &mut Window, state: &str) -> Shown {
    until(w, state, |s| s.view.as_ref().is_some_and(|v| v.robot.state == state))
}

#[test]
fn a_person_connects_arms_moves_by_hand_and_stops_with_escape() {
    let mut w = window();
    w.harness.get_by_label("No robot is connected");
    assert!(w.harness.query_by_label("Stop").is_none(), "there is nothing to stop");
    w.harness.get_by_label("Virtual arm").click();
    until_state(&mut w, "limp");
    w.harness.get_by_label("Limp");
    until(&mut w, "a picture", |s| s.picture.is_some());
    w.harness.get_by_label("Arm").click();
    until_state(&mut w, "ready");
    // The big Stop is on every screen while the motors hold.
    w.app().outbox.command(Command::ShowWorld);
    w.steps(3);
    w.harness.get_by_label("Stop");
    w.app().outbox.command(Command::ShowRobot);
    w.steps(3);
    w.harness.get_by_label("Move by hand").click();
    until(&mut w, "sliders", |s| s.by_hand);
    let start = w.app().robot.shown().view.unwrap().robot.joints[0].goal;
    w.app().outbox.robot(Wish::Slide(0, start + 8.0));
    until(&mut w, "the joint to follow", |s| {
        s.view.as_ref().is_some_and(|v| v.robot.joints[0].goal > start + 4.0)
    });
    // By keys as well: W lifts, and what it would mean elsewhere it does not mean here.
    let lift = w.app().robot.shown().view.unwrap().robot.joints[1].goal;
    w.harness.key_down(Key::W);
    until(&mut w, "the joint of the key", |s| {
        s.view.as_ref().is_some_and(|v| v.robot.joints[1].goal > lift + 2.0)
    });
    w.harness.key_up(Key::W);
    w.steps(2);
    w.press(Modifiers::NONE, Key::Escape);
    let shown = until_state(&mut w, "hold");
    assert!(shown.view.unwrap().robot.why.unwrap().starts_with("stopped by the keyboard"));
    w.harness.get_by_label("Held");
    // Resume is another gesture; so is Stop by the button.
    until(&mut w, "a standing arm", |s| s.view.as_ref().is_some_and(|v| v.robot.stands));
    w.harness.get_by_label("Resume").click();
    until_state(&mut w, "ready");
    w.harness.get_by_label("Stop").click();
    let shown = until_state(&mut w, "hold");
    assert!(shown.view.unwrap().robot.why.unwrap().starts_with("stopped by the Stop button"));
    // The black box tells what happened.
    w.harness.get_by_label("Black box").click();
    until(&mut w, "the black box", |s| s.replay.as_ref().is_some_and(|r| !r.moments.is_empty()));
    w.steps(3);
    w.harness.get_by_label("Close the black box").click();
    until(&mut w, "the robot again", |s| s.replay.is_none());
    w.harness.get_by_label("Leave").click();
    until(&mut w, "nothing", |s| s.robot.is_none());
    w.steps(3);
    assert!(w.harness.query_by_label("Stop").is_none());
}

#[test]
fn a_joint_shows_which_one_it_is_and_the_model_shows_where_the_arm_is_sent() {
    let mut w = window();
    w.harness.get_by_label("Virtual arm").click();
    until_state(&mut w, "limp");
    assert!(
        w.harness.query_by_label("Show which joint wrist_roll is").is_none(),
        "limp arms are moved by hand"
    );
    w.harness.get_by_label("Arm").click();
    until_state(&mut w, "ready");
    let home = until(&mut w, "a picture", |s| s.picture.is_some()).view.unwrap().robot.joints[4].goal;
    w.harness.get_by_label("Show which joint wrist_roll is").click();
    until(&mut w, "the joint to move", |s| {
        s.view.as_ref().is_some_and(|v| (v.robot.joints[4].goal - home).abs() > 3.0)
    });
    until(&mut w, "the joint to be home", |s| {
        s.view.as_ref().is_some_and(|v| v.robot.stands && (v.robot.joints[4].goal - home).abs() < 0.01)
    });
    // The ghost: the picture of the camera and the goals of the joints go to the engine, what comes back lies over it.
    w.wire.sent();
    w.harness.get_by_label("Imagined next picture").click();
    let asked = |w: &mut Window| {
        let mut found = None;
        let end = Instant::now() + Duration::from_secs(60);
        while found.is_none() {
            assert!(Instant::now() < end, "nothing was asked of the engine");
            w.steps(1);
            found = w.wire.sent().into_iter().find_map(|(r, blobs)| match r {
                Request::Imagine { job, spec } => Some((job, spec, blobs)),
                _ => None,
            });
        }
        found.unwrap()
    };
    let (job, spec, blobs) = asked(&mut w);
    let Start::Blobs { sizes, states, .. } = &spec.start else { panic!() };
    assert_eq!((sizes[0], blobs[0].len(), states[0].len()), ((32, 32), 32 * 32 * 3, 6));
    let Actions::Track { channels, rows } = &spec.actions else { panic!() };
    assert_eq!((channels[4].as_str(), rows.len()), ("wrist_roll.pos", spec.steps));
    assert!(rows.iter().all(|r| (f64::from(r[4]) - home).abs() < 0.1), "{rows:?}");
    assert!(w.app().ghost.frame.is_none());
    for index in 0..=spec.steps {
        let reading = Reading { values: Vec::new() };
        let event =
            Event::FutureFrame { job, seed: 0, index, width: common::SIDE, height: common::SIDE, reading };
        w.wire.tell(event, vec![common::picture(index as u8)]);
    }
    w.done(job);
    w.steps(3);
    assert_eq!(w.app().ghost.frame.as_ref().unwrap().data[0], spec.steps as u8, "the last one");
    assert!(w.app().runs.shown().is_none(), "it is no future of the World screen");
    // The next one is asked for at once; one that fails ends it.
    let (job, ..) = asked(&mut w);
    w.wire.tell(Event::Failed { job, message: "No model.".into(), advice: String::new() }, Vec::new());
    w.steps(3);
    assert!(!w.app().ghost.on && w.app().ghost.frame.is_none());
}

#[test]
fn a_window_that_hangs_is_noticed_by_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let robots = folder.path().join("robots");
    std::fs::create_dir(&robots).unwrap();
    let mut robot = RobotFile::tabletop("virtual arm", 32);
    robot.cameras.clear();
    robot.watch.silent_hold_ms = 3000;
    robot.watch.silent_park_ms = 30_000;
    robot.watch.lease_ms = 4000;
    robot.raised = Some(robot.name.clone());
    robot.write(&robots.join("virtual-arm.toml")).unwrap();
    let mut w = Window::in_folder(WIDE, Vec::new(), folder);
    w.answer_start();
    w.app().outbox.command(Command::ShowRobot);
    w.steps(3);
    w.harness.get_by_label("Virtual arm").click();
    until_state(&mut w, "limp");
    w.harness.get_by_label("Arm").click();
    until_state(&mut w, "ready");
    // The window's loop stands still; its threads go on, and must not pretend that a person is there.
    std::thread::sleep(Duration::from_secs(6));
    let shown = until_state(&mut w, "hold");
    assert!(shown.view.unwrap().robot.why.unwrap().contains("silent"));
    // It has lost control meanwhile, and takes it again when a person asks for something.
    until(&mut w, "a standing arm", |s| s.view.as_ref().is_some_and(|v| v.robot.stands));
    w.harness.get_by_label("Resume").click();
    until_state(&mut w, "ready");
}

#[test]
fn what_cannot_be_reached_is_said_in_words() {
    let mut w = window();
    w.app().robot_view.address = "127.0.0.1:1".into();
    w.steps(2);
    w.harness.get_by_label("Connect").click();
    let shown = until(&mut w, "an error", |s| s.trouble.is_some());
    assert!(shown.trouble.unwrap().contains("Is forerun-agent running"));
}
