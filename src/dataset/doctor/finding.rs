//! What an examination finds.

use serde::{Deserialize, Serialize};

use super::View;
use super::said::Said;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// It may spoil what is learnt; look at it.
    Warning,
    /// It spoils what is learnt.
    Problem,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Actions or states that belong to other frames.
    Lag,
    /// The unit of a channel.
    Unit,
    /// Targets or changes.
    Relative,
    /// A channel that carries nothing.
    DeadChannel,
    /// Numbers that are missing.
    Missing,
    /// A camera that shows nothing new.
    FrozenCamera,
    /// Pictures that come twice while the robot moves.
    RepeatedFrames,
    /// Pictures that are missing.
    DroppedFrames,
    /// Sudden changes of brightness.
    Exposure,
    /// Episodes that are there twice.
    SameEpisode,
    /// Too little of what there is to see.
    Coverage,
    /// Something could not be looked at.
    Unread,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub topic: Topic,
    /// What was measured and what it means: one or two sentences, in English.
    pub words: String,
    /// The same as a sentence that can be said in any language.
    #[serde(default)]
    pub said: Said,
    /// Channels that are concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Episodes that are concerned; empty when all are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub episodes: Vec<usize>,
    /// What puts it right, applied while reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<View>,
    /// Whether the fix is beyond doubt; where it is not, a person decides.
    pub sure: bool,
}

impl Finding {
    /// A finding about the whole dataset without a fix.
    pub(super) fn new(severity: Severity, topic: Topic, said: Said) -> Self {
        let words = said.english();
        Self { severity, topic, words, said, channels: vec![], episodes: vec![], fix: None, sure: false }
    }

    pub(super) fn channels(mut self, channels: Vec<String>) -> Self {
        self.channels = channels;
        self
    }

    pub(super) fn episodes(mut self, episodes: Vec<usize>) -> Self {
        self.episodes = episodes;
        self
    }

    pub(super) fn fixed_by(mut self, fix: View, sure: bool) -> Self {
        (self.fix, self.sure) = (Some(fix), sure);
        self
    }
}

/// Everything that was found, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Examination {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Frames of the dataset that were looked at.
    pub frames: usize,
    /// Frames between an action's change and the pictures', where it could be measured: above 0, actions lie too late.
    pub action_lag: Option<i32>,
    /// The same between states and pictures.
    pub state_lag: Option<i32>,
}

impl Examination {
    /// All corrections that are beyond doubt, in one.
    pub fn sure_fix(&self) -> View {
        let sure = self.findings.iter().filter(|finding| finding.sure);
        sure.filter_map(|finding| finding.fix.as_ref()).fold(View::default(), View::and)
    }

    /// The worst severity.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}
