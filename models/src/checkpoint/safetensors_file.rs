//! One safetensors file: its header in memory, its tensors read from disk when asked for.
//!
//! The file is read, not mapped: a mapped file that shrinks while it is in use kills the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Error, Result as CandleResult, Tensor};
use serde::Deserialize;

use super::CheckpointError;

/// A header larger than this is no header (the largest published ones are below 1 MB).
const LONGEST_HEADER: u64 = 100 << 20;
/// Bytes that are read at one time where numbers are converted; a multiple of four.
const PIECE: usize = 1 << 22;

/// Where one tensor lies.
#[derive(Debug, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// An open safetensors file.
pub(super) struct SafetensorsFile {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
    data_start: u64,
}

impl SafetensorsFile {
    /// Reads and checks the header: every tensor must lie inside the file and have the size of its shape.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let damaged = |reason: String| CheckpointError::Damaged { path: path.to_path_buf(), reason };
        let unreadable = |source| CheckpointError::Read { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut length = [0u8; 8];
        file.read_exact(&mut length).map_err(|_| damaged(format!("it has {size} bytes")))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length + 8 > size {
            return Err(damaged(format!("its header should have {length} bytes, the file has {size}")));
        }
        let mut header = vec![0u8; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let header: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&header).map_err(|e| damaged(format!("its header is no JSON: {e}")))?;
        let data_start = length + 8;
        let mut entries = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (name, value) in header {
            if name == "__metadata__" {
                metadata = serde_json::from_value(value).unwrap_or_default();
                continue;
            }
            let entry: Entry = serde_json::from_value(value)
                .map_err(|e| damaged(format!("entry of tensor `{name}`: {e}")))?;
            entry.check(size - data_start).map_err(|reason| damaged(format!("tensor `{name}` {reason}")))?;
            entries.insert(name, entry);
        }
        Ok(Self { path: path.to_path_buf(), entries, metadata, data_start })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// A note that the file's maker left in it.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Reads one tensor as f32 into the processor's memory, piece by piece: a table of words of a gigabyte is never there
    /// in two forms. None for types that are not floating point numbers of 16 or 32 bits.
    pub fn load_f32(&self, name: &str) -> CandleResult<Option<Tensor>> {
        let Some(entry) = self.entries.get(name) else {
            return Err(Error::Msg("is not in this file".to_owned()));
        };
        let convert: fn(&[u8], &mut Vec<f32>) = match entry.dtype().map_err(Error::Msg)? {
            DType::BF16 => |bytes, out| {
                out.extend(bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()));
            },
            DType::F16 => |bytes, out| {
                out.extend(bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()));
            },
            DType::F32 => |bytes, out| {
                out.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
            },
            _ => return Ok(None),
        };
        let (start, end) = entry.data_offsets;
        let mut values = Vec::with_capacity(entry.shape.iter().product());
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.data_start + start))?;
        let mut left = (end - start) as usize;
        let mut piece = vec![0u8; left.min(PIECE)];
        while left > 0 {
            let part = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            file.read_exact(part)?;
            left -= part.len();
            convert(part, &mut values);
        }
        Tensor::from_vec(values, entry.shape.as_slice(), &Device::Cpu).map(Some)
    }

    /// Reads one tensor.
    pub fn load(&self, name: &str, device: &Device) -> CandleResult<Tensor> {
        let Some(entry) = self.entries.get(name) else {
            return Err(Error::Msg("is not in this file".to_owned()));
        };
        let dtype = entry.dtype().map_err(Error::Msg)?;
        let (start, end) = entry.data_offsets;
        let mut bytes = vec![0u8; (end - start) as usize];
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.data_start + start))?;
        file.read_exact(&mut bytes)?;
        Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, device)
    }
}

impl Entry {
    fn dtype(&self) -> Result<DType, String> {
        match self.dtype.as_str() {
            "F32" => Ok(DType::F32),
            "F16" => Ok(DType::F16),
            "BF16" => Ok(DType::BF16),
            "F64" => Ok(DType::F64),
            "I64" => Ok(DType::I64),
            "U32" => Ok(DType::U32),
            "U8" => Ok(DType::U8),
            other => Err(format!("has the type {other}, which is not supported")),
        }
    }

    /// Size against shape, and place against the `room` that the file has behind its header.
    fn check(&self, room: u64) -> Result<(), String> {
        let (start, end) = self.data_offsets;
        let wanted = self
            .shape
            .iter()
            .try_fold(self.dtype()?.size_in_bytes() as u64, |bytes, side| bytes.checked_mul(*side as u64));
        if start > end || wanted != Some(end - start) {
            return Err(format!(
                "has {} bytes, its shape {:?} needs {wanted:?}",
                end.saturating_sub(start),
                self.shape
            ));
        }
        if end > room {
            return Err(format!(
                "ends at byte {end}, but the file has only {room} bytes of data: it was cut off"
            ));
        }
        Ok(())
    }
}
