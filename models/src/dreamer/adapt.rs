//! Weights for another robot: inputs and outputs of channels move to where the new contract wants them.
//!
//! A network has [`CHANNEL_SLOTS`] places for action and for state channels. When a model goes on to another body, the
//! channels that both know (by name and unit) take their weights along, whatever their new place, and channels that
//! the base has never seen get fresh ones. Everything else stays as it was.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};

use super::config::{CHANNEL_SLOTS, Config};
use crate::random::{Random, stream_of};

/// Weights by name.
pub type Weights = BTreeMap<String, Tensor>;

/// Where the channels of the new network come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotPlan {
    /// For each new action channel its place in the base, or `None` for one that the base has never seen.
    pub actions: Vec<Option<usize>>,
    /// The same for state channels.
    pub state: Vec<Option<usize>>,
    /// Whether the body is another one: it takes embodiment 0, the base's own moves to 1.
    pub new_body: bool,
}

impl SlotPlan {
    /// Whether nothing moves and nothing is new.
    pub fn is_identity(&self) -> bool {
        let same = |list: &[Option<usize>]| list.iter().enumerate().all(|(i, from)| *from == Some(i));
        !self.new_body && same(&self.actions) && same(&self.state)
    }
}

/// How inputs of channels start that the base has never seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// Silent: the network behaves as if it were not told them.
    Silent,
    /// Normal numbers as large as the known channels' weights, from this seed: ready to learn.
    Drawn(u64),
}

/// The base's weights in the order of the new channels. A plan that is the identity changes no bit.
///
/// # Errors
/// Weights that do not have the configuration's shapes, more channels than slots, device errors.
pub fn rearrange(weights: &Weights, config: &Config, plan: &SlotPlan, fresh: Fresh) -> Result<Weights> {
    let mut out = weights.clone();
    if plan.is_identity() {
        return Ok(out);
    }
    for list in [&plan.actions, &plan.state] {
        if list.len() > CHANNEL_SLOTS || list.iter().flatten().any(|from| *from >= CHANNEL_SLOTS) {
            candle_core::bail!("at most {CHANNEL_SLOTS} channels are possible");
        }
    }
    let d = config.width;
    let mut inputs_of = vec![("action.first.weight", &plan.actions), ("state.first.weight", &plan.state)];
    if config.relative_scale > 0.0 {
        inputs_of.push(("relative.first.weight", &plan.actions));
    }
    let each = config.channel_features();
    for (name, list) in inputs_of {
        let old = numbers(weights, name, d * CHANNEL_SLOTS * each)?;
        let new = inputs(&old, (d, each), list, fresh, name);
        out.insert(name.into(), Tensor::from_vec(new, (d, CHANNEL_SLOTS * each), &Device::Cpu)?);
    }
    let readings = config.readings.len();
    let mut outputs_of = vec![("head.weight", readings, d), ("head.bias", readings, 1)];
    if config.relative_scale > 0.0 {
        outputs_of.extend([("relative_head.weight", 0, d), ("relative_head.bias", 0, 1)]);
    }
    for (name, first, each) in outputs_of {
        let rows = first + 2 * CHANNEL_SLOTS;
        let old = numbers(weights, name, rows * each)?;
        let mut new = old.get(..first * each).unwrap_or_default().to_vec();
        for (list, at) in [(&plan.state, first), (&plan.actions, first + CHANNEL_SLOTS)] {
            for slot in 0..CHANNEL_SLOTS {
                // A channel that nobody has read yet starts silent.
                match list.get(slot).copied().flatten() {
                    Some(from) => new.extend_from_slice(
                        old.get((at + from) * each..(at + from + 1) * each).unwrap_or(&[]),
                    ),
                    None => new.resize(new.len() + each, 0.0),
                }
            }
        }
        let tensor = if each == 1 {
            Tensor::from_vec(new, rows, &Device::Cpu)?
        } else {
            Tensor::from_vec(new, (rows, d), &Device::Cpu)?
        };
        out.insert(name.into(), tensor);
    }
    if plan.new_body {
        let old = numbers(weights, "embodiment", config.embodiments * d)?;
        let row = |k: usize| old.get(k * d..(k + 1) * d).unwrap_or(&[]);
        // The new body starts as a copy of the old one; the last of the spare rows makes room.
        let mut new = row(0).to_vec();
        for k in 0..config.embodiments.saturating_sub(1) {
            new.extend_from_slice(row(k));
        }
        out.insert("embodiment".into(), Tensor::from_vec(new, (config.embodiments, d), &Device::Cpu)?);
    }
    Ok(out)
}

/// The same weights with embodiments 0 and 1 exchanged: what a rollout, which always takes number 0, needs to show
/// the body that [`SlotPlan::new_body`] moved away.
///
/// # Errors
/// Weights without embodiments, device errors.
pub fn exchange_bodies(weights: &Weights, config: &Config) -> Result<Weights> {
    let mut out = weights.clone();
    let d = config.width;
    if config.embodiments < 2 {
        return Ok(out);
    }
    let mut rows = numbers(weights, "embodiment", config.embodiments * d)?;
    let (first, rest) = rows.split_at_mut(d);
    if let Some(second) = rest.get_mut(..d) {
        first.swap_with_slice(second);
    }
    out.insert("embodiment".into(), Tensor::from_vec(rows, (config.embodiments, d), &Device::Cpu)?);
    Ok(out)
}

/// The weights for a network that is the same but for more harmonics of its channels: the new ones start silent, so that
/// it does what it did.
///
/// # Errors
/// Weights that do not have the configuration's shapes, fewer harmonics, device errors.
pub fn with_harmonics(weights: &Weights, config: &Config, harmonics: usize) -> Result<Weights> {
    let mut out = weights.clone();
    if harmonics == config.harmonics {
        return Ok(out);
    }
    if harmonics < config.harmonics {
        candle_core::bail!(
            "the base has {0} harmonics of its channels and the new network {harmonics}; set `harmonics = {0}` or more",
            config.harmonics
        );
    }
    let (d, old) = (config.width, config.channel_features());
    let each = Config { harmonics, ..config.clone() }.channel_features();
    for name in ["action.first.weight", "state.first.weight", "relative.first.weight"] {
        if name.starts_with("relative") && config.relative_scale <= 0.0 {
            continue;
        }
        let mut new = Vec::with_capacity(d * CHANNEL_SLOTS * each);
        for features in numbers(weights, name, d * CHANNEL_SLOTS * old)?.chunks_exact(old) {
            // Whether the channel is known stands behind its harmonics.
            if let Some((known, rest)) = features.split_last() {
                new.extend_from_slice(rest);
                new.resize(new.len() + each - old, 0.0);
                new.push(*known);
            }
        }
        out.insert(name.into(), Tensor::from_vec(new, (d, CHANNEL_SLOTS * each), &Device::Cpu)?);
    }
    Ok(out)
}

fn numbers(weights: &Weights, name: &str, expected: usize) -> Result<Vec<f32>> {
    let Some(tensor) = weights.get(name) else {
        candle_core::bail!("the base has no `{name}`; it is incomplete or of another version");
    };
    let values: Vec<f32> = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
    if values.len() != expected {
        candle_core::bail!("`{name}` has {} numbers, its configuration says {expected}", values.len());
    }
    Ok(values)
}

/// Columns of an input layer `[d, CHANNEL_SLOTS * each]` in a new order.
fn inputs(
    old: &[f32],
    (d, each): (usize, usize),
    list: &[Option<usize>],
    fresh: Fresh,
    name: &str,
) -> Vec<f32> {
    let width = CHANNEL_SLOTS * each;
    let block = |row: usize, slot: usize| {
        let at = row * width + slot * each;
        old.get(at..at + each).unwrap_or(&[])
    };
    // Fresh inputs are as loud as the known ones; where none is known, as a new layer's.
    let known: Vec<usize> = list.iter().flatten().copied().collect();
    let loud: Vec<usize> = if known.is_empty() { (0..CHANNEL_SLOTS).collect() } else { known };
    let squares: f64 = (0..d)
        .flat_map(|row| loud.iter().flat_map(move |s| block(row, *s)))
        .map(|v| f64::from(*v).powi(2))
        .sum();
    let count = (d * loud.len() * each).max(1);
    let size = ((squares / count as f64).sqrt() as f32).max(1.0 / (width as f32).sqrt());
    let mut drawn = vec![0.0_f32; d * width];
    if let Fresh::Drawn(seed) = fresh {
        Random::new(seed, stream_of(name), 1).fill_normal(0, &mut drawn);
    }
    let mut new = Vec::with_capacity(d * width);
    for row in 0..d {
        for slot in 0..CHANNEL_SLOTS {
            let at = row * width + slot * each;
            match list.get(slot) {
                Some(Some(from)) => new.extend_from_slice(block(row, *from)),
                Some(None) => {
                    let noise = drawn.get(at..at + each).unwrap_or(&[]);
                    new.extend(noise.iter().map(|v| v * size));
                }
                None => new.resize(new.len() + each, 0.0),
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dreamer::Network;
    use crate::nn::Params;

    fn micro() -> (Config, Weights) {
        let config = Config::micro();
        let mut params = Params::new(3, &Device::Cpu);
        Network::new(&config, &mut params, &Device::Cpu).unwrap();
        let weights = params.iter().map(|(name, t)| (name.to_owned(), t.clone())).collect();
        (config, weights)
    }

    fn flat(weights: &Weights, name: &str) -> Vec<f32> {
        weights[name].flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn known_channels_take_their_weights_along_and_new_ones_start_fresh() {
        let (config, weights) = micro();
        let plan =
            SlotPlan { actions: vec![None, Some(2), Some(0)], state: vec![Some(0), Some(1)], new_body: true };
        let moved = rearrange(&weights, &config, &plan, Fresh::Drawn(5)).unwrap();
        let each = config.channel_features();
        let width = CHANNEL_SLOTS * each;
        let (old, new) = (flat(&weights, "action.first.weight"), flat(&moved, "action.first.weight"));
        let block = |v: &[f32], row: usize, slot: usize| v[row * width + slot * each..][..each].to_vec();
        for row in [0, 17, config.width - 1] {
            assert_eq!(block(&new, row, 1), block(&old, row, 2));
            assert_eq!(block(&new, row, 2), block(&old, row, 0));
            assert!(block(&new, row, 0).iter().any(|v| *v != 0.0));
            assert_ne!(block(&new, row, 0), block(&old, row, 0));
            assert!(block(&new, row, 3).iter().all(|v| *v == 0.0));
        }
        // Inverse dynamics of the second channel reads what the base's third one did.
        let at = config.readings.len() + CHANNEL_SLOTS;
        let (old, new) = (flat(&weights, "head.weight"), flat(&moved, "head.weight"));
        let d = config.width;
        assert_eq!(new[(at + 1) * d..(at + 2) * d], old[(at + 2) * d..(at + 3) * d]);
        assert!(new[at * d..(at + 1) * d].iter().all(|v| *v == 0.0));
        // The base's body is number 1 now, and comes back by an exchange.
        let (old, new) = (flat(&weights, "embodiment"), flat(&moved, "embodiment"));
        assert_eq!(new[d..2 * d], old[..d]);
        let back = flat(&exchange_bodies(&moved, &config).unwrap(), "embodiment");
        assert_eq!(back[..d], new[d..2 * d]);
        let same = ["patch_in.weight", "blocks.0.space.qkv.weight"];
        assert!(same.iter().all(|name| flat(&weights, name) == flat(&moved, name)));
    }

    #[test]
    fn the_same_channels_change_no_bit() {
        let (config, weights) = micro();
        let plan = SlotPlan { actions: vec![Some(0), Some(1)], state: vec![Some(0)], new_body: false };
        let same = rearrange(&weights, &config, &plan, Fresh::Drawn(1)).unwrap();
        assert!(weights.keys().all(|name| flat(&weights, name) == flat(&same, name)));
        let far = SlotPlan { actions: vec![Some(CHANNEL_SLOTS)], ..SlotPlan::default() };
        assert!(rearrange(&weights, &config, &far, Fresh::Silent).is_err());
    }

    #[test]
    fn silent_inputs_are_zero() {
        let (config, weights) = micro();
        let plan = SlotPlan { actions: vec![None], state: vec![], new_body: false };
        let new = flat(&rearrange(&weights, &config, &plan, Fresh::Silent).unwrap(), "action.first.weight");
        assert!(new.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn new_harmonics_are_silent_until_something_is_learnt() {
        let config = Config { harmonics: 3, ..Config::micro() };
        let mut params = Params::new(3, &Device::Cpu);
        let small = Network::new(&config, &mut params, &Device::Cpu).unwrap();
        let weights: Weights = params.iter().map(|(name, t)| (name.to_owned(), t.clone())).collect();
        let finer = Config { harmonics: 6, ..config.clone() };
        let mut params = Params::frozen(&Device::Cpu);
        for (name, tensor) in with_harmonics(&weights, &config, 6).unwrap() {
            params.insert(&name, tensor).unwrap();
        }
        let large = Network::new(&finer, &mut params, &Device::Cpu).unwrap();
        let values =
            |n: usize, from: f32| (0..n).map(|i| (from + i as f32 * 0.37).sin()).collect::<Vec<f32>>();
        let condition = crate::dreamer::Condition {
            target_level: vec![0.2],
            context_noise: vec![0.0],
            step_size: vec![0],
            action: values(CHANNEL_SLOTS, 0.1),
            action_mask: vec![1.0; CHANNEL_SLOTS],
            state: values(CHANNEL_SLOTS, 0.7),
            state_mask: vec![1.0; CHANNEL_SLOTS],
            has_context: vec![1.0],
            embodiment: vec![0],
        };
        let text = Tensor::zeros((1, config.width), candle_core::DType::F32, &Device::Cpu).unwrap();
        let mixed = |network: &Network| -> Vec<f32> {
            network.drive(1, &condition, &text).unwrap().mixed.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (was, now) = (mixed(&small), mixed(&large));
        assert!(was.iter().zip(&now).all(|(a, b)| (a - b).abs() < 1e-5), "{was:?} {now:?}");
        assert!(with_harmonics(&weights, &config, 2).is_err());
    }
}
