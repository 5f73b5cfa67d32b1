//! The window of Forerun and its command line.
//!
//! The upper floor of the house: it knows egui and the engine's messages, never candle or a serial port.

pub mod app;
pub mod background;
pub mod bench;
pub mod cards;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod curve;
pub mod data;
pub mod doc;
pub mod fonts;
pub mod futures;
pub mod history;
pub mod i18n;
pub mod icons;
pub mod jobs;
pub mod link;
pub mod log;
pub mod message;
pub mod policy;
pub mod project;
pub mod robot;
pub mod scenes;
pub mod screens;
pub mod shelf;
pub mod shell;
pub mod software;
pub mod start;
pub mod state_file;
#[cfg(test)]
mod testing;
pub mod theme;
pub mod train;
pub mod transport;
pub mod verdict;
pub mod vocabulary;
pub mod widgets;
