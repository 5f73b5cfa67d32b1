//! What the register tokens of a frame are read for: object and gripper pose, contact, progress, success, the
//! robot's next state, and the action that must have been taken (inverse dynamics).

use super::config::CHANNEL_SLOTS;

/// Colours that objects of the virtual world come in; each has its own slot of read-outs, so that "the red
/// one" is always found in the same place.
pub const OBJECT_COLOURS: [&str; 6] = ["red", "green", "blue", "yellow", "purple", "cyan"];

/// Numbers that describe one object: whether it is there (logit) and its position in metres.
pub const OBJECT_VALUES: [&str; 4] = ["present", "x", "y", "z"];

/// Names of all read-outs of the virtual world `tabletop`, in order.
///
/// `red.present` (logit), `red.x/y/z` (metres, world frame) for each colour, `gripper.x/y/z` (metres),
/// `contact`, `success` (logits) and `progress` (0..1).
pub fn tabletop_readings() -> Vec<String> {
    let mut names = Vec::new();
    for colour in OBJECT_COLOURS {
        names.extend(OBJECT_VALUES.iter().map(|value| format!("{colour}.{value}")));
    }
    names.extend(["gripper.x", "gripper.y", "gripper.z", "contact", "success", "progress"].map(String::from));
    names
}

/// Whether a read-out is a yes-or-no one: its output is a logit, its loss a cross entropy.
pub fn is_logit(name: &str) -> bool {
    name.ends_with(".present") || name == "contact" || name == "success"
}

/// Unit of a read-out's network output in the unit that people see: positions leave the network in
/// decimetres, so that they are of the order of one.
pub fn scale_of(name: &str) -> f32 {
    if name.ends_with(".x") || name.ends_with(".y") || name.ends_with(".z") { 0.1 } else { 1.0 }
}

/// Outputs of the head: read-outs, then the next state, then the action (inverse dynamics).
pub fn head_width(readings: usize) -> usize {
    readings + 2 * CHANNEL_SLOTS
}

/// A raw output to what a person reads: logits to probabilities, positions to metres.
pub fn present(name: &str, raw: f32) -> f32 {
    if is_logit(name) { 1.0 / (1.0 + (-raw).exp()) } else { raw * scale_of(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_outs_have_unique_names() {
        let names = tabletop_readings();
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!((unique.len(), names.len()), (30, 30));
    }

    #[test]
    fn logits_become_probabilities_and_decimetres_metres() {
        assert!((present("contact", 0.0) - 0.5).abs() < 1e-6);
        assert!((present("red.x", 2.5) - 0.25).abs() < 1e-6);
        assert!((present("progress", 0.7) - 0.7).abs() < 1e-6);
    }
}
