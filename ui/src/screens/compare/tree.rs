//! The tree of the project's futures, drawn as a version history is: a row a future, lanes for branches.

use std::path::Path;

use eframe::egui::{
    Align, Button, Color32, Label, Layout, Rect, RichText, Role, ScrollArea, Sense, Shape, Stroke, TextEdit,
    Ui, UiBuilder, Vec2, WidgetInfo, epaint::CubicBezierShape, pos2, vec2,
};
use forerun::compare::gallery::Entry;
use forerun::compare::lanes::Placed;

use super::strips::colour;
use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{command_icon, focus_ring, hint, icon_text_button, sized_icon_button, tip};
use crate::widgets::pane::{Slot, fit, picture_part};

/// Height of a row.
const ROW: f32 = 60.0;
/// Width of a lane.
const LANE: f32 = 20.0;
/// Most lanes that are drawn beside each other; deeper ones share the last.
const LANES: usize = 14;

/// Shows the tree.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let library = app.compare.library.clone();
    toolbar(app, ui, s);
    if library.rows.is_empty() {
        return nothing(app, ui, s, &s.compare.tree_empty);
    }
    let lanes = library.rows.iter().map(|r| r.lane).max().unwrap_or(0).min(LANES) + 1;
    let left = LANE * lanes as f32 + 12.0;
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, library.rows.len(), |ui, range| {
        ui.spacing_mut().item_spacing.y = 0.0;
        let width = ui.available_width() - 10.0;
        let top = ui.cursor().top();
        // Lines first, also of rows that are out of sight: their lines may pass through.
        let y = |row: usize| top + (row as f32 - range.start as f32 + 0.5) * ROW;
        let edge = ui.cursor().left();
        let x = |lane: usize| edge + 14.0 + LANE * lane.min(LANES) as f32;
        let clip = ui.clip_rect();
        for row in &library.rows {
            if let Some((up, lane)) = row.parent {
                if row.row < range.start.saturating_sub(1) || up > range.end {
                    continue;
                }
                line(ui, pos2(x(lane), y(up)), pos2(x(row.lane), y(row.row)), colour(ui, row.lane), clip);
            }
        }
        for row in library.rows.iter().filter(|r| range.contains(&r.row)) {
            let Some(folder) = library.folders.get(&row.id) else { continue };
            let Some(entry) = library.entry(folder) else { continue };
            let at = pos2(edge, y(row.row) - ROW / 2.0);
            let rect = Rect::from_min_size(at, vec2(width, ROW));
            show_row(app, ui, s, row, entry, rect, left, pos2(x(row.lane), y(row.row)));
        }
        ui.allocate_space(vec2(width, ROW * range.len() as f32));
    });
}

/// What can be done with the chosen future.
pub fn toolbar(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        for (icon, command) in [
            (Icon::Compare, Command::AddChosen),
            (Icon::Branch, Command::BranchFrom),
            (Icon::Refresh, Command::ImagineAgain),
        ] {
            let words = command.text(s).name.trim_end_matches('…').to_owned();
            let enabled = app.enabled(command);
            let response = ui.add_enabled_ui(enabled, |ui| icon_text_button(ui, icon, &words)).inner;
            if tip(ui, response, s, command).clicked() {
                app.outbox.command(command);
            }
        }
        for command in [Command::RenameFuture, Command::PinPane, Command::RemovePane] {
            if command_icon(ui, s, command, app.enabled(command), false).clicked() {
                app.outbox.command(command);
            }
        }
        lineage(app, ui, s);
    });
}

/// What the chosen future was made from; a click chooses that one.
fn lineage(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let library = app.compare.library.clone();
    let Some(entry) = app.compare.chosen.as_ref().and_then(|folder| library.entry(folder)) else { return };
    let Some(from) = &entry.parent else { return };
    // The tree knows the parent by its pictures, also where folders have moved since.
    let node = library.node_of(&entry.folder).and_then(|id| library.nodes.get(&id));
    let parent = node.and_then(|n| library.folders.get(&n.parent?)).and_then(|f| library.entry(f));
    let parent = parent.or_else(|| library.entry(&from.folder));
    ui.add_space(space::S);
    let Some(parent) = parent else {
        let text = fill(&s.compare.made_from, &[("frame", &from.at), ("folder", &from.folder.display())]);
        let text = RichText::new(text).small().color(*tokens(ui).text_faint);
        ui.add(Label::new(text).truncate());
        return;
    };
    let name = library.node_of(&parent.folder).and_then(|id| library.nodes.get(&id));
    let name = title(s, name.map(|n| n.name.as_str()).unwrap_or_default(), parent);
    let name = fill(&s.compare.tree_row, &[("name", &name), ("seed", &parent.seed)]);
    let text = fill(&s.compare.made_from, &[("frame", &from.at), ("folder", &name)]);
    let button = Button::new(RichText::new(text).small().color(*tokens(ui).accent)).frame(false).truncate();
    if ui.add(button).on_hover_text(parent.folder.display().to_string()).clicked() {
        app.outbox.compare(Wish::Choose(parent.folder.clone()));
    }
}

/// What to do when there is nothing to show.
pub fn nothing(app: &mut Studio, ui: &mut Ui, s: &Strings, text: &str) {
    let area = ui.available_rect_before_wrap();
    let rect =
        Rect::from_center_size(area.center() - vec2(0.0, 30.0), vec2(420.0_f32.min(area.width()), 110.0));
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.label(RichText::new(&s.compare.no_futures).text_style(theme::title()));
        hint(ui, text);
        ui.add_space(space::S);
        if icon_text_button(ui, Icon::World, &s.compare.go_world).clicked() {
            app.outbox.command(Command::ShowWorld);
        }
    });
    ui.advance_cursor_after_rect(area);
}

/// A line from a parent down to what branched from it: into the lane first, then straight down.
fn line(ui: &Ui, from: eframe::egui::Pos2, to: eframe::egui::Pos2, colour: Color32, clip: Rect) {
    let painter = ui.painter().with_clip_rect(clip);
    let stroke = Stroke::new(2.0, colour.gamma_multiply(0.8));
    if (from.x - to.x).abs() < 0.5 {
        painter.line_segment([from, to], stroke);
        return;
    }
    let turn = pos2(to.x, (from.y + ROW * 0.7).min(to.y));
    let points = [from, pos2(from.x, from.y + ROW * 0.35), pos2(to.x, turn.y - ROW * 0.35), turn];
    painter.add(Shape::CubicBezier(CubicBezierShape::from_points_stroke(
        points,
        false,
        Color32::TRANSPARENT,
        stroke,
    )));
    painter.line_segment([turn, to], stroke);
}

fn show_row(
    app: &mut Studio,
    ui: &mut Ui,
    s: &Strings,
    row: &Placed,
    entry: &Entry,
    rect: Rect,
    left: f32,
    dot: eframe::egui::Pos2,
) {
    let t = tokens(ui);
    let node = app.compare.library.nodes.get(&row.id).cloned().unwrap_or_default();
    let chosen = app.compare.chosen.as_deref() == Some(entry.folder.as_path());
    let title = title(s, &node.name, entry);
    let response = ui.interact(rect, ui.scope_id().with(("future", row.id)), Sense::click());
    let label = fill(&s.compare.tree_row, &[("name", &title), ("seed", &entry.seed)]);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &label));
    let back = Rect::from_min_max(pos2(rect.left() + left, rect.top() + 2.0), rect.max - vec2(0.0, 2.0));
    if chosen || response.hovered() {
        ui.painter().rect_filled(back, theme::CARD_RADIUS, if chosen { *t.accent_soft } else { *t.raised });
    }
    focus_ring(ui, back, &response);
    let lane = colour(ui, row.lane);
    ui.painter().circle(dot, 6.0, if chosen { lane } else { *t.base }, Stroke::new(2.5, lane));
    let picture = Rect::from_min_size(back.min + vec2(6.0, 4.0), Vec2::splat(ROW - 12.0));
    thumb(app, ui, &entry.last, picture);
    let words = Rect::from_min_max(
        pos2(picture.right() + 10.0, back.top()),
        pos2(back.right() - 70.0, back.bottom()),
    );
    ui.scope_builder(UiBuilder::new().max_rect(words).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.add_space(8.0);
        ui.spacing_mut().item_spacing.y = 2.0;
        if app.compare.renaming.as_ref().is_some_and(|(id, _)| *id == row.id) {
            rename(app, ui, s);
        } else {
            let text = RichText::new(&title).text_style(theme::strong());
            ui.add(Label::new(text).truncate().sense(Sense::empty()));
        }
        let from = (node.parent.is_some()).then(|| fill(&s.compare.branch_at, &[("frame", &node.at)]));
        let facts = [
            from,
            Some(fill(&s.world.caption_seed, &[("seed", &entry.seed)])),
            Some(fill(&s.world.caption_refine, &[("refine", &entry.refine)])),
            Some(fill(&s.compare.frames_of, &[("n", &entry.steps)])),
            Some(entry.date()),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        let text = RichText::new(facts.join(" · ")).small().color(*t.text_soft);
        ui.add(Label::new(text).truncate().sense(Sense::empty()));
    });
    if node.pinned {
        let place = Rect::from_center_size(pos2(back.right() - 84.0, back.center().y), Vec2::splat(14.0));
        Icon::Pin.paint(ui.painter(), place, *t.accent);
    }
    if chosen || response.hovered() {
        let place = Rect::from_min_max(pos2(back.right() - 70.0, back.top()), back.max - vec2(8.0, 0.0));
        ui.scope_builder(
            UiBuilder::new().max_rect(place).layout(Layout::right_to_left(Align::Center)),
            |ui| {
                for (icon, command) in
                    [(Icon::Compare, Command::AddChosen), (Icon::Branch, Command::BranchFrom)]
                {
                    let name = format!("{}: {title}", command.text(s).name.trim_end_matches('…'));
                    if sized_icon_button(ui, icon, &name, true, false, 26.0).clicked() {
                        app.outbox.compare(Wish::Choose(entry.folder.clone()));
                        app.outbox.command(command);
                    }
                }
            },
        );
    }
    if response.clicked() {
        app.outbox.compare(Wish::Choose(entry.folder.clone()));
    }
    if response.double_clicked() {
        app.outbox.command(Command::AddChosen);
    }
}

/// The name that a person gave, else the words, else what drove it.
pub fn title(s: &Strings, name: &str, entry: &Entry) -> String {
    if !name.is_empty() {
        name.to_owned()
    } else if !entry.prompt.is_empty() {
        entry.prompt.clone()
    } else {
        s.compare.without_words.clone()
    }
}

/// A small picture of a file.
pub fn thumb(app: &mut Studio, ui: &Ui, file: &Path, rect: Rect) {
    let t = tokens(ui);
    ui.painter().rect_filled(rect, theme::RADIUS, *t.raised);
    if let Some(frame) = app.compare.thumbs.get(file) {
        let area = fit(&frame, rect);
        let slot = Slot::Thumb(file.to_owned());
        let id = app.textures.get(ui.ctx(), slot, &frame, area.width(), app.view.smooth);
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        picture_part(ui, id, area, whole, Color32::WHITE);
    }
}

fn rename(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let Some((_, text)) = &mut app.compare.renaming else { return };
    let field = TextEdit::singleline(text).desired_width(320.0).show(ui).response.response;
    field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &s.compare.new_name));
    let (enter, escape) =
        ui.input(|i| (i.key_pressed(eframe::egui::Key::Enter), i.key_pressed(eframe::egui::Key::Escape)));
    if !field.has_focus() && !field.lost_focus() {
        field.request_focus();
    }
    if escape {
        app.outbox.compare(Wish::Renamed(false));
    } else if enter || field.lost_focus() {
        app.outbox.compare(Wish::Renamed(true));
    }
}
