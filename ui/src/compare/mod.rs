//! What the Compare screen holds: a set of panes, how they are looked at, and where their pictures come from.

pub mod doc;
pub mod set;

pub use doc::{CompareDoc, CompareView, Edit, Look, MAX_PANES, PaneDoc, Part, Source};
pub use set::{Compare, Zoom};
