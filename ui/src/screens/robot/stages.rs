//! The way of a bundle to the arm, as a checklist.

use eframe::egui::{Label, RichText, Sense, TextEdit, Ui, vec2};
use forerun::robot::bundle::Stage;

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::robot::{Shown, StageShown, Wish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, divider, hint, icon_text_button, main_button, section, soft};

fn words(s: &Strings, stage: Stage) -> (&str, &str) {
    let w = &s.robot;
    match stage {
        Stage::Replay => (&w.replay, &w.replay_means),
        Stage::Rehearse => (&w.rehearse, &w.rehearse_means),
        Stage::Shadow => (&w.shadow, &w.shadow_means),
        Stage::Cautious => (&w.cautious, &w.cautious_means),
        Stage::Normal => (&w.normal, &w.normal_means),
    }
}

pub(super) fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown) {
    let w = &s.robot;
    section(ui, &w.bundle, |_| {});
    if icon_text_button(ui, Icon::Folder, &w.install).on_hover_text(&w.install_tip).clicked() {
        app.outbox.send(Message::PickBundle);
    }
    let free = shown.running.is_none();
    for policy in &shown.policies {
        let name = policy.file_name().unwrap_or_default().to_string_lossy();
        let text = fill(&w.pack, &[("name", &name)]);
        ui.add_enabled_ui(free, |ui| {
            if icon_text_button(ui, Icon::Policy, &text).on_hover_text(&w.pack_tip).clicked() {
                app.outbox.robot(Wish::Pack(policy.clone()));
            }
        });
    }
    let Some(bundle) = &shown.bundle else {
        hint(ui, &w.no_bundle);
        return;
    };
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&bundle.name).text_style(theme::strong()));
        hint(ui, bundle.id.get(..16).unwrap_or(&bundle.id));
        for warning in &bundle.warnings {
            ui.add(Label::new(RichText::new(warning).small().color(*tokens(ui).warn)).wrap());
        }
        if icon_text_button(ui, Icon::Undo, &w.roll_back).on_hover_text(&w.roll_back_tip).clicked() {
            app.outbox.robot(Wish::RollBack);
        }
    });
    soft(ui, &w.prompt);
    let edit = TextEdit::singleline(&mut app.robot_view.prompt).hint_text(&s.world.prompt_hint);
    let response = ui.add(edit.desired_width(ui.available_width()));
    response.widget_info(|| {
        let mut info = eframe::egui::WidgetInfo::text_edit(true, "", &app.robot_view.prompt, "");
        info.label = Some(w.prompt.clone());
        info
    });
    if response.changed() {
        app.outbox.robot(Wish::Prompt(app.robot_view.prompt.clone()));
    }
    divider(ui);
    for stage in &bundle.stages {
        row(ui, s, stage, stage.stage == bundle.next, shown.running == Some(stage.stage));
    }
    ui.add_space(space::S);
    let (name, _) = words(s, bundle.next);
    match shown.running {
        Some(stage) => {
            ui.horizontal(|ui| {
                ui.spinner();
                soft(ui, &fill(&w.stage_running, &[("stage", &words(s, stage).0)]));
            });
            if stage == Stage::Cautious {
                dead_man(app, ui, s);
            }
        }
        None => {
            let text = fill(&w.run_stage, &[("stage", &name)]);
            if main_button(ui, Icon::Play, &text, "", true).clicked() {
                app.outbox.robot(Wish::Run(bundle.next));
            }
            if bundle.next == Stage::Cautious {
                hint(ui, &w.dead_man_hint);
            }
            skip(app, ui, s, shown, bundle.next);
        }
    }
    if let Some((stage, clean, text)) = &shown.outcome {
        let t = tokens(ui);
        let (word, colour) = if *clean { (&w.counts, *t.good) } else { (&w.counts_not, *t.warn) };
        ui.label(
            RichText::new(format!("{}: {word}", words(s, *stage).0))
                .text_style(theme::strong())
                .color(colour),
        );
        ui.add(Label::new(RichText::new(text).small().color(*t.text_soft)).wrap());
    }
}

fn row(ui: &mut Ui, s: &Strings, stage: &StageShown, next: bool, running: bool) {
    let t = tokens(ui);
    let (name, means) = words(s, stage.stage);
    ui.horizontal_top(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(18.0, 18.0), Sense::hover());
        if stage.done {
            Icon::Check.paint(ui.painter(), rect, if stage.skipped { *t.warn } else { *t.good });
        } else {
            let colour = if next || running { *t.accent } else { *t.line_strong };
            ui.painter().circle_stroke(rect.center(), 6.0, eframe::egui::Stroke::new(2.0, colour));
        }
        ui.vertical(|ui| {
            let colour = if stage.done || next { *t.text } else { *t.text_soft };
            let count = if stage.needed > 1 && !stage.done {
                format!("  {} / {}", stage.clean.min(stage.needed), stage.needed)
            } else {
                String::new()
            };
            ui.label(RichText::new(format!("{name}{count}")).text_style(theme::strong()).color(colour));
            hint(ui, means);
            if !stage.last.is_empty() {
                ui.add(Label::new(RichText::new(&stage.last).small().color(*t.text_soft)).wrap());
            }
        });
    });
}

/// Held by the mouse here, or Shift anywhere in the window.
fn dead_man(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let held = app.robot_view.dead_man || ui.input(|i| i.modifiers.shift);
    let text = if held { &s.robot.dead_man_held } else { &s.robot.dead_man };
    let response = main_button(ui, Icon::Spark, text, "Shift", true).on_hover_text(&s.robot.dead_man_hint);
    app.robot_view.dead_man = response.is_pointer_button_down_on();
    ui.ctx().request_repaint_after_secs(0.03);
}

fn skip(app: &mut Studio, ui: &mut Ui, s: &Strings, shown: &Shown, next: Stage) {
    let w = &s.robot;
    let name = shown.robot.as_ref().map(|r| r.name.clone()).unwrap_or_default();
    ui.collapsing(&w.skip, |ui| {
        hint(ui, &fill(&w.skip_hint, &[("name", &name)]));
        let response = ui.add(TextEdit::singleline(&mut app.robot_view.typed_name).desired_width(150.0));
        response.widget_info(|| {
            let mut info = eframe::egui::WidgetInfo::text_edit(true, "", &app.robot_view.typed_name, "");
            info.label = Some(w.skip.clone());
            info
        });
        ui.add_enabled_ui(app.robot_view.typed_name == name, |ui| {
            if icon_text_button(ui, Icon::StepForward, &w.skip_button).clicked() {
                app.outbox.robot(Wish::Skip(next, app.robot_view.typed_name.clone()));
                app.robot_view.typed_name.clear();
            }
        });
    });
}
