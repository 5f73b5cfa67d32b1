//! The virtual world, datasets and scores through the engine.

use forerun::engine::protocol::{Actions, Event, PostTrainSpec, RecordSpec, Request, ScoreSpec, Start};
use forerun::train::post::Method;

use crate::support::{Bench, done, failure, records};

fn record(bench: &Bench, episodes: usize) {
    let spec = RecordSpec {
        world: "tabletop".into(),
        behaviour: "expert".into(),
        episodes,
        seed: 5,
        look: "plain".into(),
        size: 64,
        fps: 10,
        picture: Default::default(),
        out: bench.path("set"),
    };
    done(&bench.run(|job| Request::Record { job, spec }));
}

#[test]
fn a_new_scene_comes_with_its_picture_state_and_task() {
    let bench = Bench::new();
    let frame = |seed: u64| {
        let events = bench.run(|job| Request::WorldFrame { job, look: "plain".into(), seed });
        done(&events);
        let packet = events.into_iter().find(|p| matches!(p.message, Event::Pictures { .. })).unwrap();
        let Event::Pictures { sizes, states, note, .. } = packet.message else { unreachable!() };
        assert_eq!(sizes, [(128, 128)]);
        assert_eq!(states[0].len(), 6);
        assert!(!note.is_empty());
        packet.blobs[0].clone()
    };
    assert_eq!(frame(1).len(), 128 * 128 * 3);
    assert_eq!(frame(1), frame(1));
    assert_ne!(frame(1), frame(2));
    let text = failure(&bench.run(|job| Request::WorldFrame { job, look: "shiny".into(), seed: 1 }));
    assert!(text.contains("shiny"), "{text}");
}

#[test]
fn a_preview_shows_what_was_dropped_and_how_familiar_it_is() {
    let bench = Bench::new();
    let start = Start::Files { paths: vec![bench.picture("a.png")], at: None };
    let events = bench.run(|job| Request::Preview { job, start, model: bench.model() });
    done(&events);
    let packet = events.iter().find(|p| matches!(p.message, Event::Pictures { .. })).unwrap();
    let Event::Pictures { sizes, unfamiliar, note, .. } = &packet.message else { unreachable!() };
    assert_eq!(sizes[..], [(32, 32)]);
    assert_eq!(packet.blobs[0].len(), 32 * 32 * 3);
    assert!(note.contains("40 x 30"), "{note}");
    assert!(unfamiliar.unwrap() > 0.0);
}

#[test]
fn an_episode_starts_a_future_with_its_states_and_drives_it() {
    let bench = Bench::new();
    record(&bench, 1);
    let mut spec = bench.spec(5, &[1]);
    spec.start = Start::Episode { dataset: bench.path("set"), episode: 0, at: 10 };
    spec.actions = Actions::Episode { dataset: bench.path("set"), episode: 0 };
    let recorded = records(&bench.run(|job| Request::Imagine { job, spec: spec.clone() }));
    let start = recorded[0]["start"]["frames"].as_array().unwrap();
    assert_eq!(start.len(), 8);
    assert!(start.iter().all(|f| f["state"].is_array()));
    assert!(start[6]["action"].is_array() && start[7]["action"].is_null());
    assert_eq!(recorded[0]["actions"]["kind"], "episode");
    // Held: five times the state of the start frame.
    spec.actions = Actions::Hold;
    let held = records(&bench.run(|job| Request::Imagine { job, spec: spec.clone() }));
    let rows = held[0]["actions"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[4], start[7]["state"]);
    spec.actions = Actions::Episode { dataset: bench.path("set"), episode: 0 };
    spec.steps = 4000;
    let text = bench.fails(|job| Request::Imagine { job, spec: spec.clone() });
    assert!(text.contains("steps, but 4000"), "{text}");
    spec.start = Start::Episode { dataset: bench.path("set"), episode: 3, at: 0 };
    assert!(bench.fails(|job| Request::Imagine { job, spec: spec.clone() }).contains("set"));
    spec.start = Start::Episode { dataset: bench.path("set"), episode: 0, at: 5000 };
    assert!(bench.fails(|job| Request::Imagine { job, spec }).contains("no frame 5000"));
}

#[test]
fn a_score_has_every_key_and_knows_the_references() {
    let bench = Bench::new();
    record(&bench, 3);
    let spec = ScoreSpec {
        model: bench.model(),
        dataset: bench.path("set"),
        episodes: None,
        horizons: vec![1, 4, 10],
        windows: Some(6),
        refine: 1,
        seed: 0,
        device: "cpu".into(),
        text: true,
        long: Some(30),
        twins: Some(12),
    };
    let events = bench.run(|job| Request::Score { job, spec: spec.clone() });
    done(&events);
    let report = |e: &Event| match e {
        Event::Report { value, .. } => Some(value.clone()),
        _ => None,
    };
    let value = events.iter().find_map(|p| report(&p.message)).unwrap();
    let twin = &value["twins"]["episodes"][0];
    assert_eq!(
        (twin["episode"].as_u64(), twin["steps"].as_u64()),
        (Some(2), Some(12)),
        "the newest first: {twin}"
    );
    assert_eq!(twin["joints"].as_object().unwrap().len(), 6);
    assert!(value["twins"]["error"].as_f64().unwrap().is_finite() && twin["psnr"].is_number());
    for key in [
        "/model/name",
        "/model/sha256",
        "/model/parameters",
        "/dataset/sha256",
        "/frames_per_second",
        "/first_frame_ms",
        "/spread_skill",
        "/text",
        "/long/sharpness",
    ] {
        assert!(value.pointer(key).is_some(), "{key}: {value}");
    }
    assert_eq!(value["dataset"]["episodes"], 3);
    for h in ["1", "4", "10"] {
        let horizon = &value["horizons"][h];
        for key in [
            "psnr",
            "ssim",
            "changed_psnr",
            "freeze_psnr",
            "dead_psnr",
            "shuffled_psnr",
            "delta_psnr",
            "contact_skill",
            "object_error_px",
            "object_error_deg",
        ] {
            assert!(horizon.get(key).is_some(), "{h}.{key}");
        }
        let number = |key: &str| horizon[key].as_f64().unwrap();
        // Random weights are no match for a frozen frame.
        assert!(number("psnr") < number("freeze_psnr"));
    }
    let number = |h: &str, key: &str| value["horizons"][h][key].as_f64().unwrap();
    // Drawn again with its objects where they stood, the scene after one step nearly is the truth.
    assert!(number("1", "dead_psnr") > 25.0, "{}", value["horizons"]["1"]);
    assert!(number("1", "freeze_psnr") > number("10", "freeze_psnr"));
    assert!(number("10", "dead_psnr") > number("10", "freeze_psnr"));

    let mut none = spec.clone();
    none.episodes = Some((7, 9));
    assert!(bench.fails(|job| Request::Score { job, spec: none }).contains("0..2"));
    let mut bad = spec;
    bad.horizons = vec![0];
    assert!(bench.fails(|job| Request::Score { job, spec: bad }).contains("horizons"));
}

#[test]
fn post_training_tells_its_course_stops_when_asked_and_goes_on() {
    let bench = Bench::new();
    record(&bench, 5);
    let spec = |resume: bool| PostTrainSpec {
        base: bench.model(),
        datasets: vec![bench.path("set")],
        camera: String::new(),
        views: vec![],
        out: bench.path("mine"),
        minutes: None,
        iterations: Some(4),
        method: Method::Full,
        replay: Some(0),
        fit: None,
        resume,
        device: String::new(),
    };
    let job = bench.client.next_job();
    bench.client.send(Request::PostTrain { job, spec: spec(false) }, vec![]);
    // The first report of the training: stop it there.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(600);
    loop {
        assert!(std::time::Instant::now() < deadline, "it never trained");
        let Some(packet) = bench.client.recv_timeout(std::time::Duration::from_millis(100)) else { continue };
        if matches!(&packet.message, Event::Report { value, .. } if value["stage"] == "training") {
            break;
        }
    }
    bench.client.send(Request::Cancel { job }, vec![]);
    let ended = bench.collect_within(job, 600);
    assert!(ended.iter().any(|p| matches!(p.message, Event::Cancelled { .. })), "{:?}", ended.last());

    let job = bench.client.next_job();
    bench.client.send(Request::PostTrain { job, spec: spec(true) }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let stages: Vec<String> = events
        .iter()
        .filter_map(|packet| match &packet.message {
            Event::Report { value, .. } => Some(value["stage"].as_str().unwrap().to_owned()),
            _ => None,
        })
        .collect();
    for stage in ["ready", "before", "training", "done"] {
        assert!(stages.iter().any(|s| s == stage), "{stage} is not in {stages:?}");
    }
    let png = events.iter().find(|p| !p.blobs.is_empty()).unwrap();
    assert_eq!(png.blobs[0][1..4], *b"PNG");
    let spec = PostTrainSpec { iterations: None, ..spec(true) };
    assert!(bench.fails(|job| Request::PostTrain { job, spec }).contains("nothing to train for"));
}
