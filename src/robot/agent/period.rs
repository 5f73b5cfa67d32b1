//! How evenly the control loop runs.

use std::time::Duration;

use super::super::clock::Time;

/// Histogram of control periods in steps of 0.1 ms, up to 100 ms.
#[derive(Clone, Debug)]
pub(super) struct Periods {
    counts: Vec<u64>,
    all: u64,
    longest: Duration,
    last: Option<Time>,
    nominal: Duration,
    /// Ticks that came more than half a period late.
    pub late: u64,
}

const STEP: Duration = Duration::from_micros(100);

impl Periods {
    pub fn new(nominal: Duration) -> Self {
        Self { counts: vec![0; 1000], all: 0, longest: Duration::ZERO, last: None, nominal, late: 0 }
    }

    /// Forgets what was; the next tick only begins to count.
    pub fn restart(&mut self) {
        *self = Self::new(self.nominal);
    }

    /// Notes a tick.
    pub fn tick(&mut self, now: Time) {
        if let Some(last) = self.last {
            let period = now.saturating_sub(last);
            let bin = (period.as_micros() / STEP.as_micros()) as usize;
            let most = self.counts.len() - 1;
            if let Some(c) = self.counts.get_mut(bin.min(most)) {
                *c += 1;
            }
            self.all += 1;
            self.longest = self.longest.max(period);
            self.late += u64::from(period > self.nominal + self.nominal / 2);
        }
        self.last = Some(now);
    }

    /// Median, 99th percentile and longest period, milliseconds (upper ends of the histogram's steps).
    pub fn summary(&self) -> [f64; 3] {
        let rank = |share: f64| {
            let wanted = (self.all as f64 * share).ceil() as u64;
            let mut sum = 0;
            let bin = self.counts.iter().position(|c| {
                sum += c;
                sum >= wanted.max(1)
            });
            bin.map_or(0.0, |b| (b + 1) as f64 * 0.1)
        };
        [rank(0.5), rank(0.99), self.longest.as_secs_f64() * 1e3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_periods() {
        let ms = Duration::from_millis;
        let mut p = Periods::new(ms(10));
        let mut now = ms(0);
        p.tick(now);
        for k in 0..1000 {
            now += if k % 50 == 0 { ms(17) } else { ms(10) };
            p.tick(now);
        }
        let [median, p99, longest] = p.summary();
        assert!(
            (median - 10.1).abs() < 0.01 && (p99 - 17.1).abs() < 0.01 && longest == 17.0,
            "{median} {p99}"
        );
        assert_eq!(p.late, 20);
        p.restart();
        p.tick(now + ms(700));
        assert_eq!((p.summary()[2], p.late), (0.0, 0), "what lies between two runs does not count");
    }
}
