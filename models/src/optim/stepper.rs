//! One optimiser step over all variables: Muon for the matrices inside the blocks, AdamW for the rest, clipping,
//! and an exponential moving average of the weights.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::muon::orthogonalise;
use crate::nn::Params;

/// Numbers of the optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Learning rate of the plateau, for AdamW and (by its scaling) for Muon.
    pub learning_rate: f32,
    /// Whether matrices inside blocks use Muon; AdamW for everything otherwise.
    pub muon: bool,
    /// Decay of AdamW's first moment.
    pub beta1: f32,
    /// Decay of AdamW's second moment.
    pub beta2: f32,
    /// Momentum of Muon.
    pub momentum: f32,
    /// Decoupled weight decay of matrices.
    pub weight_decay: f32,
    /// Largest global gradient norm; larger ones are scaled down.
    pub clip: f32,
    /// Decay of the moving average of the weights (reached gradually from the start of a run).
    pub ema: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            muon: true,
            beta1: 0.9,
            beta2: 0.95,
            momentum: 0.95,
            weight_decay: 0.01,
            clip: 1.0,
            ema: 0.998,
        }
    }
}

struct Slot {
    name: String,
    var: Var,
    shape: Vec<usize>,
    muon: bool,
    decays: bool,
    value: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
}

/// Optimiser state for all trainable parameters, in the order of their names.
pub struct Stepper {
    settings: Settings,
    slots: Vec<Slot>,
    /// Number of steps done.
    pub iteration: u64,
}

impl Stepper {
    /// Fresh state for the store's variables.
    ///
    /// # Errors
    /// When a variable cannot be read.
    pub fn new(params: &Params, settings: Settings) -> Result<Self> {
        let mut slots = Vec::new();
        for (name, var) in params.trainable() {
            let value: Vec<f32> = var.flatten_all()?.to_vec1()?;
            let shape = var.dims().to_vec();
            let matrix = shape.len() == 2 && shape.iter().all(|side| *side > 8);
            // The adaptive norms are not maps between like spaces: AdamW serves them better, and Muon would cost most there.
            let muon = settings.muon && matrix && name.contains("blocks.") && !name.contains("modulation");
            slots.push(Slot {
                name: name.to_owned(),
                var: var.clone(),
                muon,
                decays: matrix && name.ends_with("weight"),
                first: vec![0.0; value.len()],
                second: if muon { Vec::new() } else { vec![0.0; value.len()] },
                average: value.clone(),
                value,
                shape,
            });
        }
        Ok(Self { settings, slots, iteration: 0 })
    }

    /// The variables, in the order in which [`Stepper::step`] takes their gradients.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.var))
    }

    /// Applies the gradients (one vector a variable, in order) with `factor` on the learning rate, and returns
    /// their global norm before clipping. Gradients that are not finite leave everything as it was.
    ///
    /// # Errors
    /// When lengths do not fit or a variable cannot be written.
    pub fn step(&mut self, gradients: &[Vec<f32>], factor: f32) -> Result<f64> {
        if gradients.len() != self.slots.len()
            || gradients.iter().zip(&self.slots).any(|(g, slot)| g.len() != slot.value.len())
        {
            candle_core::bail!("gradients do not fit the variables");
        }
        let norm = gradients
            .iter()
            .map(|g| g.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>())
            .sum::<f64>()
            .sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.iteration += 1;
        let s = &self.settings;
        let scale = (f64::from(s.clip) / norm.max(1e-12)).min(1.0) as f32;
        let rate = s.learning_rate * factor;
        let correct1 = 1.0 - s.beta1.powi(self.iteration.min(1_000_000) as i32);
        let correct2 = 1.0 - s.beta2.powi(self.iteration.min(1_000_000) as i32);
        let ema = s.ema.min((1.0 + self.iteration as f32) / (10.0 + self.iteration as f32));
        for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
            let decay = if slot.decays { 1.0 - rate * s.weight_decay } else { 1.0 };
            if slot.muon {
                let (rows, cols) = match slot.shape.as_slice() {
                    [rows, cols] => (*rows, *cols),
                    _ => candle_core::bail!("Muon takes matrices"),
                };
                let mut ahead = vec![0.0; gradient.len()];
                for ((m, g), a) in slot.first.iter_mut().zip(gradient).zip(&mut ahead) {
                    let g = g * scale;
                    *m = s.momentum * *m + g;
                    *a = g + s.momentum * *m;
                }
                let update = orthogonalise(&ahead, rows, cols)?;
                let size = rate * 0.2 * (rows.max(cols) as f32).sqrt();
                for (p, u) in slot.value.iter_mut().zip(update) {
                    *p = *p * decay - size * u;
                }
            } else {
                let moments = slot.first.iter_mut().zip(&mut slot.second);
                for ((p, g), (m, v)) in slot.value.iter_mut().zip(gradient).zip(moments) {
                    let g = g * scale;
                    *m = s.beta1 * *m + (1.0 - s.beta1) * g;
                    *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
                    let step = (*m / correct1) / ((*v / correct2).sqrt() + 1e-8);
                    *p = *p * decay - rate * step;
                }
            }
            for (a, p) in slot.average.iter_mut().zip(&slot.value) {
                *a = ema * *a + (1.0 - ema) * *p;
            }
            slot.var.set(&Tensor::from_slice(&slot.value, slot.shape.as_slice(), slot.var.device())?)?;
        }
        Ok(norm)
    }

    /// The averaged weights by name, on the CPU.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn averages(&self) -> Result<Vec<(String, Tensor)>> {
        self.slots
            .iter()
            .map(|slot| {
                let tensor = Tensor::from_slice(&slot.average, slot.shape.as_slice(), &Device::Cpu)?;
                Ok((slot.name.clone(), tensor))
            })
            .collect()
    }

    /// Everything that a later run needs to go on as if nothing had happened.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        for slot in &self.slots {
            let parts: [(&str, &[f32]); 4] = [
                ("value", &slot.value),
                ("first", &slot.first),
                ("second", &slot.second),
                ("average", &slot.average),
            ];
            for (part, values) in parts {
                if !values.is_empty() {
                    let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
                    tensors.push((format!("{}/{part}", slot.name), tensor));
                }
            }
        }
        Ok(tensors)
    }

    /// Takes back what [`Stepper::state`] gave.
    ///
    /// # Errors
    /// When a part is missing or has another length.
    pub fn restore(&mut self, iteration: u64, state: &HashMap<String, Tensor>) -> Result<()> {
        for slot in &mut self.slots {
            let name = slot.name.clone();
            let parts: [(&str, &mut Vec<f32>); 4] = [
                ("value", &mut slot.value),
                ("first", &mut slot.first),
                ("second", &mut slot.second),
                ("average", &mut slot.average),
            ];
            for (part, values) in parts {
                if values.is_empty() {
                    continue;
                }
                let key = format!("{name}/{part}");
                let Some(tensor) = state.get(&key) else {
                    candle_core::bail!("the checkpoint has no `{key}`; start the run anew");
                };
                let stored: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
                if stored.len() != values.len() {
                    candle_core::bail!("`{key}` of the checkpoint has another size; start the run anew");
                }
                *values = stored;
            }
            slot.var.set(&Tensor::from_slice(&slot.value, slot.shape.as_slice(), slot.var.device())?)?;
        }
        self.iteration = iteration;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::nn::Init;

    /// Distance of a 16x16 linear map to its goal, and its gradient.
    fn bowl(params: &Params, goal: &[f32]) -> (f32, Vec<Vec<f32>>) {
        let mut sum = 0.0;
        let mut gradients = Vec::new();
        for (_, var) in params.trainable() {
            let value: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
            let gradient: Vec<f32> = value.iter().zip(goal).map(|(v, g)| v - g).collect();
            sum += gradient.iter().map(|g| g * g).sum::<f32>();
            gradients.push(gradient);
        }
        (sum, gradients)
    }

    fn run(settings: Settings, name: &str) -> (f32, f32) {
        let mut params = Params::new(5, &Device::Cpu);
        params.tensor(name, (16, 16), Init::Normal(1.0)).unwrap();
        let goal: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut stepper = Stepper::new(&params, settings).unwrap();
        let (before, _) = bowl(&params, &goal);
        for _ in 0..300 {
            let (_, gradients) = bowl(&params, &goal);
            stepper.step(&gradients, 1.0).unwrap();
        }
        (before, bowl(&params, &goal).0)
    }

    #[test]
    fn both_optimisers_go_downhill() {
        let settings = Settings { learning_rate: 0.02, weight_decay: 0.0, ..Settings::default() };
        for name in ["blocks.0.w.weight", "other.weight"] {
            let (before, after) = run(settings.clone(), name);
            assert!(after < before * 0.05, "{name}: {before} -> {after}");
        }
    }

    #[test]
    fn a_restored_state_goes_on_exactly() {
        let make = || {
            let mut params = Params::new(5, &Device::Cpu);
            params.tensor("blocks.0.w.weight", (16, 16), Init::Normal(1.0)).unwrap();
            params.tensor("other.bias", 16, Init::Normal(1.0)).unwrap();
            params
        };
        let goal: Vec<f32> = (0..256).map(|i| (i as f32 * 0.1).cos()).collect();
        let a = make();
        let mut straight = Stepper::new(&a, Settings::default()).unwrap();
        for _ in 0..6 {
            straight.step(&bowl(&a, &goal).1, 1.0).unwrap();
        }
        let b = make();
        let mut first = Stepper::new(&b, Settings::default()).unwrap();
        for _ in 0..3 {
            first.step(&bowl(&b, &goal).1, 1.0).unwrap();
        }
        let state: HashMap<_, _> = first.state().unwrap().into_iter().collect();
        let c = make();
        let mut second = Stepper::new(&c, Settings::default()).unwrap();
        second.restore(first.iteration, &state).unwrap();
        for _ in 0..3 {
            second.step(&bowl(&c, &goal).1, 1.0).unwrap();
        }
        let numbers = |stepper: &Stepper| -> Vec<f32> {
            stepper.state().unwrap().iter().flat_map(|(_, t)| t.to_vec1::<f32>().unwrap()).collect()
        };
        assert_eq!(numbers(&straight), numbers(&second));
    }

    #[test]
    fn gradients_that_are_not_numbers_change_nothing() {
        let mut params = Params::new(5, &Device::Cpu);
        params.tensor("w", 4, Init::Ones).unwrap();
        let mut stepper = Stepper::new(&params, Settings::default()).unwrap();
        let norm = stepper.step(&[vec![f32::NAN, 0.0, 0.0, 0.0]], 1.0).unwrap();
        assert!(norm.is_nan());
        assert_eq!(stepper.iteration, 0);
        assert_eq!(params.get("w").unwrap().to_vec1::<f32>().unwrap(), [1.0; 4]);
    }
}
