//! Arguments and exit codes.

use crate::support::{Home, last_json};

#[test]
fn help_and_version_are_no_errors() {
    let home = Home::new();
    for arguments in [&["--help"][..], &["--version"], &["imagine", "--help"], &["models", "list", "--help"]]
    {
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
        &["score", "--dataset", "d", "--horizons", "0"],
        &["models", "list", "--nonsense"],
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
