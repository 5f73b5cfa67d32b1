//! Post-training as a job: its course as reports, its pictures as blobs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::dataset::doctor::View;
use crate::engine::device;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::places::Places;
use crate::engine::protocol::{Event, PostTrainSpec};
use crate::failure::Failure;
use crate::train::post::{PostReport, PostRequest, PostStage, Wishes, post_train as train};
use crate::train::{Budget, TrainError};

/// How often a line of the log is passed on.
const PERIOD: Duration = Duration::from_secs(1);
/// Seconds of measuring before the start.
const MEASURE: f64 = 10.0;

/// Post-trains a model.
///
/// # Errors
/// What [`train`] refuses. Cancelled, it leaves a checkpoint to resume from.
pub fn post_train(context: &JobContext, spec: &PostTrainSpec) -> Result<String, JobEnd> {
    let budget = match (spec.minutes, spec.iterations) {
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Budget::Minutes(minutes),
        (None, Some(iterations)) if iterations > 0 => Budget::Iterations(iterations),
        _ => {
            let message = "There is nothing to train for.";
            return Err(Failure::new(message, "Give minutes or iterations above 0.").into());
        }
    };
    let view = |number: usize| {
        let mut view = spec.views.get(number).cloned().unwrap_or_default();
        if !spec.camera.is_empty() {
            view.camera.clone_from(&spec.camera);
        }
        view
    };
    let views: Vec<View> = (0..spec.datasets.len()).map(view).collect();
    let request = PostRequest {
        base: Places::standard(None).find(&spec.base)?,
        datasets: spec.datasets.clone(),
        out: spec.out.clone(),
        budget,
        resume: spec.resume,
        wishes: Wishes {
            method: spec.method,
            views,
            replay: spec.replay,
            fit: spec.fit,
            ..Wishes::default()
        },
        measure_seconds: if matches!(budget, Budget::Minutes(_)) { MEASURE } else { 0.0 },
        device: device::open_or_cpu(&spec.device)?,
    };
    let say =
        |value: Value, blobs: Vec<Vec<u8>>| context.send(Event::Report { job: context.job, value }, blobs);
    let mut told: Option<Instant> = None;
    let mut watch = |stage: PostStage| match stage {
        PostStage::Loading { done, all } => context.progress(done as u64, all as u64, "reading episodes"),
        PostStage::Note(note) => say(json!({ "stage": "note", "note": note }), vec![]),
        PostStage::Ready(found) => say(json!({ "stage": "ready", "preflight": found }), vec![]),
        PostStage::Before(base) => say(json!({ "stage": "before", "judgement": base }), vec![]),
        PostStage::Training(report) => {
            let due = report.judgement.is_some()
                || report.alarm.is_some()
                || told.is_none_or(|told| told.elapsed() > PERIOD);
            if due {
                told = Some(Instant::now());
                training(context, &request, &report);
            }
        }
    };
    match train(&request, &mut watch, context.cancel.flag()) {
        Ok(outcome) => {
            let value = json!({
                "stage": "done",
                "model": request.out,
                "comparison": outcome.comparison,
                "iterations": outcome.iterations,
                "best_iteration": outcome.best_iteration,
                "stopped": outcome.stopped,
            });
            say(value, vec![]);
            Ok(format!("{} is in {}", outcome.contract.name, request.out.display()))
        }
        Err(TrainError::Cancelled) => Err(JobEnd::Cancelled),
        Err(error) => Err(Failure::from_error(error).into()),
    }
}

fn training(context: &JobContext, request: &PostRequest, report: &PostReport) {
    let event = Event::Progress {
        job: context.job,
        done: (report.progress * 1000.0) as u64,
        total: 1000,
        seconds_left: Some(report.seconds_left as f32),
        what: "training".into(),
    };
    context.send(event, Vec::new());
    let picture = report.preview.as_ref().and_then(|name| std::fs::read(request.out.join(name)).ok());
    let mut value = serde_json::to_value(report).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        object.insert("stage".into(), "training".into());
    }
    context.send(Event::Report { job: context.job, value }, picture.into_iter().collect());
}
