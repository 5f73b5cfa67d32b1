//! Measurements of the world's speed, for `forerun bench camera` and `benches/camera.rs`.

use super::behaviour::{Behaviour, Driver};
use super::distribution::SceneDistribution;
use super::physics::World;
use super::{Renderer, WorldError};
use std::time::Instant;

/// What [`camera`] measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraSpeed {
    /// Side of the pictures, pixels.
    pub size: usize,
    /// Threads.
    pub threads: usize,
    /// Frames per second of all threads together, backgrounds included (one per 60 frames).
    pub frames_per_second: f64,
    /// Frames per second of one thread's physics with labels, without pictures.
    pub steps_per_second: f64,
}

/// Draws episodes of play for about `seconds` on `threads` threads.
///
/// # Errors
/// [`WorldError`] when a scene cannot be built.
pub fn camera(size: usize, threads: usize, seconds: f64) -> Result<CameraSpeed, WorldError> {
    const STEPS: usize = 60;
    let threads = threads.max(1);
    let mut world = World::new(&SceneDistribution::default().sample(1, true))?;
    let mut driver = Driver::new(Behaviour::Play, &world, 1);
    let mut track = Vec::with_capacity(STEPS);
    let start = Instant::now();
    for _ in 0..STEPS {
        let action = driver.act(&world);
        world.step(&action);
        track.push((world.state(), world.poses(), world.labels()));
    }
    let steps_per_second = STEPS as f64 / start.elapsed().as_secs_f64().max(1e-9);

    let start = Instant::now();
    let spec = world.spec().clone();
    let drawn: usize = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut n = 0;
                    while start.elapsed().as_secs_f64() < seconds {
                        let mut renderer = Renderer::new(&spec, size, size);
                        for (joints, objects, _) in &track {
                            n += usize::from(!renderer.render(joints, objects).data.is_empty());
                        }
                    }
                    n
                })
            })
            .collect();
        jobs.into_iter().map(|j| j.join().unwrap_or(0)).sum()
    });
    let frames_per_second = drawn as f64 / start.elapsed().as_secs_f64().max(1e-9);
    Ok(CameraSpeed { size, threads, frames_per_second, steps_per_second })
}
