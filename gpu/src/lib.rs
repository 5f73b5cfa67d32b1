//! The network of the shipped kind of world model on any graphics card, in compute shaders of our own (WGSL over wgpu:
//! Vulkan, Metal, Direct3D 12): imagining only; learning needs a processor or a card that candle knows.
//!
//! ```text
//! card      which cards there are, and one of them opened
//! program   the kernels, made for one network's sizes
//! weights   a network's numbers on a card
//! session   futures under way: buffers, the list of what a pass does, and reading back
//! kernels/  the shaders; the same formulas as `forerun_models::kernels`, tested against them
//! ```

mod card;
mod program;
mod session;
mod weights;

pub use card::{Card, CardInfo, cards, open};
