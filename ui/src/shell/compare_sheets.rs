//! Sheets of the Compare screen: a branch, an export.

use eframe::egui::{
    Align, Button, DragValue, Label, Layout, Margin, RichText, Role, TextEdit, Ui, WidgetInfo, vec2,
};
use strum::IntoEnumIterator;

use super::sheets::Branch;
use crate::app::Studio;
use crate::compare::export::{Export, ExportKind};
use crate::doc::{MAX_FUTURES, MAX_STEPS};
use crate::i18n::{Strings, fill};
use crate::message::{Message, Wish};
use crate::theme::{space, tokens};
use crate::widgets::basic::{chip, hint};

/// Paces that a branch can go on at.
const PACES: [f32; 4] = [0.5, 1.0, 1.5, 2.0];

fn title(ui: &mut Ui, text: &str) {
    ui.label(RichText::new(text.trim_end_matches('…')).text_style(eframe::egui::TextStyle::Heading));
}

fn named(ui: &mut Ui, name: &str, content: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        let t = tokens(ui);
        ui.allocate_ui_with_layout(vec2(120.0, 28.0), Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(120.0);
            ui.add(Label::new(RichText::new(name).color(*t.text_soft)).truncate());
        });
        content(ui);
    });
}

fn number(ui: &mut Ui, name: &str, value: &mut u64, range: std::ops::RangeInclusive<u64>) {
    let response = ui.add(DragValue::new(value).range(range));
    let (name, now) = (name.to_owned(), *value);
    response.widget_info(|| {
        let mut info = WidgetInfo::new(Role::SpinButton);
        info.label = Some(name.clone());
        info.value = Some(now as f64);
        info
    });
}

/// Imagine from here, otherwise.
pub fn branch(app: &mut Studio, ui: &mut Ui, s: &Strings, branch: &mut Branch) {
    ui.set_width(480.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    title(ui, &s.commands.branch_from.name);
    hint(ui, &fill(&s.compare.branch_text, &[("frame", &branch.at), ("seed", &branch.seed)]));
    ui.add_space(space::XS);
    let field = TextEdit::multiline(&mut branch.prompt)
        .desired_rows(2)
        .desired_width(f32::INFINITY)
        .hint_text(s.world.prompt_hint.as_str())
        .margin(Margin::symmetric(10, 8))
        .show(ui)
        .response
        .response;
    field.widget_info(|| {
        let mut info = WidgetInfo::new(Role::MultilineTextInput);
        info.label = Some(s.compare.branch_words.clone());
        info
    });
    named(ui, &s.world.seed, |ui| {
        number(ui, &s.world.seed, &mut branch.new_seed, 0..=u64::MAX);
        if ui.button(&s.commands.reroll_seed.name).clicked() {
            branch.new_seed = branch.new_seed.wrapping_add(1);
        }
    });
    named(ui, &s.world.futures, |ui| {
        let mut n = branch.futures as u64;
        number(ui, &s.world.futures, &mut n, 1..=MAX_FUTURES as u64);
        branch.futures = n as usize;
    });
    if branch.numbers {
        named(ui, &s.compare.pace, |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for pace in PACES {
                if chip(ui, &format!("{pace}×"), (branch.pace - pace).abs() < 0.01).clicked() {
                    branch.pace = pace;
                }
            }
        });
        hint(ui, &s.compare.pace_tip);
    } else {
        named(ui, &s.world.length, |ui| {
            let mut n = branch.steps as u64;
            number(ui, &s.world.length, &mut n, 1..=MAX_STEPS as u64);
            branch.steps = n as usize;
        });
    }
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        if ui.add(Button::new(&s.world.imagine)).clicked() {
            app.outbox.compare(Wish::Branch(branch.clone()));
        }
        if ui.button(&s.world.cancel).clicked() {
            app.outbox.send(Message::CloseSheet);
        }
    });
}

fn kind_words(s: &Strings, kind: ExportKind) -> (&str, &str) {
    let w = &s.compare;
    match kind {
        ExportKind::Mp4 => (&w.export_mp4, &w.export_mp4_tip),
        ExportKind::Gif => (&w.export_gif, &w.export_gif_tip),
        ExportKind::Sequence => (&w.export_sequence, &w.export_sequence_tip),
        ExportKind::Sheet => (&w.export_sheet, &w.export_sheet_tip),
        ExportKind::Strip => (&w.export_strip, &w.export_strip_tip),
        ExportKind::Csv => (&w.export_csv, &w.export_csv_tip),
        ExportKind::Json => (&w.export_json, &w.export_json_tip),
    }
}

/// What to export, and how it looks.
pub fn export(app: &mut Studio, ui: &mut Ui, s: &Strings, export: &mut Export) {
    ui.set_width(480.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    title(ui, &s.commands.export.name);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(space::XS, space::XS);
        for kind in ExportKind::iter() {
            if chip(ui, kind_words(s, kind).0, kind == export.kind).clicked() {
                export.kind = kind;
            }
        }
    });
    hint(ui, kind_words(s, export.kind).1);
    ui.add_space(space::XS);
    if !export.kind.numbers() {
        named(ui, &s.compare.export_title, |ui| {
            let field = TextEdit::singleline(&mut export.title)
                .desired_width(f32::INFINITY)
                .show(ui)
                .response
                .response;
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &s.compare.export_title));
        });
        named(ui, &s.compare.export_scale, |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for scale in [1, 2, 3, 4, 6] {
                if chip(ui, &format!("{scale}×"), scale == export.scale).clicked() {
                    export.scale = scale;
                }
            }
        });
        named(ui, &s.compare.export_paper, |ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            for (light, words) in [(false, &s.compare.export_dark), (true, &s.compare.export_light)] {
                if chip(ui, words, light == export.light).clicked() {
                    export.light = light;
                }
            }
        });
    }
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        if ui.button(&s.compare.export_choose).clicked() {
            app.outbox.compare(Wish::Export(export.clone()));
        }
        if ui.button(&s.world.cancel).clicked() {
            app.outbox.send(Message::CloseSheet);
        }
    });
}
