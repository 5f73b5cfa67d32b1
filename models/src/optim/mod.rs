//! Optimisers over a [`Params`](crate::nn::Params) store.

mod schedule;
mod stepper;

pub use schedule::Schedule;
pub use stepper::{Settings, Stepper};
