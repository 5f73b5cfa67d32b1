//! An open data set.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use arrow::array::Array;
use serde_json::Value;

use super::encode::ChannelInfo;
use super::episodes::{self, EpisodeMeta};
use super::info::{Camera, CameraKind, Feature, Info, Version};
use super::pool::ClipPool;
use super::table::{Rows, Table, blobs, doubles, integers, numbers_f32, texts};
use super::{DatasetError, Result, Stats};
use crate::Frame;
use crate::media::decode_picture;

/// A table of numbers: one row a frame, one column a channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Name and unit of each column.
    pub channels: Vec<ChannelInfo>,
    /// Row by row; nulls are NaN. `len() == rows * channels.len()`.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Columns.
    pub fn width(&self) -> usize {
        self.channels.len()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.channels.len().max(1)
    }

    /// Row `t`; empty outside.
    pub fn row(&self, t: usize) -> &[f32] {
        let width = self.channels.len();
        self.values.get(t * width..(t + 1) * width).unwrap_or_default()
    }

    /// Number of the column with this name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.channels.iter().position(|c| c.name == name)
    }
}

/// The numbers of one episode.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its number in the set.
    pub index: usize,
    /// Frames.
    pub length: usize,
    /// What was to be done, in words (the first of several); empty when the set does not say.
    pub task: String,
    /// All words that occur in it.
    pub tasks: Vec<String>,
    /// Every number column by feature key (`observation.state`, `action`, `label.*`, `timestamp`, ...), one row a
    /// frame.
    pub columns: BTreeMap<String, Matrix>,
    /// Text columns by feature key, one a frame.
    pub texts: BTreeMap<String, Vec<String>>,
}

impl Episode {
    /// The `action` columns.
    pub fn actions(&self) -> Option<&Matrix> {
        self.columns.get("action")
    }

    /// The `observation.state` columns.
    pub fn state(&self) -> Option<&Matrix> {
        self.columns.get("observation.state")
    }
}

/// An open LeRobotDataset (v3.0, v2.1 or v2.0). Every method takes `&self`; use it from as many threads as you
/// like. Damage in one episode leaves the others readable.
pub struct Dataset {
    root: PathBuf,
    info: Info,
    episodes: Vec<EpisodeMeta>,
    tasks: Vec<String>,
    stats: BTreeMap<String, Stats>,
    problems: Vec<String>,
    clips: ClipPool,
    /// First row and number of rows of each episode in the tables opened so far.
    rows: Mutex<HashMap<PathBuf, Arc<HashMap<usize, (usize, usize)>>>>,
    timestamps: Mutex<HashMap<usize, Arc<Vec<f64>>>>,
    scenes: OnceLock<HashMap<usize, Value>>,
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dataset({}, {} episodes)", self.root.display(), self.episodes.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What these locks guard is complete at any time, also after a panic elsewhere.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Dataset {
    /// Opens the folder that contains `meta/info.json`. Only the index is read now.
    ///
    /// # Errors
    /// When it is no data set, another version, or its index cannot be read at all.
    pub fn open(root: &Path) -> Result<Self> {
        let info = Info::read(root)?;
        let index = episodes::read(root, &info)?;
        let mut problems = index.problems;
        if index.episodes.is_empty() {
            let what = "it has no episodes".to_owned();
            return Err(DatasetError::NotDataset { path: root.to_owned(), what });
        }
        let frames: usize = index.episodes.iter().map(|e| e.length).sum();
        if info.total_episodes != index.episodes.len() || info.total_frames != frames {
            problems.push(format!(
                "meta/info.json counts {} episodes and {} frames, the episode table {} and {frames}",
                info.total_episodes,
                info.total_frames,
                index.episodes.len()
            ));
        }
        for camera in &info.cameras {
            if let CameraKind::Unsupported(why) = &camera.kind {
                problems.push(format!("camera \"{}\" is skipped: {why}", camera.key));
            }
        }
        let stats = std::fs::read(root.join("meta/stats.json"))
            .ok()
            .and_then(|b| serde_json::from_slice::<BTreeMap<String, Value>>(&b).ok())
            .map(|map| map.iter().filter_map(|(k, v)| Some((k.clone(), Stats::from_json(v)?))).collect())
            .unwrap_or_default();
        Ok(Self {
            root: root.to_owned(),
            info,
            episodes: index.episodes,
            tasks: index.tasks,
            stats,
            problems,
            clips: ClipPool::default(),
            rows: Mutex::default(),
            timestamps: Mutex::default(),
            scenes: OnceLock::new(),
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Layout of the set.
    pub fn version(&self) -> Version {
        self.info.version
    }

    /// Frames a second.
    pub fn fps(&self) -> f64 {
        self.info.fps
    }

    /// Kind of robot body, as the set says.
    pub fn robot_type(&self) -> &str {
        &self.info.robot_type
    }

    /// Columns of numbers and texts.
    pub fn features(&self) -> &[Feature] {
        &self.info.features
    }

    /// Picture features, unsupported ones included.
    pub fn cameras(&self) -> &[Camera] {
        &self.info.cameras
    }

    /// The first camera that can be read.
    pub fn main_camera(&self) -> Option<&Camera> {
        self.info.cameras.iter().find(|c| !matches!(c.kind, CameraKind::Unsupported(_)))
    }

    /// The episodes in order. Their numbers ([`EpisodeMeta::index`]) may have gaps in a damaged set.
    pub fn episodes(&self) -> &[EpisodeMeta] {
        &self.episodes
    }

    /// Number of episodes.
    pub fn len(&self) -> usize {
        self.episodes.len()
    }

    /// Never true: a set without episodes does not open.
    pub fn is_empty(&self) -> bool {
        self.episodes.is_empty()
    }

    /// Frames in all episodes.
    pub fn total_frames(&self) -> usize {
        self.episodes.iter().map(|e| e.length).sum()
    }

    /// The words of each task by number.
    pub fn tasks(&self) -> &[String] {
        &self.tasks
    }

    /// Statistics of the whole set by feature key (empty for v2.1 sets, which only have them by episode).
    pub fn stats(&self) -> &BTreeMap<String, Stats> {
        &self.stats
    }

    /// What is wrong with the set without keeping it from being used.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The index entry of an episode by its number.
    ///
    /// # Errors
    /// [`DatasetError::NoEpisode`].
    pub fn meta(&self, episode: usize) -> Result<&EpisodeMeta> {
        let found = self.episodes.binary_search_by_key(&episode, |e| e.index);
        found.ok().and_then(|i| self.episodes.get(i)).ok_or_else(|| {
            let last = self.episodes.last().map_or(0, |e| e.index);
            let have = format!("{} (numbers 0 to {last})", self.episodes.len());
            DatasetError::NoEpisode { path: self.root.clone(), index: episode, have }
        })
    }

    fn camera(&self, name: &str) -> Result<&Camera> {
        let camera = self.info.cameras.iter().find(|c| c.key == name).ok_or_else(|| {
            let names: Vec<&str> = self.info.cameras.iter().map(|c| c.key.as_str()).collect();
            let have = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            DatasetError::NoCamera { path: self.root.clone(), name: name.to_owned(), have }
        })?;
        match &camera.kind {
            CameraKind::Unsupported(what) => {
                Err(DatasetError::UnsupportedCamera { name: name.to_owned(), what: what.clone() })
            }
            _ => Ok(camera),
        }
    }

    /// Which rows of its table belong to an episode.
    fn rows_of(&self, meta: &EpisodeMeta) -> Result<Rows> {
        let known = lock(&self.rows).get(&meta.data).cloned();
        let map = match known {
            Some(map) => map,
            None => {
                let map = Arc::new(self.index_table(meta)?);
                lock(&self.rows).insert(meta.data.clone(), map.clone());
                map
            }
        };
        let (start, count) = *map.get(&meta.index).ok_or_else(|| {
            DatasetError::broken(&meta.data, format!("it has no rows of episode {}", meta.index))
        })?;
        if count != meta.length {
            let what = format!(
                "episode {} has {count} rows here, but the episode table says {}",
                meta.index, meta.length
            );
            return Err(DatasetError::broken(&meta.data, what));
        }
        Ok(Rows::Some(start, count))
    }

    fn index_table(&self, meta: &EpisodeMeta) -> Result<HashMap<usize, (usize, usize)>> {
        let table = Table::open(&meta.data)?;
        let mut map: HashMap<usize, (usize, usize)> = HashMap::new();
        if table.rows() == 0 {
            return Ok(map);
        }
        let has_index = table.columns().iter().any(|(name, _)| name == "episode_index");
        if !has_index {
            map.insert(meta.index, (0, table.rows()));
            return Ok(map);
        }
        let batch = table.read(Rows::All, |name| name == "episode_index")?;
        let index = integers(&batch, "episode_index").ok_or_else(|| {
            DatasetError::broken(&meta.data, "its column episode_index is not of whole numbers")
        })?;
        for (row, episode) in index.iter().enumerate() {
            let Ok(episode) = usize::try_from(*episode) else { continue };
            let (start, count) = map.entry(episode).or_insert((row, 0));
            if *start + *count != row {
                let what = format!("the rows of episode {episode} are scattered");
                return Err(DatasetError::broken(&meta.data, what));
            }
            *count += 1;
        }
        Ok(map)
    }

    /// All numbers of an episode.
    ///
    /// # Errors
    /// When there is no such episode, or its table is missing, damaged or of another length.
    pub fn episode(&self, episode: usize) -> Result<Episode> {
        let meta = self.meta(episode)?;
        let rows = self.rows_of(meta)?;
        let is_picture = |name: &str| self.info.cameras.iter().any(|c| c.key == name);
        let batch = Table::open(&meta.data)?.read(rows, |name| !is_picture(name))?;
        let (mut columns, mut text_columns) = (BTreeMap::new(), BTreeMap::new());
        let schema = batch.schema();
        for (field, array) in schema.fields().iter().zip(batch.columns()) {
            let key = field.name();
            if let Some((width, values)) = numbers_f32(array) {
                let known = self.info.features.iter().find(|f| f.key == *key);
                let channels = match known {
                    Some(feature) if feature.channels.len() == width => feature.channels.clone(),
                    _ => (0..width).map(|i| ChannelInfo::new(i.to_string(), "")).collect(),
                };
                columns.insert(key.clone(), Matrix { channels, values });
            } else if let Some(values) = texts(array) {
                text_columns.insert(key.clone(), values);
            }
        }
        let mut tasks = meta.tasks.clone();
        if tasks.is_empty() {
            let numbers = integers(&batch, "task_index").unwrap_or_default();
            for n in numbers {
                let words = usize::try_from(n).ok().and_then(|n| self.tasks.get(n));
                if let Some(words) = words.filter(|w| !tasks.contains(w)) {
                    tasks.push(words.clone());
                }
            }
        }
        Ok(Episode {
            index: meta.index,
            length: meta.length,
            task: tasks.first().cloned().unwrap_or_default(),
            tasks,
            columns,
            texts: text_columns,
        })
    }

    /// Seconds of each frame since the start of its episode, as the table says.
    fn times(&self, meta: &EpisodeMeta) -> Result<Arc<Vec<f64>>> {
        if let Some(times) = lock(&self.timestamps).get(&meta.index) {
            return Ok(times.clone());
        }
        let rows = self.rows_of(meta)?;
        let table = Table::open(&meta.data)?;
        let has_times = table.columns().iter().any(|(name, _)| name == "timestamp");
        let times = if has_times {
            let batch = table.read(rows, |name| name == "timestamp")?;
            doubles(&batch, "timestamp").unwrap_or_default()
        } else {
            (0..meta.length).map(|i| i as f64 / self.info.fps).collect()
        };
        let times = Arc::new(times);
        lock(&self.timestamps).insert(meta.index, times.clone());
        Ok(times)
    }

    fn check_frame(meta: &EpisodeMeta, index: usize) -> Result<()> {
        if index >= meta.length {
            return Err(DatasetError::NoFrame { episode: meta.index, index, len: meta.length });
        }
        Ok(())
    }

    /// Any frame of any episode.
    ///
    /// # Errors
    /// When camera, episode or frame do not exist, or the picture does not decode.
    pub fn frame(&self, camera: &str, episode: usize, index: usize) -> Result<Frame> {
        let mut frames = self.clip(camera, episode, index..index.saturating_add(1))?;
        frames.pop().ok_or(DatasetError::NoFrame { episode, index, len: 0 })
    }

    /// Consecutive frames of an episode, each decoded once.
    ///
    /// # Errors
    /// As [`Dataset::frame`].
    pub fn clip(&self, camera: &str, episode: usize, range: Range<usize>) -> Result<Vec<Frame>> {
        let meta = self.meta(episode)?;
        let camera = self.camera(camera)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        Self::check_frame(meta, range.end.saturating_sub(1))?;
        if camera.kind == CameraKind::Image {
            return self.images(meta, &camera.key, range);
        }
        let place = meta.videos.get(&camera.key).ok_or_else(|| {
            DatasetError::broken(&meta.data, format!("episode {episode} has no clip of \"{}\"", camera.key))
        })?;
        let times = self.times(meta)?;
        // Nearest frame; further off than this and it would be another one's.
        let tolerance = 0.45 / self.info.fps;
        let mut frames = Vec::with_capacity(range.len());
        for index in range {
            let time = times.get(index).copied().unwrap_or(index as f64 / self.info.fps);
            frames.push(self.clips.frame_at(&place.path, place.from + time, tolerance)?);
        }
        Ok(frames)
    }

    /// Pictures that lie as files inside the table.
    fn images(&self, meta: &EpisodeMeta, key: &str, range: Range<usize>) -> Result<Vec<Frame>> {
        let Rows::Some(start, _) = self.rows_of(meta)? else { return Ok(Vec::new()) };
        let rows = Rows::Some(start + range.start, range.len());
        let batch = Table::open(&meta.data)?.read(rows, |name| name == key)?;
        let column = batch.column_by_name(key).filter(|c| c.len() == range.len());
        let cells = column
            .and_then(blobs)
            .ok_or_else(|| DatasetError::broken(&meta.data, format!("it has no pictures of \"{key}\"")))?;
        let mut frames = Vec::with_capacity(cells.len());
        for (cell, index) in cells.into_iter().zip(range) {
            let what = || format!("frame {index} of episode {} has no picture", meta.index);
            let bytes = cell.ok_or_else(|| DatasetError::broken(&meta.data, what()))?;
            frames.push(decode_picture(&meta.data, &bytes)?);
        }
        Ok(frames)
    }

    /// What makes the scene of an episode again (sets of the virtual world only).
    pub fn scene(&self, episode: usize) -> Option<&Value> {
        self.scenes.get_or_init(|| self.read_scenes()).get(&episode)
    }

    fn read_scenes(&self) -> HashMap<usize, Value> {
        let text = std::fs::read(self.root.join("meta/forerun_scenes.jsonl")).unwrap_or_default();
        let mut scenes = HashMap::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let Ok(mut value) = serde_json::from_str::<Value>(line) else { continue };
            let index = value.get("episode_index").and_then(Value::as_u64);
            let scene = value.get_mut("scene").map(Value::take);
            if let (Some(index), Some(scene)) = (index, scene) {
                scenes.insert(index as usize, scene);
            }
        }
        scenes
    }

    /// sha256 over the content of the set: names, sizes and sha256 of all files under meta, data, videos and
    /// images, in the order of their names. Where the set lies makes no difference.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sha256(&self) -> Result<String> {
        let mut files = Vec::new();
        for folder in ["data", "images", "meta", "videos"] {
            collect(&self.root.join(folder), folder, &mut files)?;
        }
        files.sort();
        let mut listing = String::new();
        for (name, path) in files {
            let size = std::fs::metadata(&path).map_err(|e| DatasetError::io(&path, e))?.len();
            let hash = crate::fsx::sha256_file(&path).map_err(|e| DatasetError::io(&path, e))?;
            listing.push_str(&format!("{name}\n{size}\n{hash}\n"));
        }
        Ok(crate::fsx::sha256_hex(listing.as_bytes()))
    }
}

/// All files under a folder with their names from the root on; hidden ones (unfinished writes) left out.
fn collect(folder: &Path, name: &str, out: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(DatasetError::io(folder, e)),
    };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if file.starts_with('.') {
            continue;
        }
        let name = format!("{name}/{file}");
        if entry.path().is_dir() {
            collect(&entry.path(), &name, out)?;
        } else {
            out.push((name, entry.path()));
        }
    }
    Ok(())
}
