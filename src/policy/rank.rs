//! Does the world model rank policies as physics does?

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use forerun_models::policy::Policy;
use serde::Serialize;

use super::evaluate::{EpisodeResult, EvaluateSettings, MindOf, Tally, Venue, evaluate};
use super::mind::{Mind, PolicyMind};
use super::stats::{Estimate, bootstrap, mmrv, pearson, spearman};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;
use crate::world::rng::Rng;

/// Fewest policies that a ranking is about.
const LEAST: usize = 3;
const RESAMPLES: usize = 1000;

/// One policy in both places.
#[derive(Clone, Debug, Serialize)]
pub struct Ranked {
    /// Its name.
    pub name: String,
    /// sha256 of its weights.
    pub sha256: String,
    /// Its success inside the model.
    pub model: Tally,
    /// Its success in physics.
    pub world: Tally,
    /// Episodes inside the model, in the order of their seeds.
    pub model_episodes: Vec<EpisodeResult>,
    /// The same scenes in physics.
    pub world_episodes: Vec<EpisodeResult>,
}

/// How well the two agree, with 95 % intervals from resampled scenes.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    /// Rule inside the model, and in physics.
    pub rules: [String; 2],
    /// What was asked for.
    pub settings: EvaluateSettings,
    /// The policies, in the order in which they were given.
    pub policies: Vec<Ranked>,
    /// Pearson's correlation of the two success rates; none when one of them never varies.
    pub pearson: Option<Estimate>,
    /// Spearman's rank correlation.
    pub spearman: Option<Estimate>,
    /// Mean maximum rank violation, 0 = perfect.
    pub mmrv: Option<Estimate>,
}

/// Evaluates policies in the model and in physics, from the same scenes.
///
/// # Errors
/// Fewer than three policies; what [`evaluate`] says.
pub fn rank(
    policies: &[(String, Policy)],
    model: &dyn WorldModel,
    settings: &EvaluateSettings,
    progress: &(dyn Fn(usize, usize) + Sync),
    cancel: &AtomicBool,
) -> Result<Ranking, Failure> {
    if policies.len() < LEAST {
        return Err(Failure::new(
            format!("{} policies have no ranking worth the name.", policies.len()),
            "Give at least three, better eight; a training run keeps some on its way with `snapshots`.",
        ));
    }
    let all = policies.len() * settings.episodes * 2;
    let over = AtomicUsize::new(0);
    let tell = |_: usize, _: usize| progress(over.fetch_add(1, Ordering::Relaxed) + 1, all);
    let mut rules = [String::new(), String::new()];
    let mut ranked = Vec::with_capacity(policies.len());
    for (name, policy) in policies {
        let minds = |seed: u64| -> Result<Box<dyn Mind + '_>, Failure> {
            Ok(Box::new(PolicyMind { policy, seed, temperature: 0.0 }))
        };
        let minds: &MindOf<'_> = &minds;
        let mut both = Vec::with_capacity(2);
        for (venue, rule) in [Venue::Model(model), Venue::World].into_iter().zip(&mut rules) {
            let found = evaluate(venue, name, Some(minds), &[], settings, &tell, cancel)?;
            *rule = found.rule;
            both.extend(found.actors.into_iter().next().map(|(_, tally, episodes)| (tally, episodes)));
        }
        let mut both = both.into_iter();
        if let (Some((model, model_episodes)), Some((world, world_episodes))) = (both.next(), both.next()) {
            let (name, sha256) = (name.clone(), policy.sha256().to_owned());
            ranked.push(Ranked { name, sha256, model, world, model_episodes, world_episodes });
        }
    }
    let agree = |statistic: fn(&[(f64, f64)]) -> Option<f64>| agreement(&ranked, settings.seed, statistic);
    Ok(Ranking {
        pearson: agree(pearson),
        spearman: agree(spearman),
        mmrv: agree(mmrv),
        rules,
        settings: settings.clone(),
        policies: ranked,
    })
}

/// A statistic of the pairs of rates; its interval comes from drawing the scenes anew, the same ones for all policies.
fn agreement(ranked: &[Ranked], seed: u64, statistic: fn(&[(f64, f64)]) -> Option<f64>) -> Option<Estimate> {
    let pairs: Vec<(f64, f64)> = ranked.iter().map(|r| (r.model.rate, r.world.rate)).collect();
    let scenes = ranked.first().map_or(0, |r| r.model_episodes.len());
    bootstrap(&pairs, statistic, RESAMPLES, seed, |rng: &mut Rng| {
        let drawn: Vec<usize> = (0..scenes).map(|_| rng.below(scenes)).collect();
        let rate = |of: &[EpisodeResult]| {
            let hits = drawn.iter().filter(|i| of.get(**i).is_some_and(|e| e.success)).count();
            hits as f64 / scenes.max(1) as f64
        };
        ranked.iter().map(|r| (rate(&r.model_episodes), rate(&r.world_episodes))).collect()
    })
}

impl Ranking {
    /// A table for a person: the rules, a line a policy, the agreement.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = ["in the model", "in physics"]
            .iter()
            .zip(&self.rules)
            .map(|(w, r)| format!("success {w}: {r}"))
            .collect();
        for r in &self.policies {
            let cell = |t: &Tally| {
                format!("{:>5.1} % ({:.1} to {:.1})", t.rate * 100.0, t.low * 100.0, t.high * 100.0)
            };
            lines.push(format!("model {}   physics {}   {}", cell(&r.model), cell(&r.world), r.name));
        }
        for (name, found) in [("Pearson", self.pearson), ("Spearman", self.spearman), ("MMRV", self.mmrv)] {
            lines.push(match found {
                Some(e) => format!("{name} {:.3}, 95 % interval {:.3} to {:.3}", e.value, e.low, e.high),
                None => format!("{name}: none, since the rates do not vary"),
            });
        }
        lines.push(format!("{} episodes each, seed {}", self.settings.episodes, self.settings.seed));
        lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ranked(model: &[bool], world: &[bool]) -> Ranked {
        let episodes = |of: &[bool]| -> Vec<EpisodeResult> {
            of.iter()
                .map(|s| EpisodeResult {
                    seed: 0,
                    prompt: String::new(),
                    success: *s,
                    steps: 1,
                    progress: 0.0,
                })
                .collect()
        };
        let (m, w) = (episodes(model), episodes(world));
        Ranked {
            name: String::new(),
            sha256: String::new(),
            model: Tally::of(&m),
            world: Tally::of(&w),
            model_episodes: m,
            world_episodes: w,
        }
    }

    #[test]
    fn agreement_comes_with_an_interval() {
        let of = |n: usize| -> Vec<bool> { (0..20).map(|i| i < n).collect() };
        let all: Vec<Ranked> = [2, 6, 10, 18].iter().map(|n| ranked(&of(*n), &of(n / 2 + 1))).collect();
        let found = agreement(&all, 1, pearson).unwrap();
        assert!(found.value > 0.99 && found.low <= found.value && found.low > 0.5, "{found:?}");
        let flat: Vec<Ranked> = (0..3).map(|_| ranked(&of(4), &of(4))).collect();
        assert_eq!(agreement(&flat, 1, pearson), None);
        assert_eq!(agreement(&flat, 1, mmrv).unwrap().value, 0.0);
    }
}
