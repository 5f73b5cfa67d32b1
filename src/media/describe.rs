//! What a picture or clip is and whether it is sound, for `forerun inspect`.

use std::path::Path;

use serde::Serialize;

use super::{ClipReader, Kind, Result, read_picture, sniff_file};

/// A picture or clip in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// `picture` or `clip`.
    pub kind: &'static str,
    /// `PNG picture`, `H.264`, ...
    pub format: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 for a picture.
    pub frames: usize,
    /// Frames a second of a clip.
    pub fps: Option<f64>,
    /// Length of a clip.
    pub seconds: Option<f64>,
    /// Frames from which decoding can start.
    pub key_frames: usize,
    /// Whether there is sound (which is ignored).
    pub has_audio: bool,
    /// Everything that was decoded for this report was in order.
    pub sound: bool,
    /// Faults, in words.
    pub problems: Vec<String>,
}

/// Looks at a picture or clip and decodes it (of a clip every frame, up to 1,000 spread over it).
///
/// # Errors
/// When it is no picture or clip, or cannot be opened at all; damage further in is listed in `problems`.
pub fn describe(path: &Path) -> Result<Description> {
    let kind = sniff_file(path)?;
    if kind.is_picture() && kind != Kind::Gif {
        let frame = read_picture(path)?;
        return Ok(Description {
            kind: "picture",
            format: kind.words().trim_start_matches("a ").to_owned(),
            width: frame.width,
            height: frame.height,
            frames: 1,
            fps: None,
            seconds: None,
            key_frames: 1,
            has_audio: false,
            sound: true,
            problems: Vec::new(),
        });
    }
    let mut clip = ClipReader::open(path)?;
    let (len, (width, height)) = (clip.len(), clip.size());
    let mut problems = Vec::new();
    let step = len.div_ceil(1000).max(1);
    for i in (0..len).step_by(step) {
        match clip.frame(i) {
            Ok(frame) if (frame.width, frame.height) != (width, height) && problems.len() < 10 => {
                problems.push(format!("frame {i} is {} x {}", frame.width, frame.height));
            }
            Err(e) if problems.len() < 10 => problems.push(format!("frame {i}: {e}")),
            _ => {}
        }
    }
    Ok(Description {
        kind: if len == 1 && kind == Kind::Gif { "picture" } else { "clip" },
        format: clip.codec().to_owned(),
        width,
        height,
        frames: len,
        fps: Some(clip.fps()),
        seconds: Some(len as f64 / clip.fps()),
        key_frames: clip.keys(),
        has_audio: clip.has_audio(),
        sound: problems.is_empty(),
        problems,
    })
}
