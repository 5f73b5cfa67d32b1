//! What a reasoner says about a future of the shown run, beside its panes.

use eframe::egui::{Label, RichText, ScrollArea, Ui};

use crate::app::Studio;
use crate::futures::Run;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, tokens};
use crate::widgets::basic::{card, hint, sized_icon_button};

/// Shows the card, where something was said about one of the run's futures.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &Run) {
    let Some(verdict) = app.verdict.clone() else { return };
    if !run.futures.iter().any(|f| f.folder.as_ref() == Some(&verdict.folder)) {
        return;
    }
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let title = fill(&s.ask.said, &[("seed", &verdict.seed)]);
            ui.label(RichText::new(title).text_style(theme::strong()));
            if verdict.job.is_some() {
                hint(ui, &s.ask.thinking);
            }
            ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                if sized_icon_button(ui, Icon::Close, &s.ask.close, true, false, 20.0).clicked() {
                    app.outbox.send(Message::CloseVerdict);
                }
            });
        });
        ScrollArea::vertical().id_salt("verdict").max_height(140.0).show(ui, |ui| {
            let t = tokens(ui);
            if !verdict.answer.is_empty() {
                ui.add(Label::new(RichText::new(&verdict.answer).color(*t.text)).wrap());
            }
            if !verdict.reasoning.is_empty() {
                ui.add(Label::new(RichText::new(&verdict.reasoning).small().color(*t.text_soft)).wrap());
            }
        });
    });
}
