//! The Policy screen: jobs for what is set up, and what they tell.

use std::path::PathBuf;
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{
    JobId, PolicyEvaluateSpec, PolicyImproveSpec, PolicyRankSpec, PolicyTrainSpec, PolicyTwinSpec, Reading,
    Request,
};

use super::Studio;
use super::data::End;
use crate::commands::Command;
use crate::doc::{Edit, StartDoc};
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Message;
use crate::policy::{
    Evaluation, Learning, Line, Policies, PolicyEntry, PolicyJob, PolicyPart, PolicyWish, Twins, list,
};
use crate::project::run_name;
use crate::screens::Screen;
use crate::transport::Input;

/// Most lines of the log that are kept.
const MOST_LINES: usize = 4000;

impl Studio {
    /// The world model that policies are tried in.
    pub fn policy_model(&self) -> Option<&forerun::engine::protocol::ModelInfo> {
        let wanted = &self.policy.model;
        let models = || self.models.iter().flatten();
        models()
            .find(|m| m.name == *wanted)
            .or_else(|| models().find(|m| m.name == "tabletop"))
            .or(models().next())
    }

    /// The chosen policy, or the first one.
    pub fn policy_entry(&self) -> Option<&PolicyEntry> {
        let all = self.policies.entries.as_ref()?;
        self.policies.entry(&self.policy.chosen).or(all.first())
    }

    /// A name for the next policy that no other one has.
    pub fn policy_name(&self) -> String {
        let wish = match self.policy.name.trim() {
            "" => match (self.policy.part, self.policy_entry()) {
                (PolicyPart::Improve, Some(entry)) => format!("{}-improved", entry.name),
                _ => self.policy.datasets.iter().next().map_or("policy".into(), |d| format!("{d}-policy")),
            },
            name => name.to_owned(),
        };
        let taken = |name: &str| {
            self.policies.entry(name).is_some()
                || self.policy.unfinished.iter().any(|s| s.out.file_name().is_some_and(|n| n == name))
        };
        let numbered = std::iter::once(wish.clone()).chain((2..1000).map(|n| format!("{wish}-{n}")));
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(wish)
    }

    /// Whether the button of the shown part can be pressed.
    pub fn can_start_policy(&self) -> bool {
        let part = self.policy.part;
        let free = self.policies.job(part).is_none();
        let chosen = self.policy_entry().is_some();
        free && match part {
            PolicyPart::Train => !self.policy.datasets.is_empty(),
            PolicyPart::Evaluate => chosen,
            PolicyPart::Improve => {
                chosen && !self.policy.datasets.is_empty() && self.policy_model().is_some()
            }
            PolicyPart::Watch => chosen && self.policy_model().is_some(),
            PolicyPart::Rank => self.ranked_count() >= 3 && self.policy_model().is_some(),
        }
    }

    /// Policies that a ranking would be about.
    pub fn ranked_count(&self) -> usize {
        let snapshots = match self.policy_entry() {
            Some(entry) if self.policy.with_snapshots => entry.snapshots + 1,
            _ => 0,
        };
        let own = self.policy_entry().filter(|_| self.policy.with_snapshots).map(|e| e.name.clone());
        snapshots + self.policy.ranked.iter().filter(|name| Some(*name) != own.as_ref()).count()
    }

    fn list_policies(&mut self) {
        self.policies.listing = true;
        let (ctx, project) = (self.ctx.clone(), self.project().folder().to_owned());
        self.background.run(&ctx, "policies", move || {
            Some(Message::Policy(PolicyWish::Listed(Arc::new(list(&project)))))
        });
    }

    pub(super) fn follow_policy(&mut self) {
        if self.view.screen == Screen::Policy && self.policies.entries.is_none() && !self.policies.listing {
            self.list_policies();
        }
    }

    pub(super) fn policy_extent(&self) -> (usize, usize, f32) {
        let twins = &self.policies.twins;
        let ready = twins.frames[0].len().min(twins.frames[1].len());
        let expected = if twins.job.is_some() { self.policy.steps.max(ready) + 1 } else { ready };
        (ready, expected, self.policy_model().map_or(10.0, |m| m.contract.frame.rate_hz))
    }

    pub(super) fn policy_enabled(&self, command: Command) -> Option<bool> {
        let here = self.view.screen == Screen::Policy;
        Some(match command {
            Command::StartPolicy => here && self.can_start_policy(),
            Command::StopPolicy => here && self.policies.job(self.policy.part).is_some(),
            _ => return None,
        })
    }

    pub(super) fn policy_command(&mut self, command: Command) -> bool {
        match command {
            Command::ShowPolicy => self.show(Screen::Policy),
            Command::StartPolicy => self.policy_wish(PolicyWish::Start),
            Command::StopPolicy => {
                self.policies.job(self.policy.part).into_iter().for_each(|job| self.cancel(job))
            }
            _ => return false,
        }
        true
    }

    pub(super) fn policy_wish(&mut self, wish: PolicyWish) {
        match wish {
            PolicyWish::Edit(doc) => {
                let unfinished = std::mem::take(&mut self.policy.unfinished);
                self.policy = *doc;
                self.policy.unfinished = unfinished;
                self.policy.heal();
            }
            PolicyWish::Start if self.can_start_policy() => {
                self.policies.trouble = None;
                match self.policy.part {
                    PolicyPart::Train => self.learn_policy(),
                    PolicyPart::Evaluate => self.evaluate_policy(),
                    PolicyPart::Improve => self.improve_policy(),
                    PolicyPart::Watch => self.twin(self.policy.seed, self.policy.in_model),
                    PolicyPart::Rank => self.rank_policies(),
                }
            }
            PolicyWish::Start => {}
            PolicyWish::Resume(out) => {
                if let Some(spec) = self.policy.unfinished.iter().find(|s| s.out == out).cloned() {
                    self.send_learning(spec);
                }
            }
            PolicyWish::Watch(seed, in_model) => {
                self.policy.part = PolicyPart::Watch;
                if let Some(job) = self.policies.twins.job.take() {
                    self.cancel(job);
                }
                self.twin(seed, in_model);
            }
            PolicyWish::Branch => {
                let twins = &self.policies.twins;
                let Some(dataset) = twins.end.as_ref().and_then(|end| end.dataset.clone()) else { return };
                let at = self.transport.frame();
                let prompt = twins.end.as_ref().map(|end| end.prompt.clone()).unwrap_or_default();
                self.edit(Edit::Scene { start: StartDoc::Episode { dataset, episode: 0, at }, prompt });
                self.show(Screen::World);
            }
            PolicyWish::Listed(entries) => {
                self.policies.listing = false;
                self.policies.entries = Some(entries);
                if self.policies.evaluation.is_none() {
                    self.policies.evaluation =
                        self.policy_entry().and_then(|entry| entry.evaluations.last().cloned());
                }
            }
        }
    }

    fn policy_data(&self) -> Vec<PathBuf> {
        self.policy
            .datasets
            .iter()
            .filter_map(|name| self.data.entry(name))
            .map(|e| e.folder.clone())
            .collect()
    }

    fn policy_out(&mut self) -> PathBuf {
        let out = self.project().folder().join("policies").join(self.policy_name());
        self.policy.name = String::new();
        out
    }

    fn learn_policy(&mut self) {
        let spec = PolicyTrainSpec {
            datasets: self.policy_data(),
            out: self.policy_out(),
            from: None,
            size: self.policy.size.clone(),
            goal: false,
            minutes: self.policy.iterations.is_none().then_some(self.policy.minutes),
            iterations: self.policy.iterations,
            snapshots: self.policy.snapshots,
            resume: false,
            device: self.learning_device(),
        };
        self.send_learning(spec);
    }

    fn send_learning(&mut self, spec: PolicyTrainSpec) {
        let sent = spec.clone();
        let job =
            self.request(Kind::Policy(PolicyJob::Train), |job, _| Request::PolicyTrain { job, spec: sent });
        self.policy.note(&spec, true);
        let name = spec.out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let (lines, notes) = (Vec::new(), Vec::new());
        self.policies.run =
            Some(Learning { job: Some(job), spec: Some(spec), name, lines, notes, done: false });
    }

    fn model_folder(&self) -> String {
        self.policy_model().map(|m| m.folder.display().to_string()).unwrap_or_default()
    }

    fn evaluate_policy(&mut self) {
        let Some(policy) = self.policy_entry().map(|e| e.folder.clone()) else { return };
        let model = self.model_folder();
        let doc = self.policy.clone();
        let spec = PolicyEvaluateSpec {
            policy,
            place: if doc.in_model { format!("model:{model}") } else { "world:tabletop".into() },
            task: Some(doc.task).filter(|t| !t.is_empty()),
            look: doc.look,
            episodes: doc.episodes,
            seed: doc.seed,
            steps: doc.steps,
            best_of: (doc.best_of > 1).then_some(doc.best_of),
            with: model,
        };
        let job =
            self.request(Kind::Policy(PolicyJob::Evaluate), |job, _| Request::PolicyEvaluate { job, spec });
        self.policies.evaluating = Some(job);
    }

    fn improve_policy(&mut self) {
        let Some(policy) = self.policy_entry().map(|e| e.folder.clone()) else { return };
        let Some(dataset) = self.policy_data().into_iter().next() else { return };
        let spec = PolicyImproveSpec {
            policy,
            model: self.model_folder(),
            dataset,
            out: self.policy_out(),
            episodes: self.policy.imagined,
            steps: self.policy.steps.min(60),
            seed: self.policy.seed,
            witnesses: self.policy.witnesses,
            minutes: self.policy.iterations.is_none().then_some(self.policy.minutes),
            iterations: self.policy.iterations,
        };
        let name = spec.out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let job =
            self.request(Kind::Policy(PolicyJob::Improve), |job, _| Request::PolicyImprove { job, spec });
        self.policies.improving = Some(job);
        self.policies.imagined = None;
        let (lines, notes) = (Vec::new(), Vec::new());
        self.policies.run = Some(Learning { job: Some(job), spec: None, name, lines, notes, done: false });
    }

    fn rank_policies(&mut self) {
        let own = self.policy_entry().filter(|_| self.policy.with_snapshots).map(|e| e.folder.clone());
        let named = self.policy.ranked.iter().filter_map(|name| self.policies.entry(name));
        let spec = PolicyRankSpec {
            policies: named.map(|e| e.folder.clone()).filter(|f| Some(f) != own.as_ref()).collect(),
            checkpoints_of: own,
            model: self.model_folder(),
            task: Some(self.policy.task.clone()).filter(|t| !t.is_empty()),
            episodes: self.policy.episodes,
            seed: self.policy.seed,
            steps: self.policy.steps,
        };
        let job = self.request(Kind::Policy(PolicyJob::Rank), |job, _| Request::PolicyRank { job, spec });
        self.policies.ranking_job = Some(job);
    }

    fn twin(&mut self, seed: u64, in_model: bool) {
        let Some(policy) = self.policy_entry().map(|e| e.folder.clone()) else { return };
        // What was evaluated under other settings is watched under those.
        let from = self.policies.evaluation.as_ref().filter(|found| {
            found.actors.first().is_some_and(|(_, _, each)| each.iter().any(|e| e.seed == seed))
        });
        let doc = &self.policy;
        let (task, look, steps) = match from {
            Some(found) => (found.task.clone(), found.look.clone(), found.steps),
            None => (doc.task.clone(), doc.look.clone(), doc.steps),
        };
        let spec = PolicyTwinSpec {
            policy,
            model: self.model_folder(),
            task: Some(task).filter(|t| !t.is_empty()),
            look,
            seed,
            steps,
            best_of: (doc.best_of > 1).then_some(doc.best_of),
            in_model,
            out: Some(self.project().scratch().join(format!("twin-{}", run_name(self.link.next_job())))),
        };
        let job = self.request(Kind::Policy(PolicyJob::Twin), |job, _| Request::PolicyTwin { job, spec });
        self.policies.twins = Twins { job: Some(job), seed, in_model, ..Twins::default() };
        self.transport.apply(Input::Restart, self.now);
    }

    pub(super) fn policy_frame(&mut self, job: JobId, side: u64, frame: Arc<Frame>, reading: &Reading) {
        let twins = &mut self.policies.twins;
        if twins.job != Some(job) {
            return;
        }
        let progress = reading.values.iter().find(|(n, _)| n == "progress").map_or(f32::NAN, |(_, v)| *v);
        if let (Some(frames), Some(line)) =
            (twins.frames.get_mut(side as usize), twins.progress.get_mut(side as usize))
        {
            frames.push(frame);
            line.push(progress);
        }
    }

    pub(super) fn policy_report(&mut self, job: JobId, kind: PolicyJob, value: serde_json::Value) {
        match (kind, value["stage"].as_str()) {
            (PolicyJob::Evaluate, _) => self.policies.evaluation = Evaluation::read(&value),
            (PolicyJob::Rank, _) => self.policies.ranking = serde_json::from_value(value).ok(),
            (PolicyJob::Twin, _) if self.policies.twins.job == Some(job) => {
                self.policies.twins.end = serde_json::from_value(value).ok();
            }
            (PolicyJob::Improve, Some("imagined")) => {
                let of = |key: &str| value["experience"][key].as_u64().unwrap_or(0);
                self.policies.imagined = Some([of("tried"), of("accepted"), of("doubtful")]);
            }
            (_, Some("note")) => {
                if let (Some(run), Some(note)) = (&mut self.policies.run, value["note"].as_str()) {
                    run.notes.push(note.to_owned());
                }
            }
            (_, Some("training")) => {
                let line = serde_json::from_value::<Line>(value).ok();
                if let Some(run) = self.policies.run.as_mut().filter(|run| run.job == Some(job)) {
                    run.lines.extend(line);
                    if run.lines.len() > MOST_LINES {
                        let mut keep = false;
                        run.lines.retain(|line| {
                            keep = !keep;
                            keep || line.held_out.is_some()
                        });
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn policy_ended(&mut self, job: JobId, kind: PolicyJob, end: End) {
        let Policies { run, evaluating, improving, twins, ranking_job, .. } = &mut self.policies;
        let part = match kind {
            PolicyJob::Train => PolicyPart::Train,
            PolicyJob::Evaluate => PolicyPart::Evaluate,
            PolicyJob::Improve => PolicyPart::Improve,
            PolicyJob::Twin => PolicyPart::Watch,
            PolicyJob::Rank => PolicyPart::Rank,
        };
        for slot in [evaluating, improving, ranking_job, &mut twins.job] {
            slot.take_if(|own| *own == job);
        }
        let mut finished = None;
        if let Some(run) = run.as_mut().filter(|run| run.job == Some(job)) {
            run.job = None;
            run.done = matches!(end, End::Done);
            // What was stopped has a checkpoint to go on from; what was refused has not.
            let over = run.done || (matches!(end, End::Failed(_)) && run.lines.is_empty());
            finished = run.spec.clone().filter(|_| over);
            if run.done {
                self.policy.chosen.clone_from(&run.name);
            }
        }
        if let Some(spec) = finished {
            self.policy.note(&spec, false);
        }
        if let End::Failed(text) = end {
            self.log.add(Level::Error, text.clone(), self.now);
            self.policies.trouble = Some((part, text));
        }
        if kind != PolicyJob::Twin {
            self.list_policies();
        }
    }
}
