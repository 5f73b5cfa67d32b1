//! From a policy folder and a robot file to a bundle.

use std::collections::BTreeMap;
use std::path::Path;

use forerun_models::policy::Kind;
use forerun_models::{Channel, Contract};
use serde_json::{Value, json};

use super::super::file::{CameraFile, RobotFile};
use super::super::numbers::Unit;
use super::manifest::{BundleJoint, MANIFEST_FORMAT, Manifest};
use super::pack::{Bundle, SigningKey, write};
use super::{BundleError, io};

/// Files of a policy folder that travel; the first three must be there.
const FILES: [&str; 5] =
    ["contract.json", "config.json", "model.safetensors", "lineage.json", "scorecard.json"];

/// A body's name without the role that LeRobot adds to it.
fn body(name: &str) -> &str {
    name.strip_suffix("_follower").or_else(|| name.strip_suffix("_leader")).unwrap_or(name)
}

fn joint(channel: &Channel, robot: &RobotFile) -> Result<BundleJoint, BundleError> {
    let name = channel.name.strip_suffix(".pos").unwrap_or(&channel.name).to_owned();
    let unit = match channel.unit.as_str() {
        "deg" => Unit::Deg,
        "%" => Unit::Percent,
        other => {
            return Err(BundleError::Mismatch(vec![format!(
                "{name} is in {other:?}; robots are commanded in degrees, grippers in per cents"
            )]));
        }
    };
    let calibration = robot.joints.iter().find(|j| j.name == name).and_then(|j| j.calibration);
    Ok(BundleJoint {
        name,
        unit,
        homing_offset: calibration.map(|c| c.homing_offset),
        // What the contract keeps of the data is its smallest and largest value.
        data: (channel.min < channel.max).then_some((f64::from(channel.min), f64::from(channel.max))),
    })
}

/// The camera of the robot that a policy with one picture looks through: the first one that runs need.
fn camera(contract: &Contract, robot: &RobotFile) -> Result<CameraFile, BundleError> {
    let found = robot.cameras.iter().find(|c| c.required).or_else(|| robot.cameras.first());
    let found = found.ok_or_else(|| {
        BundleError::Mismatch(vec![
            "the policy looks at pictures and the robot file names no camera; add a [[camera]] to it".into(),
        ])
    })?;
    Ok(CameraFile { fps: f64::from(contract.frame.rate_hz).min(found.fps), source: None, ..found.clone() })
}

/// What the bundle of a policy for a robot says of itself, before it is packed.
///
/// # Errors
/// A policy for another body, other joints, units, sizes or rates than the robot's.
pub fn manifest(contract: &Contract, lineage: Value, robot: &RobotFile) -> Result<Manifest, BundleError> {
    let embodiment = &contract.embodiment;
    if !embodiment.is_empty() && body(embodiment) != body(&robot.embodiment) {
        let why = format!("the policy is for the body {embodiment:?}, the robot is {:?}", robot.embodiment);
        return Err(BundleError::Mismatch(vec![why]));
    }
    let joints = contract.actions.iter().map(|c| joint(c, robot)).collect::<Result<_, _>>()?;
    let missing: Vec<String> = contract
        .state
        .iter()
        .filter(|c| !robot.channels().contains(&c.name))
        .map(|c| format!("the policy sees {}, which the robot does not have", c.name))
        .collect();
    if !missing.is_empty() {
        return Err(BundleError::Mismatch(missing));
    }
    let scale = |c: &Channel| json!({"name": c.name, "unit": c.unit, "mean": c.mean, "std": c.std});
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        name: contract.name.clone(),
        embodiment: robot.embodiment.clone(),
        joints,
        rate_hz: f64::from(contract.frame.rate_hz),
        cameras: vec![camera(contract, robot)?],
        normalisation: json!({
            "actions": contract.actions.iter().map(scale).collect::<Vec<_>>(),
            "state": contract.state.iter().map(scale).collect::<Vec<_>>(),
        }),
        lineage,
        software: format!("forerun {}", env!("CARGO_PKG_VERSION")),
        members: Vec::new(),
    };
    manifest.check(robot)?;
    Ok(manifest)
}

/// Packs a policy folder for a robot into a signed file.
///
/// # Errors
/// A folder that is no policy, a goal policy, one that does not fit the robot, a file that cannot be written.
pub fn pack(policy: &Path, robot: &RobotFile, out: &Path, key: &SigningKey) -> Result<Bundle, BundleError> {
    let (contract, config) = forerun_models::policy::Policy::describe(policy)
        .map_err(|e| BundleError::Damaged(format!("{} is no policy: {e}", policy.display())))?;
    if config.kind == Kind::Goal {
        return Err(BundleError::GoalPolicy(contract.name));
    }
    let mut files = BTreeMap::new();
    for (i, name) in FILES.iter().enumerate() {
        let path = policy.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => {
                files.insert((*name).to_owned(), bytes);
            }
            Err(e) if i < 3 => return Err(io(&path)(e)),
            Err(_) => {}
        }
    }
    let lineage =
        files.get("lineage.json").and_then(|b| serde_json::from_slice(b).ok()).unwrap_or(Value::Null);
    write(out, manifest(&contract, lineage, robot)?, &files, key)
}
