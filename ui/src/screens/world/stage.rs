//! The middle: futures side by side, or what to do to see some.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, Color32, Frame as Card, Label, Layout, Margin, Rect, RichText, Role, Sense, Stroke,
    StrokeKind, TextStyle, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use forerun::Frame;

use super::start_section::{self, picture, scene_button};
use crate::app::Studio;
use crate::commands::Command;
use crate::doc::StartDoc;
use crate::futures::{Future, Run, RunState};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{badge, command_icon, focus_ring, icon_text_button, sized_icon_button, tip};
use crate::widgets::grid::cells;
use crate::widgets::pane::{Slot, fit};
use crate::widgets::spark::spark;

/// Height of the line under a picture.
const CAPTION: f32 = 26.0;
/// Height of one line of what the heads read.
const READING: f32 = 18.0;
/// Most lines of readings under a pane.
const READINGS: usize = 3;

/// Shows the stage.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    Card::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 8 }).show(ui, |ui| {
        banner(app, ui, s);
        match app.runs.shown().cloned() {
            Some(run) => {
                header(app, ui, s, &run);
                super::verdict::show(app, ui, s, &run);
                panes(app, ui, s, &run);
            }
            None if app.setup.get().start == StartDoc::Nothing => welcome(app, ui, s),
            None => ready(app, ui, s),
        }
    });
}

fn banner(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let Some(text) = app.banner.clone() else { return };
    let t = tokens(ui);
    Card::new()
        .fill(*t.warn_soft)
        .stroke(Stroke::new(1.0, t.warn.gamma_multiply(0.5)))
        .corner_radius(theme::CARD_RADIUS)
        .inner_margin(Margin::symmetric(12, 8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                let (icon, _) = ui.allocate_exact_size(Vec2::splat(18.0), Sense::hover());
                Icon::Warning.paint(ui.painter(), icon, *t.warn);
                let room = (ui.available_width() - 190.0).max(80.0);
                ui.allocate_ui_with_layout(vec2(room, 20.0), Layout::left_to_right(Align::Center), |ui| {
                    ui.add(Label::new(RichText::new(text).color(*t.text)).wrap());
                });
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if sized_icon_button(ui, Icon::Close, &s.trouble.dismiss, true, false, 24.0).clicked() {
                        app.outbox.send(Message::DismissBanner);
                    }
                    if app.can_retry() && icon_text_button(ui, Icon::Refresh, &s.trouble.retry).clicked() {
                        app.outbox.send(Message::Retry);
                    }
                });
            });
        });
    ui.add_space(space::XS);
}

/// The very first view: scenes to pick from.
fn welcome(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let area = ui.available_rect_before_wrap();
    let n = app.scenes.len();
    let columns = if area.width() < 460.0 { 2 } else { 3 };
    let rows = n.div_ceil(columns);
    let gap = space::M;
    let by_width = (area.width().min(760.0) - gap * (columns - 1) as f32) / columns as f32;
    let by_height = (area.height() - 150.0 - gap * rows as f32) / rows as f32;
    let side = by_width.min(by_height).clamp(64.0, 240.0);
    let width = side * columns as f32 + gap * (columns - 1) as f32;
    let height = 110.0 + (side + gap) * rows as f32;
    let rect = Rect::from_center_size(area.center(), vec2(width, height.min(area.height())));
    ui.scope_builder(UiBuilder::new().max_rect(rect).layout(Layout::top_down(Align::LEFT)), |ui| {
        ui.label(RichText::new(&s.world.empty_title).text_style(theme::title()));
        ui.add(Label::new(RichText::new(&s.world.empty_text).color(*t.text_soft)).wrap());
        ui.add_space(space::S);
        for row in 0..rows {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = gap;
                for i in (row * columns)..((row + 1) * columns).min(n) {
                    scene_button(app, ui, s, i, side, true);
                }
            });
            ui.add_space(gap - 8.0);
        }
    });
}

/// A start is chosen, nothing is imagined yet.
fn ready(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let area = ui.available_rect_before_wrap();
    let Some(frame) = app.start.last().cloned() else {
        let text = match &app.start.reading {
            crate::start::Reading::Failed(text) => text.clone(),
            _ => s.jobs.reading.clone(),
        };
        ui.painter().text(
            area.center(),
            Align2::CENTER_CENTER,
            text,
            TextStyle::Body.resolve(ui.style()),
            *t.text_soft,
        );
        return;
    };
    let Some(cell) =
        cells(1, area.shrink2(vec2(0.0, 8.0)), aspect(&frame), CAPTION * 2.0, 0.0).first().copied()
    else {
        return;
    };
    let cell = if cell.width() > 640.0 {
        Rect::from_center_size(cell.center(), vec2(640.0, 640.0 / aspect(&frame) + CAPTION * 2.0))
    } else {
        cell
    };
    let picture_rect = Rect::from_min_max(cell.min, pos2(cell.right(), cell.bottom() - CAPTION * 2.0));
    let id = app.textures.get(ui.ctx(), Slot::Start(true), &frame, picture_rect.width(), app.view.smooth);
    picture(ui, id, picture_rect, Color32::WHITE);
    let below = Rect::from_min_max(pos2(cell.left(), picture_rect.bottom() + 8.0), cell.max);
    ui.scope_builder(UiBuilder::new().max_rect(below).layout(Layout::left_to_right(Align::Min)), |ui| {
        ui.label(RichText::new(&s.world.start_frame).text_style(theme::strong()));
        ui.label(RichText::new(start_section::name(s, &app.setup.get().start)).color(*t.text_soft));
        start_section::unfamiliar(app, ui, s);
    });
    ui.advance_cursor_after_rect(area);
}

/// How far a run is, in words: for a clip the denoising step.
fn imagining(s: &Strings, run: &Run, done: &str) -> String {
    match run.denoised {
        Some((step, total)) => {
            let step = fill(&s.clip.step_of, &[("done", &step), ("total", &total)]);
            format!("{}  ·  {step}", s.world.imagining)
        }
        None => format!("{}{done}", s.world.imagining),
    }
}

fn aspect(frame: &Frame) -> f32 {
    frame.width.max(1) as f32 / frame.height.max(1) as f32
}

fn header(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &Run) {
    let t = tokens(ui);
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let right = 350.0_f32.min(ui.available_width() * 0.6);
        let room = (ui.available_width() - right).max(60.0);
        ui.allocate_ui_with_layout(vec2(room, theme::ROW), Layout::left_to_right(Align::Center), |ui| {
            let words = if run.spec.prompt.is_empty() { driven_by(s, run) } else { run.spec.prompt.clone() };
            ui.add(Label::new(RichText::new(words).text_style(TextStyle::Heading)).truncate());
        });
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            let finished = run.futures.iter().any(|f| f.done);
            if run.saved.is_some() {
                badge(ui, &s.world.saved, *t.good, *t.control);
            } else {
                let response = ui
                    .add_enabled_ui(finished, |ui| {
                        icon_text_button(ui, Icon::Save, &s.commands.save_futures.name)
                    })
                    .inner;
                if tip(ui, response, s, Command::SaveFutures).clicked() {
                    app.outbox.command(Command::SaveFutures);
                }
            }
            if command_icon(ui, s, Command::AskReasoner, app.enabled(Command::AskReasoner), false).clicked() {
                app.outbox.command(Command::AskReasoner);
            }
            let response = ui
                .add_enabled_ui(app.enabled(Command::CompareRun), |ui| {
                    icon_text_button(ui, Icon::Compare, &s.commands.compare_run.name)
                })
                .inner;
            if tip(ui, response, s, Command::CompareRun).clicked() {
                app.outbox.command(Command::CompareRun);
            }
            let (n, all) = app.runs.position();
            if all > 1 {
                if command_icon(ui, s, Command::NextRun, n < all, false).clicked() {
                    app.outbox.command(Command::NextRun);
                }
                let text = fill(&s.world.run_of, &[("n", &n), ("all", &all)]);
                ui.label(RichText::new(text).small().color(*t.text_soft));
                if command_icon(ui, s, Command::PreviousRun, n > 1, false).clicked() {
                    app.outbox.command(Command::PreviousRun);
                }
            }
        });
    });
    state_line(app, ui, s, run);
}

fn driven_by(s: &Strings, run: &Run) -> String {
    use forerun::engine::protocol::Actions;
    match run.spec.actions {
        Actions::Free => s.world.mode_free_tip.clone(),
        Actions::Episode { .. } => s.numbers.recorded.clone(),
        _ => s.numbers.numbers.clone(),
    }
}

fn state_line(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &Run) {
    let t = tokens(ui);
    let model = format!("{} · {}", run.model, run.model_hash);
    let (text, colour) = match &run.state {
        RunState::Running => {
            let job = app.jobs.get(run.job);
            let done = job.and_then(|j| j.part).map_or(String::new(), |p| format!(" {:.0} %", p * 100.0));
            (imagining(s, run, &done), *t.accent)
        }
        RunState::Done => {
            let frames: usize = run.futures.iter().map(|f| f.ready().saturating_sub(1)).sum();
            let seconds = format!("{:.1}", run.ended.unwrap_or(run.started) - run.started);
            (fill(&s.world.done_in, &[("frames", &frames), ("seconds", &seconds)]), *t.text_soft)
        }
        RunState::Cancelled => (s.world.cancelled.clone(), *t.warn),
        RunState::Failed(message, advice) => (format!("{message} {advice}"), *t.bad),
    };
    ui.horizontal(|ui| {
        ui.label(RichText::new(model).small().color(*t.text_faint));
        ui.add(Label::new(RichText::new(text).small().color(colour)).truncate());
    });
}

/// Read-outs worth a line under a pane: those that change from frame to frame in any future, in the order in which the
/// model gives them.
fn shown_readings(run: &Run) -> Vec<String> {
    let first = run.futures.iter().find_map(|f| (0..run.available()).find_map(|i| f.reading(i)));
    let Some(reading) = first else { return Vec::new() };
    let moves = |name: &str| {
        run.futures.iter().any(|f| {
            let series = f.series(name);
            let finite = || series.iter().copied().filter(|v| v.is_finite());
            let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
            high - low > 1e-3
        })
    };
    let useful = ["progress", "contact", "success"];
    let mut names: Vec<String> = useful
        .iter()
        .filter_map(|u| reading.values.iter().map(|(n, _)| n).find(|n| n.contains(u)).cloned())
        .chain(reading.values.iter().map(|(n, _)| n.clone()).filter(|n| moves(n)))
        .collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|n| seen.insert(n.clone()));
    names.truncate(READINGS);
    names
}

fn panes(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &Run) {
    let area = ui.available_rect_before_wrap().shrink2(vec2(0.0, 4.0));
    let names = shown_readings(run);
    let extra = CAPTION + READING * names.len() as f32;
    let shape = run.futures.iter().find_map(|f| f.frame(0)).map_or(1.0, |(f, _)| aspect(f));
    let index = app.transport.frame();
    let mut shown: Vec<(usize, Option<&Future>, Slot, String)> = run
        .futures
        .iter()
        .enumerate()
        .map(|(i, f)| (i, Some(f), Slot::Future(f.seed), fill(&s.world.caption_seed, &[("seed", &f.seed)])))
        .collect();
    if let Some(truth) = &run.truth {
        shown.insert(0, (usize::MAX, Some(truth), Slot::Truth, s.world.truth.clone()));
    }
    if let Some(only) = app.maximised {
        if shown.iter().any(|(i, ..)| *i == only) {
            shown.retain(|(i, ..)| *i == only);
        }
    }
    let cells = cells(shown.len(), area, shape, extra, space::M);
    for ((i, future, slot, caption), cell) in shown.into_iter().zip(cells) {
        pane(app, ui, s, run, &Pane { number: i, future, slot, caption, cell, index, names: &names, extra });
    }
    ui.advance_cursor_after_rect(area);
}

struct Pane<'a> {
    number: usize,
    future: Option<&'a Future>,
    slot: Slot,
    caption: String,
    cell: Rect,
    index: usize,
    names: &'a [String],
    extra: f32,
}

fn pane(app: &mut Studio, ui: &mut Ui, s: &Strings, run: &Run, p: &Pane<'_>) {
    let t = tokens(ui);
    let rect = Rect::from_min_max(p.cell.min, pos2(p.cell.right(), p.cell.bottom() - p.extra));
    let response = ui.interact(p.cell, ui.scope_id().with(("pane", p.number)), Sense::click());
    let truth = p.slot == Slot::Truth;
    let selected = !truth && app.selected == p.number;
    let label = match p.future {
        Some(f) if !truth => fill(&s.world.pane, &[("seed", &f.seed)]),
        _ => s.world.truth.clone(),
    };
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, &label));
    ui.painter().rect_filled(rect, theme::RADIUS, *t.raised);
    let frame: Option<(Arc<Frame>, bool)> =
        p.future.and_then(|f| f.frame(p.index)).map(|(f, held)| (f.clone(), held));
    match frame {
        Some((frame, held)) => {
            let area = fit(&frame, rect);
            let id = app.textures.get(ui.ctx(), p.slot.clone(), &frame, area.width(), app.view.smooth);
            let dim = held && run.state != RunState::Running;
            picture(ui, id, area, if dim { Color32::from_gray(120) } else { Color32::WHITE });
        }
        None => {
            let font = TextStyle::Small.resolve(ui.style());
            let text = if run.state == RunState::Running { &s.world.waiting } else { &s.world.failed };
            let galley = ui.painter().layout(text.clone(), font, *t.text_faint, rect.width() - 16.0);
            ui.painter().galley(rect.center() - galley.size() / 2.0, galley, *t.text_faint);
        }
    }
    let line = if selected {
        Some((2.0, *t.accent))
    } else if response.hovered() {
        Some((1.5, *t.line_strong))
    } else {
        None
    };
    if let Some((width, colour)) = line {
        ui.painter().rect_stroke(
            rect.expand(2.0),
            theme::RADIUS + 1,
            Stroke::new(width, colour),
            StrokeKind::Middle,
        );
    }
    focus_ring(ui, p.cell, &response);
    if let (RunState::Running, Some(f)) = (&run.state, p.future.filter(|_| !truth)) {
        // How much of this future is here, as a thin line along the lower edge of its picture.
        let part = f.ready().saturating_sub(1) as f32 / run.spec.steps.max(1) as f32;
        if part < 1.0 {
            let bar = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 3.0), rect.max);
            ui.painter().rect_filled(bar, 1, t.control.gamma_multiply(0.8));
            ui.painter().rect_filled(bar.with_max_x(bar.left() + bar.width() * part), 1, *t.accent);
        }
    }
    caption(ui, s, run, p, rect, truth);
    if response.clicked() && !truth {
        app.outbox.send(Message::SelectPane(p.number));
    }
    if response.double_clicked() {
        app.outbox.send(Message::Maximise(p.number));
    }
    if !truth && selected && rect.width() > 96.0 {
        let place = Rect::from_min_size(rect.right_top() + vec2(-32.0, 6.0), Vec2::splat(26.0));
        ui.painter().rect_filled(place, theme::RADIUS, t.panel.gamma_multiply(0.88));
        let name = &s.commands.compare_pane.name;
        let response = ui
            .scope_builder(UiBuilder::new().max_rect(place), |ui| {
                sized_icon_button(ui, Icon::Compare, name, true, false, 26.0)
            })
            .inner;
        if tip(ui, response, s, Command::ComparePane).clicked() {
            app.outbox.command(Command::ComparePane);
        }
    }
}

fn caption(ui: &mut Ui, s: &Strings, run: &Run, p: &Pane<'_>, rect: Rect, truth: bool) {
    let t = tokens(ui);
    let line = Rect::from_min_size(pos2(rect.left(), rect.bottom()), vec2(rect.width(), CAPTION));
    ui.scope_builder(UiBuilder::new().max_rect(line).layout(Layout::left_to_right(Align::Center)), |ui| {
        ui.spacing_mut().item_spacing.x = space::S;
        ui.label(RichText::new(&p.caption).small().family(theme::semibold()).color(*t.text));
        if truth {
            return;
        }
        if rect.width() > 130.0 {
            let refine = fill(&s.world.caption_refine, &[("refine", &run.spec.refine)]);
            ui.label(RichText::new(refine).small().color(*t.text_soft));
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if ui.available_width() > 56.0 {
                ui.label(RichText::new(&run.model_hash).monospace().size(10.5).color(*t.text_faint));
            }
        });
    });
    let Some(future) = p.future.filter(|_| !truth) else { return };
    for (row, name) in p.names.iter().enumerate() {
        let top = rect.bottom() + CAPTION + READING * row as f32 - 4.0;
        let line = Rect::from_min_size(pos2(rect.left(), top), vec2(rect.width(), READING));
        ui.scope_builder(
            UiBuilder::new().max_rect(line).layout(Layout::left_to_right(Align::Center)),
            |ui| {
                ui.spacing_mut().item_spacing.x = space::S;
                let room = (rect.width() * 0.42).min(130.0);
                ui.allocate_ui_with_layout(vec2(room, READING), Layout::left_to_right(Align::Center), |ui| {
                    ui.set_min_width(room);
                    let words = name.replace(['_', '.'], " ");
                    ui.add(Label::new(RichText::new(words).small().color(*t.text_faint)).truncate());
                });
                let series = future.series(name);
                let value = series.get(p.index).copied().filter(|v| v.is_finite());
                spark(ui, (rect.width() - room - 64.0).max(16.0), &series, run.spec.steps + 1, p.index, 0.05);
                let text = value.map_or("–".to_owned(), number);
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.label(RichText::new(text).small().color(*t.text_soft));
                });
            },
        );
    }
}

/// A read-out with as many digits as it deserves.
fn number(v: f32) -> String {
    if v.abs() < 10.0 { format!("{v:.2}") } else { format!("{v:.0}") }
}
