//! The sentences of the doctor: which one, and the numbers and names in it. The core says them in English; a window says
//! them in its own language.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident = $english:literal,)*) => {
        /// A sentence of the doctor.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[allow(missing_docs)] // Each says itself what it means.
        pub enum Sentence {
            $($name,)*
            /// One that this version does not know.
            #[default]
            #[serde(other)]
            Other,
        }

        impl Sentence {
            /// All of them.
            pub const ALL: &[Sentence] = &[$(Sentence::$name),*];

            /// In English, with `{name}` where a value stands.
            pub fn english(self) -> &'static str {
                match self {
                    $(Self::$name => $english,)*
                    Self::Other => "",
                }
            }
        }
    };
}

sentences! {
    StatesLate = "States lie {frames} frames too late for the pictures (correlation {found}, {still} as it is).",
    StatesEarly = "States lie {frames} frames too early for the pictures (correlation {found}, {still} as it is).",
    ActionsLate =
        "Actions lie {frames} frames too late: pictures move before the action that moves them \
         (correlation {found}, {still} as it is).",
    FollowsSlowly =
        "Pictures follow their actions only after {frames} frames ({ms} ms): either the robot is that \
         slow, or actions lie too early (correlation {found}, {still} as it is).",
    Follows = "The robot follows its actions after {frames} frames ({ms} ms).",
    NoActionMoves =
        "No action ever changes: nothing can be learnt about what actions do. Record with the robot \
         being driven.",
    StateDead =
        "The state of {channel} stays at {value} although its action moves: its sensor is dead, or it \
         is not connected.",
    NeverMoves = "{channel} never moves: it stays at {value}.",
    ActionStays = "The action {channel} stays at {value} in all episodes.",
    NumbersMissing = "Numbers of {channels} are missing in {n} episodes.",
    CameraFrozen =
        "The camera shows the same picture all the time although the robot moves: it was frozen, or covered.",
    CameraFrozenSome = "In {n} of {all} episodes the camera shows one picture all the time although the robot moves.",
    PicturesTwice =
        "In {n} episodes pictures come twice while the robot moves ({repeated} of {steps} steps \
         looked at): the camera was slower than the recording.",
    FramesMissing = "{gaps} times a frame or more is missing, in {n} episodes.",
    BrightnessJumps =
        "The brightness of the whole picture jumps {jumps} times, in {n} of the episodes looked at: \
         fix the camera's exposure.",
    FewEpisodes = "There are {n} episodes: with fewer than {few} a model mostly learns them by heart.",
    EpisodesTwice = "{n} episodes are there twice ({which}): held-out ones would be judged on what was trained.",
    StandsStill = "The robot stands still {part} % of the time: record more movement, or cut the pauses.",
    Narrow = "{channels} nearly always stay in a tenth of their range: a model knows little about the rest.",
    GripperBare = "The gripper has no unit; its numbers fit percent.",
    NotHundred =
        "The joints are said to be {hundred}, but {joint} reaches from {least} to {most}: these are degrees.",
    BareDegrees = "The joints have no unit; {joint} reaches from {least} to {most}: these are degrees.",
    NotDegrees =
        "The joints are said to be degrees, but stop at exactly 100 ({joint} reaches from {least} to \
         {most}): these look like {hundred}, LeRobot's scale of a calibrated joint.",
    BareHundred =
        "The joints have no unit; they stop at exactly 100 ({joint} reaches from {least} to {most}): \
         this is {hundred}.",
    NotUnitRadians =
        "The joints move too little for their unit ({joint} reaches from {least} to {most}): these \
         look like radians.",
    BareRadians = "The joints have no unit; {joint} reaches from {least} to {most}: these look like radians.",
    BareEither =
        "The joints have no unit, and {joint} reaches from {least} to {most}: degrees or {hundred}. \
         LeRobot wrote {hundred} up to 0.3 and degrees since 0.4; say which.",
    Changes = "Actions go with the change of the state and not with the state: they are changes, not targets.",
    Unread = "{n} episodes cannot be read: {reason}",
}

/// A sentence with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Said {
    /// Which sentence.
    pub sentence: Sentence,
    /// Its values by name.
    pub values: Vec<(String, String)>,
}

impl Said {
    pub(super) fn new(sentence: Sentence, values: &[(&str, &dyn Display)]) -> Self {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        Self { sentence, values }
    }

    /// The sentence in the words of a template, its values filled in.
    pub fn in_words(&self, template: &str) -> String {
        self.values
            .iter()
            .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }

    /// In English.
    pub fn english(&self) -> String {
        self.in_words(self.sentence.english())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sentence_travels_and_one_of_a_newer_version_is_no_error() {
        let said = Said::new(Sentence::StandsStill, &[("part", &40)]);
        assert!(said.english().contains("still 40 % of"), "{}", said.english());
        let text = serde_json::to_string(&said).unwrap();
        assert_eq!(serde_json::from_str::<Said>(&text).unwrap(), said);
        let newer: Said = serde_json::from_str(r#"{ "sentence": "from_tomorrow", "values": [] }"#).unwrap();
        assert_eq!((newer.sentence, newer.english().as_str()), (Sentence::Other, ""));
        assert!(Sentence::ALL.iter().all(|s| !s.english().is_empty()));
    }
}
