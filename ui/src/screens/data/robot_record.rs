//! Episodes that a person shows a connected robot: its camera, what is done in words, start, keep, discard. The arm is
//! guided by hand while it is limp, or moved by sliders, keys and a gamepad; its agent owns the port, as on the Robot screen.

use eframe::egui::{Align, CentralPanel, Frame, Label, Layout, Margin, RichText, ScrollArea, Ui, vec2};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::robot::{Shown, Wish};
use crate::screens::robot;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, hint, icon_text_button, main_button, section};
use crate::widgets::panels::{name_field, side};

/// Shows the panel of the robot and the middle of the screen.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let shown = app.robot.shown();
    side(ui, "record robot", true, 300.0, |ui| {
        let margin = Margin { left: 16, right: 16, top: 12, bottom: 16 };
        ScrollArea::vertical().id_salt("record robot").auto_shrink(false).show(ui, |ui| {
            Frame::new().inner_margin(margin).show(ui, |ui| {
                robot::connect::show(app, ui, s, &shown);
                if shown.robot.is_some() {
                    robot::state::show(app, ui, s, &shown);
                }
            });
        });
    });
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 8 }).show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.set_min_height(theme::ROW);
                ui.label(RichText::new(&s.data.robot_title).text_style(theme::title()));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if icon_text_button(ui, Icon::Close, &s.data.robot_close).clicked() {
                        app.robot_view.recording = false;
                    }
                });
            });
            if shown.robot.is_none() {
                hint(ui, &s.data.robot_connect);
                return;
            }
            ScrollArea::vertical().id_salt("record robot middle").auto_shrink(false).show(ui, |ui| {
                take(app, ui, s, &shown);
                robot::camera(app, ui, &shown);
                robot::joints::show(app, ui, s, &shown);
            });
        });
    });
}

/// The episode: its words, its dataset, and where it stands.
fn take(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let t = tokens(ui);
    let d = &s.data;
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        let running = shown.episode.is_some();
        ui.add_enabled_ui(!running, |ui| {
            section(ui, &d.robot_task, |_| ());
            let now = app.robot_view.task.clone();
            if let Some(task) = name_field(ui, &d.robot_task, &d.robot_task_hint, &now) {
                app.robot_view.task = task;
            }
            section(ui, &d.robot_dataset, |_| ());
            let now = app.robot_view.dataset.clone();
            if let Some(name) = name_field(ui, &d.robot_dataset, "robot", &now) {
                app.robot_view.dataset = name.replace(['/', '\\', ':', '#'], "-");
            }
        });
        ui.add_space(space::XS);
        let state = shown.view.as_ref().map_or("", |view| view.robot.state.as_str());
        match shown.episode {
            None => {
                let able = !matches!(state, "" | "disconnected" | "fault") && has_camera(shown);
                if main_button(ui, Icon::Record, &d.robot_start, "", able).clicked() {
                    let task = app.robot_view.task.trim().to_owned();
                    app.outbox.robot(Wish::BeginEpisode(app.shown_dataset(), task));
                }
                hint(ui, if state == "limp" { &d.robot_limp } else { &d.robot_stiff });
            }
            Some(progress) => {
                let words = fill(
                    &d.robot_progress,
                    &[("seconds", &format!("{:.1}", progress.seconds)), ("frames", &progress.frames)],
                );
                ui.label(RichText::new(words).text_style(theme::strong()).color(*t.bad));
                if progress.full {
                    ui.add(Label::new(RichText::new(&d.robot_full).color(*t.warn)).wrap());
                }
                if main_button(ui, Icon::Check, &d.robot_keep, "", progress.frames > 0).clicked() {
                    app.outbox.robot(Wish::EndEpisode(true));
                }
                if icon_text_button(ui, Icon::Close, &d.robot_discard)
                    .on_hover_text(&d.robot_discard_tip)
                    .clicked()
                {
                    app.outbox.robot(Wish::EndEpisode(false));
                }
            }
        }
        if shown.saving > 0 {
            hint(ui, &d.robot_saving);
        } else if let Some(frames) = shown.recorded {
            hint(ui, &fill(&s.robot.recorded, &[("frames", &frames)]));
        }
    });
}

fn has_camera(shown: &Shown) -> bool {
    shown.robot.as_ref().is_some_and(|robot| !robot.cameras.is_empty())
}
