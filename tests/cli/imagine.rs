//! `imagine`, `inspect` and `models` with a real (random) model, and an engine that is killed while it imagines.

use std::time::{Duration, Instant};

use forerun::engine::EngineClient;
use forerun::engine::protocol::{Actions, Event, ImagineSpec, Request, Start};

use crate::child::{kill, ready, wait_for};
use crate::support::{Home, exe, last_json};

fn home() -> Home {
    let home = Home::new();
    forerun::models::testing::random_model(&home.path("model"), 7).unwrap();
    let picture = forerun::Frame::filled(32, 32, [90, 120, 60]);
    forerun::media::write_png(&home.path("a.png"), &picture).unwrap();
    std::fs::write(home.path("text.png"), "no picture").unwrap();
    let joints = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"];
    let header = joints.map(|j| format!("{j}.pos")).join(",");
    std::fs::write(home.path("a.csv"), format!("{header}\n1,2,3,4,5,6\n2,3,4,5,6,7\n")).unwrap();
    std::fs::write(home.path("nan.csv"), format!("{header}\n1,2,3,4,5,6\n2,3,NaN,5,6,7\n")).unwrap();
    std::fs::write(home.path("short.csv"), format!("{}\n1\n2\n", "shoulder_pan.pos")).unwrap();
    home
}

fn imagine<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    [&["imagine", "--model", "model", "--steps", "2", "--out", "out"], extra].concat()
}

#[test]
fn futures_are_written_described_and_made_again() {
    let home = home();
    let arguments =
        imagine(&["--frames", "a.png", "--actions", "a.csv", "--seeds", "3..4", "--prompt", "推", "--json"]);
    let output = home.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let value = last_json(&output);
    assert_eq!(value["futures"].as_array().unwrap().len(), 2);
    for file in ["future.json", "future.mp4", "frames/00001.png", "frames/00002.png", "start/0000.png"] {
        assert!(home.path("out/seed-3").join(file).is_file(), "{file}");
    }
    let again = home.run(&["imagine", "--record", "out/seed-4/future.json", "--out", "again", "--json"]);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    let again = last_json(&again);
    assert_eq!(again["identical"], true);
    assert_eq!(again["futures"][0]["frames"], value["futures"][1]["frames"]);

    for (path, kind) in [
        ("model", "model"),
        ("out/seed-3", "future"),
        ("a.png", "picture"),
        ("out/seed-3/future.mp4", "clip"),
    ] {
        let output = home.run(&["inspect", path, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{path}");
        assert_eq!(last_json(&output)["kind"], kind);
    }
    // A frame that was touched is noticed.
    std::fs::copy(home.path("a.png"), home.path("out/seed-3/frames/00002.png")).unwrap();
    home.fails(&["inspect", "out/seed-3"], &["frames/00002.png", "not sound"]);
    assert_eq!(last_json(&home.run(&["inspect", "out/seed-3", "--json"]))["sound"], false);
}

#[test]
fn a_card_of_any_maker_imagines_what_the_processor_does() {
    // Where there is no card, a driver that computes in software takes its place.
    if forerun_gpu::cards().is_empty() {
        assert!(std::env::var_os("CI").is_none(), "no driver (Debian: mesa-vulkan-drivers)");
        eprintln!("left out: no driver for Vulkan, Metal or Direct3D 12");
        return;
    }
    let home = home();
    let run = |device: &str| {
        let arguments = ["--frames", "a.png", "--actions", "a.csv", "--prompt", "push", "--device", device];
        let mut arguments = imagine(&arguments);
        arguments.iter_mut().filter(|a| **a == "out").for_each(|a| *a = device);
        let output = home.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let record = std::fs::read_to_string(home.path(device).join("seed-0/future.json")).unwrap();
        assert!(record.contains(&format!("\"{device}\"")), "{record}");
        forerun::media::read_picture(&home.path(device).join("seed-0/frames/00002.png")).unwrap()
    };
    let (here, there) = (run("cpu"), run("wgpu"));
    let most = here.data.iter().zip(&there.data).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(most <= 1, "{most}");
    assert!(here.data.iter().any(|v| *v != here.data[0]));
    let again = home.run(&["imagine", "--record", "wgpu/seed-0/future.json", "--out", "again", "--json"]);
    assert_eq!(last_json(&again)["identical"], true);
    home.fails(
        &imagine(&["--frames", "a.png", "--device", "wgpu:77"]),
        &["wgpu:77", "counted from 0", "cpu"],
    );
    home.fails(&imagine(&["--frames", "a.png", "--device", "wgpu:x"]), &["wgpu:x"]);
    let learn = ["policy", "train", "--dataset", "d", "--out", "p", "--device", "wgpu", "--iterations", "1"];
    home.fails(&learn, &["wgpu", "only to imagine", "cpu"]);
}

#[test]
fn a_model_gets_a_name_by_import() {
    let home = home();
    let output = home.run(&["models", "import", "model", "--name", "mine", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let list = last_json(&home.run(&["models", "list", "--json"]));
    let names: Vec<_> = list["models"].as_array().unwrap().iter().map(|m| m["name"].clone()).collect();
    assert!(names.contains(&"mine".into()), "{names:?}");
    assert_eq!(home.run(&["models", "info", "mine"]).status.code(), Some(0));
    let output = home.run(&["imagine", "--model", "mine", "--steps", "1", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn from_the_virtual_world_to_a_trained_and_scored_model() {
    let home = Home::new();
    let record = home.run(&[
        "record",
        "--behaviour",
        "noisy",
        "--episodes",
        "3",
        "--size",
        "64",
        "--out",
        "set",
        "--json",
    ]);
    assert_eq!(record.status.code(), Some(0), "{}", String::from_utf8_lossy(&record.stderr));
    assert_eq!(last_json(&record)["episodes"], 3);
    std::fs::write(home.path("micro.toml"), "name = 'micro'\nsize = 'micro'\nheld_out = 1\n").unwrap();
    let arguments =
        ["train", "--config", "micro.toml", "--dataset", "set", "--out", "trained", "--iterations", "2"];
    let train = home.run(&arguments);
    assert_eq!(train.status.code(), Some(0), "{}", String::from_utf8_lossy(&train.stderr));
    home.fails(&arguments, &["trained", "--resume"]);
    assert_eq!(last_json(&home.run(&["inspect", "trained", "--json"]))["sound"], true);
    // A second run begins with the first one's weights and scales, and says so; another size cannot.
    let on = |config: &'static str, out: &'static str| {
        [
            "train",
            "--config",
            config,
            "--dataset",
            "set",
            "--from",
            "trained",
            "--out",
            out,
            "--iterations",
            "1",
        ]
    };
    let more = home.run(&on("micro.toml", "more"));
    assert_eq!(more.status.code(), Some(0), "{}", String::from_utf8_lossy(&more.stderr));
    let read = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(home.path(path)).unwrap()).unwrap()
    };
    assert_eq!(
        read("more/lineage.json")["base"]["model_sha256"],
        read("trained/lineage.json")["model_sha256"]
    );
    assert_eq!(read("more/contract.json")["actions"], read("trained/contract.json")["actions"]);
    // Going on after a stop, it still knows what it began with.
    let base = read("more/lineage.json")["base"].clone();
    let again = ["train", "--config", "micro.toml", "--dataset", "set", "--out", "more", "--resume"];
    let again = home.run(&[&again[..], &["--iterations", "2"]].concat());
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(read("more/lineage.json")["iterations"], 2);
    assert_eq!(read("more/lineage.json")["base"], base);
    // The text encoder of another folder takes the place of its own.
    let words = "name = 'heard'\nsize = 'micro'\nseed = 5\nheld_out = 1\nwords_from = 'trained'\n\
                 [optimiser]\nlearning_rate = 1e-9\n";
    std::fs::write(home.path("words.toml"), words).unwrap();
    let fresh =
        ["train", "--config", "words.toml", "--dataset", "set", "--out", "heard", "--iterations", "1"];
    let heard = home.run(&fresh);
    assert_eq!(heard.status.code(), Some(0), "{}", String::from_utf8_lossy(&heard.stderr));
    // A safetensors file: length of the header, header, numbers.
    let tensor = |folder: &str, name: &str| -> Vec<u8> {
        let file = std::fs::read(home.path(&format!("{folder}/model.safetensors"))).unwrap();
        let (length, rest) = file.split_first_chunk::<8>().unwrap();
        let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header: serde_json::Value = serde_json::from_slice(header).unwrap();
        let at = |end: usize| header[name]["data_offsets"][end].as_u64().unwrap() as usize;
        numbers[at(0)..at(1)].to_vec()
    };
    let same = |name: &str| tensor("trained", name) == tensor("heard", name);
    assert!(same("words.embed") && !same("patch_in.weight"));
    std::fs::write(home.path("words.toml"), words.replace("'trained'", "'set'")).unwrap();
    let nowhere =
        ["train", "--config", "words.toml", "--dataset", "set", "--out", "not", "--iterations", "1"];
    home.fails(&nowhere, &["words_from"]);
    // A policy says what words ask for; the model gets it, one of other pictures is refused.
    let policy = "size = 'micro'\nlooks = ['now']\nheld_out = 1\n";
    std::fs::write(home.path("policy.toml"), policy).unwrap();
    let learn = ["policy", "train", "--config", "policy.toml", "--dataset", "set", "--out", "policy"];
    let learnt = home.run(&[&learn[..], &["--iterations", "1"]].concat());
    assert_eq!(learnt.status.code(), Some(0), "{}", String::from_utf8_lossy(&learnt.stderr));
    let led = "name = 'led'\nsize = 'micro'\nheld_out = 1\nintent = 'policy'\n";
    std::fs::write(home.path("led.toml"), led).unwrap();
    let lead = home.run(&on("led.toml", "led"));
    assert_eq!(lead.status.code(), Some(0), "{}", String::from_utf8_lossy(&lead.stderr));
    let policy = read("policy/lineage.json")["model_sha256"].clone();
    assert!(policy.is_string());
    assert_eq!(read("led/lineage.json")["intent_sha256"], policy);
    assert_eq!(read("led/intent/lineage.json")["model_sha256"], policy);
    let imagine =
        ["imagine", "--model", "led", "--frames", "set#0", "--prompt", "push the red cube to the left"];
    let told = home.run(&[&imagine[..], &["--steps", "2", "--refine", "1", "--out", "told"]].concat());
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    std::fs::write(home.path("wide.toml"), led.replace("'micro'", "'tiny'")).unwrap();
    let wide = ["train", "--config", "wide.toml", "--dataset", "set", "--out", "not", "--iterations", "1"];
    home.fails(&wide, &["intent", "32x32", "128x128"]);
    // More harmonics of the channels go on from fewer, fewer do not from more.
    let fine = "name = 'fine'\nsize = 'micro'\nheld_out = 1\nharmonics = 5\n";
    std::fs::write(home.path("fine.toml"), fine).unwrap();
    let finer = home.run(&on("fine.toml", "finer"));
    assert_eq!(finer.status.code(), Some(0), "{}", String::from_utf8_lossy(&finer.stderr));
    assert_eq!(read("finer/config.json")["harmonics"], 5);
    let back = ["train", "--config", "micro.toml", "--dataset", "set", "--from", "finer", "--out", "back"];
    home.fails(&[&back[..], &["--iterations", "1"]].concat(), &["harmonics = 5"]);
    std::fs::write(home.path("tiny.toml"), "name = 'tiny'\nsize = 'tiny'\nheld_out = 1\n").unwrap();
    home.fails(&on("tiny.toml", "large"), &["belong together"]);
    assert_eq!(last_json(&home.run(&["inspect", "set", "--json"]))["sound"], true);
    let score = home.run(&[
        "score",
        "--model",
        "trained",
        "--dataset",
        "set",
        "--horizons",
        "1,4",
        "--windows",
        "3",
        "--refine",
        "1",
        "--json",
    ]);
    assert_eq!(score.status.code(), Some(0), "{}", String::from_utf8_lossy(&score.stderr));
    assert!(last_json(&score)["horizons"]["4"]["dead_psnr"].is_number());
    let imagine = home.run(&[
        "imagine",
        "--model",
        "trained",
        "--frames",
        "set#1",
        "--start",
        "5",
        "--actions",
        "set#1",
        "--steps",
        "3",
        "--out",
        "out",
    ]);
    assert_eq!(imagine.status.code(), Some(0), "{}", String::from_utf8_lossy(&imagine.stderr));
}

#[test]
fn bad_input_is_named_and_leaves_nothing() {
    let home = home();
    home.fails(&imagine(&["--frames", "nope.png"]), &["nope.png"]);
    home.fails(&imagine(&["--frames", "text.png"]), &["text.png"]);
    home.fails(&imagine(&["--frames", "nowhere#3"]), &["nowhere"]);
    home.fails(
        &imagine(&["--frames", "a.png", "--actions", "nan.csv"]),
        &["nan.csv", "elbow_flex.pos", "step 2"],
    );
    home.fails(
        &imagine(&["--frames", "a.png", "--actions", "short.csv"]),
        &["short.csv", "shoulder_lift.pos"],
    );
    home.fails(&imagine(&["--frames", "a.png", "--actions", "hold"]), &["cannot be held"]);
    home.fails(&imagine(&["--device", "toaster"]), &["toaster"]);
    home.fails(&["imagine", "--model", "nope", "--steps", "1", "--out", "out"], &["nope"]);
    home.fails(&["imagine", "--record", "a.csv", "--out", "out"], &["a.csv"]);
    home.fails(&["inspect", "nope"], &["nope"]);
    home.fails(&["score", "--model", "model", "--dataset", "nope"], &["nope"]);
    std::fs::write(home.path("bad.toml"), "sizze = 'tiny'").unwrap();
    home.fails(
        &["train", "--config", "bad.toml", "--dataset", "nope", "--out", "m", "--minutes", "1"],
        &["sizze"],
    );
    home.fails(
        &["train", "--config", "no.toml", "--dataset", "nope", "--out", "m", "--minutes", "1"],
        &["no.toml"],
    );
    home.fails(&["models", "verify", "."], &["case.json"]);
    home.fails(&["models", "import", "nope"], &["nope"]);
    home.fails(&["record", "--behaviour", "lazy", "--episodes", "1", "--out", "set"], &["lazy"]);
    home.fails(
        &["record", "--behaviour", "play", "--episodes", "1", "--size", "3", "--out", "set"],
        &["64 to 512"],
    );
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_named_and_nothing_half_written_stays() {
    let home = home();
    let record = ["record", "--behaviour", "play", "--episodes", "1", "--out", "set"];
    home.fails_on_a_full_disk(20, &record, &["set", "disk"]);
    home.fails_on_a_full_disk(1, &imagine(&["--frames", "a.png"]), &["out", "disk"]);
}

#[test]
#[cfg(unix)]
fn a_place_that_may_not_be_written_is_named() {
    let home = home();
    // A file where a folder should be: refused for everybody, the administrator included.
    std::fs::write(home.path("file"), b"x").unwrap();
    home.fails(&["record", "--behaviour", "play", "--episodes", "1", "--out", "file/set"], &["file/set"]);
    let mut inside = imagine(&["--frames", "a.png"]);
    let at = inside.iter().position(|a| *a == "out").unwrap();
    inside[at] = "file/out";
    home.fails(&inside, &["file/out"]);
}

fn long_job(home: &Home, steps: usize) -> ImagineSpec {
    ImagineSpec {
        model: home.path("model").to_string_lossy().into_owned(),
        start: Start::Files { paths: vec![home.path("a.png")], at: None },
        prompt: String::new(),
        actions: Actions::Free,
        steps,
        seeds: vec![1, 2],
        refine: 1,
        device: "cpu".into(),
        out: Some(home.path("out")),
        clip: Default::default(),
    }
}

#[cfg(unix)]
#[test]
fn an_engine_killed_in_mid_job_fails_that_job_and_runs_the_next() {
    let home = home();
    let client = EngineClient::spawn_child(exe()).unwrap();
    ready(&client);
    let job = client.next_job();
    client.send(Request::Imagine { job, spec: long_job(&home, 20_000) }, vec![]);
    wait_for(&client, |event| matches!(event, Event::FutureFrame { index: 2, .. }).then_some(()));
    kill(&client);
    wait_for(&client, |event| matches!(event, Event::Failed { job: j, .. } if *j == job).then_some(()));
    let restarting = wait_for(&client, |event| match event {
        Event::EngineGone { reason, restarting } => Some(*restarting && reason.contains("killed")),
        _ => None,
    });
    assert!(restarting);
    let job = client.next_job();
    client.send(Request::Imagine { job, spec: long_job(&home, 2) }, vec![]);
    wait_for(&client, |event| matches!(event, Event::Done { job: j, .. } if *j == job).then_some(()));
    // Whole futures, and nothing of the killed one.
    let mut names: Vec<_> = std::fs::read_dir(home.path("out"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["seed-1", "seed-2"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_cancels_and_cleans_up() {
    let home = home();
    let mut child = std::process::Command::new(exe())
        .args(["imagine", "--model", "model", "--frames", "a.png", "--steps", "20000", "--out", "out"])
        .current_dir(home.dir.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::read_dir(home.path("out")).map_or(0, Iterator::count) == 0 {
        assert!(Instant::now() < deadline, "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(!home.path("out").exists(), "a folder of nothing is left behind");
}
