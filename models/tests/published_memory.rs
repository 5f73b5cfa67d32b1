//! The memory that a run is said to need against what it takes: an allocator that counts.
#![allow(clippy::unwrap_used)]

mod counting;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use candle_core::Device;
use counting::{NOW, PEAK};
use forerun_models::Frame;
use forerun_models::common::Storage;
use forerun_models::published::{
    ClipJob, ClipMoment, ClipSettings, MemoryMode, Published, PublishedFolder, need,
};
use forerun_models::testing::published::{Tiny, tiny};

/// Bytes that a fresh model and one run take at their heaviest moment.
fn measured(folder: &std::path::Path, given: usize, steps: usize, settings: &ClipSettings) -> u64 {
    let (width, height) = (settings.width.unwrap(), settings.height.unwrap());
    let frames = vec![Frame::filled(width, height, [90, 120, 60]); given];
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let model = Published::new(PublishedFolder::open(folder).unwrap(), &Device::Cpu, String::new()).unwrap();
    let job =
        ClipJob { prompt: "push", given: &frames, actions: None, state: None, steps, seed: 1, settings };
    model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(())).unwrap();
    (PEAK.load(Relaxed) - before) as u64
}

// One test, so that nothing else allocates meanwhile.
#[test]
fn the_estimate_is_never_below_what_a_run_takes_and_not_far_above() {
    let modes = [
        MemoryMode::default(),
        MemoryMode { offload: Some(true), tile: Some(4), ..MemoryMode::default() },
        MemoryMode { linear: Some(Storage::Q8_0), ..MemoryMode::default() },
    ];
    let mut lines = Vec::new();
    let mut wrong = false;
    for (kind, heads, given) in [
        (Tiny::Predict25, 16, 1),
        (Tiny::Predict2, 8, 1),
        (Tiny::Predict1, 8, 1),
        (Tiny::Cosmos3, 8, 0),
        (Tiny::Transfer25, 8, 9),
    ] {
        let dir = tempfile::tempdir().unwrap();
        tiny(kind, dir.path(), 3, heads).unwrap();
        let opened = PublishedFolder::open(dir.path()).unwrap();
        for memory in modes {
            // Its autoencoder has no tiles, and takes long enough once.
            if kind == Tiny::Predict1 && memory != MemoryMode::default() {
                continue;
            }
            for (width, height, steps) in [(64, 32, 4), (128, 96, 8)] {
                let settings = ClipSettings {
                    width: Some(width),
                    height: Some(height),
                    chunk: Some(9),
                    denoise: Some(1),
                    guidance: Some(1.0),
                    memory,
                    ..ClipSettings::default()
                };
                let estimate = need(&opened, &settings, given, steps).unwrap().peak();
                let took = measured(dir.path(), given, steps, &settings);
                let factor = estimate as f64 / took as f64;
                wrong |= !(1.0..8.0).contains(&factor);
                lines.push(format!(
                    "{kind:?} {width}x{height} x {steps}, {memory:?}: estimate {estimate}, took {took}, factor {factor:.2}"
                ));
            }
        }
    }
    assert!(!wrong, "{}", lines.join("\n"));
}
