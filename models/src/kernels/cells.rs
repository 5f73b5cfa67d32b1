//! Pictures as cells of a few pixels, and the eight cells around each: what a convolution over cells is a matrix product of.
//!
//! A picture lies patch by patch (see [`crate::dreamer::patches`]); cells lie in the order of their patches, row by row inside
//! one, so that a token's outputs are its cells' numbers without being moved.

use super::threads::{Shared, for_each};

/// Cells along an axis that a cell sees: itself and one on either side.
pub const REACH: usize = 3;
/// Cells that a cell sees.
pub const AROUND: usize = REACH * REACH;

/// How pictures divide into patches and patches into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub cols: usize,
    /// Cells along a side of a patch.
    pub across: usize,
    /// Pixels along a side of a cell.
    pub side: usize,
}

/// Which way numbers go between patches and cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From patches to cells.
    Apart,
    /// From cells to patches.
    Together,
}

impl Way {
    /// The other way.
    pub fn back(self) -> Self {
        match self {
            Self::Apart => Self::Together,
            Self::Together => Self::Apart,
        }
    }
}

impl Cells {
    /// Cells of a patch.
    pub fn in_patch(&self) -> usize {
        self.across * self.across
    }

    /// Cells of a picture.
    pub fn in_picture(&self) -> usize {
        self.rows * self.cols * self.in_patch()
    }

    /// Numbers of a patch with `depth` numbers a pixel.
    pub fn patch_numbers(&self, depth: usize) -> usize {
        self.in_patch() * self.side * self.side * depth
    }

    /// Moves the numbers of whole patches between the two orders. A patch is planes one after the other, each its pixels row by
    /// row with as many numbers as `planes` says; a cell is its part of each plane, in the same order.
    ///
    /// # Panics
    /// When `from` and `to` differ in length or do not hold whole patches.
    pub fn reorder(&self, way: Way, planes: &[usize], from: &[f32], to: &mut [f32]) {
        let (n, s) = (self.across, self.side);
        let each = self.patch_numbers(planes.iter().sum());
        let cell = each / self.in_patch().max(1);
        assert!(each > 0 && from.len() == to.len() && from.len() % each == 0, "cells: lengths do not fit");
        let out = Shared::new(to);
        for_each(from.len() / each, from.len(), |i| {
            let from = &from[i * each..(i + 1) * each];
            // SAFETY: patches are disjoint.
            let to = unsafe { out.part(i * each, each) };
            let (mut in_patch, mut in_cell) = (0, 0);
            for depth in planes {
                let run = s * depth;
                for y in 0..n * s {
                    for x in 0..n {
                        let a = in_patch + (y * n + x) * run;
                        let b = (y / s * n + x) * cell + in_cell + y % s * run;
                        let (source, target) = if way == Way::Apart { (a, b) } else { (b, a) };
                        to[target..target + run].copy_from_slice(&from[source..source + run]);
                    }
                }
                in_patch += n * n * s * run;
                in_cell += s * run;
            }
        });
    }

    /// Place of the cell in row `row` and column `col` of a picture.
    fn at(&self, row: usize, col: usize) -> usize {
        let n = self.across;
        ((row / n) * self.cols + col / n) * n * n + row % n * n + col % n
    }

    /// For each cell, where it lies, the cells that it sees; `None` beyond the picture.
    pub(crate) fn seen(&self) -> Vec<[Option<usize>; AROUND]> {
        let (high, wide) = (self.rows * self.across, self.cols * self.across);
        let mut seen = vec![[None; AROUND]; self.in_picture()];
        for row in 0..high {
            for col in 0..wide {
                for (i, slot) in seen[self.at(row, col)].iter_mut().enumerate() {
                    let (y, x) = (row + i / REACH, col + i % REACH);
                    if (1..=high).contains(&y) && (1..=wide).contains(&x) {
                        *slot = Some(self.at(y - 1, x - 1));
                    }
                }
            }
        }
        seen
    }

    fn check(&self, width: usize, cells: &[f32], around: &[f32]) -> usize {
        let picture = self.in_picture() * width;
        let fits = picture > 0 && cells.len() % picture == 0 && around.len() == cells.len() * AROUND;
        assert!(fits, "around: lengths do not fit");
        cells.len() / width
    }

    /// Hands `f` the first cell of its picture, the cells that it sees, and its `numbers` numbers of `out`, for every one of `all`
    /// cells.
    fn each(
        &self,
        all: usize,
        numbers: usize,
        work: usize,
        out: &mut [f32],
        f: impl Fn(usize, &[Option<usize>; AROUND], &mut [f32]) + Sync,
    ) {
        let (seen, picture, n) = (self.seen(), self.in_picture(), self.in_patch());
        let out = Shared::new(out);
        for_each(all / n, work, |patch| {
            for i in patch * n..(patch + 1) * n {
                // SAFETY: cells are disjoint.
                f(i / picture * picture, &seen[i % picture], unsafe { out.part(i * numbers, numbers) });
            }
        });
    }

    /// Beside each cell's `width` numbers those of its neighbours, row by row: `AROUND * width` a cell, zeros beyond the picture.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn around(&self, width: usize, cells: &[f32], out: &mut [f32]) {
        let all = self.check(width, cells, out);
        self.each(all, AROUND * width, all * AROUND * width, out, |first, seen, row| {
            for (slot, place) in row.chunks_exact_mut(width).zip(seen) {
                match place {
                    Some(place) => {
                        let at = (first + place) * width;
                        slot.copy_from_slice(&cells[at..at + width]);
                    }
                    None => slot.fill(0.0),
                }
            }
        });
    }

    /// The gradient of the cells from that of [`Cells::around`].
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn around_backward(&self, width: usize, dout: &[f32], dcells: &mut [f32]) {
        let all = self.check(width, dcells, dout);
        self.each(all, width, all * AROUND * width, dcells, |first, seen, sum| {
            sum.fill(0.0);
            // Who is seen at one place sees back at the opposite one.
            for (k, place) in seen.iter().enumerate() {
                if let Some(place) = place {
                    let at = ((first + place) * AROUND + AROUND - 1 - k) * width;
                    sum.iter_mut().zip(&dout[at..at + width]).for_each(|(s, d)| *s += d);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::threads;
    use super::*;
    use crate::random::Random;

    const CELLS: Cells = Cells { rows: 2, cols: 3, across: 2, side: 2 };

    fn numbers(n: usize, stream: u64) -> Vec<f32> {
        let mut values = vec![0.0; n];
        Random::new(4, stream, 0).fill_normal(0, &mut values);
        values
    }

    #[test]
    fn patches_come_apart_into_cells_and_together_again() {
        // One patch of 4 x 4 pixels: their numbers say where they are; a second plane has one number a pixel.
        let one = Cells { rows: 1, cols: 1, across: 2, side: 2 };
        let plane = |base: f32, depth: usize| (0..16 * depth).map(move |i| base + (i / depth) as f32);
        let patch: Vec<f32> = plane(0.0, 3).chain(plane(100.0, 1)).collect();
        let mut cells = vec![0.0; patch.len()];
        one.reorder(Way::Apart, &[3, 1], &patch, &mut cells);
        let second: Vec<f32> = cells[16..32].to_vec();
        let colours = [2.0, 3.0, 6.0, 7.0].iter().flat_map(|p| [*p; 3]);
        assert_eq!(second, colours.chain([102.0, 103.0, 106.0, 107.0]).collect::<Vec<_>>());
        let mut back = vec![0.0; patch.len()];
        one.reorder(Way::Together, &[3, 1], &cells, &mut back);
        assert_eq!(back, patch);
    }

    #[test]
    fn a_cell_sees_its_neighbours_across_patches_and_nothing_beyond() {
        // The number of a cell is its row and column.
        let (high, wide) = (4, 6);
        let mut cells = vec![0.0; CELLS.in_picture()];
        for row in 0..high {
            for col in 0..wide {
                cells[CELLS.at(row, col)] = (10 * (row + 1) + col + 1) as f32;
            }
        }
        for count in [1, 3] {
            let mut around = vec![f32::NAN; cells.len() * AROUND];
            threads::with(count, || CELLS.around(1, &cells, &mut around));
            let of = |row: usize, col: usize| &around[CELLS.at(row, col) * AROUND..][..AROUND];
            assert_eq!(of(1, 1), [11.0, 12.0, 13.0, 21.0, 22.0, 23.0, 31.0, 32.0, 33.0]);
            assert_eq!(of(0, 5), [0.0, 0.0, 0.0, 15.0, 16.0, 0.0, 25.0, 26.0, 0.0]);
        }
    }

    #[test]
    fn the_gradient_is_the_transpose() {
        let width = 5;
        let n = 2 * CELLS.in_picture() * width;
        let (cells, dout) = (numbers(n, 1), numbers(n * AROUND, 2));
        let (mut around, mut dcells) = (vec![0.0; n * AROUND], vec![f32::NAN; n]);
        CELLS.around(width, &cells, &mut around);
        CELLS.around_backward(width, &dout, &mut dcells);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        assert!((dot(&around, &dout) - dot(&cells, &dcells)).abs() < 1e-3);
    }
}
