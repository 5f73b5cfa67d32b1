//! Turning text into token ids with the published `tokenizer.json`.

use std::path::Path;

use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use crate::checkpoint::{CheckpointError, read_json};

/// A tokenizer that cannot be used, or text that it cannot take.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// One of the tokenizer's files is missing or not JSON.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// `tokenizer.json` cannot be understood, or fails on a text.
    #[error("{path}: {reason}. Take the tokenizer folder again from where the model came from.")]
    Tokenizer {
        /// The file.
        path: String,
        /// What was found.
        reason: String,
    },
}

/// A special token in `tokenizer_config.json`: its text, or an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Object { content: String },
}

#[derive(Deserialize)]
struct TokenizerFile {
    pad_token: Option<Special>,
    #[serde(default)]
    eos_token: Option<Special>,
}

impl Special {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { content: text } => text,
        }
    }
}

/// One message of a conversation.
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// A published tokenizer. It pads and cuts only as it is told here, not as its file says.
pub struct TextTokenizer {
    tokenizer: Tokenizer,
    pad: u32,
    end: Option<u32>,
    path: String,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` and `tokenizer_config.json` of `folder`.
    ///
    /// # Errors
    /// A file that is missing or damaged, or a padding token that the vocabulary does not have.
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        let file = folder.join("tokenizer.json");
        let path = file.display().to_string();
        let fail = |reason: String| TokenizerError::Tokenizer { path: path.clone(), reason };
        let mut tokenizer = Tokenizer::from_file(&file).map_err(|e| fail(format!("cannot be used ({e})")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        let config: TokenizerFile = read_json(&folder.join("tokenizer_config.json"))?;
        let Some(pad) = config.pad_token.map(Special::text) else {
            return Err(fail("its tokenizer_config.json names no padding token".to_owned()));
        };
        let pad = tokenizer.token_to_id(&pad).ok_or_else(|| fail(format!("has no padding token `{pad}`")))?;
        let end = config.eos_token.and_then(|end| tokenizer.token_to_id(&end.text()));
        Ok(Self { tokenizer, pad, end, path })
    }

    /// The id of the end token.
    ///
    /// # Errors
    /// The tokenizer names none, or does not have the one it names.
    pub fn end(&self) -> Result<u32, TokenizerError> {
        self.end.ok_or_else(|| self.fail("its tokenizer_config.json names no end token that it has"))
    }

    /// An error about this tokenizer.
    pub(crate) fn fail(&self, reason: impl ToString) -> TokenizerError {
        TokenizerError::Tokenizer { path: self.path.clone(), reason: reason.to_string() }
    }

    /// The id of one token, if the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Ids of `text` with the end tokens that the tokenizer adds, cut to `length` so that they stay, and how many.
    /// Rows are then padded to `length`.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn padded(&self, text: &str, length: usize) -> Result<(Vec<u32>, usize), TokenizerError> {
        let mut cutting = self.tokenizer.clone();
        let limit = TruncationParams { max_length: length, ..Default::default() };
        cutting.with_truncation(Some(limit)).map_err(|e| self.fail(e))?;
        let encoded = cutting.encode(text, true).map_err(|e| self.fail(e))?;
        Ok(self.fill(encoded.get_ids().to_vec(), length))
    }

    /// Ids of `text` as it stands, special tokens in it recognised, nothing added.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.tokenizer.encode(text, false).map_err(|e| self.fail(e))?.get_ids().to_vec())
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer refuses the ids.
    pub fn text(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.tokenizer.decode(ids, true).map_err(|e| self.fail(e))
    }

    /// Ids of a conversation in the ChatML layout of the Qwen family, cut and padded to `length`; the number is
    /// that of the ids before padding.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn chat_padded(
        &self,
        messages: &[Message<'_>],
        length: usize,
    ) -> Result<(Vec<u32>, usize), TokenizerError> {
        let mut ids = self.plain(&chat_text(messages, false))?;
        ids.truncate(length);
        Ok(self.fill(ids, length))
    }

    fn fill(&self, mut ids: Vec<u32>, length: usize) -> (Vec<u32>, usize) {
        let used = ids.len();
        ids.resize(length.max(used), self.pad);
        (ids, used)
    }
}

/// A conversation in ChatML: each message between `<|im_start|>` and `<|im_end|>`; with `answer`, the start of the
/// assistant's turn behind it.
pub fn chat_text(messages: &[Message<'_>], answer: bool) -> String {
    let mut text: String =
        messages.iter().map(|m| format!("<|im_start|>{}\n{}<|im_end|>\n", m.role, m.text)).collect();
    if answer {
        text.push_str("<|im_start|>assistant\n");
    }
    text
}
