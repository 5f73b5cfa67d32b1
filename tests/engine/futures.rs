//! Futures: what is written, that it comes out the same again, and what is left when it is stopped.

use std::time::{Duration, Instant};

use forerun::engine::protocol::{Actions, Event, Request, Start};
use forerun::{fsx, media};

use crate::support::{Bench, done, hashes, names, records};

#[test]
fn a_future_is_frames_a_clip_and_a_record_with_everything_in_it() {
    let bench = Bench::new();
    let spec = bench.spec(3, &[4, 9]);
    let events = bench.run(|job| Request::Imagine { job, spec });
    done(&events);
    assert_eq!(bench.names("out"), ["seed-4", "seed-9"]);
    let folder = bench.path("out/seed-4");
    assert_eq!(names(&folder), ["frames", "future.json", "future.mp4", "start"]);
    assert_eq!(names(&folder.join("frames")), ["00001.png", "00002.png", "00003.png"]);
    let bytes = std::fs::read(folder.join("future.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for key in [
        "format", "software", "model", "contract", "prompt", "seed", "steps", "refine", "device", "kernels",
        "threads", "start", "actions", "frames", "clip", "timings",
    ] {
        assert!(!record[key].is_null(), "{key} is not in the record");
    }
    assert!(record["timings"]["first_frame_ms"].as_f64().unwrap() > 0.0);
    assert!(record["timings"]["frames_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(record["actions"]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(record["start"]["frames"].as_array().unwrap().len(), 2);
    for frame in record["frames"].as_array().unwrap() {
        let file = folder.join(frame["file"].as_str().unwrap());
        assert_eq!(fsx::sha256_file(&file).unwrap(), frame["sha256"].as_str().unwrap());
    }
    // Frame 0 of each future is the start, then they come in order.
    let told = |wanted: u64| -> Vec<usize> {
        let index = |e: &Event| match e {
            Event::FutureFrame { seed, index, .. } if *seed == wanted => Some(*index),
            _ => None,
        };
        events.iter().filter_map(|p| index(&p.message)).collect()
    };
    assert_eq!(told(4), [0, 1, 2, 3]);
    assert_eq!(told(9), [0, 1, 2, 3]);
}

#[test]
fn the_same_wish_gives_the_same_bits_and_another_seed_word_or_number_does_not() {
    let bench = Bench::new();
    let once = records(&bench.run(|job| Request::Imagine { job, spec: bench.spec(3, &[1, 2, 3]) }));
    let twice = records(&bench.run(|job| Request::Imagine { job, spec: bench.spec(3, &[1, 2, 3]) }));
    assert_eq!(once.len(), 3);
    for (a, b) in once.iter().zip(&twice) {
        // To the last bit: the read-outs are not rounded to bytes as the pixels are.
        assert_eq!(a["frames"], b["frames"]);
    }
    assert_ne!(hashes(&once[0]), hashes(&once[1]));
    // Alone, sums may be added in another order; to the eye it is the same future.
    let together = media::read_picture(&bench.path("out/seed-2/frames/00003.png")).unwrap();
    let alone = records(&bench.run(|job| Request::Imagine { job, spec: bench.spec(3, &[2]) }));
    let single = media::read_picture(&bench.path("out/seed-2/frames/00003.png")).unwrap();
    assert!(together.data.iter().zip(&single.data).all(|(a, b)| a.abs_diff(*b) <= 1));
    // Words and numbers both reach the pixels.
    let mut spec = bench.spec(3, &[2]);
    spec.prompt = String::new();
    let wordless = records(&bench.run(|job| Request::Imagine { job, spec }));
    assert_ne!(hashes(&alone[0]), hashes(&wordless[0]));
    let mut spec = bench.spec(3, &[2]);
    spec.actions = Actions::Free;
    let free = records(&bench.run(|job| Request::Imagine { job, spec }));
    assert_ne!(hashes(&alone[0]), hashes(&free[0]));
}

#[test]
fn a_record_is_enough_to_imagine_it_again() {
    let bench = Bench::new();
    let first = records(&bench.run(|job| Request::Imagine { job, spec: bench.spec(4, &[5, 6]) }));
    // The pictures that it started from are gone, and the folder has moved.
    std::fs::remove_file(bench.path("a.png")).unwrap();
    std::fs::remove_file(bench.path("b.png")).unwrap();
    std::fs::rename(bench.path("out/seed-6"), bench.path("moved")).unwrap();
    let again = |model: Option<String>| {
        let (record, out) = (bench.path("moved/future.json"), Some(bench.path("again")));
        bench.run(|job| Request::Again { job, record, model, out })
    };
    let events = again(None);
    assert!(done(&events).contains("identical"), "{}", done(&events));
    assert_eq!(records(&events).len(), 1);
    assert_eq!(records(&events)[0]["frames"], first[1]["frames"]);
    assert_eq!(bench.names("again"), ["seed-6"]);
    // Another model is not taken for the recorded one.
    forerun::models::testing::random_model(&bench.path("other"), 8).unwrap();
    let text = crate::support::failure(&again(Some(bench.path("other").to_string_lossy().into_owned())));
    assert!(text.contains("other weights"), "{text}");
    // A start picture that was changed is noticed.
    let start = bench.path("moved/start/0000.png");
    let mut bytes = std::fs::read(&start).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    std::fs::write(&start, bytes).unwrap();
    assert!(crate::support::failure(&again(None)).contains("0000.png"));
}

#[test]
fn a_cancelled_job_stops_within_a_second_and_leaves_nothing() {
    let bench = Bench::new();
    let spec = bench.spec(5_000, &[1, 2, 3, 4]);
    let job = bench.client.next_job();
    bench.client.send(Request::Imagine { job, spec }, vec![]);
    loop {
        let packet = bench.client.recv_timeout(Duration::from_secs(60)).expect("it never began");
        assert_eq!(packet.message.ended_job(), None, "{:?}", packet.message);
        if matches!(packet.message, Event::FutureFrame { index: 3, .. }) {
            break;
        }
    }
    assert!(bench.names("out").iter().all(|n| n.starts_with('.')));
    let asked = Instant::now();
    bench.client.send(Request::Cancel { job }, vec![]);
    let events = bench.collect(job);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(events.last().unwrap().message, Event::Cancelled { job });
    assert!(bench.names("out").is_empty(), "{:?}", bench.names("out"));
    // The engine is as good as new.
    done(&bench.run(|job| Request::Imagine { job, spec: bench.spec(1, &[1]) }));
}

#[test]
fn what_a_killed_run_left_is_swept_away_by_the_next() {
    let bench = Bench::new();
    let left = bench.path("out/.seed-3.2000000000-ab.0.tmp");
    std::fs::create_dir_all(left.join("frames")).unwrap();
    done(&bench.run(|job| Request::Imagine { job, spec: bench.spec(1, &[1]) }));
    #[cfg(unix)]
    assert_eq!(bench.names("out"), ["seed-1"]);
}

#[test]
fn nothing_is_written_when_no_folder_was_asked_for() {
    let bench = Bench::new();
    let mut spec = bench.spec(2, &[1]);
    spec.out = None;
    let events = bench.run(|job| Request::Imagine { job, spec });
    let written = records(&events);
    assert_eq!(hashes(&written[0]).len(), 2);
    assert!(written[0]["clip"].is_null());
    assert!(bench.names("out").is_empty());
}

#[test]
fn without_any_frame_the_start_is_imagined_from_the_words() {
    let bench = Bench::new();
    let mut spec = bench.spec(2, &[1]);
    (spec.start, spec.actions) = (Start::Nothing, Actions::Free);
    let events = bench.run(|job| Request::Imagine { job, spec });
    done(&events);
    assert!(records(&events)[0]["start"]["frames"].as_array().unwrap().is_empty());
    let is_start = |e: &Event| matches!(e, Event::FutureFrame { index: 0, .. });
    assert!(!events.iter().any(|p| is_start(&p.message)));
}

#[test]
fn a_future_can_be_opened_saved_and_branched() {
    let bench = Bench::new();
    let parent = records(&bench.run(|job| Request::Imagine { job, spec: bench.spec(4, &[1]) }));
    let folder = bench.path("out/seed-1");
    let events = bench.run(|job| Request::OpenFuture { job, folder: folder.clone() });
    done(&events);
    let frames = events.iter().filter(|p| matches!(p.message, Event::FutureFrame { .. })).count();
    assert_eq!(frames, 5);
    assert_eq!(hashes(&records(&events)[0]), hashes(&parent[0]));

    let to = bench.path("kept/one");
    done(&bench.run(|job| Request::SaveFuture { job, folder: folder.clone(), to: to.clone() }));
    assert_eq!(names(&to), names(&folder));
    let twice = bench.fails(|job| Request::SaveFuture { job, folder: folder.clone(), to: to.clone() });
    assert!(twice.contains("there already"), "{twice}");

    let mut spec = bench.spec(2, &[1]);
    spec.start = Start::Future { folder: to.clone(), at: 2 };
    spec.out = Some(bench.path("branch"));
    let branch = records(&bench.run(|job| Request::Imagine { job, spec }));
    // Two start pictures and two imagined frames come before the branch; the actions between them are known.
    let start = branch[0]["start"]["frames"].as_array().unwrap();
    assert_eq!(start.len(), 4);
    assert!(start[1]["action"].is_array() && start[2]["action"].is_array() && start[3]["action"].is_null());
    assert_eq!(start[3]["sha256"].as_str().unwrap(), hashes(&parent[0])[1]);
    let mut spec = bench.spec(2, &[1]);
    spec.start = Start::Future { folder: to, at: 9 };
    assert!(bench.fails(|job| Request::Imagine { job, spec }).contains("no frame 9"));
}
