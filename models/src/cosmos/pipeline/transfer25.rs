//! Transfer2.5: a control clip (edges, depth, segments, blur) and text to a clip of any length, chunk by chunk.
//! The end of each chunk is the start of the next.

use candle_core::Tensor;

use super::{
    Hooks, Moment, PipelineError, Prompts, check_size, choose, guide, in_chunks, indicator, latent_frames,
    told,
};
use crate::cosmos::Reference;
use crate::cosmos::dit::{ControlInput, ControlNet, Dit, DitInput};
use crate::sampler::{UniPc, UniPcConfig};
use crate::wan::WanPlace;

/// The networks and their schedule.
pub struct Transfer25 {
    /// Transformer.
    pub dit: Dit,
    /// Control branch.
    pub control: ControlNet,
    /// Wan 2.1.
    pub vae: WanPlace,
    /// `scheduler_config.json`.
    pub schedule: UniPcConfig,
    /// Picture tokens that the transformer expects (`img_context_num_tokens`); the pipeline gives zeros.
    pub picture_tokens: usize,
}

/// One run.
pub struct Transfer25Job<'a> {
    /// Prompts.
    pub prompts: &'a Prompts,
    /// The same for the control branch, where they are projected (each network has a projection of its own).
    pub control_prompts: &'a Prompts,
    /// The control clip, [1, 3, T, H, W] in -1..1; the result has its length and size.
    pub control: &'a Tensor,
    /// Frames per chunk, 4k + 1.
    pub chunk_frames: usize,
    /// Frames that a chunk takes over from the one before, at least 1.
    pub overlap_frames: usize,
    /// Denoising steps per chunk.
    pub steps: usize,
    /// Guidance; up to 1 means none.
    pub guidance: f64,
    /// Strength of the control.
    pub control_scale: f64,
    /// Noise level that the network is told for frames taken over; none = that of all others.
    pub conditional_timestep: Option<f64>,
    /// Unit noise that every chunk starts from, [1, 16, T, h, w]; drawn per chunk if not given.
    pub noise: Option<&'a Tensor>,
}

impl Transfer25 {
    /// Runs the job: frames [1, 3, T, H, W] in -1..1.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Transfer25Job<'_>, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        let (_, _, _, height, width) = job.control.dims5()?;
        check_size(&self.vae, height, width)?;
        let (chunk, overlap) = (job.chunk_frames, job.overlap_frames);
        in_chunks(
            job.control,
            (chunk, overlap),
            self.vae.config().temporal_factor(),
            |number, part, before| self.chunk(job, number, part, before, hooks),
        )
    }

    /// One chunk, starting from the end of `before`.
    fn chunk(
        &self,
        job: &Transfer25Job<'_>,
        number: usize,
        control: &Tensor,
        before: Option<&Tensor>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let (_, _, _, height, width) = control.dims5()?;
        let device = control.device();
        let dark = control.zeros_like()?.affine(0.0, -1.0)?;
        let (past, held_count) = match before {
            None => (dark, 0),
            Some(before) => {
                let tail = before.narrow(2, before.dim(2)? - job.overlap_frames, job.overlap_frames)?;
                let rest = dark.narrow(2, 0, job.chunk_frames - job.overlap_frames)?;
                (Tensor::cat(&[tail, rest], 2)?, latent_frames(&self.vae, job.overlap_frames))
            }
        };
        let frames = latent_frames(&self.vae, job.chunk_frames);
        let side = self.vae.config().spatial_factor();
        let shape = [1, self.vae.config().z_dim, frames, height / side, width / side];
        let noise = hooks.start(job.noise, &shape)?;
        let held = self.sampled_latents(&past, hooks)?;
        let control = self.sampled_latents(control, hooks)?;

        let mut solver = UniPc::new(&self.schedule, job.steps)?;
        let timesteps: Vec<f64> = solver.timesteps().iter().map(|t| *t as f64).collect();
        hooks.show(Moment::Schedule { sigmas: solver.sigmas(), timesteps: &timesteps })?;
        let picture = match self.dit.config().img_context_dim_in {
            Some(width) => Some(Tensor::zeros((1, self.picture_tokens, width), noise.dtype(), device)?),
            None => None,
        };
        let guidance = job.guidance;
        let (positive, negative) = job.prompts.read_by(guidance, |text| self.dit.project_text(text))?;
        let (own_positive, own_negative) =
            job.control_prompts.read_by(guidance, |text| self.control.project_text(text))?;
        let indicator = indicator(held_count, frames, device)?;
        let mask = indicator.broadcast_as((1, 1, frames, shape[3], shape[4]))?.contiguous()?;
        let known = indicator.broadcast_mul(&(&noise - &held)?)?;
        let mut latents = noise;
        for step in 0..job.steps {
            let sigma = told(self.dit.reference(), &solver, step);
            let timestep = indicator.affine(job.conditional_timestep.unwrap_or(sigma) - sigma, sigma)?;
            let seen = choose(&indicator, &held, &latents)?;
            let mut call = |text: &Tensor, own: &Tensor| -> Result<Tensor, PipelineError> {
                let residuals = self.control.forward(&ControlInput {
                    control: &control,
                    latents: &seen,
                    timestep: &timestep,
                    text: own,
                    text_is_projected: true,
                    picture: picture.as_ref(),
                    condition_mask: &mask,
                    padding_mask: None,
                    scales: &[job.control_scale],
                })?;
                let output = self.dit.forward(&DitInput {
                    text_is_projected: true,
                    picture: picture.as_ref(),
                    condition_mask: Some(&mask),
                    control: Some(&residuals),
                    ..DitInput::new(&seen, &timestep, text)
                })?;
                hooks.show(Moment::Network(&output))?;
                Ok((&known + indicator.affine(-1.0, 1.0)?.broadcast_mul(&output)?)?)
            };
            let mut velocity = call(&positive, &own_positive)?;
            if let (Some(negative), Some(own)) = (&negative, &own_negative) {
                velocity = guide(&velocity, &call(negative, own)?, job.guidance)?;
            }
            latents = solver.step(step, &velocity, &latents)?;
            hooks.show(Moment::Step { chunk: number, step, steps: job.steps, latents: &latents })?;
        }
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        hooks.decode(&self.vae, &latents.broadcast_mul(&std)?.broadcast_add(&mean)?)
    }

    /// A clip as scaled latents: drawn from the posterior in the diffusers library, its mean in NVIDIA's code.
    fn sampled_latents(&self, video: &Tensor, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        let posterior = hooks.encode(&self.vae, video)?;
        let latents = match self.dit.reference() {
            Reference::Diffusers => posterior.sample(&(hooks.noise)(posterior.mean.dims())?)?,
            Reference::Nvidia => posterior.mean,
        };
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        Ok(latents.broadcast_sub(&mean)?.broadcast_div(&std)?)
    }
}
