//! Policy folders on disk.

use std::path::{Path, PathBuf};

use candle_core::Device;
use forerun_models::contract::CONTRACT_FILE;
use forerun_models::policy::Policy;
use serde_json::{Value, json};

use super::deciding::Deciding;
use super::mind::explain;
use crate::engine::places;
use crate::failure::Failure;
use crate::fsx;

/// What a policy's own numbers are kept in.
const SCORECARD: &str = "scorecard.json";

/// The folder of a policy: as it was given, or, for a bare name, that of a shipped policy.
pub fn find_policy(policy: &Path) -> PathBuf {
    let bare = policy.components().count() == 1 && !policy.exists();
    let shipped = || shipped_policies().into_iter().find(|folder| folder.file_name() == policy.file_name());
    let found = bare.then(shipped).flatten();
    found.unwrap_or_else(|| policy.to_path_buf())
}

/// Policies that come with the program, by name.
pub fn shipped_policies() -> Vec<PathBuf> {
    let inside = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = places::shipped_policies()
        .into_iter()
        .flat_map(inside)
        .map(|entry| entry.path())
        .filter(|folder| folder.join(CONTRACT_FILE).is_file())
        .collect();
    // A program in its repository finds the same folder in more than one way.
    found.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    found.dedup_by(|a, b| a.file_name() == b.file_name());
    found
}

/// Whether a policy comes with the program: nothing is written beside it.
pub fn is_shipped(folder: &Path) -> bool {
    places::shipped_policies().iter().any(|shipped| folder.starts_with(shipped))
}

/// Loads a policy folder onto the processor.
///
/// # Errors
/// When the folder is no sound policy.
pub fn load_policy(folder: &Path) -> Result<Policy, Failure> {
    load_policy_on(folder, &Device::Cpu)
}

/// Loads a policy folder onto a device.
///
/// # Errors
/// When the folder is no sound policy, or the device fails.
pub fn load_policy_on(folder: &Path, device: &Device) -> Result<Policy, Failure> {
    let folder = find_policy(folder);
    if !folder.join(CONTRACT_FILE).is_file() {
        let known: Vec<String> = shipped_policies()
            .iter()
            .filter_map(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
            .collect();
        return Err(Failure::new(
            format!("{} is no policy.", folder.display()),
            format!(
                "Give the folder that forerun policy train wrote, or the name of one that comes with Forerun ({}).",
                known.join(", ")
            ),
        ));
    }
    Policy::load(&folder, device).map_err(explain)
}

/// Adds an evaluation to the folder's scorecard: the newest one of each place, task, look and way of deciding is kept.
///
/// # Errors
/// When the folder cannot be written.
pub fn save_score(folder: &Path, evaluation: &Value) -> Result<(), Failure> {
    let path = folder.join(SCORECARD);
    let old = std::fs::read(&path).ok().and_then(|b| serde_json::from_slice::<Value>(&b).ok());
    let mut evaluations: Vec<Value> =
        old.as_ref().and_then(|v| v["evaluations"].as_array().cloned()).unwrap_or_default();
    // What was kept before there were ways was the policy alone.
    let way = |v: &Value| serde_json::from_value::<Deciding>(v["how"].clone()).unwrap_or_default();
    let key = |v: &Value| {
        (v["place"].clone(), v["settings"]["task"].clone(), v["settings"]["look"].clone(), way(v))
    };
    evaluations.retain(|v| key(v) != key(evaluation));
    evaluations.push(evaluation.clone());
    let card = json!({ "format": 1, "evaluations": evaluations });
    fsx::write_atomic(&path, format!("{card:#}\n").as_bytes()).map_err(|e| Failure::io("write", &path, &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_scorecard_keeps_the_newest_of_each_place() {
        let dir = tempfile::tempdir().unwrap();
        let of =
            |place: &str, rate: f64| json!({ "place": place, "settings": { "task": null }, "rate": rate });
        for (place, rate) in [("a", 0.1), ("b", 0.2), ("a", 0.3)] {
            save_score(dir.path(), &of(place, rate)).unwrap();
        }
        let card: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join(SCORECARD)).unwrap()).unwrap();
        let rates: Vec<f64> =
            card["evaluations"].as_array().unwrap().iter().map(|v| v["rate"].as_f64().unwrap()).collect();
        assert_eq!(rates, [0.2, 0.3]);
        // Another way of deciding stands beside the policy alone, not in its place.
        let how = json!({ "way": "best_of", "candidates": 4, "seeds": 1 });
        save_score(
            dir.path(),
            &json!({ "place": "a", "settings": { "task": null }, "how": how, "rate": 0.4 }),
        )
        .unwrap();
        let card: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join(SCORECARD)).unwrap()).unwrap();
        assert_eq!(card["evaluations"].as_array().unwrap().len(), 3);
        assert!(load_policy(dir.path()).err().unwrap().text().contains("no policy"));
    }
}
