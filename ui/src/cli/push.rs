//! `forerun push`: a bundle on its way to a robot, stage by stage.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use forerun::engine::models::ModelStore;
use forerun::engine::places;
use forerun::policy::EvaluateSettings;
use forerun::robot::agent::Client;
use forerun::robot::agent::child::AgentChild;
use forerun::robot::agent::protocol::AgentView;
use forerun::robot::bundle::{Progress, SigningKey, Stage, Store};
use forerun::robot::file::RobotFile;
use forerun::robot::openpi::{Limits, RemotePolicy};
use forerun::robot::push::pilot::{Brain, FlightPlan, Hand, PolicyBrain, RemoteBrain, fly};
use forerun::robot::push::rehearse::rehearse;
use forerun::robot::push::replay::{ReplaySettings, replay};
use forerun::robot::push::{Installed, Outcome, store_of};
use forerun::terminal::RawTerminal;
use forerun::{Failure, interrupt};
use serde_json::{Value, json};

use super::policy::teller;
use super::{Answer, Stop, bundle, serve};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StageName {
    /// Its actions beside recorded ones
    Replay,
    /// In the world model
    Rehearse,
    /// It watches a limp arm
    Shadow,
    /// Slowly, with a key held, at most 30 seconds
    Cautious,
    /// At normal speed
    Normal,
}

impl StageName {
    fn stage(self) -> Stage {
        match self {
            Self::Replay => Stage::Replay,
            Self::Rehearse => Stage::Rehearse,
            Self::Shadow => Stage::Shadow,
            Self::Cautious => Stage::Cautious,
            Self::Normal => Stage::Normal,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Bundle file, or the address of a policy server (ws://HOST:PORT)
    #[arg(required_unless_present = "roll_back")]
    bundle: Option<String>,
    /// Robot file (an agent is started for it), or HOST:PORT of a running agent
    #[arg(long, value_name = "ROBOT")]
    to: String,
    /// Stage to run; the next one that is not done when absent
    #[arg(long, value_enum)]
    stage: Option<StageName>,
    /// Recorded episodes of this robot, for replay
    #[arg(long)]
    dataset: Option<PathBuf>,
    /// World model, for rehearse
    #[arg(long, default_value = "tabletop")]
    model: String,
    /// Imagined episodes, for rehearse
    #[arg(long, default_value_t = 10)]
    episodes: usize,
    /// Most steps of an imagined episode
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// Length of a shadow or normal run; a cautious one ends after 30 at most
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// What the policy is told
    #[arg(long)]
    prompt: Option<String>,
    /// Dataset to which live runs are recorded
    #[arg(long, value_name = "DATASET")]
    record: Option<PathBuf>,
    /// Skip the stages before this one: type the robot's name
    #[arg(long, value_name = "ROBOT_NAME")]
    skip: Option<String>,
    /// Trust this public key from now on
    #[arg(long, value_name = "KEY")]
    trust: Option<String>,
    /// File with the agent's secret
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Go back to the bundle before the current one
    #[arg(long)]
    roll_back: bool,
}

/// A robot: its file, where its bundles are, and its agent.
struct Target {
    robot: RobotFile,
    store: Store,
    /// Path of the robot file, when an agent is to be started for it.
    file: Option<PathBuf>,
    address: String,
    token: Option<String>,
}

fn target(to: &str, token: Option<String>) -> Result<Target, Failure> {
    let path = Path::new(to);
    if path.is_file() {
        let robot = RobotFile::read(path).map_err(Failure::from_error)?;
        let store = Store::open(&store_of(path)).map_err(Failure::from_error)?;
        return Ok(Target { robot, store, file: Some(path.to_path_buf()), address: String::new(), token });
    }
    if to.ends_with(".toml") || !to.contains(':') {
        return Err(Failure::new(
            format!("There is no robot file {to}."),
            "Make one with forerun-agent new, or give HOST:PORT of a running agent.",
        ));
    }
    let client = Client::connect(to, token.as_deref(), "forerun push").map_err(Failure::from_error)?;
    let robot = RobotFile::parse(&client.robot).map_err(Failure::from_error)?;
    let folder = places::own_data().ok_or_else(|| {
        Failure::new(
            "There is no folder for this person's data.",
            "Set HOME, or push on the robot's own machine.",
        )
    })?;
    let plain: String =
        robot.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(60).collect();
    let store = Store::open(&folder.join("robots").join(plain)).map_err(Failure::from_error)?;
    Ok(Target { robot, store, file: None, address: to.to_owned(), token })
}

/// What is pushed: a bundle, or a policy that runs elsewhere.
enum Pushed {
    Bundle(Box<Installed>),
    Remote(String, Progress),
}

impl Pushed {
    fn progress(&mut self) -> &mut Progress {
        match self {
            Self::Bundle(b) => &mut b.progress,
            Self::Remote(_, p) => p,
        }
    }
}

/// Name of a policy server where bundles have their hash.
fn remote_id(address: &str) -> String {
    let plain: String = address.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("remote-{plain}")
}

pub(super) fn run(arguments: Arguments) -> Answer {
    let a = &arguments;
    interrupt::listen();
    let target = target(&a.to, serve::token(a.token_file.as_ref())?)?;
    if a.roll_back {
        let id = target.store.roll_back().map_err(Failure::from_error)?;
        println!("{id} is live again");
        return Ok(json!({ "current": id }));
    }
    if let Some(key) = &a.trust {
        target.store.trust(key).map_err(Failure::from_error)?;
    }
    // What this person packed, this person trusts.
    if let Ok(own) = bundle::own_key()
        && own.is_file()
        && let Ok(own) = SigningKey::open_or_create(&own)
    {
        target.store.trust(&own.public()).map_err(Failure::from_error)?;
    }
    let what = a.bundle.clone().unwrap_or_default();
    let mut pushed = if what.starts_with("ws://") {
        let id = remote_id(&what);
        let path = target.store.stages_file(&id);
        let progress = Progress::read(&path, &id, &target.robot.name).map_err(Failure::from_error)?;
        Pushed::Remote(what, progress)
    } else {
        Pushed::Bundle(Box::new(Installed::install(Path::new(&what), &target.robot, target.store.clone())?))
    };
    if let Pushed::Bundle(installed) = &pushed {
        println!("{} is installed ({})", installed.manifest.name, installed.id.get(..12).unwrap_or_default());
        installed
            .warnings
            .iter()
            .for_each(|w| eprintln!("{w}: shadow and cautious runs are to be done again"));
    }
    let stage = a.stage.map_or_else(|| pushed.progress().next(), StageName::stage);
    if let Some(typed) = &a.skip {
        for earlier in Stage::ALL.into_iter().take_while(|s| *s < stage) {
            if !pushed.progress().done(earlier) {
                pushed.progress().skip(earlier, typed).map_err(Failure::from_error)?;
                eprintln!("{earlier} was skipped by hand");
            }
        }
    }
    pushed.progress().may_start(stage).map_err(Failure::from_error)?;
    println!("stage {stage}");
    let outcome = stage_of(stage, &mut pushed, &target, a)?;
    let rolled_back = match &mut pushed {
        Pushed::Bundle(installed) => installed.note(stage, &outcome)?,
        Pushed::Remote(address, progress) => {
            progress.note(stage, outcome.clean, &outcome.words);
            let path = target.store.stages_file(&remote_id(address));
            progress.write(&path).map_err(Failure::from_error)?;
            None
        }
    };
    println!("{stage}: {}", outcome.words);
    if let Some(earlier) = &rolled_back {
        eprintln!("This bundle faulted twice in its first minute; {earlier} is live again");
    }
    let stages = match &pushed {
        Pushed::Bundle(installed) => installed.stages(),
        Pushed::Remote(..) => Value::Null,
    };
    let value = json!({
        "stage": stage.to_string(), "clean": outcome.clean, "words": outcome.words, "seconds": outcome.seconds,
        "report": outcome.report, "rolled_back_to": rolled_back, "stages": stages, "robot": target.robot.name,
    });
    if outcome.clean {
        return Ok(value);
    }
    let failure = Failure::new(
        format!("The stage {stage} does not count: {}.", outcome.words),
        "See to it, then run it again.",
    );
    Err(Stop { failure, value: Some(value) })
}

fn stage_of(stage: Stage, pushed: &mut Pushed, target: &Target, a: &Arguments) -> Result<Outcome, Failure> {
    let needs_bundle = || {
        Failure::new("A policy that runs elsewhere can only shadow and run.", "Skip these stages by --skip.")
    };
    match stage {
        Stage::Replay => {
            let Pushed::Bundle(installed) = pushed else { return Err(needs_bundle()) };
            let dataset = a.dataset.as_ref().ok_or_else(|| {
                Failure::new(
                    "Replay compares with recorded episodes.",
                    "Give some of this robot with --dataset.",
                )
            })?;
            replay(&installed.policy()?, dataset, ReplaySettings::default(), interrupt::flag())
        }
        Stage::Rehearse => {
            let Pushed::Bundle(installed) = pushed else { return Err(needs_bundle()) };
            let policy = installed.policy()?;
            let model = ModelStore::default().get(&a.model, "cpu")?;
            let settings = EvaluateSettings {
                episodes: a.episodes,
                steps: a.steps,
                fps: policy.contract().frame.rate_hz.round() as u32,
                ..EvaluateSettings::default()
            };
            rehearse(
                &policy,
                model.model.as_ref(),
                &settings,
                &teller("imagined episodes"),
                interrupt::flag(),
            )
        }
        Stage::Shadow | Stage::Cautious | Stage::Normal => live(stage, pushed, target, a),
    }
}

fn live(stage: Stage, pushed: &mut Pushed, target: &Target, a: &Arguments) -> Result<Outcome, Failure> {
    if !(a.seconds.is_finite() && a.seconds > 0.0 && a.seconds <= 3600.0) {
        return Err(Failure::new("A run lasts more than 0 and at most 3600 seconds.", "Change --seconds."));
    }
    // Lives as long as the stage: dropped, it parks the arm and ends.
    let child = match &target.file {
        Some(file) => Some(AgentChild::start(file)?),
        None => None,
    };
    let address = child.as_ref().map_or_else(|| target.address.clone(), |c| c.address.clone());
    let mut plan = FlightPlan {
        address,
        token: target.token.clone(),
        stage,
        time: Duration::from_secs_f64(a.seconds),
        data: Vec::new(),
        record: a.record.clone(),
        task: a.prompt.clone().unwrap_or_default(),
    };
    let mut hand = Keyboard::new(stage == Stage::Cautious);
    let policy;
    let mut brain: Box<dyn Brain + '_> = match pushed {
        Pushed::Bundle(installed) => {
            let of = |j: &forerun::robot::bundle::manifest::BundleJoint| {
                j.data.map(|(low, high)| (format!("{}.pos", j.name), low, high))
            };
            plan.data = installed.manifest.joints.iter().filter_map(of).collect();
            policy = installed.policy()?;
            Box::new(PolicyBrain::new(&policy, a.prompt.clone()))
        }
        Pushed::Remote(address, _) => {
            let remote = RemotePolicy::connect(address, target.token.as_deref(), Limits::default())
                .map_err(Failure::from_error)?;
            Box::new(RemoteBrain::new(remote, &target.robot, a.prompt.clone()))
        }
    };
    fly(&plan, brain.as_mut(), &mut hand)
}

/// The keyboard as a dead-man key: a held key repeats. Ctrl-C stops.
struct Keyboard {
    began: Instant,
    /// Milliseconds since `began` of the last key, plus one; 0 before the first.
    last: Arc<AtomicU64>,
    shown: Option<(String, Instant)>,
    _raw: Option<RawTerminal>,
}

/// A held key repeats after at most this long.
const REPEATS: u64 = 700;

impl Keyboard {
    fn new(dead_man: bool) -> Self {
        let (began, last) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let mut raw = None;
        if dead_man {
            eprintln!("Hold the space bar: the arm moves while you hold it. Ctrl-C stops.");
            raw = RawTerminal::new();
            let theirs = Arc::clone(&last);
            std::thread::spawn(move || {
                let mut byte = [0u8; 64];
                while matches!(std::io::stdin().lock().read(&mut byte), Ok(n) if n > 0) {
                    theirs.store(began.elapsed().as_millis() as u64 + 1, Ordering::SeqCst);
                }
            });
        }
        Self { began, last, shown: None, _raw: raw }
    }
}

impl Hand for Keyboard {
    fn dead_man(&mut self) -> bool {
        let last = self.last.load(Ordering::SeqCst);
        last > 0 && self.began.elapsed().as_millis() as u64 <= last + REPEATS
    }

    fn stop(&mut self) -> bool {
        interrupt::requested()
    }

    fn show(&mut self, view: &AgentView) {
        let state = &view.robot.state;
        let old =
            self.shown.as_ref().is_none_or(|(s, at)| s != state || at.elapsed() > Duration::from_secs(5));
        if old {
            let hottest = view.robot.joints.iter().map(|j| j.celsius).fold(0.0, f64::max);
            let why = view.robot.why.as_deref().map(|w| format!(": {w}")).unwrap_or_default();
            eprintln!(
                "{state}{why}, {hottest:.0} °C, period under {:.1} ms (99 %), {} late ticks",
                view.period_ms[1], view.late
            );
            self.shown = Some((state.clone(), Instant::now()));
        }
    }
}
