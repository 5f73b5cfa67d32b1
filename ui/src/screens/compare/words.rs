//! What stands under a pane: its name, what it was made with, and in what it differs from the pane on its left.

use crate::app::Studio;
use crate::compare::{CompareDoc, PaneDoc, Source};
use crate::futures::Run;
use crate::i18n::{Strings, fill};

/// What a future was made with.
pub struct Facts {
    /// First letters of the model's hash.
    pub hash: String,
    /// Denoising steps a frame.
    pub refine: usize,
}

/// What a pane is called.
pub fn name(app: &Studio, s: &Strings, pane: &PaneDoc) -> String {
    match &pane.source {
        Source::Future { seed, .. } => {
            let seed = app.runs.find(&pane.source).map_or(*seed, |(_, f)| f.seed);
            fill(&s.world.caption_seed, &[("seed", &seed)])
        }
        Source::Truth { dataset, episode, .. } => {
            let set = dataset.file_name().unwrap_or(dataset.as_os_str()).to_string_lossy();
            fill(&s.compare.truth_of, &[("episode", episode), ("name", &set)])
        }
    }
}

/// What the future of a pane was made with.
pub fn facts(app: &Studio, pane: &PaneDoc) -> Option<Facts> {
    let (run, _) = app.runs.find(&pane.source).filter(|_| matches!(pane.source, Source::Future { .. }))?;
    (!run.model_hash.is_empty()).then(|| Facts { hash: run.model_hash.clone(), refine: run.spec.refine })
}

/// The second line under a pane: what drives it, or what it changes against its left neighbour.
pub fn under(app: &Studio, s: &Strings, doc: &CompareDoc, place: usize) -> String {
    let Some(pane) = doc.panes.get(place) else { return String::new() };
    if matches!(pane.source, Source::Truth { .. }) {
        return s.compare.truth.clone();
    }
    let Some((run, future)) = app.runs.find(&pane.source) else { return String::new() };
    let left = place.checked_sub(1).and_then(|i| doc.panes.get(i));
    let left = left.filter(|l| matches!(l.source, Source::Future { .. }));
    let left = left.and_then(|l| app.runs.find(&l.source));
    let Some((other, before)) = left else { return driven_by(s, run) };
    let _ = (before, future);
    if other.spec.prompt != run.spec.prompt { driven_by(s, run) } else { String::new() }
}

/// What drives a future, in a few words.
fn driven_by(s: &Strings, run: &Run) -> String {
    use forerun::engine::protocol::Actions;
    if !run.spec.prompt.is_empty() {
        return format!("“{}”", run.spec.prompt);
    }
    match run.spec.actions {
        Actions::Free => s.world.mode_free.clone(),
        Actions::Episode { .. } => s.numbers.recorded.clone(),
        _ => s.numbers.numbers.clone(),
    }
}
