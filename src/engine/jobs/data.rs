//! Datasets as jobs: what is in them, one episode to look at, what the doctor finds, and imports.

use std::path::{Path, PathBuf};

use forerun_models::Frame;
use serde_json::{Value, json};

use crate::dataset::doctor::{View, examine_while};
use crate::dataset::import::{Offer, import_clips, offer};
use crate::dataset::{CameraKind, Dataset, Matrix};
use crate::engine::fit::fit;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::Event;
use crate::engine::specs::EpisodeSpec;
use crate::failure::Failure;
use crate::project::datasets;

/// Frames a message: small enough to show soon and to stop soon.
const CHUNK: usize = 8;
/// Most numbers of an episode that are sent: enough for an hour of thirty channels.
const MOST_ROWS: usize = 200_000;

fn report(context: &JobContext, value: Value) {
    context.send(Event::Report { job: context.job, value }, Vec::new());
}

/// Takes what a person dropped or chose into a project: a LeRobot dataset by a link, clips as a new dataset.
///
/// # Errors
/// What [`offer`] and [`import_clips`] refuse; a project that cannot be written.
pub fn import(context: &JobContext, project: &Path, paths: &[PathBuf]) -> Result<String, JobEnd> {
    let (entry, notes) = match offer(paths)? {
        Offer::LeRobot(folder) => {
            // A set that does not open is refused before there is a link to it.
            Dataset::open(&folder).map_err(Failure::from_error)?;
            (datasets::link(project, &folder)?, Vec::new())
        }
        Offer::Clips(clips) => {
            let first = clips.first().cloned().unwrap_or_default();
            let wish = match clips.as_slice() {
                [one] => one.file_stem().map(|n| n.to_string_lossy().into_owned()),
                _ => first.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned()),
            };
            let name = datasets::free_name(project, &wish.unwrap_or_default());
            let folder = project.join(crate::project::Part::Datasets.folder()).join(&name);
            let mut told =
                |done: usize, all: usize| context.progress(done as u64, all as u64, "importing clips");
            let made = match import_clips(&clips, &folder, &mut told, context.cancel.flag()) {
                Ok(made) => made,
                Err(_) if context.cancel.is_cancelled() => return Err(JobEnd::Cancelled),
                Err(failure) => return Err(failure.into()),
            };
            let entry = datasets::DatasetEntry { name, folder, ..datasets::DatasetEntry::default() };
            (entry, made.notes)
        }
    };
    let summary = format!("{} is in the project", entry.name);
    report(context, json!({ "entry": entry, "notes": notes }));
    Ok(summary)
}

/// What is in a dataset: from its index alone, so that it comes at once.
///
/// # Errors
/// It does not open.
pub fn read_dataset(context: &JobContext, folder: &Path) -> Result<String, JobEnd> {
    let set = Dataset::open(folder).map_err(Failure::from_error)?;
    let cameras: Vec<Value> = set
        .cameras()
        .iter()
        .map(|camera| {
            let why = match &camera.kind {
                CameraKind::Unsupported(why) => why.as_str(),
                _ => "",
            };
            json!({ "key": camera.key, "width": camera.width, "height": camera.height, "trouble": why })
        })
        .collect();
    let channels = |key: &str| -> Vec<Value> {
        let feature = set.features().iter().find(|f| f.key == key);
        let channel = |c: &crate::dataset::ChannelInfo| json!({ "name": c.name, "unit": c.unit });
        feature.map(|f| f.channels.iter().map(channel).collect()).unwrap_or_default()
    };
    let episodes: Vec<Value> = set
        .episodes()
        .iter()
        .map(|meta| json!({ "index": meta.index, "length": meta.length, "task": meta.tasks.first() }))
        .collect();
    let value = json!({
        "folder": folder,
        "version": set.version().name(),
        "fps": set.fps(),
        "robot": set.robot_type(),
        "frames": set.total_frames(),
        "cameras": cameras,
        "main_camera": set.main_camera().map(|camera| camera.key.clone()),
        "action": channels("action"),
        "state": channels("observation.state"),
        "episodes": episodes,
        "problems": set.problems(),
    });
    report(context, value);
    Ok(String::new())
}

/// One episode: its numbers as [`Event::Report`], then the pictures of all cameras in step, as [`Event::Pictures`] whose
/// note is the camera.
///
/// # Errors
/// It cannot be read; cancel.
pub fn read_episode(context: &JobContext, spec: &EpisodeSpec) -> Result<String, JobEnd> {
    let set = Dataset::open(&spec.dataset).map_err(Failure::from_error)?;
    let episode = set.episode(spec.episode).map_err(Failure::from_error)?;
    let length = episode.length;
    let mended = spec.view.mend(episode);
    let matrix = |m: Option<&Matrix>| -> Value {
        let Some(m) = m.filter(|m| m.values.len() <= MOST_ROWS * 32) else { return Value::Null };
        json!({ "channels": m.channels, "values": m.values })
    };
    report(
        context,
        json!({
            "episode": spec.episode, "length": length, "task": mended.task,
            "action": matrix(mended.actions()), "state": matrix(mended.state()),
        }),
    );
    let cameras: Vec<String> = set
        .cameras()
        .iter()
        .filter(|camera| !matches!(camera.kind, CameraKind::Unsupported(_)))
        .map(|camera| camera.key.clone())
        .collect();
    let all = (length * cameras.len()) as u64;
    let mut done = 0;
    for from in (0..length).step_by(CHUNK) {
        for camera in &cameras {
            context.check()?;
            let to = (from + CHUNK).min(length);
            let frames = set.clip(camera, spec.episode, from..to).map_err(Failure::from_error)?;
            let frames = frames.iter().map(|f| smaller(f, spec.side)).collect::<Result<Vec<_>, _>>()?;
            done += frames.len() as u64;
            let event = Event::Pictures {
                job: context.job,
                sizes: frames.iter().map(|f| (f.width, f.height)).collect(),
                states: Vec::new(),
                unfamiliar: None,
                note: camera.clone(),
            };
            context.send(event, frames.into_iter().map(|f| f.data).collect());
            context.progress(done, all, "reading pictures");
        }
    }
    Ok(String::new())
}

fn smaller(frame: &Frame, side: usize) -> Result<Frame, Failure> {
    let longest = frame.width.max(frame.height);
    if longest <= side.max(16) {
        return Ok(frame.clone());
    }
    let scale = |n: usize| (n * side.max(16)).div_ceil(longest).max(1);
    Ok(fit(frame, scale(frame.width), scale(frame.height))?.frame)
}

/// What the doctor finds in a dataset as `view` shows it.
///
/// # Errors
/// It does not open; cancel.
pub fn examine_dataset(context: &JobContext, folder: &Path, view: &View) -> Result<String, JobEnd> {
    let set = Dataset::open(folder).map_err(Failure::from_error)?;
    let mut go_on = |done: usize, all: usize| {
        context.progress(done as u64, all as u64, "examining episodes");
        !context.cancel.is_cancelled()
    };
    let found = examine_while(&set, view, &mut go_on).ok_or(JobEnd::Cancelled)?;
    context.check()?;
    let summary = format!("{} findings", found.findings.len());
    report(context, json!({ "examination": found }));
    Ok(summary)
}
