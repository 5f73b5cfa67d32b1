//! One model: what it takes and gives, its terms, its size, and what can be done with it.

use eframe::egui::{Label, ProgressBar, RichText, Ui, Vec2};
use forerun::engine::protocol::ModelInfo;
use forerun::engine::published::gigabytes;
use forerun::hub::Entry;
use forerun::hub::catalogue::find;
use forerun::models::published::{Family, Licence};

use crate::app::Studio;
use crate::i18n::{Strings, fill};
use crate::icons::Icon;
use crate::jobs::Kind;
use crate::message::Message;
use crate::shelf::Wish;
use crate::theme::{self, space, tokens};
use crate::widgets::basic::{card, hint, icon_text_button, sized_icon_button};

/// Shows the chosen model.
pub fn show(app: &mut Studio, ui: &mut Ui, s: &Strings) {
    ui.spacing_mut().item_spacing.y = space::S;
    let chosen = app.shelf.selected.clone().or_else(|| app.model().map(|m| m.name.clone()));
    let Some(chosen) = chosen else {
        hint(ui, &s.shelf.choose);
        return;
    };
    let here = app.models.iter().flatten().find(|m| m.name == chosen).cloned();
    match (here, find(&chosen)) {
        (Some(info), _) => installed(app, ui, s, &info),
        (None, Some(entry)) => published(app, ui, s, entry),
        (None, None) => {
            hint(ui, &s.shelf.choose);
        }
    }
}

fn installed(app: &mut Studio, ui: &mut Ui, s: &Strings, info: &ModelInfo) {
    ui.label(RichText::new(&info.name).text_style(theme::title()));
    let c = &info.contract;
    let mut takes = vec![fill(&s.model.history, &[("n", &c.frame.history)])];
    if c.text {
        takes.push(s.model.text_yes.clone());
    }
    if !c.actions.is_empty() {
        let names: Vec<&str> = c.actions.iter().map(|a| a.name.as_str()).collect();
        takes.push(fill(&s.model.channels, &[("n", &c.actions.len()), ("names", &names.join(", "))]));
    }
    if let Some(clip) = info.clip.as_ref().filter(|c| !c.bodies.is_empty()) {
        takes.push(fill(&s.shelf.bodies, &[("n", &clip.bodies.len())]));
    }
    line(ui, &s.model.takes, &takes.join(", "));
    let size = [
        ("width", &c.frame.width as &dyn std::fmt::Display),
        ("height", &c.frame.height),
        ("rate", &c.frame.rate_hz),
    ];
    line(ui, &s.model.gives, &fill(&s.model.frames, &size));
    line(ui, &s.model.licence, &c.licence);
    line(ui, &s.model.folder, &info.folder.display().to_string());
    if let Some(clip) = &info.clip {
        line(ui, &s.shelf.files, &gigabytes(clip.bytes));
        memory(app, ui, s, (clip.memory, clip.memory_least));
        if let Some(family) = Family::of_name(&c.family) {
            terms(ui, s, family.licence());
        }
    }
    ui.add_space(space::S);
    let busy = app.jobs.any(|k| matches!(k, Kind::Check | Kind::Remove | Kind::Install));
    ui.horizontal_wrapped(|ui| {
        if icon_text_button(ui, Icon::World, &s.shelf.use_it).clicked() {
            app.outbox.send(Message::Models(Wish::Use(info.name.clone())));
        }
        ui.add_enabled_ui(!busy, |ui| {
            if icon_text_button(ui, Icon::Check, &s.shelf.check).clicked() {
                app.outbox.send(Message::Models(Wish::Check(info.name.clone())));
            }
            if icon_text_button(ui, Icon::Trash, &s.shelf.remove).on_hover_text(&s.shelf.remove_tip).clicked()
            {
                app.outbox.send(Message::Models(Wish::Remove(info.name.clone())));
            }
        });
    });
}

fn published(app: &mut Studio, ui: &mut Ui, s: &Strings, entry: &Entry) {
    ui.label(RichText::new(entry.name).text_style(theme::title()));
    let (takes, gives) = family_words(s, entry);
    line(ui, &s.model.takes, takes);
    line(ui, &s.model.gives, gives);
    line(ui, &s.model.licence, entry.licence().name());
    line(ui, &s.shelf.repository, entry.repository);
    line(ui, &s.shelf.files, &format!("{:.1} GB", entry.gigabytes));
    // Weights with 16 bits and the activations of a small clip, against everything loaded in turn with 4.5 bits.
    let whole = (entry.gigabytes * 1.2e9) as u64;
    let least = (entry.billions * 0.6e9 + 2.5e9) as u64;
    memory(app, ui, s, (whole, least));
    terms(ui, s, entry.licence());
    if entry.gated {
        hint(ui, &fill(&s.shelf.gated, &[("repository", &entry.repository)]));
    }
    ui.add_space(space::S);
    let wanted = Kind::Fetch { model: entry.name.to_owned() };
    match app.jobs.find(&wanted) {
        Some((id, job)) => {
            let t = tokens(ui);
            ui.horizontal(|ui| {
                let bar = ProgressBar::new(job.part.unwrap_or(0.0)).desired_width(240.0).desired_height(8.0);
                ui.add(bar.fill(*t.accent));
                let left =
                    job.seconds_left.map(|sec| fill(&s.jobs.left, &[("seconds", &format!("{sec:.0}"))]));
                ui.label(RichText::new(left.unwrap_or_default()).small().color(*t.text_soft));
                if sized_icon_button(ui, Icon::Close, &s.shelf.cancel, !job.cancelling, false, 24.0).clicked()
                {
                    app.outbox.send(Message::CancelJob(id));
                }
            });
            hint(ui, &s.shelf.kept);
        }
        None => {
            if icon_text_button(ui, Icon::Save, &s.shelf.download).clicked() {
                app.outbox.send(Message::Models(Wish::Fetch(entry.name.to_owned())));
            }
        }
    }
}

/// What a published family takes and gives.
fn family_words<'a>(s: &'a Strings, entry: &Entry) -> (&'a str, &'a str) {
    let picture = entry.name.ends_with("image");
    match entry.family {
        Family::Predict2 if picture => (&s.shelf.takes_words, &s.shelf.gives_picture),
        Family::Predict1 | Family::Predict2 => (&s.shelf.takes_frames, &s.shelf.gives_clip),
        Family::Predict25 => (&s.shelf.takes_words_frames, &s.shelf.gives_clip),
        Family::Transfer1 | Family::Transfer25 => (&s.shelf.takes_control, &s.shelf.gives_clip),
        Family::Cosmos3 => (&s.shelf.takes_all, &s.shelf.gives_all),
        Family::Policy => (&s.shelf.takes_cameras, &s.shelf.gives_plan),
    }
}

/// What a run needs against what this machine has.
fn memory(app: &Studio, ui: &mut Ui, s: &Strings, (need, least): (u64, u64)) {
    let t = tokens(ui);
    let (_, free) = app.shelf.memory;
    let text = fill(&s.clip.memory, &[("need", &gigabytes(need)), ("least", &gigabytes(least))]);
    line(ui, &s.shelf.memory, &text);
    if free == 0 {
        return;
    }
    let (words, colour) = match () {
        () if need <= free => (&s.shelf.fits, *t.text_soft),
        () if least <= free => (&s.shelf.fits_saving, *t.warn),
        () => (&s.shelf.fits_not, *t.bad),
    };
    ui.label(RichText::new(fill(words, &[("free", &gigabytes(free))])).small().color(colour));
}

/// The terms in our own words.
fn terms(ui: &mut Ui, s: &Strings, licence: Licence) {
    card(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(RichText::new(&s.shelf.terms).text_style(theme::strong()));
        for text in terms_text(s, licence) {
            ui.add(Label::new(RichText::new(text).small()).wrap());
        }
    });
}

/// Paragraphs about a licence.
pub fn terms_text(s: &Strings, licence: Licence) -> [&str; 2] {
    match licence.has_guardrail_clause() {
        true => [&s.shelf.terms_nvidia, &s.shelf.terms_guardrails],
        false => [&s.shelf.terms_openmdw, &s.shelf.terms_no_guardrails],
    }
}

fn line(ui: &mut Ui, name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let t = tokens(ui);
    ui.horizontal_top(|ui| {
        ui.allocate_ui(Vec2::new(96.0, 18.0), |ui| {
            ui.set_min_width(96.0);
            ui.label(RichText::new(name).color(*t.text_faint));
        });
        ui.add(Label::new(RichText::new(value).color(*t.text_soft)).wrap());
    });
}
