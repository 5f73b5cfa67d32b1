//! The Robot screen: connect, look, arm, move by hand, bring a bundle on the arm stage by stage, stop.

pub(crate) mod connect;
pub(crate) mod joints;
mod replay;
mod stages;
pub(crate) mod state;
pub(crate) mod teleop;
mod twins;

use eframe::egui::{CentralPanel, Frame, Image, Margin, Panel, ScrollArea, Ui, vec2};
use forerun::models::Fit;

use crate::app::Studio;
use crate::robot::Shown;
use crate::theme::{space, tokens};
use crate::widgets::basic::{card, hint};
use crate::widgets::pane::Slot;

/// What the screen remembers between frames.
#[derive(Debug, Default)]
pub struct RobotView {
    /// Address of an agent, as it is typed.
    pub address: String,
    /// What the policy is told.
    pub prompt: String,
    /// The robot's name, typed to skip a stage.
    pub typed_name: String,
    /// Since when the release button has been held, seconds.
    pub release_since: Option<f64>,
    /// Where the sliders stand while the arm is moved by hand.
    pub sliders: Vec<f32>,
    /// The dead-man button is held.
    pub dead_man: bool,
    /// Moment of the black box that is shown.
    pub moment: usize,
    /// Runs are recorded.
    pub record: bool,
    /// The Data screen shows the robot, to record episodes that a person shows.
    pub recording: bool,
    /// What is done in them, in words.
    pub task: String,
    /// Name of the dataset that they go into; empty: `robot`.
    pub dataset: String,
    /// Episodes on disk when the project's datasets were listed last.
    pub listed_saved: u64,
    /// Recorded episodes beside their imagined twins, as the engine reported them.
    pub twins: Option<serde_json::Value>,
    /// Robot files were looked for.
    pub listed: bool,
}

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    let shown = app.robot.shown();
    let s = app.strings();
    app.robot_view.dead_man = false;
    let side = |ui: &Ui| Frame::new().fill(*tokens(ui).panel).inner_margin(Margin::same(12));
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        let frame = side(ui);
        Panel::left("robot left").default_size(300.0).size_range(260.0..=420.0).frame(frame).show(ui, |ui| {
            ScrollArea::vertical().id_salt("robot left").auto_shrink(false).show(ui, |ui| {
                connect::show(app, ui, s, &shown);
                if shown.robot.is_some() {
                    state::show(app, ui, s, &shown);
                }
            });
        });
        if shown.robot.is_some() {
            let frame = side(ui);
            Panel::right("robot right").default_size(300.0).size_range(260.0..=440.0).frame(frame).show(
                ui,
                |ui| {
                    ScrollArea::vertical().id_salt("robot right").auto_shrink(false).show(ui, |ui| {
                        stages::show(app, ui, s, &shown);
                    });
                },
            );
        }
        CentralPanel::no_frame().show(ui, |ui| {
            Frame::new().inner_margin(Margin::symmetric(16, 12)).show(ui, |ui| {
                ScrollArea::vertical().id_salt("robot middle").auto_shrink(false).show(ui, |ui| {
                    if shown.replay.is_some() {
                        replay::show(app, ui, s, &shown);
                    } else if shown.robot.is_some() {
                        camera(app, ui, &shown);
                        joints::show(app, ui, s, &shown);
                    } else {
                        empty(ui, s);
                    }
                });
            });
        });
    });
}

fn empty(ui: &mut Ui, s: &crate::i18n::Strings) {
    ui.add_space(space::XL * 2.0);
    ui.vertical_centered(|ui| {
        ui.label(eframe::egui::RichText::new(&s.robot.empty_title).text_style(crate::theme::title()));
        ui.add_space(space::S);
        ui.set_max_width(520.0);
        hint(ui, &s.robot.empty_text);
    });
}

/// What the robot's camera sees.
pub(crate) fn camera(app: &mut Studio, ui: &mut Ui, shown: &Shown) {
    let s = app.strings();
    let name = shown.robot.as_ref().and_then(|r| r.cameras.first()).map(|c| c.name.clone());
    let Some(name) = name else {
        card(ui, |ui| hint(ui, &s.robot.no_camera));
        return;
    };
    let Some(frame) = &shown.picture else {
        card(ui, |ui| hint(ui, &s.robot.no_picture));
        return;
    };
    let height = 260.0_f32;
    let width = height * frame.width as f32 / frame.height.max(1) as f32;
    let smooth = app.view.smooth;
    // A new picture is on its way to the card for a frame.
    let Some(id) = app.textures.get(ui.ctx(), Slot::Robot, frame, width, smooth) else { return };
    let ghost = app.ghost.frame.clone().filter(|_| app.ghost.on);
    let model = app.models.iter().flatten().find(|m| m.name == app.ghost.model);
    let bars = model.is_some_and(|m| m.contract.frame.fit == Fit::Bars);
    ui.vertical_centered(|ui| {
        let image = Image::new((id, vec2(width, height)));
        let response = ui.add(image.alt_text(&name).corner_radius(crate::theme::CARD_RADIUS));
        if let Some(ghost) = &ghost {
            // The model sees the middle of the picture in its own shape, or all of it between bars.
            let shape = ghost.width as f32 / ghost.height.max(1) as f32;
            let (size, part) = match bars {
                true => {
                    let own = width / height;
                    (vec2(width, height), vec2((own / shape).min(1.0), (shape / own).min(1.0)))
                }
                false => (vec2(width.min(height * shape), height.min(width / shape)), vec2(1.0, 1.0)),
            };
            if let Some(id) = app.textures.get(ui.ctx(), Slot::Ghost, ghost, size.x, smooth) {
                let rect = eframe::egui::Rect::from_center_size(response.rect.center(), size);
                let seen = eframe::egui::Rect::from_center_size(eframe::egui::pos2(0.5, 0.5), part);
                let image = Image::new((id, size)).uv(seen);
                let image = image.tint(eframe::egui::Color32::from_white_alpha(128));
                image.paint_at(ui, rect);
            }
        }
        response.on_hover_text(&name);
        let w = &s.robot;
        ui.checkbox(&mut app.ghost.on, &w.ghost).on_hover_text(&w.ghost_tip);
        if ghost.is_some() {
            let seconds = format!("{:.1}", app.ghost.seconds);
            let words: [(&str, &dyn std::fmt::Display); 2] =
                [("model", &app.ghost.model), ("seconds", &seconds)];
            hint(ui, &crate::i18n::fill(&w.ghost_of, &words));
        }
    });
}
