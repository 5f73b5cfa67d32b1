//! Policies: small networks from pictures, state and words (or a goal picture) to a chunk of actions.
//!
//! | file | what it is for |
//! |---|---|
//! | `config` | sizes, and which pictures a policy looks at |
//! | `network` | the transformer that reads the pictures, and the small one that writes the chunk |
//! | `objective` | what it is trained for |
//! | `scaling` | actions and state to the numbers that the network works with, and back |
//! | `folder` | a policy folder on disk |
//! | `plan` | from an observation to chunks of actions |
//! | `overlap` | chunks that overlap, blended into one action a step |

mod config;
mod folder;
mod network;
mod objective;
mod overlap;
mod plan;
mod scaling;

pub use config::{CONFIG_FORMAT, Config, Kind, Look};
pub use folder::{FAMILY, Policy, save_folder};
pub use network::{Encoded, Network};
pub use objective::{Example, Loss, Recipe, loss};
pub use overlap::Overlap;
pub use plan::{Chunk, Draw, Seen};
pub use scaling::Scaling;
