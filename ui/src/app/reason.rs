//! Asking a reasoner about the selected future.

use std::path::PathBuf;

use forerun::engine::protocol::{JobId, ReasonSpec, Request};
use serde_json::Value;

use super::Studio;
use crate::jobs::Kind;
use crate::verdict::{Ask, Verdict};

impl Studio {
    pub(super) fn ask_reasoner(&mut self, ask: Ask) {
        let Some((folder, seed)) = self.selected_folder() else { return };
        self.sheet = None;
        if let Some(job) = self.verdict.as_ref().and_then(|v| v.job) {
            self.cancel(job);
        }
        let spec = ReasonSpec {
            model: PathBuf::from(ask.reasoner.trim()),
            clip: folder.clone(),
            question: ask.question.trim().to_owned(),
            top_p: None,
            temperature: None,
            seed: 0,
            longest: None,
            storage: Default::default(),
            device: self.setup.get().device.clone(),
        };
        self.ask = ask;
        let job = self.request(Kind::Reason, |job, _| Request::Reason { job, spec });
        self.verdict = Some(Verdict { folder, seed, job: Some(job), ..Verdict::default() });
    }

    /// Takes what a reasoner wrote.
    pub(super) fn reasoned(&mut self, job: JobId, value: &Value) {
        let Some(verdict) = self.verdict.as_mut().filter(|v| v.job == Some(job)) else { return };
        // Characters may come in parts, and a reasoner may write what no text holds.
        let shown = |c: &char| *c == '\n' || !(c.is_control() || *c == char::REPLACEMENT_CHARACTER);
        let text = |key: &str| Some(value.get(key)?.as_str()?.chars().filter(shown).collect::<String>());
        if let Some(so_far) = text("so_far") {
            verdict.reasoning = so_far;
        }
        if let Some(answer) = text("answer") {
            verdict.answer = answer;
            verdict.reasoning = text("reasoning").unwrap_or_default();
        }
    }

    /// The question has ended, in whatever way.
    pub(super) fn reason_ended(&mut self, job: JobId) {
        if let Some(verdict) = self.verdict.as_mut().filter(|v| v.job == Some(job)) {
            verdict.job = None;
            if verdict.answer.is_empty() && verdict.reasoning.is_empty() {
                self.verdict = None;
            }
        }
    }
}
