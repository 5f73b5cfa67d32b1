//! Noise schedules, and solvers fed with made-up predictions.
//!
//! Tensors are named `NAME.STEPS.sigmas`, `.timesteps`, `.output.I` (or `.x0.I`), `.sample.I`; `NAME` is a folder
//! with a `scheduler_config.json`, or begins with `nvidia_ab2` (settings: see [`adams_bashforth`]).

use std::collections::BTreeSet;

use candle_core::Tensor;
use serde::Deserialize;

use super::VerifyError;
use super::bars::{EXACT, SIGMA, SOLVER};
use super::case::Case;
use crate::sampler::{AdamsBashforth2, EdmConfig, EdmEuler, FlowEuler, FlowEulerConfig, UniPc, UniPcConfig};

/// Whether the case holds noise schedules.
pub(super) fn is_scheduler_case(case: &Case) -> bool {
    case.names().any(|name| name.ends_with(".sigmas"))
}

#[derive(Deserialize)]
struct Class {
    #[serde(rename = "_class_name")]
    name: String,
}

/// All schedules of the case.
pub(super) fn run(case: &mut Case) -> Result<(), VerifyError> {
    let runs: BTreeSet<(String, usize)> = case
        .names()
        .filter_map(|name| {
            let (name, steps) = name.strip_suffix(".sigmas")?.rsplit_once('.')?;
            Some((name.to_owned(), steps.parse().ok()?))
        })
        .collect();
    for (name, steps) in runs {
        if name.starts_with("nvidia_ab2") {
            adams_bashforth(case, &name, steps)?;
            continue;
        }
        let class: Class = case.config(&name, "scheduler_config.json")?;
        match class.name.as_str() {
            "EDMEulerScheduler" => edm(case, &name, steps)?,
            "FlowMatchEulerDiscreteScheduler" => flow_euler(case, &name, steps)?,
            "UniPCMultistepScheduler" => unipc(case, &name, steps)?,
            other => return Err(case.unsupported(&format!("the scheduler `{other}`"))),
        }
    }
    Ok(())
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Runs a solver over the stored predictions `KEY.what.I`, if there are any, and compares every sample.
fn trajectory(
    case: &mut Case,
    key: &str,
    what: &str,
    scale: f64,
    mut step: impl FnMut(usize, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
) -> Result<(), VerifyError> {
    if !case.has(&format!("{key}.{what}.0")) {
        return Ok(());
    }
    let mut sample = (case.input("start")? * scale).map_err(|e| case.run_error(e))?;
    let mut i = 0;
    while case.has(&format!("{key}.{what}.{i}")) {
        let output = case.input(&format!("{key}.{what}.{i}"))?;
        sample = step(i, &output, &sample).map_err(|e| case.run_error(e))?;
        case.compare(&format!("{key}.sample.{i}"), &sample, SOLVER)?;
        i += 1;
    }
    Ok(())
}

/// Samples start at unit deviation, or at the first noise level where that is above 1.
fn start_scale(sigmas: &[f32]) -> f64 {
    sigmas.first().map_or(1.0, |s| f64::from(*s).max(1.0))
}

fn edm(case: &mut Case, name: &str, steps: usize) -> Result<(), VerifyError> {
    let config: EdmConfig = case.config(name, "scheduler_config.json")?;
    let solver = EdmEuler::new(&config, steps)?;
    let key = format!("{name}.{steps}");
    case.compare_numbers(&format!("{key}.sigmas"), &wide(solver.sigmas()), SIGMA)?;
    case.compare_numbers(&format!("{key}.timesteps"), &wide(&solver.timesteps()), SIGMA)?;
    trajectory(case, &key, "output", start_scale(solver.sigmas()), |i, output, sample| {
        solver.step(i, &solver.denoised(i, output, sample)?, sample)
    })
}

fn flow_euler(case: &mut Case, name: &str, steps: usize) -> Result<(), VerifyError> {
    let config: FlowEulerConfig = case.config(name, "scheduler_config.json")?;
    let solver = FlowEuler::new(&config, steps)?;
    let key = format!("{name}.{steps}");
    case.compare_numbers(&format!("{key}.sigmas"), &wide(solver.sigmas()), SIGMA)?;
    case.compare_numbers(&format!("{key}.timesteps"), &wide(&solver.timesteps()), SIGMA)?;
    trajectory(case, &key, "output", start_scale(solver.sigmas()), |i, output, sample| {
        solver.step(i, output, sample)
    })
}

fn unipc(case: &mut Case, name: &str, steps: usize) -> Result<(), VerifyError> {
    let config: UniPcConfig = case.config(name, "scheduler_config.json")?;
    let mut solver = UniPc::new(&config, steps)?;
    let key = format!("{name}.{steps}");
    case.compare_numbers(&format!("{key}.sigmas"), &wide(solver.sigmas()), SIGMA)?;
    let timesteps: Vec<f64> = solver.timesteps().iter().map(|t| *t as f64).collect();
    case.compare_numbers(&format!("{key}.timesteps"), &timesteps, EXACT)?;
    let scale = start_scale(solver.sigmas());
    trajectory(case, &key, "output", scale, |i, output, sample| solver.step(i, output, sample))
}

/// NVIDIA's sampler from noise level 80: to 0.002 for pictures and clips, to 4 for Cosmos Policy.
fn adams_bashforth(case: &mut Case, name: &str, steps: usize) -> Result<(), VerifyError> {
    let low = if name.ends_with("policy") { 4.0 } else { 0.002 };
    let mut solver = AdamsBashforth2::new(steps, low, 80.0)?;
    let key = format!("{name}.{steps}");
    case.compare_numbers(&format!("{key}.sigmas"), solver.sigmas(), SIGMA)?;
    trajectory(case, &key, "x0", 80.0, |i, x0, sample| solver.step(i, x0, sample))
}
