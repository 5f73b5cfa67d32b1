//! What a model takes over from a policy: how to read words, and what they ask for.

use std::path::{Path, PathBuf};

use candle_core::Device;
use forerun_models::Contract;
use forerun_models::contract::CONTRACT_FILE;
use forerun_models::dreamer::adapt::Weights;
use forerun_models::dreamer::words::transplant;
use forerun_models::dreamer::{Config, intent};
use forerun_models::nn::Params;
use forerun_models::policy::Policy;

use super::TrainError;
use crate::fsx;

/// The text encoder of a policy or model folder, for a network of this configuration.
pub(super) fn words_of(folder: &Path, config: &Config) -> Result<Weights, TrainError> {
    let wrong = |reason: String| {
        let folder = folder.display();
        TrainError::Data(format!(
            "{folder} cannot give its text encoder: {reason}; choose another `words_from`"
        ))
    };
    let file = folder.join("model.safetensors");
    let (params, _) = Params::load(&file, &Device::Cpu, false).map_err(|e| wrong(e.to_string()))?;
    let weights: Weights = params.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    transplant(&weights, config).map_err(|e| wrong(e.to_string()))
}

/// Files of a policy folder that say what it is and where it comes from. Without a contract it is none, so that comes last.
const FILES: [&str; 4] = ["model.safetensors", "config.json", "lineage.json", CONTRACT_FILE];

/// A policy that says what is meant by words, to be put into a model's folder.
pub(super) struct Intent {
    folder: PathBuf,
    sha256: String,
}

impl Intent {
    /// The policy in this folder, for a model with this contract.
    pub(super) fn of(folder: &Path, contract: &Contract) -> Result<Self, TrainError> {
        let wrong = |reason: String| {
            let folder = folder.display();
            TrainError::Data(format!("{folder} cannot lead by words: {reason}; choose another `intent`"))
        };
        let policy = Policy::load(folder, &Device::Cpu).map_err(|e| wrong(e.to_string()))?;
        match intent::misfit(policy.contract(), policy.network().config().kind, contract) {
            Some(reason) => Err(wrong(reason)),
            None => Ok(Self { folder: folder.to_path_buf(), sha256: policy.sha256().to_owned() }),
        }
    }

    /// sha256 of its weights.
    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Copies it into a model's folder, where it is not there already.
    pub(super) fn put_into(&self, model: &Path) -> Result<(), TrainError> {
        let to = model.join(intent::FOLDER);
        let at = |path: &Path| {
            let path = path.to_path_buf();
            move |source| TrainError::File { path, source }
        };
        // A copy that was cut short has no contract yet.
        let whole = to.join(CONTRACT_FILE).exists();
        if whole && fsx::sha256_file(&to.join(FILES[0])).is_ok_and(|found| found == self.sha256) {
            return Ok(());
        }
        std::fs::create_dir_all(&to).map_err(at(&to))?;
        // While another policy is replaced there is none: its contract would make the new weights look whole.
        if whole {
            let contract = to.join(CONTRACT_FILE);
            std::fs::remove_file(&contract).map_err(at(&contract))?;
        }
        for name in FILES {
            let from = self.folder.join(name);
            if name == "lineage.json" && !from.exists() {
                continue;
            }
            let bytes = std::fs::read(&from).map_err(at(&from))?;
            fsx::write_atomic(&to.join(name), &bytes).map_err(at(&to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_that_was_cut_short_is_made_whole_and_a_whole_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (policy, model) = (dir.path().join("policy"), dir.path().join("model"));
        std::fs::create_dir(&policy).unwrap();
        for name in FILES {
            std::fs::write(policy.join(name), name).unwrap();
        }
        let sha256 = fsx::sha256_file(&policy.join(FILES[0])).unwrap();
        let intent = Intent { folder: policy, sha256 };
        let copy = model.join(intent::FOLDER);
        let all_there =
            || FILES.iter().all(|name| std::fs::read_to_string(copy.join(name)).is_ok_and(|t| t == *name));
        intent.put_into(&model).unwrap();
        assert!(all_there());
        // Killed between two files: the weights are there, what comes after them is not.
        for name in &FILES[1..] {
            std::fs::remove_file(copy.join(name)).unwrap();
        }
        intent.put_into(&model).unwrap();
        assert!(all_there());
        // Other weights than the policy's.
        std::fs::write(copy.join(FILES[0]), "other").unwrap();
        intent.put_into(&model).unwrap();
        assert!(all_there());
        std::fs::write(copy.join(FILES[1]), "mine").unwrap();
        intent.put_into(&model).unwrap();
        assert!(!all_there());
    }
}
