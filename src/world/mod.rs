//! The virtual world `tabletop`: an SO-101-like arm and a few objects on a table, with physics, a camera,
//! tasks in words, behaviours, looks and labels.
//!
//! | file | what it is for |
//! |---|---|
//! | `scene` | what a scene is made of, as data |
//! | `distribution`, `looks` | drawing scenes from seeds |
//! | `arm`, `ik` | the arm's geometry and inverse kinematics |
//! | `physics` | the running world |
//! | `camera/` | the ray caster |
//! | `task`, `words` | tasks, success rules, phrasings |
//! | `behaviour/` | who moves the arm: play, expert, noisy, idle |
//! | `episode`, `record` | episodes, and datasets of them |
//!
//! Coordinates: metres, robot base at the origin, x forward, y to the robot's left, z up, table top at z = 0.

pub mod arm;
pub mod behaviour;
pub mod bench;
pub mod camera;
pub mod distribution;
pub mod episode;
pub mod ik;
mod looks;
pub mod math;
pub mod physics;
pub mod record;
pub mod rng;
pub mod scene;
pub mod task;
pub mod words;

pub use arm::{JOINT_LIMITS, JOINT_NAMES, JOINT_UNITS, JOINTS};
pub use behaviour::Behaviour;
pub use camera::{Camera, Picture, Renderer};
pub use distribution::{Preset, SceneDistribution, drawn_scene};
pub use episode::{Episode, EpisodeSettings, generate_episode, simulate_episode};
pub use math::{Pose, V3};
pub use physics::{Labels, World};
pub use record::{RecordProgress, RecordSettings, record};
pub use scene::{ColourName, Look, SceneSpec, Shape};
pub use task::{Direction, PUSH, TaskName, TaskSpec, pushed};

use crate::Frame;

/// Most objects that a scene can hold.
pub const MAX_OBJECTS: usize = 3;

/// What can go wrong with a world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A scene that cannot be built.
    #[error("this scene cannot be built: {0}. Check the scene file, or draw a new scene from a seed")]
    BadScene(String),
    /// Not a look.
    #[error("`{0}` is not a look: use plain, rich or a whole number")]
    BadLook(String),
    /// Not a task.
    #[error(
        "`{0}` is not a task: use push-left, push-right, push-away, push-toward, push-onto, turn, place, stack, knock or play"
    )]
    BadTask(String),
    /// Not a behaviour.
    #[error("`{0}` is not a behaviour: use play, expert, noisy or idle")]
    BadBehaviour(String),
    /// A setting out of its range.
    #[error("{0}")]
    BadSetting(String),
    /// The dataset could not be written.
    #[error("the dataset could not be written: {0}")]
    Dataset(String),
    /// The person stopped it.
    #[error("cancelled")]
    Cancelled,
}

/// Draws one frame of a scene from joint values (degrees, gripper 0..100) and object poses, as the camera of a
/// running [`World`] would. For many frames of one scene keep a [`Renderer`]. Sides are clamped to 16..=1024.
pub fn render_state(
    spec: &SceneSpec,
    joints: &[f32; JOINTS],
    objects: &[Pose],
    width: usize,
    height: usize,
) -> Frame {
    Renderer::new(spec, width, height).render(joints, objects)
}

/// Where a point of the world appears in a picture of this size, pixels from the top left corner (pixel centres
/// at `.5`); `None` behind the camera.
pub fn project_point(spec: &SceneSpec, point: V3, width: usize, height: usize) -> Option<[f32; 2]> {
    Camera::new(&spec.camera).project(point, width, height)
}
