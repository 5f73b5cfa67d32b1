//! Predict2: text to picture, and text with one or several frames to clip.
//!
//! The latents carry Karras noise levels up to 80; the network is told `t = sigma / (sigma + 1)` and sees
//! `(1 - t) x`, so for it the process is a rectified flow.

use candle_core::Tensor;

use super::{
    Hooks, Moment, PipelineError, Prompts, check_size, choose, fit_frames, guide, indicator, latent_frames,
};
use crate::cosmos::Reference;
use crate::cosmos::dit::{Dit, DitInput};
use crate::sampler::{AdamsBashforth2, FinalSigma, FlowEuler, FlowEulerConfig};
use crate::wan::WanPlace;

/// Noise levels and scale of the data: fixed by the pipeline, not by its files.
const SIGMA_MAX: f64 = 80.0;
const SIGMA_MIN: f64 = 0.002;
const SIGMA_DATA: f64 = 1.0;

/// The networks.
pub struct Predict2 {
    /// Transformer with 16 (picture) or 17 (clip) channels in.
    pub dit: Dit,
    /// Wan 2.1.
    pub vae: WanPlace,
}

/// One run.
#[derive(Clone, Copy)]
pub struct Predict2Job<'a> {
    /// Prompts.
    pub prompts: &'a Prompts,
    /// Frames to start from, [1, 3, n, H, W] in -1..1; needed by clip networks, refused by picture networks.
    pub given: Option<&'a Tensor>,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Frames to make, 4k + 1; 1 for pictures.
    pub frames: usize,
    /// Frames per second (clip networks).
    pub fps: Option<f64>,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance; up to 1 means none.
    pub guidance: f64,
    /// Noise level that the network is told for given frames.
    pub sigma_conditioning: f64,
    /// Arm actions [1, number, size] (action-conditioned networks).
    pub actions: Option<&'a Tensor>,
    /// Unit noise to start from, [1, 16, T, h, w]; drawn if not given.
    pub start: Option<&'a Tensor>,
}

/// Latents of the given frames and how many latent frames they are.
struct Given {
    latents: Tensor,
    count: usize,
}

impl Predict2 {
    /// Runs the job: frames [1, 3, T, H, W] in -1..1.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn run(&self, job: &Predict2Job<'_>, hooks: &mut Hooks<'_>) -> Result<Tensor, PipelineError> {
        check_size(&self.vae, job.height, job.width)?;
        let takes_frames = self.dit.config().in_channels == 17;
        if takes_frames != job.given.is_some() {
            return Err(PipelineError::Input(match takes_frames {
                true => "this network needs at least one frame to start from".to_owned(),
                false => "this network makes single pictures from text and takes no frames".to_owned(),
            }));
        }
        let mut solver = Solver::new(self.dit.reference(), job.steps)?;
        hooks.show(Moment::Schedule { sigmas: &solver.sigmas(), timesteps: &solver.timesteps() })?;

        let given = match job.given {
            Some(video) => Some(self.encode(video, job.frames, hooks)?),
            None => None,
        };
        let side = self.vae.config().spatial_factor();
        let frames = latent_frames(&self.vae, job.frames);
        let shape = [1, self.vae.config().z_dim, frames, job.height / side, job.width / side];
        let start = hooks.start(job.start, &shape)?;
        let mut latents = (start * SIGMA_MAX)?;

        let (positive, negative) = job.prompts.read_by(job.guidance, |text| self.dit.project_text(text))?;
        let clean = |latents: &Tensor, sigma: f64, hooks: &mut Hooks<'_>| -> Result<Tensor, PipelineError> {
            let clean = self.clean(job, latents, sigma, given.as_ref(), &positive, hooks)?;
            match &negative {
                None => Ok(clean),
                Some(negative) => {
                    let away = self.clean(job, latents, sigma, given.as_ref(), negative, hooks)?;
                    Ok(guide(&clean, &away, job.guidance)?)
                }
            }
        };
        for step in 0..job.steps {
            let clean = clean(&latents, solver.sigma(step), hooks)?;
            latents = solver.step(step, &clean, &latents)?;
            hooks.show(Moment::Step { chunk: 0, step, steps: job.steps, latents: &latents })?;
        }
        if matches!(solver, Solver::Nvidia(_)) {
            // NVIDIA looks once more at the lowest level and takes what it sees there.
            latents = clean(&latents, solver.sigma(job.steps), hooks)?;
        }
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        let latents = (latents.broadcast_mul(&std)? / SIGMA_DATA)?.broadcast_add(&mean)?;
        hooks.decode(&self.vae, &latents)
    }

    /// Given frames, their last one repeated up to the clip's length, as latents: drawn from the posterior in the
    /// diffusers library, its mean in NVIDIA's code.
    fn encode(&self, video: &Tensor, frames: usize, hooks: &mut Hooks<'_>) -> Result<Given, PipelineError> {
        let have = video.dim(2)?;
        let count = latent_frames(&self.vae, have.min(frames));
        let video = if have > frames { video.narrow(2, have - frames, frames)? } else { video.clone() };
        let posterior = hooks.encode(&self.vae, &fit_frames(&video, frames)?)?;
        let latents = match self.dit.reference() {
            Reference::Diffusers => posterior.sample(&(hooks.noise)(posterior.mean.dims())?)?,
            Reference::Nvidia => posterior.mean,
        };
        let (mean, std) = self.vae.latent_statistics(&latents)?;
        let latents = (latents.broadcast_sub(&mean)?.broadcast_div(&std)? * SIGMA_DATA)?;
        Ok(Given { latents, count })
    }

    /// The clean latents that the network sees in `latents` at noise level `sigma`.
    fn clean(
        &self,
        job: &Predict2Job<'_>,
        latents: &Tensor,
        sigma: f64,
        given: Option<&Given>,
        text: &Tensor,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let t = sigma / (sigma + 1.0);
        let scaled = (latents * (1.0 - t))?;
        let device = latents.device();
        let output = match given {
            None => {
                let timestep = Tensor::new(&[t as f32], device)?;
                self.dit.forward(&DitInput {
                    text_is_projected: true,
                    actions: job.actions,
                    ..DitInput::new(&scaled, &timestep, text)
                })?
            }
            Some(given) => {
                let (_, _, frames, height, width) = latents.dims5()?;
                let indicator = indicator(given.count, frames, device)?;
                let told = job.sigma_conditioning / (job.sigma_conditioning + 1.0);
                // [1, 1, T, 1, 1]: `told` for given frames, `t` for the others.
                let timestep = indicator.affine(told - t, t)?;
                let mask = indicator.broadcast_as((1, 1, frames, height, width))?.contiguous()?;
                let scaled = choose(&indicator, &given.latents, &scaled)?;
                self.dit.forward(&DitInput {
                    text_is_projected: true,
                    condition_mask: Some(&mask),
                    fps: job.fps,
                    actions: job.actions,
                    ..DitInput::new(&scaled, &timestep, text)
                })?
            }
        };
        hooks.show(Moment::Network(&output))?;
        let clean = ((latents * (1.0 - t))? - (output * t)?)?;
        match given {
            None => Ok(clean),
            Some(given) => {
                Ok(choose(&indicator(given.count, latents.dim(2)?, device)?, &given.latents, &clean)?)
            }
        }
    }
}

/// The sampler of either reference.
enum Solver {
    Diffusers(FlowEuler),
    Nvidia(AdamsBashforth2),
}

impl Solver {
    fn new(reference: Reference, steps: usize) -> Result<Self, PipelineError> {
        if reference == Reference::Nvidia {
            return Ok(Self::Nvidia(AdamsBashforth2::new(steps, SIGMA_MIN, SIGMA_MAX)?));
        }
        let config = FlowEulerConfig {
            use_karras_sigmas: true,
            sigma_min: SIGMA_MIN,
            sigma_max: SIGMA_MAX,
            sigma_data: SIGMA_DATA,
            // The last step stays at the lowest level: the network's answer there is already clean.
            final_sigmas_type: FinalSigma::SigmaMin,
            ..Default::default()
        };
        Ok(Self::Diffusers(FlowEuler::new(&config, steps)?))
    }

    fn sigmas(&self) -> Vec<f32> {
        match self {
            Self::Diffusers(solver) => solver.sigmas().to_vec(),
            Self::Nvidia(solver) => solver.sigmas().iter().map(|s| *s as f32).collect(),
        }
    }

    fn timesteps(&self) -> Vec<f64> {
        match self {
            Self::Diffusers(solver) => solver.timesteps().iter().map(|t| f64::from(*t)).collect(),
            Self::Nvidia(solver) => {
                let levels = solver.sigmas();
                levels.iter().take(levels.len().saturating_sub(1)).map(|s| s / (s + 1.0)).collect()
            }
        }
    }

    fn sigma(&self, step: usize) -> f64 {
        match self {
            Self::Diffusers(solver) => f64::from(solver.sigmas().get(step).copied().unwrap_or(0.0)),
            Self::Nvidia(solver) => solver.sigmas().get(step).copied().unwrap_or(SIGMA_MIN),
        }
    }

    /// The latents after `step`, from the clean ones that were seen in it.
    fn step(&mut self, step: usize, clean: &Tensor, latents: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Diffusers(solver) => {
                let sigma = f64::from(solver.sigmas().get(step).copied().unwrap_or(0.0));
                solver.step(step, &((latents - clean)? / sigma)?, latents)
            }
            Self::Nvidia(solver) => solver.step(step, clean, latents),
        }
    }
}
