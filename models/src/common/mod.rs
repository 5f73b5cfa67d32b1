//! Small pieces that several published networks share: attention, norms, rotary positions, sinusoids.
//!
//! All of them are written with differentiable candle operations. candle's fused norms, softmax and rotary
//! embedding cut the gradient without a word, which would make fine-tuning these networks fail silently.

pub mod attention;
pub mod layer;
pub mod load;
pub mod norm;
pub mod place;
pub mod rotary;
pub mod sinusoid;

pub use attention::{Mask, attention, repeat_heads};
pub use layer::{Linear, Storage, with_storage};
pub use load::{config_error, linear, linear_no_bias};
pub use norm::{RmsNorm, layer_norm};
pub use place::Place;
