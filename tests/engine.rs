//! The engine from request to event, in this process, with a real (random) model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "engine/support.rs"]
mod support;

#[path = "engine/bad_input.rs"]
mod bad_input;
#[path = "engine/data.rs"]
mod data;
#[path = "engine/datasets.rs"]
mod datasets;
#[path = "engine/futures.rs"]
mod futures;
#[path = "engine/policies.rs"]
mod policies;
