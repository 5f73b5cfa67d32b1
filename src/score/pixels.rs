//! Distances between pictures: pooled PSNR, SSIM, sharpness.

use forerun_models::Frame;

/// Squared errors that are pooled over many pictures and then turned into dB: averaging dB flatters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pool {
    sum: f64,
    count: u64,
}

impl Pool {
    /// Adds all channels of two pictures of one size; pictures of different sizes add nothing.
    pub fn add(&mut self, a: &Frame, b: &Frame) {
        self.add_where(a, b, |_| true);
    }

    /// Adds the pixels whose number `wanted` accepts.
    pub fn add_where(&mut self, a: &Frame, b: &Frame, wanted: impl Fn(usize) -> bool) {
        if (a.width, a.height) != (b.width, b.height) {
            return;
        }
        let pixels = a.data.chunks_exact(3).zip(b.data.chunks_exact(3)).enumerate();
        for (_, (a, b)) in pixels.filter(|(i, _)| wanted(*i)) {
            let squares: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2)).sum();
            self.sum += f64::from(squares);
            self.count += 3;
        }
    }

    /// Peak signal-to-noise ratio in dB on 0..255; `None` without pixels. Equal pictures give 100 dB instead of
    /// infinity, which JSON cannot hold.
    pub fn psnr(&self) -> Option<f64> {
        let mse = self.mse()?;
        Some(if mse <= 0.0 { 100.0 } else { (10.0 * (255.0f64.powi(2) / mse).log10()).min(100.0) })
    }

    /// Mean squared error on 0..255; `None` without pixels.
    pub fn mse(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Whether each pixel moved: a channel differs by more than 8 of 255 (beyond the noise of a video codec).
pub fn changed(start: &Frame, now: &Frame) -> Vec<bool> {
    start
        .data
        .chunks_exact(3)
        .zip(now.data.chunks_exact(3))
        .map(|(a, b)| a.iter().zip(b).any(|(a, b)| a.abs_diff(*b) > 8))
        .collect()
}

/// Brightness of each pixel, 0..255 (BT.601).
pub fn luma(frame: &Frame) -> Vec<f32> {
    frame
        .data
        .chunks_exact(3)
        .map(|p| match p {
            [r, g, b] => 0.299 * f32::from(*r) + 0.587 * f32::from(*g) + 0.114 * f32::from(*b),
            _ => 0.0,
        })
        .collect()
}

/// Side of the window of SSIM.
const SIDE: usize = 11;

/// Structural similarity of the brightness, mean over all whole 11 x 11 Gaussian windows (sigma 1.5), K1 = 0.01,
/// K2 = 0.03: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", 2004. `None` when the sizes differ or a
/// side is under 11 pixels.
pub fn ssim(a: &Frame, b: &Frame) -> Option<f64> {
    let (w, h) = (a.width, a.height);
    if (w, h) != (b.width, b.height) || w < SIDE || h < SIDE {
        return None;
    }
    let (la, lb) = (luma(a), luma(b));
    let product = |x: &[f32], y: &[f32]| -> Vec<f32> { x.iter().zip(y).map(|(x, y)| x * y).collect() };
    let blur = |x: &[f32]| gaussian(x, w);
    let (ma, mb) = (blur(&la), blur(&lb));
    let (aa, bb, ab) = (blur(&product(&la, &la)), blur(&product(&lb, &lb)), blur(&product(&la, &lb)));
    let (c1, c2) = ((0.01f64 * 255.0).powi(2), (0.03f64 * 255.0).powi(2));
    let mut sum = 0.0;
    for ((((ma, mb), aa), bb), ab) in ma.iter().zip(&mb).zip(&aa).zip(&bb).zip(&ab) {
        let (var_a, var_b, cov) = (aa - ma * ma, bb - mb * mb, ab - ma * mb);
        sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (var_a + var_b + c2));
    }
    (!ma.is_empty()).then(|| sum / ma.len() as f64)
}

/// Gaussian mean of every whole window of rows of `w` values.
fn gaussian(x: &[f32], w: usize) -> Vec<f64> {
    let weights: Vec<f64> =
        (0..SIDE).map(|i| (-(i as f64 - 5.0).powi(2) / (2.0 * 1.5 * 1.5)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|k| k / total).collect();
    let across: Vec<Vec<f64>> = x
        .chunks_exact(w)
        .map(|row| {
            row.windows(SIDE)
                .map(|window| window.iter().zip(&weights).map(|(v, k)| f64::from(*v) * k).sum())
                .collect()
        })
        .collect();
    let mut out = Vec::new();
    for rows in across.windows(SIDE) {
        let mut line = vec![0.0; w + 1 - SIDE];
        for (row, k) in rows.iter().zip(&weights) {
            for (sum, v) in line.iter_mut().zip(row) {
                *sum += v * k;
            }
        }
        out.append(&mut line);
    }
    out
}

/// Mean gradient energy of the brightness: the mean over pixels of the squared differences to the right and the
/// lower neighbour. Blur lowers it, noise raises it. 0 for pictures under 2 x 2.
pub fn sharpness(frame: &Frame) -> f64 {
    let luma = luma(frame);
    let rows: Vec<&[f32]> = luma.chunks_exact(frame.width.max(1)).collect();
    let mut sum = 0.0f64;
    let mut count = 0u64;
    for pair in rows.windows(2) {
        let [upper, lower] = pair else { continue };
        for (x, below) in upper.windows(2).zip(lower.iter()) {
            let [here, right] = x else { continue };
            sum += f64::from(right - here).powi(2) + f64::from(below - here).powi(2);
            count += 1;
        }
    }
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn errors_are_pooled_before_they_become_db() {
        let black = Frame::filled(2, 2, [0, 0, 0]);
        let mut pool = Pool::default();
        assert_eq!(pool.psnr(), None);
        pool.add(&black, &Frame::filled(2, 2, [10, 10, 10])); // mean squared error 100
        pool.add(&black, &Frame::filled(2, 2, [20, 20, 20])); // 400
        assert_eq!(pool.mse(), Some(250.0));
        // 10 log10(65025 / 250) = 24.1514; the mean of the two dB values would be 25.12.
        assert!((pool.psnr().unwrap() - 24.1514).abs() < 1e-4);
        let mut same = Pool::default();
        same.add(&black, &black);
        assert_eq!(same.psnr(), Some(100.0));
    }

    #[test]
    fn only_pixels_that_moved_beyond_codec_noise_count_as_changed() {
        let start = Frame::new(3, 1, vec![0, 0, 0, 100, 100, 100, 5, 5, 5]).unwrap();
        let now = Frame::new(3, 1, vec![8, 8, 8, 109, 100, 100, 5, 5, 5]).unwrap();
        let moved = changed(&start, &now);
        assert_eq!(moved, [false, true, false]);
        let mut pool = Pool::default();
        pool.add_where(&start, &now, |i| moved[i]);
        assert_eq!(pool.mse(), Some(27.0)); // 9 squared over three channels
    }

    #[test]
    fn ssim_knows_equal_inverted_and_constant_pictures() {
        let noise: Vec<u8> =
            (0..256u32).flat_map(|i| [(i.wrapping_mul(2_654_435_761) >> 24) as u8; 3]).collect();
        let a = Frame::new(16, 16, noise.clone()).unwrap();
        assert!((ssim(&a, &a).unwrap() - 1.0).abs() < 1e-6);
        let inverted = Frame::new(16, 16, noise.iter().map(|v| 255 - v).collect()).unwrap();
        assert!(ssim(&a, &inverted).unwrap() < 0.0);
        // Constant pictures: only the brightness term is left, (2 * 100 * 110 + C1) / (100^2 + 110^2 + C1).
        let (x, y) = (Frame::filled(11, 11, [100; 3]), Frame::filled(11, 11, [110; 3]));
        let c1 = 6.5025;
        let wanted = (22_000.0 + c1) / (22_100.0 + c1);
        assert!((ssim(&x, &y).unwrap() - wanted).abs() < 1e-4);
        assert_eq!(ssim(&Frame::filled(10, 20, [0; 3]), &Frame::filled(10, 20, [0; 3])), None);
    }

    #[test]
    fn sharpness_of_a_step_is_counted_by_hand_and_blur_lowers_it() {
        // Luma 0 0 255 255: of 3 x 1 inner pixels one has a step of 255.
        let step: Vec<u8> = [[0u8; 6], [255; 6]].concat().repeat(2);
        let frame = Frame::new(4, 2, step).unwrap();
        assert!((sharpness(&frame) - 255.0f64.powi(2) / 3.0).abs() < 1.0);
        let ramp: Vec<u8> = [0u8, 85, 170, 255].iter().flat_map(|v| [*v; 3]).collect::<Vec<_>>().repeat(2);
        assert!(sharpness(&Frame::new(4, 2, ramp).unwrap()) < sharpness(&frame));
        assert_eq!(sharpness(&Frame::filled(1, 1, [1, 2, 3])), 0.0);
    }
}
