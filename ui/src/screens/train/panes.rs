//! The same held-out start three times: what came, what the base made of it, what the model makes of it now.

use eframe::egui::{Color32, FontId, Rect, RichText, Role, Sense, TextStyle, Ui, WidgetInfo, pos2, vec2};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::train::{RunState, TrainRun, TrainWish};
use crate::widgets::basic::{chip, hint};
use crate::widgets::pane::{Slot, picture_part};

/// Shows the panes.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let t = tokens(ui);
    let Some(rows) = run.shown() else {
        if run.state == RunState::Running {
            hint(ui, &s.train.no_preview);
        }
        return;
    };
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = space::XS;
        ui.label(RichText::new(&s.train.held_out).text_style(theme::strong()));
        for i in 0..run.preview.windows.len() {
            let name = fill(&s.train.window, &[("n", &(i + 1))]);
            if chip(ui, &name, i == run.window).clicked() {
                app.outbox.send(Message::Train(TrainWish::Window(i)));
            }
        }
        ui.label(
            RichText::new(fill(&s.train.preview_at, &[("n", &run.preview.iteration)]))
                .small()
                .color(*t.text_faint),
        );
    });
    let now = if run.state == RunState::Done { &s.train.after } else { &s.train.now };
    let names = [&s.train.truth, &s.train.before, now];
    let gap = 10.0;
    let width = (ui.available_width() - 2.0 * gap) / 3.0;
    let side = width.min((ui.ctx().content_rect().height() * 0.36).max(140.0));
    let total = side * 3.0 + gap * 2.0;
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), side + 24.0), Sense::hover());
    let left = area.center().x - total / 2.0;
    let at = app.transport.frame();
    for (i, (row, name)) in rows.iter().zip(names).enumerate() {
        let Some(frame) = row.get(at).or(row.last()) else { continue };
        let x = left + i as f32 * (side + gap);
        let picture = Rect::from_min_size(pos2(x, area.top() + 22.0), vec2(side, side));
        let aspect = frame.width as f32 / frame.height.max(1) as f32;
        let shown = Rect::from_center_size(
            picture.center(),
            if aspect >= 1.0 { vec2(side, side / aspect) } else { vec2(side * aspect, side) },
        );
        let response = ui.interact(shown, ui.scope_id().with(("preview", i)), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name.as_str()));
        let id = app.textures.get(ui.ctx(), Slot::Preview(i), frame, shown.width(), app.view.smooth);
        let whole = Rect::from_min_max([0.0, 0.0].into(), [1.0, 1.0].into());
        picture_part(ui, id, shown, whole, Color32::WHITE);
        let font = FontId::new(TextStyle::Small.resolve(ui.style()).size, theme::semibold());
        let colour = if i == 2 { *t.accent } else { *t.text_soft };
        ui.painter().text(
            pos2(picture.center().x, area.top() + 2.0),
            eframe::egui::Align2::CENTER_TOP,
            name.as_str(),
            font,
            colour,
        );
    }
}
