//! What the Compare screen holds: a set of panes, how they are looked at, and where their pictures come from.

pub mod blind;
pub mod doc;
pub mod export;
pub mod follow;
pub mod library;
pub mod loader;
pub mod numbers;
pub mod set;
pub mod sweep;
pub mod thumbs;
pub mod views;

pub use doc::{CompareDoc, CompareView, Edit, Look, MAX_PANES, PaneDoc, Part, Source};
pub use set::{Compare, Zoom};
