//! The engine as a child process: it answers, it may be killed, and the next request still runs.

use std::time::{Duration, Instant};

use forerun::engine::EngineClient;
use forerun::engine::protocol::{Event, Request};

use crate::support::{Home, exe};

/// Waits for an event that `wanted` picks; the ones before it are dropped.
pub fn wait_for<T>(client: &EngineClient, wanted: impl Fn(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        if let Some(packet) = client.recv_timeout(Duration::from_millis(200)) {
            if let Some(found) = wanted(&packet.message) {
                return found;
            }
            seen.push(format!("{:?}", packet.message));
        }
    }
    panic!("never came; seen: {seen:#?}");
}

pub fn ready(client: &EngineClient) {
    wait_for(client, |event| matches!(event, Event::Ready { .. }).then_some(()));
}

pub fn kill(client: &EngineClient) {
    let pid = client.child_pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

#[test]
fn a_child_answers_and_leaves_when_the_client_goes() {
    let client = EngineClient::spawn_child(exe()).unwrap();
    ready(&client);
    let job = client.next_job();
    client.send(Request::ListModels { job, project: None }, vec![]);
    wait_for(&client, |event| matches!(event, Event::Models { job: j, .. } if *j == job).then_some(()));
    wait_for(&client, |event| matches!(event, Event::Done { job: j, .. } if *j == job).then_some(()));
    assert!(client.unfinished().is_empty());
    let pid = client.child_pid().unwrap();
    drop(client);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(Instant::now() < deadline, "the child stayed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(unix)]
#[test]
fn a_killed_engine_is_told_and_the_next_request_runs() {
    let client = EngineClient::spawn_child(exe()).unwrap();
    ready(&client);
    kill(&client);
    let reason = wait_for(&client, |event| match event {
        Event::EngineGone { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("killed"), "{reason}");
    let job = client.next_job();
    client.send(Request::ListModels { job, project: None }, vec![]);
    ready(&client);
    wait_for(&client, |event| matches!(event, Event::Done { job: j, .. } if *j == job).then_some(()));
}

#[test]
fn a_program_that_is_no_engine_is_told_and_does_not_spin() {
    let home = Home::new();
    let missing = EngineClient::spawn_child(&home.path("nothing-here")).unwrap();
    let job = missing.next_job();
    missing.send(Request::ListModels { job, project: None }, vec![]);
    wait_for(&missing, |event| matches!(event, Event::Failed { job: j, .. } if *j == job).then_some(()));
    let reason = wait_for(&missing, |event| match event {
        Event::EngineGone { reason, restarting: false } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("nothing-here"), "{reason}");

    // Speaks, but no message of ours.
    let noise = EngineClient::spawn_command(exe(), &["--help".into()]).unwrap();
    let reason = wait_for(&noise, |event| match event {
        Event::EngineGone { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("no Forerun message"), "{reason}");
    std::thread::sleep(Duration::from_millis(500));
    let mut again = 0;
    while noise.try_recv().is_some() {
        again += 1;
    }
    assert_eq!(again, 0, "it was started again and again");
}

#[test]
fn the_bell_rings_when_events_wait() {
    let client = EngineClient::spawn_child(exe()).unwrap();
    let (ring, rung) = std::sync::mpsc::channel();
    client.set_notifier(move || {
        let _ = ring.send(());
    });
    rung.recv_timeout(Duration::from_secs(5)).unwrap();
    ready(&client);
    client.send(Request::ListModels { job: 1, project: None }, vec![]);
    rung.recv_timeout(Duration::from_secs(20)).unwrap();
}
