//! Recorded episodes beside their imagined twins: the same start, the same actions, and where the joints went, in the
//! recording and as the model reads them off its own frames.
//!
//! For each joint: `error`, the mean distance between both, and `r`, Pearson's correlation over the steps, where the real
//! joint moved. A model that stands still would be off by `stay`; one that follows is well below it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::pixels::Pool;
use super::rollouts::{Wish, imagine};
use super::windows::{Place, Source};
use crate::engine::backend::{Stream, WorldModel};
use crate::engine::job::{JobContext, JobEnd};

/// A joint whose real standard deviation is below this did not move, units of the channel.
const MOVED: f64 = 0.5;

/// Pearson's correlation; `None` where one side does not vary.
fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len()) as f64;
    if n < 2.0 {
        return None;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f64>();
    let (ab, aa, bb) = (sum(&|x, y| x * y), sum(&|x, _| x * x), sum(&|_, y| y * y));
    (aa > 1e-12 && bb > 1e-12).then(|| ab / (aa * bb).sqrt())
}

fn deviation(v: &[f64]) -> f64 {
    let n = v.len().max(1) as f64;
    let mean = v.iter().sum::<f64>() / n;
    (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt()
}

fn mean(v: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = v.fold((0.0, 0usize), |(s, n), x| (s + x, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// One joint of one episode.
fn joint(real: &[f64], imagined: &[f64], start: f64) -> Value {
    let error = mean(real.iter().zip(imagined).map(|(a, b)| (a - b).abs()));
    let stay = mean(real.iter().map(|a| (a - start).abs()));
    let r = if deviation(real) >= MOVED { pearson(real, imagined) } else { None };
    json!({ "error": error, "stay": stay, "r": r })
}

/// Sets the last `count` judged episodes beside their twins, `steps` frames long at most. Null where the dataset does not
/// have the model's joints or actions.
///
/// # Errors
/// Pictures or tables cannot be read, the model fails; cancel.
pub fn judge(
    context: &JobContext,
    model: &dyn WorldModel,
    source: &Source,
    count: usize,
    steps: usize,
    refine: usize,
    seed: u64,
) -> Result<Value, JobEnd> {
    let channels: Vec<String> = model.contract().state.iter().map(|c| c.name.clone()).collect();
    let chosen: Vec<_> = source.episodes.iter().rev().filter(|e| e.1 > 2).take(count).collect();
    let mut episodes = Vec::new();
    for (done, &&(episode, length)) in chosen.iter().enumerate() {
        context.progress(done as u64, chosen.len() as u64, "imagining twins");
        let place = Place { episode, start: 0, length: (length - 1).min(steps) };
        let window = source.load(place)?;
        let (Some(rows), Some(states)) = (window.rows.clone(), source.states(place)?) else { continue };
        let Some((start, states)) = states.split_first() else { continue };
        let stream = Stream { seed, prompt: None, history: window.history.clone() };
        let mut imagined: Vec<Vec<f32>> = Vec::new();
        let mut pixels = Pool::default();
        imagine(
            context,
            model,
            vec![Wish { stream, rows: Some(rows) }],
            place.length,
            refine,
            |_, step, made| {
                if let Some(truth) = window.truth.get(step - 1) {
                    pixels.add(&made.frame, truth);
                }
                imagined.push(made.state);
            },
        )?;
        let column = |rows: &[Vec<f32>], j: usize| -> Vec<f64> {
            rows.iter().map(|r| r.get(j).copied().map_or(f64::NAN, f64::from)).collect()
        };
        let joints: BTreeMap<&String, Value> = channels
            .iter()
            .enumerate()
            .map(|(j, name)| {
                let start = start.get(j).copied().map_or(f64::NAN, f64::from);
                (name, joint(&column(states, j), &column(&imagined, j), start))
            })
            .collect();
        let of = |key: &str| mean(joints.values().filter_map(|v| v[key].as_f64()));
        episodes.push(json!({
            "episode": episode, "steps": imagined.len(), "r": of("r"), "error": of("error"), "stay": of("stay"),
            "psnr": pixels.psnr(), "joints": joints,
        }));
    }
    if episodes.is_empty() {
        return Ok(Value::Null);
    }
    let of = |key: &str| mean(episodes.iter().filter_map(|v| v[key].as_f64()));
    Ok(json!({ "r": of("r"), "error": of("error"), "stay": of("stay"), "episodes": episodes }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_twin_that_follows_is_told_from_one_that_stands() {
        let real: Vec<f64> = (0..20).map(|t| f64::from(t) * 2.0).collect();
        let follows: Vec<f64> = real.iter().map(|v| v + 1.0).collect();
        let v = joint(&real, &follows, 0.0);
        assert!((v["r"].as_f64().unwrap() - 1.0).abs() < 1e-9 && v["error"] == 1.0, "{v}");
        let stands = vec![0.0; 20];
        let v = joint(&real, &stands, 0.0);
        assert!(v["r"].is_null(), "what does not vary correlates with nothing");
        assert_eq!(v["error"], v["stay"]);
        let against: Vec<f64> = real.iter().map(|v| -v).collect();
        assert!((joint(&real, &against, 0.0)["r"].as_f64().unwrap() + 1.0).abs() < 1e-9);
        let v = joint(&stands, &follows, 0.0);
        assert!(v["r"].is_null(), "a joint that did not move says nothing");
    }
}
