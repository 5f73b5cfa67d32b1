//! Lines over a common axis, with their names, a few round numbers on the axes and what lies under the pointer.

use eframe::egui::{
    Align2, Color32, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind, TextStyle, Ui, Vec2, WidgetInfo,
    pos2, vec2,
};

use crate::theme::{self, tokens};

/// A line of a plot.
pub struct Line<'a> {
    /// What the legend calls it.
    pub name: &'a str,
    /// Its colour.
    pub colour: Color32,
    /// Points in the order of x; ones that are no numbers leave a gap.
    pub points: Vec<[f32; 2]>,
    /// For what others are measured against.
    pub dashed: bool,
}

/// What stands around the lines.
pub struct Axes<'a> {
    /// What the plot is called by screen readers and tests.
    pub name: &'a str,
    /// Title in the corner; empty for none.
    pub title: &'a str,
    /// Unit behind the numbers of the y axis; may be empty.
    pub unit: &'a str,
    /// First and last x; from the points when `None`.
    pub x: Option<(f32, f32)>,
    /// Values that must be in sight.
    pub include: &'a [f32],
    /// Where a thin line marks the present.
    pub now: Option<f32>,
    /// A value below which something is wrong.
    pub floor: Option<f32>,
    /// Whether to name the lines.
    pub legend: bool,
    /// What an x is called under the pointer, for example `12 min`.
    pub say_x: &'a dyn Fn(f32) -> String,
}

/// Width of the column of numbers.
const LEFT: f32 = 46.0;

/// Shows the plot in `size` points. Returns the x that was clicked or dragged to.
pub fn plot(ui: &mut Ui, size: Vec2, axes: &Axes<'_>, lines: &[Line<'_>]) -> Option<f32> {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, ui.is_enabled(), axes.name));
    if !ui.is_rect_visible(rect) {
        return None;
    }
    let font = TextStyle::Small.resolve(ui.style());
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, theme::RADIUS, *t.input);
    painter.rect_stroke(rect, theme::RADIUS, Stroke::new(1.0, *t.line), StrokeKind::Inside);
    let head = if axes.title.is_empty() && !axes.legend { 8.0 } else { 26.0 };
    let area = Rect::from_min_max(rect.min + vec2(LEFT, head), rect.max - vec2(10.0, 10.0));
    let mut at = rect.min + vec2(10.0, 7.0);
    if !axes.title.is_empty() {
        let galley = painter.layout_no_wrap(axes.title.to_owned(), font.clone(), *t.text_soft);
        let width = galley.size().x;
        painter.galley(at, galley, *t.text_soft);
        at.x += width + 14.0;
    }
    if axes.legend {
        for line in lines {
            let galley = painter.layout_no_wrap(line.name.to_owned(), font.clone(), *t.text_soft);
            // Half a name is worse than none: the pointer tells all of them.
            if at.x + 19.0 + galley.size().x > rect.right() - 6.0 {
                break;
            }
            let y = at.y + galley.size().y / 2.0;
            let sample = [pos2(at.x, y), pos2(at.x + 14.0, y)];
            stroke(&painter, &sample, line.colour, line.dashed);
            let width = galley.size().x;
            painter.galley(at + vec2(19.0, 0.0), galley, *t.text_soft);
            at.x += width + 31.0;
        }
    }
    let finite = || lines.iter().flat_map(|l| l.points.iter()).filter(|p| p.iter().all(|v| v.is_finite()));
    let span = |values: &mut dyn Iterator<Item = f32>| {
        values.fold(None, |found: Option<(f32, f32)>, v| {
            Some(found.map_or((v, v), |(least, most)| (least.min(v), most.max(v))))
        })
    };
    let found_y = span(&mut finite().map(|p| p[1]).chain(axes.include.iter().copied()));
    let found_x = axes.x.or_else(|| span(&mut finite().map(|p| p[0])));
    let (Some((least, most)), Some((first, last))) = (found_y, found_x) else { return None };
    let room = ((most - least) * 0.08).max(if most == least { most.abs() * 0.1 + 0.5 } else { 0.0 });
    let (least, most) = (least - room, most + room);
    let last = if last > first { last } else { first + 1.0 };
    let place = |x: f32, y: f32| -> Pos2 {
        pos2(
            area.left() + area.width() * (x - first) / (last - first),
            area.bottom() - area.height() * (y - least) / (most - least),
        )
    };
    let step = round_step((most - least) / (area.height() / 26.0).max(1.0));
    let mut value = (least / step).ceil() * step;
    while value <= most {
        let y = place(first, value).y;
        painter.hline(area.x_range(), y, Stroke::new(1.0, t.line.gamma_multiply(0.7)));
        let text = short(value, step);
        painter.text(pos2(area.left() - 6.0, y), Align2::RIGHT_CENTER, text, font.clone(), *t.text_faint);
        value += step;
    }
    if let Some(floor) = axes.floor.filter(|v| (least..=most).contains(v)) {
        let y = place(first, floor).y;
        let line = [pos2(area.left(), y), pos2(area.right(), y)];
        painter.extend(Shape::dashed_line(&line, Stroke::new(1.0, *t.bad), 3.0, 3.0));
    }
    let clip = painter.with_clip_rect(area.expand(1.5));
    for line in lines {
        let mut piece: Vec<Pos2> = Vec::new();
        for point in &line.points {
            if point.iter().all(|v| v.is_finite()) {
                piece.push(place(point[0], point[1]));
            } else {
                stroke(&clip, &piece, line.colour, line.dashed);
                piece.clear();
            }
        }
        if let [only] = piece.as_slice() {
            clip.circle_filled(*only, 2.5, line.colour);
        }
        stroke(&clip, &piece, line.colour, line.dashed);
    }
    if let Some(x) = axes.now.filter(|x| x.is_finite()) {
        clip.vline(place(x, least).x, area.y_range(), Stroke::new(1.0, t.accent.gamma_multiply(0.7)));
    }
    let pointed = |pointer: Pos2| {
        let part = ((pointer.x - area.left()) / area.width().max(1.0)).clamp(0.0, 1.0);
        first + part * (last - first)
    };
    if let Some(pointer) = response.hover_pos().filter(|p| area.expand(4.0).contains(*p)) {
        let x = pointed(pointer);
        clip.vline(pointer.x, area.y_range(), Stroke::new(1.0, *t.line_strong));
        let rows: Vec<(Color32, String)> = lines
            .iter()
            .filter_map(|line| {
                let near = line
                    .points
                    .iter()
                    .filter(|p| p.iter().all(|v| v.is_finite()))
                    .min_by(|a, b| (a[0] - x).abs().total_cmp(&(b[0] - x).abs()))?;
                let unit = if axes.unit.is_empty() { String::new() } else { format!(" {}", axes.unit) };
                Some((line.colour, format!("{}  {}{unit}", line.name, short(near[1], step * 0.02))))
            })
            .collect();
        let title = (axes.say_x)(x);
        response.clone().on_hover_ui_at_pointer(|ui| {
            ui.label(eframe::egui::RichText::new(title).small().color(*t.text_faint));
            for (colour, text) in rows {
                ui.label(eframe::egui::RichText::new(text).small().color(colour));
            }
        });
    }
    response.interact_pointer_pos().map(pointed)
}

fn stroke(painter: &eframe::egui::Painter, points: &[Pos2], colour: Color32, dashed: bool) {
    if points.len() < 2 {
        return;
    }
    if dashed {
        painter.extend(Shape::dashed_line(points, Stroke::new(1.4, colour), 5.0, 4.0));
    } else {
        painter.add(Shape::line(points.to_vec(), Stroke::new(1.7, colour)));
    }
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_step(wanted: f32) -> f32 {
    if !(wanted.is_finite() && wanted > 0.0) {
        return 1.0;
    }
    let power = 10f32.powf(wanted.log10().floor());
    [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * power).find(|s| *s >= wanted * 0.999).unwrap_or(10.0 * power)
}

/// A number with as many digits as its neighbours on the axis need.
fn short(value: f32, step: f32) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 4.0) as usize;
    let text = format!("{value:.digits$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') {
        text.replace('-', "")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers() {
        let steps: Vec<f32> = [0.03, 0.7, 1.0, 3.0, 77.0].into_iter().map(round_step).collect();
        for (found, wanted) in steps.iter().zip([0.05, 1.0, 1.0, 5.0, 100.0]) {
            assert!((found - wanted).abs() < wanted * 1e-4, "{steps:?}");
        }
        assert_eq!(round_step(f32::NAN), 1.0);
        assert_eq!(
            (short(-0.001, 0.5), short(2.5, 0.5), short(20.0, 5.0)),
            ("0.0".into(), "2.5".into(), "20".into())
        );
    }
}
