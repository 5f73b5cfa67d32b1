//! The program as people and windows start it: exit codes, messages, the engine as a child that may die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod child;
mod help;
mod imagine;
mod published;
mod robot;
mod support;
