//! The matrix product and what belongs to a linear layer.

use super::matrix::{View, ViewMut};
#[cfg(target_arch = "x86_64")]
use super::multiversion::{Level, level};
use super::precision::{self, Precision};
use super::threads::{Shared, for_each};

/// Size of the blocks of the result that products of the `gemm` crate are cut into. Fixed, because the `gemm` crate may choose another
/// order of additions for another size: with fixed blocks the bits do not depend on the number of threads.
const BLOCK_ROWS: usize = 256;
const BLOCK_COLS: usize = 512;

/// Where a block of the result goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) start: *mut f32,
    pub(crate) row_stride: usize,
}

// SAFETY: blocks given to different threads are disjoint.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// The same target, moved to element (r, c).
    ///
    /// # Safety
    /// (r, c) must lie inside the matrix.
    pub(crate) unsafe fn at(self, r: usize, c: usize) -> Self {
        // SAFETY: promised by the caller.
        Self { start: unsafe { self.start.add(r * self.row_stride + c) }, ..self }
    }
}

/// `c = a b`, or `c += a b` with `add`, in this thread's [`Precision`].
///
/// # Panics
/// When shapes do not fit together.
pub fn matmul(a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: bool) {
    assert!(c.rows == a.rows() && c.cols == b.cols(), "matmul: the result has another shape");
    let target = Target { start: c.data.as_mut_ptr(), row_stride: c.row_stride };
    // SAFETY: the shape was checked; the borrow keeps others out.
    unsafe { matmul_into(a, b, target, add) };
}

/// `a b` as a new dense matrix, with every row starting from `bias`.
///
/// # Panics
/// When shapes do not fit together.
pub fn product(a: View<'_>, b: View<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (m, n) = (a.rows(), b.cols());
    let mut c: Vec<f32> = Vec::with_capacity(m * n);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), n, "a bias of another size");
        (0..m).for_each(|_| c.extend_from_slice(bias));
    }
    let target = Target { start: c.as_mut_ptr(), row_stride: n };
    // SAFETY: the vector has room for m x n numbers. With a bias they are there; without, the product is written, not
    // added, so nothing is read, and then they are there, too (each element of the result belongs to one block).
    unsafe {
        matmul_into(a, b, target, bias.is_some());
        c.set_len(m * n);
    }
    c
}

/// As [`matmul`].
///
/// # Safety
/// `c` must point to a matrix of `a.rows() x b.cols()` that nobody else touches meanwhile; with `add` it must hold
/// numbers.
unsafe fn matmul_into(a: View<'_>, b: View<'_>, target: Target, add: bool) {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    assert!(b.rows() == k, "matmul: {m}x{k} times {}x{n}", b.rows());
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        // An empty sum is zero.
        for r in (0..m).filter(|_| !add) {
            // SAFETY: row r lies inside c.
            unsafe { target.at(r, 0).start.write_bytes(0, n) };
        }
        return;
    }
    let work = m.saturating_mul(n).saturating_mul(k) / 16;
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = Packed::choose() {
        // Here bits do not depend on the cut, so each thread gets one strip of whole tiles.
        let threads = super::threads::current();
        let by_rows = m >= n;
        let (rows, cols) = kernel.tile();
        let (length, tile) = if by_rows { (m, rows) } else { (n, cols) };
        let strip = length.div_ceil(threads).next_multiple_of(tile);
        for_each(length.div_ceil(strip), work, |i| {
            let (at, len) = (i * strip, strip.min(length - i * strip));
            // SAFETY: `choose` has found the instructions, the caller has checked shapes, strips are disjoint.
            unsafe {
                if by_rows {
                    kernel.matmul(a.part(at, len, 0, k), b, target.at(at, 0), add);
                } else {
                    kernel.matmul(a, b.part(0, k, at, len), target.at(0, at), add);
                }
            }
        });
        return;
    }
    let (down, across) = (m.div_ceil(BLOCK_ROWS), n.div_ceil(BLOCK_COLS));
    for_each(down * across, work, |i| {
        let (r, l) = (i / across * BLOCK_ROWS, i % across * BLOCK_COLS);
        let (h, w) = (BLOCK_ROWS.min(m - r), BLOCK_COLS.min(n - l));
        // SAFETY: the caller has checked shapes; blocks are disjoint.
        unsafe { f32_block(a.part(r, h, 0, k), b.part(0, k, l, w), target.at(r, l), add) };
    });
}

/// The kernels of our own, which pack what they multiply.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum Packed {
    F32,
    Bf16,
}

#[cfg(target_arch = "x86_64")]
impl Packed {
    /// The one for this thread's precision, where this processor has its instructions.
    fn choose() -> Option<Self> {
        // Bf16 is current only where `level` has found AVX512-BF16.
        match precision::current() {
            Precision::Bf16 => Some(Self::Bf16),
            Precision::F32 => (level() >= Level::Avx2).then_some(Self::F32),
        }
    }

    /// Rows and columns of a tile.
    fn tile(self) -> (usize, usize) {
        match self {
            Self::F32 => (super::packed_f32::TILE_ROWS, super::packed_f32::TILE_COLS),
            Self::Bf16 => (super::bf16::TILE_ROWS, super::bf16::TILE_COLS),
        }
    }

    /// # Safety
    /// As [`super::packed_f32::matmul`] and [`super::bf16::matmul`].
    unsafe fn matmul(self, a: View<'_>, b: View<'_>, c: Target, add: bool) {
        // SAFETY: promised by the caller.
        unsafe {
            match self {
                Self::F32 => super::packed_f32::matmul(a, b, c, add),
                Self::Bf16 => super::bf16::matmul(a, b, c, add),
            }
        }
    }
}

/// One block in f32 on this thread: by our own kernel where the processor has AVX2, else with the `gemm` crate.
///
/// # Safety
/// `c` must point to a matrix of `a.rows() x b.cols()` that nobody else touches meanwhile.
pub(super) unsafe fn f32_block(a: View<'_>, b: View<'_>, c: Target, add: bool) {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Avx2 && a.cols() > 0 {
        // SAFETY: `level` has found AVX2 and FMA; the rest is promised by the caller.
        unsafe { super::packed_f32::matmul(a, b, c, add) };
        return;
    }
    // SAFETY: `View` holds only matrices inside their slices; `c` is promised by the caller.
    unsafe {
        gemm::gemm(
            a.rows(),
            b.cols(),
            a.cols(),
            c.start,
            1,
            c.row_stride as isize,
            add,
            a.start(),
            a.col_stride() as isize,
            a.row_stride() as isize,
            b.start(),
            b.col_stride() as isize,
            b.row_stride() as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `x w^T + b` for `x [m, k]`, `w [n, k]`, `b [n]`: `[m, n]`.
pub fn linear(x: &[f32], w: &[f32], b: Option<&[f32]>, m: usize, k: usize, n: usize) -> Vec<f32> {
    product(View::dense(x, m, k), View::dense(w, n, k).t(), b)
}

/// `dx = dy w`.
pub fn linear_dx(dy: &[f32], w: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    product(View::dense(dy, m, n), View::dense(w, n, k), None)
}

/// `dw = dy^T x`.
pub fn linear_dw(dy: &[f32], x: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    product(View::dense(dy, m, n).t(), View::dense(x, m, k), None)
}

#[inline(always)]
fn sum_rows_body<const FMA: bool>(x: &[f32], width: usize, left: usize, sum: &mut [f32]) {
    sum.fill(0.0);
    for row in x.chunks_exact(width) {
        let row = &row[left..left + sum.len()];
        sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
    }
}

multiversion! {
    fn sum_rows(x: &[f32], width: usize, left: usize, sum: &mut [f32]) = sum_rows_body;
}

/// `sum[c]` = sum of column `c` of `x`, from the first row to the last.
pub fn column_sum(x: &[f32], sum: &mut [f32]) {
    /// 2 KiB of sums stay in the registers and the first cache while rows stream by.
    const COLS: usize = 512;
    let n = sum.len();
    if n == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(n));
    let out = Shared::new(sum);
    for_each(n.div_ceil(COLS), x.len(), |i| {
        let len = COLS.min(n - i * COLS);
        // SAFETY: blocks of columns are disjoint.
        sum_rows(x, n, i * COLS, unsafe { out.part(i * COLS, len) });
    });
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    fn normal(n: usize, stream: u64) -> Vec<f32> {
        let mut x = vec![0.0; n];
        Random::new(11, stream, 0).fill_normal(0, &mut x);
        x
    }

    /// The product in f64.
    fn reference(a: View<'_>, b: View<'_>) -> Vec<f64> {
        let mut c = vec![0.0; a.rows() * b.cols()];
        for i in 0..a.rows() {
            for l in 0..a.cols() {
                for j in 0..b.cols() {
                    c[i * b.cols() + j] += f64::from(a.at(i, l)) * f64::from(b.at(l, j));
                }
            }
        }
        c
    }

    /// Root mean square error over root mean square.
    fn relative_error(got: &[f32], want: &[f64]) -> f64 {
        let error: f64 = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).powi(2)).sum();
        (error / want.iter().map(|w| w * w).sum::<f64>().max(1e-300)).sqrt()
    }

    fn check(precision: Precision, bar: f64) {
        let shapes = [
            (1, 1, 1),
            (1, 256, 256),
            (5, 3, 7),
            (12, 32, 32),
            (13, 33, 31),
            (68, 64, 68),
            (68, 68, 64),
            (97, 255, 100),
            (100, 257, 33),
            (260, 600, 530),
            (3, 1000, 2100),
        ];
        for (m, k, n) in shapes {
            let (a, at) = (normal(m * k + 64, 1), normal(m * k + 64, 2));
            let (b, bt) = (normal(k * n + 64, 3), normal(k * n + 64, 4));
            let lefts = [View::dense(&a, m, k), View::dense(&at, k, m).t()];
            let rights = [View::dense(&b, k, n), View::dense(&bt, n, k).t()];
            for left in lefts {
                for right in rights {
                    let want = reference(left, right);
                    let run = |n_threads: usize| {
                        // The result lies in a wider matrix, whose other columns must stay as they are.
                        let stride = n + 3;
                        let mut c = vec![0.5; m * stride];
                        threads::with(n_threads, || {
                            precision::with(precision, || {
                                matmul(left, right, ViewMut::new(&mut c, m, n, stride), true);
                            });
                        });
                        for row in c.chunks_exact(stride) {
                            assert_eq!(row[n..], [0.5; 3]);
                        }
                        let added: Vec<f32> =
                            c.chunks_exact(stride).flat_map(|r| r[..n].iter().map(|v| v - 0.5)).collect();
                        let mut plain = vec![f32::NAN; m * n];
                        threads::with(n_threads, || {
                            precision::with(precision, || {
                                matmul(left, right, ViewMut::dense(&mut plain, m, n), false);
                            });
                        });
                        (added, plain)
                    };
                    let (added, plain) = run(1);
                    let bar = if k < 3 { bar * 2.0 } else { bar };
                    let (e1, e2) = (relative_error(&added, &want), relative_error(&plain, &want));
                    assert!(e1 < bar && e2 < bar, "{m}x{k}x{n}: {e1} {e2}");
                    assert_eq!(run(2), (added, plain), "threads change bits at {m}x{k}x{n}");
                }
            }
        }
    }

    #[test]
    fn f32_products_agree_with_f64() {
        check(Precision::F32, 1e-6);
    }

    #[test]
    fn bf16_products_agree_with_f64_within_their_format() {
        // Falls back to f32 where the processor has no bf16 products, and then passes all the more.
        check(Precision::Bf16, 4e-3);
    }

    #[test]
    fn an_empty_sum_is_zero() {
        for precision in [Precision::F32, Precision::Bf16] {
            let c = precision::with(precision, || {
                let bias = [1.0, 2.0];
                product(View::dense(&[], 3, 0), View::dense(&[], 0, 2), Some(&bias))
            });
            assert_eq!(c, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
            assert_eq!(product(View::dense(&[], 3, 0), View::dense(&[], 0, 2), None), [0.0; 6]);
        }
    }

    #[test]
    fn strides_without_a_contiguous_side_work() {
        let a = normal(20 * 30 * 2, 1);
        let b = normal(30 * 10 * 3, 2);
        let (left, right) = (View::new(&a, 20, 30, 60, 2), View::new(&b, 30, 10, 30, 3));
        for precision in [Precision::F32, Precision::Bf16] {
            let mut c = vec![0.0; 200];
            precision::with(precision, || matmul(left, right, ViewMut::dense(&mut c, 20, 10), false));
            assert!(relative_error(&c, &reference(left, right)) < 4e-3);
        }
    }

    #[test]
    fn nan_reaches_its_row_and_nothing_else() {
        for precision in [Precision::F32, Precision::Bf16] {
            let mut a = normal(14 * 40, 1);
            a[3 * 40 + 39] = f32::NAN;
            a[5 * 40] = f32::INFINITY;
            let b = normal(40 * 35, 2);
            let mut c = vec![0.0; 14 * 35];
            precision::with(precision, || {
                matmul(
                    View::dense(&a, 14, 40),
                    View::dense(&b, 40, 35),
                    ViewMut::dense(&mut c, 14, 35),
                    false,
                );
            });
            for (r, row) in c.chunks_exact(35).enumerate() {
                assert_eq!(row.iter().all(|v| !v.is_finite()), r == 3 || r == 5, "row {r}");
                assert_eq!(row.iter().any(|v| !v.is_finite()), r == 3 || r == 5, "row {r}");
            }
        }
    }

    #[test]
    fn column_sums_follow_rows() {
        for (m, n) in [(1, 1), (7, 5), (300, 1100)] {
            let x = normal(m * n, 9);
            let mut sum = vec![f32::NAN; n];
            column_sum(&x, &mut sum);
            for (c, s) in sum.iter().enumerate() {
                let want: f64 = (0..m).map(|r| f64::from(x[r * n + c])).sum();
                assert!((f64::from(*s) - want).abs() < 1e-4, "{m}x{n} {c}");
            }
        }
    }
}
