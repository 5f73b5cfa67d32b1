//! The World screen: a start, words and numbers on the left; futures side by side in the middle; one transport below.

mod channels;
mod clip;
mod inspector;
mod model_card;
mod stage;
mod start_section;
mod verdict;

use eframe::egui::{CentralPanel, Frame, Margin, Panel, Stroke, Ui, vec2};

use crate::app::Studio;
use crate::shell::transport_bar;
use crate::theme::tokens;

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    // A narrow window keeps room for the pictures: the inspector gives way first.
    let widest = (ui.available_width() - 320.0).clamp(260.0, 560.0);
    let frame = Frame::new().fill(*t.panel).inner_margin(Margin::ZERO);
    let panel = Panel::left("inspector")
        .default_size(app.view.inspector.min(widest))
        .size_range(260.0..=widest)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            let edge = ui.max_rect();
            ui.painter().vline(edge.right() - 0.5, edge.y_range(), Stroke::new(1.0, *tokens(ui).line));
            inspector::show(app, ui);
        });
    app.view.inspector = panel.response.rect.width();
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        transport_bar::show(app, ui);
        CentralPanel::no_frame().show(ui, |ui| stage::show(app, ui));
    });
}
