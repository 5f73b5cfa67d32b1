//! Numbers under the panes: one line a pane over the common time base; a click goes to the frame.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, Color32, CursorIcon, Frame as Card, Label, Layout, Margin, Panel, Pos2, Rect, RichText,
    Role, ScrollArea, Sense, Shape, Stroke, TextStyle, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use forerun::compare::metrics::Metric;

use super::words;
use crate::app::Studio;
use crate::commands::Command;
use crate::compare::numbers::{Against, Measured};
use crate::i18n::{Strings, fill};
use crate::message::{Message, Wish};
use crate::theme::{space, tokens};
use crate::transport::Input;
use crate::widgets::basic::{chip, command_icon};

/// Height of the panel.
const HEIGHT: f32 = 158.0;
/// Least height of the screen at which there is room for it.
const ROOM: f32 = 430.0;
/// Room for the values at the ends of the scale.
const LABELS: f32 = 72.0;
/// Width of the list of values.
const VALUES: f32 = 196.0;

/// A line of the plot.
struct Line {
    pane: Option<u64>,
    name: String,
    colour: Color32,
    values: Vec<Option<f64>>,
}

/// Shows the panel, when it is wanted and there is room and something to compare.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let wanted = app.view.compare.numbers && app.compare.doc.get().panes.len() > 1;
    if !wanted || ui.available_height() < ROOM {
        return;
    }
    let s = app.strings();
    let t = tokens(ui);
    let frame = Card::new().fill(*t.panel).inner_margin(Margin { left: 16, right: 16, top: 8, bottom: 8 });
    Panel::bottom("numbers").exact_size(HEIGHT).frame(frame).show_separator_line(false).show(ui, |ui| {
        let edge = ui.max_rect().expand2(vec2(16.0, 8.0));
        ui.painter().with_clip_rect(edge.expand(1.0)).hline(
            edge.x_range(),
            edge.top() + 0.5,
            Stroke::new(1.0, *t.line),
        );
        let metrics = app.compare.measured.metrics();
        let metric = chosen(app, &metrics);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 2.0;
            let wide = ui.available_width() > 560.0;
            let room = (ui.available_width() - if wide { 310.0 } else { 40.0 }).max(60.0);
            ui.allocate_ui_with_layout(vec2(room, 28.0), Layout::left_to_right(Align::Center), |ui| {
                ScrollArea::horizontal().auto_shrink(false).show(ui, |ui| {
                    for m in &metrics {
                        let on = metric.as_ref() == Some(m);
                        let response = chip(ui, &metric_words(s, m), on);
                        if response.on_hover_text(metric_tip(s, m)).clicked() {
                            app.outbox.compare(Wish::Metric(m.name()));
                        }
                    }
                    if metrics.is_empty() {
                        let text =
                            if app.compare.measuring { &s.compare.measuring } else { &s.compare.no_numbers };
                        ui.label(RichText::new(text).small().color(*t.text_faint));
                    }
                });
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if command_icon(ui, s, Command::ToggleNumbers, true, false).clicked() {
                    app.outbox.command(Command::ToggleNumbers);
                }
                if let Some(words) = against(s, &app.compare.measured).filter(|_| wide) {
                    ui.add(Label::new(RichText::new(words).small().color(*t.text_faint)).truncate());
                }
            });
        });
        let Some(metric) = metric else { return };
        let lines = lines(app, ui, s, &metric);
        let area = ui.available_rect_before_wrap();
        let values =
            Rect::from_min_max(pos2(area.right() - VALUES.min(area.width() * 0.4), area.top()), area.max);
        let plot = Rect::from_min_max(area.min, pos2(values.left() - space::M, area.bottom()));
        draw(app, ui, s, &metric, &lines, plot);
        list(app, ui, &metric, &lines, values);
        ui.advance_cursor_after_rect(area);
    });
}

/// The strip under each pane: one metric, one scale for all of them.
pub struct PaneStrips {
    measured: Arc<Measured>,
    metric: Metric,
    low: f64,
    high: f64,
}

/// Height of the strip under a pane.
pub const STRIP: f32 = 22.0;

impl PaneStrips {
    /// The strips of the set, while they are wanted and there are numbers.
    pub fn new(app: &Studio) -> Option<Self> {
        if !app.view.compare.numbers {
            return None;
        }
        let measured = app.compare.measured.clone();
        let of_panes = |m: &Metric| measured.panes.iter().any(|(.., s)| s.iter().any(|s| s.metric == *m));
        let metrics: Vec<Metric> = measured.metrics().into_iter().filter(of_panes).collect();
        let metric = chosen(app, &metrics)?;
        let strips = measured.panes.iter().flat_map(|(.., strips)| strips).filter(|s| s.metric == metric);
        let values = strips.flat_map(|s| scaled(&s.values));
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        (low <= high).then_some(Self { measured, metric, low, high })
    }

    /// Draws the strip of a pane into `rect`; a click goes to the frame.
    pub fn show(&self, app: &mut Studio, ui: &mut Ui, pane: u64, place: usize, rect: Rect) {
        let s = app.strings();
        let t = tokens(ui);
        let found = self.measured.panes.iter().find(|(id, ..)| *id == pane);
        let strip = found
            .and_then(|(_, offset, strips)| Some((offset, strips.iter().find(|s| s.metric == self.metric)?)));
        let Some((offset, strip)) = strip else { return };
        let frame = app.transport.frame();
        let value = |frame: usize| strip.values.get(frame.checked_sub(*offset)?).copied().flatten();
        let now = value(frame).filter(|v| v.is_finite());
        let response = ui.interact(rect, ui.scope_id().with(("strip", pane)), Sense::click_and_drag());
        let name = fill(&s.compare.strip, &[("metric", &metric_words(s, &self.metric)), ("n", &(place + 1))]);
        response.widget_info(|| match now {
            Some(value) => WidgetInfo::slider(true, value, &name),
            None => WidgetInfo::labeled(Role::Slider, true, &name),
        });
        ui.painter().rect_filled(rect, 4, *t.input);
        let text = now.map_or("–".to_owned(), |v| format!("{} {}", number(v), self.metric.unit()));
        let font = TextStyle::Small.resolve(ui.style());
        let galley = ui.painter().layout_no_wrap(text.trim_end().to_owned(), font, *t.text);
        let room = if rect.width() > 150.0 { 62.0 } else { galley.size().x + 8.0 };
        let plot = Rect::from_min_max(rect.min + vec2(5.0, 3.0), rect.max - vec2(room + 3.0, 3.0));
        let at = pos2(rect.right() - 5.0 - galley.size().x, rect.center().y - galley.size().y / 2.0);
        ui.painter().galley(at, galley, *t.text);
        let last = app.transport.expected().saturating_sub(1).max(1) as f32;
        let span = (self.high - self.low).max(1e-9);
        let x = |i: usize| plot.left() + plot.width() * i as f32 / last;
        let y = |v: f64| plot.bottom() - plot.height() * ((v - self.low) / span) as f32;
        let painter = ui.painter().with_clip_rect(plot.expand(3.0).intersect(ui.clip_rect()));
        // A point a pixel is enough, however long the future is.
        let every = (last / plot.width().max(1.0)).ceil().max(1.0) as usize;
        let stroke = Stroke::new(1.4, colour(ui, place));
        let mut points: Vec<Pos2> = Vec::new();
        for (i, v) in strip.values.iter().enumerate().step_by(every) {
            match v.filter(|v| v.is_finite()) {
                Some(v) => points.push(pos2(x(i + offset), y(v))),
                None => {
                    painter.add(Shape::line(std::mem::take(&mut points), stroke));
                }
            }
        }
        painter.add(Shape::line(points, stroke));
        painter.vline(x(frame), plot.y_range(), Stroke::new(1.0, *t.line_strong));
        if let Some(v) = now {
            painter.circle_filled(pos2(x(frame), y(v)), 2.5, colour(ui, place));
        }
        if let Some(pointer) = response.interact_pointer_pos() {
            let part = ((pointer.x - plot.left()) / plot.width().max(1.0)).clamp(0.0, 1.0);
            app.outbox.send(Message::Transport(Input::Pause));
            app.outbox.send(Message::Transport(Input::Seek((part * last).round() as usize)));
        }
        if response.hovered() {
            ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
        }
        response.on_hover_text(name);
    }
}

/// The values that a scale is made for: the start is equal by nature and would leave no room for the rest.
fn scaled(values: &[Option<f64>]) -> impl Iterator<Item = f64> {
    let known = || values.iter().flatten().copied().filter(|v| v.is_finite());
    let several = known().nth(1).is_some();
    known().skip(usize::from(several)).collect::<Vec<_>>().into_iter()
}

/// What the panes were measured against, in words.
fn against(s: &Strings, measured: &Measured) -> Option<String> {
    let world = measured.against.iter().any(|(_, a)| *a == Against::World);
    let recording = measured.against.iter().any(|(_, a)| *a == Against::Recording);
    Some(match (world, recording) {
        (true, true) => s.compare.against_mixed.clone(),
        (true, false) => s.compare.against_world.clone(),
        (false, true) => s.compare.against_recording.clone(),
        (false, false) => return None,
    })
}

/// The chosen metric, or the first there is.
fn chosen(app: &Studio, metrics: &[Metric]) -> Option<Metric> {
    metrics.iter().find(|m| m.name() == app.view.compare.metric).or(metrics.first()).cloned()
}

/// Name of a metric.
pub fn metric_words(s: &Strings, metric: &Metric) -> String {
    let w = &s.compare;
    match metric {
        Metric::Psnr => "PSNR".to_owned(),
        Metric::Ssim => "SSIM".to_owned(),
        Metric::ChangedPsnr => w.metric_changed.clone(),
        Metric::ObjectPose { object } => fill(&w.metric_object, &[("object", object)]),
        Metric::ObjectPixels { object } => fill(&w.metric_object_px, &[("object", object)]),
        Metric::ObjectAngle { object } => fill(&w.metric_angle, &[("object", object)]),
        Metric::GripperPose => w.metric_gripper.clone(),
        Metric::Joints => w.metric_joints.clone(),
        Metric::Spread => w.metric_spread.clone(),
        Metric::GripperSpread => w.metric_gripper_spread.clone(),
    }
}

fn metric_tip<'a>(s: &'a Strings, metric: &Metric) -> &'a str {
    match metric.more_is_better() {
        Some(true) => &s.compare.more_is_better,
        Some(false) => &s.compare.less_is_better,
        None => &s.compare.spread_tip,
    }
}

/// Colour of the pane at a place of the set.
pub fn colour(ui: &Ui, place: usize) -> Color32 {
    let t = tokens(ui);
    t.series.get(place % t.series.len()).map_or(*t.accent, |c| c.0)
}

fn lines(app: &Studio, ui: &Ui, s: &Strings, metric: &Metric) -> Vec<Line> {
    let doc = app.compare.doc.get();
    let found = app.compare.measured.lines(metric).into_iter();
    found
        .filter_map(|(pane, values)| match pane {
            None => {
                Some(Line { pane, name: s.compare.whole_set.clone(), colour: *tokens(ui).accent, values })
            }
            Some(id) => {
                let place = doc.place(id)?;
                let name = words::name(app, s, doc.pane(id)?);
                Some(Line { pane, name, colour: colour(ui, place), values })
            }
        })
        .collect()
}

/// A number with as many digits as it deserves.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn draw(app: &mut Studio, ui: &mut Ui, s: &Strings, metric: &Metric, lines: &[Line], rect: Rect) {
    let t = tokens(ui);
    let response = ui.interact(rect, ui.scope_id().with("plot"), Sense::click_and_drag());
    let frame = app.transport.frame();
    let name = fill(&s.compare.plot, &[("metric", &metric_words(s, metric))]);
    response.widget_info(|| WidgetInfo::slider(true, frame as f64, &name));
    let known = lines.iter().flat_map(|l| scaled(&l.values));
    let (low, high) = known.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return;
    }
    let pad = ((high - low) * 0.08).max(1e-3 * high.abs()).max(1e-6);
    let (low, high) = (low - pad, high + pad);
    let plot = Rect::from_min_max(rect.min + vec2(LABELS, 4.0), rect.max - vec2(6.0, 4.0));
    ui.painter().rect_filled(plot.expand2(vec2(6.0, 4.0)), 4, *t.input);
    let font = TextStyle::Small.resolve(ui.style());
    let unit = metric.unit();
    let label = |v: f64| if unit.is_empty() { number(v) } else { format!("{} {unit}", number(v)) };
    let corner = |at: Pos2, align: Align2, v: f64| {
        ui.painter().text(at, align, label(v), font.clone(), *t.text_faint);
    };
    corner(pos2(plot.left() - 10.0, plot.top() - 3.0), Align2::RIGHT_TOP, high - pad);
    corner(pos2(plot.left() - 10.0, plot.bottom() + 3.0), Align2::RIGHT_BOTTOM, low + pad);
    let last = app.transport.expected().saturating_sub(1).max(1) as f32;
    let x = |i: usize| plot.left() + plot.width() * i as f32 / last;
    let y = |v: f64| plot.bottom() - plot.height() * ((v - low) / (high - low)) as f32;
    let painter = ui.painter().with_clip_rect(plot.expand(4.0));
    painter.vline(x(frame), plot.y_range(), Stroke::new(1.0, *t.line_strong));
    for line in lines {
        let strong = line.pane.is_none() || line.pane == app.compare.selected;
        let stroke = Stroke::new(if strong { 2.2 } else { 1.3 }, line.colour);
        let mut points: Vec<Pos2> = Vec::new();
        for (i, value) in line.values.iter().enumerate() {
            match value.filter(|v| v.is_finite()) {
                Some(v) => points.push(pos2(x(i), y(v))),
                None => {
                    painter.add(Shape::line(std::mem::take(&mut points), stroke));
                }
            }
        }
        painter.add(Shape::line(points, stroke));
        if let Some(v) = line.values.get(frame).copied().flatten() {
            painter.circle_filled(pos2(x(frame), y(v)), if strong { 4.0 } else { 3.0 }, line.colour);
        }
    }
    if let Some(pointer) = response.interact_pointer_pos() {
        let part = ((pointer.x - plot.left()) / plot.width().max(1.0)).clamp(0.0, 1.0);
        app.seek((part * last).round() as usize);
        if response.drag_started() || response.clicked() {
            app.transport.apply(Input::Pause, app.now);
        }
    }
    if response.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
    }
}

/// Each pane's value at the frame that is shown.
fn list(app: &mut Studio, ui: &mut Ui, metric: &Metric, lines: &[Line], rect: Rect) {
    let t = tokens(ui);
    let frame = app.transport.frame();
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::LEFT)), |ui| {
        ScrollArea::vertical().auto_shrink(false).id_salt("values").show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for line in lines {
                let (row, response) =
                    ui.allocate_exact_size(vec2(ui.available_width() - 8.0, 20.0), Sense::click());
                let value = line.values.get(frame).copied().flatten();
                let text = value.map_or("–".to_owned(), |v| format!("{} {}", number(v), metric.unit()));
                let name = format!("{}: {}", line.name, text.trim_end());
                let selected = line.pane.is_some() && line.pane == app.compare.selected;
                response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &name));
                if response.hovered() || selected {
                    ui.painter().rect_filled(row, 4, *t.control);
                }
                ui.painter().circle_filled(pos2(row.left() + 8.0, row.center().y), 3.5, line.colour);
                let inside = Rect::from_min_max(row.min + vec2(18.0, 0.0), row.max - vec2(4.0, 0.0));
                ui.scope_builder(
                    UiBuilder::new().max_rect(inside).layout(Layout::right_to_left(Align::Center)),
                    |ui| {
                        ui.add(
                            Label::new(RichText::new(text).small().color(*t.text))
                                .selectable(false)
                                .sense(Sense::empty()),
                        );
                        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                            let label = RichText::new(&line.name).small().color(*t.text_soft);
                            ui.add(Label::new(label).truncate().sense(Sense::empty()));
                        });
                    },
                );
                if let (true, Some(id)) = (response.clicked(), line.pane) {
                    app.outbox.compare(Wish::Select(id));
                }
            }
        });
    });
}
