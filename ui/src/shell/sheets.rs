//! Sheets over the window: the command palette, the list of shortcuts, the field for an episode.

use eframe::egui::{
    Align, Context, Frame, Id, Key, Label, Layout, Margin, Modal, Modifiers, RichText, Role, ScrollArea,
    Sense, Stroke, TextEdit, Ui, Vec2, WidgetInfo, vec2,
};
use forerun::models::published::Licence;
use strum::IntoEnumIterator;

use super::compare_sheets;
use crate::app::Studio;
use crate::commands::Command;
use crate::compare::export::Export;
use crate::i18n::Strings;
use crate::icons::Icon;
use crate::message::Message;
use crate::shelf::{Held, Wish};
use crate::theme::{self, space, tokens};
use crate::verdict::Ask;
use crate::widgets::basic::{focus_ring, hint, icon_text_button};

/// What is open over the window.
#[derive(Clone, Debug, PartialEq)]
pub enum Sheet {
    /// The command palette.
    Palette {
        /// What was typed.
        query: String,
        /// Which of the found commands is marked.
        marked: usize,
    },
    /// The list of shortcuts.
    Shortcuts,
    /// Imagine from here, otherwise.
    Branch(Branch),
    /// What to export.
    Export(Export),
    /// A recording from the virtual world.
    Record(crate::data::RecordForm),
    /// A question about the selected future.
    Ask(Ask),
    /// Terms of a model that were not read yet.
    Terms {
        /// Whose they are.
        licence: Licence,
        /// What they hold up.
        held: Held,
    },
    /// The field for `DATASET#EPISODE`.
    Episode {
        /// What was typed.
        text: String,
        /// Why it was refused.
        trouble: Option<String>,
    },
}

/// A branch as the sheet describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Folder of the parent.
    pub folder: std::path::PathBuf,
    /// Its seed.
    pub seed: u64,
    /// Frame of the parent to start from.
    pub at: usize,
    /// Words.
    pub prompt: String,
    /// Frames to imagine, where numbers do not say it.
    pub steps: usize,
    /// Seed of the first branch.
    pub new_seed: u64,
    /// Number of branches.
    pub futures: usize,
    /// Pace of the remaining movement; 1 = as it was.
    pub pace: f32,
    /// Whether numbers drive the parent.
    pub numbers: bool,
}

/// Shows the open sheet.
pub fn sheet(app: &mut Studio, ctx: &Context) {
    let Some(mut sheet) = app.sheet.take() else { return };
    let s = app.strings();
    let t = theme::tokens_of(ctx.theme());
    let frame = Frame::new()
        .fill(*t.panel)
        .stroke(Stroke::new(1.0, *t.line_strong))
        .corner_radius(12)
        .shadow(ctx.global_style().visuals.window_shadow)
        .inner_margin(Margin::same(12));
    let area =
        Modal::default_area(Id::unique("sheet")).anchor(eframe::egui::Align2::CENTER_TOP, vec2(0.0, 72.0));
    let response =
        Modal::new(Id::unique("sheet")).area(area).backdrop_color(*t.shade).frame(frame).show(ctx, |ui| {
            match &mut sheet {
                Sheet::Palette { query, marked } => palette(app, ui, s, query, marked),
                Sheet::Shortcuts => shortcuts(app, ui, s),
                Sheet::Ask(form) => ask(app, ui, s, form),
                Sheet::Terms { licence, .. } => terms(app, ui, s, *licence),
                Sheet::Branch(form) => compare_sheets::branch(app, ui, s, form),
                Sheet::Export(form) => compare_sheets::export(app, ui, s, form),
                Sheet::Record(form) => crate::screens::data::record_sheet(app, ui, s, form),
                Sheet::Episode { text, trouble } => episode(app, ui, s, text, trouble.as_deref()),
            }
        });
    if response.should_close() {
        app.outbox.send(Message::CloseSheet);
    }
    app.sheet = Some(sheet);
}

/// Commands whose names have the letters of `query` in order, best first. Both languages are searched, so that a
/// person finds a command by the name that they know.
pub fn search(query: &str, here: &Strings, other: &Strings) -> Vec<Command> {
    let mut found: Vec<(i32, usize, Command)> = Command::iter()
        .filter(|c| *c != Command::Palette)
        .enumerate()
        .filter_map(|(i, c)| {
            let score =
                score(query, &c.text(here).name).max(score(query, &c.text(other).name).map(|v| v - 1))?;
            Some((-score, c.text(here).name.chars().count() * 100 + i, c))
        })
        .collect();
    found.sort_unstable_by_key(|(score, place, _)| (*score, *place));
    found.into_iter().map(|(_, _, c)| c).collect()
}

/// How well `query` fits `name`: letters in order; letters in a row and at the start of words count more.
fn score(query: &str, name: &str) -> Option<i32> {
    let name: Vec<char> = name.to_lowercase().chars().collect();
    let (mut at, mut total, mut last) = (0, 0, None);
    for c in query.to_lowercase().chars().filter(|c| !c.is_whitespace()) {
        let found = name.iter().enumerate().skip(at).find(|(_, n)| **n == c).map(|(i, _)| i)?;
        let row = last.is_some_and(|l: usize| l + 1 == found);
        let first = found == 0 || name.get(found - 1).is_some_and(|p| p.is_whitespace());
        total += if row || first { 4 } else { 1 };
        (last, at) = (Some(found), found + 1);
    }
    Some(total)
}

/// A question about the selected future.
fn ask(app: &mut Studio, ui: &mut Ui, s: &Strings, form: &mut Ask) {
    ui.set_width(520.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    ui.label(
        RichText::new(s.commands.ask_reasoner.name.trim_end_matches('…'))
            .text_style(eframe::egui::TextStyle::Heading),
    );
    hint(ui, &s.ask.hint);
    let fields = [
        (&mut form.reasoner, &s.ask.reasoner, "path/to/Cosmos-Reason2-2B"),
        (&mut form.question, &s.ask.question, s.ask.usual.as_str()),
    ];
    for (text, name, example) in fields {
        let field = TextEdit::singleline(text)
            .id_salt(name.as_str())
            .hint_text(example)
            .desired_width(f32::INFINITY)
            .margin(Margin::symmetric(10, 8))
            .show(ui);
        field.response.response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, name));
    }
    ui.add_space(space::S);
    ui.add_enabled_ui(!form.reasoner.trim().is_empty(), |ui| {
        if icon_text_button(ui, Icon::Spark, &s.ask.go).clicked() {
            app.outbox.send(Message::Ask(form.clone()));
        }
    });
}

/// The terms of a model before its first use.
fn terms(app: &mut Studio, ui: &mut Ui, s: &Strings, licence: Licence) {
    ui.set_width(520.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    ui.label(RichText::new(licence.name()).text_style(theme::title()));
    for text in crate::screens::models::terms_text(s, licence) {
        ui.add(eframe::egui::Label::new(text).wrap());
        ui.add_space(space::S);
    }
    ui.horizontal(|ui| {
        if icon_text_button(ui, Icon::Check, &s.shelf.terms_accept).clicked() {
            app.outbox.send(Message::Models(Wish::Accept(licence.name().to_owned())));
        }
        if icon_text_button(ui, Icon::Close, &s.shelf.terms_decline).clicked() {
            app.outbox.send(Message::CloseSheet);
        }
    });
}

fn palette(app: &mut Studio, ui: &mut Ui, s: &Strings, query: &mut String, marked: &mut usize) {
    ui.set_width(520.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    let t = tokens(ui);
    let field = TextEdit::singleline(query)
        .hint_text(s.shell.search_hint.as_str())
        .desired_width(f32::INFINITY)
        .margin(Margin::symmetric(10, 8))
        .show(ui);
    let name = s.shell.search_hint.clone();
    field.response.response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &name));
    field.response.response.request_focus();
    if field.response.response.changed() {
        *marked = 0;
    }
    let found = search(query, s, crate::i18n::strings(app.view.language.other()));
    let (up, down, enter) = ui.input_mut(|i| {
        let up = i.consume_key(Modifiers::NONE, Key::ArrowUp);
        let down = i.consume_key(Modifiers::NONE, Key::ArrowDown);
        (up, down, i.consume_key(Modifiers::NONE, Key::Enter))
    });
    *marked =
        (*marked + usize::from(down)).min(found.len().saturating_sub(1)).saturating_sub(usize::from(up));
    ui.add_space(space::XS);
    let mut chosen = if enter { found.get(*marked).copied() } else { None };
    ScrollArea::vertical().max_height(420.0).auto_shrink([false, true]).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        if found.is_empty() {
            ui.add_space(space::S);
            ui.label(RichText::new(&s.shell.nothing_found).color(*t.text_faint));
        }
        for (i, command) in found.iter().enumerate() {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 36.0), Sense::click());
            let name = command.text(s).name.as_str();
            let enabled = app.enabled(*command);
            response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, i == *marked, name));
            if i == *marked || response.hovered() {
                let fill = if i == *marked { *t.accent_soft } else { *t.control };
                ui.painter().rect_filled(rect, theme::RADIUS, fill);
            }
            if i == *marked && (up || down) {
                response.scroll_to_me(None);
            }
            let colour = if enabled { *t.text } else { *t.text_faint };
            let row = rect.shrink2(vec2(space::S, 0.0));
            ui.scope_builder(
                eframe::egui::UiBuilder::new().max_rect(row).layout(Layout::left_to_right(Align::Center)),
                |ui| {
                    let (icon, _) = ui.allocate_exact_size(Vec2::splat(18.0), Sense::hover());
                    if let Some(shape) = command.icon() {
                        shape.paint(ui.painter(), icon, if enabled { *t.text_soft } else { *t.text_faint });
                    }
                    ui.label(RichText::new(name).color(colour));
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        if let Some(binding) = command.bindings().first() {
                            ui.label(
                                RichText::new(ui.ctx().format_shortcut(&binding.shortcut))
                                    .small()
                                    .color(*t.text_faint),
                            );
                        }
                    });
                },
            );
            if response.clicked() {
                chosen = Some(*command);
            }
        }
    });
    if let Some(command) = chosen.filter(|c| app.enabled(*c)) {
        app.outbox.send(Message::CloseSheet);
        app.outbox.command(command);
    }
}

fn shortcuts(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    ui.set_width(460.0);
    let t = tokens(ui);
    ui.label(RichText::new(&s.shell.shortcuts).text_style(eframe::egui::TextStyle::Heading));
    ui.add_space(space::XS);
    ScrollArea::vertical().max_height((ui.ctx().content_rect().height() - 220.0).max(120.0)).show(ui, |ui| {
        ui.spacing_mut().item_spacing.y = space::XS;
        for command in Command::iter().filter(|c| !c.bindings().is_empty()) {
            ui.horizontal(|ui| {
                ui.set_min_height(24.0);
                ui.label(command.text(s).name.trim_end_matches('…'));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let keys: Vec<_> =
                        command.bindings().iter().map(|b| ui.ctx().format_shortcut(&b.shortcut)).collect();
                    ui.label(RichText::new(keys.join("   ")).color(*t.text_soft));
                });
            });
        }
    });
    ui.add_space(space::S);
    if ui.button(&s.shell.close).clicked() {
        app.outbox.send(Message::CloseSheet);
    }
}

fn episode(app: &mut Studio, ui: &mut Ui, s: &Strings, text: &mut String, trouble: Option<&str>) {
    ui.set_width(460.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    let t = tokens(ui);
    ui.label(
        RichText::new(s.commands.open_episode.name.trim_end_matches('…'))
            .text_style(eframe::egui::TextStyle::Heading),
    );
    hint(ui, &s.world.episode_hint);
    let field = TextEdit::singleline(text)
        .hint_text(s.world.episode_example.as_str())
        .desired_width(f32::INFINITY)
        .margin(Margin::symmetric(10, 8))
        .show(ui);
    let response = field.response.response;
    response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &s.world.episode_hint));
    if !response.has_focus() && !response.lost_focus() {
        response.request_focus();
    }
    focus_ring(ui, response.rect, &response);
    if let Some(trouble) = trouble {
        ui.add(Label::new(RichText::new(trouble).small().color(*t.bad)).wrap());
    }
    ui.add_space(space::S);
    let enter = response.lost_focus() && ui.input(|i| i.key_pressed(Key::Enter));
    ui.horizontal(|ui| {
        let enabled = !text.trim().is_empty();
        if ui.add_enabled(enabled, eframe::egui::Button::new(&s.world.episode_use)).clicked()
            || enter && enabled
        {
            app.outbox.send(Message::Episode(text.clone()));
        }
        if ui.button(&s.world.episode_browse).clicked() {
            app.outbox.send(Message::BrowseDataset);
        }
        if ui.button(&s.world.cancel).clicked() {
            app.outbox.send(Message::CloseSheet);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::{Language, strings};

    #[test]
    fn commands_are_found_by_letters_in_both_languages() {
        let (en, zh) = (strings(Language::English), strings(Language::Chinese));
        assert_eq!(search("imag", en, zh).first(), Some(&Command::Imagine));
        assert_eq!(search("開始想像", en, zh).first(), Some(&Command::Imagine));
        assert_eq!(search("nf", en, zh).first(), Some(&Command::StepForward), "first letters of words count");
        assert!(search("qqqq", en, zh).is_empty());
        assert_eq!(search("", en, zh).len(), Command::iter().count() - 1);
    }
}
