//! Cosmos 3: one network for text to picture, text, picture or clip to clip, and for robots forward dynamics,
//! inverse dynamics and policy.

pub mod embodiment;
pub mod prompt;
mod resize;
mod start;

use candle_core::Tensor;

pub use start::{ActionMode, ActionStart, Start, canvas};

use super::{Hooks, Moment, PipelineError, check_size};
use crate::cosmos::mot::{Generation, MotActions, MotInput, MotOutput, Positions, PromptMemory};
use crate::sampler::{UniPc, UniPcConfig};
use crate::wan::WanPlace;
use start::Prepared;

/// The networks that denoise and decode. The tower that reads the prompt is not among them: its
/// [`PromptMemory`] is all that a run needs of it.
pub struct Cosmos3 {
    /// Generation tower.
    pub generation: Generation,
    /// Wan 2.2.
    pub vae: WanPlace,
    /// `scheduler_config.json`.
    pub schedule: UniPcConfig,
}

/// One run.
#[derive(Clone, Copy)]
pub struct Cosmos3Job<'a> {
    /// What the understanding tower made of the prompt.
    pub prompt: &'a PromptMemory,
    /// The same of the negative prompt; without it there is no guidance.
    pub negative: Option<&'a PromptMemory>,
    /// What the run starts from.
    pub start: Start<'a>,
    /// Height in pixels, a multiple of 16 (not used in action runs, whose size follows the frames given).
    pub height: usize,
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Frames to make, 4k + 1; 1 is a picture. Action runs make one frame more than they have actions.
    pub frames: usize,
    /// Frames (and actions) per second.
    pub fps: f64,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance, `u + g (c - u)`; exactly 1 means none.
    pub guidance: f64,
    /// Sound latents to make with the clip, if any.
    pub sound: Option<usize>,
    /// Unit noise to start from; given together with frames it replaces them, as in the reference.
    pub noise: Option<&'a Tensor>,
    /// The reference encodes a blank clip even where nothing is given. Its result is not used; true repeats that.
    pub encode_blank: bool,
}

/// What a run made.
pub struct Cosmos3Output {
    /// Frames [1, 3, T, H, W] in -1..1.
    pub video: Tensor,
    /// Sound latents [C, T].
    pub sound: Option<Tensor>,
    /// Actions [N, width of the embodiment] (policy and inverse dynamics).
    pub actions: Option<Tensor>,
}

/// A value per kind of latent.
struct Kinds<T> {
    vision: T,
    sound: Option<T>,
    actions: Option<T>,
}

impl Cosmos3 {
    /// Runs the job.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Cosmos3Job<'_>, hooks: &mut Hooks<'_>) -> Result<Cosmos3Output, PipelineError> {
        if !matches!(job.start, Start::Action(_)) {
            check_size_16(&self.vae, job.height, job.width)?;
        }
        let prepared = Prepared::new(self, job, hooks)?;
        let mut solver = Kinds {
            vision: UniPc::new(&self.schedule, job.steps)?,
            sound: prepared.sound.as_ref().map(|_| UniPc::new(&self.schedule, job.steps)).transpose()?,
            actions: prepared.actions.as_ref().map(|_| UniPc::new(&self.schedule, job.steps)).transpose()?,
        };
        let told: Vec<i64> = solver.vision.timesteps().to_vec();
        let timesteps: Vec<f64> = told.iter().map(|t| *t as f64).collect();
        hooks.show(Moment::Schedule { sigmas: solver.vision.sigmas(), timesteps: &timesteps })?;
        let positions = self.positions(job, &prepared, job.prompt)?;
        let away = match job.negative.filter(|_| job.guidance != 1.0) {
            Some(negative) => Some((negative, self.positions(job, &prepared, negative)?)),
            None => None,
        };
        let mut latents = Kinds {
            vision: prepared.vision.clone(),
            sound: prepared.sound.clone(),
            actions: prepared.actions.clone(),
        };
        for (step, timestep) in timesteps.iter().enumerate() {
            let mut call =
                |prompt: &PromptMemory, positions: &Positions| -> Result<MotOutput, PipelineError> {
                    let output = self.generation.forward(
                        prompt,
                        &MotInput {
                            vision: &latents.vision,
                            vision_given: &prepared.vision_given,
                            sound: latents.sound.as_ref(),
                            actions: latents.actions.as_ref().map(|rows| MotActions {
                                rows,
                                given: &prepared.actions_given,
                                domain: prepared.domain,
                            }),
                            positions,
                            timestep: *timestep,
                        },
                    )?;
                    hooks.show(Moment::Networks {
                        vision: &output.vision,
                        sound: output.sound.as_ref(),
                        actions: output.actions.as_ref(),
                    })?;
                    Ok(output)
                };
            let mut velocity = call(job.prompt, &positions)?;
            if let Some((negative, positions)) = &away {
                velocity = guide(&call(negative, positions)?, &velocity, job.guidance)?;
            }
            latents.vision = solver.vision.step(step, &velocity.vision, &latents.vision)?;
            if let (Some(solver), Some(velocity), Some(sound)) =
                (&mut solver.sound, &velocity.sound, &latents.sound)
            {
                latents.sound = Some(solver.step(step, velocity, sound)?);
            }
            if let (Some(solver), Some(velocity), Some(rows)) =
                (&mut solver.actions, &velocity.actions, &latents.actions)
                && prepared.actions_given.contains(&false)
            {
                // Columns that the embodiment does not have stay zero.
                let rows = solver.step(step, &velocity.broadcast_mul(&prepared.action_columns)?, rows)?;
                latents.actions = Some(rows.broadcast_mul(&prepared.action_columns)?);
            }
            hooks.show(Moment::Step { chunk: 0, step, steps: job.steps, latents: &latents.vision })?;
            for (name, value) in [("sound_latents", &latents.sound), ("action_latents", &latents.actions)] {
                if let Some(value) = value {
                    hooks.show(Moment::Beside { name, step, value })?;
                }
            }
        }
        let (mean, std) = self.vae.latent_statistics(&latents.vision)?;
        let video = hooks.decode(&self.vae, &latents.vision.broadcast_mul(&std)?.broadcast_add(&mean)?)?;
        let actions = match (&job.start, latents.actions) {
            (Start::Action(action), Some(rows)) if action.mode != ActionMode::ForwardDynamics => {
                Some(rows.narrow(1, 0, action.embodiment.width)?)
            }
            _ => None,
        };
        Ok(Cosmos3Output { video, sound: latents.sound, actions })
    }

    /// Places of all generated tokens behind a prompt.
    fn positions(
        &self,
        job: &Cosmos3Job<'_>,
        prepared: &Prepared,
        prompt: &PromptMemory,
    ) -> Result<Positions, PipelineError> {
        let config = self.generation.config();
        let (_, _, frames, height, width) = prepared.vision.dims5()?;
        let mut positions = Positions::default();
        positions.add_vision(config, prompt.tokens(), (frames, height, width), job.fps);
        if let Some(sound) = &prepared.sound {
            positions.add_sound(config, prompt.tokens(), sound.dim(1)?);
        }
        if let Some(actions) = &prepared.actions {
            positions.add_actions(config, prompt.tokens(), actions.dim(0)?, job.fps);
        }
        Ok(positions)
    }
}

/// Guidance of Cosmos 3: `u + g (c - u)`.
fn guide(away: &MotOutput, towards: &MotOutput, guidance: f64) -> Result<MotOutput, PipelineError> {
    let one = |u: &Tensor, c: &Tensor| -> candle_core::Result<Tensor> { u + ((c - u)? * guidance)? };
    let pair = |u: &Option<Tensor>, c: &Option<Tensor>| match (u, c) {
        (Some(u), Some(c)) => one(u, c).map(Some),
        _ => Ok(None),
    };
    Ok(MotOutput {
        vision: one(&away.vision, &towards.vision)?,
        sound: pair(&away.sound, &towards.sound)?,
        actions: pair(&away.actions, &towards.actions)?,
    })
}

/// Sides must be multiples of the autoencoder's factor; odd latents are filled up inside the network.
fn check_size_16(vae: &WanPlace, height: usize, width: usize) -> Result<(), PipelineError> {
    check_size(vae, 2 * height, 2 * width)
}
