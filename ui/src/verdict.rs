//! What a reasoner said about a future, shown beside it.

use std::path::PathBuf;

use forerun::engine::protocol::JobId;

/// A question under way or answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Folder of the future.
    pub folder: PathBuf,
    /// Its seed, to show.
    pub seed: u64,
    /// Job that answers; `None` once it has ended.
    pub job: Option<JobId>,
    /// What has been written so far, or all of it.
    pub reasoning: String,
    /// The answer, once there is one.
    pub answer: String,
}

/// What the sheet asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    /// Folder of the reasoner.
    pub reasoner: String,
    /// Words; the usual question when empty.
    pub question: String,
}
