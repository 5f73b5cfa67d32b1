//! UniPC (Zhao et al. 2023, B(h) version, data prediction) on flow-matching noise levels: Predict2.5, Transfer2.5
//! and Cosmos 3.

use std::collections::VecDeque;

use candle_core::{Result as CandleResult, Tensor};
use serde::Deserialize;

use super::schedule::{FinalSigma, close, karras_sigmas};
use super::{SamplerError, check_steps};

/// Settings of `scheduler_config.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct UniPcConfig {
    /// Steps of the training schedule; timesteps are sigma times this, cut to integers.
    pub num_train_timesteps: f64,
    /// Order of the predictor; the corrector is one higher in effect.
    pub solver_order: usize,
    /// Only `flow_prediction` is known.
    pub prediction_type: String,
    /// `bh1` or `bh2`.
    pub solver_type: String,
    /// Lower order in the last steps.
    pub lower_order_final: bool,
    /// Steps after which the corrector is left out.
    pub disable_corrector: Vec<usize>,
    /// Karras levels instead of an even ramp.
    pub use_karras_sigmas: bool,
    /// Must be true: sigma runs from 1 to 0 and the sample is `(1 - sigma) · clean + sigma · noise`.
    pub use_flow_sigmas: bool,
    /// Time shift of the even ramp.
    pub flow_shift: f64,
    /// Highest and lowest level of the even ramp before its shift; the diffusers library begins at 1 and keeps a
    /// thousandth away from 0. Not in published files.
    pub ramp: Option<(f64, f64)>,
    /// Level behind the last step.
    pub final_sigmas_type: FinalSigma,
    /// Lowest Karras level (before `sigma / (1 + sigma)`).
    pub sigma_min: Option<f64>,
    /// Highest Karras level (before `sigma / (1 + sigma)`).
    pub sigma_max: Option<f64>,
}

impl Default for UniPcConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000.0,
            solver_order: 2,
            prediction_type: "epsilon".to_owned(),
            solver_type: "bh2".to_owned(),
            lower_order_final: true,
            disable_corrector: Vec::new(),
            use_karras_sigmas: false,
            use_flow_sigmas: false,
            flow_shift: 1.0,
            ramp: None,
            final_sigmas_type: FinalSigma::Zero,
            sigma_min: None,
            sigma_max: None,
        }
    }
}

/// The solver, ready for a number of steps. Steps must be taken in order.
pub struct UniPc {
    config: UniPcConfig,
    sigmas: Vec<f32>,
    timesteps: Vec<i64>,
    /// Clean samples of the latest steps, newest last.
    clean: VecDeque<Tensor>,
    /// The sample that the latest predictor started from.
    start: Option<Tensor>,
    /// Order of the latest predictor.
    order: usize,
}

impl UniPc {
    /// # Errors
    /// A step count or setting that is not supported.
    pub fn new(config: &UniPcConfig, steps: usize) -> Result<Self, SamplerError> {
        check_steps(steps)?;
        let refuse = |setting, value: String, known| Err(SamplerError::Setting { setting, value, known });
        if config.prediction_type != "flow_prediction" {
            return refuse("prediction_type", config.prediction_type.clone(), "flow_prediction");
        }
        if !config.use_flow_sigmas {
            return refuse("use_flow_sigmas", "false".to_owned(), "true");
        }
        if !matches!(config.solver_type.as_str(), "bh1" | "bh2") {
            return refuse("solver_type", config.solver_type.clone(), "bh2");
        }
        if !(1..=3).contains(&config.solver_order) {
            return refuse("solver_order", config.solver_order.to_string(), "2");
        }
        let levels = if config.use_karras_sigmas {
            let (Some(low), Some(high)) = (config.sigma_min, config.sigma_max) else {
                return refuse("sigma_min", "null".to_owned(), "a lowest and a highest Karras level");
            };
            karras_sigmas(low, high, 7.0, steps).into_iter().map(|s| s / (s + 1.0)).collect()
        } else {
            shifted_ramp(config, steps)
        };
        let timesteps = levels.iter().map(|s| (s * config.num_train_timesteps) as i64).collect();
        let sigmas = close(levels.into_iter().map(|s| s as f32).collect(), config.final_sigmas_type);
        let clean = VecDeque::with_capacity(config.solver_order);
        Ok(Self { config: config.clone(), sigmas, timesteps, clean, start: None, order: 0 })
    }

    /// Noise levels in [0, 1]: one per step and the level behind the last.
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// The integer timesteps that Cosmos 3 is told.
    pub fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    fn sigma(&self, step: usize) -> f64 {
        f64::from(self.sigmas.get(step).copied().unwrap_or(0.0))
    }

    /// Half the log signal-to-noise ratio.
    fn lambda(&self, step: usize) -> f64 {
        (1.0 - self.sigma(step)).ln() - self.sigma(step).ln()
    }

    /// The sample after `step`, from the velocity (noise - clean) predicted in it: first the sample at hand is
    /// corrected with the new prediction, then the next one is predicted.
    pub fn step(&mut self, step: usize, velocity: &Tensor, sample: &Tensor) -> CandleResult<Tensor> {
        let clean = (sample - (velocity * self.sigma(step))?)?;
        let start = self.start.take();
        let sample = match start {
            Some(start) if step > 0 && !self.config.disable_corrector.contains(&(step - 1)) => {
                self.correct(step, &start, &clean)?
            }
            _ => sample.clone(),
        };
        if self.clean.len() == self.config.solver_order {
            self.clean.pop_front();
        }
        self.clean.push_back(clean);
        let wanted = if self.config.lower_order_final {
            self.config.solver_order.min(self.timesteps.len().saturating_sub(step).max(1))
        } else {
            self.config.solver_order
        };
        self.order = wanted.min(self.clean.len());
        let next = self.predict(step, &sample)?;
        self.start = Some(sample);
        Ok(next)
    }

    /// UniP: from `step` to `step + 1`.
    fn predict(&self, step: usize, x: &Tensor) -> CandleResult<Tensor> {
        let terms = Terms::new(self, step, step + 1, self.order);
        let newest = self.newest(0)?;
        let base = self.base(step, step + 1, &terms, x, newest)?;
        // Order 2 takes the simplified weight 1/2, as the authors' code does.
        let weights = match self.order {
            1 => Vec::new(),
            2 => vec![0.5],
            order => solve(&terms.rows(order - 1), &terms.right(order - 1)),
        };
        match self.differences(&terms, &weights)? {
            None => Ok(base),
            Some(sum) => base - (sum * ((1.0 - self.sigma(step + 1)) * terms.b_h))?,
        }
    }

    /// UniC: the sample of `step` again, from the one before and the prediction made here.
    fn correct(&self, step: usize, x: &Tensor, clean_here: &Tensor) -> CandleResult<Tensor> {
        let terms = Terms::new(self, step - 1, step, self.order);
        let newest = self.newest(0)?;
        let base = self.base(step - 1, step, &terms, x, newest)?;
        let weights = match self.order {
            1 => vec![0.5],
            order => solve(&terms.rows(order), &terms.right(order)),
        };
        let (last, older) = match weights.split_last() {
            Some((last, older)) => (*last, older),
            None => (0.0, [].as_slice()),
        };
        let here = ((clean_here - newest)? * last)?;
        let sum = match self.differences(&terms, older)? {
            None => here,
            Some(sum) => (sum + here)?,
        };
        base - (sum * ((1.0 - self.sigma(step)) * terms.b_h))?
    }

    /// `sigma_t / sigma_s x - alpha_t (e^{-h} - 1) m`.
    fn base(
        &self,
        from: usize,
        to: usize,
        terms: &Terms,
        x: &Tensor,
        newest: &Tensor,
    ) -> CandleResult<Tensor> {
        let left = (x * (self.sigma(to) / self.sigma(from)))?;
        left - (newest * ((1.0 - self.sigma(to)) * terms.h_phi_1))?
    }

    /// Weighted sum of the divided differences to older clean samples.
    fn differences(&self, terms: &Terms, weights: &[f64]) -> CandleResult<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        for (i, (weight, ratio)) in weights.iter().zip(&terms.ratios).enumerate() {
            let term = ((self.newest(i + 1)? - self.newest(0)?)? * (weight / ratio))?;
            sum = Some(match sum {
                None => term,
                Some(before) => (before + term)?,
            });
        }
        Ok(sum)
    }

    /// The clean sample of `back` steps ago.
    fn newest(&self, back: usize) -> CandleResult<&Tensor> {
        let place = self.clean.len().checked_sub(back + 1);
        place.and_then(|i| self.clean.get(i)).ok_or_else(|| {
            candle_core::Error::Msg("UniPC steps must be taken in order from step 0".to_owned())
        })
    }
}

/// What predictor and corrector share: the step h in lambda and its phi functions.
struct Terms {
    /// Places of the older points in units of h (negative).
    ratios: Vec<f64>,
    /// `-h`.
    hh: f64,
    /// `e^{-h} - 1`.
    h_phi_1: f64,
    /// B(h).
    b_h: f64,
}

impl Terms {
    fn new(solver: &UniPc, from: usize, to: usize, order: usize) -> Self {
        let h = solver.lambda(to) - solver.lambda(from);
        let ratios =
            (1..order).map(|i| (solver.lambda(from.saturating_sub(i)) - solver.lambda(from)) / h).collect();
        let h_phi_1 = (-h).exp_m1();
        let b_h = if solver.config.solver_type == "bh1" { -h } else { h_phi_1 };
        Self { ratios, hh: -h, h_phi_1, b_h }
    }

    /// The matrix R: powers of the older points and of 1.
    fn rows(&self, count: usize) -> Vec<Vec<f64>> {
        let points: Vec<f64> = self.ratios.iter().copied().chain([1.0]).take(count).collect();
        (0..count).map(|power| points.iter().map(|p| p.powi(power as i32)).collect()).collect()
    }

    /// The right side b.
    fn right(&self, count: usize) -> Vec<f64> {
        let (mut phi, mut factorial) = (self.h_phi_1 / self.hh - 1.0, 1.0);
        (1..=count)
            .map(|i| {
                let value = phi * factorial / self.b_h;
                factorial *= (i + 1) as f64;
                phi = phi / self.hh - 1.0 / factorial;
                value
            })
            .collect()
    }
}

/// Levels evenly spaced in [1, 1/1000], then shifted.
fn shifted_ramp(config: &UniPcConfig, steps: usize) -> Vec<f64> {
    // Computed in the reference's order: the timesteps cut from these levels must be equal integers.
    let (high, low) = config.ramp.unwrap_or((1.0, 1.0 / config.num_train_timesteps));
    let stride = (low - high) / steps as f64;
    let mut levels: Vec<f64> = (0..steps)
        .map(|i| i as f64 * stride + high)
        .map(|s| config.flow_shift * s / (1.0 + (config.flow_shift - 1.0) * s))
        .collect();
    // At exactly 1 the log of the signal part would be infinite.
    if let Some(first) = levels.first_mut().filter(|s| (**s - 1.0).abs() < 1e-6) {
        *first -= 1e-6;
    }
    levels
}

/// Solves the small system `rows · x = right` by Gauss elimination with row exchange.
fn solve(rows: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut system: Vec<Vec<f64>> =
        rows.iter().zip(right).map(|(row, b)| row.iter().copied().chain([*b]).collect()).collect();
    for column in 0..n {
        let best = (column..n).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()));
        system.swap(column, best.unwrap_or(column));
        for row in column + 1..n {
            let factor = system[row][column] / system[column][column];
            for k in column..=n {
                let above = system[column][k];
                system[row][k] -= factor * above;
            }
        }
    }
    let mut x = vec![0.0; n];
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|k| system[row][k] * x[k]).sum();
        x[row] = (system[row][n] - known) / system[row][row];
    }
    x
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn small_systems_are_solved_even_with_a_zero_pivot() {
        let x = solve(&[vec![0.0, 2.0, 1.0], vec![1.0, 1.0, 0.0], vec![3.0, 0.0, 1.0]], &[7.0, 3.0, 6.0]);
        for (got, want) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-12, "{x:?}");
        }
    }

    /// For a fixed clean sample the exact path is a straight line, and every order must follow it exactly.
    #[test]
    fn a_constant_clean_sample_is_reached_on_a_straight_line() {
        for order in 1..=3 {
            let config = UniPcConfig {
                prediction_type: "flow_prediction".to_owned(),
                use_flow_sigmas: true,
                flow_shift: 3.0,
                solver_order: order,
                ..Default::default()
            };
            let mut solver = UniPc::new(&config, 8).unwrap();
            let clean = Tensor::new(&[0.5f32, -2.0, 3.0], &Device::Cpu).unwrap();
            let noise = Tensor::new(&[1.5f32, 0.25, -1.0], &Device::Cpu).unwrap();
            let velocity = (&noise - &clean).unwrap();
            let at = |sigma: f64| ((&clean * (1.0 - sigma)).unwrap() + (&noise * sigma).unwrap()).unwrap();
            let mut sample = at(f64::from(solver.sigmas()[0]));
            for step in 0..8 {
                sample = solver.step(step, &velocity, &sample).unwrap();
                let exact = at(f64::from(solver.sigmas()[step + 1]));
                let error =
                    (&sample - exact).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(error < 1e-5, "order {order} step {step}: {error}");
            }
        }
    }

    #[test]
    fn settings_that_are_not_known_are_refused_by_name() {
        let message = UniPc::new(&UniPcConfig::default(), 4).err().unwrap().to_string();
        assert!(message.contains("prediction_type"), "{message}");
    }
}
