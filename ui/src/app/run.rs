//! Opening the window.

use std::path::PathBuf;
use std::sync::Arc;

use eframe::egui::{self, Vec2};

use super::Studio;
use crate::background::DesktopPicker;
use crate::i18n::{fill, strings};
use crate::project::Project;
use crate::state_file::{self, Found, View};
use crate::{fonts, theme};

/// Why the window could not be opened, in one sentence with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no display to open a window on.
    #[error("{0}")]
    NoDisplay(String),
    /// There is a display, but nothing that can draw.
    #[error("{0}")]
    NoDriver(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Opens the window on a project (the untitled one when `None`) and runs it until it is closed.
///
/// # Errors
/// When there is no display or no driver; the text says what is missing.
pub fn run(project: Option<PathBuf>) -> Result<(), StartError> {
    let s = strings(View::default().language);
    display_missing()?;
    if let Some(folder) = project.as_ref().filter(|p| p.exists() && !p.is_dir()) {
        let reason = std::io::Error::from(std::io::ErrorKind::NotADirectory);
        let text = fill(&s.trouble.project_missing, &[("path", &folder.display()), ("reason", &reason)]);
        return Err(StartError::Other(text));
    }
    let project = Project::new(project);
    let size = match state_file::read(&project.window_file()) {
        Found::State(state) => state.view.size,
        _ => None,
    };
    let (width, height) = size.unwrap_or((1400.0, 900.0));
    let size = Vec2::new(width.clamp(720.0, 7680.0), height.clamp(480.0, 4320.0));
    let viewport = egui::ViewportBuilder::default()
        .with_title("Forerun")
        .with_app_id("forerun")
        .with_inner_size(size)
        .with_min_inner_size([720.0, 480.0])
        .with_drag_and_drop(true);
    // Pictures are shown as they are: dithering would change single levels.
    let options = eframe::NativeOptions { viewport, dithering: false, ..Default::default() };
    let result = eframe::run_native(
        "forerun",
        options,
        Box::new(move |cc| {
            fonts::install(&cc.egui_ctx);
            theme::install(&cc.egui_ctx);
            let link = crate::link::child()?;
            Ok(Box::new(Studio::new(
                &cc.egui_ctx,
                link,
                project,
                Arc::new(DesktopPicker),
                cc.wgpu_render_state.clone(),
            )))
        }),
    );
    result.map_err(start_error)
}

/// That there is no display, where that can be told before anything is tried.
pub(crate) fn display_missing() -> Result<(), StartError> {
    let set = |n: &str| std::env::var_os(n).is_some_and(|v| !v.is_empty());
    if cfg!(target_os = "linux") && !["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(set) {
        let s = strings(View::default().language);
        return Err(StartError::NoDisplay(s.trouble.no_display.clone()));
    }
    Ok(())
}

/// Why no window was opened, in one sentence.
pub(crate) fn start_error(error: eframe::Error) -> StartError {
    let s = strings(View::default().language);
    let text = error.to_string();
    match error {
        eframe::Error::WinitEventLoop(_) => StartError::NoDisplay(s.trouble.no_display.clone()),
        eframe::Error::Wgpu(_) => StartError::NoDriver(s.trouble.no_driver.clone()),
        _ => StartError::Other(fill(&s.trouble.no_window, &[("reason", &text)])),
    }
}
