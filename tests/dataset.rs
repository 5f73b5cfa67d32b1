//! Data sets in and out: what is written comes back, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use forerun::Frame;
use forerun::dataset::{
    ChannelInfo, ClipRequest, Dataset, DatasetError, DatasetSpec, DatasetWriter, EncodedEpisode,
    EpisodeBuffer, Prefetch, describe, encode_episode,
};

const CAMERA: &str = "observation.images.front";

fn spec() -> DatasetSpec {
    let joint = |i: usize| ChannelInfo::new(format!("joint_{i}.pos"), "deg");
    DatasetSpec {
        fps: 10,
        robot_type: "test_arm".into(),
        width: 48,
        height: 32,
        camera: CAMERA.into(),
        state: (0..3).map(joint).collect(),
        action: (0..3).map(joint).collect(),
        extra: vec![
            ("label.object_pose".into(), vec![ChannelInfo::new("x", "m"), ChannelInfo::new("y", "m")]),
            ("label.progress".into(), vec![ChannelInfo::new("progress", "")]),
        ],
    }
}

/// A bright square on grey whose place and colour tell episode and frame.
fn picture(episode: usize, t: usize) -> Frame {
    let mut frame = Frame::filled(48, 32, [90, 100, 110]);
    let (x0, y0) = ((t * 4) % 32, 8);
    let colour = [[230, 40, 40], [40, 220, 60], [50, 60, 230]][episode % 3];
    for y in y0..y0 + 16 {
        for x in x0..x0 + 16 {
            let i = (y * 48 + x) * 3;
            frame.data[i..i + 3].copy_from_slice(&colour);
        }
    }
    frame
}

fn buffer(episode: usize, length: usize) -> EpisodeBuffer {
    let rows = |width: usize, offset: f32| -> Vec<Vec<f32>> {
        (0..length)
            .map(|t| (0..width).map(|c| offset + (episode * 1000 + t * 10 + c) as f32).collect())
            .collect()
    };
    EpisodeBuffer {
        task: if episode % 2 == 0 { "push the cube left" } else { "把方塊推到右邊" }.into(),
        frames: (0..length).map(|t| picture(episode, t)).collect(),
        state: rows(3, 0.0),
        action: rows(3, 0.5),
        extra: vec![rows(2, 0.25), (0..length).map(|t| vec![t as f32 / length as f32]).collect()],
        scene: serde_json::json!({ "seed": episode }),
    }
}

fn encoded(episode: usize, length: usize) -> EncodedEpisode {
    encode_episode(&spec(), buffer(episode, length)).unwrap()
}

fn write(root: &Path, lengths: &[usize]) {
    let mut writer = DatasetWriter::create(root, spec()).unwrap();
    for (i, length) in lengths.iter().enumerate() {
        assert_eq!(writer.append(encoded(i, *length)).unwrap(), i);
    }
    assert_eq!(writer.finish().unwrap(), (lengths.len(), lengths.iter().sum()));
}

fn difference(a: &Frame, b: &Frame) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.data.iter().zip(&b.data).map(|(x, y)| u64::from(x.abs_diff(*y))).sum();
    sum as f64 / a.data.len() as f64
}

#[test]
fn what_is_written_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[7, 12, 1]);
    let set = Dataset::open(&root).unwrap();
    assert_eq!((set.len(), set.total_frames(), set.fps()), (3, 20, 10.0));
    assert_eq!(set.tasks(), ["push the cube left", "把方塊推到右邊"]);
    assert!(set.problems().is_empty(), "{:?}", set.problems());
    assert_eq!(set.robot_type(), "test_arm");
    for (i, length) in [7, 12, 1].into_iter().enumerate() {
        let episode = set.episode(i).unwrap();
        let source = buffer(i, length);
        assert_eq!((episode.length, &episode.task), (length, &source.task));
        assert_eq!(episode.state().unwrap().channels[1], ChannelInfo::new("joint_1.pos", "deg"));
        for t in 0..length {
            assert_eq!(episode.state().unwrap().row(t), source.state[t]);
            assert_eq!(episode.actions().unwrap().row(t), source.action[t]);
            assert_eq!(episode.columns["label.object_pose"].row(t), source.extra[0][t]);
            assert_eq!(episode.columns["label.progress"].row(t), source.extra[1][t]);
        }
        assert_eq!(set.scene(i).unwrap()["seed"], i);
        // Backwards, so that every frame is a jump.
        for t in (0..length).rev() {
            let frame = set.frame(CAMERA, i, t).unwrap();
            let off = difference(&frame, &source.frames[t]);
            assert!(off < 4.0, "episode {i}, frame {t}: {off}");
            if t > 0 {
                assert!(
                    difference(&frame, &source.frames[t - 1]) > 2.0 * off + 3.0,
                    "frames must be told apart"
                );
            }
        }
        let clip = set.clip(CAMERA, i, 0..length).unwrap();
        for (t, frame) in clip.iter().enumerate() {
            assert_eq!(*frame, set.frame(CAMERA, i, t).unwrap(), "sequential and random access agree");
        }
    }
    assert_eq!(set.episode(1).unwrap().columns["index"].values[0], 7.0);
    let image = &set.stats()[CAMERA];
    assert_eq!((image.mean.len(), image.image, image.count), (3, true, 20));
    assert!(image.max[0] <= 1.0 && image.min[0] >= 0.0);
    assert_eq!(set.stats()["action"].count, 20);
    assert_eq!(set.stats()["observation.state"].max[2], 2002.0);
}

#[test]
fn the_hash_knows_the_content_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, &[3]);
    write(&b, &[3]);
    let hash = Dataset::open(&a).unwrap().sha256().unwrap();
    assert_eq!(hash, Dataset::open(&b).unwrap().sha256().unwrap());
    fs::write(b.join("data/chunk-000/.half.tmp"), b"x").unwrap();
    assert_eq!(hash, Dataset::open(&b).unwrap().sha256().unwrap());
    let scenes = b.join("meta/forerun_scenes.jsonl");
    fs::write(&scenes, fs::read_to_string(&scenes).unwrap().replace('0', "1")).unwrap();
    assert_ne!(hash, Dataset::open(&b).unwrap().sha256().unwrap());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Every state of the disk between two steps of the writer, as a kill would leave it.
fn states_while_writing(root: &Path, keep: &Path, episodes: usize) -> Vec<(String, usize, PathBuf)> {
    let states: Arc<Mutex<Vec<(String, usize, PathBuf)>>> = Arc::default();
    let mut writer = DatasetWriter::create(root, spec()).unwrap();
    for i in 0..episodes {
        let (seen, root, keep) = (states.clone(), root.to_owned(), keep.to_owned());
        writer.watch(move |step| {
            let mut seen = seen.lock().unwrap();
            let to = keep.join(format!("{}", seen.len()));
            copy(&root, &to);
            seen.push((step.to_owned(), i, to));
        });
        writer.append(encoded(i, 3)).unwrap();
    }
    let states = states.lock().unwrap();
    states.clone()
}

#[test]
fn a_kill_at_any_point_loses_at_most_the_running_episode_and_writing_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let states = states_while_writing(&dir.path().join("set"), &dir.path().join("states"), 3);
    assert!(states.len() > 15, "{}", states.len());
    for (step, running, state) in states {
        match Dataset::open(&state) {
            Ok(set) => {
                assert!(set.len() >= running, "{step} of episode {running}: only {}", set.len());
                for i in 0..set.len() {
                    assert_eq!(set.episode(i).unwrap().length, 3);
                    set.clip(CAMERA, i, 0..3).unwrap();
                }
            }
            Err(e) => assert_eq!(running, 0, "{step} of episode {running}: {e}"),
        }
        // A killed writer's own temporary files carry its process number; here the process lives on, so they
        // stay, hidden, and must do no harm.
        let mut writer = DatasetWriter::open_append(&state, spec()).unwrap();
        let whole = writer.episodes();
        assert!(whole == running || whole == running + 1, "{step}: {whole} of {running}");
        writer.append(encoded(whole, 3)).unwrap();
        writer.append(encoded(whole + 1, 3)).unwrap();
        drop(writer);
        let set = Dataset::open(&state).unwrap();
        assert_eq!((set.len(), set.problems()), (whole + 2, &[][..]), "{step} of episode {running}");
        assert_eq!(set.stats()["action"].count as usize, (whole + 2) * 3);
        for i in 0..set.len() {
            assert_eq!(set.episode(i).unwrap().columns["index"].values[0] as usize, i * 3);
            assert_eq!(set.scene(i).unwrap()["seed"], i);
            assert!(difference(&set.frame(CAMERA, i, 2).unwrap(), &picture(i, 2)) < 4.0);
        }
    }
}

#[test]
fn episode_tables_roll_over_and_a_set_can_be_appended_to_later() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let one = encoded(0, 2);
    let mut writer = DatasetWriter::create(&root, spec()).unwrap();
    for _ in 0..66 {
        writer.append(one.clone()).unwrap();
    }
    drop(writer);
    let before = Dataset::open(&root).unwrap().stats().clone();
    let mut writer = DatasetWriter::open_append(&root, spec()).unwrap();
    assert_eq!((writer.episodes(), writer.frames()), (66, 132));
    writer.append(one).unwrap();
    drop(writer);
    let set = Dataset::open(&root).unwrap();
    assert_eq!((set.len(), set.problems()), (67, &[][..]));
    assert!(root.join("meta/episodes/chunk-000/file-002.parquet").exists());
    assert_eq!(set.meta(66).unwrap().first_frame, 132);
    assert_eq!(before["observation.state"].count, 132);
    assert_eq!(set.stats()["observation.state"].count, 134);
    let (a, b) = (before["observation.state"].std[0], set.stats()["observation.state"].std[0]);
    assert!((a - b).abs() < 1e-9);
}

#[test]
fn a_disk_that_refuses_leaves_the_set_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let mut writer = DatasetWriter::create(&root, spec()).unwrap();
    writer.append(encoded(0, 3)).unwrap();
    // A file where the next chunk of data needs a folder: no user, not even root, can write there.
    let data = root.join("data");
    fs::rename(&data, root.join("moved")).unwrap();
    fs::write(&data, b"in the way").unwrap();
    let error = writer.append(encoded(1, 3)).unwrap_err();
    assert!(matches!(error, DatasetError::Io { .. }), "{error}");
    fs::remove_file(&data).unwrap();
    fs::rename(root.join("moved"), &data).unwrap();
    assert_eq!(Dataset::open(&root).unwrap().len(), 1);
    assert_eq!(writer.append(encoded(1, 3)).unwrap(), 1);
    let set = Dataset::open(&root).unwrap();
    assert_eq!((set.len(), set.problems()), (2, &[][..]));
    assert!(hidden_files(&root).is_empty(), "{:?}", hidden_files(&root));
}

fn hidden_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(hidden_files(&path));
        } else if path.file_name().unwrap().to_string_lossy().starts_with('.') {
            found.push(path);
        }
    }
    found
}

#[test]
fn wrong_input_is_refused_with_what_and_where() {
    let refuse = |change: &dyn Fn(&mut EpisodeBuffer), words: &str| {
        let mut bad = buffer(0, 4);
        change(&mut bad);
        let text = encode_episode(&spec(), bad).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    };
    refuse(&|b| b.action[2][1] = f32::NAN, "\"joint_1.pos\" is NaN at frame 2");
    refuse(&|b| b.state[3][0] = f32::INFINITY, "frame 3");
    refuse(&|b| drop(b.action.pop()), "3 rows for 4 frames");
    refuse(&|b| b.action[1].push(0.0), "4 numbers at frame 1, not 3");
    refuse(&|b| b.frames[1] = Frame::filled(32, 32, [0; 3]), "32 x 32");
    refuse(&|b| b.frames.clear(), "without frames");
    refuse(&|b| drop(b.extra.pop()), "1 extra columns where 2 are named");
    refuse(&|b| b.task.clear(), "without a task");
    let mut odd = spec();
    odd.width = 47;
    assert!(encode_episode(&odd, buffer(0, 2)).is_err());
    let mut twice = spec();
    twice.extra[0].0 = "action".into();
    assert!(twice.clone().extra.len() == 2 && encode_episode(&twice, buffer(0, 2)).is_err());
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("something"), b"x").unwrap();
    let text = DatasetWriter::create(dir.path(), spec()).unwrap_err().to_string();
    assert!(text.contains("not empty"), "{text}");
    let text = DatasetWriter::open_append(dir.path(), spec()).unwrap_err().to_string();
    assert!(text.contains("not empty"), "{text}");
    assert!(dir.path().join("something").exists());
}

#[test]
fn another_spec_is_not_appended() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[2]);
    let mut other = spec();
    other.action.pop();
    let text = DatasetWriter::open_append(&root, other).unwrap_err().to_string();
    assert!(text.contains("other columns"), "{text}");
}

#[test]
fn clips_decoded_ahead_come_in_order_and_dropping_stops() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[6, 6, 6]);
    let set = Arc::new(Dataset::open(&root).unwrap());
    let request = |i: usize| ClipRequest { camera: CAMERA.into(), episode: i % 4, range: i % 3..i % 3 + 3 };
    let requests: Vec<_> = (0..40).map(request).collect();
    let mut count = 0;
    for (i, clip) in Prefetch::new(set.clone(), requests.clone(), 3, 4).enumerate() {
        if i % 4 == 3 {
            assert!(matches!(clip, Err(DatasetError::NoEpisode { .. })));
        } else {
            assert_eq!(clip.unwrap(), set.clip(CAMERA, i % 4, i % 3..i % 3 + 3).unwrap());
        }
        count += 1;
    }
    assert_eq!(count, 40);
    let mut early = Prefetch::new(set, requests, 2, 2);
    early.next().unwrap().unwrap();
    drop(early);
}

#[test]
fn damage_is_named_and_costs_only_what_it_hit() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[4, 4, 4]);
    // No footer: as an interrupted recording of other software leaves it.
    let data = root.join("data/chunk-000/file-001.parquet");
    let bytes = fs::read(&data).unwrap();
    fs::write(&data, &bytes[..bytes.len() - 10]).unwrap();
    let set = Dataset::open(&root).unwrap();
    let text = set.episode(1).unwrap_err().to_string();
    assert!(text.contains("file-001.parquet") && text.contains("footer") && text.contains("again"), "{text}");
    assert!(set.episode(0).is_ok() && set.episode(2).is_ok());
    // A video cut in half: the frames in its first half still come.
    let video = root.join(format!("videos/{CAMERA}/chunk-000/file-002.mp4"));
    let bytes = fs::read(&video).unwrap();
    fs::write(&video, &bytes[..bytes.len() - 20]).unwrap();
    let set = Dataset::open(&root).unwrap();
    assert!(set.frame(CAMERA, 2, 0).is_ok());
    let text = set.frame(CAMERA, 2, 3).unwrap_err().to_string();
    assert!(text.contains("file-002.mp4"), "{text}");
    fs::remove_file(&video).unwrap();
    let text = Dataset::open(&root).unwrap().frame(CAMERA, 2, 0).unwrap_err().to_string();
    assert!(text.contains("file-002.mp4") && text.contains("Check the path"), "{text}");
    let report = describe(&root).unwrap();
    assert!(!report.sound);
    assert!(report.problems.iter().any(|p| p.contains("footer")), "{:?}", report.problems);
    assert!(report.problems.iter().any(|p| p.contains("file-002.mp4")), "{:?}", report.problems);

    assert!(matches!(set.frame(CAMERA, 9, 0), Err(DatasetError::NoEpisode { .. })));
    assert!(matches!(set.frame(CAMERA, 0, 4), Err(DatasetError::NoFrame { .. })));
    assert!(matches!(set.frame("other", 0, 0), Err(DatasetError::NoCamera { .. })));
    assert!(matches!(Dataset::open(dir.path()), Err(DatasetError::NotDataset { .. })));
    assert!(matches!(Dataset::open(&dir.path().join("nowhere")), Err(DatasetError::NotDataset { .. })));
    let info = root.join("meta/info.json");
    let text = fs::read_to_string(&info).unwrap();
    fs::write(&info, text.replace("v3.0", "v9.9")).unwrap();
    assert!(matches!(Dataset::open(&root), Err(DatasetError::Version { .. })));
    fs::write(&info, "{").unwrap();
    assert!(Dataset::open(&root).unwrap_err().to_string().contains("info.json"));
}

#[test]
fn a_table_that_lies_about_its_length_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[4, 5]);
    let file = |n: usize| root.join(format!("data/chunk-000/file-00{n}.parquet"));
    fs::copy(file(1), file(0)).unwrap();
    let set = Dataset::open(&root).unwrap();
    let text = set.episode(0).unwrap_err().to_string();
    assert!(text.contains("no rows of episode 0"), "{text}");
    // The other way round: the right episode, another length.
    write(&dir.path().join("longer"), &[6]);
    fs::copy(dir.path().join("longer/data/chunk-000/file-000.parquet"), file(0)).unwrap();
    let text = Dataset::open(&root).unwrap().episode(0).unwrap_err().to_string();
    assert!(text.contains("6 rows") && text.contains("says 4"), "{text}");
}

#[test]
fn any_flipped_byte_is_an_answer_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    write(&root, &[3]);
    let files = [
        "meta/info.json".to_owned(),
        "meta/tasks.parquet".into(),
        "meta/episodes/chunk-000/file-000.parquet".into(),
        "data/chunk-000/file-000.parquet".into(),
        format!("videos/{CAMERA}/chunk-000/file-000.mp4"),
    ];
    let mut outcomes: BTreeMap<bool, usize> = BTreeMap::new();
    for name in files {
        let path = root.join(name);
        let whole = fs::read(&path).unwrap();
        for n in 0..60 {
            let mut bytes = whole.clone();
            let at = (n * 7919 + 13) % bytes.len();
            bytes[at] ^= 1 << (n % 8);
            if n % 5 == 4 {
                bytes.truncate(at);
            }
            fs::write(&path, &bytes).unwrap();
            let good = Dataset::open(&root).is_ok_and(|set| {
                let numbers = set.episode(0).is_ok();
                (0..3).map(|t| set.frame(CAMERA, 0, t).is_ok()).filter(|ok| !ok).count() == 0 && numbers
            });
            *outcomes.entry(good).or_default() += 1;
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(outcomes[&false] > 50, "{outcomes:?}");
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn sets_that_lerobot_wrote_are_read() {
    // Values read with pyarrow from the same files.
    let v3 = Dataset::open(&data("lerobot_v30")).unwrap();
    assert_eq!((v3.version().name(), v3.fps(), v3.robot_type()), ("v3.0", 10.0, "2d pointer"));
    assert!(v3.problems().is_empty(), "{:?}", v3.problems());
    let v2 = Dataset::open(&data("lerobot_v21")).unwrap();
    assert_eq!((v2.version().name(), v2.len(), v2.total_frames()), ("v2.1", 2, 155));
    for set in [&v3, &v2] {
        assert_eq!(set.tasks(), ["Push the T-shaped block onto the T-shaped target."]);
        let camera = set.main_camera().unwrap();
        assert_eq!((camera.key.as_str(), camera.width, camera.height), ("observation.image", 96, 96));
        let mut last = None;
        for meta in set.episodes() {
            let episode = set.episode(meta.index).unwrap();
            assert_eq!(episode.actions().unwrap().channels[1].name, "motor_1");
            assert_eq!(episode.actions().unwrap().rows(), meta.length);
            assert_eq!(episode.task, set.tasks()[0]);
            assert_eq!(episode.columns["episode_index"].row(0), [meta.index as f32]);
            assert_eq!(episode.columns["frame_index"].row(meta.length - 1), [(meta.length - 1) as f32]);
            // The pusher stands where the state says: its blue disc is found in the pixels (512 -> 96).
            for t in [0, meta.length / 2, meta.length - 1] {
                let frame = set.frame("observation.image", meta.index, t).unwrap();
                let state = episode.state().unwrap().row(t);
                let (x, y) = (state[0] * 96.0 / 512.0, state[1] * 96.0 / 512.0);
                let pixel = frame.pixel(x as usize, y as usize).unwrap();
                assert!(pixel[2] > pixel[0], "episode {}, frame {t}: {pixel:?} at {x} {y}", meta.index);
                assert_ne!(Some(&frame), last.as_ref());
                last = Some(frame);
            }
        }
    }
    assert!(describe(&data("lerobot_v30")).unwrap().sound);
}

#[test]
fn pictures_inside_tables_depth_cameras_and_unnamed_indices_are_understood() {
    use arrow::array::{ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray};
    use arrow::datatypes::{DataType, Field, Float64Type, Schema};
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let save = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let fields: Vec<Field> =
            columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch =
            RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, a)| a).collect()).unwrap();
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        let file = fs::File::create(root.join(name)).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    let ints = |v: &[i64]| Arc::new(Int64Array::from(v.to_vec())) as ArrayRef;
    let pngs: Vec<Vec<u8>> = (0..5).map(|t| forerun::media::encode_png(&picture(t, t)).unwrap()).collect();
    let bytes = Arc::new(BinaryArray::from_iter_values(&pngs)) as ArrayRef;
    let names = Arc::new(StringArray::from(vec![None::<&str>; 5])) as ArrayRef;
    let cells = StructArray::from(vec![
        (Arc::new(Field::new("bytes", DataType::Binary, true)), bytes),
        (Arc::new(Field::new("path", DataType::Utf8, true)), names),
    ]);
    let action = ListArray::from_iter_primitive::<Float64Type, _, _>(
        (0..5).map(|t| Some(vec![Some(f64::from(t)), Some(-1.5)])),
    );
    // Two episodes in one table, the way older versions wrote it: lists of doubles, one row group.
    save(
        "data/chunk-000/file-000.parquet",
        vec![
            ("observation.images.cam", Arc::new(cells)),
            ("action", Arc::new(action)),
            ("episode_index", ints(&[0, 0, 1, 1, 1])),
            ("task_index", ints(&[1, 1, 0, 0, 0])),
        ],
    );
    save(
        "meta/tasks.parquet",
        vec![
            ("task_index", ints(&[0, 1])),
            ("__index_level_0__", Arc::new(StringArray::from(vec!["stack", "push"]))),
        ],
    );
    save(
        "meta/episodes/chunk-000/file-000.parquet",
        vec![
            ("episode_index", ints(&[0, 1])),
            ("length", ints(&[2, 3])),
            ("data/chunk_index", ints(&[0, 0])),
            ("data/file_index", ints(&[0, 0])),
            ("dataset_from_index", ints(&[0, 2])),
        ],
    );
    let info = serde_json::json!({
        "codebase_version": "v3.0", "fps": 30, "total_episodes": 2, "total_frames": 5, "something_new": 1,
        "video_path": null,
        "features": {
            "action": {"dtype": "float64", "shape": [2], "names": {"motors": ["x", "y"]}},
            "observation.images.cam": {"dtype": "image", "shape": [3, 32, 48], "names": ["channels", "height", "width"]},
            "observation.images.depth": {"dtype": "video", "shape": [32, 48, 1], "names": null,
                "info": {"video.codec": "hevc", "video.pix_fmt": "gray12le", "video.is_depth_map": true}},
        },
    });
    fs::write(root.join("meta/info.json"), info.to_string()).unwrap();
    let set = Dataset::open(root).unwrap();
    assert!(set.problems()[0].contains("observation.images.depth") && set.problems().len() == 1);
    let camera = set.main_camera().unwrap();
    assert_eq!((camera.key.as_str(), camera.width, camera.height), ("observation.images.cam", 48, 32));
    for (row, (episode, index)) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)].into_iter().enumerate() {
        assert_eq!(set.frame("observation.images.cam", episode, index).unwrap(), picture(row, row));
    }
    let second = set.episode(1).unwrap();
    assert_eq!((second.task.as_str(), set.episode(0).unwrap().task.as_str()), ("stack", "push"));
    assert_eq!(second.actions().unwrap().row(2), [4.0, -1.5]);
    assert_eq!(second.actions().unwrap().column("y"), Some(1));
    let text = set.frame("observation.images.depth", 0, 0).unwrap_err().to_string();
    assert!(text.contains("depth") && text.contains("Use another camera"), "{text}");
}

#[test]
fn action_files_are_read_and_their_faults_are_placed() {
    use forerun::dataset::actions::read;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("actions.csv");
    let of = |text: &str| {
        fs::write(&path, text).unwrap();
        read(&path).map_err(|e| e.to_string())
    };
    let expected = [1.5, -2.0, 0.25, 4e1];
    for text in [
        "a.pos,b.pos\n1.5,-2\n0.25,4e1\n",
        "\u{feff}\"a.pos\";\"b.pos\"\r\n1,5;-2\r\n0.25;40\r\n\r\n",
        "a.pos\tb.pos\n 1.5\t-2\n.25\t40",
        r#"{"channels": ["a.pos", "b.pos"], "rows": [[1.5, -2], [0.25, 40]]}"#,
        r#"[{"a.pos": 1.5, "b.pos": -2}, {"b.pos": 40, "a.pos": 0.25}]"#,
    ] {
        let m = of(text).unwrap();
        assert_eq!((m.values.as_slice(), m.rows(), m.column("b.pos")), (&expected[..], 2, Some(1)), "{text}");
    }
    let refused = |text: &str, words: &[&str]| {
        let error = of(text).unwrap_err();
        assert!(words.iter().all(|w| error.contains(w)), "{error}");
    };
    refused("a,b\n1,2\n1,nan\n", &["row 2", "\"b\"", "nan"]);
    refused("a,b\n1,2\n1\n", &["row 2", "1 values for 2"]);
    refused("a,b\n1,2,3\n", &["row 1", "3 values for 2"]);
    refused("a,a\n1,2\n", &["\"a\"", "twice"]);
    refused("a,b\n", &["no rows"]);
    refused("1,2\n3,4\n", &["first line holds numbers"]);
    refused("", &["empty"]);
    refused("{\"channels\": [\"a\"], \"rows\": [[null]]}", &["row 1", "null"]);
    refused("[{\"a\": 1}, {\"b\": 1}]", &["row 2", "\"a\""]);
    refused("{\"x\"", &["JSON"]);
    assert!(read(&dir.path().join("none.csv")).unwrap_err().to_string().contains("Check the path"));
    fs::write(&path, [0u8, 159, 146, 150]).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("not text"));
    fs::write(&path, b"PAR1 and nothing").unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("footer"));
    let m = read(&data("lerobot_v21/data/chunk-000/episode_000001.parquet")).unwrap();
    assert_eq!((m.width(), m.rows()), (2, 65));
}
