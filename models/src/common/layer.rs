//! A linear layer whose weights may lie in memory in fewer bits than it computes with.
//!
//! The quantised formats are those of GGUF files, as candle implements them: `q8_0` (32 weights share a scale, 8.5 bits
//! a weight) and `q4_K` (256 weights share scales and minima, 4.5 bits a weight).

use std::cell::Cell;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{DType, Device, Module, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::nn::ops;

/// How the weights of large linear layers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// As they are read.
    #[default]
    Plain,
    /// 8.5 bits a weight.
    Q8_0,
    /// 4.5 bits a weight.
    Q4K,
}

impl Storage {
    fn format(self) -> Option<GgmlDType> {
        match self {
            Self::Plain => None,
            Self::Q8_0 => Some(GgmlDType::Q8_0),
            Self::Q4K => Some(GgmlDType::Q4K),
        }
    }

    /// Whether a layer with this many inputs can be kept so: rows must be whole blocks. Others stay as they are.
    pub fn fits(self, inputs: usize) -> bool {
        self.format().is_some_and(|format| inputs > 0 && inputs % format.block_size() == 0)
    }

    /// Bytes of a layer of that shape, whose weights otherwise take `plain` bytes each.
    pub fn bytes(self, outputs: usize, inputs: usize, plain: usize) -> u64 {
        let weights = outputs as u64 * inputs as u64;
        match self.format().filter(|_| self.fits(inputs)) {
            Some(format) => weights / format.block_size() as u64 * format.type_size() as u64,
            None => weights * plain as u64,
        }
    }
}

thread_local! {
    static STORAGE: Cell<Storage> = const { Cell::new(Storage::Plain) };
}

/// Builds a network whose linear layers are kept as `storage` where they fit. A network is built by the thread that
/// calls this, layer by layer, so that at no time more than one layer is in memory in both forms.
pub fn with_storage<T>(storage: Storage, build: impl FnOnce() -> T) -> T {
    struct Back(Storage);
    impl Drop for Back {
        fn drop(&mut self) {
            STORAGE.set(self.0);
        }
    }
    let _back = Back(STORAGE.replace(storage));
    build()
}

enum Weight {
    Plain(Tensor),
    Quantised(QMatMul, Device),
}

/// `x · weightᵀ + bias`.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    /// From a weight [outputs, inputs] and a bias [outputs], kept as they are.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight: Weight::Plain(weight), bias }
    }

    /// The same, kept as [`with_storage`] says.
    pub(super) fn stored(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let storage = STORAGE.get();
        match storage.format().filter(|_| weight.dim(1).is_ok_and(|inputs| storage.fits(inputs))) {
            None => Ok(Self::new(weight, bias)),
            Some(format) => {
                let device = weight.device().clone();
                let quantised = QTensor::quantize(&weight.to_dtype(DType::F32)?, format)?;
                let bias = bias.map(|bias| bias.to_dtype(DType::F32)).transpose()?;
                Ok(Self { weight: Weight::Quantised(QMatMul::from_qtensor(quantised)?, device), bias })
            }
        }
    }

    /// The device that it runs on.
    pub fn device(&self) -> &Device {
        match &self.weight {
            Weight::Plain(weight) => weight.device(),
            Weight::Quantised(_, device) => device,
        }
    }

    /// The type that it computes with.
    pub fn dtype(&self) -> DType {
        match &self.weight {
            Weight::Plain(weight) => weight.dtype(),
            Weight::Quantised(..) => DType::F32,
        }
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weight {
            Weight::Plain(weight)
                if weight.dtype() == DType::F32 && x.dtype() == DType::F32 && x.rank() > 0 =>
            {
                ops::linear(&x.contiguous()?, weight, self.bias.as_ref())
            }
            // candle's own layer knows how to fold leading dimensions into one product.
            Weight::Plain(weight) => candle_nn::Linear::new(weight.clone(), self.bias.clone()).forward(x),
            Weight::Quantised(weight, _) => {
                let made = weight.forward(&x.to_dtype(DType::F32)?.contiguous()?)?;
                let made = match &self.bias {
                    Some(bias) => made.broadcast_add(bias)?,
                    None => made,
                };
                made.to_dtype(x.dtype())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn wave(shape: &[usize], step: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| ((i as f64 + 1.0) * step).sin() as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn normal(shape: &[usize], seed: u64) -> Tensor {
        let mut values = vec![0f32; shape.iter().product()];
        crate::random::Random::new(seed, 0, 0).fill_normal(0, &mut values);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        let square = |x: Tensor| x.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
        f64::from(square((a - b).unwrap()) / square(b.clone())).sqrt()
    }

    #[test]
    fn fewer_bits_cost_accuracy_in_their_order_and_save_memory() {
        let (weight, bias) = (normal(&[48, 512], 1), wave(&[48], 0.3));
        let x = normal(&[2, 5, 512], 2);
        let plain = Linear::new(weight.clone(), Some(bias.clone())).forward(&x).unwrap();
        let of = |storage| {
            let layer = with_storage(storage, || Linear::stored(weight.clone(), Some(bias.clone()))).unwrap();
            assert!(matches!(layer.weight, Weight::Quantised(..)));
            difference(&layer.forward(&x).unwrap(), &plain)
        };
        let (eight, four) = (of(Storage::Q8_0), of(Storage::Q4K));
        assert!(eight < 0.02 && eight < four && four < 0.2, "{eight} {four}");
        let sizes = [Storage::Plain, Storage::Q8_0, Storage::Q4K].map(|s| s.bytes(48, 512, 4));
        assert_eq!(sizes, [98_304, 26_112, 13_824]);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_stay_as_they_are() {
        let layer = with_storage(Storage::Q4K, || Linear::stored(wave(&[3, 96], 0.1), None)).unwrap();
        assert!(matches!(layer.weight, Weight::Plain(_)));
        assert_eq!(Storage::Q4K.bytes(3, 96, 2), 576);
        // Outside of `with_storage` nothing is quantised.
        let layer = Linear::stored(wave(&[3, 256], 0.1), None).unwrap();
        assert!(matches!(layer.weight, Weight::Plain(_)));
    }
}
