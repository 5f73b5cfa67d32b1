//! Which robot: files of the project, the virtual arm, another machine's agent.

use eframe::egui::{RichText, TextEdit, Ui};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::robot::{Place, Shown, Wish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, hint, icon_text_button, section, soft};

pub(crate) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let w = &s.robot;
    if let Some(robot) = &shown.robot {
        card(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(&robot.name).text_style(theme::strong()));
            if let Some(identity) = shown.view.as_ref().and_then(|v| v.robot.identity.clone()) {
                hint(ui, &identity);
            }
            if icon_text_button(ui, Icon::Close, &w.leave).on_hover_text(&w.leave_tip).clicked() {
                app.outbox.robot(Wish::Leave);
            }
        });
        return;
    }
    let folder = app.project().folder().join("robots");
    if !std::mem::replace(&mut app.robot_view.listed, true) {
        app.outbox.robot(Wish::List(app.project().folder().to_path_buf()));
    }
    section(ui, &w.connect, |_| {});
    if shown.connecting {
        ui.horizontal(|ui| {
            ui.spinner();
            soft(ui, &w.connecting);
        });
        return;
    }
    if icon_text_button(ui, Icon::World, &w.virtual_arm).on_hover_text(&w.virtual_arm_tip).clicked() {
        app.outbox.robot(Wish::Connect(Place::Virtual(folder.clone())));
    }
    for file in &shown.files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == "virtual-arm" {
            continue;
        }
        let text = fill(&w.connect_to, &[("name", &name)]);
        if icon_text_button(ui, Icon::Play, &text).clicked() {
            app.outbox.robot(Wish::Connect(Place::File(file.clone())));
        }
    }
    ui.add_space(space::S);
    soft(ui, &w.elsewhere);
    ui.horizontal(|ui| {
        let edit = TextEdit::singleline(&mut app.robot_view.address)
            .hint_text("127.0.0.1:4760")
            .desired_width(150.0);
        let response = ui.add(edit);
        response.widget_info(|| {
            let mut info = eframe::egui::WidgetInfo::text_edit(true, "", &app.robot_view.address, "");
            info.label = Some(w.elsewhere.clone());
            info
        });
        let ready = !app.robot_view.address.trim().is_empty();
        ui.add_enabled_ui(ready, |ui| {
            if icon_text_button(ui, Icon::Play, &w.connect_button).clicked() {
                let address = app.robot_view.address.trim().to_owned();
                app.outbox.robot(Wish::Connect(Place::Address(address)));
            }
        });
    });
    trouble(ui, shown);
    ui.add_space(space::S);
    hint(ui, &w.files_hint);
}

/// What did not work, in words.
pub(super) fn trouble(ui: &mut Ui, shown: &Shown) {
    let Some(why) = &shown.trouble else { return };
    let t = tokens(ui);
    eframe::egui::Frame::new()
        .fill(*t.bad_soft)
        .corner_radius(theme::CARD_RADIUS)
        .inner_margin(eframe::egui::Margin::same(10))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.add(eframe::egui::Label::new(RichText::new(why).color(*t.text)).wrap());
        });
}
