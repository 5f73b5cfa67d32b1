//! A policy while it is learnt: loss, how far it is off on held-out episodes, what was imagined.

use eframe::egui::{Grid, Label, ProgressBar, RichText, Ui, vec2};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::policy::PolicyPart;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{badge, card, hint};
use crate::widgets::panels::{duration, empty, tile};
use crate::widgets::plot::{Axes, Line, plot};

/// Shows the run.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let improving = app.policy.part == PolicyPart::Improve;
    if improving && let Some([tried, accepted, doubtful]) = app.policies.imagined {
        let gap = 8.0;
        let width = ((ui.available_width() - 2.0 * gap) / 3.0).min(240.0);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = gap;
            tile(ui, width, &s.policy.tried, &tried.to_string(), &s.policy.tried_below, *t.text);
            tile(ui, width, &s.policy.accepted, &accepted.to_string(), &s.policy.accepted_below, *t.good);
            tile(ui, width, &s.policy.doubtful, &doubtful.to_string(), &s.policy.doubtful_below, *t.warn);
        });
    }
    let Some(run) = app.policies.run.clone().filter(|run| (run.spec.is_none()) == improving) else {
        let (title, text) = match improving {
            true => (&s.policy.empty_improve, &s.policy.empty_improve_text),
            false => (&s.policy.empty_train, &s.policy.empty_train_text),
        };
        return empty(ui, Icon::Policy, title, text, |_| ());
    };
    let job = run.job.and_then(|job| app.jobs.get(job)).cloned();
    ui.horizontal(|ui| {
        ui.label(RichText::new(&run.name).text_style(theme::title()));
        let (word, colour) = match (&job, run.done) {
            (Some(_), _) => (&s.train.running, *t.accent),
            (None, true) => (&s.train.done, *t.good),
            (None, false) => (&s.train.paused, *t.warn),
        };
        badge(ui, word, colour, *t.control);
    });
    if let Some(job) = &job {
        ui.horizontal(|ui| {
            let width = (ui.available_width() - 260.0).max(80.0);
            ui.add(
                ProgressBar::new(job.part.unwrap_or(0.0))
                    .desired_width(width)
                    .desired_height(8.0)
                    .fill(*t.accent),
            );
            let left =
                job.seconds_left.map(|left| fill(&s.train.time_left, &[("time", &duration(left.into()))]));
            let text = left.unwrap_or_else(|| job.what.clone());
            ui.label(RichText::new(text).small().color(*t.text_soft));
        });
    }
    for note in run.notes.iter().rev().take(3) {
        ui.add(Label::new(RichText::new(note).small().color(*t.text_faint)).wrap());
    }
    if run.lines.is_empty() {
        return;
    }
    let colour = |i: usize| t.series.get(i).map_or(*t.accent, |c| **c);
    let learnt: Vec<[f32; 2]> = run.lines.iter().map(|l| [l.progress, l.loss]).collect();
    let held: Vec<[f32; 2]> =
        run.lines.iter().filter_map(|l| Some([l.progress, l.held_out.as_ref()?.loss])).collect();
    let last = run.lines.last().map_or(0.0, |l| l.seconds / f64::from(l.progress.max(1e-3)));
    let axes = Axes {
        name: &s.policy.loss_plot,
        title: "",
        unit: "",
        x: Some((0.0, 1.0)),
        include: &[0.0],
        now: run.lines.last().map(|l| l.progress),
        floor: None,
        legend: true,
        say_x: &|x| format!("{:.0} %, {}", x * 100.0, duration(last * f64::from(x))),
    };
    let lines = [
        Line { name: &s.policy.loss_learnt, colour: colour(0), points: learnt, dashed: false },
        Line { name: &s.policy.loss_held_out, colour: colour(1), points: held, dashed: false },
    ];
    plot(ui, vec2(ui.available_width(), 240.0), &axes, &lines);
    hint(ui, &s.policy.loss_text);
    if let Some(held) = run.lines.iter().rev().find_map(|l| l.held_out.as_ref()) {
        ui.add_space(space::XS);
        card(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(&s.policy.off_by).text_style(theme::strong()));
            hint(ui, &s.policy.off_by_text);
            Grid::new("off by").spacing([24.0, 4.0]).show(ui, |ui| {
                for (channel, error) in &held.error {
                    ui.label(RichText::new(channel).color(*t.text_soft));
                    ui.label(format!("{error:.2}"));
                    ui.end_row();
                }
            });
        });
    }
}
