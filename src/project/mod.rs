//! A project: one folder with everything that belongs together.
//!
//! ```text
//! PROJECT/forerun.toml   scenes/ID/  futures/ID/future.json+clip  models/NAME/  policies/NAME/
//!         datasets/NAME/ (or a link file)  robots/NAME.toml  runs/ID/{run.toml,log.jsonl,checkpoints/,previews/}
//! ```

pub mod datasets;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::fsx;

/// The newest `format` of `forerun.toml` that this version reads.
pub const PROJECT_FORMAT: u32 = 1;
/// File that makes a folder a project.
pub const PROJECT_FILE: &str = "forerun.toml";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(default)]
    name: String,
}

/// An open project folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    folder: PathBuf,
    name: String,
}

/// What a project holds, each kind in a folder of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Starts: pictures with states.
    Scenes,
    /// Imagined futures.
    Futures,
    /// World models.
    Models,
    /// Policies.
    Policies,
    /// Datasets, or link files to them.
    Datasets,
    /// Robots.
    Robots,
    /// Training runs.
    Runs,
}

impl Part {
    /// Name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Scenes => "scenes",
            Self::Futures => "futures",
            Self::Models => "models",
            Self::Policies => "policies",
            Self::Datasets => "datasets",
            Self::Robots => "robots",
            Self::Runs => "runs",
        }
    }
}

impl Project {
    /// Opens the project in `folder`, or makes one there when the folder is missing or empty.
    ///
    /// # Errors
    /// The folder holds other things, is of a newer format, or cannot be read or written.
    pub fn open_or_create(folder: &Path) -> Result<Self, Failure> {
        if folder.join(PROJECT_FILE).exists() {
            return Self::open(folder);
        }
        std::fs::create_dir_all(folder).map_err(|e| Failure::io("make", folder, &e))?;
        let mut entries = std::fs::read_dir(folder).map_err(|e| Failure::io("read", folder, &e))?;
        if entries.next().is_some() {
            return Err(Failure::new(
                format!("The folder {} holds other things and is no project.", folder.display()),
                "Choose a project, or an empty folder for a new one.",
            ));
        }
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let header = Header { format: PROJECT_FORMAT, name };
        let file = folder.join(PROJECT_FILE);
        let text = toml::to_string(&header).map_err(|e| {
            Failure::new(format!("{} could not be written: {e}.", file.display()), "Report this.")
        })?;
        fsx::write_atomic(&file, text.as_bytes()).map_err(|e| Failure::io("write", &file, &e))?;
        Ok(Self { folder: folder.to_path_buf(), name: header.name })
    }

    /// Opens the project in `folder` and sweeps away what killed runs left in it.
    ///
    /// # Errors
    /// There is none, or it is of a newer format.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let file = folder.join(PROJECT_FILE);
        let text = std::fs::read_to_string(&file).map_err(|e| Failure::io("read", &file, &e))?;
        let no_project = |why: &dyn std::fmt::Display| {
            Failure::new(
                format!("{} is no project file: {why}.", file.display()),
                "Restore it, or start a new project.",
            )
        };
        let value: toml::Table = toml::from_str(&text).map_err(|e| no_project(&e))?;
        let format = value.get("format").and_then(toml::Value::as_integer).unwrap_or(0);
        if format > i64::from(PROJECT_FORMAT) {
            return Err(Failure::new(
                format!("{} has format {format}, this version reads up to {PROJECT_FORMAT}.", file.display()),
                "Update Forerun to open this project.",
            ));
        }
        let header: Header = value.try_into().map_err(|e| no_project(&e))?;
        let project = Self { folder: folder.to_path_buf(), name: header.name };
        for part in [Part::Futures, Part::Models, Part::Datasets, Part::Policies, Part::Runs] {
            fsx::sweep(&project.part(part));
        }
        Ok(project)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of one kind of thing; made by whoever writes the first one.
    pub fn part(&self, part: Part) -> PathBuf {
        self.folder.join(part.folder())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;

    #[test]
    fn a_new_folder_becomes_a_project_and_opens_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("first light");
        let made = Project::open_or_create(&folder).unwrap();
        assert_eq!(made.name(), "first light");
        assert_eq!(Project::open_or_create(&folder).unwrap(), made);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert_eq!(made.part(Part::Futures), folder.join("futures"));
    }

    #[test]
    fn what_is_no_project_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(Project::open_or_create(dir.path()).unwrap_err().text().contains("other things"));
        assert!(Project::open(dir.path()).unwrap_err().text().contains(PROJECT_FILE));
        fs::write(dir.path().join(PROJECT_FILE), "format = 2\nall = 'new'").unwrap();
        assert!(Project::open(dir.path()).unwrap_err().text().contains("Update Forerun"));
        fs::write(dir.path().join(PROJECT_FILE), "= 3").unwrap();
        assert!(Project::open(dir.path()).unwrap_err().text().contains("no project file"));
    }

    #[test]
    fn later_keys_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PROJECT_FILE), "format = 1\nname = 'n'\nlater = [1]\n").unwrap();
        assert_eq!(Project::open(dir.path()).unwrap().name(), "n");
    }
}
