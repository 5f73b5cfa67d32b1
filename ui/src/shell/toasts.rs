//! Toasts: the newest lines of the log, in the lower right corner, as real widgets that screen readers can find.

use eframe::egui::{
    Align, Align2, Area, Color32, Context, Frame, Id, Label, Layout, Margin, Order, RichText, Stroke, Vec2,
    vec2,
};

use crate::app::Studio;
use crate::icons::Icon;
use crate::log::Level;
use crate::message::Message;
use crate::theme::{self, Tokens, space, tokens};
use crate::widgets::basic::{link, sized_icon_button};

/// The colour of a level.
pub fn colour(t: &Tokens, level: Level) -> Color32 {
    match level {
        Level::Quiet => *t.line_strong,
        Level::Info => *t.accent,
        Level::Warn => *t.warn,
        Level::Error => *t.bad,
    }
}

/// Shows the toasts.
pub fn toasts(app: &mut Studio, ctx: &Context) {
    let s = app.strings();
    let lines: Vec<_> = app.log.toasts().cloned().collect();
    if lines.is_empty() {
        return;
    }
    Area::new(Id::unique("toasts"))
        .order(Order::Foreground)
        .anchor(Align2::RIGHT_BOTTOM, vec2(-16.0, -50.0))
        .show(ctx, |ui| {
            ui.set_width(340.0);
            ui.spacing_mut().item_spacing.y = space::S;
            let t = tokens(ui);
            for line in lines {
                let icon = match line.level {
                    Level::Info | Level::Quiet => Icon::Check,
                    _ => Icon::Warning,
                };
                let frame = Frame::new()
                    .fill(*t.raised)
                    .stroke(Stroke::new(1.0, *t.line_strong))
                    .corner_radius(theme::CARD_RADIUS)
                    .shadow(ui.visuals().popup_shadow)
                    .inner_margin(Margin { left: 12, right: 8, top: 10, bottom: 10 });
                frame.show(ui, |ui| {
                    ui.set_width(318.0);
                    ui.horizontal_top(|ui| {
                        let (rect, _) =
                            ui.allocate_exact_size(Vec2::splat(18.0), eframe::egui::Sense::hover());
                        icon.paint(ui.painter(), rect, colour(&t, line.level));
                        ui.allocate_ui_with_layout(
                            vec2(ui.available_width() - 28.0, 0.0),
                            Layout::top_down(Align::LEFT),
                            |ui| {
                                ui.add(Label::new(RichText::new(&line.text).color(*t.text)).wrap());
                                if line.level >= Level::Warn {
                                    let response = link(ui, &s.shell.copy_details);
                                    if response.clicked() {
                                        app.outbox.send(Message::Copy(line.text.clone()));
                                    }
                                }
                            },
                        );
                        if sized_icon_button(ui, Icon::Close, &s.shell.dismiss, true, false, 20.0).clicked() {
                            app.outbox.send(Message::DismissToast(line.id));
                        }
                    });
                });
            }
        });
}
