//! The contract of the chosen model in words.

use eframe::egui::{ComboBox, Label, RichText, Role, Sense, Ui, Vec2, WidgetInfo};
use forerun::engine::protocol::ModelInfo;

use crate::app::Studio;
use crate::commands::Command;
use crate::doc::Edit;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, hint, sized_icon_button, tip};

/// Shows the card: folded it names the model, unfolded it says what the model takes, gives and knows.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let Some(info) = app.model().cloned() else {
        card(ui, |ui| {
            ui.set_width(ui.available_width());
            let looking = app.models.is_none();
            ui.label(
                RichText::new(if looking { &s.model.looking } else { &s.model.none })
                    .text_style(theme::strong()),
            );
            if !looking {
                hint(ui, &s.model.none_text);
            }
        });
        return;
    };
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = space::XS;
        ui.horizontal(|ui| {
            let (icon, _) = ui.allocate_exact_size(Vec2::splat(22.0), Sense::hover());
            Icon::Model.paint(ui.painter(), icon, *t.accent);
            name(app, ui, s, &info);
            ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                let icon = if app.view.model_card { Icon::ChevronDown } else { Icon::ChevronRight };
                let response = sized_icon_button(ui, icon, &s.commands.show_model.name, true, false, 24.0);
                if tip(ui, response, s, Command::ShowModel).clicked() {
                    app.outbox.command(Command::ShowModel);
                }
            });
        });
        let frame = &info.contract.frame;
        let weights = fill(&s.model.parameters, &[("n", &millions(info.parameters))]);
        let short = format!("{weights}  ·  {}×{}  ·  {} Hz", frame.width, frame.height, frame.rate_hz);
        hint(ui, &short);
        if app.view.model_card {
            ui.add_space(space::S);
            rows(app, ui, s, &info);
        }
    });
}

fn name(app: &mut Studio, ui: &mut Ui, s: &Strings, info: &ModelInfo) {
    let all: Vec<String> = app.models.iter().flatten().map(|m| m.name.clone()).collect();
    if all.len() < 2 {
        ui.label(RichText::new(&info.name).text_style(theme::strong()));
        return;
    }
    let combo = ComboBox::from_id_salt("model").selected_text(&info.name).show_ui(ui, |ui| {
        for model in all {
            if ui.selectable_label(model == info.name, &model).clicked() {
                app.outbox.edit(Edit::Model(model));
            }
        }
    });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &s.model.choose));
}

fn rows(app: &mut Studio, ui: &mut Ui, s: &Strings, info: &ModelInfo) {
    let c = &info.contract;
    let m = &s.model;
    let size = [
        ("width", &c.frame.width as &dyn std::fmt::Display),
        ("height", &c.frame.height),
        ("rate", &c.frame.rate_hz),
    ];
    let frames = fill(&m.frames, &size);
    let names: Vec<_> = c.actions.iter().map(|a| super::channels::readable(&a.name)).collect();
    let mut takes = vec![fill(&m.history, &[("n", &c.frame.history)])];
    if c.text {
        takes.push(m.text_yes.clone());
    }
    if !c.actions.is_empty() {
        takes.push(fill(&m.channels, &[("n", &c.actions.len()), ("names", &names.join(", "))]));
    }
    if !c.state.is_empty() {
        takes.push(fill(&m.state, &[("n", &c.state.len())]));
    }
    let text = |ui: &mut Ui, name: &str, value: &str| {
        if value.is_empty() {
            return;
        }
        let t = tokens(ui);
        ui.horizontal_top(|ui| {
            ui.allocate_ui(Vec2::new(64.0, 16.0), |ui| {
                ui.set_min_width(64.0);
                ui.label(RichText::new(name).small().color(*t.text_faint));
            });
            ui.add(Label::new(RichText::new(value).small().color(*t.text_soft)).wrap());
        });
    };
    text(ui, &m.takes, &takes.join(", "));
    text(ui, &m.gives, &frames);
    text(ui, &m.knows, &c.knows);
    text(ui, &m.embodiment, &c.embodiment);
    text(ui, &m.licence, &c.licence);
    let t = tokens(ui);
    ui.horizontal(|ui| {
        ui.allocate_ui(Vec2::new(64.0, 16.0), |ui| {
            ui.set_min_width(64.0);
            ui.label(RichText::new(&m.hash).small().color(*t.text_faint));
        });
        let short: String = info.sha256.chars().take(16).collect();
        ui.label(RichText::new(short).monospace().size(11.0).color(*t.text_soft)).on_hover_text(&info.sha256);
        if sized_icon_button(ui, Icon::Copy, &s.shell.copy_details, true, false, 20.0)
            .on_hover_text(&s.shell.copy_details)
            .clicked()
        {
            app.outbox.send(Message::Copy(info.sha256.clone()));
        }
    });
    text(ui, &m.folder, &info.folder.display().to_string());
}

/// Number of weights in millions, with as many digits as it deserves.
fn millions(n: u64) -> String {
    let millions = n as f64 / 1e6;
    if millions < 9.95 { format!("{millions:.1}") } else { format!("{millions:.0}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn weights_are_rounded() {
        assert_eq!([6_240_000, 24_900_000, 400_000].map(super::millions), ["6.2", "25", "0.4"]);
    }
}
