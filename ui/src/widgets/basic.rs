//! Buttons, sections and cards in the window's own dress.

use eframe::egui::{
    Align, Button, Color32, CornerRadius, FontId, Frame, InnerResponse, Label, Layout, Margin, Rect,
    Response, RichText, Role, Sense, Stroke, StrokeKind, TextStyle, Ui, Vec2, WidgetInfo, WidgetText, pos2,
    vec2,
};

use crate::commands::Command;
use crate::i18n::Strings;
use crate::icons::Icon;
use crate::theme::{self, ROW, space, tokens};

/// A tooltip: what it does, and its keys.
pub fn tip(ui: &Ui, response: Response, s: &Strings, command: Command) -> Response {
    let text = command.text(s);
    let keys = command.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut));
    response.on_hover_ui(|ui| {
        ui.set_max_width(280.0);
        ui.horizontal(|ui| {
            ui.label(RichText::new(text.name.trim_end_matches('…')).text_style(theme::strong()));
            if let Some(keys) = keys {
                ui.label(RichText::new(keys).small().color(*tokens(ui).text_faint));
            }
        });
        ui.label(RichText::new(&text.tip).color(*tokens(ui).text_soft));
    })
}

/// A square button with an icon only; `name` is what screen readers and tests find it by.
pub fn icon_button(ui: &mut Ui, icon: Icon, name: &str, enabled: bool, selected: bool) -> Response {
    sized_icon_button(ui, icon, name, enabled, selected, ROW)
}

/// An [`icon_button`] of another size, in points.
pub fn sized_icon_button(
    ui: &mut Ui,
    icon: Icon,
    name: &str,
    enabled: bool,
    selected: bool,
    size: f32,
) -> Response {
    let t = tokens(ui);
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), sense);
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled && ui.is_enabled(), selected, name));
    if ui.is_rect_visible(rect) {
        let (fill, colour) = if !enabled || !ui.is_enabled() {
            (Color32::TRANSPARENT, t.text_faint.gamma_multiply(0.5))
        } else if response.is_pointer_button_down_on() {
            (*t.control_active, *t.text)
        } else if selected {
            (*t.accent_soft, *t.accent)
        } else if response.hovered() {
            (*t.control_hover, *t.text)
        } else {
            (Color32::TRANSPARENT, *t.text_soft)
        };
        let painter = ui.painter();
        painter.rect_filled(rect, theme::RADIUS, fill);
        focus_ring(ui, rect, &response);
        icon.paint(
            painter,
            Rect::from_center_size(rect.center(), Vec2::splat((size * 0.6).min(18.0))),
            colour,
        );
    }
    response
}

/// A command as an icon button with its tooltip.
pub fn command_icon(ui: &mut Ui, s: &Strings, command: Command, enabled: bool, selected: bool) -> Response {
    let icon = command.icon().unwrap_or(Icon::Info);
    let name = command.text(s).name.trim_end_matches('…').to_owned();
    let response = icon_button(ui, icon, &name, enabled, selected);
    tip(ui, response, s, command)
}

/// A button with an icon before its words.
pub fn icon_text_button(ui: &mut Ui, icon: Icon, text: &str) -> Response {
    let t = tokens(ui);
    let font = TextStyle::Button.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, Color32::PLACEHOLDER);
    let size = vec2(galley.size().x + 16.0 + space::XS + 2.0 * 10.0, ROW);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), text));
    if ui.is_rect_visible(rect) {
        let enabled = ui.is_enabled();
        let fill = if !enabled {
            t.control.gamma_multiply(0.5)
        } else if response.is_pointer_button_down_on() {
            *t.control_active
        } else if response.hovered() {
            *t.control_hover
        } else {
            *t.control
        };
        let colour = if enabled { *t.text } else { *t.text_faint };
        let painter = ui.painter();
        painter.rect_filled(rect, theme::RADIUS, fill);
        focus_ring(ui, rect, &response);
        let at = Rect::from_center_size(pos2(rect.left() + 10.0 + 8.0, rect.center().y), Vec2::splat(15.0));
        icon.paint(painter, at, if enabled { *t.text_soft } else { *t.text_faint });
        let text_at = pos2(at.right() + space::XS + 1.0, rect.center().y - galley.size().y / 2.0);
        painter.galley(text_at, galley, colour);
    }
    response
}

/// The one button that matters on a screen.
pub fn main_button(ui: &mut Ui, icon: Icon, text: &str, keys: &str, enabled: bool) -> Response {
    let t = tokens(ui);
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), sense);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, text));
    if ui.is_rect_visible(rect) {
        let (fill, colour) = if !enabled {
            (*t.control, *t.text_faint)
        } else if response.hovered() || response.is_pointer_button_down_on() {
            (*t.accent_fill_hover, *t.on_accent)
        } else {
            (*t.accent_fill, *t.on_accent)
        };
        let painter = ui.painter();
        painter.rect_filled(rect, CornerRadius::same(theme::CARD_RADIUS), fill);
        focus_ring(ui, rect, &response);
        let font = FontId::new(14.0, theme::semibold());
        let galley = painter.layout_no_wrap(text.to_owned(), font, colour);
        let width = galley.size().x + 18.0 + space::S;
        let left = rect.center().x - width / 2.0;
        icon.paint(
            painter,
            Rect::from_center_size(pos2(left + 9.0, rect.center().y), Vec2::splat(18.0)),
            colour,
        );
        painter.galley(pos2(left + 18.0 + space::S, rect.center().y - galley.size().y / 2.0), galley, colour);
        let font = TextStyle::Small.resolve(ui.style());
        let faint = if enabled { colour.gamma_multiply(0.8) } else { colour };
        let keys = painter.layout_no_wrap(keys.to_owned(), font, faint);
        let at = pos2(rect.right() - space::M - keys.size().x, rect.center().y - keys.size().y / 2.0);
        // In a narrow panel the words come first; the tooltip has the keys too.
        if at.x > left + width + space::S {
            painter.galley(at, keys, faint);
        }
    }
    response
}

/// The ring around what has the keyboard.
pub fn focus_ring(ui: &Ui, rect: Rect, response: &Response) {
    if response.has_focus() {
        let stroke = Stroke::new(1.5, *tokens(ui).accent);
        ui.painter().rect_stroke(rect.expand(1.5), theme::RADIUS + 1, stroke, StrokeKind::Outside);
    }
}

/// A row of choices of which one is taken (two rows where their words would not fit into one); returns the newly taken one.
pub fn segments<T: PartialEq + Copy>(ui: &mut Ui, taken: T, choices: &[(T, &str, &str)]) -> Option<T> {
    let t = tokens(ui);
    let mut new = None;
    let width = ui.available_width();
    let font = TextStyle::Button.resolve(ui.style());
    let words = |name: &str| ui.painter().layout_no_wrap(name.to_owned(), font.clone(), Color32::PLACEHOLDER);
    let widest = choices.iter().map(|(_, name, _)| words(name).size().x).fold(0.0, f32::max);
    let all = choices.len().max(1);
    let one_row = all < 4 || widest + 8.0 <= width / all as f32;
    let columns = if one_row { all } else { all.div_ceil(2) };
    let height = ROW * all.div_ceil(columns) as f32;
    let (outer, _) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    ui.painter().rect_filled(outer, theme::RADIUS, *t.input);
    ui.painter().rect_stroke(outer, theme::RADIUS, Stroke::new(1.0, *t.line), StrokeKind::Inside);
    for (i, (value, name, explanation)) in choices.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        // A row that is not full is as wide as the others.
        let each = width / (all - row * columns).min(columns) as f32;
        let at = outer.min + vec2(each * column as f32, ROW * row as f32);
        let rect = Rect::from_min_size(at, vec2(each, ROW)).shrink(2.0);
        let response = ui.interact(rect, ui.scope_id().with(("segment", *name)), Sense::click());
        let on = *value == taken;
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, ui.is_enabled(), on, *name));
        let (fill, colour) = match (on, response.hovered()) {
            (true, _) => (*t.control_active, *t.text),
            (false, true) => (*t.control, *t.text),
            (false, false) => (Color32::TRANSPARENT, *t.text_soft),
        };
        ui.painter().rect_filled(rect, theme::RADIUS - 2, fill);
        focus_ring(ui, rect, &response);
        let galley = WidgetText::from(*name).into_galley(
            ui,
            Some(eframe::egui::TextWrapMode::Truncate),
            rect.width() - 4.0,
            font.clone(),
        );
        ui.painter().galley(rect.center() - galley.size() / 2.0, galley, colour);
        if response.clicked() && !on {
            new = Some(*value);
        }
        if !explanation.is_empty() {
            response.on_hover_text(*explanation);
        }
    }
    new
}

/// One of several choices, as wide as its words.
pub fn chip(ui: &mut Ui, text: &str, on: bool) -> Response {
    let t = tokens(ui);
    let font = TextStyle::Button.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, Color32::PLACEHOLDER);
    let (rect, response) = ui.allocate_exact_size(vec2(galley.size().x + 20.0, ROW), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, ui.is_enabled(), on, text));
    if ui.is_rect_visible(rect) {
        let (fill, colour) = match (on, response.hovered()) {
            (true, _) => (*t.accent_soft, *t.accent),
            (false, true) => (*t.control, *t.text),
            (false, false) => (Color32::TRANSPARENT, *t.text_soft),
        };
        ui.painter().rect_filled(rect, theme::RADIUS, fill);
        focus_ring(ui, rect, &response);
        ui.painter().galley(rect.center() - galley.size() / 2.0, galley, colour);
    }
    response
}

/// The head of a section: its name left, small things right.
pub fn section<R>(ui: &mut Ui, name: &str, right: impl FnOnce(&mut Ui) -> R) -> R {
    ui.horizontal(|ui| {
        ui.set_min_height(ROW);
        ui.add(Label::new(RichText::new(name).text_style(theme::strong())).selectable(false));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            right(ui)
        })
        .inner
    })
    .inner
}

/// A hairline between sections with air around it.
pub fn divider(ui: &mut Ui) {
    ui.add_space(2.0);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, Stroke::new(1.0, *tokens(ui).line));
    ui.add_space(2.0);
}

/// Content on a raised surface.
pub fn card<R>(ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> InnerResponse<R> {
    let t = tokens(ui);
    Frame::new()
        .fill(*t.raised)
        .stroke(Stroke::new(1.0, *t.line))
        .corner_radius(theme::CARD_RADIUS)
        .inner_margin(Margin::same(12))
        .show(ui, content)
}

/// Small grey text.
pub fn hint(ui: &mut Ui, text: &str) -> Response {
    let colour = *tokens(ui).text_faint;
    ui.add(Label::new(RichText::new(text).small().color(colour)).wrap())
}

/// A label in soft colour.
pub fn soft(ui: &mut Ui, text: &str) -> Response {
    let colour = *tokens(ui).text_soft;
    ui.label(RichText::new(text).color(colour))
}

/// A pill with a few words; returns its response for a tooltip.
pub fn badge(ui: &mut Ui, text: &str, fore: Color32, back: Color32) -> Response {
    Frame::new()
        .fill(back)
        .corner_radius(10)
        .inner_margin(Margin::symmetric(8, 2))
        .show(ui, |ui| ui.label(RichText::new(text).small().color(fore)))
        .response
}

/// A plain button that looks like a link.
pub fn link(ui: &mut Ui, text: &str) -> Response {
    let colour = *tokens(ui).accent;
    ui.add(Button::new(RichText::new(text).color(colour)).frame(false))
}
