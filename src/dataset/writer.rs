//! Writes a LeRobotDataset v3.0, one episode at a time, so that a kill loses at most the running episode.
//!
//! Each episode has its own data file and video file, closed when it is appended; the episode table is kept in
//! files of up to 64 rows, of which only the last is ever rewritten. Everything of an episode is first written
//! and synced under temporary names; then come the renames: video, data, episode table, statistics, info. A
//! reader that comes in between sees the set without the episode.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::aggregate::Aggregate;
use super::info::Info;
use super::writer_tables::{
    EpisodeRow, Position, episodes_table, frames_table, info_json, place, tasks_table,
};
use super::{Dataset, DatasetError, DatasetSpec, EncodedEpisode, Result, Stats};
use crate::fsx::{self, Staged};

/// Rows of an episode table file.
const TABLE_ROWS: usize = 64;

/// Called after each step that changes the disk; for tests that look at every state in between.
type Watcher = Box<dyn FnMut(&'static str) + Send>;

/// An open data set that grows.
pub struct DatasetWriter {
    root: PathBuf,
    spec: DatasetSpec,
    episodes: usize,
    frames: usize,
    tasks: Vec<String>,
    aggregate: Aggregate,
    /// Rows of the last episode table file and its number.
    rows: Vec<EpisodeRow>,
    table: usize,
    /// The rows of a table file that just became full, until its successor is on disk.
    full_rows: Option<Vec<EpisodeRow>>,
    watcher: Option<Watcher>,
}

impl std::fmt::Debug for DatasetWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatasetWriter({}, {} episodes)", self.root.display(), self.episodes)
    }
}

impl DatasetWriter {
    /// Starts a new set in the folder `root`, which must be missing or empty. The set can be opened from its
    /// first episode on.
    ///
    /// # Errors
    /// When the folder has content, cannot be made or written, or the spec is not sound.
    pub fn create(root: &Path, spec: DatasetSpec) -> Result<Self> {
        spec.check()?;
        fs::create_dir_all(root).map_err(|e| DatasetError::io(root, e))?;
        fsx::sweep(root);
        let mut entries = fs::read_dir(root).map_err(|e| DatasetError::io(root, e))?;
        if entries.next().is_some() {
            return Err(DatasetError::Broken {
                path: root.to_owned(),
                what: "the folder is not empty".to_owned(),
                next: "Choose a new folder, or append to the data set that is there".to_owned(),
            });
        }
        // A disk that cannot be written shows now, not after the first episode's work.
        let probe = root.join(".probe");
        drop(fsx::stage(&probe, b"").map_err(|e| DatasetError::io(root, e))?);
        Ok(Self::at(root, spec))
    }

    fn at(root: &Path, spec: DatasetSpec) -> Self {
        Self {
            root: root.to_owned(),
            spec,
            episodes: 0,
            frames: 0,
            tasks: Vec::new(),
            aggregate: Aggregate::default(),
            rows: Vec::new(),
            table: 0,
            full_rows: None,
            watcher: None,
        }
    }

    /// Goes on with a set that [`DatasetWriter::create`] started, also after a kill: what was left half done is
    /// put right. An empty or missing folder starts a new set.
    ///
    /// # Errors
    /// When the set there has other features, was written by another program, or is damaged.
    pub fn open_append(root: &Path, spec: DatasetSpec) -> Result<Self> {
        spec.check()?;
        if !root.join("meta/info.json").exists() {
            sweep_all(root);
            if root.exists() && only_first_episode(root, &spec.camera) {
                let writer = Self::at(root, spec);
                writer.keep_scenes()?;
                return Ok(writer);
            }
            return Self::create(root, spec);
        }
        sweep_all(root);
        let info = Info::read(root)?;
        let wanted = info_json(&spec, 0, 0, 0);
        let same = |key: &str| info.raw.get(key) == wanted.get(key);
        if !["codebase_version", "fps", "features", "data_path", "video_path"].iter().all(|key| same(key)) {
            return Err(DatasetError::Broken {
                path: root.join("meta/info.json"),
                what: "this set has another rate, size or other columns".to_owned(),
                next: "Choose a new folder".to_owned(),
            });
        }
        let set = Dataset::open(root)?;
        let mut writer = Self::at(root, spec);
        writer.tasks = set.tasks().to_vec();
        for (i, meta) in set.episodes().iter().enumerate() {
            let whole = meta.index == i && meta.first_frame == writer.frames && meta.data_file == i;
            if !whole {
                let what = format!("episode {} does not lie where this program puts it", meta.index);
                return Err(DatasetError::broken(root, what));
            }
            writer.episodes += 1;
            writer.frames += meta.length;
        }
        let stats = super::episodes::read_stats(root, &info)?;
        for episode in stats.iter().take(writer.episodes) {
            for (key, stats) in episode {
                writer.aggregate.add(key, stats);
            }
        }
        // Rows go to a new table file: the old ones are never touched again.
        writer.table = super::episodes::table_files(root)?.len();
        writer.keep_scenes()?;
        if info.total_episodes != writer.episodes {
            writer.stage_meta()?.into_iter().try_for_each(|(path, s)| commit(&path, s))?;
        }
        Ok(writer)
    }

    /// Number of whole episodes.
    pub fn episodes(&self) -> usize {
        self.episodes
    }

    /// Number of frames in them.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the episodes look like.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// Lets a test look at the disk after every step.
    #[doc(hidden)]
    pub fn watch(&mut self, watcher: impl FnMut(&'static str) + Send + 'static) {
        self.watcher = Some(Box::new(watcher));
    }

    fn step(&mut self, name: &'static str) {
        if let Some(watcher) = &mut self.watcher {
            watcher(name);
        }
    }

    /// Adds an episode; when this returns, it is on disk. Gives its number.
    ///
    /// # Errors
    /// When it was encoded for other columns, or the disk is full or cannot be written: then the set is as it
    /// was before, and the call may be repeated.
    pub fn append(&mut self, episode: EncodedEpisode) -> Result<usize> {
        let n = self.episodes;
        let (tasks, rows, table, aggregate) =
            (self.tasks.len(), self.rows.len(), self.table, self.aggregate.clone());
        let done = self.try_append(episode);
        let full = self.full_rows.take();
        if done.is_err() {
            self.tasks.truncate(tasks);
            (self.table, self.aggregate) = (table, aggregate);
            match full {
                Some(full) => self.rows = full,
                None => self.rows.truncate(rows),
            }
        }
        done.map(|()| n)
    }

    fn try_append(&mut self, mut episode: EncodedEpisode) -> Result<()> {
        let wanted: Vec<usize> = self.spec.columns().iter().map(|(_, c)| c.len() * episode.length).collect();
        if !wanted.iter().eq(episode.columns.iter().map(Vec::len).collect::<Vec<_>>().iter()) {
            return Err(DatasetError::input(
                "this episode has other columns",
                "Encode it with this set's spec",
            ));
        }
        let known = self.tasks.iter().position(|t| *t == episode.task);
        let task = known.unwrap_or(self.tasks.len());
        if known.is_none() {
            self.tasks.push(episode.task.clone());
        }
        let at = Position { episode: self.episodes, first: self.frames, task };
        let (chunk, file) = place(at.episode);

        // Everything that can fail for want of space happens here, under temporary names.
        let video =
            self.root.join(format!("videos/{}/chunk-{chunk:03}/file-{file:03}.mp4", self.spec.camera));
        let data = self.root.join(format!("data/chunk-{chunk:03}/file-{file:03}.parquet"));
        let mut staged =
            vec![stage(&video, &episode.mp4)?, stage(&data, &frames_table(&self.spec, &episode, &at)?)?];
        self.step("staged video and data");
        if known.is_none() {
            // More tasks than episodes use do no harm, so this may come first.
            staged.insert(0, stage(&self.root.join("meta/tasks.parquet"), &tasks_table(&self.tasks)?)?);
        }
        self.add_index_stats(&mut episode, &at);
        if self.rows.len() >= TABLE_ROWS {
            self.full_rows = Some(std::mem::take(&mut self.rows));
            self.table += 1;
        }
        self.rows.push(EpisodeRow {
            episode: at.episode,
            task: episode.task.clone(),
            length: episode.length,
            first: at.first,
            stats: episode.stats.clone(),
        });
        for (key, stats) in &episode.stats {
            self.aggregate.add(key, stats);
        }
        let (chunk, file) = place(self.table);
        let table = self.root.join(format!("meta/episodes/chunk-{chunk:03}/file-{file:03}.parquet"));
        staged.push(stage(&table, &episodes_table(&self.spec, &self.rows, self.table)?)?);
        let (episodes, frames) = (self.episodes, self.frames);
        (self.episodes, self.frames) = (episodes + 1, frames + episode.length);
        let meta = self.stage_meta();
        (self.episodes, self.frames) = (episodes, frames);
        staged.extend(meta?);
        self.step("staged all");
        self.append_scene(at.episode, &episode.scene)?;
        self.step("scene");

        for (path, file) in staged {
            commit(&path, file)?;
            self.step("renamed");
        }
        (self.episodes, self.frames) = (episodes + 1, frames + episode.length);
        Ok(())
    }

    /// Statistics of the columns that depend on the place in the set.
    fn add_index_stats(&self, episode: &mut EncodedEpisode, at: &Position) {
        let rows =
            |f: &dyn Fn(usize) -> usize| -> Vec<f64> { (0..episode.length).map(|i| f(i) as f64).collect() };
        let index = Stats::of_rows(1, &rows(&|i| at.first + i));
        let number = Stats::of_rows(1, &rows(&|_| at.episode));
        let task = Stats::of_rows(1, &rows(&|_| at.task));
        for (key, stats) in [("index", index), ("episode_index", number), ("task_index", task)] {
            episode.stats.insert(key.to_owned(), stats);
        }
    }

    /// `stats.json` and `info.json` for the present counts.
    fn stage_meta(&self) -> Result<Vec<(PathBuf, Staged)>> {
        let stats: BTreeMap<&String, Value> =
            self.aggregate.features().iter().map(|(k, s)| (k, s.to_json())).collect();
        let info = info_json(&self.spec, self.episodes, self.frames, self.tasks.len());
        let text = |v: &Value| serde_json::to_vec_pretty(v).unwrap_or_default();
        Ok(vec![
            stage(&self.root.join("meta/stats.json"), &text(&json!(stats)))?,
            stage(&self.root.join("meta/info.json"), &text(&info))?,
        ])
    }

    fn scenes_path(&self) -> PathBuf {
        self.root.join("meta/forerun_scenes.jsonl")
    }

    /// One line a scene. A line that a kill cut off is ignored by readers and removed by `open_append`; of two
    /// lines for one episode the last counts.
    fn append_scene(&self, episode: usize, scene: &Value) -> Result<()> {
        if scene.is_null() {
            return Ok(());
        }
        let path = self.scenes_path();
        let mut line = json!({"episode_index": episode, "scene": scene}).to_string();
        line.push('\n');
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            let length = file.metadata()?.len();
            let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
            if written.is_err() {
                // Take a half-written line back, so that the next one starts on its own line.
                let _ = file.set_len(length);
            }
            written
        };
        write().map_err(|e| DatasetError::io(&path, e))
    }

    /// Drops scene lines that are cut off or belong to no whole episode.
    fn keep_scenes(&self) -> Result<()> {
        let path = self.scenes_path();
        let Ok(text) = fs::read(&path) else { return Ok(()) };
        let text = String::from_utf8_lossy(&text);
        let sound = |line: &&str| {
            serde_json::from_str::<Value>(line)
                .ok()
                .and_then(|v| v.get("episode_index")?.as_u64())
                .is_some_and(|n| (n as usize) < self.episodes)
        };
        let kept: String = text.lines().filter(sound).flat_map(|l| [l, "\n"]).collect();
        if kept != text {
            let (path, staged) = stage(&path, kept.as_bytes())?;
            commit(&path, staged)?;
        }
        Ok(())
    }

    /// Closes the set. Every appended episode is already on disk, so dropping the writer does the same; this
    /// says so and gives the counts (episodes, frames).
    pub fn finish(self) -> Result<(usize, usize)> {
        Ok((self.episodes, self.frames))
    }
}

fn stage(path: &Path, bytes: &[u8]) -> Result<(PathBuf, Staged)> {
    let staged = fsx::stage(path, bytes).map_err(|e| DatasetError::io(path, e))?;
    Ok((path.to_owned(), staged))
}

fn commit(path: &Path, staged: Staged) -> Result<()> {
    staged.commit().map_err(|e| DatasetError::io(path, e))
}

/// Whether a folder without info.json holds nothing but what the first episode of a killed writer leaves; the
/// next append replaces exactly these files.
fn only_first_episode(root: &Path, camera: &str) -> bool {
    let known = [
        "meta/tasks.parquet".to_owned(),
        "meta/stats.json".to_owned(),
        "meta/forerun_scenes.jsonl".to_owned(),
        "meta/episodes/chunk-000/file-000.parquet".to_owned(),
        "data/chunk-000/file-000.parquet".to_owned(),
        format!("videos/{camera}/chunk-000/file-000.mp4"),
    ];
    let mut files = Vec::new();
    list_files(root, Path::new(""), &mut files);
    // Temporary files of a process that lives are hidden and harmless.
    let hidden = |file: &Path| file.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
    files.iter().all(|file| hidden(file) || known.iter().any(|k| Path::new(k) == file))
}

fn list_files(folder: &Path, name: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = name.join(entry.file_name());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            list_files(&entry.path(), &name, out);
        } else {
            out.push(name);
        }
    }
}

/// Removes what killed writers left under temporary names.
fn sweep_all(folder: &Path) {
    fsx::sweep(folder);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            sweep_all(&entry.path());
        }
    }
}
