//! Model folders as their publishers lay them out: safetensors in one file or in shards with an index (or, where there
//! are none, one `.pt` file with NVIDIA's names), `config.json` beside them; adapters that are merged while reading.
//!
//! A [`Checkpoint`] hands its tensors to a network through a [`VarBuilder`] and remembers which were taken, so that
//! a missing, extra, truncated or wrongly shaped tensor is reported with its name and its file.

mod adapter;
mod error;
pub mod names;
mod pickle;
mod pt_file;
mod safetensors_file;
mod zip_file;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Error, Result as CandleResult, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use serde::de::DeserializeOwned;

pub use adapter::Adapter;
pub use error::CheckpointError;
use pt_file::PtFile;
use safetensors_file::SafetensorsFile;

/// One file of weights.
enum WeightFile {
    Safetensors(SafetensorsFile),
    Pt(PtFile),
}

impl WeightFile {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        match path.extension().is_some_and(|e| e == "pt" || e == "pth") {
            true => PtFile::open(path).map(Self::Pt),
            false => SafetensorsFile::open(path).map(Self::Safetensors),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Pt(file) => file.path(),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Safetensors(file) => file.names().collect(),
            Self::Pt(file) => file.names().collect(),
        }
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        match self {
            Self::Safetensors(file) => file.shape(name),
            Self::Pt(file) => file.shape(name),
        }
    }

    fn load(&self, name: &str, device: &Device) -> CandleResult<Tensor> {
        match self {
            Self::Safetensors(file) => file.load(name, device),
            Self::Pt(file) => file.load(name, device),
        }
    }

    /// The same as another type.
    fn load_as(&self, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        if let (Self::Safetensors(file), DType::F32, Device::Cpu) = (self, dtype, device)
            && let Some(tensor) = file.load_f32(name)?
        {
            return Ok(tensor);
        }
        self.load(name, device)?.to_dtype(dtype)
    }

    /// The name by which networks ask for a tensor of this file; `None` for what they never ask for.
    fn renamed(&self) -> fn(&str) -> Option<String> {
        let Self::Pt(file) = self else { return |name: &str| Some(name.to_owned()) };
        match file
            .names()
            .any(|name| name.starts_with("decoder.middle.") || name.starts_with("encoder.conv1."))
        {
            true => names::wan,
            false => names::transformer,
        }
    }
}

/// The open weight files of one network.
#[derive(Clone)]
pub struct Checkpoint {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    files: Vec<WeightFile>,
    /// Tensor name to position in `files` and its name there.
    places: BTreeMap<String, (usize, String)>,
    adapters: Vec<(Adapter, f64)>,
    taken: Mutex<BTreeSet<String>>,
}

impl Checkpoint {
    /// Opens all weights of `folder`: the shards of `*.safetensors.index.json` if there is one, else every
    /// `*.safetensors` file, else its `.pt` or `.pth` file. Only the headers are read here.
    ///
    /// # Errors
    /// No weights, a damaged file, a shard without a tensor that the index promises, or one name in two files.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let names = file_names(folder)?;
        let index = names.iter().find(|name| name.ends_with(".safetensors.index.json"));
        let promised = match index {
            Some(name) => Some(read_index(&folder.join(name))?),
            None => None,
        };
        let paths: Vec<PathBuf> = match &promised {
            Some(map) => {
                map.values().collect::<BTreeSet<_>>().into_iter().map(|name| folder.join(name)).collect()
            }
            None => {
                let ending = |endings: &[&str]| -> Vec<PathBuf> {
                    let fits = |name: &&String| {
                        endings.iter().any(|e| name.ends_with(e)) && *name != "case.safetensors"
                    };
                    names.iter().filter(fits).map(|name| folder.join(name)).collect()
                };
                match ending(&[".safetensors"]) {
                    none if none.is_empty() => ending(&[".pt", ".pth"]),
                    some => some,
                }
            }
        };
        if paths.is_empty() {
            return Err(CheckpointError::NoWeights { path: folder.to_path_buf() });
        }
        let files = paths.iter().map(|path| WeightFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut places: BTreeMap<String, (usize, String)> = BTreeMap::new();
        for (number, file) in files.iter().enumerate() {
            let renamed = file.renamed();
            for own in file.names() {
                let Some(name) = renamed(own) else { continue };
                if let Some((first, _)) = places.insert(name.clone(), (number, own.to_owned())) {
                    let first = files.get(first).map(|f| f.path().to_path_buf()).unwrap_or_default();
                    return Err(CheckpointError::Twice { name, first, second: file.path().to_path_buf() });
                }
            }
        }
        for (name, file) in promised.iter().flatten() {
            let there = places.get(name).and_then(|(number, _)| files.get(*number));
            if there.is_none_or(|f| f.path() != folder.join(file)) {
                return Err(CheckpointError::NotInShard { path: folder.join(file), name: name.clone() });
            }
        }
        let inner = Inner {
            folder: folder.to_path_buf(),
            files,
            places,
            adapters: Vec::new(),
            taken: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same weights with adapters merged into them as they are read, each with its strength (1 = as trained).
    pub fn with_adapters(self, adapters: Vec<(Adapter, f64)>) -> Self {
        match Arc::try_unwrap(self.inner) {
            Ok(inner) => Self { inner: Arc::new(Inner { adapters, ..inner }) },
            // Somebody reads already: what was read cannot be merged any more.
            Err(inner) => Self { inner },
        }
    }

    /// Shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let (number, own) = self.inner.places.get(name)?;
        self.inner.files.get(*number)?.shape(own)
    }

    /// Bytes of all weight files on disk.
    pub fn bytes(&self) -> u64 {
        self.inner.files.iter().filter_map(|f| Some(f.path().metadata().ok()?.len())).sum()
    }

    /// The folder that was opened.
    pub fn folder(&self) -> &Path {
        &self.inner.folder
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.inner.places.contains_key(name)
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.places.keys().map(String::as_str)
    }

    /// A builder that gives the tensors as `dtype` on `device`.
    pub fn builder(&self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Taker(self.inner.clone())), dtype, device.clone())
    }

    /// Call after the network is built: every tensor must have been taken, except those whose name starts with one
    /// of `unused` (parts of the published file that this network does not run).
    ///
    /// # Errors
    /// [`CheckpointError::Extra`] names the first tensors that nothing asked for.
    pub fn finish(&self, unused: &[&str]) -> Result<(), CheckpointError> {
        self.finish_except(|name| unused.iter().any(|prefix| name.starts_with(prefix)))
    }

    /// The same, with a rule for what this network does not run.
    ///
    /// # Errors
    /// As [`Checkpoint::finish`]; also an adapter that changes a tensor which was not taken.
    pub fn finish_except(&self, unused: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        let taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let extra: Vec<&str> = self.names().filter(|name| !taken.contains(*name) && !unused(name)).collect();
        for (adapter, _) in &self.inner.adapters {
            adapter.finish(&taken)?;
        }
        let Some(first) = extra.first() else { return Ok(()) };
        let path = self.inner.file_of(first).map(|f| f.path().to_path_buf()).unwrap_or_default();
        let names = extra.iter().take(3).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Err(CheckpointError::Extra { path, names, count: extra.len() })
    }
}

impl Inner {
    fn file_of(&self, name: &str) -> Option<&WeightFile> {
        self.places.get(name).and_then(|(number, _)| self.files.get(*number))
    }

    fn take(&self, name: &str, dtype: DType, device: &Device) -> CandleResult<(Tensor, PathBuf)> {
        let place = self.places.get(name).and_then(|(n, own)| Some((self.files.get(*n)?, own)));
        let Some((file, own)) = place else {
            return Err(Error::Msg(format!(
                "tensor `{name}` is missing from {}. Its config.json asks for it: download the model again.",
                self.described()
            )));
        };
        let merged = |tensor: Tensor| {
            self.adapters.iter().try_fold(tensor, |tensor, (a, strength)| a.merge(name, tensor, *strength))
        };
        let tensor = match self.adapters.is_empty() {
            true => file.load_as(own, dtype, device),
            false => file.load(own, device).and_then(merged).and_then(|tensor| tensor.to_dtype(dtype)),
        };
        let tensor =
            tensor.map_err(|e| Error::Msg(format!("{}: tensor `{name}`: {e}", file.path().display())))?;
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        Ok((tensor, file.path().to_path_buf()))
    }

    /// The file, or the folder when there are several.
    fn described(&self) -> String {
        match self.files.as_slice() {
            [only] => only.path().display().to_string(),
            _ => format!("the {} weight files in {}", self.files.len(), self.folder.display()),
        }
    }
}

/// Gives tensors to a [`VarBuilder`] and notes which were given.
struct Taker(Arc<Inner>);

impl SimpleBackend for Taker {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> CandleResult<Tensor> {
        let (tensor, path) = self.0.take(name, dtype, device)?;
        if tensor.shape() != &shape {
            return Err(Error::Msg(format!(
                "{}: tensor `{name}` has shape {:?}, but config.json makes it {:?}. The weights and config.json \
                 belong to different models.",
                path.display(),
                tensor.dims(),
                shape.dims()
            )));
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> CandleResult<Tensor> {
        Ok(self.0.take(name, dtype, device)?.0)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.places.contains_key(name)
    }
}

/// Reads a JSON file into `T`.
///
/// # Errors
/// The file cannot be read, or is not such a `T`; the message names the file and the field.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let text =
        std::fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_path_buf(), source })?;
    serde_json::from_slice(&text).map_err(|e| CheckpointError::Json {
        path: path.to_path_buf(),
        reason: format!("cannot be understood ({e})"),
    })
}

/// Tensor name to shard file name.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(path)?;
    // A shard is a file beside the index; anything else would let an index point anywhere on the disk.
    match index.weight_map.values().find(|name| name.contains(['/', '\\']) || name.starts_with("..")) {
        Some(name) => Err(CheckpointError::Json {
            path: path.to_path_buf(),
            reason: format!("names the shard `{name}`, which is not a plain file name"),
        }),
        None => Ok(index.weight_map),
    }
}

/// Names of the files in a folder, sorted.
fn file_names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let wrap = |source| CheckpointError::Read { path: folder.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrap)? {
        names.push(entry.map_err(wrap)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
