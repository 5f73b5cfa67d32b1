//! The right side: what the doctor found, and the corrections that the dataset is read with.

use eframe::egui::{
    Align, Color32, Frame, Label, Layout, Margin, Rect, RichText, Role, Sense, Stroke, Ui, Vec2, WidgetInfo,
};
use forerun::dataset::doctor::{Finding, Sentence, Severity, Topic, View};

use crate::app::Studio;
use crate::commands::Command;
use crate::data::DataWish;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::message::Message;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{divider, hint, icon_text_button, main_button, section, sized_icon_button, tip};
use crate::widgets::panels::scroll;

/// Shows the panel.
pub fn show(app: &mut Studio, ui: &mut Ui) {
    let s = app.strings();
    scroll(ui, "doctor", |ui| {
        section(ui, &s.data.doctor, |_| ());
        hint(ui, &s.data.doctor_text);
        ui.add_space(space::XS);
        let busy = app.data.examining.is_some();
        let name = if busy { &s.data.examining } else { &s.data.examine };
        let response = main_button(ui, Icon::Doctor, name, "", app.enabled(Command::ExamineData));
        if tip(ui, response, s, Command::ExamineData).clicked() {
            app.outbox.command(Command::ExamineData);
        }
        ui.add_space(space::S);
        findings(app, ui, s);
        corrections(app, ui, s);
    });
}

fn findings(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let t = tokens(ui);
    let Some((found, through)) = app.data.found.clone() else { return };
    let now = app.data.corrections();
    if app.enabled(Command::MendData) {
        let response = icon_text_button(ui, Icon::Check, &s.data.mend_all);
        if tip(ui, response, s, Command::MendData).clicked() {
            app.outbox.command(Command::MendData);
        }
    }
    if found.findings.is_empty() {
        ui.horizontal(|ui| {
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(18.0), Sense::hover());
            Icon::Check.paint(ui.painter(), rect, *t.good);
            ui.label(RichText::new(&s.data.healthy).color(*t.good));
        });
    }
    let stale = through != now;
    ui.add_enabled_ui(!stale, |ui| {
        for (number, finding) in found.findings.iter().enumerate() {
            ui.push_id(number, |ui| card(app, ui, s, finding, &now));
        }
    });
    hint(ui, &fill(&s.data.looked_at, &[("frames", &found.frames)]));
}

fn colour_of(ui: &Ui, severity: Severity) -> (Icon, Color32) {
    let t = tokens(ui);
    match severity {
        Severity::Problem => (Icon::Warning, *t.bad),
        Severity::Warning => (Icon::Warning, *t.warn),
        Severity::Note => (Icon::Info, *t.text_soft),
    }
}

/// What a finding is about, in words.
pub fn topic_words(s: &Strings, topic: Topic) -> &str {
    let d = &s.data;
    match topic {
        Topic::Lag => &d.topic_lag,
        Topic::Unit => &d.topic_unit,
        Topic::Relative => &d.topic_relative,
        Topic::DeadChannel => &d.topic_dead,
        Topic::Missing => &d.topic_missing,
        Topic::FrozenCamera => &d.topic_frozen,
        Topic::RepeatedFrames => &d.topic_repeated,
        Topic::DroppedFrames => &d.topic_dropped,
        Topic::Exposure => &d.topic_exposure,
        Topic::SameEpisode => &d.topic_same,
        Topic::Coverage => &d.topic_coverage,
        Topic::Unread => &d.topic_unread,
    }
}

/// A sentence of the doctor in the window's language; none for one that this window does not know.
fn sentence_words(s: &Strings, sentence: Sentence) -> Option<&str> {
    let d = &s.doctor;
    Some(match sentence {
        Sentence::StatesLate => &d.states_late,
        Sentence::StatesEarly => &d.states_early,
        Sentence::ActionsLate => &d.actions_late,
        Sentence::FollowsSlowly => &d.follows_slowly,
        Sentence::Follows => &d.follows,
        Sentence::NoActionMoves => &d.no_action_moves,
        Sentence::StateDead => &d.state_dead,
        Sentence::NeverMoves => &d.never_moves,
        Sentence::ActionStays => &d.action_stays,
        Sentence::NumbersMissing => &d.numbers_missing,
        Sentence::CameraFrozen => &d.camera_frozen,
        Sentence::CameraFrozenSome => &d.camera_frozen_some,
        Sentence::PicturesTwice => &d.pictures_twice,
        Sentence::FramesMissing => &d.frames_missing,
        Sentence::BrightnessJumps => &d.brightness_jumps,
        Sentence::FewEpisodes => &d.few_episodes,
        Sentence::EpisodesTwice => &d.episodes_twice,
        Sentence::StandsStill => &d.stands_still,
        Sentence::Narrow => &d.narrow,
        Sentence::GripperBare => &d.gripper_bare,
        Sentence::NotHundred => &d.not_hundred,
        Sentence::BareDegrees => &d.bare_degrees,
        Sentence::NotDegrees => &d.not_degrees,
        Sentence::BareHundred => &d.bare_hundred,
        Sentence::NotUnitRadians => &d.not_unit_radians,
        Sentence::BareRadians => &d.bare_radians,
        Sentence::BareEither => &d.bare_either,
        Sentence::Changes => &d.changes,
        Sentence::Unread => &d.unread,
        Sentence::Other => return None,
    })
}

/// What was found, in the window's language.
fn finding_words(s: &Strings, finding: &Finding) -> String {
    match sentence_words(s, finding.said.sentence) {
        Some(template) => finding.said.in_words(template),
        None => finding.words.clone(),
    }
}

fn card(app: &mut Studio, ui: &mut Ui, s: &Strings, finding: &Finding, now: &View) {
    let t = tokens(ui);
    let (icon, colour) = colour_of(ui, finding.severity);
    let title = topic_words(s, finding.topic);
    let shown = Frame::new()
        .fill(*t.raised)
        .stroke(Stroke::new(1.0, *t.line))
        .corner_radius(theme::CARD_RADIUS)
        .inner_margin(Margin { left: 14, right: 10, top: 10, bottom: 10 })
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.spacing_mut().item_spacing.y = space::XS;
            ui.horizontal(|ui| {
                let (rect, _) = ui.allocate_exact_size(Vec2::splat(16.0), Sense::hover());
                icon.paint(ui.painter(), rect, colour);
                ui.label(RichText::new(title).text_style(theme::strong()));
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let Some(fix) = finding.fix.as_ref().filter(|_| asked(finding).is_empty()) else {
                        return;
                    };
                    let name = fill(&s.data.mend, &[("what", &title)]);
                    let response = icon_text_button(ui, Icon::Check, &s.data.mend_one);
                    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), &name));
                    let why = if finding.sure { &s.data.mend_sure } else { &s.data.mend_unsure };
                    if response.on_hover_text(why).clicked() {
                        app.outbox.send(Message::Data(DataWish::Correct("mend", now.clone().and(fix))));
                    }
                });
            });
            ui.add(Label::new(RichText::new(finding_words(s, finding)).small().color(*t.text_soft)).wrap());
            if !finding.channels.is_empty() {
                ui.add(
                    Label::new(RichText::new(finding.channels.join(", ")).small().color(*t.text_faint))
                        .wrap(),
                );
            }
            let units = asked(finding);
            if !units.is_empty() {
                ui.horizontal_wrapped(|ui| {
                    for (unit, fix) in units {
                        if ui.button(fill(&s.data.they_are, &[("unit", &unit)])).clicked() {
                            app.outbox.send(Message::Data(DataWish::Correct("unit", now.clone().and(&fix))));
                        }
                    }
                });
            }
            let few = finding.episodes.iter().take(8).copied().collect::<Vec<_>>();
            if !few.is_empty() {
                ui.horizontal_wrapped(|ui| {
                    ui.spacing_mut().item_spacing.x = space::XS;
                    for index in few {
                        let name = fill(&s.data.episode, &[("n", &index)]);
                        if crate::widgets::basic::link(ui, &name).clicked() {
                            app.outbox.send(Message::Data(DataWish::Episode(index)));
                        }
                    }
                    if finding.episodes.len() > 8 {
                        hint(ui, &format!("+{}", finding.episodes.len() - 8));
                    }
                });
            }
        });
    let rect = shown.response.rect;
    let stripe = Rect::from_min_max(rect.min, [rect.left() + 3.0, rect.bottom()].into());
    let round = eframe::egui::CornerRadius { nw: theme::CARD_RADIUS, sw: theme::CARD_RADIUS, ne: 0, se: 0 };
    ui.painter().rect_filled(stripe, round, colour);
}

/// Units that a person has to choose between, where the numbers fit several: each with its correction.
fn asked(finding: &Finding) -> Vec<(&'static str, View)> {
    let Some(fix) = finding.fix.as_ref().filter(|_| finding.topic == Topic::Unit && !finding.sure) else {
        return Vec::new();
    };
    if fix.units.iter().any(|unit| unit.factor != 1.0) {
        return Vec::new();
    }
    ["deg", "-100..100"]
        .into_iter()
        .map(|name| {
            let mut fix = fix.clone();
            fix.units.iter_mut().for_each(|unit| unit.unit = name.to_owned());
            (name, fix)
        })
        .collect()
}

/// Each correction with a way to take it back.
fn corrections(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    let view = app.data.corrections();
    let mut rows: Vec<(String, View)> = Vec::new();
    if view.action_lag != 0 {
        let text = fill(&s.data.fix_action_lag, &[("n", &view.action_lag)]);
        rows.push((text, View { action_lag: 0, ..view.clone() }));
    }
    if view.state_lag != 0 {
        let text = fill(&s.data.fix_state_lag, &[("n", &view.state_lag)]);
        rows.push((text, View { state_lag: 0, ..view.clone() }));
    }
    for name in &view.without {
        let mut back = view.clone();
        back.without.retain(|n| n != name);
        rows.push((fill(&s.data.fix_without, &[("channel", name)]), back));
    }
    for unit in &view.units {
        let mut back = view.clone();
        back.units.retain(|u| u.channel != unit.channel);
        rows.push((fill(&s.data.fix_unit, &[("channel", &unit.channel), ("unit", &unit.unit)]), back));
    }
    if !view.relative.is_empty() {
        let text = fill(&s.data.fix_relative, &[("n", &view.relative.len())]);
        rows.push((text, View { relative: Vec::new(), ..view.clone() }));
    }
    if !view.leave_out.is_empty() {
        let text = fill(&s.data.fix_leave_out, &[("n", &view.leave_out.len())]);
        rows.push((text, View { leave_out: Vec::new(), ..view.clone() }));
    }
    if !view.hold_out.is_empty() {
        let text = fill(&s.data.fix_hold_out, &[("n", &view.hold_out.len())]);
        rows.push((text, View { hold_out: Vec::new(), ..view.clone() }));
    }
    if rows.is_empty() {
        return;
    }
    divider(ui);
    section(ui, &s.data.corrections, |_| ());
    hint(ui, &s.data.corrections_text);
    let t = tokens(ui);
    for (text, back) in rows {
        ui.horizontal(|ui| {
            ui.set_min_height(24.0);
            let (rect, _) = ui.allocate_exact_size(Vec2::splat(14.0), Sense::hover());
            Icon::Check.paint(ui.painter(), rect, *t.good);
            ui.add(Label::new(RichText::new(&text).small()).truncate());
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                let name = fill(&s.data.take_back, &[("what", &text)]);
                if sized_icon_button(ui, Icon::Close, &name, true, false, 22.0).on_hover_text(&name).clicked()
                {
                    app.outbox.send(Message::Data(DataWish::Correct("take back", back)));
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_is_said_in_both_languages_with_the_same_values() {
        use crate::i18n::{Language, strings};
        let places = |text: &str| {
            let mut found: Vec<String> =
                text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned())).collect();
            found.sort();
            found
        };
        for sentence in Sentence::ALL {
            let english = sentence_words(strings(Language::English), *sentence).unwrap_or_default();
            let chinese = sentence_words(strings(Language::Chinese), *sentence).unwrap_or_default();
            assert_eq!(english, sentence.english(), "the command line and the window say the same");
            assert_eq!(places(chinese), places(english), "{sentence:?}");
            assert!(chinese.chars().any(|c| c > '\u{2e80}'), "{chinese}");
        }
    }
}
