//! A pane: its picture, its caption, and what can be done with it.

use eframe::egui::{
    Align, Button, Color32, CursorIcon, Label, Layout, Rect, Response, RichText, Role, Sense, Spinner,
    Stroke, StrokeKind, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};

use super::strips::{PaneStrips, STRIP};
use super::words;
use crate::app::Studio;
use crate::commands::Command;
use crate::compare::{CompareDoc, Edit, PaneDoc, Source};
use crate::futures::RunState;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{focus_ring, icon_text_button, sized_icon_button, tip};
use crate::widgets::pane::{Slot, fit, picture_part};

/// How a pane is laid out.
pub struct Shape<'a> {
    /// Its place in the set.
    pub place: usize,
    /// Its rectangle.
    pub cell: Rect,
    /// Height of its caption.
    pub caption: f32,
    /// One of the row beside a large view.
    pub small: bool,
    /// Whether the wheel zooms.
    pub wheel: bool,
    /// Numbers to draw under it.
    pub strips: Option<&'a PaneStrips>,
}

/// What is dragged when a pane is moved.
struct Dragged(u64);

/// Height of the caption of a pane of this width, with or without a strip of numbers.
pub fn caption_height(width: f32, strips: bool) -> f32 {
    match (width >= 120.0, strips) {
        (true, true) => 44.0 + STRIP,
        (true, false) => 44.0,
        (false, _) => 24.0,
    }
}

/// Shows a pane.
pub fn show(app: &mut Studio, ui: &mut Ui, doc: &CompareDoc, pane: &PaneDoc, shape: &Shape<'_>) {
    let s = app.strings();
    let rect =
        Rect::from_min_max(shape.cell.min, pos2(shape.cell.right(), shape.cell.bottom() - shape.caption));
    let sense = Sense::click_and_drag();
    let response = ui.interact(rect, ui.scope_id().with(("compare", pane.id, shape.small)), sense);
    let name = words::name(app, s, pane);
    let selected = app.compare.selected == Some(pane.id);
    let label = fill(&s.compare.pane, &[("n", &(shape.place + 1)), ("name", &name)]);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &label));
    let area = content(app, ui, pane, rect, shape);
    outline(ui, rect, selected, &response);
    focus_ring(ui, rect, &response);
    caption(app, ui, s, doc, pane, &name, rect, shape);
    if response.clicked() {
        app.outbox.compare(Wish::Select(pane.id));
    }
    if response.double_clicked() && !shape.small {
        app.outbox.compare(Wish::Alone(pane.id));
    }
    zoom(app, ui, &response, area, shape);
    reorder(app, ui, pane, &name, shape, &response);
    response.context_menu(|ui| menu(app, ui, s, doc, pane, shape.place));
    if !shape.small && rect.width() > 96.0 && (response.contains_pointer() || response.has_focus()) {
        buttons(app, ui, s, pane, &name, rect);
    }
}

/// The picture, or why there is none. Returns where the picture lies.
fn content(app: &mut Studio, ui: &mut Ui, pane: &PaneDoc, rect: Rect, shape: &Shape<'_>) -> Rect {
    let t = tokens(ui);
    let index = app.transport.frame().checked_sub(pane.offset);
    let waits = index.is_none();
    let index = index.unwrap_or(0);
    let found = app.runs.find(&pane.source);
    let running = found.is_some_and(|(run, _)| run.state == RunState::Running);
    let part = found
        .filter(|_| running)
        .map(|(run, f)| f.ready().saturating_sub(1) as f32 / run.spec.steps.max(1) as f32);
    let failed = found.and_then(|(run, _)| match &run.state {
        RunState::Failed(message, advice) => Some(format!("{message} {advice}")),
        _ => None,
    });
    let frame = found.and_then(|(_, f)| f.frame(index)).map(|(f, held)| (f.clone(), held));
    // A picture that fills its place needs nothing under it.
    if frame.as_ref().is_none_or(|(f, _)| fit(f, rect).size().min_elem() + 0.5 < rect.size().min_elem()) {
        ui.painter().rect_filled(rect, theme::RADIUS, *t.raised);
    }
    let Some((frame, held)) = frame else {
        let missing = app.compare.missing.get(&pane.source).cloned();
        match missing.as_ref().or(failed.as_ref()) {
            Some(why) => trouble(app, ui, pane, rect, why.trim(), missing.is_some()),
            None => {
                let place = Rect::from_center_size(rect.center(), Vec2::splat(18.0));
                ui.put(place, Spinner::new().size(18.0).color(*t.text_faint));
            }
        }
        return rect;
    };
    let area = fit(&frame, rect);
    let wide = area.width() * app.compare.zoom.factor;
    let slot = Slot::Compare(pane.id, shape.small);
    let id = app.textures.get(ui.ctx(), slot, &frame, wide, app.view.smooth);
    let dim = held && !running || pane.muted || waits;
    let tint = if dim { Color32::from_gray(110) } else { Color32::WHITE };
    picture_part(ui, id, area, app.compare.zoom.part(), tint);
    if let Some(part) = part.filter(|p| *p < 1.0) {
        let bar = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 3.0), rect.max);
        ui.painter().rect_filled(bar, 1, t.control.gamma_multiply(0.8));
        ui.painter().rect_filled(bar.with_max_x(bar.left() + bar.width() * part), 1, *t.accent);
    }
    if pane.muted {
        let place =
            Rect::from_center_size(area.center(), Vec2::splat((area.width() * 0.2).clamp(14.0, 28.0)));
        Icon::Mute.paint(ui.painter(), place, *t.text_soft);
    }
    area
}

/// Why there is no picture, and a way to try again where that may help. The reason is cut where it does not fit; the
/// pointer tells it whole.
fn trouble(app: &mut Studio, ui: &mut Ui, pane: &PaneDoc, rect: Rect, why: &str, again: bool) {
    let t = tokens(ui);
    let s = app.strings();
    let wide = rect.width() >= 120.0;
    let bottom = if again { theme::ROW + space::S } else { 0.0 };
    let inside = Rect::from_min_max(rect.min, pos2(rect.right(), rect.bottom() - bottom)).shrink(8.0);
    if inside.is_positive() {
        let font = TextStyle::Small.resolve(ui.style());
        let mut job = eframe::egui::text::LayoutJob::simple(why.to_owned(), font, *t.warn, inside.width());
        let line = ui.text_style_height(&TextStyle::Small);
        job.wrap.max_rows = (inside.height() / line).floor().max(1.0) as usize;
        let galley = ui.painter().layout_job(job);
        let at = inside.center() - galley.size() / 2.0;
        ui.painter().with_clip_rect(rect.intersect(ui.clip_rect())).galley(at, galley, *t.warn);
        let response = ui.interact(inside, ui.scope_id().with(("trouble", pane.id)), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, why));
        response.on_hover_text(why);
    }
    if !again {
        return;
    }
    let place = Rect::from_min_max(pos2(rect.left(), inside.bottom()), rect.max);
    let layout = Layout::top_down(Align::Center);
    let name = format!("{}: {}", s.commands.retry_pane.name, words::name(app, s, pane));
    ui.scope_builder(UiBuilder::new().max_rect(place).layout(layout), |ui| {
        let response = if wide {
            let response = icon_text_button(ui, Icon::Refresh, &s.commands.retry_pane.name);
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
            response
        } else {
            sized_icon_button(ui, Icon::Refresh, &name, true, false, theme::ROW)
        };
        if tip(ui, response, s, Command::RetryPane).clicked() {
            app.outbox.compare(Wish::Retry(pane.id));
        }
    });
}

fn outline(ui: &Ui, rect: Rect, selected: bool, response: &Response) {
    let t = tokens(ui);
    let line = match (selected, response.contains_pointer()) {
        (true, _) => (2.0, *t.accent),
        (false, true) => (1.5, *t.line_strong),
        (false, false) => return,
    };
    let stroke = Stroke::new(line.0, line.1);
    ui.painter().rect_stroke(rect.expand(2.0), theme::RADIUS + 1, stroke, StrokeKind::Middle);
}

/// The wheel and the pinch zoom all panes; dragging moves what is shown while something is outside.
fn zoom(app: &mut Studio, ui: &Ui, response: &Response, area: Rect, shape: &Shape<'_>) {
    if shape.small {
        return;
    }
    if let Some(pointer) = response.hover_pos().filter(|p| area.contains(*p)) {
        let (wheel, pinch) = ui.input(|i| (i.smooth_scroll_delta().y, i.zoom_delta()));
        let wheel = if shape.wheel { (wheel / 240.0).exp() } else { 1.0 };
        let by = wheel * pinch;
        if (by - 1.0).abs() > 1e-4 {
            app.outbox.compare(Wish::Zoom(by, (pointer - area.min) / area.size()));
        }
    }
    if app.compare.zoom.factor > 1.001 && response.dragged() {
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        app.outbox.compare(Wish::Shift(response.drag_delta() / area.size()));
    }
}

/// Dragging a pane (by its caption, or by its picture while nothing is zoomed) moves it to another place.
fn reorder(app: &mut Studio, ui: &mut Ui, pane: &PaneDoc, name: &str, shape: &Shape<'_>, picture: &Response) {
    let t = tokens(ui);
    let top = shape.cell.bottom() - shape.caption;
    let handle = Rect::from_min_max(
        pos2(shape.cell.left(), top),
        pos2(shape.cell.right(), (top + 44.0).min(shape.cell.bottom())),
    );
    let grip = ui.interact(handle, ui.scope_id().with(("grip", pane.id, shape.small)), Sense::drag());
    let by_picture = app.compare.zoom.factor <= 1.001 && picture.dragged();
    if by_picture || grip.dragged() {
        let from = if by_picture { picture } else { &grip };
        from.dnd_set_drag_payload(Dragged(pane.id));
        ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
        if let Some(pointer) = ui.ctx().pointer_interact_pos() {
            let painter = ui.ctx().layer_painter(eframe::egui::LayerId::new(
                eframe::egui::Order::Tooltip,
                eframe::egui::Id::unique("dragged pane"),
            ));
            let font = TextStyle::Small.resolve(ui.style());
            let galley = painter.layout_no_wrap(name.to_owned(), font, *t.text);
            let back = Rect::from_min_size(pointer + vec2(12.0, 8.0), galley.size() + vec2(16.0, 8.0));
            painter.rect(back, theme::RADIUS, *t.raised, Stroke::new(1.0, *t.accent), StrokeKind::Inside);
            painter.galley(back.min + vec2(8.0, 4.0), galley, *t.text);
        }
    } else if grip.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::Grab);
    }
    let target =
        ui.interact(shape.cell, ui.scope_id().with(("target", pane.id, shape.small)), Sense::hover());
    if let Some(dragged) = target.dnd_hover_payload::<Dragged>().filter(|d| d.0 != pane.id) {
        let doc = app.compare.doc.get();
        let forwards = doc.place(dragged.0).is_some_and(|from| from < shape.place);
        let x = if forwards { shape.cell.right() + 5.0 } else { shape.cell.left() - 5.0 };
        ui.painter().vline(x, shape.cell.y_range(), Stroke::new(3.0, *t.accent));
    }
    if let Some(dragged) = target.dnd_release_payload::<Dragged>().filter(|d| d.0 != pane.id) {
        app.outbox.compare(Wish::Edit(Edit::Move { pane: dragged.0, to: shape.place }));
    }
}

/// Which of the pair a pane is.
fn of_pair(doc: &CompareDoc, pane: &PaneDoc) -> Option<bool> {
    let (a, b) = doc.pair()?;
    if a.id == pane.id { Some(true) } else { (b.id == pane.id).then_some(false) }
}

fn caption(
    app: &mut Studio,
    ui: &mut Ui,
    s: &Strings,
    doc: &CompareDoc,
    pane: &PaneDoc,
    name: &str,
    rect: Rect,
    shape: &Shape<'_>,
) {
    let t = tokens(ui);
    let wide = shape.caption > 30.0;
    let line = Rect::from_min_size(pos2(rect.left(), rect.bottom() + 1.0), vec2(rect.width(), 23.0));
    let look = app.view.compare.look;
    let facts = words::facts(app, pane);
    let text = words::under(app, s, doc, shape.place);
    ui.scope_builder(UiBuilder::new().max_rect(line).layout(Layout::left_to_right(Align::Center)), |ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        ui.set_clip_rect(line.intersect(ui.clip_rect()));
        if app.view.compare.numbers && !app.compare.measured.panes.is_empty() && rect.width() > 96.0 {
            let (place, _) = ui.allocate_exact_size(Vec2::splat(8.0), Sense::hover());
            ui.painter().circle_filled(place.center(), 3.5, super::strips::colour(ui, shape.place));
        }
        if pane.pinned {
            let (place, _) = ui.allocate_exact_size(Vec2::splat(12.0), Sense::hover());
            Icon::Pin.paint(ui.painter(), place, *t.accent);
        }
        if let Some(first) =
            of_pair(doc, pane).filter(|_| look.of_pair() || doc.a.is_some() || doc.b.is_some())
        {
            let (place, _) = ui.allocate_exact_size(Vec2::splat(15.0), Sense::hover());
            ui.painter().rect_filled(place, 4, if first { *t.accent_fill } else { *t.control_active });
            let letter = if first { "A" } else { "B" };
            let font = eframe::egui::FontId::new(10.5, theme::semibold());
            let colour = if first { *t.on_accent } else { *t.text };
            ui.painter().text(place.center(), eframe::egui::Align2::CENTER_CENTER, letter, font, colour);
        }
        let room = ui.available_width();
        let mut hash_room = 0.0;
        if facts.is_some() && room > 150.0 {
            hash_room = 62.0;
            if room > 174.0 {
                hash_room += 60.0;
            }
        }
        ui.allocate_ui_with_layout(
            vec2((room - hash_room).max(20.0), 20.0),
            Layout::left_to_right(Align::Center),
            |ui| {
                // A narrow pane has no room for what it was made with; there the pointer tells it.
                let made = facts.as_ref().map(|f| {
                    let refine = fill(&s.world.caption_refine, &[("refine", &f.refine)]);
                    format!("{refine} · {}", f.hash)
                });
                let told: Vec<String> =
                    [Some(name.to_owned()), made, Some(text.clone())].into_iter().flatten().collect();
                let label = RichText::new(name).small().family(theme::semibold()).color(*t.text);
                ui.add(Label::new(label).truncate().sense(Sense::hover()))
                    .on_hover_text(told.join("\n").trim_end());
            },
        );
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(facts) = facts.as_ref().filter(|_| hash_room > 0.0) {
                ui.label(RichText::new(&facts.hash).monospace().size(10.5).color(*t.text_faint));
                if hash_room > 100.0 {
                    let refine = fill(&s.world.caption_refine, &[("refine", &facts.refine)]);
                    ui.label(RichText::new(refine).small().color(*t.text_soft));
                }
            }
        });
    });
    if !wide {
        return;
    }
    let below = Rect::from_min_size(pos2(rect.left(), rect.bottom() + 22.0), vec2(rect.width(), 18.0));
    ui.scope_builder(UiBuilder::new().max_rect(below).layout(Layout::left_to_right(Align::Center)), |ui| {
        let label = Label::new(RichText::new(&text).small().color(*t.text_soft)).truncate();
        ui.add(label.sense(Sense::hover())).on_hover_text(&text);
    });
    if let Some(strips) = shape.strips.filter(|_| shape.caption > 60.0) {
        let at = pos2(rect.left(), rect.bottom() + 42.0);
        let strip = Rect::from_min_size(at, vec2(rect.width(), STRIP - 1.0));
        strips.show(app, ui, pane.id, shape.place, strip);
    }
}

/// Small buttons over the upper right corner of the picture.
fn buttons(app: &mut Studio, ui: &mut Ui, s: &Strings, pane: &PaneDoc, name: &str, rect: Rect) {
    let t = tokens(ui);
    let wanted = [
        (Icon::Close, Edit::Remove(pane.id), false, Command::RemovePane),
        (Icon::Mute, Edit::Mute(pane.id), pane.muted, Command::MutePane),
        (Icon::Pin, Edit::Pin(pane.id), pane.pinned, Command::PinPane),
    ];
    let size = 24.0;
    let right_top = rect.right_top() + vec2(-6.0, 6.0);
    let back = Rect::from_min_max(
        right_top - vec2(size * wanted.len() as f32 + 4.0, 0.0),
        right_top + vec2(0.0, size + 4.0),
    );
    ui.painter().rect_filled(back, theme::RADIUS, t.panel.gamma_multiply(0.88));
    let inside = back.shrink(2.0);
    ui.scope_builder(UiBuilder::new().max_rect(inside).layout(Layout::right_to_left(Align::Center)), |ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        for (icon, edit, on, command) in wanted {
            let words = command.text(s).name.as_str();
            let label = format!("{words}: {name}");
            let response = sized_icon_button(ui, icon, &label, true, on, size);
            if tip(ui, response, s, command).clicked() {
                app.outbox.compare(Wish::Edit(edit));
            }
        }
    });
}

fn menu(app: &mut Studio, ui: &mut Ui, s: &Strings, doc: &CompareDoc, pane: &PaneDoc, place: usize) {
    ui.set_min_width(220.0);
    ui.spacing_mut().item_spacing.y = 2.0;
    let mut entry = |ui: &mut Ui, command: Command, wish: Wish, enabled: bool| {
        let keys =
            command.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut)).unwrap_or_default();
        let button = Button::new(command.text(s).name.trim_end_matches('…')).shortcut_text(keys);
        let button = button.min_size(vec2(ui.available_width(), theme::ROW)).frame_when_inactive(false);
        if ui.add_enabled(enabled, button).clicked() {
            app.outbox.compare(Wish::Select(pane.id));
            app.outbox.compare(wish);
            ui.close();
        }
    };
    let several = doc.panes.len() > 1;
    let edit = Wish::Edit;
    entry(ui, Command::MarkA, edit(Edit::Mark { first: true, pane: pane.id }), several);
    entry(ui, Command::MarkB, edit(Edit::Mark { first: false, pane: pane.id }), several);
    ui.separator();
    entry(ui, Command::ToggleMaximise, Wish::Alone(pane.id), true);
    entry(ui, Command::PinPane, edit(Edit::Pin(pane.id)), true);
    entry(ui, Command::MutePane, edit(Edit::Mute(pane.id)), true);
    let to = place.saturating_sub(1);
    entry(ui, Command::PaneLeft, edit(Edit::Move { pane: pane.id, to }), place > 0);
    let to = place + 1;
    entry(ui, Command::PaneRight, edit(Edit::Move { pane: pane.id, to }), to < doc.panes.len());
    ui.separator();
    entry(ui, Command::RemovePane, edit(Edit::Remove(pane.id)), true);
    if matches!(pane.source, Source::Future { .. }) {
        let name = s.commands.branch_from.name.as_str();
        let keys = Command::BranchFrom.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut));
        let button = Button::new(name).shortcut_text(keys.unwrap_or_default());
        if ui
            .add(button.min_size(vec2(ui.available_width(), theme::ROW)).frame_when_inactive(false))
            .clicked()
        {
            app.outbox.compare(Wish::Select(pane.id));
            app.outbox.command(Command::BranchFrom);
            ui.close();
        }
        let name = s.commands.add_world.name.as_str();
        let keys = Command::AddWorld.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut));
        let button = Button::new(name).shortcut_text(keys.unwrap_or_default());
        if ui
            .add(button.min_size(vec2(ui.available_width(), theme::ROW)).frame_when_inactive(false))
            .clicked()
        {
            app.outbox.compare(Wish::Select(pane.id));
            app.outbox.command(Command::AddWorld);
            ui.close();
        }
    }
    if let Source::Future { folder, .. } = &pane.source {
        ui.add_space(space::XS);
        ui.label(RichText::new(folder.display().to_string()).small().color(*tokens(ui).text_faint));
    }
}
