//! World-model networks, kernels, samplers and checkpoints.
//!
//! The lowest floor of the house: it knows candle and model folders, and nothing of windows, robots or projects.

pub mod checkpoint;
pub mod common;
pub mod contract;
pub mod cosmos;
pub mod dreamer;
pub mod frame;
#[macro_use]
pub mod kernels;
pub mod measure;
pub mod nn;
pub mod optim;
pub mod policy;
pub mod published;
pub mod random;
pub mod reason;
pub mod sampler;
pub mod testing;
pub mod text;
pub mod verify;
pub mod wan;

pub use contract::{Channel, ChannelMode, Contract, ContractError, Fit, FrameSpec};
pub use frame::Frame;
