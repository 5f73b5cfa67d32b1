//! The Models screen: what is here, what there is elsewhere, and what each takes, gives, costs and demands.

mod detail;

pub use detail::terms_text;

use eframe::egui::{
    CentralPanel, Frame, Margin, Panel, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, vec2,
};
use forerun::hub::PUBLIC_HUB;

use crate::app::Studio;
use crate::i18n::Strings;
use crate::icons::Icon;
use crate::message::Message;
use crate::shelf::{Wish, not_here};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{divider, focus_ring, hint, icon_text_button, section};

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    let s = app.strings();
    let widest = (ui.available_width() - 320.0).clamp(240.0, 420.0);
    Panel::left("shelf")
        .default_size(320.0_f32.min(widest))
        .size_range(220.0..=widest)
        .frame(Frame::new().fill(*t.panel).inner_margin(Margin::symmetric(12, 12)))
        .show(ui, |ui| {
            ScrollArea::vertical().auto_shrink(false).show(ui, |ui| list(app, ui, s));
        });
    let frame = Frame::new().fill(*t.base).inner_margin(Margin::symmetric(20, 16));
    CentralPanel::no_frame().frame(frame).show(ui, |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| detail::show(app, ui, s));
    });
}

fn list(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let selected = app.shelf.selected.clone().or_else(|| app.model().map(|m| m.name.clone()));
    section(ui, &s.shelf.here, |ui| {
        if icon_text_button(ui, Icon::Folder, &s.shelf.import).clicked() {
            app.outbox.send(Message::Models(Wish::Import));
        }
    });
    let here: Vec<(String, String)> = app
        .models
        .iter()
        .flatten()
        .map(|m| (m.name.clone(), format!("{} × {}", m.contract.frame.width, m.contract.frame.height)))
        .collect();
    if here.is_empty() {
        hint(ui, &s.model.none);
    }
    for (name, size) in &here {
        if row(ui, name, size, selected.as_ref() == Some(name)) {
            app.outbox.send(Message::Models(Wish::Select(name.clone())));
        }
    }
    divider(ui);
    section(ui, &s.shelf.published, |_| ());
    let entries: Vec<_> = not_here(|name| here.iter().any(|(n, _)| n == name)).collect();
    for entry in entries {
        let size = format!("{:.0} GB", entry.gigabytes);
        if row(ui, entry.name, &size, selected.as_deref() == Some(entry.name)) {
            app.outbox.send(Message::Models(Wish::Select(entry.name.to_owned())));
        }
    }
    divider(ui);
    section(ui, &s.shelf.hub, |_| ());
    let (endpoint, token) = (app.shelf.endpoint.clone(), app.shelf.token.clone());
    if let Some(text) = field(ui, "hub address", &s.shelf.endpoint, PUBLIC_HUB, &endpoint, false) {
        app.outbox.send(Message::Models(Wish::Endpoint(text)));
    }
    if let Some(text) = field(ui, "hub token", &s.shelf.token, &s.shelf.token_hint, &token, true) {
        app.outbox.send(Message::Models(Wish::Token(text)));
    }
    hint(ui, &s.shelf.network);
}

/// A model in the list.
fn row(ui: &mut Ui, name: &str, right: &str, selected: bool) -> bool {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, name));
    let fill = match (selected, response.hovered()) {
        (true, _) => *t.accent_soft,
        (false, true) => *t.control,
        (false, false) => eframe::egui::Color32::TRANSPARENT,
    };
    ui.painter().rect_filled(rect, theme::RADIUS, fill);
    focus_ring(ui, rect, &response);
    let inner = rect.shrink2(vec2(space::S, 0.0));
    ui.scope_builder(
        eframe::egui::UiBuilder::new()
            .max_rect(inner)
            .layout(eframe::egui::Layout::left_to_right(eframe::egui::Align::Center)),
        |ui| {
            ui.add(eframe::egui::Label::new(RichText::new(name).color(*t.text)).selectable(false).truncate());
            ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                ui.add(
                    eframe::egui::Label::new(RichText::new(right).small().color(*t.text_faint))
                        .selectable(false),
                )
            });
        },
    );
    response.clicked()
}

/// A field with a name; what was typed, if anything was.
fn field(ui: &mut Ui, id: &str, name: &str, example: &str, value: &str, secret: bool) -> Option<String> {
    let mut text = value.to_owned();
    let response = ui.add(
        TextEdit::singleline(&mut text)
            .id_salt(id)
            .hint_text(example)
            .password(secret)
            .desired_width(f32::INFINITY),
    );
    response.widget_info(|| {
        // A secret is not read aloud either.
        let shown = if secret { "" } else { text.as_str() };
        let mut info = WidgetInfo::text_edit(true, shown, shown, example);
        info.label = Some(name.to_owned());
        info
    });
    response.changed().then_some(text)
}
