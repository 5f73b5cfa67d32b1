//! From scores to words: the likeliest token, or one drawn from the likeliest few.

use std::ops::ControlFlow;

use candle_core::{DType, Result, Tensor};

use super::Answering;
use crate::random::{Random, stream_of};

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Taste {
    /// Always the likeliest.
    Greedy,
    /// Drawn from the smallest set of tokens whose probabilities sum up to `top_p` (nucleus sampling, Holtzman et al.
    /// 2019). The draw of token n is a function of seed and n alone.
    TopP {
        /// Above 1 bolder, below 1 more careful.
        temperature: f64,
        /// Part of the probability to draw from, 0..=1.
        top_p: f64,
        /// Seed of the draws.
        seed: u64,
    },
}

impl Taste {
    /// Chooses token number `step` by the scores [vocabulary].
    pub fn choose(self, scores: &Tensor, step: usize) -> Result<u32> {
        let scores: Vec<f32> = scores.to_dtype(DType::F32)?.to_vec1()?;
        let Self::TopP { temperature, top_p, seed } = self else {
            // The first of equals, whatever the order of comparison.
            let best = scores.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, score)| {
                if *score > best.1 { (i, *score) } else { best }
            });
            return Ok(best.0 as u32);
        };
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let heat = temperature.max(1e-3);
        let mut weights: Vec<(usize, f64)> =
            scores.iter().map(|s| (f64::from(*s - most) / heat).exp()).enumerate().collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let all: f64 = weights.iter().map(|(_, w)| w).sum();
        let (mut kept, mut sum) = (0, 0.0);
        for (_, weight) in &weights {
            kept += 1;
            sum += weight;
            if sum >= top_p.clamp(0.0, 1.0) * all {
                break;
            }
        }
        let random = Random::new(seed, stream_of("answer"), step as u64);
        let mut left = f64::from(random.uniform(0)) * sum;
        for (token, weight) in weights.iter().take(kept) {
            left -= weight;
            if left < 0.0 {
                return Ok(*token as u32);
            }
        }
        Ok(weights.first().map_or(0, |(token, _)| *token as u32))
    }
}

/// Writes an answer of at most `longest` tokens, up to one of `ends` (which is not part of it). `watch` sees every
/// token; `Break` ends the answer there.
///
/// # Errors
/// The network fails or memory runs out.
pub fn answer(
    answering: &mut Answering<'_>,
    taste: Taste,
    longest: usize,
    ends: &[u32],
    watch: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Vec<u32>> {
    let mut written = Vec::new();
    while written.len() < longest {
        let token = taste.choose(answering.scores(), written.len())?;
        if ends.contains(&token) {
            break;
        }
        written.push(token);
        if watch(token).is_break() {
            break;
        }
        answering.write(token)?;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    fn scores() -> Tensor {
        Tensor::new(&[0.1f32, 3.0, 2.9, -5.0, 3.0], &Device::Cpu).unwrap()
    }

    #[test]
    fn greedy_takes_the_first_of_the_best() {
        assert_eq!(Taste::Greedy.choose(&scores(), 7).unwrap(), 1);
    }

    #[test]
    fn draws_come_from_the_nucleus_and_depend_on_seed_and_number_alone() {
        let taste = |seed, top_p| Taste::TopP { temperature: 1.0, top_p, seed };
        let draw = |seed, top_p| -> Vec<u32> {
            (0..1000).map(|i| taste(seed, top_p).choose(&scores(), i).unwrap()).collect()
        };
        let some = draw(1, 0.9);
        assert!(some.iter().all(|t| [1, 2, 4].contains(t)), "{some:?}");
        assert!([1, 2, 4].iter().all(|t| some.contains(t)));
        assert_eq!(some, draw(1, 0.9));
        assert_ne!(some, draw(2, 0.9));
        assert!(draw(1, 0.0).iter().all(|t| *t == 1), "the smallest set has one token");
        assert!(draw(1, 1.0).contains(&0));
    }
}
