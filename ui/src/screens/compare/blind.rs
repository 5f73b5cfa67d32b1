//! The blind round: two futures side by side without names; which one is better?

use std::sync::Arc;

use eframe::egui::{
    Align, Color32, Grid, Layout, Rect, RichText, Role, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use forerun::Frame;

use crate::app::Studio;
use crate::commands::Command;
use crate::compare::Source;
use crate::compare::blind::Round;
use crate::i18n::{Strings, fill};
use crate::message::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{hint, tip};
use crate::widgets::pane::{Slot, fit, picture_part};

/// Shows the round.
pub fn show(app: &mut Studio, ui: &mut Ui, round: &Round) {
    let s = app.strings();
    match &round.standings {
        Some(_) => result(app, ui, s, round),
        None => question(app, ui, s, round),
    }
}

fn question(app: &mut Studio, ui: &mut Ui, s: &Strings, round: &Round) {
    let t = tokens(ui);
    let area = ui.available_rect_before_wrap();
    ui.horizontal(|ui| {
        ui.label(RichText::new(&s.compare.blind_ask).text_style(eframe::egui::TextStyle::Heading));
        let text = fill(&s.compare.blind_of, &[("n", &(round.at + 1)), ("all", &round.questions.len())]);
        ui.label(RichText::new(text).small().color(*t.text_faint));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.button(&s.compare.blind_end).clicked() {
                app.outbox.compare(Wish::EndBlind);
            }
        });
    });
    hint(ui, &s.compare.blind_hint);
    let Some((left, right)) = round.pair() else { return };
    let top = ui.cursor().top() + 6.0;
    let bottom = area.bottom() - 52.0;
    let half = (area.width() - space::L) / 2.0;
    for (source, x, name, number) in [
        (left, area.left(), &s.compare.blind_left, 0),
        (right, area.left() + half + space::L, &s.compare.blind_right, 1),
    ] {
        let rect = Rect::from_min_max(pos2(x, top), pos2(x + half, bottom));
        side(app, ui, source, rect, name, number);
    }
    let below = Rect::from_min_max(pos2(area.left(), bottom + 8.0), area.max);
    ui.scope_builder(UiBuilder::new().max_rect(below).layout(Layout::top_down(Align::Center)), |ui| {
        ui.horizontal(|ui| {
            let width = ui.available_width();
            ui.add_space(((width - 520.0) / 2.0).max(0.0));
            for command in [Command::VoteLeft, Command::VoteTie, Command::VoteRight] {
                let keys = command.bindings().first().map(|b| ui.ctx().format_shortcut(&b.shortcut));
                let text = format!("{}   {}", command.text(s).name, keys.unwrap_or_default());
                let response = ui.add(eframe::egui::Button::new(text).min_size(vec2(160.0, 34.0)));
                let name = command.text(s).name.clone();
                response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
                if tip(ui, response, s, command).clicked() {
                    app.outbox.command(command);
                }
            }
        });
    });
    ui.advance_cursor_after_rect(area);
}

fn side(app: &mut Studio, ui: &mut Ui, source: &Source, rect: Rect, name: &str, number: u64) {
    let index = app.transport.frame();
    let frame: Option<Arc<Frame>> =
        app.runs.find(source).and_then(|(_, f)| f.frame(index)).map(|(f, _)| f.clone());
    let response = ui.interact(rect, ui.scope_id().with(("blind", number)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name));
    ui.painter().rect_filled(rect, theme::CARD_RADIUS, *tokens(ui).raised);
    if let Some(frame) = frame {
        let area = fit(&frame, rect.shrink(4.0));
        let wide = area.width() * app.compare.zoom.factor;
        let id = app.textures.get(ui.ctx(), Slot::Blind(number), &frame, wide, app.view.smooth);
        picture_part(ui, id, area, app.compare.zoom.part(), Color32::WHITE);
    }
}

fn result(app: &mut Studio, ui: &mut Ui, s: &Strings, round: &Round) {
    let t = tokens(ui);
    ui.add_space(space::L);
    ui.label(RichText::new(&s.compare.blind_result).text_style(theme::title()));
    ui.add_space(space::S);
    Grid::new("standings").num_columns(4).spacing(vec2(24.0, 8.0)).show(ui, |ui| {
        for standing in round.standings.iter().flatten() {
            let share = standing.share.map_or("–".to_owned(), |v| format!("{:.0} %", v * 100.0));
            let range = standing
                .interval
                .map_or(String::new(), |(a, b)| format!("{:.0}–{:.0} %", a * 100.0, b * 100.0));
            ui.label(fill(&s.compare.blind_against, &[("a", &standing.group), ("b", &standing.other)]));
            ui.label(RichText::new(format!("{} : {}", standing.wins, standing.losses)).strong());
            ui.label(share);
            let clear = if standing.is_clear() { &s.compare.blind_clear } else { &s.compare.blind_open };
            ui.label(RichText::new(format!("{range} · {clear}")).small().color(*t.text_soft));
            ui.end_row();
        }
    });
    hint(ui, &s.compare.blind_kept);
    ui.add_space(space::M);
    if ui.button(&s.compare.blind_end).clicked() {
        app.outbox.compare(Wish::EndBlind);
    }
}
