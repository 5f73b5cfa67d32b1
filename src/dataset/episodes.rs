//! The list of episodes: how long each is, where its rows and pictures lie, what was to be done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::info::{CameraKind, Info, Version, fill};
use super::table::{Rows, Table, doubles, integers, numbers, text_lists, texts};
use super::{DatasetError, Result, Stats};

/// Where the pictures of one camera of an episode lie.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoPlace {
    /// The clip.
    pub path: PathBuf,
    /// Where in the clip the episode starts, in seconds.
    pub from: f64,
}

/// One episode as the set's index lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodeMeta {
    /// Its number in the set.
    pub index: usize,
    /// Frames.
    pub length: usize,
    /// What was to be done, in words; several for sets that change the task on the way.
    pub tasks: Vec<String>,
    /// Number of its first frame in the whole set.
    pub first_frame: usize,
    /// The table with its rows.
    pub data: PathBuf,
    /// Number of that table over all chunks.
    pub(super) data_file: usize,
    /// By camera.
    pub videos: BTreeMap<String, VideoPlace>,
}

/// The index of a set; faults that only cost single episodes go to `problems`.
pub(super) struct Index {
    pub(super) episodes: Vec<EpisodeMeta>,
    pub(super) tasks: Vec<String>,
    pub(super) problems: Vec<String>,
}

pub(super) fn read(root: &Path, info: &Info) -> Result<Index> {
    match info.version {
        Version::V3_0 => read_v3(root, info),
        _ => read_v2(root, info),
    }
}

/// All `*.parquet` under a folder of chunks, in order.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let list = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder).map_err(|e| DatasetError::io(folder, e))?;
        let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        Ok(paths)
    };
    for path in list(folder)? {
        if path.is_dir() {
            files.extend(list(&path)?);
        } else {
            files.push(path);
        }
    }
    files.retain(|p| {
        let hidden = p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        p.extension().is_some_and(|e| e == "parquet") && !hidden
    });
    Ok(files)
}

/// The files of the episode table.
pub(super) fn table_files(root: &Path) -> Result<Vec<PathBuf>> {
    parquet_files(&root.join("meta/episodes"))
}

fn video_keys(info: &Info) -> Vec<&str> {
    let is_video = |kind: &CameraKind| matches!(kind, CameraKind::Video { .. });
    info.cameras.iter().filter(|c| is_video(&c.kind)).map(|c| c.key.as_str()).collect()
}

fn read_v3(root: &Path, info: &Info) -> Result<Index> {
    let mut problems = Vec::new();
    let tasks = match read_tasks_v3(root) {
        Ok(tasks) => tasks,
        Err(e) => {
            problems.push(e.to_string());
            Vec::new()
        }
    };
    let files = table_files(root)?;
    let mut episodes = Vec::new();
    let mut last_error = None;
    for file in &files {
        match read_table_v3(root, info, file) {
            Ok(rows) => episodes.extend(rows),
            // One bad file of many costs its episodes only.
            Err(e) => {
                problems.push(e.to_string());
                last_error = Some(e);
            }
        }
    }
    if let (true, Some(e)) = (episodes.is_empty(), last_error) {
        return Err(e);
    }
    episodes.sort_by_key(|e: &EpisodeMeta| e.index);
    episodes.dedup_by_key(|e| e.index);
    Ok(Index { episodes, tasks, problems })
}

fn read_table_v3(root: &Path, info: &Info, file: &Path) -> Result<Vec<EpisodeMeta>> {
    let table = Table::open(file)?;
    if table.rows() == 0 {
        return Ok(Vec::new());
    }
    let batch = table.read(Rows::All, |name| !name.starts_with("stats/"))?;
    let column = |name: &str| {
        integers(&batch, name).ok_or_else(|| {
            DatasetError::broken(file, format!("the episode table lacks the column \"{name}\""))
        })
    };
    let (index, length) = (column("episode_index")?, column("length")?);
    let (data_chunk, data_file) = (column("data/chunk_index")?, column("data/file_index")?);
    let first = integers(&batch, "dataset_from_index");
    let tasks = batch.column_by_name("tasks").and_then(text_lists);
    let mut videos = Vec::new();
    for key in video_keys(info) {
        let name = |what: &str| format!("videos/{key}/{what}");
        let from = doubles(&batch, &name("from_timestamp")).unwrap_or_else(|| vec![0.0; index.len()]);
        videos.push((key, column(&name("chunk_index"))?, column(&name("file_index"))?, from));
    }
    let bad = |what: &str| DatasetError::broken(file, format!("the episode table has an impossible {what}"));
    let number = |column: &[i64], i: usize, what: &str| {
        column.get(i).and_then(|n| usize::try_from(*n).ok()).ok_or_else(|| bad(what))
    };
    let path = |template: &str, key: &str, chunk: usize, file: usize| {
        fill(template, key, &[("chunk_index", chunk), ("file_index", file)])
            .map(|p| root.join(p))
            .ok_or_else(|| bad("path"))
    };
    let mut episodes = Vec::with_capacity(index.len());
    for i in 0..index.len() {
        let (chunk, file) = (number(&data_chunk, i, "place")?, number(&data_file, i, "place")?);
        let mut places = BTreeMap::new();
        for (key, chunks, files, from) in &videos {
            let (chunk, file) = (number(chunks, i, "place")?, number(files, i, "place")?);
            let from = from.get(i).copied().filter(|f| f.is_finite()).ok_or_else(|| bad("time"))?;
            let place = VideoPlace { path: path(&info.video_path, key, chunk, file)?, from };
            places.insert((*key).to_owned(), place);
        }
        episodes.push(EpisodeMeta {
            index: number(&index, i, "number")?,
            length: number(&length, i, "length")?,
            tasks: tasks.as_ref().and_then(|t| t.get(i).cloned()).unwrap_or_default(),
            first_frame: first.as_ref().map_or(Ok(0), |f| number(f, i, "start"))?,
            data: path(&info.data_path, "", chunk, file)?,
            data_file: chunk.saturating_mul(info.chunk).saturating_add(file),
            videos: places,
        });
    }
    Ok(episodes)
}

/// The words of each task by number. The column of words is called `task`, or `__index_level_0__` when pandas
/// wrote it as an unnamed index.
fn read_tasks_v3(root: &Path) -> Result<Vec<String>> {
    let path = root.join("meta/tasks.parquet");
    let table = Table::open(&path)?;
    if table.rows() == 0 {
        return Ok(Vec::new());
    }
    let batch = table.read(Rows::All, |_| true)?;
    let words =
        ["task", "__index_level_0__"].iter().find_map(|name| batch.column_by_name(name).and_then(texts));
    let words = words.ok_or_else(|| DatasetError::broken(&path, "it has no column of words"))?;
    let numbers = integers(&batch, "task_index").unwrap_or_else(|| (0..words.len() as i64).collect());
    Ok(by_number(numbers.into_iter().zip(words)))
}

fn by_number(pairs: impl Iterator<Item = (i64, String)>) -> Vec<String> {
    let pairs: Vec<_> = pairs.filter(|(n, _)| (0..1_000_000).contains(n)).collect();
    let count = pairs.iter().map(|(n, _)| *n as usize + 1).max().unwrap_or(0);
    let mut tasks = vec![String::new(); count];
    for (n, words) in pairs {
        if let Some(slot) = tasks.get_mut(n as usize) {
            *slot = words;
        }
    }
    tasks
}

/// The sound lines of a JSON lines file with their numbers; faults go to `problems`.
fn json_lines(path: &Path, problems: &mut Vec<String>) -> Result<Vec<Value>> {
    let text = fs::read(path).map_err(|e| DatasetError::io(path, e))?;
    let mut values = Vec::new();
    for (n, line) in String::from_utf8_lossy(&text).lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(value) => values.push(value),
            Err(e) => problems.push(format!("{}: line {} is not sound JSON ({e})", path.display(), n + 1)),
        }
    }
    Ok(values)
}

fn read_v2(root: &Path, info: &Info) -> Result<Index> {
    let mut problems = Vec::new();
    let tasks_path = root.join("meta/tasks.jsonl");
    let tasks = match json_lines(&tasks_path, &mut problems) {
        Ok(lines) => by_number(lines.iter().filter_map(|line| {
            Some((line.get("task_index")?.as_i64()?, line.get("task")?.as_str()?.to_owned()))
        })),
        Err(e) => {
            problems.push(e.to_string());
            Vec::new()
        }
    };
    let path = root.join("meta/episodes.jsonl");
    let keys = video_keys(info);
    let mut episodes = Vec::new();
    for line in json_lines(&path, &mut problems)? {
        let number = |key: &str| line.get(key).and_then(Value::as_u64).map(|n| n as usize);
        let (Some(index), Some(length)) = (number("episode_index"), number("length")) else {
            problems.push(format!("{}: a line has no episode_index or length", path.display()));
            continue;
        };
        let numbers = [
            ("episode_chunk", index / info.chunk),
            ("episode_index", index),
            ("chunk_index", index / info.chunk),
        ];
        let place = |template: &str, key: &str| {
            fill(template, key, &numbers).map(|p| root.join(p)).ok_or_else(|| {
                DatasetError::broken(&root.join("meta/info.json"), "it has an impossible path")
            })
        };
        let mut videos = BTreeMap::new();
        for key in &keys {
            let clip = VideoPlace { path: place(&info.video_path, key)?, from: 0.0 };
            videos.insert((*key).to_owned(), clip);
        }
        let words = line.get("tasks").and_then(Value::as_array);
        episodes.push(EpisodeMeta {
            index,
            length,
            tasks: words
                .map(|t| t.iter().filter_map(|t| t.as_str().map(str::to_owned)).collect())
                .unwrap_or_default(),
            first_frame: 0,
            data: place(&info.data_path, "")?,
            data_file: index,
            videos,
        });
    }
    episodes.sort_by_key(|e: &EpisodeMeta| e.index);
    episodes.dedup_by_key(|e| e.index);
    let mut first = 0usize;
    for episode in &mut episodes {
        episode.first_frame = first;
        first = first.saturating_add(episode.length);
    }
    Ok(Index { episodes, tasks, problems })
}

/// Statistics of every episode of a v3.0 set, in the order of episodes.
pub(super) fn read_stats(root: &Path, info: &Info) -> Result<Vec<BTreeMap<String, Stats>>> {
    let mut all: Vec<(i64, BTreeMap<String, Stats>)> = Vec::new();
    for file in table_files(root)? {
        let table = Table::open(&file)?;
        let keys: Vec<String> = table
            .columns()
            .iter()
            .filter_map(|(name, _)| name.strip_prefix("stats/")?.strip_suffix("/mean").map(str::to_owned))
            .collect();
        let batch = table.read(Rows::All, |name| name.starts_with("stats/") || name == "episode_index")?;
        let index = integers(&batch, "episode_index").ok_or_else(|| {
            DatasetError::broken(&file, "the episode table lacks the column \"episode_index\"")
        })?;
        let mut rows: Vec<BTreeMap<String, BTreeMap<String, Vec<f64>>>> = vec![BTreeMap::new(); index.len()];
        for key in &keys {
            for stat in ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"] {
                let Some((width, values)) =
                    batch.column_by_name(&format!("stats/{key}/{stat}")).and_then(numbers)
                else {
                    continue;
                };
                for (row, values) in rows.iter_mut().zip(values.chunks(width.max(1))) {
                    row.entry(key.clone()).or_default().insert(stat.to_owned(), values.to_vec());
                }
            }
        }
        for (index, row) in index.into_iter().zip(rows) {
            let is_image = |key: &String| info.cameras.iter().any(|c| c.key == *key);
            let stats = row
                .into_iter()
                .filter_map(|(key, entries)| {
                    let stats = Stats::from_entries(&entries, is_image(&key))?;
                    Some((key, stats))
                })
                .collect();
            all.push((index, stats));
        }
    }
    all.sort_by_key(|(index, _)| *index);
    all.dedup_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, stats)| stats).collect())
}
