//! Episodes of a robot as a LeRobot dataset: its runs, and what a person shows it by sliders, keys, a gamepad or by
//! guiding a limp arm. An episode is on disk when it has ended; a kill loses at most the running one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Frame;
use crate::dataset::{ChannelInfo, DatasetSpec, DatasetWriter, EpisodeBuffer, encode_episode};
use crate::engine::fit::fit;
use crate::failure::Failure;
use crate::robot::agent::Client;
use crate::robot::agent::cameras::from_base64;
use crate::robot::agent::protocol::{Ask, Tell};
use crate::robot::file::RobotFile;
use crate::robot::numbers::Unit;

/// Longest episode: ten minutes at 30 pictures a second.
const LONGEST: usize = 18_000;
/// Most bytes of pictures that an episode may hold in memory.
const MOST_BYTES: usize = 2 << 30;

/// Two episodes that end together are appended one after the other: a dataset has one writer.
static SAVING: Mutex<()> = Mutex::new(());

/// What the episodes of a robot look like.
///
/// # Errors
/// A robot without a camera.
pub fn spec_of(robot: &RobotFile) -> Result<DatasetSpec, Failure> {
    let camera = robot.cameras.first().ok_or_else(|| {
        Failure::new(
            "Episodes have pictures, and this robot has no camera.",
            "Add a [[camera]] to the robot file.",
        )
    })?;
    let unit = |u: Unit| if u == Unit::Deg { "deg" } else { "%" };
    let channels: Vec<ChannelInfo> =
        robot.joints.iter().map(|j| ChannelInfo::new(format!("{}.pos", j.name), unit(j.unit))).collect();
    let even = |n: u32| (n as usize & !1).max(16);
    Ok(DatasetSpec {
        fps: (camera.fps.round() as u32).clamp(1, 60),
        robot_type: format!("{}_follower", robot.embodiment),
        width: even(camera.width),
        height: even(camera.height),
        camera: format!("observation.images.{}", camera.name),
        state: channels.clone(),
        action: channels,
        extra: Vec::new(),
    })
}

/// One episode that is being collected.
pub struct Take {
    spec: DatasetSpec,
    buffer: EpisodeBuffer,
    /// Moments at which a hand led the arm, so that what was done shows only in the state that followed.
    guided: Vec<usize>,
}

impl Take {
    /// An empty episode. One without words is called a run.
    pub fn new(spec: DatasetSpec, task: &str) -> Self {
        let task = if task.trim().is_empty() { "run" } else { task };
        let buffer = EpisodeBuffer { task: task.into(), ..EpisodeBuffer::default() };
        Self { spec, buffer, guided: Vec::new() }
    }

    /// Whether nothing more can be added.
    pub fn is_full(&self) -> bool {
        let bytes = self.spec.width * self.spec.height * 3;
        self.len() >= LONGEST.min(MOST_BYTES / bytes.max(1))
    }

    /// Adds a moment at which a hand led the limp arm: its action is where the joints stand a moment later.
    pub fn add_guided(&mut self, frame: &Frame, state: Vec<f32>) {
        let before = self.len();
        let here = state.clone();
        self.add(frame, state, here);
        if self.len() > before {
            self.guided.push(before);
        }
    }

    /// Adds a moment: what was seen, where the joints stood, where they were sent. Full takes and broken pictures add
    /// nothing.
    pub fn add(&mut self, frame: &Frame, state: Vec<f32>, action: Vec<f32>) {
        if self.is_full() || state.iter().chain(&action).any(|v| !v.is_finite()) {
            return;
        }
        if let Ok(fitted) = fit(frame, self.spec.width, self.spec.height) {
            self.buffer.frames.push(fitted.frame);
            self.buffer.state.push(state);
            self.buffer.action.push(action);
        }
    }

    /// Number of moments.
    pub fn len(&self) -> usize {
        self.buffer.frames.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.buffer.frames.is_empty()
    }

    /// Appends the episode to a dataset (a new one where there is none). An empty take appends nothing.
    ///
    /// # Errors
    /// A dataset of another robot, a disk that cannot be written: then the dataset is as it was.
    pub fn save(mut self, dataset: &Path) -> Result<usize, Failure> {
        let frames = self.buffer.frames.len();
        if frames == 0 {
            return Ok(0);
        }
        for at in std::mem::take(&mut self.guided) {
            if let (Some(next), Some(action)) =
                (self.buffer.state.get(at + 1).cloned(), self.buffer.action.get_mut(at))
            {
                *action = next;
            }
        }
        let encoded = encode_episode(&self.spec, self.buffer).map_err(Failure::from_error)?;
        let _one = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = DatasetWriter::open_append(dataset, self.spec).map_err(Failure::from_error)?;
        writer.append(encoded).map_err(Failure::from_error)?;
        writer.finish().map_err(Failure::from_error)?;
        Ok(frames)
    }
}

/// Which moments belong to an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Those of a run.
    Running,
    /// All, until a person says that it is over.
    Always,
}

/// How far an episode is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Moments so far.
    pub frames: usize,
    /// Seconds so far.
    pub seconds: f32,
    /// Nothing more is added: it is as long as it can be.
    pub full: bool,
}

/// Looks on through a connection of its own and collects an episode. Dropped, it forgets what it has collected.
pub struct Recorder {
    end: Arc<AtomicBool>,
    frames: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
    fps: u32,
    thread: Option<std::thread::JoinHandle<Take>>,
    dataset: std::path::PathBuf,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
    }
}

impl Recorder {
    /// Collects a run: moments count while the robot runs.
    ///
    /// # Errors
    /// A robot without a camera, an agent that cannot be reached.
    pub fn start(
        address: &str,
        token: Option<&str>,
        robot: &RobotFile,
        dataset: &Path,
        task: &str,
    ) -> Result<Self, Failure> {
        Self::open(address, token, robot, dataset, task, When::Running)
    }

    /// Collects what a person shows: all moments from now on, whether the arm is moved by sliders or guided by hand.
    ///
    /// # Errors
    /// A robot without a camera, an agent that cannot be reached, a dataset of other channels or pictures.
    pub fn begin(
        address: &str,
        token: Option<&str>,
        robot: &RobotFile,
        dataset: &Path,
        task: &str,
    ) -> Result<Self, Failure> {
        if dataset.join("meta/info.json").is_file() {
            // Told before anything is shown, not after: whether episodes of this robot go into this dataset.
            let _one = SAVING.lock().unwrap_or_else(PoisonError::into_inner);
            DatasetWriter::open_append(dataset, spec_of(robot)?).map_err(Failure::from_error)?;
        }
        Self::open(address, token, robot, dataset, task, When::Always)
    }

    fn open(
        address: &str,
        token: Option<&str>,
        robot: &RobotFile,
        dataset: &Path,
        task: &str,
        when: When,
    ) -> Result<Self, Failure> {
        let mut take = Take::new(spec_of(robot)?, task);
        let mut client = Client::connect(address, token, "recorder").map_err(Failure::from_error)?;
        let (end, full) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let frames = Arc::new(AtomicUsize::new(0));
        let (over, brim, count) = (Arc::clone(&end), Arc::clone(&full), Arc::clone(&frames));
        let fps = take.spec.fps;
        let period = Duration::from_secs_f64(1.0 / f64::from(fps));
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            while !over.load(Ordering::SeqCst) {
                let _ = moment(&mut client, &mut take, when);
                count.store(take.len(), Ordering::SeqCst);
                brim.store(take.is_full(), Ordering::SeqCst);
                next += period;
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    next = Instant::now();
                }
                std::thread::sleep(left);
            }
            take
        });
        Ok(Self { end, frames, full, fps, thread: Some(thread), dataset: dataset.to_path_buf() })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let frames = self.frames.load(Ordering::SeqCst);
        let seconds = frames as f32 / self.fps.max(1) as f32;
        Progress { frames, seconds, full: self.full.load(Ordering::SeqCst) }
    }

    /// Ends the episode and puts it on disk; the number of its frames.
    ///
    /// # Errors
    /// As [`Take::save`].
    pub fn finish(mut self) -> Result<usize, Failure> {
        self.end.store(true, Ordering::SeqCst);
        let early = || Failure::new("The recording ended early.", "Record again.");
        let take = self.thread.take().ok_or_else(early)?.join().map_err(|_| early())?;
        take.save(&self.dataset)
    }
}

/// One moment of a robot.
fn moment(client: &mut Client, take: &mut Take, when: When) -> Option<()> {
    let Tell::View(view) = client.ask(Ask::View).ok()? else { return None };
    let running = view.robot.state == "running";
    if !running && (when == When::Running || matches!(view.robot.state.as_str(), "disconnected" | "fault")) {
        return None;
    }
    let Tell::Picture { width, height, rgb, .. } = client.ask(Ask::Look { camera: None }).ok()? else {
        return None;
    };
    let data = from_base64(&rgb).filter(|d| d.len() == width * height * 3)?;
    let frame = Frame { width, height, data };
    let joints = &view.robot.joints;
    let state: Vec<f32> = joints.iter().map(|j| j.position.map(|p| p as f32)).collect::<Option<_>>()?;
    match running {
        true => take.add(&frame, state, joints.iter().map(|j| j.goal as f32).collect()),
        false => take.add_guided(&frame, state),
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::Dataset;

    #[test]
    fn what_a_hand_showed_is_what_the_joints_did_next() {
        let dir = tempfile::tempdir().unwrap();
        let set = dir.path().join("shown");
        let robot = RobotFile::tabletop("arm", 32);
        let spec = spec_of(&robot).unwrap();
        let joints = spec.state.len();
        let frame = Frame::filled(spec.width, spec.height, [90; 3]);
        let mut take = Take::new(spec, "show it");
        for t in 0..3 {
            take.add_guided(&frame, vec![t as f32; joints]);
        }
        // From here on it was sent somewhere, and that is kept as it is.
        take.add(&frame, vec![3.0; joints], vec![9.0; joints]);
        take.add_guided(&frame, vec![f32::NAN; joints]);
        assert_eq!((take.len(), take.is_full()), (4, false), "a joint that says nothing gives no moment");
        assert_eq!(take.save(&set).unwrap(), 4);
        let episode = Dataset::open(&set).unwrap().episode(0).unwrap();
        let actions = episode.actions().unwrap();
        let first: Vec<f32> = (0..4).map(|t| actions.row(t)[0]).collect();
        assert_eq!(first, [1.0, 2.0, 3.0, 9.0]);
        assert_eq!(episode.task, "show it");
        // Nothing shown, nothing kept.
        let none = Take::new(spec_of(&robot).unwrap(), "");
        assert_eq!(none.save(&dir.path().join("none")).unwrap(), 0);
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn an_episode_ends_before_memory_does() {
        let mut spec = spec_of(&RobotFile::tabletop("arm", 32)).unwrap();
        (spec.width, spec.height) = (1 << 15, 1 << 15);
        assert!(Take::new(spec.clone(), "").is_full(), "one such picture is more than an episode may hold");
        (spec.width, spec.height) = (640, 480);
        assert!(!Take::new(spec, "").is_full());
    }
}
