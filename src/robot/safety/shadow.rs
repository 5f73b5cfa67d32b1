//! Shadowing: a policy proposes for a limp arm, everything is checked as in a real run, and nothing is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::clock::Time;
use super::plan::{Chunk, Plan};
use super::trip::{Refusal, Severity};

/// A shadow run must last this long ...
pub const LONG_ENOUGH: Duration = Duration::from_secs(30);
/// ... and have this many actions, none of which failed a check.
pub const ENOUGH_ACTIONS: u64 = 300;

/// How a shadow run goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Seconds so far.
    pub seconds: f64,
    /// Actions that would have been used so far.
    pub actions: u64,
    /// Checks that failed.
    pub failed: u64,
    /// The first few failures, in words.
    pub failures: Vec<String>,
    /// Long enough, and nothing failed.
    pub passed: bool,
}

/// A shadow run.
#[derive(Clone, Debug)]
pub struct Shadow {
    pub(super) plan: Plan,
    since: Time,
    last: Option<(Time, Duration, usize)>,
    starving: bool,
    report: ShadowReport,
}

impl Shadow {
    pub(super) fn new(now: Time) -> Self {
        Self {
            plan: Plan::default(),
            since: now,
            last: None,
            starving: false,
            report: ShadowReport::default(),
        }
    }

    fn fail(&mut self, why: String) {
        self.report.failed += 1;
        if self.report.failures.len() < 5 {
            self.report.failures.push(why);
        }
    }

    pub(super) fn taken(&mut self, now: Time, chunk: &Chunk, present: &[f64]) {
        if let Some((then, period, length)) = self.last {
            let used = now.saturating_sub(then).as_millis() / period.as_millis().max(1);
            self.report.actions += u64::try_from(used).unwrap_or(0).min(length as u64);
        }
        self.last = Some((now, chunk.period, chunk.actions.len()));
        self.plan.take(now, chunk, present, Duration::from_millis(50));
        self.starving = false;
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
        if refusal.severity() > Severity::Warn {
            self.fail(refusal.to_string());
        }
    }

    pub(super) fn tick(&mut self, now: Time) {
        if self.plan.started() && !self.plan.fresh(now) && !self.starving {
            self.starving = true;
            self.fail("no fresh action from the policy".into());
        }
        let seconds = now.saturating_sub(self.since);
        self.report.seconds = seconds.as_secs_f64();
        let enough = seconds >= LONG_ENOUGH && self.report.actions >= ENOUGH_ACTIONS;
        self.report.passed = enough && self.report.failed == 0;
    }

    /// How it goes.
    pub fn report(&self) -> &ShadowReport {
        &self.report
    }
}
