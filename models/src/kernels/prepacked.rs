//! Weights that are laid out for the kernel once (and rounded, for bf16), instead of in every product.
//!
//! A frame of one future has 68 rows: packing a weight for them costs as much as the product. The layout is the one that
//! [`super::gemm`] packs into with the same [`Precision`], so the bits of a product are the same.

use super::matrix::View;
use super::precision::Precision;
#[cfg(target_arch = "x86_64")]
use super::{
    bf16,
    gemm::Target,
    multiversion::{Level, level},
    packed_f32,
    threads::for_each,
};

/// The right factor of products, `k x n`, ready for the kernels of this processor.
pub struct Prepacked {
    #[cfg(target_arch = "x86_64")]
    lines: Vec<Line>,
    #[cfg(not(target_arch = "x86_64"))]
    never: std::convert::Infallible,
    precision: Precision,
    k: usize,
    n: usize,
}

/// A cache line of f32 numbers or of pairs of bf16 ones, so that no load of the kernels touches two lines.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LINE]);

/// Words a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 16;

/// Multiplications a strip of a product should have: about five microseconds.
#[cfg(target_arch = "x86_64")]
const STRIP_WORK: usize = 500_000;

/// Rows whose multiplications take as long as reading the factor from memory does: fewer rows are no less work.
#[cfg(target_arch = "x86_64")]
const READING_ROWS: usize = 32;

#[cfg(target_arch = "x86_64")]
impl Prepacked {
    /// Packs a factor for products of this precision; `None` where the processor has no kernel for them.
    pub fn of(b: View<'_>, precision: Precision) -> Option<Self> {
        let needs = match precision {
            Precision::F32 => Level::Avx2,
            Precision::Bf16 => Level::Avx512Bf16,
        };
        if level() < needs || b.rows() == 0 || b.cols() == 0 {
            return None;
        }
        let (k, n) = (b.rows(), b.cols());
        let words = match precision {
            Precision::F32 => packed_f32::packed_numbers(k, n),
            Precision::Bf16 => bf16::packed_words(k, n),
        };
        let mut lines = vec![Line([0; LINE]); words.div_ceil(LINE)];
        // SAFETY: lines are plain words without gaps, which are f32 numbers as well, and nobody else has them; `level` has
        // found the instructions.
        unsafe {
            let (start, len) = (lines.as_mut_ptr(), lines.len() * LINE);
            match precision {
                Precision::F32 => {
                    packed_f32::pack_whole(b, std::slice::from_raw_parts_mut(start.cast(), len));
                }
                Precision::Bf16 => bf16::pack_whole(b, std::slice::from_raw_parts_mut(start.cast(), len)),
            }
        }
        Some(Self { lines, precision, k, n })
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        std::mem::size_of_val(self.lines.as_slice())
    }

    /// `a b` as a new dense matrix, with every row starting from `bias`; on up to the caller's number of threads, which changes
    /// no bit.
    ///
    /// # Panics
    /// When shapes do not fit together.
    pub fn product(&self, a: View<'_>, bias: Option<&[f32]>) -> Vec<f32> {
        let (m, k, n) = (a.rows(), self.k, self.n);
        assert!(a.cols() == k, "matmul: {m}x{} times {k}x{n}", a.cols());
        let mut c: Vec<f32> = Vec::with_capacity(m * n);
        if let Some(bias) = bias {
            assert_eq!(bias.len(), n, "a bias of another size");
            (0..m).for_each(|_| c.extend_from_slice(bias));
        }
        let target = Target { start: c.as_mut_ptr(), row_stride: n };
        let by_rows = m >= n;
        let (rows, columns) = match self.precision {
            Precision::F32 => (packed_f32::TILE_ROWS, packed_f32::TILE_COLS),
            Precision::Bf16 => (bf16::TILE_ROWS, bf16::TILE_COLS),
        };
        let (length, tile) = if by_rows { (m, rows) } else { (n, columns) };
        // Several strips a thread, so that one who comes late takes less; each pays for packing its part of `a`.
        let work = m.max(READING_ROWS).saturating_mul(n).saturating_mul(k);
        let least = STRIP_WORK.div_ceil((work / length.max(1)).max(1));
        let strip = length.div_ceil(3 * super::threads::current()).max(least).next_multiple_of(tile);
        for_each(length.div_ceil(strip), work / 16, |i| {
            let (at, len) = (i * strip, strip.min(length - i * strip));
            let (a, left, width, c) = if by_rows {
                // SAFETY: row `at` lies inside the result.
                (a.part(at, len, 0, k), 0, n, unsafe { target.at(at, 0) })
            } else {
                // SAFETY: column `at` lies inside the result.
                (a, at, len, unsafe { target.at(0, at) })
            };
            // SAFETY: there is a packed factor only where the instructions are; strips are disjoint parts of the m x n
            // numbers that the vector has room for; with a bias they are there.
            unsafe { self.multiply(a, left, width, c, bias.is_some()) };
        });
        // SAFETY: each number was written (k is not 0) or was there.
        unsafe { c.set_len(m * n) };
        c
    }

    /// The columns `left .. left + width` of a product.
    ///
    /// # Safety
    /// As [`packed_f32::matmul_packed`] and [`bf16::matmul_packed`].
    unsafe fn multiply(&self, a: View<'_>, left: usize, width: usize, c: Target, add: bool) {
        let (start, len) = (self.lines.as_ptr(), self.lines.len() * LINE);
        // SAFETY: lines are plain words without gaps, packed for this precision; the rest is promised by the caller.
        unsafe {
            match self.precision {
                Precision::F32 => {
                    let numbers = std::slice::from_raw_parts(start.cast(), len);
                    packed_f32::matmul_packed(a, numbers, self.n, left, width, c, add);
                }
                Precision::Bf16 => {
                    let words = std::slice::from_raw_parts(start.cast(), len);
                    bf16::matmul_packed(a, words, self.n, left, width, c, add);
                }
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Prepacked {
    /// Packs a factor; `None` where the processor has no kernel of ours, as here.
    pub fn of(_: View<'_>, _: Precision) -> Option<Self> {
        None
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match self.never {}
    }

    /// `a b` as a new dense matrix, with every row starting from `bias`.
    pub fn product(&self, _: View<'_>, _: Option<&[f32]>) -> Vec<f32> {
        match self.never {}
    }
}

impl Prepacked {
    /// What its products round their factors to.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows and columns of the factor.
    pub fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{gemm, precision, threads};
    use super::*;
    use crate::random::Random;

    fn normal(n: usize, stream: u64) -> Vec<f32> {
        let mut x = vec![0.0; n];
        Random::new(3, stream, 0).fill_normal(0, &mut x);
        x
    }

    #[test]
    fn products_have_the_bits_of_those_that_pack_each_time() {
        for wish in [Precision::F32, Precision::Bf16] {
            for (m, k, n) in
                [(1, 1, 1), (1, 192, 1152), (68, 192, 576), (70, 1536, 192), (13, 33, 31), (300, 600, 96)]
            {
                let (a, w, bias) = (normal(m * k, 1), normal(n * k, 2), normal(n, 3));
                let (a, b) = (View::dense(&a, m, k), View::dense(&w, n, k).t());
                let Some(packed) = Prepacked::of(b, wish) else {
                    let current = precision::with(Precision::Bf16, precision::current);
                    assert!(wish == Precision::F32 || current == Precision::F32);
                    continue;
                };
                let least = if wish == Precision::F32 { 4 } else { 2 };
                assert!(packed.shape() == (k, n) && packed.bytes() >= least * k * n);
                assert_eq!(packed.precision(), wish);
                for bias in [None, Some(bias.as_slice())] {
                    let each = precision::with(wish, || gemm::product(a, b, bias));
                    for count in [1, 2, 3] {
                        let once = threads::with(count, || packed.product(a, bias));
                        assert!(once == each, "{wish:?} {m}x{k}x{n} on {count} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_that_is_none_stays_in_its_row() {
        let mut a = normal(5 * 40, 1);
        a[2 * 40 + 7] = f32::NAN;
        let w = normal(33 * 40, 2);
        for wish in [Precision::F32, Precision::Bf16] {
            let Some(packed) = Prepacked::of(View::dense(&w, 33, 40).t(), wish) else { continue };
            let c = packed.product(View::dense(&a, 5, 40), None);
            for (r, row) in c.chunks_exact(33).enumerate() {
                assert_eq!(row.iter().all(|v| v.is_nan()), r == 2);
                assert_eq!(row.iter().any(|v| v.is_nan()), r == 2);
            }
            assert!(packed.product(View::dense(&[], 0, 40), None).is_empty());
        }
    }
}
