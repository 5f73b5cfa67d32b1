//! One optimiser step over all variables: Muon for the matrices inside the blocks, AdamW for the rest, clipping,
//! and an exponential moving average of the weights.

use std::collections::HashMap;
use std::iter::Zip;
use std::slice::{Iter, IterMut};
use std::sync::Mutex;

use candle_core::{Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::kernels::muon::orthogonalise;
use crate::kernels::optim::{AdamW, adamw_step, ema_step, sum_squares};
use crate::kernels::{precision, threads};
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

/// One step's numbers, and the variables that still wait for it.
struct Update<'a> {
    settings: &'a Settings,
    scale: f32,
    rate: f32,
    ema: f32,
    iteration: u64,
    work: Mutex<Zip<IterMut<'a, Slot>, Iter<'a, Vec<f32>>>>,
}

impl Update<'_> {
    /// Takes variables until none is left.
    fn run(&self) -> Result<()> {
        threads::with(1, || {
            loop {
                let next = self.work.lock().unwrap_or_else(|e| e.into_inner()).next();
                match next {
                    Some((slot, gradient)) => self.apply(slot, gradient)?,
                    None => return Ok(()),
                }
            }
        })
    }

    fn apply(&self, slot: &mut Slot, gradient: &[f32]) -> Result<()> {
        let s = self.settings;
        let mut gradient = gradient.to_vec();
        gradient.iter_mut().for_each(|g| *g *= self.scale);
        if slot.muon {
            let [rows, cols] = slot.shape.as_slice() else { candle_core::bail!("Muon takes matrices") };
            for (m, g) in slot.first.iter_mut().zip(&mut gradient) {
                *m = s.momentum * *m + *g;
                // Nesterov: look one step ahead.
                *g += s.momentum * *m;
            }
            orthogonalise(&mut gradient, *rows, *cols);
            // Liu et al. 2025 (<https://arxiv.org/abs/2502.16982>): an update of the size that AdamW's would have.
            let size = self.rate * 0.2 * ((*rows).max(*cols) as f32).sqrt();
            let keep = 1.0 - self.rate * s.weight_decay;
            for (p, u) in slot.value.iter_mut().zip(&gradient) {
                *p = *p * keep - size * u;
            }
        } else {
            let settings = AdamW {
                lr: self.rate,
                beta1: s.beta1,
                beta2: s.beta2,
                eps: 1e-8,
                weight_decay: if slot.decays { s.weight_decay } else { 0.0 },
            };
            adamw_step(
                &mut slot.value,
                &gradient,
                &mut slot.first,
                &mut slot.second,
                settings,
                self.iteration,
            );
        }
        ema_step(&mut slot.average, &slot.value, self.ema);
        slot.var.set(&Tensor::from_slice(&slot.value, slot.shape.as_slice(), slot.var.device())?)
    }
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
        let norm = gradients.iter().map(|g| sum_squares(g)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.iteration += 1;
        let s = &self.settings;
        let scale = (f64::from(s.clip) / norm.max(1e-12)).min(1.0) as f32;
        let rate = s.learning_rate * factor;
        let ema = s.ema.min((1.0 + self.iteration as f32) / (10.0 + self.iteration as f32));
        let update = Update {
            settings: &self.settings,
            scale,
            rate,
            ema,
            iteration: self.iteration,
            work: Mutex::new(self.slots.iter_mut().zip(gradients)),
        };
        // Variables are independent of each other: whoever is free takes the next one, the numbers stay the same.
        let workers = threads::current().max(1);
        // A wish for bf16 products belongs to a thread; Muon is happy with them.
        let wanted = precision::current();
        let update = &update;
        std::thread::scope(|scope| {
            let work = move || precision::with(wanted, || update.run());
            let handles: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let own = update.run();
            handles.into_iter().fold(own, |result, handle| {
                let other = handle
                    .join()
                    .unwrap_or_else(|_| Err(candle_core::Error::Msg("an optimiser thread panicked".into())));
                result.and(other)
            })
        })?;
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
        let settings = Settings { learning_rate: 0.05, weight_decay: 0.0, ..Settings::default() };
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
