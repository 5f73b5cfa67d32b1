//! Clips by candle's own operations, which is what a graphics card runs, beside those by our kernels.

use std::ops::ControlFlow;

use forerun_models::Frame;
use forerun_models::nn::path::{self, Path};
use forerun_models::published::{ClipJob, ClipMade, ClipMoment, ClipSettings};
use forerun_models::testing::published::Tiny;

use crate::support::{folder, frames, open, settings};

fn made(kind: Tiny, given: usize, state: Option<&[f32]>) -> ClipMade {
    let dir = folder(kind);
    let given = frames(given);
    let chunk = matches!(kind, Tiny::Transfer1 | Tiny::Transfer25).then_some(5);
    let steps = if matches!(kind, Tiny::Policy) { 2 } else { given.len().max(5) };
    let settings = ClipSettings { chunk, ..settings() };
    let job = ClipJob {
        prompt: "the arm turns the T",
        given: &given,
        actions: None,
        state,
        steps,
        seed: 1,
        settings: &settings,
    };
    open(dir.path()).unwrap().imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(())).unwrap()
}

/// Largest difference of any colour, in levels of 255.
fn farthest(a: &[Frame], b: &[Frame]) -> u8 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.data.iter().zip(&b.data));
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn every_family_makes_the_same_clip_by_stock_operations() {
    for (kind, given) in [
        (Tiny::Predict1, 1),
        (Tiny::Predict2, 1),
        (Tiny::Predict25, 1),
        (Tiny::Transfer1, 7),
        (Tiny::Transfer25, 7),
        (Tiny::Cosmos3, 1),
    ] {
        let kernels = made(kind, given, None);
        let stock = path::with(Path::Stock, || made(kind, given, None));
        // One level is what a last bit can do to a colour that lies between two.
        let worst = farthest(&kernels.frames, &stock.frames);
        assert!(worst <= 1, "{kind:?}: {worst} levels");
    }
}

#[test]
fn a_cosmos_policy_plans_the_same_by_stock_operations() {
    let state = [0.5f32; 9];
    let kernels = made(Tiny::Policy, 2, Some(&state)).planned.unwrap();
    let stock = path::with(Path::Stock, || made(Tiny::Policy, 2, Some(&state))).planned.unwrap();
    let (a, b) = (kernels.rows.concat(), stock.rows.concat());
    let largest = a.iter().fold(1e-6_f32, |m, v| m.max(v.abs()));
    let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst}");
    assert!((kernels.value - stock.value).abs() < 1e-4);
}
