//! Arguments and exit codes.

use crate::support::{Home, last_json};

#[test]
fn help_and_version_are_no_errors() {
    let home = Home::new();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["imagine", "--help"],
        &["models", "list", "--help"],
        &["post-train", "--help"],
    ] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty());
    }
    let text = String::from_utf8(home.run(&["imagine", "--help"]).stdout).unwrap();
    for option in [
        "--model",
        "--frames",
        "--start",
        "--prompt",
        "--actions",
        "--steps",
        "--seeds",
        "--refine",
        "--device",
        "--out",
        "--record",
        "--json",
    ] {
        assert!(text.contains(option), "{option} is not in the help");
    }
}

#[test]
fn bad_arguments_exit_with_two() {
    let home = Home::new();
    for arguments in [
        &["imagine"][..],
        &["imagine", "--steps", "x", "--out", "o"],
        &["imagine", "--steps", "3", "--refine", "9", "--out", "o"],
        &["imagine", "--steps", "3", "--seeds", "4..1", "--out", "o"],
        &["imagine", "--record", "a", "--steps", "3", "--out", "o"],
        &["models"],
        &["train", "--config", "a.toml", "--dataset", "d", "--out", "o"],
        &[
            "train",
            "--config",
            "a.toml",
            "--dataset",
            "d",
            "--out",
            "o",
            "--minutes",
            "1",
            "--iterations",
            "1",
        ],
        &["post-train", "--base", "b", "--dataset", "d", "--out", "o"],
        &["post-train", "--base", "b", "--dataset", "d", "--out", "o", "--minutes", "1", "--method", "magic"],
        &["post-train", "--base", "b", "--dataset", "d", "--out", "o", "--minutes", "1", "--rank", "0"],
        &["score", "--dataset", "d", "--horizons", "0"],
        &["models", "list", "--nonsense"],
        &["policy"],
        &["policy", "train", "--dataset", "d"],
        &["policy", "train", "--dataset", "d", "--out", "o", "--minutes", "1", "--iterations", "1"],
        &["policy", "train", "--dataset", "d", "--out", "o", "--kind", "wish"],
        &["policy", "evaluate", "--policy", "p"],
        &["policy", "evaluate", "--in", "world:tabletop"],
        &["policy", "evaluate", "--policy", "p", "--in", "world:tabletop", "--task", "fly"],
        &["engine"],
        &["--nonsense"],
    ] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert!(home.listing().is_empty());
}

#[test]
fn policies_that_are_none_are_told_in_words() {
    let home = Home::new();
    std::fs::create_dir(home.path("p")).unwrap();
    home.fails(&["policy", "evaluate", "--policy", "p", "--in", "world:tabletop"], &["p is no policy"]);
    home.fails(&["policy", "train", "--dataset", "none", "--out", "o", "--iterations", "1"], &["none"]);
    home.fails(&["policy", "rank", "--policies", "p", "--episodes", "1"], &["no policy"]);
}

#[test]
fn an_error_is_one_json_object_too() {
    let home = Home::new();
    let output = home.run(&["--json", "models", "info", "nope"]);
    assert_eq!(output.status.code(), Some(1));
    let value = last_json(&output);
    assert!(value["error"].as_str().unwrap().contains("nope"), "{value}");
    let output = home.run(&["models", "list", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(last_json(&output)["models"].is_array());
}
