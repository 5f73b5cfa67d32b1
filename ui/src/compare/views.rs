//! Pictures that are made of several futures: what was computed last, so that nothing is computed twice.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use forerun::Frame;
use forerun::compare::diff::{self, PairView};
use forerun::compare::picture::Picture;
use forerun::compare::set::{Distances, SetView};
use forerun::failure::Failure;

/// Results for this many frames are kept: enough to play a loop of four seconds without computing it again.
const KEPT: usize = 48;
/// Most frames over which distances of futures are added up; longer ones are looked at in even steps.
const FRAMES: usize = 24;

/// Mean and spread of one frame of a set.
#[derive(Clone, Debug)]
pub struct SetPictures {
    /// Mean of each pixel.
    pub mean: Arc<Frame>,
    /// Uncertainty map.
    pub map: Arc<Frame>,
}

impl SetPictures {
    /// Computes them.
    ///
    /// # Errors
    /// Fewer than two frames, or frames of several sizes.
    pub fn new(frames: &[Arc<Frame>]) -> Result<Self, Failure> {
        let view = SetView::new(&frames.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(Self { map: Arc::new(view.map()), mean: Arc::new(view.mean) })
    }
}

/// What the distances between the futures of a set tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Middle {
    /// Panes and their numbers of frames that it was computed for.
    pub of: Vec<(u64, usize)>,
    /// The pane that is nearest to all others.
    pub median: Option<u64>,
    /// The two panes that lie farthest apart.
    pub farthest: Option<(u64, u64)>,
}

impl Middle {
    /// Computes it for panes with their frames; one that cannot be read takes no part. Takes long for many futures: not
    /// for the window's thread.
    pub fn new(panes: &[(u64, Vec<Picture>)]) -> Self {
        let mut distances = Distances::new(panes.len());
        let longest = panes.iter().map(|(_, f)| f.len()).max().unwrap_or(0);
        for index in (0..longest).step_by(longest.div_ceil(FRAMES).max(1)) {
            let read = |(_, f): &(u64, Vec<Picture>)| f.get(index).and_then(|p| p.read().ok());
            let frames: Vec<Option<Arc<Frame>>> = panes.iter().map(read).collect();
            distances.add(&frames.iter().map(Option::as_deref).collect::<Vec<_>>());
        }
        let id = |i: usize| panes.get(i).map(|(id, _)| *id);
        Self {
            of: panes.iter().map(|(id, f)| (*id, f.len())).collect(),
            median: distances.median().and_then(id),
            farthest: distances.most_different().and_then(|(a, b, _)| Some((id(a)?, id(b)?))),
        }
    }
}

/// Computed pictures.
#[derive(Clone, Debug, Default)]
pub struct Views {
    pair: Option<(PairView, [Arc<Frame>; 2], bool, Arc<Frame>)>,
    /// By the frames that they were made of, which this does not keep in memory.
    sets: VecDeque<(Vec<Weak<Frame>>, SetPictures)>,
    /// The set that is being computed.
    pub pending: bool,
    /// Distances of the set's futures.
    pub middle: Option<Middle>,
    /// Whether they are being computed.
    pub measuring: bool,
    /// Whether the two farthest apart become the pair as soon as they are known.
    pub wants_farthest: bool,
}

fn same(a: &[Arc<Frame>], b: &[Arc<Frame>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// As [`same`]; what a weak pointer points to is not used again for another frame while the pointer is there.
fn were(a: &[Weak<Frame>], b: &[Arc<Frame>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| std::ptr::eq(a.as_ptr(), Arc::as_ptr(b)))
}

impl Views {
    /// The picture of a pair, computed by the processor: for windows without a graphics card.
    ///
    /// # Errors
    /// The pictures differ in size.
    pub fn pair(
        &mut self,
        view: PairView,
        a: &Arc<Frame>,
        b: &Arc<Frame>,
        seconds: f64,
    ) -> Result<Arc<Frame>, Failure> {
        let second = matches!(view, PairView::Flicker { hz } if diff::flicker_shows_second(seconds, hz));
        let frames = [a.clone(), b.clone()];
        if let Some((v, f, s, picture)) = &self.pair {
            if *v == view && same(f, &frames) && *s == second {
                return Ok(picture.clone());
            }
        }
        let picture = Arc::new(diff::draw(view, a, b, seconds)?);
        self.pair = Some((view, frames, second, picture.clone()));
        Ok(picture)
    }

    /// What was computed for these frames.
    pub fn set(&self, frames: &[Arc<Frame>]) -> Option<&SetPictures> {
        self.sets.iter().find(|(of, _)| were(of, frames)).map(|(_, pictures)| pictures)
    }

    /// The newest result, to be shown until the right one is there.
    pub fn newest(&self) -> Option<&SetPictures> {
        self.sets.back().map(|(_, pictures)| pictures)
    }

    /// Keeps a result.
    pub fn put(&mut self, frames: &[Arc<Frame>], pictures: SetPictures) {
        if self.sets.len() >= KEPT {
            self.sets.pop_front();
        }
        self.sets.push_back((frames.iter().map(Arc::downgrade).collect(), pictures));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grey(level: u8) -> Arc<Frame> {
        Arc::new(Frame::filled(2, 2, [level; 3]))
    }

    #[test]
    fn results_are_found_by_the_very_frames() {
        let mut views = Views::default();
        let frames = vec![grey(10), grey(20)];
        views.put(&frames, SetPictures::new(&frames).unwrap());
        assert_eq!(views.set(&frames).unwrap().mean.data[0], 15);
        assert!(views.set(&[grey(10), grey(20)]).is_none(), "equal pictures are not the same pictures");
        for i in 0..200u8 {
            let other = vec![grey(i), grey(i)];
            views.put(&other, SetPictures::new(&other).unwrap());
        }
        assert!(views.sets.len() <= KEPT);
    }

    #[test]
    fn the_middle_and_the_ends_of_a_set_are_found() {
        let pane =
            |id, levels: &[u8]| (id, levels.iter().map(|l| Picture::Here(grey(*l))).collect::<Vec<_>>());
        let middle = Middle::new(&[pane(7, &[0, 0]), pane(8, &[0, 9]), pane(9, &[0, 40])]);
        assert_eq!((middle.median, middle.farthest), (Some(8), Some((7, 9))));
        assert_eq!(middle.of, [(7, 2), (8, 2), (9, 2)]);
    }
}
