//! A dataset as it should have been recorded: corrections that are applied when it is read. The person's files stay
//! as they are.

use serde::{Deserialize, Serialize};

use crate::dataset::{Episode, Matrix};

/// The newest `format` of a view that this version reads.
pub const VIEW_FORMAT: u32 = 1;

/// A channel's numbers in another unit: `value * factor + offset`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitFix {
    /// Name of the channel.
    pub channel: String,
    /// The unit afterwards.
    pub unit: String,
    /// Factor.
    pub factor: f32,
    /// Added after the factor.
    pub offset: f32,
}

/// Corrections to one dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct View {
    /// Version of this description.
    pub format: u32,
    /// Frames by which actions lie too late in the table: row `t` should hold what row `t + action_lag` holds.
    pub action_lag: i32,
    /// The same for the state: row `t` should hold what row `t + state_lag` holds.
    pub state_lag: i32,
    /// Action and state channels that carry nothing, by name.
    pub without: Vec<String>,
    /// Channels in another unit.
    pub units: Vec<UnitFix>,
    /// Action channels that are changes, not targets.
    pub relative: Vec<String>,
    /// Episodes that are left out, by number.
    pub leave_out: Vec<usize>,
    /// Episodes that are kept for judging, by number; empty: the last ones.
    pub hold_out: Vec<usize>,
    /// The camera to look through; empty: the first that can be read.
    pub camera: String,
}

impl View {
    /// Whether it changes nothing.
    pub fn is_plain(&self) -> bool {
        Self { format: 0, ..self.clone() } == Self::default()
    }

    /// Both corrections: lags add up, lists are joined, the other's camera wins where it names one.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.format = VIEW_FORMAT;
        self.action_lag += other.action_lag;
        self.state_lag += other.state_lag;
        join(&mut self.without, &other.without);
        join(&mut self.relative, &other.relative);
        join(&mut self.leave_out, &other.leave_out);
        join(&mut self.hold_out, &other.hold_out);
        self.units.retain(|unit| other.units.iter().all(|new| new.channel != unit.channel));
        self.units.extend(other.units.iter().cloned());
        if !other.camera.is_empty() {
            self.camera.clone_from(&other.camera);
        }
        self
    }

    /// The numbers of an episode as they should be.
    pub fn mend(&self, mut episode: Episode) -> Episode {
        for (key, lag) in [("action", self.action_lag), ("observation.state", self.state_lag)] {
            if let Some(matrix) = episode.columns.remove(key) {
                let mended = self.matrix(&matrix, lag);
                episode.columns.insert(key.into(), mended);
            }
        }
        episode
    }

    fn matrix(&self, matrix: &Matrix, lag: i32) -> Matrix {
        let kept: Vec<usize> = (0..matrix.width())
            .filter(|i| matrix.channels.get(*i).is_some_and(|c| !self.without.contains(&c.name)))
            .collect();
        let rows = matrix.rows();
        let mut values = Vec::with_capacity(rows * kept.len());
        for t in 0..rows {
            // Beyond an end the nearest row is held.
            let from = (t as i64 + i64::from(lag)).clamp(0, rows as i64 - 1) as usize;
            let row = matrix.row(from);
            for i in &kept {
                let value = row.get(*i).copied().unwrap_or(f32::NAN);
                let fix = matrix.channels.get(*i).and_then(|c| self.unit_of(&c.name));
                values.push(fix.map_or(value, |fix| value * fix.factor + fix.offset));
            }
        }
        let channels = kept
            .iter()
            .filter_map(|i| matrix.channels.get(*i).cloned())
            .map(|mut channel| {
                if let Some(fix) = self.unit_of(&channel.name) {
                    channel.unit.clone_from(&fix.unit);
                }
                channel
            })
            .collect();
        Matrix { channels, values }
    }

    fn unit_of(&self, name: &str) -> Option<&UnitFix> {
        self.units.iter().find(|fix| fix.channel == name)
    }
}

fn join<T: Clone + PartialEq>(to: &mut Vec<T>, from: &[T]) {
    for item in from {
        if !to.contains(item) {
            to.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dataset::ChannelInfo;

    fn episode() -> Episode {
        let matrix = |from: f32| Matrix {
            channels: vec![ChannelInfo::new("a.pos", ""), ChannelInfo::new("b.pos", "rad")],
            values: (0..5).flat_map(|t| [from + t as f32, 1.0]).collect(),
        };
        let columns =
            [("action".to_owned(), matrix(10.0)), ("observation.state".to_owned(), matrix(0.0))].into();
        let (task, tasks, texts) = (String::new(), vec![], [].into());
        Episode { index: 0, length: 5, task, tasks, columns, texts }
    }

    #[test]
    fn a_lag_moves_actions_and_nothing_else() {
        let mended = View { action_lag: 2, ..View::default() }.mend(episode());
        let first = |m: &Matrix| (0..5).map(|t| m.row(t)[0]).collect::<Vec<_>>();
        assert_eq!(first(mended.actions().unwrap()), [12.0, 13.0, 14.0, 14.0, 14.0]);
        assert_eq!(first(mended.state().unwrap()), [0.0, 1.0, 2.0, 3.0, 4.0]);
        let early = View { action_lag: -1, ..View::default() }.mend(episode());
        assert_eq!(first(early.actions().unwrap()), [10.0, 10.0, 11.0, 12.0, 13.0]);
    }

    #[test]
    fn units_change_and_channels_go() {
        let unit = UnitFix { channel: "b.pos".into(), unit: "deg".into(), factor: 57.295_78, offset: 0.0 };
        let view = View { without: vec!["a.pos".into()], units: vec![unit], ..View::default() };
        let mended = view.mend(episode());
        let action = mended.actions().unwrap();
        assert_eq!((action.width(), action.rows()), (1, 5));
        assert_eq!((action.channels[0].unit.as_str(), action.row(3)[0]), ("deg", 57.295_78));
    }

    #[test]
    fn corrections_add_up() {
        let a = View { action_lag: 2, leave_out: vec![1], ..View::default() };
        let b = View { action_lag: 1, leave_out: vec![1, 3], camera: "top".into(), ..View::default() };
        let both = a.and(&b);
        assert_eq!(
            (both.action_lag, both.leave_out.as_slice(), both.camera.as_str()),
            (3, &[1, 3][..], "top")
        );
        assert!(View { format: 1, ..View::default() }.is_plain() && !both.is_plain());
    }
}
