//! Where an agent can act.

use forerun_models::Channel;

use crate::Frame;
use crate::failure::Failure;

/// What an agent is shown.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Picture of the camera, in the place's own size.
    pub frame: Frame,
    /// State in the place's order and units ([`Place::state`]).
    pub state: Vec<f32>,
}

/// How far the task is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The success rule holds.
    pub success: bool,
    /// 0 (start) to 1 (done).
    pub progress: f32,
}

/// A place: physics, imagination, a robot. It is at one moment of one episode.
pub trait Place {
    /// Its action channels, in the order of [`Place::step`].
    fn actions(&self) -> &[Channel];
    /// Its state channels, in the order of [`Observation::state`].
    fn state(&self) -> &[Channel];
    /// Observations and actions a second.
    fn rate_hz(&self) -> f32;
    /// What is to be done.
    fn prompt(&self) -> &str;
    /// The present.
    ///
    /// # Errors
    /// When the camera or the model fails.
    fn observe(&mut self) -> Result<Observation, Failure>;
    /// Goes on by one step under this action; a number that is not one leaves its channel where it is.
    ///
    /// # Errors
    /// When the model or the robot fails.
    fn step(&mut self, action: &[f32]) -> Result<(), Failure>;
    /// How far the task is now.
    fn verdict(&self) -> Verdict;
}
