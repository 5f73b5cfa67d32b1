//! The left side: what the shown part needs to know, and its button.

use eframe::egui::{Frame, Label, Margin, Panel, RichText, Stroke, Ui};
use forerun::policy::Method;
use forerun::world::TaskName;
use strum::IntoEnumIterator;

use super::edit;
use super::evaluate::pace_words;
use crate::app::Studio;
use crate::commands::Command;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::policy::{PolicyPart, PolicyWish, Way};
use crate::theme::{space, tokens};
use crate::widgets::basic::{divider, hint, icon_text_button, link, main_button, section, segments, tip};
use crate::widgets::panels::{choose, name_field, row, scroll};
use crate::widgets::slider::{Spec, number};

/// Shows the panel.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let part = app.policy.part;
    let frame = Frame::new().inner_margin(Margin::symmetric(16, 12));
    Panel::bottom("start policy").frame(frame).show_separator_line(false).show(ui, |ui| {
        let edge = ui.max_rect().expand2([16.0, 12.0].into());
        ui.painter().hline(edge.x_range(), edge.top() + 0.5, Stroke::new(1.0, *tokens(ui).line));
        if let Some((of, trouble)) = &app.policies.trouble
            && *of == part
        {
            ui.add(Label::new(RichText::new(trouble).small().color(*tokens(ui).bad)).wrap());
        }
        let running = app.policies.job(part).is_some();
        if part == PolicyPart::Evaluate && !running {
            time(app, ui, s);
        }
        let (command, icon, name) = match (running, part) {
            (true, _) => (Command::StopPolicy, Icon::Stop, &s.policy.stop),
            (_, PolicyPart::Train) => (Command::StartPolicy, Icon::Policy, &s.policy.start_train),
            (_, PolicyPart::Evaluate) => (Command::StartPolicy, Icon::Check, &s.policy.start_evaluate),
            (_, PolicyPart::Improve) => (Command::StartPolicy, Icon::Spark, &s.policy.start_improve),
            (_, PolicyPart::Watch) => (Command::StartPolicy, Icon::Play, &s.policy.start_watch),
            (_, PolicyPart::Rank) => (Command::StartPolicy, Icon::Curve, &s.policy.start_rank),
        };
        let response = main_button(ui, icon, name, "", app.enabled(command));
        if tip(ui, response, s, command).clicked() {
            app.outbox.command(command);
        }
        if part == PolicyPart::Rank && !running {
            hint(ui, &fill(&s.policy.rank_count, &[("n", &app.ranked_count())]));
        }
    });
    scroll(ui, "policy form", |ui| {
        match part {
            PolicyPart::Train => {
                data(app, ui, s);
                divider(ui);
                kind(app, ui, s);
                training(app, ui, s);
                snapshots(app, ui, s);
                divider(ui);
                name(app, ui, s);
                unfinished(app, ui, s);
            }
            PolicyPart::Evaluate => {
                policy(app, ui, s);
                divider(ui);
                deciding(app, ui, s);
                divider(ui);
                place(app, ui, s);
                scenes(app, ui, s);
            }
            PolicyPart::Improve => {
                policy(app, ui, s);
                model(app, ui, s);
                divider(ui);
                data(app, ui, s);
                divider(ui);
                imagining(app, ui, s);
                training(app, ui, s);
                divider(ui);
                name(app, ui, s);
            }
            PolicyPart::Watch => {
                policy(app, ui, s);
                model(app, ui, s);
                divider(ui);
                deciding(app, ui, s);
                divider(ui);
                leader(app, ui, s);
                scenes(app, ui, s);
            }
            PolicyPart::Rank => {
                ranked(app, ui, s);
                model(app, ui, s);
                divider(ui);
                scenes(app, ui, s);
            }
        };
    });
}

fn data(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.train.data, |_| ());
    let entries: Vec<(String, bool)> = app
        .data
        .entries
        .iter()
        .flat_map(|all| all.iter())
        .map(|e| (e.name.clone(), e.trouble.is_empty()))
        .collect();
    if entries.is_empty() {
        hint(ui, &s.train.no_data);
        if link(ui, &s.train.go_data).clicked() {
            app.outbox.command(Command::ShowData);
        }
    }
    for (name, sound) in entries {
        let mut on = app.policy.datasets.contains(&name);
        if ui.add_enabled(sound, eframe::egui::Checkbox::new(&mut on, &name)).changed() {
            edit(app, |doc| {
                if on {
                    doc.datasets.insert(name)
                } else {
                    doc.datasets.remove(&name)
                };
            });
        }
    }
    // Goals are pictures of the episodes themselves.
    if !(app.policy.part == PolicyPart::Train && app.policy.goal) {
        hint(ui, &s.policy.data_text);
    }
}

fn policy(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.policy.policy, |_| ());
    let choices: Vec<(String, String)> = app
        .policies
        .entries
        .iter()
        .flat_map(|all| all.iter())
        .map(|e| (e.name.clone(), e.name.clone()))
        .collect();
    if choices.is_empty() {
        hint(ui, &s.policy.no_policy);
        return;
    }
    let shown = app.policy_entry().map(|e| e.name.clone()).unwrap_or_default();
    if let Some(name) = choose(ui, &s.policy.policy, &shown, ui.available_width() - 8.0, &choices) {
        edit(app, |doc| doc.chosen = name);
    }
    if app.policy_entry().is_some_and(|entry| entry.goal) {
        hint(ui, &format!("{}: {}", s.policy.led_by, s.policy.by_pictures));
    }
}

fn model(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let models: Vec<(String, String)> =
        app.models.iter().flatten().map(|m| (m.name.clone(), m.name.clone())).collect();
    let shown = app.policy_model().map_or(s.model.none.clone(), |m| m.name.clone());
    row(ui, &s.policy.model, &s.policy.model_tip, |ui| {
        if let Some(name) = choose(ui, &s.policy.model, &shown, 150.0, &models) {
            edit(app, |doc| doc.model = name);
        }
    });
}

fn place(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.policy.place, |_| ());
    let choices = [
        (false, s.policy.physics.as_str(), s.policy.physics_tip.as_str()),
        (true, s.policy.imagination.as_str(), s.policy.imagination_tip.as_str()),
    ];
    if let Some(in_model) = segments(ui, app.policy.in_model, &choices) {
        edit(app, |doc| doc.in_model = in_model);
    }
    if app.policy.in_model {
        model(app, ui, s);
    }
}

fn leader(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.policy.looks_at, |_| ());
    let choices = [
        (false, s.policy.physics.as_str(), s.policy.leads_physics.as_str()),
        (true, s.policy.imagination.as_str(), s.policy.leads_imagination.as_str()),
    ];
    if let Some(in_model) = segments(ui, app.policy.in_model, &choices) {
        edit(app, |doc| doc.in_model = in_model);
    }
}

/// The task as the window calls it.
pub fn task_words<'a>(s: &'a Strings, task: &str) -> &'a str {
    match task {
        "push-left" => &s.policy.push_left,
        "push-right" => &s.policy.push_right,
        "push-away" => &s.policy.push_away,
        "push-toward" => &s.policy.push_toward,
        _ => &s.policy.all_pushes,
    }
}

fn whole(
    ui: &mut Ui,
    name: &str,
    explanation: &str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Option<u64> {
    let mut new = None;
    row(ui, name, explanation, |ui| {
        let spec = Spec {
            name,
            label: name,
            unit: "",
            range: *range.start() as f32..=*range.end() as f32,
            step: 1.0,
            digits: 0,
            marked: true,
        };
        new = number(ui, &spec, value as f32).map(|v| v.round().max(0.0) as u64);
    });
    new
}

fn scenes(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let tasks: Vec<(String, String)> = std::iter::once(String::new())
        .chain(TaskName::TASKS.iter().filter(|t| t.direction().is_some()).map(|t| t.as_str().to_owned()))
        .map(|task| (task.clone(), task_words(s, &task).to_owned()))
        .collect();
    let shown = task_words(s, &app.policy.task).to_owned();
    row(ui, &s.policy.task, &s.policy.task_tip, |ui| {
        if let Some(task) = choose(ui, &s.policy.task, &shown, 150.0, &tasks) {
            edit(app, |doc| doc.task = task);
        }
    });
    let looks = [("plain".to_owned(), s.data.plain.clone()), ("rich".to_owned(), s.data.rich.clone())];
    let look =
        looks.iter().find(|(v, _)| *v == app.policy.look).map_or(app.policy.look.clone(), |(_, n)| n.clone());
    row(ui, &s.policy.look, "", |ui| {
        if let Some(look) = choose(ui, &s.policy.look, &look, 150.0, &looks) {
            edit(app, |doc| doc.look = look);
        }
    });
    let doc = app.policy.clone();
    if doc.part != PolicyPart::Watch
        && let Some(v) = whole(ui, &s.policy.episodes, &s.policy.episodes_tip, doc.episodes as u64, 1..=1000)
    {
        edit(app, |doc| doc.episodes = v as usize);
    }
    if let Some(v) = whole(ui, &s.policy.steps, &s.policy.steps_tip, doc.steps as u64, 1..=1000) {
        edit(app, |doc| doc.steps = v as usize);
    }
    if let Some(v) = whole(ui, &s.world.seed, &s.policy.seed_tip, doc.seed, 0..=10_000_000) {
        edit(app, |doc| doc.seed = v);
    }
}

/// A way of deciding in words: its name, and what it does.
fn way_words(s: &Strings, way: Way) -> (&str, &str) {
    match way {
        Way::Alone => (&s.policy.alone, &s.policy.alone_tip),
        Way::BestOf => (&s.policy.best_of_way, &s.policy.best_of_way_tip),
        Way::Planner => (&s.policy.planner, &s.policy.planner_tip),
        Way::Subgoals => (&s.policy.subgoals, &s.policy.subgoals_tip),
        Way::OwnActions => (&s.policy.own_way, &s.policy.own_actions_tip),
    }
}

/// How it decides, with only the numbers that belong to it.
fn deciding(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.policy.deciding, |_| ());
    let doc = app.policy.clone();
    let choices: Vec<_> = Way::iter().map(|way| (way, way_words(s, way).0, way_words(s, way).1)).collect();
    if let Some(way) = segments(ui, doc.way, &choices) {
        edit(app, |doc| doc.way = way);
    }
    hint(ui, way_words(s, doc.way).1);
    if let Some(trouble) = app.way_trouble().filter(|_| app.policy_entry().is_some()) {
        ui.add(Label::new(RichText::new(trouble).color(*tokens(ui).warn)).wrap());
    }
    // Elsewhere the model is chosen already: the one that is acted in.
    if doc.way != Way::Alone && doc.part == PolicyPart::Evaluate && !doc.in_model {
        model(app, ui, s);
    }
    let number = |ui: &mut Ui, name: &str, tip: &str, value: usize, most: u64| {
        let least = if name == s.policy.best_of { 2 } else { 1 };
        whole(ui, name, tip, value as u64, least..=most).map(|v| v as usize)
    };
    match doc.way {
        Way::Alone => return,
        Way::BestOf => {
            if let Some(v) = number(ui, &s.policy.best_of, &s.policy.best_of_tip, doc.best_of, 64) {
                edit(app, |doc| doc.best_of = v);
            }
        }
        Way::Planner => {
            let methods = [
                (Method::Cem, s.policy.cem.as_str(), s.policy.cem_tip.as_str()),
                (Method::Mppi, s.policy.mppi.as_str(), s.policy.mppi_tip.as_str()),
            ];
            if let Some(method) = segments(ui, doc.method, &methods) {
                edit(app, |doc| doc.method = method);
            }
            let mut from = doc.from_policy;
            if ui
                .checkbox(&mut from, &s.policy.from_policy)
                .on_hover_text(&s.policy.from_policy_tip)
                .changed()
            {
                edit(app, |doc| doc.from_policy = from);
            }
        }
        Way::Subgoals | Way::OwnActions => {
            if doc.way == Way::Subgoals
                && let Some(v) = number(ui, &s.policy.ahead, &s.policy.ahead_tip, doc.ahead, 40)
            {
                edit(app, |doc| doc.ahead = v);
            }
            let futures =
                number(ui, &s.policy.goal_futures, &s.policy.goal_futures_tip, doc.goal_futures, 32);
            if let Some(v) = futures {
                edit(app, |doc| doc.goal_futures = v);
            }
            return;
        }
    }
    if let Some(v) = number(ui, &s.policy.doubt_seeds, &s.policy.doubt_seeds_tip, doc.doubt_seeds, 8) {
        edit(app, |doc| doc.doubt_seeds = v);
    }
}

/// How long the evaluation would take: measured when somebody asks.
fn time(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    if app.policies.measuring.is_some() {
        hint(ui, &s.policy.measuring);
        return;
    }
    if let Some(pace) = app.measured_pace() {
        hint(ui, &pace_words(s, &pace));
        return;
    }
    ui.add_enabled_ui(app.can_measure(), |ui| {
        if link(ui, &s.policy.how_long).on_hover_text(&s.policy.how_long_tip).clicked() {
            app.outbox.send(Message::Policy(PolicyWish::Measure));
        }
    });
}

/// What the new policy is led by.
fn kind(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.policy.led_by, |_| ());
    let choices = [
        (false, s.policy.by_words.as_str(), s.policy.by_words_tip.as_str()),
        (true, s.policy.by_pictures.as_str(), s.policy.by_pictures_tip.as_str()),
    ];
    let goal = app.policy.goal;
    if let Some(goal) = segments(ui, goal, &choices) {
        edit(app, |doc| doc.goal = goal);
    }
    hint(ui, if goal { &s.policy.by_pictures_tip } else { &s.policy.by_words_tip });
}

fn training(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let sizes = [
        ("micro", s.policy.micro.as_str(), s.policy.micro_tip.as_str()),
        ("small", s.policy.small.as_str(), s.policy.small_tip.as_str()),
        ("medium", s.policy.medium.as_str(), s.policy.medium_tip.as_str()),
    ];
    if app.policy.part == PolicyPart::Train {
        section(ui, &s.policy.size, |_| ());
        let now = app.policy.size.clone();
        if let Some(size) = segments(ui, now.as_str(), &sizes) {
            edit(app, |doc| doc.size = size.to_owned());
        }
    }
    match app.policy.iterations {
        None => row(ui, &s.train.minutes, &s.train.minutes_tip, |ui| {
            let minutes = app.policy.minutes;
            let spec = Spec {
                name: &s.train.minutes,
                label: &s.train.minutes,
                unit: "min",
                range: 0.5..=1440.0,
                step: 1.0,
                digits: usize::from(minutes < 5.0),
                marked: true,
            };
            if let Some(v) = number(ui, &spec, minutes) {
                edit(app, |doc| doc.minutes = v);
            }
        }),
        Some(n) => {
            if let Some(v) = whole(ui, &s.train.iterations, &s.train.iterations_tip, n, 1..=1_000_000) {
                edit(app, |doc| doc.iterations = Some(v));
            }
        }
    }
    let mut exact = app.policy.iterations.is_some();
    if ui.checkbox(&mut exact, &s.train.exact).on_hover_text(&s.train.iterations_tip).changed() {
        edit(app, |doc| doc.iterations = exact.then_some(2000));
    }
}

fn snapshots(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let now = app.policy.snapshots as u64;
    if let Some(v) = whole(ui, &s.policy.snapshots, &s.policy.snapshots_tip, now, 0..=100) {
        edit(app, |doc| doc.snapshots = v as usize);
    }
}

fn imagining(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let doc = app.policy.clone();
    if let Some(v) = whole(ui, &s.policy.imagined, &s.policy.imagined_tip, doc.imagined as u64, 1..=5000) {
        edit(app, |doc| doc.imagined = v as usize);
    }
    if let Some(v) = whole(ui, &s.policy.witnesses, &s.policy.witnesses_tip, doc.witnesses as u64, 0..=16) {
        edit(app, |doc| doc.witnesses = v as usize);
    }
    starts(app, ui, s);
    section(ui, &s.policy.acts, |_| ());
    let choices = [
        (false, s.policy.policy_acts.as_str(), s.policy.policy_acts_tip.as_str()),
        (true, s.policy.model_acts.as_str(), s.policy.model_acts_tip.as_str()),
    ];
    if let Some(model) = segments(ui, doc.model_acts, &choices) {
        edit(app, |doc| doc.model_acts = model);
    }
    hint(ui, if doc.model_acts { &s.policy.model_acts_tip } else { &s.policy.policy_acts_tip });
    if doc.model_acts {
        let (name, tip) = (&s.policy.goal_futures, &s.policy.acted_futures_tip);
        if let Some(v) = whole(ui, name, tip, doc.acted_futures as u64, 1..=32) {
            edit(app, |doc| doc.acted_futures = v as usize);
        }
    }
}

/// Where imagined episodes start.
fn starts(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let all = app.data.entries.iter().flat_map(|all| all.iter()).filter(|e| e.trouble.is_empty());
    let mut choices = vec![(String::new(), s.policy.starts_own.clone())];
    choices.extend(all.map(|e| (e.name.clone(), e.name.clone())));
    let now = app.policy.starts.clone();
    let shown =
        choices.iter().find(|(name, _)| *name == now).or(choices.first()).map(|(_, shown)| shown.clone());
    row(ui, &s.policy.starts, &s.policy.starts_tip, |ui| {
        if let Some(name) = choose(ui, &s.policy.starts, &shown.unwrap_or_default(), 150.0, &choices) {
            edit(app, |doc| doc.starts = name);
        }
    });
}

fn name(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    section(ui, &s.train.name, |_| ());
    let suggested = app.policy_name();
    let now = app.policy.name.clone();
    if let Some(name) = name_field(ui, &s.train.name, &suggested, &now) {
        edit(app, |doc| doc.name = name.replace(['/', '\\', ':', '#'], "-"));
    }
    hint(ui, &s.policy.name_text);
}

fn unfinished(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let running =
        app.policies.run.as_ref().and_then(|run| run.job.and(run.spec.as_ref())).map(|spec| spec.out.clone());
    let waiting: Vec<_> = app
        .policy
        .unfinished
        .iter()
        .map(|spec| spec.out.clone())
        .filter(|out| Some(out) != running.as_ref())
        .collect();
    if waiting.is_empty() {
        return;
    }
    divider(ui);
    section(ui, &s.policy.unfinished, |_| ());
    for out in waiting {
        let name = out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        ui.horizontal(|ui| {
            ui.add(Label::new(&name).truncate());
            ui.with_layout(eframe::egui::Layout::right_to_left(eframe::egui::Align::Center), |ui| {
                let free = running.is_none();
                ui.add_enabled_ui(free, |ui| {
                    if icon_text_button(ui, Icon::Play, &s.policy.resume).clicked() {
                        app.outbox.send(Message::Policy(PolicyWish::Resume(out)));
                    }
                });
            });
        });
    }
    ui.add_space(space::S);
}

fn ranked(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    policy(app, ui, s);
    let mut with = app.policy.with_snapshots;
    let n = app.policy_entry().map_or(0, |e| e.snapshots);
    let text = fill(&s.policy.with_snapshots, &[("n", &n)]);
    if ui.checkbox(&mut with, text).changed() {
        edit(app, |doc| doc.with_snapshots = with);
    }
    let own = app.policy_entry().filter(|_| with).map(|e| e.name.clone());
    let entries = app.policies.entries.iter().flat_map(|all| all.iter());
    let names: Vec<(String, bool)> = entries.map(|e| (e.name.clone(), e.goal)).collect();
    for (name, goal) in names.into_iter().filter(|(name, _)| Some(name) != own.as_ref()) {
        let mut on = app.policy.ranked.contains(&name) && !goal;
        let response = ui.add_enabled(!goal, eframe::egui::Checkbox::new(&mut on, &name));
        if response.on_disabled_hover_text(&s.policy.rank_goal).changed() {
            edit(app, |doc| {
                if on {
                    doc.ranked.insert(name)
                } else {
                    doc.ranked.remove(&name)
                };
            });
        }
    }
}
