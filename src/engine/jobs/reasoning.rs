//! Is this future plausible, and why: a published reasoner looks at a clip.

use std::ops::ControlFlow;
use std::path::Path;

use forerun_models::Frame;
use forerun_models::reason::{Judge, JudgeError, Question, Taste};
use serde_json::json;

use crate::engine::device;
use crate::engine::job::{JobContext, JobEnd};
use crate::engine::protocol::{Event, ReasonSpec};
use crate::engine::record::{FutureRecord, locate};
use crate::failure::Failure;
use crate::media;

/// The question that is asked when none was given.
pub const QUESTION: &str = "Does everything in this video obey the laws of physics? Look at it frame by frame, say what \
                            happens, and say whether and where something impossible happens.";
/// Most frames that are looked at; longer clips are thinned out evenly.
const MOST_FRAMES: usize = 32;

/// Asks a reasoner about a future or a clip. The answer comes as a report (`text`, `reasoning`, `answer`), before that
/// what has been written so far, several times a second.
///
/// # Errors
/// The model or the clip cannot be read, memory runs out; cancel.
pub fn reason(context: &JobContext, spec: &ReasonSpec) -> Result<String, JobEnd> {
    context.progress(0, 0, "reading the clip");
    let (frames, fps) = frames(&spec.clip)?;
    context.check()?;
    context.progress(0, 0, "loading the model");
    let device = device::open(&spec.device)?;
    let judge = Judge::open(&spec.model, &device, spec.storage).map_err(explain)?;
    context.check()?;
    let taste = match spec.top_p {
        None => Taste::Greedy,
        Some(top_p) => Taste::TopP { temperature: spec.temperature.unwrap_or(0.6), top_p, seed: spec.seed },
    };
    let asked = if spec.question.trim().is_empty() { QUESTION } else { spec.question.trim() };
    let longest = spec.longest.unwrap_or(1024).clamp(1, 16_384);
    let question = Question { frames: &frames, fps, text: asked, taste, longest };
    let mut told = std::time::Instant::now();
    let mut watch = |tokens: usize, text: &str| {
        context.progress(tokens as u64, longest as u64, "answering");
        if tokens > 0 && told.elapsed().as_millis() > 200 {
            told = std::time::Instant::now();
            let value = json!({ "so_far": text });
            context.send(Event::Report { job: context.job, value }, Vec::new());
        }
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let verdict = match judge.ask(&question, &mut watch) {
        Ok(verdict) => verdict,
        Err(JudgeError::Stopped) => return Err(JobEnd::Cancelled),
        Err(error) => return Err(explain(error).into()),
    };
    let value = json!({
        "question": asked, "text": verdict.text, "reasoning": verdict.reasoning, "answer": verdict.answer,
        "tokens": verdict.tokens, "frames": frames.len(), "seed": spec.seed, "top_p": spec.top_p,
    });
    context.send(Event::Report { job: context.job, value }, Vec::new());
    Ok(verdict.answer)
}

fn explain(error: JudgeError) -> Failure {
    Failure::new(format!("{}.", error.to_string().trim_end_matches('.')), "")
}

/// Frames of a future (its start included) or a clip, thinned out, and their rate.
fn frames(path: &Path) -> Result<(Vec<Frame>, f64), Failure> {
    let (folder, record) = locate(path);
    if record.file_name().is_some_and(|name| name == crate::engine::record::RECORD_FILE) && record.is_file() {
        let record = FutureRecord::read(path)?;
        let start = record.start.frames.last().map(|s| &s.file.file);
        let files: Vec<&String> =
            start.into_iter().chain(record.frames.iter().map(|f| &f.file.file)).collect();
        let places = thinned(files.len());
        let rate = f64::from(record.contract.frame.rate_hz) * places.len() as f64 / files.len().max(1) as f64;
        let read = |i: usize| files.get(i).map(|file| media::read_picture(&folder.join(file)));
        let frames =
            places.into_iter().filter_map(read).collect::<Result<_, _>>().map_err(Failure::from_error)?;
        return Ok((frames, rate));
    }
    let mut clip = media::ClipReader::open(path).map_err(Failure::from_error)?;
    let places = thinned(clip.len());
    let rate = clip.fps() * places.len() as f64 / clip.len().max(1) as f64;
    let frames =
        places.into_iter().map(|i| clip.frame(i)).collect::<Result<_, _>>().map_err(Failure::from_error)?;
    Ok((frames, rate))
}

/// Numbers of at most [`MOST_FRAMES`] frames, evenly spread.
fn thinned(count: usize) -> Vec<usize> {
    let kept = count.min(MOST_FRAMES);
    (0..kept).map(|i| if kept < 2 { 0 } else { i * (count - 1) / (kept - 1) }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn long_clips_are_thinned_from_the_first_to_the_last_frame() {
        assert_eq!(super::thinned(3), [0, 1, 2]);
        let some = super::thinned(1000);
        assert_eq!((some.len(), some[0], some[31]), (32, 0, 999));
        assert!(super::thinned(0).is_empty());
    }
}
