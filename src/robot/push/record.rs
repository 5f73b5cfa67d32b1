//! Episodes of real runs as a LeRobot dataset. An episode is on disk when its run has ended; a kill loses at most the
//! running one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Longest episode in memory: ten minutes at 30 pictures a second.
const LONGEST: usize = 18_000;

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
}

impl Take {
    /// An empty episode. One without words is called a run.
    pub fn new(spec: DatasetSpec, task: &str) -> Self {
        let task = if task.trim().is_empty() { "run" } else { task };
        Self { spec, buffer: EpisodeBuffer { task: task.into(), ..EpisodeBuffer::default() } }
    }

    /// Adds a moment: what was seen, where the joints stood, where they were sent. Full takes and broken pictures add
    /// nothing.
    pub fn add(&mut self, frame: &Frame, state: Vec<f32>, action: Vec<f32>) {
        if self.buffer.frames.len() >= LONGEST || state.iter().chain(&action).any(|v| !v.is_finite()) {
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
    pub fn save(self, dataset: &Path) -> Result<usize, Failure> {
        let frames = self.buffer.frames.len();
        if frames == 0 {
            return Ok(0);
        }
        let encoded = encode_episode(&self.spec, self.buffer).map_err(Failure::from_error)?;
        let mut writer = DatasetWriter::open_append(dataset, self.spec).map_err(Failure::from_error)?;
        writer.append(encoded).map_err(Failure::from_error)?;
        writer.finish().map_err(Failure::from_error)?;
        Ok(frames)
    }
}

/// Looks on through a connection of its own and collects an episode while the robot runs.
pub struct Recorder {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Take>,
    dataset: std::path::PathBuf,
}

impl Recorder {
    /// Starts to look.
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
        let mut take = Take::new(spec_of(robot)?, task);
        let mut client = Client::connect(address, token, "recorder").map_err(Failure::from_error)?;
        let end = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&end);
        let period = Duration::from_secs_f64(1.0 / f64::from(take.spec.fps));
        let thread = std::thread::spawn(move || {
            let mut next = Instant::now();
            while !over.load(Ordering::SeqCst) {
                let _ = moment(&mut client, &mut take);
                next += period;
                let left = next.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    next = Instant::now();
                }
                std::thread::sleep(left);
            }
            take
        });
        Ok(Self { end, thread, dataset: dataset.to_path_buf() })
    }

    /// Ends the episode and puts it on disk; the number of its frames.
    ///
    /// # Errors
    /// As [`Take::save`].
    pub fn finish(self) -> Result<usize, Failure> {
        self.end.store(true, Ordering::SeqCst);
        let take =
            self.thread.join().map_err(|_| Failure::new("The recording ended early.", "Record again."))?;
        take.save(&self.dataset)
    }
}

/// One moment of a running robot.
fn moment(client: &mut Client, take: &mut Take) -> Option<()> {
    let Tell::View(view) = client.ask(Ask::View).ok()? else { return None };
    if view.robot.state != "running" {
        return None;
    }
    let Tell::Picture { width, height, rgb, .. } = client.ask(Ask::Look { camera: None }).ok()? else {
        return None;
    };
    let data = from_base64(&rgb).filter(|d| d.len() == width * height * 3)?;
    let joints = &view.robot.joints;
    let state: Option<Vec<f32>> = joints.iter().map(|j| j.position.map(|p| p as f32)).collect();
    take.add(&Frame { width, height, data }, state?, joints.iter().map(|j| j.goal as f32).collect());
    Some(())
}
