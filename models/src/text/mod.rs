//! Text encoders of the published models and their tokenizers.

pub mod qwen;
pub mod t5;
pub mod tokenizer;

pub use qwen::{QwenConfig, QwenText};
pub use t5::{T5Config, T5Encoder};
pub use tokenizer::{TextTokenizer, TokenizerError};
