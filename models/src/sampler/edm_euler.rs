//! Euler solver in the EDM formulation (Karras et al. 2022, table 1 and algorithm 1 without churn): Predict1.

use candle_core::{Result as CandleResult, Tensor};
use serde::Deserialize;

use super::schedule::{FinalSigma, close, karras_sigmas};
use super::{SamplerError, check_steps};

/// Settings of `scheduler_config.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct EdmConfig {
    /// Lowest noise level.
    pub sigma_min: f64,
    /// Highest noise level.
    pub sigma_max: f64,
    /// Standard deviation of the data (latents are scaled to it).
    pub sigma_data: f64,
    /// Only `karras` is known.
    pub sigma_schedule: String,
    /// Only `epsilon` is known.
    pub prediction_type: String,
    /// Curvature of the schedule.
    pub rho: f64,
    /// Level behind the last step.
    pub final_sigmas_type: FinalSigma,
}

impl Default for EdmConfig {
    fn default() -> Self {
        Self {
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 0.5,
            sigma_schedule: "karras".to_owned(),
            prediction_type: "epsilon".to_owned(),
            rho: 7.0,
            final_sigmas_type: FinalSigma::Zero,
        }
    }
}

/// The solver, ready for a number of steps.
pub struct EdmEuler {
    sigmas: Vec<f32>,
    sigma_data: f64,
}

impl EdmEuler {
    /// # Errors
    /// A step count or setting that is not supported.
    pub fn new(config: &EdmConfig, steps: usize) -> Result<Self, SamplerError> {
        check_steps(steps)?;
        for (setting, value, known) in [
            ("sigma_schedule", &config.sigma_schedule, "karras"),
            ("prediction_type", &config.prediction_type, "epsilon"),
        ] {
            if value != known {
                return Err(SamplerError::Setting { setting, value: value.clone(), known });
            }
        }
        let sigmas = karras_sigmas(config.sigma_min, config.sigma_max, config.rho, steps);
        let sigmas = close(sigmas.into_iter().map(|s| s as f32).collect(), config.final_sigmas_type);
        Ok(Self { sigmas, sigma_data: config.sigma_data })
    }

    /// Noise levels: one per step and the level behind the last.
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// What the network is told in each step: `ln(sigma) / 4`.
    pub fn timesteps(&self) -> Vec<f32> {
        let steps = self.sigmas.len() - 1;
        self.sigmas.iter().take(steps).map(|s| 0.25 * s.ln()).collect()
    }

    fn sigma(&self, step: usize) -> f64 {
        f64::from(self.sigmas.get(step).copied().unwrap_or(0.0))
    }

    /// Factor that brings a sample of `step` to unit deviation: `1 / sqrt(sigma² + sigma_data²)`.
    pub fn input_scale(&self, step: usize) -> f64 {
        1.0 / self.sigma(step).hypot(self.sigma_data)
    }

    /// The clean sample that a network output stands for: `c_skip · sample + c_out · output`.
    pub fn denoised(&self, step: usize, output: &Tensor, sample: &Tensor) -> CandleResult<Tensor> {
        let (sigma, data) = (self.sigma(step), self.sigma_data);
        let skip = data * data / (sigma * sigma + data * data);
        let out = sigma * data / sigma.hypot(data);
        (sample * skip)? + (output * out)?
    }

    /// The sample after `step`, from the clean sample predicted in it.
    pub fn step(&self, step: usize, denoised: &Tensor, sample: &Tensor) -> CandleResult<Tensor> {
        let (now, next) = (self.sigma(step), self.sigma(step + 1));
        let slope = ((sample - denoised)? / now)?;
        sample + (slope * (next - now))?
    }
}
