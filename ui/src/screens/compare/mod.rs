//! The Compare screen: many futures on one time base, looked at side by side, in pairs, and as a set.

mod blind;
mod gallery;
mod grid;
mod header;
mod large;
mod pane;
mod strips;
mod sweep;
mod tree;
pub mod words;

use eframe::egui::{CentralPanel, Frame, Margin, Ui, vec2};

use crate::app::Studio;
use crate::compare::Part;
use crate::shell::transport_bar;
use crate::theme::tokens;
use crate::widgets::pane::Slot;

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        if matches!(app.view.compare.part, Part::Panes | Part::Sweep) {
            transport_bar::show(app, ui);
        }
        if app.view.compare.part == Part::Panes && app.compare.blind.is_none() {
            strips::show(app, ui);
        }
        CentralPanel::no_frame().show(ui, |ui| {
            Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 8 }).show(ui, |ui| {
                header::show(app, ui);
                match app.view.compare.part {
                    Part::Panes => panes(app, ui),
                    Part::Tree => tree::show(app, ui),
                    Part::Sweep => sweep::show(app, ui),
                    Part::Gallery => gallery::show(app, ui),
                }
            });
        });
    });
}

fn panes(app: &mut Studio, ui: &mut Ui) {
    let doc = app.compare.doc.get().clone();
    app.textures.retain(|slot| match slot {
        Slot::Compare(id, _) => doc.pane(*id).is_some(),
        _ => true,
    });
    if let Some(round) = app.compare.blind.clone() {
        return blind::show(app, ui, &round);
    }
    if doc.panes.is_empty() {
        return large::empty(app, ui);
    }
    let look = app.view.compare.look;
    if look.of_pair() || look.of_set() { large::show(app, ui, &doc, look) } else { grid::show(app, ui, &doc) }
}
