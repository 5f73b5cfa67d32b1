//! The start: its frame, where it comes from, and ways to another one.

use eframe::egui::{
    Align, Align2, Color32, Label, Layout, Rect, RichText, Role, Sense, Shape, Stroke, TextStyle, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};

use crate::app::Studio;
use crate::commands::Command;
use crate::doc::{Edit, StartDoc};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::start::Reading;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{badge, command_icon, focus_ring, hint, icon_text_button, section, tip};
use crate::widgets::pane::{Slot, fit};
use crate::widgets::slider::{Spec, number};

/// Shows the section.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let has_start = app.setup.get().start != StartDoc::Nothing;
    section(ui, &s.world.start, |ui| {
        if has_start && command_icon(ui, s, Command::ClearStart, true, false).clicked() {
            app.outbox.command(Command::ClearStart);
        }
    });
    if has_start {
        present(app, ui, s);
    } else {
        drop_zone(app, ui, s);
    }
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(space::XS, space::XS);
        for (command, icon, text) in [
            (Command::OpenFrames, Icon::Picture, &s.world.open),
            (Command::NewWorldFrame, Icon::Dice, &s.world.new_frame),
            (Command::OpenEpisode, Icon::Folder, &s.world.episode),
        ] {
            let response = icon_text_button(ui, icon, text);
            if tip(ui, response, s, command).clicked() {
                app.outbox.command(command);
            }
        }
    });
    if has_start {
        strip(app, ui, s);
    }
}

fn drop_zone(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 76.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &s.world.start_drop));
    let hot = response.hovered() || ui.input(|i| !i.raw.hovered_files.is_empty());
    let painter = ui.painter();
    painter.rect_filled(rect, theme::CARD_RADIUS, if hot { *t.accent_soft } else { *t.input });
    let corners =
        [rect.left_top(), rect.right_top(), rect.right_bottom(), rect.left_bottom(), rect.left_top()];
    let line = if hot { *t.accent } else { *t.line_strong };
    painter.extend(Shape::dashed_line(&corners, Stroke::new(1.0, line), 5.0, 4.0));
    focus_ring(ui, rect, &response);
    let icon = Rect::from_center_size(rect.center() - vec2(0.0, 14.0), Vec2::splat(22.0));
    Icon::Picture.paint(painter, icon, *t.text_faint);
    let font = TextStyle::Small.resolve(ui.style());
    let galley = painter.layout(s.world.start_drop.clone(), font, *t.text_soft, rect.width() - 24.0);
    painter.galley(rect.center() + vec2(-galley.size().x / 2.0, 6.0), galley, *t.text_soft);
    if response.clicked() {
        app.outbox.command(Command::OpenFrames);
    }
    hint(ui, &s.world.start_empty);
}

/// What a start is called.
pub fn name(s: &Strings, start: &StartDoc) -> String {
    let file = |p: &std::path::Path| p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned();
    match start {
        StartDoc::Nothing => s.world.start_from_words.clone(),
        StartDoc::Files { paths } => {
            let first = paths.first().map(|p| file(p)).unwrap_or_default();
            if paths.len() > 1 { format!("{first} +{}", paths.len() - 1) } else { first }
        }
        StartDoc::Episode { dataset, episode, .. } => {
            fill(&s.world.start_episode, &[("episode", episode), ("name", &file(dataset))])
        }
        StartDoc::World { seed } => fill(&s.world.start_drawn, &[("seed", seed)]),
        StartDoc::Future { seed, at, .. } => fill(&s.world.start_future, &[("frame", at), ("seed", seed)]),
    }
}

fn present(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let start = app.setup.get().start.clone();
    ui.horizontal_top(|ui| {
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(88.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &s.world.start_frame));
        ui.painter().rect_filled(rect, theme::RADIUS, *t.input);
        if let Some(frame) = app.start.last().cloned() {
            let area = fit(&frame, rect);
            let id = app.textures.get(ui.ctx(), Slot::Start(false), &frame, area.width(), app.view.smooth);
            picture(ui, id, area, Color32::WHITE);
        } else if app.start.reading == Reading::Reading {
            ui.put(
                Rect::from_center_size(rect.center(), Vec2::splat(18.0)),
                eframe::egui::Spinner::new().size(18.0),
            );
        } else {
            Icon::Warning.paint(
                ui.painter(),
                Rect::from_center_size(rect.center(), Vec2::splat(24.0)),
                *t.warn,
            );
        }
        ui.with_layout(Layout::top_down(Align::LEFT), |ui| {
            ui.spacing_mut().item_spacing.y = space::XS;
            ui.add(Label::new(RichText::new(name(s, &start)).color(*t.text)).truncate());
            match &app.start.reading {
                Reading::Failed(text) => {
                    ui.add(Label::new(RichText::new(text).small().color(*t.bad)).wrap());
                }
                _ if !app.start.note.is_empty() => {
                    hint(ui, &app.start.note.clone());
                }
                _ => {}
            }
            if let StartDoc::Episode { dataset, episode, at } = &start {
                ui.horizontal(|ui| {
                    hint_nowrap(ui, &s.world.at_frame);
                    let spec = Spec {
                        name: &s.world.at_frame,
                        label: &s.world.at_frame,
                        unit: "",
                        range: 0.0..=1_000_000.0,
                        step: 1.0,
                        digits: 0,
                        marked: true,
                    };
                    if let Some(v) = number(ui, &spec, *at as f32) {
                        let at = v.max(0.0).round() as usize;
                        app.outbox.edit(Edit::Start(StartDoc::Episode {
                            dataset: dataset.clone(),
                            episode: *episode,
                            at,
                        }));
                    }
                });
            }
            unfamiliar(app, ui, s);
        });
    });
}

fn hint_nowrap(ui: &mut Ui, text: &str) {
    let colour = *tokens(ui).text_faint;
    ui.label(RichText::new(text).small().color(colour));
}

/// The badge of a frame that the model has never seen the like of.
pub fn unfamiliar(app: &Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    if let Some(times) = app.start.unfamiliar.filter(|r| *r > 1.0) {
        let text = fill(&s.world.unfamiliar_tip, &[("times", &format!("{times:.1}"))]);
        badge(ui, &s.world.unfamiliar, *t.warn, *t.warn_soft).on_hover_text(text);
    }
}

/// Small starter scenes, to go on from.
fn strip(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        let n = app.scenes.len().max(1) as f32;
        let side = ((ui.available_width() - space::XS * (n - 1.0)) / n).clamp(16.0, 52.0);
        for i in 0..app.scenes.len() {
            scene_button(app, ui, s, i, side, false);
        }
    });
}

/// A starter scene as a button; `large` on the stage.
pub fn scene_button(app: &mut Studio, ui: &mut Ui, s: &Strings, i: usize, side: f32, large: bool) {
    let t = tokens(ui);
    let Some(scene) = app.scenes.get(i).cloned() else { return };
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(side), Sense::click());
    let name = fill(&s.scenes.scene, &[("n", &(i + 1))]);
    let label = if large { name.clone() } else { format!("{name}, {}", s.scenes.title.to_lowercase()) };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, scene.frame.is_some(), &label));
    let prompt = crate::scenes::prompt(&s.scenes, i);
    ui.painter().rect_filled(rect, theme::RADIUS, *t.raised);
    if let Some(frame) = &scene.frame {
        let id = app.textures.get(ui.ctx(), Slot::Scene(i, large), frame, side, app.view.smooth);
        let tint = if response.hovered() || !large { Color32::WHITE } else { Color32::from_gray(225) };
        picture(ui, id, rect, tint);
    }
    let chosen = app.setup.get().start == StartDoc::World { seed: scene.seed };
    if chosen || response.hovered() {
        let stroke = Stroke::new(if chosen { 2.0 } else { 1.5 }, *t.accent);
        ui.painter().rect_stroke(rect, theme::RADIUS, stroke, eframe::egui::StrokeKind::Inside);
    }
    focus_ring(ui, rect, &response);
    if large {
        let band = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 30.0), rect.max);
        let round = eframe::egui::CornerRadius { nw: 0, ne: 0, sw: theme::RADIUS, se: theme::RADIUS };
        ui.painter().rect_filled(band, round, Color32::from_black_alpha(170));
        let font = TextStyle::Small.resolve(ui.style());
        let galley =
            eframe::egui::WidgetText::from(RichText::new(prompt).font(font.clone()).color(Color32::WHITE))
                .into_galley(ui, Some(eframe::egui::TextWrapMode::Truncate), band.width() - 16.0, font);
        let at = Align2::LEFT_CENTER.align_size_within_rect(galley.size(), band.shrink2(vec2(8.0, 0.0)));
        ui.painter().galley(at.min, galley, Color32::WHITE);
    }
    let response = if large { response } else { response.on_hover_text(prompt) };
    if response.clicked() {
        app.outbox.send(Message::PickScene(i));
    }
}

/// Draws a texture with the window's rounded corners.
pub fn picture(ui: &Ui, id: Option<eframe::egui::TextureId>, rect: Rect, tint: Color32) {
    let Some(id) = id else { return };
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    let shape = eframe::egui::epaint::RectShape::filled(rect, theme::RADIUS, tint).with_texture(id, uv);
    ui.painter().add(shape);
}
