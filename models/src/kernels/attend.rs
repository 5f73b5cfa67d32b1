//! Plain softmax attention of many heads, a block of queries at a time: the scores of a block stay in the cache and are
//! never whole in memory.

use std::cell::RefCell;

use super::attention::softmax_rows;
use super::gemm::{Target, f32_block};
use super::matrix::View;
use super::threads::for_each;

/// Queries of a block of work.
const BLOCK: usize = 64;

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Shapes: `groups` heads (of all clips of a batch) that know nothing of one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attend {
    /// Clips times heads.
    pub groups: usize,
    /// Queries of a head.
    pub queries: usize,
    /// Keys of a head.
    pub keys: usize,
    /// Numbers of a query and of a key.
    pub width: usize,
    /// Numbers of a value.
    pub values: usize,
}

/// What is added to the scores.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    /// Nothing.
    All,
    /// Query i sees the keys 0 ..= i + keys - queries.
    Causal,
    /// A number a score: that of query `i` and key `j` of group `g` is `data[starts[g] + i * row + j]`.
    Bias {
        /// The numbers.
        data: &'a [f32],
        /// Where each group's begin.
        starts: &'a [usize],
        /// From one query's to the next one's: `keys`, or 0 where all queries share them.
        row: usize,
    },
}

/// `softmax(scale q k^T + seen) v` for `q [groups, queries, width]`, `k [groups, keys, width]` and
/// `v [groups, keys, values]`: `[groups, queries, values]`.
///
/// # Panics
/// When lengths and shapes do not fit together.
pub fn attend(q: &[f32], k: &[f32], v: &[f32], shape: Attend, scale: f32, seen: Seen<'_>) -> Vec<f32> {
    let Attend { groups, queries, keys, width, values } = shape;
    assert!(q.len() == groups * queries * width, "attend: queries do not fit");
    assert!(k.len() == groups * keys * width && v.len() == groups * keys * values, "attend: keys do not fit");
    if let Seen::Bias { data, starts, row } = seen {
        let last = queries.saturating_sub(1) * row + keys;
        assert!(starts.len() == groups && starts.iter().all(|s| s + last <= data.len()), "attend: bias");
    }
    let mut out = vec![0.0; groups * queries * values];
    if out.is_empty() || keys == 0 {
        return out;
    }
    let all = Target { start: out.as_mut_ptr(), row_stride: values };
    let blocks = queries.div_ceil(BLOCK);
    let work = (groups * queries * keys / 16).saturating_mul(width + values + 8);
    for_each(groups * blocks, work, |block| {
        let (g, from) = (block / blocks, block % blocks * BLOCK);
        let count = BLOCK.min(queries - from);
        let of = |data, rows: usize, cols: usize| -> &[f32] {
            let data: &[f32] = data;
            &data[g * rows * cols..(g + 1) * rows * cols]
        };
        SCORES.with_borrow_mut(|scores| {
            scores.resize(count * keys, 0.0);
            let target = Target { start: scores.as_mut_ptr(), row_stride: keys };
            let asked = View::dense(of(q, queries, width), queries, width).part(from, count, 0, width);
            // SAFETY: the scores are this thread's own, `count` rows of `keys`.
            unsafe { f32_block(asked, View::dense(of(k, keys, width), keys, width).t(), target, false) };
            for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                let i = from + i;
                row.iter_mut().for_each(|score| *score *= scale);
                match seen {
                    Seen::All => {}
                    Seen::Causal => {
                        let known = (i + 1 + keys).saturating_sub(queries).min(keys);
                        row[known..].fill(f32::NEG_INFINITY);
                    }
                    Seen::Bias { data, starts, row: step } => {
                        let bias = &data[starts[g] + i * step..][..keys];
                        row.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
                    }
                }
            }
            softmax_rows(scores, keys);
            // SAFETY: rows `from ..` of group g lie inside `out`, and no other block writes them.
            let target = unsafe { all.at(g * queries + from, 0) };
            let weights = View::dense(scores, count, keys);
            // SAFETY: as above.
            unsafe { f32_block(weights, View::dense(of(v, keys, values), keys, values), target, false) };
        });
    });
    out
}

#[cfg(test)]
mod tests {
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    fn normal(n: usize, stream: u64) -> Vec<f32> {
        let mut x = vec![0.0; n];
        Random::new(17, stream, 0).fill_normal(0, &mut x);
        x
    }

    #[test]
    fn agrees_with_the_formula_whatever_the_mask_and_the_threads() {
        for (groups, queries, keys, width, values) in
            [(1, 1, 1, 1, 1), (3, 70, 90, 8, 5), (2, 130, 130, 16, 16)]
        {
            let shape = Attend { groups, queries, keys, width, values };
            let (q, k) = (normal(groups * queries * width, 1), normal(groups * keys * width, 2));
            let (v, bias) = (normal(groups * keys * values, 3), normal(queries * keys, 4));
            let starts = vec![0; groups];
            for (seen, kind) in [
                (Seen::All, 0),
                (Seen::Causal, 1),
                (Seen::Bias { data: &bias, starts: &starts, row: keys }, 2),
                (Seen::Bias { data: &bias, starts: &starts, row: 0 }, 3),
            ] {
                let run = |n| threads::with(n, || attend(&q, &k, &v, shape, 0.3, seen));
                let got = run(1);
                assert_eq!(run(2), got, "threads change bits");
                for g in 0..groups {
                    for i in 0..queries {
                        let score = |j: usize| {
                            let row = |x: &[f32], r: usize| -> Vec<f64> {
                                x[r * width..(r + 1) * width].iter().map(|v| f64::from(*v)).collect()
                            };
                            let (a, b) = (row(&q, g * queries + i), row(&k, g * keys + j));
                            let plain = 0.3 * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                            match kind {
                                1 if j > i + keys - queries => f64::NEG_INFINITY,
                                2 => plain + f64::from(bias[i * keys + j]),
                                3 => plain + f64::from(bias[j]),
                                _ => plain,
                            }
                        };
                        let weights: Vec<f64> = (0..keys).map(|j| score(j).exp()).collect();
                        let sum: f64 = weights.iter().sum();
                        for c in 0..values {
                            let mixed = weights.iter().enumerate();
                            let want: f64 =
                                mixed.map(|(j, w)| w / sum * f64::from(v[(g * keys + j) * values + c])).sum();
                            let got = f64::from(got[(g * queries + i) * values + c]);
                            assert!((got - want).abs() < 1e-4, "{shape:?} {kind} {g} {i} {c}: {got} {want}");
                        }
                    }
                }
            }
        }
    }
}
