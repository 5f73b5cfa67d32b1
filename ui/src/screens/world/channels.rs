//! One slider and one curve for each channel that the model takes.

use eframe::egui::{Align, Layout, RichText, Ui};
use forerun::models::{Channel, ChannelMode};

use super::inspector::mode_words;
use crate::app::Studio;
use crate::commands::Command;
use crate::curve::{Curve, Joint};
use crate::doc::{Edit, StartDoc};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{space, tokens};
use crate::widgets::basic::{command_icon, hint, section, segments, sized_icon_button};
use crate::widgets::curve_editor::curve_editor;
use crate::widgets::slider::{Spec, number};

/// Shows all channels.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let setup = app.setup.get().clone();
    let touched = !setup.tracks.is_empty();
    section(ui, &s.numbers.numbers, |ui| {
        if touched && command_icon(ui, s, Command::ResetNumbers, true, false).clicked() {
            app.outbox.command(Command::ResetNumbers);
        }
    });
    let Some(contract) = app.contract().cloned() else {
        hint(ui, &s.model.looking);
        return;
    };
    if contract.actions.is_empty() {
        hint(ui, &s.numbers.none);
        return;
    }
    if matches!(setup.start, StartDoc::Episode { .. }) {
        let mut recorded = setup.recorded;
        if ui.checkbox(&mut recorded, &s.numbers.recorded).on_hover_text(&s.numbers.recorded_tip).changed() {
            app.outbox.edit(Edit::Recorded(recorded));
        }
        if setup.recorded && setup.mode.uses_numbers() {
            hint(ui, &s.numbers.recorded_tip);
            return;
        }
    }
    if !setup.mode.uses_numbers() {
        hint(ui, &fill(&s.numbers.off_in_mode, &[("mode", &mode_words(s, setup.mode).0)]));
    }
    for channel in &contract.actions {
        ui.push_id(&channel.name, |ui| row(app, ui, s, channel));
    }
}

/// `shoulder_pan.pos` as people read it: `shoulder pan`.
pub fn readable(name: &str) -> String {
    name.trim_end_matches(".pos").replace(['_', '.'], " ")
}

fn row(app: &mut Studio, ui: &mut Ui, s: &Strings, channel: &Channel) {
    let t = tokens(ui);
    let setup = app.setup.get();
    let (steps, step) = (setup.steps, app.playhead_step());
    let curve = setup.tracks.get(&channel.name).cloned();
    let value = app.contract().map_or(0.0, |c| setup.value(c, &app.start, &channel.name, step));
    let rest = app.contract().map_or(0.0, |c| {
        let mut plain = setup.clone();
        plain.tracks.clear();
        plain.value(c, &app.start, &channel.name, 0)
    });
    let open = app.view.curves.contains(&channel.name);
    let name = readable(&channel.name);
    let digits = usize::from(channel.max - channel.min < 1000.0);
    let spec = Spec {
        name: &name,
        label: &channel.name,
        unit: &channel.unit,
        range: channel.min..=channel.max,
        step: 0.0,
        digits,
        marked: curve.is_some(),
    };
    let mut new = None;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        let label =
            ui.label(RichText::new(&name).color(if curve.is_some() { *t.text } else { *t.text_soft }));
        let mode = if channel.mode == ChannelMode::Relative { " ±" } else { "" };
        label.on_hover_text(format!(
            "{}{mode}\n{:.1} … {:.1} {}",
            channel.name, channel.min, channel.max, channel.unit
        ));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let words = if open { &s.numbers.hide_curve } else { &s.numbers.show_curve };
            let words = fill(words, &[("channel", &channel.name)]);
            let button = sized_icon_button(ui, Icon::Curve, &words, true, open, 22.0);
            if button.on_hover_text(&words).clicked() {
                app.outbox.send(Message::ToggleCurve(channel.name.clone()));
            }
            if curve.is_some() {
                let words = fill(&s.numbers.reset, &[("channel", &channel.name)]);
                if sized_icon_button(ui, Icon::Refresh, &words, true, false, 22.0)
                    .on_hover_text(&words)
                    .clicked()
                {
                    app.outbox.edit(Edit::Track { channel: channel.name.clone(), curve: None });
                }
            }
            if let Some(v) = number(ui, &spec, value) {
                new = Some(v);
            }
        });
    });
    ui.add_space(-8.0);
    if let Some(v) = crate::widgets::slider::slider(ui, &spec, value) {
        new = Some(v);
    }
    if let Some(value) = new {
        // A plain channel is one value; a curve gets a key where the playhead stands.
        let mut next = curve.clone().unwrap_or_else(|| Curve::constant(rest));
        if next.keys().len() <= 1 {
            let joint = next.joint;
            next = Curve::constant(value);
            next.joint = joint;
        } else {
            next.set(step, value);
        }
        app.outbox.edit(Edit::Track { channel: channel.name.clone(), curve: Some(next) });
    }
    if open {
        if let Some(next) = curve_editor(ui, s, channel, curve.as_ref(), rest, steps, step) {
            app.outbox.edit(Edit::Track { channel: channel.name.clone(), curve: Some(next) });
        }
        if let Some(curve) = &curve {
            let choices =
                [(Joint::Linear, s.numbers.linear.as_str(), ""), (Joint::Hold, s.numbers.hold.as_str(), "")];
            if let Some(joint) = segments(ui, curve.joint, &choices) {
                let mut next = curve.clone();
                next.joint = joint;
                app.outbox.edit(Edit::Track { channel: channel.name.clone(), curve: Some(next) });
            }
        }
        hint(ui, &s.numbers.curve_hint);
    }
    ui.add_space(2.0);
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn names_are_readable() {
        assert_eq!(readable("shoulder_pan.pos"), "shoulder pan");
        assert_eq!(readable("effort.x"), "effort x");
    }
}
