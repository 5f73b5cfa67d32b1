//! One pass of the network after another, wherever its weights are: in candle's hands or on a card of its own kind.
//!
//! Pictures stay where the weights are; only what a rollout asks for comes back.

use std::sync::{Arc, Mutex};

use candle_core::{DType, Tensor};

use super::adapt::Weights;
use super::config::Config;
use super::folder::ModelError;
use super::network::{Condition, Network, Time};
use crate::kernels::precision::{self, Precision};
use crate::kernels::threads;
use crate::nn::TimeCache;

/// Head outputs as plain numbers, a row a future.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Read-outs, next state, action: `head_width` numbers each.
    pub heads: Vec<Vec<f32>>,
    /// As [`super::Output::relative`].
    pub relative: Option<Vec<Vec<f32>>>,
}

/// Head outputs `[G, head_width]` and, where the network has them, relative ones `[G, 2 * CHANNEL_SLOTS]`.
pub struct HeadOutputs {
    /// Read-outs, next state, action.
    pub heads: Tensor,
    /// As [`super::Output::relative`].
    pub relative: Option<Tensor>,
}

impl HeadOutputs {
    /// The same as plain numbers.
    ///
    /// # Errors
    /// Device errors.
    pub fn to_host(&self) -> Result<Readings, ModelError> {
        Ok(Readings {
            heads: self.heads.to_vec2()?,
            relative: self.relative.as_ref().map(Tensor::to_vec2).transpose()?,
        })
    }
}

/// `G` futures that advance together, as the network sees them: the frames that they have reached, what is being denoised,
/// and the memory of the steps before. Pictures are patches (see [`super::patches`]), `G * P * V` numbers.
pub trait Passes {
    /// Sets the present frames.
    ///
    /// # Errors
    /// More numbers than the futures hold, device errors.
    fn set_present(&mut self, patches: &[f32]) -> Result<(), ModelError>;

    /// Sets what the next prediction denoises.
    ///
    /// # Errors
    /// As [`Passes::set_present`].
    fn set_noisy(&mut self, noisy: &[f32]) -> Result<(), ModelError>;

    /// Predicts the clean frames that step number `step` leads to; with `commit` the step is remembered. A step that no
    /// future has a present for (`has_context` of 0) starts from nothing; it is the same for all futures.
    ///
    /// # Errors
    /// A condition of other sizes, device errors.
    fn predict(&mut self, condition: &Condition, step: usize, commit: bool) -> Result<(), ModelError>;

    /// What the heads said in the last prediction.
    ///
    /// # Errors
    /// Device errors.
    fn readings(&mut self) -> Result<Readings, ModelError>;

    /// Moves what is being denoised by `share` (0..=1) of the way to the last prediction.
    ///
    /// # Errors
    /// Device errors.
    fn approach(&mut self, share: f32) -> Result<(), ModelError>;

    /// The last prediction as it is, not clamped.
    ///
    /// # Errors
    /// Device errors.
    fn predicted(&mut self) -> Result<Vec<f32>, ModelError>;

    /// The last prediction, clamped to -1..=1, becomes the present; a copy is handed out.
    ///
    /// # Errors
    /// Device errors.
    fn settle(&mut self) -> Result<Vec<f32>, ModelError>;
}

/// A card that candle does not know, with kernels of its own.
pub trait Accelerator: Send + Sync {
    /// What its driver calls it.
    fn name(&self) -> &str;

    /// Brings a network's weights (f32 on the processor, by name) onto the card.
    ///
    /// # Errors
    /// A card that has no room, refuses the kernels, or weights that are missing.
    fn upload(self: Arc<Self>, config: &Config, weights: &Weights) -> Result<Box<dyn OnCard>, ModelError>;
}

/// A network's weights on such a card.
pub trait OnCard: Send + Sync {
    /// Starts `futures` futures under the prompts `text [futures, D]`. `network` is the same network on the processor:
    /// it makes the conditioning and reads the heads.
    ///
    /// # Errors
    /// A card that has no room.
    fn start<'a>(
        &'a self,
        network: &'a Network,
        text: Tensor,
        futures: usize,
    ) -> Result<Box<dyn Passes + 'a>, ModelError>;
}

/// Most futures that one thread takes through the network together: their activations fit into its second-level cache.
const TOGETHER: usize = 4;

/// Passes of a network that candle runs, on whatever device its weights are.
///
/// On the processor a batch is cut into groups of futures, and each thread takes whole groups from the first layer to the
/// last: that shares out better than every product by itself, which ends with threads that wait for each other. A lone group
/// has all threads in its products.
pub(super) struct InCandle<'a> {
    network: &'a Network,
    groups: Vec<Group>,
    present: Vec<f32>,
    noisy: Vec<f32>,
    frames: Vec<f32>,
    precision: Option<Precision>,
}

/// Futures that go through the network together.
struct Group {
    first: usize,
    futures: usize,
    text: Tensor,
    caches: Vec<TimeCache>,
    said: Option<HeadOutputs>,
}

/// Sizes of the groups that `futures` futures are cut into for `threads` threads: as equal as they can be.
fn groups(futures: usize, threads: usize) -> Vec<usize> {
    // Where there are more threads than futures, the rest of them would have nothing to do.
    let number = match futures < threads {
        true => 1,
        false => futures.div_ceil(TOGETHER).next_multiple_of(threads.max(1)).clamp(1, futures.max(1)),
    };
    (0..number).map(|i| (i + 1) * futures / number - i * futures / number).collect()
}

impl<'a> InCandle<'a> {
    pub(super) fn new(
        network: &'a Network,
        text: Tensor,
        futures: usize,
        precision: Option<Precision>,
    ) -> Result<Self, ModelError> {
        let sizes = match network.device().is_cpu() {
            true => groups(futures, threads::current()),
            false => vec![futures],
        };
        let mut first = 0;
        let mut groups = Vec::with_capacity(sizes.len());
        for futures in sizes {
            let text = text.narrow(0, first, futures)?.contiguous()?;
            groups.push(Group { first, futures, text, caches: network.caches(), said: None });
            first += futures;
        }
        let (present, noisy, frames) = Default::default();
        Ok(Self { network, groups, present, noisy, frames, precision })
    }
}

impl Group {
    /// The frames that its futures come to, from its parts of `present` (none: there is nothing yet) and `noisy`.
    fn predict(
        &mut self,
        network: &Network,
        [present, noisy]: [Option<&[f32]>; 2],
        condition: &Condition,
        step: usize,
        commit: bool,
    ) -> candle_core::Result<Vec<f32>> {
        let (config, device) = (network.config(), network.device());
        let shape = (self.futures, config.patches(), config.patch_values());
        let of = |numbers: Option<&[f32]>| match numbers {
            Some(numbers) => Tensor::from_slice(numbers, shape, device),
            None => Tensor::zeros(shape, DType::F32, device),
        };
        let time = Time::Step { caches: &mut self.caches, t: step, commit };
        let (present, noisy) = (of(present)?, of(noisy)?);
        let output = network.forward(self.futures, &present, &noisy, condition, &self.text, time)?;
        self.said = Some(HeadOutputs { heads: output.heads, relative: output.relative });
        output.frames.flatten_all()?.to_vec1()
    }
}

impl Passes for InCandle<'_> {
    fn set_present(&mut self, patches: &[f32]) -> Result<(), ModelError> {
        self.present.clear();
        self.present.extend_from_slice(patches);
        Ok(())
    }

    fn set_noisy(&mut self, noisy: &[f32]) -> Result<(), ModelError> {
        self.noisy.clear();
        self.noisy.extend_from_slice(noisy);
        Ok(())
    }

    fn predict(&mut self, condition: &Condition, step: usize, commit: bool) -> Result<(), ModelError> {
        let config = self.network.config();
        let each = config.patches() * config.patch_values();
        let all_there = self.present.len() == self.noisy.len();
        let (network, present, noisy) = (self.network, &self.present, &self.noisy);
        let jobs: Vec<_> = self.groups.iter_mut().map(|group| Mutex::new((group, None))).collect();
        precision::with(self.precision.unwrap_or_else(precision::current), || {
            threads::for_each(jobs.len(), usize::MAX, |i| {
                let Some(job) = jobs.get(i) else { return };
                let mut job = job.lock().unwrap_or_else(|e| e.into_inner());
                let (group, found) = &mut *job;
                let range = group.first * each..(group.first + group.futures) * each;
                let pictures =
                    [Some(present).filter(|_| all_there), Some(noisy)].map(|of| of?.get(range.clone()));
                let condition = condition.part(group.first, group.futures);
                *found = Some(group.predict(network, pictures, &condition, step, commit));
            });
        });
        self.frames.clear();
        for job in jobs {
            let (_, found) = job.into_inner().unwrap_or_else(|e| e.into_inner());
            if let Some(frames) = found {
                self.frames.extend(frames?);
            }
        }
        Ok(())
    }

    fn readings(&mut self) -> Result<Readings, ModelError> {
        let mut all = Readings::default();
        for said in self.groups.iter().filter_map(|group| group.said.as_ref()) {
            let Readings { heads, relative } = said.to_host()?;
            all.heads.extend(heads);
            if let Some(relative) = relative {
                all.relative.get_or_insert_default().extend(relative);
            }
        }
        Ok(all)
    }

    fn approach(&mut self, share: f32) -> Result<(), ModelError> {
        for (z, x) in self.noisy.iter_mut().zip(&self.frames) {
            *z += (x - *z) * share;
        }
        Ok(())
    }

    fn predicted(&mut self) -> Result<Vec<f32>, ModelError> {
        Ok(self.frames.clone())
    }

    fn settle(&mut self) -> Result<Vec<f32>, ModelError> {
        self.present.clear();
        self.present.extend(self.frames.iter().map(|v| v.clamp(-1.0, 1.0)));
        Ok(self.present.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_share_futures_out_evenly() {
        assert_eq!(groups(1, 2), [1]);
        assert_eq!(groups(8, 2), [4, 4]);
        assert_eq!(groups(8, 1), [4, 4]);
        assert_eq!(groups(3, 2), [1, 2]);
        assert_eq!(groups(9, 2), [2, 2, 2, 3]);
        assert_eq!(groups(8, 16), [8]);
        assert_eq!(groups(16, 16), [1; 16]);
        for (futures, threads) in [(5, 3), (64, 7), (100, 2)] {
            assert_eq!(groups(futures, threads).iter().sum::<usize>(), futures);
        }
    }
}
