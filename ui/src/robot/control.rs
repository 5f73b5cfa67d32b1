//! The threads that control, look and stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use forerun::Frame;
use forerun::models::policy::{Kind as PolicyKind, Policy};
use forerun::robot::agent::Client;
use forerun::robot::agent::cameras::from_base64;
use forerun::robot::agent::child::AgentChild;
use forerun::robot::agent::protocol::{Ask, Tell};
use forerun::robot::calibration::Calibration;
use forerun::robot::file::{DriverKind, RobotFile};
use forerun::robot::numbers::Mode;
use forerun::robot::push::record::Recorder;

use super::stages::Bench;
use super::{Place, Shared, Shown, Wish};

/// Turns of the control thread.
const TURN: Duration = Duration::from_millis(50);
/// Pictures a second.
const LOOK: Duration = Duration::from_millis(100);
/// How far ahead of its joint a slider's goal may be sent, degrees or per cents: the safety layer refuses far ones.
const REACH: f64 = 10.0;

/// The thread that does nothing but stop.
pub(super) struct Stopper(Arc<Mutex<Option<Client>>>);

impl Stopper {
    pub fn start(presses: Receiver<&'static str>) -> Self {
        let client: Arc<Mutex<Option<Client>>> = Arc::default();
        let theirs = Arc::clone(&client);
        let body = move || {
            while let Ok(by) = presses.recv() {
                if let Some(client) = theirs.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    let _ = client.post(Ask::Stop { by: by.into() });
                }
            }
        };
        let _ = std::thread::Builder::new().name("robot stop".into()).spawn(body);
        Self(client)
    }

    fn use_client(&self, client: Option<Client>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }
}

/// A connected robot.
pub(super) struct Session {
    pub client: Client,
    pub robot: Arc<RobotFile>,
    pub address: String,
    /// The robot file, where an agent was started for it.
    pub file: Option<PathBuf>,
    /// How far each joint was moved while its range is looked for, steps.
    sweep: Option<Vec<(i32, i32)>>,
    /// What sliders ask for, one a joint; `None` while they do not move the arm.
    sliders: Option<Vec<f64>>,
    /// When moving by hand began, by the agent's clock: what was seen before says nothing about it.
    by_hand_since: f64,
    recorder: Option<Recorder>,
    record: Option<PathBuf>,
    /// The episode that a person shows.
    episode: Option<Recorder>,
    eyes: Arc<AtomicBool>,
    /// Has control at the moment; a running stage has it otherwise.
    pub leased: bool,
    /// Frames of the window for which the heart has beaten.
    beaten: u64,
    // Last: the agent ends after everything that talks to it.
    _agent: Option<AgentChild>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.eyes.store(false, Ordering::SeqCst);
    }
}

/// The control thread.
pub(super) fn run(shared: &Arc<Shared>, orders: &Receiver<Wish>, stopper: &Stopper) {
    let mut session: Option<Session> = None;
    let mut bench = Bench::default();
    let mut listing = Listing::default();
    loop {
        listing.look(shared);
        match orders.recv_timeout(TURN) {
            Ok(Wish::List(project)) => listing = Listing { project: Some(project), looked: None },
            Ok(wish) => take(shared, &mut session, &mut bench, stopper, wish),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some(ended) = bench.ended(shared, session.as_mut()) {
            shared.edit(|s| s.recorded = ended.or(s.recorded));
        }
        let lost = session.as_mut().is_some_and(|s| s.turn(shared).is_err());
        if lost {
            leave(shared, &mut session);
            stopper.use_client(None);
            shared.edit(|s| {
                *s = s.only_lists();
                s.trouble = Some("The connection to the robot's agent is gone. Connect again.".into());
            });
        }
    }
}

impl Session {
    fn open(shared: &Arc<Shared>, place: &Place) -> Result<(Self, Client), String> {
        let (file, agent, address) = match place {
            Place::Address(address) => (None, None, address.clone()),
            Place::File(path) => {
                let agent = AgentChild::start(path).map_err(|e| e.text())?;
                let address = agent.address.clone();
                (Some(path.clone()), Some(agent), address)
            }
            Place::Virtual(folder) => {
                let path = virtual_arm(folder)?;
                let agent = AgentChild::start(&path).map_err(|e| e.text())?;
                let address = agent.address.clone();
                (Some(path), Some(agent), address)
            }
        };
        let connect = |name: &str| Client::connect(&address, None, name).map_err(|e| e.to_string());
        let mut client = connect("the window")?;
        let robot = Arc::new(RobotFile::parse(&client.robot).map_err(|e| e.to_string())?);
        client.ask(Ask::Lease { key: None }).map_err(|e| e.to_string())?;
        let view = match client.ask(Ask::View).map_err(|e| e.to_string())? {
            Tell::View(view) => *view,
            _ => return Err("the agent gave no view".into()),
        };
        if view.robot.state == "disconnected" {
            client.ask(Ask::Connect).map_err(|e| e.to_string())?;
        }
        let eyes = Arc::new(AtomicBool::new(true));
        if !robot.cameras.is_empty() {
            look(shared, connect("the window's eyes")?, Arc::clone(&eyes));
        }
        let stop = connect("the window's stop")?;
        let session = Self {
            client,
            robot,
            address,
            file,
            sweep: None,
            sliders: None,
            by_hand_since: 0.0,
            recorder: None,
            record: None,
            episode: None,
            eyes,
            leased: true,
            beaten: 0,
            _agent: agent,
        };
        Ok((session, stop))
    }

    /// Beats, shows, moves by hand. An error: the agent is gone.
    fn turn(&mut self, shared: &Arc<Shared>) -> Result<(), forerun::robot::agent::ClientError> {
        let frames = shared.frames.load(Ordering::SeqCst);
        if self.leased && frames != self.beaten {
            self.beaten = frames;
            self.client.heartbeat(shared.dead_man())?;
        } else if !self.leased {
            // A connection that says nothing cannot be told from a broken one.
            self.client.post(Ask::View)?;
        }
        let Some(view) = self.client.view() else { return Ok(()) };
        let running = view.robot.state == "running";
        let ended = !running && view.robot.seconds >= self.by_hand_since;
        if ended && self.sliders.take().is_some() {
            self.end_recording(shared);
            shared.edit(|s| s.by_hand = false);
        }
        if running && let Some(sliders) = &self.sliders {
            let joints = view.robot.joints.iter().zip(sliders);
            let pose =
                joints.map(|(j, wish)| (j.name.clone(), j.goal + (wish - j.goal).clamp(-REACH, REACH)));
            self.client.post(Ask::Target { pose: pose.collect() })?;
        }
        if view.robot.state != "limp" {
            self.sweep = None;
        }
        if let Some(sweep) = &mut self.sweep {
            for ((low, high), joint) in sweep.iter_mut().zip(&view.robot.joints) {
                if let Some(steps) = joint.steps {
                    (*low, *high) = ((*low).min(steps), (*high).max(steps));
                }
            }
        }
        let sweep = self.sweep.clone();
        let episode = self.episode.as_ref().map(Recorder::progress);
        let denied = self.client.last_denied.take().filter(|_| running || !self.leased);
        shared.edit(|s| {
            s.heard = Some(Instant::now());
            s.view = Some(view);
            s.sweep = sweep;
            s.episode = episode;
            if denied.is_some() {
                s.trouble = denied;
            }
        });
        Ok(())
    }

    /// Takes control again, after a stage has had it.
    pub fn take_lease(&mut self) -> Result<(), String> {
        self.client.ask(Ask::Lease { key: None }).map_err(|e| e.to_string())?;
        self.leased = true;
        Ok(())
    }

    fn by_hand(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
        self.client.heartbeat(shared.dead_man()).map_err(|e| e.to_string())?;
        self.client.ask(Ask::Run { mode: Mode::Normal, data: Vec::new() }).map_err(|e| e.to_string())?;
        // Asked for now: the last telemetry may be from before the run.
        let Tell::View(view) = self.client.ask(Ask::View).map_err(|e| e.to_string())? else {
            return Err("the agent gave another answer".into());
        };
        self.by_hand_since = view.robot.seconds;
        self.sliders = Some(view.robot.joints.iter().map(|j| j.goal).collect());
        // What a person records by hand is not recorded twice.
        if let Some(dataset) = self.record.as_ref().filter(|_| self.episode.is_none()) {
            let recorder = Recorder::start(&self.address, None, &self.robot, dataset, "by hand");
            self.recorder = Some(recorder.map_err(|e| e.text())?);
        }
        shared.edit(|s| s.by_hand = true);
        Ok(())
    }

    /// What the motors hold.
    fn stored(&mut self) -> Result<Vec<(String, Calibration)>, String> {
        match self.client.ask(Ask::Calibration).map_err(|e| e.to_string())? {
            Tell::Calibration { stored, .. } if !stored.is_empty() => Ok(stored),
            _ => Err("These motors keep no calibration.".into()),
        }
    }

    /// The arm stands in the middle of its ranges: there is 2047 from now on. Then the ranges are looked for.
    fn begin_sweep(&mut self) -> Result<(), String> {
        let stored = self.stored()?;
        let view = self.client.view().ok_or("the robot has not been heard yet")?;
        let against = self.robot.driver == DriverKind::Dynamixel;
        let mut joints = Vec::with_capacity(stored.len());
        for (name, c) in stored {
            let joint = view.robot.joints.iter().find(|j| j.name == name);
            let steps = joint.and_then(|j| j.steps).ok_or_else(|| format!("{name} does not answer"))?;
            let by = if against { 2047 - steps } else { steps - 2047 };
            // One turn further is the same place; the register holds half a turn either way.
            let offset = (c.homing_offset + by + 2048).rem_euclid(4096) - 2048;
            let homing_offset = offset.clamp(-2047, 2047);
            joints.push((name, Calibration { homing_offset, range_min: 0, range_max: 4095, ..c }));
        }
        let n = joints.len();
        self.client.ask(Ask::Calibrate { joints }).map_err(|e| e.to_string())?;
        self.sweep = Some(vec![(i32::MAX, i32::MIN); n]);
        Ok(())
    }

    /// Keeps the ranges that were found.
    fn end_sweep(&mut self) -> Result<(), String> {
        let sweep = self.sweep.clone().ok_or("Find the ranges first.")?;
        let mut joints = self.stored()?;
        for ((name, c), (low, high)) in joints.iter_mut().zip(sweep) {
            (c.range_min, c.range_max) = (low.clamp(0, 4095), high.clamp(0, 4095));
            if !c.is_sound() {
                return Err(format!("{name} was hardly moved. Move it to both of its ends."));
            }
        }
        self.client.ask(Ask::Calibrate { joints }).map_err(|e| e.to_string())?;
        self.sweep = None;
        Ok(())
    }

    fn end_recording(&mut self, shared: &Arc<Shared>) {
        self.recorder.take().into_iter().for_each(|recorder| save(shared, recorder));
    }

    fn begin_episode(&mut self, dataset: &Path, task: &str) -> Result<(), String> {
        if self.recorder.is_some() {
            return Err("This run is recorded already. End it first.".into());
        }
        if self.episode.is_none() {
            let begun = Recorder::begin(&self.address, None, &self.robot, dataset, task);
            self.episode = Some(begun.map_err(|e| e.text())?);
        }
        Ok(())
    }

    fn end_episode(&mut self, shared: &Arc<Shared>, keep: bool) {
        let Some(recorder) = self.episode.take() else { return };
        shared.edit(|s| s.episode = None);
        if keep {
            save(shared, recorder);
        }
    }
}

/// Puts an episode on disk. Encoding takes seconds; the heart must go on beating.
fn save(shared: &Arc<Shared>, recorder: Recorder) {
    let shared = Arc::clone(shared);
    shared.edit(|s| s.saving += 1);
    std::thread::spawn(move || {
        let saved = recorder.finish();
        shared.edit(|s| s.saving = s.saving.saturating_sub(1));
        match saved {
            Ok(frames) => shared.edit(|s| (s.recorded, s.saved) = (Some(frames), s.saved + 1)),
            Err(e) => shared.trouble(e.text()),
        }
    });
}

/// Leaves a robot. What was shown up to now is kept: it cannot be shown again.
fn leave(shared: &Arc<Shared>, session: &mut Option<Session>) {
    if let Some(mut left) = session.take() {
        left.end_episode(shared, true);
        left.end_recording(shared);
    }
}

fn take(
    shared: &Arc<Shared>,
    session: &mut Option<Session>,
    bench: &mut Bench,
    stopper: &Stopper,
    wish: Wish,
) {
    // A new motion is a new gesture: only it ends an earlier Stop.
    if matches!(wish, Wish::Connect(_) | Wish::ByHand | Wish::Run(_)) {
        shared.stop.store(false, Ordering::SeqCst);
    }
    let outcome = match wish {
        Wish::Connect(place) => {
            leave(shared, session);
            shared.edit(|s| *s = Shown { connecting: true, ..s.only_lists() });
            let opened = Session::open(shared, &place);
            shared.edit(|s| s.connecting = false);
            opened.map(|(new, stop)| {
                stopper.use_client(Some(stop));
                shared.patience.store(new.robot.watch.silent_hold_ms.max(100), Ordering::SeqCst);
                shared.edit(|s| s.robot = Some(Arc::clone(&new.robot)));
                bench.open(shared, &new);
                *session = Some(new);
            })
        }
        Wish::Leave => {
            leave(shared, session);
            stopper.use_client(None);
            shared.edit(|s| *s = s.only_lists());
            Ok(())
        }
        Wish::CloseReplay => {
            shared.edit(|s| s.replay = None);
            Ok(())
        }
        Wish::Prompt(prompt) => {
            bench.prompt = prompt;
            Ok(())
        }
        // Went their own way already.
        Wish::Stop(_) | Wish::List(_) => Ok(()),
        other => match session.as_mut() {
            None => Err("No robot is connected.".to_owned()),
            Some(session) => with_robot(shared, session, bench, other),
        },
    };
    match outcome {
        Ok(()) => {}
        Err(why) => shared.trouble(why),
    }
}

fn with_robot(
    shared: &Arc<Shared>,
    session: &mut Session,
    bench: &mut Bench,
    wish: Wish,
) -> Result<(), String> {
    // A window that hung has lost control meanwhile; a person who asks for something takes it again.
    let moves = matches!(wish, Wish::Ask(_) | Wish::ByHand | Wish::BeginSweep | Wish::EndSweep(true));
    if session.leased && moves {
        session.take_lease()?;
    }
    match wish {
        Wish::Ask(ask) => {
            session.client.heartbeat(shared.dead_man()).map_err(|e| e.to_string())?;
            let recalibrates = matches!(ask, Ask::UseCalibration { .. });
            session.client.ask(ask).map_err(|e| e.to_string())?;
            shared.edit(|s| s.trouble = None);
            if recalibrates {
                shared.edit(|s| s.calibration = None);
            }
            Ok(())
        }
        Wish::ByHand => session.by_hand(shared),
        Wish::BeginSweep => session.begin_sweep(),
        Wish::EndSweep(keep) => {
            if keep {
                session.end_sweep()?;
            }
            session.sweep = None;
            shared.edit(|s| (s.sweep, s.calibration) = (None, None));
            Ok(())
        }
        Wish::Slide(joint, value) => {
            if let Some(slot) = session.sliders.as_mut().and_then(|s| s.get_mut(joint)) {
                *slot = value;
            }
            Ok(())
        }
        Wish::BeginEpisode(dataset, task) => {
            session.begin_episode(&dataset, &task)?;
            shared.edit(|s| (s.trouble, s.recorded) = (None, None));
            Ok(())
        }
        Wish::EndEpisode(keep) => {
            session.end_episode(shared, keep);
            Ok(())
        }
        Wish::Record(dataset) => {
            session.record.clone_from(&dataset);
            bench.record = dataset;
            Ok(())
        }
        Wish::CompareCalibration => {
            match session.client.ask(Ask::Calibration).map_err(|e| e.to_string())? {
                Tell::Calibration { differences, .. } => shared.edit(|s| s.calibration = Some(differences)),
                _ => return Err("the agent gave another answer".into()),
            }
            Ok(())
        }
        Wish::Replay => {
            let path = match session.client.ask(Ask::BlackBox).map_err(|e| e.to_string())? {
                Tell::Written { path } => PathBuf::from(path),
                _ => return Err("the agent gave another answer".into()),
            };
            let shared = Arc::clone(shared);
            std::thread::spawn(move || match super::black_box::read_soon(&path) {
                Ok(replay) => shared.edit(|s| s.replay = Some(Arc::new(replay))),
                Err(why) => shared.trouble(why),
            });
            Ok(())
        }
        other => bench.take(shared, session, other),
    }
}

/// What a project has for robots; looked up again and again, since policies are trained and robot files written meanwhile.
#[derive(Default)]
struct Listing {
    project: Option<PathBuf>,
    looked: Option<Instant>,
}

/// How often a project is looked through.
const LIST_EVERY: Duration = Duration::from_secs(2);

impl Listing {
    fn look(&mut self, shared: &Shared) {
        let Some(project) = &self.project else { return };
        if self.looked.is_some_and(|t| t.elapsed() < LIST_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let files = listed(&project.join("robots"), |p| p.extension().is_some_and(|e| e == "toml"));
        let mut policies = listed(&project.join("policies"), |p| p.join("contract.json").is_file());
        policies.extend(forerun::policy::shipped_policies());
        // A robot is told by words; what cannot be read is listed, and says why when it is packed.
        policies.retain(|folder| {
            Policy::describe(folder).map_or(true, |(_, config)| config.kind == PolicyKind::Direct)
        });
        let (old_files, old_policies) = {
            let s = shared.lock();
            (s.files.clone(), s.policies.clone())
        };
        if files != old_files || policies != old_policies {
            shared.edit(|s| (s.files, s.policies) = (files, policies));
        }
    }
}

/// What is wanted in a folder, by name.
fn listed(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| wanted(p)).collect();
    found.sort();
    found
}

/// The robot file of the virtual arm in a folder; made where there is none.
fn virtual_arm(folder: &Path) -> Result<PathBuf, String> {
    let path = folder.join("virtual-arm.toml");
    if !path.is_file() {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        RobotFile::tabletop("virtual arm", 128).write(&path).map_err(|e| e.to_string())?;
    }
    Ok(path)
}

/// Starts the thread that fetches pictures.
fn look(shared: &Arc<Shared>, mut client: Client, go_on: Arc<AtomicBool>) {
    let shared = Arc::clone(shared);
    let body = move || {
        while go_on.load(Ordering::SeqCst) {
            match client.ask(Ask::Look { camera: None }) {
                Ok(Tell::Picture { width, height, rgb, .. }) => {
                    let data = from_base64(&rgb).filter(|d| d.len() == width * height * 3);
                    if let Some(frame) = data.and_then(|d| Frame::new(width, height, d)) {
                        shared.edit(|s| s.picture = Some(Arc::new(frame)));
                    }
                }
                // No picture yet.
                Ok(_) | Err(forerun::robot::agent::ClientError::Denied(_)) => {}
                Err(_) => return,
            }
            std::thread::sleep(LOOK);
        }
    };
    let _ = std::thread::Builder::new().name("robot eyes".into()).spawn(body);
}
