//! One large view: of the pair or of the whole set, with all panes small beside it.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, CursorIcon, Label, Layout, Rect, RichText, Role, ScrollArea, Sense, Stroke, TextStyle, Ui,
    UiBuilder, WidgetInfo, pos2, vec2,
};
use forerun::Frame;
use forerun::compare::diff::{self, PairView, WipeAxis};
use forerun::compare::set::deviation_legend;

use super::pane::{self, Shape};
use super::{header::look_words, words};
use crate::app::Studio;
use crate::commands::Command;
use crate::compare::{CompareDoc, Look, PaneDoc, Source};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{focus_ring, icon_text_button, tip};
use crate::widgets::pair_view::PairCallback;
use crate::widgets::pane::{Slot, fit, picture_part};

/// Width of the column of small panes.
const COLUMN: f32 = 136.0;
/// Height of the line under the large view.
const LINE: f32 = 26.0;
/// Height of a legend.
const LEGEND: f32 = 34.0;
/// Periods of the flicker a second.
const FLICKER_HZ: f32 = 1.5;

/// Nothing to compare yet: what to do.
pub fn empty(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let t = tokens(ui);
    let area = ui.available_rect_before_wrap();
    let size = vec2(460.0_f32.min(area.width()), 150.0);
    let rect = Rect::from_center_size(area.center() - vec2(0.0, 20.0), size);
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.label(RichText::new(&s.compare.empty_title).text_style(theme::title()));
        ui.add(Label::new(RichText::new(&s.compare.empty_text).color(*t.text_soft)).wrap());
        ui.add_space(space::S);
        ui.horizontal_wrapped(|ui| {
            let response = icon_text_button(ui, Icon::World, &s.compare.go_world);
            if tip(ui, response, s, Command::ShowWorld).clicked() {
                app.outbox.command(Command::ShowWorld);
            }
            if app.enabled(Command::CompareRun) {
                let response = icon_text_button(ui, Icon::Compare, &s.commands.compare_run.name);
                if tip(ui, response, s, Command::CompareRun).clicked() {
                    app.outbox.command(Command::CompareRun);
                }
            }
        });
    });
    ui.advance_cursor_after_rect(area);
}

/// Shows a view of the pair or of the set.
pub fn show(app: &mut Studio, ui: &mut Ui, doc: &CompareDoc, look: Look) {
    let s = app.strings();
    let area = ui.available_rect_before_wrap().shrink2(vec2(2.0, 4.0));
    let column = COLUMN.min(area.width() * 0.28);
    let side = Rect::from_min_max(pos2(area.right() - column, area.top()), area.max);
    small_panes(app, ui, doc, side);
    let large = Rect::from_min_max(area.min, pos2(side.left() - space::M, area.bottom()));
    if look.of_pair() {
        match doc.pair().map(|(a, b)| (a.clone(), b.clone())) {
            Some((a, b)) => pair(app, ui, s, look, (&a, &b), large),
            None => note(ui, large, &s.compare.two_needed),
        }
    } else {
        set(app, ui, s, doc, look, large);
    }
    ui.advance_cursor_after_rect(area);
}

fn small_panes(app: &mut Studio, ui: &mut Ui, doc: &CompareDoc, side: Rect) {
    ui.scope_builder(UiBuilder::new().max_rect(side).layout(Layout::top_down(Align::LEFT)), |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let aspect = super::grid::aspect(app, doc);
            let width = ui.available_width() - 12.0;
            for (place, doc_pane) in doc.panes.iter().enumerate() {
                let size = vec2(width, width / aspect + 24.0);
                let (cell, _) = ui.allocate_exact_size(size, Sense::hover());
                let cell = cell.translate(vec2(3.0, 3.0));
                if ui.is_rect_visible(cell) {
                    let shape = Shape { place, cell, caption: 24.0, small: true, wheel: false, strips: None };
                    pane::show(app, ui, doc, doc_pane, &shape);
                }
            }
        });
    });
}

/// A sentence where a view cannot be shown.
fn note(ui: &Ui, area: Rect, text: &str) {
    let t = tokens(ui);
    let font = TextStyle::Body.resolve(ui.style());
    let galley = ui.painter().layout(text.to_owned(), font, *t.text_soft, (area.width() - 40.0).min(420.0));
    ui.painter().galley(area.center() - galley.size() / 2.0, galley, *t.text_soft);
}

/// The frame of a pane at the common place in time.
fn frame_of(app: &Studio, pane: &PaneDoc) -> Option<Arc<Frame>> {
    let (_, future) = app.runs.find(&pane.source)?;
    let index = app.transport.frame().saturating_sub(pane.offset);
    future.frame(index).map(|(f, _)| f.clone())
}

/// The view of the library that belongs to a look.
fn pair_view(app: &Studio, look: Look) -> PairView {
    let view = &app.view.compare;
    match look {
        Look::Onion => PairView::Onion { mix: view.onion },
        Look::Signed => PairView::Signed { gain: view.gain },
        Look::Heat => PairView::Heat,
        Look::Flicker => PairView::Flicker { hz: FLICKER_HZ },
        _ => PairView::Wipe { at: view.split, axis: WipeAxis::Upright },
    }
}

fn pair(app: &mut Studio, ui: &mut Ui, s: &Strings, look: Look, (a, b): (&PaneDoc, &PaneDoc), area: Rect) {
    let (Some(first), Some(second)) = (frame_of(app, a), frame_of(app, b)) else {
        return note(ui, area, &s.compare.waiting);
    };
    if (first.width, first.height) != (second.width, second.height) {
        let size = |f: &Frame| format!("{} × {}", f.width, f.height);
        let text = fill(&s.compare.sizes_differ, &[("a", &size(&first)), ("b", &size(&second))]);
        return note(ui, area, &text);
    }
    let legend = if matches!(look, Look::Signed | Look::Heat) { LEGEND } else { 0.0 };
    let frame_area = Rect::from_min_max(area.min, pos2(area.right(), area.bottom() - LINE - legend));
    let rect = fit(&first, frame_area);
    let response = stage(app, ui, s, look, rect);
    let part = app.compare.zoom.part();
    let view = pair_view(app, look);
    if app.textures.render().is_some() {
        let pixels = rect.width() * ui.ctx().pixels_per_point() * app.compare.zoom.factor;
        let scale = if app.view.smooth { 1.0 } else { pixels / first.width.max(1) as f32 };
        if let Some(pictures) = app.textures.pair(&first, &second) {
            let call = PairCallback { slot: 0, pictures, view, seconds: app.now, part, scale };
            ui.painter().add(eframe::egui_wgpu::Callback::new_paint_callback(rect, call));
        }
    } else if let Ok(frame) = app.compare.views.pair(view, &first, &second, app.now) {
        let wide = rect.width() * app.compare.zoom.factor;
        let id = app.textures.get(ui.ctx(), Slot::View, &frame, wide, app.view.smooth);
        picture_part(ui, id, rect, part, eframe::egui::Color32::WHITE);
    }
    if look == Look::Flicker {
        // The next change is never farther than half a period away.
        ui.ctx().request_repaint_after_secs(0.25 / FLICKER_HZ);
    }
    if look == Look::Wipe {
        wipe_line(app, ui, rect, part, &response);
    }
    names(app, ui, s, look, (a, b), rect);
    match look {
        Look::Heat => {
            let stops =
                diff::heat_legend().iter().map(|(d, _)| (f32::from(*d) / 255.0, d.to_string())).collect();
            let colour = |i: u8| diff::heat(i);
            legend_bar(ui, legend_place(rect, area), &s.compare.legend_heat, stops, colour);
        }
        Look::Signed => {
            let reach = 127.0 / app.view.compare.gain;
            let stops =
                vec![(0.0, format!("−{reach:.0}")), (0.5, "0".to_owned()), (1.0, format!("+{reach:.0}"))];
            legend_bar(ui, legend_place(rect, area), &s.compare.legend_signed, stops, |i| [i; 3]);
        }
        _ => {}
    }
}

/// The large picture as a widget: it zooms, pans, and moves the line of the wipe.
fn stage(app: &mut Studio, ui: &mut Ui, s: &Strings, look: Look, rect: Rect) -> eframe::egui::Response {
    let response = ui.interact(rect, ui.scope_id().with("large view"), Sense::click_and_drag());
    let name = look_words(s, look).0.to_owned();
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    focus_ring(ui, rect, &response);
    if let Some(pointer) = response.hover_pos() {
        let (wheel, pinch) = ui.input(|i| (i.smooth_scroll_delta().y, i.zoom_delta()));
        let by = (wheel / 240.0).exp() * pinch;
        if (by - 1.0).abs() > 1e-4 {
            app.outbox.compare(Wish::Zoom(by, (pointer - rect.min) / rect.size()));
        }
    }
    if look != Look::Wipe && app.compare.zoom.factor > 1.001 && response.dragged() {
        app.outbox.compare(Wish::Shift(response.drag_delta() / rect.size()));
    }
    response
}

/// The line of the wipe, which the pointer drags.
fn wipe_line(app: &mut Studio, ui: &Ui, rect: Rect, part: Rect, response: &eframe::egui::Response) {
    let t = tokens(ui);
    let split = app.view.compare.split;
    if let Some(pointer) = response.interact_pointer_pos() {
        let at = part.left() + part.width() * (pointer.x - rect.left()) / rect.width().max(1.0);
        app.outbox.compare(Wish::Split(at));
    }
    if response.hovered() {
        ui.ctx().set_cursor_icon(CursorIcon::ResizeHorizontal);
    }
    let x = rect.left() + rect.width() * (split - part.left()) / part.width().max(1e-6);
    if rect.x_range().contains(x) {
        let painter = ui.painter();
        painter.vline(x, rect.y_range(), Stroke::new(3.0, t.base.gamma_multiply(0.7)));
        painter.vline(x, rect.y_range(), Stroke::new(1.5, *t.text));
        painter.circle(pos2(x, rect.center().y), 7.0, *t.text, Stroke::new(2.0, *t.base));
    }
}

/// Which future is which, under the large picture.
fn names(app: &Studio, ui: &mut Ui, s: &Strings, look: Look, (a, b): (&PaneDoc, &PaneDoc), rect: Rect) {
    let t = tokens(ui);
    let line = Rect::from_min_size(pos2(rect.left(), rect.bottom() + 2.0), vec2(rect.width(), LINE));
    let name = |pane: &PaneDoc| words::name(app, s, pane);
    let shows_second = look == Look::Flicker && diff::flicker_shows_second(app.now, FLICKER_HZ);
    let dim = |second: bool| look == Look::Flicker && second != shows_second;
    let font = TextStyle::Body.resolve(ui.style());
    let half = line.width() / 2.0 - 8.0;
    let paint = |ui: &Ui, text: String, right: bool, colour| {
        let galley = eframe::egui::WidgetText::from(text).into_galley(
            ui,
            Some(eframe::egui::TextWrapMode::Truncate),
            half,
            font.clone(),
        );
        let x = if right { line.right() - galley.size().x } else { line.left() };
        ui.painter().galley(pos2(x, line.center().y - galley.size().y / 2.0), galley, colour);
    };
    let colour = |second: bool| if dim(second) { *t.text_faint } else { *t.text };
    paint(ui, format!("A  {}", name(a)), false, colour(false));
    paint(ui, format!("B  {}", name(b)), true, colour(true));
}

fn legend_place(rect: Rect, area: Rect) -> Rect {
    let top = rect.bottom() + LINE + 2.0;
    let width = rect.width().min(460.0).min(area.width());
    Rect::from_min_size(pos2(rect.left(), top), vec2(width, LEGEND - 4.0))
}

/// A scale: its colours, values at their places, and what it is.
fn legend_bar(
    ui: &mut Ui,
    place: Rect,
    what: &str,
    stops: Vec<(f32, String)>,
    colour: impl Fn(u8) -> [u8; 3],
) {
    let t = tokens(ui);
    let bar = Rect::from_min_size(place.min, vec2(place.width(), 9.0));
    let response = ui.interact(place, ui.scope_id().with("legend"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, what));
    let mut mesh = eframe::egui::Mesh::default();
    for i in 0..=255u32 {
        let x = bar.left() + bar.width() * i as f32 / 255.0;
        let [r, g, b] = colour(i as u8);
        let colour = eframe::egui::Color32::from_rgb(r, g, b);
        mesh.colored_vertex(pos2(x, bar.top()), colour);
        mesh.colored_vertex(pos2(x, bar.bottom()), colour);
        if i > 0 {
            mesh.add_triangle(2 * i - 2, 2 * i - 1, 2 * i);
            mesh.add_triangle(2 * i - 1, 2 * i, 2 * i + 1);
        }
    }
    ui.painter().add(mesh);
    ui.painter().rect_stroke(bar, 2, Stroke::new(1.0, *t.line_strong), eframe::egui::StrokeKind::Outside);
    let font = TextStyle::Small.resolve(ui.style());
    let mut free = bar.left() - 1.0;
    for (at, text) in &stops {
        let x = bar.left() + bar.width() * at;
        let align = match *at {
            a if a <= 0.0 => Align2::LEFT_TOP,
            a if a >= 1.0 => Align2::RIGHT_TOP,
            _ => Align2::CENTER_TOP,
        };
        let galley = ui.painter().layout_no_wrap(text.clone(), font.clone(), *t.text_soft);
        let rect = align.anchor_size(pos2(x, bar.bottom() + 2.0), galley.size());
        // Values that would touch the one before are left out.
        if rect.left() > free {
            ui.painter().vline(x, bar.bottom()..=bar.bottom() + 3.0, Stroke::new(1.0, *t.line_strong));
            ui.painter().galley(rect.min, galley, *t.text_soft);
            free = rect.right() + 6.0;
        }
    }
    response.on_hover_text(what);
}

fn set(app: &mut Studio, ui: &mut Ui, s: &Strings, doc: &CompareDoc, look: Look, area: Rect) {
    let panes: Vec<&PaneDoc> =
        doc.panes.iter().filter(|p| !p.muted && matches!(p.source, Source::Future { .. })).collect();
    let frames: Vec<Arc<Frame>> = panes.iter().filter_map(|p| frame_of(app, p)).collect();
    if frames.is_empty() {
        return note(ui, area, if panes.is_empty() { &s.compare.one_needed } else { &s.compare.waiting });
    }
    let first = frames.first().map_or((0, 0), |f| (f.width, f.height));
    if let Some(other) = frames.iter().find(|f| (f.width, f.height) != first) {
        let size = |(w, h): (usize, usize)| format!("{w} × {h}");
        let text =
            fill(&s.compare.sizes_differ, &[("a", &size(first)), ("b", &size((other.width, other.height)))]);
        return note(ui, area, &text);
    }
    if frames.len() < 2 {
        return note(ui, area, &s.compare.two_needed);
    }
    let count = frames.len();
    let (picture, what) = match look {
        Look::Median => {
            let Some(id) = app.median(ui.ctx()) else { return note(ui, area, &s.compare.reading) };
            let Some(pane) = doc.pane(id) else { return };
            let name = words::name(app, s, pane);
            (frame_of(app, pane), fill(&s.compare.median_of, &[("name", &name), ("n", &count)]))
        }
        _ => {
            let found = app.set_pictures(ui.ctx(), &frames);
            let what = look_words(s, look).0;
            let picture = found.map(|p| if look == Look::Mean { p.mean.clone() } else { p.map.clone() });
            (picture, fill(&s.compare.of_futures, &[("what", &what), ("n", &count)]))
        }
    };
    let Some(picture) = picture else { return note(ui, area, &s.compare.reading) };
    let legend = if look == Look::Spread { LEGEND } else { 0.0 };
    let frame_area = Rect::from_min_max(area.min, pos2(area.right(), area.bottom() - LINE - legend));
    let rect = fit(&picture, frame_area);
    stage(app, ui, s, look, rect);
    let wide = rect.width() * app.compare.zoom.factor;
    let id = app.textures.get(ui.ctx(), Slot::View, &picture, wide, app.view.smooth);
    picture_part(ui, id, rect, app.compare.zoom.part(), eframe::egui::Color32::WHITE);
    let line = Rect::from_min_size(pos2(rect.left(), rect.bottom() + 2.0), vec2(rect.width(), LINE));
    ui.scope_builder(UiBuilder::new().max_rect(line).layout(Layout::left_to_right(Align::Center)), |ui| {
        ui.add(Label::new(RichText::new(what)).truncate());
    });
    if look == Look::Spread {
        // The places of the values are those of the heat map's levels.
        let stops = deviation_legend()
            .iter()
            .zip(diff::HEAT_STOPS)
            .map(|((deviation, _), (level, _))| (f32::from(level) / 255.0, words::short(*deviation)))
            .collect();
        legend_bar(ui, legend_place(rect, area), &s.compare.legend_spread, stops, diff::heat);
    }
}
