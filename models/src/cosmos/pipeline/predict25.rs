//! Predict2.5: one network for text, text with a picture, and text with the end of a clip, to a clip.
//! Rectified flow with UniPC; given latent frames are held, their velocity is known.

use candle_core::Tensor;

use super::{
    Hooks, Moment, PipelineError, Prompts, check_size, choose, fit_frames, guide, indicator, latent_frames,
    told,
};
use crate::cosmos::dit::{Dit, DitInput};
use crate::sampler::{UniPc, UniPcConfig};
use crate::wan::WanPlace;

/// The networks and their schedule.
pub struct Predict25 {
    /// Transformer.
    pub dit: Dit,
    /// Wan 2.1.
    pub vae: WanPlace,
    /// `scheduler_config.json`.
    pub schedule: UniPcConfig,
}

/// What a clip starts from.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Nothing: text alone.
    Text,
    /// One frame, [1, 3, 1, H, W] in -1..1; the frames to come are dark to the encoder.
    Picture(&'a Tensor),
    /// A clip [1, 3, n, H, W] in -1..1, of which the last 1 or 5 frames (1 or 2 latent frames) are taken.
    Clip(&'a Tensor, usize),
}

/// One run.
#[derive(Clone, Copy)]
pub struct Predict25Job<'a> {
    /// Prompts.
    pub prompts: &'a Prompts,
    /// What to start from.
    pub start: Start<'a>,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Frames to make, 4k + 1.
    pub frames: usize,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance; up to 1 means none.
    pub guidance: f64,
    /// Noise level that the network is told for given frames.
    pub conditional_timestep: f64,
    /// Arm actions [1, number, size] (action-conditioned networks).
    pub actions: Option<&'a Tensor>,
    /// Unit noise to start from, [1, 16, T, h, w]; drawn if not given.
    pub noise: Option<&'a Tensor>,
}

/// Latent frames that are held: zeros where none are.
struct Held {
    /// [1, 16, T, h, w]
    latents: Tensor,
    /// Number of latent frames at the start that are held.
    count: usize,
}

impl Predict25 {
    /// Runs the job: frames [1, 3, T, H, W] in -1..1.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Predict25Job<'_>, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        check_size(&self.vae, job.height, job.width)?;
        let side = self.vae.config().spatial_factor();
        let frames = latent_frames(&self.vae, job.frames);
        let shape = [1, self.vae.config().z_dim, frames, job.height / side, job.width / side];
        let held = self.held(job, hooks)?;
        let noise = hooks.start(job.noise, &shape)?;
        let held = match held {
            Some(held) => held,
            None => Held { latents: noise.zeros_like()?, count: 0 },
        };
        let mut solver = UniPc::new(&self.schedule, job.steps)?;
        let timesteps: Vec<f64> = solver.timesteps().iter().map(|t| *t as f64).collect();
        hooks.show(Moment::Schedule { sigmas: solver.sigmas(), timesteps: &timesteps })?;
        let (positive, negative) = job.prompts.read_by(job.guidance, |text| self.dit.project_text(text))?;
        let indicator = indicator(held.count, frames, noise.device())?;
        let mask = indicator.broadcast_as((1, 1, frames, shape[3], shape[4]))?.contiguous()?;
        let known = indicator.broadcast_mul(&(&noise - &held.latents)?)?;
        let mut latents = noise;
        for step in 0..job.steps {
            let sigma = told(self.dit.reference(), &solver, step);
            let timestep = indicator.affine(job.conditional_timestep - sigma, sigma)?;
            let seen = choose(&indicator, &held.latents, &latents)?;
            let mut call = |text: &Tensor| -> Result<Tensor, PipelineError> {
                let output = self.dit.forward(&DitInput {
                    text_is_projected: true,
                    condition_mask: Some(&mask),
                    actions: job.actions,
                    ..DitInput::new(&seen, &timestep, text)
                })?;
                hooks.show(Moment::Network(&output))?;
                Ok((&known + indicator.affine(-1.0, 1.0)?.broadcast_mul(&output)?)?)
            };
            let mut velocity = call(&positive)?;
            if let Some(negative) = &negative {
                velocity = guide(&velocity, &call(negative)?, job.guidance)?;
            }
            latents = solver.step(step, &velocity, &latents)?;
            hooks.show(Moment::Step { chunk: 0, step, steps: job.steps, latents: &latents })?;
        }
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        hooks.decode(&self.vae, &latents.broadcast_mul(&std)?.broadcast_add(&mean)?)
    }

    /// The given frames as latents (posterior mean), or none.
    fn held(&self, job: &Predict25Job<'_>, hooks: &mut Hooks<'_>) -> Result<Option<Held>, PipelineError> {
        let (video, given) = match job.start {
            Start::Text => return Ok(None),
            Start::Picture(frame) => {
                // Frames to come are 0 before scaling to -1..1.
                let dark = frame.narrow(2, 0, 1)?.zeros_like()?.affine(0.0, -1.0)?;
                let dark = dark.repeat((1, 1, job.frames.saturating_sub(1), 1, 1))?;
                (Tensor::cat(&[&frame.narrow(2, 0, 1)?, &dark], 2)?, 1)
            }
            Start::Clip(clip, latent) => {
                let (have, wanted) = (clip.dim(2)?, 4 * latent.saturating_sub(1) + 1);
                if !(1..=2).contains(&latent) || have < wanted || wanted > job.frames {
                    return Err(PipelineError::Input(format!(
                        "{latent} latent frames cannot be taken from a clip of {have} frames: 1 needs one frame, 2 need five"
                    )));
                }
                (fit_frames(&clip.narrow(2, have - wanted, wanted)?, job.frames)?, wanted)
            }
        };
        let latents = hooks.encode(&self.vae, &video)?.mean;
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        let latents = latents.broadcast_sub(&mean)?.broadcast_div(&std)?;
        Ok(Some(Held { latents, count: latent_frames(&self.vae, given) }))
    }
}
