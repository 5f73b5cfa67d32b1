//! The transport bar: one time base for all panes.

use eframe::egui::{
    Align, ComboBox, CursorIcon, EventFilter, Frame, Id, Key, Layout, Margin, Modifiers, Panel, Rect,
    RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{space, tokens};
use crate::transport::{Input, RATES};
use crate::widgets::basic::{command_icon, icon_button, tip};

/// Shows the bar at the lower edge of a screen.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let t = tokens(ui);
    let frame = Frame::new().fill(*t.panel).inner_margin(Margin::symmetric(16, 0));
    Panel::bottom("transport").exact_size(52.0).frame(frame).show_separator_line(false).show(ui, |ui| {
        let edge = ui.max_rect().expand2(vec2(16.0, 0.0));
        ui.painter().with_clip_rect(edge.expand(1.0)).hline(
            edge.x_range(),
            edge.top() + 0.5,
            Stroke::new(1.0, *t.line),
        );
        ui.horizontal_centered(|ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            let some = app.transport.available() > 0;
            if command_icon(ui, s, Command::StepBack, some, false).clicked() {
                app.outbox.command(Command::StepBack);
            }
            let playing = app.transport.playing();
            let (icon, name) =
                if playing { (Icon::Pause, &s.transport.pause) } else { (Icon::Play, &s.transport.play) };
            let response = icon_button(ui, icon, name, some, playing && some);
            if tip(ui, response, s, Command::TogglePlay).clicked() {
                app.outbox.command(Command::TogglePlay);
            }
            if command_icon(ui, s, Command::StepForward, some, false).clicked() {
                app.outbox.command(Command::StepForward);
            }
            if command_icon(ui, s, Command::ToggleLoop, true, app.transport.looping()).clicked() {
                app.outbox.command(Command::ToggleLoop);
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = space::S;
                rate(app, ui, s);
                let last = app.transport.expected().saturating_sub(1);
                let text = fill(&s.transport.frame, &[("frame", &app.transport.frame()), ("last", &last)]);
                let time = format!("{:.1} s", app.transport.frame() as f32 / app.transport.fps());
                // A fixed width keeps the timeline from jumping when digits come and go.
                ui.allocate_ui_with_layout(vec2(150.0, 24.0), Layout::right_to_left(Align::Center), |ui| {
                    ui.set_min_width(150.0);
                    ui.label(RichText::new(time).small().color(*t.text_faint));
                    ui.label(RichText::new(text).small().color(*t.text_soft));
                });
                let room = ui.available_width();
                ui.allocate_ui_with_layout(vec2(room, 32.0), Layout::left_to_right(Align::Center), |ui| {
                    timeline(app, ui, s)
                });
            });
        });
    });
}

fn rate(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let now = app.transport.rate();
    let name = s.transport.rate.clone();
    let combo =
        ComboBox::from_id_salt("rate").width(64.0).selected_text(format!("{now}×")).show_ui(ui, |ui| {
            for rate in RATES {
                if ui.selectable_label((rate - now).abs() < 0.01, format!("{rate}×")).clicked() {
                    app.outbox.send(Message::Transport(Input::Rate(rate)));
                }
            }
        });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &name));
}

/// Where egui's memory has the line of the timeline, a [`Rect`] in points, for whoever moves a pointer along it.
pub fn timeline_line() -> Id {
    Id::unique("the line of the timeline")
}

fn timeline(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 32.0), Sense::click_and_drag());
    let line = rect.shrink2(vec2(8.0, 0.0));
    let (here, all) = (app.transport.available(), app.transport.expected());
    let frame = app.transport.frame();
    response.widget_info(|| WidgetInfo::slider(all > 0, frame as f64, &s.transport.timeline));
    let last = all.saturating_sub(1).max(1) as f32;
    let x = |frame: f32| line.left() + line.width() * frame / last;
    if let Some(pointer) = response.interact_pointer_pos().filter(|_| all > 0) {
        let part = ((pointer.x - line.left()) / line.width().max(1.0)).clamp(0.0, 1.0);
        app.seek((part * last).round() as usize);
        if response.drag_started() {
            app.transport.apply(Input::Pause, app.now);
        }
    }
    ui.ctx().data_mut(|d| d.insert_temp(timeline_line(), line));
    if response.has_focus() {
        let filter = EventFilter { horizontal_arrows: true, ..EventFilter::default() };
        ui.memory_mut(|m| m.set_focus_lock_filter(response.id, filter));
        let by = ui.input_mut(|i| {
            let mut count = |m, k| i.count_and_consume_key(m, k) as i64;
            count(Modifiers::NONE, Key::ArrowRight) - count(Modifiers::NONE, Key::ArrowLeft)
                + 10 * (count(Modifiers::SHIFT, Key::ArrowRight) - count(Modifiers::SHIFT, Key::ArrowLeft))
        });
        if by != 0 {
            app.outbox.send(Message::Transport(Input::Step(by)));
        }
    }
    let frame = app.transport.frame();
    let painter = ui.painter();
    let y = rect.center().y;
    let bar = |from: f32, to: f32| Rect::from_min_max(pos2(from, y - 2.0), pos2(to, y + 2.0));
    painter.rect_filled(bar(line.left(), line.right()), 2, *t.control);
    if here > 0 {
        painter.rect_filled(bar(line.left(), x(here.saturating_sub(1) as f32)), 2, *t.line_strong);
        painter.rect_filled(bar(line.left(), x(frame as f32)), 2, *t.accent);
    }
    if all > 1 {
        // A tick a second, as far as they do not touch.
        let every = (app.transport.fps().round().max(1.0) as usize..)
            .step_by(app.transport.fps().round().max(1.0) as usize);
        let every = every.take_while(|f| *f < all);
        for f in every.filter(|f| all < 400 || f % 50 == 0) {
            painter.vline(x(f as f32), (y + 6.0)..=(y + 9.0), Stroke::new(1.0, *t.line_strong));
        }
        let hot = response.hovered() || response.dragged();
        painter.circle(
            pos2(x(frame as f32), y),
            if hot { 8.0 } else { 7.0 },
            *t.text,
            Stroke::new(2.0, *t.panel),
        );
        if response.has_focus() {
            painter.circle_stroke(pos2(x(frame as f32), y), 10.0, Stroke::new(1.5, *t.accent));
        }
    }
    if response.hovered() && all > 0 {
        ui.ctx().set_cursor_icon(CursorIcon::PointingHand);
    }
}
