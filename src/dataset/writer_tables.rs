//! The Parquet tables of a LeRobotDataset v3.0 as bytes: frames, episodes, tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::{DatasetError, DatasetSpec, EncodedEpisode, Result, Stats};

fn failed(e: impl std::fmt::Display) -> DatasetError {
    DatasetError::input(
        format!("a table could not be built: {e}"),
        "This is a fault of the program; report it",
    )
}

/// Columns to a Snappy-compressed Parquet file with one row group.
fn to_parquet(columns: Vec<(Field, ArrayRef)>, metadata: Option<(&str, String)>) -> Result<Vec<u8>> {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let metadata: std::collections::HashMap<String, String> =
        metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(failed)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.into_inner().map_err(failed)
}

fn int_column(name: &str, values: impl IntoIterator<Item = i64>) -> (Field, ArrayRef) {
    (Field::new(name, DataType::Int64, true), Arc::new(Int64Array::from_iter_values(values)))
}

fn double_column(name: &str, values: impl IntoIterator<Item = f64>) -> (Field, ArrayRef) {
    (Field::new(name, DataType::Float64, true), Arc::new(Float64Array::from_iter_values(values)))
}

/// Where an episode lies in the whole set.
pub(super) struct Position {
    pub(super) episode: usize,
    /// Global number of its first frame.
    pub(super) first: usize,
    pub(super) task: usize,
}

/// The file `data/chunk-*/file-*.parquet` of one episode.
pub(super) fn frames_table(spec: &DatasetSpec, episode: &EncodedEpisode, at: &Position) -> Result<Vec<u8>> {
    let length = episode.length as i64;
    let mut columns = Vec::new();
    for ((key, channels), values) in spec.columns().into_iter().zip(&episode.columns) {
        let values: ArrayRef = Arc::new(Float32Array::from(values.clone()));
        let (data_type, array): (DataType, ArrayRef) = if channels.len() == 1 {
            (DataType::Float32, values)
        } else {
            let element = Arc::new(Field::new("element", DataType::Float32, true));
            let size = i32::try_from(channels.len()).map_err(failed)?;
            let list = FixedSizeListArray::try_new(element.clone(), size, values, None).map_err(failed)?;
            (DataType::FixedSizeList(element, size), Arc::new(list))
        };
        columns.push((Field::new(key, data_type, true), array));
    }
    let fps = f64::from(spec.fps);
    let stamps = Float32Array::from_iter_values((0..length).map(|i| (i as f64 / fps) as f32));
    columns.push((Field::new("timestamp", DataType::Float32, true), Arc::new(stamps)));
    columns.push(int_column("frame_index", 0..length));
    columns.push(int_column("episode_index", (0..length).map(|_| at.episode as i64)));
    let first = at.first as i64;
    columns.push(int_column("index", first..first + length));
    columns.push(int_column("task_index", (0..length).map(|_| at.task as i64)));

    // What the `datasets` library wants to know about its columns.
    let mut features = serde_json::Map::new();
    let scalar = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    for (key, channels) in spec.columns() {
        let feature = match channels.len() {
            1 => scalar("float32"),
            n => json!({"feature": scalar("float32"), "length": n, "_type": "List"}),
        };
        features.insert(key.to_owned(), feature);
    }
    features.insert("timestamp".to_owned(), scalar("float32"));
    for key in ["frame_index", "episode_index", "index", "task_index"] {
        features.insert(key.to_owned(), scalar("int64"));
    }
    let metadata = json!({"info": {"features": features}}).to_string();
    to_parquet(columns, Some(("huggingface", metadata)))
}

/// `meta/tasks.parquet`: number and words, with the words as the table's pandas index.
pub(super) fn tasks_table(tasks: &[String]) -> Result<Vec<u8>> {
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(tasks));
    let columns = vec![
        int_column("task_index", 0..tasks.len() as i64),
        (Field::new("task", DataType::Utf8, true), words),
    ];
    let column = |name: &str, kind: &str, numpy: &str| json!({"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": null});
    let pandas = json!({
        "index_columns": ["task"],
        "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": {"encoding": "UTF-8"}}],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "attributes": {},
        "creator": {"library": "forerun", "version": env!("CARGO_PKG_VERSION")},
        "pandas_version": "2.2.0",
    });
    to_parquet(columns, Some(("pandas", pandas.to_string())))
}

/// One row of `meta/episodes/`.
#[derive(Clone, Debug)]
pub(super) struct EpisodeRow {
    pub(super) episode: usize,
    pub(super) task: String,
    pub(super) length: usize,
    pub(super) first: usize,
    pub(super) stats: BTreeMap<String, Stats>,
}

/// Where things of file number `n` lie: chunk and file in it.
pub(super) fn place(n: usize) -> (usize, usize) {
    (n / CHUNK, n % CHUNK)
}

/// Files in a chunk folder.
pub(super) const CHUNK: usize = 1000;

/// A `meta/episodes/chunk-*/file-*.parquet` file with number `file`.
pub(super) fn episodes_table(spec: &DatasetSpec, rows: &[EpisodeRow], file: usize) -> Result<Vec<u8>> {
    let int = |name: &str, of: &dyn Fn(&EpisodeRow) -> usize| {
        int_column(name, rows.iter().map(|r| of(r) as i64).collect::<Vec<_>>())
    };
    let mut columns = vec![int("episode_index", &|r| r.episode)];
    let tasks: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.task)));
    columns.push(list_column("tasks", tasks, rows.len(), 1)?);
    columns.push(int("length", &|r| r.length));
    columns.push(int("data/chunk_index", &|r| place(r.episode).0));
    columns.push(int("data/file_index", &|r| place(r.episode).1));
    columns.push(int("dataset_from_index", &|r| r.first));
    columns.push(int("dataset_to_index", &|r| r.first + r.length));
    let video = |what: &str| format!("videos/{}/{what}", spec.camera);
    columns.push(int(&video("chunk_index"), &|r| place(r.episode).0));
    columns.push(int(&video("file_index"), &|r| place(r.episode).1));
    columns.push(double_column(&video("from_timestamp"), rows.iter().map(|_| 0.0)));
    let fps = f64::from(spec.fps);
    columns.push(double_column(&video("to_timestamp"), rows.iter().map(|r| r.length as f64 / fps)));
    let keys: Vec<String> = rows.first().map(|r| r.stats.keys().cloned().collect()).unwrap_or_default();
    for key in keys {
        columns.extend(stats_columns(&key, rows)?);
    }
    columns.push(int("meta/episodes/chunk_index", &|_| place(file).0));
    columns.push(int("meta/episodes/file_index", &|_| place(file).1));
    to_parquet(columns, None)
}

/// A list column whose rows all have `width` entries.
fn list_column(name: &str, values: ArrayRef, rows: usize, width: usize) -> Result<(Field, ArrayRef)> {
    let element = Arc::new(Field::new("element", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows));
    let list = ListArray::try_new(element.clone(), offsets, values, None).map_err(failed)?;
    Ok((Field::new(name, DataType::List(element), true), Arc::new(list)))
}

/// The ten statistics of one feature for all rows.
fn stats_columns(key: &str, rows: &[EpisodeRow]) -> Result<Vec<(Field, ArrayRef)>> {
    let mut by_name: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    let (mut width, mut image) = (1, false);
    for row in rows {
        let stats = row.stats.get(key).ok_or_else(|| failed(format!("no statistics of {key}")))?;
        (width, image) = (stats.mean.len(), stats.image);
        for (name, values) in stats.entries() {
            by_name.entry(name).or_default().extend(values);
        }
    }
    let mut columns = Vec::new();
    for name in ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"] {
        let values = by_name.remove(name).unwrap_or_default();
        let full = format!("stats/{key}/{name}");
        columns.push(if name == "count" {
            let counts: ArrayRef = Arc::new(Int64Array::from_iter_values(values.iter().map(|c| *c as i64)));
            list_column(&full, counts, rows.len(), 1)?
        } else {
            let n = values.len();
            let mut array: ArrayRef = Arc::new(Float64Array::from(values));
            if image {
                // [3][1][1]: two lists of one around each number.
                for _ in 0..2 {
                    array = list_column("", array, n, 1)?.1;
                }
            }
            list_column(&full, array, rows.len(), width)?
        });
    }
    Ok(columns)
}

/// `meta/info.json`.
pub(super) fn info_json(spec: &DatasetSpec, episodes: usize, frames: usize, tasks: usize) -> Value {
    let mut features = serde_json::Map::new();
    for (key, channels) in spec.columns() {
        let names: Vec<&str> = channels.iter().map(|c| c.name.as_str()).collect();
        let units: Vec<&str> = channels.iter().map(|c| c.unit.as_str()).collect();
        let feature = json!({"dtype": "float32", "shape": [channels.len()], "names": names, "units": units});
        features.insert(key.to_owned(), feature);
    }
    features.insert(
        spec.camera.clone(),
        json!({
            "dtype": "video",
            "shape": [spec.height, spec.width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": spec.height,
                "video.width": spec.width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.fps": spec.fps,
                "video.channels": 3,
                "video.g": 2,
                "has_audio": false,
                "is_depth_map": false,
            },
        }),
    );
    let number = |dtype: &str| json!({"dtype": dtype, "shape": [1], "names": null});
    features.insert("timestamp".to_owned(), number("float32"));
    for key in ["frame_index", "episode_index", "index", "task_index"] {
        features.insert(key.to_owned(), number("int64"));
    }
    json!({
        "codebase_version": "v3.0",
        "robot_type": spec.robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": spec.fps,
        "splits": {"train": format!("0:{episodes}")},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    })
}
