//! All futures of the project: small pictures, search, and what can be done with one.

use eframe::egui::{
    Align, Align2, Label, Layout, Margin, Rect, RichText, Role, ScrollArea, Sense, Stroke, StrokeKind,
    TextEdit, TextStyle, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use forerun::compare::gallery::{Entry, Query};

use super::tree::{nothing, thumb, title, toolbar};
use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::message::{Message, Wish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{focus_ring, hint};

/// Least width of a card.
const CARD: f32 = 148.0;
/// Height of the words under a picture.
const WORDS: f32 = 58.0;

/// Shows the gallery.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let t = tokens(ui);
    let library = app.compare.library.clone();
    toolbar(app, ui, s);
    if library.entries.is_empty() {
        nothing(app, ui, s, &s.compare.gallery_empty);
        return broken(app, ui, s);
    }
    let mut query = app.compare.query.clone();
    let field = TextEdit::singleline(&mut query)
        .hint_text(s.compare.search_hint.as_str())
        .desired_width(ui.available_width().min(560.0))
        .margin(Margin::symmetric(10, 6))
        .show(ui)
        .response
        .response;
    field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, &s.compare.search));
    if field.changed() {
        app.outbox.compare(Wish::Query(query.clone()));
    }
    let parsed = Query::parse(&query);
    let found: Vec<&Entry> = library.entries.iter().filter(|e| parsed.finds(e)).collect();
    let text = fill(&s.compare.found, &[("n", &found.len()), ("all", &library.entries.len())]);
    ui.label(RichText::new(text).small().color(*t.text_faint));
    broken(app, ui, s);
    let room = ui.available_width() - 10.0;
    let columns = ((room + space::M) / (CARD + space::M)).floor().max(1.0) as usize;
    let width = (room - space::M * (columns - 1) as f32) / columns as f32;
    let height = width + WORDS;
    let rows = found.len().div_ceil(columns);
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, height, rows, |ui, range| {
        for row in range {
            let (line, _) = ui.allocate_exact_size(vec2(room, height), Sense::hover());
            for (column, entry) in found.iter().skip(row * columns).take(columns).enumerate() {
                let at = pos2(line.left() + column as f32 * (width + space::M), line.top());
                card(app, ui, s, entry, Rect::from_min_size(at, vec2(width, height)));
            }
        }
    });
}

/// Folders that cannot be used, in one line.
fn broken(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let n = app.compare.library.broken.len();
    if n > 0 {
        let response = hint(ui, &fill(&s.compare.broken, &[("n", &n)]));
        let why: Vec<String> = app.compare.library.broken.iter().take(8).map(|b| b.reason.text()).collect();
        if response.interact(Sense::click()).on_hover_text(why.join("\n")).clicked() {
            app.outbox.send(Message::Copy(why.join("\n")));
        }
    }
}

fn card(app: &mut Studio, ui: &mut Ui, s: &Strings, entry: &Entry, rect: Rect) {
    let t = tokens(ui);
    let library = app.compare.library.clone();
    let node = library.node_of(&entry.folder).and_then(|id| library.nodes.get(&id));
    let title = title(s, node.map(|n| n.name.as_str()).unwrap_or_default(), entry);
    let chosen = app.compare.chosen.as_deref() == Some(entry.folder.as_path());
    let response = ui.interact(rect, ui.scope_id().with(("card", &entry.folder)), Sense::click());
    let label = fill(&s.compare.tree_row, &[("name", &title), ("seed", &entry.seed)]);
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &label));
    let picture = Rect::from_min_size(rect.min, vec2(rect.width(), rect.width()));
    thumb(app, ui, &entry.last, picture);
    if chosen || response.hovered() {
        let line = if chosen { (2.0, *t.accent) } else { (1.5, *t.line_strong) };
        ui.painter().rect_stroke(
            picture.expand(2.0),
            theme::RADIUS + 1,
            Stroke::new(line.0, line.1),
            StrokeKind::Middle,
        );
    }
    focus_ring(ui, picture, &response);
    let in_set = app.compare.has(&entry.folder);
    if in_set {
        let font = TextStyle::Small.resolve(ui.style());
        let galley = ui.painter().layout_no_wrap(s.compare.in_compare.clone(), font, *t.accent);
        let back = Align2::RIGHT_TOP
            .anchor_size(picture.right_top() + vec2(-6.0, 6.0), galley.size() + vec2(12.0, 4.0));
        ui.painter().rect_filled(back, 8, t.panel.gamma_multiply(0.9));
        ui.painter().galley(back.min + vec2(6.0, 2.0), galley, *t.accent);
    }
    let words = Rect::from_min_max(pos2(rect.left(), picture.bottom() + 4.0), rect.max);
    ui.scope_builder(UiBuilder::new().max_rect(words).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.spacing_mut().item_spacing.y = 1.0;
        let line = |ui: &mut Ui, text: RichText| {
            ui.add(Label::new(text).truncate().sense(Sense::empty()));
        };
        line(ui, RichText::new(&title).small().family(theme::semibold()));
        let seed = fill(&s.world.caption_seed, &[("seed", &entry.seed)]);
        line(ui, RichText::new(format!("{seed} · {}", entry.model)).small().color(*t.text_soft));
        line(ui, RichText::new(entry.date()).small().color(*t.text_faint));
    });
    if response.clicked() {
        app.outbox.compare(Wish::Choose(entry.folder.clone()));
    }
    if response.double_clicked() {
        app.outbox.compare(Wish::Choose(entry.folder.clone()));
        app.outbox.command(Command::AddChosen);
    }
    let lineage = entry
        .parent
        .as_ref()
        .map(|p| fill(&s.compare.made_from, &[("frame", &p.at), ("folder", &p.folder.display())]));
    let tip = [Some(entry.prompt.clone()), Some(entry.folder.display().to_string()), lineage];
    let tip: Vec<String> = tip.into_iter().flatten().filter(|t| !t.is_empty()).collect();
    response.on_hover_text(tip.join("\n"));
}
