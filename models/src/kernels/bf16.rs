//! The matrix product with bf16 factors and f32 sums (AVX512-BF16, `vdpbf16ps`).
//!
//! Both factors stay f32 in memory and are rounded to bf16 while they are packed into panels. A panel holds pairs of
//! neighbours along the summed dimension, because the instruction multiplies two pairs and adds both products:
//!
//! * A, when its rows are contiguous: 12 rows of pairs, a fixed stride apart ([`ROW`]);
//! * A, when its columns are contiguous (a transposed matrix): for each pair 16 rows side by side;
//! * B: for each pair 32 columns side by side.
//!
//! The inner kernel keeps 12 x 32 sums in 24 registers. Every sum runs over pairs in order inside blocks of the summed
//! dimension that depend on its length alone, so neither tiles nor threads change the bits.

use std::arch::x86_64::*;
use std::cell::RefCell;

use super::gemm::Target;
use super::matrix::View;

/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 12;
/// Columns of a tile.
pub(super) const TILE_COLS: usize = 32;
/// Longest block of the summed dimension: a B panel then takes half of a 32 KiB first-level cache.
const DEPTH: usize = 256;
/// Stride in pairs between rows of an A panel: the longest row plus one cache line, so that rows fall into different sets.
const ROW: usize = DEPTH / 2 + 16;
/// Rows of A that are packed at a time (second-level cache).
const BAND: usize = 8 * TILE_ROWS;
/// Columns of B that are packed at a time (second- or third-level cache).
const STRIP: usize = 64 * TILE_COLS;
/// Words of packed B that are held at a time (768 KiB, most of the second-level cache).
const HELD: usize = 192 * 1024;
/// Pairs of 16 rows side by side in a panel of a transposed A.
const SIDE: usize = 16;
/// Words of a packed band of A.
const PANEL_WORDS: usize = {
    let (rows, side) = (TILE_ROWS * ROW, SIDE * DEPTH / 2);
    BAND / TILE_ROWS * if rows > side { rows } else { side }
};

thread_local! {
    static PANELS: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Length of the blocks that a sum of `k` products is cut into: even, and a function of `k` alone.
fn block_depth(k: usize) -> usize {
    let blocks = k.div_ceil(DEPTH).max(1);
    k.div_ceil(blocks).next_multiple_of(32).clamp(32, DEPTH)
}

/// `c = a b`, or `c += a b` with `add`.
///
/// # Safety
/// The processor must have AVX-512 F, BW, DQ, VL and BF16; `c` must point to a matrix of `a.rows() x b.cols()` that nobody
/// else touches meanwhile; `a.cols()` must equal `b.rows()`.
pub(super) unsafe fn matmul(a: View<'_>, b: View<'_>, c: Target, add: bool) {
    let (mut copy_a, mut copy_b) = (Vec::new(), Vec::new());
    let (a, b) = (with_unit_stride(a, &mut copy_a), with_unit_stride(b, &mut copy_b));
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    PANELS.with_borrow_mut(|(pa, pb)| {
        pa.resize(PANEL_WORDS, 0);
        let depth = block_depth(k);
        for left in (0..n).step_by(STRIP) {
            let width = STRIP.min(n - left);
            // Several blocks of B at a time, so that a band of the result stays in the second-level cache meanwhile.
            let panel = width.next_multiple_of(TILE_COLS) * depth / 2;
            let held = (HELD / panel).clamp(1, k.div_ceil(depth).max(1));
            pb.resize(held * panel, 0);
            // An empty sum still has to write zeros.
            for group in (0..k.max(1)).step_by(held * depth) {
                let blocks = |end: usize| (group..end).step_by(depth).enumerate();
                let end = k.max(1).min(group + held * depth);
                for (i, from) in blocks(end) {
                    let len = depth.min(k - from);
                    // SAFETY: the buffer holds `held` blocks of the longest depth; the part is inside its matrix.
                    unsafe { pack_b(b.part(from, len, left, width), &mut pb[i * panel..]) };
                }
                for top in (0..m).step_by(BAND) {
                    let height = BAND.min(m - top);
                    for (i, from) in blocks(end) {
                        let len = depth.min(k - from);
                        // SAFETY: the buffer holds a band of the longest depth; the part is inside its matrix; the
                        // rest is promised by the caller.
                        unsafe {
                            let side_by_side = pack_a(a.part(top, height, from, len), pa);
                            let (b, pairs) = (&pb[i * panel..], len.div_ceil(2));
                            let band = Band { a: pa, side_by_side, b, pairs, height, width };
                            band.multiply(c.at(top, left), add || from > 0);
                        }
                    }
                }
            }
        }
    });
}

/// Words of a factor of `k x n` that is packed whole.
pub(super) fn packed_words(k: usize, n: usize) -> usize {
    let depth = block_depth(k);
    let full = k / depth;
    (full * depth / 2 + (k - full * depth).div_ceil(2)) * n.next_multiple_of(TILE_COLS)
}

/// Packs a whole factor: the blocks of the summed dimension one after the other, each as [`matmul`] packs it.
///
/// # Safety
/// The processor must have AVX-512 F, BW, DQ, VL and BF16; `out` must have [`packed_words`].
pub(super) unsafe fn pack_whole(b: View<'_>, out: &mut [u32]) {
    let mut copy = Vec::new();
    let b = with_unit_stride(b, &mut copy);
    let (k, n) = (b.rows(), b.cols());
    let depth = block_depth(k);
    for from in (0..k).step_by(depth) {
        let at = from / 2 * n.next_multiple_of(TILE_COLS);
        // SAFETY: a block takes its pairs times the columns, and the blocks before it are whole.
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
    b: &[u32],
    n: usize,
    left: usize,
    width: usize,
    c: Target,
    add: bool,
) {
    let mut copy = Vec::new();
    let a = with_unit_stride(a, &mut copy);
    let (m, k) = (a.rows(), a.cols());
    let depth = block_depth(k);
    PANELS.with_borrow_mut(|(pa, _)| {
        pa.resize(PANEL_WORDS, 0);
        for top in (0..m).step_by(BAND) {
            let height = BAND.min(m - top);
            for from in (0..k).step_by(depth) {
                let len = depth.min(k - from);
                let pairs = len.div_ceil(2);
                let at = from / 2 * n.next_multiple_of(TILE_COLS) + left * pairs;
                // SAFETY: the buffer holds a band of the longest depth; the part is inside its matrix; the rest is promised
                // by the caller.
                unsafe {
                    let side_by_side = pack_a(a.part(top, height, from, len), pa);
                    let band = Band { a: pa, side_by_side, b: &b[at..], pairs, height, width };
                    band.multiply(c.at(top, 0), add || from > 0);
                }
            }
        }
    });
}

/// The matrix itself when one of its strides is 1, else a dense copy.
fn with_unit_stride<'a>(m: View<'a>, copy: &'a mut Vec<f32>) -> View<'a> {
    if m.row_stride() == 1 || m.col_stride() == 1 || m.rows() == 0 || m.cols() == 0 {
        return m;
    }
    copy.reserve(m.rows() * m.cols());
    for r in 0..m.rows() {
        for c in 0..m.cols() {
            // SAFETY: (r, c) lies inside the matrix.
            copy.push(unsafe { *m.start().add(r * m.row_stride() + c * m.col_stride()) });
        }
    }
    View::dense(copy, m.rows(), m.cols())
}

/// A mask of the first `n` of 16 lanes.
fn first_lanes(n: usize) -> __mmask16 {
    if n >= 16 { u16::MAX } else { (1 << n) - 1 }
}

/// Pairs `(row 0, row 1)` of 16 neighbours each, as bf16; lanes outside the mask are zero.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn side_by_side(row0: *const f32, row1: Option<*const f32>, mask: __mmask16) -> __m512i {
    // SAFETY: the caller's lanes inside the mask are readable.
    unsafe {
        let low = half_words(_mm512_maskz_loadu_ps(mask, row0));
        match row1 {
            Some(row1) => {
                let high = half_words(_mm512_maskz_loadu_ps(mask, row1));
                _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
            }
            None => low,
        }
    }
}

/// Sixteen f32 as bf16 in the low halves of sixteen words.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
fn half_words(x: __m512) -> __m512i {
    // SAFETY: both are 256 plain bits.
    let half: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(x)) };
    _mm512_cvtepu16_epi32(half)
}

/// Packs rows of A (at most [`BAND`]); says whether the panels hold rows side by side.
///
/// # Safety
/// The processor must have the instructions; `out` must hold a whole band.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pack_a(a: View<'_>, out: &mut [u32]) -> bool {
    let (rows, k) = (a.rows(), a.cols());
    let start = a.start();
    let out = out.as_mut_ptr();
    if a.col_stride() == 1 {
        for r in 0..rows {
            // SAFETY: row r has k readable numbers; panel rows have ROW >= DEPTH / 2 + 16 words.
            unsafe {
                let (from, to) = (start.add(r * a.row_stride()), out.add(r * ROW));
                for at in (0..k).step_by(32) {
                    let left = k - at;
                    let low = _mm512_maskz_loadu_ps(first_lanes(left), from.add(at));
                    let high = if left > 16 {
                        _mm512_maskz_loadu_ps(first_lanes(left - 16), from.add(at + 16))
                    } else {
                        _mm512_setzero_ps()
                    };
                    let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    _mm512_storeu_si512(to.add(at / 2).cast(), both);
                }
            }
        }
        return false;
    }
    for pair in 0..k.div_ceil(2) {
        for (panel, r) in (0..rows).step_by(TILE_ROWS).enumerate() {
            // SAFETY: columns 2 pair and (inside k) 2 pair + 1 have `rows` readable numbers.
            unsafe {
                let from = start.add(2 * pair * a.col_stride() + r);
                let next = (2 * pair + 1 < k).then(|| from.add(a.col_stride()));
                let words = side_by_side(from, next, first_lanes(rows - r));
                _mm512_storeu_si512(out.add((panel * (DEPTH / 2) + pair) * SIDE).cast(), words);
            }
        }
    }
    true
}

/// Packs B: panels of 32 columns, each pair after pair.
///
/// # Safety
/// The processor must have the instructions; `out` must hold all panels of depth [`DEPTH`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn pack_b(b: View<'_>, out: &mut [u32]) {
    let (k, cols) = (b.rows(), b.cols());
    let pairs = k.div_ceil(2);
    let start = b.start();
    let out = out.as_mut_ptr();
    if b.col_stride() == 1 {
        for pair in 0..pairs {
            for left in (0..cols).step_by(16) {
                // SAFETY: rows 2 pair and (inside k) 2 pair + 1 have `cols` readable numbers.
                unsafe {
                    let from = start.add(2 * pair * b.row_stride() + left);
                    let next = (2 * pair + 1 < k).then(|| from.add(b.row_stride()));
                    let words = side_by_side(from, next, first_lanes(cols - left));
                    let at = left / TILE_COLS * pairs * TILE_COLS + pair * TILE_COLS + left % TILE_COLS;
                    _mm512_storeu_si512(out.add(at).cast(), words);
                }
            }
        }
        return;
    }
    // Each column is contiguous: 16 columns of 16 pairs at a time are turned in registers.
    for left in (0..cols).step_by(16) {
        let at = left / TILE_COLS * pairs * TILE_COLS + left % TILE_COLS;
        for first in (0..pairs).step_by(16) {
            let rest = k - 2 * first;
            let (low_mask, high_mask) = (first_lanes(rest), first_lanes(rest.saturating_sub(16)));
            let mut block = [_mm512_setzero_si512(); 16];
            for (c, words) in block.iter_mut().enumerate().take(cols - left) {
                // SAFETY: column left + c has k readable numbers; both bit patterns are plain.
                unsafe {
                    let from = start.add((left + c) * b.col_stride() + 2 * first);
                    let low = _mm512_maskz_loadu_ps(low_mask, from);
                    let high = _mm512_maskz_loadu_ps(high_mask, from.wrapping_add(16));
                    *words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                }
            }
            for (pair, words) in (first..pairs).zip(transposed(block)) {
                // SAFETY: inside the panel.
                unsafe { _mm512_storeu_si512(out.add(at + pair * TILE_COLS).cast(), words) };
            }
        }
    }
}

/// A block of 16 x 16 words with rows and columns exchanged.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
fn transposed(r: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    let mut t = [zero; 16];
    for i in (0..16).step_by(2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    // u[4 g + j] holds in its quarter q column 4 q + j of the rows 4 g .. 4 g + 4.
    let mut u = [zero; 16];
    for g in (0..16).step_by(4) {
        u[g] = _mm512_unpacklo_epi64(t[g], t[g + 2]);
        u[g + 1] = _mm512_unpackhi_epi64(t[g], t[g + 2]);
        u[g + 2] = _mm512_unpacklo_epi64(t[g + 1], t[g + 3]);
        u[g + 3] = _mm512_unpackhi_epi64(t[g + 1], t[g + 3]);
    }
    let mut out = [zero; 16];
    for j in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(u[j], u[4 + j]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(u[j], u[4 + j]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(u[8 + j], u[12 + j]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(u[8 + j], u[12 + j]);
        out[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
    out
}

/// Packed rows of A and columns of B.
struct Band<'a> {
    a: &'a [u32],
    side_by_side: bool,
    b: &'a [u32],
    pairs: usize,
    height: usize,
    width: usize,
}

impl Band<'_> {
    /// Multiplies all tiles.
    ///
    /// # Safety
    /// The processor must have the instructions; `c` must point to `height x width` numbers of its own.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn multiply(&self, c: Target, add: bool) {
        for left in (0..self.width).step_by(TILE_COLS) {
            let cols = TILE_COLS.min(self.width - left);
            let b = self.b[left * self.pairs..].as_ptr();
            for (panel, top) in (0..self.height).step_by(TILE_ROWS).enumerate() {
                let rows = TILE_ROWS.min(self.height - top);
                // SAFETY: the panels hold `pairs` pairs of `rows` rows and `cols` columns (the rest of a B panel is
                // readable); the tile lies inside c.
                unsafe {
                    let c = c.at(top, left);
                    if self.side_by_side {
                        let a = self.a[panel * SIDE * (DEPTH / 2)..].as_ptr();
                        any_rows::<1, SIDE>(rows, cols, self.pairs, a, b, c, add);
                    } else {
                        let a = self.a[panel * TILE_ROWS * ROW..].as_ptr();
                        any_rows::<ROW, 1>(rows, cols, self.pairs, a, b, c, add);
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn any_rows<const NEXT_ROW: usize, const NEXT_PAIR: usize>(
    rows: usize,
    cols: usize,
    pairs: usize,
    a: *const u32,
    b: *const u32,
    c: Target,
    add: bool,
) {
    macro_rules! choose {
        ($($n:literal)*) => {
            match (rows, cols > 16) {
                // SAFETY: promised by the caller.
                $(($n, true) => unsafe { tile::<$n, 2, NEXT_ROW, NEXT_PAIR>(cols, pairs, a, b, c, add) },
                // SAFETY: promised by the caller.
                ($n, false) => unsafe { tile::<$n, 1, NEXT_ROW, NEXT_PAIR>(cols, pairs, a, b, c, add) },)*
                _ => unreachable!("a tile has 1 to 12 rows"),
            }
        };
    }
    choose!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// The inner kernel: `R` rows times `V` vectors of 16 columns.
///
/// # Safety
/// `a` holds `pairs` pairs of `R` rows at the given strides, `b` `pairs` rows of 32 pairs, `c` `R x cols` numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn tile<const R: usize, const V: usize, const NEXT_ROW: usize, const NEXT_PAIR: usize>(
    cols: usize,
    pairs: usize,
    mut a: *const u32,
    mut b: *const u32,
    c: Target,
    add: bool,
) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    for _ in 0..pairs {
        // SAFETY: inside the panels, as promised by the caller; both bit patterns are plain.
        unsafe {
            let mut right = [_mm512_setzero_si512(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm512_loadu_si512(b.add(16 * v).cast());
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left: __m512bh = std::mem::transmute(_mm512_set1_epi32(*a.add(r * NEXT_ROW) as i32));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm512_dpbf16_ps(*sum, left, std::mem::transmute::<__m512i, __m512bh>(right));
                }
            }
            a = a.add(NEXT_PAIR);
            b = b.add(TILE_COLS);
        }
    }
    let last = first_lanes(cols - 16 * (V - 1));
    for (r, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let mask = if v + 1 == V { last } else { u16::MAX };
            // SAFETY: the masked lanes of row r lie inside c.
            unsafe {
                let to = c.start.add(r * c.row_stride + 16 * v);
                let sum = if add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), *sum) } else { *sum };
                if mask == u16::MAX {
                    _mm512_storeu_ps(to, sum);
                } else {
                    _mm512_mask_storeu_ps(to, mask, sum);
                }
            }
        }
    }
}
