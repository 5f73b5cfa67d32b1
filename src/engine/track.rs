//! Numbers to a model's action channels: by name and unit, never by position, and only when they make sense.

use std::path::Path;

use forerun_models::{Channel, ChannelMode, Contract};

use crate::failure::Failure;

/// Columns that recordings carry beside channels; they are no numbers for a model.
const INDEX_COLUMNS: [&str; 8] =
    ["timestamp", "frame_index", "episode_index", "index", "task_index", "step", "time", "t"];

/// Named columns of numbers, one row a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Column names; a unit may follow in brackets: `shoulder_pan.pos [deg]`.
    pub columns: Vec<String>,
    /// Rows as long as `columns`.
    pub rows: Vec<Vec<f32>>,
}

/// Rows in the contract's order and units, `steps` of them.
///
/// `what` names the source in messages (`actions.csv`).
///
/// # Errors
/// A channel is missing, unknown, twice there, in another unit; a number is missing, not finite or out of range; there
/// are fewer rows than steps.
pub fn map(table: &Table, contract: &Contract, steps: usize, what: &str) -> Result<Vec<Vec<f32>>, Failure> {
    let columns = match_columns(table, contract, what)?;
    if table.rows.len() < steps {
        return Err(Failure::new(
            format!("{what} has {} steps, but {steps} are to be imagined.", table.rows.len()),
            format!("Ask for {} steps, or add rows.", table.rows.len()),
        ));
    }
    let mut rows = Vec::with_capacity(steps);
    for (step, row) in table.rows.iter().take(steps).enumerate() {
        let mut out = Vec::with_capacity(columns.len());
        for (&column, channel) in columns.iter().zip(&contract.actions) {
            let value = row.get(column).copied().ok_or_else(|| {
                Failure::new(
                    format!("{what} has no number for {} at step {}.", channel.name, step + 1),
                    "Give every step a number for every channel.",
                )
            })?;
            out.push(checked(value, channel, step, what)?);
        }
        rows.push(out);
    }
    Ok(rows)
}

fn match_columns(table: &Table, contract: &Contract, what: &str) -> Result<Vec<usize>, Failure> {
    let named: Vec<(&str, Option<&str>)> = table.columns.iter().map(|c| split_unit(c)).collect();
    let wanted = || {
        let names: Vec<_> = contract.actions.iter().map(|c| c.name.as_str()).collect();
        format!("{} takes: {}.", contract.name, names.join(", "))
    };
    for (i, (name, _)) in named.iter().enumerate() {
        if named.iter().skip(i + 1).any(|(other, _)| other == name) {
            return Err(Failure::new(
                format!("{what} has the channel {name} twice."),
                "Remove one of the two.",
            ));
        }
        if !contract.actions.iter().any(|c| c.name == *name) && !INDEX_COLUMNS.contains(name) {
            return Err(Failure::new(
                format!("{what} has a channel {name}, which the model does not know."),
                format!("Remove or rename it; {}", wanted()),
            ));
        }
    }
    contract
        .actions
        .iter()
        .map(|channel| {
            let at = named.iter().position(|(name, _)| *name == channel.name).ok_or_else(|| {
                Failure::new(
                    format!("{what} lacks the channel {}.", channel.name),
                    format!("Add a column of that name ({}).", range_of(channel)),
                )
            })?;
            match named.get(at) {
                Some((_, Some(unit))) if !channel.unit.is_empty() && *unit != channel.unit => {
                    Err(Failure::new(
                        format!("{what} gives {} in {unit}, the model takes {}.", channel.name, channel.unit),
                        "Convert the column and change its header.",
                    ))
                }
                _ => Ok(at),
            }
        })
        .collect()
}

/// `shoulder_pan.pos [deg]` to its name and unit.
fn split_unit(column: &str) -> (&str, Option<&str>) {
    let column = column.trim();
    match column.strip_suffix(']').and_then(|c| c.rsplit_once('[')) {
        Some((name, unit)) => (name.trim(), Some(unit.trim())),
        None => (column, None),
    }
}

fn range_of(channel: &Channel) -> String {
    let Channel { min, max, unit, .. } = channel;
    if unit.is_empty() { format!("{min} to {max}") } else { format!("{min} to {max} {unit}") }
}

/// The value itself, or why it is none. A thousandth of the range is forgiven: recordings round. What is forgiven
/// is still brought back into the range.
fn checked(value: f32, channel: &Channel, step: usize, what: &str) -> Result<f32, Failure> {
    let name = &channel.name;
    if !value.is_finite() {
        return Err(Failure::new(
            format!("{what} has {value} for {name} at step {}, which is not a number.", step + 1),
            format!("Put a number there ({}).", range_of(channel)),
        ));
    }
    let slack = (channel.max - channel.min) * 1e-3;
    if value < channel.min - slack || value > channel.max + slack {
        return Err(Failure::new(
            format!("{what} has {value} for {name} at step {}, outside its range.", step + 1),
            format!("Keep {name} within {}.", range_of(channel)),
        ));
    }
    Ok(value.clamp(channel.min, channel.max))
}

/// One row that keeps the robot where it is: the present value of each absolute channel, no change for relative ones.
/// `present` is the state in the order of `contract.state`.
///
/// # Errors
/// When the present state is unknown.
pub fn hold(present: Option<&[f32]>, contract: &Contract) -> Result<Vec<f32>, Failure> {
    contract
        .actions
        .iter()
        .map(|channel| match channel.mode {
            ChannelMode::Relative => Ok(0.0f32.clamp(channel.min, channel.max)),
            ChannelMode::Absolute => {
                let at = contract.state.iter().position(|s| s.name == channel.name);
                // A model without any state of the robot has a resting value for each number.
                let rest = contract.state.is_empty().then_some(channel.mean);
                let value = at.and_then(|at| present?.get(at).copied()).or(rest).ok_or_else(|| {
                    Failure::new(
                        format!("The present {} is not known, so it cannot be held.", channel.name),
                        "Start from an episode or from the virtual world, or give an action track.",
                    )
                })?;
                Ok(value.clamp(channel.min, channel.max))
            }
        })
        .collect()
}

/// Reads an action file: CSV (header = channel names), JSON or Parquet, told by its ending.
///
/// # Errors
/// The file is missing, unreadable or not of that form.
pub fn read(path: &Path) -> Result<Table, Failure> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "csv" | "tsv" | "txt" => super::track_files::csv(path),
        "json" => super::track_files::json(path),
        "parquet" => super::track_files::parquet(path),
        _ => Err(Failure::new(
            format!("{} is no action track: its name does not end in csv, json or parquet.", path.display()),
            "Give a CSV whose first line names the channels, a JSON or a Parquet file, or DATASET#EPISODE.",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use forerun_models::FrameSpec;

    fn channel(name: &str, unit: &str, mode: ChannelMode) -> Channel {
        Channel { name: name.into(), unit: unit.into(), min: -100.0, max: 100.0, mode, mean: 0.0, std: 1.0 }
    }

    fn contract() -> Contract {
        let pan = channel("pan.pos", "deg", ChannelMode::Absolute);
        let lift = channel("lift.pos", "deg", ChannelMode::Absolute);
        Contract {
            format: 1,
            name: "m".into(),
            family: "dreamer".into(),
            frame: FrameSpec { width: 8, height: 8, rate_hz: 10.0, history: 2, fit: Default::default() },
            actions: vec![pan.clone(), lift.clone()],
            state: vec![lift, pan],
            text: false,
            knows: String::new(),
            embodiment: String::new(),
            licence: String::new(),
            familiar_residual: None,
            vocabulary: vec![],
        }
    }

    fn table(columns: &[&str], rows: &[&[f32]]) -> Table {
        Table {
            columns: columns.iter().map(|c| (*c).into()).collect(),
            rows: rows.iter().map(|r| r.to_vec()).collect(),
        }
    }

    #[test]
    fn columns_are_matched_by_name_whatever_their_order() {
        let table =
            table(&["frame_index", "lift.pos [deg]", "pan.pos"], &[&[0.0, 1.0, 2.0], &[1.0, 3.0, 4.0]]);
        assert_eq!(map(&table, &contract(), 2, "x").unwrap(), [[2.0, 1.0], [4.0, 3.0]]);
        assert_eq!(map(&table, &contract(), 1, "x").unwrap(), [[2.0, 1.0]]);
    }

    #[test]
    fn every_fault_is_named_with_channel_step_and_range() {
        let cases: [(Table, &[&str]); 8] = [
            (table(&["pan.pos"], &[&[0.0]]), &["lacks the channel lift.pos", "-100 to 100 deg"]),
            (
                table(&["pan.pos", "lift.pos", "x.pos"], &[&[0.0; 3]]),
                &["x.pos", "does not know", "pan.pos, lift.pos"],
            ),
            (table(&["pan.pos", "pan.pos"], &[&[0.0; 2]]), &["pan.pos twice"]),
            (table(&["pan.pos [rad]", "lift.pos"], &[&[0.0; 2]]), &["pan.pos in rad", "takes deg"]),
            (
                table(&["pan.pos", "lift.pos"], &[&[0.0; 2], &[0.0, f32::NAN]]),
                &["lift.pos at step 2", "not a number"],
            ),
            (
                table(&["pan.pos", "lift.pos"], &[&[150.0, 0.0], &[0.0; 2]]),
                &["150 for pan.pos at step 1", "range"],
            ),
            (table(&["pan.pos", "lift.pos"], &[&[0.0; 2]]), &["has 1 steps, but 2", "Ask for 1 steps"]),
            (table(&["pan.pos", "lift.pos"], &[&[0.0; 2], &[0.0]]), &["no number for lift.pos at step 2"]),
        ];
        for (table, words) in cases {
            let steps =
                if table.rows.len() == 1 && words[0].starts_with("has 1") { 2 } else { table.rows.len() };
            let text = map(&table, &contract(), steps, "a.csv").unwrap_err().text();
            assert!(text.contains("a.csv"), "{text}");
            for word in words {
                assert!(text.contains(word), "{word:?} in {text:?}");
            }
        }
    }

    #[test]
    fn rounding_at_the_rim_is_forgiven_and_brought_back() {
        let table = table(&["pan.pos", "lift.pos"], &[&[100.1, -100.1]]);
        assert_eq!(map(&table, &contract(), 1, "x").unwrap(), [[100.0, -100.0]]);
    }

    #[test]
    fn holding_takes_each_channel_from_the_state_of_that_name() {
        assert_eq!(hold(Some(&[5.0, 7.0]), &contract()).unwrap(), [7.0, 5.0]);
        assert!(hold(None, &contract()).unwrap_err().text().contains("pan.pos"));
        let mut relative = contract();
        relative.actions[0].mode = ChannelMode::Relative;
        relative.actions.truncate(1);
        assert_eq!(hold(None, &relative).unwrap(), [0.0]);
    }
}
