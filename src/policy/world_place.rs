//! The place `world:tabletop`: physics.

use forerun_models::{Channel, ChannelMode};

use super::place::{Observation, Place, Verdict};
use crate::failure::Failure;
use crate::world::arm::JOINT_LIMITS;
use crate::world::{JOINT_NAMES, JOINT_UNITS, JOINTS, SceneSpec, World};

/// A running episode of the virtual world.
pub struct WorldPlace {
    world: World,
    channels: Vec<Channel>,
    size: usize,
}

/// The six joints with their limits.
pub(crate) fn joints() -> Vec<Channel> {
    JOINT_NAMES
        .iter()
        .zip(JOINT_UNITS)
        .zip(JOINT_LIMITS)
        .map(|((name, unit), [min, max])| Channel {
            name: (*name).to_owned(),
            unit: unit.to_owned(),
            min,
            max,
            mode: ChannelMode::Absolute,
            mean: 0.5 * (min + max),
            std: 0.25 * (max - min),
        })
        .collect()
}

/// A row as joint values; what is missing is not a number, which holds its joint.
pub(crate) fn joint_row(row: &[f32]) -> [f32; JOINTS] {
    let mut out = [f32::NAN; JOINTS];
    out.iter_mut().zip(row).for_each(|(o, v)| *o = *v);
    out
}

impl WorldPlace {
    /// The start of a scene, seen in pictures of `size` x `size`.
    ///
    /// # Errors
    /// A scene that cannot be built.
    pub fn new(scene: &SceneSpec, size: usize) -> Result<Self, Failure> {
        let world = World::new(scene).map_err(Failure::from_error)?;
        Ok(Self { world, channels: joints(), size })
    }

    /// The physics, for scripts that look at it.
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Place for WorldPlace {
    fn actions(&self) -> &[Channel] {
        &self.channels
    }

    fn state(&self) -> &[Channel] {
        &self.channels
    }

    fn rate_hz(&self) -> f32 {
        self.world.spec().fps as f32
    }

    fn prompt(&self) -> &str {
        &self.world.spec().task.text
    }

    fn observe(&mut self) -> Result<Observation, Failure> {
        Ok(Observation { frame: self.world.render(self.size, self.size), state: self.world.state().to_vec() })
    }

    fn step(&mut self, action: &[f32]) -> Result<(), Failure> {
        self.world.step(&joint_row(action));
        Ok(())
    }

    fn verdict(&self) -> Verdict {
        let judged = self.world.judgement();
        Verdict { success: judged.success, progress: judged.progress }
    }
}
