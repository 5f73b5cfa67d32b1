//! Action files: CSV, JSON or Parquet to named channels and rows.
//!
//! | format | content |
//! |---|---|
//! | CSV | first line channel names, then one line a step; commas, semicolons or tabs; names may be quoted |
//! | JSON | `{"channels": [...], "rows": [[...], ...]}`, or a list of objects `{"name": value, ...}` |
//! | Parquet | one number column a channel, or one `action` column of lists (channels then are `0`, `1`, ...) |
//!
//! Mapping channels to a contract by name and unit is the engine's work.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::table::{Rows, Table, numbers_f32};
use super::{DatasetError, Matrix};
use crate::dataset::ChannelInfo;
use crate::media::{Kind, sniff};

/// Largest text file that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Why an action file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActionsError {
    /// The system could not read it.
    #[error("{}: {source}. {}", path.display(), crate::media::advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no action file.
    #[error("{}: {what}. Give a CSV whose first line names the channels, a JSON or a Parquet file", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A row with too few or too many numbers.
    #[error("{}: row {row} has {found} values for {wanted} channels. Give one number for each channel", path.display())]
    Width {
        /// The file.
        path: PathBuf,
        /// Row, counted from 1 (the header not counted).
        row: usize,
        /// Values in it.
        found: usize,
        /// Channels.
        wanted: usize,
    },
    /// A value that is no finite number.
    #[error("{}: row {row}, channel \"{channel}\": {found} is not a finite number. Correct that value", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Row, counted from 1.
        row: usize,
        /// Channel.
        channel: String,
        /// What stands there.
        found: String,
    },
    /// A channel named twice or not at all.
    #[error("{}: the channel name \"{name}\" is empty or occurs twice. Give each channel its own name", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A Parquet file that cannot be read.
    #[error(transparent)]
    Table(#[from] Box<DatasetError>),
}

/// Reads an action file of any supported format, told by its content. Units are not in the file: they are empty.
///
/// # Errors
/// [`ActionsError`] with file, row and channel.
pub fn read(path: &Path) -> Result<Matrix, ActionsError> {
    let io = |source| ActionsError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(io)?.len();
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 64), &mut head).map_err(io)?;
    let kind = sniff(&head);
    if kind == Kind::Parquet {
        return read_parquet(path);
    }
    let format = |what: String| ActionsError::Format { path: path.to_owned(), what };
    if length > MAX_BYTES {
        return Err(format(format!("{length} bytes are too many for an action file")));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => return Err(format(format!("this is {}, not text", kind.words()))),
    };
    // Spreadsheets put a byte order mark in front.
    let text = text.trim_start_matches('\u{feff}');
    match text.trim_start().chars().next() {
        None => Err(format("the file is empty".to_owned())),
        Some('[' | '{') => read_json(path, text),
        Some(_) => read_csv(path, text),
    }
}

fn check_names(path: &Path, names: &[String]) -> Result<Vec<ChannelInfo>, ActionsError> {
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || names.iter().skip(i + 1).any(|n| n == name) {
            return Err(ActionsError::Name { path: path.to_owned(), name: name.clone() });
        }
    }
    Ok(names.iter().map(|n| ChannelInfo::new(n, "")).collect())
}

fn finish(path: &Path, channels: Vec<ChannelInfo>, values: Vec<f32>) -> Result<Matrix, ActionsError> {
    if channels.is_empty() || values.is_empty() {
        let what = "it has no rows of numbers".to_owned();
        return Err(ActionsError::Format { path: path.to_owned(), what });
    }
    for (row, line) in values.chunks(channels.len()).enumerate() {
        if let Some((x, channel)) = line.iter().zip(&channels).find(|(x, _)| !x.is_finite()) {
            let (channel, found) = (channel.name.clone(), x.to_string());
            return Err(ActionsError::Value { path: path.to_owned(), row: row + 1, channel, found });
        }
    }
    Ok(Matrix { channels, values })
}

fn read_csv(path: &Path, text: &str) -> Result<Matrix, ActionsError> {
    let mut lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
    let header = lines.next().unwrap_or_default();
    let count = |c: char| header.matches(c).count();
    let separator = [',', ';', '\t'].into_iter().max_by_key(|c| count(*c)).unwrap_or(',');
    let names: Vec<String> = split(header, separator);
    if names.iter().all(|n| n.parse::<f32>().is_ok()) {
        let what = "its first line holds numbers, not channel names".to_owned();
        return Err(ActionsError::Format { path: path.to_owned(), what });
    }
    let channels = check_names(path, &names)?;
    let mut values = Vec::new();
    for (row, line) in lines.enumerate() {
        let cells = split(line, separator);
        if cells.len() != channels.len() {
            let (found, wanted) = (cells.len(), channels.len());
            return Err(ActionsError::Width { path: path.to_owned(), row: row + 1, found, wanted });
        }
        for (cell, channel) in cells.into_iter().zip(&channels) {
            // A semicolon file of a spreadsheet in Europe writes 1,5.
            let plain = if separator == ';' { cell.replace(',', ".") } else { cell.clone() };
            match plain.parse::<f32>() {
                Ok(x) if x.is_finite() => values.push(x),
                _ => {
                    let channel = channel.name.clone();
                    return Err(ActionsError::Value {
                        path: path.to_owned(),
                        row: row + 1,
                        channel,
                        found: cell,
                    });
                }
            }
        }
    }
    finish(path, channels, values)
}

/// Cells of a line without quotes and blanks around them; a separator inside quotes does not count.
fn split(line: &str, separator: char) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c == separator && !quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}

fn read_json(path: &Path, text: &str) -> Result<Matrix, ActionsError> {
    let format = |what: &str| ActionsError::Format { path: path.to_owned(), what: what.to_owned() };
    let value: Value =
        serde_json::from_str(text).map_err(|e| format(&format!("it is not sound JSON ({e})")))?;
    let number = |value: &Value, row: usize, channel: &str| {
        value.as_f64().map(|x| x as f32).filter(|x| x.is_finite()).ok_or_else(|| ActionsError::Value {
            path: path.to_owned(),
            row: row + 1,
            channel: channel.to_owned(),
            found: value.to_string(),
        })
    };
    let width = |row: usize, found: usize, wanted: usize| ActionsError::Width {
        path: path.to_owned(),
        row: row + 1,
        found,
        wanted,
    };
    let mut values = Vec::new();
    if let Some(rows) = value.as_array() {
        let first =
            rows.first().and_then(Value::as_object).ok_or_else(|| format("it is not a list of objects"))?;
        let names: Vec<String> = first.keys().cloned().collect();
        for (i, row) in rows.iter().enumerate() {
            let row = row.as_object().ok_or_else(|| format("it is not a list of objects"))?;
            if row.len() != names.len() {
                return Err(width(i, row.len(), names.len()));
            }
            for name in &names {
                values.push(number(row.get(name).unwrap_or(&Value::Null), i, name)?);
            }
        }
        return finish(path, check_names(path, &names)?, values);
    }
    let list = |key: &str| value.get(key).and_then(Value::as_array);
    let (Some(channels), Some(rows)) = (list("channels"), list("rows")) else {
        return Err(format("it has no \"channels\" and \"rows\""));
    };
    let names: Option<Vec<String>> = channels.iter().map(|c| c.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| format("its channels are not names"))?;
    for (i, row) in rows.iter().enumerate() {
        let row = row.as_array().ok_or_else(|| format("its rows are not lists"))?;
        if row.len() != names.len() {
            return Err(width(i, row.len(), names.len()));
        }
        for (cell, name) in row.iter().zip(&names) {
            values.push(number(cell, i, name)?);
        }
    }
    finish(path, check_names(path, &names)?, values)
}

fn read_parquet(path: &Path) -> Result<Matrix, ActionsError> {
    let boxed = |e: DatasetError| ActionsError::Table(Box::new(e));
    let table = Table::open(path).map_err(boxed)?;
    let has_action = table.columns().iter().any(|(name, _)| name == "action");
    let ignored = ["timestamp", "frame_index", "episode_index", "index", "task_index"];
    let batch =
        table.read(Rows::All, |name| if has_action { name == "action" } else { !ignored.contains(&name) });
    let batch = batch.map_err(boxed)?;
    let mut columns = Vec::new();
    let schema = batch.schema();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        // A text column beside the numbers (a note, a task) is no channel.
        if let Some((width, values)) = numbers_f32(array) {
            columns.push((field.name().clone(), width, values));
        }
    }
    let mut names = Vec::new();
    for (name, width, _) in &columns {
        match (*width, has_action) {
            (1, false) => names.push(name.clone()),
            (width, true) => names.extend((0..width).map(|i| i.to_string())),
            (width, false) => names.extend((0..width).map(|i| format!("{name}.{i}"))),
        }
    }
    let mut values = Vec::with_capacity(batch.num_rows() * names.len());
    for row in 0..batch.num_rows() {
        for (_, width, column) in &columns {
            values.extend(column.get(row * width..(row + 1) * width).unwrap_or_default());
        }
    }
    finish(path, check_names(path, &names)?, values)
}
