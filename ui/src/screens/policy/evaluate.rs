//! Success rates with their intervals, the policy beside the yardsticks, and the episodes that failed.

use eframe::egui::{
    Align2, Label, ProgressBar, Rect, RichText, Role, Sense, Stroke, TextStyle, Ui, WidgetInfo, pos2, vec2,
};

use forerun::policy::{Deciding, Method, Pace};

use super::setup::task_words;
use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::policy::{Evaluation, PolicyWish};
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, focus_ring, hint};
use crate::widgets::panels::{duration, empty};

/// Most failures that are shown.
const MOST: usize = 60;

/// Shows what was found.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    running(app, ui, s, app.policies.evaluating);
    if let Some(pace) = app.policies.pace.filter(|_| app.policies.evaluating.is_some()) {
        hint(ui, &pace_words(s, &pace));
    }
    let Some(found) = app.policies.evaluation.clone() else {
        if app.policies.evaluating.is_none() {
            empty(ui, Icon::Policy, &s.policy.empty_evaluate, &s.policy.empty_evaluate_text, |_| ());
        }
        return;
    };
    table(ui, s, &found);
    ui.add_space(space::XS);
    failures(app, ui, s, &found);
}

/// The bar of a job of this screen.
pub fn running(app: &Studio, ui: &mut Ui, s: &Strings, job: Option<u64>) {
    let Some(job) = job.and_then(|job| app.jobs.get(job)) else { return };
    let t = tokens(ui);
    ui.horizontal(|ui| {
        let width = (ui.available_width() - 260.0).max(80.0);
        ui.add(
            ProgressBar::new(job.part.unwrap_or(0.0))
                .desired_width(width)
                .desired_height(8.0)
                .fill(*t.accent),
        );
        let left = job.seconds_left.map(|left| fill(&s.train.time_left, &[("time", &duration(left.into()))]));
        ui.label(RichText::new(left.unwrap_or_else(|| job.what.clone())).small().color(*t.text_soft));
    });
}

/// How long an evaluation takes, in words.
pub fn pace_words(s: &Strings, pace: &Pace) -> String {
    let values: [(&str, &dyn std::fmt::Display); 2] =
        [("plan", &brief(pace.plan_ms)), ("time", &duration(pace.seconds.max(1.0)))];
    fill(&s.policy.pace, &values)
}

/// Milliseconds as people say them.
fn brief(milliseconds: f64) -> String {
    if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.1} s", milliseconds / 1e3)
    }
}

/// Who, in words; the agent is called by how it decides.
fn actor_words(s: &Strings, name: &str, how: Deciding) -> String {
    match (name, how) {
        ("nothing", _) => s.policy.nothing.clone(),
        ("random", _) => s.policy.random.clone(),
        ("expert", _) => s.policy.expert.clone(),
        (_, Deciding::Alone) => s.policy.policy.clone(),
        (_, Deciding::BestOf { candidates, .. }) => fill(&s.policy.best_of_n, &[("n", &candidates)]),
        (_, Deciding::Planner { .. }) => s.policy.planner.clone(),
        (_, Deciding::Subgoals { .. }) => s.policy.subgoals.clone(),
        (_, Deciding::OwnActions { .. }) => s.policy.own_actions.clone(),
    }
}

/// How an agent decides, in a sentence.
pub fn how_words(s: &Strings, how: Deciding) -> String {
    match how {
        Deciding::Alone => s.policy.how_alone.clone(),
        Deciding::BestOf { candidates, seeds } => {
            fill(&s.policy.how_best_of, &[("n", &candidates), ("seeds", &seeds)])
        }
        Deciding::Planner { method, seeds } => {
            let method = if method == Method::Cem { &s.policy.cem } else { &s.policy.mppi };
            fill(&s.policy.how_planner, &[("method", method), ("seeds", &seeds)])
        }
        Deciding::Subgoals { ahead, futures } => {
            fill(&s.policy.how_subgoals, &[("ahead", &ahead), ("n", &futures)])
        }
        Deciding::OwnActions { futures } => fill(&s.policy.how_own_actions, &[("n", &futures)]),
    }
}

/// What minds count, in words.
fn count_words<'a>(s: &'a Strings, name: &'a str) -> &'a str {
    match name {
        "plans other than the policy's own" => &s.policy.count_overruled,
        "doubtful plans" => &s.policy.count_doubtful,
        "goals imagined" => &s.policy.count_goals,
        "tracks tried" => &s.policy.count_tracks,
        other => other,
    }
}

/// `world:tabletop` in words.
pub fn place_words(s: &Strings, place: &str) -> String {
    match place.split_once(':') {
        Some(("model", model)) => fill(&s.policy.in_model, &[("model", &model)]),
        _ => s.policy.in_physics.clone(),
    }
}

fn table(ui: &mut Ui, s: &Strings, found: &Evaluation) {
    let t = tokens(ui);
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(place_words(s, &found.place)).text_style(theme::title()));
        let who = found.policy.as_ref().map(|(name, _)| name.as_str());
        let how = how_words(s, found.how);
        let line = who.map_or(how.clone(), |name| format!("{name} · {how}"));
        ui.add(Label::new(RichText::new(line).color(*t.text_soft)).wrap());
        ui.add(
            Label::new(RichText::new(fill(&s.policy.rule, &[("rule", &found.rule)])).color(*t.text_soft))
                .wrap(),
        );
        ui.add_space(space::S);
        for (place, (name, tally, _)) in found.actors.iter().enumerate() {
            let words = actor_words(s, name, found.how);
            let text = fill(
                &s.policy.rate,
                &[
                    ("rate", &format!("{:.1}", tally.rate * 100.0)),
                    ("low", &format!("{:.1}", tally.low * 100.0)),
                    ("high", &format!("{:.1}", tally.high * 100.0)),
                ],
            );
            let count = fill(&s.policy.count, &[("n", &tally.successes), ("all", &tally.episodes)]);
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
            response
                .widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{words} {text} {count}")));
            let painter = ui.painter_at(rect);
            let body = TextStyle::Body.resolve(ui.style());
            let small = TextStyle::Small.resolve(ui.style());
            let own = place == 0;
            let colour = if own { *t.text } else { *t.text_soft };
            painter.text(rect.left_center(), Align2::LEFT_CENTER, &words, body.clone(), colour);
            let (from, to) = (rect.left() + 150.0, rect.right() - 310.0);
            if to > from + 40.0 {
                let line =
                    Rect::from_min_max(pos2(from, rect.center().y - 5.0), pos2(to, rect.center().y + 5.0));
                painter.rect_filled(line, 5, *t.control);
                let x = |share: f64| from + (to - from) * share as f32;
                let bar = Rect::from_min_max(line.min, pos2(x(tally.rate).max(from + 1.0), line.bottom()));
                let fill_colour = if own { *t.accent_fill } else { *t.line_strong };
                painter.rect_filled(bar, 5, fill_colour);
                // The interval as a whisker over the bar.
                let y = rect.center().y;
                let ink = Stroke::new(1.6, *t.text);
                painter.hline(x(tally.low)..=x(tally.high), y, ink);
                for end in [tally.low, tally.high] {
                    painter.vline(x(end), (y - 4.0)..=(y + 4.0), ink);
                }
            }
            painter.text(rect.right_center() - vec2(302.0, 0.0), Align2::LEFT_CENTER, &text, body, colour);
            painter.text(rect.right_center(), Align2::RIGHT_CENTER, count, small, *t.text_faint);
        }
        ui.add_space(space::XS);
        let about = fill(
            &s.policy.about_numbers,
            &[("seed", &found.seed), ("task", &task_words(s, &found.task)), ("look", &found.look)],
        );
        hint(ui, &about);
        let (plans, each) = found.plans;
        if plans > 0 {
            let mut line = fill(&s.policy.plans, &[("n", &plans), ("time", &brief(each))]);
            for (name, count) in &found.counts {
                line += &format!(" · {}: {count}", count_words(s, name));
            }
            hint(ui, &line);
        }
    });
}

fn failures(app: &mut Studio, ui: &mut Ui, s: &Strings, found: &Evaluation) {
    let t = tokens(ui);
    let all: Vec<_> = found.failures().take(MOST).cloned().collect();
    let count = found.failures().count();
    ui.label(RichText::new(fill(&s.policy.failures, &[("n", &count)])).text_style(theme::strong()));
    hint(ui, if count == 0 { &s.policy.no_failures } else { &s.policy.failures_text });
    let in_model = found.place.starts_with("model:");
    let width = 196.0;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        for episode in all {
            let (rect, response) = ui.allocate_exact_size(vec2(width, 76.0), Sense::click());
            let name = fill(&s.policy.watch_episode, &[("seed", &episode.seed)]);
            response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
            let painter = ui.painter();
            let fill_colour = if response.hovered() { *t.control } else { *t.raised };
            painter.rect_filled(rect, theme::CARD_RADIUS, fill_colour);
            let stroke = Stroke::new(1.0, *t.line);
            painter.rect_stroke(rect, theme::CARD_RADIUS, stroke, eframe::egui::StrokeKind::Inside);
            focus_ring(ui, rect, &response);
            let font = TextStyle::Body.resolve(ui.style());
            let words = eframe::egui::WidgetText::from(
                RichText::new(&episode.prompt).font(font.clone()).color(*t.text),
            )
            .into_galley(ui, Some(eframe::egui::TextWrapMode::Truncate), width - 20.0, font);
            ui.painter().galley(rect.min + vec2(10.0, 8.0), words, *t.text);
            let small = TextStyle::Small.resolve(ui.style());
            let text = fill(
                &s.policy.got_to,
                &[("part", &format!("{:.0}", episode.progress * 100.0)), ("steps", &episode.steps)],
            );
            ui.painter().text(rect.min + vec2(10.0, 30.0), Align2::LEFT_TOP, text, small, *t.text_soft);
            let bar = Rect::from_min_size(rect.min + vec2(10.0, 58.0), vec2(width - 20.0, 5.0));
            ui.painter().rect_filled(bar, 2, *t.control_active);
            let part = bar.width() * episode.progress.clamp(0.0, 1.0);
            ui.painter().rect_filled(Rect::from_min_size(bar.min, vec2(part, 5.0)), 2, *t.warn);
            if response.on_hover_text(&s.policy.watch_tip).clicked() {
                app.outbox.send(Message::Policy(PolicyWish::Watch(episode.seed, in_model)));
            }
        }
    });
}
