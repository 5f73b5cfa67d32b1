//! Comparing real futures of the shipped model, from the recording to the exported sheet, and a tree that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "engine/support.rs"]
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forerun::compare::gallery::{Gallery, Query};
use forerun::compare::metrics::{Metric, Seen, Strip, spread, strips};
use forerun::compare::numbers::{Numbers, NumbersFile, write};
use forerun::compare::open::OpenFuture;
use forerun::compare::picture::Picture;
use forerun::compare::set::{Distances, SetView};
use forerun::compare::sheet::{SheetFile, SheetLook, SheetPane, export};
use forerun::compare::sweep::{Axis, CellState, Sweep};
use forerun::compare::tree::TreeStore;
use forerun::compare::truth::{Truth, place_of};
use forerun::compare::words::{differences, in_words};
use forerun::compare::{diff, follow};
use forerun::engine::protocol::{Actions, Event, ImagineSpec, RecordSpec, Request, Start};
use forerun::media;
use forerun::models::{Contract, Frame};

use crate::support::{Bench, done};

const ELBOW: &str = "elbow_flex.pos";

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models/tabletop")
}

/// Frames and readings of an imagined future that was not written.
fn imagined(bench: &Bench, spec: ImagineSpec) -> Vec<(Frame, Vec<(String, f32)>)> {
    let events = bench.run(|job| Request::Imagine { job, spec });
    done(&events);
    let frame = |p: &forerun::engine::protocol::Packet<Event>| match &p.message {
        Event::FutureFrame { index: 1.., width, height, reading, .. } => {
            Some((Frame::new(*width, *height, p.blobs[0].clone()).unwrap(), reading.values.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(frame).collect()
}

fn seen(frames: &[(Frame, Vec<(String, f32)>)]) -> Vec<Seen<'_>> {
    frames.iter().map(|(frame, reading)| Seen { frame, reading }).collect()
}

fn of<'a>(strips: &'a [Strip], metric: &Metric) -> &'a Strip {
    strips.iter().find(|s| s.metric == *metric).unwrap_or_else(|| panic!("there is no {metric:?}"))
}

#[test]
fn two_branches_are_compared_with_the_truth_and_exported_as_a_sheet() {
    let bench = Bench::new();
    let contract = Contract::load(&shipped()).unwrap();
    let (set, futures) = (bench.path("set"), bench.path("project/futures"));
    let recording = RecordSpec {
        world: "tabletop".into(),
        behaviour: "expert".into(),
        episodes: 1,
        seed: 5,
        look: "plain".into(),
        size: 128,
        fps: 10,
        picture: Default::default(),
        out: set.clone(),
    };
    done(&bench.run(|job| Request::Record { job, spec: recording }));

    // Two seeds of one recorded start, driven as the robot was.
    let spec = ImagineSpec {
        model: shipped().to_string_lossy().into_owned(),
        start: Start::Episode { dataset: set.clone(), episode: 0, at: 6 },
        prompt: "把紅色方塊推到左邊".into(),
        actions: Actions::Episode { dataset: set, episode: 0 },
        steps: 4,
        seeds: vec![1, 2],
        refine: 1,
        device: "cpu".into(),
        out: Some(futures.join("first")),
        clip: Default::default(),
    };
    done(&bench.run(|job| Request::Imagine { job, spec: spec.clone() }));
    let base = follow::as_track(&spec, &[], &contract).unwrap();
    let Actions::Track { channels, rows } = base.actions.clone() else { panic!("{:?}", base.actions) };
    assert_eq!(rows.len(), 4);

    // What if, from frame 2: the same, or with another elbow from the second step on?
    let column = channels.iter().position(|c| c == ELBOW).unwrap();
    let range = contract.actions.iter().find(|c| c.name == ELBOW).unwrap();
    let by = if rows[3][column] + 8.0 <= range.max { 8.0 } else { -8.0 };
    let branch = |name: &str, rows: Vec<Vec<f32>>| {
        let spec = ImagineSpec {
            start: Start::Future { folder: futures.join("first/seed-1"), at: 2 },
            actions: Actions::Track { channels: channels.clone(), rows },
            steps: 2,
            seeds: vec![1],
            out: Some(futures.join(name)),
            ..base.clone()
        };
        done(&bench.run(|job| Request::Imagine { job, spec }));
    };
    branch("same", rows[2..].to_vec());
    let mut moved = rows[2..].to_vec();
    moved[1][column] += by;
    branch("elbow", moved);

    // The gallery and the tree find out who came from whom.
    let gallery = Gallery::scan(&futures);
    assert!(gallery.broken().is_empty(), "{:?}", gallery.broken());
    assert_eq!(gallery.search(&Query::parse("紅色 model:tabletop")).len(), 4);
    let tree = TreeStore::open(&futures, &gallery).unwrap();
    let root = tree.of_folder(&futures.join("first/seed-1")).unwrap();
    assert_eq!(tree.children(root).len(), 2);
    assert!(tree.children(root).iter().all(|id| tree.node(*id).unwrap().at == 2));
    assert_eq!(tree.layout().len(), 4);

    // What differs, in words.
    let same = OpenFuture::read(&futures.join("same/seed-1")).unwrap();
    let elbow = OpenFuture::read(&futures.join("elbow/seed-1")).unwrap();
    let sign = if by > 0.0 { "+8" } else { "-8" };
    let words = in_words(&differences(&same.record, &elbow.record));
    assert_eq!(words, format!("{ELBOW} {sign} deg from step 2"));
    let first: Vec<OpenFuture> =
        [1, 2].map(|s| OpenFuture::read(&futures.join(format!("first/seed-{s}"))).unwrap()).into();
    assert_eq!(in_words(&differences(&first[0].record, &first[1].record)), "seed 2 instead of 1");

    // Both branches share their start and frame 1, and part where their actions do.
    assert_eq!(same.frames[0], elbow.frames[0]);
    assert_eq!(same.frames[0], first[0].frames[2]);
    assert_eq!(same.frames[1], elbow.frames[1]);
    let apart = diff::largest_difference(&same.frames[2], &elbow.frames[2]).unwrap();
    assert!(apart.iter().any(|d| *d > 0), "8 degrees make no difference");
    let map = diff::heat_map(&same.frames[2], &elbow.frames[2]).unwrap();
    let hottest = *apart.iter().max().unwrap();
    assert!(map.data.chunks_exact(3).any(|p| p == diff::heat(hottest)));

    // Against truth: the branch's truth is the recording, two frames further on.
    let place = place_of(&elbow.record).unwrap();
    assert_eq!((place.at, place.after), (6, 2));
    let truth = Truth::of_future(&elbow.folder).unwrap().unwrap();
    let whole = Truth::of_future(&first[0].folder).unwrap().unwrap();
    assert_eq!((truth.frames.len(), whole.frames.len()), (3, 5));
    assert_eq!(truth.frames[..], whole.frames[2..]);
    assert_eq!(whole.frames[0], first[0].frames[0]);
    assert!(!truth.colours.is_empty());
    let measured = strips(&same.seen(), &truth);
    for metric in [Metric::Psnr, Metric::Ssim, Metric::GripperPose, Metric::Joints] {
        let strip = of(&measured, &metric);
        assert!(strip.values[1..].iter().all(Option::is_some), "{strip:?}");
    }
    // A model that has seen this world is nearer to it than chance, one step and all steps ahead.
    let psnr = of(&measured, &Metric::Psnr).mean().unwrap();
    assert!(psnr > 15.0, "{psnr} dB");
    let gripper = of(&measured, &Metric::GripperPose).mean().unwrap();
    assert!(gripper < 200.0, "{gripper} mm");
    let object = measured.iter().find(|s| matches!(s.metric, Metric::ObjectPixels { .. }));
    println!(
        "psnr {psnr:.1} dB, gripper {gripper:.0} mm, joints {:?}, {object:?}",
        of(&measured, &Metric::Joints).mean()
    );

    // Over the seeds.
    let last: Vec<&Frame> = first.iter().map(|f| &**f.frames.last().unwrap()).collect();
    let view = SetView::new(&last).unwrap();
    assert!(view.spread() > 0.0);
    let mut distances = Distances::new(2);
    for k in 0..5 {
        distances.add(&first.iter().map(|f| f.frames.get(k).map(|f| &**f)).collect::<Vec<_>>());
    }
    assert_eq!(distances.most_different().map(|(a, b, _)| (a, b)), Some((0, 1)));
    let ends: Vec<_> = first.iter().map(|f| f.seen()[4]).collect();
    assert!(spread(&ends).iter().any(|(m, v)| *m == Metric::GripperSpread && *v > 0.0));

    // The sheet and its numbers.
    let panes = vec![
        SheetPane { label: "truth".into(), note: String::new(), pictures: pictures(&truth.frames) },
        SheetPane { label: "same".into(), note: "seed 1".into(), pictures: same.pictures() },
        SheetPane { label: "手肘 elbow".into(), note: words, pictures: elbow.pictures() },
    ];
    let look = SheetLook { title: "what if".into(), columns: Some(3), ..SheetLook::default() };
    let clip = bench.path("sheet.mp4");
    let written = export(&clip, SheetFile::Mp4, &panes, &look, 10.0, &mut |_, _| true).unwrap();
    let (frames, fps) = media::read_clip(&clip).unwrap();
    assert_eq!((frames.len(), fps), (3, 10.0));
    assert_eq!((frames[0].width, frames[0].height), written.size);
    let strip = bench.path("strip.png");
    let kind = SheetFile::Strip { from: 0, every: 1, most: 8 };
    export(&strip, kind, &panes, &look, 10.0, &mut |_, _| true).unwrap();
    assert!(media::read_picture(&strip).unwrap().height > 3 * 256);
    if let Some(folder) = std::env::var_os("FORERUN_TEST_KEEP") {
        std::fs::copy(&strip, Path::new(&folder).join("strip.png")).unwrap();
        std::fs::copy(&clip, Path::new(&folder).join("sheet.mp4")).unwrap();
    }
    let numbers = [("same", &same), ("elbow", &elbow)].map(|(label, future)| Numbers {
        label: label.into(),
        folder: future.folder.to_string_lossy().into_owned(),
        strips: strips(&future.seen(), &truth),
    });
    let csv = bench.path("numbers.csv");
    write(&csv, &numbers, NumbersFile::Csv).unwrap();
    let text = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert!(text.starts_with("frame,same psnr [dB],same ssim"), "{text}");

    gauge(&bench, &base, &contract);
    sweep(&bench, &base, &contract, &futures);
}

fn pictures(frames: &[std::sync::Arc<Frame>]) -> Vec<Picture> {
    frames.iter().cloned().map(Picture::Here).collect()
}

/// Does the shipped model follow its shoulder?
fn gauge(bench: &Bench, base: &ImagineSpec, contract: &Contract) {
    let base = ImagineSpec { seeds: vec![1], out: None, ..base.clone() };
    let probes = follow::probes(&base, contract).unwrap();
    assert_eq!(probes.len(), contract.actions.len());
    let still = imagined(bench, base);
    let probe = probes.iter().find(|p| p.channel == "shoulder_pan.pos").unwrap();
    let moved = imagined(bench, probe.spec.clone());
    let response = follow::Response::new(probe, &seen(&still), &seen(&moved)).unwrap();
    println!("{response:?}");
    assert_eq!(response.course.len(), 4);
    assert!(response.rms > 0.0 && response.followed.is_some());
    assert!((0.0..=1.0).contains(&response.gauge()));
}

/// Two refinements of two prompts: every cell becomes a future of its own, cheapest first.
fn sweep(bench: &Bench, base: &ImagineSpec, contract: &Contract, futures: &Path) {
    let base = ImagineSpec { steps: 1, out: Some(futures.join("sweep")), ..base.clone() };
    let x = Axis::Offset { channel: ELBOW.into(), values: vec![-5.0, 5.0] };
    let y = Axis::Refine { values: vec![2, 1] };
    let mut sweep = Sweep::new(&base, x, Some(y), contract, &[], &BTreeMap::new()).unwrap();
    let mut refined = Vec::new();
    while let Some(cell) = sweep.next() {
        let spec = sweep.cells[cell].spec.clone();
        refined.push(spec.refine);
        let job = bench.client.next_job();
        sweep.set(cell, CellState::Running { job });
        bench.client.send(Request::Imagine { job, spec }, vec![]);
        for packet in bench.collect(job) {
            if let Event::FutureDone { job, folder: Some(folder), .. } = packet.message {
                let cell = sweep.of_job(job).unwrap();
                sweep.set(cell, CellState::Done { folder });
            }
        }
    }
    assert_eq!((refined, sweep.progress()), (vec![1, 1, 2, 2], (4, 4)));
    let folders: Vec<PathBuf> = sweep
        .cells
        .iter()
        .map(|c| match &c.state {
            CellState::Done { folder } => folder.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let gallery = Gallery::scan(futures);
    assert!(folders.iter().all(|f| gallery.entry(f).is_some()));
    let (a, b) = (OpenFuture::read(&folders[0]).unwrap(), OpenFuture::read(&folders[1]).unwrap());
    assert_eq!(in_words(&differences(&a.record, &b.record)), format!("{ELBOW} +10 deg from step 1"));
}

/// What ffprobe says about a file, where it is installed.
fn ffprobe(file: &Path) -> Option<serde_json::Value> {
    let shown = "stream=codec_name,pix_fmt,width,height,nb_read_frames,avg_frame_rate:format=format_name";
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "json", "-show_entries", shown])
        .arg(file)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: ffprobe is not installed");
        return None;
    };
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn exported_files_are_what_other_programs_and_browsers_take() {
    let dir = tempfile::tempdir().unwrap();
    let pane = |n: u8| {
        let frame = |k: u8| {
            let mut frame = Frame::filled(64, 48, [20 * n, 10, 90]);
            frame.data[..usize::from(k) * 300].fill(200);
            Picture::Here(std::sync::Arc::new(frame))
        };
        let pictures = (0..7).map(frame).collect();
        SheetPane { label: format!("未來 {n}"), note: "seed 1, elbow +10 deg from step 4".into(), pictures }
    };
    let panes: Vec<SheetPane> = (1..=3).map(pane).collect();
    let look = SheetLook { title: "What if".into(), ..SheetLook::default() };
    let go = |name: &str, kind: SheetFile| {
        let path = dir.path().join(name);
        let written = export(&path, kind, &panes, &look, 10.0, &mut |_, _| true).unwrap();
        (path, written.size)
    };

    // A clip: H.264 in the colours that every browser decodes, its index before its pictures, our own reader agrees.
    let (clip, size) = go("clip.mp4", SheetFile::Mp4);
    let (frames, fps) = media::read_clip(&clip).unwrap();
    assert_eq!((frames.len(), fps, (frames[0].width, frames[0].height)), (7, 10.0, size));
    let bytes = std::fs::read(&clip).unwrap();
    let place = |name: &[u8]| bytes.windows(4).position(|w| w == name).unwrap();
    assert!(place(b"moov") < place(b"mdat"), "a browser must not wait for the whole file");
    if let Some(told) = ffprobe(&clip) {
        let stream = &told["streams"][0];
        assert_eq!(stream["codec_name"], "h264");
        assert_eq!(stream["pix_fmt"], "yuv420p");
        assert_eq!(
            (stream["width"].as_u64(), stream["height"].as_u64()),
            (Some(size.0 as u64), Some(size.1 as u64))
        );
        assert_eq!(
            (stream["nb_read_frames"].as_str(), stream["avg_frame_rate"].as_str()),
            (Some("7"), Some("10/1"))
        );
    }
    let (gif, _) = go("clip.gif", SheetFile::Gif);
    if let Some(told) = ffprobe(&gif) {
        assert_eq!(told["streams"][0]["codec_name"], "gif");
        assert_eq!(told["streams"][0]["nb_read_frames"], "7");
    }
    for (name, kind) in [
        ("sheet.png", SheetFile::Png { index: 3 }),
        ("strip.png", SheetFile::Strip { from: 0, every: 2, most: 4 }),
    ] {
        let (path, size) = go(name, kind);
        let read = media::read_picture(&path).unwrap();
        assert_eq!((read.width, read.height), size);
        if let Some(told) = ffprobe(&path) {
            assert_eq!(told["streams"][0]["codec_name"], "png");
        }
    }
    let (folder, size) = go("frames", SheetFile::Sequence);
    for k in 0..7 {
        let read = media::read_picture(&folder.join(format!("{k:05}.png"))).unwrap();
        assert_eq!((read.width, read.height), size);
    }
}

/// Renames a node of a tree for ever; the other half of the test below kills it.
#[test]
fn writer_that_is_killed() {
    let Some(folder) = std::env::var_os("FORERUN_TEST_TREE").map(PathBuf::from) else { return };
    let mut tree = TreeStore::open(&folder, &Gallery::default()).unwrap();
    let id = tree.add(&folder.join("seed-1"), None, "0").unwrap();
    for n in 1..u64::MAX {
        tree.rename(id, &n.to_string()).unwrap();
        println!("named {n}");
    }
}

#[cfg(unix)]
#[test]
fn a_tree_survives_being_killed_in_the_middle_of_writing() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    for round in 0..4u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_that_is_killed", "--exact", "--nocapture"])
            .env("FORERUN_TEST_TREE", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = 0u64;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Some(n) = line.unwrap().strip_prefix("named ").map(|n| n.parse().unwrap()) else { continue };
            told = n;
            if told > 5 + 7 * round {
                break;
            }
        }
        // On Unix this is the signal that nobody can catch.
        child.kill().unwrap();
        child.wait().unwrap();
        let tree = TreeStore::open(dir.path(), &Gallery::default()).unwrap();
        assert!(tree.notes().is_empty(), "{:?}", tree.notes());
        let (_, node) = tree.nodes().next().unwrap();
        // What was told is on disk; what came after may be.
        assert!(node.name.parse::<u64>().unwrap() >= told, "{} after {told}", node.name);
        assert_eq!(tree.nodes().count(), 1);
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["tree.json"], "what the killed one left is swept away");
    }
}
