//! Stages 2 to 4: the policy watches a limp arm, or moves it, always through the agent.
//!
//! The policy thinks on a thread and a connection of its own, joined with the controlling one's key. The controlling
//! side beats its heart, watches the person's hand and ends the run; when it hangs, the agent holds the arm.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use forerun_models::policy::{Draw, Policy, Seen};
use serde_json::json;

use super::Outcome;
use super::record::Recorder;
use crate::Frame;
use crate::engine::fit::fit_for;
use crate::failure::Failure;
use crate::robot::agent::cameras::from_base64;
use crate::robot::agent::protocol::{AgentView, Ask, Tell};
use crate::robot::agent::{Client, ClientError};
use crate::robot::bundle::Stage;
use crate::robot::file::RobotFile;
use crate::robot::numbers::Mode;
use crate::robot::openpi::array::Array;
use crate::robot::openpi::{RemotePolicy, Value};

/// What proposes chunks for a robot.
pub trait Brain: Send {
    /// Names of its actions' channels, in order.
    fn channels(&self) -> Vec<String>;
    /// Names of the state's channels that it wants, in order.
    fn state(&self) -> Vec<String>;
    /// Seconds between its actions.
    fn period(&self) -> f64;
    /// A task begins: what is seen next is its start.
    fn begin(&mut self) {}
    /// A chunk for what is seen.
    ///
    /// # Errors
    /// When it fails, in words.
    fn chunk(&mut self, seen: &Frame, state: &[f32]) -> Result<Vec<Vec<f64>>, String>;
}

/// What a policy remembers of a task.
#[derive(Default)]
pub struct Memory {
    start: Option<Frame>,
    before: Option<Frame>,
    plans: u64,
}

impl Memory {
    /// A task begins: what is seen next is its start.
    pub fn begin(&mut self) {
        (self.start, self.before) = (None, None);
    }

    /// The policy's mean chunk for what is seen.
    ///
    /// # Errors
    /// A broken picture, a policy that fails; in words.
    pub fn chunk(
        &mut self,
        policy: &Policy,
        prompt: Option<&str>,
        seen: &Frame,
        state: &[f32],
    ) -> Result<Vec<Vec<f64>>, String> {
        let now = fit_for(seen, &policy.contract().frame).map_err(|e| e.text())?.frame;
        let start = self.start.get_or_insert_with(|| now.clone());
        let before = self.before.as_ref().unwrap_or(&now);
        let (before, start) = (Some(before), Some(&*start));
        let moment = Seen { now: &now, before, start, goal: None, state, prompt };
        let draw = Draw { number: self.plans, ..Draw::MEAN };
        let mut chunks = policy.plan(&[moment], &[vec![draw]]).map_err(|e| e.to_string())?;
        self.plans += 1;
        self.before = Some(now);
        let chunk = chunks.pop().and_then(|mut of| of.pop()).ok_or("the policy gave no actions")?;
        Ok(chunk.iter().map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect())
    }
}

/// A policy folder as a brain.
pub struct PolicyBrain<'p> {
    policy: &'p Policy,
    prompt: Option<String>,
    memory: Memory,
}

impl<'p> PolicyBrain<'p> {
    /// A policy that was told this.
    pub fn new(policy: &'p Policy, prompt: Option<String>) -> Self {
        Self { policy, prompt, memory: Memory::default() }
    }
}

impl Brain for PolicyBrain<'_> {
    fn channels(&self) -> Vec<String> {
        self.policy.contract().actions.iter().map(|c| c.name.clone()).collect()
    }

    fn state(&self) -> Vec<String> {
        self.policy.contract().state.iter().map(|c| c.name.clone()).collect()
    }

    fn period(&self) -> f64 {
        1.0 / f64::from(self.policy.contract().frame.rate_hz.max(0.1))
    }

    fn begin(&mut self) {
        self.memory.begin();
    }

    fn chunk(&mut self, seen: &Frame, state: &[f32]) -> Result<Vec<Vec<f64>>, String> {
        self.memory.chunk(self.policy, self.prompt.as_deref(), seen, state)
    }
}

/// A policy on another machine as a brain. What it does not say of itself is taken from the robot: its joints, in their
/// order and units.
pub struct RemoteBrain {
    remote: RemotePolicy,
    prompt: Option<String>,
    channels: Vec<String>,
    state: Vec<String>,
    period: f64,
    camera: String,
}

impl RemoteBrain {
    /// A connected policy server for this robot.
    pub fn new(remote: RemotePolicy, robot: &RobotFile, prompt: Option<String>) -> Self {
        let named = |key: &str| -> Option<Vec<String>> {
            let Some(Value::List(items)) = remote.metadata.get(key) else { return None };
            let of = |v: &Value| v.get("name").and_then(Value::as_text).map(str::to_owned);
            items.iter().map(of).collect::<Option<Vec<_>>>().filter(|n| !n.is_empty())
        };
        let rate = remote.metadata.get("rate_hz").and_then(Value::as_number).filter(|r| *r >= 0.5);
        Self {
            channels: named("action_channels").unwrap_or_else(|| robot.channels()),
            state: named("state_channels").unwrap_or_else(|| robot.channels()),
            period: 1.0 / rate.unwrap_or(10.0),
            camera: robot.cameras.first().map_or_else(|| "front".into(), |c| c.name.clone()),
            remote,
            prompt,
        }
    }
}

impl Brain for RemoteBrain {
    fn channels(&self) -> Vec<String> {
        self.channels.clone()
    }

    fn state(&self) -> Vec<String> {
        self.state.clone()
    }

    fn period(&self) -> f64 {
        self.period
    }

    fn chunk(&mut self, seen: &Frame, state: &[f32]) -> Result<Vec<Vec<f64>>, String> {
        let row: Vec<f64> = state.iter().map(|v| f64::from(*v)).collect();
        let image = Array::picture(seen).encode();
        let mut parts = vec![
            ("observation/state".to_owned(), Array::row(&row).encode()),
            (format!("observation/images/{}", self.camera), image),
        ];
        parts.extend(self.prompt.clone().map(|p| ("prompt".to_owned(), Value::Text(p))));
        self.remote.infer(&Value::map(parts)).map(|a| a.actions).map_err(|e| e.to_string())
    }
}

/// The person at the robot.
pub trait Hand {
    /// Whether the dead-man key is held.
    fn dead_man(&mut self) -> bool;
    /// Whether Stop was pressed.
    fn stop(&mut self) -> bool;
    /// Shows how the robot is.
    fn show(&mut self, view: &AgentView);
}

/// How a live stage is run.
#[derive(Clone, Debug)]
pub struct FlightPlan {
    /// Address of the agent.
    pub address: String,
    /// Secret of the agent, where it has one.
    pub token: Option<String>,
    /// `Shadow`, `Cautious` or `Normal`.
    pub stage: Stage,
    /// How long.
    pub time: Duration,
    /// Smallest and largest value of the training data by channel, where known.
    pub data: Vec<(String, f64, f64)>,
    /// Dataset to which the run is recorded.
    pub record: Option<PathBuf>,
    /// What the policy was told to do, for the recording.
    pub task: String,
}

/// Plans are made this often.
const EVERY: Duration = Duration::from_millis(300);
/// The controlling side beats this often.
const BEAT: Duration = Duration::from_millis(50);
/// How long a transition of the robot may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a policy may fail before its first plan.
const FIRST_PICTURE: Duration = Duration::from_secs(5);
/// Joints that are further than this from where the policy begins are brought there first, degrees or per cents.
const NEAR: f64 = 8.0;

fn told(e: ClientError) -> Failure {
    Failure::new(format!("The robot's agent says: {e}."), "")
}

struct Control<'h> {
    client: Client,
    hand: &'h mut dyn Hand,
}

impl Control<'_> {
    fn say(&mut self, ask: Ask) -> Result<Tell, Failure> {
        self.client.ask(ask).map_err(told)
    }

    /// Beats until the view is as wanted. `Ok(None)`: Stop was pressed.
    fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&AgentView) -> bool,
    ) -> Result<Option<AgentView>, Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let dead_man = self.hand.dead_man();
            self.client.heartbeat(dead_man).map_err(told)?;
            if let Some(view) = self.client.view() {
                self.hand.show(&view);
                if wanted(&view) {
                    return Ok(Some(view));
                }
            }
            if self.hand.stop() {
                self.say(Ask::Stop { by: "the keyboard".into() })?;
                return Ok(None);
            }
            if Instant::now() > end {
                let state = self.client.view().map_or_else(String::new, |v| v.robot.state);
                return Err(Failure::new(
                    format!("The robot did not become {what} in time; it is {state}."),
                    "Look at it, then try again.",
                ));
            }
            std::thread::sleep(BEAT);
        }
    }

    fn view(&mut self) -> Result<AgentView, Failure> {
        match self.say(Ask::View)? {
            Tell::View(view) => Ok(*view),
            _ => Err(Failure::new(
                "The robot's agent gave another answer.",
                "Use one version of both programs.",
            )),
        }
    }
}

/// The newest picture and the state beside it.
fn observe(client: &mut Client, wanted: &[String]) -> Result<(Frame, f64, Vec<f32>), String> {
    let (taken, frame) = match client.ask(Ask::Look { camera: None }).map_err(|e| e.to_string())? {
        Tell::Picture { taken, width, height, rgb, .. } => {
            let data = from_base64(&rgb).filter(|d| d.len() == width * height * 3);
            let data = data.ok_or("a picture came damaged")?;
            (taken, Frame { width, height, data })
        }
        _ => return Err("the agent gave no picture".into()),
    };
    let view = match client.ask(Ask::View).map_err(|e| e.to_string())? {
        Tell::View(view) => view,
        _ => return Err("the agent gave no view".into()),
    };
    let mut state = Vec::with_capacity(wanted.len());
    for name in wanted {
        let joint = name.strip_suffix(".pos").unwrap_or(name);
        let found = view.robot.joints.iter().find(|j| j.name == joint);
        let position =
            found.and_then(|j| j.position).ok_or_else(|| format!("{joint} has no position now"))?;
        state.push(position as f32);
    }
    Ok((frame, taken, state))
}

/// What the thinking thread tells the controlling one.
#[derive(Default)]
struct Thoughts {
    end: AtomicBool,
    plans: AtomicU64,
    milliseconds: AtomicU64,
    failed: Mutex<Option<String>>,
}

fn think(mut client: Client, brain: &mut dyn Brain, thoughts: &Thoughts) {
    brain.begin();
    let (channels, wanted, period) = (brain.channels(), brain.state(), brain.period());
    let mut number = 0;
    while !thoughts.end.load(Ordering::SeqCst) {
        let began = Instant::now();
        let planned = observe(&mut client, &wanted)
            .and_then(|(frame, taken, state)| Ok((taken, brain.chunk(&frame, &state)?)));
        match planned {
            Ok((observed, rows)) => {
                number += 1;
                let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                thoughts.milliseconds.store(took, Ordering::SeqCst);
                if client.propose(number, &channels, observed, period, &rows).is_err() {
                    return;
                }
                thoughts.plans.store(number, Ordering::SeqCst);
                *thoughts.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            // Kept for the person; the arm is held by the agent when nothing fresh comes.
            Err(why) => *thoughts.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why),
        }
        while began.elapsed() < EVERY && !thoughts.end.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Runs a live stage.
///
/// # Errors
/// An agent that cannot be reached, a robot that is not fit. Everything that happens to a run that began is an outcome.
pub fn fly(plan: &FlightPlan, brain: &mut dyn Brain, hand: &mut dyn Hand) -> Result<Outcome, Failure> {
    let connect = |name: &str| Client::connect(&plan.address, plan.token.as_deref(), name).map_err(told);
    let mut control = Control { client: connect("forerun push")?, hand };
    let Tell::Leased { key } = control.say(Ask::Lease { key: None })? else {
        return Err(Failure::new("The robot's agent gave no control.", "Use one version of both programs."));
    };
    let robot = RobotFile::parse(&control.client.robot).map_err(Failure::from_error)?;
    if control.view()?.robot.state == "disconnected" {
        control.say(Ask::Connect)?;
    }
    let mut thinker = connect("policy")?;
    thinker.ask(Ask::Lease { key: Some(key) }).map_err(told)?;
    let recorder = match &plan.record {
        Some(dataset) => {
            Some(Recorder::start(&plan.address, plan.token.as_deref(), &robot, dataset, &plan.task)?)
        }
        None => None,
    };
    let outcome = match plan.stage {
        Stage::Shadow => shadow(plan, &mut control, thinker, brain),
        Stage::Cautious => run(plan, Mode::Cautious, &robot, &mut control, thinker, brain),
        Stage::Normal => run(plan, Mode::Normal, &robot, &mut control, thinker, brain),
        other => Err(Failure::new(format!("{other} is no stage of a live robot."), "")),
    };
    if let Some(recorder) = recorder {
        let saved = recorder.finish();
        return outcome.map(|mut o| {
            // A run that was flown counts, whatever became of its recording.
            match saved {
                Ok(frames) => o.report["recorded_frames"] = json!(frames),
                Err(e) => {
                    o.words = format!("{}; it was not recorded: {}", o.words, e.text());
                    o.report["recorded_frames"] = json!(0);
                }
            }
            o
        });
    }
    outcome
}

fn with_thoughts<T>(
    client: Client,
    brain: &mut dyn Brain,
    f: impl FnOnce(&Thoughts) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let thoughts = Arc::new(Thoughts::default());
    std::thread::scope(|scope| {
        let theirs = Arc::clone(&thoughts);
        scope.spawn(move || think(client, brain, &theirs));
        let done = f(&thoughts);
        thoughts.end.store(true, Ordering::SeqCst);
        done
    })
}

fn failed(thoughts: &Thoughts) -> Option<String> {
    thoughts.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn shadow(
    plan: &FlightPlan,
    control: &mut Control<'_>,
    thinker: Client,
    brain: &mut dyn Brain,
) -> Result<Outcome, Failure> {
    if control.view()?.robot.state != "limp" {
        return Err(Failure::new(
            "Shadowing watches a limp arm; this one is stiff.",
            "Release its torque, hold the arm where the task begins, and try again.",
        ));
    }
    with_thoughts(thinker, brain, |thoughts| {
        // The first plan takes longest; the clock starts when the policy is awake.
        let awake = Instant::now();
        while thoughts.plans.load(Ordering::SeqCst) == 0 && awake.elapsed() < PATIENCE {
            // The camera's first picture may be on its way.
            if let Some(why) = failed(thoughts).filter(|_| awake.elapsed() > FIRST_PICTURE) {
                return Err(Failure::new(
                    format!("The policy does not answer: {why}."),
                    "Look at the camera first.",
                ));
            }
            control.client.heartbeat(false).map_err(told)?;
            std::thread::sleep(BEAT);
        }
        control.say(Ask::StartShadow)?;
        let began = Instant::now();
        while began.elapsed() < plan.time && !control.hand.stop() {
            control.client.heartbeat(false).map_err(told)?;
            if let Some(view) = control.client.view() {
                control.hand.show(&view);
                if view.robot.shadow.as_ref().is_some_and(|s| s.passed) {
                    break;
                }
            }
            std::thread::sleep(BEAT);
        }
        let Tell::Shadow { report } = control.say(Ask::EndShadow)? else {
            return Err(Failure::new(
                "The robot's agent gave no report.",
                "Use one version of both programs.",
            ));
        };
        let report = report.unwrap_or_default();
        let words = match report.failures.first() {
            Some(first) => format!("{} checks failed; the first: {first}", report.failed),
            None => format!("{} actions in {:.0} s, no check failed", report.actions, report.seconds),
        };
        let clean = report.passed;
        let report = serde_json::to_value(&report).unwrap_or_default();
        Ok(Outcome { clean, fault: false, seconds: 0.0, words, report })
    })
}

/// Brings a robot from whatever it is to ready. False: Stop was pressed.
fn make_ready(control: &mut Control<'_>) -> Result<bool, Failure> {
    loop {
        let view = control.view()?;
        match view.robot.state.as_str() {
            "ready" => return Ok(true),
            "limp" => {
                control.say(Ask::Arm)?;
            }
            "hold" => {
                if control.until("still", |v| v.robot.stands)?.is_none() {
                    return Ok(false);
                }
                control.say(Ask::Resume)?;
            }
            "armed" => {}
            "running" => return Err(Failure::new("The robot is running already.", "Stop it first.")),
            _ => {
                return Err(Failure::new(
                    format!("The robot has a fault: {}.", view.robot.why.unwrap_or_default()),
                    "See to it, acknowledge the fault, then try again.",
                ));
            }
        }
        if control.until("ready", |v| matches!(v.robot.state.as_str(), "ready" | "hold" | "fault"))?.is_none()
        {
            return Ok(false);
        }
    }
}

/// Goes slowly to where the policy wants to begin. False: Stop was pressed.
fn go_to_start(
    control: &mut Control<'_>,
    thinker: &mut Client,
    brain: &mut dyn Brain,
) -> Result<bool, Failure> {
    let wanted = brain.state();
    let mut asked = || -> Result<Vec<f64>, String> {
        let awake = Instant::now();
        loop {
            brain.begin();
            match observe(thinker, &wanted).and_then(|(frame, _, state)| brain.chunk(&frame, &state)) {
                Ok(rows) => return Ok(rows.into_iter().next().unwrap_or_default()),
                Err(why) if awake.elapsed() > FIRST_PICTURE => return Err(why),
                Err(_) => std::thread::sleep(BEAT),
            }
        }
    };
    // A first plan takes its time; control is kept meanwhile.
    let first = std::thread::scope(|scope| {
        let asking = scope.spawn(&mut asked);
        while !asking.is_finished() {
            control.client.heartbeat(false).map_err(told)?;
            std::thread::sleep(BEAT);
        }
        let silent = |why: String| {
            Failure::new(
                format!("The policy does not answer: {why}."),
                "Look at the camera and the policy first.",
            )
        };
        asking.join().unwrap_or_else(|_| Err("it ended early".into())).map_err(silent)
    })?;
    if first.iter().any(|v| !v.is_finite()) {
        return Err(Failure::new(
            "The policy's first action has numbers that are not finite.",
            "Train it again.",
        ));
    }
    let pose: Vec<(String, f64)> = brain.channels().into_iter().zip(first).collect();
    if !make_ready(control)? {
        return Ok(false);
    }
    let view = control.view()?;
    let far = |(name, goal): &(String, f64)| {
        let joint = name.strip_suffix(".pos").unwrap_or(name);
        let at = view.robot.joints.iter().find(|j| j.name == joint).map(|j| j.goal);
        at.is_none_or(|at| (at - goal).abs() > NEAR)
    };
    if pose.iter().any(far) {
        control.say(Ask::GoTo { pose })?;
        // The goals set out with the next tick.
        std::thread::sleep(BEAT * 2);
        return Ok(control
            .until("at the start pose", |v| v.robot.stands || v.robot.state != "ready")?
            .is_some());
    }
    Ok(true)
}

fn run(
    plan: &FlightPlan,
    mode: Mode,
    robot: &RobotFile,
    control: &mut Control<'_>,
    mut thinker: Client,
    brain: &mut dyn Brain,
) -> Result<Outcome, Failure> {
    let stopped = |seconds: f64| Outcome {
        clean: false,
        fault: false,
        seconds,
        words: "stopped by hand".into(),
        report: json!({}),
    };
    if !make_ready(control)? || !go_to_start(control, &mut thinker, brain)? {
        return Ok(stopped(0.0));
    }
    let mut time = plan.time;
    if mode == Mode::Cautious {
        // A little before the agent would end it itself, so that its own end is told from a watchdog's.
        let most = Duration::from_millis(robot.watch.cautious_run_ms.saturating_sub(300));
        time = time.min(most);
        if control.until("safe", |_| true)?.is_none() {
            return Ok(stopped(0.0));
        }
        let wait = Instant::now();
        while !control.hand.dead_man() && wait.elapsed() < PATIENCE && !control.hand.stop() {
            control.client.heartbeat(false).map_err(told)?;
            std::thread::sleep(BEAT);
        }
        if !control.hand.dead_man() {
            return Ok(Outcome { words: "the dead-man key was not held".into(), ..stopped(0.0) });
        }
        control.client.heartbeat(true).map_err(told)?;
    }
    control.say(Ask::Run { mode, data: plan.data.clone() })?;
    with_thoughts(thinker, brain, |thoughts| {
        let began = Instant::now();
        let mut by_hand = false;
        let ended = loop {
            let dead_man = control.hand.dead_man();
            control.client.heartbeat(dead_man).map_err(told)?;
            let view = control.view()?;
            control.hand.show(&view);
            if view.robot.state != "running" {
                break view;
            }
            by_hand = control.hand.stop();
            if by_hand || began.elapsed() >= time {
                let by = if by_hand { "the keyboard" } else { "the end of the run" };
                control.say(Ask::Stop { by: by.into() })?;
                let view = control.until("still", |v| v.robot.state != "running")?;
                break view.unwrap_or(control.view()?);
            }
            std::thread::sleep(BEAT);
        };
        let seconds = began.elapsed().as_secs_f64();
        let why = ended.robot.why.clone().unwrap_or_default();
        let fault = ended.robot.state == "fault";
        let whole = began.elapsed() >= time && !by_hand && !fault;
        thoughts.end.store(true, Ordering::SeqCst);
        if !fault {
            control.say(Ask::Park)?;
            control
                .until("parked", |v| v.robot.park.as_deref() == Some("parked") || v.robot.state == "fault")?;
        }
        let words = if whole {
            format!("{seconds:.0} s without a stop")
        } else if by_hand {
            format!("stopped by hand after {seconds:.1} s")
        } else {
            let thought = failed(thoughts).map(|w| format!(" (the policy: {w})")).unwrap_or_default();
            format!("{} after {seconds:.1} s: {why}{thought}", ended.robot.state)
        };
        let report = json!({
            "seconds": seconds, "state": ended.robot.state, "why": why,
            "plans": thoughts.plans.load(Ordering::SeqCst),
            "last_plan_ms": thoughts.milliseconds.load(Ordering::SeqCst),
            "latency_p95_ms": ended.robot.latency_p95_ms,
            "period_ms": ended.period_ms, "late_ticks": ended.late,
        });
        Ok(Outcome { clean: whole, fault, seconds, words, report })
    })
}
