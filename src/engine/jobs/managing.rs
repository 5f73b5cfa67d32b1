//! Models of the person's own: downloaded, imported, checked, removed.

use std::path::{Path, PathBuf};

use forerun_models::published::Licence;
use serde_json::json;

use crate::engine::job::{JobContext, JobEnd};
use crate::engine::places::{self, Places, own_models};
use crate::engine::protocol::Event;
use crate::engine::published::is_published;
use crate::failure::Failure;
use crate::hub::fetch::{FetchSpec, Progress, Stop, fetch};
use crate::hub::{installed, licence};

fn own() -> Result<PathBuf, Failure> {
    own_models().ok_or_else(|| {
        Failure::new("This account has no folder for application data.", "Set HOME, then try again.")
    })
}

fn report(context: &JobContext, folder: &Path) {
    let value = json!({ "folder": folder });
    context.send(Event::Report { job: context.job, value }, Vec::new());
}

/// Downloads a model; progress is in megabytes.
///
/// # Errors
/// The hub refuses, the connection or the disk fails; cancel, after which the next try goes on where this one stopped.
pub fn fetch_model(context: &JobContext, spec: &FetchSpec) -> Result<String, JobEnd> {
    let mega = |bytes: u64| bytes.div_ceil(1 << 20);
    let mut tell = |progress: &Progress| {
        let (done, total) = (mega(progress.done), mega(progress.total));
        context.progress(done.min(total), total, "downloading (MB)");
    };
    let folder = fetch(spec, &mut tell, &|| context.cancel.is_cancelled()).map_err(|stop| match stop {
        Stop::Cancelled => JobEnd::Cancelled,
        Stop::Failed(failure) => JobEnd::Failed(failure),
    })?;
    report(context, &folder);
    Ok(format!("{} is installed", folder.display()))
}

/// Takes a folder among the person's own models: a copy, or for a published model a reference to where it lies.
///
/// # Errors
/// It is no sound model, the name is taken, or the disk refuses.
pub fn import_model(
    context: &JobContext,
    folder: &Path,
    name: Option<&str>,
    copy: bool,
) -> Result<String, JobEnd> {
    context.progress(0, 0, "importing the model");
    let own = own()?;
    let info = match copy || !is_published(folder) {
        true => places::import(folder, &own, name)?,
        false => places::refer(folder, &own, name, &Default::default())?,
    };
    report(context, &info.folder);
    Ok(format!("{} is installed in {}", info.name, info.folder.display()))
}

/// Checks every file of a model.
///
/// # Errors
/// A file is missing or another one; cancel.
pub fn check_model(context: &JobContext, model: &str) -> Result<String, JobEnd> {
    let folder = Places::standard(None).find(model)?;
    let mut tell = |done: usize, total: usize, file: &str| {
        context.progress(done as u64, total as u64, file);
        !context.cancel.is_cancelled()
    };
    let checked = installed::check(&folder, &mut tell);
    context.check()?;
    Ok(match checked? {
        0 => format!("{model} is whole; it was not downloaded here, so there are no hashes to compare with"),
        files => format!("{model} is whole: {files} files are as they were downloaded"),
    })
}

/// Notes that the terms of a licence were read.
///
/// # Errors
/// The note cannot be written.
pub fn accept_terms(name: &str) -> Result<String, JobEnd> {
    for licence in [Licence::NvidiaOpenModel, Licence::OpenMdw] {
        if licence.name() == name {
            licence::accept(licence)?;
        }
    }
    Ok(String::new())
}

/// Removes a model of the person's own.
///
/// # Errors
/// It is not the person's own, or the disk refuses.
pub fn remove_model(_context: &JobContext, name: &str) -> Result<String, JobEnd> {
    let folder = installed::remove(name, None)?;
    Ok(format!("{} was removed", folder.display()))
}
