//! Panels beside the middle of a screen, and the small parts that several screens lay out in them.

use eframe::egui::{
    Align, Color32, ComboBox, Frame, Label, Layout, Margin, Panel, RichText, Role, ScrollArea, Sense, Stroke,
    TextEdit, Ui, Vec2, WidgetInfo, vec2,
};

use crate::theme::{self, ROW, space, tokens};

/// A panel at the left or right edge with a hairline towards the middle; `content` scrolls.
pub fn side(ui: &mut Ui, id: &'static str, right: bool, width: f32, content: impl FnOnce(&mut Ui)) {
    let t = tokens(ui);
    let widest = (ui.available_width() - 360.0).clamp(220.0, 520.0);
    let frame = Frame::new().fill(*t.panel).inner_margin(Margin::ZERO);
    let panel = if right { Panel::right(id) } else { Panel::left(id) };
    panel
        .default_size(width.min(widest))
        .size_range(220.0..=widest)
        .show_separator_line(false)
        .frame(frame)
        .show(ui, |ui| {
            let edge = ui.max_rect();
            let x = if right { edge.left() + 0.5 } else { edge.right() - 0.5 };
            ui.painter().vline(x, edge.y_range(), Stroke::new(1.0, *tokens(ui).line));
            content(ui);
        });
}

/// Scrolls `content` with the margins of a panel.
pub fn scroll(ui: &mut Ui, id: &str, content: impl FnOnce(&mut Ui)) {
    ScrollArea::vertical().id_salt(id.to_owned()).auto_shrink(false).show(ui, |ui| {
        Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 16 }).show(ui, content);
    });
}

/// A row with its name left and something to set right.
pub fn row(ui: &mut Ui, name: &str, explanation: &str, right: impl FnOnce(&mut Ui)) {
    ui.horizontal(|ui| {
        ui.set_min_height(ROW);
        let label = ui.label(RichText::new(name).color(*tokens(ui).text_soft));
        if !explanation.is_empty() {
            label.on_hover_text(explanation);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), right);
    });
}

/// A field for a name.
pub fn name_field(ui: &mut Ui, label: &str, hint: &str, text: &str) -> Option<String> {
    let mut edited = text.to_owned();
    let response = TextEdit::singleline(&mut edited)
        .id_salt(label.to_owned())
        .hint_text(hint)
        .desired_width(f32::INFINITY)
        .margin(Margin::symmetric(10, 5))
        .show(ui)
        .response
        .response;
    response.widget_info(|| {
        let mut info = WidgetInfo::text_edit(true, text, &edited, hint);
        info.role = Role::TextInput;
        info.label = Some(label.to_owned());
        info
    });
    (edited != text).then_some(edited)
}

/// A list to choose one from; returns the newly chosen one.
pub fn choose(
    ui: &mut Ui,
    label: &str,
    shown: &str,
    width: f32,
    choices: &[(String, String)],
) -> Option<String> {
    let mut new = None;
    let combo = ComboBox::from_id_salt(label.to_owned())
        .width(width)
        .selected_text(shown)
        .truncate()
        .show_ui(ui, |ui| {
            for (value, name) in choices {
                if ui.selectable_label(name == shown, name).clicked() {
                    new = Some(value.clone());
                }
            }
        });
    combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, label));
    new
}

/// A number with its name above it, and a line below it.
pub fn tile(ui: &mut Ui, width: f32, name: &str, value: &str, below: &str, colour: Color32) {
    let t = tokens(ui);
    let height = 74.0;
    let (rect, response) = ui.allocate_exact_size(vec2(width, height), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{name} {value} {below}").trim()));
    let painter = ui.painter_at(rect);
    painter.rect_filled(rect, theme::CARD_RADIUS, *t.raised);
    painter.rect_stroke(
        rect,
        theme::CARD_RADIUS,
        Stroke::new(1.0, *t.line),
        eframe::egui::StrokeKind::Inside,
    );
    let small = eframe::egui::TextStyle::Small.resolve(ui.style());
    let at = rect.min + vec2(12.0, 9.0);
    let layout = |text: &str, font: eframe::egui::FontId, colour: Color32| {
        painter.layout_no_wrap(text.to_owned(), font, colour)
    };
    painter.galley(at, layout(name, small.clone(), *t.text_soft), *t.text_soft);
    let large = eframe::egui::FontId::new(20.0, theme::semibold());
    painter.galley(at + vec2(0.0, 17.0), layout(value, large, colour), colour);
    let room = width - 24.0;
    let below = eframe::egui::WidgetText::from(RichText::new(below).color(*t.text_faint)).into_galley(
        ui,
        Some(eframe::egui::TextWrapMode::Truncate),
        room,
        small,
    );
    painter.galley(at + vec2(0.0, 43.0), below, *t.text_faint);
}

/// What a person sees where there is nothing yet.
pub fn empty(ui: &mut Ui, icon: crate::icons::Icon, title: &str, text: &str, more: impl FnOnce(&mut Ui)) {
    let height = ui.available_height();
    ui.vertical_centered(|ui| {
        ui.add_space((height * 0.28).max(24.0));
        let t = tokens(ui);
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(44.0), Sense::hover());
        icon.paint(ui.painter(), rect, *t.text_faint);
        ui.add_space(space::S);
        ui.label(RichText::new(title).text_style(theme::title()));
        ui.set_max_width(460.0);
        ui.add(Label::new(RichText::new(text).color(*t.text_soft)).wrap());
        ui.add_space(space::M);
        more(ui);
    });
}

/// Seconds as people say them: `42 s`, `3 min`, `1 h 20 min`. Units are the same in both languages.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..=89 => format!("{whole} s"),
        90..=5399 => format!("{} min", (whole + 30) / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes as people say them.
pub fn bytes(value: u64) -> String {
    if value >= 1 << 30 {
        format!("{:.1} GB", value as f64 / f64::from(1 << 30))
    } else {
        format!("{:.0} MB", value as f64 / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_few_digits() {
        let times: Vec<String> = [4.4, 89.0, 100.0, 4000.0, 7300.0].into_iter().map(duration).collect();
        assert_eq!(times, ["4 s", "89 s", "2 min", "67 min", "2 h 1 min"]);
        assert_eq!((bytes(5 << 20), bytes(3 << 29)), ("5 MB".into(), "1.5 GB".into()));
    }
}
