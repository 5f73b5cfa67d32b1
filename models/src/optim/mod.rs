//! Optimisers over a [`Params`](crate::nn::Params) store.

mod gradients;
mod on_device;
mod schedule;
mod stepper;

pub use gradients::Gradients;
pub use schedule::Schedule;
pub use stepper::{Settings, Stepper};
