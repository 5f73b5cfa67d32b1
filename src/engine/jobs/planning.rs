//! A policy that moves a robot, in an engine: what it sees comes in, its next actions go out.

use std::path::PathBuf;
use std::sync::PoisonError;

use forerun_models::Frame;
use forerun_models::policy::Policy;
use serde_json::json;

use super::Tools;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::Event;
use crate::engine::specs::PlanSpec;
use crate::failure::Failure;
use crate::policy::load_policy;
use crate::robot::push::pilot::Memory;

/// A policy at work, and what it remembers of its task.
pub struct Live {
    folder: PathBuf,
    policy: Policy,
    memory: Memory,
}

/// The next actions for what is seen; the rows come as one [`Event::Report`] (`rows`, a number that is none is null).
///
/// # Errors
/// A policy that cannot be loaded or fails; a broken picture; a task that this engine has not seen begin.
pub fn plan(
    tools: &Tools,
    context: &JobContext,
    spec: &PlanSpec,
    blobs: Vec<Vec<u8>>,
) -> Result<String, JobEnd> {
    let picture = blobs.into_iter().next().and_then(|data| Frame::new(spec.width, spec.height, data));
    let seen = picture.ok_or_else(|| Failure::new("The picture came damaged.", "Look at the camera."))?;
    let mut slot = tools.live.lock().unwrap_or_else(PoisonError::into_inner);
    if spec.begin {
        let known = slot.take().filter(|live| live.folder == spec.policy);
        let policy = match known {
            Some(live) => live.policy,
            None => load_policy(&spec.policy)?,
        };
        *slot = Some(Live { folder: spec.policy.clone(), policy, memory: Memory::default() });
    }
    let live = slot.as_mut().filter(|live| live.folder == spec.policy).ok_or_else(|| {
        // An engine that was started anew in the middle of a task does not know how the task began.
        Failure::new("The policy has lost what it saw of its task.", "Run the stage again.")
    })?;
    let rows = live
        .memory
        .chunk(&live.policy, spec.prompt.as_deref(), &seen, &spec.state)
        .map_err(|why| Failure::new(format!("The policy gave no actions: {why}."), "Run the stage again."))?;
    context.send(Event::Report { job: context.job, value: json!({ "rows": rows }) }, Vec::new());
    Ok(String::new())
}
