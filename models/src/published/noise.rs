//! The noise of a run: a function of seed, chunk, number of the draw, latent frame and element, and of nothing else.

use candle_core::{Device, Result, Tensor};

use crate::random::{Random, stream_of};

/// Draws in the order in which a run asks.
pub(super) struct Noise {
    random: Random,
    chunk: u64,
    draws: u64,
    device: Device,
}

impl Noise {
    pub fn new(seed: u64, chunk: usize, device: &Device) -> Self {
        let random = Random::new(seed, stream_of("published clip"), 0);
        Self { random, chunk: chunk as u64, draws: 0, device: device.clone() }
    }

    /// Standard normal noise. Latent frames [1, C, T, h, w] are drawn one by one, so that the first frames of a long
    /// clip have the noise of a short one.
    pub fn draw(&mut self, shape: &[usize]) -> Result<Tensor> {
        let number = self.chunk << 40 | self.draws << 20;
        self.draws += 1;
        match *shape {
            [1, channels, frames, height, width] => {
                let area = height * width;
                let mut values = vec![0f32; channels * frames * area];
                let mut one = vec![0f32; channels * area];
                for frame in 0..frames {
                    self.random.at_step(number | frame as u64).fill_normal(0, &mut one);
                    for (channel, drawn) in one.chunks_exact(area.max(1)).enumerate() {
                        let at = (channel * frames + frame) * area;
                        if let Some(place) = values.get_mut(at..at + area) {
                            place.copy_from_slice(drawn);
                        }
                    }
                }
                Tensor::from_vec(values, shape, &self.device)
            }
            _ => {
                let mut values = vec![0f32; shape.iter().product()];
                self.random.at_step(number | 0xF_FFFF).fill_normal(0, &mut values);
                Tensor::from_vec(values, shape, &self.device)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_longer_clip_begins_with_the_noise_of_a_shorter_one_and_seeds_differ() {
        let draw =
            |seed, chunk, frames| Noise::new(seed, chunk, &Device::Cpu).draw(&[1, 2, frames, 3, 4]).unwrap();
        let (short, long) = (draw(1, 0, 2), draw(1, 0, 5).narrow(2, 0, 2).unwrap());
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&short), values(&long));
        assert_ne!(values(&short), values(&draw(2, 0, 2)));
        assert_ne!(values(&short), values(&draw(1, 1, 2)));
        let mut noise = Noise::new(1, 0, &Device::Cpu);
        assert_ne!(values(&noise.draw(&[3, 4]).unwrap()), values(&noise.draw(&[3, 4]).unwrap()));
    }
}
