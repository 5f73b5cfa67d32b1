//! From data to a policy, to a bundle, to its first stage, and to a server, by the command line alone.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use forerun::Frame;
use forerun::robot::file::RobotFile;
use forerun::robot::openpi::array::Array;
use forerun::robot::openpi::{Limits, RemotePolicy, Value};
use serde_json::Value as Json;

use super::support::{Home, exe};

fn json(home: &Home, arguments: &[&str], code: i32) -> Json {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let output = home.run(&all);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[test]
fn a_policy_goes_from_data_to_a_bundle_its_first_stage_and_a_server() {
    let home = Home::new();
    let record = ["record", "--world", "tabletop", "--behaviour", "expert", "--episodes", "3", "--seed", "1"];
    json(&home, &[&record[..], &["--size", "64", "--out", "data"]].concat(), 0);
    let settings = "format = 1\nsize = \"micro\"\nbatch = 8\nmicro = 4\nheld_out = 1\nlooks = [\"now\"]\n";
    std::fs::write(home.path("micro.toml"), settings).unwrap();
    let train = ["policy", "train", "--config", "micro.toml", "--dataset", "data", "--out", "policy"];
    json(&home, &[&train[..], &["--iterations", "2"]].concat(), 0);
    let mut robot = RobotFile::tabletop("my arm", 32);
    robot.write(&home.path("arm.toml")).unwrap();

    let bundle = ["bundle", "--policy", "policy", "--robot", "arm.toml", "--out", "go.bundle"];
    let packed = json(&home, &bundle, 0);
    assert_eq!(packed["manifest"]["joints"].as_array().unwrap().len(), 6);
    let looked = json(&home, &["inspect", "go.bundle"], 0);
    assert_eq!(looked["key"], packed["key"]);
    // Packed here, so it is trusted here; the first stage is replay, and it needs episodes.
    let refused = json(&home, &["push", "go.bundle", "--to", "arm.toml"], 1);
    assert!(refused["advice"].as_str().unwrap().contains("--dataset"), "{refused}");
    let output = home.run(&["--json", "push", "go.bundle", "--to", "arm.toml", "--dataset", "data"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let replayed: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&replayed["stage"], &replayed["robot"]), (&"replay".into(), &"my arm".into()), "{replayed}");
    assert!(replayed["report"]["actions"].as_u64().unwrap() > 10 && replayed["report"]["not_finite"] == 0);
    assert_eq!(replayed["clean"].as_bool().unwrap(), output.status.success());
    // Stages are not jumped over, but by typing the robot's name.
    let refused = json(&home, &["push", "go.bundle", "--to", "arm.toml", "--stage", "normal"], 1);
    assert!(refused["error"].as_str().unwrap().contains("first"), "{refused}");
    let skip = ["push", "go.bundle", "--to", "arm.toml", "--stage", "normal", "--skip", "another arm"];
    let refused = json(&home, &skip, 1);
    assert!(refused["error"].as_str().unwrap().contains("my arm"), "{refused}");
    // Another robot is refused in words.
    robot.joints[1].name = "waist".into();
    robot.write(&home.path("other.toml")).unwrap();
    let refused = json(&home, &["push", "go.bundle", "--to", "other.toml"], 1);
    assert!(refused["error"].as_str().unwrap().contains("no joint shoulder_lift"), "{refused}");
    assert!(json(&home, &["push", "go.bundle", "--to", "nowhere.toml"], 1)["error"].is_string());

    // Served to anybody who speaks openpi.
    let mut server = Command::new(exe())
        .args(["serve", "--policy", "policy", "--listen", "127.0.0.1:0"])
        .current_dir(home.dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let limits = Limits { answer: Duration::from_secs(60), ..Limits::default() };
    let mut client = RemotePolicy::connect(&address, None, limits).unwrap();
    let observation = Value::map([
        ("image", Array::picture(&Frame::filled(64, 48, [10, 60, 90])).encode()),
        ("state", Array::row(&[0.0; 6]).encode()),
        ("prompt", Value::text("push the red cube to the left")),
    ]);
    let answer = client.infer(&observation).unwrap();
    assert!(answer.actions.len() > 1 && answer.actions.iter().all(|row| row.len() == 6));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn a_policy_that_goes_for_pictures_is_refused_where_it_would_be_told_by_words() {
    let home = Home::new();
    RobotFile::tabletop("my arm", 128).write(&home.path("arm.toml")).unwrap();
    let bundle = ["bundle", "--policy", "push-goal", "--robot", "arm.toml", "--out", "go.bundle"];
    let refused = json(&home, &bundle, 1);
    assert!(refused["error"].as_str().unwrap().contains("push-goal goes for pictures"), "{refused}");
    assert!(!home.path("go.bundle").exists());
    let alone = ["policy", "evaluate", "--policy", "push-goal", "--in", "world:tabletop"];
    home.fails(&alone, &["--subgoals"]);
    home.fails(&["serve", "--policy", "push-goal", "--listen", "127.0.0.1:0"], &["goes for pictures"]);
}
