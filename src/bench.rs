//! Measurements of this build on this machine, for `forerun bench`, `forerun doctor` and `benches/`.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use forerun_models::kernels::{Precision, precision, threads};
use forerun_models::measure;
use serde_json::{Map, Value};

use crate::engine::backend::{HistoryFrame, Stream, WorldModel};
use crate::engine::models::ModelStore;
use crate::failure::Failure;
use crate::world::record::{RecordSettings, record as record_world};
use crate::world::{EpisodeSettings, JOINT_NAMES, Renderer, SceneDistribution, bench as world_bench};

/// Named numbers with their units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speed(Vec<(&'static str, f64, &'static str)>);

impl Speed {
    pub(crate) fn with(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        self.0.push((name, value, unit));
        self
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _, _)| *n == name).map(|(_, value, _)| *value)
    }

    /// An object of name and number.
    pub fn value(&self) -> Value {
        let entry = |(name, value, _): &(&str, f64, &str)| ((*name).to_owned(), Value::from(*value));
        Value::Object(self.0.iter().map(entry).collect::<Map<_, _>>())
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value, unit)) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{} {value:.1} {unit}", name.replace('_', " "))?;
        }
        Ok(())
    }
}

/// The virtual world's camera at 128 x 128 on all cores.
///
/// # Errors
/// Never for the world's own scenes.
pub fn camera(time: Duration) -> Result<Speed, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let speed = world_bench::camera(128, threads, time.as_secs_f64()).map_err(Failure::from_error)?;
    Ok(Speed::default()
        .with("frames_per_second", speed.frames_per_second, "frames/s")
        .with("physics_steps_per_second", speed.steps_per_second, "steps/s on one core")
        .with("threads", speed.threads as f64, "threads"))
}

/// Recording a dataset with video into a temporary folder.
///
/// # Errors
/// The temporary folder cannot be written.
pub fn record() -> Result<Speed, Failure> {
    let dir = tempfile::tempdir().map_err(|e| Failure::io("make", &std::env::temp_dir(), &e))?;
    let settings = RecordSettings { episode: EpisodeSettings::default(), episodes: 8, seed: 1, threads: 0 };
    let began = Instant::now();
    let made = record_world(&settings, &dir.path().join("set"), |_| {}, &AtomicBool::new(false))
        .map_err(Failure::from_error)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Speed::default().with("frames_per_second", made.frames as f64 / seconds, "frames/s").with(
        "frames",
        made.frames as f64,
        "frames",
    ))
}

/// Times of the parts that networks are made of, a line each through `tell`: milliseconds, thousand million operations a
/// second and the most memory (MB) that this process has used so far, by name of the case (all of them when `cases` is empty),
/// on `thread_count` threads (0: all cores), with products of bf16 if asked.
///
/// # Errors
/// A name that is no case; a processor without bf16.
pub fn kernels(
    cases: &[String],
    time: Duration,
    thread_count: usize,
    bf16: bool,
    mut tell: impl FnMut(&str),
) -> Result<Value, Failure> {
    let known = || measure::CASES.into_iter().map(str::to_owned).collect();
    let wish = if bf16 { Precision::Bf16 } else { Precision::F32 };
    if precision::with(wish, precision::current) != wish {
        let help = "Leave --bf16 away; products of f32 run everywhere.";
        return Err(Failure::new("This processor has no products of bf16 (AVX512-BF16).", help));
    }
    let names: Vec<String> = if cases.is_empty() { known() } else { cases.to_vec() };
    let mut out = Map::new();
    for name in names {
        let case = || precision::with(wish, || measure::case(&name, time));
        let found = threads::with(thread_count, case).map_err(Failure::from_error)?;
        let Some(found) = found else {
            let help = format!("the cases are {}", measure::CASES.join(", "));
            return Err(Failure::new(format!("{name} is no case"), help));
        };
        let speed =
            if found.operations > 0.0 { format!("{:8.1} GFLOP/s", found.gflops()) } else { String::new() };
        tell(&format!("{:20} {:9.3} ms {speed}", found.name, found.ms));
        let peak = crate::machine::peak_memory() as f64 / 1e6;
        out.insert(name, serde_json::json!({ "ms": found.ms, "gflops": found.gflops(), "peak_mb": peak }));
    }
    Ok(Value::Object(out))
}

/// Writes weights, inputs and outputs of a pass of the tiny network for another library to compare itself with.
///
/// # Errors
/// The file cannot be written.
pub fn dump_kernels(path: &std::path::Path) -> Result<(), Failure> {
    measure::dump(path).map_err(Failure::from_error)
}

/// Frames that are imagined for a measurement.
const STEPS: usize = 20;

/// Imagining with a model: first frame, one future at refine 1 and 4, eight futures at once.
///
/// # Errors
/// The model cannot be loaded or run.
pub fn imagine(model: &str, device: &str) -> Result<Speed, Failure> {
    let loaded = ModelStore::default().get(model, device)?;
    let model = loaded.model.as_ref();
    // Once for nothing: memory is touched, packed weights are made.
    run(model, 1, 1, 2)?;
    let (first, one) = run(model, 1, 1, STEPS)?;
    let (_, fine) = run(model, 1, 4, STEPS)?;
    let (_, eight) = run(model, 8, 1, STEPS)?;
    Ok(Speed::default()
        .with("load_ms", loaded.load_ms, "ms")
        .with("first_frame_ms", first * 1e3, "ms")
        .with("frames_per_second_refine_1", 1.0 / one, "frames/s")
        .with("frames_per_second_refine_4", 1.0 / fine, "frames/s")
        .with("eight_futures_cost", eight / one, "times one"))
}

/// Seconds to the first frame, and mean seconds a step of those after it.
fn run(model: &dyn WorldModel, futures: usize, refine: usize, steps: usize) -> Result<(f64, f64), Failure> {
    let began = Instant::now();
    let history = scene(model);
    let row =
        crate::engine::track::hold(history.last().and_then(|h| h.state.as_deref()), model.contract()).ok();
    let streams =
        (0..futures as u64).map(|seed| Stream { seed, prompt: None, history: history.clone() }).collect();
    let mut rollout = model.start(streams, refine)?;
    let actions = vec![row; futures];
    rollout.step(&actions)?;
    let first = began.elapsed().as_secs_f64();
    let went_on = Instant::now();
    for _ in 1..steps {
        rollout.step(&actions)?;
    }
    Ok((first, went_on.elapsed().as_secs_f64() / steps.saturating_sub(1).max(1) as f64))
}

/// A scene of the virtual world in the model's size, seen for as long as the model looks back.
fn scene(model: &dyn WorldModel) -> Vec<HistoryFrame> {
    let contract = model.contract();
    let scene = SceneDistribution::default().sample(1, false);
    let joints = scene.start_joints();
    let (w, h) = (contract.frame.width, contract.frame.height);
    let drawn = Renderer::new(&scene, w, h).render(&joints, &scene.start_poses());
    let frame = crate::engine::fit::fit(&drawn, w, h).map_or(drawn, |f| f.frame);
    let named: Vec<(String, f32)> = JOINT_NAMES.iter().map(|n| (*n).to_owned()).zip(joints).collect();
    let state = crate::engine::start::in_order(&named, &contract.state);
    let one = HistoryFrame { frame, state, action: None };
    vec![one; contract.frame.history.max(1)]
}
