//! Second-order Adams-Bashforth on the clean sample in log noise level: NVIDIA's own sampler of Predict2 and of
//! Cosmos Policy (named `2ab` there).

use candle_core::{DType, Device, Result as CandleResult, Tensor};

use super::schedule::karras_sigmas;
use super::{SamplerError, check_steps};

/// The solver, ready for a number of steps. It remembers the clean sample of the step before.
pub struct AdamsBashforth2 {
    sigmas: Vec<f64>,
    before: Option<Tensor>,
}

impl AdamsBashforth2 {
    /// `steps` steps through `steps + 1` Karras levels (rho 7) from `sigma_max` to `sigma_min`. The published
    /// pipelines look once more at the last level and take the clean sample there as their result.
    ///
    /// # Errors
    /// A step count that is not supported.
    pub fn new(steps: usize, sigma_min: f64, sigma_max: f64) -> Result<Self, SamplerError> {
        check_steps(steps)?;
        Ok(Self { sigmas: karras_sigmas(sigma_min, sigma_max, 7.0, steps + 1), before: None })
    }

    /// Noise levels before each step and behind the last.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// The sample after `step`, from the clean sample predicted in it. Call once per step, in order.
    pub fn step(&mut self, step: usize, denoised: &Tensor, sample: &Tensor) -> CandleResult<Tensor> {
        let sigma = |i: usize| self.sigmas.get(i).copied().unwrap_or(f64::NAN);
        let (now, next) = (sigma(step), sigma(step + 1));
        let (x, clean) = (wide(sample)?, wide(denoised)?);
        let out = match self.before.take() {
            None => ((&clean * ((now - next) / now))? + (x * (next / now))?)?,
            Some(before) => {
                // Exponential integrator: h is the step in -ln(sigma), c the place of the older point.
                let h = now.ln() - next.ln();
                let c = (now.ln() - sigma(step - 1).ln()) / h;
                let phi_1 = (-h).exp_m1() / -h;
                let phi_2 = (phi_1 - 1.0) / -h;
                let (weight, weight_before) = (phi_1 - phi_2 / c, phi_2 / c);
                let change = ((&clean * weight)? + (before * weight_before)?)?;
                ((x * (-h).exp())? + (change * h)?)?
            }
        };
        self.before = Some(clean);
        out.to_dtype(sample.dtype())?.to_device(sample.device())
    }
}

/// In f64, on the device where it has such numbers. Apple's cards have none: there the step is done by the processor,
/// which is no burden for latents.
fn wide(tensor: &Tensor) -> CandleResult<Tensor> {
    match tensor.device() {
        Device::Metal(_) => tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64),
        _ => tensor.to_dtype(DType::F64),
    }
}
