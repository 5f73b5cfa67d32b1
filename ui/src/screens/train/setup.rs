//! The left side: base, data, method, time, and the button that matters.

use eframe::egui::{Frame, Label, Margin, Panel, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2};
use forerun::models::Fit;
use forerun::train::post::Method;

use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::train::{RunState, TrainDoc, TrainWish};
use crate::widgets::basic::{
    divider, focus_ring, hint, link, main_button, section, segments, sized_icon_button, tip,
};
use crate::widgets::panels::{choose, duration, name_field, row, scroll};
use crate::widgets::slider::{Spec, number};

fn edit(app: &mut Studio, change: impl FnOnce(&mut TrainDoc)) {
    let mut doc = app.train.clone();
    change(&mut doc);
    app.outbox.send(Message::Train(TrainWish::Edit(doc)));
}

/// Shows the panel.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let frame = Frame::new().inner_margin(Margin::symmetric(16, 12));
    Panel::bottom("start training").frame(frame).show_separator_line(false).show(ui, |ui| {
        let edge = ui.max_rect().expand2([16.0, 12.0].into());
        ui.painter().hline(edge.x_range(), edge.top() + 0.5, Stroke::new(1.0, *tokens(ui).line));
        let response = main_button(ui, Icon::Train, &s.train.start, "", app.can_train());
        if tip(ui, response, s, Command::StartTraining).clicked() {
            app.outbox.command(Command::StartTraining);
        }
        if app.train.datasets.is_empty() {
            hint(ui, &s.train.choose_data);
        } else if app.training.running().is_some() {
            hint(ui, &s.train.one_at_a_time);
        }
    });
    scroll(ui, "training setup", |ui| {
        section(ui, &s.train.base, |_| ());
        let models: Vec<(String, String)> =
            app.models.iter().flatten().map(|m| (m.name.clone(), m.name.clone())).collect();
        let shown = app.train_base().map_or(s.model.none.clone(), |m| m.name.clone());
        let width = ui.available_width() - 8.0;
        if let Some(name) = choose(ui, &s.train.base, &shown, width, &models) {
            edit(app, |doc| doc.base = name);
        }
        if let Some(base) = app.train_base() {
            let facts = fill(
                &s.train.base_facts,
                &[
                    ("weights", &format!("{:.1}", base.parameters as f64 / 1e6)),
                    ("side", &base.contract.frame.width),
                    ("rate", &base.contract.frame.rate_hz),
                    ("body", &base.contract.embodiment),
                ],
            );
            hint(ui, &facts);
        }
        divider(ui);
        data(app, ui, s);
        divider(ui);
        section(ui, &s.train.method, |_| ());
        let methods = [Method::Auto, Method::Full, Method::Lora].map(|m| {
            let (name, explanation) = app.method_words(m);
            (m, name, explanation)
        });
        if let Some(method) = segments(ui, app.train.method, &methods) {
            edit(app, |doc| doc.method = method);
        }
        budget(app, ui, s);
        shape(app, ui, s);
        divider(ui);
        section(ui, &s.train.name, |_| ());
        let suggested = app.train_name();
        let name = app.train.name.clone();
        if let Some(name) = name_field(ui, &s.train.name, &suggested, &name) {
            edit(app, |doc| doc.name = name.replace(['/', '\\', ':', '#'], "-"));
        }
        hint(ui, &s.train.name_text);
        runs(app, ui, s);
    });
}

fn data(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.train.data, |ui| {
        if sized_icon_button(ui, Icon::Data, &s.train.go_data, true, false, theme::ROW)
            .on_hover_text(&s.train.go_data)
            .clicked()
        {
            app.outbox.command(Command::ShowData);
        }
    });
    let entries: Vec<(String, bool, bool)> = app
        .data
        .entries
        .iter()
        .flat_map(|all| all.iter())
        .map(|e| (e.name.clone(), e.trouble.is_empty(), !e.view.is_plain()))
        .collect();
    if entries.is_empty() {
        hint(ui, &s.train.no_data);
        if link(ui, &s.train.go_data).clicked() {
            app.outbox.command(Command::ShowData);
        }
    }
    for (name, sound, corrected) in entries {
        let mut on = app.train.datasets.contains(&name);
        ui.horizontal(|ui| {
            if ui.add_enabled(sound, eframe::egui::Checkbox::new(&mut on, &name)).changed() {
                edit(app, |doc| {
                    if on {
                        doc.datasets.insert(name.clone())
                    } else {
                        doc.datasets.remove(&name)
                    };
                });
            }
            if corrected {
                let (rect, response) = ui.allocate_exact_size(vec2(16.0, 16.0), Sense::hover());
                Icon::Check.paint(ui.painter(), rect, *tokens(ui).good);
                response.on_hover_text(&s.train.corrected);
            }
        });
    }
}

/// How pictures of another shape become the model's: asked where a chosen dataset has such pictures, and shown.
fn shape(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let Some(base) = app.train_base().map(|base| base.contract.frame.clone()) else { return };
    let (width, height) = (base.width, base.height);
    let entries = app.data.entries.iter().flat_map(|all| all.iter());
    let chosen = entries.filter(|e| app.train.datasets.contains(&e.name));
    let odd: Vec<(String, usize, usize)> = chosen
        .filter_map(|e| e.picture.map(|(w, h)| (e.name.clone(), w, h)))
        .filter(|(_, w, h)| w * height != h * width)
        .collect();
    if odd.is_empty() {
        return;
    }
    divider(ui);
    section(ui, &s.train.shape, |_| ());
    let choices = [
        (Fit::Crop, s.train.crop.as_str(), s.train.crop_tip.as_str()),
        (Fit::Bars, s.train.bars.as_str(), s.train.bars_tip.as_str()),
    ];
    let fit = app.train.fit.unwrap_or(base.fit);
    if let Some(fit) = segments(ui, fit, &choices) {
        edit(app, |doc| doc.fit = Some(fit));
    }
    hint(ui, if fit == Fit::Crop { &s.train.crop_tip } else { &s.train.bars_tip });
    for (name, w, h) in odd {
        let lost = lost((w, h), (width, height));
        let words = if fit == Fit::Crop { &s.train.cropped } else { &s.train.barred };
        let values: [(&str, &dyn std::fmt::Display); 4] =
            [("name", &name), ("w", &w), ("h", &h), ("part", &format!("{:.0}", lost * 100.0))];
        let text = fill(words, &values);
        ui.horizontal(|ui| {
            sketch(ui, fit, (w, h), (width, height), &text);
            ui.add(Label::new(RichText::new(&text).small().color(*tokens(ui).text_soft)).wrap());
        });
    }
}

/// Share of the picture that is cut off, and of the model's picture that stays black: both are the same number.
fn lost((w, h): (usize, usize), (width, height): (usize, usize)) -> f64 {
    let (own, wanted) = (w as f64 / h.max(1) as f64, width as f64 / height.max(1) as f64);
    1.0 - (own / wanted).min(wanted / own)
}

/// The picture and the model's within or around it.
fn sketch(ui: &mut Ui, fit: Fit, picture: (usize, usize), model: (usize, usize), name: &str) {
    let t = tokens(ui);
    let (area, response) = ui.allocate_exact_size(vec2(72.0, 54.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    let within = |(w, h): (usize, usize), room: eframe::egui::Vec2| {
        let scale = (room.x / w.max(1) as f32).min(room.y / h.max(1) as f32);
        vec2(w as f32 * scale, h as f32 * scale)
    };
    let (outer, inner) = match fit {
        Fit::Crop => (picture, model),
        Fit::Bars => (model, picture),
    };
    let outer = within(outer, area.size());
    let inner = within(inner, outer);
    let around = |size| eframe::egui::Rect::from_center_size(area.center(), size);
    // What is cut off, or the bars; then what is kept.
    let rest = if fit == Fit::Crop { *t.control } else { eframe::egui::Color32::BLACK };
    ui.painter().rect_filled(around(outer), 2, rest);
    ui.painter().rect_filled(around(inner), 2, *t.accent_soft);
    let line = Stroke::new(1.0, *t.accent);
    ui.painter().rect_stroke(around(inner), 2, line, eframe::egui::StrokeKind::Inside);
}

fn budget(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let minutes = app.train.minutes;
    match app.train.iterations {
        None => row(ui, &s.train.minutes, &s.train.minutes_tip, |ui| {
            let spec = Spec {
                name: &s.train.minutes,
                label: &s.train.minutes,
                unit: "min",
                range: 0.5..=1440.0,
                step: 1.0,
                digits: if minutes < 5.0 { 1 } else { 0 },
                marked: true,
            };
            if let Some(v) = number(ui, &spec, minutes) {
                edit(app, |doc| doc.minutes = v);
            }
        }),
        Some(iterations) => row(ui, &s.train.iterations, &s.train.iterations_tip, |ui| {
            let spec = Spec {
                name: &s.train.iterations,
                label: &s.train.iterations,
                unit: "",
                range: 1.0..=1_000_000.0,
                step: 1.0,
                digits: 0,
                marked: true,
            };
            if let Some(v) = number(ui, &spec, iterations as f32) {
                edit(app, |doc| doc.iterations = Some(v.round().max(1.0) as u64));
            }
        }),
    }
    let mut exact = app.train.iterations.is_some();
    if ui.checkbox(&mut exact, &s.train.exact).on_hover_text(&s.train.iterations_tip).changed() {
        edit(app, |doc| doc.iterations = exact.then_some(1000));
    }
    let mut replays = app.train.replay != Some(0);
    if ui.checkbox(&mut replays, &s.train.replay).on_hover_text(&s.train.replay_tip).changed() {
        edit(app, |doc| doc.replay = if replays { None } else { Some(0) });
    }
}

/// Runs of this project, newest first.
fn runs(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    if app.training.runs.is_empty() {
        return;
    }
    divider(ui);
    section(ui, &s.train.runs, |_| ());
    let rows: Vec<_> = app
        .training
        .runs
        .iter()
        .rev()
        .map(|run| (run.spec.out.clone(), run.name(), run.state.clone(), run.last().map(|l| l.progress)))
        .collect();
    for (out, name, state, progress) in rows {
        let t = tokens(ui);
        let on = app.training.shown.as_ref() == Some(&out);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::Button, true, on, &name));
        let painter = ui.painter();
        if on || response.hovered() {
            painter.rect_filled(rect, theme::RADIUS, if on { *t.accent_soft } else { *t.control });
        }
        focus_ring(ui, rect, &response);
        let (word, colour) = state_words(s, &state, &t);
        let body = eframe::egui::TextStyle::Body.resolve(ui.style());
        let small = eframe::egui::TextStyle::Small.resolve(ui.style());
        let at = rect.left_top() + vec2(10.0, 4.0);
        painter.text(at, eframe::egui::Align2::LEFT_TOP, &name, body, if on { *t.accent } else { *t.text });
        let part = progress.map_or(String::new(), |p| format!("  {:.0} %", p * 100.0));
        let below = format!("{word}{part}");
        painter.text(at + vec2(0.0, 17.0), eframe::egui::Align2::LEFT_TOP, below, small, colour);
        if response.clicked() {
            app.outbox.send(Message::Train(TrainWish::Show(out.clone())));
        }
        if !matches!(state, RunState::Running | RunState::Stopping) {
            response.context_menu(|ui| {
                if ui.button(&s.train.forget).clicked() {
                    app.outbox.send(Message::Train(TrainWish::Forget(out)));
                    ui.close();
                }
            });
        }
    }
    ui.add_space(space::S);
}

/// How far a run is, in a word and its colour.
pub fn state_words<'a>(
    s: &'a Strings,
    state: &RunState,
    t: &theme::Tokens,
) -> (&'a str, eframe::egui::Color32) {
    match state {
        RunState::Running => (&s.train.running, *t.accent),
        RunState::Stopping => (&s.train.stopping, *t.warn),
        RunState::Paused => (&s.train.paused, *t.warn),
        RunState::Done => (&s.train.done, *t.good),
        RunState::Failed(_) => (&s.train.refused, *t.bad),
    }
}

/// What was measured before the start.
pub fn preflight(ui: &mut Ui, s: &Strings, found: &forerun::train::post::Preflight) {
    use crate::widgets::panels::bytes;
    let t = tokens(ui);
    let speed = if found.frames_per_second > 0.0 {
        fill(
            &s.train.preflight_speed,
            &[
                ("fps", &format!("{:.0}", found.frames_per_second)),
                ("n", &found.iterations),
                ("time", &duration(found.seconds)),
            ],
        )
    } else {
        fill(&s.train.preflight_steps, &[("n", &found.iterations)])
    };
    let room = fill(
        &s.train.preflight_room,
        &[
            ("memory", &bytes(found.memory_needed)),
            ("free", &bytes(found.memory_free)),
            ("disk", &bytes(found.disk_needed)),
            ("disk_free", &bytes(found.disk_free)),
        ],
    );
    ui.horizontal_wrapped(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(14.0, 14.0), Sense::hover());
        Icon::Check.paint(ui.painter(), rect, *t.good);
        ui.add(Label::new(RichText::new(speed).small().color(*t.text_soft)));
        ui.add(Label::new(RichText::new(room).small().color(*t.text_faint)));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_and_what_stays_black_is_one_share() {
        assert!((lost((640, 480), (128, 128)) - 0.25).abs() < 1e-9);
        assert!((lost((480, 640), (128, 128)) - 0.25).abs() < 1e-9);
        assert!(lost((96, 96), (128, 128)).abs() < 1e-9);
    }
}
