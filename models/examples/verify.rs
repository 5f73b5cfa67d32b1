//! Compares our networks with reference cases: `cargo run -p forerun-models --example verify -- FOLDER...`.
//!
//! A folder is a case, or holds cases. Prints one line per case (all outputs with `--all`); exit code 1 if any case
//! fails.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forerun_models::verify::verify_folder;

/// The cases that a folder is or holds, sorted.
fn cases(folder: &Path) -> Vec<PathBuf> {
    if folder.join("case.json").is_file() {
        return vec![folder.to_path_buf()];
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("case.json").is_file())
        .collect();
    found.sort();
    found
}

fn main() -> ExitCode {
    let (flags, folders): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let all = flags.iter().any(|flag| flag == "--all");
    let mut failed = false;
    for path in folders.iter().flat_map(|folder| cases(Path::new(folder))) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match verify_folder(&path) {
            Ok(report) => {
                failed |= !report.passed;
                if all {
                    println!("{report}");
                }
                let rms = report.outputs.values().map(|o| o.rms_rel).fold(0.0, f64::max);
                let max = report.outputs.values().map(|o| o.max_rel).fold(0.0, f64::max);
                let wrong = report.outputs.values().filter(|o| !o.passed).count();
                let verdict = if report.passed { "pass".to_owned() } else { format!("FAIL ({wrong})") };
                println!(
                    "{name:26} {verdict:10} outputs {:4}  worst rms_rel {rms:.1e}  worst max_rel {max:.1e}",
                    report.outputs.len()
                );
                if let (false, false) = (report.passed, all) {
                    for (name, o) in report.outputs.iter().filter(|(_, o)| !o.passed).take(12) {
                        println!(
                            "    {name:36} max {:.1e} rel {:.1e} rms {:.1e}",
                            o.max_abs, o.max_rel, o.rms_rel
                        );
                    }
                }
            }
            Err(error) => {
                failed = true;
                println!("{name:26} ERROR      {error}");
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
