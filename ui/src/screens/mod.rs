//! The screens of the window: one folder each.

pub mod compare;
pub mod data;
pub mod models;
pub mod policy;
pub mod robot;
pub mod train;
pub mod world;

use serde::{Deserialize, Serialize};

/// A screen of the rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Screen {
    /// Make futures.
    #[default]
    World,
    /// Lay futures side by side.
    Compare,
    /// Look at recordings and put them right.
    Data,
    /// Make a model of one's own.
    Train,
    /// Learn, try and improve policies.
    Policy,
    /// Bring a policy to an arm, and stop it.
    Robot,
    /// What models there are.
    Models,
}
