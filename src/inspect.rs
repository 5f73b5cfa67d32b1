//! What a path is, and whether it is sound: model, dataset, future, project, picture or clip.

use std::path::Path;

use candle_core::Device;
use serde_json::{Value, json};

use crate::dataset::doctor;
use crate::engine::device::Place;
use crate::engine::record::{FutureRecord, RECORD_FILE, locate};
use crate::engine::{backend, places};
use crate::failure::Failure;
use crate::{dataset, fsx, media};

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// `model`, `policy`, `dataset`, `future`, `picture` or `clip`.
    pub kind: &'static str,
    /// Whether everything that was looked at is in order.
    pub sound: bool,
    /// Lines for a person.
    pub lines: Vec<String>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// The same for a program.
    pub value: Value,
}

/// Looks at a path.
///
/// # Errors
/// It is missing, or nothing that is known here.
pub fn inspect(path: &Path) -> Result<Inspection, Failure> {
    if !path.exists() {
        return Err(Failure::new(format!("There is no {}.", path.display()), "Check the path."));
    }
    let is_record = path.is_file() && path.file_name().is_some_and(|name| name == RECORD_FILE);
    if is_record || path.join(RECORD_FILE).is_file() {
        return future(path);
    }
    if path.join(forerun_models::contract::CONTRACT_FILE).is_file() {
        return model(path);
    }
    if path.join("meta").is_dir() {
        return data(path);
    }
    if path.is_dir() {
        return Err(Failure::new(
            format!("The folder {} is no model, dataset or future.", path.display()),
            "A model has contract.json, a dataset meta/info.json, a future future.json.",
        ));
    }
    if path.extension().is_some_and(|e| e == "bundle") {
        return bundle(path);
    }
    picture_or_clip(path)
}

/// A bundle: whole or not, by whom, for which robot. Whose key is trusted is a matter of each robot.
fn bundle(path: &Path) -> Result<Inspection, Failure> {
    use crate::robot::bundle;
    let (found, trusted) = match bundle::read(path, &[], |_, _| Ok(())) {
        Err(bundle::BundleError::Stranger(key)) => (bundle::read(path, &[key], |_, _| Ok(())), false),
        other => (other, true),
    };
    let found = match found {
        Ok(found) => found,
        Err(e) => {
            let (problem, value) = (e.to_string(), json!({ "kind": "bundle", "problems": [e.to_string()] }));
            let lines = vec!["bundle".into()];
            return Ok(Inspection { kind: "bundle", sound: false, lines, problems: vec![problem], value });
        }
    };
    let m = &found.manifest;
    let joints: Vec<String> =
        m.joints.iter().map(|j| format!("{} ({})", j.name, j.unit.sign().trim())).collect();
    let lines = vec![
        format!("bundle {} for the body {}", m.name, m.embodiment),
        format!("joints: {}", joints.join(", ")),
        format!("{} actions a second, {} files, packed by {}", m.rate_hz, m.members.len(), m.software),
        format!("signed with the key {}", found.key),
        format!("sha256 {}", found.id),
    ];
    let value =
        json!({ "kind": "bundle", "id": found.id, "key": found.key, "trusted": trusted, "manifest": m });
    Ok(Inspection { kind: "bundle", sound: true, lines, problems: Vec::new(), value })
}

fn model(folder: &Path) -> Result<Inspection, Failure> {
    let info = places::describe(folder)?;
    let policy = info.contract.family == forerun_models::policy::FAMILY;
    // Only loading it tells whether its weights have the right names and shapes.
    let problem = if policy {
        crate::policy::load_policy(folder).err()
    } else {
        backend::load(folder, &Place::Candle(Device::Cpu)).err()
    };
    let problems: Vec<String> = problem.map(|f| f.text()).into_iter().collect();
    let frame = &info.contract.frame;
    let lines = vec![
        if policy {
            format!("policy {}", info.contract.name)
        } else {
            format!("model {} of the family {}", info.contract.name, info.contract.family)
        },
        format!("{:.2} M weights, sha256 {}", info.parameters as f64 / 1e6, info.sha256),
        format!("{} x {} pixels, {} frames a second", frame.width, frame.height, frame.rate_hz),
        format!(
            "{} action channels, {} state channels",
            info.contract.actions.len(),
            info.contract.state.len()
        ),
    ];
    let value = json!({
        "name": info.name, "sha256": info.sha256, "parameters": info.parameters, "contract": info.contract,
    });
    Ok(finish(if policy { "policy" } else { "model" }, lines, problems, value))
}

fn data(folder: &Path) -> Result<Inspection, Failure> {
    let report = dataset::describe(folder).map_err(Failure::from_error)?;
    let mut lines = vec![
        format!("dataset, LeRobot {}, robot {}", report.version, report.robot_type),
        format!(
            "{} episodes, {} frames at {} a second, {} to {} frames each",
            report.episodes, report.frames, report.fps, report.lengths[0], report.lengths[2]
        ),
    ];
    lines.extend(
        report.cameras.iter().map(|c| format!("camera {}: {} x {}, {}", c.key, c.width, c.height, c.format)),
    );
    lines.push(format!("state: {}", report.state.join(", ")));
    lines.push(format!("action: {}", report.action.join(", ")));
    let mut value = serde_json::to_value(&report).unwrap_or_default();
    // Files that are in order may still hold a recording that is not.
    let set = dataset::Dataset::open(folder).map_err(Failure::from_error)?;
    let examination = doctor::examine(&set, &doctor::View::default());
    for finding in &examination.findings {
        let severity = match finding.severity {
            doctor::Severity::Note => "note",
            doctor::Severity::Warning => "warning",
            doctor::Severity::Problem => "problem",
        };
        let mended = if finding.sure && finding.fix.is_some() {
            " (mended when it is read for post-training)"
        } else {
            ""
        };
        lines.push(format!("{severity}: {}{mended}", finding.words));
    }
    if let Value::Object(object) = &mut value {
        object.insert("examination".into(), serde_json::to_value(&examination).unwrap_or_default());
    }
    let mut found = finish("dataset", lines, report.problems, value);
    found.sound = report.sound;
    Ok(found)
}

fn future(path: &Path) -> Result<Inspection, Failure> {
    let record = FutureRecord::read(path)?;
    let (folder, _) = locate(path);
    let mut problems = Vec::new();
    let start = record.start.frames.iter().map(|f| &f.file);
    let frames = record.frames.iter().map(|f| &f.file);
    for file in start.chain(frames).chain(&record.clip) {
        match fsx::sha256_file(&folder.join(&file.file)) {
            Ok(found) if found == file.sha256 => {}
            Ok(_) => problems.push(format!("{} is not the one that was written", file.file)),
            Err(error) => problems.push(format!("{} cannot be read: {error}", file.file)),
        }
    }
    if record.frames.len() != record.steps {
        problems.push(format!("{} frames of {}", record.frames.len(), record.steps));
    }
    let words = if record.prompt.is_empty() { "no words".into() } else { format!("\"{}\"", record.prompt) };
    let lines = vec![
        format!(
            "future of {} frames by {} ({})",
            record.frames.len(),
            record.model.name,
            record.model.sha256
        ),
        format!("seed {}, refine {}, {words}, actions: {}", record.seed, record.refine, record.actions.kind),
        format!(
            "from {} start frames, on {} with {}",
            record.start.frames.len(),
            record.device,
            record.kernels
        ),
    ];
    let value = json!({
        "seed": record.seed, "steps": record.steps, "prompt": record.prompt, "model": record.model,
        "software": record.software, "timings": record.timings,
    });
    Ok(finish("future", lines, problems, value))
}

fn picture_or_clip(path: &Path) -> Result<Inspection, Failure> {
    let found = media::describe(path).map_err(Failure::from_error)?;
    let mut line = format!("{}, {}, {} x {}", found.kind, found.format, found.width, found.height);
    if let (Some(fps), Some(seconds)) = (found.fps, found.seconds) {
        line += &format!(", {} frames at {fps:.3} a second, {seconds:.2} s", found.frames);
    }
    let value = serde_json::to_value(&found).unwrap_or_default();
    let mut inspection = finish(found.kind, vec![line], found.problems, value);
    inspection.sound = found.sound;
    Ok(inspection)
}

fn finish(kind: &'static str, lines: Vec<String>, problems: Vec<String>, mut value: Value) -> Inspection {
    let sound = problems.is_empty();
    if let Value::Object(object) = &mut value {
        object.insert("kind".into(), kind.into());
        object.insert("sound".into(), sound.into());
        object.insert("problems".into(), problems.clone().into());
    }
    Inspection { kind, sound, lines, problems, value }
}
