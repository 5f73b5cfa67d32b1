//! Training a world model from fresh weights as a job.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::device;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::places::Places;
use crate::engine::protocol::{Event, TrainSpec};
use crate::failure::Failure;
use crate::train::{Budget, Stage, TrainError, TrainSettings, start};

/// How often a line of the log is passed on.
const PERIOD: Duration = Duration::from_secs(1);

/// Trains a model. Its course comes as [`Event::Report`]s with a `stage` each: `note`, `training`, `done`. Cancelled, it
/// leaves a checkpoint to resume from.
///
/// # Errors
/// See [`start`]; settings that cannot be read.
pub fn train(context: &JobContext, spec: &TrainSpec) -> Result<String, JobEnd> {
    let settings = TrainSettings::read(&spec.config).map_err(Failure::from_error)?;
    let budget = match (spec.minutes, spec.iterations) {
        (Some(minutes), _) if minutes.is_finite() && minutes > 0.0 => Budget::Minutes(minutes),
        (None, Some(iterations)) if iterations > 0 => Budget::Iterations(iterations),
        _ => {
            let what = "There is nothing to train for.";
            return Err(Failure::new(what, "Give minutes or iterations above 0.").into());
        }
    };
    let from = match &spec.from {
        Some(model) => Some(Places::standard(None).find(model)?),
        None => None,
    };
    let device = device::open_or_cpu(&spec.device)?;
    let report = |value: Value| context.send(Event::Report { job: context.job, value }, Vec::new());
    let mut told: Option<Instant> = None;
    let mut watch = |stage: Stage| match stage {
        Stage::Loading { done, all } => context.progress(done as u64, all as u64, "reading episodes"),
        Stage::Note(note) => report(json!({ "stage": "note", "note": note })),
        Stage::Training(found) => {
            if found.judgement.is_none() && told.is_some_and(|told| told.elapsed() < PERIOD) {
                return;
            }
            told = Some(Instant::now());
            let event = Event::Progress {
                job: context.job,
                done: (found.progress * 1000.0) as u64,
                total: 1000,
                seconds_left: Some(found.seconds_left as f32),
                what: "training".into(),
            };
            context.send(event, Vec::new());
            let mut value = serde_json::to_value(&found).unwrap_or_default();
            if let Value::Object(object) = &mut value {
                object.insert("stage".into(), "training".into());
            }
            report(value);
        }
    };
    let cancel = context.cancel.flag();
    let ended = start(
        settings,
        &spec.datasets,
        &spec.out,
        budget,
        spec.resume,
        from.as_deref(),
        &device,
        &mut watch,
        cancel,
    );
    match ended {
        Ok(_) if context.cancel.is_cancelled() => Err(JobEnd::Cancelled),
        Ok(contract) => {
            report(json!({ "stage": "done", "model": spec.out, "name": contract.name }));
            Ok(format!("{} is in {}", contract.name, spec.out.display()))
        }
        Err(TrainError::Cancelled) => Err(JobEnd::Cancelled),
        Err(error) => Err(Failure::from_error(error).into()),
    }
}
