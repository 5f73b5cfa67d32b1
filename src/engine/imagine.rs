//! Imagining: futures frame by frame, and their folders.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use forerun_models::published::{ClipSettings, Planned};
use forerun_models::{Contract, Frame};

use super::backend::{self, Futures, Imagined, Stream};
use super::job::{JobContext, JobEnd};
use super::models::Loaded;
use super::protocol::{Event, Reading};
use super::published::ClipModel;
use super::record::{
    ActionsRecord, FileHash, FrameRecord, FutureRecord, ModelRef, RECORD_FILE, RECORD_FORMAT, STATE_PREFIX,
    StartFrameRecord, StartRecord, Timings,
};
use super::start::Resolved;
use crate::failure::Failure;
use crate::fsx::{self, PendingFolder};
use crate::media;

/// Futures that advance together at most; more are imagined one batch after the other.
const BATCH: usize = 8;
/// Most frames of a future: an hour and a half at 10 Hz.
pub const MAX_STEPS: usize = 50_000;
/// Most seeds of a job.
const MAX_SEEDS: usize = 1024;
/// Bytes of frames that may wait for their clip.
const CLIP_BYTES: usize = 1 << 30;

/// Everything that a job of imagining has found out before it begins.
pub struct Plan {
    /// The model.
    pub loaded: std::sync::Arc<Loaded>,
    /// Its contract, as it was chosen for this job.
    pub contract: Contract,
    /// Choices, where the model makes whole clips.
    pub clip: Option<ClipSettings>,
    /// Name of the model as it was asked for.
    pub model: String,
    /// What it starts from.
    pub start: Resolved,
    /// What was asked for as a start, for the record.
    pub source: serde_json::Value,
    /// Words.
    pub prompt: String,
    /// `free`, `hold`, `track`, `file` or `episode`.
    pub kind: String,
    /// One row a step in the contract's order; `None` = free.
    pub rows: Option<Vec<Vec<f32>>>,
    /// Frames to imagine.
    pub steps: usize,
    /// One future a seed.
    pub seeds: Vec<u64>,
    /// The only seed that is told and written, where the others just keep it company.
    pub only: Option<u64>,
    /// Denoising steps a frame.
    pub refine: usize,
    /// Folder for `seed-S/`.
    pub out: Option<PathBuf>,
    /// When the model was in memory and the rest of the work began.
    pub began: Instant,
    /// Milliseconds of loading the model for this job.
    pub load_ms: f64,
}

/// Imagines all futures of a plan. Returns their records in the order of the seeds.
///
/// # Errors
/// Numbers out of range, a device that fails, a folder that cannot be written, cancel. What is whole by then stays,
/// what is not leaves nothing.
pub fn run(context: &JobContext, plan: &Plan) -> Result<Vec<FutureRecord>, JobEnd> {
    check(plan)?;
    let fresh = plan.out.as_ref().filter(|out| !out.exists());
    if let Some(out) = &plan.out {
        std::fs::create_dir_all(out).map_err(|e| Failure::io("make", out, &e))?;
        fsx::sweep(out);
    }
    let records = run_all(context, plan);
    if let (Err(_), Some(out)) = (&records, fresh) {
        fsx::prune_empty(out);
    }
    records
}

fn run_all(context: &JobContext, plan: &Plan) -> Result<Vec<FutureRecord>, JobEnd> {
    if let Some(model) = plan.loaded.model.clip() {
        return super::clips::run(context, plan, model);
    }
    let frame = &plan.contract.frame;
    let bytes = frame.width.saturating_mul(frame.height).saturating_mul(3).saturating_mul(plan.steps).max(1);
    let batch = (CLIP_BYTES / bytes).clamp(1, BATCH);
    let mut records = Vec::new();
    for (number, seeds) in plan.seeds.chunks(batch).enumerate() {
        let done = number * batch * plan.steps;
        // The first batch is timed from the request on, a later one from its own start.
        let began = if number == 0 { plan.began } else { Instant::now() };
        records.extend(run_batch(context, plan, seeds, done, began)?);
    }
    Ok(records)
}

fn check(plan: &Plan) -> Result<(), Failure> {
    if plan.steps == 0 || plan.steps > MAX_STEPS {
        return Err(Failure::new(
            format!("{} frames cannot be imagined.", plan.steps),
            format!("Ask for 1 to {MAX_STEPS} steps."),
        ));
    }
    if !(1..=8).contains(&plan.refine) {
        return Err(Failure::new(
            format!("A refinement of {} is not possible.", plan.refine),
            "Choose 1 (fast) to 8 (fine).",
        ));
    }
    let mut seeds = plan.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    if seeds.len() != plan.seeds.len() || seeds.is_empty() || seeds.len() > MAX_SEEDS {
        return Err(Failure::new(
            format!("{} seeds were given, {} different ones.", plan.seeds.len(), seeds.len()),
            format!("Give 1 to {MAX_SEEDS} different seeds: one future each."),
        ));
    }
    Ok(())
}

fn run_batch(
    context: &JobContext,
    plan: &Plan,
    seeds: &[u64],
    done: usize,
    began: Instant,
) -> Result<Vec<FutureRecord>, JobEnd> {
    let total = (plan.seeds.len() * plan.steps) as u64;
    let prompt = Some(plan.prompt.clone()).filter(|p| !p.trim().is_empty());
    let history: Vec<_> = plan.start.frames.iter().map(|f| f.history.clone()).collect();
    let streams =
        seeds.iter().map(|&seed| Stream { seed, prompt: prompt.clone(), history: history.clone() }).collect();
    let wanted = |seed: u64| plan.only.is_none_or(|only| only == seed);
    let mut writers = seeds
        .iter()
        .map(|&seed| wanted(seed).then(|| Writer::new(seed, plan)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(present) = plan.start.frames.last() {
        for writer in writers.iter().flatten() {
            send_frame(context, writer.seed, 0, &present.history.frame, Reading::default());
        }
    }
    context.check()?;
    context.progress(done as u64, total, "imagining");
    let mut rollout: Box<dyn Futures + '_> = plan.loaded.model.start(streams, plan.refine)?;
    let mut first: Option<Instant> = None;
    for step in 0..plan.steps {
        context.check()?;
        let row = plan.rows.as_ref().and_then(|rows| rows.get(step)).cloned();
        let imagined = rollout.step(&vec![row; seeds.len()])?;
        first.get_or_insert_with(Instant::now);
        for (writer, mut imagined) in writers.iter_mut().zip(imagined) {
            let Some(writer) = writer else { continue };
            let states = plan.contract.state.iter().zip(&imagined.state);
            let states = states.map(|(channel, value)| (format!("{STATE_PREFIX}{}", channel.name), *value));
            imagined.reading.extend(states);
            let reading = Reading { values: imagined.reading.clone() };
            send_frame(context, writer.seed, step + 1, &imagined.frame, reading);
            writer.add(imagined)?;
        }
        context.progress((done + (step + 1) * seeds.len()) as u64, total, "imagining");
    }
    let now = Instant::now();
    let first = first.unwrap_or(now);
    let first_ms = first.duration_since(began).as_secs_f64() * 1e3;
    let rate = match plan.steps {
        1 => 1e3 / first_ms.max(1e-3),
        steps => (steps - 1) as f64 / now.duration_since(first).as_secs_f64().max(1e-9),
    };
    let timings = Timings { first_frame_ms: first_ms, frames_per_second: rate, load_ms: plan.load_ms };
    let mut records = Vec::new();
    for writer in writers.into_iter().flatten() {
        context.check()?;
        let seed = writer.seed;
        let (record, folder) = writer.finish(plan, seeds, &timings)?;
        let value = serde_json::to_value(&record)
            .map_err(|e| Failure::new(format!("The record could not be written: {e}."), "Report this."))?;
        context.send(Event::FutureDone { job: context.job, seed, folder, record: value }, Vec::new());
        records.push(record);
    }
    Ok(records)
}

pub(super) fn send_frame(context: &JobContext, seed: u64, index: usize, frame: &Frame, reading: Reading) {
    let (width, height) = (frame.width, frame.height);
    let event = Event::FutureFrame { job: context.job, seed, index, width, height, reading };
    context.send(event, vec![frame.data.clone()]);
}

/// One future under way: its folder (when one is wanted) and the lines of its record.
pub(super) struct Writer {
    seed: u64,
    folder: Option<PendingFolder>,
    start: Vec<StartFrameRecord>,
    frames: Vec<FrameRecord>,
    pictures: Vec<Frame>,
    planned: Option<ActionsRecord>,
}

impl Writer {
    pub(super) fn new(seed: u64, plan: &Plan) -> Result<Self, Failure> {
        let folder = match &plan.out {
            None => None,
            Some(out) => {
                let target = out.join(format!("seed-{seed}"));
                let folder = PendingFolder::new(&target).map_err(|e| Failure::io("make", &target, &e))?;
                for part in ["start", "frames"] {
                    make(&folder.path().join(part))?;
                }
                Some(folder)
            }
        };
        let mut writer =
            Self { seed, folder, start: Vec::new(), frames: Vec::new(), pictures: Vec::new(), planned: None };
        for (i, frame) in plan.start.frames.iter().enumerate() {
            let file = writer.put_picture(format!("start/{i:04}.png"), &frame.history.frame)?;
            writer.start.push(StartFrameRecord {
                file,
                source_sha256: frame.source_sha256.clone(),
                origin: frame.origin.clone(),
                state: frame.history.state.clone(),
                action: frame.history.action.clone(),
            });
        }
        Ok(writer)
    }

    fn put_picture(&self, file: String, frame: &Frame) -> Result<FileHash, Failure> {
        let png = media::encode_png(frame).map_err(Failure::from_error)?;
        self.put(file, &png)
    }

    /// Writes a file of the future; its name and hash belong to the record even when nothing is written.
    fn put(&self, file: String, bytes: &[u8]) -> Result<FileHash, Failure> {
        if let Some(folder) = &self.folder {
            let path = folder.path().join(&file);
            // The folder has a temporary name and is synced as a whole before it gets its own.
            std::fs::write(&path, bytes)
                .map_err(|e| Failure::io("write", &folder.target().join(&file), &e))?;
        }
        Ok(FileHash { file, sha256: fsx::sha256_hex(bytes) })
    }

    /// Writes what a policy wants to do as `actions.csv`, which `--actions` reads again, and into the record.
    pub(super) fn plan(&mut self, planned: &Planned, model: &ClipModel) -> Result<(), Failure> {
        let channels = model.published.folder().policy.iter().flat_map(|policy| &policy.actions);
        let channels: Vec<String> = channels.map(|channel| channel.name.clone()).collect();
        let line = |cells: Vec<String>| cells.join(",") + "\n";
        let rows = planned.rows.iter().map(|row| line(row.iter().map(f32::to_string).collect()));
        let table: String = std::iter::once(line(channels.clone())).chain(rows).collect();
        self.put("actions.csv".into(), table.as_bytes())?;
        self.planned = Some(ActionsRecord { kind: "policy".into(), channels, rows: planned.rows.clone() });
        Ok(())
    }

    pub(super) fn add(&mut self, imagined: Imagined) -> Result<(), Failure> {
        let file = self.put_picture(format!("frames/{:05}.png", self.frames.len() + 1), &imagined.frame)?;
        let reading = imagined.reading.into_iter().map(|(name, value)| (name, value.into())).collect();
        self.frames.push(FrameRecord { file, reading });
        if self.folder.is_some() {
            self.pictures.push(imagined.frame);
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        plan: &Plan,
        batch: &[u64],
        timings: &Timings,
    ) -> Result<(FutureRecord, Option<PathBuf>), Failure> {
        let info = &plan.loaded.info;
        let clip = match &self.folder {
            None => None,
            Some(_) => {
                let fps = f64::from(plan.contract.frame.rate_hz);
                let mp4 = media::encode_mp4(&self.pictures, media::Mp4Options::export(fps))
                    .map_err(Failure::from_error)?;
                Some(self.put("future.mp4".into(), &mp4)?)
            }
        };
        let record = FutureRecord {
            format: RECORD_FORMAT,
            kind: "future".into(),
            software: env!("CARGO_PKG_VERSION").into(),
            made: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            model: ModelRef {
                name: plan.model.clone(),
                sha256: info.sha256.clone(),
                parameters: info.parameters,
            },
            contract: plan.contract.clone(),
            sampling: plan.clip.clone(),
            prompt: plan.prompt.clone(),
            seed: self.seed,
            steps: plan.steps,
            refine: plan.refine,
            device: plan.loaded.device.clone(),
            kernels: backend::kernels_on(&plan.loaded.device),
            threads: backend::threads(),
            batch: batch.to_vec(),
            start: StartRecord {
                source: plan.source.clone(),
                note: plan.start.notes.join("; "),
                frames: std::mem::take(&mut self.start),
            },
            actions: ActionsRecord {
                kind: plan.kind.clone(),
                channels: match &plan.rows {
                    Some(_) => plan.contract.actions.iter().map(|c| c.name.clone()).collect(),
                    None => Vec::new(),
                },
                rows: plan.rows.clone().unwrap_or_default(),
            },
            planned: self.planned.take(),
            frames: std::mem::take(&mut self.frames),
            clip,
            timings: timings.clone(),
        };
        let folder = match self.folder.take() {
            None => None,
            Some(folder) => {
                self.folder = None;
                let target = folder.target().to_path_buf();
                let failed = |e: std::io::Error| Failure::io("write", &target, &e);
                std::fs::write(folder.path().join(RECORD_FILE), record.to_bytes()?).map_err(failed)?;
                Some(folder.commit().map_err(failed)?)
            }
        };
        Ok((record, folder))
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir(folder).map_err(|e| Failure::io("make", folder, &e))
}
