//! The datasets of a project: folders of its own and links to others, each with the corrections that it is read with.
//!
//! `datasets/NAME.toml` holds the corrections; with `path` it is a link to a folder elsewhere, without it belongs to the
//! folder `datasets/NAME` beside it. A folder without such a file is read as it is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Part;
use crate::dataset::doctor::View;
use crate::failure::Failure;
use crate::fsx;

/// The newest `format` of a dataset's file that this version reads.
pub const LINK_FORMAT: u32 = 1;

/// A dataset of a project.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetEntry {
    /// Its name in the project.
    pub name: String,
    /// The folder with `meta/`.
    pub folder: PathBuf,
    /// Whether the folder lies outside the project.
    pub linked: bool,
    /// Corrections and camera that it is read with.
    pub view: View,
    /// Width and height of the pictures that it is looked at with, where its index says.
    #[serde(default)]
    pub picture: Option<(usize, usize)>,
    /// Why it cannot be used; empty when it can.
    #[serde(default)]
    pub trouble: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    #[serde(default)]
    view: View,
}

fn folder_of(project: &Path) -> PathBuf {
    project.join(Part::Datasets.folder())
}

fn file_of(project: &Path, name: &str) -> PathBuf {
    folder_of(project).join(format!("{name}.toml"))
}

/// All datasets of a project by name. One that cannot be used is listed with the reason.
pub fn list(project: &Path) -> Vec<DatasetEntry> {
    let folder = folder_of(project);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            let shown = match path.is_dir() {
                true => path.join("meta/info.json").is_file().then_some(name.clone())?,
                false => name.strip_suffix(".toml")?.to_owned(),
            };
            (!shown.starts_with('.')).then_some(shown)
        })
        .collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| entry(project, &name)).collect()
}

/// One dataset by its name.
fn entry(project: &Path, name: &str) -> DatasetEntry {
    let own = folder_of(project).join(name);
    let plain = DatasetEntry { name: name.to_owned(), folder: own, ..DatasetEntry::default() };
    let read = read(&file_of(project, name));
    let mut found = match read {
        Ok(Some(file)) => {
            let linked = file.path.is_some();
            let folder = file.path.unwrap_or_else(|| plain.folder.clone());
            DatasetEntry { folder, linked, view: file.view, ..plain }
        }
        Ok(None) => plain,
        Err(failure) => DatasetEntry { trouble: failure.text(), ..plain },
    };
    if found.trouble.is_empty() && !found.folder.join("meta/info.json").is_file() {
        found.trouble = format!("{} is not there any more.", found.folder.display());
    }
    if found.trouble.is_empty() {
        found.picture = crate::dataset::picture_size(&found.folder, &found.view.camera);
    }
    found
}

fn read(path: &Path) -> Result<Option<File>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("read", path, &error)),
    };
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(
            format!("{} cannot be read: {why}.", path.display()),
            "Correct it, or remove it and link again.",
        )
    };
    let table: toml::Table = toml::from_str(&text).map_err(|e| wrong(&e.message()))?;
    let format = table.get("format").and_then(toml::Value::as_integer).unwrap_or(0);
    if format > i64::from(LINK_FORMAT) {
        return Err(wrong(&format!("format {format} is newer than this version reads; update Forerun")));
    }
    table.try_into().map(Some).map_err(|e: toml::de::Error| wrong(&e.message()))
}

/// Writes the corrections of a dataset, whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write(project: &Path, entry: &DatasetEntry) -> Result<(), Failure> {
    let path = file_of(project, &entry.name);
    let file = File {
        format: LINK_FORMAT,
        path: entry.linked.then(|| entry.folder.clone()),
        view: entry.view.clone(),
    };
    let text = toml::to_string(&file).map_err(|e| {
        Failure::new(format!("{} could not be written: {e}.", path.display()), "Report this.")
    })?;
    std::fs::create_dir_all(folder_of(project)).map_err(|e| Failure::io("make", &folder_of(project), &e))?;
    fsx::write_atomic(&path, text.as_bytes()).map_err(|e| Failure::io("write", &path, &e))
}

/// A name for a dataset that no other one has, made from a wish.
pub fn free_name(project: &Path, wish: &str) -> String {
    let clean: String =
        wish.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '-' }).collect();
    let clean = match clean.trim().trim_matches('-') {
        "" => "data".to_owned(),
        name => name.to_owned(),
    };
    let taken = |name: &str| folder_of(project).join(name).exists() || file_of(project, name).exists();
    let numbered = std::iter::once(clean.clone()).chain((2..).map(|n| format!("{clean} {n}")));
    numbered.into_iter().find(|name| !taken(name)).unwrap_or(clean)
}

/// Links a dataset that lies elsewhere into the project. One that is there already keeps its name and corrections.
///
/// # Errors
/// When the link cannot be written.
pub fn link(project: &Path, folder: &Path) -> Result<DatasetEntry, Failure> {
    let folder = std::path::absolute(folder).map_err(|e| Failure::io("find", folder, &e))?;
    if let Some(known) = list(project).into_iter().find(|known| known.folder == folder) {
        return Ok(known);
    }
    let wish = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = free_name(project, &wish);
    let entry = DatasetEntry { name, folder, linked: true, ..DatasetEntry::default() };
    write(project, &entry)?;
    Ok(entry)
}

/// Takes a linked dataset out of the project. Its files stay where they are.
///
/// # Errors
/// It is no link, or cannot be removed.
pub fn unlink(project: &Path, entry: &DatasetEntry) -> Result<(), Failure> {
    if !entry.linked {
        return Err(Failure::new(
            format!("{} lies in the project itself.", entry.folder.display()),
            "Move the folder away with your file manager.",
        ));
    }
    let path = file_of(project, &entry.name);
    std::fs::remove_file(&path).map_err(|e| Failure::io("remove", &path, &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(folder: &Path) {
        std::fs::create_dir_all(folder.join("meta")).unwrap();
        std::fs::write(folder.join("meta/info.json"), "{}").unwrap();
    }

    #[test]
    fn a_link_keeps_its_corrections_and_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let (project, elsewhere) = (dir.path().join("project"), dir.path().join("push:t"));
        set(&elsewhere);
        set(&project.join("datasets/own"));
        let mut linked = link(&project, &elsewhere).unwrap();
        assert_eq!((linked.name.as_str(), linked.linked), ("push-t", true));
        linked.view.action_lag = 3;
        write(&project, &linked).unwrap();
        assert_eq!(link(&project, &elsewhere).unwrap(), linked, "the same folder is linked once");
        let names: Vec<_> = list(&project).iter().map(|e| (e.name.clone(), e.linked)).collect();
        assert_eq!(names, [("own".to_owned(), false), ("push-t".to_owned(), true)]);
        assert!(unlink(&project, &list(&project)[0]).is_err());
        unlink(&project, &linked).unwrap();
        assert!(elsewhere.join("meta/info.json").is_file());
        assert_eq!(list(&project).len(), 1);
    }

    #[test]
    fn names_are_free_and_trouble_is_told() {
        let dir = tempfile::tempdir().unwrap();
        set(&dir.path().join("datasets/a"));
        assert_eq!(free_name(dir.path(), "a"), "a 2");
        assert_eq!(free_name(dir.path(), "../"), "data");
        std::fs::write(dir.path().join("datasets/b.toml"), "format = 7").unwrap();
        std::fs::write(dir.path().join("datasets/c.toml"), "format = 1\npath = '/nowhere/at/all'").unwrap();
        let found = list(dir.path());
        assert!(found[1].trouble.contains("update Forerun"), "{found:?}");
        assert!(found[2].trouble.contains("not there any more"), "{found:?}");
    }
}
