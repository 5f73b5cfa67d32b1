//! Haar wavelets over time, height and width instead of plain patches.

use candle_core::{Result, Tensor};

/// The dimensions of [B, T, C, H, W] that wavelets run over, in the order of the bands' names.
const AXES: [usize; 3] = [1, 3, 4];

/// [B, T, 3, H, W] with T = p·k + 1 becomes [B, k + 1, 3·p³, H/p, W/p]: the first frame is repeated p times, then
/// each level splits every axis into a low and a high band.
pub(super) fn patch(x: &Tensor, size: usize) -> Result<Tensor> {
    let frames = x.dim(1)?;
    let first = x.narrow(1, 0, 1)?.repeat((1, size, 1, 1, 1))?;
    let mut x = if frames > 1 { Tensor::cat(&[&first, &x.narrow(1, 1, frames - 1)?], 1)? } else { first };
    for _ in 0..size.ilog2() {
        // The eight bands in the order lll, llh, lhl, ... of (time, height, width). Orthonormal filters give 2^-3/2
        // per level, the rescaling another 2^-3/2.
        let mut bands = vec![x];
        for axis in AXES {
            let split: Vec<[Tensor; 2]> =
                bands.iter().map(|band| split(band, axis)).collect::<Result<_>>()?;
            bands = split.into_iter().flatten().collect();
        }
        x = (Tensor::cat(&bands, 2)? * 0.125)?;
    }
    Ok(x)
}

/// The inverse of [`patch`].
pub(super) fn unpatch(x: &Tensor, size: usize) -> Result<Tensor> {
    let mut x = x.clone();
    for _ in 0..size.ilog2() {
        let channels = x.dim(2)? / 8;
        let mut bands: Vec<Tensor> =
            (0..8).map(|i| x.narrow(2, i * channels, channels)).collect::<Result<_>>()?;
        for axis in AXES.into_iter().rev() {
            bands =
                bands.chunks_exact(2).map(|pair| join(&pair[0], &pair[1], axis)).collect::<Result<_>>()?;
        }
        // 2^-3/2 of the filters and 2^3/2 of the rescaling cancel.
        x = bands.swap_remove(0);
    }
    x.narrow(1, size - 1, x.dim(1)? - (size - 1))
}

/// Sums and differences of neighbours along an axis, at half the length.
fn split(x: &Tensor, axis: usize) -> Result<[Tensor; 2]> {
    let mut shape = x.dims().to_vec();
    shape[axis] /= 2;
    shape.insert(axis + 1, 2);
    let pairs = x.reshape(shape)?;
    let (even, odd) =
        (pairs.narrow(axis + 1, 0, 1)?.squeeze(axis + 1)?, pairs.narrow(axis + 1, 1, 1)?.squeeze(axis + 1)?);
    Ok([(&even + &odd)?, (even - odd)?])
}

/// The inverse of [`split`] up to a factor of 2.
fn join(low: &Tensor, high: &Tensor, axis: usize) -> Result<Tensor> {
    let pairs = Tensor::stack(&[(low + high)?, (low - high)?], axis + 1)?;
    let mut shape = low.dims().to_vec();
    shape[axis] *= 2;
    pairs.reshape(shape)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn patches_come_back_and_a_flat_clip_has_only_a_low_band() {
        let x = Tensor::arange(0f32, (5 * 3 * 8 * 4) as f32, &Device::Cpu).unwrap().sin().unwrap();
        let x = x.reshape((1, 5, 3, 8, 4)).unwrap();
        let bands = patch(&x, 4).unwrap();
        assert_eq!(bands.dims(), [1, 2, 192, 2, 1]);
        let back = unpatch(&bands, 4).unwrap();
        let error = (back - &x).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(error < 1e-5, "{error}");
        let flat =
            patch(&Tensor::ones((1, 5, 3, 8, 4), candle_core::DType::F32, &Device::Cpu).unwrap(), 4).unwrap();
        let (low, high) = (flat.narrow(2, 0, 3).unwrap(), flat.narrow(2, 3, 189).unwrap());
        assert!((low.min_all().unwrap().to_scalar::<f32>().unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(high.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
    }
}
