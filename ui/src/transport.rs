//! The transport: play, pause, step, rate, loop and seek over one time base for all panes.
//!
//! A pure state machine: inputs and a clock in, a frame number out. No window, no threads, so that it is tested
//! with a hand-turned clock. Due times come from the wall clock (`anchor + n * period`), never from adding up
//! periods: a slow window drops frames and keeps time.

/// What a person (or the stream of arriving frames) does to the transport.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Play when paused, pause when playing; at the end, play from the start.
    Toggle,
    /// Pause.
    Pause,
    /// Go this many frames on (or back, when negative) and pause.
    Step(i64),
    /// Show this frame; playing goes on from there.
    Seek(usize),
    /// Show the first frame.
    First,
    /// Show the last frame that is there.
    Last,
    /// Speed: 1.0 is the model's own rate.
    Rate(f32),
    /// The next faster entry of [`RATES`].
    Faster,
    /// The next slower entry of [`RATES`].
    Slower,
    /// Loop or stop at the end.
    ToggleLoop,
    /// Frames that are there now, frames that will be there when all have arrived, frames a second of the model.
    Extent {
        /// Frames that can be shown now.
        available: usize,
        /// Frames in the end; at least `available`.
        expected: usize,
        /// Frames a second at rate 1.0.
        fps: f32,
    },
    /// Another set of futures: rewind and play as frames arrive.
    Restart,
    /// Time passes.
    Tick,
}

/// Speeds that can be chosen.
pub const RATES: [f32; 6] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// State of the transport; see the module's text.
#[derive(Clone, Debug, PartialEq)]
pub struct Transport {
    frame: usize,
    available: usize,
    expected: usize,
    playing: bool,
    looping: bool,
    rate: f32,
    fps: f32,
    /// Clock time (seconds) at which `anchor_frame` was due.
    anchor: f64,
    anchor_frame: usize,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            frame: 0,
            available: 0,
            expected: 0,
            playing: false,
            looping: true,
            rate: 1.0,
            fps: 10.0,
            anchor: 0.0,
            anchor_frame: 0,
        }
    }
}

impl Transport {
    /// Frame to show, counted from 0.
    pub fn frame(&self) -> usize {
        self.frame
    }

    /// Frames that can be shown now.
    pub fn available(&self) -> usize {
        self.available
    }

    /// Frames when everything has arrived.
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Whether it plays.
    pub fn playing(&self) -> bool {
        self.playing
    }

    /// Whether it loops.
    pub fn looping(&self) -> bool {
        self.looping
    }

    /// Speed, 1.0 = the model's own rate.
    pub fn rate(&self) -> f32 {
        self.rate
    }

    /// Frames a second at rate 1.0.
    pub fn fps(&self) -> f32 {
        self.fps
    }

    /// Takes one input at clock time `now` (seconds, any origin, never going back).
    pub fn apply(&mut self, input: Input, now: f64) {
        match input {
            Input::Toggle => {
                if self.playing {
                    self.advance(now);
                    self.playing = false;
                } else if self.available > 0 {
                    if self.at_end() && self.available == self.expected {
                        self.frame = 0;
                    }
                    self.playing = true;
                    self.hook(now);
                }
            }
            Input::Pause => {
                self.advance(now);
                self.playing = false;
            }
            Input::Step(by) => {
                self.advance(now);
                self.playing = false;
                let target = self.frame as i64 + by;
                let last = self.last() as i64;
                self.frame = if self.looping && self.available == self.expected && self.available > 0 {
                    target.rem_euclid(last + 1) as usize
                } else {
                    target.clamp(0, last) as usize
                };
            }
            Input::Seek(frame) => {
                self.frame = frame.min(self.last());
                self.hook(now);
            }
            Input::First => self.apply(Input::Seek(0), now),
            Input::Last => self.apply(Input::Seek(usize::MAX), now),
            Input::Rate(rate) => {
                self.advance(now);
                self.rate = if rate.is_finite() { rate.clamp(0.05, 16.0) } else { 1.0 };
                self.hook(now);
            }
            Input::Faster => {
                let next = RATES.iter().copied().find(|r| *r > self.rate * 1.01).unwrap_or(self.rate);
                self.apply(Input::Rate(next), now);
            }
            Input::Slower => {
                let next = RATES.iter().rev().copied().find(|r| *r < self.rate * 0.99).unwrap_or(self.rate);
                self.apply(Input::Rate(next), now);
            }
            Input::ToggleLoop => self.looping = !self.looping,
            Input::Extent { available, expected, fps } => {
                if (available, fps) != (self.available, self.fps) {
                    self.advance(now);
                    self.hook(now);
                }
                self.available = available;
                self.expected = expected.max(available);
                self.fps = if fps.is_finite() && fps > 0.0 { fps } else { 10.0 };
                self.frame = self.frame.min(self.last());
                self.anchor_frame = self.anchor_frame.min(self.last());
            }
            Input::Restart => {
                self.frame = 0;
                self.available = 0;
                self.expected = 0;
                self.playing = true;
                self.hook(now);
            }
            Input::Tick => self.advance(now),
        }
    }

    /// Seconds from `now` until the frame changes by itself; `None` while nothing will move.
    pub fn due_in(&self, now: f64) -> Option<f64> {
        if !self.playing || self.available < 2 {
            return None;
        }
        if self.at_end() && (self.available < self.expected || !self.looping) {
            return None; // Waits for the next frame to arrive, or stands at the end.
        }
        let shown = self.frame.saturating_sub(self.anchor_frame) as f64;
        Some((self.anchor + (shown + 1.0) * self.period() - now).max(0.0))
    }

    fn period(&self) -> f64 {
        1.0 / f64::from(self.fps * self.rate)
    }

    fn last(&self) -> usize {
        self.available.saturating_sub(1)
    }

    fn at_end(&self) -> bool {
        self.frame >= self.last()
    }

    /// Makes the present frame the one that is due at `now`.
    fn hook(&mut self, now: f64) {
        self.anchor = now;
        self.anchor_frame = self.frame;
    }

    fn advance(&mut self, now: f64) {
        if !self.playing || self.available == 0 {
            return;
        }
        // A hair is added so that a tick that comes exactly at the due time counts as on time.
        let passed = ((now - self.anchor).max(0.0) / self.period() + 1e-6).floor();
        let target = self.anchor_frame.saturating_add(passed as usize);
        if target <= self.last() {
            self.frame = target;
            return;
        }
        if self.available < self.expected {
            // The frames have not arrived yet: hold the last one and go on from it as soon as the next comes.
            self.frame = self.last();
            self.hook(now);
        } else if self.looping {
            self.frame = target % self.available;
            self.anchor += passed * self.period();
            self.anchor_frame = self.frame;
        } else {
            self.frame = self.last();
            self.playing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ready(frames: usize) -> Transport {
        let mut t = Transport::default();
        t.apply(Input::Extent { available: frames, expected: frames, fps: 10.0 }, 0.0);
        t
    }

    #[test]
    fn plays_by_the_clock_and_drops_frames_when_late() {
        let mut t = ready(20);
        t.apply(Input::Toggle, 100.0);
        t.apply(Input::Tick, 100.05);
        assert_eq!(t.frame(), 0);
        t.apply(Input::Tick, 100.1);
        assert_eq!(t.frame(), 1);
        t.apply(Input::Tick, 100.95); // a very slow window
        assert_eq!(t.frame(), 9);
        assert!((t.due_in(100.95).unwrap() - 0.05).abs() < 1e-6);
    }

    #[test]
    fn loops_without_drifting() {
        let mut t = ready(10);
        t.apply(Input::Toggle, 0.0);
        for i in 0..=1000 {
            t.apply(Input::Tick, f64::from(i) * 0.033);
        }
        assert_eq!(t.frame(), (33.0_f64 / 0.1 + 1e-6) as usize % 10);
    }

    #[test]
    fn stops_at_the_end_without_loop_and_plays_again_from_the_start() {
        let mut t = ready(5);
        t.apply(Input::ToggleLoop, 0.0);
        t.apply(Input::Toggle, 0.0);
        t.apply(Input::Tick, 9.0);
        assert_eq!((t.frame(), t.playing()), (4, false));
        t.apply(Input::Toggle, 10.0);
        assert_eq!((t.frame(), t.playing()), (0, true));
    }

    #[test]
    fn waits_for_frames_that_are_still_arriving() {
        let mut t = Transport::default();
        t.apply(Input::Restart, 0.0);
        t.apply(Input::Extent { available: 2, expected: 10, fps: 10.0 }, 0.0);
        t.apply(Input::Tick, 5.0);
        assert_eq!((t.frame(), t.playing()), (1, true));
        assert_eq!(t.due_in(5.0), None, "nothing to repaint for until a frame arrives");
        t.apply(Input::Extent { available: 10, expected: 10, fps: 10.0 }, 5.0);
        t.apply(Input::Tick, 5.1);
        assert_eq!(t.frame(), 2, "no jump over the frames that came late");
    }

    #[test]
    fn steps_pause_and_wrap_only_when_looping() {
        let mut t = ready(3);
        t.apply(Input::Step(-1), 0.0);
        assert_eq!(t.frame(), 2);
        t.apply(Input::ToggleLoop, 0.0);
        t.apply(Input::Step(1), 0.0);
        assert_eq!(t.frame(), 2);
        t.apply(Input::Toggle, 0.0);
        t.apply(Input::Step(1), 0.1);
        assert!(!t.playing());
    }

    #[test]
    fn a_change_of_rate_keeps_the_frame() {
        let mut t = ready(100);
        t.apply(Input::Toggle, 0.0);
        t.apply(Input::Tick, 1.0);
        assert_eq!(t.frame(), 10);
        t.apply(Input::Faster, 1.0);
        assert_eq!((t.frame(), t.rate()), (10, 2.0));
        t.apply(Input::Tick, 2.0);
        assert_eq!(t.frame(), 30);
        t.apply(Input::Rate(f32::NAN), 2.0);
        assert_eq!(t.rate(), 1.0);
    }

    #[test]
    fn an_empty_transport_survives_everything() {
        let mut t = Transport::default();
        for input in [
            Input::Toggle,
            Input::Step(5),
            Input::Step(-5),
            Input::Seek(9),
            Input::Last,
            Input::Tick,
            Input::Faster,
            Input::Slower,
        ] {
            t.apply(input, 1.0);
            assert_eq!(t.frame(), 0);
        }
        assert_eq!(t.due_in(2.0), None);
    }

    #[test]
    fn a_shorter_set_clamps_the_frame() {
        let mut t = ready(50);
        t.apply(Input::Last, 0.0);
        assert_eq!(t.frame(), 49);
        t.apply(Input::Extent { available: 8, expected: 8, fps: 10.0 }, 0.0);
        assert_eq!(t.frame(), 7);
    }
}
