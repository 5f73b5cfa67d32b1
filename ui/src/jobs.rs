//! Jobs that the engine is working on, as the window sees them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forerun::engine::protocol::JobId;

use crate::compare::Source;
use crate::data::DataJob;
use crate::policy::PolicyJob;

/// Why a job was started.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Futures for the World screen.
    Imagine,
    /// Picture of a starter scene.
    Scene(usize),
    /// The start frame, drawn by the virtual world.
    DrawStart,
    /// The start, decoded; or its familiarity.
    ReadStart,
    /// Frames of what really happened: of this run, ending at this frame.
    Truth {
        /// Job of the run.
        run: JobId,
        /// Last frame that was asked for, counted from the start.
        end: usize,
    },
    /// The model, into memory.
    Warm,
    /// The list of models.
    List,
    /// A future of a folder, for a pane of the Compare screen.
    Open {
        /// What the pane shows.
        source: Source,
    },
    /// A future, imagined again from its record.
    Again,
    /// A job of the Data screen.
    Data(DataJob),
    /// A run of post-training.
    Train,
    /// A job of the Policy screen.
    Policy(PolicyJob),
    /// A future that a branch hangs on, copied into the project.
    Keep {
        /// Its folder.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
    },
    /// A future of the action-following gauge.
    Probe,
    /// A cell of the sweep.
    Cell,
    /// A published model, downloaded.
    Fetch {
        /// Its name in the catalogue.
        model: String,
    },
    /// A folder, taken among the own models.
    Install,
    /// Files of a model, checked.
    Check,
    /// A model, removed.
    Remove,
    /// Terms that were read, noted.
    Terms,
    /// What a robot's camera will see.
    Ghost,
    /// Episodes of a robot beside their imagined twins.
    Twins,
    /// A reasoner's answer about a future.
    Reason,
    /// A future of this run, copied into the project.
    Save {
        /// Job of the run.
        run: JobId,
    },
}

impl Kind {
    /// Whether the tray shows it from its first moment; others only when they take long.
    pub fn prominent(&self) -> bool {
        matches!(
            self,
            Self::Imagine
                | Self::Save { .. }
                | Self::Again
                | Self::Cell
                | Self::Probe
                | Self::Train
                | Self::Policy(_)
                | Self::Data(DataJob::Record(_) | DataJob::Import)
                | Self::Fetch { .. }
                | Self::Install
                | Self::Check
                | Self::Remove
                | Self::Reason
        )
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Why it runs.
    pub kind: Kind,
    /// Part that is done, 0..=1; `None` while nobody knows.
    pub part: Option<f32>,
    /// Seconds left.
    pub seconds_left: Option<f32>,
    /// What the engine says about it.
    pub what: String,
    /// Clock time of its start, seconds.
    pub started: f64,
    /// Whether it was asked to stop.
    pub cancelling: bool,
}

/// All jobs that have not ended.
#[derive(Clone, Debug, Default)]
pub struct Jobs(BTreeMap<JobId, Job>);

impl Jobs {
    /// A job was sent.
    pub fn start(&mut self, id: JobId, kind: Kind, now: f64) {
        let job = Job {
            kind,
            part: None,
            seconds_left: None,
            what: String::new(),
            started: now,
            cancelling: false,
        };
        self.0.insert(id, job);
    }

    /// A job told how far it is.
    pub fn progress(&mut self, id: JobId, done: u64, total: u64, seconds_left: Option<f32>, what: String) {
        if let Some(job) = self.0.get_mut(&id) {
            job.part = (total > 0).then(|| (done as f32 / total as f32).clamp(0.0, 1.0));
            job.seconds_left = seconds_left.filter(|s| s.is_finite() && *s >= 0.0);
            job.what = what;
        }
    }

    /// A job ended.
    pub fn end(&mut self, id: JobId) -> Option<Kind> {
        self.0.remove(&id).map(|j| j.kind)
    }

    /// A job by its number.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.0.get(&id)
    }

    /// A job of this kind.
    pub fn find(&self, kind: &Kind) -> Option<(JobId, Job)> {
        self.0.iter().find(|(_, j)| j.kind == *kind).map(|(id, j)| (*id, j.clone()))
    }

    /// Notes that a job was asked to stop.
    pub fn cancelling(&mut self, id: JobId) {
        if let Some(job) = self.0.get_mut(&id) {
            job.cancelling = true;
        }
    }

    /// The newest job of imagining.
    pub fn imagining(&self) -> Option<JobId> {
        self.0.iter().rev().find(|(_, j)| j.kind == Kind::Imagine).map(|(id, _)| *id)
    }

    /// Jobs with this kind.
    pub fn any(&self, wanted: impl Fn(&Kind) -> bool) -> bool {
        self.0.values().any(|j| wanted(&j.kind))
    }

    /// Jobs that the tray shows, oldest first: prominent ones, and others that take longer than a second.
    pub fn shown(&self, now: f64) -> impl Iterator<Item = (JobId, &Job)> {
        self.0
            .iter()
            .filter(move |(_, j)| j.kind.prominent() || now - j.started > 1.0)
            .map(|(id, j)| (*id, j))
    }
}
