//! A model folder: `contract.json`, `config.json`, `model.safetensors`, and a policy under `intent/` where words have one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::adapt::Weights;
use super::config::{CHANNEL_SLOTS, Config};
use super::intent::Intent;
use super::network::Network;
use super::passes::{Accelerator, InCandle, OnCard, Passes};
use crate::contract::{CONTRACT_FORMAT, Contract};
use crate::kernels::Precision;
use crate::nn::Params;
use crate::nn::params::{ParamsError, save_tensors};

/// Why a model cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the folder is missing or cannot be read.
    #[error("{path}: {source}. A model folder holds contract.json, config.json and model.safetensors")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A JSON file does not say what it should.
    #[error("{path} cannot be understood: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote the folder.
    #[error("{path} has format {found}, this version reads up to {known}. Update Forerun to use this model")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// What is known here.
        known: u32,
    },
    /// Another family's model.
    #[error("{path} is a model of the family `{family}`, which this engine does not run")]
    Family {
        /// The file.
        path: PathBuf,
        /// The family.
        family: String,
    },
    /// Weights that do not belong to the configuration, or damaged ones.
    #[error(transparent)]
    Weights(#[from] ParamsError),
    /// Input that does not fit the contract.
    #[error("{0}")]
    Input(String),
    /// A card with kernels of its own does not do what it should.
    #[error("the graphics card cannot be used: {0}")]
    Card(String),
    /// The network could not be run.
    #[error("the network could not be run: {0}")]
    Compute(#[from] candle_core::Error),
}

/// Most weights of a network that is packed when it is loaded: that takes their size once more.
const PACKED_MOST: u64 = 50_000_000;

/// A loaded model: contract and weights, read-only, shared between threads.
pub struct Dreamer {
    contract: Contract,
    network: Network,
    sha256: String,
    parameters: u64,
    /// The same weights on a card that candle does not know; imagining happens there.
    card: Option<Box<dyn OnCard>>,
    /// What words ask for, where a future is given no numbers.
    intent: Option<Intent>,
    /// What products of futures round their factors to, where it is not the caller's wish.
    precision: Option<Precision>,
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::File { path: path.to_path_buf(), source })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, known: u32) -> Result<T, ModelError> {
    let bytes = read(path)?;
    let json = |e: serde_json::Error| ModelError::Json { path: path.to_path_buf(), reason: e.to_string() };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(json)?;
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(1);
    if found > u64::from(known) {
        let found = found.try_into().unwrap_or(u32::MAX);
        return Err(ModelError::Newer { path: path.to_path_buf(), found, known });
    }
    serde_json::from_value(value).map_err(json)
}

/// A model folder's content before it becomes a network: what post-training starts from.
pub struct Stored {
    /// What it was trained on.
    pub contract: Contract,
    /// Its sizes.
    pub config: Config,
    /// Its weights by name, in f32 on the CPU.
    pub weights: Weights,
    /// sha256 of `model.safetensors`, lower-case hex.
    pub sha256: String,
}

/// Reads a model folder and checks that contract, configuration and weights belong together.
///
/// # Errors
/// [`ModelError`], which names the file.
pub fn read_folder(folder: &Path) -> Result<Stored, ModelError> {
    let (model, params) = Dreamer::load_params(folder, &Device::Cpu)?;
    let weights = weights_of(&params);
    Ok(Stored {
        contract: model.contract.clone(),
        config: model.network.config().clone(),
        weights,
        sha256: model.sha256,
    })
}

impl Dreamer {
    /// A model on `device` from weights in memory; its sha256 is empty.
    ///
    /// # Errors
    /// Weights that do not fit the configuration.
    pub fn from_weights(
        contract: Contract,
        config: &Config,
        weights: &Weights,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut params = Params::frozen(device);
        for (name, tensor) in weights {
            params.insert(name, tensor.detach())?;
        }
        let network = Network::new(config, &mut params, device)?;
        let parameters = params.elements() as u64;
        Ok(Self {
            contract,
            network,
            sha256: String::new(),
            parameters,
            card: None,
            intent: None,
            precision: None,
        })
    }

    /// Reads a model folder and checks that contract, configuration and weights belong together.
    ///
    /// # Errors
    /// [`ModelError`], which names the file.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, ModelError> {
        let (mut model, _) = Self::load_params(folder, device)?;
        if model.parameters <= PACKED_MOST {
            model.network.pack(Precision::F32)?;
        }
        Ok(model)
    }

    /// Reads a model folder and brings it onto a card that candle does not know.
    ///
    /// # Errors
    /// As [`Dreamer::load`], and a card that cannot take it.
    pub fn load_on(folder: &Path, card: Arc<dyn Accelerator>) -> Result<Self, ModelError> {
        let (model, params) = Self::load_params(folder, &Device::Cpu)?;
        model.on_card(card, &weights_of(&params))
    }

    /// This model on a card that candle does not know; `weights` are its own.
    ///
    /// # Errors
    /// A card that cannot take it.
    pub fn on_card(mut self, card: Arc<dyn Accelerator>, weights: &Weights) -> Result<Self, ModelError> {
        self.card = Some(card.upload(self.network.config(), weights)?);
        Ok(self)
    }

    /// This model with its weights packed for products of bf16, in which it imagines from now on: faster, and a little less
    /// exactly. Without effect where the processor has none.
    ///
    /// # Errors
    /// Device errors.
    pub fn packed(mut self) -> Result<Self, ModelError> {
        if self.network.pack(Precision::Bf16)? > 0 {
            self.precision = Some(Precision::Bf16);
        }
        Ok(self)
    }

    /// Starts futures wherever the weights are.
    pub(super) fn passes(&self, text: Tensor, futures: usize) -> Result<Box<dyn Passes + '_>, ModelError> {
        match &self.card {
            Some(card) => card.start(&self.network, text, futures),
            None => Ok(Box::new(InCandle::new(&self.network, text, futures, self.precision)?)),
        }
    }

    fn load_params(folder: &Path, device: &Device) -> Result<(Self, Params), ModelError> {
        let contract_path = folder.join("contract.json");
        let contract: Contract = parse(&contract_path, CONTRACT_FORMAT)?;
        if contract.family != "dreamer" {
            return Err(ModelError::Family { path: contract_path, family: contract.family });
        }
        let config_path = folder.join("config.json");
        let config: Config = parse(&config_path, super::CONFIG_FORMAT)?;
        let wrong = |reason: String| ModelError::Json { path: config_path.clone(), reason };
        if let Some(problem) = config.problem() {
            return Err(wrong(problem));
        }
        check_contract(&contract, &config)
            .map_err(|reason| ModelError::Json { path: contract_path.clone(), reason })?;
        let weights = folder.join("model.safetensors");
        let sha256 = hex(&Sha256::digest(read(&weights)?));
        let (mut params, _) = Params::load(&weights, device, false)?;
        for (name, tensor) in stored_as_f32(&params)? {
            params.insert(&name, tensor)?;
        }
        let in_file =
            |e: candle_core::Error| ModelError::Json { path: weights.clone(), reason: e.to_string() };
        let network = Network::new(&config, &mut params, device).map_err(in_file)?;
        if let Some(name) = params.unused().first() {
            let reason = format!("it holds a tensor `{name}` that this network does not have");
            return Err(ModelError::Json { path: weights.clone(), reason });
        }
        let parameters = params.elements() as u64;
        let intent = Intent::load(folder, &contract, device)?;
        Ok((Self { contract, network, sha256, parameters, card: None, intent, precision: None }, params))
    }

    /// A model from parts that are already in memory (a network in training, judged between iterations).
    pub fn from_parts(contract: Contract, network: Network, sha256: String, parameters: u64) -> Self {
        Self { contract, network, sha256, parameters, card: None, intent: None, precision: None }
    }

    /// What it was trained on.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What words ask for, where the folder has a policy that knows.
    pub(super) fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
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

fn weights_of(params: &Params) -> Weights {
    params.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}

/// Half-precision tensors widened: the network computes in f32.
pub(crate) fn stored_as_f32(params: &Params) -> Result<Vec<(String, Tensor)>, ModelError> {
    let wide = candle_core::DType::F32;
    params
        .iter()
        .filter(|(_, tensor)| tensor.dtype() != wide)
        .map(|(name, tensor)| Ok((name.to_owned(), tensor.to_dtype(wide)?)))
        .collect()
}

fn check_contract(contract: &Contract, config: &Config) -> Result<(), String> {
    let frame = &contract.frame;
    if (frame.width, frame.height) != (config.image_width, config.image_height) {
        return Err(format!(
            "frames are {}x{} here and {}x{} in config.json; the two files do not belong together",
            frame.width, frame.height, config.image_width, config.image_height
        ));
    }
    if frame.history == 0 || frame.history > 4096 || !(frame.rate_hz.is_finite() && frame.rate_hz > 0.0) {
        return Err("history and rate_hz must be positive".into());
    }
    for (kind, channels) in [("actions", &contract.actions), ("state", &contract.state)] {
        if channels.len() > CHANNEL_SLOTS {
            return Err(format!("{} {kind} channels; at most {CHANNEL_SLOTS} are possible", channels.len()));
        }
        for channel in channels {
            let numbers = [channel.min, channel.max, channel.mean, channel.std];
            if numbers.iter().any(|n| !n.is_finite()) || channel.max <= channel.min || channel.std <= 0.0 {
                return Err(format!("channel `{}` needs finite min < max and std > 0", channel.name));
            }
        }
    }
    Ok(())
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the numbers of a model's matrices are stored; the network computes in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// As they were trained: four bytes a number.
    #[default]
    F32,
    /// Matrices rounded to the nearest bfloat16: half the file, 8 bits of precision. Vectors (biases, gains) stay
    /// f32: they are a thousandth of the file and the network is touchier about them.
    Bf16,
}

impl WeightFormat {
    /// The weights as they are stored.
    ///
    /// # Errors
    /// When a tensor cannot be converted.
    pub fn round(self, weights: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, ModelError> {
        if self == Self::F32 {
            return Ok(weights);
        }
        weights
            .into_iter()
            .map(|(name, tensor)| {
                let narrow = tensor.dims().len() > 1;
                Ok((name, if narrow { tensor.to_dtype(candle_core::DType::BF16)? } else { tensor }))
            })
            .collect()
    }
}

/// Writes `contract.json`, `config.json` and `model.safetensors` into `folder`, each whole or not at all, the
/// weights first and the contract (without which a folder is no model) last. Returns the weights' sha256.
///
/// # Errors
/// When the folder cannot be written.
pub fn save_folder(
    folder: &Path,
    contract: &Contract,
    config: &Config,
    weights: &[(String, Tensor)],
) -> Result<String, ModelError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ModelError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let path = folder.join("model.safetensors");
    let text = HashMap::from([("family".to_owned(), "dreamer".to_owned())]);
    save_tensors(&path, weights.iter().map(|(name, tensor)| (name.as_str(), tensor)), Some(text))?;
    let sha256 = hex(&Sha256::digest(read(&path)?));
    write_json(&folder.join("config.json"), config)?;
    write_json(&folder.join("contract.json"), contract)?;
    Ok(sha256)
}

pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), ModelError> {
    let json = |e: serde_json::Error| ModelError::Json { path: path.to_path_buf(), reason: e.to_string() };
    let io = |source| ModelError::File { path: path.to_path_buf(), source };
    let mut text = serde_json::to_string_pretty(value).map_err(json)?;
    text.push('\n');
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        // Temporary files are private to their owner; a model folder is there to be shared.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
