//! What a backward pass found, where the optimiser wants it.

use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

use crate::nn::path;

/// One gradient for each variable, in the order of the variables.
#[derive(Debug)]
pub enum Gradients {
    /// Plain numbers, for variables that the processor's kernels serve.
    Host(Vec<Vec<f32>>),
    /// Tensors that stay where the variables are (a graphics card): adding them up moves nothing.
    Device(Vec<Tensor>),
}

impl Default for Gradients {
    fn default() -> Self {
        Self::Host(Vec::new())
    }
}

impl From<Vec<Vec<f32>>> for Gradients {
    fn from(numbers: Vec<Vec<f32>>) -> Self {
        Self::Host(numbers)
    }
}

impl Gradients {
    /// Takes the gradients of `variables` out of what [`Tensor::backward`] gave; zeros for one that was not reached.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of<'a>(found: &GradStore, variables: impl IntoIterator<Item = &'a Var>) -> Result<Self> {
        let variables: Vec<&Var> = variables.into_iter().collect();
        if variables.iter().all(|var| path::has_kernels(var.device())) {
            let numbers = |var: &&Var| match found.get(var) {
                Some(gradient) => gradient.flatten_all()?.to_vec1(),
                None => Ok(vec![0.0; var.elem_count()]),
            };
            return Ok(Self::Host(variables.iter().map(numbers).collect::<Result<_>>()?));
        }
        let tensor = |var: &&Var| match found.get(var) {
            Some(gradient) => gradient.detach().to_dtype(DType::F32)?.contiguous(),
            None => var.as_tensor().detach().zeros_like(),
        };
        Ok(Self::Device(variables.iter().map(tensor).collect::<Result<_>>()?))
    }

    /// Number of variables.
    pub fn len(&self) -> usize {
        match self {
            Self::Host(all) => all.len(),
            Self::Device(all) => all.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `self + weight * other`; `weight * other` where there is nothing yet.
    ///
    /// # Errors
    /// Gradients of different variables or places, a device that fails.
    pub fn add(&mut self, other: Self, weight: f32) -> Result<()> {
        if self.is_empty() {
            *self = other;
            return if weight == 1.0 { Ok(()) } else { self.scale(weight) };
        }
        if self.len() != other.len() {
            candle_core::bail!("{} gradients and {} others do not add up", self.len(), other.len());
        }
        match (self, other) {
            (Self::Host(all), Self::Host(other)) => {
                for (sum, part) in all.iter_mut().zip(other) {
                    sum.iter_mut().zip(part).for_each(|(s, p)| *s += p * weight);
                }
            }
            (Self::Device(all), Self::Device(other)) => {
                for (sum, part) in all.iter_mut().zip(other) {
                    *sum = if weight == 1.0 {
                        (&*sum + part)?
                    } else {
                        (&*sum + part.affine(f64::from(weight), 0.0)?)?
                    };
                }
            }
            _ => candle_core::bail!("gradients of two devices do not add up"),
        }
        Ok(())
    }

    /// All of them times `factor`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn scale(&mut self, factor: f32) -> Result<()> {
        match self {
            Self::Host(all) => all.iter_mut().flatten().for_each(|g| *g *= factor),
            Self::Device(all) => {
                for g in all {
                    *g = g.affine(f64::from(factor), 0.0)?;
                }
            }
        }
        Ok(())
    }

    /// All of them over `count`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn divide(&mut self, count: f32) -> Result<()> {
        match self {
            // A division, not a product with the inverse: runs on the processor repeat bit for bit.
            Self::Host(all) => all.iter_mut().flatten().for_each(|g| *g /= count),
            Self::Device(_) => self.scale(1.0 / count)?,
        }
        Ok(())
    }
}
