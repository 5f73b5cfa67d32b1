//! Pictures before anything is imagined: a new scene of the virtual world, or what was dropped onto the window.

use forerun_models::Contract;

use super::Tools;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::places::Places;
use crate::engine::protocol::{Event, Start};
use crate::engine::published::{describe, is_published};
use crate::engine::start;
use crate::failure::Failure;
use crate::world::{JOINT_NAMES, Look, Renderer, drawn_scene};

/// Side of a picture of the virtual world.
const SIDE: usize = 128;

/// A new frame from the virtual world, with the arm's state and the scene's task in words.
///
/// # Errors
/// The look is unknown.
pub fn world_frame(context: &JobContext, look: &str, seed: u64) -> Result<String, JobEnd> {
    let look: Look = look.parse().map_err(Failure::from_error)?;
    let scene = drawn_scene(look, seed);
    let joints = scene.start_joints();
    let frame = Renderer::new(&scene, SIDE, SIDE).render(&joints, &scene.start_poses());
    let state = JOINT_NAMES.iter().map(|name| (*name).to_owned()).zip(joints).collect();
    let event = Event::Pictures {
        job: context.job,
        sizes: vec![(frame.width, frame.height)],
        states: vec![state],
        unfamiliar: None,
        note: scene.task.text.clone(),
    };
    context.send(event, vec![frame.data]);
    Ok("a new scene".into())
}

/// The pictures of a start, fitted to the model, and how familiar the last one is to it.
///
/// # Errors
/// The start or the model cannot be read; cancel.
pub fn preview(
    tools: &Tools,
    context: &JobContext,
    start: Start,
    model: &str,
    blobs: Vec<Vec<u8>>,
) -> Result<String, JobEnd> {
    let folder = Places::standard(None).find(model)?;
    let contract = match is_published(&folder) {
        true => describe(&folder)?.contract,
        false => Contract::load(&folder).map_err(Failure::from_error)?,
    };
    let resolved = start::resolve(&start, &blobs, &contract)?;
    context.check()?;
    let mut notes = resolved.notes;
    let mut unfamiliar = None;
    if let (Some(limit), Some((last, history))) = (contract.familiar_residual, resolved.frames.split_last()) {
        let history: Vec<_> = history.iter().map(|f| f.history.clone()).collect();
        // The pictures are worth showing even when the model cannot be asked.
        let asked = tools
            .models
            .get_any(&folder)
            .and_then(|loaded| loaded.model.residual(&history, &last.history.frame));
        match asked {
            Ok(residual) => unfamiliar = Some(residual / limit),
            Err(failure) => notes.push(format!("not compared with the training data: {}", failure.text())),
        }
    }
    let sizes = resolved.frames.iter().map(|f| (f.history.frame.width, f.history.frame.height)).collect();
    let states = resolved.frames.iter().map(|f| f.named_state.clone()).collect();
    let blobs: Vec<_> = resolved.frames.into_iter().map(|f| f.history.frame.data).collect();
    let summary = format!("{} pictures", blobs.len());
    let event = Event::Pictures { job: context.job, sizes, states, unfamiliar, note: notes.join("; ") };
    context.send(event, blobs);
    Ok(summary)
}
