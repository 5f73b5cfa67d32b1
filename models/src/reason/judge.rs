//! A published reasoner with its tokenizer: a clip and a question in, reasoning and an answer out.

use std::ops::ControlFlow;
use std::path::Path;

use candle_core::{DType, Device};

use super::{Patches, ReasonConfig, Reasoner, Taste, answer, look_at};
use crate::checkpoint::{Checkpoint, CheckpointError, read_json};
use crate::common::{Storage, with_storage};
use crate::frame::Frame;
use crate::text::{TextTokenizer, TokenizerError};

/// What the published models are told about the form of their answers.
const SYSTEM: &str = "You are a helpful assistant. Answer the question in the following format: <think>\nyour reasoning\n\
                      </think>\n\n<answer>\nyour answer\n</answer>.";

/// Longest side of a frame that is looked at, in pixels.
const LONGEST: usize = 448;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A file is missing, damaged or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A tensor is missing, or the network failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// It was asked to stop.
    #[error("stopped on request")]
    Stopped,
}

/// What a reasoner said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// Everything, as it was written.
    pub text: String,
    /// What stands between the marks of thinking; empty when it made none.
    pub reasoning: String,
    /// What stands between the marks of the answer; everything when it made none.
    pub answer: String,
    /// Tokens written.
    pub tokens: usize,
}

impl Verdict {
    fn of(text: String, tokens: usize) -> Self {
        let between = |from: &str, to: &str| {
            let rest = text.split_once(from)?.1;
            Some(rest.split_once(to).map_or(rest, |(inside, _)| inside).trim().to_owned())
        };
        let reasoning = between("<think>", "</think>").unwrap_or_default();
        let rest = text.split_once("</think>").map_or(text.as_str(), |(_, rest)| rest).trim();
        let answer = between("<answer>", "</answer>").unwrap_or_else(|| rest.to_owned());
        Self { reasoning, answer, tokens, text }
    }
}

/// The reasoner.
pub struct Judge {
    config: ReasonConfig,
    model: Reasoner,
    tokenizer: TextTokenizer,
    device: Device,
}

/// A question about a clip.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Frames of one size, in order.
    pub frames: &'a [Frame],
    /// Frames a second.
    pub fps: f64,
    /// Words.
    pub text: &'a str,
    /// How tokens are chosen.
    pub taste: Taste,
    /// Most tokens of the answer.
    pub longest: usize,
}

impl Judge {
    /// Reads a publisher's folder (`config.json`, weights, tokenizer).
    ///
    /// # Errors
    /// A file is missing, damaged or does not fit; it is named.
    pub fn open(folder: &Path, device: &Device, storage: Storage) -> Result<Self, JudgeError> {
        let config: ReasonConfig = read_json(&folder.join("config.json"))?;
        let tokenizer = TextTokenizer::open(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let model = with_storage(storage, || Reasoner::new(&config, checkpoint.builder(DType::F32, device)))?;
        checkpoint.finish(&[])?;
        Ok(Self { config, model, tokenizer, device: device.clone() })
    }

    /// Asks. `watch` hears the text so far at every token; `Break` stops.
    ///
    /// # Errors
    /// The frames differ in size, the network fails, or it was stopped.
    pub fn ask(
        &self,
        question: &Question<'_>,
        watch: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Verdict, JudgeError> {
        let clip = look_at(&self.config, question.frames, LONGEST, &self.device)?;
        let merge = self.config.vision_config.spatial_merge_size.max(1);
        let per_frame = (clip.grid.rows / merge) * (clip.grid.columns / merge);
        let mut ids =
            self.tokenizer.plain(&format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"))?;
        let pair = self.config.vision_config.temporal_patch_size.max(1);
        let piece = |ids: &mut Vec<u32>, tokens: usize| -> Result<(), JudgeError> {
            ids.extend(self.tokenizer.plain("<|vision_start|>")?);
            ids.extend(std::iter::repeat_n(self.config.video_token_id, tokens));
            ids.extend(self.tokenizer.plain("<|vision_end|>")?);
            Ok(())
        };
        if self.config.model_type == "qwen3_vl" {
            for group in 0..clip.grid.frames {
                // Each pair of frames is introduced by the time in its middle.
                let middle = (group * pair) as f64 + (pair as f64 - 1.0) / 2.0;
                ids.extend(
                    self.tokenizer.plain(&format!("<{:.1} seconds>", middle / question.fps.max(0.1)))?,
                );
                piece(&mut ids, per_frame)?;
            }
        } else {
            piece(&mut ids, per_frame * clip.grid.frames)?;
        }
        let rest = format!("{}<|im_end|>\n<|im_start|>assistant\n", question.text);
        ids.extend(self.tokenizer.plain(&rest)?);
        let grids = [clip.grid];
        let patches = Patches { values: &clip.values, grids: &grids };
        if watch(0, "").is_break() {
            return Err(JudgeError::Stopped);
        }
        let mut answering = self.model.begin(&ids, None, Some(patches))?;
        let ends: Vec<u32> =
            ["<|im_end|>", "<|endoftext|>"].iter().filter_map(|end| self.tokenizer.id(end)).collect();
        let mut so_far = Vec::new();
        let mut stopped = false;
        let written = answer(&mut answering, question.taste, question.longest, &ends, &mut |token| {
            so_far.push(token);
            let text = self.tokenizer.text(&so_far).unwrap_or_default();
            let flow = watch(so_far.len(), &text);
            stopped |= flow.is_break();
            flow
        })?;
        if stopped {
            return Err(JudgeError::Stopped);
        }
        Ok(Verdict::of(self.tokenizer.text(&written)?, written.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_and_answer_are_told_apart() {
        let full = Verdict::of("<think>\nthe cup\n</think>\n\n<answer>\nno\n</answer>".into(), 9);
        assert_eq!((full.reasoning.as_str(), full.answer.as_str()), ("the cup", "no"));
        let cut = Verdict::of("<think>\nit goes on".into(), 3);
        assert_eq!((cut.reasoning.as_str(), cut.answer.as_str()), ("it goes on", "<think>\nit goes on"));
        let bare = Verdict::of("yes".into(), 1);
        assert_eq!((bare.reasoning.as_str(), bare.answer.as_str()), ("", "yes"));
    }
}
