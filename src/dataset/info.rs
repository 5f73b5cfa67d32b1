//! `meta/info.json`: rate, features, where files lie.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::encode::ChannelInfo;
use super::{DatasetError, Result};

/// Layout of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One file an episode, JSON lines.
    V2_0,
    /// The same, with statistics of each episode.
    V2_1,
    /// Shared files, Parquet tables.
    V3_0,
}

impl Version {
    /// `v3.0`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::V2_0 => "v2.0",
            Self::V2_1 => "v2.1",
            Self::V3_0 => "v3.0",
        }
    }
}

/// How a camera's pictures are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraKind {
    /// In MP4 files.
    Video {
        /// Codec as info.json names it (`av1`, `h264`); empty when it does not.
        codec: String,
    },
    /// As PNG inside the data files.
    Image,
    /// Not read here, and why.
    Unsupported(String),
}

/// A picture feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Camera {
    /// Feature key: `observation.images.front`.
    pub key: String,
    /// Pixels in a row, as info.json says.
    pub width: usize,
    /// Rows, as info.json says.
    pub height: usize,
    /// How it is stored.
    pub kind: CameraKind,
}

/// A column of numbers (or anything else that is not a picture).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// `observation.state`, `action`, ...
    pub key: String,
    /// `float32`, `int64`, `bool`, `string`, ...
    pub dtype: String,
    /// Shape of one row.
    pub shape: Vec<usize>,
    /// Name and unit of each number; names are `0`, `1`, ... where the set gives none.
    pub channels: Vec<ChannelInfo>,
}

impl Feature {
    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.shape.iter().product::<usize>().max(1)
    }
}

/// The parts of info.json that are used.
#[derive(Clone, Debug)]
pub(super) struct Info {
    pub(super) version: Version,
    pub(super) fps: f64,
    pub(super) robot_type: String,
    pub(super) total_episodes: usize,
    pub(super) total_frames: usize,
    pub(super) chunk: usize,
    pub(super) data_path: String,
    pub(super) video_path: String,
    pub(super) features: Vec<Feature>,
    pub(super) cameras: Vec<Camera>,
    pub(super) raw: Value,
}

/// Most numbers in a row that a feature may have.
const MAX_WIDTH: usize = 1 << 20;

impl Info {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let path = root.join("meta/info.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                let what = if root.exists() { "it has no meta/info.json" } else { "it does not exist" };
                return Err(DatasetError::NotDataset { path: root.to_owned(), what: what.to_owned() });
            }
            Err(e) => return Err(DatasetError::io(&path, e)),
        };
        let raw: Value = serde_json::from_slice(&bytes)
            .map_err(|e| DatasetError::broken(&path, format!("it is not sound JSON ({e})")))?;
        let version = raw.get("codebase_version").and_then(Value::as_str).unwrap_or_default();
        let version = match version {
            "v3.0" => Version::V3_0,
            "v2.1" => Version::V2_1,
            "v2.0" => Version::V2_0,
            other => {
                let version = if other.is_empty() { "without a version" } else { other }.to_owned();
                return Err(DatasetError::Version { path: root.to_owned(), version });
            }
        };
        let fps =
            raw.get("fps").and_then(Value::as_f64).filter(|f| f.is_finite() && *f > 0.0 && *f <= 10_000.0);
        let fps = fps.ok_or_else(|| DatasetError::broken(&path, "it gives no sound rate (fps)"))?;
        let features = raw
            .get("features")
            .and_then(Value::as_object)
            .ok_or_else(|| DatasetError::broken(&path, "it lists no features"))?;
        let count = |key: &str| raw.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
        let text =
            |key: &str, default: &str| raw.get(key).and_then(Value::as_str).unwrap_or(default).to_owned();
        let mut info = Self {
            version,
            fps,
            robot_type: text("robot_type", "unknown"),
            total_episodes: count("total_episodes"),
            total_frames: count("total_frames"),
            chunk: count("chunks_size").max(1),
            data_path: text("data_path", default_data_path(version)),
            video_path: text("video_path", default_video_path(version)),
            features: Vec::new(),
            cameras: Vec::new(),
            raw: Value::Null,
        };
        for (key, feature) in features {
            match parse_feature(key, feature) {
                Parsed::Camera(camera) => info.cameras.push(camera),
                Parsed::Numbers(feature) => info.features.push(feature),
            }
        }
        info.raw = raw;
        Ok(info)
    }
}

fn default_data_path(version: Version) -> &'static str {
    match version {
        Version::V3_0 => "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        _ => "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    }
}

fn default_video_path(version: Version) -> &'static str {
    match version {
        Version::V3_0 => "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        _ => "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
}

enum Parsed {
    Camera(Camera),
    Numbers(Feature),
}

fn parse_feature(key: &str, feature: &Value) -> Parsed {
    let dtype = feature.get("dtype").and_then(Value::as_str).unwrap_or("unknown").to_owned();
    let shape: Vec<usize> = feature
        .get("shape")
        .and_then(Value::as_array)
        .map(|s| s.iter().map(|n| n.as_u64().unwrap_or(1) as usize).collect())
        .unwrap_or_else(|| vec![1]);
    let mut names = Vec::new();
    flat_names(feature.get("names"), &mut names);
    if dtype == "video" || dtype == "image" {
        return Parsed::Camera(parse_camera(key, feature, &dtype, &shape, &names));
    }
    let width = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b)).unwrap_or(MAX_WIDTH).min(MAX_WIDTH);
    let mut units = Vec::new();
    flat_names(feature.get("units"), &mut units);
    // A name for each number, or none at all: half a list would name the wrong ones.
    let channels = (0..width)
        .map(|i| ChannelInfo {
            name: names.get(i).filter(|_| names.len() == width).cloned().unwrap_or_else(|| i.to_string()),
            unit: units.get(i).filter(|_| units.len() == width).cloned().unwrap_or_default(),
        })
        .collect();
    Parsed::Numbers(Feature { key: key.to_owned(), dtype, shape, channels })
}

/// Names are a list, a dict of lists (`{"motors": [...]}`), nested lists, or null.
fn flat_names(value: Option<&Value>, out: &mut Vec<String>) {
    match value {
        Some(Value::String(name)) => out.push(name.clone()),
        Some(Value::Array(items)) => items.iter().for_each(|v| flat_names(Some(v), out)),
        Some(Value::Object(map)) => {
            // `{"a": 0, "b": 1}` names by key; `{"motors": ["a", "b"]}` by value.
            if map.values().all(Value::is_number) {
                let mut pairs: Vec<_> =
                    map.iter().map(|(k, v)| (v.as_u64().unwrap_or(0), k.clone())).collect();
                pairs.sort();
                out.extend(pairs.into_iter().map(|(_, k)| k));
            } else {
                map.values().for_each(|v| flat_names(Some(v), out));
            }
        }
        _ => {}
    }
}

fn parse_camera(key: &str, feature: &Value, dtype: &str, shape: &[usize], names: &[String]) -> Camera {
    let info = feature.get("info").or_else(|| feature.get("video_info"));
    let field = |name: &str| info.and_then(|i| i.get(name));
    let flag = |name: &str| field(name).and_then(Value::as_bool).unwrap_or(false);
    let codec = field("video.codec").and_then(Value::as_str).unwrap_or_default().to_owned();
    let pix_fmt = field("video.pix_fmt").and_then(Value::as_str).unwrap_or_default();
    // Channels first or last: the names tell, else the small number does.
    let first = names.first().is_some_and(|n| n.starts_with("channel"))
        || (names.is_empty() && shape.first().is_some_and(|c| *c <= 4));
    let at = |i: usize| shape.get(i).copied().unwrap_or(0);
    let (height, width) = if first { (at(1), at(2)) } else { (at(0), at(1)) };
    let kind = if flag("is_depth_map") || flag("video.is_depth_map") {
        CameraKind::Unsupported(format!("it holds depth ({codec} {pix_fmt})"))
    } else if matches!(codec.as_str(), "hevc" | "h265" | "hvc1") {
        CameraKind::Unsupported("its video is HEVC (H.265)".to_owned())
    } else if dtype == "video" {
        CameraKind::Video { codec }
    } else {
        CameraKind::Image
    };
    Camera { key: key.to_owned(), width, height, kind }
}

/// Fills a path template of Python's `format`, as `{chunk_index:03d}`. `None` for an unknown field or a path
/// that leaves the folder.
pub(super) fn fill(template: &str, key: &str, numbers: &[(&str, usize)]) -> Option<PathBuf> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (field, tail) = after.split_once('}')?;
        rest = tail;
        let (name, format) = field.split_once(':').unwrap_or((field, ""));
        if name == "video_key" || name == "image_key" {
            out.push_str(key);
            continue;
        }
        let (_, number) = numbers.iter().find(|(n, _)| *n == name)?;
        let width: usize = format.trim_end_matches('d').trim_start_matches('0').parse().unwrap_or(0);
        out.push_str(&format!("{number:0width$}", width = width.min(32)));
    }
    out.push_str(rest);
    let path = PathBuf::from(out);
    path.components().all(|c| matches!(c, std::path::Component::Normal(_))).then_some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_fill_as_python_does_and_never_leave_the_folder() {
        let numbers = [("chunk_index", 2), ("file_index", 1234)];
        let path = fill(default_video_path(Version::V3_0), "observation.images.a", &numbers).unwrap();
        assert_eq!(path, Path::new("videos/observation.images.a/chunk-002/file-1234.mp4"));
        assert!(fill("{other}", "k", &numbers).is_none());
        assert!(fill("../{chunk_index}", "k", &numbers).is_none());
        assert!(fill("/etc/{chunk_index}", "k", &numbers).is_none());
        assert!(fill("videos/{video_key}/x.mp4", "../../etc", &numbers).is_none());
    }

    #[test]
    fn names_come_as_list_dict_nested_list_or_not_at_all() {
        let channels = |names: Value| match parse_feature(
            "a",
            &json!({"dtype": "float32", "shape": [2], "names": names}),
        ) {
            Parsed::Numbers(f) => f.channels.into_iter().map(|c| c.name).collect::<Vec<_>>(),
            Parsed::Camera(_) => panic!("not a camera"),
        };
        assert_eq!(channels(json!(["x", "y"])), ["x", "y"]);
        assert_eq!(channels(json!({"motors": ["x", "y"]})), ["x", "y"]);
        assert_eq!(channels(json!([["x", "y"]])), ["x", "y"]);
        assert_eq!(channels(json!({"y": 1, "x": 0})), ["x", "y"]);
        assert_eq!(channels(Value::Null), ["0", "1"]);
        assert_eq!(channels(json!(["only one"])), ["0", "1"]);
    }
}
