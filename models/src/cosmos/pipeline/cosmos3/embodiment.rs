//! Robot bodies that the published Cosmos 3 networks know: the number of their weights and the width of their
//! actions. (Two bodies of the family, `libero` and the blank one, have no fixed width.)

/// A robot body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embodiment {
    /// Name in the published table.
    pub name: &'static str,
    /// Number of its weights.
    pub domain: usize,
    /// Numbers per action: 3 for place and 6 for turn of each effector, 1 for a gripper, 15 for a hand.
    pub width: usize,
}

const fn body(name: &'static str, domain: usize, width: usize) -> Embodiment {
    Embodiment { name, domain, width }
}

/// All bodies with a fixed action width.
pub const EMBODIMENTS: [Embodiment; 15] = [
    body("av", 1, 9),
    body("camera_pose", 2, 9),
    body("hand_pose", 3, 57),
    body("pusht", 4, 2),
    body("umi", 6, 10),
    body("bridge_orig_lerobot", 7, 10),
    body("droid_lerobot", 8, 10),
    body("robomind-franka", 8, 10),
    body("galbot", 9, 30),
    body("robomind-franka-dual", 12, 20),
    body("robomind-ur", 13, 10),
    body("agibotworld", 15, 29),
    body("agibot_gear_gripper", 15, 29),
    body("agibot_gear_gripper_ext", 15, 29),
    body("fractal", 20, 10),
];

/// The body of a name.
pub fn find(name: &str) -> Option<Embodiment> {
    EMBODIMENTS.into_iter().find(|body| body.name == name)
}
