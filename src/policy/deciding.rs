//! How an agent decides what to do next: its policy alone, or with a world model to look ahead in. One description for the
//! command line, the engine and the window, and one place that turns it into a [`Mind`].

use forerun_models::policy::{Kind, Policy};
use serde::{Deserialize, Serialize};

use super::best_of::BestOf;
use super::mind::{Mind, PolicyMind};
use super::own_actions::{OwnActions, OwnActionsSettings};
use super::planner::{Method, Planner, PlannerSettings};
use super::subgoals::{SubgoalSettings, Subgoals};
use crate::engine::backend::WorldModel;
use crate::failure::Failure;

/// How an agent decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "snake_case")]
pub enum Deciding {
    /// The policy's own chunk.
    #[default]
    Alone,
    /// Several of the policy's chunks are tried in the model, and the best one is taken.
    BestOf {
        /// Chunks a plan.
        candidates: usize,
        /// Futures a chunk; where they disagree, it is worth less.
        seeds: usize,
    },
    /// A search in the model; with a policy it begins at the policy's chunks.
    Planner {
        /// How the search narrows.
        method: Method,
        /// Futures a track; where they disagree, it is worth less.
        seeds: usize,
    },
    /// The model imagines from the words what to reach, and a goal policy goes there.
    Subgoals {
        /// Frames ahead that a goal lies.
        ahead: usize,
        /// Futures of which the best one's end becomes the goal.
        futures: usize,
    },
    /// The model imagines from the words alone, and what it takes to have been done is done; no policy at all.
    OwnActions {
        /// Futures of which the best one is acted out.
        futures: usize,
    },
}

/// Why a policy and a way of deciding do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is none, and only a planner does without.
    NoPolicy,
    /// It goes for pictures, and nothing says for which.
    NoGoal,
    /// It goes for pictures, so it has no proposals for a planner that is told by words.
    NoProposals,
    /// It is told by words and does not go for pictures.
    DeafToGoals,
}

/// What a mind is made of.
#[derive(Clone, Copy)]
pub struct Parts<'m> {
    /// The policy; only a planner does without.
    pub policy: Option<&'m Policy>,
    /// The world model to look ahead in.
    pub model: Option<&'m dyn WorldModel>,
    /// Size of the policy's noise; `None` = [`Deciding::temperature`].
    pub temperature: Option<f32>,
    /// Denoising steps a frame.
    pub refine: usize,
}

impl Deciding {
    /// Whether it needs a world model.
    pub fn looks_ahead(self) -> bool {
        self != Self::Alone
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Alone => "policy".into(),
            Self::BestOf { candidates, .. } => format!("best of {candidates}"),
            Self::Planner { .. } => "planner".into(),
            Self::Subgoals { .. } => "subgoals".into(),
            Self::OwnActions { .. } => "model's own".into(),
        }
    }

    /// Plans after which its work repeats: a goal is imagined once for several plans.
    pub fn period(self) -> usize {
        match self {
            Self::Subgoals { .. } => SubgoalSettings::default().plans as usize,
            _ => 1,
        }
    }

    /// Size of the policy's noise where nothing asks for another: none alone, and 1 for the candidates of best-of-N.
    pub fn temperature(self, asked: Option<f32>) -> f32 {
        asked.unwrap_or(if matches!(self, Self::BestOf { .. }) { 1.0 } else { 0.0 })
    }

    /// Why a policy of this kind (`None` = no policy) cannot be used in this way.
    pub fn misfit(self, kind: Option<Kind>) -> Option<Misfit> {
        match (self, kind) {
            (Self::Planner { .. }, None) | (Self::OwnActions { .. }, _) => None,
            (_, None) => Some(Misfit::NoPolicy),
            (Self::Alone | Self::BestOf { .. }, Some(Kind::Goal)) => Some(Misfit::NoGoal),
            (Self::Planner { .. }, Some(Kind::Goal)) => Some(Misfit::NoProposals),
            (Self::Subgoals { .. }, Some(Kind::Direct)) => Some(Misfit::DeafToGoals),
            _ => None,
        }
    }

    /// Whether a policy of this kind (`None` = no policy) can be used in this way.
    ///
    /// # Errors
    /// When it cannot; the text says what to choose instead.
    pub fn check(self, kind: Option<Kind>) -> Result<(), Failure> {
        let (what, instead) = match self.misfit(kind) {
            None => return Ok(()),
            Some(Misfit::NoPolicy) => (
                "There is no policy to try.",
                "Choose one (--policy); only the planner and a model that acts by itself do without.",
            ),
            Some(Misfit::NoGoal) => (
                "This policy goes for pictures, and nothing says for which.",
                "Let it decide by subgoals (--subgoals): a world model imagines them from the words.",
            ),
            Some(Misfit::NoProposals) => (
                "This policy goes for pictures, so it has no proposals for a planner that is told by words.",
                "Plan without a policy, or choose one that is told by words.",
            ),
            Some(Misfit::DeafToGoals) => (
                "This policy is told by words, it does not go for pictures.",
                "Let it decide alone, or learn a policy of the kind goal (--kind goal) for subgoals.",
            ),
        };
        Err(Failure::new(what, instead))
    }

    /// A mind with this seed.
    ///
    /// # Errors
    /// Parts that are missing or do not fit together, numbers out of range.
    pub fn mind<'m>(self, parts: &Parts<'m>, seed: u64) -> Result<Box<dyn Mind + 'm>, Failure> {
        self.check(parts.policy.map(|policy| policy.network().config().kind))?;
        let policy = || parts.policy.ok_or_else(|| Failure::new("There is no policy to try.", "Choose one."));
        let model = || {
            parts.model.ok_or_else(|| {
                Failure::new("There is no world model to look ahead in.", "Choose one (--with).")
            })
        };
        let temperature = self.temperature(parts.temperature);
        Ok(match self {
            Self::Alone => Box::new(PolicyMind { policy: policy()?, seed, temperature }),
            Self::BestOf { candidates, seeds } => Box::new(BestOf::new(
                policy()?,
                model()?,
                candidates,
                seeds,
                parts.refine,
                temperature,
                seed,
            )?),
            Self::Planner { method, seeds } => {
                let search =
                    PlannerSettings { method, seeds, refine: parts.refine, ..PlannerSettings::default() };
                Box::new(Planner::new(model()?, parts.policy, None, search, seed)?)
            }
            Self::OwnActions { futures } => {
                let refine = parts.refine;
                let own = OwnActionsSettings { futures, refine, ..OwnActionsSettings::default() };
                Box::new(OwnActions::new(model()?, own, seed)?)
            }
            Self::Subgoals { ahead, futures } => {
                let goals = SubgoalSettings { ahead, futures, ..SubgoalSettings::default() };
                Box::new(Subgoals::new(policy()?, model()?, goals, seed)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WAYS: [Deciding; 5] = [
        Deciding::Alone,
        Deciding::BestOf { candidates: 4, seeds: 2 },
        Deciding::Planner { method: Method::Mppi, seeds: 1 },
        Deciding::Subgoals { ahead: 8, futures: 4 },
        Deciding::OwnActions { futures: 4 },
    ];

    #[test]
    fn each_way_says_which_policies_it_takes() {
        let takes = |kind| WAYS.map(|way| way.check(kind).is_ok());
        assert_eq!(takes(Some(Kind::Direct)), [true, true, true, false, true]);
        assert_eq!(takes(Some(Kind::Goal)), [false, false, false, true, true]);
        assert_eq!(takes(None), [false, false, true, false, true]);
        let told = Deciding::Alone.check(Some(Kind::Goal)).unwrap_err().text();
        assert!(told.contains("subgoals"), "{told}");
    }

    #[test]
    fn ways_travel_and_an_absent_one_is_the_policy_alone() {
        for way in WAYS {
            let text = serde_json::to_string(&way).unwrap();
            assert_eq!(serde_json::from_str::<Deciding>(&text).unwrap(), way, "{text}");
        }
        assert_eq!(serde_json::to_value(WAYS[1]).unwrap()["way"], "best_of");
        assert_eq!(Deciding::default(), Deciding::Alone);
    }
}
