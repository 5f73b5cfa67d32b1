//! Prompts to embeddings, as the pipelines of each generation make them.

use candle_core::{Device, Tensor};

use crate::text::tokenizer::Message;
use crate::text::{QwenText, T5Encoder, TextTokenizer, TokenizerError};

/// What the text encoder of Predict2.5 is told before the prompt.
const SYSTEM: &str = "You are a helpful assistant who will provide prompts to an image generator.";

/// A prompt that could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The encoder failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Token ids and their embeddings.
pub struct EncodedPrompt {
    /// Ids with padding.
    pub ids: Vec<u32>,
    /// [1, ids, width]
    pub embeds: Tensor,
}

/// Predict1 and Predict2: T5, padded to `length`, embeddings of padding set to zero.
///
/// # Errors
/// Tokenizer or encoder failed.
pub fn t5(
    tokenizer: &TextTokenizer,
    encoder: &T5Encoder,
    text: &str,
    length: usize,
    device: &Device,
) -> Result<EncodedPrompt, PromptError> {
    let (ids, used) = tokenizer.padded(text, length)?;
    let mask: Vec<u32> = (0..ids.len()).map(|i| u32::from(i < used)).collect();
    let ids_tensor = Tensor::from_slice(&ids, (1, ids.len()), device)?;
    let mask = Tensor::from_vec(mask, (1, ids.len()), device)?;
    Ok(EncodedPrompt { embeds: encoder.prompt_embeds(&ids_tensor, &mask)?, ids })
}

/// Predict2.5 and Transfer2.5: a conversation with Cosmos-Reason1, padded to `length`; padding is read as text.
///
/// # Errors
/// Tokenizer or encoder failed.
pub fn reason1(
    tokenizer: &TextTokenizer,
    encoder: &QwenText,
    text: &str,
    length: usize,
    device: &Device,
) -> Result<EncodedPrompt, PromptError> {
    let messages = [Message { role: "system", text: SYSTEM }, Message { role: "user", text }];
    let (ids, _) = tokenizer.chat_padded(&messages, length)?;
    let ids_tensor = Tensor::from_slice(&ids, (1, ids.len()), device)?;
    Ok(EncodedPrompt { embeds: encoder.prompt_embeds(&ids_tensor)?, ids })
}
