//! The optimiser's formulas in plain tensor operations, for variables that live on a graphics card.
//!
//! They are those of [`crate::kernels::optim`] and [`crate::kernels::muon`]; state stays on the card, and a step brings
//! back one number a variable (for the norm of all gradients).

use candle_core::{DType, Result, Tensor, Var};

use crate::kernels::muon::{A, B, C, STEPS};
use crate::kernels::optim::AdamW;

/// What the optimiser remembers about one variable, beside the variable itself.
pub(super) struct Moments {
    /// Momentum, or mean of gradients.
    pub first: Tensor,
    /// Mean of squared gradients; Muon has none.
    pub second: Option<Tensor>,
    /// Moving average of the weights.
    pub average: Tensor,
}

impl Moments {
    pub fn new(var: &Var, muon: bool) -> Result<Self> {
        let value = var.as_tensor().detach();
        let zeros = value.zeros_like()?;
        // A copy: the variable changes in place.
        Ok(Self { first: zeros.clone(), second: (!muon).then_some(zeros), average: value.copy()? })
    }
}

/// The root of the sum of all squares.
pub(super) fn norm(gradients: &[Tensor]) -> Result<f64> {
    let sums = gradients.iter().map(|g| g.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
    if sums.is_empty() {
        return Ok(0.0);
    }
    let sums: Vec<f32> = Tensor::stack(&sums, 0)?.to_vec1()?;
    Ok(sums.into_iter().map(f64::from).sum::<f64>().sqrt())
}

/// See [`crate::kernels::muon::orthogonalise`].
pub(super) fn orthogonalise(g: &Tensor) -> Result<Tensor> {
    let (rows, cols) = g.dims2()?;
    let flip = rows > cols;
    let mut x = if flip { g.t()?.contiguous()? } else { g.clone() };
    // The length stays on the device: nothing has to be waited for.
    let length = (x.sqr()?.sum_all()?.sqrt()? + 1e-7)?;
    x = x.broadcast_div(&length)?;
    for _ in 0..STEPS {
        let gram = x.matmul(&x.t()?.contiguous()?)?;
        let poly = (gram.affine(f64::from(B), 0.0)? + gram.matmul(&gram)?.affine(f64::from(C), 0.0)?)?;
        x = (x.affine(f64::from(A), 0.0)? + poly.matmul(&x)?)?;
    }
    if flip { x.t()?.contiguous() } else { Ok(x) }
}

/// Muon's step on `var` with a gradient that is scaled already: momentum, one step ahead (Nesterov), orthogonalised,
/// `value * keep - size * update`.
pub(super) fn muon(
    var: &Var,
    gradient: &Tensor,
    moments: &mut Moments,
    (momentum, keep, size): (f32, f32, f32),
) -> Result<()> {
    let momentum = f64::from(momentum);
    moments.first = (moments.first.affine(momentum, 0.0)? + gradient)?;
    let ahead = (gradient + moments.first.affine(momentum, 0.0)?)?;
    let update = orthogonalise(&ahead)?.affine(f64::from(size), 0.0)?;
    var.set(&(var.as_tensor().detach().affine(f64::from(keep), 0.0)? - update)?)
}

/// See [`crate::kernels::optim::adamw_step`].
pub(super) fn adamw(
    var: &Var,
    gradient: &Tensor,
    moments: &mut Moments,
    s: AdamW,
    iteration: u64,
) -> Result<()> {
    let Some(second) = &moments.second else { candle_core::bail!("AdamW keeps two moments") };
    let step = iteration.max(1) as f64;
    let correct = |beta: f32| 1.0 / (1.0 - f64::from(beta).powf(step));
    let mix = |old: &Tensor, new: &Tensor, decay: f32| -> Result<Tensor> {
        old.affine(f64::from(decay), 0.0)? + new.affine(f64::from(1.0 - decay), 0.0)?
    };
    let first = mix(&moments.first, gradient, s.beta1)?;
    let second = mix(second, &gradient.sqr()?, s.beta2)?;
    let below = (second.affine(correct(s.beta2), 0.0)?.sqrt()? + f64::from(s.eps))?;
    let update = first.affine(f64::from(s.lr) * correct(s.beta1), 0.0)?.div(&below)?;
    let keep = f64::from(1.0 - s.lr * s.weight_decay);
    var.set(&(var.as_tensor().detach().affine(keep, 0.0)? - update)?)?;
    (moments.first, moments.second) = (first, Some(second));
    Ok(())
}

/// See [`crate::kernels::optim::ema_step`].
pub(super) fn average(var: &Var, moments: &mut Moments, decay: f32) -> Result<()> {
    let now = var.as_tensor().detach().affine(f64::from(1.0 - decay), 0.0)?;
    moments.average = (moments.average.affine(f64::from(decay), 0.0)? + now)?;
    Ok(())
}

/// A tensor's numbers, as the checkpoint keeps them.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
