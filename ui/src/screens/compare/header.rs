//! The head of the screen: its parts, the ways to look at the panes, and what belongs to the way that is chosen.

use eframe::egui::{Align, Layout, RichText, Slider, Ui, vec2};
use strum::IntoEnumIterator;

use crate::app::Studio;
use crate::commands::Command;
use crate::compare::{Look, Part};
use crate::i18n::{Strings, fill};
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{chip, command_icon, segments, tip};

/// Amplifications of the signed difference that can be chosen.
const GAINS: [f32; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];

/// Shows the head.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let parts: Vec<_> = Part::iter().map(|part| (part, part_words(s, part), "")).collect();
        let width = (88.0 * parts.len() as f32).min(ui.available_width() - 190.0);
        ui.allocate_ui_with_layout(vec2(width, theme::ROW), Layout::left_to_right(Align::Center), |ui| {
            if let Some(part) = segments(ui, app.view.compare.part, &parts) {
                app.outbox.compare(Wish::Part(part));
            }
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            exporting(app, ui, s);
            for command in [
                Command::ClearPanes,
                Command::ToggleNumbers,
                Command::BlindTest,
                Command::BranchFrom,
                Command::AddWorld,
                Command::Export,
            ] {
                let on = command == Command::ToggleNumbers && app.view.compare.numbers;
                if command_icon(ui, s, command, app.enabled(command), on).clicked() {
                    app.outbox.command(command);
                }
            }
            zoom(app, ui, s);
        });
    });
    if app.view.compare.part == Part::Panes
        && app.compare.blind.is_none()
        && !app.compare.doc.get().panes.is_empty()
    {
        looks(app, ui, s);
    }
}

/// An export that is being written, and a button to stop it.
fn exporting(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let Some(export) = app.compare.exporting.clone() else { return };
    let done = export.done.load(std::sync::atomic::Ordering::Relaxed);
    let name = &s.compare.stop_export;
    let response =
        crate::widgets::basic::sized_icon_button(ui, crate::icons::Icon::Stop, name, true, false, theme::ROW);
    if response.on_hover_text(name).clicked() {
        app.outbox.compare(Wish::StopExport);
    }
    let part = done as f32 / export.total.max(1) as f32;
    let bar = eframe::egui::ProgressBar::new(part).desired_width(90.0).desired_height(6.0);
    ui.add(bar.fill(*tokens(ui).accent));
    ui.label(RichText::new(&s.compare.exporting).small().color(*tokens(ui).text_soft));
}

fn part_words(s: &Strings, part: Part) -> &str {
    match part {
        Part::Panes => &s.compare.panes,
        Part::Tree => &s.compare.tree,
        Part::Sweep => &s.compare.sweep,
        Part::Gallery => &s.compare.gallery,
    }
}

/// The factor of zoom while it is not 1, and the way back.
fn zoom(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let factor = app.compare.zoom.factor;
    if factor > 1.001 {
        if command_icon(ui, s, Command::ZoomPanesWhole, true, false).clicked() {
            app.outbox.command(Command::ZoomPanesWhole);
        }
        let text = fill(&s.compare.zoomed, &[("factor", &format!("{factor:.1}"))]);
        ui.label(RichText::new(text).small().color(*tokens(ui).text_soft));
    }
}

/// Name of a look, and the command that chooses it.
pub fn look_words(s: &Strings, look: Look) -> (&str, Command) {
    match look {
        Look::Side => (&s.compare.side, Command::LookSide),
        Look::Wipe => (&s.compare.wipe, Command::LookWipe),
        Look::Onion => (&s.compare.onion, Command::LookOnion),
        Look::Signed => (&s.compare.signed, Command::LookSigned),
        Look::Heat => (&s.compare.heat, Command::LookHeat),
        Look::Flicker => (&s.compare.flicker, Command::LookFlicker),
        Look::Mean => (&s.compare.mean, Command::LookMean),
        Look::Spread => (&s.compare.spread, Command::LookSpread),
        Look::Median => (&s.compare.median, Command::LookMedian),
    }
}

fn looks(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let now = app.view.compare.look;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(space::XS, space::XS);
        ui.set_min_height(theme::ROW);
        for look in Look::iter() {
            if matches!(look, Look::Wipe | Look::Mean) {
                ui.add_space(space::XS);
                let words = if look == Look::Wipe { &s.compare.pair } else { &s.compare.set };
                ui.label(RichText::new(words).small().color(*t.text_faint));
            }
            let (name, command) = look_words(s, look);
            let response = chip(ui, name, look == now);
            if tip(ui, response, s, command).clicked() {
                app.outbox.compare(Wish::Look(look));
            }
        }
        options(app, ui, s, now);
    });
}

/// What belongs to a look: where the line stands, how much shines through, how strongly differences are amplified.
fn options(app: &mut Studio, ui: &mut Ui, s: &Strings, look: Look) {
    let view = app.view.compare.clone();
    let mut share = |ui: &mut Ui, name: &str, value: f32, wish: fn(f32) -> Wish| {
        ui.add_space(space::M);
        ui.label(RichText::new(name).small().color(*tokens(ui).text_soft));
        let mut percent = value * 100.0;
        ui.spacing_mut().slider_width = 120.0;
        let slider = Slider::new(&mut percent, 0.0..=100.0).step_by(1.0).suffix(" %");
        let response = ui.add(slider);
        let name = name.to_owned();
        response.widget_info(|| eframe::egui::WidgetInfo::slider(true, f64::from(percent), &name));
        if response.changed() {
            app.outbox.compare(wish(percent / 100.0));
        }
    };
    match look {
        Look::Wipe => share(ui, &s.compare.position, view.split, Wish::Split),
        Look::Onion => share(ui, &s.compare.opacity, view.onion, Wish::Onion),
        Look::Signed => {
            ui.add_space(space::M);
            ui.label(RichText::new(&s.compare.gain).small().color(*tokens(ui).text_soft));
            for gain in GAINS {
                if chip(ui, &format!("{gain}×"), (gain - view.gain).abs() < 0.01).clicked() {
                    app.outbox.compare(Wish::Gain(gain));
                }
            }
        }
        _ => {}
    }
    if look.of_pair()
        && command_icon(ui, s, Command::SwapPair, app.enabled(Command::SwapPair), false).clicked()
    {
        app.outbox.command(Command::SwapPair);
    }
    if look.of_pair() {
        let response = crate::widgets::basic::icon_button(
            ui,
            crate::icons::Icon::Spark,
            &s.commands.most_different.name,
            app.enabled(Command::MostDifferent),
            false,
        );
        if tip(ui, response, s, Command::MostDifferent).clicked() {
            app.outbox.command(Command::MostDifferent);
        }
    }
}
