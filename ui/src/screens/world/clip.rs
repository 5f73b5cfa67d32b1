//! What a person may choose for models that make whole clips: size, steps, guidance, body, memory.

use eframe::egui::{ComboBox, Layout, RichText, Role, TextEdit, Ui, WidgetInfo};
use forerun::engine::protocol::ClipSettings;
use forerun::engine::published::{ClipInfo, gigabytes};
use forerun::models::common::Storage;
use forerun::models::cosmos::Reference;

use crate::app::Studio;
use crate::doc::Edit;
use crate::i18n::{Strings, fill};
use crate::theme::{self, tokens};
use crate::widgets::basic::{divider, hint, link, section};
use crate::widgets::slider::{Spec, number};

/// Latents a side of a decoded tile.
const TILE: usize = 32;

/// Shows the section, where the chosen model makes whole clips.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let Some(info) = app.model().and_then(|m| m.clip.clone()) else { return };
    divider(ui);
    let chosen = app.setup.get().clip.clone();
    let mut edited = chosen.clone();
    section(ui, &s.clip.title, |ui| {
        if !chosen.is_empty() && link(ui, &s.clip.reset).clicked() {
            edited = ClipSettings::default();
        }
    });
    let shown = app.contract().map(|c| (c.frame.width, c.frame.height)).unwrap_or_default();
    let effective = chosen.over(&info.settings);
    let sizes = [(&s.clip.width, shown.0, 0), (&s.clip.height, shown.1, 1)];
    for (name, value, which) in sizes {
        let spec = numbers(name, 16.0..=1920.0, 16.0, 0);
        if let Some(value) = row(ui, name, "", |ui| number(ui, &spec, value as f32)) {
            // Latents and patches of all families fit into multiples of 16.
            let value = ((value / 16.0).round() as usize).max(1) * 16;
            if which == 0 { edited.width = Some(value) } else { edited.height = Some(value) }
        }
    }
    let steps = effective.denoise.unwrap_or(35);
    let spec = numbers(&s.clip.denoise, 1.0..=200.0, 1.0, 0);
    if let Some(n) = row(ui, &s.clip.denoise, &s.clip.denoise_tip, |ui| number(ui, &spec, steps as f32)) {
        edited.denoise = Some(n.round() as usize);
    }
    let guidance = effective.guidance.unwrap_or(1.0) as f32;
    let spec = numbers(&s.clip.guidance, 0.0..=20.0, 0.1, 1);
    if let Some(n) = row(ui, &s.clip.guidance, &s.clip.guidance_tip, |ui| number(ui, &spec, guidance)) {
        edited.guidance = Some(f64::from(n));
    }
    negative(ui, s, &effective, &mut edited);
    body(ui, s, &info, &mut edited);
    reference(ui, s, &effective, &mut edited);
    memory(ui, s, &info, &effective, &mut edited);
    if edited != chosen {
        app.outbox.edit(Edit::Clip(edited));
    }
}

fn numbers<'a>(name: &'a str, range: std::ops::RangeInclusive<f32>, step: f32, digits: usize) -> Spec<'a> {
    Spec { name, label: name, unit: "", range, step, digits, marked: true }
}

fn negative(ui: &mut Ui, s: &Strings, effective: &ClipSettings, edited: &mut ClipSettings) {
    let before = effective.negative.clone().unwrap_or_default();
    let mut text = before.clone();
    let response = ui.add(
        TextEdit::singleline(&mut text)
            .id_salt("negative")
            .hint_text(s.clip.negative_hint.as_str())
            .desired_width(f32::INFINITY),
    );
    response.widget_info(|| {
        let mut info = WidgetInfo::text_edit(true, &before, &text, &s.clip.negative_hint);
        info.label = Some(s.clip.negative.clone());
        info
    });
    if response.changed() {
        edited.negative = Some(text);
    }
}

fn body(ui: &mut Ui, s: &Strings, info: &ClipInfo, edited: &mut ClipSettings) {
    if info.bodies.is_empty() {
        return;
    }
    let taken = edited.body.clone();
    let shown = taken.clone().unwrap_or_else(|| s.clip.no_body.clone());
    row(ui, &s.clip.body, "", |ui| {
        let combo = ComboBox::from_id_salt("body").selected_text(shown).show_ui(ui, |ui| {
            if ui.selectable_label(taken.is_none(), &s.clip.no_body).clicked() {
                edited.body = None;
            }
            for body in &info.bodies {
                if ui.selectable_label(taken.as_ref() == Some(&body.name), &body.name).clicked() {
                    edited.body = Some(body.name.clone());
                }
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &s.clip.body));
    });
}

fn reference(ui: &mut Ui, s: &Strings, effective: &ClipSettings, edited: &mut ClipSettings) {
    let taken = effective.reference.unwrap_or_default();
    let name = |reference: Reference| match reference {
        Reference::Diffusers => &s.clip.reference_diffusers,
        Reference::Nvidia => &s.clip.reference_nvidia,
    };
    row(ui, &s.clip.reference, &s.clip.reference_tip, |ui| {
        let combo = ComboBox::from_id_salt("reference").selected_text(name(taken)).show_ui(ui, |ui| {
            for one in [Reference::Diffusers, Reference::Nvidia] {
                if ui.selectable_label(taken == one, name(one)).clicked() {
                    edited.reference = Some(one);
                }
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &s.clip.reference));
    });
}

fn memory(ui: &mut Ui, s: &Strings, info: &ClipInfo, effective: &ClipSettings, edited: &mut ClipSettings) {
    let mut offload = effective.memory.offloads();
    if ui.checkbox(&mut offload, &s.clip.offload).on_hover_text(&s.clip.offload_tip).changed() {
        edited.memory.offload = Some(offload);
    }
    let mut tiles = effective.memory.tiles().is_some();
    if ui.checkbox(&mut tiles, &s.clip.tiles).on_hover_text(&s.clip.tiles_tip).changed() {
        edited.memory.tile = Some(if tiles { TILE } else { 0 });
    }
    let taken = effective.memory.linear.unwrap_or_default();
    let name = |storage: Storage| match storage {
        Storage::Plain => s.clip.bits_plain.as_str(),
        Storage::Q8_0 => "q8_0",
        Storage::Q4K => "q4_K",
    };
    row(ui, &s.clip.bits, &s.clip.bits_tip, |ui| {
        let combo = ComboBox::from_id_salt("bits").selected_text(name(taken)).show_ui(ui, |ui| {
            for storage in [Storage::Plain, Storage::Q8_0, Storage::Q4K] {
                if ui.selectable_label(taken == storage, name(storage)).clicked() {
                    edited.memory.linear = Some(storage);
                }
            }
        });
        combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &s.clip.bits));
    });
    let need = gigabytes(info.memory);
    let least = gigabytes(info.memory_least);
    hint(ui, &fill(&s.clip.memory, &[("need", &need), ("least", &least)]));
}

/// A name on the left, a control on the right.
fn row<R>(ui: &mut Ui, name: &str, explanation: &str, control: impl FnOnce(&mut Ui) -> R) -> R {
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let label = ui.label(RichText::new(name).color(*tokens(ui).text_soft));
        if !explanation.is_empty() {
            label.on_hover_text(explanation);
        }
        ui.with_layout(Layout::right_to_left(eframe::egui::Align::Center), control).inner
    })
    .inner
}
