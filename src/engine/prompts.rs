//! Prompts that text encoders have read, on disk: the same words need no ten gigabytes of text encoder again.
//!
//! One file a prompt, written whole, named by a hash of what decides it. The first line of a file is the hash of the
//! rest: a damaged one is thrown away. Beyond [`MOST`] bytes the ones that were not used for the longest time go.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use forerun_models::published::PromptStore;

use super::places::own_data;
use crate::fsx;

/// Folder of the prompts, within the person's application data.
const FOLDER: &str = "prompts";
/// Bytes that all of them may take: some two hundred prompts of Predict2.5.
const MOST: u64 = 512 << 20;
const ENDING: &str = "prompt";

/// The store of this machine; none where a person has no folder for application data.
pub fn store() -> Option<Arc<dyn PromptStore>> {
    Some(Arc::new(Folder { folder: own_data()?.join(FOLDER), most: MOST }))
}

struct Folder {
    folder: PathBuf,
    most: u64,
}

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.{ENDING}", fsx::sha256_hex(name.as_bytes())))
    }

    /// Removes what was not used for the longest time until the rest fits.
    fn tidy(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == ENDING))
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut all: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if all <= self.most {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                all -= size;
            }
        }
    }
}

impl PromptStore for Folder {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.file(name);
        let mut bytes = std::fs::read(&path).ok()?;
        let Some(content) = content(&bytes, name) else {
            // What is damaged would be in the way of a good one.
            let _ = std::fs::remove_file(&path);
            return None;
        };
        touch(&path);
        Some(bytes.split_off(content))
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        if std::fs::create_dir_all(&self.folder).is_err() {
            return;
        }
        fsx::sweep(&self.folder);
        let rest = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), bytes].concat();
        let file = [fsx::sha256_hex(&rest).as_bytes(), b"\n", &rest].concat();
        if fsx::write_atomic(&self.file(name), &file).is_ok() {
            self.tidy();
        }
    }
}

/// Where the content of a file begins, if the file is whole and belongs to this name.
fn content(file: &[u8], name: &str) -> Option<usize> {
    let (hash, rest) = file.split_at_checked(64)?;
    let rest = rest.strip_prefix(b"\n")?;
    if fsx::sha256_hex(rest).as_bytes() != hash {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let own = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    (own == name.as_bytes()).then_some(64 + 1 + 8 + own.len())
}

/// Marks a file as used now.
fn touch(path: &Path) {
    if let Ok(file) = std::fs::File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(most: u64) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let store = Folder { folder: dir.path().join("prompts"), most };
        (dir, store)
    }

    #[test]
    fn what_was_kept_comes_back_and_what_is_damaged_does_not() {
        let (_dir, store) = folder(1 << 20);
        assert!(store.get("a").is_none());
        store.put("a", b"one");
        store.put("b", b"");
        assert_eq!(store.get("a").unwrap(), b"one");
        assert_eq!(store.get("b").unwrap(), b"");
        store.put("a", b"two");
        assert_eq!(store.get("a").unwrap(), b"two");
        let path = store.file("a");
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for wrong in [&whole[..whole.len() - 1], &whole[..10], &flipped[..], b""] {
            std::fs::write(&path, wrong).unwrap();
            assert!(store.get("a").is_none());
            assert!(!path.exists(), "it is thrown away");
        }
        // A file under another name is not taken for this one.
        std::fs::write(&path, std::fs::read(store.file("b")).unwrap()).unwrap();
        assert!(store.get("a").is_none());
    }

    #[test]
    fn the_ones_that_were_not_used_for_long_go_first() {
        let (_dir, store) = folder(3 * 1100);
        let old = |name: &str, seconds: u64| {
            let file = std::fs::File::options().append(true).open(store.file(name)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(seconds)).unwrap();
        };
        for (name, seconds) in [("a", 300), ("b", 200), ("c", 100)] {
            store.put(name, &[7; 1000]);
            old(name, seconds);
        }
        assert!(store.get("a").is_some(), "used now");
        store.put("d", &[7; 1000]);
        assert!(store.get("b").is_none());
        assert!(["a", "c", "d"].iter().all(|name| store.get(name).is_some()));
    }
}
