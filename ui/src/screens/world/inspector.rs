//! The left side: model, start, words, numbers, run, and the button that matters.

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    Color32, Frame, Margin, Panel, RichText, Role, ScrollArea, Stroke, TextEdit, TextStyle, Ui, WidgetInfo,
};
use strum::IntoEnumIterator;

use super::{channels, clip, model_card, start_section};
use crate::app::Studio;
use crate::commands::Command;
use crate::doc::{Edit, MAX_FUTURES, MAX_REFINE, MAX_STEPS, Mode};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::theme::{self, space, tokens};
use crate::vocabulary;
use crate::widgets::basic::{command_icon, divider, hint, main_button, section, segments, tip};
use crate::widgets::slider::{Spec, number, stepper};

/// Shows the inspector.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let frame = Frame::new().inner_margin(Margin::symmetric(16, 12));
    Panel::bottom("imagine").frame(frame).show_separator_line(false).show(ui, |ui| {
        let edge = ui.max_rect().expand2([16.0, 12.0].into());
        ui.painter().hline(edge.x_range(), edge.top() + 0.5, Stroke::new(1.0, *tokens(ui).line));
        run(app, ui, s);
        ui.add_space(space::XS);
        imagine_button(app, ui, s);
    });
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 16 }).show(ui, |ui| {
            model_card::show(app, ui, s);
            divider(ui);
            start_section::show(app, ui, s);
            divider(ui);
            driven_by(app, ui, s);
            words(app, ui, s);
            clip::show(app, ui, s);
            divider(ui);
            channels::show(app, ui, s);
        });
    });
}

fn imagine_button(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let running = app.jobs.imagining().is_some();
    let command = if running { Command::Cancel } else { Command::Imagine };
    let keys = command.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut)).unwrap_or_default();
    let (icon, name) = if running { (Icon::Stop, &s.world.cancel) } else { (Icon::Spark, &s.world.imagine) };
    let response = main_button(ui, icon, name, &keys, app.enabled(command));
    if tip(ui, response, s, command).clicked() {
        app.outbox.command(command);
    }
}

/// Name and explanation of a mode.
pub fn mode_words(s: &Strings, mode: Mode) -> (&str, &str) {
    match mode {
        Mode::Words => (&s.world.mode_words, &s.world.mode_words_tip),
        Mode::Numbers => (&s.world.mode_numbers, &s.world.mode_numbers_tip),
        Mode::Both => (&s.world.mode_both, &s.world.mode_both_tip),
        Mode::Free => (&s.world.mode_free, &s.world.mode_free_tip),
    }
}

fn driven_by(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.world.mode, |_| ());
    let choices: Vec<_> = Mode::iter().map(|m| (m, mode_words(s, m).0, mode_words(s, m).1)).collect();
    if let Some(mode) = segments(ui, app.setup.get().mode, &choices) {
        app.outbox.edit(Edit::Mode(mode));
    }
    ui.add_space(space::S);
}

fn words(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let setup = app.setup.get();
    let takes_text = app.contract().is_none_or(|c| c.text);
    let used = setup.mode.uses_words() && takes_text;
    let unknown = vocabulary::unknown(&setup.prompt, app.vocabulary());
    let mut text = setup.prompt.clone();
    let colour = if used { *t.text } else { *t.text_faint };
    let mut layouter = |ui: &Ui, text: &dyn eframe::egui::TextBuffer, width: f32| {
        let marks = vocabulary::unknown(text.as_str(), app.vocabulary());
        ui.fonts_mut(|f| f.layout_job(marked(text.as_str(), &marks, colour, *t.warn, ui, width)))
    };
    let response = TextEdit::multiline(&mut text)
        .id_salt("prompt")
        .hint_text(s.world.prompt_hint.as_str())
        .desired_width(f32::INFINITY)
        .desired_rows(2)
        .margin(Margin::symmetric(10, 8))
        .layouter(&mut layouter)
        .show(ui)
        .response
        .response;
    response.widget_info(|| {
        let mut info = WidgetInfo::text_edit(true, &setup.prompt, &text, &s.world.prompt_hint);
        info.role = Role::MultilineTextInput;
        info.label = Some(s.world.prompt.clone());
        info
    });
    let has_text = !setup.prompt.is_empty();
    if response.changed() {
        app.outbox.edit(Edit::Prompt(text));
    }
    if !takes_text {
        hint(ui, &s.world.no_text);
    } else if !used && has_text {
        let mode = mode_words(s, app.setup.get().mode).0;
        hint(ui, &fill(&s.numbers.off_in_mode, &[("mode", &mode)]));
    } else if !unknown.is_empty() {
        let prompt = &app.setup.get().prompt;
        let words: Vec<_> = unknown.into_iter().filter_map(|r| prompt.get(r)).collect();
        ui.horizontal_wrapped(|ui| {
            let text = fill(&s.world.unknown_words, &[("words", &words.join(", "))]);
            ui.label(RichText::new(text).small().color(*t.warn));
        });
    } else if !has_text {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = [4.0, 4.0].into();
            for prompt in crate::scenes::prompts(&s.scenes).into_iter().take(2) {
                let chip = eframe::egui::Button::new(RichText::new(prompt).small().color(*t.text_soft))
                    .corner_radius(12);
                ui.spacing_mut().interact_size.y = 22.0;
                ui.spacing_mut().button_padding = [8.0, 2.0].into();
                if ui.add(chip).clicked() {
                    app.outbox.edit(Edit::Prompt(prompt.to_owned()));
                }
            }
        });
    }
}

/// The prompt with the words that the model never met underlined.
fn marked(
    text: &str,
    marks: &[std::ops::Range<usize>],
    colour: Color32,
    warn: Color32,
    ui: &Ui,
    width: f32,
) -> LayoutJob {
    let font = TextStyle::Body.resolve(ui.style());
    let mut job = LayoutJob::default();
    job.wrap.max_width = width;
    let mut at = 0;
    let mut add = |range: std::ops::Range<usize>, marked: bool| {
        let Some(part) = text.get(range).filter(|p| !p.is_empty()) else { return };
        let mut format = TextFormat::simple(font.clone(), colour);
        if marked {
            format.underline = Stroke::new(1.5, warn);
        }
        job.append(part, 0.0, format);
    };
    for mark in marks {
        add(at..mark.start, false);
        add(mark.clone(), true);
        at = mark.end;
    }
    add(at..text.len(), false);
    job
}

/// What is set for each run: number of futures, seed, refine and length, two in a row.
fn run(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let setup = app.setup.get().clone();
    let rate = app.contract().map_or(10.0, |c| c.frame.rate_hz);
    let seconds = format!("{:.1}", setup.steps as f32 / rate.max(0.1));
    ui.spacing_mut().item_spacing.y = space::XS;
    ui.columns(2, |columns| {
        let [left, right] = columns else { return };
        row(left, &s.world.futures, &s.world.futures_tip, |ui| {
            let names = (s.numbers.fewer.as_str(), s.numbers.more.as_str());
            if let Some(n) = stepper(ui, &s.world.futures, setup.futures, 1..=MAX_FUTURES, names) {
                app.outbox.edit(Edit::Futures(n));
            }
        });
        row(right, &s.world.seed, &s.world.seed_tip, |ui| {
            if command_icon(ui, s, Command::RerollSeed, true, false).clicked() {
                app.outbox.command(Command::RerollSeed);
            }
            if let Some(seed) = seed_field(ui, &s.world.seed, setup.seed) {
                app.outbox.edit(Edit::Seed(seed));
            }
        });
        // Clips are denoised as a whole: their steps are among the choices of the clip.
        if app.model().is_none_or(|m| m.clip.is_none()) {
            row(left, &s.world.refine, &s.world.refine_tip, |ui| {
                let names = (s.numbers.fewer.as_str(), s.numbers.more.as_str());
                if let Some(n) = stepper(ui, &s.world.refine, setup.refine, 1..=MAX_REFINE, names) {
                    app.outbox.edit(Edit::Refine(n));
                }
            });
        }
        row(right, &s.world.length, &fill(&s.world.length_tip, &[("seconds", &seconds)]), |ui| {
            let spec = Spec {
                name: &s.world.length,
                label: &s.world.length,
                unit: &s.world.steps,
                range: 1.0..=MAX_STEPS as f32,
                step: 1.0,
                digits: 0,
                marked: true,
            };
            if let Some(value) = number(ui, &spec, setup.steps as f32) {
                app.outbox.edit(Edit::Steps(value.round() as usize));
            }
        });
    });
    if app.devices.len() > 1 {
        row(ui, &s.world.device, "", |ui| {
            let label = s.world.device.clone();
            let combo = eframe::egui::ComboBox::from_id_salt("device").selected_text(&setup.device).show_ui(
                ui,
                |ui| {
                    for device in app.devices.clone() {
                        if ui.selectable_label(device == setup.device, &device).clicked() {
                            app.outbox.edit(Edit::Device(device));
                        }
                    }
                },
            );
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &label));
        });
    }
}

fn seed_field(ui: &mut Ui, name: &str, seed: u64) -> Option<u64> {
    let mut edited = seed;
    let t = tokens(ui);
    ui.visuals_mut().widgets.inactive.weak_bg_fill = *t.input;
    ui.spacing_mut().button_padding = [6.0, 2.0].into();
    ui.spacing_mut().interact_size = [44.0, 22.0].into();
    let response = ui.add(eframe::egui::DragValue::new(&mut edited).speed(1.0).update_while_editing(false));
    response.widget_info(|| {
        let mut info = WidgetInfo::drag_value(true, seed as f64);
        info.label = Some(name.to_owned());
        info
    });
    (edited != seed).then_some(edited)
}

/// A name on the left, a control on the right.
fn row<R>(ui: &mut Ui, name: &str, explanation: &str, control: impl FnOnce(&mut Ui) -> R) {
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let label = ui.label(RichText::new(name).color(*tokens(ui).text_soft));
        if !explanation.is_empty() {
            label.on_hover_text(explanation);
        }
        ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            control(ui)
        });
    });
}
