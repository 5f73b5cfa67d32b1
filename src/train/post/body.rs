//! From the base's body to the one in the data: channels are matched by name and unit, never by place.

use forerun_models::dreamer::CHANNEL_SLOTS;
use forerun_models::dreamer::adapt::SlotPlan;
use forerun_models::{Channel, Contract};

use crate::train::Channels;

/// How the new model's channels relate to the base's.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Channels of the run: those of the data, in their order, then those that only the base has (for its own
    /// episodes, which are replayed against forgetting).
    pub channels: Channels,
    /// How many action channels are the data's: the new contract's.
    pub actions: usize,
    /// How many state channels are the data's.
    pub state: usize,
    /// Where the weights of each come from.
    pub plan: SlotPlan,
    /// Names of channels that the base has never seen.
    pub fresh: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What the names of channels end in that only the base has: the data may have others of the same name.
pub(super) const PARKED: &str = " (base)";

/// How much further than the base's range a channel without a unit may reach and still be taken for the same.
const LIKE: f32 = 0.6;
/// How much further than the base's range (share of it) data may reach before the scale changes.
const ROOM: f32 = 0.02;

impl Body {
    /// Matches the data's channels with the base's.
    pub fn of(base: &Contract, data: Channels) -> Self {
        let mut notes = Vec::new();
        let mut fresh = Vec::new();
        let mut list = |kind: &str, known: &[Channel], found: Vec<Channel>| {
            let mut plan = Vec::new();
            let mut channels = Vec::new();
            for channel in found {
                let from = known.iter().position(|old| old.name == channel.name);
                let old = from.and_then(|at| known.get(at));
                match old.map(|old| (old, same_unit(old, &channel))) {
                    Some((old, Unit::Same)) => {
                        channels.push(scaled_like(kind, old, channel, &mut notes));
                        plan.push(from);
                    }
                    Some((old, Unit::Assumed)) => {
                        let unit = &old.unit;
                        notes.push(format!(
                            "{kind} channel {} has no unit; its range fits the base's, so it is taken for {unit}",
                            channel.name
                        ));
                        let channel = Channel { unit: unit.clone(), ..channel };
                        channels.push(scaled_like(kind, old, channel, &mut notes));
                        plan.push(from);
                    }
                    Some((old, Unit::Other)) => {
                        notes.push(format!(
                            "{kind} channel {} is {} here and {} in the base: it is learnt as a new one",
                            channel.name,
                            shown(&channel),
                            shown(old)
                        ));
                        fresh.push(channel.name.clone());
                        channels.push(channel);
                        plan.push(None);
                    }
                    None => {
                        fresh.push(channel.name.clone());
                        channels.push(channel);
                        plan.push(None);
                    }
                }
            }
            let count = channels.len();
            for (at, old) in known.iter().enumerate() {
                if !plan.contains(&Some(at)) && channels.len() < CHANNEL_SLOTS {
                    channels.push(Channel { name: format!("{}{PARKED}", old.name), ..old.clone() });
                    plan.push(Some(at));
                }
            }
            (channels, plan, count)
        };
        let (actions, action_plan, action_count) = list("action", &base.actions, data.actions);
        let (state, state_plan, state_count) = list("state", &base.state, data.state);
        fresh.sort();
        fresh.dedup();
        if !fresh.is_empty() {
            notes.push(format!("new to the base, with fresh inputs: {}", fresh.join(", ")));
        }
        // Another set of actions is another body: the network tells them apart by more than which inputs are silent.
        let new_body =
            action_plan.iter().take(action_count).any(Option::is_none) || action_plan.len() > action_count;
        Self {
            channels: Channels { actions, state },
            actions: action_count,
            state: state_count,
            plan: SlotPlan { actions: action_plan, state: state_plan, new_body },
            fresh,
            notes,
        }
    }
}

enum Unit {
    Same,
    Assumed,
    Other,
}

/// A unit as people write it, in one spelling.
fn spelling(unit: &str) -> String {
    let unit = unit.trim().to_lowercase();
    match unit.as_str() {
        "deg" | "degree" | "degrees" | "°" => "deg".into(),
        "rad" | "radian" | "radians" => "rad".into(),
        "%" | "percent" => "%".into(),
        "px" | "pixel" | "pixels" => "px".into(),
        "m" | "meter" | "meters" | "metre" | "metres" => "m".into(),
        _ => unit,
    }
}

fn same_unit(old: &Channel, new: &Channel) -> Unit {
    if old.mode != new.mode {
        return Unit::Other;
    }
    let (a, b) = (spelling(&old.unit), spelling(&new.unit));
    if a == b {
        return Unit::Same;
    }
    if !b.is_empty() {
        return Unit::Other;
    }
    let span = old.max - old.min;
    let inside = new.min >= old.min - span * LIKE && new.max <= old.max + span * LIKE;
    // Radians would lie within any range of degrees, on a small part of it.
    let wide = new.max - new.min >= span * 0.1;
    if inside && wide { Unit::Assumed } else { Unit::Other }
}

fn shown(channel: &Channel) -> String {
    let unit = if channel.unit.is_empty() { "without a unit" } else { &channel.unit };
    format!("{unit} ({:.0} to {:.0})", channel.min, channel.max)
}

/// The data's channel on the base's scale, which its weights are used to; on a wider one where the data needs it.
fn scaled_like(kind: &str, old: &Channel, new: Channel, notes: &mut Vec<String>) -> Channel {
    let room = (old.max - old.min) * ROOM;
    let (min, max) = (new.min.min(old.min), new.max.max(old.max));
    if new.min >= old.min - room && new.max <= old.max + room {
        return Channel { min: old.min, max: old.max, ..new };
    }
    notes.push(format!(
        "{kind} channel {} reaches from {:.0} to {:.0} here, the base knows {:.0} to {:.0}: its scale changes",
        new.name, new.min, new.max, old.min, old.max
    ));
    Channel { min, max, ..new }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use forerun_models::{ChannelMode, FrameSpec};

    fn channel(name: &str, unit: &str, min: f32, max: f32) -> Channel {
        let (mode, mean, std) = (ChannelMode::Absolute, 0.0, 1.0);
        Channel { name: name.into(), unit: unit.into(), min, max, mode, mean, std }
    }

    fn base() -> Contract {
        let joints = vec![channel("pan", "deg", -110.0, 110.0), channel("grip", "%", 0.0, 100.0)];
        Contract {
            format: 1,
            name: "base".into(),
            family: "dreamer".into(),
            frame: FrameSpec { width: 32, height: 32, rate_hz: 10.0, history: 8, fit: Default::default() },
            actions: joints.clone(),
            state: joints,
            text: false,
            knows: String::new(),
            embodiment: String::new(),
            licence: String::new(),
            familiar_residual: None,
            vocabulary: vec![],
        }
    }

    fn body(actions: Vec<Channel>) -> Body {
        Body::of(&base(), Channels { actions, state: vec![] })
    }

    #[test]
    fn another_order_is_the_same_body() {
        let found = body(vec![channel("grip", "percent", 1.0, 90.0), channel("pan", "degrees", -60.0, 60.0)]);
        assert_eq!(found.plan.actions, [Some(1), Some(0)]);
        assert!(!found.plan.new_body && found.fresh.is_empty() && found.notes.is_empty());
        assert_eq!(found.channels.actions[1].max, 110.0, "the base's scale is kept");
        assert_eq!((found.actions, found.state), (2, 0));
        // What only the base has comes behind.
        assert_eq!(found.plan.state, [Some(0), Some(1)]);
    }

    #[test]
    fn new_channels_come_first_and_the_base_keeps_its_own_behind() {
        let found = body(vec![channel("x", "px", 0.0, 512.0), channel("y", "px", 0.0, 512.0)]);
        assert_eq!(found.plan.actions, [None, None, Some(0), Some(1)]);
        assert_eq!((found.actions, found.plan.new_body), (2, true));
        assert_eq!(found.channels.actions[3].name, "grip (base)");
        assert_eq!(found.fresh, ["x", "y"]);
    }

    #[test]
    fn another_unit_is_another_channel_and_no_unit_is_taken_by_its_range() {
        let radians = body(vec![channel("pan", "rad", -2.0, 2.0)]);
        assert_eq!(radians.plan.actions[0], None);
        assert!(radians.notes.iter().any(|n| n.contains("rad") && n.contains("deg")), "{:?}", radians.notes);
        let assumed = body(vec![channel("pan", "", -100.0, 100.0)]);
        assert_eq!(assumed.plan.actions[0], Some(0));
        assert_eq!(assumed.channels.actions[0].unit, "deg");
        assert!(assumed.notes[0].contains("no unit"));
        // Radians without a unit are not degrees.
        assert_eq!(body(vec![channel("pan", "", -2.0, 2.0)]).plan.actions[0], None);
    }

    #[test]
    fn a_wider_range_widens_the_scale_and_says_so() {
        let wide = body(vec![channel("pan", "deg", -170.0, 60.0)]);
        let pan = &wide.channels.actions[0];
        assert_eq!((pan.min, pan.max), (-170.0, 110.0));
        assert!(wide.notes[0].contains("scale changes"));
    }
}
