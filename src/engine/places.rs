//! Where models are found: a folder, a project, the person's own models, the shipped ones.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use forerun_models::Contract;
use forerun_models::contract::CONTRACT_FILE;
use forerun_models::published::{ClipSettings, PublishedFolder};

use super::protocol::ModelInfo;
use super::published;
use crate::failure::Failure;
use crate::fsx;

/// File name of the weights in a model folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Folders that hold model folders, the first one that has a name wins.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folders to look in, in order.
    pub folders: Vec<PathBuf>,
}

impl Places {
    /// The project's models (when there is a project), the person's own, and the shipped ones.
    pub fn standard(project: Option<&Path>) -> Self {
        let mut folders = Vec::new();
        folders.extend(project.map(|project| project.join("models")));
        folders.extend(own_models());
        folders.extend(shipped_models());
        Self { folders }
    }

    /// The folder of a model, from its folder or its name.
    pub fn find(&self, model: &str) -> Result<PathBuf, Failure> {
        let as_path = Path::new(model);
        if is_model(as_path) {
            return Ok(as_path.to_path_buf());
        }
        // A bare name is looked up; anything that looks like a path is meant as one.
        let bare = as_path.components().count() == 1 && model != "." && model != "..";
        if bare {
            let found = self.folders.iter().map(|f| f.join(model)).find(|f| is_model(f));
            if let Some(folder) = found {
                return Ok(folder);
            }
        }
        if as_path.is_dir() {
            return Err(Failure::new(
                format!("{model} has no contract.json and no model_index.json, so it is no model."),
                "Choose the folder that holds contract.json and model.safetensors, or a publisher's folder.",
            ));
        }
        let known = self.names();
        let advice = if known.is_empty() {
            "No model is installed: give the folder of one.".to_owned()
        } else {
            format!("Give the folder of a model, or one of these names: {}.", known.join(", "))
        };
        Err(Failure::new(format!("There is no model {model}."), advice))
    }

    /// Names of all models, each once, those that win a name first.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut here: Vec<_> = entries
                .flatten()
                .filter(|entry| is_model(&entry.path()))
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .filter(|name| !name.starts_with('.'))
                .collect();
            here.sort();
            here.retain(|name| !names.contains(name));
            names.extend(here);
        }
        names
    }

    /// All models that are sound enough to show, and what is wrong with the others.
    pub fn list(&self) -> (Vec<ModelInfo>, Vec<Failure>) {
        let mut sound = Vec::new();
        let mut broken = Vec::new();
        for name in self.names() {
            match self.find(&name).and_then(|folder| describe(&folder)) {
                Ok(info) => sound.push(info),
                Err(failure) => broken.push(failure),
            }
        }
        (sound, broken)
    }
}

/// Folder of the models that a person imported: beside the person's other application data.
pub fn own_models() -> Option<PathBuf> {
    own_data().map(|data| data.join("models"))
}

/// Folder of everything that this program keeps for a person.
pub fn own_data() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("forerun"))
}

/// Folders of shipped models: beside the executable (a release), above it (a build in its repository), and where
/// this library was built (a build with its target folder elsewhere).
pub fn shipped_models() -> Vec<PathBuf> {
    shipped("models")
}

/// The same for policies.
pub fn shipped_policies() -> Vec<PathBuf> {
    shipped("policies")
}

fn shipped(kind: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(exe) = std::env::current_exe() {
        let exe = exe.canonicalize().unwrap_or(exe);
        for folder in exe.ancestors().skip(1) {
            folders.push(folder.join("assets").join(kind));
            folders.push(folder.join("share/forerun").join(kind));
        }
    }
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(kind));
    folders.retain(|folder| folder.is_dir());
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// Whether a folder is a model: ours, or a publisher's.
pub fn is_model(folder: &Path) -> bool {
    folder.join(CONTRACT_FILE).is_file() || published::is_published(folder)
}

/// What lists show of a model folder. Reads the weights once for their hash.
pub fn describe(folder: &Path) -> Result<ModelInfo, Failure> {
    if published::is_published(folder) {
        return published::describe(folder);
    }
    let contract = Contract::load(folder).map_err(Failure::from_error)?;
    let weights = folder.join(WEIGHTS_FILE);
    let parameters = count_parameters(&weights)?;
    let sha256 = fsx::sha256_file(&weights).map_err(|e| Failure::io("read", &weights, &e))?;
    Ok(ModelInfo {
        name: name_of(folder, &contract),
        folder: folder.to_path_buf(),
        sha256,
        parameters,
        contract,
        clip: None,
    })
}

/// Whether a text can be the name of a model.
pub fn is_name(name: &str) -> bool {
    Path::new(name).components().count() == 1
        && !name.starts_with('.')
        && !name.contains(['/', '\\', ':', '#'])
}

/// Copies a sound model folder to `own/NAME`, whole or not at all.
///
/// # Errors
/// The folder is no sound model, the name is no name or taken, the copy cannot be written.
pub fn import(folder: &Path, own: &Path, name: Option<&str>) -> Result<ModelInfo, Failure> {
    let info = describe(folder)?;
    let target = free_place(own, name.unwrap_or(&info.name))?;
    fsx::sweep(own);
    let pending = fsx::PendingFolder::new(&target).map_err(|e| Failure::io("make", &target, &e))?;
    fsx::copy_tree(folder, pending.path()).map_err(|e| Failure::io("copy the model to", &target, &e))?;
    pending.commit().map_err(|e| Failure::io("write", &target, &e))?;
    describe(&target)
}

/// The folder of a new model called `name` below `own`.
fn free_place(own: &Path, name: &str) -> Result<PathBuf, Failure> {
    if !is_name(name) {
        return Err(Failure::new(
            format!("{name} cannot be the name of a model."),
            "Give it another one with --name: letters, digits, - and _.",
        ));
    }
    let target = own.join(name);
    if target.exists() {
        return Err(Failure::new(
            format!("A model called {name} is there already ({}).", target.display()),
            "Give the new one another name with --name, or remove the old one.",
        ));
    }
    Ok(target)
}

/// Gives a publisher's folder a name without copying it: `own/NAME` refers to it, with these choices for every run.
///
/// # Errors
/// The folder is no sound published model, the name is no name or taken, the note cannot be written.
pub fn refer(
    folder: &Path,
    own: &Path,
    name: Option<&str>,
    settings: &ClipSettings,
) -> Result<ModelInfo, Failure> {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let info = published::describe(&folder)?;
    let target = free_place(own, name.unwrap_or(&info.name))?;
    let pending = fsx::PendingFolder::new(&target).map_err(|e| Failure::io("make", &target, &e))?;
    PublishedFolder::refer(pending.path(), &folder, settings)
        .map_err(|e| Failure::io("write", &target, &e))?;
    // Choices that the model refuses must not lie there until somebody runs it.
    published::describe(pending.path())?;
    pending.commit().map_err(|e| Failure::io("write", &target, &e))?;
    published::describe(&target)
}

/// Runs our network on a reference case.
///
/// # Errors
/// The folder is no case, the device is missing, the network cannot be run. A case that differs is a report that did
/// not pass.
pub fn verify(folder: &Path, device: &str) -> Result<forerun_models::verify::Report, Failure> {
    let device = super::device::open(device)?;
    forerun_models::verify::verify_folder_on(folder, &device).map_err(Failure::from_error)
}

/// The name that lists show and `--model` takes: the folder's.
pub fn name_of(folder: &Path, contract: &Contract) -> String {
    folder.file_name().map_or(contract.name.clone(), |name| name.to_string_lossy().into_owned())
}

/// Number of values in a safetensors file, from its header alone.
fn count_parameters(weights: &Path) -> Result<u64, Failure> {
    let unreadable = |e: std::io::Error| Failure::io("read", weights, &e);
    let damaged = || {
        Failure::new(
            format!("{} is damaged.", weights.display()),
            "Restore the model folder from where it came, or train it again.",
        )
    };
    let mut file = File::open(weights).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let mut length = [0u8; 8];
    file.read_exact(&mut length).map_err(|_| damaged())?;
    let length = u64::from_le_bytes(length);
    if length > size.saturating_sub(8) || length > 100 << 20 {
        return Err(damaged());
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(unreadable)?;
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&header).map_err(|_| damaged())?;
    let mut parameters = 0u64;
    let mut end = 0u64;
    for (_, tensor) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let shape = tensor.get("shape").and_then(|s| s.as_array()).ok_or_else(damaged)?;
        let count = shape.iter().try_fold(1u64, |n, d| n.checked_mul(d.as_u64()?)).ok_or_else(damaged)?;
        parameters = parameters.checked_add(count).ok_or_else(damaged)?;
        let stop = tensor.pointer("/data_offsets/1").and_then(|v| v.as_u64()).ok_or_else(damaged)?;
        end = end.max(stop);
    }
    // A file that was cut short still has a whole header: its tensors end beyond the file.
    if end != size.saturating_sub(8).saturating_sub(length) {
        return Err(damaged());
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    fn model(folder: &Path, name: &str) {
        fs::create_dir_all(folder).unwrap();
        let contract = serde_json::json!({
            "format": 1, "name": name, "family": "dreamer", "text": false, "actions": [],
            "frame": {"width": 16, "height": 16, "rate_hz": 10.0, "history": 2}
        });
        fs::write(folder.join(CONTRACT_FILE), contract.to_string()).unwrap();
        let header = br#"{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 24]);
        fs::write(folder.join(WEIGHTS_FILE), bytes).unwrap();
    }

    #[test]
    fn a_project_model_wins_over_a_shipped_one_of_the_same_name() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, shipped) = (dir.path().join("mine"), dir.path().join("shipped"));
        model(&mine.join("a"), "mine");
        model(&shipped.join("a"), "shipped");
        model(&shipped.join("b"), "b");
        let places = Places { folders: vec![mine.clone(), shipped.clone()] };
        assert_eq!(places.find("a").unwrap(), mine.join("a"));
        assert_eq!(places.names(), ["a", "b"]);
        let (list, broken) = places.list();
        assert!(broken.is_empty());
        assert_eq!(list.iter().map(|m| m.parameters).collect::<Vec<_>>(), [6, 6]);
        let by_path = shipped.join("b");
        assert_eq!(places.find(by_path.to_str().unwrap()).unwrap(), by_path);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let dir = tempfile::tempdir().unwrap();
        model(&dir.path().join("a"), "a");
        let places = Places { folders: vec![dir.path().to_path_buf()] };
        let text = places.find("nope").unwrap_err().text();
        assert!(text.contains("nope") && text.contains("a."), "{text}");
    }

    #[test]
    fn an_imported_model_has_a_name_and_no_name_is_taken_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, own) = (dir.path().join("download"), dir.path().join("own"));
        model(&folder, "a");
        assert_eq!(import(&folder, &own, None).unwrap().name, "download");
        assert!(import(&folder, &own, None).unwrap_err().text().contains("--name"));
        assert!(import(&folder, &own, Some("../up")).is_err());
        assert!(import(dir.path(), &own, Some("x")).unwrap_err().text().contains("contract.json"));
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    }

    #[test]
    fn weights_that_were_cut_short_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        model(&folder, "a");
        let weights = folder.join(WEIGHTS_FILE);
        let bytes = fs::read(&weights).unwrap();
        for len in [0, 5, 20, bytes.len() - 1] {
            fs::write(&weights, &bytes[..len]).unwrap();
            let text = describe(&folder).unwrap_err().text();
            assert!(text.contains("model.safetensors"), "{text}");
        }
    }
}
