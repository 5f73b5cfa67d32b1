//! The engine: everything heavy happens behind its messages, never in the window.

pub mod protocol;
