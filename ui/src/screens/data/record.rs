//! The sheet for a recording from the virtual world.

use eframe::egui::{RichText, Ui};
use forerun::world::Picture;

use crate::app::Studio;
use crate::data::{DataWish, RecordForm};
use crate::i18n::Strings;
use crate::message::Message;
use crate::theme::space;
use crate::widgets::basic::{hint, segments};
use crate::widgets::panels::{name_field, row};
use crate::widgets::slider::{Spec, number};

/// Shows the form.
pub fn record_sheet(app: &mut Studio, ui: &mut Ui, s: &Strings, form: &mut RecordForm) {
    ui.set_width(440.0_f32.min(ui.ctx().content_rect().width() - 48.0));
    let title = s.commands.record_data.name.trim_end_matches('…');
    ui.label(RichText::new(title).text_style(eframe::egui::TextStyle::Heading));
    hint(ui, &s.data.record_text);
    ui.add_space(space::XS);
    if let Some(name) = name_field(ui, &s.data.name, &s.data.name, &form.name) {
        form.name = name;
    }
    let d = &s.data;
    let behaviours = [
        ("expert", d.expert.as_str(), d.expert_tip.as_str()),
        ("play", d.play.as_str(), d.play_tip.as_str()),
        ("noisy", d.noisy.as_str(), d.noisy_tip.as_str()),
        ("idle", d.idle.as_str(), d.idle_tip.as_str()),
    ];
    if let Some(new) = segments(ui, form.behaviour.as_str(), &behaviours) {
        form.behaviour = new.to_owned();
    }
    let looks =
        [("plain", d.plain.as_str(), d.plain_tip.as_str()), ("rich", d.rich.as_str(), d.rich_tip.as_str())];
    if let Some(new) = segments(ui, form.look.as_str(), &looks) {
        form.look = new.to_owned();
    }
    let pictures = [
        (Picture::Rgb, d.picture_rgb.as_str(), d.picture_rgb_tip.as_str()),
        (Picture::Depth, d.picture_depth.as_str(), d.picture_depth_tip.as_str()),
        (Picture::Segments, d.picture_segments.as_str(), d.picture_segments_tip.as_str()),
        (Picture::Edges, d.picture_edges.as_str(), d.picture_edges_tip.as_str()),
    ];
    if let Some(new) = segments(ui, form.picture, &pictures) {
        form.picture = new;
    }
    let field = |ui: &mut Ui, name: &str, value: f32, most: f32| -> Option<f32> {
        let mut new = None;
        row(ui, name, "", |ui| {
            let spec =
                Spec { name, label: name, unit: "", range: 0.0..=most, step: 1.0, digits: 0, marked: true };
            new = number(ui, &spec, value);
        });
        new
    };
    if let Some(v) = field(ui, &d.episodes, form.episodes as f32, 5000.0) {
        form.episodes = v.round().max(1.0) as usize;
    }
    if let Some(v) = field(ui, &s.world.seed, form.seed as f32, 1_000_000.0) {
        form.seed = v.round().max(0.0) as u64;
    }
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        let named = !form.name.trim().is_empty() && !form.name.contains(['/', '\\', '#']);
        if ui.add_enabled(named, eframe::egui::Button::new(&d.record)).clicked() {
            app.outbox.send(Message::Data(DataWish::Record(form.clone())));
        }
        if ui.button(&s.world.cancel).clicked() {
            app.outbox.send(Message::CloseSheet);
        }
    });
}
