//! The limiter: turns any wish into the next goal of one joint, within position, speed, acceleration and jerk.
//!
//! It is a pure function of one joint's motion. Per tick it picks the acceleration that takes the joint closest to
//! where it should stop, among those after which the joint **can still stop** inside all limits. "Can still stop" is
//! decided by playing the whole braking through, tick by tick: so the guarantee holds for the goals as they are sent,
//! not for a continuous idealisation of them. Since braking itself is always among the choices, a motion that is
//! inside its limits once stays there whatever is wished for.
//!
//! The discrete motion is `speed += acceleration * dt; position += speed * dt`: differences of successive goals
//! are the speeds, second differences the accelerations, third differences the jerks.

use super::super::numbers::Limits;

/// Motion of one joint's goal. Units of the joint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Goal position.
    pub position: f64,
    /// Speed of the goal, unit/s.
    pub speed: f64,
    /// Acceleration of the goal, unit/s².
    pub acceleration: f64,
}

impl Motion {
    /// Standing at a position.
    pub fn at(position: f64) -> Self {
        Self { position, speed: 0.0, acceleration: 0.0 }
    }

    /// Whether nothing moves.
    pub fn stands(&self) -> bool {
        self.speed == 0.0 && self.acceleration == 0.0
    }
}

/// Smallest and largest goal position of one joint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

/// Relative slack of comparisons, far below a motor's step and far above rounding.
const SLACK: f64 = 1e-9;
/// Halvings of the interval of accelerations: beyond this the goal moves by less than 1e-9 of a step.
const HALVINGS: usize = 34;
/// No braking takes longer (10 s at 100 Hz); a motion that would is treated as one that cannot stop.
const LONGEST_BRAKING: usize = 1000;

/// The acceleration of the next tick that brings speed and acceleration to zero soonest.
///
/// Choosing `a` now and then letting it fall to zero at the greatest jerk changes the speed by a total that grows with
/// `a`; the `a` for which this total cancels the speed is the one, or the nearest that the jerk allows.
fn braking(motion: &Motion, limits: &Limits, dt: f64) -> f64 {
    let step = limits.jerk * dt;
    let wanted = -motion.speed;
    let size = wanted.abs();
    // With n whole steps of jerk still to come after the first tick the speed changes by
    // dt * ((n + 1) a - step n (n + 1) / 2); n is the largest for which a >= n step.
    let n = (((1.0 + 8.0 * size / (dt * step)).sqrt() - 1.0) / 2.0).floor();
    let ideal = (size / dt + step * n * (n + 1.0) / 2.0) / (n + 1.0);
    let lowest = (motion.acceleration - step).max(-limits.acceleration);
    let highest = (motion.acceleration + step).min(limits.acceleration);
    ideal.copysign(wanted).clamp(lowest.min(highest), highest.max(lowest))
}

fn advance(motion: &Motion, acceleration: f64, dt: f64) -> Motion {
    let speed = motion.speed + acceleration * dt;
    Motion { position: motion.position + speed * dt, speed, acceleration }
}

/// Where and how a motion ends when it brakes from now on.
#[derive(Clone, Copy, Debug)]
struct Braked {
    end: f64,
    lowest: f64,
    highest: f64,
    slowest: f64,
    fastest: f64,
    ticks: usize,
}

fn brake_through(start: &Motion, limits: &Limits, dt: f64) -> Braked {
    let mut m = *start;
    let mut out = Braked {
        end: m.position,
        lowest: m.position,
        highest: m.position,
        slowest: m.speed,
        fastest: m.speed,
        ticks: 0,
    };
    // The residue of rounding: a speed that moves the goal by less than this in a tick is standing.
    let still = SLACK * limits.speed;
    while m.speed.abs() > still || m.acceleration.abs() > SLACK * limits.acceleration {
        if out.ticks >= LONGEST_BRAKING {
            out.fastest = f64::INFINITY;
            out.slowest = f64::NEG_INFINITY;
            return out;
        }
        m = advance(&m, braking(&m, limits, dt), dt);
        out.lowest = out.lowest.min(m.position);
        out.highest = out.highest.max(m.position);
        out.slowest = out.slowest.min(m.speed);
        out.fastest = out.fastest.max(m.speed);
        out.ticks += 1;
    }
    out.end = m.position;
    out
}

/// Distance in which a joint that moves at `speed` comes to rest, in its unit (never negative).
pub fn stopping_distance(speed: f64, limits: &Limits, dt: f64) -> f64 {
    let start = Motion { position: 0.0, speed: speed.abs().min(limits.speed), acceleration: 0.0 };
    brake_through(&start, limits, dt).end.abs()
}

/// The next motion of a joint that should come to rest at `target`.
///
/// Guarantee: if `motion` can still stop inside `bounds` and `limits` (a standing joint inside its bounds can), then so
/// can the result, and the result itself is inside them: `low <= position <= high`, `|speed| <= limits.speed`,
/// `|acceleration| <= limits.acceleration`, and the acceleration differs from the last one by at most
/// `limits.jerk * dt` (all up to a slack of 1e-9 of the limit). A target that is not finite means: stop.
/// A motion that is already outside (limits were lowered in mid-motion) brakes as hard as it may.
pub fn next(motion: &Motion, target: f64, bounds: &Bounds, limits: &Limits, dt: f64) -> Motion {
    let standing = motion.stands();
    if !target.is_finite() {
        return settle(advance(motion, braking(motion, limits, dt), dt), f64::NAN, limits, dt);
    }
    let target = target.clamp(bounds.low, bounds.high.max(bounds.low));
    if standing && motion.position == target {
        return *motion;
    }
    let brake = braking(motion, limits, dt);
    let braked = brake_through(&advance(motion, brake, dt), limits, dt);
    // The problem is the same in both directions; `sign` turns the downward one around.
    let sign = if target >= braked.end { 1.0 } else { -1.0 };
    let step = limits.jerk * dt;
    let far = if sign > 0.0 {
        (motion.acceleration + step).min(limits.acceleration)
    } else {
        (motion.acceleration - step).max(-limits.acceleration)
    };
    let slack_speed = limits.speed * (1.0 + SLACK);
    let slack_place = SLACK * (bounds.high - bounds.low).abs().max(1.0);
    let allowed = |acceleration: f64| {
        let after = advance(motion, acceleration, dt);
        let b = brake_through(&after, limits, dt);
        if sign > 0.0 {
            b.end <= target && b.highest <= bounds.high + slack_place && b.fastest <= slack_speed
        } else {
            b.end >= target && b.lowest >= bounds.low - slack_place && b.slowest >= -slack_speed
        }
    };
    let chosen = if (far - brake) * sign <= 0.0 {
        brake
    } else if allowed(far) {
        far
    } else {
        let (mut good, mut bad) = (brake, far);
        for _ in 0..HALVINGS {
            let middle = good + (bad - good) * 0.5;
            if allowed(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    };
    settle(advance(motion, chosen, dt), target, limits, dt)
}

/// Rounding leaves motions of a billionth of the limits; they become rest, on the target where it is that near.
fn settle(mut motion: Motion, target: f64, limits: &Limits, dt: f64) -> Motion {
    if motion.speed.abs() <= 4.0 * SLACK * limits.speed
        && motion.acceleration.abs() <= 1e-6 * limits.acceleration.min(limits.jerk * dt)
    {
        motion.speed = 0.0;
        motion.acceleration = 0.0;
        if (motion.position - target).abs() <= 1e-6 {
            motion.position = target;
        }
    }
    motion
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::super::numbers::{Mode, ModeLimits, Unit};
    use super::*;

    const DT: f64 = 0.01;

    /// A small generator of wild numbers (xorshift), so that failures repeat.
    struct Wild(u64);
    impl Wild {
        fn bits(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
        fn unit(&mut self) -> f64 {
            (self.bits() >> 11) as f64 / (1u64 << 53) as f64
        }
        fn target(&mut self) -> f64 {
            match self.bits() % 12 {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => f64::NEG_INFINITY,
                3 => f64::MAX,
                4 => -1e300,
                5 => f64::MIN_POSITIVE,
                6 => f64::from_bits(self.bits()),
                _ => (self.unit() - 0.5) * 400.0,
            }
        }
    }

    /// No wish, however wild, makes a goal outside position, speed, acceleration or jerk.
    #[test]
    fn wild_wishes_stay_inside_all_limits() {
        for seed in 1..=60u64 {
            let mut wild = Wild(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mode = [Mode::Cautious, Mode::Normal, Mode::Full][seed as usize % 3];
            let mut limits = ModeLimits::defaults(Unit::Deg).get(mode);
            if seed % 4 == 0 {
                limits.speed = 1.0 + wild.unit() * 260.0;
                limits.acceleration = 20.0 + wild.unit() * 3000.0;
                limits.jerk = limits.acceleration * (0.5 + wild.unit() * 300.0);
            }
            let low = -120.0 * wild.unit();
            let bounds = Bounds { low, high: low + 0.5 + 150.0 * wild.unit() };
            let mut m = Motion::at(bounds.low + (bounds.high - bounds.low) * wild.unit());
            let mut target = 0.0;
            let mut left = 0u64;
            for tick in 0..3000 {
                if left == 0 {
                    target = wild.target();
                    // Long stretches, and new wishes at every tick.
                    left = if wild.bits() % 3 == 0 { 1 + wild.bits() % 120 } else { 1 };
                }
                left -= 1;
                let n = next(&m, target, &bounds, &limits, DT);
                let what =
                    format!("seed {seed} tick {tick} {m:?} -> {n:?} target {target} {limits:?} {bounds:?}");
                assert!(
                    n.position >= bounds.low - 1e-6 && n.position <= bounds.high + 1e-6,
                    "position: {what}"
                );
                let speed = (n.position - m.position) / DT;
                assert!(speed.abs() <= limits.speed * (1.0 + 1e-6), "speed {speed}: {what}");
                assert!(n.acceleration.abs() <= limits.acceleration * (1.0 + 1e-6), "acceleration: {what}");
                let acceleration = (speed - m.speed) / DT;
                assert!(
                    acceleration.abs() <= limits.acceleration * (1.0 + 1e-4) + 1e-3,
                    "{acceleration}: {what}"
                );
                let jerk = (n.acceleration - m.acceleration) / DT;
                assert!(jerk.abs() <= limits.jerk * (1.0 + 1e-4), "jerk {jerk}: {what}");
                m = n;
            }
        }
    }

    #[test]
    fn a_joint_reaches_its_target_soon_and_without_overshoot() {
        for mode in [Mode::Cautious, Mode::Normal, Mode::Full] {
            let limits = ModeLimits::defaults(Unit::Deg).get(mode);
            let bounds = Bounds { low: -100.0, high: 100.0 };
            for (from, to) in [(0.0, 60.0), (50.0, -50.0), (10.0, 10.3), (-99.0, -100.0)] {
                let mut m = Motion::at(from);
                let mut ticks = 0;
                while m != Motion::at(to) {
                    m = next(&m, to, &bounds, &limits, DT);
                    let beyond = if to > from { m.position - to } else { to - m.position };
                    assert!(beyond <= 1e-6, "{mode} {from} -> {to}: {beyond} too far");
                    ticks += 1;
                    assert!(ticks < 2000, "{mode} {from} -> {to}: stands at {m:?}");
                }
                // Trapezoid plus the time that the jerk takes, and a little for whole ticks.
                let distance = (to - from).abs();
                let ramp = limits.speed / limits.acceleration;
                let ideal = if distance > limits.speed * ramp {
                    distance / limits.speed + ramp
                } else {
                    2.0 * (distance / limits.acceleration).sqrt()
                };
                let allowed = ideal + 0.15;
                assert!(
                    ticks as f64 * DT <= allowed,
                    "{mode} {from} -> {to}: {ticks} ticks, ideal {ideal} s"
                );
            }
        }
    }

    #[test]
    fn stopping_follows_at_once_and_takes_the_least_time() {
        let limits = ModeLimits::defaults(Unit::Deg).normal;
        let bounds = Bounds { low: -100.0, high: 100.0 };
        let mut m = Motion::at(-90.0);
        for _ in 0..60 {
            m = next(&m, 90.0, &bounds, &limits, DT);
        }
        assert!((m.speed - 90.0).abs() < 1e-3, "{m:?}");
        let first = next(&m, f64::NAN, &bounds, &limits, DT);
        assert!(first.acceleration < -100.0, "{first:?}");
        let mut ticks = 0;
        while !m.stands() {
            m = next(&m, f64::NAN, &bounds, &limits, DT);
            ticks += 1;
        }
        // 90 / 600 = 150 ms at full braking and 50 ms for the jerk.
        assert!(ticks <= 22, "{ticks}");
        let d = stopping_distance(90.0, &limits, DT);
        assert!((7.0..11.0).contains(&d), "{d}");
    }

    #[test]
    fn lowered_limits_brake_and_stay_finite() {
        let fast = ModeLimits::defaults(Unit::Deg).full;
        let slow = ModeLimits::defaults(Unit::Deg).cautious;
        let bounds = Bounds { low: -100.0, high: 100.0 };
        let mut m = Motion::at(-50.0);
        for _ in 0..20 {
            m = next(&m, 90.0, &bounds, &fast, DT);
        }
        assert!(m.speed > 100.0);
        for _ in 0..400 {
            m = next(&m, f64::NAN, &bounds, &slow, DT);
        }
        assert!(m.stands() && m.position.is_finite(), "{m:?}");
    }
}
