//! Actions and state in the network's numbers.
//!
//! An action that is a place to go to (an absolute joint target) is learnt as the way from where the joint stands now:
//! near the demonstrations the way is what matters, and it has one scale all over the workspace. Every step of the chunk
//! has its own mean and deviation, since later steps lead further away.

use serde::{Deserialize, Serialize};

use crate::contract::{Channel, ChannelMode};

/// Scales of a policy's inputs and outputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// For each action channel the state channel that it is measured from, or none.
    pub base: Vec<Option<usize>>,
    /// Mean of the (relative) actions, step by step: `chunk * actions`.
    pub mean: Vec<f32>,
    /// Their standard deviation, above 0: `chunk * actions`.
    pub std: Vec<f32>,
    /// Mean and standard deviation of each state channel.
    pub state: Vec<[f32; 2]>,
}

/// Scaled numbers are cut here: data has none that large, a broken sensor may.
const MOST: f32 = 8.0;

impl Scaling {
    /// Which state channel each action is measured from: the one of the same name and unit, for absolute actions.
    pub fn bases(actions: &[Channel], state: &[Channel]) -> Vec<Option<usize>> {
        actions
            .iter()
            .map(|action| {
                let same = |s: &Channel| {
                    s.name == action.name && s.unit == action.unit && s.mode == ChannelMode::Absolute
                };
                if action.mode == ChannelMode::Absolute { state.iter().position(same) } else { None }
            })
            .collect()
    }

    /// Scales that change nothing, for `actions` channels that start from no state.
    pub fn unit(actions: usize, state: usize, chunk: usize) -> Self {
        Self {
            base: vec![None; actions],
            mean: vec![0.0; chunk * actions],
            std: vec![1.0; chunk * actions],
            state: vec![[0.0, 1.0]; state],
        }
    }

    /// What makes no sense in it, for chunks of this length.
    pub fn problem(&self, chunk: usize) -> Option<String> {
        let actions = self.base.len();
        if actions == 0 || actions > 256 || self.state.len() > 256 {
            return Some(format!("{actions} action and {} state channels", self.state.len()));
        }
        if self.mean.len() != chunk * actions || self.std.len() != chunk * actions {
            return Some(format!("the scales do not fit a chunk of {chunk} actions of {actions} channels"));
        }
        if self.base.iter().flatten().any(|i| *i >= self.state.len()) {
            return Some("an action starts from a state channel that is not there".into());
        }
        let sane = |v: f32| v.is_finite();
        let stds = self.std.iter().copied().chain(self.state.iter().map(|s| s[1]));
        if !self.mean.iter().copied().all(sane)
            || !self.state.iter().all(|s| sane(s[0]))
            || !stds.into_iter().all(|s| sane(s) && s > 0.0)
        {
            return Some("a scale is not a number, or a deviation is not above 0".into());
        }
        None
    }

    /// Where the actions are measured from when the robot is in this state.
    fn origin(&self, state: &[f32]) -> impl Iterator<Item = f32> {
        let at = |base: &Option<usize>| {
            base.and_then(|i| state.get(i)).copied().filter(|v| v.is_finite()).unwrap_or(0.0)
        };
        self.base.iter().map(at).collect::<Vec<_>>().into_iter()
    }

    /// The actions `rows` relative to `state`, not yet scaled: what means and deviations are computed from.
    pub fn relative(&self, rows: &[Vec<f32>], state: &[f32]) -> Vec<f32> {
        rows.iter().flat_map(|row| row.iter().zip(self.origin(state)).map(|(v, o)| v - o)).collect()
    }

    /// A chunk in the network's numbers: `chunk * actions`.
    pub fn scale_chunk(&self, rows: &[Vec<f32>], state: &[f32]) -> Vec<f32> {
        let scaled = |((v, m), s): ((f32, &f32), &f32)| ((v - m) / s).clamp(-MOST, MOST);
        self.relative(rows, state).into_iter().zip(&self.mean).zip(&self.std).map(scaled).collect()
    }

    /// A chunk in the robot's units, one row an action.
    pub fn chunk(&self, values: &[f32], state: &[f32]) -> Vec<Vec<f32>> {
        let actions = self.base.len().max(1);
        values
            .chunks_exact(actions)
            .zip(self.mean.chunks_exact(actions).zip(self.std.chunks_exact(actions)))
            .map(|(row, (mean, std))| {
                let parts = row.iter().zip(mean).zip(std).zip(self.origin(state));
                parts.map(|(((v, m), s), o)| v.clamp(-MOST, MOST) * s + m + o).collect()
            })
            .collect()
    }

    /// The state in the network's numbers; a channel that is missing or no number is at its mean.
    pub fn scale_state(&self, state: &[f32]) -> Vec<f32> {
        self.state
            .iter()
            .enumerate()
            .map(|(i, [mean, std])| match state.get(i) {
                Some(v) if v.is_finite() => ((v - mean) / std).clamp(-MOST, MOST),
                _ => 0.0,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn channel(name: &str, unit: &str) -> Channel {
        Channel {
            name: name.into(),
            unit: unit.into(),
            min: -1.0,
            max: 1.0,
            mode: ChannelMode::Absolute,
            mean: 0.0,
            std: 1.0,
        }
    }

    #[test]
    fn actions_start_from_the_state_of_their_name_and_unit() {
        let state = [channel("b", "deg"), channel("a", "deg"), channel("c", "mm")];
        let actions = [channel("a", "deg"), channel("c", "m"), channel("b", "deg")];
        assert_eq!(Scaling::bases(&actions, &state), [Some(1), None, Some(0)]);
    }

    #[test]
    fn a_chunk_comes_back_in_its_units() {
        let scaling = Scaling {
            base: vec![Some(1), None],
            mean: vec![1.0, 5.0, 2.0, 5.0],
            std: vec![2.0, 10.0, 4.0, 10.0],
            state: vec![[0.0, 1.0], [10.0, 5.0]],
        };
        assert_eq!(scaling.problem(2), None);
        let (state, rows) = ([3.0, 20.0], vec![vec![25.0, -5.0], vec![30.0, 15.0]]);
        let scaled = scaling.scale_chunk(&rows, &state);
        assert_eq!(scaled, [2.0, -1.0, 2.0, 1.0]);
        assert_eq!(scaling.chunk(&scaled, &state), rows);
        assert_eq!(scaling.scale_state(&[3.0, f32::NAN]), [3.0, 0.0]);
        assert!(scaling.problem(3).unwrap().contains("chunk of 3"));
    }
}
