//! The Policy screen: learn, evaluate, improve, watch and rank policies; what is set up on the left, what was found in the
//! middle.

mod evaluate;
mod learn;
mod rank;
mod setup;
mod watch;

use eframe::egui::{Align, CentralPanel, Frame, Layout, Margin, ScrollArea, Ui, vec2};
use strum::IntoEnumIterator;

use crate::app::Studio;
use crate::i18n::Strings;
use crate::message::Message;
use crate::policy::{PolicyDoc, PolicyPart, PolicyWish};
use crate::shell::transport_bar;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::segments;
use crate::widgets::panels::side;

/// Shows the screen in what is left of `ui`.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let t = tokens(ui);
    let s = app.strings();
    side(ui, "policy setup", false, 320.0, |ui| setup::show(app, ui));
    CentralPanel::no_frame().frame(Frame::new().fill(*t.base)).show(ui, |ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
        let part = app.policy.part;
        if part == PolicyPart::Watch && !app.policies.twins.frames[0].is_empty() {
            transport_bar::show(app, ui);
        }
        CentralPanel::no_frame().show(ui, |ui| {
            Frame::new().inner_margin(Margin { left: 16, right: 16, top: 12, bottom: 8 }).show(ui, |ui| {
                parts(app, ui, s);
                ui.add_space(space::XS);
                if part == PolicyPart::Watch {
                    return watch::show(app, ui, s);
                }
                ScrollArea::vertical().id_salt("found").auto_shrink(false).show(ui, |ui| match part {
                    PolicyPart::Train | PolicyPart::Improve => learn::show(app, ui, s),
                    PolicyPart::Evaluate => evaluate::show(app, ui, s),
                    PolicyPart::Rank => rank::show(app, ui, s),
                    PolicyPart::Watch => {}
                });
            });
        });
    });
}

fn parts(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let words = |part: PolicyPart| match part {
        PolicyPart::Train => (s.policy.train.as_str(), s.policy.train_tip.as_str()),
        PolicyPart::Evaluate => (s.policy.evaluate.as_str(), s.policy.evaluate_tip.as_str()),
        PolicyPart::Improve => (s.policy.improve.as_str(), s.policy.improve_tip.as_str()),
        PolicyPart::Watch => (s.policy.watch.as_str(), s.policy.watch_tip.as_str()),
        PolicyPart::Rank => (s.policy.rank.as_str(), s.policy.rank_tip.as_str()),
    };
    let choices: Vec<_> = PolicyPart::iter().map(|part| (part, words(part).0, words(part).1)).collect();
    ui.horizontal(|ui| {
        ui.set_min_height(theme::ROW);
        let width = (96.0 * choices.len() as f32).min(ui.available_width());
        ui.allocate_ui_with_layout(vec2(width, theme::ROW), Layout::left_to_right(Align::Center), |ui| {
            if let Some(part) = segments(ui, app.policy.part, &choices) {
                edit(app, |doc| doc.part = part);
            }
        });
    });
}

/// Sends a change of what is set up.
fn edit(app: &mut Studio, change: impl FnOnce(&mut PolicyDoc)) {
    let mut doc = app.policy.clone();
    change(&mut doc);
    app.outbox.send(Message::Policy(PolicyWish::Edit(Box::new(doc))));
}
