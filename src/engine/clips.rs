//! Imagining with models that make whole clips: one future after the other, with a small picture of every step.

use std::ops::ControlFlow;
use std::time::Instant;

use forerun_models::published::{ClipJob, ClipMoment, ClipSettings, Planned, PublishedError};
use forerun_models::{Channel, Frame};

use super::backend::Imagined;
use super::imagine::{Plan, Writer, send_frame};
use super::job::{JobContext, JobEnd};
use super::protocol::{Event, Reading};
use super::published::{ClipModel, check_memory, explain};
use super::record::{FutureRecord, STATE_PREFIX, Timings};
use crate::failure::Failure;

/// What the names of readings begin with that are actions of the model's own choice.
pub const ACTION_PREFIX: &str = "action.";

/// Imagines all futures of a plan. Returns their records in the order of the seeds.
///
/// # Errors
/// What was asked for does not fit the model or the memory, a file is wrong, a folder cannot be written, cancel.
pub(super) fn run(context: &JobContext, plan: &Plan, model: &ClipModel) -> Result<Vec<FutureRecord>, JobEnd> {
    let wanted = plan.clip.clone().unwrap_or_default();
    check_memory(model, &wanted, plan.start.frames.len(), plan.steps, &plan.loaded.device)?;
    let seeds: Vec<u64> =
        plan.seeds.iter().copied().filter(|seed| plan.only.is_none_or(|only| only == *seed)).collect();
    let mut records = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        let began = if number == 0 { plan.began } else { Instant::now() };
        records.push(one(context, plan, model, &wanted, (*seed, number, seeds.len()), began)?);
    }
    Ok(records)
}

fn one(
    context: &JobContext,
    plan: &Plan,
    model: &ClipModel,
    wanted: &ClipSettings,
    (seed, number, futures): (u64, usize, usize),
    began: Instant,
) -> Result<FutureRecord, JobEnd> {
    let mut writer = Writer::new(seed, plan)?;
    if let Some(present) = plan.start.frames.last() {
        send_frame(context, seed, 0, &present.history.frame, Reading::default());
    }
    let given: Vec<Frame> = plan.start.frames.iter().map(|f| f.history.frame.clone()).collect();
    let job = ClipJob {
        prompt: &plan.prompt,
        given: &given,
        actions: plan.rows.as_deref(),
        state: plan.start.frames.last().and_then(|frame| frame.history.state.as_deref()),
        steps: plan.steps,
        seed,
        settings: wanted,
    };
    let mut first: Option<Instant> = None;
    let mut watch = |moment: ClipMoment<'_>| {
        match moment {
            ClipMoment::Stage(what) => context.progress(0, 0, what),
            ClipMoment::Step { done, total, previews } => {
                let all = (futures * total) as u64;
                context.progress((number * total + done) as u64, all, "denoising");
                send_preview(context, seed, done, total, previews);
            }
            ClipMoment::Frames(from, frames) => {
                first.get_or_insert_with(Instant::now);
                for (i, frame) in frames.iter().enumerate() {
                    send_frame(context, seed, from + i + 1, frame, Reading::default());
                }
            }
            ClipMoment::Pulse => {}
        }
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let made = model.published.imagine(&job, &mut watch).map_err(|error| match error {
        PublishedError::Stopped => JobEnd::Cancelled,
        other => JobEnd::Failed(explain(other)),
    })?;
    if let Some(planned) = &made.planned {
        writer.plan(planned, model)?;
    }
    for (step, frame) in made.frames.into_iter().enumerate() {
        let row = made.actions.as_ref().and_then(|rows| rows.get(step));
        let channels = plan.contract.actions.iter();
        let mut reading: Vec<(String, f32)> = row
            .iter()
            .flat_map(|row| channels.clone().zip(row.iter()))
            .map(|(channel, value)| (format!("{ACTION_PREFIX}{}", channel.name), *value))
            .collect();
        // A policy's pictures are all of one moment, the end of its plan.
        reading.extend(made.planned.iter().flat_map(|planned| planned_reading(planned, model)));
        if !reading.is_empty() {
            send_frame(context, seed, step + 1, &frame, Reading { values: reading.clone() });
        }
        writer.add(Imagined {
            frame,
            state: Vec::new(),
            reading,
            action: row.cloned().unwrap_or_default(),
        })?;
    }
    context.check()?;
    let now = Instant::now();
    let first = first.unwrap_or(now);
    let timings = Timings {
        first_frame_ms: first.duration_since(began).as_secs_f64() * 1e3,
        frames_per_second: plan.steps as f64 / now.duration_since(began).as_secs_f64().max(1e-9),
        load_ms: plan.load_ms,
    };
    let (record, folder) = writer.finish(plan, &[seed], &timings)?;
    let value = serde_json::to_value(&record)
        .map_err(|e| Failure::new(format!("The record could not be written: {e}."), "Report this."))?;
    context.send(Event::FutureDone { job: context.job, seed, folder, record: value }, Vec::new());
    Ok(record)
}

/// What is shown beside the pictures of a policy: its value, its first action and the state that it expects.
fn planned_reading(planned: &Planned, model: &ClipModel) -> Vec<(String, f32)> {
    let policy = model.published.folder().policy.as_ref();
    let named = |channels: &[Channel], values: &[f32], prefix: &str| -> Vec<(String, f32)> {
        let pairs = channels.iter().zip(values);
        pairs.map(|(channel, value)| (format!("{prefix}{}", channel.name), *value)).collect()
    };
    let (actions, state) =
        policy.map_or((&[] as &[Channel], &[] as &[Channel]), |p| (p.actions.as_slice(), p.state.as_slice()));
    let first = planned.rows.first().map(Vec::as_slice).unwrap_or_default();
    [("value".to_owned(), planned.value)]
        .into_iter()
        .chain(named(actions, first, ACTION_PREFIX))
        .chain(named(state, planned.state.as_deref().unwrap_or_default(), STATE_PREFIX))
        .collect()
}

/// Sends the small pictures of a step, with the frames of the future (counted from 1) that each stands for.
fn send_preview(
    context: &JobContext,
    seed: u64,
    done: usize,
    total: usize,
    previews: Vec<(std::ops::Range<usize>, Frame)>,
) {
    let mut parts = Vec::with_capacity(previews.len());
    let mut blobs = Vec::with_capacity(previews.len());
    for (range, picture) in previews {
        parts.push((range.start + 1, range.end + 1, picture.width, picture.height));
        blobs.push(picture.data);
    }
    context.send(Event::FuturePreview { job: context.job, seed, done, total, parts }, blobs);
}
