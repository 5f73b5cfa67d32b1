//! Cosmos Policy (arXiv 2601.16163): a Predict2 network that imagines actions, the state after them, the pictures after
//! them and the worth of all that as latent frames beside the pictures.
//!
//! The latent frames are: nothing, the present state, the present picture of each camera, the chunk of actions, the
//! state, the pictures after it, the value. The first ones up to the present pictures are given. Every picture fills one
//! latent frame (four equal frames); what is no picture is written over the latents of a black one.

use candle_core::Tensor;

use super::predict2::Predict2;
use super::{Hooks, Moment, PipelineError, check_size, choose, indicator};
use crate::cosmos::dit::DitInput;
use crate::cosmos::policy_frames;
use crate::sampler::AdamsBashforth2;

/// Noise levels of the sampler.
const SIGMA_MAX: f64 = 80.0;
const SIGMA_MIN: f64 = 4.0;

/// One run.
#[derive(Clone, Copy)]
pub struct PolicyJob<'a> {
    /// Embeddings of the task in words, [1, N, width].
    pub text: &'a Tensor,
    /// The present picture of each camera, [1, 3, V, H, W] in -1..1: those on the wrists first.
    pub views: &'a Tensor,
    /// The present state, [1, P], scaled to -1..1 by the training data; none for networks without a state.
    pub state: Option<&'a Tensor>,
    /// Actions of a chunk.
    pub chunk: usize,
    /// Numbers of an action.
    pub action: usize,
    /// Calls of the network.
    pub steps: usize,
    /// Unit noise to start from; drawn if not given.
    pub start: Option<&'a Tensor>,
}

/// What came out, with numbers scaled as the training data were, to -1..1.
pub struct PolicyMade {
    /// [chunk, action]
    pub actions: Tensor,
    /// The state after the chunk, [P].
    pub state: Option<Tensor>,
    /// How likely the task succeeds, 0 to 1.
    pub value: f64,
    /// The picture of each camera after the chunk, [1, 3, V, H, W] in -1..1.
    pub views: Tensor,
}

/// Where things are in the clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLayout {
    /// Cameras.
    pub views: usize,
    /// Whether there is a state.
    pub state: bool,
}

impl PolicyLayout {
    /// Latent frames that are given: nothing, the state, the present pictures.
    pub fn given(self) -> usize {
        1 + usize::from(self.state) + self.views
    }

    /// Latent frames in all.
    pub fn frames(self) -> usize {
        2 * self.given() + 1
    }

    fn action(self) -> usize {
        self.given()
    }

    fn state_after(self) -> usize {
        self.given() + 1
    }

    /// The first latent frame of a picture after the chunk.
    pub fn first_view_after(self) -> usize {
        self.given() + 1 + usize::from(self.state)
    }

    fn value(self) -> usize {
        self.frames() - 1
    }
}

impl Predict2 {
    /// Runs the job.
    ///
    /// # Errors
    /// A size or setting that does not fit, a failed operation, or a stop by the hooks.
    pub fn act(&self, job: &PolicyJob<'_>, hooks: &mut Hooks<'_>) -> Result<PolicyMade, PipelineError> {
        let (_, _, views, height, width) = job.views.dims5()?;
        check_size(&self.vae, height, width)?;
        let layout = PolicyLayout { views, state: job.state.is_some() };
        let time = self.vae.config().temporal_factor();
        let side = self.vae.config().spatial_factor();
        let room = self.vae.config().z_dim * (height / side) * (width / side);
        if views == 0 || job.steps == 0 || job.chunk * job.action == 0 || job.chunk * job.action > room {
            return Err(PipelineError::Input(format!(
                "{} actions of {} numbers from {views} cameras in {} steps cannot be made: there must be some of each, \
                 and one latent frame has room for {room} numbers",
                job.chunk, job.action, job.steps
            )));
        }
        let video = clip(job.views, layout, time)?;
        let encoded = hooks.encode(&self.vae, &video)?.mean;
        let (mean, std) = self.vae.latent_statistics(&encoded)?;
        let plain = encoded.broadcast_sub(&mean)?.broadcast_div(&std)?;
        let given = match job.state {
            None => plain.clone(),
            Some(state) => policy_frames::write(&plain, state, 1)?,
        };
        let start = hooks.start(job.start, given.dims())?;
        let text = self.dit.project_text(job.text)?;
        // The last call looks once more at the lowest level; a single call looks at the highest.
        let mut solver = AdamsBashforth2::new((job.steps - 1).max(1), SIGMA_MIN, SIGMA_MAX)?;
        let sigmas: Vec<f32> = solver.sigmas().iter().map(|sigma| *sigma as f32).collect();
        let told: Vec<f64> = solver.sigmas().iter().map(|sigma| sigma / (sigma + 1.0)).collect();
        let known = told.len().saturating_sub(1);
        hooks.show(Moment::Schedule { sigmas: &sigmas, timesteps: told.get(..known).unwrap_or_default() })?;
        let mut latents = (start * SIGMA_MAX)?;
        for step in 0..job.steps {
            let sigma = solver.sigmas().get(step).copied().unwrap_or(SIGMA_MIN);
            let clean = self.clean_policy(layout, &latents, sigma, &given, &text, hooks)?;
            latents = match step + 1 == job.steps {
                true => clean,
                false => solver.step(step, &clean, &latents)?,
            };
            hooks.show(Moment::Step { chunk: 0, step, steps: job.steps, latents: &latents })?;
        }
        let actions = policy_frames::read(&latents, &[job.chunk, job.action], layout.action())?.squeeze(0)?;
        let state = match job.state {
            None => None,
            Some(state) => {
                Some(policy_frames::read(&latents, &[state.dim(1)?], layout.state_after())?.squeeze(0)?)
            }
        };
        let value = latents.narrow(2, layout.value(), 1)?.mean_all()?.to_scalar::<f32>()?;
        Ok(PolicyMade {
            actions,
            state,
            value: f64::midpoint(f64::from(value), 1.0).clamp(0.0, 1.0),
            views: self.pictures(&latents, &plain, layout, (&mean, &std), hooks)?,
        })
    }

    /// The clean latents that the network sees in `latents` at noise level `sigma`. It is told that what is given has
    /// no noise at all.
    fn clean_policy(
        &self,
        layout: PolicyLayout,
        latents: &Tensor,
        sigma: f64,
        given: &Tensor,
        text: &Tensor,
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let t = sigma / (sigma + 1.0);
        let (_, _, frames, height, width) = latents.dims5()?;
        let indicator = indicator(layout.given(), frames, latents.device())?;
        let mask = indicator.broadcast_as((1, 1, frames, height, width))?.contiguous()?;
        let timestep = indicator.affine(-t, t)?;
        let seen = choose(&indicator, given, &(latents * (1.0 - t))?)?;
        let output = self.dit.forward(&DitInput {
            text_is_projected: true,
            condition_mask: Some(&mask),
            ..DitInput::new(&seen, &timestep, text)
        })?;
        hooks.show(Moment::Network(&output))?;
        let clean = ((latents * (1.0 - t))? - (output * t)?)?;
        Ok(choose(&indicator, given, &clean)?)
    }

    /// The pictures after the chunk. Latent frames that hold numbers become those of black pictures again, so that the
    /// decoder, which remembers what it saw, makes nothing of them.
    fn pictures(
        &self,
        latents: &Tensor,
        plain: &Tensor,
        layout: PolicyLayout,
        (mean, std): (&Tensor, &Tensor),
        hooks: &mut Hooks<'_>,
    ) -> Result<Tensor, PipelineError> {
        let mut numbers = vec![0, layout.action()];
        if layout.state {
            numbers.extend([1, layout.state_after()]);
        }
        let frames = (0..layout.frames()).map(|frame| {
            let from = if numbers.contains(&frame) { plain } else { latents };
            from.narrow(2, frame, 1)
        });
        let cleaned = Tensor::cat(&frames.collect::<candle_core::Result<Vec<_>>>()?, 2)?;
        let video = hooks.decode(&self.vae, &cleaned.broadcast_mul(std)?.broadcast_add(mean)?)?;
        let time = self.vae.config().temporal_factor();
        let views = (0..layout.views).map(|view| {
            let latent = layout.first_view_after() + view;
            video.narrow(2, (latent - 1) * time + 1, 1)
        });
        Ok(Tensor::cat(&views.collect::<candle_core::Result<Vec<_>>>()?, 2)?)
    }
}

/// The clip whose latents the network reads: black where numbers come, the present pictures also where those after the
/// chunk are to be.
fn clip(views: &Tensor, layout: PolicyLayout, time: usize) -> candle_core::Result<Tensor> {
    let black = views.narrow(2, 0, 1)?.zeros_like()?.affine(0.0, -1.0)?;
    let blank = black.repeat((1, 1, time, 1, 1))?;
    let pictures = (0..layout.views)
        .map(|view| views.narrow(2, view, 1)?.repeat((1, 1, time, 1, 1)))
        .collect::<candle_core::Result<Vec<_>>>()?;
    let mut parts = vec![black];
    for after in [false, true] {
        if after {
            // The chunk of actions.
            parts.push(blank.clone());
        }
        if layout.state {
            parts.push(blank.clone());
        }
        parts.extend(pictures.iter().cloned());
    }
    // The value.
    parts.push(blank);
    Tensor::cat(&parts, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_published_one() {
        // Nothing, state, wrist, primary, actions, state, wrist, primary, value.
        let libero = PolicyLayout { views: 2, state: true };
        let places = (libero.given(), libero.action(), libero.state_after(), libero.first_view_after());
        assert_eq!((places, libero.value(), libero.frames()), ((4, 4, 5, 6), 8, 9));
        assert_eq!(PolicyLayout { views: 3, state: true }.frames(), 11);
    }
}
