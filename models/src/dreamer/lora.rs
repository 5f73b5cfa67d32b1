//! Low-rank adaptation (Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): a matrix `W [n, k]` stays as it is and
//! learns `scale * B A` with `A [r, k]`, `B [n, r]`. `B` starts at zero, so a fresh adapter changes nothing.
//!
//! What is tied to a body (channels in and out, embodiments) is small and trained as a whole: a low-rank change of
//! inputs that have just been drawn at random would not do.

use candle_core::{Device, Result};
use serde::{Deserialize, Serialize};

use super::adapt::Weights;
use super::config::Config;
use super::network::Network;
use crate::nn::{Init, Params};

/// Which matrices get an adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoraTargets {
    /// Queries, keys, values and outputs of all attentions.
    Attention,
    /// Those, the feed-forwards, the refiner, and the patches in and out: needed where pictures look different.
    #[default]
    All,
}

impl LoraTargets {
    fn takes(self, name: &str) -> bool {
        let ends = |list: &[&str]| list.iter().any(|end| name.ends_with(end));
        let attention = name.starts_with("blocks.")
            && ends(&["space.qkv.weight", "space.out.weight", "time.qkv.weight", "time.out.weight"]);
        let rest = name.starts_with("blocks.") && ends(&["feed_in.weight", "feed_out.weight"])
            || name.starts_with("refiner.") && ends(&[".weight"])
            || matches!(name, "patch_in.weight" | "patch_out.weight");
        attention || self == Self::All && rest
    }
}

/// Parameters that are trained as they are.
const WHOLE: [&str; 8] =
    ["action.", "action_token.", "relative.", "relative_head.", "state.", "head.", "embodiment", "motion."];

/// A frozen network with adapters.
pub struct Lora {
    config: Config,
    frozen: Weights,
    trained: Params,
    targets: Vec<String>,
    scale: f64,
}

impl Lora {
    /// Adapters of rank `rank` (1 or more) for a network with these weights, all on `device`; `seed` decides how `A`
    /// starts.
    ///
    /// # Errors
    /// A rank of zero, weights that do not fit the configuration, device errors.
    pub fn new(
        config: &Config,
        weights: &Weights,
        rank: usize,
        targets: LoraTargets,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        if rank == 0 {
            candle_core::bail!("an adapter has a rank of 1 or more");
        }
        let mut trained = Params::new(seed, device);
        let mut frozen = Weights::new();
        let mut names = Vec::new();
        for (name, tensor) in weights {
            let tensor =
                tensor.detach().to_device(device)?.to_dtype(candle_core::DType::F32)?.contiguous()?;
            if WHOLE.iter().any(|prefix| name.starts_with(prefix)) {
                trained.insert(name, tensor)?;
                continue;
            }
            if let (true, [n, k]) = (targets.takes(name), tensor.dims()) {
                let rank = rank.min(*n).min(*k);
                trained.tensor(&format!("{name}.lora_a"), (rank, *k), Init::fan_in(*k))?;
                trained.tensor(&format!("{name}.lora_b"), (*n, rank), Init::Zeros)?;
                names.push(name.clone());
            }
            frozen.insert(name.clone(), tensor);
        }
        // A factor of two keeps the step of the first iterations about that of full training.
        let lora = Self { config: config.clone(), frozen, trained, targets: names, scale: 2.0 };
        lora.network()?;
        Ok(lora)
    }

    /// What is trained: for the optimiser.
    pub fn params(&self) -> &Params {
        &self.trained
    }

    /// The network with its adapters, as a graph that reaches them. Made for every pass: the sums change with them.
    ///
    /// # Errors
    /// Device errors.
    pub fn network(&self) -> Result<Network> {
        let trained: Weights = self.trained.iter().map(|(name, t)| (name.to_owned(), t.clone())).collect();
        let device = self.trained.device().clone();
        let mut params = Params::frozen(&device);
        for (name, tensor) in self.sum(&trained)? {
            params.insert(&name, tensor)?;
        }
        Network::new(&self.config, &mut params, &device)
    }

    /// An ordinary model's weights on the CPU: adapters with these values (of the optimiser's average, say) merged in.
    ///
    /// # Errors
    /// Values that are missing, device errors.
    pub fn merged(&self, values: &Weights) -> Result<Weights> {
        let device = self.trained.device();
        let values = values.iter().map(|(name, tensor)| Ok((name.clone(), tensor.to_device(device)?)));
        let sum = self.sum(&values.collect::<Result<Weights>>()?)?;
        sum.into_iter().map(|(name, tensor)| Ok((name, tensor.detach().to_device(&Device::Cpu)?))).collect()
    }

    fn sum(&self, trained: &Weights) -> Result<Weights> {
        let get = |name: &str| match trained.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => candle_core::bail!("the adapter has no `{name}`"),
        };
        let mut all = self.frozen.clone();
        for name in &self.targets {
            let (a, b) = (get(&format!("{name}.lora_a"))?, get(&format!("{name}.lora_b"))?);
            if let Some(slot) = all.get_mut(name) {
                *slot = (&*slot + b.matmul(&a)?.affine(self.scale, 0.0)?)?;
            }
        }
        for (name, tensor) in trained.iter().filter(|(name, _)| !name.contains(".lora_")) {
            all.insert(name.clone(), tensor.clone());
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dreamer::{CHANNEL_SLOTS, Clip, Recipe, loss};
    use crate::optim::{Gradients, Settings, Stepper};

    fn clip(config: &Config, shade: f32) -> Clip {
        let steps = 2;
        Clip {
            frames: (0..(steps + 1) * config.patches() * config.patch_values())
                .map(|i| ((i % 17) as f32 / 17.0 - 0.5) * shade)
                .collect(),
            action: vec![0.3; steps * CHANNEL_SLOTS],
            action_mask: vec![1.0; CHANNEL_SLOTS],
            state: vec![0.1; (steps + 1) * CHANNEL_SLOTS],
            state_mask: vec![1.0; CHANNEL_SLOTS],
            ..Clip::default()
        }
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_a_trained_one_merges_into_the_same_network() {
        let config = Config::micro();
        let mut params = Params::new(3, &Device::Cpu);
        let plain = Network::new(&config, &mut params, &Device::Cpu).unwrap();
        let weights: Weights = params.iter().map(|(n, t)| (n.to_owned(), t.detach())).collect();
        let lora = Lora::new(&config, &weights, 4, LoraTargets::All, 1, &Device::Cpu).unwrap();
        let clips = [clip(&config, 0.9), clip(&config, -0.7)];
        let value = |network: &Network| -> f32 {
            loss(network, &clips, &Recipe::default(), 1, 0, 0).unwrap().total.to_scalar().unwrap()
        };
        assert!((value(&plain) - value(&lora.network().unwrap())).abs() < 1e-6);

        let settings = Settings { learning_rate: 0.01, muon: false, ema: 0.0, ..Settings::default() };
        let mut stepper = Stepper::new(lora.params(), settings).unwrap();
        let before = value(&plain);
        for iteration in 0..6 {
            let network = lora.network().unwrap();
            let found = loss(&network, &clips, &Recipe::default(), 1, iteration, 0).unwrap();
            let grads = found.total.backward().unwrap();
            // After the first step every adapter is reached.
            for (name, var) in stepper.variables().filter(|(name, _)| name.contains("lora")) {
                assert!(grads.get(var).is_some(), "{name} gets no gradient");
            }
            let gradients = Gradients::of(&grads, stepper.variables().map(|(_, var)| var)).unwrap();
            stepper.step(&gradients, 1.0).unwrap();
        }
        let after = value(&lora.network().unwrap());
        assert!(after < before, "{before} -> {after}");
        let merged = lora.merged(&stepper.averages().unwrap().into_iter().collect()).unwrap();
        assert_eq!(merged.keys().collect::<Vec<_>>(), weights.keys().collect::<Vec<_>>());
        let mut store = Params::frozen(&Device::Cpu);
        for (name, tensor) in merged {
            store.insert(&name, tensor).unwrap();
        }
        let merged = Network::new(&config, &mut store, &Device::Cpu).unwrap();
        assert!((value(&merged) - after).abs() < 1e-5, "{} is not {after}", value(&merged));
        // Frozen is frozen: the base's own matrices have not moved.
        assert!(lora.params().iter().all(|(name, _)| !name.ends_with("qkv.weight")));
    }

    #[test]
    fn a_rank_of_zero_is_refused() {
        assert!(Lora::new(&Config::micro(), &Weights::new(), 0, LoraTargets::All, 1, &Device::Cpu).is_err());
    }
}
