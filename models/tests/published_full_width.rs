//! Published networks at their full width, one block deep, with random weights: each is built and takes denoising steps
//! on a small clip, and the memory of every stage is compared with what the check before a run says.
//!
//! Takes minutes and gigabytes of disk, so it runs when it is asked for:
//!
//! ```sh
//! cargo test --release --workspace --test published_full_width -- --ignored --nocapture
//! ```
//!
//! `ONLY=Nano` runs those whose name has that word.
#![allow(clippy::unwrap_used)]

mod counting;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use candle_core::Device;
use counting::{NOW, PEAK};
use forerun_models::Frame;
use forerun_models::published::{ClipJob, ClipMoment, ClipSettings, MemoryMode, PublishedFolder, need};
use forerun_models::testing::full_width::{Published, full_width};

/// Peaks of the stages of a run, in bytes above what was there before.
#[derive(Default)]
struct Peaks {
    /// Reading the words, the text encoder included.
    words: usize,
    /// Reading the transformer and, where it stays, the autoencoder.
    load: usize,
    /// The start until the first step is done: encoding, and one step.
    start: usize,
    /// The second step.
    step: usize,
    /// Behind the last step.
    decode: usize,
    step_seconds: f64,
    load_seconds: f64,
}

fn run(folder: &std::path::Path, given: usize, steps: usize, settings: &ClipSettings) -> Peaks {
    let (width, height) = (settings.width.unwrap(), settings.height.unwrap());
    let frames = vec![Frame::filled(width, height, [90, 120, 60]); given];
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let opened = PublishedFolder::open(folder).unwrap();
    let actions = opened.arm().map(|(size, number)| vec![vec![0.1; size]; number]);
    let model = forerun_models::published::Published::new(opened, &Device::Cpu, String::new()).unwrap();
    let job = ClipJob {
        prompt: "push",
        given: &frames,
        actions: actions.as_deref(),
        state: None,
        steps,
        seed: 1,
        settings,
    };
    let mut peaks = Peaks::default();
    let mut stage = 0;
    let (mut began, mut loading) = (Instant::now(), Instant::now());
    let mut seen = |stage: usize| {
        let peak = PEAK.swap(NOW.load(Relaxed), Relaxed).saturating_sub(before);
        let place = match stage {
            0 => &mut peaks.words,
            1 => &mut peaks.load,
            2 => &mut peaks.start,
            3 => &mut peaks.step,
            _ => &mut peaks.decode,
        };
        *place = (*place).max(peak);
    };
    let (mut load_seconds, mut step_seconds) = (0.0, 0.0);
    let made = model
        .imagine(&job, &mut |moment: ClipMoment<'_>| {
            seen(stage);
            match moment {
                ClipMoment::Stage("loading the model") => {
                    stage = 1;
                    loading = Instant::now();
                }
                ClipMoment::Stage("looking at the start") => {
                    stage = 2;
                    load_seconds = loading.elapsed().as_secs_f64();
                }
                ClipMoment::Step { done: 1, .. } => {
                    stage = 3;
                    began = Instant::now();
                }
                ClipMoment::Step { .. } => {
                    stage = 4;
                    step_seconds = began.elapsed().as_secs_f64();
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    seen(stage);
    assert_eq!(made.frames.len(), steps);
    Peaks { step_seconds, load_seconds, ..peaks }
}

#[test]
#[ignore = "minutes, and gigabytes of disk and memory"]
fn full_width_networks_take_steps_within_the_memory_that_was_said() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut wrong = Vec::new();
    println!(
        "| network, one block | numbers | clip | words: said, took (MB) | step: said, took | frames: said, took | loading (s) | a step (s) |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for kind in Published::ALL.into_iter().filter(|kind| kind.name().0.contains(&only)) {
        let dir = tempfile::tempdir().unwrap();
        full_width(kind, dir.path(), 3, 1).unwrap();
        let opened = PublishedFolder::open(dir.path()).unwrap();
        let (name, _) = kind.name();
        let (given, steps, chunk) = match kind {
            Published::Predict1Small | Published::Predict1Large => (1, 8, 9),
            Published::Predict2Arm => (1, 12, 13),
            Published::Policy => (2, 2, 33),
            Published::Transfer1 => (9, 9, 9),
            Published::Transfer25 => (5, 5, 5),
            _ => (1, 4, 5),
        };
        let modes = [
            (128, 64, MemoryMode::default()),
            (256, 128, MemoryMode { offload: Some(true), ..MemoryMode::default() }),
        ];
        for (width, height, memory) in modes {
            // Two towers and a table of words of this width fill a small machine.
            if kind == Published::Cosmos3Super && !memory.offloads() {
                continue;
            }
            let settings = ClipSettings {
                width: Some(width),
                height: Some(height),
                chunk: Some(chunk),
                denoise: Some(2),
                guidance: Some(1.0),
                memory,
                state: (kind == Published::Policy).then(|| vec![0.0; 9]),
                ..ClipSettings::default()
            };
            let said = need(&opened, &settings, given, steps).unwrap();
            let took = run(dir.path(), given, steps, &settings);
            let mb = |bytes: u64| bytes / 1_000_000;
            let words = took.words as u64;
            let step = took.step as u64;
            let frames = took.start.max(took.decode).max(took.load) as u64;
            println!(
                "| {name} | {} M | {width}x{height}x{chunk}{} | {} {} | {} {} | {} {} | {:.1} | {:.1} |",
                opened.parameters().unwrap() / 1_000_000,
                if memory.offloads() { ", offloaded" } else { "" },
                mb(said.words),
                mb(words),
                mb(said.denoise),
                mb(step),
                mb(said.frames),
                mb(frames),
                took.load_seconds,
                took.step_seconds,
            );
            let most = words.max(step).max(frames);
            for (stage, said, took, times) in [
                // Without offloading the words are read before the rest is there, but may be read again when it is.
                ("words", said.words, words, 8.0),
                ("step", said.denoise, step, 2.0),
                ("peak", said.peak(), most, 2.5),
            ] {
                if !(1.0..times).contains(&(said as f64 / took.max(1) as f64)) {
                    wrong.push(format!("{name} {width}x{height} {stage}: said {said}, took {took}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
