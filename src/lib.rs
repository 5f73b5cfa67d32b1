//! Projects, media, datasets, virtual worlds, the engine and its jobs, training runs, policies and robots.
//!
//! The middle floor of the house: it never knows egui.

pub use forerun_models as models;
pub use forerun_models::Frame;

pub mod bench;
pub mod compare;
pub mod dataset;
pub mod engine;
pub mod failure;
pub mod fsx;
pub mod hub;
pub mod inspect;
pub mod interrupt;
pub mod machine;
pub mod media;
pub mod policy;
pub mod project;
pub mod robot;
pub mod score;
pub mod terminal;
pub mod train;
pub mod world;

pub use failure::Failure;
