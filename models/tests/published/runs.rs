//! Every family makes clips: as many frames as asked, the same again, and with everything told on the way.

use std::ops::ControlFlow;

use forerun_models::published::{ClipJob, ClipMoment, ClipSettings, PublishedError, PublishedFolder};
use forerun_models::testing::published::Tiny;

use crate::support::{HEIGHT, WIDTH, distance, folder, frames, made, open, run, settings};

#[test]
fn every_family_makes_the_frames_that_were_asked_for_and_the_same_again() {
    for (kind, given) in [
        (Tiny::Predict1, 1),
        (Tiny::Predict1, 5),
        (Tiny::Predict2, 1),
        (Tiny::Predict2, 5),
        (Tiny::Predict25, 0),
        (Tiny::Predict25, 1),
        (Tiny::Predict25, 5),
        (Tiny::Transfer1, 7),
        (Tiny::Transfer25, 7),
        (Tiny::Cosmos3, 0),
        (Tiny::Cosmos3, 1),
        (Tiny::Cosmos3, 5),
    ] {
        let dir = folder(kind);
        let model = open(dir.path()).unwrap();
        let given = frames(given);
        // A control clip in two chunks.
        let chunk = matches!(kind, Tiny::Transfer1 | Tiny::Transfer25).then_some(5);
        let settings = || ClipSettings { chunk, ..settings() };
        let first = run(&model, &given, 7, 1, &settings()).unwrap();
        assert_eq!(first.frames.len(), 7, "{kind:?}");
        assert!(first.frames.iter().all(|f| (f.width, f.height) == (WIDTH, HEIGHT)), "{kind:?}");
        assert!(first.actions.is_none());
        // From memory, and from disk again.
        assert!(run(&model, &given, 7, 1, &settings()).unwrap().frames == first.frames, "{kind:?}");
        assert!(made(dir.path(), &given, 7, &settings()) == first.frames, "{kind:?}");
        let other = run(&model, &given, 7, 2, &settings()).unwrap().frames;
        assert!(distance(&other, &first.frames) > 0.5, "{kind:?}: seeds must differ");
    }
}

#[test]
fn words_change_a_clip_and_guidance_takes_the_negative_ones_in() {
    let dir = folder(Tiny::Predict25);
    let model = open(dir.path()).unwrap();
    let with = |prompt: &str, settings: &ClipSettings| {
        let job = ClipJob { prompt, given: &[], actions: None, state: None, steps: 5, seed: 1, settings };
        model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(())).unwrap().frames
    };
    let plain = settings();
    assert!(distance(&with("push", &plain), &with("pull the T", &plain)) > 0.0);
    let guided =
        |negative: &str| ClipSettings { guidance: Some(6.0), negative: Some(negative.into()), ..settings() };
    assert!(distance(&with("push", &guided("blur")), &with("push", &guided("dark night"))) > 0.0);
    assert!(distance(&with("push", &guided("blur")), &with("push", &plain)) > 0.0);
}

#[test]
fn a_long_future_is_made_chunk_by_chunk() {
    let dir = folder(Tiny::Predict2);
    let chunked = ClipSettings { chunk: Some(9), ..settings() };
    let long = made(dir.path(), &frames(1), 20, &chunked);
    let short = made(dir.path(), &frames(1), 8, &chunked);
    assert_eq!(long.len(), 20);
    assert!(long[..8] == short[..], "the first chunk does not depend on what follows");
}

#[test]
fn arm_actions_drive_the_small_networks_twelve_at_a_time() {
    let dir = folder(Tiny::Predict2Arm);
    let model = open(dir.path()).unwrap();
    let contract = model.folder().contract("arm", &settings()).unwrap();
    let names: Vec<&str> = contract.actions.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"]);
    assert!(!contract.text);
    let with = |reach: f32, steps: usize| {
        let rows: Vec<Vec<f32>> = (0..steps).map(|_| vec![reach, 0.0, 0.0, 0.0, 0.0, 0.1, 1.0]).collect();
        let job = ClipJob {
            prompt: "",
            given: &frames(1),
            actions: Some(&rows),
            state: None,
            steps,
            seed: 1,
            settings: &settings(),
        };
        model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(())).unwrap().frames
    };
    let (left, right) = (with(-0.1, 14), with(0.1, 14));
    assert_eq!(left.len(), 14);
    assert!(distance(&left, &right) > 0.0, "actions must move the frames");
    assert!(with(0.1, 12) == right[..12]);
    let without = run(&model, &frames(1), 3, 1, &settings());
    assert!(matches!(without, Err(PublishedError::Input(text)) if text.contains("action track")));
}

#[test]
fn a_body_of_cosmos_3_is_driven_by_its_channels_or_chooses_them() {
    let dir = folder(Tiny::Cosmos3);
    let model = open(dir.path()).unwrap();
    let body = ClipSettings { body: Some("bridge_orig_lerobot".into()), chunk: Some(5), ..settings() };
    let contract = model.folder().contract("c3", &body).unwrap();
    assert_eq!((contract.actions.len(), contract.actions[9].name.as_str()), (10, "gripper"));
    assert_eq!(contract.embodiment, "bridge_orig_lerobot");
    let rows = |x: f32| vec![vec![x, 0.1, 0.2, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]; 6];
    let with = |rows: Option<&[Vec<f32>]>| {
        let job = ClipJob {
            prompt: "pick up",
            given: &frames(1),
            actions: rows,
            state: None,
            steps: 6,
            seed: 1,
            settings: &body,
        };
        model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(())).unwrap()
    };
    let (a, b) = (with(Some(&rows(0.5))), with(Some(&rows(-0.5))));
    assert_eq!((a.frames.len(), a.actions.is_none()), (6, true));
    assert!(distance(&a.frames, &b.frames) > 0.0);
    let chosen = with(None).actions.unwrap();
    assert_eq!((chosen.len(), chosen[0].len()), (6, 10));
    // A body that needs more numbers than the network has, and one that nobody knows.
    for name in ["hand_pose", "nobody"] {
        let wrong = ClipSettings { body: Some(name.into()), ..settings() };
        let error = model.folder().contract("c3", &wrong).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("bridge_orig_lerobot"), "{error}");
    }
}

#[test]
fn actions_are_read_from_frames() {
    let dir = folder(Tiny::Cosmos3);
    let model = open(dir.path()).unwrap();
    let inverse = ClipSettings {
        body: Some("bridge_orig_lerobot".into()),
        inverse: Some(true),
        chunk: Some(9),
        ..settings()
    };
    assert_eq!(model.folder().contract("c3", &inverse).unwrap().frame.history, 9);
    let read = |given: &[forerun_models::Frame]| run(&model, given, given.len() - 1, 1, &inverse).unwrap();
    let made = read(&frames(6));
    let rows = made.actions.unwrap();
    assert_eq!((made.frames.len(), rows.len(), rows[0].len()), (5, 5, 10));
    assert!(rows.iter().flatten().all(|v| v.is_finite()));
    // Other frames, other actions; the same frames, the same ones.
    let mut other = frames(6);
    other.reverse();
    assert!(read(&other).actions.unwrap() != rows);
    assert_eq!(read(&frames(6)).actions.unwrap(), rows);
    // What it needs is said in words.
    let fails = |given: usize, steps: usize, settings: &ClipSettings| {
        run(&model, &frames(given), steps, 1, settings).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(fails(1, 1, &inverse).contains("between frames"));
    assert!(fails(6, 6, &inverse).contains("one step less"));
    let nobody = ClipSettings { body: None, ..inverse.clone() };
    assert!(fails(6, 5, &nobody).contains("robot body"));
}

#[test]
fn every_step_is_told_with_a_picture_and_a_stop_comes_before_the_next_one() {
    let dir = folder(Tiny::Predict25);
    let model = open(dir.path()).unwrap();
    let settings = ClipSettings { denoise: Some(4), ..settings() };
    let given = frames(1);
    let job = ClipJob {
        prompt: "x",
        given: &given,
        actions: None,
        state: None,
        steps: 8,
        seed: 1,
        settings: &settings,
    };
    let mut told = Vec::new();
    model
        .imagine(&job, &mut |moment: ClipMoment<'_>| {
            if let ClipMoment::Step { done, total, previews } = moment {
                // Latents are an eighth of the frame's size; the given frame needs no preview.
                assert!(previews.iter().all(|(_, p)| (p.width, p.height) == (WIDTH / 8, HEIGHT / 8)));
                let covered: Vec<usize> = previews.iter().flat_map(|(range, _)| range.clone()).collect();
                assert_eq!(covered, (0..8).collect::<Vec<_>>());
                told.push((done, total));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(told, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let (mut steps, mut calls_after) = (0, 0);
    let stopped = model.imagine(&job, &mut |moment: ClipMoment<'_>| {
        if steps == 2 {
            calls_after += 1;
        }
        if matches!(moment, ClipMoment::Step { .. }) {
            steps += 1;
        }
        if steps == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(PublishedError::Stopped)));
    assert_eq!((steps, calls_after), (2, 0));
}

#[test]
fn nvidias_own_numbers_are_another_run_of_the_same_model() {
    use forerun_models::cosmos::Reference;
    for kind in [Tiny::Predict2, Tiny::Predict25, Tiny::Cosmos3] {
        let dir = folder(kind);
        let nvidia = ClipSettings { reference: Some(Reference::Nvidia), ..settings() };
        let (a, b) = (made(dir.path(), &frames(1), 4, &settings()), made(dir.path(), &frames(1), 4, &nvidia));
        assert!(distance(&a, &b) > 0.0, "{kind:?}");
        // One model, one after the other.
        let model = open(dir.path()).unwrap();
        assert!(run(&model, &frames(1), 4, 1, &nvidia).unwrap().frames == b);
        assert!(run(&model, &frames(1), 4, 1, &settings()).unwrap().frames == a);
    }
}

#[test]
fn what_does_not_fit_is_said_in_words() {
    let dir = folder(Tiny::Predict2);
    let model = open(dir.path()).unwrap();
    let fails = |given: usize, settings: &ClipSettings| {
        run(&model, &frames(given), 4, 1, settings).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(fails(0, &settings()).contains("at least one frame"));
    let odd = ClipSettings { width: Some(40), ..settings() };
    assert!(fails(1, &odd).contains("frames of one size"));
    let body = ClipSettings { body: Some("droid_lerobot".into()), ..settings() };
    assert!(model.folder().contract("m", &body).unwrap_err().to_string().contains("no body"));
    let transfer = folder(Tiny::Transfer25);
    let error = run(&open(transfer.path()).unwrap(), &frames(3), 9, 1, &settings()).err().unwrap();
    assert!(error.to_string().contains("3 frames"), "{error}");
    // A pipeline that is not run here is named.
    std::fs::write(dir.path().join("model_index.json"), r#"{"_class_name": "FluxPipeline"}"#).unwrap();
    let error = PublishedFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("FluxPipeline") && error.contains("Cosmos 3"), "{error}");
}
