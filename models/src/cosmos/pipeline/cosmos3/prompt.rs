//! Prompts of Cosmos 3: sentences about length and size behind the text, or a JSON caption for action runs.

use super::super::prompt::PromptError;
use crate::text::tokenizer::{Message, TextTokenizer, TokenizerError, chat_text};

/// What the published networks were told before a prompt (spelling included).
const SYSTEM_PICTURE: &str = "You are a helpful assistant who will generate images from a give prompt.";
const SYSTEM_CLIP: &str = "You are a helpful assistant who will generate videos from a give prompt.";

/// Token behind which the generated tokens begin.
const START_OF_GENERATION: &str = "<|vision_start|>";

/// What a prompt says about the clip.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Frames.
    pub frames: usize,
    /// Frames per second.
    pub fps: f64,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// Where the camera of an action run looks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewPoint {
    /// Through the eyes of the actor.
    Ego,
    /// At the actor from the front.
    ThirdPerson,
    /// From the wrist.
    Wrist,
    /// Several views side by side.
    Concat,
}

impl ViewPoint {
    /// From its published name.
    pub fn find(name: &str) -> Option<Self> {
        match name {
            "ego_view" => Some(Self::Ego),
            "third_person_view" => Some(Self::ThirdPerson),
            "wrist_view" => Some(Self::Wrist),
            "concat_view" => Some(Self::Concat),
            _ => None,
        }
    }

    /// The sentence that the networks were trained with.
    fn sentence(self) -> &'static str {
        match self {
            Self::Ego => "This video is captured from a first-person perspective looking at the scene.",
            Self::ThirdPerson => {
                "This video is captured from a third-person perspective looking towards the agent from the front."
            }
            Self::Wrist => "This video is captured from a wrist-mounted camera.",
            Self::Concat => "This video contains concatenated views from multiple camera perspectives.",
        }
    }
}

/// A prompt with sentences about length and size; the negative prompt gets their denials.
pub fn described(text: &str, facts: Facts, negative: bool) -> String {
    let not = if negative { " not" } else { "" };
    let picture = facts.frames == 1;
    let mut text = text.to_owned();
    if !picture {
        let seconds = facts.frames as f64 / facts.fps;
        let sentence =
            format!("The video is{not} {seconds:.1} seconds long and is{not} of {:.0} FPS.", facts.fps);
        text = append(&text, &sentence);
    }
    let kind = if picture { "image" } else { "video" };
    append(&text, &format!("This {kind} is{not} of {}x{} resolution.", facts.height, facts.width))
}

fn append(base: &str, addition: &str) -> String {
    let base = base.trim_end_matches('.');
    if base.is_empty() { addition.to_owned() } else { format!("{base}. {addition}") }
}

/// The caption of an action run, laid out as Python's `json.dumps` lays it out.
pub fn action_caption(text: &str, view: Option<ViewPoint>, facts: Facts) -> String {
    let seconds = if facts.fps > 0.0 { facts.frames as f64 / facts.fps } else { 0.0 };
    let end = seconds.round_ties_even() as u64;
    let mut text = text.trim().to_owned();
    if !text.is_empty() && !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    let ratio = if facts.height > 0 { facts.width as f64 / facts.height as f64 } else { 1.0 };
    let shapes =
        [("1,1", 1.0), ("4,3", 4.0 / 3.0), ("3,4", 3.0 / 4.0), ("16,9", 16.0 / 9.0), ("9,16", 9.0 / 16.0)];
    let nearest = shapes
        .iter()
        .min_by(|a, b| (a.1 - ratio).abs().total_cmp(&(b.1 - ratio).abs()))
        .map_or("1,1", |s| s.0);
    let camera = match view {
        Some(view) => format!("\"cinematography\": {{\"framing\": {}}}, ", quoted(view.sentence())),
        None => String::new(),
    };
    format!(
        "{{{camera}\"actions\": [{{\"time\": \"0:00-{}:{:02}\", \"description\": {}}}], \"duration\": \"{}s\", \
         \"fps\": {:?}, \"resolution\": {{\"H\": {}, \"W\": {}}}, \"aspect_ratio\": \"{nearest}\"}}",
        end / 60,
        end % 60,
        quoted(&text),
        seconds as u64,
        facts.fps,
        facts.height,
        facts.width,
    )
}

/// A JSON string in ASCII, as Python writes it: everything else becomes `\uXXXX` (in UTF-16 units).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

/// Token ids of a finished text: the conversation, an end token and the start of what is generated.
///
/// # Errors
/// The tokenizer fails, or does not have the special tokens of Cosmos 3.
pub fn ids(
    tokenizer: &TextTokenizer,
    text: &str,
    system: bool,
    picture: bool,
) -> Result<Vec<u32>, PromptError> {
    let mut messages = Vec::new();
    if system {
        messages.push(Message { role: "system", text: if picture { SYSTEM_PICTURE } else { SYSTEM_CLIP } });
    }
    messages.push(Message { role: "user", text });
    let mut ids = tokenizer.plain(&chat_text(&messages, true))?;
    ids.push(tokenizer.end()?);
    ids.push(tokenizer.id(START_OF_GENERATION).ok_or_else(|| -> TokenizerError {
        tokenizer.fail(format!("has no token `{START_OF_GENERATION}`"))
    })?);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts { frames: 9, fps: 5.0, height: 192, width: 320 };

    #[test]
    fn captions_are_written_as_python_writes_them() {
        assert_eq!(
            action_caption(" push it ", Some(ViewPoint::Wrist), FACTS),
            "{\"cinematography\": {\"framing\": \"This video is captured from a wrist-mounted camera.\"}, \"actions\": \
             [{\"time\": \"0:00-0:02\", \"description\": \"push it.\"}], \"duration\": \"1s\", \"fps\": 5.0, \
             \"resolution\": {\"H\": 192, \"W\": 320}, \"aspect_ratio\": \"16,9\"}"
        );
    }

    #[test]
    fn chinese_is_escaped_and_quotes_too() {
        assert_eq!(quoted("推 \"a\""), "\"\\u63a8 \\\"a\\\"\"");
        assert_eq!(quoted("🤖"), "\"\\ud83e\\udd16\"");
    }

    #[test]
    fn negative_prompts_deny_length_and_size() {
        assert_eq!(
            described("blur...", FACTS, true),
            "blur. The video is not 1.8 seconds long and is not of 5 FPS. This video is not of 192x320 resolution."
        );
        let picture = Facts { frames: 1, ..FACTS };
        assert_eq!(described("", picture, false), "This image is of 192x320 resolution.");
    }
}
