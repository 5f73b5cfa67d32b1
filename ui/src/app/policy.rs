//! The Policy screen: jobs for what is set up, and what they tell.

use std::path::PathBuf;
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{
    JobId, ModelInfo, PolicyEvaluateSpec, PolicyImproveSpec, PolicyRankSpec, PolicyTrainSpec, PolicyTwinSpec,
    Reading, Request,
};
use forerun::models::policy::Kind as PolicyKind;
use forerun::policy::{Misfit, Pace};

use super::Studio;
use super::data::End;
use crate::commands::Command;
use crate::doc::{Edit, StartDoc};
use crate::jobs::Kind;
use crate::log::Level;
use crate::message::Message;
use crate::policy::{
    Evaluation, Learning, Line, Policies, PolicyEntry, PolicyJob, PolicyPart, PolicyWish, Twins, Way, list,
};
use crate::project::run_name;
use crate::screens::Screen;
use crate::transport::Input;

/// Most lines of the log that are kept.
const MOST_LINES: usize = 4000;

impl Studio {
    /// The world model that policies are tried in.
    pub fn policy_model(&self) -> Option<&ModelInfo> {
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
                _ => {
                    let what = if self.policy.goal { "goal-policy" } else { "policy" };
                    self.policy.datasets.iter().next().map_or(what.into(), |d| format!("{d}-{what}"))
                }
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

    /// The policy that acts: the chosen one, unless a planner does without or the model acts by itself.
    pub fn acting_policy(&self) -> Option<&PolicyEntry> {
        let alone = match self.policy.way {
            Way::Planner => !self.policy.from_policy,
            way => way == Way::OwnActions,
        };
        self.policy_entry().filter(|_| !alone)
    }

    /// Why the chosen policy, model and way of deciding do not go together, and what to choose instead.
    pub fn way_trouble(&self) -> Option<&'static str> {
        let words = &self.strings().policy;
        let kind =
            self.acting_policy().map(|entry| if entry.goal { PolicyKind::Goal } else { PolicyKind::Direct });
        let deaf = self.policy_model().is_some_and(|model| !model.contract.text);
        Some(match self.policy.deciding().misfit(kind) {
            Some(Misfit::NoPolicy) => words.no_policy.as_str(),
            Some(Misfit::NoGoal) => words.goal_alone.as_str(),
            Some(Misfit::NoProposals) => words.goal_planned.as_str(),
            Some(Misfit::DeafToGoals) => words.words_subgoals.as_str(),
            None if deaf && matches!(self.policy.way, Way::Subgoals | Way::OwnActions) => {
                words.deaf_model.as_str()
            }
            None => return None,
        })
    }

    /// Whether an episode can be tried as it is set up.
    fn can_act(&self) -> bool {
        let ready = self.policy.way == Way::Alone || self.policy_model().is_some();
        ready && self.way_trouble().is_none()
    }

    /// Whether the button of the shown part can be pressed.
    pub fn can_start_policy(&self) -> bool {
        let part = self.policy.part;
        let free = self.policies.job(part).is_none();
        let chosen = self.policy_entry().is_some();
        free && match part {
            PolicyPart::Train => !self.policy.datasets.is_empty(),
            PolicyPart::Evaluate => {
                self.can_act() && (!self.policy.in_model || self.policy_model().is_some())
            }
            PolicyPart::Improve => {
                chosen && !self.policy.datasets.is_empty() && self.policy_model().is_some()
            }
            PolicyPart::Watch => self.can_act() && self.policy_model().is_some(),
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
                let before = self.policy_entry().map(|entry| entry.name.clone());
                self.policy = *doc;
                self.policy.unfinished = unfinished;
                self.policy.heal();
                if self.policy_entry().map(|entry| &entry.name) != before.as_ref() {
                    self.policy_chosen();
                }
            }
            PolicyWish::Start if self.can_start_policy() => {
                self.policies.trouble = None;
                match self.policy.part {
                    PolicyPart::Train => self.learn_policy(),
                    PolicyPart::Evaluate => self.evaluate_policy(),
                    PolicyPart::Improve => self.improve_policy(),
                    PolicyPart::Watch => self.watch_new(),
                    PolicyPart::Rank => self.rank_policies(),
                }
            }
            PolicyWish::Start => {}
            PolicyWish::Measure => {
                if let Some(spec) = self.evaluation_spec().filter(|_| self.can_measure()) {
                    let spec = PolicyEvaluateSpec { measure: true, ..spec };
                    let sent = spec.clone();
                    let ask = |job, _: &Self| Request::PolicyEvaluate { job, spec: sent };
                    let job = self.request(Kind::Policy(PolicyJob::Pace), ask);
                    self.policies.trouble = None;
                    self.policies.measuring = Some((job, spec));
                }
            }
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
                self.watch_evaluated(seed, in_model);
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
                let first = self.policies.entries.replace(entries).is_none();
                if self.policies.evaluation.is_none() && self.policies.evaluating.is_none() {
                    self.policies.evaluation =
                        self.policy_entry().and_then(|entry| entry.evaluations.last().cloned());
                }
                // Only when policies become known: later a person may have chosen otherwise.
                if let Some(goal) = self.policy_entry().map(|entry| entry.goal).filter(|_| first) {
                    self.policy.fit_way(goal);
                }
            }
        }
    }

    /// Another policy is chosen: what is known of it is shown, and it decides in a way that it can.
    fn policy_chosen(&mut self) {
        let Some(entry) = self.policy_entry().cloned() else { return };
        self.policy.fit_way(entry.goal);
        if self.policies.evaluating.is_none() {
            self.policies.evaluation = entry.evaluations.last().cloned();
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
            goal: self.policy.goal,
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

    /// The evaluation that is set up.
    fn evaluation_spec(&self) -> Option<PolicyEvaluateSpec> {
        let policy = self.acting_policy().map(|e| e.folder.clone());
        if policy.is_none() && self.policy.deciding().misfit(None).is_some() {
            return None;
        }
        let model = self.model_folder();
        let doc = &self.policy;
        Some(PolicyEvaluateSpec {
            policy,
            place: if doc.in_model { format!("model:{model}") } else { "world:tabletop".into() },
            task: Some(doc.task.clone()).filter(|t| !t.is_empty()),
            look: doc.look.clone(),
            episodes: doc.episodes,
            seed: doc.seed,
            steps: doc.steps,
            how: doc.deciding(),
            with: model,
            measure: false,
        })
    }

    /// Whether the time of the evaluation that is set up can be measured now.
    pub fn can_measure(&self) -> bool {
        self.policy.part == PolicyPart::Evaluate
            && self.can_start_policy()
            && self.policies.measuring.is_none()
    }

    /// How long the evaluation that is set up takes, where that was measured.
    pub fn measured_pace(&self) -> Option<Pace> {
        let spec = self.evaluation_spec()?;
        let (of, pace) = self.policies.measured.as_ref()?;
        (PolicyEvaluateSpec { measure: false, ..of.clone() } == spec).then_some(*pace)
    }

    fn evaluate_policy(&mut self) {
        let Some(spec) = self.evaluation_spec() else { return };
        let job =
            self.request(Kind::Policy(PolicyJob::Evaluate), |job, _| Request::PolicyEvaluate { job, spec });
        self.policies.evaluating = Some(job);
        self.policies.pace = None;
    }

    fn improve_policy(&mut self) {
        let Some(policy) = self.policy_entry().map(|e| e.folder.clone()) else { return };
        let Some(dataset) = self.policy_data().into_iter().next() else { return };
        let spec = PolicyImproveSpec {
            policy,
            model: self.model_folder(),
            dataset,
            starts: self.data.entry(&self.policy.starts).map(|e| e.folder.clone()),
            own_actions: if self.policy.model_acts { self.policy.acted_futures } else { 0 },
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

    /// Watches an episode as it is set up.
    fn watch_new(&mut self) {
        let doc = &self.policy;
        let spec = PolicyTwinSpec {
            policy: self.acting_policy().map(|e| e.folder.clone()),
            model: self.model_folder(),
            task: Some(doc.task.clone()).filter(|t| !t.is_empty()),
            look: doc.look.clone(),
            seed: doc.seed,
            steps: doc.steps,
            how: doc.deciding(),
            in_model: doc.in_model,
            out: None,
        };
        self.twin(spec);
    }

    /// Watches an episode of the evaluation that is shown: the same policy, model, scene and way of deciding, whatever is
    /// set up now.
    fn watch_evaluated(&mut self, seed: u64, in_model: bool) {
        let Some(found) = self.policies.evaluation.clone() else { return };
        let policy = found.policy.map(|(_, folder)| folder);
        let without = found.how.misfit(None).is_none();
        let policy =
            policy.or_else(|| self.policy_entry().filter(|_| !without).map(|entry| entry.folder.clone()));
        let model = self.models.iter().flatten().find(|m| Some(&m.sha256) == found.model.as_ref());
        let spec = PolicyTwinSpec {
            policy,
            model: model.map_or_else(|| self.model_folder(), |m| m.folder.display().to_string()),
            task: Some(found.task).filter(|t| !t.is_empty()),
            look: found.look,
            seed,
            steps: found.steps,
            how: found.how,
            in_model,
            out: None,
        };
        self.twin(spec);
    }

    fn twin(&mut self, spec: PolicyTwinSpec) {
        let out = self.project().scratch().join(format!("twin-{}", run_name(self.link.next_job())));
        let (seed, in_model, how) = (spec.seed, spec.in_model, spec.how);
        let spec = PolicyTwinSpec { out: Some(out), ..spec };
        let job = self.request(Kind::Policy(PolicyJob::Twin), |job, _| Request::PolicyTwin { job, spec });
        self.policies.trouble = None;
        self.policies.twins = Twins { job: Some(job), seed, in_model, how, ..Twins::default() };
        self.transport.apply(Input::Restart, self.now);
    }

    pub(super) fn policy_frame(
        &mut self,
        job: JobId,
        side: u64,
        index: usize,
        frame: Arc<Frame>,
        reading: &Reading,
    ) {
        let twins = &mut self.policies.twins;
        if twins.job != Some(job) {
            return;
        }
        if side == 2 {
            return twins.goals.push((index, frame));
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
            (PolicyJob::Evaluate, Some("pace")) => {
                self.policies.pace = serde_json::from_value(value["pace"].clone()).ok();
            }
            (PolicyJob::Evaluate, _) => self.policies.evaluation = Evaluation::read(&value),
            (PolicyJob::Pace, _) => {
                let found = serde_json::from_value(value["pace"].clone()).ok();
                let spec = self.policies.measuring.as_ref().filter(|(own, _)| *own == job);
                self.policies.measured = spec.map(|(_, spec)| spec.clone()).zip(found);
            }
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
        let Policies { run, evaluation, evaluating, measuring, improving, twins, ranking_job, .. } =
            &mut self.policies;
        let part = match kind {
            PolicyJob::Train => PolicyPart::Train,
            PolicyJob::Evaluate | PolicyJob::Pace => PolicyPart::Evaluate,
            PolicyJob::Improve => PolicyPart::Improve,
            PolicyJob::Twin => PolicyPart::Watch,
            PolicyJob::Rank => PolicyPart::Rank,
        };
        for slot in [evaluating, improving, ranking_job, &mut twins.job] {
            slot.take_if(|own| *own == job);
        }
        measuring.take_if(|(own, _)| *own == job);
        let mut finished = None;
        if let Some(run) = run.as_mut().filter(|run| run.job == Some(job)) {
            run.job = None;
            run.done = matches!(end, End::Done);
            // What was stopped has a checkpoint to go on from; what was refused has not.
            let over = run.done || (matches!(end, End::Failed(_)) && run.lines.is_empty());
            finished = run.spec.clone().filter(|_| over);
            if run.done {
                self.policy.chosen.clone_from(&run.name);
                // What is known of another policy is not known of this one.
                *evaluation = None;
                // What was learnt is tried next, in a way that it can go.
                let goal = run.spec.as_ref().map(|spec| spec.goal);
                goal.into_iter().for_each(|goal| self.policy.fit_way(goal));
            }
        }
        if let Some(spec) = finished {
            self.policy.note(&spec, false);
        }
        if let End::Failed(text) = end {
            self.log.add(Level::Error, text.clone(), self.now);
            self.policies.trouble = Some((part, text));
        }
        if !matches!(kind, PolicyJob::Twin | PolicyJob::Pace) {
            self.list_policies();
        }
    }
}
