//! A small editor of one channel's curve: click to add a key, drag, delete, nudge with the arrows.

use eframe::egui::{
    CursorIcon, EventFilter, Id, Key, Modifiers, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind,
    TextStyle, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use forerun::models::Channel;

use crate::curve::Curve;
use crate::i18n::{Strings, fill};
use crate::theme::{self, tokens};

/// Height of the editor in points.
pub const HEIGHT: f32 = 84.0;

/// Shows `curve` of `channel` over `steps` steps and returns the changed one. `rest` is the value that the channel has
/// while it has no curve; `playhead` is the step that is shown in the panes.
pub fn curve_editor(
    ui: &mut Ui,
    s: &Strings,
    channel: &Channel,
    curve: Option<&Curve>,
    rest: f32,
    steps: usize,
    playhead: usize,
) -> Option<Curve> {
    let t = tokens(ui);
    let (rect, lane) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::click());
    let name = fill(&s.numbers.curve, &[("channel", &channel.name)]);
    lane.widget_info(|| WidgetInfo::labeled(Role::Canvas, ui.is_enabled(), &name));
    let plot = rect.shrink2(vec2(8.0, 8.0));
    let view = View { plot, last: steps.saturating_sub(1).max(1), min: channel.min, max: channel.max };
    let shown = curve.cloned().unwrap_or_else(|| Curve::constant(rest));
    let mut new: Option<Curve> = None;

    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, theme::RADIUS, *t.input);
    painter.rect_stroke(rect, theme::RADIUS, Stroke::new(1.0, *t.line), StrokeKind::Inside);
    for quarter in [0.25, 0.5, 0.75] {
        let x = plot.left() + plot.width() * quarter;
        painter.vline(x, plot.y_range(), Stroke::new(1.0, t.line.gamma_multiply(0.6)));
    }
    if channel.min < 0.0 && channel.max > 0.0 {
        painter.hline(plot.x_range(), view.y(0.0), Stroke::new(1.0, *t.line));
    }
    let font = TextStyle::Small.resolve(ui.style());
    let range_text = |v: f32| format!("{v:.0}");
    let faint = t.text_faint.gamma_multiply(0.8);
    painter.text(
        rect.right_top() + vec2(-6.0, 4.0),
        eframe::egui::Align2::RIGHT_TOP,
        range_text(channel.max),
        font.clone(),
        faint,
    );
    painter.text(
        rect.right_bottom() + vec2(-6.0, -4.0),
        eframe::egui::Align2::RIGHT_BOTTOM,
        range_text(channel.min),
        font,
        faint,
    );
    painter.vline(
        view.x(playhead.min(view.last)),
        rect.y_range(),
        Stroke::new(1.0, t.accent.gamma_multiply(0.6)),
    );

    let line: Vec<Pos2> =
        (0..=view.last).filter_map(|step| Some(view.place(step, shown.at(step)?))).collect();
    let colour = if curve.is_some() { *t.accent } else { *t.text_faint };
    let points = match shown.joint {
        crate::curve::Joint::Linear => line,
        // Values are held until the next step: corners, not slopes.
        crate::curve::Joint::Hold => line
            .iter()
            .zip(line.iter().skip(1).chain(line.last()))
            .flat_map(|(a, b)| [*a, pos2(b.x, a.y)])
            .collect(),
    };
    painter.add(Shape::line(points, Stroke::new(1.6, colour)));

    // Keys come after the lane, so that they are on top of it.
    for key in curve.map(Curve::keys).unwrap_or_default() {
        let id = lane.id.with(("key", key.id));
        let at = view.place(key.step.min(view.last), key.value);
        let grab = Rect::from_center_size(at, Vec2::splat(16.0));
        let response = ui.interact(grab, id, Sense::click_and_drag());
        let label = fill(&s.numbers.keyframe, &[("channel", &channel.name), ("step", &key.step)]);
        response.widget_info(|| WidgetInfo::slider(ui.is_enabled(), f64::from(key.value), &label));
        let changed = |edit: &dyn Fn(&mut Curve)| {
            let mut next = shown.clone();
            edit(&mut next);
            Some(next)
        };
        if response.clicked() || response.drag_started() {
            response.request_focus();
        }
        if response.drag_started() {
            // Where in the key it was grabbed, so that it does not jump under the pointer.
            let grip = ui.input(|i| i.pointer.press_origin()).map_or(Vec2::ZERO, |p| at - p);
            ui.data_mut(|d| d.insert_temp(id, grip));
        }
        if let (true, Some(pointer)) = (response.dragged(), response.interact_pointer_pos()) {
            let grip = ui.data(|d| d.get_temp::<Vec2>(id)).unwrap_or_default();
            let (step, value) = view.read(pointer + grip);
            new = changed(&|c| c.move_key(key.id, step, value));
        }
        if response.has_focus() {
            new = keyboard(ui, id, &view, &shown, key.id).or(new);
        }
        if response.secondary_clicked() {
            new = changed(&|c| c.remove(key.id));
        }
        let hot = response.hovered() || response.dragged();
        painter.circle(at, if hot { 6.0 } else { 4.5 }, *t.accent, Stroke::new(2.0, *t.input));
        if response.has_focus() {
            painter.circle_stroke(at, 8.0, Stroke::new(1.5, *t.text));
        }
        if hot {
            ui.ctx().set_cursor_icon(CursorIcon::Grab);
            let value = format!("{:.1} {}", key.value, channel.unit);
            response.on_hover_text(fill(&s.numbers.value_at, &[("value", &value), ("step", &key.step)]));
        }
    }
    if let (true, Some(pointer)) = (lane.clicked(), lane.interact_pointer_pos()) {
        let (step, value) = view.read(pointer);
        let mut next = shown.clone();
        let id = next.set(step, value);
        ui.memory_mut(|m| m.request_focus(lane.id.with(("key", id))));
        new = Some(next);
    }
    if lane.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::Crosshair);
    }
    new.filter(|c| Some(c) != curve)
}

fn keyboard(ui: &Ui, id: Id, view: &View, shown: &Curve, key: u64) -> Option<Curve> {
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|m| m.set_focus_lock_filter(id, filter));
    let at = *shown.key(key)?;
    let (x, y, remove) = ui.input_mut(|i| {
        let mut count = |m: Modifiers, k: Key| i.count_and_consume_key(m, k) as i64;
        let mut axis = |more: Key, less: Key| {
            count(Modifiers::NONE, more) - count(Modifiers::NONE, less)
                + 10 * (count(Modifiers::SHIFT, more) - count(Modifiers::SHIFT, less))
        };
        let (x, y) = (axis(Key::ArrowRight, Key::ArrowLeft), axis(Key::ArrowUp, Key::ArrowDown));
        (x, y, count(Modifiers::NONE, Key::Delete) + count(Modifiers::NONE, Key::Backspace) > 0)
    });
    if (x, y, remove) == (0, 0, false) {
        return None;
    }
    let mut next = shown.clone();
    if remove {
        next.remove(key);
    } else {
        let step = (at.step as i64 + x).clamp(0, view.last as i64) as usize;
        let value = (at.value + y as f32 * (view.max - view.min) / 100.0).clamp(view.min, view.max);
        next.move_key(key, step, value);
    }
    Some(next)
}

/// Steps and values to places and back.
struct View {
    plot: Rect,
    last: usize,
    min: f32,
    max: f32,
}

impl View {
    fn x(&self, step: usize) -> f32 {
        self.plot.left() + self.plot.width() * step as f32 / self.last as f32
    }

    fn y(&self, value: f32) -> f32 {
        let part = (value - self.min) / (self.max - self.min).max(f32::EPSILON);
        self.plot.bottom() - self.plot.height() * part.clamp(0.0, 1.0)
    }

    fn place(&self, step: usize, value: f32) -> Pos2 {
        pos2(self.x(step), self.y(value))
    }

    fn read(&self, at: Pos2) -> (usize, f32) {
        let x = ((at.x - self.plot.left()) / self.plot.width().max(1.0)).clamp(0.0, 1.0);
        let y = ((self.plot.bottom() - at.y) / self.plot.height().max(1.0)).clamp(0.0, 1.0);
        ((x * self.last as f32).round() as usize, self.min + y * (self.max - self.min))
    }
}
