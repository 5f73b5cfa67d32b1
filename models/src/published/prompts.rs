//! Prompts as the networks read them: projected once, and kept where the caller keeps them.
//!
//! What Cosmos-Reason1 makes of a prompt are 512 x 100352 numbers, 206 MB; behind the projection of the transformer (and
//! of a control branch) they are 512 x 1024 each. Those are kept.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use super::PublishedError;
use super::parts::{Engine, PROMPT_TOKENS, Published, Words};
use super::settings::ClipSettings;
use crate::cosmos::pipeline::Prompts;

impl Published {
    /// The words as the networks of `engine` read them; the larger embeddings are forgotten. New ones are kept.
    pub(super) fn projected(&self, words: Words, engine: &Engine) -> Result<Words, PublishedError> {
        let raw = match &words {
            Words::Embedded(prompts) => match prompts.as_slice() {
                [raw] if !raw.projected => raw,
                _ => return Ok(words),
            },
            Words::Read { .. } => return Ok(words),
        };
        let projected = |project: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>| {
            candle_core::Result::Ok(Prompts {
                positive: project(&raw.positive)?,
                negative: raw.negative.as_ref().map(project).transpose()?,
                projected: true,
            })
        };
        let all = match engine {
            // No projection: the embeddings themselves, in the numbers that the network computes with.
            Engine::Predict1(model) => vec![projected(&|text| model.dit.project_text(text))?],
            Engine::Transfer1(model) => vec![projected(&|text| model.dit.project_text(text))?],
            Engine::Predict2(model) => vec![projected(&|text| model.dit.project_text(text))?],
            Engine::Predict25(model) => vec![projected(&|text| model.dit.project_text(text))?],
            Engine::Transfer25(model) => vec![
                projected(&|text| model.dit.project_text(text))?,
                projected(&|text| model.control.project_text(text))?,
            ],
            Engine::Cosmos3(_) => return Ok(words),
        };
        let words = Words::Embedded(all);
        self.keep(&words);
        Ok(words)
    }

    /// Keeps projected words in memory and, if they came from the text encoder, in the store.
    fn keep(&self, words: &Words) {
        let mut kept = self.kept();
        let settings = kept.key.clone();
        let Some((key, known)) = &mut kept.words else { return };
        *known = words.clone();
        let (prompt, negative) = key.clone();
        drop(kept);
        let (Some(store), Words::Embedded(all), Some(settings)) = (&self.store, words, settings) else {
            return;
        };
        let put = |text: &str, tensors: Vec<&Tensor>| {
            let Some(name) = self.stored_name(&settings, text) else { return };
            let named = tensors.into_iter().enumerate().map(|(i, tensor)| (i.to_string(), tensor));
            // A prompt that cannot be kept is read again next time.
            if let Ok(bytes) = safetensors::serialize(named, None) {
                store.put(&name, &bytes);
            }
        };
        put(&prompt, all.iter().map(|prompts| &prompts.positive).collect());
        let negatives: Vec<&Tensor> = all.iter().filter_map(|prompts| prompts.negative.as_ref()).collect();
        if let (Some(negative), false) = (&negative, negatives.is_empty()) {
            put(negative, negatives);
        }
    }

    /// Words that are kept, if all of them are.
    pub(super) fn stored(
        &self,
        settings: &ClipSettings,
        prompt: &str,
        negative: Option<&str>,
    ) -> Option<Words> {
        let store = self.store.as_ref()?;
        let key = super::parts::Key::of(settings, false);
        let read = |text: &str| -> Option<Vec<Tensor>> {
            let bytes = store.get(&self.stored_name(&key, text)?)?;
            let tensors: HashMap<String, Tensor> =
                candle_core::safetensors::load_buffer(&bytes, &self.device).ok()?;
            let all = (0..tensors.len()).map(|i| tensors.get(&i.to_string()).cloned());
            let all = all.collect::<Option<Vec<_>>>()?;
            let fits =
                |tensor: &Tensor| tensor.dims3().is_ok_and(|(one, n, _)| (one, n) == (1, PROMPT_TOKENS));
            (all.len() == self.folder.readers() && all.iter().all(fits)).then_some(all)
        };
        let positive = read(prompt)?;
        let negative = match negative {
            None => None,
            Some(text) => Some(read(text)?),
        };
        let all = positive.into_iter().enumerate().map(|(i, positive)| Prompts {
            positive,
            negative: negative.as_ref().and_then(|all| all.get(i).cloned()),
            projected: true,
        });
        Some(Words::Embedded(all.collect()))
    }

    /// What decides a projected prompt: the model's files, how they are kept in memory, the device, and the text. None
    /// where an adapter may have changed the projection, and for models whose files have not been hashed.
    fn stored_name(&self, key: &super::parts::Key, text: &str) -> Option<String> {
        if self.sha256.is_empty() || !key.adapters.is_empty() {
            return None;
        }
        let dtype = if key.memory.numbers == Some(super::Numbers::Bf16) { DType::BF16 } else { DType::F32 };
        let storage = key.memory.linear.unwrap_or_default();
        let place = self.device.location();
        let version = env!("CARGO_PKG_VERSION");
        Some(format!("{version} {} {dtype:?} {storage:?} {place:?} {PROMPT_TOKENS} {text}", self.sha256))
    }
}
