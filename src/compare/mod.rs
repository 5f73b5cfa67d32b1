//! Comparing futures: everything of the Compare screen that needs no window.
//!
//! | file | what it is for |
//! |---|---|
//! | `diff` | views of a pair: wipe, onion skin, signed difference, heat map, flicker; the reference of the shaders |
//! | `open`, `picture` | a saved future in memory; a picture in memory or on disk |
//! | `set` | views of many: mean, standard deviation, median future, most different pair |
//! | `live` | the virtual world under the numbers of a future: what physics says |
//! | `truth` | what really happened after the frame that a future starts from |
//! | `metrics`, `numbers` | one number a frame against truth or over seeds; CSV and JSON of them |
//! | `words` | what differs between two records, in words |
//! | `tree`, `lanes` | futures that start in others, kept in the project; how they are drawn |
//! | `gallery`, `date` | all futures of a project, and finding one again |
//! | `sweep` | two things varied on two axes |
//! | `follow` | does the model follow what drives it |
//! | `sheet`, `glyphs`, `canvas` | several futures in one picture or clip, with labels |
//! | `votes` | blind votes and what they say |

pub mod canvas;
pub mod date;
pub mod diff;
pub mod follow;
pub mod gallery;
pub mod glyphs;
pub mod lanes;
pub mod live;
pub mod metrics;
pub mod numbers;
pub mod open;
pub mod picture;
pub mod set;
pub mod sheet;
pub mod sweep;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod truth;
pub mod votes;
pub mod words;
