//! Strips as files: CSV for a spreadsheet, JSON for a script.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::metrics::Strip;
use crate::failure::Failure;
use crate::fsx;

/// Version of the JSON file.
pub const NUMBERS_FORMAT: u32 = 1;

/// The strips of one future, or of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// What the window calls it; must differ from the others' to tell columns apart.
    pub label: String,
    /// Folder of the future, or empty for a set.
    #[serde(default)]
    pub folder: String,
    /// Its strips.
    pub strips: Vec<Strip>,
}

/// Kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumbersFile {
    /// Comma-separated, UTF-8, one row a frame.
    Csv,
    /// One object.
    Json,
}

/// One row a frame: `frame`, then `LABEL psnr [dB]`, ...; a value that is not known is an empty cell.
pub fn to_csv(all: &[Numbers]) -> String {
    let columns: Vec<(String, &[Option<f64>])> = all
        .iter()
        .flat_map(|numbers| {
            numbers.strips.iter().map(|strip| {
                let unit = if strip.unit.is_empty() { String::new() } else { format!(" [{}]", strip.unit) };
                (format!("{} {}{unit}", numbers.label, strip.metric.name()), strip.values.as_slice())
            })
        })
        .collect();
    let rows = columns.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let mut text = String::from("frame");
    for (name, _) in &columns {
        text.push(',');
        text.push_str(&cell(name));
    }
    text.push('\n');
    for row in 0..rows {
        text.push_str(&row.to_string());
        for (_, values) in &columns {
            text.push(',');
            if let Some(value) = values.get(row).copied().flatten().filter(|v| v.is_finite()) {
                text.push_str(&value.to_string());
            }
        }
        text.push('\n');
    }
    text
}

/// A cell, quoted where it has to be (RFC 4180). A name that begins like a formula is set off by an apostrophe, so
/// that no spreadsheet computes what somebody wrote into a prompt.
fn cell(text: &str) -> String {
    let tame = match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        _ => text.to_owned(),
    };
    if tame.contains([',', '"', '\n', '\r']) { format!("\"{}\"", tame.replace('"', "\"\"")) } else { tame }
}

/// The same numbers as an object: `futures[].strips[].{metric, unit, values}`; null where a value is not known.
pub fn to_json(all: &[Numbers]) -> Value {
    json!({ "format": NUMBERS_FORMAT, "kind": "numbers", "futures": all })
}

/// Writes the numbers: whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, all: &[Numbers], kind: NumbersFile) -> Result<(), Failure> {
    let bytes = match kind {
        NumbersFile::Csv => to_csv(all).into_bytes(),
        NumbersFile::Json => {
            let text = serde_json::to_string_pretty(&to_json(all)).map_err(Failure::from_error)?;
            format!("{text}\n").into_bytes()
        }
    };
    fsx::stage(path, &bytes).and_then(fsx::Staged::commit).map_err(|e| Failure::io("write", path, &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::compare::metrics::Metric;

    fn numbers() -> Vec<Numbers> {
        let strip = |metric, values: &[Option<f64>]| Strip::new(metric, values.to_vec());
        vec![
            Numbers {
                label: "=seed 1, \"紅\"".into(),
                folder: "a".into(),
                strips: vec![
                    strip(Metric::Psnr, &[Some(100.0), Some(31.25), Some(f64::NAN)]),
                    strip(Metric::ObjectPose { object: "red".into() }, &[None, Some(2.5)]),
                ],
            },
            Numbers {
                label: "two".into(),
                folder: String::new(),
                strips: vec![strip(Metric::Ssim, &[Some(0.5)])],
            },
        ]
    }

    #[test]
    fn a_row_a_frame_and_names_that_a_spreadsheet_reads_safely() {
        let wanted = "frame,\"'=seed 1, \"\"紅\"\" psnr [dB]\",\"'=seed 1, \"\"紅\"\" object_pose.red [mm]\",two ssim\n\
                      0,100,,0.5\n1,31.25,2.5,\n2,,,\n";
        assert_eq!(to_csv(&numbers()), wanted);
        assert_eq!(to_csv(&[]), "frame\n");
    }

    #[test]
    fn the_json_is_read_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/n.json");
        write(&path, &numbers()[1..], NumbersFile::Json).unwrap();
        let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let read: Vec<Numbers> = serde_json::from_value(value["futures"].clone()).unwrap();
        assert_eq!(read, numbers()[1..]);
        // What is not a number is null, not an error.
        assert!(to_json(&numbers())["futures"][0]["strips"][0]["values"][2].is_null());
        write(&dir.path().join("n.csv"), &numbers(), NumbersFile::Csv).unwrap();
        assert!(write(dir.path(), &numbers(), NumbersFile::Csv).unwrap_err().text().contains("write"));
    }
}
