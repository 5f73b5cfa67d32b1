//! Dynamixel X servos by protocol 2.0 (Koch, OMX, ALOHA) on a half-duplex serial bus.
//!
//! Written from the public protocol and control table (<https://emanual.robotis.com/docs/en/dxl/protocol2/>). These servos
//! have a watchdog of their own, which the Feetech ones lack: it is set while the arm is stiff, as a last line.

pub mod bus;
pub mod codec;

pub use bus::DynamixelBus;
