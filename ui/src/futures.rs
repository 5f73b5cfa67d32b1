//! The futures that have been imagined in this session: frames as they arrive, readings, folders.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forerun::Frame;
use forerun::compare::live::Drive;
use forerun::compare::open::picture_files;
use forerun::compare::picture::Picture;
use forerun::engine::protocol::{Actions, ImagineSpec, JobId, ModelInfo, Reading, Start};
use forerun::engine::record::FutureRecord;

use crate::compare::Source;

/// Frames of all runs together may take this many bytes. Above it, frames that can be read again from their files are
/// let go of, those farthest from the playhead first; then the oldest runs go.
pub const MEMORY_LIMIT: usize = 512 << 20;

/// Most steps of a future that is read from its folder (the engine writes none that are longer).
pub const MOST_STEPS: usize = 50_000;

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// Frames are arriving.
    Running,
    /// All are here.
    Done,
    /// The person stopped it.
    Cancelled,
    /// It went wrong; message and advice.
    Failed(String, String),
}

/// A frame of a future.
#[derive(Clone, Debug, Default)]
enum Held {
    /// Not here yet.
    #[default]
    No,
    /// In memory.
    Here(Arc<Frame>),
    /// Let go of; its file has it.
    Away,
}

/// One continuation.
#[derive(Clone, Debug)]
pub struct Future {
    /// Its seed.
    pub seed: u64,
    frames: Vec<Held>,
    /// Files that frames can be read from again.
    files: Vec<Option<PathBuf>>,
    readings: Vec<Option<Reading>>,
    ready: usize,
    bytes: usize,
    /// Folder with its record, once it is whole.
    pub folder: Option<PathBuf>,
    /// Whether it is whole.
    pub done: bool,
    /// Its record, once it is whole.
    pub record: Option<Arc<FutureRecord>>,
    /// There is no start frame: the first frame of the future stands in its place.
    from_nothing: bool,
}

impl Future {
    /// A future of which nothing is here yet.
    pub fn empty() -> Self {
        Self::new(0)
    }

    fn new(seed: u64) -> Self {
        Self {
            seed,
            frames: Vec::new(),
            files: Vec::new(),
            readings: Vec::new(),
            ready: 0,
            bytes: 0,
            folder: None,
            done: false,
            record: None,
            from_nothing: false,
        }
    }

    /// Number of frames from the start that have come without a gap.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// The frame at `index` (0 = start), or the last one that is here; the flag says that it is a held one. While the
    /// frame itself is being read again from its file, the nearest one in memory stands in for it.
    pub fn frame(&self, index: usize) -> Option<(&Arc<Frame>, bool)> {
        let at = index.min(self.ready.checked_sub(1)?);
        let here = |i: usize| match self.frames.get(i) {
            Some(Held::Here(frame)) => Some(frame),
            _ => None,
        };
        let frame = here(at)
            .or_else(|| (0..at).rev().find_map(here))
            .or_else(|| (at + 1..self.ready).find_map(here))?;
        Some((frame, at != index))
    }

    /// The file of the frame that is shown at `index`, while that frame is not in memory.
    pub fn away(&self, index: usize) -> Option<(usize, &Path)> {
        let at = index.min(self.ready.checked_sub(1)?);
        let away = matches!(self.frames.get(at), Some(Held::Away));
        away.then(|| Some((at, self.files.get(at)?.as_deref()?))).flatten()
    }

    /// Frames from the start that are in memory without a gap.
    pub fn frames(&self) -> Vec<Arc<Frame>> {
        let here = |held: &Held| match held {
            Held::Here(frame) => Some(frame.clone()),
            _ => None,
        };
        self.frames.iter().map_while(here).collect()
    }

    /// All frames from the start that have come without a gap: in memory, or where they can be read.
    pub fn pictures(&self) -> Vec<Picture> {
        let place = |(i, held): (usize, &Held)| match held {
            Held::Here(frame) => Some(Picture::Here(frame.clone())),
            Held::Away => Some(Picture::File(self.files.get(i)?.clone()?)),
            Held::No => None,
        };
        self.frames.iter().enumerate().map_while(place).collect()
    }

    /// Notes the files that frames can be read from again, from frame 0 on.
    pub fn note_files(&mut self, files: Vec<PathBuf>) {
        self.files = files.into_iter().map(Some).collect();
    }

    /// Notes the file of one frame.
    pub fn note_file(&mut self, index: usize, file: PathBuf) {
        if self.files.len() <= index {
            self.files.resize(index + 1, None);
        }
        if let Some(place) = self.files.get_mut(index) {
            *place = Some(file);
        }
    }

    /// Lets go of a frame that its file has.
    fn release(&mut self, index: usize) {
        let has_file = self.files.get(index).is_some_and(Option::is_some);
        if let Some(held @ Held::Here(_)) = self.frames.get_mut(index).filter(|_| has_file) {
            if let Held::Here(frame) = std::mem::replace(held, Held::Away) {
                self.bytes -= frame.data.len();
            }
        }
    }

    /// Takes a frame that was read again.
    pub fn put_back(&mut self, index: usize, frame: Arc<Frame>) {
        if let Some(held @ Held::Away) = self.frames.get_mut(index) {
            self.bytes += frame.data.len();
            *held = Held::Here(frame);
        }
    }

    /// The file of a frame cannot be read any more.
    pub fn lose(&mut self, index: usize) {
        if let Some(file) = self.files.get_mut(index) {
            *file = None;
        }
    }

    /// Frames that are in memory and whose files have them, with their bytes.
    fn spare(&self) -> impl Iterator<Item = (usize, usize)> {
        let files = self.files.iter().map(Option::is_some);
        self.frames.iter().zip(files).enumerate().filter_map(|(i, (held, file))| match held {
            Held::Here(frame) if file => Some((i, frame.data.len())),
            _ => None,
        })
    }

    /// What the heads read off every frame that is here; empty where they read nothing.
    pub fn all_readings(&self) -> Vec<Vec<(String, f32)>> {
        let of = |r: &Option<Reading>| r.as_ref().map(|r| r.values.clone()).unwrap_or_default();
        self.readings.iter().take(self.ready()).map(of).collect()
    }

    /// What the heads read off frame `index`.
    pub fn reading(&self, index: usize) -> Option<&Reading> {
        self.readings.get(index)?.as_ref()
    }

    /// The values of one read-out over all frames; NaN where there is none.
    pub fn series(&self, name: &str) -> Vec<f32> {
        let of = |r: &Reading| r.values.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        self.readings.iter().map(|r| r.as_ref().and_then(of).unwrap_or(f32::NAN)).collect()
    }

    /// A small picture that stands in for frame `index` until it is decoded.
    fn put_preview(&mut self, index: usize, frame: Arc<Frame>) {
        self.put(index, frame, Reading::default());
    }

    fn put(&mut self, index: usize, frame: Arc<Frame>, reading: Reading) {
        if index == 0 {
            self.from_nothing = false;
        } else if index == 1
            && (self.from_nothing || !matches!(self.frames.first(), Some(Held::Here(_) | Held::Away)))
        {
            self.from_nothing = true;
            self.set(0, frame.clone(), Reading::default());
        }
        self.set(index, frame, reading);
    }

    fn set(&mut self, index: usize, frame: Arc<Frame>, reading: Reading) {
        if self.frames.len() <= index {
            self.frames.resize(index + 1, Held::No);
            self.readings.resize(index + 1, None);
        }
        if let (Some(f), Some(r)) = (self.frames.get_mut(index), self.readings.get_mut(index)) {
            self.bytes += frame.data.len();
            if let Held::Here(before) = std::mem::replace(f, Held::Here(frame)) {
                self.bytes -= before.data.len();
            }
            *r = (!reading.values.is_empty()).then_some(reading);
        }
        while !matches!(self.frames.get(self.ready), None | Some(Held::No)) {
            self.ready += 1;
        }
    }
}

/// The futures of one press of Imagine.
#[derive(Clone, Debug)]
pub struct Run {
    /// Job that makes it.
    pub job: JobId,
    /// What was asked for.
    pub spec: ImagineSpec,
    /// Name of the model.
    pub model: String,
    /// First letters of the model's hash.
    pub model_hash: String,
    /// Frames a second.
    pub rate_hz: f32,
    /// One entry a seed.
    pub futures: Vec<Future>,
    /// What really happened, where the start is a recorded episode; frame 0 is the start.
    pub truth: Option<Future>,
    /// How far it is.
    pub state: RunState,
    /// Denoising steps done and in all, of a model that makes whole clips.
    pub denoised: Option<(usize, usize)>,
    /// Clock time of the start of the job, seconds.
    pub started: f64,
    /// Clock time of its end.
    pub ended: Option<f64>,
    /// Where it was saved.
    pub saved: Option<PathBuf>,
    /// The pane that this was opened for, where its name says what to do and not where to look.
    pub of: Option<Source>,
    /// What moves the arm, in a run of the virtual world.
    pub drive: Option<Drive>,
    /// Names and colours of the objects, in a run of the virtual world.
    pub colours: Vec<(String, [u8; 3])>,
}

impl Run {
    /// A run that has just been asked for. Panes show `start` until frames arrive.
    pub fn new(
        job: JobId,
        spec: ImagineSpec,
        model: &ModelInfo,
        rate_hz: f32,
        start: Option<Arc<Frame>>,
        now: f64,
    ) -> Self {
        let futures = spec
            .seeds
            .iter()
            .map(|seed| {
                let mut future = Future::new(*seed);
                if let Some(frame) = &start {
                    future.put(0, frame.clone(), Reading::default());
                }
                future
            })
            .collect();
        Self {
            job,
            spec,
            model: model.name.clone(),
            model_hash: model.sha256.chars().take(8).collect(),
            rate_hz,
            futures,
            truth: None,
            state: RunState::Running,
            denoised: None,
            started: now,
            ended: None,
            saved: None,
            of: None,
            drive: None,
            colours: Vec::new(),
        }
    }

    /// A future that is being read from its folder. What it was made from is known when its record arrives.
    pub fn opened(job: JobId, folder: &Path, seed: u64, now: f64) -> Self {
        let mut future = Future::new(seed);
        future.folder = Some(folder.to_owned());
        Self { futures: vec![future], ..Self::hollow(job, Start::Nothing, MOST_STEPS, now) }
    }

    /// A run without futures, to hold what really happened after `start`.
    pub fn hollow(job: JobId, start: Start, steps: usize, now: f64) -> Self {
        let spec = ImagineSpec {
            model: String::new(),
            start,
            prompt: String::new(),
            actions: Actions::Free,
            steps,
            seeds: Vec::new(),
            refine: 1,
            device: "cpu".into(),
            out: None,
            clip: Default::default(),
        };
        Self {
            job,
            spec,
            model: String::new(),
            model_hash: String::new(),
            rate_hz: 10.0,
            futures: Vec::new(),
            truth: None,
            state: RunState::Running,
            denoised: None,
            started: now,
            ended: None,
            saved: None,
            of: None,
            drive: None,
            colours: Vec::new(),
        }
    }

    /// Takes the record of a future that was read: what it was made from.
    pub fn describe(&mut self, record: &FutureRecord) {
        self.spec.model.clone_from(&record.model.name);
        self.spec.start = serde_json::from_value(record.start.source.clone()).unwrap_or(Start::Nothing);
        self.spec.prompt.clone_from(&record.prompt);
        self.spec.actions = if record.actions.rows.is_empty() {
            Actions::Free
        } else {
            Actions::Track { channels: record.actions.channels.clone(), rows: record.actions.rows.clone() }
        };
        self.spec.steps = record.steps;
        self.spec.seeds = vec![record.seed];
        self.spec.refine = record.refine;
        self.spec.device.clone_from(&record.device);
        self.model = record.contract.name.clone();
        self.model_hash = record.model.sha256.chars().take(8).collect();
        self.rate_hz = record.contract.frame.rate_hz;
        if let Some(future) = self.futures.first_mut() {
            future.seed = record.seed;
        }
    }

    /// The names by which panes know the futures of this run, what really happened first.
    pub fn sources(&self) -> Vec<Source> {
        let truth = match &self.spec.start {
            Start::Episode { dataset, episode, at } if self.truth.is_some() => Some(Source::Truth {
                dataset: dataset.clone(),
                episode: *episode,
                at: *at,
                steps: self.spec.steps,
            }),
            _ => None,
        };
        truth.into_iter().chain(self.futures.iter().filter_map(|f| self.source(f))).collect()
    }

    /// The name by which panes know `future`.
    pub fn source(&self, future: &Future) -> Option<Source> {
        let will_be = || Some(self.spec.out.as_ref()?.join(format!("seed-{}", future.seed)));
        let kept = self.saved.as_ref().map(|s| s.join(format!("seed-{}", future.seed)));
        let folder = kept.or_else(|| future.folder.clone()).or_else(will_be)?;
        Some(Source::Future { folder, seed: future.seed })
    }

    fn has(&self, future: &Future, folder: &Path) -> bool {
        if future.folder.as_deref() == Some(folder) {
            return true;
        }
        let seed = || folder.file_name()?.to_str()?.strip_prefix("seed-")?.parse().ok();
        let parent = folder.parent();
        [&self.spec.out, &self.saved].into_iter().flatten().any(|f| Some(f.as_path()) == parent)
            && seed() == Some(future.seed)
    }

    /// The future that a pane means, if it is one of this run's.
    pub fn find(&self, source: &Source) -> Option<&Future> {
        match source {
            Source::Future { folder, .. } => self.futures.iter().find(|f| self.has(f, folder)),
            Source::Truth { dataset, episode, at, steps } => match &self.spec.start {
                Start::Episode { dataset: d, episode: e, at: a }
                    if (d, e, a) == (dataset, episode, at) && self.spec.steps >= *steps =>
                {
                    self.truth.as_ref()
                }
                _ => None,
            },
            Source::World { .. } => self.truth.as_ref().filter(|_| self.of.as_ref() == Some(source)),
        }
    }

    /// Frames that can be shown in at least one pane, counting the start.
    pub fn available(&self) -> usize {
        self.futures.iter().map(Future::ready).max().unwrap_or(0)
    }

    /// Frames when all have arrived, counting the start.
    pub fn expected(&self) -> usize {
        if self.state == RunState::Running { self.spec.steps + 1 } else { self.available() }
    }

    /// Takes an arrived frame; `false` when the seed is none of this run's.
    pub fn put(&mut self, seed: u64, index: usize, frame: Arc<Frame>, reading: Reading) -> bool {
        // What is read from a folder has the seed of its record, whatever the folder is called.
        let opened = self.spec.out.is_none() && self.spec.seeds.is_empty();
        // An index far beyond what was asked for is a broken message, not a reason to fill the memory.
        let Some(future) =
            self.futures.iter_mut().find(|f| f.seed == seed || opened).filter(|_| index <= self.spec.steps)
        else {
            return false;
        };
        future.put(index, frame, reading);
        true
    }

    /// Takes a small picture that stands for the frames `from..to` of a clip that is still being denoised, after `done`
    /// of `total` steps.
    pub fn put_preview(
        &mut self,
        seed: u64,
        (from, to): (usize, usize),
        frame: &Arc<Frame>,
        (done, total): (usize, usize),
    ) {
        let steps = self.spec.steps;
        self.denoised = Some((done, total));
        if let Some(future) = self.futures.iter_mut().find(|f| f.seed == seed) {
            for index in from.max(1)..to.min(steps + 1) {
                future.put_preview(index, frame.clone());
            }
        }
    }

    /// Takes frame `index` of what really happened.
    pub fn put_truth(&mut self, index: usize, frame: Arc<Frame>) {
        if index > self.spec.steps {
            return;
        }
        let start = self.futures.first().and_then(|f| f.frame(0)).map(|(frame, _)| frame.clone());
        let truth = self.truth.get_or_insert_with(|| Future::new(0));
        if let (0, Some(start)) = (truth.ready(), start) {
            truth.put(0, start, Reading::default());
        }
        truth.put(index, frame, Reading::default());
    }

    /// Takes frame `index` of the virtual world, and the file that has it, where there is one.
    pub fn put_world(&mut self, index: usize, frame: Arc<Frame>, reading: Reading, file: Option<PathBuf>) {
        if index > self.spec.steps {
            return;
        }
        let world = self.truth.get_or_insert_with(|| Future::new(0));
        world.put(index, frame, reading);
        if let Some(file) = file {
            world.note_file(index, file);
        }
    }

    /// Its futures and what really happened.
    fn all(&self) -> impl Iterator<Item = (Which, &Future)> {
        let futures = self.futures.iter().map(|f| (Which::Seed(f.seed), f));
        futures.chain(self.truth.iter().map(|f| (Which::Truth, f)))
    }

    /// One of its futures, or what really happened.
    pub fn which_mut(&mut self, which: Which) -> Option<&mut Future> {
        match which {
            Which::Seed(seed) => self.futures.iter_mut().find(|f| f.seed == seed),
            Which::Truth => self.truth.as_mut(),
        }
    }

    fn bytes(&self) -> usize {
        self.all().map(|(_, f)| f.bytes).sum()
    }
}

/// One of the futures of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The one of this seed.
    Seed(u64),
    /// What really happened, or the virtual world.
    Truth,
}

/// All runs, oldest first, and the one that is shown; and what was read from folders.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: VecDeque<Run>,
    shown: usize,
    opened: VecDeque<Run>,
    /// Where futures were found last: panes ask many times a frame. Looked at again whenever it is no longer true.
    places: RefCell<HashMap<Source, usize>>,
}

impl Runs {
    /// Adds a run and shows it.
    pub fn push(&mut self, run: Run) {
        self.runs.push_back(run);
        self.shown = self.runs.len() - 1;
        while self.runs.len() > 1 && self.runs.iter().map(Run::bytes).sum::<usize>() > MEMORY_LIMIT {
            self.runs.pop_front();
            self.shown = self.shown.saturating_sub(1);
        }
    }

    /// The run that is shown.
    pub fn shown(&self) -> Option<&Run> {
        self.runs.get(self.shown)
    }

    /// The run that is shown.
    pub fn shown_mut(&mut self) -> Option<&mut Run> {
        self.runs.get_mut(self.shown)
    }

    /// The run of a job.
    pub fn of_job(&mut self, job: JobId) -> Option<&mut Run> {
        self.runs.iter_mut().chain(&mut self.opened).find(|r| r.job == job)
    }

    /// Adds what is being read from a folder.
    pub fn open(&mut self, run: Run) {
        self.opened.push_back(run);
    }

    /// Lets go of what was opened and `keep` refuses, the oldest first, until all frames fit into `limit`.
    pub fn shrink_opened(&mut self, limit: usize, keep: impl Fn(&Run) -> bool) {
        let mut bytes = self.bytes();
        self.opened.retain(|run| {
            let stays = bytes <= limit || keep(run);
            if !stays {
                bytes -= run.bytes();
            }
            stays
        });
    }

    /// Lets go of frames that their files have until all fit into `limit` with an eighth to spare: first those of
    /// futures that nobody looks at, then those farthest from the place that `cursor` tells for the others.
    pub fn release(&mut self, limit: usize, cursor: impl Fn(&Run, &Future) -> Option<usize>) {
        let mut bytes = self.bytes();
        if bytes <= limit {
            return;
        }
        let mut spare = Vec::new();
        for run in self.runs.iter().chain(&self.opened) {
            for (which, future) in run.all() {
                let at = cursor(run, future);
                let far = |i: usize| at.map_or(usize::MAX, |at| i.abs_diff(at));
                spare.extend(future.spare().map(|(i, bytes)| (far(i), run.job, which, i, bytes)));
            }
        }
        spare.sort_by_key(|(far, ..)| std::cmp::Reverse(*far));
        for (far, job, which, index, size) in spare {
            // What is on the screen stays, whatever its size.
            if bytes <= limit - limit / 8 || far == 0 {
                return;
            }
            if let Some(future) = self.of_job(job).and_then(|run| run.which_mut(which)) {
                future.release(index);
                bytes -= size;
            }
        }
    }

    /// A future was copied to another folder, which is its place from now on.
    pub fn moved(&mut self, from: &Path, to: &Path) {
        for run in self.runs.iter_mut().chain(&mut self.opened) {
            if let Some(Source::World { folder, .. }) = run.of.as_mut().filter(|_| run.drive.is_some()) {
                if folder == from {
                    *folder = to.to_owned();
                }
            }
            for future in run.futures.iter_mut().filter(|f| f.folder.as_deref() == Some(from)) {
                future.folder = Some(to.to_owned());
                if let Some(record) = &future.record {
                    future.note_files(picture_files(to, &record.clone()));
                }
            }
        }
    }

    /// Forgets an opened run.
    pub fn forget(&mut self, job: JobId) {
        self.opened.retain(|r| r.job != job);
    }

    /// Bytes of all frames in memory.
    pub fn bytes(&self) -> usize {
        self.runs.iter().chain(&self.opened).map(Run::bytes).sum()
    }

    /// The future that a pane means, and the run that it belongs to.
    pub fn find(&self, source: &Source) -> Option<(&Run, &Future)> {
        let known = self.places.borrow().get(source).copied();
        let run = known.and_then(|at| match at.checked_sub(self.runs.len()) {
            Some(at) => self.opened.get(at),
            None => self.runs.get(at),
        });
        if let Some(found) = run.and_then(|run| Some((run, run.find(source)?))) {
            return Some(found);
        }
        let mut all = self.runs.iter().chain(&self.opened).enumerate();
        let (at, found) = all.find_map(|(at, run)| Some((at, (run, run.find(source)?))))?;
        let mut places = self.places.borrow_mut();
        if places.len() > 4 * crate::compare::MAX_PANES {
            places.clear();
        }
        places.insert(source.clone(), at);
        Some(found)
    }

    /// All runs, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// Number of the shown run (from 1) and of all.
    pub fn position(&self) -> (usize, usize) {
        (self.shown + 1, self.runs.len())
    }

    /// Shows the run `by` places on.
    pub fn go(&mut self, by: isize) {
        let last = self.runs.len().saturating_sub(1);
        self.shown = self.shown.saturating_add_signed(by).min(last);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{model, spec};

    fn frame(level: u8) -> Arc<Frame> {
        Arc::new(Frame::filled(4, 4, [level; 3]))
    }

    #[test]
    fn panes_hold_the_last_frame_that_has_arrived() {
        let mut run = Run::new(1, spec(&[7, 8], 5), &model(), 10.0, Some(frame(0)), 0.0);
        assert!(run.put(7, 1, frame(1), Reading::default()));
        assert!(run.put(7, 3, frame(3), Reading::default()), "frame 2 is still on its way");
        assert_eq!(run.futures[0].ready(), 2);
        assert_eq!(run.futures[0].frame(3).map(|(f, held)| (f.data[0], held)), Some((1, true)));
        assert_eq!(run.futures[1].frame(3).map(|(f, held)| (f.data[0], held)), Some((0, true)));
        assert_eq!((run.available(), run.expected()), (2, 6));
    }

    #[test]
    fn strange_frames_are_left_out() {
        let mut run = Run::new(1, spec(&[7], 5), &model(), 10.0, None, 0.0);
        assert!(!run.put(99, 0, frame(0), Reading::default()));
        assert!(!run.put(7, usize::MAX, frame(0), Reading::default()));
        assert_eq!(run.available(), 0);
        assert!(run.futures[0].frame(0).is_none());
    }

    #[test]
    fn panes_find_their_futures_by_name() {
        let mut runs = Runs::default();
        let mut spec = spec(&[7, 8], 5);
        spec.out = Some("p/scratch/a".into());
        spec.start = Start::Episode { dataset: "d".into(), episode: 2, at: 3 };
        let mut run = Run::new(1, spec, &model(), 10.0, Some(frame(0)), 0.0);
        run.put_truth(1, frame(9));
        let sources = run.sources();
        assert_eq!(sources.len(), 3, "the recording and two seeds, before anything was written");
        runs.push(run);
        assert!(matches!(&sources[0], Source::Truth { episode: 2, at: 3, .. }));
        assert_eq!(runs.find(&sources[0]).unwrap().1.ready(), 2);
        assert_eq!(runs.find(&sources[2]).unwrap().1.seed, 8);
        runs.of_job(1).unwrap().saved = Some("p/futures/a".into());
        assert_eq!(runs.find(&sources[2]).unwrap().1.seed, 8, "also by its old folder");
        let kept = Source::Future { folder: "p/futures/a/seed-8".into(), seed: 8 };
        assert_eq!(runs.find(&kept).unwrap().1.seed, 8);
        assert!(runs.find(&Source::Future { folder: "elsewhere".into(), seed: 8 }).is_none());
    }

    #[test]
    fn what_is_read_from_a_folder_takes_the_seed_of_its_record() {
        let mut runs = Runs::default();
        runs.open(Run::opened(4, Path::new("f/seed-x"), 0, 0.0));
        assert!(runs.of_job(4).unwrap().put(31, 0, frame(2), Reading::default()));
        let source = Source::Future { folder: "f/seed-x".into(), seed: 0 };
        assert_eq!(runs.find(&source).unwrap().1.ready(), 1);
        runs.shrink_opened(MEMORY_LIMIT, |_| false);
        assert!(runs.find(&source).is_some(), "there is room");
        runs.forget(4);
        assert!(runs.find(&source).is_none());
    }

    #[test]
    fn frames_that_their_files_have_make_room_and_come_back() {
        let mut runs = Runs::default();
        let mut run = Run::new(1, spec(&[1, 2], 9), &model(), 10.0, None, 0.0);
        for seed in [1, 2] {
            for index in 0..10 {
                run.put(seed, index, frame(index as u8), Reading::default());
            }
        }
        let files = |n: usize| (0..n).map(|i| PathBuf::from(format!("{i}.png"))).collect();
        run.futures[0].note_files(files(10));
        runs.push(run);
        let one = 4 * 4 * 3;
        assert_eq!(runs.bytes(), 20 * one);
        // Seed 1 is looked at around frame 6; seed 2 has no files and stays.
        runs.release(16 * one, |_, f| (f.seed == 1).then_some(6));
        assert_eq!(runs.bytes(), 14 * one, "an eighth is left free");
        let future = &runs.shown().unwrap().futures[0];
        assert_eq!((future.ready(), future.pictures().len()), (10, 10), "nothing is lost");
        assert_eq!(future.away(0), Some((0, Path::new("0.png"))), "the farthest go first");
        assert_eq!((future.away(6), future.away(7)), (None, None));
        assert_eq!(
            future.frame(1).map(|(f, held)| (f.data[0], held)),
            Some((5, false)),
            "the nearest stands in"
        );
        let future = &mut runs.shown_mut().unwrap().futures[0];
        future.put_back(1, frame(1));
        assert_eq!(future.frame(1).unwrap().0.data[0], 1);
        future.put_back(1, frame(9));
        assert_eq!(future.frame(1).unwrap().0.data[0], 1, "what is here is not replaced");
        assert_eq!(runs.bytes(), 15 * one);
        // However little memory there is, the frame under the playhead stays.
        runs.release(one, |_, _| Some(6));
        assert_eq!(runs.shown().unwrap().futures[0].frame(6).unwrap().0.data[0], 6);
    }

    #[test]
    fn old_runs_make_room() {
        let mut runs = Runs::default();
        for job in 0..4 {
            let mut run = Run::new(job, spec(&[1], 5), &model(), 10.0, None, 0.0);
            run.put(1, 0, Arc::new(Frame::filled(9000, 9000, [0; 3])), Reading::default());
            runs.push(run);
        }
        assert_eq!(runs.iter().map(|r| r.job).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(runs.shown().unwrap().job, 3);
        runs.go(-5);
        assert_eq!(runs.position(), (1, 2));
    }
}
