//! What the Policy screen holds: the project's policies, what is set up, what was found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{JobId, PolicyEvaluateSpec, PolicyTrainSpec};
use forerun::policy::stats::Estimate;
use forerun::policy::{Deciding, EpisodeResult, Method, Pace, SubgoalSettings, Tally, TwinSide};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Parts of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum PolicyPart {
    /// Learn from data.
    #[default]
    Train,
    /// How often does it succeed?
    Evaluate,
    /// Learn from imagined episodes.
    Improve,
    /// One episode in physics and in imagination.
    Watch,
    /// Does the model rank policies as physics does?
    Rank,
}

/// Jobs of the engine that this screen starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyJob {
    /// Learning.
    Train,
    /// Evaluating.
    Evaluate,
    /// Measuring how long an evaluation would take.
    Pace,
    /// A round of imagined experience.
    Improve,
    /// An episode in two places.
    Twin,
    /// Ranking.
    Rank,
}

/// How an agent decides, as it is chosen; the numbers that belong to it stand beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, strum::EnumIter)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The policy alone.
    #[default]
    Alone,
    /// The best of several chunks.
    BestOf,
    /// A search in the world model.
    Planner,
    /// Imagined pictures for a goal policy.
    Subgoals,
    /// No policy: the world model's own actions.
    OwnActions,
}

/// What is set up; kept between sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyDoc {
    /// The part that is shown.
    pub part: PolicyPart,
    /// Name of the chosen policy.
    pub chosen: String,
    /// Datasets to learn from, by name.
    pub datasets: BTreeSet<String>,
    /// Learn a policy that is led by pictures of what to reach, not by words.
    pub goal: bool,
    /// `micro`, `small` or `medium`.
    pub size: String,
    /// Minutes of training.
    pub minutes: f32,
    /// Iterations instead of minutes.
    pub iterations: Option<u64>,
    /// Snapshots to keep on the way.
    pub snapshots: usize,
    /// Name of the new policy.
    pub name: String,
    /// Evaluate in the model, not in physics.
    pub in_model: bool,
    /// World model, by name; empty: the shipped one.
    pub model: String,
    /// Only this task; empty: the four pushes.
    pub task: String,
    /// `plain`, `rich` or a number.
    pub look: String,
    /// Episodes of an evaluation.
    pub episodes: usize,
    /// Seed of an evaluation.
    pub seed: u64,
    /// Most steps an episode.
    pub steps: usize,
    /// How it decides.
    pub way: Way,
    /// Candidates a plan of best-of-N.
    pub best_of: usize,
    /// Futures a candidate; where they disagree, it is worth less.
    pub doubt_seeds: usize,
    /// How a planner's search narrows.
    pub method: Method,
    /// A planner's search begins at the policy's chunks.
    pub from_policy: bool,
    /// Frames ahead that a goal is imagined.
    pub ahead: usize,
    /// Futures of which the best one's end becomes the goal.
    pub goal_futures: usize,
    /// Episodes to imagine.
    pub imagined: usize,
    /// In them the world model acts by itself, not the policy.
    pub model_acts: bool,
    /// Futures of which the model acts out the best one.
    pub acted_futures: usize,
    /// Dataset whose first frames and words they start from, by name; empty: what is learnt from.
    pub starts: String,
    /// Other seeds under which a success must succeed again.
    pub witnesses: usize,
    /// Policies to rank, by name.
    pub ranked: BTreeSet<String>,
    /// Rank the snapshots of the chosen policy.
    pub with_snapshots: bool,
    /// Runs of learning that have not ended.
    pub unfinished: Vec<PolicyTrainSpec>,
}

impl Default for PolicyDoc {
    fn default() -> Self {
        Self {
            part: PolicyPart::Train,
            chosen: String::new(),
            datasets: BTreeSet::new(),
            goal: false,
            size: "small".into(),
            minutes: 30.0,
            iterations: None,
            snapshots: 8,
            name: String::new(),
            in_model: false,
            model: String::new(),
            task: String::new(),
            look: "plain".into(),
            episodes: 50,
            seed: 7,
            steps: 80,
            way: Way::Alone,
            best_of: 8,
            doubt_seeds: 1,
            method: Method::Cem,
            from_policy: true,
            ahead: SubgoalSettings::default().ahead,
            goal_futures: SubgoalSettings::default().futures,
            imagined: 100,
            model_acts: false,
            acted_futures: 2,
            starts: String::new(),
            witnesses: 3,
            ranked: BTreeSet::new(),
            with_snapshots: true,
            unfinished: Vec::new(),
        }
    }
}

impl PolicyDoc {
    /// Puts numbers that a hand may have written into their ranges.
    pub fn heal(&mut self) {
        self.minutes = if self.minutes.is_finite() { self.minutes.clamp(0.5, 1440.0) } else { 30.0 };
        self.iterations = self.iterations.map(|n| n.clamp(1, 1_000_000));
        self.snapshots = self.snapshots.min(100);
        self.episodes = self.episodes.clamp(1, 1000);
        self.steps = self.steps.clamp(1, 1000);
        self.best_of = self.best_of.clamp(2, 64);
        self.doubt_seeds = self.doubt_seeds.clamp(1, 8);
        self.ahead = self.ahead.clamp(1, 40);
        self.goal_futures = self.goal_futures.clamp(1, 32);
        self.imagined = self.imagined.clamp(1, 5000);
        self.acted_futures = self.acted_futures.clamp(1, 32);
        self.witnesses = self.witnesses.clamp(0, 16);
        self.unfinished.truncate(20);
    }

    /// How an agent decides, with the numbers that belong to it.
    pub fn deciding(&self) -> Deciding {
        let seeds = self.doubt_seeds;
        match self.way {
            Way::Alone => Deciding::Alone,
            Way::BestOf => Deciding::BestOf { candidates: self.best_of, seeds },
            Way::Planner => Deciding::Planner { method: self.method, seeds },
            Way::Subgoals => Deciding::Subgoals { ahead: self.ahead, futures: self.goal_futures },
            Way::OwnActions => Deciding::OwnActions { futures: self.goal_futures },
        }
    }

    /// The way that a policy of this kind can go, where the chosen one does not fit.
    pub fn fit_way(&mut self, goal: bool) {
        match (goal, self.way) {
            (true, Way::Alone | Way::BestOf) => self.way = Way::Subgoals,
            (false, Way::Subgoals) => self.way = Way::Alone,
            _ => {}
        }
    }

    /// Notes that a run began, or that it ended.
    pub fn note(&mut self, spec: &PolicyTrainSpec, running: bool) {
        self.unfinished.retain(|other| other.out != spec.out);
        if running {
            self.unfinished.push(PolicyTrainSpec { resume: true, ..spec.clone() });
        }
    }
}

/// A wish on this screen, or the answer of a thread.
#[derive(Clone, Debug)]
pub enum PolicyWish {
    /// Change what is set up.
    Edit(Box<PolicyDoc>),
    /// Do what the shown part is for.
    Start,
    /// Measure how long the evaluation that is set up would take.
    Measure,
    /// Go on with an unfinished run.
    Resume(PathBuf),
    /// Watch this episode of an evaluation; `true` = the agent looks at the imagined frames.
    Watch(u64, bool),
    /// Start futures from the frame that is shown of the twin episode.
    Branch,
    /// The project's policies were listed.
    Listed(Arc<Vec<PolicyEntry>>),
}

/// A policy of the project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyEntry {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Whether it is led by pictures of what to reach, not by words.
    pub goal: bool,
    /// Evaluations that its scorecard keeps.
    pub evaluations: Vec<Evaluation>,
    /// Snapshots on its way.
    pub snapshots: usize,
}

/// The policies of a project, then those that come with the program.
pub fn list(project: &Path) -> Vec<PolicyEntry> {
    let entries = std::fs::read_dir(project.join("policies")).into_iter().flatten().flatten();
    let mut own = read_all(entries.map(|entry| entry.path()));
    own.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<String> = own.iter().map(|entry| entry.name.clone()).collect();
    let shipped = read_all(forerun::policy::shipped_policies().into_iter());
    own.extend(shipped.into_iter().filter(|entry| !names.contains(&entry.name)));
    own
}

fn read_all(folders: impl Iterator<Item = PathBuf>) -> Vec<PolicyEntry> {
    folders
        .filter(|folder| folder.join("contract.json").is_file())
        .filter_map(|folder| {
            let name = folder.file_name()?.to_string_lossy().into_owned();
            let card = std::fs::read(folder.join("scorecard.json")).unwrap_or_default();
            let card: Value = serde_json::from_slice(&card).unwrap_or_default();
            let evaluations = card["evaluations"].as_array().into_iter().flatten();
            // A card belongs to the policy that it lies beside, wherever that was when it was written.
            let own =
                |found: Evaluation| Evaluation { policy: Some((name.clone(), folder.clone())), ..found };
            let evaluations = evaluations.filter_map(Evaluation::read).map(own).collect();
            let config = std::fs::read(folder.join("config.json")).unwrap_or_default();
            let config: Value = serde_json::from_slice(&config).unwrap_or_default();
            let goal = config["kind"] == "goal";
            let inside = std::fs::read_dir(folder.join("checkpoints")).into_iter().flatten().flatten();
            let snapshots = inside.filter(|e| e.path().join("contract.json").is_file()).count();
            (!name.starts_with('.')).then_some(PolicyEntry { name, folder, goal, evaluations, snapshots })
        })
        .collect()
}

/// How often a policy and the yardsticks beside it succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Where.
    pub place: String,
    /// When an episode counts.
    pub rule: String,
    /// Seed.
    pub seed: u64,
    /// Task, empty for the four pushes.
    pub task: String,
    /// Look.
    pub look: String,
    /// Most steps.
    pub steps: usize,
    /// How the agent decided.
    pub how: Deciding,
    /// The policy that was tried: its name and folder; none for a planner without one.
    pub policy: Option<(String, PathBuf)>,
    /// sha256 of the world model that was looked ahead or acted in.
    pub model: Option<String>,
    /// Plans made, and milliseconds each.
    pub plans: (u64, f64),
    /// What minds counted besides.
    pub counts: Vec<(String, u64)>,
    /// Who: the policy first.
    pub actors: Vec<(String, Tally, Vec<EpisodeResult>)>,
}

impl Evaluation {
    /// From what the engine reports or a scorecard keeps; `None` when it is something else.
    pub fn read(value: &Value) -> Option<Self> {
        let results = value["results"].as_object()?;
        let mut names: Vec<String> = match value["order"].as_array() {
            Some(order) => order.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect(),
            None => Vec::new(),
        };
        if names.is_empty() {
            // A scorecard of the command line has no order: yardsticks go last.
            const LAST: [&str; 3] = ["nothing", "random", "expert"];
            names = results.keys().filter(|n| !LAST.contains(&n.as_str())).cloned().collect();
            names.extend(LAST.iter().filter(|n| results.contains_key(**n)).map(|n| (*n).to_owned()));
        }
        let actors = names
            .into_iter()
            .filter_map(|name| {
                let one = results.get(&name)?;
                let tally = serde_json::from_value(one.clone()).ok()?;
                let each = serde_json::from_value(one["each"].clone()).unwrap_or_default();
                Some((name, tally, each))
            })
            .collect();
        let settings = &value["settings"];
        Some(Self {
            place: value["place"].as_str()?.to_owned(),
            rule: value["rule"].as_str()?.to_owned(),
            seed: settings["seed"].as_u64().unwrap_or(0),
            task: settings["task"].as_str().unwrap_or_default().to_owned(),
            look: settings["look"].as_str().unwrap_or("plain").to_owned(),
            steps: settings["steps"].as_u64().unwrap_or(80) as usize,
            how: serde_json::from_value(value["how"].clone()).unwrap_or_default(),
            policy: value["policy"]["folder"]
                .as_str()
                .map(|folder| (value["policy"]["name"].as_str().unwrap_or(folder).to_owned(), folder.into())),
            model: value["with"]["sha256"].as_str().map(str::to_owned),
            plans: (
                value["plans"].as_u64().unwrap_or(0),
                value["timings"]["plan_ms_mean"].as_f64().unwrap_or(0.0),
            ),
            counts: (value["counts"].as_object().into_iter().flatten())
                .filter_map(|(name, n)| Some((name.clone(), n.as_u64()?)))
                .collect(),
            actors,
        })
    }

    /// Episodes of the policy in which it failed.
    pub fn failures(&self) -> impl Iterator<Item = &EpisodeResult> {
        self.actors.first().into_iter().flat_map(|(_, _, each)| each).filter(|e| !e.success)
    }
}

/// A line of the log of learning.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Line {
    /// Iterations done.
    pub iteration: u64,
    /// Share of the run, 0..1.
    pub progress: f32,
    /// Seconds of training.
    pub seconds: f64,
    /// Seconds left.
    pub seconds_left: f64,
    /// Squared error of chunks in scaled units.
    pub loss: f32,
    /// Examples a second.
    pub frames_per_second: f32,
    /// Judgement on held-out episodes.
    pub held_out: Option<HeldOut>,
}

/// How far a policy is off on held-out episodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HeldOut {
    /// Mean squared error in scaled units; 1 = always the mean.
    pub loss: f32,
    /// Mean absolute error of each channel, in its unit.
    pub error: Vec<(String, f32)>,
}

/// A policy in both places.
#[derive(Clone, Debug, Deserialize)]
pub struct Ranked {
    /// Its name.
    pub name: String,
    /// In the model.
    pub model: Tally,
    /// In physics.
    pub world: Tally,
}

/// Whether the model ranks as physics does.
#[derive(Clone, Debug, Deserialize)]
pub struct Ranking {
    /// Rules inside the model, and in physics.
    pub rules: [String; 2],
    /// The policies.
    pub policies: Vec<Ranked>,
    /// Correlation of the rates.
    pub pearson: Option<Estimate>,
    /// Rank correlation.
    pub spearman: Option<Estimate>,
    /// Mean maximum rank violation.
    pub mmrv: Option<Estimate>,
}

/// One episode in physics and in imagination.
#[derive(Clone, Debug, Default)]
pub struct Twins {
    /// Job, while it runs.
    pub job: Option<JobId>,
    /// Seed of its scene.
    pub seed: u64,
    /// Frames of physics and of imagination.
    pub frames: [Vec<Arc<Frame>>; 2],
    /// Progress in both, a number a frame.
    pub progress: [Vec<f32>; 2],
    /// Pictures that the agent goes for, each with the frame from which it was imagined.
    pub goals: Vec<(usize, Arc<Frame>)>,
    /// How it decides.
    pub how: Deciding,
    /// How it ended.
    pub end: Option<TwinEnd>,
    /// Why it did not.
    pub trouble: Option<String>,
    /// The agent looked at imagined frames.
    pub in_model: bool,
}

impl Twins {
    /// The picture that the agent goes for at a frame, where it goes for one.
    pub fn goal(&self, at: usize) -> Option<&Arc<Frame>> {
        let (_, goal) = self.goals.iter().rev().find(|(from, _)| *from <= at).or(self.goals.first())?;
        Some(goal)
    }
}

/// How a twin episode ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TwinEnd {
    /// What was to be done.
    pub prompt: String,
    /// Rules in physics and in the model.
    pub rules: [String; 2],
    /// In physics.
    pub world: TwinSide,
    /// In the model.
    pub model: TwinSide,
    /// Where physics was kept.
    pub dataset: Option<PathBuf>,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Policies {
    /// The project's policies; `None` until they were listed.
    pub entries: Option<Arc<Vec<PolicyEntry>>>,
    /// Whether they are being listed.
    pub listing: bool,
    /// The run of learning that is shown: what is learnt, its log.
    pub run: Option<Learning>,
    /// The newest evaluation.
    pub evaluation: Option<Evaluation>,
    /// The evaluation that runs.
    pub evaluating: Option<JobId>,
    /// How long it will take, once that is measured.
    pub pace: Option<Pace>,
    /// The measurement that runs, and what it is about.
    pub measuring: Option<(JobId, PolicyEvaluateSpec)>,
    /// The newest measurement, and what it is about.
    pub measured: Option<(PolicyEvaluateSpec, Pace)>,
    /// The round of improvement that runs.
    pub improving: Option<JobId>,
    /// What the last round imagined: tried, surely succeeded, doubtful.
    pub imagined: Option<[u64; 3]>,
    /// The episode in two places.
    pub twins: Twins,
    /// The newest ranking.
    pub ranking: Option<Ranking>,
    /// The ranking that runs.
    pub ranking_job: Option<JobId>,
    /// What went wrong last in each part.
    pub trouble: Option<(PolicyPart, String)>,
}

/// A run of learning.
#[derive(Clone, Debug)]
pub struct Learning {
    /// Its job, while it runs.
    pub job: Option<JobId>,
    /// What was asked for; `None` for the training after a round of imagined experience.
    pub spec: Option<PolicyTrainSpec>,
    /// Name of the policy.
    pub name: String,
    /// The log.
    pub lines: Vec<Line>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Whether it is done.
    pub done: bool,
}

impl Policies {
    /// The policy of this name.
    pub fn entry(&self, name: &str) -> Option<&PolicyEntry> {
        self.entries.as_ref()?.iter().find(|entry| entry.name == name)
    }

    /// The job that belongs to a part, while it runs.
    pub fn job(&self, part: PolicyPart) -> Option<JobId> {
        match part {
            PolicyPart::Train => {
                self.run.as_ref().and_then(|run| run.job).filter(|j| Some(*j) != self.improving)
            }
            PolicyPart::Evaluate => self.evaluating,
            PolicyPart::Improve => self.improving,
            PolicyPart::Watch => self.twins.job,
            PolicyPart::Rank => self.ranking_job,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_evaluation_is_read_with_the_policy_first() {
        let tally = json!({ "successes": 1, "episodes": 2, "rate": 0.5, "low": 0.1, "high": 0.9, "progress": 0.6,
            "each": [{ "seed": 4, "prompt": "push", "success": false, "steps": 80, "progress": 0.2 }] });
        let value = json!({ "place": "world:tabletop", "rule": "5 cm", "settings": { "seed": 7, "task": null },
            "results": { "expert": tally, "nothing": tally, "policy": tally } });
        let found = Evaluation::read(&value).unwrap();
        let names: Vec<&str> = found.actors.iter().map(|(n, _, _)| n.as_str()).collect();
        assert_eq!(names, ["policy", "nothing", "expert"]);
        assert_eq!((found.seed, found.failures().count()), (7, 1));
        assert_eq!(Evaluation::read(&json!({ "stage": "note" })), None);
    }

    #[test]
    fn numbers_written_by_hand_are_healed() {
        let mut doc = PolicyDoc { minutes: f32::NAN, episodes: 0, best_of: 900, ..PolicyDoc::default() };
        doc.heal();
        assert_eq!((doc.minutes, doc.episodes, doc.best_of), (30.0, 1, 64));
    }

    #[test]
    fn only_the_numbers_of_the_chosen_way_count() {
        let mut doc =
            PolicyDoc { best_of: 5, doubt_seeds: 2, ahead: 6, goal_futures: 3, ..PolicyDoc::default() };
        assert_eq!(doc.deciding(), Deciding::Alone);
        doc.way = Way::BestOf;
        assert_eq!(doc.deciding(), Deciding::BestOf { candidates: 5, seeds: 2 });
        doc.fit_way(true);
        assert_eq!(doc.deciding(), Deciding::Subgoals { ahead: 6, futures: 3 });
        doc.fit_way(false);
        assert_eq!(doc.way, Way::Alone);
        // A planner needs no policy's proposals, so it stays.
        doc.way = Way::Planner;
        doc.fit_way(true);
        assert_eq!(doc.deciding(), Deciding::Planner { method: Method::Cem, seeds: 2 });
    }

    #[test]
    fn a_goal_is_shown_from_the_frame_at_which_it_was_imagined() {
        let goal = |level: u8| Arc::new(Frame::filled(1, 1, [level; 3]));
        let twins = Twins { goals: vec![(0, goal(1)), (6, goal(2))], ..Twins::default() };
        let level = |at: usize| twins.goal(at).unwrap().data[0];
        assert_eq!([0, 5, 6, 40].map(level), [1, 1, 2, 2]);
        assert!(Twins::default().goal(0).is_none());
    }
}
