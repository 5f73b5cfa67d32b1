//! Feetech STS servos (SO-100, SO-101) on a half-duplex serial bus.
//!
//! Written here and not taken from a crate: the safety layer needs answers that common drivers throw away (the error
//! byte of every answer), a line that cannot stay one answer behind, and a bus that can be played in memory against a
//! simulated clock.

pub mod bus;
pub mod codec;

pub use bus::FeetechBus;
