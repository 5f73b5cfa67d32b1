//! Latents to sound.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::AudioConfig;
use super::layers::{Conv, Grow, Snake};

/// The decoder.
pub(super) struct Decoder {
    conv_in: Conv,
    stages: Vec<Stage>,
    snake: Snake,
    conv_out: Conv,
}

struct Stage {
    snake: Snake,
    grow: Grow,
    units: Vec<Unit>,
}

/// Two convolutions with a snake before each, around a shortcut.
struct Unit {
    snake1: Snake,
    conv1: Conv,
    snake2: Snake,
    conv2: Conv,
}

impl Unit {
    fn new(width: usize, dilation: usize, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            snake1: Snake::new(width, vb.pp("snake1"))?,
            conv1: Conv::normed((width, width, 7), true, 3 * dilation, vb.pp("conv1"))?.dilated(dilation),
            snake2: Snake::new(width, vb.pp("snake2"))?,
            conv2: Conv::normed((width, width, 1), true, 0, vb.pp("conv2"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inner = self.conv1.forward(&self.snake1.forward(x)?)?;
        x + self.conv2.forward(&self.snake2.forward(&inner)?)?
    }
}

impl Decoder {
    pub fn new(cfg: &AudioConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let widths: Vec<usize> = std::iter::once(1)
            .chain(cfg.dec_c_mults.iter().copied())
            .rev()
            .map(|m| m * cfg.dec_dim)
            .collect();
        let first = widths.first().copied().unwrap_or(cfg.dec_dim);
        let mut stages = Vec::new();
        for (i, (pair, stride)) in widths.windows(2).zip(cfg.dec_strides.iter().rev()).enumerate() {
            let &[inputs, outputs] = pair else { continue };
            let vb = vb.pp("block").pp(i);
            let units = [1, 3, 9].into_iter().zip(["res_unit1", "res_unit2", "res_unit3"]);
            stages.push(Stage {
                snake: Snake::new(inputs, vb.pp("snake1"))?,
                grow: Grow::new(inputs, outputs, *stride, vb.pp("conv_t1"))?,
                units: units
                    .map(|(dilation, name)| Unit::new(outputs, dilation, vb.pp(name)))
                    .collect::<Result<_>>()?,
            });
        }
        Ok(Self {
            conv_in: Conv::normed((first, cfg.vocoder_input_dim, 7), true, 3, vb.pp("conv1"))?,
            stages,
            snake: Snake::new(cfg.dec_dim, vb.pp("snake1"))?,
            conv_out: Conv::normed((cfg.dec_out_channels, cfg.dec_dim, 7), false, 3, vb.pp("conv2"))?,
        })
    }

    /// Latents [B, C, T] to sound [B, channels, samples], not yet limited to -1..1.
    pub fn forward(&self, latents: &Tensor) -> Result<Tensor> {
        let mut x = self.conv_in.forward(latents)?;
        for stage in &self.stages {
            x = stage.grow.forward(&stage.snake.forward(&x)?)?;
            for unit in &stage.units {
                x = unit.forward(&x)?;
            }
        }
        self.conv_out.forward(&self.snake.forward(&x)?)
    }
}
