//! One `.pt` file: the list of its tensors in memory, their bytes read from disk when asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Error, Result as CandleResult, Tensor};

use super::CheckpointError;
use super::pickle::{Described, tensors};
use super::zip_file::ZipFile;

/// A list of tensors longer than this is none (the largest published ones are below 2 MB).
const LONGEST_LIST: u64 = 64 << 20;

/// An open `.pt` file.
pub(super) struct PtFile {
    path: PathBuf,
    zip: ZipFile,
    /// Folder within the archive.
    root: String,
    tensors: BTreeMap<String, Described>,
}

impl PtFile {
    /// Reads and checks the list: every tensor must lie inside its entry.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let refused = |reason: String| CheckpointError::Refused { path: path.to_path_buf(), reason };
        let zip = ZipFile::open(path).map_err(refused)?;
        let list = zip.names().find(|name| name.ends_with("/data.pkl")).map(str::to_owned);
        let list = list.ok_or_else(|| refused("there is no data.pkl in it".to_owned()))?;
        let root = list.trim_end_matches("data.pkl").to_owned();
        let order = format!("{root}byteorder");
        if let Some(size) = zip.size(&order)
            && zip.read(&order, 0, size).map_err(refused)? != b"little"
        {
            return Err(refused("its numbers are big-endian".to_owned()));
        }
        let size = zip.size(&list).unwrap_or(0);
        if size > LONGEST_LIST {
            return Err(refused(format!("its list of tensors has {size} bytes")));
        }
        let tensors = tensors(&zip.read(&list, 0, size).map_err(refused)?).map_err(refused)?;
        let file = Self { path: path.to_path_buf(), zip, root, tensors };
        for (name, tensor) in &file.tensors {
            file.check(tensor).map_err(|reason| refused(format!("tensor `{name}` {reason}")))?;
        }
        Ok(file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Reads one tensor.
    pub fn load(&self, name: &str, device: &Device) -> CandleResult<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(Error::Msg("is not in this file".to_owned()));
        };
        let item = tensor.dtype.size_in_bytes();
        let elements = reach(tensor).ok_or_else(|| Error::Msg("has an impossible shape".to_owned()))?;
        let bytes = self
            .zip
            .read(&self.entry(tensor), tensor.offset * item as u64, elements * item as u64)
            .map_err(Error::Msg)?;
        if row_major(tensor) {
            return Tensor::from_raw_buffer(&bytes, tensor.dtype, &tensor.shape, device);
        }
        // A view of a storage (a transposed or expanded tensor): its elements are collected one by one.
        let count: usize = tensor.shape.iter().product();
        let mut collected = Vec::with_capacity(count * item);
        let mut index = vec![0usize; tensor.shape.len()];
        for _ in 0..count {
            let at: usize = index.iter().zip(&tensor.strides).map(|(i, stride)| i * stride).sum();
            collected.extend_from_slice(bytes.get(at * item..(at + 1) * item).unwrap_or_default());
            for (i, size) in index.iter_mut().zip(&tensor.shape).rev() {
                *i += 1;
                if *i < *size {
                    break;
                }
                *i = 0;
            }
        }
        Tensor::from_raw_buffer(&collected, tensor.dtype, &tensor.shape, device)
    }

    fn entry(&self, tensor: &Described) -> String {
        format!("{}data/{}", self.root, tensor.key)
    }

    fn check(&self, tensor: &Described) -> Result<(), String> {
        if tensor.shape.len() != tensor.strides.len() {
            return Err("has a shape and strides of different lengths".to_owned());
        }
        let size = self.zip.size(&self.entry(tensor)).ok_or("has no data in this file")?;
        let end = reach(tensor)
            .and_then(|elements| elements.checked_add(tensor.offset))
            .and_then(|elements| elements.checked_mul(tensor.dtype.size_in_bytes() as u64));
        // Expanded tensors repeat a few bytes; a list that repeats them endlessly is an attack on memory.
        let count = tensor.shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side as u64));
        let most = size / tensor.dtype.size_in_bytes() as u64;
        match (end, count) {
            (Some(end), Some(count)) if end <= size && count <= most.saturating_mul(64).max(64) => Ok(()),
            _ => Err(format!("of shape {:?} does not fit into its {size} bytes", tensor.shape)),
        }
    }
}

/// Elements between the first and the last one, both included.
fn reach(tensor: &Described) -> Option<u64> {
    if tensor.shape.contains(&0) {
        return Some(0);
    }
    tensor.shape.iter().zip(&tensor.strides).try_fold(1u64, |reach, (side, stride)| {
        reach.checked_add((*side as u64 - 1).checked_mul(*stride as u64)?)
    })
}

fn row_major(tensor: &Described) -> bool {
    let mut expected = 1;
    tensor.shape.iter().zip(&tensor.strides).rev().all(|(side, stride)| {
        let fits = *side == 1 || *stride == expected;
        expected *= side;
        fits
    })
}
