//! For tests of what carries policies to robots: a policy that has seen a little, a camera, and a judge of the commands that
//! arrived at an emulated arm's motors.
#![allow(clippy::unwrap_used, dead_code)] // Each test program uses a part of this.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forerun::Frame;
use forerun::models::policy::Look;
use forerun::policy::{PolicyJob, PolicySettings, run};
use forerun::robot::emulator::Written;
use forerun::robot::file::RobotFile;
use forerun::robot::numbers::Mode;
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
        device: forerun::engine::device::open("cpu").unwrap(),
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

/// A camera: a picture file that a thread writes again and again, never the same twice.
pub struct Eyes {
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Eyes {
    /// Opens it.
    pub fn open(path: PathBuf) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut turn = 0u8;
            while !over.load(Ordering::SeqCst) {
                let mut frame = Frame::filled(32, 32, [90, 110, 140]);
                for (i, byte) in frame.data.iter_mut().enumerate() {
                    *byte = byte.wrapping_add((i % 40) as u8).wrapping_add(turn % 7);
                }
                turn = turn.wrapping_add(1);
                let _ = forerun::media::write_png(&path, &frame);
                std::thread::sleep(Duration::from_millis(150));
            }
        });
        Self { end, thread: Some(thread) }
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Degrees of a step of the servos.
pub const STEP: f64 = 360.0 / 4095.0;

/// Every goal that arrived: inside the bounds (or inwards from where the arm lay), never faster than the mode allows.
pub fn judge(robot: &RobotFile, trace: &[Written], mode: Mode) {
    for j in &robot.joints {
        let goals: Vec<i32> =
            trace.iter().filter(|w| w.register == 42 && w.id == j.id).map(|w| w.value).collect();
        let c = j.calibration.unwrap();
        let (low, high) = robot.bounds(j);
        let (low, high) = (c.to_steps(j.unit, low).unwrap(), c.to_steps(j.unit, high).unwrap());
        let most = j.limits(mode).speed * j.degrees_per_unit() * 0.01 * 1.05 + 1.01 * STEP;
        for w in goals.windows(2) {
            let (before, now) = (w[0], w[1]);
            let inside = (now >= low - 1 || now >= before) && (now <= high + 1 || now <= before);
            assert!(inside, "{}: goal {now} (before {before}) outside {low}..{high}", j.name);
            let degrees = f64::from((now - before).abs()) * STEP;
            assert!(degrees <= most, "{}: {degrees} degrees in a tick", j.name);
        }
    }
}

/// When the goals changed last, by the emulated arm's clock.
pub fn last_motion(trace: &[Written]) -> Duration {
    let of = |id: u8| {
        let goals: Vec<&Written> = trace.iter().filter(|w| w.register == 42 && w.id == id).collect();
        let last = goals.windows(2).rev().find(|w| w[0].value != w[1].value).map(|w| w[1].time);
        last.unwrap_or_default()
    };
    (1..=6).map(of).max().unwrap_or_default()
}
