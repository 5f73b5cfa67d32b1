//! Patches of pictures and clips: their order, their windows, and the places of the tokens that they become.

use candle_core::Result;

/// Patches along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchGrid {
    /// Pairs of frames.
    pub frames: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
}

impl PatchGrid {
    pub(super) fn patches(self) -> usize {
        self.frames * self.rows * self.columns
    }

    /// (row, column) of every patch, in blocks of `merge` × `merge` that become one token, frame by frame.
    pub(super) fn order(self, merge: usize) -> Vec<(usize, usize)> {
        let mut frame = Vec::with_capacity(self.rows * self.columns);
        for block_row in 0..self.rows / merge {
            for block_column in 0..self.columns / merge {
                for row in 0..merge {
                    frame.extend(
                        (0..merge).map(|column| (block_row * merge + row, block_column * merge + column)),
                    );
                }
            }
        }
        (0..self.frames).flat_map(|_| frame.iter().copied()).collect()
    }
}

/// Tokens of a grid in windows of `side` × `side`: their order, and the number of tokens of each window.
pub(super) fn windows(grid: PatchGrid, merge: usize, side: usize) -> (Vec<usize>, Vec<usize>) {
    let (rows, columns) = (grid.rows / merge, grid.columns / merge);
    let (mut order, mut lengths) = (Vec::new(), Vec::new());
    for frame in 0..grid.frames {
        for top in (0..rows).step_by(side) {
            for left in (0..columns).step_by(side) {
                let (bottom, right) = ((top + side).min(rows), (left + side).min(columns));
                lengths.push((bottom - top) * (right - left));
                for row in top..bottom {
                    order.extend((left..right).map(|column| (frame * rows + row) * columns + column));
                }
            }
        }
    }
    (order, lengths)
}

/// Time, row and column of every token. Words count up on all axes; a picture starts where the words stopped, and
/// the words behind it go on behind its longer side.
pub(super) fn token_places(
    kinds: &[u32],
    grids: [&[PatchGrid]; 2],
    merge: usize,
    per_second: Option<f64>,
) -> Result<Vec<[u32; 3]>> {
    let mut grids = grids.map(|grids| grids.iter());
    let mut places: Vec<[u32; 3]> = Vec::with_capacity(kinds.len());
    let mut position = 0u32;
    while let Some(kind) = kinds.get(places.len()) {
        if *kind == 0 {
            places.push([position; 3]);
            position += 1;
            continue;
        }
        let Some(grid) = grids.get_mut(*kind as usize - 1).and_then(Iterator::next) else {
            candle_core::bail!("the text has room for more pictures than were given");
        };
        // A clip of Qwen2.5-VL runs in seconds, one per pair of frames unless said otherwise.
        let stride = if *kind == 2 { per_second.unwrap_or(1.0) } else { 1.0 };
        let (rows, columns) = (grid.rows / merge, grid.columns / merge);
        for frame in 0..grid.frames {
            let time = position + (frame as f64 * stride) as u32;
            for row in 0..rows as u32 {
                places.extend((0..columns as u32).map(|column| [time, position + row, position + column]));
            }
        }
        position += (grid.rows.max(grid.columns) / merge) as u32;
    }
    if places.len() != kinds.len() {
        candle_core::bail!(
            "the pictures make {} tokens, the text has room for {}",
            places.len(),
            kinds.len()
        );
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const GRID: PatchGrid = PatchGrid { frames: 1, rows: 4, columns: 6 };

    #[test]
    fn patches_run_in_blocks() {
        assert_eq!(&GRID.order(2)[..6], [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn windows_at_the_edge_are_smaller() {
        let (order, lengths) = windows(GRID, 2, 2);
        assert_eq!(order, [0, 1, 3, 4, 2, 5]);
        assert_eq!(lengths, [4, 2]);
    }

    #[test]
    fn words_go_on_behind_the_longer_side() {
        let places = token_places(&[0, 1, 1, 1, 1, 1, 1, 0], [&[GRID], &[]], 2, None).unwrap();
        assert_eq!(places[0], [0, 0, 0]);
        assert_eq!(places[6], [1, 2, 3]);
        assert_eq!(places[7], [4, 4, 4]);
        assert!(token_places(&[1], [&[], &[]], 2, None).is_err());
    }
}
