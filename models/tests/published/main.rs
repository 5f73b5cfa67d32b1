//! Published models from their files to frames: tiny ones with random weights, the whole way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod adapters;
mod damage;
mod modes;
mod policy;
mod prompts;
mod pt;
mod runs;
mod stock;
mod support;
