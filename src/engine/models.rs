//! Models in memory: loaded once, shared by jobs, the least recently used one goes first.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use forerun_models::published::{OWN_SETTINGS_FILE, PublishedFolder};

use super::backend::{self, WorldModel};
use super::device;
use super::places::{self, Places, WEIGHTS_FILE};
use super::protocol::ModelInfo;
use super::published::is_published;
use crate::failure::Failure;

/// Models that stay in memory: the one in use and the one compared with.
const KEPT: usize = 2;

/// A model in memory with what lists show of it.
pub struct Loaded {
    /// The network.
    pub model: Box<dyn WorldModel>,
    /// Name, folder, hash, contract.
    pub info: ModelInfo,
    /// Device by name.
    pub device: String,
    /// Milliseconds that loading took.
    pub load_ms: f64,
}

/// Tells a folder's present weights from those of a moment ago.
#[derive(Clone, PartialEq)]
struct Key {
    folder: PathBuf,
    device: String,
    size: u64,
    changed: Option<SystemTime>,
}

/// Models in memory.
#[derive(Default)]
pub struct ModelStore {
    kept: Mutex<Vec<(Key, Arc<Loaded>)>>,
}

impl ModelStore {
    /// The model of that name or folder, from memory or from disk.
    ///
    /// # Errors
    /// When there is no such model, device or it is not sound.
    pub fn get(&self, model: &str, device_name: &str) -> Result<Arc<Loaded>, Failure> {
        let folder = Places::standard(None).find(model)?;
        self.get_folder(&folder, device_name)
    }

    /// The model of that folder on whatever device it is already, else on the processor.
    ///
    /// # Errors
    /// As [`ModelStore::get`].
    pub fn get_any(&self, folder: &Path) -> Result<Arc<Loaded>, Failure> {
        let wanted = key(folder, "");
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |k: &Key| (&k.folder, k.size, k.changed) == (&wanted.folder, wanted.size, wanted.changed);
        let found = kept.iter().find(|(k, _)| same(k)).map(|(_, loaded)| loaded.clone());
        drop(kept);
        match found {
            Some(loaded) => Ok(loaded),
            None => self.get_folder(folder, "cpu"),
        }
    }

    fn get_folder(&self, folder: &Path, device_name: &str) -> Result<Arc<Loaded>, Failure> {
        let key = key(folder, device_name);
        // Held while loading: two jobs that want one model must not load it twice.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(k, _)| *k == key) {
            let entry = kept.remove(at);
            let loaded = entry.1.clone();
            kept.push(entry);
            return Ok(loaded);
        }
        // Room first, so that the old and the new one need not fit into memory together.
        kept.retain(|(k, _)| (&k.folder, &k.device) != (&key.folder, &key.device));
        while kept.len() >= KEPT {
            kept.remove(0);
        }
        let place = device::place(device_name)?;
        let start = std::time::Instant::now();
        let model = backend::load(folder, &place)?;
        let load_ms = start.elapsed().as_secs_f64() * 1e3;
        let info = ModelInfo {
            name: places::name_of(folder, model.contract()),
            folder: folder.to_path_buf(),
            sha256: model.sha256().to_owned(),
            parameters: model.parameters(),
            contract: model.contract().clone(),
            clip: None,
        };
        let loaded = Arc::new(Loaded { model, info, device: device_name.to_owned(), load_ms });
        kept.push((key, loaded.clone()));
        Ok(loaded)
    }
}

fn key(folder: &Path, device: &str) -> Key {
    let own = [folder.join(WEIGHTS_FILE)];
    let files = if is_published(folder) { published_files(folder) } else { own.to_vec() };
    let metas = || files.iter().filter_map(|file| std::fs::metadata(file).ok());
    Key {
        folder: folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf()),
        device: device.to_owned(),
        size: metas().map(|m| m.len()).sum(),
        changed: metas().filter_map(|m| m.modified().ok()).max(),
    }
}

/// Files that decide what a published model makes.
fn published_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(opened) = PublishedFolder::open(folder) else { return Vec::new() };
    let files = opened.files().unwrap_or_default();
    let own = folder.join(OWN_SETTINGS_FILE);
    files.into_iter().map(|file| opened.folder.join(file)).chain([own]).collect()
}
