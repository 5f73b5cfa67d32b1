//! The weight of a linear layer, and what inference makes of it once.

use candle_core::{Result, Tensor};

use super::{fused, ops};
use crate::kernels::precision::{self, Precision};
use crate::kernels::prepacked::Prepacked;

/// A weight `[N, K]`; packed beside it once it is known to stay as it is.
pub struct Matrix {
    weight: Tensor,
    packed: Option<Prepacked>,
}

impl From<Tensor> for Matrix {
    fn from(weight: Tensor) -> Self {
        Self { weight, packed: None }
    }
}

impl Matrix {
    /// Packs the weight for products of this precision, where this processor has a kernel for them and the weight lies in its
    /// memory. It must never change afterwards. Says how many bytes that takes.
    ///
    /// # Errors
    /// A weight that is none of two dimensions.
    pub fn pack(&mut self, precision: Precision) -> Result<usize> {
        self.packed = fused::pack(&self.weight, precision)?;
        Ok(self.packed.as_ref().map_or(0, Prepacked::bytes))
    }

    /// The weight as it is.
    pub(super) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `x [.., K]` times the weight transposed, plus `b [N]`: `[.., N]`. Takes the packed weight when it is packed for the
    /// precision of this thread and nothing is differentiated.
    ///
    /// # Errors
    /// When shapes, formats or devices do not fit together.
    pub fn apply(&self, x: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
        let free = |t: &Tensor| fused::usable(&[t]) && !t.track_op();
        match &self.packed {
            Some(packed) if packed.precision() == precision::current() && free(x) && b.is_none_or(free) => {
                fused::packed_linear(x, packed, b)
            }
            _ => ops::linear(x, &self.weight, b),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn a_packed_weight_gives_the_same_bits_and_no_gradient_is_lost() {
        let device = Device::Cpu;
        let normal = |shape: &[usize]| Tensor::randn(0.0_f32, 1.0, shape, &device).unwrap();
        let (weight, x, b) = (normal(&[40, 24]), normal(&[2, 5, 24]), normal(&[40]));
        let plain = Matrix::from(weight.clone());
        for kind in [Precision::F32, Precision::Bf16] {
            let mut packed = Matrix::from(weight.clone());
            packed.pack(kind).unwrap();
            let bits = |m: &Matrix, wish: Precision| {
                let y = precision::with(wish, || m.apply(&x, Some(&b))).unwrap();
                assert_eq!(y.dims(), [2, 5, 40]);
                y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            for wish in [Precision::F32, Precision::Bf16] {
                assert_eq!(bits(&plain, wish), bits(&packed, wish));
            }
            let var = Var::from_tensor(&x).unwrap();
            let y = precision::with(kind, || packed.apply(var.as_tensor(), None)).unwrap();
            assert!(y.sum_all().unwrap().backward().unwrap().get(&var).is_some());
            // Shapes that do not fit are errors on both ways.
            for wish in [Precision::F32, Precision::Bf16] {
                assert!(precision::with(wish, || packed.apply(&normal(&[2, 23]), None)).is_err());
            }
        }
    }
}
