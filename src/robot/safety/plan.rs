//! Chunks of actions on one time line: checked, interpolated to the control rate, blended at their borders.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::clock::Time;
use super::super::numbers::{Thresholds, Unit};
use super::trip::Refusal;

/// Most actions in one chunk.
pub const MOST_ACTIONS: usize = 1000;

/// What a policy (or a person at the sliders) proposes.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// Counts up, for the black box.
    pub number: u64,
    /// When the observation that it answers was made, on the agent's clock. Action k is meant for
    /// `observed + k * period`; actions for times that have passed are skipped.
    pub observed: Time,
    /// When it was sent, on the agent's clock.
    pub sent: Time,
    /// Time between its actions.
    pub period: Duration,
    /// One row an action, one number a joint in its unit.
    pub actions: Vec<Vec<f64>>,
}

/// What the checks need to know of a joint.
#[derive(Clone, Debug, PartialEq)]
pub struct JointCheck {
    /// Name, for messages.
    pub name: String,
    /// Unit.
    pub unit: Unit,
    /// Degrees of one unit.
    pub degrees: f64,
    /// Smallest and largest value allowed by the training data (q01..q99 widened by 15 %), where known.
    pub data: Option<(f64, f64)>,
}

impl JointCheck {
    /// Widens q01..q99 of the training data by 15 % of its span on both sides.
    pub fn widen(q01: f64, q99: f64) -> (f64, f64) {
        let span = (q99 - q01).abs();
        (q01.min(q99) - 0.15 * span, q01.max(q99) + 0.15 * span)
    }
}

/// How a chunk that passed the checks is joined to what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Close to where the arm stands: a short blend.
    Near,
    /// Further away, but allowed: a slow blend.
    Far,
}

impl Chunk {
    /// Checks everything about the chunk that can be known before it runs. `present` is where the joints are and
    /// `goals` where they were last sent (a moving arm is a little behind its goals).
    pub fn check(
        &self,
        now: Time,
        joints: &[JointCheck],
        present: &[f64],
        goals: &[f64],
        watch: &Thresholds,
    ) -> Result<Join, Refusal> {
        if self.actions.is_empty() {
            return Err(Refusal::Empty);
        }
        if self.actions.len() > MOST_ACTIONS {
            return Err(Refusal::TooMany { found: self.actions.len(), most: MOST_ACTIONS });
        }
        let ms = u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX);
        if !(1..=2000).contains(&ms) {
            return Err(Refusal::Period { milliseconds: ms });
        }
        for (index, action) in self.actions.iter().enumerate() {
            if action.len() != joints.len() {
                return Err(Refusal::WrongLength { index, found: action.len(), expected: joints.len() });
            }
            for (value, joint) in action.iter().zip(joints) {
                if !value.is_finite() {
                    let (joint, value) = (joint.name.clone(), value.to_string());
                    return Err(Refusal::NotFinite { index, joint, value });
                }
            }
        }
        // A broken policy is worth a fault even when its chunk is late; lateness comes after.
        let age = now.saturating_sub(self.sent);
        if age > Duration::from_millis(watch.command_age_ms) {
            return Err(Refusal::Old { age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) });
        }
        let track = Track::of(self);
        if !track.lasts(now) {
            return Err(Refusal::Past);
        }
        for (index, action) in self.actions.iter().enumerate() {
            for (value, joint) in action.iter().zip(joints) {
                if let Some((low, high)) = joint.data
                    && !(low..=high).contains(value)
                {
                    let joint = joint.name.clone();
                    return Err(Refusal::OutsideData { index, joint, value: *value, low, high });
                }
            }
        }
        let mut join = Join::Near;
        for (j, joint) in joints.iter().enumerate() {
            // A gripper opens and closes at once in many policies; its speed and torque are limited anyway.
            if joint.unit == Unit::Percent {
                continue;
            }
            let (Some(first), Some(p), Some(g)) = (track.at(now, j), present.get(j), goals.get(j)) else {
                continue;
            };
            let degrees = (first - p).abs().min((first - g).abs()) * joint.degrees;
            if degrees > watch.refused_step_deg {
                let joint = joint.name.clone();
                return Err(Refusal::TooFar { joint, degrees, most: watch.refused_step_deg });
            }
            if degrees > watch.first_step_deg {
                join = Join::Far;
            }
        }
        Ok(join)
    }

    /// How long the chunk lasts.
    pub fn horizon(&self) -> Duration {
        self.period.saturating_mul(u32::try_from(self.actions.len()).unwrap_or(u32::MAX))
    }
}

/// A chunk as a function of time: straight lines between its actions.
#[derive(Clone, Debug, PartialEq)]
struct Track {
    start: Time,
    period: Duration,
    rows: Vec<Vec<f64>>,
}

impl Track {
    fn of(chunk: &Chunk) -> Self {
        Self { start: chunk.observed, period: chunk.period, rows: chunk.actions.clone() }
    }

    /// The last action is meant for one period, like all others.
    fn lasts(&self, now: Time) -> bool {
        let length = self.period.saturating_mul(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        now < self.start.saturating_add(length)
    }

    fn at(&self, time: Time, joint: usize) -> Option<f64> {
        let x = time.saturating_sub(self.start).as_secs_f64() / self.period.as_secs_f64().max(1e-6);
        let last = self.rows.len().checked_sub(1)?;
        let k = (x.floor() as usize).min(last);
        let a = *self.rows.get(k)?.get(joint)?;
        let b = *self.rows.get((k + 1).min(last))?.get(joint)?;
        Some(a + (b - a) * (x - k as f64).clamp(0.0, 1.0))
    }
}

/// What the arm is to follow: the newest chunk, blended in from the one before.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    track: Option<Track>,
    blend: Option<Blend>,
}

#[derive(Clone, Debug)]
struct Blend {
    from: Track,
    start: Time,
    length: Duration,
}

impl Plan {
    /// Takes a checked chunk. `goals` is where the joints were last sent; it is blended from when there is no
    /// chunk to blend from.
    pub fn take(&mut self, now: Time, chunk: &Chunk, goals: &[f64], length: Duration) {
        let still = Track { start: now, period: Duration::from_secs(1), rows: vec![goals.to_vec()] };
        let from = match self.track.take() {
            Some(track) if track.lasts(now) => track,
            _ => still,
        };
        self.blend = Some(Blend { from, start: now, length });
        self.track = Some(Track::of(chunk));
    }

    /// Whether there is an action for this moment.
    pub fn fresh(&self, now: Time) -> bool {
        self.track.as_ref().is_some_and(|t| t.lasts(now))
    }

    /// Whether any chunk has come yet.
    pub fn started(&self) -> bool {
        self.track.is_some()
    }

    /// Where a joint should be at a time (the last action where the plan ends before it).
    pub fn at(&self, time: Time, joint: usize) -> Option<f64> {
        let new = self.track.as_ref()?.at(time, joint)?;
        let Some(blend) = &self.blend else {
            return Some(new);
        };
        let w = time.saturating_sub(blend.start).as_secs_f64() / blend.length.as_secs_f64().max(1e-6);
        if w >= 1.0 {
            return Some(new);
        }
        let old = blend.from.at(time, joint).unwrap_or(new);
        Some(old + (new - old) * w)
    }

    /// Where a joint that follows the plan should be able to stop: the plan a braking time ahead, so that the arm
    /// follows a moving plan without delay and never runs beyond what the plan itself asks for.
    pub fn stop_point(
        &self,
        now: Time,
        joint: usize,
        limits: &super::super::numbers::Limits,
        dt: f64,
    ) -> Option<f64> {
        let here = self.at(now, joint)?;
        let soon = self.at(now + Duration::from_secs_f64(dt), joint)?;
        let speed = ((soon - here) / dt).abs().min(limits.speed);
        let ahead = if speed > 1e-6 {
            0.5 * (speed / limits.acceleration + limits.acceleration / limits.jerk)
        } else {
            0.0
        };
        self.at(now + Duration::from_secs_f64(ahead + dt), joint)
    }
}

/// Delays between observation and arrival of the last chunks.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    last: VecDeque<Duration>,
}

impl Latency {
    /// So many chunks are remembered.
    pub const REMEMBERED: usize = 50;
    /// So many are needed before a policy is called too slow.
    pub const NEEDED: usize = 5;

    /// Notes one delay.
    pub fn note(&mut self, delay: Duration) {
        if self.last.len() >= Self::REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back(delay);
    }

    /// 95th percentile (nearest rank) of the remembered delays; `None` before the first.
    pub fn p95(&self) -> Option<Duration> {
        let mut sorted: Vec<_> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    /// Refuses chunks that are shorter than twice the delay, once enough delays are known.
    pub fn check(&self, chunk: &Chunk) -> Result<(), Refusal> {
        let Some(p95) = self.p95().filter(|_| self.last.len() >= Self::NEEDED) else {
            return Ok(());
        };
        let horizon = chunk.horizon();
        if horizon < p95 * 2 {
            let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
            return Err(Refusal::TooSlow { latency_ms: ms(p95), horizon_ms: ms(horizon) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn joints() -> Vec<JointCheck> {
        vec![
            JointCheck { name: "a".into(), unit: Unit::Deg, degrees: 1.0, data: None },
            JointCheck { name: "grip".into(), unit: Unit::Percent, degrees: 1.4, data: None },
        ]
    }

    fn chunk(actions: Vec<Vec<f64>>) -> Chunk {
        Chunk { number: 1, observed: MS(1000), sent: MS(1000), period: MS(100), actions }
    }

    fn check(c: &Chunk, now: u64) -> Result<Join, Refusal> {
        c.check(MS(now), &joints(), &[0.0, 50.0], &[0.0, 50.0], &Thresholds::default())
    }

    #[test]
    fn every_bad_chunk_is_refused_with_its_reason() {
        assert_eq!(check(&chunk(vec![]), 1000), Err(Refusal::Empty));
        assert!(matches!(check(&chunk(vec![vec![0.0, 0.0]; 1001]), 1000), Err(Refusal::TooMany { .. })));
        let wrong = check(&chunk(vec![vec![0.0, 0.0], vec![0.0]]), 1000);
        assert_eq!(wrong, Err(Refusal::WrongLength { index: 1, found: 1, expected: 2 }));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refusal = check(&chunk(vec![vec![0.0, 0.0], vec![0.0, bad]]), 1000).unwrap_err();
            let text = refusal.to_string();
            assert!(text.contains("action 1") && text.contains("grip"), "{text}");
            assert_eq!(refusal.severity(), super::super::trip::Severity::Fault);
        }
        assert!(matches!(check(&chunk(vec![vec![0.0, 0.0]; 9]), 1201), Err(Refusal::Old { age_ms: 201 })));
        let mut late = chunk(vec![vec![0.0, 0.0]; 2]);
        late.sent = MS(1300);
        assert_eq!(check(&late, 1300), Err(Refusal::Past));
        let mut period = chunk(vec![vec![0.0, 0.0]]);
        period.period = Duration::ZERO;
        assert!(matches!(check(&period, 1000), Err(Refusal::Period { .. })));
        let mut tight = joints();
        tight[0].data = Some(JointCheck::widen(-10.0, 10.0));
        let c = chunk(vec![vec![13.5, 0.0]]);
        let r = c.check(MS(1000), &tight, &[0.0, 0.0], &[0.0, 0.0], &Thresholds::default());
        assert!(matches!(r, Err(Refusal::OutsideData { .. })), "{r:?}");
    }

    #[test]
    fn the_first_action_must_be_near() {
        assert_eq!(check(&chunk(vec![vec![14.0, 0.0]]), 1000), Ok(Join::Near));
        assert_eq!(check(&chunk(vec![vec![-29.0, 0.0]]), 1000), Ok(Join::Far));
        let refusal = check(&chunk(vec![vec![31.0, 0.0]]), 1000).unwrap_err();
        assert!(refusal.to_string().contains("go to start pose"), "{refusal}");
        // The first action that is still to come counts, not those that have passed.
        let c = chunk(vec![vec![80.0, 0.0], vec![5.0, 0.0], vec![5.0, 0.0]]);
        assert_eq!(check(&c, 1100), Ok(Join::Near));
    }

    #[test]
    fn a_plan_is_continuous_at_the_border_of_chunks() {
        let mut plan = Plan::default();
        let ramp = |from: f64| (0..20).map(|k| vec![from + f64::from(k), 0.0]).collect::<Vec<_>>();
        plan.take(MS(1000), &chunk(ramp(0.0)), &[0.0, 0.0], MS(50));
        assert_eq!(plan.at(MS(1500), 0), Some(5.0));
        assert_eq!(plan.at(MS(1550), 0), Some(5.5));
        let mut second = chunk(ramp(9.0));
        second.observed = MS(1400);
        plan.take(MS(1600), &second, &[0.0, 0.0], MS(50));
        let before = plan.at(MS(1600), 0).unwrap();
        assert!((before - 6.0).abs() < 1e-9, "{before}");
        let after = plan.at(MS(1650), 0).unwrap();
        assert!((after - 11.5).abs() < 1e-9, "{after}");
        assert!(plan.fresh(MS(3399)) && !plan.fresh(MS(3400)));
        assert_eq!(plan.at(MS(9000), 0), Some(28.0));
    }

    #[test]
    fn a_slow_policy_with_short_chunks_is_refused() {
        let mut latency = Latency::default();
        let c = chunk(vec![vec![0.0, 0.0]; 10]);
        for _ in 0..49 {
            latency.note(MS(100));
        }
        assert!(latency.check(&c).is_ok());
        for _ in 0..3 {
            latency.note(MS(600));
        }
        assert_eq!(latency.p95(), Some(MS(600)));
        assert!(matches!(latency.check(&c), Err(Refusal::TooSlow { latency_ms: 600, horizon_ms: 1000 })));
    }
}
