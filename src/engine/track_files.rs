//! Action tracks in files: CSV, JSON, Parquet.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray};
use arrow::datatypes::{DataType, Float32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::track::Table;
use crate::failure::Failure;

/// Largest track: a day at 30 Hz would be under a fifth of it.
const MAX_BYTES: u64 = 256 << 20;

fn text_of(path: &Path) -> Result<String, Failure> {
    let size = std::fs::metadata(path).map_err(|e| Failure::io("read", path, &e))?.len();
    if size > MAX_BYTES {
        return Err(Failure::new(
            format!("{} is too large for an action track ({} MB).", path.display(), size >> 20),
            "Give only the steps that are to be imagined.",
        ));
    }
    let bytes = std::fs::read(path).map_err(|e| Failure::io("read", path, &e))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::new(
            format!("{} is not a text file.", path.display()),
            "Save it as UTF-8 text, or as Parquet.",
        )
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Lines of numbers between commas, semicolons or tabs; the first line names the columns. Empty lines and lines that
/// begin with `#` are skipped.
pub(super) fn csv(path: &Path) -> Result<Table, Failure> {
    let text = text_of(path)?;
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, header) = lines.next().ok_or_else(|| {
        Failure::new(format!("{} is empty.", path.display()), "Its first line must name the channels.")
    })?;
    let separator = [',', '\t', ';'].into_iter().find(|&s| header.contains(s)).unwrap_or(',');
    let columns: Vec<String> =
        header.split(separator).map(|c| c.trim().trim_matches('"').to_owned()).collect();
    if columns.iter().any(|c| c.parse::<f64>().is_ok()) {
        return Err(Failure::new(
            format!("{} has numbers in its first line.", path.display()),
            "The first line must name the channels: numbers are matched by name, never by position.",
        ));
    }
    let mut rows = Vec::new();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(separator).map(str::trim).collect();
        if cells.len() != columns.len() {
            return Err(Failure::new(
                format!(
                    "{} has {} values in line {number}, but {} columns.",
                    path.display(),
                    cells.len(),
                    columns.len()
                ),
                "Give every line one value a column.",
            ));
        }
        let row = cells
            .iter()
            .zip(&columns)
            .map(|(cell, column)| {
                // An empty cell reads as "not a number", which the range check then names with its channel.
                if cell.is_empty() { Ok(f32::NAN) } else { cell.parse::<f32>() }.map_err(|_| {
                    Failure::new(
                        format!(
                            "{} has \"{cell}\" for {column} in line {number}, not a number.",
                            path.display()
                        ),
                        "Write numbers with a point and without units.",
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        rows.push(row);
    }
    Ok(Table { columns, rows })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Table { channels: Vec<String>, rows: Vec<Vec<Option<f32>>> },
    Record { actions: Box<Json> },
    Steps(Vec<std::collections::BTreeMap<String, Option<f32>>>),
}

/// `{"channels": [...], "rows": [[...]]}`, a list of `{"channel": value}`, or a future's record.
pub(super) fn json(path: &Path) -> Result<Table, Failure> {
    let text = text_of(path)?;
    let parsed: Json = serde_json::from_str(&text).map_err(|_| {
        Failure::new(
            format!("{} is no action track.", path.display()),
            "It must read {\"channels\": [names], \"rows\": [[numbers]]}, or be a list of {\"channel\": number}.",
        )
    })?;
    Ok(table_of(parsed))
}

fn table_of(json: Json) -> Table {
    let number = |value: Option<f32>| value.unwrap_or(f32::NAN);
    match json {
        Json::Record { actions } => table_of(*actions),
        Json::Table { channels, rows } => {
            let rows = rows.into_iter().map(|row| row.into_iter().map(number).collect()).collect();
            Table { columns: channels, rows }
        }
        Json::Steps(steps) => {
            let mut columns: Vec<String> = steps.iter().flat_map(|s| s.keys().cloned()).collect();
            columns.sort();
            columns.dedup();
            let rows = steps
                .iter()
                .map(|step| columns.iter().map(|c| number(step.get(c).copied().flatten())).collect())
                .collect();
            Table { columns, rows }
        }
    }
}

/// Columns of numbers by their names; a list column named `action` needs names in another file, so it is refused.
pub(super) fn parquet(path: &Path) -> Result<Table, Failure> {
    let file = File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    let damaged = |e: &dyn std::fmt::Display| {
        Failure::new(
            format!("{} is no readable Parquet file: {e}.", path.display()),
            "It may be cut off (a recording that was killed has no footer); write it again.",
        )
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .map_err(|e| damaged(&e))?;
    let mut table = Table::default();
    for batch in reader {
        let batch = batch.map_err(|e| damaged(&e))?;
        if table.columns.is_empty() {
            table.columns = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
        }
        let columns: Vec<Vec<f32>> = batch
            .columns()
            .iter()
            .zip(&table.columns)
            .map(|(column, name)| numbers(column, name, path))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            table.rows.push(columns.iter().map(|c| c.get(row).copied().unwrap_or(f32::NAN)).collect());
        }
    }
    Ok(table)
}

fn numbers(column: &ArrayRef, name: &str, path: &Path) -> Result<Vec<f32>, Failure> {
    if column.as_any().is::<FixedSizeListArray>() || matches!(column.data_type(), DataType::List(_)) {
        return Err(Failure::new(
            format!("{} keeps several numbers in its column {name}, without their names.", path.display()),
            "If it belongs to a dataset, give DATASET#EPISODE instead; otherwise write one column a channel.",
        ));
    }
    let numeric = column.data_type().is_numeric();
    let cast = numeric.then(|| arrow::compute::cast(column, &DataType::Float32).ok()).flatten();
    let cast = cast.ok_or_else(|| {
        Failure::new(
            format!("{} has no numbers in its column {name}.", path.display()),
            "Keep only columns of numbers, one a channel.",
        )
    })?;
    let values = cast.as_primitive::<Float32Type>();
    Ok((0..values.len()).map(|i| if values.is_null(i) { f32::NAN } else { values.value(i) }).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::track::read;
    use super::*;
    use std::fs;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn csv_json_and_parquet_say_the_same() {
        let wanted = Table {
            columns: vec!["a.pos".into(), "b.pos".into()],
            rows: vec![vec![1.0, 2.0], vec![3.5, -4.0]],
        };
        let (_d, csv) = file("t.csv", "\u{feff}a.pos,b.pos\n# by hand\n1,2\r\n\n3.5, -4\n".as_bytes());
        assert_eq!(read(&csv).unwrap(), wanted);
        let (_d, json) = file("t.json", br#"{"channels":["a.pos","b.pos"],"rows":[[1,2],[3.5,-4]]}"#);
        assert_eq!(read(&json).unwrap(), wanted);
        let (_d, steps) = file("t.json", br#"[{"b.pos":2,"a.pos":1},{"a.pos":3.5,"b.pos":-4}]"#);
        assert_eq!(read(&steps).unwrap(), wanted);
        let (_d, record) =
            file("t.json", br#"{"seed":1,"actions":{"channels":["a.pos","b.pos"],"rows":[[1,2],[3.5,-4]]}}"#);
        assert_eq!(read(&record).unwrap(), wanted);

        let (_d, path) = file("t.parquet", b"");
        let a: ArrayRef = std::sync::Arc::new(arrow::array::Float64Array::from(vec![1.0, 3.5]));
        let b: ArrayRef = std::sync::Arc::new(arrow::array::Float32Array::from(vec![2.0, -4.0]));
        let batch = arrow::record_batch::RecordBatch::try_from_iter([("a.pos", a), ("b.pos", b)]).unwrap();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(read(&path).unwrap(), wanted);
        // Without its footer it is named and refused.
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
        let text = read(&path).unwrap_err().text();
        assert!(text.contains("t.parquet") && text.contains("footer"), "{text}");
    }

    #[test]
    fn bad_files_are_named_with_line_and_reason() {
        let cases: [(&str, &[u8], &str); 7] = [
            ("t.csv", b"", "empty"),
            ("t.csv", b"1,2\n3,4\n", "must name the channels"),
            ("t.csv", b"a,b\n1\n", "1 values in line 2"),
            ("t.csv", b"a,b\n1,x\n", "\"x\" for b in line 2"),
            ("t.csv", b"\xff\xfe\x00", "not a text file"),
            ("t.json", b"{}", "no action track"),
            ("t.png", b"", "csv, json or parquet"),
        ];
        for (name, content, word) in cases {
            let (_d, path) = file(name, content);
            let text = read(&path).unwrap_err().text();
            assert!(text.contains(word) && text.contains(name), "{text}");
        }
        assert!(read(Path::new("no/such.csv")).unwrap_err().text().contains("no/such.csv"));
    }

    #[test]
    fn an_empty_cell_is_no_number() {
        let (_d, path) = file("t.csv", b"a,b\n1,\n");
        assert!(read(&path).unwrap().rows[0][1].is_nan());
    }
}
