//! How good a world model is: its futures against recorded ones.
//!
//! | file | what it is for |
//! |---|---|
//! | `pixels` | pooled PSNR, SSIM, sharpness |
//! | `blob` | where a coloured thing is, from the pixels |
//! | `skill` | contact skill, object error, spread against error |
//! | `windows` | pieces of recorded episodes to judge on |
//! | `rollouts` | futures of many windows at once |
//! | `horizons` | the numbers of a horizon |
//! | `words` | do words move the right thing the right way |
//! | `long` | do long futures stay sharp and keep their objects |
//! | `twins` | recorded episodes beside imagined ones: r and error of every joint |
//! | `job` | all of it as one job |

pub mod blob;
pub mod horizons;
pub mod job;
pub mod long;
pub mod pixels;
pub mod rollouts;
pub mod skill;
pub mod twins;
pub mod windows;
pub mod words;
