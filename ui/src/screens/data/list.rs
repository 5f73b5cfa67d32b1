//! The left side: datasets, and the episodes of the one that is shown.

use eframe::egui::{
    Align, Align2, Frame, Layout, Margin, Panel, Rect, RichText, Role, ScrollArea, Sense, Stroke, TextStyle,
    Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::app::Studio;
use crate::commands::Command;
use crate::data::{DataWish, EpisodeUse, use_of};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{command_icon, divider, focus_ring, hint, section, segments};

/// Shows the panel.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let names: Vec<(String, bool, String)> = app
        .data
        .entries
        .iter()
        .flat_map(|all| all.iter())
        .map(|e| (e.name.clone(), e.linked, e.folder.display().to_string()))
        .collect();
    let margin = Margin { left: 16, right: 16, top: 12, bottom: 8 };
    Panel::top("dataset list").frame(Frame::new().inner_margin(margin)).show_separator_line(false).show(
        ui,
        |ui| {
            section(ui, &s.data.datasets, |ui| {
                let commands =
                    [Command::RecordRobot, Command::RecordData, Command::ImportClips, Command::ImportData];
                for command in commands {
                    if command_icon(ui, s, command, true, false).clicked() {
                        app.outbox.command(command);
                    }
                }
            });
            let most = (ui.ctx().content_rect().height() * 0.3).max(120.0);
            ScrollArea::vertical().id_salt("datasets").max_height(most).auto_shrink([false, true]).show(
                ui,
                |ui| {
                    ui.spacing_mut().item_spacing.y = 2.0;
                    for (name, linked, folder) in &names {
                        dataset(app, ui, s, name, *linked, folder);
                    }
                },
            );
            divider(ui);
        },
    );
    let chosen_episode = app.data.episode;
    if app.data.shown().is_some() {
        let margin = Margin { left: 16, right: 16, top: 8, bottom: 12 };
        Panel::bottom("episode use")
            .frame(Frame::new().inner_margin(margin))
            .show_separator_line(false)
            .show(ui, |ui| {
                divider(ui);
                let view = app.data.corrections();
                let choices = [
                    (EpisodeUse::Learn, s.data.learn.as_str(), s.data.learn_tip.as_str()),
                    (EpisodeUse::Judge, s.data.judge.as_str(), s.data.judge_tip.as_str()),
                    (EpisodeUse::LeaveOut, s.data.leave_out.as_str(), s.data.leave_out_tip.as_str()),
                ];
                hint(ui, &fill(&s.data.use_for, &[("n", &chosen_episode)]));
                if let Some(what) = segments(ui, use_of(&view, chosen_episode), &choices) {
                    app.outbox.send(Message::Data(DataWish::Use(chosen_episode, what)));
                }
                if view.hold_out.is_empty() {
                    hint(ui, &s.data.judge_default);
                }
            });
    }
    Frame::new()
        .inner_margin(Margin { left: 16, right: 16, top: 0, bottom: 0 })
        .show(ui, |ui| episodes(app, ui, s));
}

fn dataset(app: &mut Studio, ui: &mut Ui, s: &Strings, name: &str, linked: bool, folder: &str) {
    let t = tokens(ui);
    let on = app.data.chosen.as_deref() == Some(name);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, on, name));
    let (fill_colour, colour) = match (on, response.hovered()) {
        (true, _) => (*t.accent_soft, *t.accent),
        (false, true) => (*t.control, *t.text),
        (false, false) => (eframe::egui::Color32::TRANSPARENT, *t.text),
    };
    ui.painter().rect_filled(rect, theme::RADIUS, fill_colour);
    focus_ring(ui, rect, &response);
    let icon = Rect::from_center_size(pos2(rect.left() + 18.0, rect.center().y), Vec2::splat(17.0));
    Icon::Data.paint(ui.painter(), icon, if on { *t.accent } else { *t.text_soft });
    let font = TextStyle::Body.resolve(ui.style());
    let room = rect.width() - 38.0 - if linked { 26.0 } else { 8.0 };
    let galley = eframe::egui::WidgetText::from(RichText::new(name).font(font.clone()).color(colour))
        .into_galley(ui, Some(eframe::egui::TextWrapMode::Truncate), room, font);
    ui.painter().galley(pos2(rect.left() + 34.0, rect.center().y - galley.size().y / 2.0), galley, colour);
    if linked {
        let icon = Rect::from_center_size(pos2(rect.right() - 15.0, rect.center().y), Vec2::splat(14.0));
        Icon::Link.paint(ui.painter(), icon, *t.text_faint);
    }
    if response.clicked() {
        app.outbox.send(Message::Data(DataWish::Choose(name.to_owned())));
    }
    if linked {
        response.context_menu(|ui| {
            if ui.button(&s.data.unlink).clicked() {
                app.outbox.send(Message::Data(DataWish::Unlink(name.to_owned())));
                ui.close();
            }
        });
    }
    response.on_hover_text(folder);
}

fn episodes(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let Some(about) = app.data.shown() else {
        ui.add_space(space::S);
        match &app.data.trouble {
            Some(trouble) => {
                ui.add(eframe::egui::Label::new(RichText::new(trouble).small().color(*t.bad)).wrap())
            }
            None => hint(ui, &s.data.reading),
        };
        return;
    };
    let (fps, episodes) = (about.fps.max(0.1), about.episodes.clone());
    let view = app.data.corrections();
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        ui.label(RichText::new(&s.data.episodes).text_style(theme::strong()));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(episodes.len().to_string()).small().color(*t.text_faint));
        });
    });
    let height = 30.0;
    ui.spacing_mut().item_spacing.y = 1.0;
    ScrollArea::vertical().id_salt("episodes").auto_shrink(false).show_rows(
        ui,
        height,
        episodes.len(),
        |ui, range| {
            for meta in episodes.get(range).unwrap_or_default() {
                let on = meta.index == app.data.episode;
                let what = use_of(&view, meta.index);
                let (rect, response) =
                    ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
                let name = fill(&s.data.episode, &[("n", &meta.index)]);
                response.widget_info(|| WidgetInfo::selected(Role::Button, true, on, &name));
                let painter = ui.painter();
                if on || response.hovered() {
                    painter.rect_filled(rect, theme::RADIUS, if on { *t.accent_soft } else { *t.control });
                }
                focus_ring(ui, rect, &response);
                let small = TextStyle::Small.resolve(ui.style());
                let faded = what == EpisodeUse::LeaveOut;
                let colour = match (on, faded) {
                    (true, _) => *t.accent,
                    (false, true) => *t.text_faint,
                    (false, false) => *t.text,
                };
                painter.text(
                    pos2(rect.left() + 30.0, rect.center().y),
                    Align2::RIGHT_CENTER,
                    meta.index.to_string(),
                    small.clone(),
                    *t.text_faint,
                );
                let dot = match what {
                    EpisodeUse::Learn => None,
                    EpisodeUse::Judge => Some(*t.good),
                    EpisodeUse::LeaveOut => Some(*t.bad),
                };
                if let Some(dot) = dot {
                    painter.circle_filled(pos2(rect.left() + 39.0, rect.center().y), 3.0, dot);
                }
                let text =
                    meta.task.as_deref().filter(|t| !t.trim().is_empty()).unwrap_or(&s.data.without_words);
                let font = TextStyle::Body.resolve(ui.style());
                let galley =
                    eframe::egui::WidgetText::from(RichText::new(text).font(font.clone()).color(colour))
                        .into_galley(
                            ui,
                            Some(eframe::egui::TextWrapMode::Truncate),
                            rect.width() - 100.0,
                            font,
                        );
                let at = pos2(rect.left() + 48.0, rect.center().y - galley.size().y / 2.0);
                let width = galley.size().x;
                ui.painter().galley(at, galley, colour);
                if faded {
                    let y = rect.center().y;
                    ui.painter().hline(at.x..=at.x + width, y, Stroke::new(1.0, *t.text_faint));
                }
                let seconds = format!("{:.1} s", meta.length as f64 / fps);
                ui.painter().text(
                    rect.right_center() - vec2(8.0, 0.0),
                    Align2::RIGHT_CENTER,
                    seconds,
                    small,
                    *t.text_faint,
                );
                if response.clicked() {
                    app.outbox.send(Message::Data(DataWish::Episode(meta.index)));
                }
                if width > rect.width() - 101.0 {
                    response.on_hover_text(text);
                }
            }
        },
    );
}
