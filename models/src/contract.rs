//! What a model was trained on. No model runs without its contract; inputs are checked against it and mapped
//! by *name and unit*, never by position.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// File name of the contract in a model folder.
pub const CONTRACT_FILE: &str = "contract.json";

/// The newest `format` of `contract.json` that this version reads.
pub const CONTRACT_FORMAT: u32 = 1;

/// How a channel's number is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelMode {
    /// The value itself (a joint angle, a target position).
    Absolute,
    /// A change from the present value.
    Relative,
}

/// One number over time: an entry of an action track or of the robot's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Name with its suffix, as LeRobot writes it: `shoulder_pan.pos`.
    pub name: String,
    /// Unit in words: `deg`, `%`, `px`, `m`, or empty when unknown.
    #[serde(default)]
    pub unit: String,
    /// Smallest sensible value, in `unit`.
    pub min: f32,
    /// Largest sensible value, in `unit`.
    pub max: f32,
    /// Absolute or relative.
    pub mode: ChannelMode,
    /// Mean over the training data, in `unit`.
    pub mean: f32,
    /// Standard deviation over the training data, in `unit` (always > 0).
    pub std: f32,
}

/// How pictures of another shape become a model's. Nothing in them is ever stretched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The largest middle part of the model's shape is kept, the rest is cut off.
    #[default]
    Crop,
    /// All of the picture is kept, with black bars beside it.
    Bars,
}

impl Fit {
    fn is_crop(&self) -> bool {
        *self == Self::Crop
    }
}

/// Size, rate and history of the frames that a model takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameSpec {
    /// Picture width in pixels.
    pub width: usize,
    /// Picture height in pixels.
    pub height: usize,
    /// Frames a second: the time between frame t and frame t+1 is `1 / rate_hz`.
    pub rate_hz: f32,
    /// Number of past frames that the model can look back at.
    pub history: usize,
    /// How the pictures that it was trained on were fitted, and those that it is shown are.
    #[serde(default, skip_serializing_if = "Fit::is_crop")]
    pub fit: Fit,
}

/// What a model was trained on; travels inside the model folder as `contract.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// Version of this file; a newer one than [`CONTRACT_FORMAT`] is refused.
    pub format: u32,
    /// Name to show: `tabletop`.
    pub name: String,
    /// Network family: `dreamer`, later the published ones.
    pub family: String,
    /// Frames in and out.
    pub frame: FrameSpec,
    /// Action channels, in the order of the network's inputs (map to them by name).
    pub actions: Vec<Channel>,
    /// State (proprioception) channels, in the order of the network's inputs.
    #[serde(default)]
    pub state: Vec<Channel>,
    /// Whether a prompt has an effect.
    pub text: bool,
    /// What the model knows, in words for a person: scenes, tasks, objects, languages.
    #[serde(default)]
    pub knows: String,
    /// Kind of robot body: `so101`.
    #[serde(default)]
    pub embodiment: String,
    /// Licence of the weights, SPDX.
    #[serde(default)]
    pub licence: String,
    /// One-step denoising residual that real frames of the training domain stay under (99th percentile of
    /// held-out data, mean squared error on 0..1); frames above it are marked as unlike the training data.
    #[serde(default)]
    pub familiar_residual: Option<f32>,
    /// Words and characters that the text encoder met in training, lower case; others are marked in the prompt.
    #[serde(default)]
    pub vocabulary: Vec<String>,
}

/// Why a folder's contract cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The folder is not there.
    #[error("There is no folder {}. Check the path, or choose a model of `forerun models list`.", .0.display())]
    NoFolder(PathBuf),
    /// The folder has no contract.
    #[error("{} has no contract.json, so it is not a Forerun model. Choose the folder that holds contract.json and model.safetensors.", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("Could not read {}: {error}. Check the file's permissions.", .file.display())]
    Unreadable {
        /// The contract.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not a contract.
    #[error("{} is not a readable contract: {error}. Restore the model folder from where it came.", .file.display())]
    Malformed {
        /// The contract.
        file: PathBuf,
        /// What the parser said.
        error: serde_json::Error,
    },
    /// Written by a newer version.
    #[error("{} has format {found}, this version reads up to {CONTRACT_FORMAT}. Update Forerun to use this model.", .file.display())]
    Newer {
        /// The contract.
        file: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It contradicts itself.
    #[error("{} makes no sense: {reason}. Restore the model folder from where it came.", .file.display())]
    Inconsistent {
        /// The contract.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Contract {
    /// Reads and checks `folder/contract.json`.
    pub fn load(folder: &Path) -> Result<Self, ContractError> {
        if !folder.is_dir() {
            return Err(ContractError::NoFolder(folder.to_path_buf()));
        }
        let file = folder.join(CONTRACT_FILE);
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ContractError::Missing(folder.to_path_buf()),
            _ => ContractError::Unreadable { file: file.clone(), error },
        })?;
        Self::parse(&bytes, &file)
    }

    /// A contract from the bytes of `file` (which only names it in errors). The format is looked at before
    /// anything else: a newer contract may have other fields.
    pub fn parse(bytes: &[u8], file: &Path) -> Result<Self, ContractError> {
        let malformed = |error| ContractError::Malformed { file: file.to_path_buf(), error };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found > u64::from(CONTRACT_FORMAT) {
            return Err(ContractError::Newer { file: file.to_path_buf(), found });
        }
        let contract: Self = serde_json::from_value(value).map_err(malformed)?;
        match contract.problem() {
            None => Ok(contract),
            Some(reason) => Err(ContractError::Inconsistent { file: file.to_path_buf(), reason }),
        }
    }

    /// What makes no sense in it, in words; `None` when all is well.
    pub fn problem(&self) -> Option<String> {
        let frame = &self.frame;
        if !(1..=8192).contains(&frame.width) || !(1..=8192).contains(&frame.height) {
            return Some(format!("frames of {} x {}", frame.width, frame.height));
        }
        if !(frame.rate_hz.is_finite() && frame.rate_hz > 0.0) {
            return Some(format!("a rate of {} frames a second", frame.rate_hz));
        }
        if !(1..=65_536).contains(&frame.history) {
            return Some(format!("a history of {} frames", frame.history));
        }
        if self.familiar_residual.is_some_and(|r| !(r.is_finite() && r > 0.0)) {
            return Some("a familiar_residual that is not a positive number".into());
        }
        channel_problem("action", &self.actions).or_else(|| channel_problem("state", &self.state))
    }
}

fn channel_problem(kind: &str, channels: &[Channel]) -> Option<String> {
    let mut names = HashSet::new();
    for channel in channels {
        let name = &channel.name;
        if name.is_empty() || !names.insert(name) {
            return Some(format!("the {kind} channel \"{name}\" is there twice or has no name"));
        }
        let numbers = [channel.min, channel.max, channel.mean, channel.std];
        if !numbers.iter().all(|n| n.is_finite()) || channel.min >= channel.max || channel.std <= 0.0 {
            return Some(format!("the {kind} channel {name} has no sensible range, mean or deviation"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn sound() -> serde_json::Value {
        serde_json::json!({
            "format": 1, "name": "t", "family": "dreamer",
            "frame": {"width": 128, "height": 128, "rate_hz": 10.0, "history": 8},
            "actions": [{"name": "a.pos", "unit": "deg", "min": -1.0, "max": 1.0, "mode": "absolute",
                         "mean": 0.0, "std": 1.0}],
            "text": true, "a_later_key": 5
        })
    }

    fn parse(value: &serde_json::Value) -> Result<Contract, ContractError> {
        Contract::parse(value.to_string().as_bytes(), Path::new("m/contract.json"))
    }

    #[test]
    fn unknown_keys_are_ignored_and_optional_ones_have_defaults() {
        let contract = parse(&sound()).unwrap();
        assert!(contract.state.is_empty() && contract.familiar_residual.is_none());
    }

    #[test]
    fn a_newer_format_is_refused_even_when_its_fields_are_unknown() {
        let newer = serde_json::json!({"format": 2, "all": "different"});
        let error = parse(&newer).unwrap_err();
        assert!(matches!(error, ContractError::Newer { found: 2, .. }));
        assert!(error.to_string().contains("Update Forerun"));
    }

    #[test]
    fn nonsense_is_named() {
        let cases = [
            ("/frame/width", serde_json::json!(0), "0 x 128"),
            ("/frame/rate_hz", serde_json::json!(-1.0), "rate"),
            ("/actions/0/std", serde_json::json!(0.0), "a.pos"),
            ("/actions/0/min", serde_json::json!(2.0), "a.pos"),
        ];
        for (pointer, bad, word) in cases {
            let mut value = sound();
            *value.pointer_mut(pointer).unwrap() = bad;
            let text = parse(&value).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn folders_without_a_contract_say_so() {
        let missing = Contract::load(Path::new("no/such/folder")).unwrap_err();
        assert!(matches!(missing, ContractError::NoFolder(_)));
        let here = Contract::load(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
        assert!(here.to_string().contains("contract.json"));
        let text = Contract::parse(b"{not json", Path::new("m/contract.json")).unwrap_err().to_string();
        assert!(text.contains("m/contract.json"));
    }
}
