//! The screens of the rail, one module each.

pub mod world;
