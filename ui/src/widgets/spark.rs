//! A tiny line of numbers over the frames, with a mark at the present one.

use eframe::egui::{Color32, Pos2, Rect, Sense, Shape, Stroke, Ui, pos2, vec2};

use crate::theme::tokens;

/// Draws `values` (NaN = none) over the indices `0..extent`; the frame `at` is marked. `range` is what is sure to be
/// shown, so that noise around a constant does not look like a mountain.
pub fn spark(ui: &mut Ui, width: f32, values: &[f32], extent: usize, at: usize, range: f32) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(width, 14.0), Sense::hover());
    paint(ui, rect, values, extent, at, range, *t.accent);
}

fn paint(ui: &Ui, rect: Rect, values: &[f32], extent: usize, at: usize, range: f32, colour: Color32) {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (Some(low), Some(high)) = (finite().reduce(f32::min), finite().reduce(f32::max)) else { return };
    let (middle, half) = ((low + high) / 2.0, ((high - low).max(range) / 2.0).max(f32::EPSILON));
    let last = extent.saturating_sub(1).max(1) as f32;
    let place = |i: usize, v: f32| -> Pos2 {
        let up = ((v - middle) / half).clamp(-1.0, 1.0);
        pos2(rect.left() + rect.width() * i as f32 / last, rect.center().y - up * (rect.height() / 2.0 - 2.0))
    };
    let mut line = Vec::new();
    for (i, v) in values.iter().enumerate() {
        if v.is_finite() {
            line.push(place(i, *v));
        }
    }
    ui.painter().add(Shape::line(line, Stroke::new(1.2, colour.gamma_multiply(0.7))));
    if let Some(v) = values.get(at).filter(|v| v.is_finite()) {
        ui.painter().circle_filled(place(at, *v), 2.2, colour);
    }
}
