//! Low-rank adapters (LoRA, Hu et al. 2021) in their published formats, merged into the weights that they were trained
//! on: `W + strength · alpha / rank · B · A`.
//!
//! Known are the files of diffusers (`pytorch_lora_weights.safetensors`, its settings in the file's own notes), of PEFT
//! (`adapter_model.safetensors` with `adapter_config.json`), and NVIDIA's names (`net.blocks.N…`) in either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use serde::Deserialize;

use super::{CheckpointError, WeightFile, names, read_json};

/// Endings of the two halves: the narrow one (`A`) first.
const ENDINGS: [(&str, &str); 4] = [
    (".lora_A.weight", ".lora_B.weight"),
    (".lora_A.default.weight", ".lora_B.default.weight"),
    (".lora_down.weight", ".lora_up.weight"),
    (".lora.down.weight", ".lora.up.weight"),
];

/// What files put before the names of the network's layers.
const PREFIXES: [&str; 5] = ["base_model.model.", "transformer.", "diffusion_model.", "model.", "net."];

/// The two halves of one layer's change.
struct Pair {
    /// [rank, inputs]
    narrow: Tensor,
    /// [outputs, rank]
    wide: Tensor,
    /// alpha / rank
    scale: f64,
}

/// An adapter in memory.
pub struct Adapter {
    path: PathBuf,
    /// Name of the weight that a pair changes.
    pairs: BTreeMap<String, Pair>,
}

/// `adapter_config.json` of PEFT, and the notes of diffusers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    lora_alpha: Option<f64>,
    use_rslora: bool,
    use_dora: bool,
    alpha_pattern: BTreeMap<String, f64>,
    rank_pattern: BTreeMap<String, f64>,
}

impl Settings {
    /// alpha / rank, of a pair of this rank. Without settings alpha is the rank.
    fn scale(&self, rank: usize, own_alpha: Option<f64>) -> f64 {
        let rank = rank as f64;
        let alpha = own_alpha.or(self.lora_alpha).unwrap_or(rank);
        if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }
    }
}

impl Adapter {
    /// Reads an adapter: a file, or the folder that holds it.
    ///
    /// # Errors
    /// No adapter, half an adapter, a damaged file, or a kind of adapter that cannot be merged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = if path.is_dir() { find(path)? } else { path.to_path_buf() };
        let wrong = |reason: String| CheckpointError::Adapter { path: file.clone(), reason };
        let weights = WeightFile::open(&file)?;
        let settings = settings(&file, &weights)?;
        if settings.use_dora {
            return Err(wrong("it is a DoRA adapter, which this version cannot merge".to_owned()));
        }
        if !settings.alpha_pattern.is_empty() || !settings.rank_pattern.is_empty() {
            return Err(wrong(
                "its layers have settings of their own, which this version cannot read".to_owned(),
            ));
        }
        let own: BTreeSet<&str> = weights.names().into_iter().collect();
        let mut used = BTreeSet::new();
        let mut pairs = BTreeMap::new();
        for name in &own {
            let Some((layer, other)) = ENDINGS.iter().find_map(|(a, b)| Some((name.strip_suffix(*a)?, *b)))
            else {
                continue;
            };
            let second = format!("{layer}{other}");
            if !own.contains(second.as_str()) {
                return Err(wrong(format!("`{name}` has no other half `{second}`")));
            }
            let read = |name: &str| {
                let tensor = weights.load(name, &Device::Cpu).and_then(|t| t.to_dtype(DType::F32));
                tensor.map_err(|e| wrong(format!("tensor `{name}`: {e}")))
            };
            let (narrow, wide) = (read(name)?, read(&second)?);
            let (Ok((rank, _)), Ok((_, same))) = (narrow.dims2(), wide.dims2()) else {
                return Err(wrong(format!("`{name}` is no matrix: only linear layers can be adapted")));
            };
            if rank != same || rank == 0 {
                return Err(wrong(format!("the halves of `{layer}` have the ranks {rank} and {same}")));
            }
            let alpha_name = format!("{layer}.alpha");
            let alpha = match own.contains(alpha_name.as_str()) {
                true => read(&alpha_name)?.flatten_all().and_then(|t| t.to_vec1::<f32>()).ok(),
                false => None,
            };
            let alpha = alpha.and_then(|a| a.first().copied()).map(f64::from);
            used.extend([(*name).to_owned(), second, alpha_name]);
            pairs.insert(target(layer), Pair { narrow, wide, scale: settings.scale(rank, alpha) });
        }
        if let Some(other) = own.iter().find(|name| !used.contains(**name)) {
            return Err(wrong(format!("tensor `{other}` is no part of a low-rank adapter")));
        }
        if pairs.is_empty() {
            return Err(wrong("there is no adapter in it".to_owned()));
        }
        Ok(Self { path: file, pairs })
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `weight` with this adapter's change, if it has one for the tensor `name`.
    pub(super) fn merge(&self, name: &str, weight: Tensor, strength: f64) -> CandleResult<Tensor> {
        let Some(pair) = self.pairs.get(name) else { return Ok(weight) };
        let change = pair.wide.matmul(&pair.narrow)?;
        if change.dims() != weight.dims() {
            candle_core::bail!(
                "the adapter {} changes a weight of shape {:?}, here it has {:?}",
                self.path.display(),
                change.dims(),
                weight.dims()
            );
        }
        let change = (change * (strength * pair.scale))?.to_device(weight.device())?;
        let merged = (weight.to_dtype(DType::F32)? + change)?;
        merged.to_dtype(weight.dtype())
    }

    /// Every pair must have changed one of the tensors that the network took.
    pub(super) fn finish(&self, taken: &BTreeSet<String>) -> Result<(), CheckpointError> {
        match self.pairs.keys().find(|name| !taken.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(CheckpointError::Adapter {
                path: self.path.clone(),
                reason: format!("it changes the tensor `{name}`, which this network does not have"),
            }),
        }
    }
}

/// The network's name for the weight of a layer.
fn target(layer: &str) -> String {
    let mut plain = layer;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| plain.strip_prefix(prefix)) {
        plain = rest;
    }
    let weight = format!("{plain}.weight");
    if plain.starts_with("layers.") {
        return names::two_towers(&weight);
    }
    names::transformer(&weight).unwrap_or(weight)
}

/// The adapter's file in a folder.
fn find(folder: &Path) -> Result<PathBuf, CheckpointError> {
    for name in ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"] {
        if folder.join(name).is_file() {
            return Ok(folder.join(name));
        }
    }
    let names = super::file_names(folder)?;
    let fits = |name: &&String| [".safetensors", ".pt", ".pth"].iter().any(|e| name.ends_with(e));
    match names.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [only] => Ok(folder.join(only)),
        found => Err(CheckpointError::Adapter {
            path: folder.to_path_buf(),
            reason: format!(
                "{} weight files were found here, and none is called as adapters are",
                found.len()
            ),
        }),
    }
}

fn settings(file: &Path, weights: &WeightFile) -> Result<Settings, CheckpointError> {
    let beside = file.with_file_name("adapter_config.json");
    if beside.is_file() {
        return read_json(&beside);
    }
    let WeightFile::Safetensors(weights) = weights else { return Ok(Settings::default()) };
    let Some(note) = weights.note("lora_adapter_metadata") else { return Ok(Settings::default()) };
    // diffusers writes the settings of all parts of a pipeline, flat: `transformer.lora_alpha`.
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_str(note).unwrap_or_default();
    let number = |key: &str| all.get(&format!("transformer.{key}")).and_then(serde_json::Value::as_f64);
    let yes = |key: &str| all.get(&format!("transformer.{key}")) == Some(&serde_json::Value::Bool(true));
    Ok(Settings {
        lora_alpha: number("lora_alpha"),
        use_rslora: yes("use_rslora"),
        use_dora: yes("use_dora"),
        ..Settings::default()
    })
}
