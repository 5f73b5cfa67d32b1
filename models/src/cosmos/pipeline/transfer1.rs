//! Transfer1: a control clip and text to a clip of any length, chunk by chunk, with Predict1's transformer and a control
//! branch. There is no diffusers pipeline for it: what is reproduced is NVIDIA's own code.

use candle_core::Tensor;

use super::{Hooks, Moment, PipelineError, Prompts, choose, guide, in_chunks, indicator};
use crate::cosmos::dit::{Control1, Control1Input, Dit, DitInput};
use crate::cosmos::kl::KlPlace;
use crate::sampler::AdamsBashforth2;

/// Noise levels and spread of the data.
const SIGMA_MAX: f64 = 80.0;
const SIGMA_MIN: f64 = 0.002;
const SIGMA_DATA: f64 = 0.5;
/// Noise on frames that are taken over from the chunk before.
const AUGMENT: f64 = 0.001;

/// The networks.
pub struct Transfer1 {
    /// Transformer with 17 channels in.
    pub dit: Dit,
    /// Control branch.
    pub control: Control1,
    /// CV8x8x8.
    pub vae: KlPlace,
}

/// One run.
#[derive(Clone, Copy)]
pub struct Transfer1Job<'a> {
    /// Prompts.
    pub prompts: &'a Prompts,
    /// The control clip, [1, 3, T, H, W] in -1..1; the result has its length and size.
    pub control: &'a Tensor,
    /// Frames per chunk, 8k + 1.
    pub chunk_frames: usize,
    /// Frames that a chunk takes over from the one before, at least 1.
    pub overlap_frames: usize,
    /// Frames per second.
    pub fps: f64,
    /// Denoising steps per chunk, not counting the last look.
    pub steps: usize,
    /// Guidance; up to 1 means none.
    pub guidance: f64,
    /// Strength of the control.
    pub control_scale: f64,
    /// Unit noise that every chunk starts from, [1, 16, T, h, w]; drawn per chunk if not given.
    pub noise: Option<&'a Tensor>,
}

/// Everything that stays the same within a chunk.
struct Chunk<'a> {
    job: &'a Transfer1Job<'a>,
    control: Tensor,
    /// Latents taken over, and 1 where they are, [1, 1, T, 1, 1].
    held: Tensor,
    marks: Tensor,
    mask: Tensor,
    noise: Tensor,
}

impl Transfer1 {
    /// Runs the job: frames [1, 3, T, H, W] in about -1..1.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Transfer1Job<'_>, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        let (_, _, _, height, width) = job.control.dims5()?;
        let config = self.vae.config();
        let (side, time) = (2 * config.spatial_compression_ratio, config.temporal_compression_ratio);
        if height * width == 0 || height % side != 0 || width % side != 0 {
            return Err(PipelineError::Input(format!(
                "{width}x{height} pixels cannot be made: both sides must be multiples of {side}. Choose another size."
            )));
        }
        let (chunk, overlap) = (job.chunk_frames, job.overlap_frames);
        in_chunks(job.control, (chunk, overlap), time, |number, part, before| {
            self.chunk(job, number, part, before, hooks)
        })
    }

    /// One chunk, starting from the end of `before`.
    fn chunk(
        &self,
        job: &Transfer1Job<'_>,
        number: usize,
        control: &Tensor,
        before: Option<&Tensor>,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let time = self.vae.config().temporal_compression_ratio;
        let control = self.latents(control, hooks)?;
        let (held, count) = match before {
            None => (control.zeros_like()?, 0),
            Some(before) => {
                // The frames go through bytes, and those to come are black.
                let tail = before.narrow(2, before.dim(2)? - job.overlap_frames, job.overlap_frames)?;
                let tail =
                    (tail.affine(127.5, 127.5)?.clamp(0f32, 255f32)?.floor()? / 127.5)?.affine(1.0, -1.0)?;
                let black = before.narrow(2, 0, job.chunk_frames - job.overlap_frames)?;
                let black = black.zeros_like()?.affine(0.0, -1.0)?;
                let past = Tensor::cat(&[tail, black], 2)?;
                (self.latents(&past, hooks)?, (job.overlap_frames - 1) / time + 1)
            }
        };
        let shape = control.dims().to_vec();
        let noise = hooks.start(job.noise, &shape)?;
        let marks = indicator(count, control.dim(2)?, control.device())?;
        let (_, _, frames, rows, columns) = control.dims5()?;
        let mask = marks.broadcast_as((1, 1, frames, rows, columns))?.contiguous()?;
        let chunk = Chunk { job, control, held, marks, mask, noise };
        let mut solver = AdamsBashforth2::new(job.steps, SIGMA_MIN, SIGMA_MAX)?;
        let sigmas: Vec<f32> = solver.sigmas().iter().map(|sigma| *sigma as f32).collect();
        let told: Vec<f64> = solver.sigmas().iter().take(job.steps).map(|sigma| sigma.ln() / 4.0).collect();
        hooks.show(Moment::Schedule { sigmas: &sigmas, timesteps: &told })?;
        let mut latents = (&chunk.noise * SIGMA_MAX)?;
        for step in 0..job.steps {
            let sigma = solver.sigmas().get(step).copied().unwrap_or(SIGMA_MIN);
            let clean = self.guided(&chunk, &latents, sigma, hooks)?;
            latents = solver.step(step, &clean, &latents)?;
            hooks.show(Moment::Step { chunk: number, step, steps: job.steps, latents: &latents })?;
        }
        // NVIDIA looks once more at the lowest level and takes what it sees there.
        let latents = (self.guided(&chunk, &latents, SIGMA_MIN, hooks)? / SIGMA_DATA)?;
        hooks.decode_kl(&self.vae, &latents)
    }

    fn guided(
        &self,
        chunk: &Chunk<'_>,
        latents: &Tensor,
        sigma: f64,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let (positive, negative) = chunk.job.prompts.with_guidance(chunk.job.guidance);
        let clean = self.clean(chunk, latents, sigma, positive, hooks)?;
        match negative {
            None => Ok(clean),
            Some(negative) => {
                Ok(guide(&clean, &self.clean(chunk, latents, sigma, negative, hooks)?, chunk.job.guidance)?)
            }
        }
    }

    /// The clean latents that the networks see in `latents` at noise level `sigma`.
    fn clean(
        &self,
        chunk: &Chunk<'_>,
        latents: &Tensor,
        sigma: f64,
        text: &Tensor,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let spread = sigma.hypot(SIGMA_DATA);
        // Frames taken over carry the noise that the clip began with, a thousandth of it.
        let augmented = (&chunk.held + (&chunk.noise * AUGMENT)?)?;
        let held = (augmented * (spread / AUGMENT.hypot(SIGMA_DATA)))?;
        let composed = choose(&chunk.marks, &held, latents)?;
        let seen = (&composed / spread)?;
        let timestep = Tensor::new(&[(sigma.ln() / 4.0) as f32], latents.device())?;
        let fps = Some(chunk.job.fps);
        let residuals = self.control.forward(&Control1Input {
            control: &chunk.control,
            latents: &seen,
            timestep: &timestep,
            text,
            condition_mask: &chunk.mask,
            padding_mask: None,
            fps,
            scale: chunk.job.control_scale,
        })?;
        let output = self.dit.forward(&DitInput {
            condition_mask: Some(&chunk.mask),
            fps,
            control_first: Some(&residuals),
            ..DitInput::new(&seen, &timestep, text)
        })?;
        hooks.show(Moment::Network(&output))?;
        let skip = (SIGMA_DATA / spread).powi(2);
        let clean = ((composed * skip)? + (output * (sigma * SIGMA_DATA / spread))?)?;
        Ok(choose(&chunk.marks, &chunk.held, &clean)?)
    }

    /// A clip as scaled latents.
    fn latents(&self, video: &Tensor, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        Ok((hooks.encode_kl(&self.vae, video)? * SIGMA_DATA)?)
    }
}
