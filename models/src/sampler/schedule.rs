//! Series of noise levels.

use serde::{Deserialize, Serialize};

/// What follows the last noise level of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigma {
    /// The last step goes to noise level 0.
    #[default]
    Zero,
    /// The last step stays at the lowest level of the schedule.
    SigmaMin,
}

/// Noise levels of Karras et al. 2022 (equation 5): `count` values from `sigma_max` down to `sigma_min`, evenly
/// spaced in `sigma^(1/rho)`.
pub fn karras_sigmas(sigma_min: f64, sigma_max: f64, rho: f64, count: usize) -> Vec<f64> {
    let (low, high) = (sigma_min.powf(1.0 / rho), sigma_max.powf(1.0 / rho));
    (0..count)
        .map(|i| {
            let part = if count > 1 { i as f64 / (count - 1) as f64 } else { 0.0 };
            (high + part * (low - high)).powf(rho)
        })
        .collect()
}

/// Appends the level behind the last one.
pub(super) fn close(mut sigmas: Vec<f32>, last: FinalSigma) -> Vec<f32> {
    let end = match last {
        FinalSigma::Zero => 0.0,
        FinalSigma::SigmaMin => sigmas.last().copied().unwrap_or(0.0),
    };
    sigmas.push(end);
    sigmas
}
