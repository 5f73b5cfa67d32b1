//! The robot's state, and what can be done in it.

use eframe::egui::{Color32, Label, RichText, Sense, Ui, vec2};
use forerun::robot::agent::protocol::{AgentView, Ask};

use super::connect::trouble;
use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::robot::{Shown, Wish};
use crate::theme::{self, Tokens, space, tokens};
use crate::widgets::basic::{badge, card, divider, hint, icon_text_button, main_button, section, soft};

/// Name and colour of a state.
pub(super) fn name<'s>(s: &'s Strings, t: &Tokens, state: &str) -> (&'s str, Color32) {
    let w = &s.robot;
    match state {
        "limp" => (&w.limp, *t.text_soft),
        "armed" => (&w.armed, *t.warn),
        "ready" => (&w.ready, *t.good),
        "running" => (&w.running, *t.accent),
        "hold" => (&w.hold, *t.warn),
        "fault" => (&w.fault, *t.bad),
        _ => (&w.disconnected, *t.text_faint),
    }
}

pub(crate) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let w = &s.robot;
    let Some(view) = &shown.view else {
        soft(ui, &w.waiting);
        trouble(ui, shown);
        return;
    };
    let t = tokens(ui);
    let (word, colour) = name(s, &t, &view.robot.state);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            let (dot, _) = ui.allocate_exact_size(vec2(12.0, 20.0), Sense::hover());
            ui.painter().circle_filled(dot.center(), 5.0, colour);
            ui.label(RichText::new(word).text_style(theme::title()).color(colour));
            if let Some(mode) = view.robot.mode {
                badge(ui, &mode.to_string(), *t.accent, *t.accent_soft);
            }
        });
        match &view.robot.why {
            Some(why) => {
                ui.add(Label::new(RichText::new(why).color(*t.text)).wrap());
            }
            None => {
                hint(ui, meaning(s, &view.robot.state));
            }
        }
        if !view.robot.left_stiff.is_empty() && view.robot.state == "limp" {
            hint(ui, &fill(&w.left_stiff, &[("joints", &view.robot.left_stiff.join(", "))]));
        }
    });
    trouble(ui, shown);
    actions(app, ui, s, shown, view);
    divider(ui);
    calibration(app, ui, s, shown, view);
    divider(ui);
    section(ui, &w.link, |_| {});
    let [median, p99, longest] = view.period_ms;
    let numbers = [
        ("median", format!("{median:.1}")),
        ("p99", format!("{p99:.1}")),
        ("longest", format!("{longest:.1}")),
        ("late", view.late.to_string()),
        ("failures", view.robot.bus_failures.to_string()),
        ("retries", view.robot.bus_retries.to_string()),
    ];
    let numbers: Vec<(&str, &dyn std::fmt::Display)> =
        numbers.iter().map(|(n, v)| (*n, v as &dyn std::fmt::Display)).collect();
    hint(ui, &fill(&w.period, &numbers));
    if icon_text_button(ui, Icon::Log, &w.black_box).on_hover_text(&w.black_box_tip).clicked() {
        app.robot_view.moment = usize::MAX;
        app.outbox.robot(Wish::Replay);
    }
}

fn meaning<'s>(s: &'s Strings, state: &str) -> &'s str {
    let w = &s.robot;
    match state {
        "limp" => &w.limp_means,
        "armed" => &w.armed_means,
        "ready" => &w.ready_means,
        "running" => &w.running_means,
        "hold" => &w.hold_means,
        "fault" => &w.fault_means,
        _ => &w.disconnected_means,
    }
}

fn actions(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown, view: &AgentView) {
    let w = &s.robot;
    if shown.running.is_some() {
        hint(ui, &w.stage_runs);
        return;
    }
    let ask = |app: &mut Studio, ask: Ask| app.outbox.robot(Wish::Ask(ask));
    match view.robot.state.as_str() {
        "limp" => {
            if main_button(ui, Icon::Spark, &w.arm, "", true).on_hover_text(&w.arm_tip).clicked() {
                ask(app, Ask::Arm);
            }
        }
        "ready" => {
            if main_button(ui, Icon::Sliders, &w.by_hand, "", true).on_hover_text(&w.by_hand_tip).clicked() {
                app.robot_view.sliders.clear();
                app.outbox.robot(Wish::ByHand);
            }
            if icon_text_button(ui, Icon::StepBack, &w.park).on_hover_text(&w.park_tip).clicked() {
                ask(app, Ask::Park);
            }
        }
        "hold" => {
            if main_button(ui, Icon::Play, &w.resume, "", view.robot.stands)
                .on_hover_text(&w.resume_tip)
                .clicked()
            {
                ask(app, Ask::Resume);
            }
            ui.horizontal_wrapped(|ui| {
                if icon_text_button(ui, Icon::StepBack, &w.park).on_hover_text(&w.park_tip).clicked() {
                    ask(app, Ask::Park);
                }
                release(app, ui, s);
            });
        }
        "fault" => {
            if main_button(ui, Icon::Check, &w.acknowledge, "", true)
                .on_hover_text(&w.acknowledge_tip)
                .clicked()
            {
                ask(app, Ask::Acknowledge);
            }
            release(app, ui, s);
        }
        _ => {}
    }
    // There, a person says where each episode begins and ends.
    if app.view.screen == crate::screens::Screen::Data {
        return;
    }
    let mut record = app.robot_view.record;
    if ui.checkbox(&mut record, &w.record).on_hover_text(&w.record_tip).changed() {
        app.robot_view.record = record;
        let folder = app.robot_dataset();
        app.outbox.robot(Wish::Record(record.then_some(folder)));
    }
    if let Some(frames) = shown.recorded {
        hint(ui, &fill(&w.recorded, &[("frames", &frames)]));
        super::twins::show(app, ui, s);
    }
}

/// "Release torque": held for a second, since the arm will fall.
fn release(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let w = &s.robot;
    let response = icon_text_button(ui, Icon::Warning, &w.release).on_hover_text(&w.release_tip);
    let down = response.is_pointer_button_down_on();
    match (app.robot_view.release_since, down) {
        (None, true) => {
            app.robot_view.release_since = Some(app.now);
            app.outbox.robot(Wish::Ask(Ask::BeginRelease));
        }
        (Some(since), true) => {
            ui.ctx().request_repaint_after_secs(0.05);
            if app.now - since > 1.1 {
                app.robot_view.release_since = Some(f64::INFINITY);
                if since.is_finite() {
                    app.outbox.robot(Wish::Ask(Ask::Release));
                }
            }
        }
        (_, false) => app.robot_view.release_since = None,
    }
    if app.robot_view.release_since.is_some_and(f64::is_finite) {
        soft(ui, &w.release_hold);
    }
}

fn calibration(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown, view: &AgentView) {
    let w = &s.robot;
    section(ui, &w.calibration, |_| {});
    if view.robot.state != "limp" {
        hint(ui, &w.calibration_limp);
        return;
    }
    if icon_text_button(ui, Icon::Compare, &w.compare_calibration).on_hover_text(&w.calibration_tip).clicked()
    {
        app.outbox.robot(Wish::CompareCalibration);
    }
    sweep(app, ui, s, shown, view);
    let Some(differences) = &shown.calibration else { return };
    if differences.is_empty() {
        hint(ui, &w.calibration_same);
        return;
    }
    for d in differences {
        let file = d.file.map_or_else(
            || w.calibration_none.clone(),
            |c| format!("{} … {} ({:+})", c.range_min, c.range_max, c.homing_offset),
        );
        let servo = format!("{} … {} ({:+})", d.servo.range_min, d.servo.range_max, d.servo.homing_offset);
        let apart = format!("{:.1}", d.degrees_apart);
        ui.label(RichText::new(&d.joint).text_style(theme::strong()));
        hint(ui, &fill(&w.calibration_row, &[("file", &file), ("motor", &servo), ("apart", &apart)]));
    }
    ui.add_space(space::XS);
    hint(ui, &w.calibration_choose);
    ui.horizontal_wrapped(|ui| {
        if icon_text_button(ui, Icon::Check, &w.use_motors).clicked() {
            app.outbox.robot(Wish::Ask(Ask::UseCalibration { from_file: false }));
        }
        let file_has_all = differences.iter().all(|d| d.file.is_some());
        ui.add_enabled_ui(file_has_all, |ui| {
            if icon_text_button(ui, Icon::Check, &w.use_file).clicked() {
                app.outbox.robot(Wish::Ask(Ask::UseCalibration { from_file: true }));
            }
        });
    });
}

/// Finding the ranges of a new arm: the middle first, then both ends of every joint, by hand.
fn sweep(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown, view: &AgentView) {
    let w = &s.robot;
    let Some(found) = &shown.sweep else {
        ui.collapsing(&w.sweep, |ui| {
            hint(ui, &w.sweep_middle);
            if icon_text_button(ui, Icon::Check, &w.sweep_begin).clicked() {
                app.outbox.robot(Wish::BeginSweep);
            }
        });
        return;
    };
    let t = tokens(ui);
    hint(ui, &w.sweep_ends);
    for ((low, high), joint) in found.iter().zip(&view.robot.joints) {
        let width = ui.available_width();
        let (rect, response) = ui.allocate_exact_size(vec2(width, 20.0), Sense::hover());
        let span = if low <= high { format!("{low} … {high}") } else { "–".to_owned() };
        let words = format!("{}: {span}", joint.name);
        response.widget_info(|| {
            eframe::egui::WidgetInfo::labeled(eframe::egui::Role::Label, true, words.as_str())
        });
        let at = |v: i32| rect.left() + rect.width() * (v as f32 / 4095.0).clamp(0.0, 1.0);
        let painter = ui.painter();
        painter.rect_filled(rect.shrink2(vec2(0.0, 6.0)), 2, *t.control);
        if low <= high {
            let from = eframe::egui::pos2(at(*low), rect.top() + 6.0);
            let to = eframe::egui::pos2(at(*high).max(at(*low) + 2.0), rect.bottom() - 6.0);
            painter.rect_filled(eframe::egui::Rect::from_min_max(from, to), 2, *t.accent);
        }
        if let Some(steps) = joint.steps {
            painter.circle_filled(eframe::egui::pos2(at(steps), rect.center().y), 5.0, *t.text);
        }
        hint(ui, &words);
    }
    ui.horizontal_wrapped(|ui| {
        if icon_text_button(ui, Icon::Check, &w.sweep_keep).clicked() {
            app.outbox.robot(Wish::EndSweep(true));
        }
        if icon_text_button(ui, Icon::Close, &w.sweep_leave).clicked() {
            app.outbox.robot(Wish::EndSweep(false));
        }
    });
}
