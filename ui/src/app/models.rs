//! The Models screen: carrying out its wishes.

use forerun::engine::protocol::Request;
use forerun::hub::FetchSpec;
use forerun::hub::catalogue::find;
use forerun::models::published::Licence;

use super::Studio;
use crate::doc::Edit;
use crate::jobs::Kind;
use crate::message::Message;
use crate::screens::Screen;
use crate::shelf::{Held, Wish};
use crate::shell::sheets::Sheet;

impl Studio {
    pub(super) fn models_wish(&mut self, ctx: &eframe::egui::Context, wish: Wish) {
        match wish {
            Wish::Select(name) => self.shelf.selected = Some(name),
            Wish::Endpoint(text) => self.shelf.endpoint = text,
            Wish::Token(text) => self.shelf.token = text,
            Wish::Memory(all, free) => self.shelf.memory = (all, free),
            Wish::Fetch(name) => self.fetch_model(name),
            Wish::Accept(licence) => self.accept(licence),
            Wish::Import => {
                let (picker, title) = (self.background.picker(), self.strings().shelf.import.clone());
                self.background.run(ctx, "dialog", move || {
                    picker.folder(&title).map(|folder| Message::Models(Wish::Imported(folder)))
                });
            }
            Wish::Imported(folder) => {
                self.request(Kind::Install, |job, _| Request::ImportModel {
                    job,
                    folder,
                    name: None,
                    copy: false,
                });
            }
            Wish::Check(name) => {
                let place = self.models.iter().flatten().find(|m| m.name == name);
                let model = place.map_or(name, |m| m.folder.display().to_string());
                self.request(Kind::Check, |job, _| Request::CheckModel { job, model });
            }
            Wish::Remove(name) => {
                self.request(Kind::Remove, |job, _| Request::RemoveModel { job, name });
            }
            Wish::Use(name) => {
                self.setup.edit("model", |setup| setup.apply(Edit::Model(name.clone())));
                self.show(Screen::World);
            }
        }
    }

    /// Whether the terms of `licence` were read, here or in a session before.
    pub fn terms_read(&self, licence: Licence) -> bool {
        let before = |m: &forerun::engine::protocol::ModelInfo| {
            m.clip.as_ref().is_some_and(|c| c.licence_read && m.contract.licence == licence.name())
        };
        // Terms without a clause that ends the right to use are shown beside the model; they hold nothing up.
        !licence.has_guardrail_clause()
            || self.shelf.read.contains(licence.name())
            || self.models.iter().flatten().any(before)
    }

    /// Shows terms that have not been read yet; `true` when that holds something up.
    pub(super) fn hold_for_terms(&mut self, licence: Licence, held: Held) -> bool {
        if self.terms_read(licence) {
            return false;
        }
        self.sheet = Some(Sheet::Terms { licence, held });
        true
    }

    fn accept(&mut self, licence: String) {
        let Some(Sheet::Terms { held, .. }) = self.sheet.take() else { return };
        self.shelf.read.insert(licence.clone());
        self.request(Kind::Terms, |job, _| Request::AcceptTerms { job, licence });
        match held {
            Held::Fetch(name) => self.fetch_model(name),
            Held::Imagine => self.imagine(),
        }
    }

    fn fetch_model(&mut self, model: String) {
        let licence = find(&model).map_or(Licence::NvidiaOpenModel, |entry| entry.licence());
        if self.hold_for_terms(licence, Held::Fetch(model.clone())) {
            return;
        }
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let spec = FetchSpec {
            endpoint: some(&self.shelf.endpoint),
            token: some(&self.shelf.token),
            model: model.clone(),
            ..FetchSpec::default()
        };
        self.request(Kind::Fetch { model }, |job, _| Request::FetchModel { job, spec });
    }

    /// A model came or went: the list is asked for again.
    pub(super) fn models_changed(&mut self) {
        self.request(Kind::List, |job, app| Request::ListModels {
            job,
            project: Some(app.project.folder().to_owned()),
        });
    }

    /// Looks at this machine's memory once the screen is shown.
    pub(super) fn follow_shelf(&mut self, ctx: &eframe::egui::Context) {
        if self.view.screen == Screen::Models && self.shelf.memory == (0, 0) {
            // Asked once; a machine that does not tell keeps a number that nobody shows.
            self.shelf.memory = (1, 0);
            self.background.run(ctx, "machine", || {
                let (all, free) = forerun::machine::Machine::look().memory;
                Some(Message::Models(Wish::Memory(all.max(1), free)))
            });
        }
    }
}
