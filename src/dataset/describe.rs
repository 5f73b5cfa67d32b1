//! What a data set is and whether it is sound, for `forerun inspect`.

use std::path::Path;

use serde::Serialize;

use super::{CameraKind, Dataset, Result};

/// A camera in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CameraReport {
    /// Feature key.
    pub key: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `av1`, `h264`, `png`, or why it is not read.
    pub format: String,
    /// Whether it can be read here.
    pub readable: bool,
}

/// A data set in numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Always `dataset`.
    pub kind: &'static str,
    /// `v3.0`, ...
    pub version: String,
    /// Kind of robot body.
    pub robot_type: String,
    /// Frames a second.
    pub fps: f64,
    /// Episodes.
    pub episodes: usize,
    /// Frames in all episodes.
    pub frames: usize,
    /// Shortest, median and longest episode in frames.
    pub lengths: [usize; 3],
    /// What was to be done, in words (at most 20).
    pub tasks: Vec<String>,
    /// Cameras.
    pub cameras: Vec<CameraReport>,
    /// Names of the state's channels with units.
    pub state: Vec<String>,
    /// Names of the action's channels with units.
    pub action: Vec<String>,
    /// Other columns.
    pub columns: Vec<String>,
    /// sha256 of the content.
    pub sha256: String,
    /// Every check was in order.
    pub sound: bool,
    /// Faults, in words.
    pub problems: Vec<String>,
}

/// Most faults that a report lists.
const MAX_PROBLEMS: usize = 20;

/// Looks at a data set: reads the numbers of every episode and decodes its first, middle and last frame in each
/// camera.
///
/// # Errors
/// When it does not open at all; what is wrong with single episodes is listed in `problems`.
pub fn describe(path: &Path) -> Result<Report> {
    let set = Dataset::open(path)?;
    let mut problems: Vec<String> = set.problems().to_vec();
    let mut note = |problem: String| {
        if problems.len() < MAX_PROBLEMS {
            problems.push(problem);
        }
    };
    for meta in set.episodes() {
        match set.episode(meta.index) {
            Ok(episode) => {
                for (key, matrix) in &episode.columns {
                    if matrix.values.iter().any(|x| !x.is_finite()) {
                        note(format!("episode {}: \"{key}\" has values that are not finite", meta.index));
                    }
                }
            }
            Err(e) => note(format!("episode {}: {e}", meta.index)),
        }
        let Some(last) = meta.length.checked_sub(1) else {
            note(format!("episode {} is empty", meta.index));
            continue;
        };
        for camera in set.cameras().iter().filter(|c| !matches!(c.kind, CameraKind::Unsupported(_))) {
            let mut checks = vec![0, last / 2, last];
            checks.dedup();
            for index in checks {
                match set.frame(&camera.key, meta.index, index) {
                    Ok(frame) if (frame.width, frame.height) != (camera.width, camera.height) => {
                        note(format!(
                            "episode {}, \"{}\": pictures are {} x {}, info.json says {} x {}",
                            meta.index, camera.key, frame.width, frame.height, camera.width, camera.height
                        ));
                    }
                    Err(e) => {
                        note(format!("episode {}: {e}", meta.index));
                        break;
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    let mut lengths: Vec<usize> = set.episodes().iter().map(|e| e.length).collect();
    lengths.sort_unstable();
    let at = |i: usize| lengths.get(i).copied().unwrap_or(0);
    let channels = |key: &str| -> Vec<String> {
        let feature = set.features().iter().find(|f| f.key == key);
        let name = |c: &super::ChannelInfo| {
            if c.unit.is_empty() { c.name.clone() } else { format!("{} [{}]", c.name, c.unit) }
        };
        feature.map(|f| f.channels.iter().map(name).collect()).unwrap_or_default()
    };
    let cameras = set.cameras().iter().map(|c| {
        let (format, readable) = match &c.kind {
            CameraKind::Video { codec } if codec.is_empty() => ("video".to_owned(), true),
            CameraKind::Video { codec } => (codec.clone(), true),
            CameraKind::Image => ("png".to_owned(), true),
            CameraKind::Unsupported(why) => (format!("not read: {why}"), false),
        };
        CameraReport { key: c.key.clone(), width: c.width, height: c.height, format, readable }
    });
    let sha256 = set.sha256()?;
    Ok(Report {
        kind: "dataset",
        version: set.version().name().to_owned(),
        robot_type: set.robot_type().to_owned(),
        fps: set.fps(),
        episodes: set.len(),
        frames: set.total_frames(),
        lengths: [at(0), at(lengths.len() / 2), at(lengths.len().saturating_sub(1))],
        tasks: set.tasks().iter().take(20).cloned().collect(),
        cameras: cameras.collect(),
        state: channels("observation.state"),
        action: channels("action"),
        columns: set
            .features()
            .iter()
            .map(|f| f.key.clone())
            .filter(|k| k != "action" && k != "observation.state")
            .collect(),
        sha256,
        sound: problems.is_empty(),
        problems,
    })
}
