//! The ghost over the robot's camera: the world model imagines what the camera will see where the arm is being sent. The
//! engine does it; one picture after another, each as soon as the one before has come.

use std::sync::Arc;

use forerun::Frame;
use forerun::engine::protocol::{Actions, ClipSettings, ImagineSpec, JobId, Request, ScoreSpec, Start};

use super::Studio;
use crate::jobs::Kind;
use crate::robot::Shown;
use crate::screens::Screen;

/// Steps of the model that are looked ahead: while a picture is imagined, time goes on.
const AHEAD: usize = 3;
/// Frames of an episode that are set beside imagined ones.
const TWIN_STEPS: usize = 60;

/// What is imagined over the camera.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    /// A person wants it.
    pub on: bool,
    /// The newest one.
    pub frame: Option<Arc<Frame>>,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Which model imagined it.
    pub model: String,
    job: Option<(JobId, f64)>,
}

/// Where the arm is being sent, by channel: where the sliders stand, where its goals are, or where a shadowed policy would
/// have it.
fn sent(shown: &Shown, sliders: &[f32]) -> Option<(Vec<String>, Vec<f32>)> {
    let view = &shown.view.as_ref()?.robot;
    let names = view.joints.iter().map(|j| format!("{}.pos", j.name)).collect();
    let goals: Vec<f32> = if view.state == "limp" {
        view.shadow_goal.as_ref()?.iter().map(|g| *g as f32).collect()
    } else if shown.by_hand && sliders.len() == view.joints.len() {
        sliders.to_vec()
    } else {
        view.joints.iter().map(|j| j.goal as f32).collect()
    };
    (goals.len() == view.joints.len()).then_some((names, goals))
}

impl Studio {
    /// Asks for the next one when it is wanted and none is on its way.
    pub(super) fn haunt(&mut self) {
        if !self.ghost.on || self.ghost.job.is_some() || self.view.screen != Screen::Robot {
            return;
        }
        let shown = self.robot.shown();
        let (Some(picture), Some(view)) = (shown.picture.as_ref(), shown.view.as_ref()) else {
            self.ghost.frame = None;
            return;
        };
        let Some((channels, row)) = sent(&shown, &self.robot_view.sliders) else {
            self.ghost.frame = None;
            return;
        };
        let state =
            view.robot.joints.iter().filter_map(|j| Some((format!("{}.pos", j.name), j.position? as f32)));
        let setup = self.setup.get();
        let spec = ImagineSpec {
            model: setup.model.clone(),
            start: Start::Blobs {
                sizes: vec![(picture.width, picture.height)],
                states: vec![state.collect()],
                world: None,
            },
            prompt: self.robot_view.prompt.clone(),
            actions: Actions::Track { channels, rows: vec![row; AHEAD] },
            steps: AHEAD,
            seeds: vec![0],
            refine: 1,
            device: setup.device.clone(),
            out: None,
            clip: ClipSettings::default(),
        };
        self.ghost.model.clone_from(&spec.model);
        let blob = picture.data.clone();
        let job = self.request_with(Kind::Ghost, vec![blob], |job, _| Request::Imagine { job, spec });
        self.ghost.job = Some((job, self.now));
    }

    /// A picture came; false when it is not the ghost's.
    pub(super) fn haunted(&mut self, job: JobId, index: usize, frame: &Arc<Frame>) -> bool {
        let ours = self.ghost.job.filter(|(ghost, _)| *ghost == job);
        if let Some((_, asked)) = ours.filter(|_| index == AHEAD) {
            self.ghost.frame = Some(Arc::clone(frame));
            self.ghost.seconds = self.now - asked;
        }
        ours.is_some()
    }

    /// Asks for the newest recorded episodes beside their imagined twins. The dataset is the one that the Robot screen
    /// records to.
    pub(super) fn twins(&mut self) {
        if self.jobs.any(|k| *k == Kind::Twins) {
            return;
        }
        self.robot_view.twins = None;
        let setup = self.setup.get();
        let spec = ScoreSpec {
            model: setup.model.clone(),
            dataset: self.robot_dataset(),
            episodes: None,
            horizons: vec![1],
            windows: Some(1),
            refine: 1,
            seed: 0,
            device: setup.device.clone(),
            text: false,
            long: None,
            twins: Some(TWIN_STEPS),
        };
        self.request(Kind::Twins, |job, _| Request::Score { job, spec });
    }

    /// Where runs of a robot are recorded.
    pub fn robot_dataset(&self) -> std::path::PathBuf {
        self.project.folder().join("datasets").join("robot")
    }

    /// The dataset that episodes which a person shows go into.
    pub fn shown_dataset(&self) -> std::path::PathBuf {
        match self.robot_view.dataset.trim() {
            "" => self.robot_dataset(),
            name => self.project.folder().join("datasets").join(name),
        }
    }

    /// The job has ended. One that failed ends the wish for it, or it would fail again and again.
    pub(super) fn ghost_ended(&mut self, well: bool) {
        self.ghost.job = None;
        if !well {
            self.ghost = Ghost::default();
        }
    }
}
