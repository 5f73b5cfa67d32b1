//! Models into memory.

use super::Tools;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::Event;

/// Loads a model, so that the first future starts at once.
///
/// # Errors
/// There is no such model or device, or it is not sound.
pub fn warm(tools: &Tools, context: &JobContext, model: &str, device: &str) -> Result<String, JobEnd> {
    context.progress(0, 1, "loading the model");
    let loaded = tools.models.get(model, device)?;
    context.send(Event::Warmed { job: context.job, model: loaded.info.clone() }, Vec::new());
    context.progress(1, 1, "loading the model");
    Ok(format!("{} is in memory", loaded.info.name))
}
