//! Recorded episodes beside their imagined twins: how well the model says where the joints went.

use eframe::egui::{Grid, RichText, Ui, vec2};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::jobs::Kind;
use crate::message::Message;
use crate::theme::tokens;
use crate::widgets::basic::{hint, icon_text_button};

pub(super) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let w = &s.robot;
    let busy = app.jobs.any(|k| *k == Kind::Twins);
    ui.add_enabled_ui(!busy, |ui| {
        if icon_text_button(ui, Icon::Compare, &w.twins).on_hover_text(&w.twins_tip).clicked() {
            app.outbox.send(Message::Twins);
        }
    });
    if busy {
        ui.spinner();
    }
    let Some(twins) = &app.robot_view.twins else { return };
    let number = |v: &serde_json::Value, digits: usize| {
        v.as_f64().map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
    };
    let Some(episodes) = twins["episodes"].as_array() else {
        hint(ui, &w.twins_none);
        return;
    };
    Grid::new("twins").num_columns(4).spacing(vec2(12.0, 3.0)).show(ui, |ui| {
        for head in ["", "r", &w.twins_error, "dB"] {
            ui.label(RichText::new(head).small().color(*tokens(ui).text_faint));
        }
        ui.end_row();
        for e in episodes {
            ui.label(fill(&w.twins_episode, &[("number", &number(&e["episode"], 0))]));
            ui.label(RichText::new(number(&e["r"], 2)).monospace());
            let error = format!("{} / {}", number(&e["error"], 1), number(&e["stay"], 1));
            ui.label(RichText::new(error).monospace());
            ui.label(RichText::new(number(&e["psnr"], 1)).monospace());
            ui.end_row();
        }
    });
    hint(ui, &w.twins_means);
}
