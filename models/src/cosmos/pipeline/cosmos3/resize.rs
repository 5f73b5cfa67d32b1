//! Resizing with antialiasing, as torch does it in f32: a kernel stretched by the reduction, weights brought to sum 1,
//! columns first, then rows. A picture that goes into a network must be the reference's to the last bit.

use candle_core::{Result, Tensor};

/// The shape of the kernel.
#[derive(Clone, Copy)]
pub(super) enum Kernel {
    /// Triangle of half width 1.
    Bilinear,
    /// Keys' cubic with a = -1/2, half width 2.
    Bicubic,
}

impl Kernel {
    fn half_width(self) -> f32 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f32) -> f32 {
        let x = x.abs();
        match self {
            Self::Bilinear if x < 1.0 => (1.0 - f64::from(x)) as f32,
            Self::Bilinear => 0.0,
            Self::Bicubic if x < 1.0 => ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Self::Bicubic => 0.0,
        }
    }
}

/// For each output place: the first input place, and the weights from there on.
fn taps(kernel: Kernel, inputs: usize, outputs: usize) -> Vec<(usize, Vec<f32>)> {
    // Which steps are f32 and which are wider is the reference's.
    let scale = inputs as f32 / outputs as f32;
    let inverse = if scale >= 1.0 { (1.0 / f64::from(scale)) as f32 } else { 1.0 };
    let support = kernel.half_width() * scale.max(1.0);
    (0..outputs)
        .map(|i| {
            let centre = (f64::from(scale) * (i as f64 + 0.5)) as f32;
            let first = ((f64::from(centre - support) + 0.5) as i64).max(0) as usize;
            let end = ((f64::from(centre + support) + 0.5) as i64).clamp(0, inputs as i64) as usize;
            let place = |j: usize| (f64::from(j as f32 - centre) + 0.5) * f64::from(inverse);
            let mut weights: Vec<f32> = (first..end).map(|j| kernel.weight(place(j) as f32)).collect();
            let sum = weights.iter().fold(0f32, |sum, w| sum + w);
            if sum != 0.0 {
                weights.iter_mut().for_each(|w| *w /= sum);
            }
            (first, weights)
        })
        .collect()
}

/// Sum of products; like a fused multiply-add, each step is rounded once.
fn weighted<'a>(weights: &[f32], values: impl Iterator<Item = &'a f32>) -> f32 {
    let wide = |value: &f32, weight: &f32| f64::from(*value) * f64::from(*weight);
    weights
        .iter()
        .zip(values)
        .fold(0f32, |sum, (weight, value)| (wide(value, weight) + f64::from(sum)) as f32)
}

/// Resizes pictures [N, C, H, W] (f32) to `height` × `width`.
pub(super) fn resize(pictures: &Tensor, height: usize, width: usize, kernel: Kernel) -> Result<Tensor> {
    let (n, c, h, w) = pictures.dims4()?;
    if (h, w) == (height, width) {
        return Ok(pictures.clone());
    }
    let values = pictures.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let columns = taps(kernel, w, width);
    let narrow: Vec<f32> = values
        .chunks_exact(w)
        .flat_map(|row| columns.iter().map(|(first, weights)| weighted(weights, row.iter().skip(*first))))
        .collect();
    let rows = taps(kernel, h, height);
    let mut out = Vec::with_capacity(n * c * height * width);
    for plane in narrow.chunks_exact(h * width) {
        for (first, weights) in &rows {
            out.extend(
                (0..width).map(|column| {
                    weighted(weights, plane.iter().skip(first * width + column).step_by(width))
                }),
            );
        }
    }
    Tensor::from_vec(out, (n, c, height, width), pictures.device())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_flat_picture_stays_flat_and_a_ramp_stays_a_ramp() {
        for kernel in [Kernel::Bilinear, Kernel::Bicubic] {
            let flat = Tensor::full(7f32, (1, 1, 9, 14), &Device::Cpu).unwrap();
            let small = resize(&flat, 5, 6, kernel).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            assert!(small.iter().all(|v| (v - 7.0).abs() < 1e-5));
            let ramp = Tensor::arange(0f32, 40.0, &Device::Cpu).unwrap().reshape((1, 1, 1, 40)).unwrap();
            let small =
                resize(&ramp, 1, 10, kernel).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            // Away from the edges the centres of the new pixels lie at 4 i + 1.5.
            for (i, v) in small.iter().enumerate().skip(2).take(6) {
                assert!((v - (4.0 * i as f32 + 1.5)).abs() < 1e-3, "{i}: {v}");
            }
        }
    }
}
