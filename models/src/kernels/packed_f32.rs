//! The matrix product in f32 (AVX2 and fused multiply-add).
//!
//! B is packed into panels of 16 columns, row after row. A is read where it lies, six rows at a time; where it is transposed, or
//! its rows would push one another out of the cache, it is packed into panels of 6 rows first ([`rows_of_a`]). The inner kernel
//! keeps 6 x 16 sums in 12 registers. Every sum runs in order over blocks of the summed dimension that depend on its length alone,
//! so neither tiles nor threads change the bits.
//!
//! The tiling is that of Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication",
//! <https://doi.org/10.1145/1356052.1356053>.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::gemm::Target;
use super::matrix::View;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 6;
/// Columns of a tile.
pub(super) const TILE_COLS: usize = 16;
/// Longest block of the summed dimension: a B panel then takes half of a 32 KiB first-level cache.
const DEPTH: usize = 256;
/// Rows of A that are multiplied at a time (96 KiB: a part of the second-level cache).
const BAND: usize = 16 * TILE_ROWS;
/// Columns of B that are packed at a time (1 MiB: the third-level cache).
const STRIP: usize = 64 * TILE_COLS;
/// Numbers between rows of a packed A panel: the longest row plus one cache line, so that rows fall into different sets.
const ROW: usize = DEPTH + 16;
/// Rows this many numbers apart (4 KiB), or a multiple of it, share their sets of the first-level cache.
const SAME_SETS: usize = 1024;

thread_local! {
    static PANELS: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Length of the blocks that a sum of `k` products is cut into: a function of `k` alone.
fn block_depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1)
}

/// `c = a b`, or `c += a b` with `add`.
///
/// # Safety
/// The processor must have AVX2 and FMA; `c` must point to a matrix of `a.rows() x b.cols()` that nobody else touches
/// meanwhile; `a.cols()` must equal `b.rows()`.
pub(super) unsafe fn matmul(a: View<'_>, b: View<'_>, c: Target, add: bool) {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    let depth = block_depth(k);
    PANELS.with_borrow_mut(|(pa, pb)| {
        pb.resize(pb.len().max(n.min(STRIP).next_multiple_of(TILE_COLS) * depth), 0.0);
        pa.resize(BAND * ROW, 0.0);
        for left in (0..n).step_by(STRIP) {
            let width = STRIP.min(n - left);
            for from in (0..k).step_by(depth) {
                let len = depth.min(k - from);
                // SAFETY: the buffer holds all panels; the part lies inside its matrix.
                unsafe { pack_b(b.part(from, len, left, width), pb) };
                for top in (0..m).step_by(BAND) {
                    let height = BAND.min(m - top);
                    let part = a.part(top, height, from, len);
                    // SAFETY: the buffer holds a band; the rest is promised by the caller.
                    unsafe {
                        let a = rows_of_a(part, pa);
                        let band = Band { a, b: pb, height, depth: len, width };
                        band.multiply(c.at(top, left), add || from > 0);
                    }
                }
            }
        }
    });
}

/// Numbers of a factor of `k x n` that is packed whole.
pub(super) fn packed_numbers(k: usize, n: usize) -> usize {
    k * n.next_multiple_of(TILE_COLS)
}

/// Packs a whole factor: the blocks of the summed dimension one after the other, each as [`matmul`] packs it.
///
/// # Safety
/// The processor must have AVX2 and FMA; `out` must have [`packed_numbers`].
pub(super) unsafe fn pack_whole(b: View<'_>, out: &mut [f32]) {
    let (k, n) = (b.rows(), b.cols());
    let depth = block_depth(k);
    for from in (0..k).step_by(depth) {
        let at = from * n.next_multiple_of(TILE_COLS);
        // SAFETY: a block takes its rows times the columns, and so do the blocks before it.
        unsafe { pack_b(b.part(from, depth.min(k - from), 0, n), &mut out[at..]) };
    }
}

/// `c = a b`, or `c += a b` with `add`, for the columns `left .. left + width` of a factor of `n` columns that
/// [`pack_whole`] has packed; the bits are those of [`matmul`].
///
/// # Safety
/// As [`matmul`], for `a.rows() x width` numbers of `c`; `b` must be packed from `a.cols() x n` numbers, `left` be a multiple
/// of [`TILE_COLS`].
pub(super) unsafe fn matmul_packed(
    a: View<'_>,
    b: &[f32],
    n: usize,
    left: usize,
    width: usize,
    c: Target,
    add: bool,
) {
    let (m, k) = (a.rows(), a.cols());
    let depth = block_depth(k);
    PANELS.with_borrow_mut(|(pa, _)| {
        pa.resize(BAND * ROW, 0.0);
        for top in (0..m).step_by(BAND) {
            let height = BAND.min(m - top);
            for from in (0..k).step_by(depth) {
                let len = depth.min(k - from);
                let at = from * n.next_multiple_of(TILE_COLS) + left * len;
                // SAFETY: the buffer holds a band; the part lies inside its matrix; the rest is promised by the caller.
                unsafe {
                    let a = rows_of_a(a.part(top, height, from, len), pa);
                    let band = Band { a, b: &b[at..], height, depth: len, width };
                    band.multiply(c.at(top, 0), add || from > 0);
                }
            }
        }
    });
}

/// Where the inner kernel finds a band of A.
#[derive(Clone, Copy)]
struct Rows {
    start: *const f32,
    /// Numbers from one panel of six rows to the next.
    next_panel: usize,
    /// Numbers from one row of a panel to the next.
    next_row: usize,
    /// The six numbers of a column lie side by side.
    side_by_side: bool,
}

/// A band of A (at most [`BAND`] rows), as it lies or packed into `out`.
///
/// # Safety
/// The processor must have the instructions; `out` must hold a whole band, and both must outlive what is returned.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_of_a(a: View<'_>, out: &mut [f32]) -> Rows {
    let (rows, k, start, stride) = (a.rows(), a.cols(), a.start(), a.row_stride());
    if (a.col_stride() == 1 || k == 1) && (stride % SAME_SETS != 0 || rows == 1) {
        return Rows { start, next_panel: TILE_ROWS * stride, next_row: stride, side_by_side: false };
    }
    let out = out.as_mut_ptr();
    let next_panel = TILE_ROWS * ROW;
    if stride != 1 {
        for r in 0..rows {
            // SAFETY: row r has k readable numbers; panel rows have ROW >= DEPTH places.
            unsafe {
                let (from, to) = (start.add(r * stride), out.add(r * ROW));
                (0..k).for_each(|l| *to.add(l) = *from.add(l * a.col_stride()));
            }
        }
        return Rows { start: out, next_panel, next_row: ROW, side_by_side: false };
    }
    for l in 0..k {
        for (panel, top) in (0..rows).step_by(TILE_ROWS).enumerate() {
            // SAFETY: column l has `rows` readable numbers; a panel has six rows of ROW >= k places.
            unsafe {
                let from = start.add(l * a.col_stride() + top);
                let to = out.add(panel * next_panel + l * TILE_ROWS);
                if rows - top >= TILE_ROWS {
                    std::ptr::copy_nonoverlapping(from, to, TILE_ROWS);
                } else {
                    std::ptr::copy_nonoverlapping(from, to, rows - top);
                }
            }
        }
    }
    Rows { start: out, next_panel, next_row: 1, side_by_side: true }
}

/// Packs B: panels of 16 columns, row after row; columns beyond the last one are zero.
///
/// # Safety
/// The processor must have the instructions; `out` must hold all panels.
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_b(b: View<'_>, out: &mut [f32]) {
    let (k, cols, start) = (b.rows(), b.cols(), b.start());
    let (row, col) = (b.row_stride(), b.col_stride());
    let out = out.as_mut_ptr();
    for left in (0..cols).step_by(TILE_COLS) {
        let width = TILE_COLS.min(cols - left);
        // SAFETY: rows and columns below `k` and `cols` are readable; the panel has k x 16 places.
        unsafe {
            let (from, to) = (start.add(left * col), out.add(left * k));
            if width == TILE_COLS && col == 1 {
                for l in 0..k {
                    let (from, to) = (from.add(l * row), to.add(l * TILE_COLS));
                    _mm256_storeu_ps(to, _mm256_loadu_ps(from));
                    _mm256_storeu_ps(to.add(8), _mm256_loadu_ps(from.add(8)));
                }
            } else if width == TILE_COLS && row == 1 {
                let whole = k / 8 * 8;
                for l in (0..whole).step_by(8) {
                    for half in [0, 8] {
                        let mut block = [_mm256_setzero_ps(); 8];
                        for (c, column) in block.iter_mut().enumerate() {
                            *column = _mm256_loadu_ps(from.add((half + c) * col + l));
                        }
                        for (i, line) in transposed(block).into_iter().enumerate() {
                            _mm256_storeu_ps(to.add((l + i) * TILE_COLS + half), line);
                        }
                    }
                }
                pack_slowly(from, to, whole..k, (row, col), width);
            } else {
                pack_slowly(from, to, 0..k, (row, col), width);
            }
        }
    }
}

/// Rows `lines` of a panel of `width` columns, number by number.
///
/// # Safety
/// As [`pack_b`].
unsafe fn pack_slowly(
    from: *const f32,
    to: *mut f32,
    lines: std::ops::Range<usize>,
    (row, col): (usize, usize),
    width: usize,
) {
    for l in lines {
        for c in 0..TILE_COLS {
            // SAFETY: promised by the caller.
            unsafe {
                *to.add(l * TILE_COLS + c) = if c < width { *from.add(l * row + c * col) } else { 0.0 }
            };
        }
    }
}

/// A block of 8 x 8 numbers with rows and columns exchanged.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    let [mut t, mut u] = [[_mm256_setzero_ps(); 8]; 2];
    for i in (0..8).step_by(2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for g in [0, 4] {
        u[g] = _mm256_shuffle_ps::<0x44>(t[g], t[g + 2]);
        u[g + 1] = _mm256_shuffle_ps::<0xee>(t[g], t[g + 2]);
        u[g + 2] = _mm256_shuffle_ps::<0x44>(t[g + 1], t[g + 3]);
        u[g + 3] = _mm256_shuffle_ps::<0xee>(t[g + 1], t[g + 3]);
    }
    let mut out = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(u[i], u[4 + i]);
        out[4 + i] = _mm256_permute2f128_ps::<0x31>(u[i], u[4 + i]);
    }
    out
}

/// Rows of A and packed columns of B.
struct Band<'a> {
    a: Rows,
    b: &'a [f32],
    height: usize,
    depth: usize,
    width: usize,
}

impl Band<'_> {
    /// Multiplies all tiles.
    ///
    /// # Safety
    /// The processor must have the instructions; `a` must be `height` rows of `depth` readable numbers; `c` must point to
    /// `height x width` numbers of its own.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply(&self, c: Target, add: bool) {
        for left in (0..self.width).step_by(TILE_COLS) {
            let cols = TILE_COLS.min(self.width - left);
            let b = self.b[left * self.depth..].as_ptr();
            for (panel, top) in (0..self.height).step_by(TILE_ROWS).enumerate() {
                let rows = TILE_ROWS.min(self.height - top);
                // SAFETY: the panels hold `rows` rows and 16 columns of `depth` numbers; the tile lies inside c.
                unsafe {
                    let a = self.a.start.add(panel * self.a.next_panel);
                    let c = c.at(top, left);
                    if self.a.side_by_side {
                        any_rows::<TILE_ROWS>(rows, cols, self.depth, a, 1, b, c, add);
                    } else {
                        any_rows::<1>(rows, cols, self.depth, a, self.a.next_row, b, c, add);
                    }
                }
            }
        }
    }
}

/// Chooses the kernel for a tile of `rows` x `cols`.
///
/// # Safety
/// As [`tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn any_rows<const NEXT: usize>(
    rows: usize,
    cols: usize,
    depth: usize,
    a: *const f32,
    next_row: usize,
    b: *const f32,
    c: Target,
    add: bool,
) {
    macro_rules! choose {
        ($($n:literal)*) => {
            match (rows, cols > 8) {
                // SAFETY: promised by the caller.
                $(($n, true) => unsafe { tile::<$n, 2, NEXT>(cols, depth, a, next_row, b, c, add) },
                // SAFETY: promised by the caller.
                ($n, false) => unsafe { tile::<$n, 1, NEXT>(cols, depth, a, next_row, b, c, add) },)*
                _ => unreachable!("a tile has 1 to 6 rows"),
            }
        };
    }
    choose!(1 2 3 4 5 6);
}

/// The inner kernel: `R` rows times `V` vectors of 8 columns, of which `cols` count.
///
/// # Safety
/// `a` holds `depth` numbers of `R` rows, `next_row` apart, each `NEXT` apart, `b` `depth` rows of 16, `c` `R x cols` numbers.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn tile<const R: usize, const V: usize, const NEXT: usize>(
    cols: usize,
    depth: usize,
    mut a: *const f32,
    next_row: usize,
    mut b: *const f32,
    c: Target,
    add: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    for _ in 0..depth {
        // SAFETY: inside the panels, as promised by the caller.
        unsafe {
            let mut right = [_mm256_setzero_ps(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm256_loadu_ps(b.add(8 * v));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = _mm256_broadcast_ss(&*a.add(r * next_row));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm256_fmadd_ps(left, right, *sum);
                }
            }
            a = a.add(NEXT);
            b = b.add(TILE_COLS);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: row r of the result has `cols` numbers.
        unsafe {
            let to = c.start.add(r * c.row_stride);
            if cols == 8 * V {
                for (v, sum) in sums.iter().enumerate() {
                    let to = to.add(8 * v);
                    let sum = if add { _mm256_add_ps(_mm256_loadu_ps(to), *sum) } else { *sum };
                    _mm256_storeu_ps(to, sum);
                }
            } else {
                let mut row = [0.0_f32; TILE_COLS];
                for (v, sum) in sums.iter().enumerate() {
                    _mm256_storeu_ps(row.as_mut_ptr().add(8 * v), *sum);
                }
                for (i, value) in row.iter().enumerate().take(cols) {
                    *to.add(i) = if add { *to.add(i) + value } else { *value };
                }
            }
        }
    }
}
