//! One optimiser step over all variables: Muon for the matrices inside the blocks, AdamW for the rest, clipping,
//! and an exponential moving average of the weights.
//!
//! Variables on the processor are served by kernels, on all threads; variables on a graphics card by tensor operations
//! there ([`super::on_device`]). Checkpoints are the same, and a run may go on on another device.

use std::collections::HashMap;
use std::iter::Zip;
use std::slice::{Iter, IterMut};
use std::sync::Mutex;

use candle_core::{Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::kernels::muon::orthogonalise;
use crate::kernels::optim::{AdamW, adamw_step, ema_step, sum_squares};
use crate::kernels::{precision, threads};
use crate::nn::{Params, path};

use super::gradients::Gradients;
use super::on_device::{self, Moments};

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

/// A variable that the processor's kernels serve: its numbers twice, so that a step needs no copy.
struct HostSlot {
    about: About,
    value: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
}

/// A variable on a graphics card.
struct DeviceSlot {
    about: About,
    moments: Moments,
}

/// Which variable, and how it is served.
struct About {
    name: String,
    var: Var,
    shape: Vec<usize>,
    muon: bool,
    decays: bool,
}

impl About {
    fn new(name: &str, var: &Var, settings: &Settings) -> Self {
        let shape = var.dims().to_vec();
        let matrix = shape.len() == 2 && shape.iter().all(|side| *side > 8);
        Self {
            name: name.to_owned(),
            var: var.clone(),
            // The adaptive norms are not maps between like spaces: AdamW serves them better, and Muon would cost most there.
            muon: settings.muon && matrix && name.contains("blocks.") && !name.contains("modulation"),
            decays: matrix && name.ends_with("weight"),
            shape,
        }
    }

    /// Muon's step size and what it leaves of the weights, of an update as large as AdamW's would be
    /// (Liu et al. 2025, <https://arxiv.org/abs/2502.16982>).
    fn muon_rate(&self, rate: f32, settings: &Settings) -> (f32, f32) {
        let longest = self.shape.iter().copied().max().unwrap_or(1);
        (rate * 0.2 * (longest as f32).sqrt(), 1.0 - rate * settings.weight_decay)
    }

    fn adamw(&self, rate: f32, settings: &Settings) -> AdamW {
        AdamW {
            lr: rate,
            beta1: settings.beta1,
            beta2: settings.beta2,
            eps: 1e-8,
            weight_decay: if self.decays { settings.weight_decay } else { 0.0 },
        }
    }
}

/// All variables: they live on one device.
enum Slots {
    Host(Vec<HostSlot>),
    Device(Vec<DeviceSlot>),
}

/// One step's numbers, and the variables that still wait for it.
struct Update<'a> {
    settings: &'a Settings,
    scale: f32,
    rate: f32,
    ema: f32,
    iteration: u64,
    work: Mutex<Zip<IterMut<'a, HostSlot>, Iter<'a, Vec<f32>>>>,
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

    fn apply(&self, slot: &mut HostSlot, gradient: &[f32]) -> Result<()> {
        let s = self.settings;
        let mut gradient = gradient.to_vec();
        gradient.iter_mut().for_each(|g| *g *= self.scale);
        let about = &slot.about;
        if about.muon {
            let [rows, cols] = about.shape.as_slice() else { candle_core::bail!("Muon takes matrices") };
            for (m, g) in slot.first.iter_mut().zip(&mut gradient) {
                *m = s.momentum * *m + *g;
                // Nesterov: look one step ahead.
                *g += s.momentum * *m;
            }
            orthogonalise(&mut gradient, *rows, *cols);
            let (size, keep) = about.muon_rate(self.rate, s);
            for (p, u) in slot.value.iter_mut().zip(&gradient) {
                *p = *p * keep - size * u;
            }
        } else {
            adamw_step(
                &mut slot.value,
                &gradient,
                &mut slot.first,
                &mut slot.second,
                about.adamw(self.rate, s),
                self.iteration,
            );
        }
        ema_step(&mut slot.average, &slot.value, self.ema);
        about.var.set(&Tensor::from_slice(&slot.value, about.shape.as_slice(), about.var.device())?)
    }
}

/// Optimiser state for all trainable parameters, in the order of their names.
pub struct Stepper {
    settings: Settings,
    slots: Slots,
    /// Number of steps done.
    pub iteration: u64,
}

impl Stepper {
    /// Fresh state for the store's variables.
    ///
    /// # Errors
    /// When a variable cannot be read.
    pub fn new(params: &Params, settings: Settings) -> Result<Self> {
        let all = params.trainable().map(|(name, var)| About::new(name, var, &settings));
        let slots = if path::has_kernels(params.device()) {
            let slot = |about: About| {
                let value: Vec<f32> = about.var.flatten_all()?.to_vec1()?;
                Ok(HostSlot {
                    first: vec![0.0; value.len()],
                    second: if about.muon { Vec::new() } else { vec![0.0; value.len()] },
                    average: value.clone(),
                    value,
                    about,
                })
            };
            Slots::Host(all.map(slot).collect::<Result<_>>()?)
        } else {
            let slot =
                |about: About| Ok(DeviceSlot { moments: Moments::new(&about.var, about.muon)?, about });
            Slots::Device(all.map(slot).collect::<Result<_>>()?)
        };
        Ok(Self { settings, slots, iteration: 0 })
    }

    fn abouts(&self) -> Vec<&About> {
        match &self.slots {
            Slots::Host(slots) => slots.iter().map(|slot| &slot.about).collect(),
            Slots::Device(slots) => slots.iter().map(|slot| &slot.about).collect(),
        }
    }

    /// The variables, in the order in which [`Stepper::step`] takes their gradients.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.abouts().into_iter().map(|about| (about.name.as_str(), &about.var))
    }

    /// Applies the gradients (one a variable, in order) with `factor` on the learning rate, and returns their global
    /// norm before clipping. Gradients that are not finite leave everything as it was.
    ///
    /// # Errors
    /// When lengths do not fit or a variable cannot be written.
    pub fn step(&mut self, gradients: &Gradients, factor: f32) -> Result<f64> {
        let fits = match (&self.slots, gradients) {
            (Slots::Host(slots), Gradients::Host(all)) => {
                all.len() == slots.len() && all.iter().zip(slots).all(|(g, slot)| g.len() == slot.value.len())
            }
            (Slots::Device(slots), Gradients::Device(all)) => {
                all.len() == slots.len()
                    && all.iter().zip(slots).all(|(g, slot)| g.dims() == slot.about.shape.as_slice())
            }
            _ => false,
        };
        if !fits {
            candle_core::bail!("gradients do not fit the variables");
        }
        let norm = match gradients {
            Gradients::Host(all) => all.iter().map(|g| sum_squares(g)).sum::<f64>().sqrt(),
            Gradients::Device(all) => on_device::norm(all)?,
        };
        if !norm.is_finite() {
            return Ok(norm);
        }
        self.iteration += 1;
        let s = &self.settings;
        let scale = (f64::from(s.clip) / norm.max(1e-12)).min(1.0) as f32;
        let rate = s.learning_rate * factor;
        let ema = s.ema.min((1.0 + self.iteration as f32) / (10.0 + self.iteration as f32));
        match (&mut self.slots, gradients) {
            (Slots::Host(slots), Gradients::Host(all)) => {
                path::check_kernel("the optimiser of the processor")?;
                on_threads(Update {
                    settings: s,
                    scale,
                    rate,
                    ema,
                    iteration: self.iteration,
                    work: Mutex::new(slots.iter_mut().zip(all)),
                })?;
            }
            (Slots::Device(slots), Gradients::Device(all)) => {
                for (DeviceSlot { about, moments }, gradient) in slots.iter_mut().zip(all) {
                    let gradient = gradient.affine(f64::from(scale), 0.0)?;
                    if about.muon {
                        let (size, keep) = about.muon_rate(rate, s);
                        on_device::muon(&about.var, &gradient, moments, (s.momentum, keep, size))?;
                    } else {
                        let settings = about.adamw(rate, s);
                        on_device::adamw(&about.var, &gradient, moments, settings, self.iteration)?;
                    }
                    on_device::average(&about.var, moments, ema)?;
                }
            }
            _ => candle_core::bail!("gradients do not fit the variables"),
        }
        Ok(norm)
    }

    /// The averaged weights by name, on the CPU.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn averages(&self) -> Result<Vec<(String, Tensor)>> {
        let named = |about: &About, average: &[f32]| {
            let tensor = Tensor::from_slice(average, about.shape.as_slice(), &Device::Cpu)?;
            Ok((about.name.clone(), tensor))
        };
        match &self.slots {
            Slots::Host(slots) => slots.iter().map(|slot| named(&slot.about, &slot.average)).collect(),
            Slots::Device(slots) => slots
                .iter()
                .map(|slot| named(&slot.about, &on_device::numbers(&slot.moments.average)?))
                .collect(),
        }
    }

    /// Everything that a later run needs to go on as if nothing had happened.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut tensors = Vec::new();
        let mut add = |about: &About, part: &str, values: &[f32]| -> Result<()> {
            if !values.is_empty() {
                let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
                tensors.push((format!("{}/{part}", about.name), tensor));
            }
            Ok(())
        };
        match &self.slots {
            Slots::Host(slots) => {
                for HostSlot { about, value, first, second, average } in slots {
                    for (part, values) in PARTS.iter().zip([value, first, second, average]) {
                        add(about, part, values)?;
                    }
                }
            }
            Slots::Device(slots) => {
                for DeviceSlot { about, moments } in slots {
                    let parts = [
                        Some(about.var.as_tensor()),
                        Some(&moments.first),
                        moments.second.as_ref(),
                        Some(&moments.average),
                    ];
                    for (part, tensor) in PARTS.iter().zip(parts) {
                        if let Some(tensor) = tensor {
                            add(about, part, &on_device::numbers(tensor)?)?;
                        }
                    }
                }
            }
        }
        Ok(tensors)
    }

    /// Takes back what [`Stepper::state`] gave, whatever device gave it.
    ///
    /// # Errors
    /// When a part is missing or has another length.
    pub fn restore(&mut self, iteration: u64, state: &HashMap<String, Tensor>) -> Result<()> {
        let stored = |about: &About, part: &str| -> Result<Vec<f32>> {
            if about.var.elem_count() == 0 {
                return Ok(Vec::new());
            }
            let key = format!("{}/{part}", about.name);
            let Some(tensor) = state.get(&key) else {
                candle_core::bail!("the checkpoint has no `{key}`; start the run anew");
            };
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            if values.len() != about.var.elem_count() {
                candle_core::bail!("`{key}` of the checkpoint has another size; start the run anew");
            }
            Ok(values)
        };
        let [value_part, first_part, second_part, average_part] = PARTS;
        match &mut self.slots {
            Slots::Host(slots) => {
                for HostSlot { about, value, first, second, average } in slots {
                    *value = stored(about, value_part)?;
                    *first = stored(about, first_part)?;
                    if !about.muon {
                        *second = stored(about, second_part)?;
                    }
                    *average = stored(about, average_part)?;
                    let shape = about.shape.as_slice();
                    about.var.set(&Tensor::from_slice(value, shape, about.var.device())?)?;
                }
            }
            Slots::Device(slots) => {
                for DeviceSlot { about, moments } in slots {
                    let tensor = |part: &str| {
                        let values = stored(about, part)?;
                        Tensor::from_vec(values, about.shape.as_slice(), about.var.device())
                    };
                    moments.first = tensor(first_part)?;
                    moments.second = if about.muon { None } else { Some(tensor(second_part)?) };
                    moments.average = tensor(average_part)?;
                    about.var.set(&tensor(value_part)?)?;
                }
            }
        }
        self.iteration = iteration;
        Ok(())
    }
}

/// What a checkpoint keeps of each variable; Muon has no second moment.
const PARTS: [&str; 4] = ["value", "first", "second", "average"];

/// Serves all variables on as many threads as the caller may use.
fn on_threads(update: Update<'_>) -> Result<()> {
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
    })
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
            stepper.step(&gradients.into(), 1.0).unwrap();
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
            straight.step(&bowl(&a, &goal).1.into(), 1.0).unwrap();
        }
        let b = make();
        let mut first = Stepper::new(&b, Settings::default()).unwrap();
        for _ in 0..3 {
            first.step(&bowl(&b, &goal).1.into(), 1.0).unwrap();
        }
        let state: HashMap<_, _> = first.state().unwrap().into_iter().collect();
        let c = make();
        let mut second = Stepper::new(&c, Settings::default()).unwrap();
        second.restore(first.iteration, &state).unwrap();
        for _ in 0..3 {
            second.step(&bowl(&c, &goal).1.into(), 1.0).unwrap();
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
        let norm = stepper.step(&vec![vec![f32::NAN, 0.0, 0.0, 0.0]].into(), 1.0).unwrap();
        assert!(norm.is_nan());
        assert_eq!(stepper.iteration, 0);
        assert_eq!(params.get("w").unwrap().to_vec1::<f32>().unwrap(), [1.0; 4]);
    }
}
