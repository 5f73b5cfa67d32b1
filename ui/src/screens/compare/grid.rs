//! All panes side by side.

use eframe::egui::{Rect, ScrollArea, Ui, pos2, vec2};

use super::pane::{self, Shape, caption_height};
use super::strips::PaneStrips;
use crate::app::Studio;
use crate::compare::CompareDoc;
use crate::theme::space;
use crate::widgets::grid::cells;

/// Panes do not get narrower than this; a grid that needs more room scrolls.
const NARROWEST: f32 = 92.0;

/// Shows the grid.
pub fn show(app: &mut Studio, ui: &mut Ui, doc: &CompareDoc) {
    let area = ui.available_rect_before_wrap().shrink2(vec2(2.0, 4.0));
    let aspect = aspect(app, doc);
    let shown: Vec<_> =
        doc.panes.iter().enumerate().filter(|(_, p)| app.compare.alone.is_none_or(|id| id == p.id)).collect();
    let strips = PaneStrips::new(app);
    let caption = caption_height(area.width() / shown.len().max(1) as f32, strips.is_some());
    let fitting = cells(shown.len(), area, aspect, caption, space::M);
    let narrow = fitting.first().is_none_or(|c| c.width() < NARROWEST);
    if !narrow {
        // With the true width of a pane known, a narrow one gets a lower caption.
        let width = fitting.first().map_or(0.0, Rect::width);
        let extra = caption_height(width, strips.is_some());
        let places = cells(shown.len(), area, aspect, extra, space::M);
        for ((place, doc_pane), cell) in shown.into_iter().zip(places) {
            pane::show(
                app,
                ui,
                doc,
                doc_pane,
                &Shape { place, cell, caption: extra, small: false, wheel: true, strips: strips.as_ref() },
            );
        }
        ui.advance_cursor_after_rect(area);
        return;
    }
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let room = ui.available_width() - 8.0;
        let columns = ((room + space::S) / (NARROWEST + space::S)).floor().max(1.0) as usize;
        let width = (room - space::S * (columns - 1) as f32) / columns as f32;
        let extra = caption_height(width, strips.is_some());
        let height = width / aspect + extra;
        let origin = ui.cursor().min;
        let rows = shown.len().div_ceil(columns);
        for (i, (place, doc_pane)) in shown.into_iter().enumerate() {
            let at = pos2(
                origin.x + (i % columns) as f32 * (width + space::S),
                origin.y + (i / columns) as f32 * (height + space::S),
            );
            let cell = Rect::from_min_size(at, vec2(width, height));
            if ui.is_rect_visible(cell) {
                pane::show(
                    app,
                    ui,
                    doc,
                    doc_pane,
                    &Shape {
                        place,
                        cell,
                        caption: extra,
                        small: false,
                        wheel: false,
                        strips: strips.as_ref(),
                    },
                );
            }
        }
        let size = vec2(room, rows as f32 * (height + space::S));
        ui.allocate_rect(Rect::from_min_size(origin, size), eframe::egui::Sense::hover());
    });
}

/// Width over height of the pictures of the first pane that has one.
pub fn aspect(app: &Studio, doc: &CompareDoc) -> f32 {
    let first = doc.panes.iter().find_map(|p| app.runs.find(&p.source)?.1.frame(0));
    first.map_or(1.0, |(f, _)| f.width.max(1) as f32 / f.height.max(1) as f32)
}
