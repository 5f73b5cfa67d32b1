//! Recording: many episodes into a LeRobotDataset, on all cores, in the same order whatever their number.

use super::arm::{JOINT_NAMES, JOINT_UNITS};
use super::behaviour::Behaviour;
use super::episode::{Episode, EpisodeSettings, generate_episode};
use super::physics::Labels;
use super::{MAX_OBJECTS, WorldError};
use crate::dataset::{
    ChannelInfo, DatasetSpec, DatasetWriter, EncodedEpisode, EpisodeBuffer, encode_episode,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// What to record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordSettings {
    /// How each episode is made.
    pub episode: EpisodeSettings,
    /// Number of episodes.
    pub episodes: usize,
    /// Seed of the first episode; the others follow from it, each kind of behaviour with its own.
    pub seed: u64,
    /// Worker threads; 0 = one per core.
    pub threads: usize,
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordProgress {
    /// Episodes on disk.
    pub episodes: usize,
    /// Frames on disk.
    pub frames: usize,
    /// Episodes on disk that ended in success.
    pub successes: usize,
}

/// The seed of the `index`-th episode of a recording.
pub fn episode_seed(seed: u64, behaviour: Behaviour, index: usize) -> u64 {
    super::rng::Rng::new(seed, 0x5eed_0000 + behaviour as u64 * 0x1_0000_0000 + index as u64).next_u64() >> 1
}

/// Columns of a recording.
pub fn dataset_spec(settings: &EpisodeSettings) -> DatasetSpec {
    let channels =
        || JOINT_NAMES.iter().zip(JOINT_UNITS).map(|(n, u)| ChannelInfo::new(*n, u)).collect::<Vec<_>>();
    let pose = |of: &str| {
        ["x", "y", "z", "qx", "qy", "qz", "qw"]
            .map(|c| ChannelInfo::new(format!("{of}{c}"), if c.len() == 1 { "m" } else { "" }))
            .to_vec()
    };
    let one = |name: &str| vec![ChannelInfo::new(name, "")];
    DatasetSpec {
        fps: settings.scenes.fps,
        robot_type: "so101_follower".into(),
        width: settings.size,
        height: settings.size,
        camera: "observation.images.front".into(),
        state: channels(),
        action: channels(),
        extra: vec![
            ("label.objects".into(), (0..MAX_OBJECTS).flat_map(|i| pose(&format!("object_{i}."))).collect()),
            (
                "label.objects_present".into(),
                (0..MAX_OBJECTS).map(|i| ChannelInfo::new(format!("object_{i}"), "")).collect(),
            ),
            ("label.gripper".into(), pose("gripper.")),
            ("label.contact".into(), one("contact")),
            ("label.progress".into(), one("progress")),
            ("label.success".into(), one("success")),
        ],
    }
}

fn rows(labels: &[Labels]) -> Vec<Vec<Vec<f32>>> {
    let flag = |b: bool| if b { 1.0f32 } else { 0.0 };
    let column = |f: &dyn Fn(&Labels) -> Vec<f32>| labels.iter().map(f).collect::<Vec<_>>();
    vec![
        column(&|l| l.objects.iter().flat_map(|p| p.to_array()).collect()),
        column(&|l| l.present.iter().map(|&p| flag(p)).collect()),
        column(&|l| l.gripper.to_array().to_vec()),
        column(&|l| vec![flag(l.contact)]),
        column(&|l| vec![l.judgement.progress]),
        column(&|l| vec![flag(l.judgement.success)]),
    ]
}

/// An episode as the dataset's writer takes it; the columns are those of [`dataset_spec`].
///
/// # Errors
/// [`WorldError::Dataset`] when the scene cannot be put into JSON.
pub fn to_buffer(episode: Episode) -> Result<EpisodeBuffer, WorldError> {
    Ok(EpisodeBuffer {
        extra: rows(&episode.labels),
        scene: serde_json::to_value(&episode.scene).map_err(|e| WorldError::Dataset(e.to_string()))?,
        task: episode.task,
        frames: episode.frames,
        state: episode.states.iter().map(|s| s.to_vec()).collect(),
        action: episode.actions.iter().map(|s| s.to_vec()).collect(),
    })
}

struct Done {
    index: usize,
    success: bool,
    episode: Result<EncodedEpisode, WorldError>,
}

/// Records a dataset into the new folder `out`. `progress` is called after each episode that is on disk;
/// setting `cancel` stops within about an episode's time, and what is on disk by then stays a whole dataset.
///
/// # Errors
/// Settings out of range, a folder that cannot be written, [`WorldError::Cancelled`].
pub fn record(
    settings: &RecordSettings,
    out: &Path,
    mut progress: impl FnMut(RecordProgress),
    cancel: &AtomicBool,
) -> Result<RecordProgress, WorldError> {
    settings.episode.check()?;
    if settings.episodes == 0 {
        return Err(WorldError::BadSetting("a recording has at least one episode".into()));
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = if settings.threads == 0 { cores } else { settings.threads }.clamp(1, settings.episodes);
    let spec = dataset_spec(&settings.episode);
    let mut writer =
        DatasetWriter::create(out, spec.clone()).map_err(|e| WorldError::Dataset(e.to_string()))?;
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    // Few finished episodes may wait for the writer: memory stays flat.
    let (send, receive) = mpsc::sync_channel::<Done>(threads * 2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let send = send.clone();
            let (next, stop, spec) = (&next, &stop, &spec);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) && !cancel.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= settings.episodes {
                        break;
                    }
                    let seed = episode_seed(settings.seed, settings.episode.behaviour, index);
                    let made = generate_episode(&settings.episode, seed);
                    let success =
                        made.as_ref().is_ok_and(|e| e.labels.last().is_some_and(|l| l.judgement.success));
                    let episode = made.and_then(to_buffer).and_then(|b| {
                        encode_episode(spec, b).map_err(|e| WorldError::Dataset(e.to_string()))
                    });
                    if send.send(Done { index, success, episode }).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let result = write(settings, &mut writer, &receive, &mut progress, cancel);
        stop.store(true, Ordering::Relaxed);
        // Workers that wait for room in the channel see it closed.
        drop(receive);
        result
    })
    .and_then(|total| {
        writer.finish().map_err(|e| WorldError::Dataset(e.to_string()))?;
        Ok(total)
    })
}

fn write(
    settings: &RecordSettings,
    writer: &mut DatasetWriter,
    receive: &mpsc::Receiver<Done>,
    progress: &mut impl FnMut(RecordProgress),
    cancel: &AtomicBool,
) -> Result<RecordProgress, WorldError> {
    let mut total = RecordProgress { episodes: 0, frames: 0, successes: 0 };
    // Episodes come in any order and leave in theirs.
    let mut waiting = BTreeMap::new();
    while total.episodes < settings.episodes {
        if cancel.load(Ordering::Relaxed) {
            return Err(WorldError::Cancelled);
        }
        let Ok(done) = receive.recv() else {
            let why = if cancel.load(Ordering::Relaxed) {
                WorldError::Cancelled
            } else {
                WorldError::Dataset("a worker thread ended early".into())
            };
            return Err(why);
        };
        waiting.insert(done.index, (done.success, done.episode));
        while let Some((success, episode)) = waiting.remove(&total.episodes) {
            let episode = episode?;
            let frames = episode.len();
            writer.append(episode).map_err(|e| WorldError::Dataset(e.to_string()))?;
            total.episodes += 1;
            total.frames += frames;
            total.successes += usize::from(success);
            progress(total);
        }
    }
    Ok(total)
}
