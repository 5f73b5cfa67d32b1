//! One episode in physics and in imagination, from the same start under the same actions.

use eframe::egui::{
    Align, Align2, Color32, Label, Layout, Panel, Rect, RichText, Role, Sense, TextStyle, Ui, WidgetInfo,
    vec2,
};

use super::evaluate::{how_words, running};
use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::policy::PolicyWish;
use crate::theme::{self, tokens};
use crate::widgets::basic::{hint, icon_text_button};
use crate::widgets::grid;
use crate::widgets::pane::{Slot, fit, picture_part};
use crate::widgets::panels::empty;
use crate::widgets::plot::{Axes, Line, plot};

/// Shows the episode.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    running(app, ui, s, app.policies.twins.job);
    let twins = app.policies.twins.clone();
    let (Some(_), Some(_)) = (twins.frames[0].first(), twins.frames[1].first()) else {
        if twins.job.is_none() {
            empty(ui, Icon::Play, &s.policy.empty_watch, &s.policy.empty_watch_text, |_| ());
        }
        return;
    };
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let title = twins.end.as_ref().map_or(s.policy.acting.clone(), |end| end.prompt.clone());
        ui.label(RichText::new(title).text_style(theme::title()));
        ui.label(
            RichText::new(fill(&s.world.caption_seed, &[("seed", &twins.seed)])).small().color(*t.text_faint),
        );
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let kept = twins.end.as_ref().is_some_and(|end| end.dataset.is_some());
            if kept
                && icon_text_button(ui, Icon::Branch, &s.policy.branch)
                    .on_hover_text(&s.policy.branch_tip)
                    .clicked()
            {
                app.outbox.send(Message::Policy(PolicyWish::Branch));
            }
        });
    });
    let leader = if twins.in_model { &s.policy.leads_imagination } else { &s.policy.leads_physics };
    hint(ui, &format!("{leader} · {}", how_words(s, twins.how)));
    Panel::bottom("twin progress")
        .exact_size(130.0)
        .frame(eframe::egui::Frame::new())
        .show_separator_line(false)
        .show(ui, |ui| {
            let names = [&s.policy.physics, &s.policy.imagination];
            let lines: Vec<Line<'_>> = twins
                .progress
                .iter()
                .zip(names)
                .enumerate()
                .map(|(i, (values, name))| Line {
                    name,
                    colour: t.series.get(i).map_or(*t.accent, |c| **c),
                    points: values.iter().enumerate().map(|(x, v)| [x as f32, *v]).collect(),
                    dashed: i == 1,
                })
                .collect();
            let last = app.transport.expected().saturating_sub(1) as f32;
            let axes = Axes {
                name: &s.policy.progress_plot,
                title: &s.policy.progress,
                unit: "",
                x: Some((0.0, last.max(1.0))),
                include: &[0.0, 1.0],
                now: Some(app.transport.frame() as f32),
                floor: None,
                legend: true,
                say_x: &|x| format!("{x:.0}"),
            };
            if let Some(x) = plot(ui, vec2(ui.available_width(), 122.0), &axes, &lines) {
                app.outbox.send(Message::Transport(crate::transport::Input::Pause));
                app.outbox
                    .send(Message::Transport(crate::transport::Input::Seek(x.round().max(0.0) as usize)));
            }
        });
    let area = ui.available_rect_before_wrap();
    ui.allocate_rect(area, Sense::hover());
    let at = app.transport.frame();
    let goal = twins.goal(at).cloned();
    let panes = if goal.is_some() { 3 } else { 2 };
    for (i, cell) in grid::cells(panes, area, 1.0, 46.0, 12.0).into_iter().enumerate() {
        let frame = match i {
            2 => goal.clone(),
            i => twins.frames.get(i).and_then(|f| f.get(at).or(f.last())).cloned(),
        };
        let Some(frame) = frame else { continue };
        let picture = fit(&frame, Rect::from_min_max(cell.min, cell.max - vec2(0.0, 46.0)));
        let name = [&s.policy.physics, &s.policy.imagination, &s.policy.goal_picture][i.min(2)];
        let response = ui.interact(picture, ui.scope_id().with(("twin", i)), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, name.as_str()));
        let id = app.textures.get(ui.ctx(), Slot::Twin(i), &frame, picture.width(), app.view.smooth);
        let whole = Rect::from_min_max([0.0, 0.0].into(), [1.0, 1.0].into());
        picture_part(ui, id, picture, whole, Color32::WHITE);
        let body = TextStyle::Body.resolve(ui.style());
        let small = TextStyle::Small.resolve(ui.style());
        let below = picture.left_bottom() + vec2(0.0, 6.0);
        ui.painter().text(below, Align2::LEFT_TOP, name.as_str(), body, *t.text);
        if i == 2 {
            let text = s.policy.goal_picture_text.as_str();
            ui.painter().text(below + vec2(0.0, 20.0), Align2::LEFT_TOP, text, small, *t.text_faint);
            continue;
        }
        let side = twins.end.as_ref().map(|end| if i == 0 { end.world } else { end.model });
        if let Some(side) = side {
            let text = match side.success {
                true => fill(&s.policy.succeeded, &[("steps", &side.steps)]),
                false => fill(
                    &s.policy.got_to,
                    &[("part", &format!("{:.0}", side.progress * 100.0)), ("steps", &side.steps)],
                ),
            };
            let colour = if side.success { *t.good } else { *t.warn };
            ui.painter().text(
                picture.right_bottom() + vec2(0.0, 6.0),
                Align2::RIGHT_TOP,
                text,
                small.clone(),
                colour,
            );
        }
        let rule = twins.end.as_ref().and_then(|end| end.rules.get(i)).filter(|r| !r.is_empty());
        if let Some(rule) = rule {
            let place = Rect::from_min_size(below + vec2(0.0, 20.0), vec2(picture.width(), 18.0));
            let text = fill(&s.policy.rule, &[("rule", rule)]);
            ui.put(place, Label::new(RichText::new(&text).small().color(*t.text_faint)).truncate())
                .on_hover_text(text);
        }
    }
}
