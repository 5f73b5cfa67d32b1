//! Cosmos Policy's trick (arXiv 2601.16163): actions, joint state and value are latent frames like any other.
//! A vector fills one latent frame, repeated; what the network imagines there is read back as the mean over the
//! repeats.

use candle_core::{Result, Tensor};

/// `latents` [B, C, T, h, w] with latent frame `frame` filled by `values` [B, …], flattened, repeated and cut.
pub fn write(latents: &Tensor, values: &Tensor, frame: usize) -> Result<Tensor> {
    let (batch, channels, frames, height, width) = latents.dims5()?;
    let flat = values.flatten_from(1)?.to_dtype(latents.dtype())?;
    let (room, size) = (channels * height * width, flat.dim(1)?);
    if frame >= frames || size == 0 || size > room {
        candle_core::bail!(
            "{size} numbers do not fit into latent frame {frame} of {frames}, which has room for {room}"
        );
    }
    let filled = flat.repeat((1, room.div_ceil(size)))?.narrow(1, 0, room)?;
    // [B, C·h·w] -> [B, C, 1, h, w]
    let filled = filled.reshape((batch, channels, 1, height, width))?;
    let before = latents.narrow(2, 0, frame)?;
    let after = latents.narrow(2, frame + 1, frames - frame - 1)?;
    let parts: Vec<Tensor> =
        [before, filled, after].into_iter().filter(|part| part.elem_count() > 0).collect();
    Tensor::cat(&parts, 2)
}

/// The vector in latent frame `frame` of `latents` [B, C, T, h, w]: the mean over its whole repeats, [B, ..shape].
pub fn read(latents: &Tensor, shape: &[usize], frame: usize) -> Result<Tensor> {
    let (batch, channels, frames, height, width) = latents.dims5()?;
    let (room, size) = (channels * height * width, shape.iter().product::<usize>());
    if frame >= frames || size == 0 || size > room {
        candle_core::bail!(
            "{size} numbers cannot be read from latent frame {frame} of {frames}, which holds {room}"
        );
    }
    let repeats = room / size;
    // [B, C, 1, h, w] -> [B, C·h·w] -> [B, repeats, size]
    let flat = latents.narrow(2, frame, 1)?.reshape((batch, room))?.narrow(1, 0, repeats * size)?;
    let mean = flat.reshape((batch, repeats, size))?.mean(1)?;
    mean.reshape([&[batch], shape].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_written_is_read_back_and_other_frames_stay() {
        let latents = Tensor::arange(0f32, 96.0, &Device::Cpu).unwrap().reshape((1, 2, 3, 4, 4)).unwrap();
        let values = Tensor::new(&[[0.25f32, -1.0, 0.5, 0.75, 0.125]], &Device::Cpu).unwrap();
        for frame in 0..3 {
            let written = write(&latents, &values, frame).unwrap();
            let back = read(&written, &[5], frame).unwrap();
            let error =
                (back - &values).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(error < 1e-6);
            for other in (0..3).filter(|other| *other != frame) {
                let (a, b) = (written.narrow(2, other, 1).unwrap(), latents.narrow(2, other, 1).unwrap());
                assert_eq!(
                    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap(),
                    0.0
                );
            }
        }
        assert!(write(&latents, &values, 3).is_err());
        assert!(read(&latents, &[33], 0).is_err());
    }
}
