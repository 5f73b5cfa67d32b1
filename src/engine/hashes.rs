//! Hashes of large model files, remembered by path, size and time: hashing forty gigabytes takes minutes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::places::own_models;
use crate::failure::Failure;
use crate::fsx;

/// Folders below this size are hashed anew every time: it takes less than a second.
const SMALL: u64 = 64 << 20;
/// The file that remembers, beside the person's own models.
const FILE: &str = ".hashes.json";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Remembered {
    size: u64,
    changed: u64,
    sha256: String,
}

/// One hash over files of a folder: of the list of their names and hashes.
///
/// # Errors
/// A file cannot be read.
pub fn of_files(folder: &Path, files: &[PathBuf]) -> Result<String, Failure> {
    let mut memory = Memory::open();
    let mut lines = String::new();
    for file in files {
        let path = folder.join(file);
        let sha256 = match memory.get(&path) {
            Some(sha256) => sha256,
            None => {
                let sha256 = fsx::sha256_file(&path).map_err(|e| Failure::io("read", &path, &e))?;
                memory.put(&path, &sha256);
                sha256
            }
        };
        lines.push_str(&line(file, &sha256));
    }
    memory.keep();
    Ok(fsx::sha256_hex(lines.as_bytes()))
}

/// The same without reading large files; `None` where one of them has not been hashed yet.
pub fn known(folder: &Path, files: &[PathBuf]) -> Option<String> {
    let memory = Memory::open();
    let mut lines = String::new();
    let mut left = SMALL;
    for file in files {
        let path = folder.join(file);
        let sha256 = match memory.get(&path) {
            Some(sha256) => sha256,
            None => {
                left = left.checked_sub(path.metadata().ok()?.len())?;
                fsx::sha256_file(&path).ok()?
            }
        };
        lines.push_str(&line(file, &sha256));
    }
    Some(fsx::sha256_hex(lines.as_bytes()))
}

fn line(file: &Path, sha256: &str) -> String {
    format!("{} {sha256}\n", file.to_string_lossy().replace('\\', "/"))
}

/// What is remembered. That it cannot be read or written only costs time.
struct Memory {
    file: Option<PathBuf>,
    entries: BTreeMap<String, Remembered>,
    changed: bool,
}

impl Memory {
    fn open() -> Self {
        let file = own_models().map(|folder| folder.join(FILE));
        let read = |file: &PathBuf| serde_json::from_slice(&std::fs::read(file).ok()?).ok();
        let entries = file.as_ref().and_then(read).unwrap_or_default();
        Self { file, entries, changed: false }
    }

    fn now(path: &Path) -> Option<(String, u64, u64)> {
        let path = path.canonicalize().ok()?;
        let meta = path.metadata().ok()?;
        let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos() as u64;
        Some((path.to_string_lossy().into_owned(), meta.len(), changed))
    }

    fn get(&self, path: &Path) -> Option<String> {
        let (name, size, changed) = Self::now(path)?;
        let entry = self.entries.get(&name).filter(|e| (e.size, e.changed) == (size, changed))?;
        Some(entry.sha256.clone())
    }

    /// Small files are not worth a line.
    fn put(&mut self, path: &Path, sha256: &str) {
        if let Some((name, size, changed)) = Self::now(path).filter(|(_, size, _)| *size > SMALL) {
            self.entries.insert(name, Remembered { size, changed, sha256: sha256.to_owned() });
            self.changed = true;
        }
    }

    fn keep(&mut self) {
        if let (true, Some(file)) = (self.changed, &self.file)
            && std::fs::create_dir_all(fsx::parent_of(file)).is_ok()
            && let Ok(bytes) = serde_json::to_vec_pretty(&self.entries)
        {
            self.entries.retain(|name, _| Path::new(name).is_file());
            let _ = fsx::write_atomic(file, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_hash_depends_on_every_file_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = [PathBuf::from("a"), PathBuf::from("b")];
        std::fs::write(dir.path().join("a"), "1").unwrap();
        std::fs::write(dir.path().join("b"), "2").unwrap();
        let first = of_files(dir.path(), &files).unwrap();
        assert_eq!(known(dir.path(), &files), Some(first.clone()));
        std::fs::write(dir.path().join("b"), "3").unwrap();
        assert_ne!(of_files(dir.path(), &files).unwrap(), first);
        assert!(of_files(dir.path(), &[PathBuf::from("c")]).unwrap_err().text().contains("c"));
    }
}
