//! Layout and setup of a project's window, in a versioned file of our own, written whole or not at all.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use eframe::egui::Theme;
use serde::{Deserialize, Serialize};

use crate::compare::{CompareDoc, CompareView};
use crate::doc::Setup;
use crate::i18n::Language;
use crate::policy::PolicyDoc;
use crate::screens::Screen;
use crate::train::TrainDoc;

/// The newest `format` of the file that this version reads.
pub const STATE_FORMAT: u32 = 1;

/// How the window looks: kept, but no part of undo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// Language of the window; chosen by the system's locale at the first start.
    pub language: Language,
    /// Dark or light.
    pub theme: Theme,
    /// Width of the inspector in points.
    pub inspector: f32,
    /// Whether the model's card is unfolded.
    pub model_card: bool,
    /// Whether the log is shown.
    pub log: bool,
    /// Channels whose curve is shown.
    pub curves: BTreeSet<String>,
    /// Soft instead of crisp pixels.
    pub smooth: bool,
    /// Size of the window in points.
    pub size: Option<(f32, f32)>,
    /// The screen that is shown.
    pub screen: Screen,
    /// How the Compare screen looks.
    pub compare: CompareView,
}

impl Default for View {
    fn default() -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .iter()
            .find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
        Self {
            language: Language::of_locale(&locale.unwrap_or_default()),
            theme: Theme::Dark,
            inspector: 340.0,
            model_card: false,
            log: false,
            curves: BTreeSet::new(),
            smooth: false,
            size: None,
            screen: Screen::World,
            compare: CompareView::default(),
        }
    }
}

/// All that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the file.
    pub format: u32,
    /// How the window looks.
    #[serde(default)]
    pub view: View,
    /// What is set up.
    #[serde(default)]
    pub setup: Setup,
    /// The panes of the Compare screen.
    #[serde(default)]
    pub compare: CompareDoc,
    /// What is set up on the Train screen.
    #[serde(default)]
    pub train: TrainDoc,
    /// What is set up on the Policy screen.
    #[serde(default)]
    pub policy: PolicyDoc,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: STATE_FORMAT,
            view: View::default(),
            setup: Setup::default(),
            compare: CompareDoc::default(),
            train: TrainDoc::default(),
            policy: PolicyDoc::default(),
        }
    }
}

/// What reading the file came to.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// There is none yet.
    Nothing,
    /// It was read.
    State(Box<State>),
    /// A newer version wrote it: it must not be overwritten.
    Newer,
    /// It cannot be read; it was put aside under this name.
    Broken(String),
}

/// Reads the file. A broken one is put aside, so that nothing is lost and the next start is clean.
pub fn read(path: &Path) -> Found {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
        Err(error) => return Found::Broken(error.to_string()),
    };
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    match serde_json::from_str::<Version>(&text) {
        Ok(version) if version.format > STATE_FORMAT => return Found::Newer,
        _ => {}
    }
    match serde_json::from_str::<State>(&text) {
        Ok(mut state) => {
            state.setup.heal();
            state.compare.heal();
            state.train.heal();
            state.policy.heal();
            state.view.compare.heal();
            state.view.inspector = if state.view.inspector.is_finite() {
                state.view.inspector.clamp(260.0, 640.0)
            } else {
                340.0
            };
            Found::State(Box::new(state))
        }
        Err(error) => {
            let aside = path.with_extension("broken.json");
            match std::fs::rename(path, &aside) {
                Ok(()) => Found::Broken(format!("{error}; kept as {}", aside.display())),
                Err(rename) => Found::Broken(format!("{error}; {rename}")),
            }
        }
    }
}

/// Writes the file: a temporary name in the same folder, synced, then renamed.
///
/// # Errors
/// When the folder cannot be made or written.
pub fn write(path: &Path, state: &State) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, state)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/window.json");
        assert_eq!(read(&path), Found::Nothing);
        let mut state = State::default();
        state.setup.prompt = "把紅色方塊推到左邊".into();
        state.view.curves.insert("gripper.pos".into());
        write(&path, &state).unwrap();
        assert_eq!(read(&path), Found::State(Box::new(state)));
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_file_of_the_first_version_is_read_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("window.json");
        std::fs::write(&path, include_str!("../tests/fixtures/window-1.json")).unwrap();
        let Found::State(state) = read(&path) else { panic!("not read") };
        assert_eq!(state.setup.seed, 42);
        assert_eq!(state.view.language, Language::Chinese);
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("window.json");
        std::fs::write(&path, r#"{"format": 99, "view": "something new"}"#).unwrap();
        assert_eq!(read(&path), Found::Newer);
        assert!(path.exists());
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("window.json");
        for broken in
            ["", "{\"format\": 1, \"setup\": {\"seed\": ", "{\"format\": 1, \"setup\": {\"seed\": \"x\"}}"]
        {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(read(&path), Found::Broken(_)), "{broken}");
            assert!(!path.exists());
            assert_eq!(std::fs::read_to_string(path.with_extension("broken.json")).unwrap(), broken);
        }
    }
}
