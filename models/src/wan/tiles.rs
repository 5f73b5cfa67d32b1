//! Cutting pictures into overlapping tiles, so that decoding a large picture needs the memory of a small one.
//!
//! Attention over the whole picture happens at the size of the latents only, in the middle of the decoder; that part is
//! never cut. Everything behind it is convolutions, which see a bounded distance. Each tile carries a rim that wide, and
//! only its inside is kept: the result is that of the whole picture.

/// One tile: what is kept, and what is looked at for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First latent that is kept.
    pub start: usize,
    /// Latents that are kept.
    pub count: usize,
    /// First latent that is looked at.
    pub from: usize,
    /// Latents that are looked at.
    pub seen: usize,
}

/// `length` latents cut into spans of at most `size`, each looking `rim` further on both sides.
pub(super) fn spans(length: usize, size: usize, rim: usize) -> Vec<Span> {
    let size = size.max(1);
    (0..length.div_ceil(size))
        .map(|i| {
            let start = i * size;
            let count = size.min(length - start);
            let from = start.saturating_sub(rim);
            Span { start, count, from, seen: (start + count + rim).min(length) - from }
        })
        .collect()
}

/// Latents that a pixel's value depends on beyond its own, on each side, for a decoder with `doublings` doublings and
/// `blocks` residual blocks (of two 3×3 convolutions) a stage.
pub(super) fn rim(doublings: usize, blocks: usize) -> usize {
    // From the last convolution backwards, in pixels of the stage at hand.
    let mut reach = 1 + 2 * blocks;
    for _ in 0..doublings {
        // The convolution behind the doubling, the doubling itself, the blocks before it.
        reach = (reach + 1).div_ceil(2) + 2 * blocks;
    }
    reach
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_once_and_look_no_further_than_the_picture() {
        let cut = spans(10, 4, 3);
        assert_eq!(cut.iter().map(|s| (s.start, s.count)).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 2)]);
        assert_eq!(cut.iter().map(|s| (s.from, s.seen)).collect::<Vec<_>>(), [(0, 7), (1, 9), (5, 5)]);
        assert_eq!(spans(3, 8, 2), [Span { start: 0, count: 3, from: 0, seen: 3 }]);
    }

    #[test]
    fn the_published_decoder_sees_thirteen_latents_far() {
        assert_eq!(rim(3, 3), 13);
    }
}
