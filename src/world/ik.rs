//! Inverse kinematics by damped least squares (Wampler 1986; Nakamura and Hanafusa 1986).

use super::arm::{self, HAND, JOINT_LIMITS, JOINTS};
use super::math::{DEG, V3, v3};

/// What the hand should do: tip place, pitch below the horizon, roll.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Fingertip, metres.
    pub tip: V3,
    /// Wished pitch of the hand, degrees; yields to the place where both cannot be had.
    pub pitch: f32,
    /// Wrist roll, degrees.
    pub roll: f32,
    /// Gripper, 0..100.
    pub gripper: f32,
}

/// The pitch at which a tip at this place is comfortable: straight down close by, forward far away.
pub fn easy_pitch(tip: V3) -> f32 {
    let r = tip.flat().len();
    let reach = (88.0 - (r - 0.20).max(0.0) * 300.0).clamp(42.0, 88.0);
    // High up the hand may look forward a little.
    (reach - (tip.z - 0.06).max(0.0) * 150.0).clamp(35.0, 88.0)
}

/// Wrist roll (degrees) for which the jaw opens along the horizontal direction of angle `yaw` (radians),
/// for a hand that points down; the jaw's two sides count as the same.
pub fn roll_for_yaw(tip: V3, yaw: f32) -> f32 {
    let pan = libm::atan2f(tip.y, tip.x) / DEG;
    let mut roll = pan + 90.0 - yaw / DEG;
    while roll > 90.0 {
        roll -= 180.0;
    }
    while roll <= -90.0 {
        roll += 180.0;
    }
    roll
}

/// Joint values that bring the hand to the goal, starting the search at `from`. Always within limits;
/// a goal out of reach gives the nearest posture found.
pub fn solve(goal: &Goal, from: &[f32; JOINTS]) -> [f32; JOINTS] {
    const DAMPING: f32 = 0.004;
    let mut q = *from;
    q[4] = goal.roll;
    q[5] = goal.gripper;
    for round in 0..18 {
        // One radian of pitch error weighs as much as this many metres: the place wins in the end.
        let weight = if round < 11 { 0.012 } else { 0.002 };
        let links = arm::forward(&q);
        let p = links[5].point(v3(HAND, 0.0, 0.0));
        let d = goal.tip - p;
        let dp = (goal.pitch - arm::hand_pitch(&q)) * DEG * weight;
        let e = [d.x, d.y, d.z, dp];
        if d.dot(d) < 1e-9 && dp.abs() < 0.02 * weight {
            break;
        }
        // Columns: pan about z through the origin, then three parallel axes through shoulder, elbow, wrist.
        let mut j = [[0.0f32; 4]; 4];
        let axes = [
            (v3(0.0, 0.0, 1.0), V3::ZERO, 0.0),
            (links[2].r.y, links[2].p, weight),
            (links[3].r.y, links[3].p, weight),
            (links[4].r.y, links[4].p, weight),
        ];
        for (c, (axis, origin, w)) in axes.iter().enumerate() {
            let col = axis.cross(p - *origin);
            j[0][c] = col.x;
            j[1][c] = col.y;
            j[2][c] = col.z;
            j[3][c] = *w;
        }
        let mut a = [[0.0f32; 5]; 4];
        for (r, row) in a.iter_mut().enumerate() {
            for c in 0..4 {
                row[c] = (0..4).map(|k| j[r][k] * j[c][k]).sum::<f32>();
            }
            row[r] += DAMPING * DAMPING;
            row[4] = e[r];
        }
        let Some(y) = eliminate(&mut a) else { break };
        for c in 0..4 {
            let step: f32 = (0..4).map(|r| j[r][c] * y[r]).sum::<f32>() / DEG;
            q[c] = (q[c] + step.clamp(-12.0, 12.0)).clamp(JOINT_LIMITS[c][0], JOINT_LIMITS[c][1]);
        }
    }
    arm::clamp_joints(&q, from)
}

/// Gauss elimination with row pivoting of a 4 x 5 system; `None` when it is singular.
fn eliminate(a: &mut [[f32; 5]; 4]) -> Option<[f32; 4]> {
    for i in 0..4 {
        let best = (i..4).max_by(|&r, &s| a[r][i].abs().total_cmp(&a[s][i].abs()))?;
        a.swap(i, best);
        let pivot = a[i][i];
        if pivot.abs() < 1e-12 {
            return None;
        }
        for r in i + 1..4 {
            let f = a[r][i] / pivot;
            let above = a[i];
            for (v, u) in a[r].iter_mut().zip(above).skip(i) {
                *v -= f * u;
            }
        }
    }
    let mut x = [0.0f32; 4];
    for i in (0..4).rev() {
        let s: f32 = (i + 1..4).map(|c| a[i][c] * x[c]).sum();
        x[i] = (a[i][4] - s) / a[i][i];
    }
    Some(x)
}
