//! The run as it goes on: what it is, how far, the numbers that matter, and their course.

use eframe::egui::{Align, Label, Layout, ProgressBar, RichText, Ui, vec2};

use super::setup::{preflight, state_words};
use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::train::{RunState, TrainRun, TrainWish};
use crate::widgets::basic::{badge, command_icon, hint, icon_text_button, tip};
use crate::widgets::panels::{duration, tile};
use crate::widgets::plot::{Axes, Line, plot};

/// dB below which actions are worth nothing.
const WORTH: f32 = 0.1;

/// Name, state, time left and the buttons of the run.
pub fn head(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let t = tokens(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        ui.label(RichText::new(run.name()).text_style(theme::title()));
        let (word, colour) = state_words(s, &run.state, &t);
        badge(ui, word, colour, *t.control);
        let from = fill(&s.train.from, &[("base", &run.base)]);
        ui.label(RichText::new(from).small().color(*t.text_soft));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            if run.state == RunState::Done {
                let response = icon_text_button(ui, Icon::Check, &s.train.use_model);
                if tip(ui, response, s, Command::UseTrained).clicked() {
                    app.outbox.command(Command::UseTrained);
                }
                let response = icon_text_button(ui, Icon::Compare, &s.train.compare);
                if response.on_hover_text(&s.train.compare_tip).clicked() {
                    app.outbox.send(Message::Train(TrainWish::Compare(run.spec.out.clone())));
                }
            }
            for command in [Command::PauseTraining, Command::ResumeTraining] {
                if app.enabled(command) && command_icon(ui, s, command, true, false).clicked() {
                    app.outbox.command(command);
                }
            }
        });
    });
    if let RunState::Failed(why) = &run.state {
        ui.add(Label::new(RichText::new(why).color(*t.bad)).wrap());
    }
    let job = run.job.and_then(|job| app.jobs.get(job));
    let progress = run.last().map_or(0.0, |last| last.progress);
    if run.state != RunState::Done && !matches!(run.state, RunState::Failed(_)) {
        ui.horizontal(|ui| {
            let training = run.last().is_some();
            let part = if training { progress } else { job.and_then(|j| j.part).unwrap_or(0.0) };
            let width = (ui.available_width() - 240.0).max(80.0);
            ui.add(ProgressBar::new(part).desired_width(width).desired_height(8.0).fill(*t.accent));
            let text = match (job, training) {
                (Some(_), true) => {
                    let left = run.last().map_or(0.0, |last| last.seconds_left);
                    fill(&s.train.time_left, &[("time", &duration(left))])
                }
                (Some(job), false) if !job.what.is_empty() => job.what.clone(),
                (Some(_), false) => s.train.preparing.clone(),
                (None, _) => fill(&s.train.stands_at, &[("part", &format!("{:.0}", progress * 100.0))]),
            };
            ui.label(RichText::new(text).small().color(*t.text_soft));
        });
    }
    if let Some(found) = &run.preflight {
        preflight(ui, s, found);
    }
    for note in run.notes.iter().rev().take(3) {
        ui.add(Label::new(RichText::new(note).small().color(*t.text_faint)).truncate()).on_hover_text(note);
    }
    if let Some(alarm) = &run.alarm {
        eframe::egui::Frame::new()
            .fill(*t.warn_soft)
            .corner_radius(theme::CARD_RADIUS)
            .inner_margin(eframe::egui::Margin::symmetric(12, 8))
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.add(Label::new(RichText::new(alarm).color(*t.warn)).wrap());
            });
    }
}

fn db(value: Option<f32>) -> String {
    value.filter(|v| v.is_finite()).map_or_else(|| "–".into(), |v| format!("{v:.1} dB"))
}

/// The numbers that matter, as they stand.
pub fn tiles(ui: &mut Ui, s: &Strings, run: &TrainRun) {
    let t = tokens(ui);
    let found = run.newest();
    let last = run.last();
    let gap = 8.0;
    let width = ((ui.available_width() - gap * 5.0) / 6.0).floor().max(120.0);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(gap, gap);
        let loss = last.and_then(|l| l.loss).map_or("–".into(), |v| format!("{v:.4}"));
        let pace = last.map_or(String::new(), |l| {
            fill(&s.train.pace, &[("fps", &format!("{:.0}", l.frames_per_second))])
        });
        tile(ui, width, &s.train.loss, &loss, &pace, *t.text);
        for (i, horizon) in [1usize, 4, 10].into_iter().enumerate() {
            let at = found.and_then(|f| f.horizons.iter().position(|h| *h == horizon)).unwrap_or(i);
            let of = |list: Option<&Vec<f32>>| list.and_then(|l| l.get(at)).copied();
            let now = of(found.map(|f| &f.psnr));
            let base = of(found.map(|f| &f.base)).or(of(run.before.as_ref().map(|b| &b.psnr)));
            let freeze = of(found.map(|f| &f.freeze)).or(of(run.before.as_ref().map(|b| &b.freeze)));
            let name = fill(&s.train.at_step, &[("n", &horizon)]);
            let bare = |v: Option<f32>| db(v).trim_end_matches(" dB").to_owned();
            let below = fill(&s.train.beside, &[("base", &bare(base)), ("freeze", &bare(freeze))]);
            // Better than the base is good; as good as a picture that does not move is the least to ask for.
            let above = |other: Option<f32>| now.zip(other).is_none_or(|(now, other)| now >= other);
            let colour = match (now.is_some(), above(base), above(freeze)) {
                (false, _, _) => *t.text,
                (true, true, true) => *t.good,
                (true, true, false) => *t.warn,
                (true, false, _) => *t.bad,
            };
            tile(ui, width, &name, &db(now), &below, colour);
        }
        let delta = found.and_then(|f| f.delta.last()).copied();
        let worth = delta.is_none_or(|d| d >= WORTH);
        let below = if worth { &s.train.follows } else { &s.train.ignores };
        let colour = if worth { *t.text } else { *t.bad };
        tile(ui, width, &s.train.delta, &db(delta), if delta.is_some() { below } else { "" }, colour);
        let spread = found.and_then(|f| f.spread_skill);
        let text = spread.map_or("–".into(), |v| format!("{v:.2}"));
        tile(ui, width, &s.train.spread, &text, &s.train.spread_below, *t.text);
    });
}

/// The course of the numbers over the run.
pub fn plots(ui: &mut Ui, s: &Strings, run: &TrainRun) {
    if run.course.is_empty() {
        if let Some(before) = &run.before {
            hint(ui, &fill(&s.train.before_text, &[("h10", &db(before.psnr.last().copied()))]));
        }
        return;
    }
    let t = tokens(ui);
    let colour = |i: usize| t.series.get(i).map_or(*t.accent, |c| **c);
    let seconds = |progress: f32| {
        let last = run.last().map_or(0.0, |l| l.seconds / f64::from(l.progress.max(1e-3)));
        duration(last * f64::from(progress))
    };
    let say = |x: f32| format!("{:.0} %, {}", x * 100.0, seconds(x));
    let width = ((ui.available_width() - 2.0 * space::S) / 3.0).floor();
    let size = vec2(width.max(220.0), 190.0);
    ui.horizontal_wrapped(|ui| {
        let loss: Vec<[f32; 2]> =
            run.course.iter().map(|l| [l.progress, l.loss.unwrap_or(f32::NAN)]).collect();
        let axes = |name, title, unit, include, floor| Axes {
            name,
            title,
            unit,
            x: Some((0.0, 1.0)),
            include,
            now: run.last().map(|l| l.progress),
            floor,
            legend: true,
            say_x: &say,
        };
        let lines = [Line { name: &s.train.loss, colour: colour(0), points: loss, dashed: false }];
        ui.spacing_mut().item_spacing = vec2(space::S, space::S);
        plot(ui, size, &axes(&s.train.loss_plot, "", "", &[], None), &lines);
        let names: Vec<(usize, String)> =
            [1usize, 4, 10].iter().enumerate().map(|(i, h)| (i, format!("h={h}"))).collect();
        let mut lines = Vec::new();
        for (i, name) in &names {
            let mut points: Vec<[f32; 2]> = Vec::new();
            points.extend(run.before.as_ref().and_then(|b| b.psnr.get(*i)).map(|v| [0.0, *v]));
            points.extend(run.judged.iter().filter_map(|(_, p, f)| Some([*p, *f.psnr.get(*i)?])));
            lines.push(Line { name, colour: colour(*i), points, dashed: false });
        }
        if let Some(freeze) = run.before.as_ref().and_then(|b| b.freeze.last()).copied() {
            let points = vec![[0.0, freeze], [1.0, freeze]];
            lines.push(Line { name: &s.train.freeze, colour: *t.text_faint, points, dashed: true });
        }
        plot(ui, size, &axes(&s.train.psnr_plot, "PSNR", "dB", &[], None), &lines);
        let mut lines = Vec::new();
        for (i, name) in &names {
            let points = run.judged.iter().filter_map(|(_, p, f)| Some([*p, *f.delta.get(*i)?])).collect();
            lines.push(Line { name, colour: colour(*i), points, dashed: false });
        }
        let title = &s.train.delta;
        plot(ui, size, &axes(&s.train.delta_plot, title, "dB", &[0.0, 1.0], Some(WORTH)), &lines);
    });
}
