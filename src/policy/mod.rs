//! Policies: learnt from data, tried in physics and in imagination, improved inside the world model.
//!
//! | file | what it is for |
//! |---|---|
//! | `settings`, `examples`, `train`, `start` | training by behaviour cloning |
//! | `folder` | policy folders, their scorecards |
//! | `align` | rows of one set of channels as rows of another, by name and unit |
//! | `place`, `world_place`, `model_place` | where an agent can act: physics, imagination |
//! | `judge` | whether an imagined episode has succeeded, and how far it is |
//! | `agent` | the loop: observation, chunk, blending, delay |
//! | `mind` | what proposes chunks |
//! | `rehearse`, `best_of`, `planner`, `subgoals` | minds that look ahead in the world model |
//! | `deciding` | which of these minds an agent has, as one description |
//! | `experience` | imagined episodes as data |
//! | `rank` | whether the model ranks policies as physics does |
//! | `actor` | who acts in an episode: agents and the yardsticks beside them |
//! | `twin` | one episode in physics and in imagination at once, from the same start under the same actions |
//! | `stoppable` | a place and a model that end when a person says stop |
//! | `evaluate`, `stats` | success with its interval, always beside the yardsticks |
//! | `pace` | how long an evaluation will take, measured |

mod actor;
mod agent;
mod align;
mod best_of;
mod deciding;
mod evaluate;
mod examples;
mod experience;
mod folder;
mod judge;
mod mind;
mod model_place;
mod own_actions;
mod pace;
mod place;
mod planner;
mod rank;
mod rehearse;
mod settings;
mod start;
pub mod stats;
mod stoppable;
mod subgoals;
mod train;
mod twin;
mod world_place;

pub use actor::{Ended, Yardstick, play};
pub use agent::{Agent, AgentSettings, Latency};
pub use align::Columns;
pub use best_of::BestOf;
pub use deciding::{Deciding, Misfit, Parts};
pub use evaluate::{EpisodeResult, EvaluateSettings, Evaluation, MindOf, Tally, Venue, evaluate, scenes};
pub use examples::{Cutter, scaling_of};
pub use experience::{Experience, ExperienceSettings, imagine_experience};
pub use folder::{find_policy, is_shipped, load_policy, load_policy_on, save_score, shipped_policies};
pub use judge::{Judge, Push};
pub use mind::{Mind, Moment, PolicyMind};
pub use model_place::ModelPlace;
pub use own_actions::{OwnActions, OwnActionsSettings};
pub use pace::{Pace, measure};
pub use place::{Observation, Place, Verdict};
pub use planner::{Method, Planner, PlannerSettings};
pub use rank::{Ranked, Ranking, rank};
pub use rehearse::{DOUBTFUL, Dream, Rehearsal, Rehearser, Worth};
pub use settings::PolicySettings;
pub use start::{PolicyStage, start};
pub use stoppable::StoppableModel;
pub use subgoals::{SubgoalSettings, Subgoals};
pub use train::{HeldOut, PolicyJob, PolicyReport, run};
pub use twin::{Twin, TwinFrame, TwinSettings, TwinSide, twin};
pub use world_place::WorldPlace;
