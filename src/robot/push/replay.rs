//! Stage 0: the policy looks at recorded episodes and says what it would have done there.
//!
//! Its error per joint is the mean distance between its chunk and the actions that were recorded, over all steps of the
//! chunk. It is compared with doing nothing (the arm stays where it was): a policy that is further off than that knows
//! nothing about this robot.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forerun_models::policy::{Draw, Policy, Seen};
use serde_json::json;

use super::Outcome;
use crate::dataset::{Dataset, Matrix};
use crate::engine::fit::fit_for;
use crate::failure::Failure;

/// Which moments are looked at.
#[derive(Clone, Copy, Debug)]
pub struct ReplaySettings {
    /// Most episodes, the last ones of the set: those are the least likely to be known.
    pub episodes: usize,
    /// Moments in an episode.
    pub moments: usize,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self { episodes: 5, moments: 6 }
    }
}

/// A row of a table in the order of the channels; `None` when one is missing.
fn row(matrix: &Matrix, t: usize, names: &[String]) -> Option<Vec<f32>> {
    let of = |name: &String| matrix.column(name).and_then(|c| matrix.row(t).get(c).copied());
    names.iter().map(of).collect()
}

/// Replays recorded episodes.
///
/// # Errors
/// A dataset without the policy's channels or without pictures; cancel.
pub fn replay(
    policy: &Policy,
    dataset: &Path,
    settings: ReplaySettings,
    cancel: &AtomicBool,
) -> Result<Outcome, Failure> {
    let set = Dataset::open(dataset).map_err(Failure::from_error)?;
    let contract = policy.contract();
    let actions: Vec<String> = contract.actions.iter().map(|c| c.name.clone()).collect();
    let states: Vec<String> = contract.state.iter().map(|c| c.name.clone()).collect();
    let camera = set.main_camera().map(|c| c.key.clone()).ok_or_else(|| {
        Failure::new(
            "This dataset has no pictures that can be read.",
            "Choose episodes of this robot with a camera.",
        )
    })?;
    let (mut error, mut nothing, mut count) =
        (vec![0.0f64; actions.len()], vec![0.0f64; actions.len()], 0usize);
    let mut odd = 0usize;
    for meta in set.episodes().iter().rev().take(settings.episodes.max(1)) {
        let episode = set.episode(meta.index).map_err(Failure::from_error)?;
        let missing = || {
            Failure::new(
                format!("The dataset does not have the policy's channels: {}.", actions.join(", ")),
                "Choose episodes of this robot.",
            )
        };
        let (taken, stood) = (episode.actions().ok_or_else(missing)?, episode.state());
        let length = meta.length.min(taken.rows());
        for k in 0..settings.moments.max(1) {
            if cancel.load(Ordering::Relaxed) {
                return Err(Failure::new("Stopped.", "The stage has to be run again."));
            }
            let t = k * length / settings.moments.max(1);
            let frame = |t: usize| -> Result<crate::Frame, Failure> {
                let frame = set.frame(&camera, meta.index, t).map_err(Failure::from_error)?;
                Ok(fit_for(&frame, &contract.frame)?.frame)
            };
            let (start, before, now) = (frame(0)?, frame(t.saturating_sub(1))?, frame(t)?);
            let state = match stood {
                Some(m) if !states.is_empty() => row(m, t, &states).ok_or_else(missing)?,
                _ if states.is_empty() => Vec::new(),
                _ => return Err(missing()),
            };
            let prompt = episode.tasks.first().map(String::as_str);
            let seen = Seen {
                now: &now,
                before: Some(&before),
                start: Some(&start),
                goal: None,
                state: &state,
                prompt,
            };
            let mut chunks = policy
                .plan(&[seen], &[vec![Draw::MEAN]])
                .map_err(|e| Failure::new(e.to_string(), "Train the policy again."))?;
            let chunk = chunks.pop().and_then(|mut c| c.pop()).unwrap_or_default();
            let here = stood.and_then(|m| row(m, t, &actions));
            for (step, said) in chunk.iter().enumerate().take(length - t) {
                let Some(did) = row(taken, t + step, &actions) else { return Err(missing()) };
                odd += usize::from(said.iter().any(|v| !v.is_finite()));
                for (j, (said, did)) in said.iter().zip(&did).enumerate() {
                    let stay = here.as_ref().and_then(|h| h.get(j)).copied().unwrap_or(*did);
                    if let (Some(e), Some(n)) = (error.get_mut(j), nothing.get_mut(j)) {
                        *e += f64::from((said - did).abs());
                        *n += f64::from((stay - did).abs());
                    }
                }
                count += 1;
            }
        }
    }
    let many = count.max(1) as f64;
    error.iter_mut().chain(&mut nothing).for_each(|v| *v /= many);
    // Joints count by their own range: a degree of a joint that hardly moves weighs more.
    let spans = contract.actions.iter().map(|c| f64::from(c.max - c.min).max(1e-3));
    let share = |row: &[f64]| row.iter().zip(spans.clone()).map(|(v, s)| v / s).sum::<f64>();
    let clean = odd == 0 && count > 0 && share(&error) < share(&nothing);
    let per_joint: Vec<String> = actions.iter().zip(&error).map(|(n, e)| format!("{n} {e:.1}")).collect();
    let words = if odd > 0 {
        format!("{odd} actions had numbers that are not finite")
    } else {
        format!(
            "off by {} over {count} actions; doing nothing is off by {:.0} % of that",
            per_joint.join(", "),
            100.0 * share(&nothing) / share(&error).max(1e-9)
        )
    };
    let report = json!({
        "dataset": dataset, "actions": count, "not_finite": odd,
        "error": actions.iter().cloned().zip(error.iter().copied()).collect::<std::collections::BTreeMap<_, _>>(),
        "doing_nothing": actions.iter().cloned().zip(nothing.iter().copied()).collect::<std::collections::BTreeMap<_, _>>(),
    });
    Ok(Outcome { clean, fault: false, seconds: 0.0, words, report })
}
