//! Terms of published weights in our own words, and which of them a person has read. The words are no legal advice, and
//! the publisher's text counts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use forerun_models::published::{Licence, PublishedFolder, is_published};

use crate::engine::places::{Places, own_models};
use crate::failure::Failure;
use crate::fsx;

/// The file that remembers, beside the person's own models.
const FILE: &str = ".licences.json";

/// What a person should know before the first use, in English. The window has its own words in both languages.
pub fn notice(licence: Licence) -> &'static str {
    match licence {
        Licence::NvidiaOpenModel => {
            "These weights come under the NVIDIA Open Model License. It allows commercial use and models made from them, \
             and claims nothing of what they make. But it has a guardrail clause: whoever switches off, goes around or \
             weakens a safety measure of the model without putting a comparable one in its place loses the right to use \
             it. NVIDIA's own pipelines check prompts and frames with separate guardrail models. Forerun does not run \
             these guardrail models: no prompt is refused, no face is blurred. Whether your use needs them, and which you \
             put in their place, is yours to decide and to answer for. Read the publisher's text before you use the model."
        }
        Licence::OpenMdw => {
            "These weights come under OpenMDW-1.1, which allows any use as long as its text and notices are passed on. It \
             has no guardrail clause. Forerun runs no guardrail models with it. Read the publisher's text before you use \
             the model."
        }
    }
}

fn file() -> Option<PathBuf> {
    own_models().map(|folder| folder.join(FILE))
}

fn read() -> BTreeSet<String> {
    let read = |file: PathBuf| serde_json::from_slice(&std::fs::read(file).ok()?).ok();
    file().and_then(read).unwrap_or_default()
}

/// Whether a person has read these terms here.
pub fn accepted(licence: Licence) -> bool {
    read().contains(licence.name())
}

/// The notice to show before a published model with a guardrail clause is used for the first time; once it was asked for,
/// it counts as shown.
pub fn first_use(model: &str) -> Option<&'static str> {
    let folder = Places::standard(None).find(model).ok()?;
    let licence = is_published(&folder).then(|| PublishedFolder::open(&folder).ok())??.family.licence();
    if !licence.has_guardrail_clause() || accepted(licence) {
        return None;
    }
    // Where nothing can be noted, the notice is shown every time.
    let _ = accept(licence);
    Some(notice(licence))
}

/// Notes that a person has read these terms.
///
/// # Errors
/// The note cannot be written.
pub fn accept(licence: Licence) -> Result<(), Failure> {
    let file = file().ok_or_else(|| {
        Failure::new("This account has no folder for application data.", "Set HOME, then try again.")
    })?;
    let mut all = read();
    if !all.insert(licence.name().to_owned()) {
        return Ok(());
    }
    let failed = |e: std::io::Error| Failure::io("write", &file, &e);
    std::fs::create_dir_all(fsx::parent_of(&file)).map_err(failed)?;
    let bytes = serde_json::to_vec(&all).unwrap_or_default();
    fsx::write_atomic(&file, &bytes).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_says_what_forerun_does_not_do() {
        let text = notice(Licence::NvidiaOpenModel);
        assert!(text.contains("guardrail clause") && text.contains("does not run"));
        assert!(notice(Licence::OpenMdw).contains("no guardrail clause"));
    }
}
