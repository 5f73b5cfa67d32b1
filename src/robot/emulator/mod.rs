//! An SO-101's bus without the arm: to practise on, and to test the driver and the safety layer against.
//!
//! Six STS3215 servos with their registers, packets and motion, and switches for what goes wrong with real ones. It
//! keeps a trace of every command with the time and the true position, so that safety is judged by what arrived at the
//! motors. [`wire`] connects it in memory under a simulated clock, [`pty`] as a serial port in real time.

pub mod arm;
pub mod dynamixel;
pub mod pty;
pub mod servo;
pub mod wire;

pub use arm::{EmulatedArm, Faults, Written};
pub use pty::PtyArm;
pub use wire::MemoryLine;
