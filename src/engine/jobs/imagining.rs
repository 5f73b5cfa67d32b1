//! Futures: from a request, or again from a record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use forerun_models::Contract;
use serde_json::json;

use super::Tools;
use crate::engine::backend::HistoryFrame;
use crate::engine::episode::Episode;
use crate::engine::imagine::{self, Plan};
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::models::Loaded;
use crate::engine::protocol::{Actions, ClipSettings, Event, ImagineSpec, Start};
use crate::engine::record::{FutureRecord, locate};
use crate::engine::start::{self, Resolved, StartFrame, stride_of};
use crate::engine::track::{self, Table};
use crate::failure::Failure;
use crate::{fsx, media};

/// Imagines what a request asks for.
///
/// # Errors
/// Anything wrong with the request, the files it names, or the disk; cancel.
pub fn imagine(
    tools: &Tools,
    context: &JobContext,
    spec: ImagineSpec,
    blobs: Vec<Vec<u8>>,
) -> Result<String, JobEnd> {
    let (loaded, load_ms) = load(tools, context, &spec.model, &spec.device)?;
    let began = Instant::now();
    let (contract, clip) = chosen(&loaded, &spec.clip)?;
    let contract = &contract;
    let resolved = start::resolve(&spec.start, &blobs, contract)?;
    drop(blobs);
    for note in &resolved.notes {
        context.log("info", note.clone());
    }
    let (kind, rows) = rows(&spec.actions, &spec.start, &resolved, contract, spec.steps)?;
    // Files and folders are recorded from the root on: the record may be opened from anywhere.
    let source = serde_json::to_value(from_root(spec.start.clone())).unwrap_or_default();
    let model = match Path::new(&spec.model).is_dir() {
        true => std::path::absolute(&spec.model).map_or(spec.model, |p| p.to_string_lossy().into_owned()),
        false => spec.model,
    };
    let plan = Plan {
        loaded: loaded.clone(),
        contract: contract.clone(),
        clip,
        model,
        start: resolved,
        source,
        prompt: spec.prompt,
        kind: kind.into(),
        rows,
        steps: spec.steps,
        seeds: spec.seeds,
        only: None,
        refine: spec.refine,
        out: spec.out,
        began,
        load_ms,
    };
    let records = imagine::run(context, &plan)?;
    Ok(summary(&records))
}

/// The contract under the choices of a job, and all choices as they are recorded.
fn chosen(loaded: &Loaded, wanted: &ClipSettings) -> Result<(Contract, Option<ClipSettings>), Failure> {
    match loaded.model.clip() {
        Some(model) => {
            // Everything is written out: a default of today may be another one tomorrow.
            let settings = model.published.folder().settings(wanted);
            Ok((model.contract_with(&settings)?, Some(settings)))
        }
        None if wanted.is_empty() => Ok((loaded.info.contract.clone(), None)),
        None => Err(Failure::new(
            format!(
                "{} goes frame by frame: it has a fixed size and no choices of published models.",
                loaded.info.name
            ),
            "Leave out --size, --denoise, --guidance and the like.",
        )),
    }
}

/// A start whose paths do not depend on the folder that this process runs in.
fn from_root(start: Start) -> Start {
    let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    match start {
        Start::Files { paths, at } => Start::Files { paths: paths.into_iter().map(whole).collect(), at },
        Start::Episode { dataset, episode, at } => Start::Episode { dataset: whole(dataset), episode, at },
        Start::Future { folder, at } => Start::Future { folder: whole(folder), at },
        other => other,
    }
}

fn load(
    tools: &Tools,
    context: &JobContext,
    model: &str,
    device: &str,
) -> Result<(Arc<Loaded>, f64), JobEnd> {
    context.progress(0, 0, "loading the model");
    let began = Instant::now();
    let loaded = tools.models.get(model, device)?;
    context.check()?;
    Ok((loaded, began.elapsed().as_secs_f64() * 1e3))
}

fn summary(records: &[FutureRecord]) -> String {
    let frames = records.first().map_or(0, |r| r.steps);
    let timings = records.first().map(|r| r.timings.clone()).unwrap_or_default();
    format!(
        "{} of {frames} frames; first frame after {:.0} ms, then {:.1} frames a second",
        if records.len() == 1 { "1 future".to_owned() } else { format!("{} futures", records.len()) },
        timings.first_frame_ms,
        timings.frames_per_second
    )
}

/// Kind of the actions and their rows in the contract's order.
fn rows(
    actions: &Actions,
    start: &Start,
    resolved: &Resolved,
    contract: &Contract,
    steps: usize,
) -> Result<(&'static str, Option<Vec<Vec<f32>>>), Failure> {
    let steps = steps.min(imagine::MAX_STEPS);
    Ok(match actions {
        Actions::Free => ("free", None),
        Actions::Hold => {
            let present = resolved.frames.last().and_then(|f| f.history.state.as_deref());
            ("hold", Some(vec![track::hold(present, contract)?; steps]))
        }
        Actions::Track { channels, rows } => {
            let table = Table { columns: channels.clone(), rows: rows.clone() };
            ("track", Some(track::map(&table, contract, steps, "The action track")?))
        }
        Actions::File(path) => {
            let table = track::read(path)?;
            ("file", Some(track::map(&table, contract, steps, &path.display().to_string())?))
        }
        Actions::Episode { dataset, episode } => {
            let offset = match start {
                Start::Episode { at, .. } => *at,
                _ => 0,
            };
            ("episode", Some(episode_rows(dataset, *episode, offset, contract, steps)?))
        }
    })
}

/// What [`rows`] finds, for those who vary it before they ask: one row a step in the contract's order; `None` = free.
///
/// # Errors
/// The actions cannot be read or do not fit the contract.
pub fn track_of(
    actions: &Actions,
    start: &Start,
    resolved: &Resolved,
    contract: &Contract,
    steps: usize,
) -> Result<Option<Vec<Vec<f32>>>, Failure> {
    rows(actions, start, resolved, contract, steps).map(|(_, rows)| rows)
}

/// The recorded actions of an episode from frame `offset` on. Where the dataset is faster than the model, the last
/// action before each of the model's frames counts: it is the target in force when that frame is taken.
fn episode_rows(
    dataset: &Path,
    episode: usize,
    offset: usize,
    contract: &Contract,
    steps: usize,
) -> Result<Vec<Vec<f32>>, Failure> {
    let source = Episode::open(dataset, episode)?;
    let (stride, _) = stride_of(source.fps(), f64::from(contract.frame.rate_hz), "The episode");
    let mut table = Table::default();
    for step in 0..steps {
        let at = offset + (((step + 1) as f64 * stride).round() as usize).saturating_sub(1);
        // The last frame's action leads to a frame that was never taken, but it is an action all the same.
        let named = source.action(at);
        if named.is_empty() {
            break;
        }
        if table.columns.is_empty() {
            table.columns = named.iter().map(|(name, _)| name.clone()).collect();
        }
        table.rows.push(named.into_iter().map(|(_, value)| value).collect());
    }
    if table.rows.is_empty() {
        return Err(Failure::new(
            format!("{} has no actions from frame {offset} on.", source.name()),
            "Choose an earlier start, another episode, or an action file.",
        ));
    }
    // A recorded target may lie beyond a range; it was limited there too.
    for row in &mut table.rows {
        for (value, name) in row.iter_mut().zip(&table.columns) {
            if let Some(channel) = contract.actions.iter().find(|c| c.name == *name)
                && value.is_finite()
            {
                *value = value.clamp(channel.min, channel.max);
            }
        }
    }
    track::map(&table, contract, steps, &source.name())
}

/// Imagines the future of a record again and compares every frame.
///
/// # Errors
/// The record or its start frames are damaged, the model is another one, and all of [`imagine()`].
pub fn again(
    tools: &Tools,
    context: &JobContext,
    record: &Path,
    model: Option<String>,
    out: Option<PathBuf>,
) -> Result<String, JobEnd> {
    let old = FutureRecord::read(record)?;
    let (folder, _) = locate(record);
    let name = model.unwrap_or_else(|| old.model.name.clone());
    let (loaded, load_ms) = load(tools, context, &name, &old.device)?;
    if loaded.info.sha256 != old.model.sha256 {
        return Err(Failure::new(
            format!(
                "{name} has other weights than the model that imagined this future (sha256 {}, not {}).",
                loaded.info.sha256, old.model.sha256
            ),
            "Give the folder of the recorded model with --model.",
        )
        .into());
    }
    let began = Instant::now();
    let (contract, clip) = chosen(&loaded, &old.sampling.clone().unwrap_or_default())?;
    let resolved = recorded_start(&old, &folder)?;
    let plan = Plan {
        loaded: loaded.clone(),
        contract: contract.clone(),
        clip,
        model: name,
        start: resolved,
        source: old.start.source.clone(),
        prompt: old.prompt.clone(),
        kind: old.actions.kind.clone(),
        rows: if old.actions.channels.is_empty() { None } else { Some(recorded_rows(&old, &contract)?) },
        steps: old.steps,
        seeds: if old.batch.contains(&old.seed) { old.batch.clone() } else { vec![old.seed] },
        only: Some(old.seed),
        refine: old.refine,
        out,
        began,
        load_ms,
    };
    let new = imagine::run(context, &plan)?;
    let frames = new.first().map(|r| r.frames.as_slice()).unwrap_or_default();
    let same = frames.iter().zip(&old.frames).take_while(|(a, b)| a.file.sha256 == b.file.sha256).count();
    let identical = same == old.frames.len() && same == frames.len();
    let value = json!({
        "identical": identical, "frames": frames.len(),
        "first_difference": if identical { None } else { Some(same + 1) },
    });
    context.send(Event::Report { job: context.job, value }, Vec::new());
    if identical {
        return Ok(format!("{}; every frame is identical to the record", summary(&new)));
    }
    let here = new.first();
    let other =
        |what: &str, then: &str, now: &str| (then != now).then(|| format!("{what} was {then}, is {now}"));
    let reasons: Vec<String> = [
        other("software", &old.software, env!("CARGO_PKG_VERSION")),
        here.and_then(|r| other("kernels", &old.kernels, &r.kernels)),
        here.and_then(|r| other("number of threads", &old.threads.to_string(), &r.threads.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    Ok(format!("{}; frames differ from the record from frame {} on{why}", summary(&new), same + 1))
}

/// The start frames that lie beside the record, checked against their hashes.
fn recorded_start(old: &FutureRecord, folder: &Path) -> Result<Resolved, Failure> {
    let mut frames = Vec::new();
    for start in &old.start.frames {
        let path = folder.join(&start.file.file);
        let bytes = std::fs::read(&path).map_err(|e| Failure::io("read", &path, &e))?;
        if fsx::sha256_hex(&bytes) != start.file.sha256 {
            return Err(Failure::new(
                format!("{} is not the picture that this future started from.", path.display()),
                "Restore the future's folder from where it came.",
            ));
        }
        let frame = media::decode_picture(&path, &bytes).map_err(Failure::from_error)?;
        frames.push(StartFrame {
            history: HistoryFrame { frame, state: start.state.clone(), action: start.action.clone() },
            source_sha256: start.source_sha256.clone(),
            origin: start.origin.clone(),
            named_state: Vec::new(),
        });
    }
    let notes = if old.start.note.is_empty() { Vec::new() } else { vec![old.start.note.clone()] };
    Ok(Resolved { frames, notes })
}

fn recorded_rows(old: &FutureRecord, contract: &Contract) -> Result<Vec<Vec<f32>>, Failure> {
    let table = Table { columns: old.actions.channels.clone(), rows: old.actions.rows.clone() };
    track::map(&table, contract, old.steps, "The record")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_recorded_start_is_found_from_any_folder() {
        let Start::Episode { dataset, episode: 2, at: 3 } =
            from_root(Start::Episode { dataset: "set".into(), episode: 2, at: 3 })
        else {
            panic!("another start")
        };
        assert_eq!(dataset, std::env::current_dir().unwrap().join("set"));
        let Start::Files { paths, at: None } =
            from_root(Start::Files { paths: vec!["a.png".into(), dataset.clone()], at: None })
        else {
            panic!("another start")
        };
        assert!(paths[0].is_absolute() && paths[1] == dataset);
        assert_eq!(from_root(Start::Nothing), Start::Nothing);
    }
}
