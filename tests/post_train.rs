//! Post-training end to end with the micro size: another body, exact resumption, the best kept, reasons said.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use forerun::Frame;
use forerun::dataset::{ChannelInfo, DatasetSpec, DatasetWriter, EpisodeBuffer, encode_episode};
use forerun::models::dreamer::{Dreamer, WeightFormat, read_folder};
use forerun::models::nn::path::{self, Path as Way};
use forerun::models::testing::random_model;
use forerun::models::{Contract, Fit};
use forerun::train::post::{Method, PostOutcome, PostReport, PostRequest, PostStage, Wishes, post_train};
use forerun::train::{Budget, TrainError};

const CAMERA: &str = "observation.images.front";

/// A square on a table that goes where its two action channels say; 48 x 32 pixels, 20 frames a second.
fn slider(folder: &Path, episodes: usize, names: [&str; 2], unit: &str) {
    let channel = |name: &str| ChannelInfo::new(name, unit);
    let spec = DatasetSpec {
        fps: 20,
        robot_type: "slider".into(),
        width: 48,
        height: 32,
        camera: CAMERA.into(),
        state: names.map(channel).to_vec(),
        action: names.map(channel).to_vec(),
        extra: vec![],
    };
    let mut writer = DatasetWriter::create(folder, spec.clone()).unwrap();
    for episode in 0..episodes {
        let (mut x, mut y) = (12.0_f32, 8.0_f32);
        let (mut frames, mut state, mut action) = (vec![], vec![], vec![]);
        for t in 0..50 {
            let mut frame = Frame::filled(48, 32, [70, 80, 90]);
            for row in y as usize..y as usize + 8 {
                for column in x as usize..x as usize + 8 {
                    frame.data[(row * 48 + column) * 3..][..3].copy_from_slice(&[230, 60, 40]);
                }
            }
            frames.push(frame);
            state.push(vec![x, y]);
            let turn = (t as f32 * 0.3 + episode as f32 * 1.3).sin();
            x = (x + 1.5 * turn).clamp(8.0, 32.0);
            y = (y + 1.2 * (t as f32 * 0.21 + episode as f32).cos()).clamp(0.0, 23.0);
            action.push(vec![x, y]);
        }
        let scene = serde_json::Value::Null;
        let buffer = EpisodeBuffer { task: "slide".into(), frames, state, action, extra: vec![], scene };
        writer.append(encode_episode(&spec, buffer).unwrap()).unwrap();
    }
    writer.finish().unwrap();
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A base with random weights and a dataset of another body.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        random_model(&dir.path().join("base"), 4).unwrap();
        slider(&dir.path().join("data"), 8, ["x", "y"], "px");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn request(&self, out: &str, iterations: u64, wishes: Wishes) -> PostRequest {
        PostRequest {
            base: self.path("base"),
            datasets: vec![self.path("data")],
            out: self.path(out),
            budget: Budget::Iterations(iterations),
            resume: false,
            wishes,
            measure_seconds: 0.0,
            device: forerun_device(),
        }
    }
}

fn wishes() -> Wishes {
    Wishes {
        method: Method::Full,
        replay: Some(4),
        held_out: Some(2),
        judgements: Some(4),
        ..Wishes::default()
    }
}

fn go(request: &PostRequest, mut watch: impl FnMut(&PostReport)) -> Result<PostOutcome, TrainError> {
    let mut stages = |stage: PostStage| {
        if let PostStage::Training(report) = stage {
            watch(&report);
        }
    };
    post_train(request, &mut stages, &AtomicBool::new(false))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let place = Place::new();
    // What is on the disk at iteration 14 is what a kill would leave: a checkpoint of 12, and a log that is longer.
    let (straight, killed) = (place.path("straight"), place.path("killed"));
    let mut seen = Vec::new();
    let outcome = go(&place.request("straight", 16, wishes()), |report| {
        seen.push(report.clone());
        if report.iteration == 14 {
            copy(&straight, &killed);
        }
    })
    .unwrap();
    assert_eq!(outcome.iterations, 16);
    let lines = |folder: &Path| fs::read_to_string(folder.join("log.jsonl")).unwrap().lines().count();
    assert_eq!((lines(&straight), lines(&killed)), (16, 14));
    let mut first = None;
    let request = PostRequest { resume: true, ..place.request("killed", 16, Wishes::default()) };
    go(&request, |report| {
        first.get_or_insert(report.iteration);
    })
    .unwrap();
    // Checkpoints by the clock may be newer than the last judgement.
    assert!((13..=15).contains(&first.unwrap()), "went on at {first:?}");
    assert_eq!(lines(&killed), 16, "no iteration is told twice");
    let same = |file: &str| fs::read(straight.join(file)).unwrap() == fs::read(killed.join(file)).unwrap();
    assert!(same("model.safetensors") && same("config.json"));
    // It learnt: the random base imagines noise.
    assert!(outcome.comparison.psnr[2] > outcome.comparison.base[2] + 1.0, "{:?}", outcome.comparison);
    assert!(seen.iter().any(|r| r.judgement.is_some()) && seen.iter().any(|r| r.preview.is_some()));
}

#[test]
fn another_body_gets_a_contract_of_its_own_and_the_old_world_is_watched() {
    let place = Place::new();
    let mut notes = Vec::new();
    let mut before = None;
    let request = place.request("mine", 12, Wishes { weights: Some(WeightFormat::Bf16), ..wishes() });
    let mut watch = |stage: PostStage| match stage {
        PostStage::Note(note) => notes.push(note),
        PostStage::Before(judgement) => before = Some(judgement),
        _ => {}
    };
    let outcome = post_train(&request, &mut watch, &AtomicBool::new(false)).unwrap();
    let out = place.path("mine");
    let contract = Contract::load(&out).unwrap();
    let names: Vec<_> = contract.actions.iter().map(|c| (c.name.as_str(), c.unit.as_str())).collect();
    assert_eq!(names, [("x", "px"), ("y", "px")]);
    assert_eq!((contract.frame.rate_hz, contract.embodiment.as_str()), (10.0, "slider"));
    assert!(
        contract.vocabulary.contains(&"slide".to_owned()) && contract.vocabulary.contains(&"red".to_owned())
    );
    Dreamer::load(&out, &forerun_device()).unwrap();
    // Every second frame, cropped, with fresh inputs: all of it is said.
    for words in ["every 2. frame", "33 % cut off", "x, y"] {
        assert!(notes.iter().any(|note| note.contains(words)), "{words}: {notes:?}");
    }
    let card = json(&out.join("scorecard.json"));
    let row = &card["horizons"]["10"];
    assert_eq!(row["before_psnr"].as_f64().unwrap() as f32, outcome.comparison.base[2]);
    assert!(row["psnr"].as_f64().unwrap() > row["before_psnr"].as_f64().unwrap());
    assert!(card["base_world"]["loss_db"].is_number());
    assert_eq!(card["dataset"]["episodes"], 6);
    assert_eq!(card["dataset"]["sha256"][0].as_str().unwrap().len(), 64);
    let lineage = json(&out.join("lineage.json"));
    assert_eq!(lineage["base"]["sha256"], read_folder(&place.path("base")).unwrap().sha256.as_str());
    assert_eq!(lineage["fresh_channels"], serde_json::json!(["x", "y"]));
    // At most three checkpoints, each a model by itself, and the final preview.
    let kept: Vec<_> = fs::read_dir(out.join("checkpoints")).unwrap().flatten().collect();
    assert!((1..=3).contains(&kept.len()));
    Dreamer::load(&kept[0].path(), &forerun_device()).unwrap();
    assert!(out.join("previews/final.png").exists());
    let events = fs::read_dir(&out).unwrap().flatten();
    assert_eq!(events.filter(|e| e.file_name().to_string_lossy().contains("tfevents")).count(), 1);
}

fn forerun_device() -> candle_core::Device {
    candle_core::Device::Cpu
}

#[test]
fn adapters_leave_the_frozen_weights_and_merge_into_an_ordinary_model() {
    let place = Place::new();
    let lora = Wishes { method: Method::Lora, rank: Some(4), replay: Some(0), ..wishes() };
    let outcome = go(&place.request("adapted", 8, lora), |_| {}).unwrap();
    assert!(outcome.comparison.old.is_none());
    let base = read_folder(&place.path("base")).unwrap().weights;
    let adapted = read_folder(&place.path("adapted")).unwrap().weights;
    assert_eq!(base.keys().collect::<Vec<_>>(), adapted.keys().collect::<Vec<_>>());
    let differs = |name: &str| -> bool {
        let flat = |w: &BTreeMap<String, candle_core::Tensor>| -> Vec<f32> {
            w[name].flatten_all().unwrap().to_vec1().unwrap()
        };
        flat(&base) != flat(&adapted)
    };
    assert!(differs("blocks.0.space.qkv.weight") && differs("action.first.weight"));
    assert!(!differs("blocks.0.modulation.weight") && !differs("place"));
}

/// What a graphics card runs: one worker, larger micro-batches, stock operations, the optimiser in tensors.
#[test]
fn stock_operations_post_train_the_same_model() {
    let place = Place::new();
    for method in [Method::Full, Method::Lora] {
        let learn = |wish: Way| {
            let name = format!("{method:?} {wish:?}");
            let wishes = Wishes { method, rank: Some(4), replay: Some(0), ..wishes() };
            let mut course = Vec::new();
            let request = place.request(&name, 4, wishes);
            let outcome =
                path::with(wish, || go(&request, |report| course.push((report.loss, report.psnr)))).unwrap();
            (outcome, course)
        };
        let ((kernels, course), (stock, plain)) = (learn(Way::Auto), learn(Way::Stock));
        assert_eq!((course.len(), plain.len()), (4, 4));
        // Where the processor has bf16 products, its run rounds to them: that is what the tolerance is for.
        for ((a, _), (b, _)) in course.iter().zip(&plain) {
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!((a - b).abs() < 0.02 * a, "{method:?}: {course:?} {plain:?}");
        }
        for (a, b) in kernels.comparison.psnr.iter().zip(&stock.comparison.psnr) {
            assert!((a - b).abs() < 0.3, "{method:?}: {kernels:?} {stock:?}");
        }
    }
}

#[test]
fn a_control_run_begins_with_random_weights_and_is_compared_with_the_same_base() {
    let place = Place::new();
    let usual = place.request("usual", 2, wishes());
    let control = place.request("control", 2, Wishes { from_nothing: true, ..wishes() });
    let befores = [&usual, &control].map(|request| go(request, |_| {}).unwrap().comparison.base);
    assert_eq!(befores[0], befores[1]);
    let base = read_folder(&usual.base).unwrap().weights;
    let away = |request: &PostRequest| {
        let made = read_folder(&request.out).unwrap().weights;
        let difference = (&made["place"] - &base["place"]).unwrap();
        difference.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    };
    // Two steps of the optimiser are small; two draws of the starting numbers (0.1) are far apart.
    assert!(away(&usual) < 0.02 && away(&control) > 0.1, "{} {}", away(&usual), away(&control));
}

#[test]
fn a_cancelled_run_keeps_what_it_learnt() {
    let place = Place::new();
    let cancel = AtomicBool::new(false);
    let request = place.request("mine", 30, Wishes { replay: Some(0), ..wishes() });
    let mut watch = |stage: PostStage| {
        if matches!(&stage, PostStage::Training(report) if report.iteration == 4) {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    assert!(matches!(post_train(&request, &mut watch, &cancel), Err(TrainError::Cancelled)));
    // A new run does not overwrite it; going on does not begin anew.
    assert!(go(&request, |_| {}).unwrap_err().to_string().contains("--resume"));
    let mut first = 0;
    let on = PostRequest { resume: true, budget: Budget::Iterations(7), ..request };
    go(&on, |report| first = if first == 0 { report.iteration } else { first }).unwrap();
    assert_eq!(first, 5);
}

#[test]
fn what_cannot_work_is_refused_with_its_reason_and_nothing_is_left() {
    let place = Place::new();
    // Too little time on this machine, measured.
    let short = PostRequest {
        budget: Budget::Minutes(0.002),
        measure_seconds: 0.3,
        ..place.request("short", 0, Wishes { replay: Some(0), ..wishes() })
    };
    let error = go(&short, |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::TooShort { .. }), "{error}");
    // A camera that is not there.
    let view = forerun::dataset::doctor::View { camera: "wrist".into(), ..Default::default() };
    let blind = place.request("blind", 3, Wishes { views: vec![view], ..wishes() });
    assert!(go(&blind, |_| {}).unwrap_err().to_string().contains(CAMERA));
    // A base that is none, and data that is none.
    let no_base = PostRequest { base: place.path("data"), ..place.request("no", 3, wishes()) };
    assert!(go(&no_base, |_| {}).unwrap_err().to_string().contains("contract.json"));
    let no_data = PostRequest { datasets: vec![place.path("base")], ..place.request("no", 3, wishes()) };
    assert!(go(&no_data, |_| {}).unwrap_err().to_string().contains("meta/info.json"));
    for name in ["short", "blind", "no"] {
        assert!(!place.path(name).exists(), "{name} was left behind");
    }
}

#[test]
fn another_base_or_other_data_does_not_go_on() {
    let place = Place::new();
    let request = place.request("mine", 2, Wishes { replay: Some(0), ..wishes() });
    go(&request, |_| {}).unwrap();
    random_model(&place.path("other"), 9).unwrap();
    let other = PostRequest {
        base: place.path("other"),
        resume: true,
        ..place.request("mine", 4, Wishes::default())
    };
    assert!(go(&other, |_| {}).unwrap_err().to_string().contains("not the model that this run began with"));
    slider(&place.path("more"), 5, ["x", "y"], "px");
    let data = PostRequest {
        datasets: vec![place.path("more")],
        resume: true,
        ..place.request("mine", 4, Wishes::default())
    };
    assert!(go(&data, |_| {}).unwrap_err().to_string().contains("not what the run began with"));
}

#[test]
fn pictures_between_bars_are_told_and_stay_in_the_contract() {
    let place = Place::new();
    let notes = |request: &PostRequest| {
        let mut notes = Vec::new();
        let mut stages = |stage: PostStage| {
            if let PostStage::Note(note) = stage {
                notes.push(note);
            }
        };
        post_train(request, &mut stages, &AtomicBool::new(false)).unwrap();
        notes
    };
    let barred = place.request("barred", 2, Wishes { fit: Some(Fit::Bars), ..wishes() });
    let told = notes(&barred);
    assert!(told.iter().any(|n| n.contains("set between bars (34 %")), "{told:?}");
    assert_eq!(Contract::load(&place.path("barred")).unwrap().frame.fit, Fit::Bars);
    // Trained further without a word about it, it sees pictures as before.
    let again = PostRequest { base: place.path("barred"), ..place.request("again", 2, wishes()) };
    let told = notes(&again);
    assert!(told.iter().any(|n| n.contains("set between bars")), "{told:?}");
    assert_eq!(Contract::load(&place.path("again")).unwrap().frame.fit, Fit::Bars);
}
