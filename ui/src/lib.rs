//! The window of Forerun and its command line.
//!
//! The upper floor of the house: it knows egui and the engine's messages, never candle or a serial port.

pub mod cli;
