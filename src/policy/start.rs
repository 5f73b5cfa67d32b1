//! From datasets on disk to a trained policy folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use forerun_models::policy::Policy;
use forerun_models::{Contract, dreamer};

use super::PolicySettings;
use super::train::{PolicyJob, PolicyReport, run};
use crate::train::{Budget, Channels, PICTURE_MEMORY, TrainError, channels_of, load};

/// What a run says while it goes on.
#[derive(Clone, Debug)]
pub enum PolicyStage {
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
    Training(Box<PolicyReport>),
}

/// Trains a policy on datasets. With `resume` it goes on from `out`'s checkpoint, if there is one; without, a folder that
/// already holds a policy is refused, so that nobody's weights are overwritten by a slip. With `base` it starts from that
/// policy's weights, sizes and scales. The run's weights live on `device`.
///
/// # Errors
/// See [`TrainError`].
pub fn start(
    settings: PolicySettings,
    datasets: &[PathBuf],
    out: &Path,
    base: Option<&Path>,
    budget: Budget,
    resume: bool,
    device: &Device,
    watch: &mut dyn FnMut(PolicyStage),
    cancel: &AtomicBool,
) -> Result<Contract, TrainError> {
    if let Some(problem) = settings.problem() {
        return Err(TrainError::Data(format!("the settings are impossible: {problem}")));
    }
    if !resume && out.join("contract.json").exists() {
        return Err(TrainError::Data(format!(
            "{} already holds a policy; choose another folder, or go on with it by --resume",
            out.display()
        )));
    }
    let sizes = settings.config()?;
    let (mut sizes, mut channels) = (sizes, if resume { channels_of(out)? } else { None });
    if let Some(base) = base {
        let (contract, config) = Policy::describe(base)?;
        sizes = config;
        channels = channels.or(Some(Channels { actions: contract.actions, state: contract.state }));
    }
    // The loader fits pictures to a world model's size; a policy's are fitted in the same way.
    let pictures = dreamer::Config {
        image_width: sizes.image_width,
        image_height: sizes.image_height,
        patch: sizes.patch,
        ..dreamer::Config::micro()
    };
    let loaded = load(
        datasets,
        &pictures,
        channels,
        settings.held_out,
        PICTURE_MEMORY,
        &mut |done, all| watch(PolicyStage::Loading { done, all }),
        cancel,
    )?;
    for note in &loaded.notes {
        watch(PolicyStage::Note(note.clone()));
    }
    let job = PolicyJob {
        settings,
        library: &loaded.library,
        held_out: &loaded.held_out,
        rate_hz: loaded.rate_hz,
        embodiment: loaded.embodiment,
        data_sha256: loaded.sha256,
        out: out.to_path_buf(),
        budget,
        resume,
        base: base.map(Path::to_path_buf),
        device: device.clone(),
    };
    run(&job, &mut |report| watch(PolicyStage::Training(Box::new(report.clone()))), cancel)
}
