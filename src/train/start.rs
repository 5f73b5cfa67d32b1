//! From a settings file and datasets on disk to a trained model folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use forerun_models::Contract;

use super::load::{PICTURE_MEMORY, channels_of, config_of, load};
use super::{Budget, Judge, Report, TrainError, TrainJob, TrainSettings, run};

/// Windows of held-out episodes that a run is judged on as it goes.
const JUDGED_WINDOWS: usize = 32;

/// What a run says while it goes on.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Episodes are read: how many so far, of how many.
    Loading {
        /// Episodes read.
        done: usize,
        /// All episodes.
        all: usize,
    },
    /// Something a person should know.
    Note(String),
    /// An iteration is done.
    Training(Box<Report>),
}

/// Trains a model on datasets. With `resume` it goes on from `out`'s checkpoint, if there is one; without, a folder
/// that already holds a model is refused, so that nobody's weights are overwritten by a slip. `from` is a model folder
/// to begin with. The run's weights live on `device`.
///
/// # Errors
/// See [`TrainError`].
pub fn start(
    settings: TrainSettings,
    datasets: &[PathBuf],
    out: &Path,
    budget: Budget,
    resume: bool,
    from: Option<&Path>,
    device: &Device,
    watch: &mut dyn FnMut(Stage),
    cancel: &AtomicBool,
) -> Result<Contract, TrainError> {
    if !resume && out.join("contract.json").exists() {
        return Err(TrainError::Data(format!(
            "{} already holds a model; choose another folder, or go on with it by --resume",
            out.display()
        )));
    }
    let config = config_of(&settings, out, resume)?;
    // Weights belong to the scale of their channels.
    let channels = match (resume, from) {
        (true, _) => channels_of(out)?,
        (false, Some(base)) => channels_of(base)?,
        (false, None) => None,
    };
    let held_out = settings.held_out;
    let loaded = load(
        datasets,
        &config,
        channels,
        held_out,
        PICTURE_MEMORY,
        &mut |done, all| watch(Stage::Loading { done, all }),
        cancel,
    )?;
    for note in &loaded.notes {
        watch(Stage::Note(note.clone()));
    }
    let judge = Judge::new(loaded.held_out, JUDGED_WINDOWS, config.history());
    let job = TrainJob {
        settings,
        library: &loaded.library,
        judge: &judge,
        rate_hz: loaded.rate_hz,
        embodiment: loaded.embodiment,
        data_sha256: loaded.sha256,
        out: out.to_path_buf(),
        budget,
        resume,
        from: from.map(Path::to_path_buf),
        device: device.clone(),
    };
    run(&job, &mut |report| watch(Stage::Training(Box::new(report.clone()))), cancel)
}
