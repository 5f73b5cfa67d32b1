//! The stages of a bundle that need no arm, as jobs: replay and rehearse.

use serde_json::json;

use super::Tools;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::Event;
use crate::engine::specs::BundleTrySpec;
use crate::failure::Failure;
use crate::policy::{EvaluateSettings, StoppableModel, load_policy};
use crate::robot::bundle::Stage;
use crate::robot::push::rehearse::rehearse;
use crate::robot::push::replay::{ReplaySettings, replay};

/// Tries a bundle's policy on recorded episodes or in a world model. How it went comes as one [`Event::Report`].
///
/// # Errors
/// A stage that needs an arm, a policy, dataset or model that cannot be used.
pub fn try_bundle(tools: &Tools, context: &JobContext, spec: &BundleTrySpec) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading");
    let policy = load_policy(&spec.policy)?;
    let cancel = context.cancel.flag();
    let outcome = match spec.stage {
        Stage::Replay => {
            let dataset = spec.dataset.as_ref().ok_or_else(|| {
                Failure::new(
                    "Replay compares with recorded episodes.",
                    "Choose or record some of this robot first.",
                )
            })?;
            replay(&policy, dataset, ReplaySettings::default(), cancel)
        }
        Stage::Rehearse => {
            let loaded = tools.models.get(&spec.model, "cpu")?;
            let model = StoppableModel::new(loaded.model.as_ref(), cancel);
            let settings = EvaluateSettings {
                episodes: spec.episodes,
                steps: spec.steps,
                fps: policy.contract().frame.rate_hz.round() as u32,
                ..EvaluateSettings::default()
            };
            let told = |done: usize, all: usize| context.progress(done as u64, all as u64, "rehearsing");
            rehearse(&policy, &model, &settings, &told, cancel)
        }
        other => Err(Failure::new(
            format!("The stage {other} needs an arm."),
            "Run it from the Robot screen, or by forerun push.",
        )),
    };
    let outcome = match outcome {
        Err(_) if context.cancel.is_cancelled() => return Err(JobEnd::Cancelled),
        outcome => outcome?,
    };
    let summary = outcome.words.clone();
    context.send(Event::Report { job: context.job, value: json!({ "outcome": outcome }) }, Vec::new());
    Ok(summary)
}
