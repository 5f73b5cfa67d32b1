//! The big Stop: in sight on every screen while motors hold.

use eframe::egui::{
    CornerRadius, FontId, Frame, Margin, Panel, Rect, RichText, Role, Sense, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::app::Studio;
use crate::icons::Icon;
use crate::theme::{self, space, tokens};

/// Shows the bar while there is something to stop.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    if !app.robot.is_stiff() {
        return;
    }
    let s = app.strings();
    let t = tokens(ui);
    let frame = Frame::new().fill(*t.panel).inner_margin(Margin::symmetric(12, 8));
    Panel::bottom("stop bar").exact_size(64.0).frame(frame).show(ui, |ui| {
        let (rect, response) =
            ui.allocate_exact_size(vec2(ui.available_width(), 48.0), Sense::click_and_drag());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &s.robot.stop));
        let painter = ui.painter();
        painter.rect_filled(rect, CornerRadius::same(theme::CARD_RADIUS), *t.stop);
        let font = FontId::new(18.0, theme::semibold());
        let galley = painter.layout_no_wrap(s.robot.stop.clone(), font, *t.on_accent);
        let left = rect.center().x - (galley.size().x + 22.0 + space::S) / 2.0;
        let icon = Rect::from_center_size(pos2(left + 11.0, rect.center().y), Vec2::splat(22.0));
        Icon::Stop.paint(painter, icon, *t.on_accent);
        painter.galley(
            pos2(left + 22.0 + space::S, rect.center().y - galley.size().y / 2.0),
            galley,
            *t.on_accent,
        );
        // The press counts, not the release: a person who stops does not aim.
        if response.is_pointer_button_down_on() && ui.input(|i| i.pointer.any_pressed()) || response.clicked()
        {
            app.robot.wish(crate::robot::Wish::Stop("the Stop button"));
        }
        response.on_hover_ui(|ui| {
            ui.label(RichText::new(&s.robot.stop_tip));
        });
    });
}
