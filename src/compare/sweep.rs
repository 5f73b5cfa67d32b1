//! An X/Y sweep: two things varied, a future in every cell, the cheapest first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forerun_models::Contract;
use serde::{Deserialize, Serialize};

use super::words::{short, signed};
use crate::engine::protocol::{Actions, ImagineSpec, JobId, Start};
use crate::failure::Failure;

/// Most cells of a sweep.
pub const MOST_CELLS: usize = 400;

/// One axis: what is varied, and its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "axis", rename_all = "snake_case")]
pub enum Axis {
    /// Words.
    Prompt {
        /// One a place; an empty one is "no words".
        values: Vec<String>,
    },
    /// A channel's way from its start value, stretched: `start + factor * (value - start)`.
    Gain {
        /// Name of the channel.
        channel: String,
        /// Factors; 1 leaves it as it is.
        values: Vec<f32>,
    },
    /// A constant added to a channel.
    Offset {
        /// Name of the channel.
        channel: String,
        /// In the channel's unit; 0 leaves it as it is.
        values: Vec<f32>,
    },
    /// Noise.
    Seed {
        /// Seeds.
        values: Vec<u64>,
    },
    /// Denoising steps a frame.
    Refine {
        /// 1..=8.
        values: Vec<usize>,
    },
    /// Models by name or folder.
    Model {
        /// As `ImagineSpec::model`.
        values: Vec<String>,
    },
    /// Frame of the start (episode, clip, pictures or future) to start from.
    StartFrame {
        /// Frames, counted as the start counts them.
        values: Vec<usize>,
    },
}

impl Axis {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Prompt { values } | Self::Model { values } => values.len(),
            Self::Gain { values, .. } | Self::Offset { values, .. } => values.len(),
            Self::Seed { values } => values.len(),
            Self::Refine { values } | Self::StartFrame { values } => values.len(),
        }
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is varied, in English: `seed`, `elbow_flex.pos offset`.
    pub fn name(&self) -> String {
        match self {
            Self::Prompt { .. } => "prompt".into(),
            Self::Gain { channel, .. } => format!("{channel} gain"),
            Self::Offset { channel, .. } => format!("{channel} offset"),
            Self::Seed { .. } => "seed".into(),
            Self::Refine { .. } => "refine".into(),
            Self::Model { .. } => "model".into(),
            Self::StartFrame { .. } => "start frame".into(),
        }
    }

    /// Label of one place: the value alone, with its unit where `contract` knows it. Empty outside the axis and for
    /// the empty prompt.
    pub fn label(&self, place: usize, contract: Option<&Contract>) -> String {
        let label = match self {
            Self::Prompt { values } => values.get(place).cloned(),
            Self::Model { values } => values.get(place).map(|name| super::gallery::model_name(name)),
            Self::Gain { values, .. } => values.get(place).map(|v| format!("x {}", short(*v))),
            Self::Offset { channel, values } => {
                let known = contract.and_then(|c| c.actions.iter().find(|c| c.name == *channel));
                let unit = known.map(|c| c.unit.as_str()).unwrap_or_default();
                values.get(place).map(|v| format!("{} {unit}", signed(*v)).trim_end().to_owned())
            }
            Self::Seed { values } => values.get(place).map(ToString::to_string),
            Self::Refine { values } | Self::StartFrame { values } => {
                values.get(place).map(ToString::to_string)
            }
        };
        label.unwrap_or_default()
    }

    /// Whether two axes would vary the same thing, so that one would undo the other.
    fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gain { .. }, Self::Offset { .. }) | (Self::Offset { .. }, Self::Gain { .. }) => false,
            (Self::Gain { channel: a, .. }, Self::Gain { channel: b, .. })
            | (Self::Offset { channel: a, .. }, Self::Offset { channel: b, .. }) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    fn channel(&self) -> Option<&str> {
        match self {
            Self::Gain { channel, .. } | Self::Offset { channel, .. } => Some(channel),
            _ => None,
        }
    }
}

/// How far a cell is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CellState {
    /// Not begun.
    #[default]
    Waiting,
    /// A job imagines it.
    Running {
        /// The job.
        job: JobId,
    },
    /// There.
    Done {
        /// Folder of the future (`.../seed-S`).
        folder: PathBuf,
    },
    /// It went wrong.
    Failed {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The person stopped it.
    Cancelled,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Place on the x axis.
    pub x: usize,
    /// Place on the y axis.
    pub y: usize,
    /// What is imagined; its `out` is a folder of its own.
    pub spec: ImagineSpec,
    /// Relative cost: denoising steps times frames times weights.
    pub cost: f64,
    /// A channel's value was brought back into its range somewhere: the cell shows less than its label says.
    pub clamped: bool,
    /// How far it is.
    pub state: CellState,
}

/// A sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Left to right.
    pub x: Axis,
    /// Top to bottom; `None`: one row.
    pub y: Option<Axis>,
    /// Row by row: cell `(x, y)` is number `y * x.len() + x`.
    pub cells: Vec<Cell>,
}

impl Sweep {
    /// Lays out a sweep around `base`. Axes of a channel need `base.actions` to be a track ([`super::follow::as_track`]
    /// makes one of anything) and `contract` to know the channel and its range. `start_state` is the robot's state at the
    /// start by channel name (gains are about it; the track's first row where it is not known). `weights` gives the
    /// number of weights of each model by the name used in the specification; an unknown one counts as the largest.
    ///
    /// # Errors
    /// An empty axis, twice the same thing, too many cells, a value out of range, a start or actions that the axis
    /// cannot vary.
    pub fn new(
        base: &ImagineSpec,
        x: Axis,
        y: Option<Axis>,
        contract: &Contract,
        start_state: &[(String, f32)],
        weights: &BTreeMap<String, u64>,
    ) -> Result<Self, Failure> {
        let rows = y.as_ref().map_or(1, Axis::len);
        let count = x.len().saturating_mul(rows);
        if count == 0 {
            return Err(Failure::new(
                "An axis of the sweep has no values.",
                "Give each axis at least one value.",
            ));
        }
        if count > MOST_CELLS {
            return Err(Failure::new(
                format!("A sweep of {count} futures is too large."),
                format!("Choose fewer values: at most {MOST_CELLS} cells in all."),
            ));
        }
        if y.as_ref().is_some_and(|y| y.clashes(&x)) {
            return Err(Failure::new(
                format!("Both axes of the sweep vary the same thing ({}).", x.name()),
                "Choose another thing for one of them.",
            ));
        }
        let most = weights.values().copied().max().unwrap_or(1).max(1);
        let mut cells = Vec::with_capacity(count);
        for row in 0..rows {
            for column in 0..x.len() {
                let mut spec = base.clone();
                let mut clamped = false;
                // Gains before offsets, whichever axis they are on: an offset is a number that people read off.
                let mut parts: Vec<(&Axis, usize)> = vec![(&x, column)];
                parts.extend(y.as_ref().map(|y| (y, row)));
                parts.sort_by_key(|(axis, _)| matches!(axis, Axis::Offset { .. }));
                for (axis, place) in parts {
                    clamped |= vary(&mut spec, axis, place, contract, start_state)?;
                }
                if spec.seeds.len() > 1 {
                    spec.seeds.truncate(1);
                }
                if let Some(out) = &base.out {
                    spec.out = Some(out.join(format!("x{column:02}-y{row:02}")));
                }
                let size = weights.get(&spec.model).copied().unwrap_or(most);
                let cost = spec.refine as f64 * spec.steps as f64 * size as f64;
                cells.push(Cell { x: column, y: row, spec, cost, clamped, state: CellState::Waiting });
            }
        }
        // One range check for all: gains and offsets may meet.
        for cell in &mut cells {
            cell.clamped |= into_range(&mut cell.spec, contract, x.channel());
            cell.clamped |= into_range(&mut cell.spec, contract, y.as_ref().and_then(Axis::channel));
        }
        Ok(Self { x, y, cells })
    }

    /// Numbers of the cells in the order in which they are imagined: cheapest first; of equal cost those of one model
    /// together, so that it is loaded once; then row by row.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.cells.len()).collect();
        let models: Vec<&str> = {
            let mut models: Vec<&str> = self.cells.iter().map(|c| c.spec.model.as_str()).collect();
            models.sort_unstable();
            models.dedup();
            models
        };
        let key = |i: &usize| {
            self.cells.get(*i).map_or((0.0, 0), |cell| {
                (cell.cost, models.binary_search(&cell.spec.model.as_str()).unwrap_or(0))
            })
        };
        order.sort_by(|a, b| {
            let (a, b) = (key(a), key(b));
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        });
        order
    }

    /// The cell to imagine next; `None` when all have begun.
    pub fn next(&self) -> Option<usize> {
        self.order().into_iter().find(|i| self.cells.get(*i).is_some_and(|c| c.state == CellState::Waiting))
    }

    /// Sets how far a cell is.
    pub fn set(&mut self, cell: usize, state: CellState) {
        if let Some(cell) = self.cells.get_mut(cell) {
            cell.state = state;
        }
    }

    /// The cell that a job imagines.
    pub fn of_job(&self, wanted: JobId) -> Option<usize> {
        self.cells.iter().position(|c| matches!(c.state, CellState::Running { job } if job == wanted))
    }

    /// The cell at a place.
    pub fn at(&self, x: usize, y: usize) -> Option<&Cell> {
        self.cells.iter().find(|c| (c.x, c.y) == (x, y))
    }

    /// Cells that are there, and all.
    pub fn progress(&self) -> (usize, usize) {
        let done = self.cells.iter().filter(|c| matches!(c.state, CellState::Done { .. })).count();
        (done, self.cells.len())
    }

    /// Cells that have not begun become cancelled; the numbers of the jobs that are still to be stopped.
    pub fn cancel(&mut self) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for cell in &mut self.cells {
            match cell.state {
                CellState::Waiting => cell.state = CellState::Cancelled,
                CellState::Running { job } => jobs.push(job),
                _ => {}
            }
        }
        jobs
    }
}

/// Writes one place of an axis into a specification.
fn vary(
    spec: &mut ImagineSpec,
    axis: &Axis,
    place: usize,
    contract: &Contract,
    start_state: &[(String, f32)],
) -> Result<bool, Failure> {
    let missing = || Failure::new("The sweep has no such cell.", "Lay it out again.");
    match axis {
        Axis::Prompt { values } => spec.prompt = values.get(place).ok_or_else(missing)?.clone(),
        Axis::Model { values } => spec.model = values.get(place).ok_or_else(missing)?.clone(),
        Axis::Seed { values } => spec.seeds = vec![*values.get(place).ok_or_else(missing)?],
        Axis::Refine { values } => {
            let refine = *values.get(place).ok_or_else(missing)?;
            if !(1..=8).contains(&refine) {
                return Err(Failure::new(
                    format!("A refinement of {refine} is not possible."),
                    "Choose values from 1 (fast) to 8 (fine).",
                ));
            }
            spec.refine = refine;
        }
        Axis::StartFrame { values } => {
            let frame = *values.get(place).ok_or_else(missing)?;
            match &mut spec.start {
                Start::Episode { at, .. } | Start::Future { at, .. } => *at = frame,
                Start::Files { at, .. } => *at = Some(frame),
                Start::Nothing | Start::Blobs { .. } => {
                    return Err(Failure::new(
                        "This start has no frames to choose from.",
                        "Start from an episode, a clip, several pictures or a future.",
                    ));
                }
            }
        }
        Axis::Gain { channel, values } => {
            let factor = *values.get(place).ok_or_else(missing)?;
            let column = column(spec, channel, contract)?;
            let Actions::Track { rows, .. } = &mut spec.actions else { return Ok(false) };
            let known =
                start_state.iter().find(|(name, v)| name == channel && v.is_finite()).map(|(_, v)| *v);
            let about =
                known.or_else(|| rows.first().and_then(|row| row.get(column)).copied()).unwrap_or(0.0);
            change(rows, column, finite(factor)?, |v, factor| about + factor * (v - about));
        }
        Axis::Offset { channel, values } => {
            let by = *values.get(place).ok_or_else(missing)?;
            let column = column(spec, channel, contract)?;
            let Actions::Track { rows, .. } = &mut spec.actions else { return Ok(false) };
            change(rows, column, finite(by)?, |v, by| v + by);
        }
    }
    Ok(false)
}

fn finite(value: f32) -> Result<f32, Failure> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Failure::new(format!("A sweep cannot use the value {value}."), "Give the axis ordinary numbers."))
}

fn change(rows: &mut [Vec<f32>], column: usize, by: f32, f: impl Fn(f32, f32) -> f32) {
    for value in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
        *value = f(*value, by);
    }
}

/// Column of a channel in a specification's track.
fn column(spec: &ImagineSpec, channel: &str, contract: &Contract) -> Result<usize, Failure> {
    let known = || contract.actions.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ");
    if !contract.actions.iter().any(|c| c.name == channel) {
        return Err(Failure::new(
            format!("The model has no channel {channel}."),
            format!("Choose one of: {}.", known()),
        ));
    }
    match &spec.actions {
        Actions::Track { channels, .. } => {
            channels.iter().position(|name| name == channel).ok_or_else(|| {
                Failure::new(
                    format!("The action track has no channel {channel}."),
                    "Add it to the track, or choose another channel.",
                )
            })
        }
        _ => Err(Failure::new(
            "A channel can only be varied where numbers drive the future.",
            "Give the future an action track, or choose another thing to vary.",
        )),
    }
}

/// Brings a channel's numbers into the contract's range; true when any had to move by more than rounding.
fn into_range(spec: &mut ImagineSpec, contract: &Contract, channel: Option<&str>) -> bool {
    let Some(channel) = channel.and_then(|name| contract.actions.iter().find(|c| c.name == name)) else {
        return false;
    };
    let Actions::Track { channels, rows } = &mut spec.actions else { return false };
    let Some(column) = channels.iter().position(|name| *name == channel.name) else { return false };
    let slack = (channel.max - channel.min) * 1e-3;
    let mut moved = false;
    for value in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
        let kept = value.clamp(channel.min, channel.max);
        moved |= (kept - *value).abs() > slack;
        *value = kept;
    }
    moved
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
