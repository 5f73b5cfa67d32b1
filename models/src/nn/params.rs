//! Named parameters of a network: made from a seed, or read from a safetensors file.
//!
//! A network asks for each of its parameters by name, shape and initial value. With a fresh store the numbers depend on
//! (seed, name) alone, not on the order of asking; with a loaded store they come from the file, and a missing name or
//! another shape is an error.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, Shape, Tensor, Var};

use crate::random::{Random, stream_of};

/// How a new parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zeros (gates of adaptive norms, output layers that must start silent).
    Zeros,
    /// All ones (gains).
    Ones,
    /// Normal numbers with this standard deviation.
    Normal(f64),
    /// Uniform numbers in -b..b.
    Uniform(f64),
    /// All this number.
    Const(f32),
    /// `value` from place `from` on in every run of `period` numbers, zero before it.
    Pattern {
        /// Length of a run.
        period: usize,
        /// First place of a run that is not zero.
        from: usize,
        /// The number there.
        value: f32,
    },
    /// `[out, in]` weights: uniform in -b..b with b = sqrt(6 / (in + out)) (Glorot & Bengio 2010).
    Glorot,
}

impl Init {
    /// Normal numbers of variance `1 / inputs`: keeps the size of what passes through a linear layer.
    pub fn fan_in(inputs: usize) -> Self {
        Self::Normal(1.0 / (inputs.max(1) as f64).sqrt())
    }
}

/// What can go wrong with a file of parameters.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// The file could not be read or written.
    #[error("{path}: {source}; check that the folder exists, is writable and has room")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a sound safetensors file.
    #[error("{path} is not a sound safetensors file ({reason}); fetch or train the model again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor could not be moved or converted.
    #[error("parameters: {0}")]
    Tensor(#[from] candle_core::Error),
}

#[derive(Debug, Clone)]
struct Param {
    tensor: Tensor,
    /// Present while the parameter is trained.
    var: Option<Var>,
    asked: bool,
}

/// Parameters by name, in the order of their names.
///
/// Trainable parameters are candle variables, so that gradients reach them; others are plain tensors, so that inference
/// records no graph.
#[derive(Debug, Clone)]
pub struct Params {
    entries: BTreeMap<String, Param>,
    seed: u64,
    device: Device,
    trainable: bool,
    may_create: bool,
}

impl Params {
    /// An empty, trainable store: names that are asked for are made from the seed, in f32.
    pub fn new(seed: u64, device: &Device) -> Self {
        Self { entries: BTreeMap::new(), seed, device: device.clone(), trainable: true, may_create: true }
    }

    /// An empty store for tensors that come from elsewhere: they stay as they are (a tensor that is part of a graph
    /// keeps it), and asking for a name that is not there is an error.
    pub fn frozen(device: &Device) -> Self {
        Self {
            entries: BTreeMap::new(),
            seed: 0,
            device: device.clone(),
            trainable: false,
            may_create: false,
        }
    }

    /// Reads a safetensors file. Asking for a name that is not in it is an error (see [`Params::allow_new`]).
    ///
    /// With `trainable` the tensors become variables in f32; without, they stay plain tensors in the file's format.
    /// Returns the file's own text entries beside the store.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn load(
        path: &Path,
        device: &Device,
        trainable: bool,
    ) -> std::result::Result<(Self, HashMap<String, String>), ParamsError> {
        let bytes =
            std::fs::read(path).map_err(|source| ParamsError::Io { path: path.to_path_buf(), source })?;
        let damaged = |reason: String| ParamsError::Damaged { path: path.to_path_buf(), reason };
        let (_, header) =
            safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
        let tensors =
            candle_core::safetensors::load_buffer(&bytes, device).map_err(|e| damaged(e.to_string()))?;
        let mut params =
            Self { entries: BTreeMap::new(), seed: 0, device: device.clone(), trainable, may_create: false };
        for (name, tensor) in tensors {
            params.insert(&name, tensor)?;
        }
        Ok((params, header.metadata().clone().unwrap_or_default()))
    }

    /// Makes a loaded store create missing parameters from `seed` (new heads in post-training).
    pub fn allow_new(&mut self, seed: u64) {
        self.seed = seed;
        self.may_create = true;
    }

    /// Puts a tensor under a name, replacing what was there, on the store's device; it becomes a variable in a trainable
    /// store.
    ///
    /// # Errors
    /// When the tensor cannot be copied or converted.
    pub fn insert(&mut self, name: &str, tensor: Tensor) -> Result<()> {
        // A tensor that is there already stays as it is, graph included.
        let tensor = tensor.to_device(&self.device)?;
        let param = if self.trainable {
            let var = Var::from_tensor(&tensor.to_dtype(DType::F32)?.contiguous()?)?;
            Param { tensor: var.as_tensor().clone(), var: Some(var), asked: false }
        } else {
            Param { tensor: tensor.contiguous()?, var: None, asked: false }
        };
        self.entries.insert(name.to_owned(), param);
        Ok(())
    }

    /// The parameter `name`; made by `init` when the store may create and has none.
    ///
    /// # Errors
    /// When the name is missing in a loaded store, or its shape is another.
    pub fn tensor(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Tensor> {
        let shape = shape.into();
        if !self.entries.contains_key(name) {
            if !self.may_create {
                candle_core::bail!(
                    "the model file has no parameter `{name}`; it belongs to another version or is incomplete"
                );
            }
            let values = initial(self.seed, name, &shape, init);
            let tensor = Tensor::from_vec(values, shape.clone(), &self.device)?;
            self.insert(name, tensor)?;
        }
        let Some(param) = self.entries.get_mut(name) else {
            candle_core::bail!("parameter `{name}` vanished");
        };
        if param.tensor.shape() != &shape {
            candle_core::bail!(
                "parameter `{name}` has shape {:?}, this network takes {shape:?}; the configuration and the weights do not belong together",
                param.tensor.shape()
            );
        }
        param.asked = true;
        Ok(param.tensor.clone())
    }

    /// The parameter `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name).map(|p| &p.tensor)
    }

    /// All parameters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, p)| (name.as_str(), &p.tensor))
    }

    /// The parameters that are trained, by name.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.entries.iter().filter_map(|(name, p)| Some((name.as_str(), p.var.as_ref()?)))
    }

    /// Names in the store that no network asked for: leftovers of another version.
    pub fn unused(&self) -> Vec<&str> {
        self.entries.iter().filter(|(_, p)| !p.asked).map(|(name, _)| name.as_str()).collect()
    }

    /// Freezes (`false`) or frees (`true`) all present parameters whose name starts with `prefix`.
    ///
    /// Call it before the network asks for its tensors: it replaces them.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    pub fn set_trainable(&mut self, prefix: &str, trainable: bool) -> Result<()> {
        for (_, p) in self.entries.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
            if trainable && p.var.is_none() {
                let var = Var::from_tensor(&p.tensor.to_dtype(DType::F32)?)?;
                p.tensor = var.as_tensor().clone();
                p.var = Some(var);
            } else if !trainable {
                p.tensor = p.tensor.detach();
                p.var = None;
            }
        }
        Ok(())
    }

    /// Number of numbers in all parameters.
    pub fn elements(&self) -> usize {
        self.entries.values().map(|p| p.tensor.elem_count()).sum()
    }

    /// The device that the parameters live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Writes all parameters and some text entries to a safetensors file: whole, or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written or the disk is full.
    pub fn save(
        &self,
        path: &Path,
        text: Option<HashMap<String, String>>,
    ) -> std::result::Result<(), ParamsError> {
        save_tensors(path, self.iter(), text)
    }
}

/// Writes named tensors and some text entries to a safetensors file: to a temporary name beside it, synced, then
/// renamed over it.
///
/// # Errors
/// When the folder cannot be written or the disk is full.
pub fn save_tensors<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    text: Option<HashMap<String, String>>,
) -> std::result::Result<(), ParamsError> {
    let cpu = tensors
        .map(|(name, t)| Ok((name, t.detach().to_device(&Device::Cpu)?.contiguous()?)))
        .collect::<Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(cpu, text).map_err(candle_core::Error::from)?;
    let io = |source| ParamsError::Io { path: path.to_path_buf(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(&bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    #[cfg(unix)]
    {
        // Temporary files are private to their owner; weights are ordinary files.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(io)?;
    }
    file.persist(path).map_err(|e| io(e.error))?;
    #[cfg(unix)]
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
    Ok(())
}

/// The numbers that a parameter starts with.
fn initial(seed: u64, name: &str, shape: &Shape, init: Init) -> Vec<f32> {
    let n = shape.elem_count();
    let random = Random::new(seed, stream_of(name), 0);
    let uniform = |bound: f64| {
        let mut values = vec![0.0; n];
        random.fill_uniform(0, &mut values);
        values.iter_mut().for_each(|v| *v = (f64::from(*v * 2.0 - 1.0) * bound) as f32);
        values
    };
    match init {
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
        Init::Const(value) => vec![value; n],
        Init::Pattern { period, from, value } => {
            (0..n).map(|i| if i % period.max(1) >= from { value } else { 0.0 }).collect()
        }
        Init::Normal(std) => {
            let mut values = vec![0.0; n];
            random.fill_normal(0, &mut values);
            values.iter_mut().for_each(|v| *v = (f64::from(*v) * std) as f32);
            values
        }
        Init::Uniform(bound) => uniform(bound),
        Init::Glorot => {
            let fans: usize = shape.dims().iter().rev().take(2).sum();
            uniform((6.0 / fans.max(1) as f64).sqrt())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn numbers(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn numbers_depend_on_seed_and_name_not_on_order() {
        let mut a = Params::new(3, &Device::Cpu);
        let mut b = Params::new(3, &Device::Cpu);
        let mut c = Params::new(4, &Device::Cpu);
        let wa = a.tensor("w", (4, 5), Init::Normal(0.02)).unwrap();
        a.tensor("v", 7, Init::Glorot).unwrap();
        b.tensor("v", 7, Init::Glorot).unwrap();
        let wb = b.tensor("w", (4, 5), Init::Normal(0.02)).unwrap();
        let wc = c.tensor("w", (4, 5), Init::Normal(0.02)).unwrap();
        assert_eq!(numbers(&wa), numbers(&wb));
        assert_ne!(numbers(&wa), numbers(&wc));
        assert_eq!(a.elements(), 27);
    }

    #[test]
    fn a_saved_store_comes_back_and_checks_names_and_shapes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let mut p = Params::new(1, &Device::Cpu);
        let w = p.tensor("w", (2, 3), Init::Uniform(0.5)).unwrap();
        p.tensor("g", 3, Init::Ones).unwrap();
        p.save(&path, Some(HashMap::from([("step".to_owned(), "12".to_owned())]))).unwrap();
        let (mut q, text) = Params::load(&path, &Device::Cpu, false).unwrap();
        assert_eq!(text["step"], "12");
        assert_eq!(numbers(&q.tensor("w", (2, 3), Init::Zeros).unwrap()), numbers(&w));
        assert_eq!(q.unused(), ["g"]);
        assert_eq!(q.trainable().count(), 0);
        assert!(q.tensor("w", (3, 2), Init::Zeros).unwrap_err().to_string().contains("belong together"));
        assert!(q.tensor("x", 2, Init::Zeros).is_err());
        q.allow_new(9);
        assert!(q.tensor("x", 2, Init::Zeros).is_ok());
        // Only the file itself is left in the folder.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let mut p = Params::new(1, &Device::Cpu);
        p.tensor("w", (20, 30), Init::Ones).unwrap();
        p.save(&path, None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 4, 30, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let e = Params::load(&path, &Device::Cpu, false).unwrap_err();
            assert!(matches!(e, ParamsError::Damaged { .. }), "{e}");
        }
        assert!(matches!(
            Params::load(&dir.path().join("none"), &Device::Cpu, false),
            Err(ParamsError::Io { .. })
        ));
    }

    #[test]
    fn frozen_parameters_record_no_graph() {
        let mut p = Params::new(1, &Device::Cpu);
        p.tensor("a.w", 3, Init::Ones).unwrap();
        p.tensor("b.w", 3, Init::Ones).unwrap();
        p.set_trainable("a.", false).unwrap();
        let (a, b) = (p.tensor("a.w", 3, Init::Ones).unwrap(), p.tensor("b.w", 3, Init::Ones).unwrap());
        assert!(!a.is_variable() && !(&a * &a).unwrap().track_op());
        assert!(b.is_variable() && (&b * &b).unwrap().track_op());
        assert_eq!(p.trainable().map(|(n, _)| n).collect::<Vec<_>>(), ["b.w"]);
    }
}
