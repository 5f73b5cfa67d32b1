//! The safety layer: the only code that can command a motor.
//!
//! States are types ([`states`]): a policy's actions can be proposed to a [`states::Robot`] that is `Running` and to no
//! other; that is checked by the compiler. Whatever is proposed goes through checks ([`plan`]), the limiter ([`limiter`])
//! and watchdogs ([`watch`], [`camera`]). There is no switch to turn any of it off.
//!
//! A software stop is not a safety-rated function. Keep the power switch within reach.

pub mod any;
pub mod blackbox;
pub mod camera;
mod core;
pub mod limiter;
mod mcap;
pub mod order;
pub mod plan;
pub mod shadow;
pub mod states;
pub mod trip;
pub mod watch;

pub use any::AnyRobot;
pub use plan::Chunk;
pub use states::{Armed, Disconnected, Fault, Hold, Limp, Ready, Robot, Running};
pub use trip::{Refusal, Severity, Trip};
