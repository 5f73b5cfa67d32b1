//! Arm actions into the time embedding: NVIDIA's action-conditioned Predict2 and Predict2.5.
//!
//! Two small perceptrons turn actions into a vector of the stream's width, added to the sinusoid before its norm,
//! and one of three times the width, added to the shared adaLN vector.

use candle_core::{Result, Tensor};
use candle_nn::{Module, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::common::{Linear, linear};

/// How a chunk of actions is laid out over the latent frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionLayout {
    /// The whole chunk is one vector, the same for every frame.
    #[default]
    Chunk,
    /// Each latent frame behind the first has its own actions (four of them in the published network).
    PerLatentFrame,
}

/// Sizes of the action part.
#[derive(Clone, Copy, Debug)]
pub struct ActionConfig {
    /// Numbers per action.
    pub size: usize,
    /// Actions per call.
    pub number: usize,
    /// How they enter.
    pub layout: ActionLayout,
}

impl ActionConfig {
    /// Numbers per row that the perceptrons read. Per latent frame, one latent frame stands for four frames.
    fn features(&self) -> usize {
        match self.layout {
            ActionLayout::Chunk => self.size * self.number,
            ActionLayout::PerLatentFrame => self.size * 4,
        }
    }
}

/// Action vectors per latent frame.
pub(super) struct ActionVectors {
    /// [B, T, width]
    pub narrow: Tensor,
    /// [B, T, 3·width]
    pub wide: Tensor,
}

struct Perceptron {
    fc1: Linear,
    fc2: Linear,
}

impl Perceptron {
    fn new(inputs: usize, hidden: usize, outputs: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self { fc1: linear(inputs, hidden, vb.pp("fc1"))?, fc2: linear(hidden, outputs, vb.pp("fc2"))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.gelu()?)
    }
}

/// The two perceptrons.
pub(super) struct ActionEmbedder {
    narrow: Perceptron,
    wide: Perceptron,
    config: ActionConfig,
}

impl ActionEmbedder {
    pub fn new(config: ActionConfig, width: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let inputs = config.features();
        Ok(Self {
            narrow: Perceptron::new(inputs, 4 * width, width, vb.pp("action_embedder_B_D"))?,
            wide: Perceptron::new(inputs, 4 * width, 3 * width, vb.pp("action_embedder_B_3D"))?,
            config,
        })
    }

    /// `actions` [B, number, size]. Per latent frame, the first frame and all given frames (`condition_mask`
    /// [B, 1, T, h, w]) get none.
    pub fn forward(
        &self,
        actions: &Tensor,
        frames: usize,
        condition_mask: Option<&Tensor>,
    ) -> Result<ActionVectors> {
        let (batch, number, size) = actions.dims3()?;
        let ActionConfig { size: wanted_size, number: wanted, layout } = self.config;
        if (number, size) != (wanted, wanted_size) {
            candle_core::bail!(
                "{number} actions of {size} numbers, but this network takes {wanted} of {wanted_size}"
            );
        }
        let vectors = |perceptron: &Perceptron| match layout {
            ActionLayout::Chunk => {
                // [B, number·size] -> [B, 1, width]
                perceptron.forward(&actions.reshape((batch, 1, number * size))?)
            }
            ActionLayout::PerLatentFrame => {
                if frames < 2 || number != 4 * (frames - 1) {
                    candle_core::bail!(
                        "{number} actions for {frames} latent frames: four are needed for each behind the first"
                    );
                }
                // [B, T-1, 4·size] -> [B, T, width], the first row zero
                let rows = perceptron.forward(&actions.reshape((batch, frames - 1, 4 * size))?)?;
                let rows = rows.pad_with_zeros(1, 1, 0)?;
                match condition_mask {
                    None => Ok(rows),
                    // [B, 1, T, h, w] -> [B, T, 1]: a frame is given as a whole.
                    Some(mask) => {
                        let given = mask.narrow(3, 0, 1)?.narrow(4, 0, 1)?.reshape((batch, frames, 1))?;
                        rows.broadcast_mul(&given.to_dtype(rows.dtype())?.affine(-1.0, 1.0)?)
                    }
                }
            }
        };
        Ok(ActionVectors { narrow: vectors(&self.narrow)?, wide: vectors(&self.wide)? })
    }
}
