//! The control loop: absolute deadlines, the safety layer's tick, then everything else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::clock::{Clock, Time};
use super::super::driver::Driver;
use super::super::file::{OnQuit, RobotFile, RobotFileError};
use super::super::safety::states::Denied;
use super::super::safety::{AnyRobot, Robot};
use super::cameras::Pictures;
use super::lease::Lease;
use super::period::Periods;
use super::protocol::{AgentView, Tell};
use super::server::{Incoming, ListenError, Peer, Server};

/// How an agent is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The robot file.
    pub robot: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Secret that clients must know; needed beyond this machine.
    pub token: Option<String>,
    /// Folder for black boxes.
    pub boxes: PathBuf,
}

/// Why an agent ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The robot file.
    #[error(transparent)]
    File(#[from] RobotFileError),
    /// The connection for clients.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The driver cannot be made here.
    #[error("{0}")]
    Driver(String),
    /// The torque could not be released at the end.
    #[error("the arm could not be released: {0}")]
    Release(#[from] Denied),
}

/// Makes the driver of a robot file; called again when the file changed.
pub type MakeDriver = Box<dyn Fn(&RobotFile) -> Result<Box<dyn Driver>, AgentError> + Send>;

/// After a fault a gone port is tried again this often.
const RECONNECT: Duration = Duration::from_millis(500);
/// Parking at the end may take this long.
const QUIT_PARK: Duration = Duration::from_secs(5);
/// Messages that are looked at in one tick.
const MESSAGES: usize = 64;

/// An agent: a robot, its clients and its clock.
pub struct Agent {
    pub(super) options: Options,
    pub(super) make_driver: MakeDriver,
    pub(super) robot: Option<AnyRobot>,
    pub(super) lease: Lease,
    pub(super) peers: HashMap<u64, Peer>,
    pub(super) rules: Option<super::super::safety::states::RunRules>,
    pub(super) box_number: u32,
    pub(super) pictures: Pictures,
    clock: Arc<dyn Clock>,
    server: Server,
    periods: Periods,
    reconnected: Time,
    state: &'static str,
}

impl Agent {
    /// Reads the robot file and starts to listen. Nothing is opened yet.
    pub fn new(options: Options, clock: Arc<dyn Clock>, make_driver: MakeDriver) -> Result<Self, AgentError> {
        let file = RobotFile::read(&options.robot)?;
        let text = toml::to_string(&file).map_err(|e| RobotFileError::Wrong { why: e.to_string() })?;
        let server = Server::start(options.listen, options.token.clone(), text, &options.robot)?;
        let driver = make_driver(&file)?;
        let pictures = Pictures::start(&file, driver.eye(), &clock);
        let period = Duration::from_secs_f64(1.0 / file.rates.control_hz);
        Ok(Self {
            robot: Some(Robot::new(file, driver).into()),
            options,
            make_driver,
            lease: Lease::default(),
            peers: HashMap::new(),
            rules: None,
            box_number: 0,
            pictures,
            clock,
            server,
            periods: Periods::new(period),
            reconnected: Time::ZERO,
            state: "disconnected",
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// By which clients beyond this machine know it; `None` on this machine, where there is no TLS.
    pub fn fingerprint(&self) -> Option<String> {
        self.server.fingerprint.clone()
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Replaces the robot by what `f` makes of it.
    pub(super) fn change<T>(&mut self, f: impl FnOnce(AnyRobot, Time) -> (AnyRobot, T)) -> Option<T> {
        let now = self.clock.now();
        let (robot, out) = f(self.robot.take()?, now);
        self.robot = Some(robot);
        Some(out)
    }

    /// Runs until `quit` is raised (1: park and end; 2 or more: stop and end at once).
    pub fn run(mut self, quit: &AtomicUsize) -> Result<(), AgentError> {
        super::priority::before_others();
        let rates = self.robot.as_ref().map_or_else(Default::default, |r| r.file().rates);
        let period = Duration::from_secs_f64(1.0 / rates.control_hz);
        let telemetry = Duration::from_secs_f64(1.0 / rates.telemetry_hz);
        let mut next = self.clock.now();
        let mut shown = next;
        let mut asked_to_quit = None;
        loop {
            self.clock.sleep_until(next);
            let now = self.clock.now();
            self.periods.tick(now);
            if let Some(by) = self.server.stop.take() {
                self.change(|r, now| (r.stop(now, &by), ()));
            }
            self.hear();
            self.look();
            self.check_lease(now);
            self.change(|r, now| (r.tick(now), ()));
            self.look_after_port(now);
            self.notice_state(now);
            if now >= shown {
                self.show(now);
                shown = now + telemetry;
            }
            let quits = quit.load(Ordering::Relaxed);
            if quits > 0 {
                let since = *asked_to_quit.get_or_insert_with(|| {
                    self.change(|r, now| (r.park(now, "the end of the agent"), ()));
                    now
                });
                if quits > 1 || self.may_end(now.saturating_sub(since)) {
                    return self.end();
                }
            }
            // Missed deadlines are skipped, never caught up: two ticks close together would double the speed.
            next += period;
            let after = self.clock.now();
            if after > next {
                next = after + period;
            }
        }
    }

    fn hear(&mut self) {
        for _ in 0..MESSAGES {
            match self.server.incoming.try_recv() {
                Ok(Incoming::Joined(peer)) => {
                    self.peers.insert(peer.number, peer);
                }
                Ok(Incoming::Left(number)) => {
                    self.peers.remove(&number);
                    if self.lease.give_back(number) {
                        self.change(|r, now| (r.lose_controller(now, 0), ()));
                    }
                }
                Ok(Incoming::Asked(peer, id, ask)) => self.answer(&peer, id, ask),
                Err(_) => break,
            }
        }
    }

    /// Tells the safety layer of new pictures.
    fn look(&mut self) {
        for (camera, look) in self.pictures.news() {
            self.change(|mut r, _| {
                r.saw(&camera, look);
                (r, ())
            });
        }
    }

    fn check_lease(&mut self, now: Time) {
        let limit = self.robot.as_ref().map_or(1000, |r| r.file().watch.lease_ms);
        if let Some(silence) = self.lease.expire(now, Duration::from_millis(limit)) {
            let ms = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
            self.change(|r, now| (r.lose_controller(now, ms), ()));
        }
    }

    /// A port that went away in a fault is opened again as soon as it is back; the robot is limp then.
    fn look_after_port(&mut self, now: Time) {
        let gone = matches!(&self.robot, Some(AnyRobot::Fault(r)) if r.lost_port());
        if gone && now.saturating_sub(self.reconnected) >= RECONNECT {
            self.reconnected = now;
            self.change(|r, now| match r {
                AnyRobot::Fault(r) => match r.reconnect(now) {
                    Ok(limp) => (limp.into(), ()),
                    Err((fault, _)) => (fault.into(), ()),
                },
                other => (other, ()),
            });
        }
    }

    /// A new state is told at once; a stop is kept in the black box.
    fn notice_state(&mut self, now: Time) {
        let Some(robot) = &self.robot else { return };
        let state = robot.name();
        if state == self.state {
            return;
        }
        self.state = state;
        // Opening a port and arming wait for the motors; what counts is how evenly a run is controlled.
        if state == "running" {
            self.periods.restart();
        }
        if matches!(state, "hold" | "fault") {
            let _ = self.write_box(state);
        }
        self.show(now);
    }

    /// Writes the black box on a thread of its own; the control loop does not wait for a disk.
    pub(super) fn write_box(&mut self, why: &str) -> Option<PathBuf> {
        let black_box = self.robot.as_ref()?.black_box().clone();
        self.box_number += 1;
        let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        let path = self.options.boxes.join(format!("{started}-{:03}-{why}.jsonl", self.box_number));
        let to = path.clone();
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let zero = wall.saturating_sub(self.clock.now());
        std::thread::spawn(move || {
            let written =
                black_box.write(&to).and_then(|()| black_box.write_mcap(&to.with_extension("mcap"), zero));
            if let Err(e) = written {
                eprintln!("the black box was not written to {}: {e}", to.display());
            }
        });
        Some(path)
    }

    pub(super) fn view(&self, now: Time) -> AgentView {
        AgentView {
            robot: self.robot.as_ref().map_or_else(Default::default, |r| r.view(now)),
            controller: self.lease.holder().map(Into::into),
            clients: self.peers.len(),
            period_ms: self.periods.summary(),
            late: self.periods.late,
        }
    }

    fn show(&self, now: Time) {
        if self.peers.is_empty() {
            return;
        }
        let view = self.view(now);
        for peer in self.peers.values() {
            peer.show(Tell::View(Box::new(view.clone())));
        }
    }

    /// Whether nothing moves any more.
    fn may_end(&self, since: Duration) -> bool {
        match &self.robot {
            Some(AnyRobot::Hold(r)) => r.parked() || since >= QUIT_PARK,
            Some(AnyRobot::Running(_) | AnyRobot::Armed(_) | AnyRobot::Ready(_)) => since >= QUIT_PARK,
            Some(AnyRobot::Fault(_)) => since >= Duration::from_millis(500),
            _ => true,
        }
    }

    fn end(mut self) -> Result<(), AgentError> {
        let release = self.robot.as_ref().is_some_and(|r| r.file().on_quit == OnQuit::ReleaseWhenParked);
        let parked = matches!(&self.robot, Some(AnyRobot::Hold(r)) if r.parked());
        if !(release && parked) {
            return Ok(());
        }
        let hold = self.robot.as_ref().map_or(1000, |r| r.file().watch.release_hold_ms);
        self.change(|mut r, now| {
            if let AnyRobot::Hold(h) = &mut r {
                h.begin_release(now);
            }
            (r, ())
        });
        self.clock.sleep_until(self.clock.now() + Duration::from_millis(hold));
        let outcome = self.change(|r, now| match r {
            AnyRobot::Hold(r) => match r.release(now) {
                Ok(limp) => (limp.into(), Ok(())),
                Err((r, e)) => (r.into(), Err(e)),
            },
            other => (other, Ok(())),
        });
        outcome.unwrap_or(Ok(())).map_err(Into::into)
    }
}
