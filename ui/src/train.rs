//! What the Train screen holds: what is set up for the next run, and the runs of this project.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{JobId, PostTrainSpec};
use forerun::models::Fit;
use forerun::train::Judgement;
use forerun::train::post::{Comparison, Method, PostReport, Preflight};
use serde::{Deserialize, Serialize};

/// Checkpoints that a run keeps, the best first.
const KEPT: usize = 3;
/// Most points of a line; when there are more, every second one goes.
const MOST_POINTS: usize = 2000;

/// What is set up for the next run; kept between sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainDoc {
    /// Name of the model to start from; empty: the shipped one.
    pub base: String,
    /// Names of the datasets.
    pub datasets: BTreeSet<String>,
    /// How.
    pub method: Method,
    /// Minutes of training.
    pub minutes: f32,
    /// Iterations instead of minutes: an exactly repeatable run.
    pub iterations: Option<u64>,
    /// Episodes of the base's own world to replay; by default when absent.
    pub replay: Option<usize>,
    /// How pictures of another shape become the model's; as the base's own were when absent.
    pub fit: Option<Fit>,
    /// Name of the new model.
    pub name: String,
    /// Runs that have not ended: they can be resumed after whatever happened.
    pub unfinished: Vec<PostTrainSpec>,
}

impl Default for TrainDoc {
    fn default() -> Self {
        Self {
            base: String::new(),
            datasets: BTreeSet::new(),
            method: Method::Auto,
            minutes: 20.0,
            iterations: None,
            replay: None,
            fit: None,
            name: String::new(),
            unfinished: Vec::new(),
        }
    }
}

impl TrainDoc {
    /// Puts numbers that a hand may have written into their ranges.
    pub fn heal(&mut self) {
        self.minutes = if self.minutes.is_finite() { self.minutes.clamp(0.5, 1440.0) } else { 20.0 };
        self.iterations = self.iterations.map(|n| n.clamp(1, 1_000_000));
        self.unfinished.truncate(20);
    }

    /// Notes that a run began, or that it ended.
    pub fn note(&mut self, spec: &PostTrainSpec, running: bool) {
        self.unfinished.retain(|other| other.out != spec.out);
        if running {
            self.unfinished.push(PostTrainSpec { resume: true, ..spec.clone() });
        }
    }
}

/// A wish on this screen, or the answer of a thread.
#[derive(Clone, Debug)]
pub enum TrainWish {
    /// Change what is set up.
    Edit(TrainDoc),
    /// Show the run with this model folder.
    Show(PathBuf),
    /// Go on with this run.
    Resume(PathBuf),
    /// Forget a run that was stopped; its files stay.
    Forget(PathBuf),
    /// Use this checkpoint, or the finished model.
    Use(PathBuf),
    /// Show these held-out starts.
    Window(usize),
    /// A preview was decoded.
    Preview(PathBuf, u64, Option<Arc<Frame>>),
    /// The log of a run was read from its folder.
    Log(PathBuf, Arc<Vec<PostReport>>),
    /// A checkpoint was copied to the project's models: its name, or why not.
    Used(Result<String, String>),
    /// Lay the base's and the new model's futures of a held-out start side by side.
    Compare(PathBuf),
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// The engine is at it.
    Running,
    /// It was asked to stop, and will.
    Stopping,
    /// It was stopped, by a person or by a crash, and can go on.
    Paused,
    /// It is done.
    Done,
    /// It cannot be done; why.
    Failed(String),
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// Before and after on all held-out windows.
    pub comparison: Comparison,
    /// Iterations done.
    pub iterations: u64,
    /// The one whose weights the model has.
    pub best_iteration: u64,
    /// Why it ended early.
    pub stopped: Option<String>,
}

/// Pictures of held-out starts: truth, before, now.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// Iteration of the present ones.
    pub iteration: u64,
    /// For each held-out start the three rows, frame 1 first.
    pub windows: Vec<[Vec<Arc<Frame>>; 3]>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct TrainRun {
    /// Its job, while it runs.
    pub job: Option<JobId>,
    /// What was asked for.
    pub spec: PostTrainSpec,
    /// Name of the base, to show.
    pub base: String,
    /// How far it is.
    pub state: RunState,
    /// What the engine says about it.
    pub what: String,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What was measured before the start.
    pub preflight: Option<Preflight>,
    /// What the base makes of the data.
    pub before: Option<Judgement>,
    /// The log: a line a second.
    pub course: Vec<PostReport>,
    /// Judgements with their iteration and share of the run.
    pub judged: Vec<(u64, f32, Comparison)>,
    /// Something to look at.
    pub alarm: Option<String>,
    /// Pictures.
    pub preview: Preview,
    /// Which of the held-out starts is shown.
    pub window: usize,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whether the log was read from the folder.
    pub log_asked: bool,
}

impl TrainRun {
    /// A run that has not begun.
    pub fn new(spec: PostTrainSpec, base: String, state: RunState) -> Self {
        Self {
            job: None,
            spec,
            base,
            state,
            what: String::new(),
            notes: Vec::new(),
            preflight: None,
            before: None,
            course: Vec::new(),
            judged: Vec::new(),
            alarm: None,
            preview: Preview::default(),
            window: 0,
            outcome: None,
            log_asked: false,
        }
    }

    /// Name of the new model.
    pub fn name(&self) -> String {
        self.spec.out.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The newest line of the log.
    pub fn last(&self) -> Option<&PostReport> {
        self.course.last()
    }

    /// The newest judgement.
    pub fn newest(&self) -> Option<&Comparison> {
        self.judged.last().map(|(_, _, found)| found)
    }

    /// Takes a line of the log.
    pub fn note(&mut self, mut report: PostReport) {
        // After a kill, lines since the last checkpoint come again.
        self.course.retain(|old| old.iteration < report.iteration);
        if let Some(found) = report.judgement.take() {
            self.judged.retain(|(iteration, _, _)| *iteration < report.iteration);
            self.judged.push((report.iteration, report.progress, found));
        }
        if report.alarm.is_some() {
            self.alarm.clone_from(&report.alarm);
        } else if self.newest().is_some_and(|found| !found.ignores_actions()) {
            self.alarm = None;
        }
        self.course.push(report);
        if self.course.len() > MOST_POINTS {
            let mut keep = false;
            self.course.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    /// The checkpoints that are on disk, the best first: iteration and score.
    pub fn checkpoints(&self) -> Vec<(u64, f32)> {
        let mut all: Vec<(u64, f32)> = self.judged.iter().map(|(i, _, found)| (*i, found.score)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(KEPT);
        all
    }

    /// The folder of a checkpoint.
    pub fn checkpoint(&self, iteration: u64) -> PathBuf {
        self.spec.out.join("checkpoints").join(format!("{iteration:07}"))
    }

    /// The frames of a held-out start: truth, before, now.
    pub fn shown(&self) -> Option<&[Vec<Arc<Frame>>; 3]> {
        self.preview.windows.get(self.window.min(self.preview.windows.len().saturating_sub(1)))
    }
}

/// Cuts a sheet of previews into frames of this size: three rows a window.
pub fn cut(sheet: &Frame, width: usize, height: usize) -> Vec<[Vec<Arc<Frame>>; 3]> {
    if width == 0 || height == 0 {
        return Vec::new();
    }
    let row = |number: usize| -> Vec<Arc<Frame>> {
        (0..sheet.width / width)
            .filter_map(|column| {
                let mut data = Vec::with_capacity(width * height * 3);
                for y in number * height..(number + 1) * height {
                    let from = (y * sheet.width + column * width) * 3;
                    data.extend_from_slice(sheet.data.get(from..from + width * 3)?);
                }
                Frame::new(width, height, data).map(Arc::new)
            })
            .collect()
    };
    (0..sheet.height / height / 3).map(|w| [row(3 * w), row(3 * w + 1), row(3 * w + 2)]).collect()
}

/// The runs of this project.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// Runs, oldest first.
    pub runs: Vec<TrainRun>,
    /// Model folder of the one that is shown.
    pub shown: Option<PathBuf>,
    /// Whether unfinished runs of earlier sessions were taken in.
    pub recalled: bool,
}

impl Training {
    /// The run that writes this model folder.
    pub fn of(&mut self, out: &Path) -> Option<&mut TrainRun> {
        self.runs.iter_mut().find(|run| run.spec.out == out)
    }

    /// The run of this job.
    pub fn of_job(&mut self, job: JobId) -> Option<&mut TrainRun> {
        self.runs.iter_mut().find(|run| run.job == Some(job))
    }

    /// The run that is shown.
    pub fn shown(&self) -> Option<&TrainRun> {
        let shown = self.shown.as_ref()?;
        self.runs.iter().find(|run| run.spec.out == *shown)
    }

    /// The run that the engine is at.
    pub fn running(&self) -> Option<&TrainRun> {
        self.runs.iter().find(|run| run.job.is_some())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run() -> TrainRun {
        let spec =
            serde_json::json!({ "base": "tabletop", "datasets": [], "out": "models/mine", "minutes": 1.0 });
        TrainRun::new(serde_json::from_value(spec).unwrap(), "tabletop".into(), RunState::Running)
    }

    fn line(iteration: u64, score: Option<f32>) -> PostReport {
        let judgement = score.map(|score| Comparison { score, delta: vec![1.0], ..Comparison::default() });
        PostReport { iteration, judgement, ..PostReport::default() }
    }

    #[test]
    fn lines_that_come_again_after_a_kill_replace_the_old_ones() {
        let mut run = run();
        for iteration in [1, 2, 3, 2] {
            run.note(line(iteration, Some(iteration as f32)));
        }
        assert_eq!(run.course.iter().map(|l| l.iteration).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(run.judged.len(), 2);
    }

    #[test]
    fn the_best_checkpoints_are_those_on_disk() {
        let mut run = run();
        for (iteration, score) in [(10, 20.0), (20, 22.0), (30, 21.0), (40, 19.0)] {
            run.note(line(iteration, Some(score)));
        }
        assert_eq!(run.checkpoints().iter().map(|c| c.0).collect::<Vec<_>>(), [20, 30, 10]);
        assert!(run.checkpoint(20).ends_with("checkpoints/0000020"));
    }

    #[test]
    fn long_runs_keep_a_bounded_log() {
        let mut run = run();
        (0..5000).for_each(|i| run.note(line(i, None)));
        assert!(run.course.len() <= MOST_POINTS && run.last().unwrap().iteration == 4999);
    }

    #[test]
    fn a_sheet_is_cut_into_windows_of_three_rows() {
        let mut sheet = Frame::filled(4, 12, [0; 3]);
        for (i, pixel) in sheet.data.chunks_mut(3).enumerate() {
            pixel[0] = (i / 4) as u8;
        }
        let windows = cut(&sheet, 2, 2);
        assert_eq!((windows.len(), windows[1][2].len()), (2, 2));
        assert_eq!(windows[1][0][1].data[0], 6);
        assert!(cut(&sheet, 0, 2).is_empty());
    }

    #[test]
    fn a_run_is_unfinished_until_it_ended() {
        let mut doc = TrainDoc::default();
        doc.note(&run().spec, true);
        doc.note(&run().spec, true);
        assert!(doc.unfinished.len() == 1 && doc.unfinished[0].resume);
        doc.note(&run().spec, false);
        assert!(doc.unfinished.is_empty());
    }
}
