//! What is here already: is it whole, and away with it.

use std::path::{Path, PathBuf};

use super::fetch::{SOURCE_FILE, Source};
use crate::engine::places::{Places, own_models};
use crate::failure::Failure;
use crate::fsx;

/// Compares every file of a downloaded model with what the hub said; of other models, that every tensor lies in its
/// file. `tell` hears each file's name. Returns the number of files.
///
/// # Errors
/// A file is missing or another one; it is named.
pub fn check(folder: &Path, tell: &mut dyn FnMut(usize, usize, &str) -> bool) -> Result<usize, Failure> {
    let file = folder.join(SOURCE_FILE);
    let Ok(bytes) = std::fs::read(&file) else {
        // Opening reads every header and every description.
        crate::engine::places::describe(folder)?;
        return Ok(0);
    };
    let source: Source = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(format!("{} cannot be understood: {e}.", file.display()), "Download the model again.")
    })?;
    let total = source.files.len();
    for (i, (name, sum)) in source.files.iter().enumerate() {
        if !tell(i, total, name) {
            return Err(Failure::new("The check was stopped.", ""));
        }
        let path = folder.join(name);
        let size = path.metadata().map_err(|e| Failure::io("read", &path, &e))?.len();
        let same = size == sum.size
            && fsx::sha256_file(&path).map_err(|e| Failure::io("read", &path, &e))? == sum.sha256;
        if !same {
            return Err(Failure::new(
                format!("{} is not the file that was downloaded.", path.display()),
                "Remove the model and download it again.",
            ));
        }
    }
    crate::engine::places::describe(folder)?;
    Ok(total)
}

/// Removes one of the person's own models. Others (shipped, of a project, anywhere else) are not touched.
///
/// # Errors
/// There is no such model, it is not the person's own, or the disk refuses.
pub fn remove(name: &str, own: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let own = own.or_else(own_models).unwrap_or_default();
    let folder = own.join(name);
    if !crate::engine::places::is_name(name) || !crate::engine::places::is_model(&folder) {
        let known = Places { folders: vec![own] }.names();
        let advice = match known.is_empty() {
            true => "You have no model of your own.".to_owned(),
            false => format!("Your own are: {}.", known.join(", ")),
        };
        return Err(Failure::new(format!("{name} is none of your own models."), advice));
    }
    // First out of sight in one step, so that a half-removed model is never found.
    let gone = own.join(format!(".removed-{name}"));
    let failed = |e: std::io::Error| Failure::io("remove", &folder, &e);
    let _ = std::fs::remove_dir_all(&gone);
    std::fs::rename(&folder, &gone).map_err(failed)?;
    std::fs::remove_dir_all(&gone).map_err(failed)?;
    Ok(folder)
}
