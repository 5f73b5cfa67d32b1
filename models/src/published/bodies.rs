//! Action channels by robot body: names and units for the numbers that published networks take by position.
//!
//! The order, the number of values and the numbers of the bodies are the publisher's. The publisher gives no ranges;
//! those here only keep out what cannot be meant.

use crate::contract::{Channel, ChannelMode};
use crate::cosmos::pipeline::cosmos3::embodiment::{EMBODIMENTS, Embodiment};

/// A robot body and its channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// Name in the published table.
    pub name: String,
    /// Its channels, in the network's order.
    pub channels: Vec<Channel>,
}

fn channel(name: impl Into<String>, unit: &str, (min, max): (f32, f32), mean: f32) -> Channel {
    Channel { name: name.into(), unit: unit.into(), min, max, mode: ChannelMode::Absolute, mean, std: 1.0 }
}

/// Place (m) and turn (the first two columns of a rotation matrix) of an effector; at rest it does not turn.
fn pose(prefix: &str) -> Vec<Channel> {
    let place = ["x", "y", "z"].map(|axis| channel(format!("{prefix}{axis}"), "m", (-5.0, 5.0), 0.0));
    let turn = (0..6).map(|i| {
        let rest = if i == 0 || i == 4 { 1.0 } else { 0.0 };
        channel(format!("{prefix}rotation_{i}"), "", (-1.0, 1.0), rest)
    });
    place.into_iter().chain(turn).collect()
}

fn gripper(prefix: &str) -> Channel {
    channel(format!("{prefix}gripper"), "", (0.0, 1.0), 0.0)
}

/// Channels of a body of the Cosmos 3 table.
fn of_body(body: Embodiment) -> Vec<Channel> {
    let arm = |prefix: &str| pose(prefix).into_iter().chain([gripper(prefix)]).collect::<Vec<_>>();
    match body.width {
        2 => ["x", "y"].map(|axis| channel(axis, "", (-10.0, 10.0), 0.0)).into(),
        9 => pose(""),
        10 => arm(""),
        20 => arm("left.").into_iter().chain(arm("right.")).collect(),
        // Two hands of fingers or two arms with a head: the published order is kept, single names are not published.
        width => (0..width).map(|i| channel(format!("action_{i}"), "", (-10.0, 10.0), 0.0)).collect(),
    }
}

/// The bodies that a Cosmos 3 network with `width` numbers per action and `domains` bodies can move.
pub fn bodies(width: usize, domains: usize) -> Vec<Body> {
    EMBODIMENTS
        .into_iter()
        .filter(|body| body.width <= width && body.domain < domains)
        .map(|body| Body { name: body.name.to_owned(), channels: of_body(body) })
        .collect()
}

/// Channels of the action-conditioned Predict networks: for seven numbers those of the Bridge recordings, changes of
/// place and turn and the gripper.
pub(super) fn arm(size: usize) -> Vec<Channel> {
    if size != 7 {
        return (0..size).map(|i| channel(format!("action_{i}"), "", (-10.0, 10.0), 0.0)).collect();
    }
    let change = |name: &str, unit: &str, most: f32| Channel {
        mode: ChannelMode::Relative,
        ..channel(name, unit, (-most, most), 0.0)
    };
    vec![
        change("dx", "m", 0.2),
        change("dy", "m", 0.2),
        change("dz", "m", 0.2),
        change("droll", "rad", 1.0),
        change("dpitch", "rad", 1.0),
        change("dyaw", "rad", 1.0),
        gripper(""),
    ]
}

/// What the action-conditioned Predict networks multiply each number by, as their training did.
pub(super) fn arm_scale(size: usize, index: usize) -> f32 {
    if size == 7 && index < 6 { 20.0 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_body_has_as_many_channels_as_numbers_and_no_name_twice() {
        for (body, published) in bodies(64, 32).iter().zip(EMBODIMENTS) {
            assert_eq!((body.name.as_str(), body.channels.len()), (published.name, published.width));
            let names: std::collections::HashSet<_> = body.channels.iter().map(|c| &c.name).collect();
            assert_eq!(names.len(), body.channels.len(), "{}", body.name);
        }
        let names: Vec<String> = bodies(10, 8).into_iter().map(|b| b.name).collect();
        assert_eq!(names, ["av", "camera_pose", "pusht", "umi", "bridge_orig_lerobot"]);
        assert_eq!(arm(7).len(), 7);
    }
}
