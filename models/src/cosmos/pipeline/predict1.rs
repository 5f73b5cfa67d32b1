//! Predict1: text, or text with the first frames, to a clip (EDM). Given frames enter with a little fresh noise in
//! every step (augment sigma), for the prompt and for the negative prompt each its own.

use candle_core::Tensor;

use super::{Hooks, Moment, PipelineError, Prompts, choose, guide, indicator};
use crate::cosmos::dit::{Dit, DitInput};
use crate::cosmos::kl::KlPlace;
use crate::sampler::{EdmConfig, EdmEuler};

/// The networks and their schedule.
pub struct Predict1 {
    /// Transformer with 16 (text) or 17 (frames) channels in.
    pub dit: Dit,
    /// CV8x8x8.
    pub vae: KlPlace,
    /// `scheduler_config.json`.
    pub schedule: EdmConfig,
}

/// One run.
#[derive(Clone, Copy)]
pub struct Predict1Job<'a> {
    /// Prompts.
    pub prompts: &'a Prompts,
    /// First frames, [1, 3, n, H, W] in -1..1; needed by networks that take frames, refused by the others.
    pub given: Option<&'a Tensor>,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Frames to make, 8k + 1.
    pub frames: usize,
    /// Frames per second.
    pub fps: f64,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance; up to 1 means none.
    pub guidance: f64,
    /// Noise on given frames.
    pub augment_sigma: f64,
    /// Unit noise to start from, [1, 16, T, h, w]; drawn if not given.
    pub start: Option<&'a Tensor>,
}

/// Latents of the given frames and marks of them, [1, 1, T, 1, 1].
struct Given {
    latents: Tensor,
    marks: Tensor,
    mask: Tensor,
}

impl Predict1 {
    /// Runs the job: frames [1, 3, T, H, W] in about -1..1.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Predict1Job<'_>, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        let config = self.vae.config();
        let (side, time) = (config.spatial_compression_ratio, config.temporal_compression_ratio);
        if job.height % (2 * side) != 0
            || job.width % (2 * side) != 0
            || job.height * job.width == 0
            || job.frames % time != 1
        {
            return Err(PipelineError::Input(format!(
                "{} frames of {}x{} cannot be made: sides must be multiples of {}, frames {time}k + 1",
                job.frames,
                job.width,
                job.height,
                2 * side
            )));
        }
        if (self.dit.config().in_channels == 17) != job.given.is_some() {
            return Err(PipelineError::Input("frames to start from do not go with this network".to_owned()));
        }
        let solver = EdmEuler::new(&self.schedule, job.steps)?;
        let timesteps = solver.timesteps();
        let told: Vec<f64> = timesteps.iter().map(|t| f64::from(*t)).collect();
        hooks.show(Moment::Schedule { sigmas: solver.sigmas(), timesteps: &told })?;
        let frames = (job.frames - 1) / time + 1;
        let shape = [1, config.latent_channels, frames, job.height / side, job.width / side];
        let given = match job.given {
            Some(video) => Some(self.encode(job, video, &shape, hooks)?),
            None => None,
        };
        let start = hooks.start(job.start, &shape)?;
        let mut latents = (start * self.schedule.sigma_max)?;
        let (positive, negative) = job.prompts.with_guidance(job.guidance);
        for (step, t) in timesteps.iter().enumerate() {
            let mut call =
                |text: &Tensor| self.clean(job, &solver, (step, *t), &latents, given.as_ref(), text, hooks);
            let mut clean = call(positive)?;
            if let Some(negative) = negative {
                clean = guide(&clean, &call(negative)?, job.guidance)?;
            }
            latents = solver.step(step, &clean, &latents)?;
            hooks.show(Moment::Step { chunk: 0, step, steps: job.steps, latents: &latents })?;
        }
        let latents = (latents / self.schedule.sigma_data)?;
        hooks.decode_kl(&self.vae, &latents)
    }

    /// Given frames, filled up with grey, as scaled latents.
    fn encode(
        &self,
        job: &Predict1Job<'_>,
        video: &Tensor,
        shape: &[usize],
        hooks: &mut Hooks<'_>,
    ) -> Result<Given, PipelineError> {
        let have = video.dim(2)?;
        let taken = have.min(job.frames);
        let video = video.narrow(2, have - taken, taken)?.pad_with_zeros(2, 0, job.frames - taken)?;
        let scaled = hooks.encode_kl(&self.vae, &video)?;
        let count = (taken.max(1) - 1) / self.vae.config().temporal_compression_ratio + 1;
        let marks = indicator(count, scaled.dim(2)?, scaled.device())?;
        let mask = match shape {
            [_, _, t, h, w] => marks.broadcast_as((1, 1, *t, *h, *w))?.contiguous()?,
            _ => marks.clone(),
        };
        Ok(Given { latents: (scaled * self.schedule.sigma_data)?, marks, mask })
    }

    /// The clean latents that the network sees in `latents`.
    #[allow(clippy::too_many_arguments)]
    fn clean(
        &self,
        job: &Predict1Job<'_>,
        solver: &EdmEuler,
        (step, t): (usize, f32),
        latents: &Tensor,
        given: Option<&Given>,
        text: &Tensor,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let scale = solver.input_scale(step);
        let sigma = f64::from(solver.sigmas().get(step).copied().unwrap_or(0.0));
        // Below the augment level the frames are not put in any more, only their mask stays.
        let held = given.filter(|_| job.augment_sigma < sigma);
        let seen = match given {
            None => latents.clone(),
            Some(given) => {
                let noise = (hooks.noise)(latents.dims())?;
                match held {
                    None => latents.clone(),
                    Some(_) => {
                        let augmented = (&given.latents + (noise * job.augment_sigma)?)?;
                        let own = 1.0 / job.augment_sigma.hypot(self.schedule.sigma_data);
                        choose(&given.marks, &(augmented * (own / scale))?, latents)?
                    }
                }
            }
        };
        let seen = (seen * scale)?;
        let timestep = Tensor::new(&[t], latents.device())?;
        let output = self.dit.forward(&DitInput {
            condition_mask: given.map(|given| &given.mask),
            fps: Some(job.fps),
            ..DitInput::new(&seen, &timestep, text)
        })?;
        hooks.show(Moment::Network(&output))?;
        let clean = solver.denoised(step, &output, latents)?;
        match held {
            Some(given) => Ok(choose(&given.marks, &given.latents, &clean)?),
            None => Ok(clean),
        }
    }
}
