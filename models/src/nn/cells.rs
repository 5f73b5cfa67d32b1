//! Pictures as cells and the neighbours of cells (see [`crate::kernels::cells`]) as operations with gradients: the kernel where
//! it serves, plain candle operations otherwise.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor};

use super::fused::{done, numbers, read, tensor, usable};
pub use crate::kernels::cells::{AROUND, Cells, Way};

/// Numbers of a cell with `depth` numbers a pixel.
fn cell_numbers(shape: Cells, depth: usize) -> usize {
    shape.side * shape.side * depth
}

struct Reorder {
    shape: Cells,
    way: Way,
    planes: Vec<usize>,
    to: Shape,
}

impl CustomOp1 for Reorder {
    fn name(&self) -> &'static str {
        "fused-cells"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = vec![0.0; x.len()];
        self.shape.reorder(self.way, &self.planes, x, &mut y);
        done(y, self.to.clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        read([&dy.contiguous()?], |[dy]| self.shape.reorder(self.way.back(), &self.planes, dy, &mut dx))?;
        Ok(Some(tensor(dx, x)?))
    }
}

/// Patches `[G, P, ..]` to cells `[G, P * n, ..]`, `n` being the cells of a patch, or back; `planes` as in
/// [`Cells::reorder`].
///
/// # Errors
/// When shapes or devices do not fit.
pub fn reorder(x: &Tensor, shape: Cells, way: Way, planes: &[usize]) -> Result<Tensor> {
    let depth = planes.iter().sum();
    let (patches, n) = (shape.rows * shape.cols, shape.in_patch());
    let (patch, cell) = (shape.patch_numbers(depth), cell_numbers(shape, depth));
    let (g, _, _) = x.dims3()?;
    let (from, to) = match way {
        Way::Apart => ((g, patches, patch), (g, patches * n, cell)),
        Way::Together => ((g, patches * n, cell), (g, patches, patch)),
    };
    if x.dims3()? != from || x.elem_count() == 0 {
        candle_core::bail!("cells: {:?} does not fit {shape:?}", x.dims());
    }
    if usable(&[x]) {
        return x.apply_op1(Reorder { shape, way, planes: planes.to_vec(), to: to.into() });
    }
    let (a, s) = (shape.across, shape.side);
    let mut parts = Vec::new();
    let mut at = 0;
    for depth in planes {
        let run = s * depth;
        // Either way the second and third of [rows of cells, rows in a cell, cells in a row] change places.
        let part = match way {
            Way::Apart => x.narrow(D::Minus1, at, shape.patch_numbers(*depth))?,
            Way::Together => x.narrow(D::Minus1, at, cell_numbers(shape, *depth))?,
        };
        let (one, two) = if way == Way::Apart { (s, a) } else { (a, s) };
        let part =
            part.contiguous()?.reshape((g * patches, a, one, two, run))?.transpose(2, 3)?.contiguous()?;
        let numbers = to.2 * depth / planes.iter().sum::<usize>();
        parts.push(part.reshape((g, to.1, numbers))?);
        at += if way == Way::Apart { shape.patch_numbers(*depth) } else { cell_numbers(shape, *depth) };
    }
    Tensor::cat(&parts, D::Minus1)
}

struct Around {
    shape: Cells,
    width: usize,
    to: Shape,
}

impl CustomOp1 for Around {
    fn name(&self) -> &'static str {
        "fused-around"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = numbers(x, layout)?;
        let mut y = vec![0.0; x.len() * AROUND];
        self.shape.around(self.width, x, &mut y);
        done(y, self.to.clone())
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let mut dx = vec![0.0; x.elem_count()];
        read([&dy.contiguous()?], |[dy]| self.shape.around_backward(self.width, dy, &mut dx))?;
        Ok(Some(tensor(dx, x)?))
    }
}

/// Cells `[G, N, W]` with those around them beside each other: `[G, N, AROUND * W]`, zeros beyond the picture.
///
/// # Errors
/// When shapes or devices do not fit.
pub fn around(x: &Tensor, shape: Cells) -> Result<Tensor> {
    let (g, n, width) = x.dims3()?;
    if n != shape.in_picture() || x.elem_count() == 0 {
        candle_core::bail!("around: {:?} does not fit {shape:?}", x.dims());
    }
    if usable(&[x]) {
        return x.apply_op1(Around { shape, width, to: (g, n, AROUND * width).into() });
    }
    // One more cell, of zeros, is what lies beyond.
    let beyond = Tensor::zeros((g, 1, width), x.dtype(), x.device())?;
    let places = shape.seen().iter().flatten().map(|place| place.unwrap_or(n) as u32).collect::<Vec<_>>();
    let places = Tensor::from_vec(places, n * AROUND, x.device())?;
    Tensor::cat(&[x, &beyond], 1)?.index_select(&places, 1)?.reshape((g, n, AROUND * width))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::path::{self, Path};

    const SHAPE: Cells = Cells { rows: 2, cols: 3, across: 2, side: 2 };

    /// A result, and the gradient of its sum under fixed weights.
    fn tried(shape: &[usize], f: impl Fn(&Tensor) -> Result<Tensor>) -> [Vec<f32>; 2] {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
        let x = Var::from_vec(values, shape, &Device::Cpu).unwrap();
        let y = f(x.as_tensor()).unwrap();
        let weights: Vec<f32> = (0..y.elem_count()).map(|i| (i as f32 * 0.21).cos()).collect();
        let weights = Tensor::from_vec(weights, y.shape(), &Device::Cpu).unwrap();
        let gradient =
            (&y * weights).unwrap().sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
        [y, gradient].map(|t| t.flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn kernels_and_plain_operations_agree() {
        let apart = |x: &Tensor| reorder(x, SHAPE, Way::Apart, &[3, 1]);
        let together = |x: &Tensor| reorder(x, SHAPE, Way::Together, &[3, 1]);
        let beside = |x: &Tensor| around(x, SHAPE);
        type Step<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
        let cases: [(&[usize], Step<'_>); 3] =
            [(&[2, 6, 64], &apart), (&[2, 24, 16], &together), (&[2, 24, 5], &beside)];
        for (shape, step) in cases {
            let kernel = tried(shape, step);
            let stock = path::with(Path::Stock, || tried(shape, step));
            for (a, b) in kernel.iter().zip(&stock) {
                assert_eq!(a.len(), b.len());
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6), "{shape:?}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(reorder(&zeros(&[2, 6, 63]), SHAPE, Way::Apart, &[3, 1]).is_err());
        assert!(reorder(&zeros(&[2, 6, 64]), SHAPE, Way::Together, &[3, 1]).is_err());
        assert!(around(&zeros(&[2, 23, 5]), SHAPE).is_err());
    }
}
