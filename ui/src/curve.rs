//! One channel over the steps of a future: keys with values, held or joined by straight lines.

use serde::{Deserialize, Serialize};

/// How a curve gets from one key to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Joint {
    /// The value stays until the next key.
    Hold,
    /// A straight line to the next key.
    #[default]
    Linear,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// Identity that survives moving and sorting (drags follow it).
    pub id: u64,
    /// Step, counted from 0.
    pub step: usize,
    /// Value in the channel's unit.
    pub value: f32,
}

/// A channel's values over the steps; keys are sorted by step and no two share one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// How values get from key to key.
    #[serde(default)]
    pub joint: Joint,
    keys: Vec<Key>,
    #[serde(default)]
    next_id: u64,
}

impl Curve {
    /// A curve that has `value` everywhere.
    pub fn constant(value: f32) -> Self {
        let mut curve = Self::default();
        curve.set(0, value);
        curve
    }

    /// The keys, sorted by step.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key with this identity.
    pub fn key(&self, id: u64) -> Option<&Key> {
        self.keys.iter().find(|k| k.id == id)
    }

    /// The value at `step`; before the first key its value, after the last key its value; `None` without keys.
    pub fn at(&self, step: usize) -> Option<f32> {
        let after = self.keys.partition_point(|k| k.step <= step);
        let before = after.checked_sub(1).and_then(|i| self.keys.get(i));
        match (before, self.keys.get(after)) {
            (None, None) => None,
            (Some(key), None) | (None, Some(key)) => Some(key.value),
            (Some(a), Some(b)) => Some(match self.joint {
                Joint::Hold => a.value,
                Joint::Linear => {
                    let part = (step - a.step) as f32 / (b.step - a.step) as f32;
                    a.value + (b.value - a.value) * part
                }
            }),
        }
    }

    /// Sets the value at `step`: changes the key that is there or adds one. Returns the key's identity.
    pub fn set(&mut self, step: usize, value: f32) -> u64 {
        let at = self.keys.partition_point(|k| k.step < step);
        if let Some(key) = self.keys.get_mut(at).filter(|k| k.step == step) {
            key.value = value;
            return key.id;
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.keys.insert(at, Key { id, step, value });
        id
    }

    /// Moves a key. It stops short of a step that another key holds: keys never swallow each other in a drag.
    pub fn move_key(&mut self, id: u64, step: usize, value: f32) {
        let Some(at) = self.keys.iter().position(|k| k.id == id) else { return };
        let lower = at.checked_sub(1).and_then(|i| self.keys.get(i)).map_or(0, |k| k.step + 1);
        let upper = self.keys.get(at + 1).map_or(usize::MAX, |k| k.step.saturating_sub(1));
        if let Some(key) = self.keys.get_mut(at) {
            key.step = step.clamp(lower, upper.max(lower));
            key.value = value;
        }
    }

    /// Removes a key; the last one stays, since a curve without keys says nothing.
    pub fn remove(&mut self, id: u64) {
        if self.keys.len() > 1 {
            self.keys.retain(|k| k.id != id);
        }
    }

    /// Keeps all keys inside `0..steps` and `min..=max`.
    pub fn clamp(&mut self, steps: usize, min: f32, max: f32) {
        let first = self.keys.first().copied();
        self.keys.retain(|k| k.step < steps.max(1));
        if let (true, Some(key)) = (self.keys.is_empty(), first) {
            self.keys.push(Key { step: 0, ..key });
        }
        for key in &mut self.keys {
            key.value = if key.value.is_finite() { key.value.clamp(min, max) } else { min };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ramp() -> Curve {
        let mut c = Curve::constant(10.0);
        c.set(10, 30.0);
        c
    }

    #[test]
    fn joins_keys_and_holds_the_ends() {
        let mut c = ramp();
        assert_eq!([0, 5, 10, 99].map(|s| c.at(s).unwrap()), [10.0, 20.0, 30.0, 30.0]);
        c.joint = Joint::Hold;
        assert_eq!([0, 9, 10].map(|s| c.at(s).unwrap()), [10.0, 10.0, 30.0]);
        let mut late = Curve::default();
        assert_eq!(late.at(3), None);
        late.set(7, 1.5);
        assert_eq!(late.at(0), Some(1.5));
    }

    #[test]
    fn setting_a_taken_step_changes_its_key() {
        let mut c = ramp();
        let id = c.set(10, 5.0);
        assert_eq!(c.keys().len(), 2);
        assert_eq!(c.key(id).unwrap().value, 5.0);
    }

    #[test]
    fn a_dragged_key_stops_at_its_neighbours() {
        let mut c = ramp();
        let middle = c.set(5, 0.0);
        c.move_key(middle, 50, 1.0);
        assert_eq!(c.key(middle).unwrap().step, 9);
        c.move_key(middle, 0, 1.0);
        assert_eq!(c.key(middle).unwrap().step, 1);
        assert!(c.keys().windows(2).all(|w| w[0].step < w[1].step));
    }

    #[test]
    fn the_last_key_cannot_be_removed() {
        let mut c = ramp();
        for id in c.keys().iter().map(|k| k.id).collect::<Vec<_>>() {
            c.remove(id);
        }
        assert_eq!(c.keys().len(), 1);
    }

    #[test]
    fn clamping_heals_everything() {
        let mut c = Curve::default();
        c.set(30, f32::NAN);
        c.set(40, 1e9);
        c.clamp(20, -1.0, 1.0);
        assert_eq!(c.keys().len(), 1);
        assert_eq!((c.keys()[0].step, c.keys()[0].value), (0, -1.0));
    }

    #[test]
    fn survives_a_round_trip_through_its_file() {
        let c = ramp();
        let text = serde_json::to_string(&c).unwrap();
        assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), c);
    }
}
