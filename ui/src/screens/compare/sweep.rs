//! Two things varied against each other: a future in every cell of a grid with labelled axes.

use eframe::egui::{
    Align, Align2, Color32, ComboBox, Label, Layout, Rect, RichText, Role, ScrollArea, Sense, Spinner,
    Stroke, StrokeKind, TextEdit, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, WidgetText, pos2, vec2,
};
use forerun::compare::sweep::{Axis, CellState, Sweep};

use crate::app::Studio;
use crate::commands::Command;
use crate::compare::sweep::{AxisKind, Which};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{divider, focus_ring, hint, icon_text_button, main_button, section, tip};
use crate::widgets::pane::{Slot, fit, picture_part};

/// Width of the column with the axes.
const SETUP: f32 = 268.0;
/// Least width of a cell; a larger sweep scrolls.
const CELL: f32 = 72.0;
/// Room for the labels of the rows.
const LABELS: f32 = 96.0;

/// Shows the sweep.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let area = ui.available_rect_before_wrap();
    let left =
        Rect::from_min_max(area.min, pos2(area.left() + SETUP.min(area.width() * 0.45), area.bottom()));
    let right = Rect::from_min_max(pos2(left.right() + space::L, area.top()), area.max);
    ui.scope_builder(UiBuilder::new().max_rect(left).layout(Layout::top_down(Align::LEFT)), |ui| {
        ScrollArea::vertical().auto_shrink(false).id_salt("axes").show(ui, |ui| setup(app, ui, s));
    });
    match app.compare.sweep.laid.clone() {
        Some(sweep) => grid(app, ui, s, &sweep, right),
        None => {
            let t = tokens(ui);
            let font = TextStyle::Body.resolve(ui.style());
            let width = (right.width() - 40.0).min(420.0);
            let galley = ui.painter().layout(s.compare.sweep_empty.clone(), font, *t.text_soft, width);
            ui.painter().galley(right.center() - galley.size() / 2.0, galley, *t.text_soft);
        }
    }
    ui.advance_cursor_after_rect(area);
}

fn setup(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    ui.set_width(ui.available_width() - 12.0);
    hint(ui, &s.compare.sweep_base);
    for which in [Which::X, Which::Y] {
        axis(app, ui, s, which);
    }
    ui.add_space(space::S);
    let running = app.compare.sweep.running();
    let command = if running { Command::Cancel } else { Command::StartSweep };
    let (icon, name) =
        if running { (Icon::Stop, &s.world.cancel) } else { (Icon::Spark, &s.commands.start_sweep.name) };
    let keys = command.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut)).unwrap_or_default();
    let response = main_button(ui, icon, name, &keys, app.enabled(command));
    if tip(ui, response, s, command).clicked() {
        app.outbox.command(command);
    }
    if let Some(trouble) = &app.compare.sweep.trouble {
        let colour = *tokens(ui).warn;
        ui.add(Label::new(RichText::new(trouble).small().color(colour)).wrap());
    }
    if let Some((done, all)) = app.compare.sweep.laid.as_ref().map(Sweep::progress) {
        hint(ui, &fill(&s.compare.sweep_progress, &[("done", &done), ("all", &all)]));
        let response = ui
            .add_enabled_ui(app.enabled(Command::AddSweep), |ui| {
                icon_text_button(ui, Icon::Compare, &s.commands.add_sweep.name)
            })
            .inner;
        if tip(ui, response, s, Command::AddSweep).clicked() {
            app.outbox.command(Command::AddSweep);
        }
    }
    following(app, ui, s);
}

/// How well the model follows its numbers.
fn following(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    if app.contract().is_none_or(|c| c.actions.is_empty()) {
        return;
    }
    let t = tokens(ui);
    divider(ui);
    section(ui, &s.compare.follow_title, |_| ());
    hint(ui, &s.compare.follow_text);
    let follow = app.compare.follow.clone();
    let bar = |ui: &mut Ui, name: &str, share: f64, strong: bool| {
        let (row, response) = ui.allocate_exact_size(vec2(ui.available_width(), 30.0), Sense::hover());
        let name = name.to_owned();
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &name));
        let font = TextStyle::Small.resolve(ui.style());
        let colour = if strong { *t.text } else { *t.text_soft };
        ui.painter().text(row.min, Align2::LEFT_TOP, &name, font, colour);
        let rail =
            Rect::from_min_max(pos2(row.left(), row.bottom() - 10.0), pos2(row.right(), row.bottom() - 4.0));
        ui.painter().rect_filled(rail, 3, *t.control);
        let fill = if share >= 0.5 { *t.good } else { *t.warn };
        let width = rail.width() * share.clamp(0.0, 1.0) as f32;
        ui.painter().rect_filled(rail.with_max_x(rail.left() + width), 3, fill);
    };
    let percent = |share: f64| format!("{:.0}", share * 100.0);
    if let Some(gauge) = follow.gauge() {
        let text = fill(&s.compare.follow_model, &[("model", &follow.model), ("share", &percent(gauge))]);
        bar(ui, &text, gauge, true);
        for response in &follow.responses {
            let share = response.gauge();
            let text = fill(
                &s.compare.follow_channel,
                &[("channel", &response.channel), ("share", &percent(share))],
            );
            bar(ui, &text, share, false);
        }
    } else if follow.running() {
        ui.add(eframe::egui::ProgressBar::new(follow.part()).desired_height(6.0).fill(*t.accent));
    }
    if let Some(trouble) = follow.trouble.filter(|t| !t.trim().is_empty()) {
        ui.add(Label::new(RichText::new(trouble).small().color(*t.warn)).wrap());
    }
    let enabled = app.enabled(Command::MeasureFollowing);
    let response = ui
        .add_enabled_ui(enabled, |ui| icon_text_button(ui, Icon::Curve, &s.commands.measure_following.name))
        .inner;
    if tip(ui, response, s, Command::MeasureFollowing).clicked() {
        app.outbox.command(Command::MeasureFollowing);
    }
}

/// Name of a kind of axis.
fn kind_words(s: &Strings, kind: AxisKind) -> &str {
    match kind {
        AxisKind::Nothing => &s.compare.axis_nothing,
        AxisKind::Seed => &s.world.seed,
        AxisKind::Prompt => &s.world.prompt,
        AxisKind::Refine => &s.world.refine,
        AxisKind::Model => &s.compare.axis_model,
        AxisKind::StartFrame => &s.compare.axis_start,
        AxisKind::Gain => &s.compare.axis_gain,
        AxisKind::Offset => &s.compare.axis_offset,
    }
}

fn axis(app: &mut Studio, ui: &mut Ui, s: &Strings, which: Which) {
    use strum::IntoEnumIterator;
    let name = if which == Which::X { &s.compare.axis_x } else { &s.compare.axis_y };
    section(ui, name, |_| ());
    let now = app.compare.sweep.axis(which).clone();
    let channels: Vec<String> =
        app.contract().map(|c| c.actions.iter().map(|a| a.name.clone()).collect()).unwrap_or_default();
    let combo = ComboBox::from_id_salt(("kind", which == Which::X))
        .width(ui.available_width())
        .selected_text(kind_words(s, now.kind))
        .show_ui(ui, |ui| {
            for kind in AxisKind::iter().filter(|k| which == Which::Y || *k != AxisKind::Nothing) {
                let needs_channel = matches!(kind, AxisKind::Gain | AxisKind::Offset);
                if needs_channel && channels.is_empty() {
                    continue;
                }
                if ui.selectable_label(kind == now.kind, kind_words(s, kind)).clicked() {
                    app.outbox.compare(Wish::AxisKind(which, kind));
                }
            }
        });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
    if now.kind.has_channel() {
        let label = s.compare.axis_channel.clone();
        let combo = ComboBox::from_id_salt(("channel", which == Which::X))
            .width(ui.available_width())
            .selected_text(now.channel.as_str())
            .show_ui(ui, |ui| {
                for channel in &channels {
                    if ui.selectable_label(*channel == now.channel, channel).clicked() {
                        app.outbox.compare(Wish::AxisChannel(which, channel.clone()));
                    }
                }
            });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &label));
    }
    if now.kind == AxisKind::Nothing {
        return;
    }
    let mut text = now.values.clone();
    let field = TextEdit::singleline(&mut text).desired_width(f32::INFINITY).show(ui).response.response;
    let label = fill(&s.compare.axis_values, &[("axis", name)]);
    field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &label));
    if field.changed() {
        app.outbox.compare(Wish::AxisValues(which, text));
    }
    let help = match now.kind {
        AxisKind::Prompt | AxisKind::Model => &s.compare.axis_words_help,
        AxisKind::Seed | AxisKind::StartFrame => &s.compare.axis_range_help,
        _ => &s.compare.axis_numbers_help,
    };
    hint(ui, help);
}

fn grid(app: &mut Studio, ui: &mut Ui, s: &Strings, sweep: &Sweep, area: Rect) {
    let (columns, rows) = (sweep.x.len().max(1), sweep.y.as_ref().map_or(1, Axis::len).max(1));
    let labels = if sweep.y.is_some() { LABELS } else { 0.0 };
    let gap = 6.0;
    let head = 44.0;
    let by_width = (area.width() - labels - gap * columns as f32) / columns as f32;
    let by_height = (area.height() - head - gap * rows as f32) / rows as f32;
    let side = by_width.min(by_height).clamp(CELL, 260.0);
    let builder = UiBuilder::new().max_rect(area).layout(Layout::top_down(Align::LEFT));
    ui.scope_builder(builder, |ui| {
        ScrollArea::both().auto_shrink(false).id_salt("cells").show(ui, |ui| {
            let origin = ui.cursor().min;
            let size = vec2(labels + columns as f32 * (side + gap), head + rows as f32 * (side + gap));
            ui.allocate_rect(Rect::from_min_size(origin, size), Sense::hover());
            axes(app, ui, s, sweep, origin, (labels, head), side + gap);
            for (number, cell) in sweep.cells.iter().enumerate() {
                let at =
                    origin + vec2(labels + cell.x as f32 * (side + gap), head + cell.y as f32 * (side + gap));
                let rect = Rect::from_min_size(at, Vec2::splat(side));
                if ui.is_rect_visible(rect) {
                    show_cell(app, ui, s, sweep, number, rect);
                }
            }
        });
    });
}

/// What an axis varies, in the language of the window.
fn axis_words(s: &Strings, axis: &Axis) -> String {
    match axis {
        Axis::Prompt { .. } => s.world.prompt.clone(),
        Axis::Gain { channel, .. } => format!("{channel}, {}", s.compare.axis_gain.to_lowercase()),
        Axis::Offset { channel, .. } => format!("{channel}, {}", s.compare.axis_offset.to_lowercase()),
        Axis::Seed { .. } => s.world.seed.clone(),
        Axis::Refine { .. } => s.world.refine.clone(),
        Axis::Model { .. } => s.compare.axis_model.clone(),
        Axis::StartFrame { .. } => s.compare.axis_start.clone(),
    }
}

fn axes(
    app: &Studio,
    ui: &Ui,
    s: &Strings,
    sweep: &Sweep,
    origin: eframe::egui::Pos2,
    (labels, head): (f32, f32),
    step: f32,
) {
    let t = tokens(ui);
    let contract = app.contract();
    let small = TextStyle::Small.resolve(ui.style());
    let strong = eframe::egui::FontId::new(11.5, theme::semibold());
    let put = |text: String, rect: Rect, align: Align2, font, colour: Color32| {
        let text = if text.is_empty() { s.compare.without_words.clone() } else { text };
        let galley = WidgetText::from(text).into_galley(
            ui,
            Some(eframe::egui::TextWrapMode::Truncate),
            rect.width(),
            font,
        );
        let at = align.align_size_within_rect(galley.size(), rect);
        ui.painter().galley(at.min, galley, colour);
    };
    let title = Rect::from_min_size(origin + vec2(labels, 0.0), vec2(step * sweep.x.len() as f32, 20.0));
    put(axis_words(s, &sweep.x), title, Align2::LEFT_CENTER, strong.clone(), *t.text);
    for i in 0..sweep.x.len() {
        let rect =
            Rect::from_min_size(origin + vec2(labels + step * i as f32, 20.0), vec2(step - 6.0, head - 20.0));
        put(sweep.x.label(i, contract), rect, Align2::CENTER_CENTER, small.clone(), *t.text_soft);
    }
    if let Some(y) = &sweep.y {
        let title = Rect::from_min_size(origin, vec2(labels - 8.0, 20.0));
        put(axis_words(s, y), title, Align2::LEFT_CENTER, strong, *t.text);
        for i in 0..y.len() {
            let rect = Rect::from_min_size(
                origin + vec2(0.0, head + step * i as f32),
                vec2(labels - 10.0, step - 6.0),
            );
            put(y.label(i, contract), rect, Align2::RIGHT_CENTER, small.clone(), *t.text_soft);
        }
    }
}

fn show_cell(app: &mut Studio, ui: &mut Ui, s: &Strings, sweep: &Sweep, number: usize, rect: Rect) {
    let t = tokens(ui);
    let Some(cell) = sweep.cells.get(number) else { return };
    let contract = app.contract();
    let labels: Vec<String> =
        [Some(sweep.x.label(cell.x, contract)), sweep.y.as_ref().map(|y| y.label(cell.y, contract))]
            .into_iter()
            .flatten()
            .collect();
    let name = fill(&s.compare.cell, &[("labels", &labels.join(", "))]);
    let response = ui.interact(rect, ui.scope_id().with(("cell", number)), Sense::click());
    let source = crate::compare::sweep::source_of(cell);
    let in_set = source.as_ref().is_some_and(|s| app.compare.doc.get().panes.iter().any(|p| p.source == *s));
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, in_set, &name));
    ui.painter().rect_filled(rect, theme::RADIUS, *t.raised);
    let index = app.transport.frame();
    let frame = source.as_ref().and_then(|s| app.runs.find(s)).and_then(|(_, f)| f.frame(index));
    let frame = frame.map(|(f, _)| f.clone());
    if let Some(frame) = &frame {
        let area = fit(frame, rect);
        let id = app.textures.get(ui.ctx(), Slot::Cell(number), frame, area.width(), app.view.smooth);
        let whole = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
        picture_part(ui, id, area, whole, Color32::WHITE);
    }
    let middle = Rect::from_center_size(rect.center(), Vec2::splat(18.0));
    match &cell.state {
        CellState::Running { .. } if frame.is_none() => {
            ui.put(middle, Spinner::new().size(18.0).color(*t.text_faint));
        }
        CellState::Running { .. } => {
            let bar = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 3.0), rect.max);
            ui.painter().rect_filled(bar, 1, *t.accent);
        }
        CellState::Failed { .. } => Icon::Warning.paint(ui.painter(), middle, *t.warn),
        CellState::Cancelled if frame.is_none() => Icon::Close.paint(ui.painter(), middle, *t.text_faint),
        _ => {}
    }
    if cell.clamped {
        let corner = Rect::from_min_size(rect.left_top() + vec2(4.0, 4.0), Vec2::splat(14.0));
        Icon::Warning.paint(ui.painter(), corner, *t.warn);
    }
    if response.hovered() || in_set {
        let line = if in_set { *t.accent } else { *t.line_strong };
        ui.painter().rect_stroke(rect.expand(1.5), theme::RADIUS, Stroke::new(2.0, line), StrokeKind::Middle);
    }
    focus_ring(ui, rect, &response);
    if response.clicked() {
        if let Some(source) = source.filter(|_| frame.is_some()) {
            app.outbox.compare(Wish::Edit(crate::compare::Edit::Add(vec![source])));
        }
    }
    let why = match &cell.state {
        CellState::Failed { reason } => format!("{name}\n{reason}"),
        _ if cell.clamped => format!("{name}\n{}", s.compare.cell_clamped),
        _ => format!("{name}\n{}", s.compare.cell_tip),
    };
    response.on_hover_text(why);
}
