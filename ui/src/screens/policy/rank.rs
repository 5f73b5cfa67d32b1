//! Does the model rank policies as physics does? A point a policy, and how well the two agree.

use eframe::egui::{
    Align2, Grid, Label, Rect, RichText, Role, Sense, Stroke, StrokeKind, TextStyle, Ui, WidgetInfo, pos2,
    vec2,
};
use forerun::policy::stats::Estimate;

use super::evaluate::running;
use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::policy::Ranking;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, hint};
use crate::widgets::panels::{empty, tile};

/// Shows what was found.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    running(app, ui, s, app.policies.ranking_job);
    let Some(found) = app.policies.ranking.clone() else {
        if app.policies.ranking_job.is_none() {
            empty(ui, Icon::Curve, &s.policy.empty_rank, &s.policy.empty_rank_text, |_| ());
        }
        return;
    };
    let t = tokens(ui);
    let gap = 8.0;
    let width = ((ui.available_width() - 2.0 * gap) / 3.0).min(260.0);
    let of = |e: Option<Estimate>| {
        e.map_or(("–".to_owned(), s.policy.no_agreement.clone()), |e| {
            let interval = fill(
                &s.policy.interval,
                &[("low", &format!("{:.2}", e.low)), ("high", &format!("{:.2}", e.high))],
            );
            (format!("{:.2}", e.value), interval)
        })
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for (name, estimate) in
            [("Pearson", found.pearson), ("Spearman", found.spearman), ("MMRV", found.mmrv)]
        {
            let (value, below) = of(estimate);
            tile(ui, width, name, &value, &below, *t.text);
        }
    });
    hint(ui, &s.policy.rank_text);
    scatter(ui, s, &found);
    for (words, rule) in [&s.policy.imagination, &s.policy.physics].into_iter().zip(&found.rules) {
        let text = format!("{words}: {}", fill(&s.policy.rule, &[("rule", rule)]));
        ui.add(Label::new(RichText::new(text).small().color(*t.text_faint)).wrap());
    }
    ui.add_space(space::S);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        Grid::new("ranking").spacing([24.0, 6.0]).show(ui, |ui| {
            for head in [&s.policy.policy, &s.policy.imagination, &s.policy.physics] {
                ui.label(RichText::new(head).small().color(*t.text_faint));
            }
            ui.end_row();
            for one in &found.policies {
                ui.label(&one.name);
                for tally in [&one.model, &one.world] {
                    ui.label(fill(
                        &s.policy.rate,
                        &[
                            ("rate", &format!("{:.1}", tally.rate * 100.0)),
                            ("low", &format!("{:.1}", tally.low * 100.0)),
                            ("high", &format!("{:.1}", tally.high * 100.0)),
                        ],
                    ));
                }
                ui.end_row();
            }
        });
    });
}

fn scatter(ui: &mut Ui, s: &Strings, found: &Ranking) {
    let t = tokens(ui);
    let side = ui.available_width().min(420.0);
    let (outer, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Canvas, true, &s.policy.scatter));
    let painter = ui.painter_at(outer);
    painter.rect_filled(outer, theme::RADIUS, *t.input);
    painter.rect_stroke(outer, theme::RADIUS, Stroke::new(1.0, *t.line), StrokeKind::Inside);
    let area = Rect::from_min_max(outer.min + vec2(44.0, 32.0), outer.max - vec2(20.0, 46.0));
    let place = |x: f64, y: f64| {
        pos2(area.left() + area.width() * x as f32, area.bottom() - area.height() * y as f32)
    };
    let small = TextStyle::Small.resolve(ui.style());
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let faint = Stroke::new(1.0, t.line.gamma_multiply(0.7));
        painter.hline(area.x_range(), place(0.0, share).y, faint);
        painter.vline(place(share, 0.0).x, area.y_range(), faint);
        let text = format!("{:.0}", share * 100.0);
        painter.text(
            place(0.0, share) - vec2(6.0, 0.0),
            Align2::RIGHT_CENTER,
            &text,
            small.clone(),
            *t.text_faint,
        );
        painter.text(
            place(share, 0.0) + vec2(0.0, 5.0),
            Align2::CENTER_TOP,
            &text,
            small.clone(),
            *t.text_faint,
        );
    }
    painter.line_segment([place(0.0, 0.0), place(1.0, 1.0)], Stroke::new(1.0, *t.line_strong));
    let below = pos2(area.center().x, outer.bottom() - 14.0);
    painter.text(below, Align2::CENTER_CENTER, &s.policy.axis_model, small.clone(), *t.text_soft);
    painter.text(outer.min + vec2(10.0, 7.0), Align2::LEFT_TOP, &s.policy.axis_world, small, *t.text_soft);
    let mut near: Option<(f32, String)> = None;
    for (i, one) in found.policies.iter().enumerate() {
        let colour = t.series.get(i % t.series.len()).map_or(*t.accent, |c| **c);
        let at = place(one.model.rate, one.world.rate);
        let whisker = Stroke::new(1.0, colour.gamma_multiply(0.6));
        painter.line_segment(
            [place(one.model.low, one.world.rate), place(one.model.high, one.world.rate)],
            whisker,
        );
        painter.line_segment(
            [place(one.model.rate, one.world.low), place(one.model.rate, one.world.high)],
            whisker,
        );
        painter.circle(at, 5.0, colour, Stroke::new(1.5, *t.input));
        if let Some(pointer) = response.hover_pos() {
            let distance = pointer.distance(at);
            if distance < 14.0 && near.as_ref().is_none_or(|(d, _)| distance < *d) {
                near = Some((distance, one.name.clone()));
            }
        }
    }
    if let Some((_, name)) = near {
        response.on_hover_text_at_pointer(name);
    }
}
