//! Euler solver for flow matching (rectified flow): Predict2 with Karras levels, others with a shifted ramp.

use candle_core::{Result as CandleResult, Tensor};
use serde::Deserialize;

use super::schedule::{FinalSigma, close, karras_sigmas};
use super::{SamplerError, check_steps};

/// Settings of `scheduler_config.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct FlowEulerConfig {
    /// Noise levels after Karras et al. instead of an even ramp.
    pub use_karras_sigmas: bool,
    /// Lowest noise level (Karras levels only).
    pub sigma_min: f64,
    /// Highest noise level (Karras levels only).
    pub sigma_max: f64,
    /// Standard deviation of the data (latents are scaled to it).
    pub sigma_data: f64,
    /// Time shift of the ramp: `s / (1 + (s - 1) sigma) · sigma`.
    pub shift: f64,
    /// Steps of the training schedule; timesteps are sigma times this.
    pub num_train_timesteps: f64,
    /// Level behind the last step.
    pub final_sigmas_type: FinalSigma,
}

impl Default for FlowEulerConfig {
    fn default() -> Self {
        Self {
            use_karras_sigmas: false,
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 1.0,
            shift: 1.0,
            num_train_timesteps: 1000.0,
            final_sigmas_type: FinalSigma::Zero,
        }
    }
}

/// The solver, ready for a number of steps.
pub struct FlowEuler {
    sigmas: Vec<f32>,
    train_steps: f64,
}

impl FlowEuler {
    /// # Errors
    /// A step count that is not supported.
    pub fn new(config: &FlowEulerConfig, steps: usize) -> Result<Self, SamplerError> {
        check_steps(steps)?;
        let sigmas = if config.use_karras_sigmas {
            karras_sigmas(config.sigma_min, config.sigma_max, 7.0, steps)
        } else {
            let ramp = (0..steps).map(|i| 1.0 - i as f64 / steps as f64);
            ramp.map(|s| config.shift * s / (1.0 + (config.shift - 1.0) * s)).collect()
        };
        let sigmas = close(sigmas.into_iter().map(|s| s as f32).collect(), config.final_sigmas_type);
        Ok(Self { sigmas, train_steps: config.num_train_timesteps })
    }

    /// Noise levels: one per step and the level behind the last.
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// Noise level times the number of training steps, one per step.
    pub fn timesteps(&self) -> Vec<f32> {
        let steps = self.sigmas.len() - 1;
        self.sigmas.iter().take(steps).map(|s| s * self.train_steps as f32).collect()
    }

    /// The sample after `step`: `sample + (next - now) · velocity`.
    pub fn step(&self, step: usize, velocity: &Tensor, sample: &Tensor) -> CandleResult<Tensor> {
        let sigma = |i: usize| self.sigmas.get(i).copied().unwrap_or(0.0);
        sample + (velocity * f64::from(sigma(step + 1) - sigma(step)))?
    }
}
