//! One large view: of the pair or of the whole set, with all panes small beside it.

use eframe::egui::{Align, Label, Layout, Rect, RichText, ScrollArea, Ui, UiBuilder, pos2, vec2};

use super::pane::{self, Shape};
use crate::app::Studio;
use crate::commands::Command;
use crate::compare::{CompareDoc, Look};
use crate::icons::Icon;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{icon_text_button, tip};

/// Width of the column of small panes.
const COLUMN: f32 = 132.0;

/// Nothing to compare yet: what to do.
pub fn empty(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let t = tokens(ui);
    let area = ui.available_rect_before_wrap();
    let size = vec2(460.0_f32.min(area.width()), 150.0);
    let rect = Rect::from_center_size(area.center() - vec2(0.0, 20.0), size);
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.label(RichText::new(&s.compare.empty_title).text_style(theme::title()));
        ui.add(Label::new(RichText::new(&s.compare.empty_text).color(*t.text_soft)).wrap());
        ui.add_space(space::S);
        ui.horizontal_wrapped(|ui| {
            let response = icon_text_button(ui, Icon::World, &s.compare.go_world);
            if tip(ui, response, s, Command::ShowWorld).clicked() {
                app.outbox.command(Command::ShowWorld);
            }
            if app.runs.shown().is_some_and(|r| !r.sources().is_empty()) {
                let response = icon_text_button(ui, Icon::Compare, &s.commands.compare_run.name);
                if tip(ui, response, s, Command::CompareRun).clicked() {
                    app.outbox.command(Command::CompareRun);
                }
            }
        });
    });
    ui.advance_cursor_after_rect(area);
}

/// Shows a view of the pair or of the set.
pub fn show(app: &mut Studio, ui: &mut Ui, doc: &CompareDoc, _look: Look) {
    let area = ui.available_rect_before_wrap().shrink2(vec2(2.0, 4.0));
    let column = Rect::from_min_max(pos2(area.right() - COLUMN, area.top()), area.max);
    ui.scope_builder(UiBuilder::new().max_rect(column).layout(Layout::top_down(Align::LEFT)), |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let aspect = super::grid::aspect(app, doc);
            let width = ui.available_width() - 10.0;
            for (place, doc_pane) in doc.panes.iter().enumerate() {
                let (cell, _) =
                    ui.allocate_exact_size(vec2(width, width / aspect + 24.0), eframe::egui::Sense::hover());
                let cell = cell.translate(vec2(3.0, 3.0));
                if ui.is_rect_visible(cell) {
                    pane::show(
                        app,
                        ui,
                        doc,
                        doc_pane,
                        &Shape { place, cell, caption: 24.0, small: true, wheel: false },
                    );
                }
            }
        });
    });
    ui.advance_cursor_after_rect(area);
}
