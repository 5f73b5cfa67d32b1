//! Loading single layers by their checkpoint names.

use candle_core::{Error, Result};
use candle_nn::VarBuilder;

use super::layer::Linear;

/// A linear layer with bias: `weight` [`outputs`, `inputs`], `bias` [`outputs`].
pub fn linear(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    let weight = vb.get((outputs, inputs), "weight")?;
    let bias = vb.get(outputs, "bias")?;
    Linear::stored(weight, Some(bias))
}

/// A linear layer without bias: `weight` [`outputs`, `inputs`].
pub fn linear_no_bias(inputs: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Linear> {
    Linear::stored(vb.get((outputs, inputs), "weight")?, None)
}

/// An error about a configuration that makes no network.
pub fn config_error(what: impl std::fmt::Display) -> Error {
    Error::Msg(format!("unusable configuration: {what}"))
}
