//! One tiny model a test.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{Device, Tensor};
use forerun_models::Frame;
use forerun_models::published::{
    ClipJob, ClipMade, ClipMoment, ClipSettings, Published, PublishedError, PublishedFolder,
};
use forerun_models::testing::published::{Tiny, tiny};

pub const WIDTH: usize = 32;
pub const HEIGHT: usize = 16;

/// A folder with a tiny model.
pub fn folder(kind: Tiny) -> tempfile::TempDir {
    folder_with(kind, 2)
}

pub fn folder_with(kind: Tiny, heads: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    tiny(kind, dir.path(), 3, heads).unwrap();
    dir
}

pub fn open(folder: &Path) -> Result<Published, PublishedError> {
    Published::new(PublishedFolder::open(folder)?, &Device::Cpu, "hash".into())
}

/// Small and quick.
pub fn settings() -> ClipSettings {
    ClipSettings {
        width: Some(WIDTH),
        height: Some(HEIGHT),
        denoise: Some(3),
        guidance: Some(1.0),
        rate_hz: Some(8.0),
        ..ClipSettings::default()
    }
}

/// A picture with a gradient that moves with `t`.
pub fn frame(t: usize) -> Frame {
    let data = (0..WIDTH * HEIGHT)
        .flat_map(|i| [(i % WIDTH * 7 + t * 5) as u8, (i / WIDTH * 15) as u8, 90])
        .collect();
    Frame::new(WIDTH, HEIGHT, data).unwrap()
}

pub fn frames(count: usize) -> Vec<Frame> {
    (0..count).map(frame).collect()
}

pub fn run(
    model: &Published,
    given: &[Frame],
    steps: usize,
    seed: u64,
    settings: &ClipSettings,
) -> Result<ClipMade, PublishedError> {
    let job =
        ClipJob { prompt: "the arm turns the T", given, actions: None, state: None, steps, seed, settings };
    model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(()))
}

/// Frames of a fresh model in `folder`.
pub fn made(folder: &Path, given: &[Frame], steps: usize, settings: &ClipSettings) -> Vec<Frame> {
    run(&open(folder).unwrap(), given, steps, 1, settings).unwrap().frames
}

/// Root of the mean squared difference of two clips, in levels.
pub fn distance(a: &[Frame], b: &[Frame]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|(a, b)| a.data.iter().zip(&b.data));
    let (sum, count) = pairs.fold((0.0, 0.0), |(sum, count), (a, b)| {
        let d = f64::from(*a) - f64::from(*b);
        (sum + d * d, count + 1.0)
    });
    (sum / f64::max(count, 1.0)).sqrt()
}

/// Changes the tensors of one safetensors file.
pub fn edit(path: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let mut tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, path).unwrap();
}

pub const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";
