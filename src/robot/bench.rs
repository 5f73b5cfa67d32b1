//! How evenly an agent controls an arm, measured: an agent as a process, a program that beats its heart and sways the
//! arm, and the agent's own histogram of its control periods; for the emulated arm also the times at which goals arrived
//! at its motors.

use std::time::{Duration, Instant};

use super::agent::Client;
use super::agent::child::AgentChild;
use super::agent::protocol::{AgentView, Ask};
use super::file::RobotFile;
use super::numbers::Mode;
use crate::bench::Speed;
use crate::failure::Failure;

/// The arm sways by this much, degrees or per cents, ...
const SWAY: f64 = 8.0;
/// ... once in so many seconds.
const ROUND: f64 = 4.0;
/// How long the arm may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);

fn told(e: impl std::fmt::Display) -> Failure {
    Failure::new(
        format!("The robot's agent says: {e}."),
        "Look at what else this machine is doing, then try again.",
    )
}

/// An emulated arm and its robot file, or the virtual world's.
#[cfg(unix)]
fn emulated(link: &std::path::Path) -> std::io::Result<(super::emulator::PtyArm, RobotFile)> {
    let arm = super::emulator::EmulatedArm::new(1);
    let mut file = arm.robot_file("bench arm");
    file.port.path = Some(link.to_path_buf());
    Ok((super::emulator::PtyArm::start(link, arm)?, file))
}

fn wait(client: &mut Client, state: &str) -> Result<AgentView, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        client.heartbeat(true).map_err(told)?;
        if let Some(view) = client.view() {
            if view.robot.state == state && view.robot.stands {
                return Ok(view);
            }
            if Instant::now() > end || view.robot.state == "fault" {
                return Err(told(format!("{} {}", view.robot.state, view.robot.why.unwrap_or_default())));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sways an arm for some minutes; periods in milliseconds.
///
/// # Errors
/// An unknown arm, an agent that does not start, a run that was stopped: by what, in words.
pub fn control_loop(arm: &str, minutes: f64) -> Result<Speed, Failure> {
    let time = Duration::try_from_secs_f64(minutes.clamp(0.01, 24.0 * 60.0) * 60.0).unwrap_or_default();
    let folder = tempfile::tempdir().map_err(Failure::from_error)?;
    let path = folder.path().join("robot.toml");
    #[cfg(unix)]
    let (pty, file) = match arm {
        "emulator" => {
            let (pty, file) = emulated(&folder.path().join("port")).map_err(Failure::from_error)?;
            (Some(pty), file)
        }
        "tabletop" => (None, RobotFile::tabletop("bench arm", 128)),
        other => return Err(unknown(other)),
    };
    #[cfg(not(unix))]
    let file = match arm {
        "tabletop" => RobotFile::tabletop("bench arm", 128),
        other => return Err(unknown(other)),
    };
    file.write(&path).map_err(Failure::from_error)?;
    let agent = AgentChild::start(&path)?;
    let mut client = Client::connect(&agent.address, None, "bench").map_err(told)?;
    client.ask(Ask::Lease { key: None }).map_err(told)?;
    client.ask(Ask::Connect).map_err(told)?;
    client.heartbeat(true).map_err(told)?;
    client.ask(Ask::Arm).map_err(told)?;
    wait(&mut client, "ready")?;
    client.ask(Ask::Run { mode: Mode::Normal, data: Vec::new() }).map_err(told)?;
    #[cfg(unix)]
    if let Some(pty) = &pty {
        pty.arm().trace.clear();
    }
    let view = sway(&mut client, &file, time)?;
    let [median, p99, longest] = view.period_ms;
    let speed = Speed::default()
        .with("minutes", time.as_secs_f64() / 60.0, "min")
        .with("period_p50_ms", median, "ms")
        .with("period_p99_ms", p99, "ms")
        .with("period_longest_ms", longest, "ms")
        .with("late_ticks", view.late as f64, "ticks more than half a period late")
        .with("bus_failures", view.robot.bus_failures as f64, "cycles")
        .with("bus_retries", view.robot.bus_retries as f64, "requests");
    #[cfg(unix)]
    if let Some(pty) = &pty {
        let times: Vec<Duration> =
            pty.arm().trace.iter().filter(|w| w.register == 42 && w.id == 1).map(|w| w.time).collect();
        let mut gaps: Vec<f64> =
            times.iter().zip(times.iter().skip(1)).map(|(a, b)| (*b - *a).as_secs_f64() * 1e3).collect();
        gaps.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (gaps.len() as f64 * share).ceil() as usize;
            gaps.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        return Ok(speed
            .with("at_the_motors_p50_ms", rank(0.5), "ms")
            .with("at_the_motors_p99_ms", rank(0.99), "ms")
            .with("at_the_motors_longest_ms", rank(1.0), "ms"));
    }
    Ok(speed)
}

fn unknown(arm: &str) -> Failure {
    Failure::new(format!("There is no arm {arm:?} to measure with."), "Choose emulator or tabletop.")
}

/// Beats and proposes until the time is over; the last view of the run.
fn sway(client: &mut Client, file: &RobotFile, time: Duration) -> Result<AgentView, Failure> {
    let channels = file.channels();
    let view = client.view().ok_or_else(|| told("it shows nothing"))?;
    // Away from the ends on which a limp arm lies.
    let base: Vec<f64> = view
        .robot
        .joints
        .iter()
        .map(|j| j.goal.clamp((j.low + SWAY).min(j.high), (j.high - SWAY).max(j.low)))
        .collect();
    let (began, first) = (Instant::now(), client.agent_seconds().unwrap_or(0.0));
    let mut number = 0;
    while began.elapsed() < time {
        client.heartbeat(true).map_err(told)?;
        let now = client.agent_seconds().unwrap_or(first);
        let row = |k: i32| {
            let phase = (now - first + f64::from(k) * 0.1) / ROUND * std::f64::consts::TAU;
            base.iter().map(|b| b + SWAY * phase.sin()).collect::<Vec<f64>>()
        };
        let rows: Vec<Vec<f64>> = (0..20).map(row).collect();
        client.propose(number, &channels, now, 0.1, &rows).map_err(told)?;
        number += 1;
        if let Some(view) = client.view().filter(|v| matches!(v.robot.state.as_str(), "hold" | "fault")) {
            let after = began.elapsed().as_secs_f64();
            return Err(told(format!(
                "{} after {after:.1} s: {}",
                view.robot.state,
                view.robot.why.unwrap_or_default()
            )));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    client.view().ok_or_else(|| told("it shows nothing"))
}
