//! The data doctor on recordings with one thing wrong: it names it, says how bad it is, and mends what can be mended.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use forerun::Frame;
use forerun::dataset::doctor::{Examination, Finding, Severity, Topic, View, examine};
use forerun::dataset::{ChannelInfo, Dataset, DatasetSpec, DatasetWriter, EpisodeBuffer, encode_episode};

/// What is wrong with a recording.
#[derive(Clone, Copy)]
struct Fault {
    /// Actions are written this many rows too late (or, below 0, too early).
    late: i32,
    /// The second joint's sensor does not move.
    dead: bool,
    /// The camera shows its first picture only.
    frozen: bool,
    /// From the middle on the picture is brighter.
    bright: bool,
    /// Every fourth picture is the one before.
    stutter: bool,
    /// What the joints' unit is said to be.
    unit: &'static str,
    /// Degrees a pixel.
    scale: f32,
    /// Actions are changes.
    relative: bool,
    /// The last episode is the first one again.
    twice: bool,
}

const SOUND: Fault = Fault {
    late: 0,
    dead: false,
    frozen: false,
    bright: false,
    stutter: false,
    unit: "deg",
    scale: 3.0,
    relative: false,
    twice: false,
};

/// How much of the pixel at `p` a bar from `from` to `from + size` covers.
fn cover(p: usize, from: f32, size: f32) -> f32 {
    ((p + 1) as f32).min(from + size) - (p as f32).max(from)
}

fn picture(x: f32, y: f32, light: f32) -> Frame {
    let mut frame = Frame::filled(64, 48, [0; 3]);
    for row in 0..48 {
        for column in 0..64 {
            let share = cover(column, x, 12.0).clamp(0.0, 1.0) * cover(row, y, 12.0).clamp(0.0, 1.0);
            let value = (60.0 + 160.0 * share + light) as u8;
            frame.data[(row * 64 + column) * 3..][..3].copy_from_slice(&[value; 3]);
        }
    }
    frame
}

/// Twelve episodes of a block that two joints push about in bursts; frame `t + 1` shows what action `t` asked for.
fn recording(folder: &Path, fault: Fault) -> Dataset {
    let joint = |name: &str| ChannelInfo::new(name, fault.unit);
    let spec = DatasetSpec {
        fps: 10,
        robot_type: "block".into(),
        width: 64,
        height: 48,
        camera: "observation.images.front".into(),
        state: vec![joint("a.pos"), joint("b.pos")],
        action: vec![joint("a.pos"), joint("b.pos")],
        extra: vec![],
    };
    let mut writer = DatasetWriter::create(folder, spec.clone()).unwrap();
    for number in 0..12 {
        let episode = if fault.twice && number == 11 { 0 } else { number };
        let (mut x, mut y) = (26.0_f32, 18.0_f32);
        let (mut frames, mut state, mut action) = (vec![], vec![], vec![]);
        for t in 0..60 {
            let light = if fault.bright && t >= 30 { 25.0 } else { 0.0 };
            frames.push(picture(x, y, light));
            let value = |v: f32, middle: f32| (v - middle) * fault.scale;
            state.push(vec![value(x, 26.0), if fault.dead { 4.0 } else { value(y, 18.0) }]);
            // Bursts of their own in every episode, with rests between.
            let phase = (t * 7 + episode * 11) as f32;
            let burst = ((phase * 0.061).sin() * (phase * 0.023).cos()).max(0.0) * 6.0;
            let way = (episode as f32 * 2.4 + (t / 9) as f32 * 1.7).sin_cos();
            let (nx, ny) = ((x + burst * way.0).clamp(0.0, 52.0), (y + burst * way.1).clamp(0.0, 36.0));
            action.push(match fault.relative {
                true => vec![(nx - x) * fault.scale, (ny - y) * fault.scale],
                false => vec![value(nx, 26.0), value(ny, 18.0)],
            });
            (x, y) = (nx, ny);
        }
        if fault.frozen {
            frames = vec![frames[0].clone(); frames.len()];
        }
        if fault.stutter {
            for t in (3..frames.len()).step_by(4) {
                frames[t] = frames[t - 1].clone();
            }
        }
        let last = action.len() as i32 - 1;
        let action = (0..=last).map(|t| action[(t - fault.late).clamp(0, last) as usize].clone()).collect();
        let (task, extra, scene) = ("push".into(), vec![], serde_json::Value::Null);
        let buffer = EpisodeBuffer { task, frames, state, action, extra, scene };
        writer.append(encode_episode(&spec, buffer).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    Dataset::open(folder).unwrap()
}

struct Seen {
    _dir: tempfile::TempDir,
    root: PathBuf,
    set: Dataset,
    found: Examination,
}

fn look(fault: Fault) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let set = recording(&root, fault);
    let found = examine(&set, &View::default());
    Seen { _dir: dir, root, set, found }
}

fn find(found: &Examination, topic: Topic) -> &Finding {
    found.findings.iter().find(|f| f.topic == topic).unwrap_or_else(|| panic!("no {topic:?} in {found:#?}"))
}

#[test]
fn a_sound_recording_has_nothing_worse_than_notes() {
    let seen = look(SOUND);
    assert!(seen.found.worst() < Some(Severity::Warning), "{:#?}", seen.found.findings);
    assert_eq!((seen.found.action_lag, seen.found.state_lag), (Some(0), Some(0)));
    assert!(seen.found.sure_fix().is_plain());
    assert_eq!(seen.found.frames, 12 * 60);
}

#[test]
fn actions_that_are_shifted_by_three_frames_are_measured_and_mended_without_touching_a_file() {
    let seen = look(Fault { late: 3, ..SOUND });
    let lag = find(&seen.found, Topic::Lag);
    assert_eq!((lag.severity, lag.sure), (Severity::Problem, true), "{lag:?}");
    assert!(lag.words.contains("3 frames too late"), "{}", lag.words);
    let fix = seen.found.sure_fix();
    assert_eq!(fix.action_lag, 3);
    let before = seen.set.sha256().unwrap();
    let mended = examine(&seen.set, &fix);
    assert_eq!(mended.action_lag, Some(0), "{:#?}", mended.findings);
    assert_eq!(Dataset::open(&seen.root).unwrap().sha256().unwrap(), before);

    let early = look(Fault { late: -3, ..SOUND });
    let lag = find(&early.found, Topic::Lag);
    assert_eq!(early.found.action_lag, Some(-3));
    assert!(lag.severity == Severity::Warning && !lag.sure && lag.words.contains("3 frames"), "{lag:?}");
}

#[test]
fn degrees_that_are_called_hundreds_are_named() {
    // 26 pixels to either side, five degrees each.
    let seen = look(Fault { unit: "-100..100", scale: 5.0, ..SOUND });
    let unit = find(&seen.found, Topic::Unit);
    assert_eq!((unit.severity, unit.sure), (Severity::Problem, true));
    assert!(unit.words.contains("these are degrees"), "{}", unit.words);
    let mended = seen.found.sure_fix().mend(seen.set.episode(0).unwrap());
    assert!(mended.actions().unwrap().channels.iter().all(|c| c.unit == "deg"));
    // Without a unit, and within both: it is asked, not decided.
    let unsure = look(Fault { unit: "", scale: 3.0, ..SOUND });
    let unit = find(&unsure.found, Topic::Unit);
    assert!(!unit.sure && unit.words.contains("say which"), "{}", unit.words);
}

#[test]
fn hundreds_that_are_called_degrees_are_named() {
    // The walls of the picture are the ends of the joint: exactly 100 to either side.
    let seen = look(Fault { unit: "deg", scale: 100.0 / 26.0, ..SOUND });
    let unit = find(&seen.found, Topic::Unit);
    assert_eq!((unit.severity, unit.sure), (Severity::Problem, false), "a person decides");
    assert!(unit.words.contains("stop at exactly 100"), "{}", unit.words);
    let fix = unit.fix.clone().unwrap();
    assert!(fix.units.iter().all(|unit| unit.unit == "-100..100" && unit.factor == 1.0));
}

#[test]
fn a_dead_joint_is_named() {
    let seen = look(Fault { dead: true, ..SOUND });
    let dead = find(&seen.found, Topic::DeadChannel);
    assert_eq!(dead.severity, Severity::Problem);
    assert_eq!(dead.channels, ["b.pos"]);
    assert!(dead.words.contains("its sensor is dead"), "{}", dead.words);
}

#[test]
fn a_camera_that_shows_nothing_new_is_named() {
    let seen = look(Fault { frozen: true, ..SOUND });
    let frozen = find(&seen.found, Topic::FrozenCamera);
    assert_eq!((frozen.severity, frozen.fix.is_none()), (Severity::Problem, true));
    assert_eq!(seen.found.action_lag, None, "a frozen picture says nothing about time");
}

#[test]
fn stuttering_brightness_and_twins_are_named() {
    let stutter = look(Fault { stutter: true, ..SOUND });
    assert_eq!(find(&stutter.found, Topic::RepeatedFrames).severity, Severity::Warning);
    let bright = look(Fault { bright: true, ..SOUND });
    assert_eq!(find(&bright.found, Topic::Exposure).episodes.len(), 12);
    let twice = look(Fault { twice: true, ..SOUND });
    let twins = find(&twice.found, Topic::SameEpisode);
    assert_eq!((twins.episodes.as_slice(), twins.sure), (&[11][..], true));
    assert!(
        examine(&twice.set, &twice.found.sure_fix()).findings.iter().all(|f| f.topic != Topic::SameEpisode)
    );
}

#[test]
fn changes_are_told_from_targets() {
    let seen = look(Fault { relative: true, ..SOUND });
    let relative = find(&seen.found, Topic::Relative);
    assert_eq!(relative.channels, ["a.pos", "b.pos"]);
    assert_eq!(seen.found.sure_fix().relative, ["a.pos", "b.pos"]);
    assert_eq!(seen.found.action_lag, Some(0), "{:#?}", seen.found.findings);
}

#[test]
fn inspect_says_what_the_doctor_found() {
    let seen = look(Fault { late: 3, ..SOUND });
    let inspection = forerun::inspect::inspect(&seen.root).unwrap();
    assert!(inspection.sound, "the files are in order: {:?}", inspection.problems);
    assert!(inspection.lines.iter().any(|line| line.starts_with("problem: ") && line.contains("too late")));
    assert_eq!(inspection.value["examination"]["action_lag"], 3);
}
