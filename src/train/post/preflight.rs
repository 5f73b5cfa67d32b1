//! Before a run starts: whether memory, disk and time suffice, from numbers of this machine.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use forerun_models::dreamer::adapt::Weights;
use forerun_models::dreamer::{Config, refiner};
use forerun_models::nn::cells::AROUND;
use serde::{Deserialize, Serialize};

use super::learner::Learning;
use super::settings::PostSettings;
use crate::machine::Machine;
use crate::train::batch::batch;
use crate::train::{Budget, Library, TrainError};

/// What was measured and estimated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    /// Training frames a second on this machine, measured; 0 when nothing was measured.
    pub frames_per_second: f64,
    /// Seconds a step of the optimiser, measured.
    pub seconds_per_iteration: f64,
    /// Steps that the run will have.
    pub iterations: u64,
    /// Seconds that it will take.
    pub seconds: f64,
    /// Bytes of memory that it needs.
    pub memory_needed: u64,
    /// Bytes of memory that are free; 0 = unknown.
    pub memory_free: u64,
    /// Bytes of disk that it needs.
    pub disk_needed: u64,
    /// Bytes of disk that are free; 0 = unknown.
    pub disk_free: u64,
}

/// Fewest steps that are of use.
const LEAST: u64 = 20;
/// Share of the time that judging and saving take.
const OVERHEAD: f64 = 0.15;
/// Memory that stays free for everybody else.
const SPARE: u64 = 256 << 20;

impl Preflight {
    /// Memory and disk, before any picture is read. `workers` counts those that compute in this memory: none where a
    /// graphics card does.
    ///
    /// # Errors
    /// [`TrainError::Memory`], [`TrainError::Disk`].
    pub(super) fn room(
        config: &Config,
        weights: &Weights,
        frames: usize,
        workers: usize,
        out: &Path,
    ) -> Result<Self, TrainError> {
        let numbers: u64 = weights.values().map(|t| t.elem_count() as u64).sum();
        let pictures = (frames * config.image_width * config.image_height * 3) as u64;
        // Value, variable, two moments, average; and per worker the gradients and what the backward pass keeps:
        // about 40 vectors of the token width for each token of each block, for 16 frames.
        let tokens = (16 * config.tokens() * config.layers * config.width * 40 * 4) as u64;
        // A neighbourhood of the refiner with its gradient, and some of its vectors, for each cell of those frames.
        let cells = refiner::cells(config).map_or(0, |cells| cells.in_picture() * 16);
        let cells = (cells * (2 * AROUND + 16) * config.refiner * 4) as u64;
        let memory_needed = pictures + numbers * 4 * 6 + workers as u64 * (numbers * 4 + tokens + cells);
        // The checkpoint, the model, and the best ones.
        let disk_needed = numbers * 4 * (4 + 1 + 4) + (32 << 20);
        let memory_free = Machine::look().memory.1;
        let disk_free = free_disk(out).unwrap_or(0);
        let found = Self { memory_needed, memory_free, disk_needed, disk_free, ..Self::default() };
        if memory_free > 0 && memory_needed + SPARE > memory_free {
            return Err(TrainError::Memory { need: memory_needed + SPARE, have: memory_free });
        }
        if disk_free > 0 && disk_needed > disk_free {
            return Err(TrainError::Disk { path: out.to_path_buf(), need: disk_needed, have: disk_free });
        }
        Ok(found)
    }

    /// Trains for `seconds` on copies that are thrown away, to see how fast this machine is.
    ///
    /// # Errors
    /// What would make the run itself fail, found early; [`TrainError::Cancelled`].
    pub(super) fn measure(
        &mut self,
        settings: &PostSettings,
        library: &Library,
        config: &Config,
        weights: &Weights,
        device: &Device,
        seconds: f64,
        cancel: &AtomicBool,
    ) -> Result<(), TrainError> {
        let mut learning = Learning::new(settings, config, weights, device)?;
        let begun = Instant::now();
        let (mut frames, mut rounds) = (0, 0);
        while begun.elapsed().as_secs_f64() < seconds {
            let found = {
                let variables: Vec<_> = learning.stepper.variables().map(|(_, var)| var).collect();
                // The second half of a run is the slower one: some clips get their own past.
                let progress = if rounds % 2 == 0 { 0.0 } else { 1.0 };
                batch(&settings.train, library, learning.learner(), &variables, rounds, progress, cancel)?
            };
            learning.stepper.step(&found.gradients, 0.0)?;
            frames += found.frames;
            rounds += 1;
        }
        let spent = begun.elapsed().as_secs_f64();
        if rounds > 0 {
            self.frames_per_second = frames as f64 / spent;
            self.seconds_per_iteration = spent / rounds as f64;
        }
        Ok(())
    }

    /// What the budget allows, with the measured speed.
    ///
    /// # Errors
    /// [`TrainError::TooShort`].
    pub(super) fn time(&mut self, budget: Budget, frames_each: f64) -> Result<(), TrainError> {
        let each = if self.frames_per_second > 0.0 { frames_each / self.frames_per_second } else { 0.0 };
        self.seconds_per_iteration = each;
        match budget {
            Budget::Iterations(all) => {
                self.iterations = all;
                self.seconds = all as f64 * each * (1.0 + OVERHEAD);
            }
            Budget::Minutes(minutes) => {
                self.seconds = f64::from(minutes) * 60.0;
                if each > 0.0 {
                    self.iterations = (self.seconds * (1.0 - OVERHEAD) / each) as u64;
                    if self.iterations < LEAST {
                        return Err(TrainError::TooShort {
                            minutes,
                            iterations: self.iterations,
                            seconds: each,
                            least: LEAST,
                            needed: (LEAST as f64 * each / (1.0 - OVERHEAD) / 60.0).ceil().max(1.0),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// Frames that the time allows to train on.
    pub(super) fn affordable(&self, budget: Budget) -> Option<f64> {
        match budget {
            Budget::Minutes(minutes) if self.frames_per_second > 0.0 => {
                Some(f64::from(minutes) * 60.0 * (1.0 - OVERHEAD) * self.frames_per_second)
            }
            _ => None,
        }
    }
}

/// Free bytes on the disk of a path that may not exist yet.
#[cfg(unix)]
pub(crate) fn free_disk(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let mut there = path.to_path_buf();
    while !there.exists() {
        there = crate::fsx::parent_of(&there).to_path_buf();
    }
    let name = std::ffi::CString::new(there.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` is a C string, `found` has room for the answer, and is read only when the call succeeded.
    let found = unsafe {
        if libc::statvfs(name.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    // The fields' widths differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(not(unix))]
pub(crate) fn free_disk(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn too_little_time_is_refused_with_the_time_that_it_takes() {
        let mut found = Preflight { frames_per_second: 10.0, ..Preflight::default() };
        let error = found.time(Budget::Minutes(0.5), 64.0).unwrap_err();
        assert!(matches!(error, TrainError::TooShort { iterations: 3, .. }), "{error}");
        assert!(error.to_string().contains("3 minutes or more"), "{error}");
        found.time(Budget::Minutes(10.0), 64.0).unwrap();
        assert_eq!(found.iterations, 79);
        // A number of iterations is done whatever it takes.
        found.time(Budget::Iterations(5), 64.0).unwrap();
        assert!((found.seconds - 36.8).abs() < 0.1, "{}", found.seconds);
    }

    #[test]
    fn more_pictures_than_memory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let room = |frames| Preflight::room(&Config::tiny(), &Weights::new(), frames, 2, dir.path());
        let found = room(10).unwrap();
        if found.memory_free > 0 {
            assert!(matches!(room(1 << 34), Err(TrainError::Memory { .. })));
        }
        assert!(found.disk_free > 0 || cfg!(not(unix)));
    }
}
