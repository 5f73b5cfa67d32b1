//! The joints: where they stand, where they are sent, their limits, load, heat and supply; sliders to move them by hand.

use eframe::egui::{Grid, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};
use forerun::robot::agent::protocol::Ask;
use forerun::robot::safety::any::JointView;

use super::teleop;
use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::robot::{Shown, Wish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{hint, section, sized_icon_button};
use crate::widgets::slider::{Spec, slider};

pub(crate) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let Some(view) = &shown.view else { return };
    let w = &s.robot;
    ui.add_space(space::S);
    section(ui, if shown.by_hand { &w.sliders } else { &w.joints }, |_| {});
    if shown.by_hand {
        hint(ui, &w.sliders_hint);
        if app.robot.pad().connected {
            hint(ui, &w.pad_hint);
        }
    }
    let joints = &view.robot.joints;
    if shown.by_hand && app.robot_view.sliders.len() != joints.len() {
        app.robot_view.sliders = joints.iter().map(|j| j.goal as f32).collect();
    }
    let bar = (ui.available_width() - 330.0).clamp(80.0, 420.0);
    Grid::new("robot joints").num_columns(6).spacing(vec2(12.0, 6.0)).show(ui, |ui| {
        for head in ["", &w.position, "", &w.load, &w.heat, &w.supply] {
            ui.label(RichText::new(head).small().color(*tokens(ui).text_faint));
        }
        ui.end_row();
        for (i, joint) in joints.iter().enumerate() {
            row(app, ui, s, shown, i, joint, bar);
            ui.end_row();
        }
    });
    for joint in joints.iter().filter(|j| !j.alarms.is_empty()) {
        ui.label(RichText::new(format!("{}: {}", joint.name, joint.alarms)).color(*tokens(ui).bad));
    }
}

fn row(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown, i: usize, joint: &JointView, bar: f32) {
    let t = tokens(ui);
    let unit = if joint.unit == "deg" { "°" } else { " %" };
    ui.horizontal(|ui| {
        ui.label(RichText::new(joint.name.replace('_', " ")).text_style(theme::strong()));
        let ready = shown.view.as_ref().is_some_and(|v| v.robot.state == "ready") && shown.running.is_none();
        if ready {
            let which = fill(&s.robot.wiggle, &[("joint", &joint.name)]);
            if sized_icon_button(ui, Icon::Search, &which, true, false, 20.0).on_hover_text(&which).clicked()
            {
                app.outbox.robot(Wish::Ask(Ask::Wiggle { joint: joint.name.clone() }));
            }
        }
        if let Some((up, down)) = teleop::keys(i).filter(|_| shown.by_hand) {
            ui.label(RichText::new(format!("{} / {}", up.name(), down.name())).small().color(*t.text_faint));
        }
    });
    if shown.by_hand {
        let value = app.robot_view.sliders.get(i).copied().unwrap_or(joint.goal as f32);
        let spec = Spec {
            name: &joint.name,
            label: &joint.name,
            unit,
            range: joint.low as f32..=joint.high as f32,
            step: 0.0,
            digits: 1,
            marked: true,
        };
        let new = ui.allocate_ui(vec2(bar, 18.0), |ui| slider(ui, &spec, value)).inner;
        if let Some(new) = new {
            if let Some(slot) = app.robot_view.sliders.get_mut(i) {
                *slot = new;
            }
            app.outbox.robot(Wish::Slide(i, f64::from(new)));
        }
    } else {
        range(ui, s, joint, unit, bar);
    }
    let text = joint.position.map_or_else(|| "–".into(), |p| format!("{p:.1}{unit}"));
    ui.label(RichText::new(text).monospace());
    let load = format!("{:>3.0} / {:.0} %", joint.load.abs() * 100.0, joint.torque * 100.0);
    let hot = joint.torque > 0.0 && joint.load.abs() > 0.9 * joint.torque;
    ui.label(RichText::new(load).monospace().color(if hot { *t.warn } else { *t.text_soft }));
    let colour = if joint.celsius > 62.0 {
        *t.bad
    } else if joint.celsius > 55.0 {
        *t.warn
    } else {
        *t.text_soft
    };
    ui.label(RichText::new(format!("{:.0} °C", joint.celsius)).monospace().color(colour));
    ui.label(RichText::new(format!("{:.1} V", joint.volts)).monospace().color(*t.text_soft));
}

/// The allowed range as a rail, the position as a dot, the goal as a line.
fn range(ui: &mut Ui, s: &Strings, joint: &JointView, unit: &str, width: f32) {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 18.0), Sense::hover());
    let words = format!("{} {:.0}{unit} … {:.0}{unit}", s.robot.limits, joint.low, joint.high);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{}: {words}", joint.name)));
    let at = |v: f64| {
        let part = (v - joint.low) / (joint.high - joint.low).max(1e-6);
        rect.left() + 6.0 + (rect.width() - 12.0) * part.clamp(0.0, 1.0) as f32
    };
    let painter = ui.painter();
    let y = rect.center().y;
    let rail = Rect::from_min_max(pos2(rect.left(), y - 2.0), pos2(rect.right(), y + 2.0));
    painter.rect_filled(rail, 2, *t.control);
    if joint.torque > 0.0 {
        painter.vline(at(joint.goal), (y - 8.0)..=(y + 8.0), Stroke::new(2.0, *t.accent));
    }
    if let Some(position) = joint.position {
        painter.circle_filled(pos2(at(position), y), 5.0, *t.text);
    }
    response.on_hover_text(words);
}
