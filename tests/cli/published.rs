//! Published models from the command line: a tiny one of each group, from a publisher's folder to futures, records and
//! exact repeats.

use forerun::models::testing::published::{Tiny, tiny};

use crate::support::{Home, last_json};

fn home(kinds: &[(Tiny, &str)]) -> Home {
    let home = Home::new();
    for (kind, name) in kinds {
        let folder = home.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        tiny(*kind, &folder, 3, 2).unwrap();
    }
    let data = (0..32 * 16).flat_map(|i: usize| [(i % 32 * 7) as u8, (i / 32 * 15) as u8, 90]).collect();
    let picture = forerun::Frame::new(32, 16, data).unwrap();
    forerun::media::write_png(&home.path("a.png"), &picture).unwrap();
    home
}

/// Small and quick.
const SMALL: [&str; 6] = ["--size", "32x16", "--denoise", "2", "--guidance", "1"];

fn imagine<'a>(model: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    [&["imagine", "--model", model, "--out", "out", "--json"], &SMALL[..], extra].concat()
}

/// Runs, checks what was written, runs the record again and compares every frame. The record.
fn makes_futures(home: &Home, model: &str, extra: &[&str], steps: usize) -> serde_json::Value {
    let output = home.run(&imagine(model, extra));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{model}: {error}");
    let value = last_json(&output);
    let frames = value["futures"][0]["frames"].as_array().unwrap();
    assert_eq!(frames.len(), steps, "{model}");
    let text = std::fs::read_to_string(home.path("out/seed-5/future.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["sampling"]["width"], 32);
    assert!(["diffusers", "nvidia"].contains(&record["sampling"]["reference"].as_str().unwrap()));
    assert!(home.path("out/seed-5/future.mp4").is_file());
    let again = home.run(&["imagine", "--record", "out/seed-5/future.json", "--out", "again", "--json"]);
    assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(last_json(&again)["identical"], true, "{model}");
    for folder in ["out", "again"] {
        std::fs::remove_dir_all(home.path(folder)).unwrap();
    }
    record
}

#[test]
fn a_model_of_each_group_makes_futures_that_can_be_made_again() {
    let home = home(&[
        (Tiny::Predict1, "p1"),
        (Tiny::Predict2, "p2"),
        (Tiny::Predict2Arm, "arm"),
        (Tiny::Predict25, "p25"),
        (Tiny::Transfer25, "t25"),
        (Tiny::Cosmos3, "c3"),
    ]);
    let frame = ["--frames", "a.png", "--seeds", "5", "--prompt", "推 the T", "--steps", "4"];
    for model in ["p1", "p2", "p25", "c3"] {
        let record = makes_futures(&home, model, &frame, 4);
        assert_eq!(record["sampling"]["reference"], "diffusers");
    }
    // Words alone, guidance, and NVIDIA's numbers.
    let words = ["--seeds", "5", "--prompt", "a cup falls", "--steps", "5", "--reference", "nvidia"];
    let record = makes_futures(&home, "p25", &words, 5);
    assert_eq!(record["sampling"]["reference"], "nvidia");
    // Three pictures are a control clip of three frames.
    let control = ["--frames", "a.png", "a.png", "a.png", "--seeds", "5", "--steps", "3", "--chunk", "5"];
    makes_futures(&home, "t25", &control, 3);
    // Arm actions by name; the order of columns does not matter.
    let row = "1,0.1,0,0,0,0,0.2";
    let csv = format!("gripper,dx [m],dy,dz,droll,dpitch,dyaw\n{}", format!("{row}\n").repeat(5));
    std::fs::write(home.path("arm.csv"), csv).unwrap();
    let arm = ["--frames", "a.png", "--seeds", "5", "--steps", "5", "--actions", "arm.csv"];
    let record = makes_futures(&home, "arm", &arm, 5);
    assert_eq!(record["actions"]["channels"][0], "dx");
    assert_eq!(record["actions"]["rows"][0][6], 1.0);
    // A body of Cosmos 3, driven by a track and driving itself.
    let names = "x,y,z,rotation_0,rotation_1,rotation_2,rotation_3,rotation_4,rotation_5,gripper";
    let rows = "0.1,0,0,1,0,0,0,1,0,1\n".repeat(4);
    std::fs::write(home.path("body.csv"), format!("{names}\n{rows}")).unwrap();
    let body = ["--frames", "a.png", "--seeds", "5", "--steps", "4", "--body", "bridge_orig_lerobot"];
    let driven = makes_futures(&home, "c3", &[&body[..], &["--actions", "body.csv"]].concat(), 4);
    assert_eq!(driven["contract"]["embodiment"], "bridge_orig_lerobot");
    let free = makes_futures(&home, "c3", &body, 4);
    assert!(free["frames"][0]["reading"]["action.gripper"].is_number());
}

#[test]
fn a_policy_writes_its_plan_as_a_track_and_a_body_reads_actions_from_frames() {
    let home = home(&[(Tiny::Policy, "pol"), (Tiny::Cosmos3, "c3")]);
    let state = "--state=0.1,-0.2,0,0,0,0,0,0,0";
    let cameras =
        ["--frames", "a.png", "a.png", "--seeds", "5", "--steps", "2", "--prompt", "put it away", state];
    let record = makes_futures(&home, "pol", &cameras, 2);
    assert_eq!(record["sampling"]["reference"], "nvidia");
    assert_eq!(record["planned"]["channels"].as_array().unwrap().len(), 7);
    assert_eq!(record["planned"]["rows"].as_array().unwrap().len(), 16);
    let value = record["frames"][0]["reading"]["value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&value), "{value}");
    assert!(record["frames"][1]["reading"]["action.action_6"].is_number());
    assert_eq!(home.run(&imagine("pol", &cameras)).status.code(), Some(0));
    let plan = std::fs::read_to_string(home.path("out/seed-5/actions.csv")).unwrap();
    assert_eq!((plan.lines().count(), plan.lines().next().unwrap().split(',').count()), (17, 7));
    std::fs::remove_dir_all(home.path("out")).unwrap();
    home.fails(&imagine("pol", &cameras[..9]), &["9 numbers", "--state"]);
    home.fails(&imagine("pol", &["--frames", "a.png", "--steps", "2", state]), &["wrist, primary"]);
    // Four frames have three steps between them.
    let body = ["--body", "bridge_orig_lerobot", "--inverse", "--chunk", "5", "--seeds", "5"];
    let clip = ["--frames", "a.png", "a.png", "a.png", "a.png", "--steps", "3"];
    let read = makes_futures(&home, "c3", &[&body[..], &clip[..]].concat(), 3);
    assert!(read["frames"][2]["reading"]["action.gripper"].is_number());
    assert_eq!(read["sampling"]["inverse"], true);
    home.fails(&imagine("c3", &[&body[2..], &clip[..]].concat()), &["robot body"]);
}

#[test]
fn the_virtual_worlds_depth_is_a_control_clip() {
    let home = home(&[(Tiny::Transfer25, "t25")]);
    for picture in ["rgb", "depth"] {
        let record = [
            "record",
            "--behaviour",
            "idle",
            "--episodes",
            "1",
            "--seed",
            "3",
            "--size",
            "64",
            "--picture",
            picture,
            "--out",
            picture,
            "--json",
        ];
        let output = home.run(&record);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let filter = |set: &str| {
        let start = format!("{set}#0");
        let control = ["--frames", &start, "--start", "6", "--seeds", "5", "--steps", "4", "--chunk", "5"];
        let record = makes_futures(&home, "t25", &control, 4);
        assert_eq!(record["start"]["frames"].as_array().unwrap().len(), 7);
        record["frames"][3]["sha256"].clone()
    };
    assert_ne!(filter("depth"), filter("rgb"), "the control clip decides the frames");
    home.fails(
        &["record", "--behaviour", "idle", "--episodes", "1", "--world", "nowhere", "--out", "set"],
        &["nowhere"],
    );
}

#[test]
fn what_does_not_fit_is_said_in_words_and_leaves_nothing() {
    let home = home(&[(Tiny::Predict2Arm, "arm"), (Tiny::Cosmos3, "c3"), (Tiny::Predict2, "p2")]);
    // So that the notice of the first use, which is kept, is no surprise later.
    let _ = home.run(&imagine("p2", &["--frames", "a.png", "--steps", "1"]));
    std::fs::remove_dir_all(home.path("out")).unwrap();
    std::fs::write(home.path("six.csv"), "dx,dy,dz,droll,dpitch,dyaw\n0,0,0,0,0,0\n").unwrap();
    std::fs::write(home.path("unit.csv"), "dx [mm],dy,dz,droll,dpitch,dyaw,gripper\n0,0,0,0,0,0,0\n")
        .unwrap();
    std::fs::write(home.path("far.csv"), "dx,dy,dz,droll,dpitch,dyaw,gripper\n5,0,0,0,0,0,0\n").unwrap();
    let arm = |file: &'static str| imagine("arm", &["--frames", "a.png", "--steps", "1", "--actions", file]);
    home.fails(&arm("six.csv"), &["lacks the channel gripper"]);
    home.fails(&arm("unit.csv"), &["dx in mm", "takes m"]);
    home.fails(&arm("far.csv"), &["dx", "outside its range"]);
    home.fails(&imagine("arm", &["--frames", "a.png", "--steps", "1"]), &["action track"]);
    home.fails(
        &imagine("c3", &["--steps", "1", "--body", "hand_pose"]),
        &["hand_pose", "bridge_orig_lerobot"],
    );
    home.fails(&imagine("p2", &["--steps", "1"]), &["at least one frame"]);
    let odd =
        ["imagine", "--model", "p2", "--frames", "a.png", "--steps", "1", "--size", "30x16", "--out", "out"];
    home.fails(&odd, &["multiples of 16"]);
    // Choices of published models do not go with others.
    forerun::models::testing::random_model(&home.path("own"), 7).unwrap();
    home.fails(&imagine("own", &["--steps", "1"]), &["frame by frame", "--size"]);
    // And a published model does not go where frames come one by one.
    assert_ne!(home.run(&["score", "--model", "p2", "--dataset", "nowhere"]).status.code(), Some(0));
    // A damaged file is named.
    let weights = home.path("p2/vae/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 9]).unwrap();
    home.fails(
        &imagine("p2", &["--frames", "a.png", "--steps", "1"]),
        &["vae/diffusion_pytorch_model.safetensors"],
    );
}

#[test]
fn a_publishers_folder_gets_a_name_without_a_copy_and_keeps_its_choices() {
    let home = home(&[(Tiny::Cosmos3, "c3")]);
    let import = [
        &["models", "import", "c3", "--name", "bridge", "--body", "bridge_orig_lerobot", "--json"],
        &SMALL[..],
    ]
    .concat();
    let output = home.run(&import);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let info = last_json(&home.run(&["models", "info", "bridge", "--json"]));
    assert_eq!(info["contract"]["actions"].as_array().unwrap().len(), 10);
    assert_eq!(info["contract"]["frame"]["width"], 32);
    assert!(info["clip"]["bodies"].as_array().unwrap().len() > 3);
    let list = last_json(&home.run(&["models", "list", "--json"]));
    assert!(list["models"].as_array().unwrap().iter().any(|m| m["name"] == "bridge"));
    let output =
        home.run(&["imagine", "--model", "bridge", "--frames", "a.png", "--steps", "4", "--out", "out"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(home.run(&["models", "verify", "bridge"]).status.code(), Some(0));
    home.fails(&["models", "import", "c3", "--body", "nobody"], &["nobody"]);
    assert_eq!(home.run(&["models", "remove", "bridge"]).status.code(), Some(0));
    assert!(home.path("c3/model_index.json").is_file(), "what is referred to stays");
    home.fails(&["models", "remove", "bridge"], &["none of your own"]);
}

#[test]
fn terms_are_shown_before_the_first_use_and_the_download() {
    let home = home(&[(Tiny::Predict2, "p2")]);
    let first = home.run(&imagine("p2", &["--frames", "a.png", "--steps", "1"]));
    assert!(String::from_utf8_lossy(&first.stderr).contains("guardrail clause"));
    let second = home.run(&imagine("p2", &["--frames", "a.png", "--steps", "1", "--seeds", "8"]));
    assert!(!String::from_utf8_lossy(&second.stderr).contains("guardrail clause"));
    let other = Home::new();
    let address = "http://127.0.0.1:9";
    let text = other.fails(&["models", "fetch", "predict2-2b", "--endpoint", address], &["--accept-licence"]);
    assert!(!text.contains("cannot be reached"), "nothing may be asked before the terms were read");
    let output = other.run(&["models", "fetch", "predict2-2b", "--endpoint", address, "--accept-licence"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be reached"));
    let list = last_json(&other.run(&["models", "list", "--published", "--json"]));
    assert!(list["published"].as_array().unwrap().len() >= 10);
}

#[test]
fn a_reasoner_looks_at_a_future_and_says_the_same_again() {
    let home = home(&[(Tiny::Cosmos3, "c3")]);
    let folder = home.path("reasoner");
    std::fs::create_dir_all(&folder).unwrap();
    forerun::models::testing::published::tiny_reasoner(&folder, 3).unwrap();
    let frame = ["--frames", "a.png", "--steps", "4"];
    assert_eq!(home.run(&imagine("c3", &frame)).status.code(), Some(0));
    let ask = |extra: &[&str]| {
        let all = [&["reason", "--model", "reasoner", "--tokens", "6", "--json", "--clip"], extra].concat();
        let output = home.run(&all);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        last_json(&output)
    };
    let future = ask(&["out/seed-0"]);
    assert_eq!((future["frames"].as_u64(), future["tokens"].as_u64().is_some()), (Some(5), true));
    assert!(future["question"].as_str().unwrap().contains("laws of physics"));
    assert_eq!(ask(&["out/seed-0"])["text"], future["text"]);
    assert_eq!(ask(&["out/seed-0/future.mp4"])["frames"], 4);
    let drawn = |seed: &str| {
        ask(&["out/seed-0", "--top-p", "0.9", "--temperature", "2", "--seed", seed])["text"].clone()
    };
    assert_eq!(drawn("1"), drawn("1"));
    home.fails(&["reason", "--model", "nowhere", "--clip", "out/seed-0"], &["nowhere"]);
    home.fails(&["reason", "--model", "reasoner", "--clip", "a.csv"], &["a.csv"]);
}
