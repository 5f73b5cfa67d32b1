//! The house has three floors, and an import only ever goes down.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

/// Names of all packages that `package` is built from, its own included.
fn packages(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            package,
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn never(package: &str, forbidden: &[&str]) {
    let packages = packages(package);
    assert!(packages.iter().any(|p| p == "candle-core"), "{package}: the list looks wrong: {packages:?}");
    for name in forbidden {
        assert!(!packages.iter().any(|p| p == name), "{package} is built from {name}");
    }
}

#[test]
fn the_networks_know_no_window_no_robot_and_no_world() {
    never(
        "forerun-models",
        &["egui", "eframe", "wgpu", "winit", "rfd", "rapier3d", "forerun", "forerun-ui", "openh264"],
    );
}

#[test]
fn the_library_knows_no_window() {
    never("forerun", &["egui", "eframe", "wgpu", "winit", "rfd", "forerun-ui", "clap"]);
}

#[test]
fn the_shaders_know_no_window() {
    never("forerun-gpu", &["egui", "eframe", "winit", "rfd", "forerun", "forerun-ui", "rapier3d", "clap"]);
}

#[test]
fn the_window_names_no_network_itself() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/Cargo.toml")).unwrap();
    for name in ["candle", "forerun-models", "serialport", "rustypot"] {
        assert!(!manifest.contains(name), "ui/Cargo.toml names {name}");
    }
}
