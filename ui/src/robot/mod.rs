//! The window's side of a robot: threads that talk to its agent, and what they last heard.
//!
//! | thread | what it does |
//! |---|---|
//! | control | has the lease; one beat of its heart for a frame of the window's own loop |
//! | eyes | fetches pictures on a connection of its own |
//! | stop | does nothing but stop, on a connection of its own: nothing can stand before it in a queue |
//! | stage | runs a stage of a bundle |
//! | gamepad | reads a gamepad; its Stop goes the way of the stop thread |

mod black_box;
mod control;
mod stages;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use eframe::egui::Context;
use forerun::Frame;
use forerun::robot::agent::protocol::{AgentView, Ask};
use forerun::robot::bundle::Stage;
use forerun::robot::calibration::CalibrationDifference;
use forerun::robot::file::RobotFile;
use forerun::robot::gamepad::{Gamepad, Pad};
use forerun::robot::numbers::Thresholds;
use forerun::robot::push::record::Progress;

pub use black_box::{Moment, Replay};

/// Where a robot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A robot file; an agent is started for it.
    File(PathBuf),
    /// The address of a running agent.
    Address(String),
    /// The virtual world's arm; its robot file is made in this folder where there is none.
    Virtual(PathBuf),
}

/// What a person wants of the robot.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Connect to a robot.
    Connect(Place),
    /// Leave it. A stiff arm is parked by its agent.
    Leave,
    /// Ask its agent for something.
    Ask(Ask),
    /// Stop.
    Stop(&'static str),
    /// Move it by sliders from now on.
    ByHand,
    /// Where the slider of a joint stands.
    Slide(usize, f64),
    /// Whether runs are recorded, and where to.
    Record(Option<PathBuf>),
    /// Collect an episode from now on, for this dataset, with these words.
    BeginEpisode(PathBuf, String),
    /// The episode is over: put it on disk, or forget it.
    EndEpisode(bool),
    /// The arm stands in the middle of its ranges: begin to look for them.
    BeginSweep,
    /// End the search; keep what was found, or not.
    EndSweep(bool),
    /// Compare the calibrations of file and motors.
    CompareCalibration,
    /// Install a bundle.
    Install(PathBuf),
    /// Pack the policy in this folder for the connected robot, and install it.
    Pack(PathBuf),
    /// Run a stage of the installed bundle.
    Run(Stage),
    /// What the policy is told.
    Prompt(String),
    /// Skip a stage; the robot's name was typed.
    Skip(Stage, String),
    /// Go back to the bundle before.
    RollBack,
    /// Show the newest black box.
    Replay,
    /// Close it.
    CloseReplay,
    /// Look for robot files and policies in this project.
    List(PathBuf),
}

/// How a stage stands, for the checklist.
#[derive(Clone, Debug, PartialEq)]
pub struct StageShown {
    /// Which.
    pub stage: Stage,
    /// Done or skipped.
    pub done: bool,
    /// Skipped by hand.
    pub skipped: bool,
    /// Clean runs in a row.
    pub clean: u32,
    /// Needed.
    pub needed: u32,
    /// How the last one ended.
    pub last: String,
}

/// The installed bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleShown {
    /// Its name.
    pub name: String,
    /// Its hash.
    pub id: String,
    /// Its stages.
    pub stages: Vec<StageShown>,
    /// The first that is not done.
    pub next: Stage,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// Everything that the threads last heard.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Robot files that were found.
    pub files: Vec<PathBuf>,
    /// Policies that were found.
    pub policies: Vec<PathBuf>,
    /// Something is under way, in words of the agent's language (English).
    pub connecting: bool,
    /// The robot's file.
    pub robot: Option<Arc<RobotFile>>,
    /// Telemetry.
    pub view: Option<AgentView>,
    /// When it came.
    pub heard: Option<Instant>,
    /// The newest picture.
    pub picture: Option<Arc<Frame>>,
    /// The last thing that did not work.
    pub trouble: Option<String>,
    /// Differences of calibration that were asked for.
    pub calibration: Option<Vec<CalibrationDifference>>,
    /// How far each joint was moved so far, steps, while ranges are looked for.
    pub sweep: Option<Vec<(i32, i32)>>,
    /// The installed bundle.
    pub bundle: Option<BundleShown>,
    /// The stage that runs.
    pub running: Option<Stage>,
    /// How the last stage ended, and whether it counts.
    pub outcome: Option<(Stage, bool, String)>,
    /// A black box that is looked at.
    pub replay: Option<Arc<Replay>>,
    /// The arm is moved by the sliders.
    pub by_hand: bool,
    /// Frames of the last recorded episode.
    pub recorded: Option<usize>,
    /// The episode that a person shows, as far as it is.
    pub episode: Option<Progress>,
    /// Episodes on their way to the disk.
    pub saving: usize,
    /// Episodes that came to the disk.
    pub saved: u64,
}

impl Shown {
    /// What stays when a robot comes or goes.
    fn only_lists(&mut self) -> Self {
        let (files, policies) = (std::mem::take(&mut self.files), std::mem::take(&mut self.policies));
        Self { files, policies, saving: self.saving, saved: self.saved, ..Self::default() }
    }
}

/// What all threads and the window share.
pub(crate) struct Shared {
    shown: Mutex<Shown>,
    began: Instant,
    /// Milliseconds since `began` of the window's last frame.
    alive: AtomicU64,
    /// Frames of the window so far.
    frames: AtomicU64,
    /// The window's loop must have run within this time, or a running stage is stopped: the robot file's number.
    patience: AtomicU64,
    dead_man: AtomicBool,
    stop: AtomicBool,
    ctx: Context,
}

impl Shared {
    fn edit(&self, f: impl FnOnce(&mut Shown)) {
        f(&mut self.lock());
        self.ctx.request_repaint();
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self, why: impl std::fmt::Display) {
        self.edit(|s| s.trouble = Some(why.to_string()));
    }

    fn window_is_alive(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.alive.load(Ordering::SeqCst)) < self.patience.load(Ordering::SeqCst)
    }

    fn dead_man(&self) -> bool {
        self.dead_man.load(Ordering::SeqCst) && self.window_is_alive()
    }
}

/// The window's side of a robot.
pub struct Robot {
    shared: Arc<Shared>,
    wishes: Sender<Wish>,
    stops: Sender<&'static str>,
    pad: Gamepad,
}

impl Robot {
    /// Threads that wake this window. Nothing is connected.
    pub fn new(ctx: &Context) -> Self {
        let shared = Arc::new(Shared {
            shown: Mutex::default(),
            began: Instant::now(),
            alive: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            patience: AtomicU64::new(Thresholds::default().silent_hold_ms),
            dead_man: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            ctx: ctx.clone(),
        });
        let (wishes, orders) = channel();
        let (stops, presses) = channel();
        let theirs = Arc::clone(&shared);
        let stopper = control::Stopper::start(presses);
        let body = move || control::run(&theirs, &orders, &stopper);
        // Without the thread the screen says that nothing is connected, which is true.
        let _ = std::thread::Builder::new().name("robot".into()).spawn(body);
        // Its Stop does not wait for the window.
        let (pressed, presses) = (Arc::clone(&shared), stops.clone());
        let pad = Gamepad::start(None, move || {
            pressed.stop.store(true, Ordering::SeqCst);
            let _ = presses.send("the gamepad");
        });
        Self { shared, wishes, stops, pad }
    }

    /// The gamepad as it is held now.
    pub fn pad(&self) -> Pad {
        self.pad.now()
    }

    /// Sends a wish. Stop goes its own way.
    pub fn wish(&self, wish: Wish) {
        if let Wish::Stop(by) = wish {
            self.shared.stop.store(true, Ordering::SeqCst);
            let _ = self.stops.send(by);
            return;
        }
        let _ = self.wishes.send(wish);
    }

    /// Called once a frame: the window is alive, and whether the dead-man key is held.
    pub fn frame(&self, dead_man: bool) {
        let now = u64::try_from(self.shared.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.alive.store(now, Ordering::SeqCst);
        self.shared.frames.fetch_add(1, Ordering::SeqCst);
        self.shared.dead_man.store(dead_man || self.pad.now().dead_man, Ordering::SeqCst);
    }

    /// What was last heard.
    pub fn shown(&self) -> Shown {
        self.shared.lock().clone()
    }

    /// Episodes that came to the disk so far.
    pub fn saved(&self) -> u64 {
        self.shared.lock().saved
    }

    /// Whether motors hold by our order, so that Stop must be in sight.
    pub fn is_stiff(&self) -> bool {
        self.shared.lock().view.as_ref().is_some_and(|v| is_stiff(&v.robot.state))
    }

    /// Whether there is a robot to watch.
    pub fn is_connected(&self) -> bool {
        let shown = self.shared.lock();
        shown.robot.is_some() || shown.connecting
    }
}

/// Whether the motors hold in this state.
pub fn is_stiff(state: &str) -> bool {
    !matches!(state, "disconnected" | "limp" | "")
}
