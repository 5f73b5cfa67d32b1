//! What a finished run leaves beside the weights: the table of before and after, and where the model comes from.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use forerun_models::dreamer::Dreamer;
use forerun_models::dreamer::save_folder;
use serde_json::{Map, Value, json};

use super::report::{Comparison, OldWorld};
use super::run::{Ended, Job};
use crate::machine::Machine;
use crate::train::judge::Shown;
use crate::train::{Judge, TrainError};

/// What is said about the base.
pub(super) struct Base {
    pub name: String,
    pub sha256: String,
    pub lineage: Value,
}

/// Writes weights, contract, lineage and scorecard. Returns the comparison on all windows of `judge`.
///
/// # Errors
/// When the model cannot be run or the folder not be written; [`TrainError::Cancelled`].
pub(super) fn finish(
    job: &Job<'_>,
    ended: &Ended,
    judge: &Judge,
    base: &Base,
    about: &About,
    cancel: &AtomicBool,
) -> Result<Comparison, TrainError> {
    let after = Dreamer::from_weights(job.wide.clone(), &job.config, &ended.weights, &job.device)?;
    let before = Dreamer::from_weights(job.wide.clone(), &job.config, &job.before, &job.device)?;
    let was = judge.look(&before, false, cancel)?;
    let now = judge.look(&after, true, cancel)?;
    let old = if job.old.is_empty() {
        None
    } else {
        let base = job.look_at_old(&job.before, cancel)?.judgement.psnr;
        Some(OldWorld { psnr: job.look_at_old(&ended.weights, cancel)?.judgement.psnr, base })
    };
    let found = Comparison::new(now.judgement, &was.judgement, now.spread, old);
    let mut contract = job.contract.clone();
    contract.familiar_residual = judge.familiar(&after)?;
    let list: Vec<_> = ended.weights.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    let sha256 = save_folder(&job.out, &contract, &job.config, &job.settings.train.weights.round(list)?)?;
    let lineage = json!({
        "format": 1,
        "made_by": "post-train",
        "software": env!("CARGO_PKG_VERSION"),
        "base": { "name": base.name, "sha256": base.sha256, "lineage": base.lineage },
        "model_sha256": sha256,
        "datasets": job.data,
        "episodes": about.episodes,
        "frames": about.frames,
        "iterations": ended.iterations,
        "best_iteration": ended.iteration,
        "seconds": ended.seconds,
        "settings": job.settings,
        "fresh_channels": about.fresh,
        "notes": about.notes,
    });
    write(&job.out.join("lineage.json"), &lineage)?;
    write(&job.out.join("scorecard.json"), &card(job, ended, &found, base, about, &sha256))?;
    sheet(job, &was.shown, &now.shown)?;
    Ok(found)
}

/// What the loading found.
pub(super) struct About {
    pub episodes: usize,
    pub frames: usize,
    pub held_out: usize,
    pub windows: usize,
    pub fresh: Vec<String>,
    pub notes: Vec<String>,
}

fn card(job: &Job<'_>, ended: &Ended, found: &Comparison, base: &Base, about: &About, sha256: &str) -> Value {
    let at = |list: &[f32], i: usize| list.get(i).copied();
    let horizons: Map<String, Value> = found
        .horizons
        .iter()
        .enumerate()
        .map(|(i, horizon)| {
            let row = json!({
                "psnr": at(&found.psnr, i),
                "before_psnr": at(&found.base, i),
                "freeze_psnr": at(&found.freeze, i),
                "shuffled_psnr": at(&found.shuffled, i),
                "delta_psnr": at(&found.delta, i),
            });
            (horizon.to_string(), row)
        })
        .collect();
    let old = found.old.as_ref().map(|old| {
        json!({ "horizons": found.horizons, "psnr": old.psnr, "before_psnr": old.base, "loss_db": old.loss_db() })
    });
    json!({
        "format": 1,
        "kind": "post-train",
        "held_out": format!("{} episodes, {} windows, refine 1", about.held_out, about.windows),
        "model": { "name": job.contract.name, "sha256": sha256 },
        "base": { "name": base.name, "sha256": base.sha256 },
        "dataset": { "sha256": job.data, "episodes": about.episodes, "frames": about.frames },
        "horizons": horizons,
        "spread_skill": found.spread_skill,
        "base_world": old,
        "ignores_actions": found.ignores_actions(),
        "iterations": ended.iterations,
        "best_iteration": ended.iteration,
        "seconds": ended.seconds,
        "stopped": ended.memory.stopped,
        "settings": job.settings,
        "machine": Machine::look().value(),
        "notes": about.notes,
    })
}

fn write(path: &Path, value: &Value) -> Result<(), TrainError> {
    crate::fsx::write_atomic(path, format!("{value:#}\n").as_bytes())
        .map_err(|source| TrainError::File { path: path.to_path_buf(), source })
}

fn sheet(job: &Job<'_>, was: &[Shown], now: &[Shown]) -> Result<(), TrainError> {
    let rows: Vec<&[crate::Frame]> =
        now.iter().zip(was).flat_map(|(now, was)| [now.truth.as_slice(), &was.made, &now.made]).collect();
    crate::train::judge::write_sheet(&job.out.join("previews/final.png"), &rows)
}
