//! The top bar, the rail of screens and the jobs tray.

use eframe::egui::{
    Align, Align2, Color32, FontId, Label, Layout, Panel, ProgressBar, Rect, RichText, Role, Sense, Stroke,
    StrokeKind, TextStyle, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use crate::app::{EngineState, Studio};
use crate::commands::Command;
use crate::data::DataJob;
use crate::futures::MEMORY_LIMIT;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::jobs::{Job, Kind};
use crate::message::Message;
use crate::policy::PolicyJob;
use crate::screens::Screen;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{command_icon, focus_ring, sized_icon_button, tip};

fn bar_frame(ui: &Ui, x: i8) -> eframe::egui::Frame {
    eframe::egui::Frame::new().fill(*tokens(ui).panel).inner_margin(eframe::egui::Margin::symmetric(x, 0))
}

/// Name of the project, search, theme and language.
pub fn top_bar(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let frame = bar_frame(ui, 12);
    Panel::top("top bar").exact_size(48.0).frame(frame).show(ui, |ui| {
        ui.horizontal_centered(|ui| {
            let t = tokens(ui);
            let (mark, _) = ui.allocate_exact_size(Vec2::splat(24.0), Sense::hover());
            logo(ui, mark);
            ui.label(RichText::new("Forerun").text_style(eframe::egui::TextStyle::Heading));
            ui.add_space(space::S);
            let (line, _) = ui.allocate_exact_size(vec2(1.0, 20.0), Sense::hover());
            ui.painter().vline(line.center().x, line.y_range(), Stroke::new(1.0, *t.line_strong));
            ui.add_space(space::S);
            let name = app.project().name().unwrap_or_else(|| s.shell.untitled.clone());
            let room = (ui.available_width() - 420.0).max(60.0);
            ui.allocate_ui_with_layout(vec2(room, 24.0), Layout::left_to_right(Align::Center), |ui| {
                ui.add(Label::new(RichText::new(name).color(*t.text_soft)).truncate())
                    .on_hover_text(app.project().folder().display().to_string());
            });
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = space::XS;
                let light = ui.ctx().theme() == eframe::egui::Theme::Light;
                let icon = if light { Icon::Moon } else { Icon::Sun };
                let name = &s.commands.toggle_theme.name;
                let response = sized_icon_button(ui, icon, name, true, false, theme::ROW);
                if tip(ui, response, s, Command::ToggleTheme).clicked() {
                    app.outbox.command(Command::ToggleTheme);
                }
                let other = app.view.language.other().name();
                let response = ui.add(
                    eframe::egui::Button::new(RichText::new(other).color(*t.text_soft))
                        .frame_when_inactive(false),
                );
                if tip(ui, response, s, Command::ToggleLanguage).clicked() {
                    app.outbox.command(Command::ToggleLanguage);
                }
                let history = (app.enabled(Command::Redo), app.enabled(Command::Undo));
                if command_icon(ui, s, Command::Redo, history.0, false).clicked() {
                    app.outbox.command(Command::Redo);
                }
                if command_icon(ui, s, Command::Undo, history.1, false).clicked() {
                    app.outbox.command(Command::Undo);
                }
                ui.add_space(space::S);
                if search_button(ui, s).clicked() {
                    app.outbox.command(Command::Palette);
                }
            });
        });
        underline(ui);
    });
}

/// A hairline along the lower edge of a bar.
fn underline(ui: &Ui) {
    let rect = ui.max_rect().expand2(vec2(16.0, 0.0));
    ui.painter().with_clip_rect(rect.expand(1.0)).hline(
        rect.x_range(),
        rect.bottom() - 0.5,
        Stroke::new(1.0, *tokens(ui).line),
    );
}

fn search_button(ui: &mut Ui, s: &Strings) -> eframe::egui::Response {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(232.0, theme::ROW), Sense::click());
    let name = s.commands.palette.name.trim_end_matches('…');
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    let painter = ui.painter();
    painter.rect_filled(rect, theme::RADIUS, *t.input);
    let line = if response.hovered() { *t.line_strong } else { *t.line };
    painter.rect_stroke(rect, theme::RADIUS, Stroke::new(1.0, line), StrokeKind::Inside);
    focus_ring(ui, rect, &response);
    Icon::Search.paint(
        painter,
        Rect::from_center_size(rect.left_center() + vec2(16.0, 0.0), Vec2::splat(14.0)),
        *t.text_faint,
    );
    let body = TextStyle::Body.resolve(ui.style());
    let small = TextStyle::Small.resolve(ui.style());
    painter.text(
        rect.left_center() + vec2(30.0, 0.0),
        Align2::LEFT_CENTER,
        &s.shell.search_hint,
        body,
        *t.text_faint,
    );
    if let Some(binding) = Command::Palette.bindings().first() {
        let keys = ui.ctx().format_shortcut(&binding.shortcut);
        painter.text(rect.right_center() - vec2(10.0, 0.0), Align2::RIGHT_CENTER, keys, small, *t.text_faint);
    }
    tip(ui, response, s, Command::Palette)
}

/// The mark of Forerun: three frames, one running ahead of the others.
fn logo(ui: &Ui, rect: Rect) {
    let t = tokens(ui);
    let painter = ui.painter();
    let side = rect.width() * 0.58;
    for (i, alpha) in [0.25, 0.5, 1.0].into_iter().enumerate() {
        let shift = rect.width() * 0.21 * i as f32;
        let at = Rect::from_min_size(rect.min + vec2(shift, rect.width() * 0.42 - shift), Vec2::splat(side));
        painter.rect_filled(at, 3, t.accent.gamma_multiply(alpha));
        painter.rect_stroke(at, 3, Stroke::new(1.0, *t.panel), StrokeKind::Outside);
    }
}

/// The rail of screens. A screen appears here when it exists.
pub fn rail(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let frame = bar_frame(ui, 8);
    Panel::left("rail").exact_size(72.0).resizable(false).show_separator_line(false).frame(frame).show(
        ui,
        |ui| {
            let t = tokens(ui);
            let edge = ui.max_rect().expand2(vec2(8.0, 0.0));
            ui.painter().with_clip_rect(edge.expand(1.0)).vline(
                edge.right() - 0.5,
                edge.y_range(),
                Stroke::new(1.0, *t.line),
            );
            ui.add_space(space::S);
            ui.spacing_mut().item_spacing.y = space::XS;
            let screens = [
                (Screen::World, Icon::World, &s.shell.world, Command::ShowWorld),
                (Screen::Compare, Icon::Compare, &s.shell.compare, Command::ShowCompare),
                (Screen::Data, Icon::Data, &s.shell.data, Command::ShowData),
                (Screen::Train, Icon::Train, &s.shell.train, Command::ShowTrain),
                (Screen::Policy, Icon::Policy, &s.shell.policy, Command::ShowPolicy),
                (Screen::Robot, Icon::Robot, &s.shell.robot, Command::ShowRobot),
                (Screen::Models, Icon::Model, &s.shell.models, Command::ShowModels),
            ];
            // In a low window the buttons get lower, so that those at the foot keep their place.
            let foot = 2.0 * (theme::ROW + space::XS) + space::S;
            let each = (ui.available_height() - foot) / screens.len() as f32 - space::XS;
            for (screen, icon, name, command) in screens {
                let response = rail_button(ui, icon, name, app.view.screen == screen, each.clamp(26.0, 56.0));
                if tip(ui, response, s, command).clicked() {
                    app.outbox.command(command);
                }
            }
            ui.with_layout(Layout::bottom_up(Align::Center), |ui| {
                ui.add_space(space::S);
                if command_icon(ui, s, Command::Shortcuts, true, false).clicked() {
                    app.outbox.command(Command::Shortcuts);
                }
                if command_icon(ui, s, Command::ToggleLog, true, app.view.log).clicked() {
                    app.outbox.command(Command::ToggleLog);
                }
            });
        },
    );
}

/// Below this height a button of the rail has no room for its name, which its tooltip has then.
const NAMED: f32 = 38.0;

fn rail_button(ui: &mut Ui, icon: Icon, name: &str, selected: bool, height: f32) -> eframe::egui::Response {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, selected, name));
    let (fill, colour) = match (selected, response.hovered()) {
        (true, _) => (*t.accent_soft, *t.accent),
        (false, true) => (*t.control, *t.text),
        (false, false) => (Color32::TRANSPARENT, *t.text_soft),
    };
    let painter = ui.painter();
    painter.rect_filled(rect, theme::CARD_RADIUS, fill);
    focus_ring(ui, rect, &response);
    // At 56 points the picture stands 9 above the middle and the name 15 below it.
    let named = height >= NAMED;
    let (up, down) = if named { (height * 9.0 / 56.0, height * 15.0 / 56.0) } else { (0.0, 0.0) };
    let side = if height >= 50.0 { 22.0 } else { 17.0 };
    icon.paint(painter, Rect::from_center_size(rect.center() - vec2(0.0, up), Vec2::splat(side)), colour);
    if named {
        let font = FontId::new(if height >= 50.0 { 11.5 } else { 10.5 }, theme::semibold());
        painter.text(rect.center() + vec2(0.0, down), Align2::CENTER_CENTER, name, font, colour);
    }
    response
}

/// Jobs with their progress, and the engine's state.
pub fn tray(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    let now = app.now;
    let frame = bar_frame(ui, 12);
    Panel::bottom("jobs tray").exact_size(34.0).frame(frame).show(ui, |ui| {
        let t = tokens(ui);
        let rect = ui.max_rect().expand2(vec2(16.0, 0.0));
        ui.painter().with_clip_rect(rect.expand(1.0)).hline(
            rect.x_range(),
            rect.top() + 0.5,
            Stroke::new(1.0, *t.line),
        );
        ui.horizontal_centered(|ui| {
            let (colour, text) = match &app.engine {
                EngineState::Starting => (*t.warn, &s.shell.engine_starting),
                EngineState::Ready => (*t.good, &s.shell.engine_ready),
                EngineState::Restarting => (*t.warn, &s.shell.engine_gone),
                EngineState::Gone => (*t.bad, &s.shell.engine_off),
            };
            let (dot, _) = ui.allocate_exact_size(Vec2::splat(8.0), Sense::hover());
            ui.painter().circle_filled(dot.center(), 4.0, colour);
            ui.label(RichText::new(text).small().color(*t.text_soft));
            ui.add_space(space::M);
            let jobs: Vec<_> = app.jobs.shown(now).map(|(id, job)| (id, job.clone())).collect();
            let mut more = 0;
            for (id, job) in &jobs {
                if ui.available_width() < 340.0 {
                    more += 1;
                    continue;
                }
                job_row(app, ui, s, *id, job);
                ui.add_space(space::L);
            }
            if more > 0 {
                ui.label(RichText::new(format!("+{more}")).small().color(*t.text_soft));
            }
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| memory(app, ui, s));
        });
    });
}

/// What the frames in memory take, and how much they may take.
fn memory(app: &Studio, ui: &mut Ui, s: &Strings) {
    let used = app.runs.bytes();
    if used == 0 {
        return;
    }
    let t = tokens(ui);
    let megabytes = |bytes: usize| bytes.div_ceil(1 << 20);
    let text = fill(&s.compare.memory, &[("used", &megabytes(used)), ("limit", &megabytes(MEMORY_LIMIT))]);
    let colour = if used > MEMORY_LIMIT { *t.warn } else { *t.text_faint };
    ui.label(RichText::new(text).small().color(colour)).on_hover_text(&s.compare.memory_tip);
}

/// What a job does, in words.
pub fn job_name<'a>(s: &'a Strings, kind: &Kind) -> &'a str {
    match kind {
        Kind::Imagine | Kind::Again | Kind::Cell | Kind::Probe => &s.jobs.imagining,
        Kind::Scene(_) | Kind::DrawStart => &s.jobs.drawing,
        Kind::ReadStart | Kind::Truth { .. } | Kind::Open { .. } => &s.jobs.reading,
        Kind::Data(DataJob::Import) => &s.jobs.importing,
        Kind::Data(DataJob::Record(_)) => &s.jobs.recording,
        Kind::Data(DataJob::Examine) => &s.jobs.examining,
        Kind::Data(_) => &s.jobs.reading,
        Kind::Train => &s.jobs.training,
        Kind::Policy(PolicyJob::Train | PolicyJob::Improve) => &s.jobs.learning,
        Kind::Policy(PolicyJob::Twin) => &s.jobs.acting,
        Kind::Policy(_) => &s.jobs.evaluating,
        Kind::Warm => &s.jobs.loading,
        Kind::List => &s.jobs.listing,
        Kind::Save { .. } | Kind::Keep { .. } => &s.jobs.saving,
        Kind::Fetch { .. } => &s.jobs.downloading,
        Kind::Install => &s.jobs.importing,
        Kind::Check => &s.jobs.checking,
        Kind::Remove => &s.jobs.removing,
        Kind::Terms => &s.jobs.saving,
        Kind::Reason => &s.jobs.reasoning,
        Kind::Ghost => &s.robot.ghost,
        Kind::Twins => &s.robot.twins,
    }
}

fn job_row(app: &mut Studio, ui: &mut Ui, s: &Strings, id: u64, job: &Job) {
    let t = tokens(ui);
    let name = job_name(s, &job.kind);
    ui.label(RichText::new(name).small().color(*t.text)).on_hover_text(&job.what);
    match job.part {
        Some(part) => {
            let bar = ProgressBar::new(part).desired_width(140.0).desired_height(6.0).fill(*t.accent);
            ui.add(bar);
            let left = job.seconds_left.map(|sec| fill(&s.jobs.left, &[("seconds", &seconds(sec))]));
            let text = left.unwrap_or_else(|| format!("{:.0} %", part * 100.0));
            ui.label(RichText::new(text).small().color(*t.text_soft));
        }
        None => {
            ui.label(RichText::new(format!("{:.0} s", app.now - job.started)).small().color(*t.text_soft));
        }
    }
    let cancel = fill(&s.jobs.cancel_job, &[("what", &name.to_lowercase())]);
    let response = sized_icon_button(ui, Icon::Close, &cancel, !job.cancelling, false, 20.0);
    if response.on_hover_text(&cancel).clicked() {
        app.outbox.send(Message::CancelJob(id));
    }
}

/// Seconds as a person says them: few digits.
fn seconds(value: f32) -> String {
    if value < 9.5 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// The log, on the right.
pub fn log_panel(app: &mut Studio, ui: &mut Ui) {
    if !app.view.log {
        return;
    }
    let s = app.strings();
    let frame = bar_frame(ui, 12);
    Panel::right("log").default_size(320.0).size_range(220.0..=600.0).frame(frame).show(ui, |ui| {
        ui.add_space(space::S);
        ui.horizontal(|ui| {
            ui.label(RichText::new(&s.shell.log).text_style(theme::strong()));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if sized_icon_button(ui, Icon::Close, &s.shell.close, true, false, 24.0).clicked() {
                    app.outbox.command(Command::ToggleLog);
                }
                let all: Vec<_> = app.log.lines().map(|l| l.text.as_str()).collect();
                let response =
                    sized_icon_button(ui, Icon::Copy, &s.shell.copy_details, !all.is_empty(), false, 24.0);
                if response.on_hover_text(&s.shell.copy_details).clicked() {
                    app.outbox.send(Message::Copy(all.join("\n")));
                }
            });
        });
        eframe::egui::ScrollArea::vertical().auto_shrink(false).stick_to_bottom(true).show(ui, |ui| {
            let t = tokens(ui);
            if app.log.lines().next().is_none() {
                ui.label(RichText::new(&s.shell.log_empty).color(*t.text_faint));
            }
            for line in app.log.lines() {
                let colour = super::toasts::colour(&t, line.level);
                ui.horizontal_top(|ui| {
                    let (dot, _) = ui.allocate_exact_size(vec2(8.0, 18.0), Sense::hover());
                    ui.painter().circle_filled(pos2(dot.center().x, dot.center().y), 3.0, colour);
                    ui.add(
                        Label::new(RichText::new(&line.text).small().color(*t.text_soft))
                            .wrap()
                            .selectable(true),
                    );
                });
            }
        });
    });
}
