//! A policy that has seen a little, for tests of what carries policies to robots.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use forerun::Frame;
use forerun::models::policy::Look;
use forerun::policy::{PolicyJob, PolicySettings, run};
use forerun::train::{Budget, Episode, Library, channel_of};

/// Trains the smallest policy for two iterations on eight short episodes in which nothing moves. `channels` are names and
/// units, their data goes from -`range` to `range`; `pair` is the state and the action of an episode.
pub fn tiny_policy(
    folder: &Path,
    embodiment: &str,
    channels: &[(&str, &str)],
    range: f32,
    chunk: usize,
    pair: impl Fn(u8) -> (Vec<f32>, Vec<f32>),
) {
    let of =
        || channels.iter().map(|(n, u)| channel_of(n, u, [-range, range].into_iter())).collect::<Vec<_>>();
    let mut library = Library::new(&forerun::models::dreamer::Config::micro(), of(), of());
    for i in 0..8u8 {
        let (state, action) = pair(i);
        library.add(Episode {
            frames: (0..6).map(|_| Frame::filled(32, 32, [i * 20, 40, 80])).collect(),
            state: vec![state; 6],
            action: vec![action; 6],
            prompt: Some("go".into()),
            told: true,
            weight: 1.0,
            ..Episode::default()
        });
    }
    let mut settings = PolicySettings {
        size: "micro".into(),
        batch: 8,
        micro: 4,
        colour_jitter: 0.0,
        looks: vec![Look::Now],
        chunk,
        ..PolicySettings::default()
    };
    settings.schedule.warmup = 1;
    let job = PolicyJob {
        settings,
        library: &library,
        held_out: &[],
        rate_hz: 10.0,
        embodiment: embodiment.into(),
        data_sha256: Vec::new(),
        out: folder.to_path_buf(),
        budget: Budget::Iterations(2),
        resume: false,
        base: None,
    };
    run(&job, &mut |_| {}, &AtomicBool::new(false)).unwrap();
}

/// A policy for an SO-101 that goes a degree or two further than where the arm stands.
pub fn so101_policy(folder: &Path) {
    let channels: Vec<(&str, &str)> =
        forerun::world::JOINT_NAMES.iter().copied().zip(forerun::world::JOINT_UNITS).collect();
    tiny_policy(folder, "so101_follower", &channels, 150.0, 24, |i| {
        let at = f32::from(i) - 4.0;
        (vec![at, at, at, at, at, 50.0], vec![at + 1.5, at, at, at, at, 50.0])
    });
}
