//! Cosmos Policy's folders: what a robot's network takes, gives and is scaled by.
//!
//! Its publisher ships weights (`.pt`), the statistics of the training data (`*_dataset_statistics.json`) and no
//! pipeline. A folder for it is laid out like the others: `model_index.json` with the class `CosmosPolicyPipeline`,
//! `transformer/`, `vae/`, `text_encoder/`, `tokenizer/`, and the statistics beside them; `policy.json` of our own for
//! robots that are not known by the name of that file.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::PublishedError;
use crate::checkpoint::read_json;
use crate::contract::{Channel, ChannelMode};

/// The class in `model_index.json`. It is ours: the publisher has none.
pub(super) const CLASS: &str = "CosmosPolicyPipeline";
/// Our own description of a policy that is not known by name.
const FILE: &str = "policy.json";
/// What the publisher calls the statistics of the data, behind the name of the data.
const STATISTICS: &str = "dataset_statistics.json";

/// What a policy network was made for.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFacts {
    /// Its cameras in the network's order.
    pub cameras: Vec<String>,
    /// Actions that it chooses at one time.
    pub chunk: usize,
    /// Channels of an action, with the ranges of the training data.
    pub actions: Vec<Channel>,
    /// Channels of the state, with the ranges of the training data; empty where there is none.
    pub state: Vec<Channel>,
}

/// `*_dataset_statistics.json`.
#[derive(Deserialize)]
struct Statistics {
    actions_min: Vec<f64>,
    actions_max: Vec<f64>,
    #[serde(default)]
    proprio_min: Vec<f64>,
    #[serde(default)]
    proprio_max: Vec<f64>,
}

/// `policy.json`.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Own {
    format: u32,
    cameras: Vec<String>,
    chunk: usize,
    actions: Vec<String>,
    state: Vec<String>,
}

/// Cameras and actions at one time of the published policies, by the name of their data.
fn published(data: &str) -> Option<(&'static [&'static str], usize)> {
    match data {
        "libero" => Some((&["wrist", "primary"], 16)),
        "robocasa" => Some((&["wrist", "primary", "secondary"], 32)),
        "aloha" => Some((&["left_wrist", "right_wrist", "primary"], 50)),
        _ => None,
    }
}

impl PolicyFacts {
    /// Reads what is beside the weights.
    pub(super) fn open(folder: &Path) -> Result<Self, PublishedError> {
        let fail = |what: String| Err(PublishedError::Input(what));
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = names.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        let Some(file) = names.iter().find(|name| name.ends_with(STATISTICS)) else {
            return fail(format!(
                "{} holds no file that ends with {STATISTICS}: without it nobody knows what the policy's numbers mean. Get it from the model's publisher.",
                folder.display()
            ));
        };
        let path = folder.join(file);
        let statistics: Statistics = read_json(&path)?;
        let own_file = folder.join(FILE);
        let own: Own = if own_file.is_file() { read_json(&own_file)? } else { Own::default() };
        if own.format > 1 {
            return fail(format!(
                "{} has format {}, this version reads up to 1. Update Forerun to use this model.",
                own_file.display(),
                own.format
            ));
        }
        let known = published(file.strip_suffix(STATISTICS).unwrap_or_default().trim_end_matches('_'));
        let (cameras, chunk) = match (own.cameras.is_empty(), known) {
            (false, _) if own.chunk > 0 => (own.cameras, own.chunk),
            (true, Some((cameras, chunk))) => (cameras.iter().map(|c| (*c).to_owned()).collect(), chunk),
            _ => {
                return fail(format!(
                    "{file} belongs to no published policy. Write {FILE} beside it: {{\"format\": 1, \"cameras\": [\"wrist\", \"primary\"], \"chunk\": 16}}."
                ));
            }
        };
        let channels = |min: &[f64], max: &[f64], names: &[String], what: &str| {
            let fits = min.len() == max.len() && (names.is_empty() || names.len() == min.len());
            if !fits
                || min.iter().zip(max).any(|(min, max)| !(min.is_finite() && max.is_finite() && min < max))
            {
                return Err(PublishedError::Input(format!(
                    "{}: the ranges of the {what} make no sense, or {FILE} names another number of them. Get the file from the model's publisher again.",
                    path.display()
                )));
            }
            Ok(min
                .iter()
                .zip(max)
                .enumerate()
                .map(|(i, (min, max))| Channel {
                    name: names.get(i).cloned().unwrap_or_else(|| format!("{what}_{i}")),
                    unit: String::new(),
                    min: *min as f32,
                    max: *max as f32,
                    mode: ChannelMode::Absolute,
                    mean: f64::midpoint(*min, *max) as f32,
                    std: ((max - min) / 2.0) as f32,
                })
                .collect::<Vec<_>>())
        };
        let actions = channels(&statistics.actions_min, &statistics.actions_max, &own.actions, "action")?;
        let state = channels(&statistics.proprio_min, &statistics.proprio_max, &own.state, "state")?;
        if actions.is_empty() {
            return fail(format!(
                "{} has no actions. Get it from the model's publisher again.",
                path.display()
            ));
        }
        Ok(Self { cameras, chunk, actions, state })
    }

    /// The state as the network takes it, [1, P] in -1..1 over the ranges of the training data.
    pub(super) fn scaled_state(
        &self,
        state: Option<&[f32]>,
        device: &Device,
    ) -> Result<Option<Tensor>, PublishedError> {
        if self.state.is_empty() {
            return Ok(None);
        }
        let state = state.filter(|state| state.len() == self.state.len());
        let Some(state) = state else {
            let names: Vec<&str> = self.state.iter().map(|c| c.name.as_str()).collect();
            return Err(PublishedError::Input(format!(
                "This policy needs the robot's present state, {} numbers ({}). Give --state with them, or start from a recording that has them.",
                names.len(),
                names.join(", ")
            )));
        };
        let scaled: Vec<f32> = state
            .iter()
            .zip(&self.state)
            .map(|(value, c)| 2.0 * ((value - c.min) / (c.max - c.min)) - 1.0)
            .collect();
        Ok(Some(Tensor::from_vec(scaled, (1, self.state.len()), device)?))
    }

    /// Rows of -1..1 in the units of the training data.
    pub(super) fn actions_of(&self, rows: &Tensor) -> Result<Vec<Vec<f32>>, PublishedError> {
        let rows = rows.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        Ok(rows.iter().map(|row| unscaled(row, &self.actions)).collect())
    }

    /// The same for a state.
    pub(super) fn state_of(&self, state: &Tensor) -> Result<Vec<f32>, PublishedError> {
        Ok(unscaled(&state.to_dtype(DType::F32)?.to_vec1::<f32>()?, &self.state))
    }
}

fn unscaled(row: &[f32], channels: &[Channel]) -> Vec<f32> {
    row.iter().zip(channels).map(|(x, c)| 0.5 * (x + 1.0) * (c.max - c.min) + c.min).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    const RANGES: &str =
        r#"{"actions_min": [-1, 0], "actions_max": [1, 4], "proprio_min": [2], "proprio_max": [6]}"#;

    #[test]
    fn numbers_go_to_the_networks_range_and_back() {
        let dir = folder(&[("libero_dataset_statistics.json", RANGES)]);
        let facts = PolicyFacts::open(dir.path()).unwrap();
        assert_eq!((facts.cameras.len(), facts.chunk), (2, 16));
        let scaled = facts.scaled_state(Some(&[3.0]), &Device::Cpu).unwrap().unwrap();
        assert_eq!(scaled.to_vec2::<f32>().unwrap(), [[-0.5]]);
        assert_eq!(facts.state_of(&scaled.squeeze(0).unwrap()).unwrap(), [3.0]);
        let rows = Tensor::new(&[[-1f32, 0.5], [0.0, 1.0]], &Device::Cpu).unwrap();
        assert_eq!(facts.actions_of(&rows).unwrap(), [[-1.0, 3.0], [0.0, 4.0]]);
        let error = facts.scaled_state(None, &Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("state_0") && error.contains("--state"), "{error}");
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_said() {
        let fails = |files: &[(&str, &str)]| PolicyFacts::open(folder(files).path()).unwrap_err().to_string();
        assert!(fails(&[]).contains(STATISTICS));
        assert!(fails(&[("my_dataset_statistics.json", RANGES)]).contains(FILE));
        let turned = r#"{"actions_min": [1], "actions_max": [-1]}"#;
        assert!(fails(&[("libero_dataset_statistics.json", turned)]).contains("ranges"));
        let own = r#"{"format": 1, "cameras": ["front"], "chunk": 4, "actions": ["only one"]}"#;
        assert!(fails(&[("my_dataset_statistics.json", RANGES), (FILE, own)]).contains("another number"));
        let own = r#"{"format": 1, "cameras": ["front"], "chunk": 4, "actions": ["a", "b"]}"#;
        let dir = folder(&[("my_dataset_statistics.json", RANGES), (FILE, own)]);
        let facts = PolicyFacts::open(dir.path()).unwrap();
        assert_eq!((facts.chunk, facts.actions[1].name.as_str(), facts.actions[1].max), (4, "b", 4.0));
    }
}
