//! The Train screen: what to learn from on the left, the run as it goes on in the middle.

mod course;
mod panes;
mod setup;
mod table;

use eframe::egui::{CentralPanel, Frame, Margin, ScrollArea, Ui, vec2};

use crate::app::Studio;
use crate::icons::Icon;
use crate::shell::transport_bar;
use crate::theme::{space, tokens};
use crate::widgets::panels::{empty, side};

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    let s = app.strings();
    side(ui, "training", false, 320.0, |ui| setup::show(app, ui));
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        let Some(run) = app.training.shown().cloned() else {
            empty(ui, Icon::Train, &s.train.empty_title, &s.train.empty_text, |_| ());
            return;
        };
        if run.shown().is_some() {
            transport_bar::show(app, ui);
        }
        CentralPanel::no_frame().show(ui, |ui| {
            ScrollArea::vertical().id_salt("run").auto_shrink(false).show(ui, |ui| {
                Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 16 }).show(
                    ui,
                    |ui| {
                        course::head(app, ui, s, &run);
                        course::tiles(ui, s, &run);
                        ui.add_space(space::XS);
                        panes::show(app, ui, s, &run);
                        course::plots(ui, s, &run);
                        table::show(app, ui, s, &run);
                    },
                );
            });
        });
    });
}
