//! A policy folder: `contract.json`, `config.json`, `model.safetensors`.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::config::{CONFIG_FORMAT, Config};
use super::network::Network;
use crate::contract::Contract;
use crate::dreamer::ModelError;
use crate::nn::Params;
use crate::nn::params::save_tensors;

/// `family` of a policy's contract.
pub const FAMILY: &str = "policy";

/// A loaded policy: contract and weights, read-only, shared between threads.
pub struct Policy {
    contract: Contract,
    network: Network,
    sha256: String,
    parameters: u64,
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::File { path: path.to_path_buf(), source })
}

impl Policy {
    /// Reads a policy folder and checks that contract, configuration and weights belong together.
    ///
    /// # Errors
    /// [`ModelError`], which names the file.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let (contract, config) = Self::describe(folder)?;
        let weights = folder.join("model.safetensors");
        let sha256 = hex(&Sha256::digest(read(&weights)?));
        let (mut params, _) = Params::load(&weights, device, false)?;
        for (name, tensor) in crate::dreamer::stored_as_f32(&params)? {
            params.insert(&name, tensor)?;
        }
        let in_file =
            |e: candle_core::Error| ModelError::Json { path: weights.clone(), reason: e.to_string() };
        let network = Network::new(&config, &mut params, device).map_err(in_file)?;
        if let Some(name) = params.unused().first() {
            let reason = format!("it holds a tensor `{name}` that this policy does not have");
            return Err(ModelError::Json { path: weights.clone(), reason });
        }
        let parameters = params.elements() as u64;
        Ok(Self { contract, network, sha256, parameters })
    }

    /// Reads contract and configuration only, and checks that they belong together.
    ///
    /// # Errors
    /// [`ModelError`], which names the file.
    pub fn describe(folder: &Path) -> Result<(Contract, Config), ModelError> {
        let path = folder.join(crate::contract::CONTRACT_FILE);
        let wrong = |path: &Path, reason: String| ModelError::Json { path: path.to_path_buf(), reason };
        let contract = Contract::parse(&read(&path)?, &path).map_err(|e| wrong(&path, e.to_string()))?;
        if contract.family != FAMILY {
            return Err(ModelError::Family { path, family: contract.family });
        }
        let config_path = folder.join("config.json");
        let value: serde_json::Value =
            serde_json::from_slice(&read(&config_path)?).map_err(|e| wrong(&config_path, e.to_string()))?;
        let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if found > u64::from(CONFIG_FORMAT) {
            let found = found.try_into().unwrap_or(u32::MAX);
            return Err(ModelError::Newer { path: config_path, found, known: CONFIG_FORMAT });
        }
        let config: Config = serde_json::from_value(value).map_err(|e| wrong(&config_path, e.to_string()))?;
        if let Some(problem) = config.problem() {
            return Err(wrong(&config_path, problem));
        }
        let frame = &contract.frame;
        let fits = (frame.width, frame.height) == (config.image_width, config.image_height)
            && contract.actions.len() == config.actions()
            && contract.state.len() == config.state();
        if !fits {
            let reason =
                "its frames or channels differ from config.json; the two files do not belong together";
            return Err(wrong(&path, reason.into()));
        }
        Ok((contract, config))
    }

    /// A policy from parts that are already in memory (one in training, judged between iterations).
    pub fn from_parts(contract: Contract, network: Network, sha256: String, parameters: u64) -> Self {
        Self { contract, network, sha256, parameters }
    }

    /// What it was trained on.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// sha256 of `model.safetensors`, lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes weights, `config.json` and, last, `contract.json` (without which a folder is no policy) into `folder`, each
/// whole or not at all. Returns the weights' sha256.
///
/// # Errors
/// When the folder cannot be written.
pub fn save_folder(
    folder: &Path,
    contract: &Contract,
    config: &Config,
    weights: &[(String, Tensor)],
) -> Result<String, ModelError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| ModelError::File { path: folder.to_path_buf(), source })?;
    let path = folder.join("model.safetensors");
    let text = HashMap::from([("family".to_owned(), FAMILY.to_owned())]);
    save_tensors(&path, weights.iter().map(|(name, tensor)| (name.as_str(), tensor)), Some(text))?;
    let sha256 = hex(&Sha256::digest(read(&path)?));
    crate::dreamer::write_json(&folder.join("config.json"), config)?;
    crate::dreamer::write_json(&folder.join(crate::contract::CONTRACT_FILE), contract)?;
    Ok(sha256)
}
