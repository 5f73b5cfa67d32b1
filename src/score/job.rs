//! Scoring as one job: windows, rollouts, numbers.

use std::time::Instant;

use forerun_models::Frame;
use serde_json::{Map, Value, json};

use super::horizons::Horizon;
use super::pixels::{changed, luma};
use super::rollouts::{Wish, pictures};
use super::skill::Spread;
use super::windows::{Place, Source, Window};
use super::{long, twins, words};
use crate::engine::backend::{self, Stream, WorldModel};
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::jobs::Tools;
use crate::engine::protocol::{Event, ScoreSpec};
use crate::failure::Failure;

/// Windows that are imagined at once; each takes two streams, its own actions and another episode's.
const BATCH: usize = 8;
/// Windows and futures a window for the spread of an ensemble.
const SPREAD: (usize, usize) = (16, 4);
/// The horizon at which an ensemble is judged, when it is asked for; else the nearest one.
const SPREAD_AT: usize = 10;
/// Starts a prompt, and long futures.
const STARTS: usize = 60;
/// Episodes that are set beside their twins: the newest ones.
const TWINS: usize = 8;
/// Long futures.
const LONG: usize = 16;
/// Frames of the speed test.
const SPEED: usize = 12;

/// Scores a model on a dataset. The numbers come as [`Event::Report`] with the keys of `score --json`.
///
/// # Errors
/// The model or the dataset cannot be read, settings out of range; cancel.
pub fn score(tools: &Tools, context: &JobContext, spec: &ScoreSpec) -> Result<String, JobEnd> {
    let longest = check(spec)?;
    context.progress(0, 0, "loading the model");
    let loaded = tools.models.get(&spec.model, &spec.device)?;
    let model = loaded.model.as_ref();
    context.progress(0, 0, "reading the dataset");
    let source = Source::open(&spec.dataset, spec.episodes, model.contract())?;
    let sha256 = source.dataset().sha256().map_err(Failure::from_error)?;
    context.check()?;
    let count = spec.windows.unwrap_or_else(|| (source.episodes.len() * 2).clamp(32, 256));
    let mut sorted = spec.horizons.clone();
    sorted.sort_unstable();
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(longest);
    let places = source.choose(count, longest, middle)?;
    if places.is_empty() {
        let message = "The episodes are too short to be scored.";
        return Err(Failure::new(message, "Score on episodes of at least two frames.").into());
    }
    let horizons = judge_windows(context, model, &source, &places, spec, longest)?;
    let spread = judge_spread(context, model, &source, &places, spec)?;
    let (first_ms, rate) = speed(context, model, &source, &places, spec)?;
    let mut value = json!({
        "model": { "name": loaded.info.name, "sha256": model.sha256(), "parameters": model.parameters() },
        "dataset": { "sha256": sha256, "episodes": source.episodes.len(), "frames": source.frames() },
        "horizons": horizons,
        "spread_skill": spread,
        "frames_per_second": rate,
        "first_frame_ms": first_ms,
        "settings": {
            "windows": places.len(), "refine": spec.refine, "seed": spec.seed, "device": spec.device,
            "kernels": backend::kernels_on(&spec.device), "threads": backend::threads(),
            "software": env!("CARGO_PKG_VERSION"),
        },
    });
    if let Value::Object(object) = &mut value {
        if spec.text {
            let text = words::judge(context, model, &source, STARTS, spec.refine, spec.seed)?;
            object.insert("text".into(), text);
        }
        if let Some(steps) = spec.long {
            let long = long::judge(context, model, &source, steps, LONG, spec.refine, spec.seed)?;
            object.insert("long".into(), long);
        }
        if let Some(steps) = spec.twins {
            let twins = twins::judge(context, model, &source, TWINS, steps, spec.refine, spec.seed)?;
            object.insert("twins".into(), twins);
        }
    }
    context.send(Event::Report { job: context.job, value }, Vec::new());
    Ok(format!("{} windows of {} episodes", places.len(), source.episodes.len()))
}

fn check(spec: &ScoreSpec) -> Result<usize, Failure> {
    let longest = spec.horizons.iter().copied().max().unwrap_or(0);
    if spec.horizons.contains(&0) || longest == 0 || longest > 1000 {
        return Err(Failure::new("The horizons must be numbers of 1 to 1000.", "For example 1,4,10,20,40."));
    }
    if !(1..=8).contains(&spec.refine) {
        return Err(Failure::new(
            format!("A refinement of {} is not possible.", spec.refine),
            "Choose 1 to 8.",
        ));
    }
    if spec.windows == Some(0) || [spec.long, spec.twins].into_iter().flatten().any(|n| n == 0 || n > 50_000)
    {
        return Err(Failure::new("Nothing would be scored.", "Ask for at least one window and one frame."));
    }
    Ok(longest)
}

fn wish(window: &Window, seed: u64, rows: Option<Vec<Vec<f32>>>) -> Wish {
    Wish { stream: Stream { seed, prompt: None, history: window.history.clone() }, rows }
}

fn judge_windows(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    places: &[Place],
    spec: &ScoreSpec,
    longest: usize,
) -> Result<Value, JobEnd> {
    // A batch is cut to its shortest history, so windows with histories of one length go together.
    let mut order: Vec<usize> = (0..places.len()).collect();
    let history = model.contract().frame.history;
    order.sort_by_key(|&i| places.get(i).map(|p| (p.start + 1).min(history)));
    let mut horizons: Vec<(usize, Horizon)> =
        spec.horizons.iter().map(|&h| (h, Horizon::default())).collect();
    let total = places.len() as u64;
    let mut done = 0u64;
    for batch in order.chunks(BATCH) {
        context.progress(done, total, "imagining windows");
        let mut windows = Vec::new();
        let mut others = Vec::new();
        for &i in batch {
            context.check()?;
            let Some(&place) = places.get(i) else { continue };
            windows.push(source.load(place)?);
            others.push(other_rows(source, places, i)?);
        }
        let steps = windows.iter().map(|w| w.truth.len()).max().unwrap_or(0).min(longest);
        let driven = windows.iter().all(|w| w.rows.is_some()) && others.iter().all(Option::is_some);
        let mut wishes: Vec<Wish> =
            windows.iter().zip(batch).map(|(w, &i)| wish(w, spec.seed + i as u64, w.rows.clone())).collect();
        if driven {
            let wrong = windows.iter().zip(batch).zip(others);
            wishes.extend(wrong.map(|((w, &i), rows)| wish(w, spec.seed + i as u64, rows)));
        }
        let made = pictures(context, model, wishes, steps, spec.refine)?;
        for (h, horizon) in &mut horizons {
            for (k, window) in windows.iter().enumerate() {
                let at = |i: usize| made.get(i).and_then(|frames| frames.get(*h - 1));
                if let Some(frame) = at(k) {
                    let wrong = if driven { at(windows.len() + k) } else { None };
                    horizon.add(window, *h, frame, wrong, model.contract());
                }
            }
        }
        done += batch.len() as u64;
    }
    context.progress(total, total, "imagining windows");
    let report: Map<String, Value> =
        horizons.iter().map(|(h, sums)| (h.to_string(), sums.report())).collect();
    Ok(Value::Object(report))
}

/// The actions of a window of another episode, as far from this one in the list as can be.
fn other_rows(source: &Source, places: &[Place], i: usize) -> Result<Option<Vec<Vec<f32>>>, Failure> {
    let own = places.get(i).map(|p| p.episode);
    let half = places.len() / 2;
    let other = (0..places.len())
        .filter_map(|k| places.get((i + half + k) % places.len()))
        .find(|p| Some(p.episode) != own);
    match other {
        Some(place) => source.rows(*place),
        None => Ok(None),
    }
}

fn judge_spread(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    places: &[Place],
    spec: &ScoreSpec,
) -> Result<Option<f64>, JobEnd> {
    let at = spec.horizons.iter().copied().min_by_key(|h| h.abs_diff(SPREAD_AT)).unwrap_or(SPREAD_AT);
    let (windows, members) = SPREAD;
    let usable: Vec<&Place> = places.iter().filter(|p| p.length >= at).collect();
    let step = usable.len().div_ceil(windows).max(1);
    let chosen: Vec<&Place> = usable.into_iter().step_by(step).collect();
    let mut spread = Spread::default();
    for (n, place) in chosen.iter().enumerate() {
        context.progress(n as u64, chosen.len() as u64, "imagining ensembles");
        let window = source.load(**place)?;
        let wishes = (0..members).map(|m| wish(&window, spec.seed + m as u64, window.rows.clone())).collect();
        let made = pictures(context, model, wishes, at, spec.refine)?;
        let last: Vec<&Frame> = made.iter().filter_map(|frames| frames.get(at - 1)).collect();
        let Some((truth, start)) = window.truth.get(at - 1).zip(window.start()) else { continue };
        add_spread(&mut spread, &last, truth, start);
    }
    Ok(spread.ratio())
}

/// Adds the brightness of every pixel that moved: there the future was open.
fn add_spread(spread: &mut Spread, members: &[&Frame], truth: &Frame, start: &Frame) {
    let lumas: Vec<Vec<f32>> = members.iter().map(|frame| luma(frame)).collect();
    for (i, (value, moved)) in luma(truth).iter().zip(changed(start, truth)).enumerate() {
        if moved {
            let values: Vec<f32> = lumas.iter().filter_map(|l| l.get(i).copied()).collect();
            spread.add(&values, *value);
        }
    }
}

/// Milliseconds to the first frame and frames a second of one future.
fn speed(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    places: &[Place],
    spec: &ScoreSpec,
) -> Result<(Option<f64>, Option<f64>), JobEnd> {
    let Some(place) = places.iter().max_by_key(|p| p.start) else { return Ok((None, None)) };
    let window = source.load(*place)?;
    let began = Instant::now();
    let mut first = None;
    let wishes = vec![wish(&window, spec.seed, window.rows.clone())];
    super::rollouts::imagine(context, model, wishes, SPEED, spec.refine, |_, _, _| {
        first.get_or_insert_with(Instant::now);
    })?;
    let rate = first.map(|first| (SPEED - 1) as f64 / first.elapsed().as_secs_f64().max(1e-9));
    Ok((first.map(|first| first.duration_since(began).as_secs_f64() * 1e3), rate))
}
