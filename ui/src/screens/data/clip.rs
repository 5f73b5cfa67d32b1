//! The middle: what the dataset is, the pictures of all cameras, and the numbers below them.

use eframe::egui::{
    Align, Color32, Label, Layout, Panel, Rect, RichText, Role, Sense, Spinner, Ui, Vec2, WidgetInfo, vec2,
};

use crate::app::Studio;
use crate::data::{DataWish, Table};
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::transport::Input;
use crate::widgets::basic::{badge, chip, hint, icon_text_button};
use crate::widgets::grid;
use crate::widgets::pane::{Slot, fit, picture_part};
use crate::widgets::plot::{Axes, Line, plot};

/// Shows the middle.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    head(app, ui, s);
    let has_numbers = app.data.clip.action.is_some() || app.data.clip.state.is_some();
    if has_numbers {
        let height = (ui.available_height() * 0.38).clamp(120.0, 300.0);
        Panel::bottom("channels")
            .exact_size(height)
            .frame(eframe::egui::Frame::new())
            .show_separator_line(false)
            .show(ui, |ui| numbers(app, ui, s));
    }
    pictures(app, ui, s);
}

fn head(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let Some(entry) = app.data.chosen().cloned() else { return };
    let about = app.data.shown().cloned();
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        ui.label(RichText::new(&entry.name).text_style(theme::title()));
        if let Some(about) = &about {
            badge(ui, &format!("LeRobot {}", about.version), *t.text_soft, *t.control);
            let facts = fill(
                &s.data.facts,
                &[
                    ("episodes", &about.episodes.len()),
                    ("frames", &about.frames),
                    ("fps", &format!("{:.0}", about.fps)),
                    ("robot", &about.robot),
                ],
            );
            ui.add(Label::new(RichText::new(facts).small().color(*t.text_soft)).truncate());
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if about.is_some() && icon_text_button(ui, Icon::World, &s.data.start_here).clicked() {
                app.outbox.send(Message::Data(DataWish::StartHere));
            }
        });
    });
    let Some(about) = about else { return };
    for problem in about.problems.iter().take(2) {
        ui.add(Label::new(RichText::new(problem).small().color(*t.warn)).wrap());
    }
    let readable: Vec<_> = about.cameras.iter().filter(|c| c.trouble.is_empty()).collect();
    if readable.len() > 1 {
        let view = app.data.corrections();
        let taken =
            if view.camera.is_empty() { about.main_camera.clone().unwrap_or_default() } else { view.camera };
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            ui.label(RichText::new(&s.data.camera).small().color(*t.text_soft))
                .on_hover_text(&s.data.camera_tip);
            for camera in readable {
                let short = short_camera(&camera.key);
                let response = chip(ui, short, camera.key == taken);
                if response.on_hover_text(&s.data.camera_tip).clicked() {
                    app.outbox.send(Message::Data(DataWish::Camera(camera.key.clone())));
                }
            }
        });
    }
}

/// `observation.images.front` as people read it.
fn short_camera(key: &str) -> &str {
    key.trim_start_matches("observation.").trim_start_matches("images.")
}

fn pictures(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let mut area = ui.available_rect_before_wrap();
    ui.allocate_rect(area, Sense::hover());
    area.max.y -= space::M;
    if let Some(trouble) = app.data.trouble.clone().or(app.data.clip.trouble.clone()) {
        let mut inner = ui.new_child(eframe::egui::UiBuilder::new().max_rect(area.shrink(24.0)));
        inner.add(Label::new(RichText::new(trouble).color(*t.bad)).wrap());
        return;
    }
    let at = app.transport.frame();
    let cameras: Vec<(String, std::sync::Arc<forerun::Frame>)> = app
        .data
        .clip
        .frames
        .iter()
        .filter_map(|(key, frames)| Some((key.clone(), frames.get(at).or(frames.last())?.clone())))
        .collect();
    app.textures.retain(|slot| match slot {
        Slot::Camera(key) => cameras.iter().any(|(k, _)| k == key),
        _ => true,
    });
    let Some((_, first)) = cameras.first() else {
        if app.data.clip.job.is_some() || app.data.shown().is_none() {
            ui.put(Rect::from_center_size(area.center(), Vec2::splat(28.0)), Spinner::new().size(24.0));
        }
        return;
    };
    let aspect = first.width as f32 / first.height.max(1) as f32;
    let caption = if cameras.len() > 1 { 22.0 } else { 0.0 };
    for (cell, (key, frame)) in
        grid::cells(cameras.len(), area, aspect, caption, 10.0).into_iter().zip(&cameras)
    {
        let picture = fit(frame, Rect::from_min_max(cell.min, cell.max - vec2(0.0, caption)));
        let response = ui.interact(picture, ui.scope_id().with(("camera", key.as_str())), Sense::hover());
        let name = fill(&s.data.picture_of, &[("camera", &short_camera(key))]);
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
        let slot = Slot::Camera(key.clone());
        let id = app.textures.get(ui.ctx(), slot, frame, picture.width(), app.view.smooth);
        let whole = Rect::from_min_max([0.0, 0.0].into(), [1.0, 1.0].into());
        picture_part(ui, id, picture, whole, Color32::WHITE);
        if caption > 0.0 {
            let font = eframe::egui::TextStyle::Small.resolve(ui.style());
            ui.painter().text(
                picture.center_bottom() + vec2(0.0, 4.0),
                eframe::egui::Align2::CENTER_TOP,
                short_camera(key),
                font,
                *t.text_soft,
            );
        }
    }
}

fn numbers(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let at = app.transport.frame() as f32;
    let fps = app.data.shown().map_or(10.0, |about| about.fps.max(0.1)) as f32;
    let parts =
        [(&s.data.action, app.data.clip.action.clone()), (&s.data.state, app.data.clip.state.clone())];
    let present: Vec<(&String, Table)> =
        parts.into_iter().filter_map(|(name, table)| Some((name, table?))).collect();
    let gap = 8.0;
    let each = (ui.available_height() - gap * present.len() as f32) / present.len().max(1) as f32;
    ui.spacing_mut().item_spacing.y = gap;
    for (name, table) in present {
        let t = tokens(ui);
        // The unit that most channels have is said once.
        let count = |unit: &str| table.channels.iter().filter(|c| c.unit == unit).count();
        let common =
            table.channels.iter().map(|c| c.unit.as_str()).max_by_key(|u| count(u)).unwrap_or("").to_owned();
        let names: Vec<String> = table
            .channels
            .iter()
            .map(|c| {
                let short = c.name.trim_end_matches(".pos").replace('_', " ");
                if c.unit == common || c.unit.is_empty() { short } else { format!("{short} [{}]", c.unit) }
            })
            .collect();
        let title = if common.is_empty() { name.clone() } else { format!("{name} [{common}]") };
        let lines: Vec<Line<'_>> = names
            .iter()
            .enumerate()
            .map(|(i, name)| Line {
                name,
                colour: t.series.get(i % t.series.len()).map_or(*t.accent, |c| **c),
                points: table.column(i).into_iter().enumerate().map(|(t, v)| [t as f32, v]).collect(),
                dashed: false,
            })
            .collect();
        let last = app.data.clip.length.saturating_sub(1) as f32;
        let axes = Axes {
            name: &fill(&s.data.plot_of, &[("what", &name)]),
            title: &title,
            unit: "",
            x: Some((0.0, last)),
            include: &[],
            now: Some(at),
            floor: None,
            legend: names.len() <= 8,
            say_x: &|x| format!("{:.2} s", x / fps),
        };
        if let Some(x) = plot(ui, vec2(ui.available_width(), each), &axes, &lines) {
            app.outbox.send(Message::Transport(Input::Pause));
            app.outbox.send(Message::Transport(Input::Seek(x.round().max(0.0) as usize)));
        }
    }
    if app.data.clip.length == 0 {
        hint(ui, &s.data.reading);
    }
}
