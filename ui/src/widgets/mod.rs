//! Widgets of the window: they draw, and send messages; none changes the project.

pub mod basic;
pub mod curve_editor;
pub mod grid;
mod lift;
pub mod pair_view;
pub mod pane;
pub mod panels;
pub mod plot;
pub mod slider;
pub mod spark;
