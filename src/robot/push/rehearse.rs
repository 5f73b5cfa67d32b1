//! Stage 1: the policy acts inside the world model, beside doing nothing from the same starts.

use std::sync::atomic::AtomicBool;

use forerun_models::policy::Policy;

use super::Outcome;
use crate::engine::backend::WorldModel;
use crate::failure::Failure;
use crate::policy::{EvaluateSettings, Mind, PolicyMind, Venue, Yardstick, evaluate};

/// Rehearses. The stage counts when the policy succeeds at least once and at least as often as doing nothing.
///
/// # Errors
/// A policy that does not fit the model; cancel.
pub fn rehearse(
    policy: &Policy,
    model: &dyn WorldModel,
    settings: &EvaluateSettings,
    progress: &(dyn Fn(usize, usize) + Sync),
    cancel: &AtomicBool,
) -> Result<Outcome, Failure> {
    let minds = |seed: u64| -> Result<Box<dyn Mind + '_>, Failure> {
        Ok(Box::new(PolicyMind { policy, seed, temperature: 0.0 }))
    };
    let name = policy.contract().name.clone();
    let found = evaluate(
        Venue::Model(model),
        &name,
        Some(&minds),
        &[Yardstick::Nothing],
        settings,
        progress,
        cancel,
    )?;
    let successes = |i: usize| found.actors.get(i).map_or((0, 0), |(_, t, _)| (t.successes, t.episodes));
    let ((did, all), (idle, _)) = (successes(0), successes(1));
    let words = format!(
        "succeeded in {did} of {all} imagined episodes, doing nothing in {idle} (a success: {})",
        found.rule
    );
    let report = serde_json::to_value(&found).unwrap_or_default();
    Ok(Outcome { clean: did > 0 && did >= idle, fault: false, seconds: 0.0, words, report })
}
