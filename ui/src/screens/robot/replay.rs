//! What happened in the last minute: the black box, moment by moment.

use eframe::egui::{Grid, Label, RichText, Ui, vec2};

use super::state::name;
use crate::app::Studio;
use crate::i18n::Strings;
use crate::icons::Icon;
use crate::robot::{Shown, Wish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{hint, section, sized_icon_button};
use crate::widgets::slider::{Spec, slider};

/// Notes that are shown at once.
const NOTES: usize = 6;

pub(super) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let Some(replay) = &shown.replay else { return };
    let w = &s.robot;
    section(ui, &w.black_box, |ui| {
        if sized_icon_button(ui, Icon::Close, &w.close_black_box, true, false, 24.0).clicked() {
            app.outbox.robot(Wish::CloseReplay);
        }
    });
    hint(ui, &replay.path);
    let last = replay.moments.len().saturating_sub(1);
    if app.robot_view.moment > last {
        // Where it stopped is what a person looks for.
        app.robot_view.moment = replay.trip().unwrap_or(last);
    }
    let Some(moment) = replay.moments.get(app.robot_view.moment) else {
        hint(ui, &w.black_box_empty);
        return;
    };
    let ended = replay.moments.last().map_or(moment.t, |m| m.t);
    let spec = Spec {
        name: &w.moment,
        label: &w.moment,
        unit: "",
        range: 0.0..=last.max(1) as f32,
        step: 1.0,
        digits: 0,
        marked: true,
    };
    if let Some(new) = slider(ui, &spec, app.robot_view.moment as f32) {
        app.robot_view.moment = new.round().max(0.0) as usize;
    }
    let t = tokens(ui);
    let (word, colour) = name(s, &t, &moment.state);
    ui.horizontal(|ui| {
        ui.label(RichText::new(format!("{:+.2} s", moment.t - ended)).monospace());
        ui.label(RichText::new(word).text_style(theme::strong()).color(colour));
    });
    let names: Vec<String> =
        shown.robot.as_ref().map(|r| r.joints.iter().map(|j| j.name.clone()).collect()).unwrap_or_default();
    Grid::new("black box").num_columns(4).spacing(vec2(16.0, 4.0)).show(ui, |ui| {
        for head in ["", &w.position, &w.goal, &w.load_alone] {
            ui.label(RichText::new(head).small().color(*t.text_faint));
        }
        ui.end_row();
        for (i, name) in names.iter().enumerate() {
            let number = |row: &[f64], by: f64| {
                // Rounded first, so that nothing is shown as -0.0.
                let shown = |v: &f64| format!("{:.1}", (v * by * 10.0).round() / 10.0 + 0.0);
                row.get(i).filter(|v| v.is_finite()).map_or_else(|| "–".into(), shown)
            };
            ui.label(name.replace('_', " "));
            ui.label(RichText::new(number(&moment.present, 1.0)).monospace());
            ui.label(RichText::new(number(&moment.sent, 1.0)).monospace());
            ui.label(RichText::new(number(&moment.load, 100.0) + " %").monospace());
            ui.end_row();
        }
    });
    ui.add_space(space::S);
    let notes: Vec<_> = replay.notes_until(moment.t).collect();
    for (at, note) in notes.iter().rev().take(NOTES).rev() {
        let text = format!("{:+.2} s  {note}", at - ended);
        ui.add(Label::new(RichText::new(text).small().color(*t.text_soft)).wrap());
    }
}
