//! Whether an imagined episode has succeeded, and how far it is.
//!
//! A success head is asked about frames that the model drew itself, tens of steps from the last real one, and it has mostly
//! seen success where a demonstration ends: it says yes to almost anything that goes on for long enough (measured: to nine
//! of ten episodes of a policy that never succeeds in physics). Where words ask for a push and the model reads off where
//! things are, the rule of physics is applied to these places instead.

use forerun_models::dreamer::Imagined;

use super::model_place::reading;
use super::place::Verdict;
use crate::world::{Camera, PUSH, V3, pushed, words};

/// Frames in a row that the success head must agree on.
const HEAD_FRAMES: u32 = 2;
/// When the success head says yes.
const YES: f32 = 0.5;
/// Frames in a row that the thing must be seen where it should be: places are read off a little differently each time.
const PLACE_FRAMES: u32 = 3;
/// Where a push begins: the gripper's way behind the middle of a thing, metres (the scripted expert's: half the thing and some
/// two centimetres).
const BEHIND: f32 = 0.04;
/// Most that a thing may seem to move between two frames while it counts as resting, metres.
const RESTS: f32 = 0.01;

/// A push that words ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// The thing, as the heads call it.
    colour: &'static str,
    /// Which way, a unit vector on the table, as the camera of the look `plain` sees it.
    way: V3,
}

impl Push {
    /// What these words ask for, if it is a push in the virtual world's words.
    pub fn asked(prompt: &str) -> Option<Self> {
        let (direction, colour) = words::push(prompt)?;
        Some(Self { colour: colour.en(), way: direction.on_table(&Camera::plain()) })
    }

    /// Where the thing is seen in an imagined frame; `None` if it is not seen, or the model reads no places.
    pub fn place(&self, imagined: &Imagined) -> Option<V3> {
        let of = |what: &str| format!("{}.{what}", self.colour);
        let there = reading(imagined, &of("present")) > 0.5;
        there.then(|| V3 { x: reading(imagined, &of("x")), y: reading(imagined, &of("y")), z: 0.0 })
    }

    /// Distance on the table from the gripper to where this push begins, metres. The thing itself would be no measure: a
    /// gripper that touches it from the wrong side is near it, too.
    pub fn reach(&self, imagined: &Imagined) -> Option<f32> {
        let begins = self.place(imagined)? - self.way * BEHIND;
        let gripper = V3 { x: reading(imagined, "gripper.x"), y: reading(imagined, "gripper.y"), z: 0.0 };
        Some((begins - gripper).len())
    }

    /// How far a thing that was at `from` and is at `to` is along the asked way, and whether it is far enough, but for
    /// resting: the rule of physics ([`pushed`]).
    pub fn judge(&self, from: V3, to: V3) -> (f32, bool) {
        pushed(to - from, self.way)
    }
}

/// Follows one imagined episode.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    push: Option<Push>,
    first: Option<V3>,
    last: Option<V3>,
    agreed: u32,
    verdict: Verdict,
}

impl Judge {
    /// A judge of what these words ask for.
    pub fn new(prompt: &str) -> Self {
        Self { push: Push::asked(prompt), ..Self::default() }
    }

    /// The verdict after one more frame; `None` where the model has no heads to judge by.
    pub fn note(&mut self, imagined: &Imagined) -> Option<Verdict> {
        let reads = |name: &str| imagined.reading.iter().any(|(n, _)| n == name);
        let places = self.push.clone().filter(|push| reads(&format!("{}.x", push.colour)));
        match places {
            Some(push) => self.by_place(&push, imagined),
            None if reads("success") => self.by_head(imagined),
            None => return None,
        }
        Some(self.verdict)
    }

    fn by_place(&mut self, push: &Push, imagined: &Imagined) {
        // A thing that has faded from the model's mind has not been pushed anywhere.
        let Some(now) = push.place(imagined) else {
            (self.agreed, self.last, self.verdict.success) = (0, None, false);
            return;
        };
        let first = *self.first.get_or_insert(now);
        let rests = self.last.is_some_and(|last| (now - last).len() <= RESTS);
        let (progress, done) = push.judge(first, now);
        self.agreed = if done && rests { self.agreed + 1 } else { 0 };
        self.last = Some(now);
        self.verdict = Verdict { success: self.agreed >= PLACE_FRAMES, progress: progress.clamp(0.0, 1.0) };
    }

    fn by_head(&mut self, imagined: &Imagined) {
        self.agreed = if reading(imagined, "success") > YES { self.agreed + 1 } else { 0 };
        let progress = reading(imagined, "progress").clamp(0.0, 1.0);
        self.verdict = Verdict { success: self.agreed >= HEAD_FRAMES, progress };
    }
}

/// In words, when an imagined episode counts as a success; `pushes` = its words ask for one.
pub fn rule(pushes: bool) -> String {
    if pushes {
        format!(
            "the model sees the object moved at least {:.0} cm within 45 degrees of the asked direction and resting, on {PLACE_FRAMES} frames in a row",
            PUSH * 100.0
        )
    } else {
        format!(
            "the model's success head says more than {:.0} % on {HEAD_FRAMES} frames in a row, having heard the task's words",
            YES * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Frame;

    fn seen(at: V3, there: f32) -> Imagined {
        let reading = [("red.present", there), ("red.x", at.x), ("red.y", at.y), ("success", 1.0)];
        Imagined {
            frame: Frame::filled(2, 2, [0; 3]),
            reading: reading.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            state: Vec::new(),
            action: Vec::new(),
        }
    }

    #[test]
    fn a_push_is_judged_by_where_the_thing_is_seen() {
        let push = Push::asked("push the red cube to the left").unwrap();
        let start = V3 { x: 0.2, y: 0.0, z: 0.0 };
        let mut judge = Judge::new("push the red cube to the left");
        let mut note = |at: V3, there: f32| judge.note(&seen(at, there)).unwrap();
        // The head says yes all the time; it is not asked.
        assert_eq!(note(start, 1.0), Verdict { success: false, progress: 0.0 });
        let half = note(start + push.way * 0.025, 1.0);
        assert!(!half.success && (half.progress - 0.5).abs() < 1e-4);
        let end = start + push.way * 0.06;
        assert!(!note(end, 1.0).success, "it still moves");
        assert!(!note(end, 1.0).success && !note(end, 1.0).success);
        assert!(note(end, 1.0).success);
        assert!(!note(end, 0.1).success, "it has faded");
        let mut other = Judge::new("將紅色方塊往右推");
        for _ in 0..8 {
            assert!(!other.note(&seen(end, 1.0)).unwrap().success);
        }
        let mut other = Judge::new("push the red cube to the right");
        other.note(&seen(start, 1.0));
        for _ in 0..8 {
            let verdict = other.note(&seen(end, 1.0)).unwrap();
            assert_eq!(verdict, Verdict { success: false, progress: 0.0 });
        }
    }

    #[test]
    fn a_gripper_is_near_when_it_is_behind_the_thing() {
        let push = Push::asked("push the red cube to the left").unwrap();
        let thing = V3 { x: 0.2, y: 0.0, z: 0.0 };
        let with = |gripper: V3| {
            let mut imagined = seen(thing, 1.0);
            imagined.reading.extend([("gripper.x".into(), gripper.x), ("gripper.y".into(), gripper.y)]);
            push.reach(&imagined).unwrap()
        };
        assert!(with(thing - push.way * BEHIND) < 1e-5);
        assert!((with(thing + push.way * BEHIND) - 2.0 * BEHIND).abs() < 1e-5);
    }

    #[test]
    fn what_cannot_be_placed_is_asked_of_the_head() {
        let mut judge = Judge::new("open the drawer");
        let at = V3::ZERO;
        assert!(!judge.note(&seen(at, 1.0)).unwrap().success);
        assert!(judge.note(&seen(at, 1.0)).unwrap().success);
        let nothing = Imagined { reading: Vec::new(), ..seen(at, 1.0) };
        assert_eq!(judge.note(&nothing), None);
        assert!(Push::asked("stack the red cube on the blue cube").is_none());
    }
}
