//! The arm: an SO-101-like chain of six joints, made from primitives.
//!
//! Link lengths follow the public drawings of the SO-101: shoulder axis 0.117 m above the table, upper
//! arm 0.116 m, forearm 0.135 m, wrist to fingertip 0.16 m. At all-zero joints the upper arm stands
//! upright and forearm and hand point forward.

use super::math::{DEG, M3, Place, V3, v3};

/// Number of joints, the gripper included.
pub const JOINTS: usize = 6;

/// LeRobot's names of the six channels, in order.
pub const JOINT_NAMES: [&str; JOINTS] = [
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
];

/// Units of the six channels.
pub const JOINT_UNITS: [&str; JOINTS] = ["deg", "deg", "deg", "deg", "deg", "%"];

/// Smallest and largest value of each channel: degrees, and 0 (closed) to 100 (open) for the gripper.
pub const JOINT_LIMITS: [[f32; 2]; JOINTS] =
    [[-110.0, 110.0], [-100.0, 100.0], [-97.0, 97.0], [-95.0, 95.0], [-157.0, 157.0], [0.0, 100.0]];

/// Largest speed of each joint's set point, units per second.
pub const JOINT_SPEED: [f32; JOINTS] = [120.0, 120.0, 120.0, 150.0, 180.0, 250.0];

/// Largest torque of each joint's motor, newton metres.
pub const JOINT_TORQUE: [f32; JOINTS] = [2.2, 2.6, 2.2, 1.2, 0.8, 0.45];

/// Radians of jaw rotation per gripper unit (100 units open the jaw by 50 degrees).
pub const JAW_RAD_PER_UNIT: f32 = 0.5 * DEG;

/// Upper arm, metres.
pub const UPPER: f32 = 0.116;
/// Forearm, metres.
pub const FORE: f32 = 0.135;
/// Wrist flex axis to wrist roll frame, metres.
pub const WRIST: f32 = 0.055;
/// Wrist roll frame to fingertip, metres.
pub const HAND: f32 = 0.105;
/// Shoulder lift axis in the frame of the panning link.
pub const SHOULDER: V3 = v3(0.0304, 0.0, 0.1166);
/// Jaw hinge in the frame of the hand.
pub const JAW_PIVOT: V3 = v3(0.015, 0.022, 0.0);
/// Tilt of the moving jaw's pad at the closed position: it is parallel to the fixed jaw around a 4 cm object.
pub const JAW_TILT: f32 = 10.4 * DEG;

/// Names of the links, base first.
pub const LINK_NAMES: [&str; 7] = ["base", "shoulder", "upper_arm", "forearm", "wrist", "hand", "jaw"];

/// Joint values brought into their limits; a value that is not a number becomes `fallback`'s.
pub fn clamp_joints(q: &[f32; JOINTS], fallback: &[f32; JOINTS]) -> [f32; JOINTS] {
    let mut out = *fallback;
    for ((o, v), l) in out.iter_mut().zip(q).zip(&JOINT_LIMITS) {
        if v.is_finite() {
            *o = v.clamp(l[0], l[1]);
        }
    }
    out
}

/// World frames of the seven links (base first) for joint values in degrees and gripper units.
pub fn forward(q: &[f32; JOINTS]) -> [Place; 7] {
    let base = Place::ID;
    let shoulder = base.then(&Place::new(V3::ZERO, M3::rot_z(q[0] * DEG)));
    let upper = shoulder.then(&Place::new(SHOULDER, M3::rot_y(q[1] * DEG)));
    let fore = upper.then(&Place::new(v3(0.0, 0.0, UPPER), M3::rot_y(q[2] * DEG)));
    let wrist = fore.then(&Place::new(v3(FORE, 0.0, 0.0), M3::rot_y(q[3] * DEG)));
    let hand = wrist.then(&Place::new(v3(WRIST, 0.0, 0.0), M3::rot_x(q[4] * DEG)));
    let jaw = hand.then(&Place::new(JAW_PIVOT, M3::rot_z(q[5] * JAW_RAD_PER_UNIT)));
    [base, shoulder, upper, fore, wrist, hand, jaw]
}

/// The fingertip (on the inner face of the fixed jaw) in the world, metres.
pub fn tip(q: &[f32; JOINTS]) -> V3 {
    forward(q)[5].point(v3(HAND, 0.0, 0.0))
}

/// The gripper's frame: at the fingertip, x along the hand, y the direction in which the jaw opens.
pub fn gripper(q: &[f32; JOINTS]) -> Place {
    let hand = forward(q)[5];
    Place::new(hand.point(v3(HAND, 0.0, 0.0)), hand.r)
}

/// Angle of the hand below the horizon, degrees (90 = straight down).
pub fn hand_pitch(q: &[f32; JOINTS]) -> f32 {
    q[1] + q[2] + q[3]
}

/// What a part is made of, for the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skin {
    /// Printed body.
    Body,
    /// Accent colour.
    Accent,
    /// Servos, joints, fingers.
    Dark,
}

/// A primitive shape, centred at its frame's origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Solid {
    /// Half extents.
    Box(V3),
    /// Radius and half height along z.
    Cylinder(f32, f32),
    /// Radius and half length of the axis along z.
    Capsule(f32, f32),
}

/// One piece of the arm.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Index into [`LINK_NAMES`].
    pub link: usize,
    /// Shape.
    pub solid: Solid,
    /// Frame in the link.
    pub at: Place,
    /// Looks.
    pub skin: Skin,
    /// Whether physics knows it (the rest only dresses the arm).
    pub collides: bool,
}

fn part(link: usize, solid: Solid, p: V3, r: M3, skin: Skin, collides: bool) -> Part {
    Part { link, solid, at: Place::new(p, r), skin, collides }
}

/// All pieces of the arm.
pub fn parts() -> Vec<Part> {
    let id = M3::ID;
    // Cylinders lie along z; these turn them along x and y.
    let along_x = M3::rot_y(90.0 * DEG);
    let along_y = M3::rot_x(90.0 * DEG);
    let jaw_r = M3::rot_z(-JAW_TILT);
    let jaw_half = v3(0.044, 0.0055, 0.011);
    // The pad's inner face passes through the tip, (0.09, -0.022) in the jaw's frame.
    let jaw_at = v3(HAND - JAW_PIVOT.x, -JAW_PIVOT.y, 0.0) + jaw_r.apply(v3(-jaw_half.x, jaw_half.y, 0.0));
    vec![
        part(0, Solid::Box(v3(0.045, 0.035, 0.022)), v3(-0.012, 0.0, 0.022), id, Skin::Body, true),
        part(0, Solid::Cylinder(0.030, 0.008), v3(0.0, 0.0, 0.052), id, Skin::Dark, false),
        part(1, Solid::Box(v3(0.026, 0.024, 0.024)), v3(0.006, 0.0, 0.084), id, Skin::Accent, false),
        part(1, Solid::Cylinder(0.019, 0.028), SHOULDER, along_y, Skin::Dark, false),
        part(2, Solid::Box(v3(0.015, 0.018, 0.047)), v3(0.0, 0.0, 0.058), id, Skin::Body, true),
        part(2, Solid::Cylinder(0.0185, 0.024), v3(0.0, 0.0, UPPER), along_y, Skin::Dark, false),
        part(3, Solid::Box(v3(0.056, 0.0155, 0.0135)), v3(0.066, 0.0, 0.0), id, Skin::Body, true),
        part(3, Solid::Cylinder(0.0165, 0.022), v3(FORE, 0.0, 0.0), along_y, Skin::Dark, false),
        part(4, Solid::Box(v3(0.017, 0.014, 0.015)), v3(0.026, 0.0, 0.0), id, Skin::Accent, true),
        part(4, Solid::Cylinder(0.0155, 0.006), v3(0.047, 0.0, 0.0), along_x, Skin::Dark, false),
        part(5, Solid::Box(v3(0.016, 0.021, 0.014)), v3(0.014, 0.006, 0.0), id, Skin::Body, true),
        part(5, Solid::Box(v3(0.0425, 0.0055, 0.011)), v3(0.0625, -0.0055, 0.0), id, Skin::Dark, true),
        part(6, Solid::Cylinder(0.0105, 0.0145), V3::ZERO, id, Skin::Accent, false),
        part(6, Solid::Box(jaw_half), jaw_at, jaw_r, Skin::Dark, true),
    ]
}
