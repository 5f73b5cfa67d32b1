//! A slider with its name, its value and its unit.

use std::ops::RangeInclusive;

use eframe::egui::{
    CursorIcon, DragValue, EventFilter, Key, Modifiers, Rect, Response, Role, Sense, Stroke, TextStyle, Ui,
    WidgetInfo, accesskit, pos2, vec2,
};

use crate::theme::{ROW, tokens};

/// A number with a name, a unit and a range.
pub struct Spec<'a> {
    /// Name to show.
    pub name: &'a str,
    /// Name for screen readers and tests.
    pub label: &'a str,
    /// Unit behind the number, may be empty.
    pub unit: &'a str,
    /// Smallest and largest value.
    pub range: RangeInclusive<f32>,
    /// Steps of the keyboard and of the value; 0 for none.
    pub step: f32,
    /// Digits behind the point.
    pub digits: usize,
    /// Drawn in the accent colour: set by a person.
    pub marked: bool,
}

/// Only the number, to drag or to type.
pub fn number(ui: &mut Ui, spec: &Spec<'_>, value: f32) -> Option<f32> {
    let mut edited = value;
    let suffix = if spec.unit.is_empty() { String::new() } else { format!(" {}", spec.unit) };
    let span = spec.range.end() - spec.range.start();
    let drag = DragValue::new(&mut edited)
        .range(spec.range.clone())
        .speed(if spec.step > 0.0 { spec.step } else { span / 300.0 })
        .fixed_decimals(spec.digits)
        .suffix(suffix)
        .update_while_editing(false);
    ui.spacing_mut().interact_size = vec2(44.0, 22.0);
    ui.spacing_mut().button_padding = vec2(6.0, 2.0);
    let t = tokens(ui);
    ui.visuals_mut().widgets.inactive.weak_bg_fill = *t.input;
    ui.visuals_mut().widgets.inactive.bg_fill = *t.input;
    let response = ui.add(drag);
    response.widget_info(|| {
        let mut info = WidgetInfo::drag_value(true, f64::from(edited));
        info.label = Some(format!("{} value", spec.label));
        info
    });
    (edited != value).then_some(edited)
}

fn rail(ui: &Ui, rect: Rect, response: &Response, spec: &Spec<'_>, value: f32) -> Option<f32> {
    let t = tokens(ui);
    let (min, max) = (*spec.range.start(), *spec.range.end());
    let span = (max - min).max(f32::EPSILON);
    let part = ((value - min) / span).clamp(0.0, 1.0);
    let line = rect.shrink2(vec2(7.0, 0.0));
    let x = line.left() + line.width() * part;
    let mut new = None;
    let snap = |v: f32| {
        let v = if spec.step > 0.0 { ((v - min) / spec.step).round() * spec.step + min } else { v };
        v.clamp(min, max)
    };
    if let Some(pointer) = response.interact_pointer_pos() {
        let part = ((pointer.x - line.left()) / line.width().max(1.0)).clamp(0.0, 1.0);
        new = Some(snap(min + part * span));
        if response.clicked() || response.drag_started() {
            response.request_focus();
        }
    }
    if response.has_focus() {
        let filter = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let (small, large) = ui.input_mut(|i| {
            let count = |i: &mut eframe::egui::InputState, m, k| i.count_and_consume_key(m, k) as f32;
            let small =
                count(i, Modifiers::NONE, Key::ArrowRight) - count(i, Modifiers::NONE, Key::ArrowLeft);
            let large =
                count(i, Modifiers::SHIFT, Key::ArrowRight) - count(i, Modifiers::SHIFT, Key::ArrowLeft);
            (small, large)
        });
        let step = if spec.step > 0.0 { spec.step } else { span / 100.0 };
        let by = small * step + large * step * 10.0;
        if by != 0.0 {
            new = Some(snap(value + by));
        }
    }
    let asked = ui.input(|i| {
        let id = response.id;
        i.num_accesskit_action_requests(id, accesskit::Action::Increment) as f32
            - i.num_accesskit_action_requests(id, accesskit::Action::Decrement) as f32
    });
    if asked != 0.0 {
        new = Some(snap(value + asked * if spec.step > 0.0 { spec.step } else { span / 100.0 }));
    }
    response.widget_info(|| WidgetInfo::slider(ui.is_enabled(), f64::from(value), spec.label));
    if ui.is_rect_visible(rect) {
        let painter = ui.painter();
        let y = rect.center().y;
        let bar = |from: f32, to: f32| Rect::from_min_max(pos2(from, y - 2.0), pos2(to, y + 2.0));
        painter.rect_filled(bar(line.left(), line.right()), 2, *t.control);
        let colour = if !ui.is_enabled() {
            *t.control_active
        } else if spec.marked {
            *t.accent
        } else {
            *t.text_faint
        };
        // A range with a middle is filled from there, so that left and right look like left and right.
        let origin =
            if min < 0.0 && max > 0.0 { line.left() - line.width() * min / span } else { line.left() };
        painter.rect_filled(bar(origin.min(x), origin.max(x)), 2, colour);
        if origin > line.left() {
            painter.vline(origin, (y - 4.0)..=(y + 4.0), Stroke::new(1.0, *t.line_strong));
        }
        let hot = response.hovered() || response.dragged();
        painter.circle(pos2(x, y), if hot { 7.0 } else { 6.0 }, *t.text, Stroke::new(2.0, *t.panel));
        if response.has_focus() {
            painter.circle_stroke(pos2(x, y), 9.0, Stroke::new(1.5, *t.accent));
        }
    }
    if response.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
    }
    new
}

/// A stepper: a number with a button on either side.
pub fn stepper(
    ui: &mut Ui,
    label: &str,
    value: usize,
    range: RangeInclusive<usize>,
    names: (&str, &str),
) -> Option<usize> {
    use super::basic::sized_icon_button;
    use crate::icons::Icon;
    let t = tokens(ui);
    let mut new = None;
    // Left to right even where it stands in a row that runs from the right.
    let layout = eframe::egui::Layout::left_to_right(eframe::egui::Align::Center);
    let size = vec2(2.0 * (ROW - 4.0) + 26.0 + 4.0, ROW - 4.0);
    ui.allocate_ui_with_layout(size, layout, |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let (fewer, more) = (format!("{label}: {}", names.0), format!("{label}: {}", names.1));
        if sized_icon_button(ui, Icon::Minus, &fewer, value > *range.start(), false, ROW - 4.0).clicked() {
            new = Some(value - 1);
        }
        let font = TextStyle::Body.resolve(ui.style());
        let (rect, response) = ui.allocate_exact_size(vec2(26.0, ROW - 4.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{label} {value}")));
        ui.painter().text(
            rect.center(),
            eframe::egui::Align2::CENTER_CENTER,
            value.to_string(),
            font,
            *t.text,
        );
        if sized_icon_button(ui, Icon::Plus, &more, value < *range.end(), false, ROW - 4.0).clicked() {
            new = Some(value + 1);
        }
    });
    new
}

/// Only the rail, as wide as there is room.
pub fn slider(ui: &mut Ui, spec: &Spec<'_>, value: f32) -> Option<f32> {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 18.0), Sense::click_and_drag());
    rail(ui, rect, &response, spec, value).filter(|v| v.is_finite() && *v != value)
}
