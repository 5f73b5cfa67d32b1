//! The Data screen: the project's datasets and their episodes on the left, pictures and numbers on one time base in the
//! middle, the doctor on the right.

mod clip;
mod doctor;
mod list;
mod record;
mod robot_record;

use eframe::egui::{CentralPanel, Frame, Margin, Ui, vec2};

use crate::app::Studio;
use crate::commands::Command;
use crate::icons::Icon;
use crate::shell::transport_bar;
use crate::theme::tokens;
use crate::widgets::basic::{icon_text_button, tip};
use crate::widgets::panels::{empty, side};

pub use record::record_sheet;

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    let s = app.strings();
    let none = app.data.entries.as_ref().is_some_and(|all| all.is_empty());
    if app.robot_view.recording {
        if !none {
            side(ui, "datasets", false, 288.0, |ui| list::show(app, ui));
        }
        return robot_record::show(app, ui, s);
    }
    if !none {
        side(ui, "datasets", false, 288.0, |ui| list::show(app, ui));
        side(ui, "doctor", true, 320.0, |ui| doctor::show(app, ui));
    }
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        if none {
            empty(ui, Icon::Data, &s.data.empty_title, &s.data.empty_text, |ui| {
                let commands =
                    [Command::ImportData, Command::ImportClips, Command::RecordData, Command::RecordRobot];
                let names: Vec<&str> =
                    commands.iter().map(|c| c.text(s).name.trim_end_matches('…')).collect();
                ui.allocate_ui_with_layout(
                    vec2(ui.available_width(), 34.0),
                    eframe::egui::Layout::left_to_right(eframe::egui::Align::Center),
                    |ui| {
                        for (command, name) in commands.into_iter().zip(names) {
                            let icon = command.icon().unwrap_or(Icon::Folder);
                            let response = icon_text_button(ui, icon, name);
                            if tip(ui, response, s, command).clicked() {
                                app.outbox.command(command);
                            }
                        }
                    },
                );
            });
            return;
        }
        transport_bar::show(app, ui);
        CentralPanel::no_frame().show(ui, |ui| {
            Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 8 }).show(ui, |ui| {
                clip::show(app, ui);
            });
        });
    });
}
