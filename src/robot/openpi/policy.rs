//! A policy folder as a service: observations by the usual names in, chunks out.

use std::sync::{Arc, Mutex, PoisonError};

use forerun_models::policy::{Draw, Policy, Seen};

use super::array::Array;
use super::msgpack::Value;
use super::server::{Service, Session};
use crate::Frame;
use crate::engine::fit::fit_for;

/// A policy that is served.
pub struct PolicyService {
    policy: Policy,
    name: String,
    /// One plan at a time: two would share the processor and both be late.
    turn: Mutex<()>,
}

impl PolicyService {
    /// Serves this policy.
    pub fn new(policy: Policy) -> Self {
        let name = policy.contract().name.clone();
        Self { policy, name, turn: Mutex::new(()) }
    }

    fn names(channels: &[forerun_models::Channel]) -> Value {
        let one = |c: &forerun_models::Channel| {
            Value::map([("name", Value::text(c.name.clone())), ("unit", Value::text(c.unit.clone()))])
        };
        Value::List(channels.iter().map(one).collect())
    }
}

impl Service for PolicyService {
    fn metadata(&self) -> Value {
        let c = self.policy.contract();
        let size = [c.frame.height, c.frame.width].map(|n| Value::Int(n as i64));
        Value::map([
            ("policy", Value::text(self.name.clone())),
            ("server", Value::text(format!("forerun {}", env!("CARGO_PKG_VERSION")))),
            ("embodiment", Value::text(c.embodiment.clone())),
            ("action_channels", Self::names(&c.actions)),
            ("state_channels", Self::names(&c.state)),
            ("rate_hz", Value::Float(f64::from(c.frame.rate_hz))),
            ("image_size", Value::List(size.to_vec())),
            ("text", Value::Bool(c.text)),
            ("weights_sha256", Value::text(self.policy.sha256())),
        ])
    }

    fn session(self: Arc<Self>) -> Box<dyn Session> {
        Box::new(Conversation { service: self, start: None, before: None, prompt: None })
    }
}

/// What a client has shown so far: a task begins with its first picture, and again when its words change.
struct Conversation {
    service: Arc<PolicyService>,
    start: Option<Frame>,
    before: Option<Frame>,
    prompt: Option<String>,
}

/// All values of an observation with their names; maps inside of maps are joined by `/`.
fn flat<'v>(value: &'v Value, prefix: &str, out: &mut Vec<(String, &'v Value)>) {
    let Value::Map(pairs) = value else { return };
    for (key, value) in pairs {
        let Some(key) = key.as_key() else { continue };
        let name = if prefix.is_empty() { key } else { format!("{prefix}/{key}") };
        if matches!(value, Value::Map(_)) && !Array::is_array(value) {
            flat(value, &name, out);
        } else {
            out.push((name, value));
        }
    }
}

/// The picture that the policy looks at: the only one, or the one of the front or outer camera.
fn picture(parts: &[(String, &Value)]) -> Result<Frame, String> {
    let mut found = Vec::new();
    for (name, value) in parts.iter().filter(|(_, v)| Array::is_array(v)) {
        let array = Array::decode(value).map_err(|e| format!("{name}: {e}"))?;
        if let Some(frame) = array.as_picture() {
            found.push((name.as_str(), frame));
        }
    }
    if found.len() > 1 {
        let rank = |name: &str| {
            let outer = ["front", "exterior", "high", "base", "top"];
            (name.contains("wrist"), !outer.iter().any(|o| name.contains(o)))
        };
        found.sort_by_key(|(name, _)| rank(name));
    }
    let names = || parts.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
    found.into_iter().next().map(|(_, frame)| frame).ok_or_else(|| {
        format!(
            "no picture was found: it must be uint8 [height, width, 3] or [3, height, width]; there are {}",
            names()
        )
    })
}

fn state(parts: &[(String, &Value)], wanted: usize, names: &str) -> Result<Vec<f32>, String> {
    if wanted == 0 {
        return Ok(Vec::new());
    }
    let read = |wanted: &[&str]| -> Result<Option<Vec<f64>>, String> {
        let found = parts.iter().find(|(name, _)| wanted.contains(&name.as_str()));
        let array = found.map(|(name, value)| Array::decode(value).map_err(|e| format!("{name}: {e}")));
        Ok(array.transpose()?.map(|a| a.numbers()))
    };
    let mut row = read(&["state", "observation/state", "observation.state"])?;
    if row.is_none() {
        row = read(&["observation/joint_position"])?;
        if let (Some(row), Some(grip)) = (&mut row, read(&["observation/gripper_position"])?) {
            row.extend(grip);
        }
    }
    let row = row.ok_or_else(|| format!("no state was found: give \"state\" with {names}"))?;
    if row.len() != wanted {
        return Err(format!("the state has {} numbers; this policy takes {wanted}: {names}", row.len()));
    }
    if row.iter().any(|v| !v.is_finite()) {
        return Err("the state has a number that is not finite".into());
    }
    Ok(row.into_iter().map(|v| v as f32).collect())
}

impl Session for Conversation {
    fn answer(&mut self, observation: &Value) -> Result<Value, String> {
        let contract = self.service.policy.contract();
        let mut parts = Vec::new();
        flat(observation, "", &mut parts);
        let seen = picture(&parts)?;
        let now = fit_for(&seen, &contract.frame).map_err(|e| e.text())?.frame;
        let named = |c: &forerun_models::Channel| format!("{} in {}", c.name, c.unit);
        let names = contract.state.iter().map(named).collect::<Vec<_>>().join(", ");
        let state = state(&parts, contract.state.len(), &names)?;
        let words = parts.iter().find(|(n, _)| matches!(n.as_str(), "prompt" | "task"));
        let prompt = words.and_then(|(_, v)| v.as_text()).map(str::to_owned).filter(|t| !t.trim().is_empty());
        if prompt != self.prompt {
            (self.start, self.before) = (None, None);
            self.prompt.clone_from(&prompt);
        }
        let start = self.start.get_or_insert_with(|| now.clone());
        let before = self.before.as_ref().unwrap_or(&now);
        let moment = Seen {
            now: &now,
            before: Some(before),
            start: Some(start),
            goal: None,
            state: &state,
            prompt: prompt.as_deref(),
        };
        let rows = {
            let _turn = self.service.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let mut chunks =
                self.service.policy.plan(&[moment], &[vec![Draw::MEAN]]).map_err(|e| e.to_string())?;
            chunks.pop().and_then(|mut of| of.pop()).ok_or("the policy gave no actions")?
        };
        self.before = Some(now);
        Ok(Value::map([("actions", Array::rows(&rows).encode())]))
    }
}
