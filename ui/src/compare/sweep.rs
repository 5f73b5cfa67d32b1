//! A sweep as it is set up and imagined: two axes as text, the laid-out grid, the cell that is being imagined.

use forerun::compare::sweep::{Axis, Cell, CellState, Sweep};

use super::Source;

/// What can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumIter)]
pub enum AxisKind {
    /// No second axis.
    Nothing,
    /// The noise.
    Seed,
    /// The words.
    Prompt,
    /// Denoising steps a frame.
    Refine,
    /// The model.
    Model,
    /// The frame to start from.
    StartFrame,
    /// A channel's way from its start value, stretched.
    Gain,
    /// A constant added to a channel.
    Offset,
}

impl AxisKind {
    /// Whether it varies a channel.
    pub fn has_channel(self) -> bool {
        matches!(self, Self::Gain | Self::Offset)
    }

    /// Values to begin with. `prompt` and `model` are those that are set up.
    pub fn example(self, prompt: &str, model: &str) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Seed => "1..4".to_owned(),
            Self::Prompt => prompt.to_owned(),
            Self::Refine => "1, 2, 4".to_owned(),
            Self::Model => model.to_owned(),
            Self::StartFrame => "0, 5, 10".to_owned(),
            Self::Gain => "0.5, 1, 1.5".to_owned(),
            Self::Offset => "-10, 0, 10".to_owned(),
        }
    }
}

/// One of the two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Left to right.
    X,
    /// Top to bottom.
    Y,
}

/// An axis as a person writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisText {
    /// What is varied.
    pub kind: AxisKind,
    /// Channel, where the kind has one.
    pub channel: String,
    /// Values as text.
    pub values: String,
}

impl AxisText {
    /// Reads the values; `None` when there is nothing usable, and for the kind without values.
    pub fn read(&self) -> Option<Axis> {
        let channel = self.channel.clone();
        let axis = match self.kind {
            AxisKind::Nothing => return None,
            AxisKind::Seed => Axis::Seed { values: whole(&self.values)? },
            AxisKind::StartFrame => Axis::StartFrame { values: indices(&self.values)? },
            AxisKind::Refine => Axis::Refine { values: indices(&self.values)? },
            AxisKind::Gain => Axis::Gain { channel, values: numbers(&self.values)? },
            AxisKind::Offset => Axis::Offset { channel, values: numbers(&self.values)? },
            AxisKind::Prompt => Axis::Prompt { values: words(&self.values) },
            AxisKind::Model => Axis::Model { values: words(&self.values) },
        };
        (!axis.is_empty()).then_some(axis)
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(['|', '｜']).map(|w| w.trim().to_owned()).collect()
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', '，', '、', ' ']).map(str::trim).filter(|p| !p.is_empty())
}

fn numbers(text: &str) -> Option<Vec<f32>> {
    parts(text).map(|p| p.parse().ok().filter(|v: &f32| v.is_finite())).collect()
}

/// `1, 4, 10..12` as numbers; a range has its last number in it.
fn whole(text: &str) -> Option<Vec<u64>> {
    let mut out = Vec::new();
    for part in parts(text) {
        match part.split_once("..") {
            Some((from, to)) => {
                let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
                if to < from || to - from > 400 {
                    return None;
                }
                out.extend(from..=to);
            }
            None => out.push(part.parse().ok()?),
        }
    }
    Some(out)
}

fn indices(text: &str) -> Option<Vec<usize>> {
    whole(text)?.into_iter().map(|v| usize::try_from(v).ok()).collect()
}

/// The sweep of the screen.
#[derive(Clone, Debug)]
pub struct SweepState {
    x: AxisText,
    y: AxisText,
    /// The grid, once it is laid out.
    pub laid: Option<Sweep>,
    /// Pictures that go beside each request.
    pub blobs: Vec<Vec<u8>>,
    /// Why it could not be laid out.
    pub trouble: Option<String>,
    /// Whether it is being laid out.
    pub laying: bool,
}

impl Default for SweepState {
    fn default() -> Self {
        let axis = |kind: AxisKind| AxisText { kind, channel: String::new(), values: kind.example("", "") };
        Self {
            x: axis(AxisKind::Seed),
            y: axis(AxisKind::Refine),
            laid: None,
            blobs: Vec::new(),
            trouble: None,
            laying: false,
        }
    }
}

impl SweepState {
    /// An axis.
    pub fn axis(&self, which: Which) -> &AxisText {
        if which == Which::X { &self.x } else { &self.y }
    }

    /// An axis.
    pub fn axis_mut(&mut self, which: Which) -> &mut AxisText {
        if which == Which::X { &mut self.x } else { &mut self.y }
    }

    /// Whether cells are still to come.
    pub fn running(&self) -> bool {
        self.laying
            || self.laid.as_ref().is_some_and(|s| {
                s.cells.iter().any(|c| matches!(c.state, CellState::Waiting | CellState::Running { .. }))
            })
    }

    /// Futures that are there, in the order of the grid.
    pub fn sources(&self) -> Vec<Source> {
        let done = |c: &&Cell| matches!(c.state, CellState::Done { .. });
        self.laid.iter().flat_map(|s| &s.cells).filter(done).filter_map(source_of).collect()
    }
}

/// The name by which panes know the future of a cell.
pub fn source_of(cell: &Cell) -> Option<Source> {
    let seed = *cell.spec.seeds.first()?;
    Some(Source::Future { folder: cell.spec.out.as_ref()?.join(format!("seed-{seed}")), seed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: AxisKind, values: &str) -> Option<Axis> {
        AxisText { kind, channel: "elbow".into(), values: values.into() }.read()
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(read(AxisKind::Seed, "1, 4，7..9"), Some(Axis::Seed { values: vec![1, 4, 7, 8, 9] }));
        assert_eq!(
            read(AxisKind::Offset, "-10 0 2.5"),
            Some(Axis::Offset { channel: "elbow".into(), values: vec![-10.0, 0.0, 2.5] })
        );
        let two = Some(Axis::Prompt { values: vec!["push left".into(), "推到左邊".into()] });
        assert_eq!(read(AxisKind::Prompt, "push left | 推到左邊"), two);
    }

    #[test]
    fn nonsense_is_no_axis() {
        for (kind, text) in [
            (AxisKind::Seed, "x"),
            (AxisKind::Seed, ""),
            (AxisKind::Seed, "9..1"),
            (AxisKind::Seed, "1..99999999999"),
            (AxisKind::Gain, "NaN"),
            (AxisKind::Refine, "-1"),
            (AxisKind::Nothing, "1"),
        ] {
            assert_eq!(read(kind, text), None, "{kind:?} {text}");
        }
    }
}
