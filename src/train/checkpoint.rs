//! The state of a run on disk: `optimizer.safetensors` in the model folder.
//!
//! It holds weights, moments and averages exactly as they are in memory, so that a resumed run goes on bit for bit
//! as if it had never stopped; the folder's `model.safetensors` (the averaged weights) is written with it.

use std::collections::HashMap;
use std::path::Path;

use forerun_models::nn::params::save_tensors;
use forerun_models::optim::Stepper;

use super::TrainError;

const FILE: &str = "optimizer.safetensors";
/// Where the words of [`save_with`] lie.
const MORE: &str = "more";

/// Where a run stands, beside the optimiser's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Place {
    /// Iterations done.
    pub iteration: u64,
    /// Seconds of training so far, stops and resumptions included.
    pub seconds: f64,
}

pub(crate) fn save(folder: &Path, stepper: &Stepper, place: Place, settings: &str) -> Result<(), TrainError> {
    save_with(folder, stepper, place, settings, None)
}

/// As [`save`], with more words that the run needs to go on.
pub(crate) fn save_with(
    folder: &Path,
    stepper: &Stepper,
    place: Place,
    settings: &str,
    more: Option<String>,
) -> Result<(), TrainError> {
    let path = folder.join(FILE);
    let state = stepper.state()?;
    let mut text = HashMap::from([
        ("format".to_owned(), "1".to_owned()),
        ("iteration".to_owned(), place.iteration.to_string()),
        ("seconds".to_owned(), place.seconds.to_string()),
        ("settings".to_owned(), settings.to_owned()),
    ]);
    if let Some(more) = more {
        text.insert(MORE.to_owned(), more);
    }
    save_tensors(&path, state.iter().map(|(name, tensor)| (name.as_str(), tensor)), Some(text))
        .map_err(|e| TrainError::Checkpoint { path, reason: e.to_string() })
}

/// Puts the stepper where the checkpoint stands; `None` when there is no checkpoint.
pub(crate) fn load(folder: &Path, stepper: &mut Stepper) -> Result<Option<Place>, TrainError> {
    Ok(load_with(folder, stepper)?.map(|(place, _)| place))
}

/// As [`load`], with what [`save_with`] was given (empty when nothing).
pub(crate) fn load_with(folder: &Path, stepper: &mut Stepper) -> Result<Option<(Place, String)>, TrainError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let wrong = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let bytes = std::fs::read(&path).map_err(|source| TrainError::File { path: path.clone(), source })?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
    let text = header.metadata().clone().unwrap_or_default();
    let number = |key: &str| {
        text.get(key)
            .and_then(|value| value.parse::<f64>().ok())
            .ok_or_else(|| wrong(format!("it does not say `{key}`; start the run anew")))
    };
    let place = Place { iteration: number("iteration")? as u64, seconds: number("seconds")? };
    let state = candle_core::safetensors::load_buffer(&bytes, &candle_core::Device::Cpu)
        .map_err(|e| wrong(e.to_string()))?;
    stepper.restore(place.iteration, &state).map_err(|e| wrong(e.to_string()))?;
    Ok(Some((place, text.get(MORE).cloned().unwrap_or_default())))
}
