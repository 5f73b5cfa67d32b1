//! Checkpoints that can be used, the table of before and after, and where the model comes from.

use eframe::egui::{Grid, Label, RichText, Ui};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::train::{TrainRun, TrainWish};
use crate::widgets::basic::{card, hint};

/// Shows both.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &TrainRun) {
    checkpoints(app, ui, s, run);
    scorecard(ui, s, run);
    lineage(ui, s, run);
}

fn checkpoints(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let kept = run.checkpoints();
    if kept.is_empty() {
        return;
    }
    let t = tokens(ui);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&s.train.checkpoints).text_style(theme::strong()));
        hint(ui, &s.train.checkpoints_text);
        for (place, (iteration, score)) in kept.into_iter().enumerate() {
            ui.horizontal(|ui| {
                ui.set_min_height(theme::ROW);
                let text = fill(&s.train.checkpoint, &[("n", &iteration), ("score", &format!("{score:.2}"))]);
                let colour = if place == 0 { *t.good } else { *t.text };
                ui.label(RichText::new(text).color(colour));
                ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                    let button = ui.button(&s.train.use_this);
                    let name = fill(&s.train.use_checkpoint, &[("n", &iteration)]);
                    button.widget_info(|| {
                        eframe::egui::WidgetInfo::labeled(eframe::egui::Role::Button, true, &name)
                    });
                    if button.clicked() {
                        app.outbox.send(Message::Train(TrainWish::Use(run.checkpoint(iteration))));
                    }
                });
            });
        }
    });
}

fn scorecard(ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let Some(outcome) = &run.outcome else { return };
    let t = tokens(ui);
    let found = &outcome.comparison;
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&s.train.scorecard).text_style(theme::strong()));
        let text =
            fill(&s.train.scorecard_text, &[("n", &outcome.iterations), ("best", &outcome.best_iteration)]);
        hint(ui, &text);
        ui.add_space(space::XS);
        Grid::new("scorecard").striped(false).spacing([24.0, 6.0]).show(ui, |ui| {
            let heads = [
                &s.train.steps_ahead,
                &s.train.before,
                &s.train.after,
                &s.train.gain,
                &s.train.freeze,
                &s.train.shuffled,
                &s.train.delta,
            ];
            for head in heads {
                ui.label(RichText::new(head).small().color(*t.text_faint));
            }
            ui.end_row();
            let db = |list: &[f32], i: usize| list.get(i).copied().unwrap_or(f32::NAN);
            let text = |v: f32| if v.is_finite() { format!("{v:.2} dB") } else { "–".to_owned() };
            for (i, horizon) in found.horizons.iter().enumerate() {
                let (before, after) = (db(&found.base, i), db(&found.psnr, i));
                let gain = after - before;
                ui.label(horizon.to_string());
                ui.label(RichText::new(text(before)).color(*t.text_soft));
                ui.label(RichText::new(text(after)).text_style(theme::strong()));
                let colour = if gain >= 0.0 { *t.good } else { *t.bad };
                let signed = if gain.is_finite() { format!("{gain:+.2} dB") } else { "–".to_owned() };
                ui.label(RichText::new(signed).color(colour));
                ui.label(RichText::new(text(db(&found.freeze, i))).color(*t.text_soft));
                ui.label(RichText::new(text(db(&found.shuffled, i))).color(*t.text_soft));
                let delta = db(&found.delta, i);
                let colour = if delta >= 0.1 { *t.text } else { *t.bad };
                ui.label(RichText::new(text(delta)).color(colour));
                ui.end_row();
            }
        });
        if let Some(loss) = found.old.as_ref().and_then(|old| old.loss_db()) {
            let text = fill(&s.train.old_world, &[("loss", &format!("{loss:.2}"))]);
            ui.label(RichText::new(text).small().color(if loss <= 1.0 { *t.text_soft } else { *t.warn }));
        }
        if found.ignores_actions() {
            ui.label(RichText::new(&s.train.ignores_text).small().color(*t.bad));
        }
        if let Some(why) = &outcome.stopped {
            ui.add(Label::new(RichText::new(why).small().color(*t.text_faint)).wrap());
        }
    });
}

fn lineage(ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let t = tokens(ui);
    let name =
        |p: &std::path::Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let data: Vec<String> = run.spec.datasets.iter().map(|d| name(d)).collect();
    ui.horizontal_wrapped(|ui| {
        ui.label(RichText::new(&s.train.lineage).small().color(*t.text_faint));
        let chain = format!("{}  +  {}  →  {}", run.base, data.join(", "), run.name());
        ui.label(RichText::new(chain).small().color(*t.text_soft))
            .on_hover_text(run.spec.out.display().to_string());
    });
}
