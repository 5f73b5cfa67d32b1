//! Pictures as cells and the neighbours of cells (see [`crate::kernels::cells`]) as operations with gradients: the kernel where
//! it serves, plain candle operations otherwise.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, D, Layout, Result, Shape, Tensor};

use super::Matrix;
use super::fused::{done, numbers, read, tensor, usable};
pub use crate::kernels::cells::{AROUND, Cells, Way};
use crate::kernels::gemm;

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

/// A convolution over cells whose neighbourhoods, nine times as wide as the cells, live no longer than it takes to multiply
/// them: kept for the gradient, with a gradient of their own, they would be most of what a refiner costs.
struct Convolve {
    shape: Cells,
    width: usize,
    /// Cells of all pictures.
    all: usize,
    outputs: usize,
    to: Shape,
}

impl Convolve {
    fn around(&self, x: &[f32]) -> Vec<f32> {
        let mut around = vec![0.0; x.len() * AROUND];
        self.shape.around(self.width, x, &mut around);
        around
    }
}

impl CustomOp3 for Convolve {
    fn name(&self) -> &'static str {
        "fused-convolve-cells"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let around = self.around(numbers(x, lx)?);
        let bias = Some(numbers(b, lb)?);
        let y = gemm::linear(&around, numbers(w, lw)?, bias, self.all, AROUND * self.width, self.outputs);
        done(y, self.to.clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (m, k, n) = (self.all, AROUND * self.width, self.outputs);
        let dy = dy.contiguous()?;
        let (dx, dw, db) = read([&dy, x, w], |[dy, x_numbers, w_numbers]| {
            let dx = x.track_op().then(|| {
                let mut dx = vec![0.0; x_numbers.len()];
                let daround = gemm::linear_dx(dy, w_numbers, m, k, n);
                self.shape.around_backward(self.width, &daround, &mut dx);
                dx
            });
            let dw = w.track_op().then(|| gemm::linear_dw(dy, &self.around(x_numbers), m, k, n));
            let db = b.track_op().then(|| {
                let mut db = vec![0.0; n];
                gemm::column_sum(dy, &mut db);
                db
            });
            (dx, dw, db)
        })?;
        let like = |values: Option<Vec<f32>>, t: &Tensor| values.map(|values| tensor(values, t)).transpose();
        Ok((like(dx, x)?, like(dw, w)?, like(db, b)?))
    }
}

/// Each cell of `x [G, N, W]` and those around it (see [`around`]) times `weight [O, AROUND * W]` transposed, plus `bias [O]`:
/// `[G, N, O]`.
///
/// # Errors
/// When shapes or devices do not fit.
pub fn convolve(x: &Tensor, shape: Cells, weight: &Matrix, bias: &Tensor) -> Result<Tensor> {
    let ((g, n, width), w) = (x.dims3()?, weight.weight());
    let outputs = w.dim(0)?;
    let fits = n == shape.in_picture() && w.dims() == [outputs, AROUND * width] && bias.dims() == [outputs];
    let tracked = [x, w, bias].into_iter().any(Tensor::track_op);
    if !fits || !tracked || x.elem_count() == 0 || !usable(&[x, w, bias]) {
        return weight.apply(&around(x, shape)?, Some(bias));
    }
    x.apply_op3(w, bias, Convolve { shape, width, all: g * n, outputs, to: (g, n, outputs).into() })
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
        // As a function of the cells, of the weight, and of the bias.
        let numbers = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            let values = (0..count).map(|i| (i as f32 * 0.53).cos() * 0.3).collect::<Vec<_>>();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        let (cells, weight, bias) = (numbers(&[2, 24, 5]), numbers(&[4, 45]), numbers(&[4]));
        let of_cells = |x: &Tensor| convolve(x, SHAPE, &weight.clone().into(), &bias);
        let of_weight = |w: &Tensor| convolve(&cells, SHAPE, &w.clone().into(), &bias);
        let of_bias = |b: &Tensor| convolve(&cells, SHAPE, &weight.clone().into(), b);
        type Step<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
        let cases: [(&[usize], Step<'_>); 6] = [
            (&[2, 6, 64], &apart),
            (&[2, 24, 16], &together),
            (&[2, 24, 5], &beside),
            (&[2, 24, 5], &of_cells),
            (&[4, 45], &of_weight),
            (&[4], &of_bias),
        ];
        for (shape, step) in cases {
            let kernel = tried(shape, step);
            let stock = path::with(Path::Stock, || tried(shape, step));
            for (a, b) in kernel.iter().zip(&stock) {
                assert_eq!(a.len(), b.len());
                assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{shape:?}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(reorder(&zeros(&[2, 6, 63]), SHAPE, Way::Apart, &[3, 1]).is_err());
        assert!(reorder(&zeros(&[2, 6, 64]), SHAPE, Way::Together, &[3, 1]).is_err());
        assert!(around(&zeros(&[2, 23, 5]), SHAPE).is_err());
        let bias = Var::from_tensor(&zeros(&[4])).unwrap();
        let tried = |x: &[usize], w: &[usize]| convolve(&zeros(x), SHAPE, &zeros(w).into(), &bias);
        assert!(tried(&[2, 24, 5], &[4, 45]).is_ok());
        assert!(tried(&[2, 23, 5], &[4, 45]).is_err() && tried(&[2, 24, 5], &[4, 44]).is_err());
        assert!(tried(&[2, 24, 5], &[3, 45]).is_err());
    }
}
