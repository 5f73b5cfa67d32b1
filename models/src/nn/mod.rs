//! Building blocks of networks: operations with gradients, rotary tables, the time cache and the parameter store.
//!
//! [`ops`] chooses for each call between a fused CPU kernel with a hand-written backward pass and [`stock`], the same
//! formula in plain candle operations, which serves every other device and every other number format; [`path`] is where the
//! choice is made, and where it can be forced.

pub mod cells;
pub mod feed_forward;
mod fused;
pub mod matrix;
pub mod ops;
pub mod params;
pub mod path;
pub mod rope;
pub mod stock;
pub mod time_cache;

pub use matrix::Matrix;
pub use params::{Init, Params};
pub use path::Path;
pub use rope::{RopeTable, rope_axial_2d, rope_table};
pub use time_cache::TimeCache;
