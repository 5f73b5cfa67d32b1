//! From frames, words and actions to frames: chunk by chunk, each from the end of the one before.

use std::ops::{ControlFlow, Range};

use super::clip::{Chunk, ChunkMade};
use super::family::Family;
use super::folder::PublishedFolder;
use super::parts::Published;
use super::settings::ClipSettings;
use super::{PublishedError, bodies};
use crate::frame::Frame;

/// What is to be imagined.
#[derive(Clone, Copy)]
pub struct ClipJob<'a> {
    /// Words; empty for none.
    pub prompt: &'a str,
    /// Frames to start from (for a control model: the control clip), of the contract's size, oldest first.
    pub given: &'a [Frame],
    /// One row a step in the contract's order and units.
    pub actions: Option<&'a [Vec<f32>]>,
    /// The robot's present state in the contract's order and units, for policies.
    pub state: Option<&'a [f32]>,
    /// Frames to make.
    pub steps: usize,
    /// Seed of the noise.
    pub seed: u64,
    /// Choices.
    pub settings: &'a ClipSettings,
}

/// What happens while a clip is made.
pub enum ClipMoment<'a> {
    /// Something that takes a while begins.
    Stage(&'static str),
    /// A denoising step of all is done.
    Step {
        /// Steps done, over all chunks.
        done: usize,
        /// Steps in all.
        total: usize,
        /// What the latents look like: frames of the future (counted from 0) that each small picture stands for.
        previews: Vec<(Range<usize>, Frame)>,
    },
    /// These frames of the future, from the given one on (counted from 0), are done.
    Frames(usize, &'a [Frame]),
    /// Nothing to see; a chance to stop.
    Pulse,
}

/// What came out.
pub struct ClipMade {
    /// As many frames as were asked for.
    pub frames: Vec<Frame>,
    /// Actions that the model chose, one row a step (where it was not given any and has a body).
    pub actions: Option<Vec<Vec<f32>>>,
    /// What a policy wants to do.
    pub planned: Option<Planned>,
}

/// What a policy wants to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its actions, one row a step, in the units of its training data.
    pub rows: Vec<Vec<f32>>,
    /// The state that it expects after them.
    pub state: Option<Vec<f32>>,
    /// How likely it thinks that the task succeeds, 0 to 1.
    pub value: f32,
}

/// How frames are divided into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Frames that a full chunk has, given ones included.
    pub chunk: usize,
    /// Frames per latent frame.
    pub time: usize,
}

impl Plan {
    /// Frames of a chunk that starts from `given` frames and should add `wanted`: the next length that makes whole
    /// latent frames.
    pub fn length(&self, given: usize, wanted: usize) -> usize {
        let last = (given + wanted).saturating_sub(1);
        (last.div_ceil(self.time) * self.time + 1).min(self.chunk)
    }
}

impl Published {
    /// Makes a clip. `watch` sees every moment; `Break` stops the run within one call of a network.
    ///
    /// # Errors
    /// What was asked for does not fit the model, a file is wrong, memory runs out, or it was stopped.
    pub fn imagine(
        &self,
        job: &ClipJob<'_>,
        watch: &mut dyn FnMut(ClipMoment<'_>) -> ControlFlow<()>,
    ) -> Result<ClipMade, PublishedError> {
        let folder = self.folder();
        let settings = folder.settings(job.settings);
        check(folder, &settings, job)?;
        if let Some(policy) = &folder.policy {
            return self.act(policy, &settings, job, watch);
        }
        let (_, time) = folder.autoencoder.factors();
        let plan = Plan { chunk: chunk_length(folder, &settings, time)?, time };
        let denoise = settings.denoise.unwrap_or(35);
        let per_chunk = |given: usize| plan.chunk.saturating_sub(given).max(1);
        let first_given = taken(folder, &settings, job.given.len(), time);
        let chunks = match folder.family {
            _ if settings.inverse == Some(true) => 1,
            family if family.is_control() => {
                job.steps.saturating_sub(1).div_ceil(plan.chunk.saturating_sub(1).max(1)).max(1)
            }
            _ => {
                let first = per_chunk(first_given);
                let later = per_chunk(taken(folder, &settings, job.given.len() + first, time));
                1 + job.steps.saturating_sub(first).div_ceil(later)
            }
        };
        let total = chunks * denoise;
        let mut made: Vec<Frame> = Vec::new();
        let mut actions: Option<Vec<Vec<f32>>> = None;
        let mut number = 0;
        while made.len() < job.steps {
            let history: Vec<Frame> = if folder.family.is_control() {
                job.given.get(job.given.len() - job.steps..).unwrap_or_default().to_vec()
            } else {
                let all: Vec<&Frame> = job.given.iter().chain(&made).collect();
                let count = taken(folder, &settings, all.len(), time);
                if number > 0 && count == 0 {
                    return Err(PublishedError::Input(format!(
                        "This model makes at most {} frames from words alone, and cannot go on from frames. Ask for fewer steps.",
                        plan.chunk
                    )));
                }
                all.into_iter().rev().take(count).rev().cloned().collect()
            };
            let wanted = job.steps - made.len();
            let rows = job.actions.map(|rows| rows.get(made.len()..).unwrap_or_default());
            let chunk = Chunk {
                settings: &settings,
                prompt: job.prompt,
                given: &history,
                actions: rows,
                wanted,
                plan,
                number,
                seed: job.seed,
                steps_before: number * denoise,
                steps_total: total,
                first: made.len(),
            };
            let ChunkMade { frames, actions: chosen } = self.chunk(&chunk, watch)?;
            let new: Vec<Frame> = frames.into_iter().take(wanted).collect();
            if new.is_empty() {
                return Err(PublishedError::Input(
                    "The model made no frame beyond the given ones.".to_owned(),
                ));
            }
            if let Some(chosen) = chosen {
                actions.get_or_insert_default().extend(chosen.into_iter().take(new.len()));
            }
            let first = made.len();
            made.extend(new);
            if watch(ClipMoment::Frames(first, made.get(first..).unwrap_or_default())).is_break() {
                return Err(PublishedError::Stopped);
            }
            number += 1;
        }
        Ok(ClipMade { frames: made, actions, planned: None })
    }
}

/// Frames per call of the network, brought to a whole number of latent frames.
fn chunk_length(
    folder: &PublishedFolder,
    settings: &ClipSettings,
    time: usize,
) -> Result<usize, PublishedError> {
    let wanted = settings.chunk.unwrap_or(93).max(1);
    // Arm networks take a fixed number of actions, whatever was chosen.
    let wanted = folder.arm().map_or(wanted, |(_, number)| number + 1);
    let length = (wanted - 1).div_ceil(time) * time + 1;
    match folder.frames_needed() {
        (true, _) if length < 2 && !folder.picture_only() => Err(PublishedError::Input(format!(
            "A chunk of {wanted} frames leaves none to imagine. Choose at least {}.",
            time + 1
        ))),
        _ => Ok(length),
    }
}

/// How many of `have` frames a chunk starts from: as many as fill a second latent frame, or one.
fn taken(folder: &PublishedFolder, settings: &ClipSettings, have: usize, time: usize) -> usize {
    let (_, takes) = folder.frames_needed();
    match have {
        0 => 0,
        _ if !takes => 0,
        have if settings.inverse == Some(true) => have,
        have if have > time && folder.arm().is_none() && settings.body.is_none() => time + 1,
        _ => 1,
    }
}

/// What cannot be asked of this model.
fn check(folder: &PublishedFolder, settings: &ClipSettings, job: &ClipJob<'_>) -> Result<(), PublishedError> {
    let fail = |text: String| Err(PublishedError::Input(text));
    let (width, height) = (settings.width.unwrap_or(0), settings.height.unwrap_or(0));
    if let Some(frame) = job.given.iter().find(|f| (f.width, f.height) != (width, height)) {
        return fail(format!(
            "A start frame is {} x {}, the clip is to be {width} x {height}. Give frames of one size.",
            frame.width, frame.height
        ));
    }
    let (needed, takes) = folder.frames_needed();
    if needed && job.given.is_empty() {
        return fail("This model needs at least one frame to start from. Choose a start.".to_owned());
    }
    if !takes && !job.given.is_empty() {
        return fail(
            "This model imagines from words alone and takes no frames. Start from nothing (words alone)."
                .to_owned(),
        );
    }
    if folder.picture_only() && job.steps > 1 {
        return fail("This model makes single pictures. Ask for 1 step.".to_owned());
    }
    if folder.family.is_control() && job.given.len() < job.steps {
        return fail(format!(
            "The control clip has {} frames up to the chosen one, and {} are asked for: each frame that is made needs one of \
             the control clip. Ask for fewer steps, or start at a later frame.",
            job.given.len(),
            job.steps
        ));
    }
    if let Some(policy) = &folder.policy {
        let cameras = policy.cameras.join(", ");
        let count = policy.cameras.len();
        if job.given.len() != count || job.steps != count {
            return fail(format!(
                "This policy looks through {count} cameras ({cameras}): give one picture of each, in this order, and ask for {count} \
                 steps: what each will see after the actions. Given were {} pictures and {} steps.",
                job.given.len(),
                job.steps
            ));
        }
        if job.actions.is_some() {
            return fail("A policy chooses its actions itself. Leave the action track out.".to_owned());
        }
    }
    if settings.inverse == Some(true) {
        let most = settings.chunk.unwrap_or(17).saturating_sub(1);
        if folder.family != Family::Cosmos3 || settings.body.is_none() {
            return fail(
                "Only Cosmos 3 reads actions from frames, and it must be told whose. Choose a robot body."
                    .to_owned(),
            );
        }
        if job.actions.is_some() {
            return fail("The actions are what is read here. Leave the action track out.".to_owned());
        }
        if job.given.len() < 2 || job.steps + 1 != job.given.len() || job.steps > most {
            return fail(format!(
                "Actions are read between frames: {} frames were given and {} steps asked for. Give 2 to {} frames and ask for \
                 one step less.",
                job.given.len(),
                job.steps,
                most + 1
            ));
        }
    }
    if folder.arm().is_some() && job.actions.is_none() {
        return fail("This model is driven by arm actions. Give it an action track.".to_owned());
    }
    if settings.body.is_some() && job.given.is_empty() {
        return fail("A robot's future needs a frame to start from. Choose a start.".to_owned());
    }
    if settings.body.is_none() && folder.arm().is_none() && job.actions.is_some() {
        return fail(
            "This model takes no actions as it is set up: choose a robot body, or words.".to_owned(),
        );
    }
    if settings.denoise == Some(0) {
        return fail("0 denoising steps make nothing. Ask for at least 1.".to_owned());
    }
    Ok(())
}

/// Rows of a chunk: scaled as the network was trained, and filled up with rest where they end.
pub(super) fn arm_rows(rows: &[Vec<f32>], number: usize, size: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(number * size);
    for i in 0..number {
        for k in 0..size {
            let value = match (rows.get(i), rows.last()) {
                (Some(row), _) => row.get(k).copied().unwrap_or(0.0),
                // Beyond the last action nothing changes: relative numbers are 0, the gripper stays.
                (None, Some(last)) if k + 1 == size => last.get(k).copied().unwrap_or(0.0),
                _ => 0.0,
            };
            out.push(value * bodies::arm_scale(size, k));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_whole_latent_frames_and_no_longer_than_allowed() {
        let plan = Plan { chunk: 93, time: 4 };
        assert_eq!(plan.length(1, 12), 13);
        assert_eq!(plan.length(1, 10), 13);
        assert_eq!(plan.length(5, 1), 9);
        assert_eq!(plan.length(0, 1), 1);
        assert_eq!(plan.length(0, 93), 93);
        assert_eq!(plan.length(5, 500), 93);
    }

    #[test]
    fn arm_actions_are_scaled_and_end_at_rest() {
        let rows = vec![vec![0.1, 0.0, 0.0, 0.0, 0.0, 0.5, 1.0]];
        let out = arm_rows(&rows, 2, 7);
        assert_eq!(out, [2.0, 0.0, 0.0, 0.0, 0.0, 10.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
