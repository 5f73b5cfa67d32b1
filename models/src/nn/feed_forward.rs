//! A SwiGLU feed-forward as one operation.
//!
//! candle's backward pass gives each result of the forward pass a gradient of zeros and then adds to it. For the wide middle of
//! this layer, which one step makes and one step takes, that moves more memory than the products themselves.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::fused::{done, numbers, read, tensor, usable};
use super::{Matrix, ops};
use crate::kernels::{elementwise, gemm};

/// `m` rows of `k` numbers, through `f`, to rows of `n`.
struct FeedForward {
    m: usize,
    k: usize,
    f: usize,
    n: usize,
    /// What the first product made; kept for the gradient.
    wide: OnceLock<Vec<f32>>,
}

impl FeedForward {
    fn active(&self, wide: &[f32]) -> Vec<f32> {
        let mut h = vec![0.0; self.m * self.f];
        elementwise::swiglu(wide, self.f, &mut h);
        h
    }
}

impl CustomOp3 for FeedForward {
    fn name(&self) -> &'static str {
        "fused-feed-forward"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        first: &CpuStorage,
        l1: &Layout,
        second: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Self { m, k, f, n, .. } = *self;
        let wide = gemm::linear(numbers(x, lx)?, numbers(first, l1)?, None, m, k, 2 * f);
        let y = gemm::linear(&self.active(&wide), numbers(second, l2)?, None, m, f, n);
        // An operation is applied once; were it applied again, the first result would still be that of these numbers.
        let _ = self.wide.set(wide);
        done(y, (m, n))
    }

    fn bwd(
        &self,
        x: &Tensor,
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Self { m, k, f, n, .. } = *self;
        let Some(wide) = self.wide.get() else { candle_core::bail!("feed-forward: no forward pass") };
        let dy = dy.contiguous()?;
        let mut dwide = vec![0.0; wide.len()];
        let second_gradient = read([&dy, second], |[dy, w]| {
            let dh = gemm::linear_dx(dy, w, m, f, n);
            elementwise::swiglu_backward(wide, f, &dh, &mut dwide);
            second.track_op().then(|| gemm::linear_dw(dy, &self.active(wide), m, f, n))
        })?;
        let (dx, dfirst) = read([x, first], |[x_numbers, w]| {
            let dx = x.track_op().then(|| gemm::linear_dx(&dwide, w, m, k, 2 * f));
            (dx, first.track_op().then(|| gemm::linear_dw(&dwide, x_numbers, m, k, 2 * f)))
        })?;
        let like = |values: Option<Vec<f32>>, t: &Tensor| values.map(|values| tensor(values, t)).transpose();
        Ok((like(dx, x)?, like(dfirst, first)?, like(second_gradient, second)?))
    }
}

/// `swiglu(x first^T) second^T` for `x [.., K]`, `first [2F, K]` and `second [N, F]`: `[.., N]` (see [`ops::swiglu`]).
///
/// # Errors
/// When shapes, formats or devices do not fit together.
pub fn swiglu_feed(x: &Tensor, first: &Tensor, second: &Tensor) -> Result<Tensor> {
    let ((double, k), (n, f)) = (first.dims2()?, second.dims2()?);
    let fits = double == 2 * f && x.dims().last() == Some(&k) && x.elem_count() > 0 && f > 0;
    let tracked = [x, first, second].into_iter().any(Tensor::track_op);
    if !fits || !tracked || !usable(&[x, first, second]) {
        return ops::linear(&ops::swiglu(&ops::linear(x, first, None)?)?, second, None);
    }
    let m = x.elem_count() / k;
    let y = x.reshape((m, k))?.apply_op3(first, second, FeedForward { m, k, f, n, wide: OnceLock::new() })?;
    let mut dims = x.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    y.reshape(dims)
}

/// The same with matrices that may be packed.
///
/// # Errors
/// As [`swiglu_feed`].
pub fn swiglu_feed_packed(x: &Tensor, first: &Matrix, second: &Matrix) -> Result<Tensor> {
    if x.track_op() || first.weight().track_op() || second.weight().track_op() {
        return swiglu_feed(x, first.weight(), second.weight());
    }
    second.apply(&ops::swiglu(&first.apply(x, None)?)?, None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::path::{self, Path};

    /// The result and all gradients of a layer, one after the other.
    fn tried(shapes: [&[usize]; 3]) -> Vec<Vec<f32>> {
        let values = |shape: &[usize], step: f32| {
            let numbers = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * step).sin() * 0.5);
            Var::from_vec(numbers.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
        };
        let vars = [values(shapes[0], 0.37), values(shapes[1], 0.61), values(shapes[2], 0.43)];
        let y = swiglu_feed(&vars[0], &vars[1], &vars[2]).unwrap();
        let weights = (0..y.elem_count()).map(|i| (i as f32 * 0.21).cos()).collect::<Vec<f32>>();
        let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
        let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let all = vars.iter().map(|var| gradients.get(var).unwrap().clone()).chain([y]);
        all.map(|t| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
    }

    #[test]
    fn the_kernel_and_plain_operations_agree() {
        for shapes in [[&[2, 5, 12][..], &[20, 12], &[7, 10]], [&[1, 3], &[2, 3], &[1, 1]]] {
            let kernel = tried(shapes);
            let stock = path::with(Path::Stock, || tried(shapes));
            for (a, b) in kernel.iter().zip(&stock) {
                assert_eq!(a.len(), b.len());
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{shapes:?}");
            }
        }
    }

    #[test]
    fn what_is_not_differentiated_gets_no_gradient_and_wrong_shapes_are_errors() {
        let ones = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        let second = Var::from_tensor(&ones(&[3, 4])).unwrap();
        let (x, first) = (ones(&[2, 6]), ones(&[8, 6]));
        let gradients = swiglu_feed(&x, &first, &second).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&second).is_some() && gradients.get(&x).is_none());
        assert!(swiglu_feed(&x, &ones(&[7, 6]), &second).is_err());
        assert!(swiglu_feed(&ones(&[2, 5]), &first, &second).is_err());
    }
}
