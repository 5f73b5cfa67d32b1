//! Small vector mathematics in plain `f32`: only `+ - * / sqrt` and `libm`, so that the same numbers
//! come out on every machine (SIMD libraries may order their sums differently per processor).

use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign, Mul, Neg, Sub};

/// Degrees to radians.
pub const DEG: f32 = std::f32::consts::PI / 180.0;

/// A vector or point, metres unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 3]", into = "[f32; 3]")]
pub struct V3 {
    /// Away from the robot's base, along its zero pan direction.
    pub x: f32,
    /// To the robot's left.
    pub y: f32,
    /// Up from the table.
    pub z: f32,
}

impl From<[f32; 3]> for V3 {
    fn from(a: [f32; 3]) -> Self {
        v3(a[0], a[1], a[2])
    }
}

impl From<V3> for [f32; 3] {
    fn from(v: V3) -> Self {
        [v.x, v.y, v.z]
    }
}

/// Shorthand for a vector.
pub const fn v3(x: f32, y: f32, z: f32) -> V3 {
    V3 { x, y, z }
}

impl V3 {
    /// The origin.
    pub const ZERO: V3 = v3(0.0, 0.0, 0.0);

    /// Scalar product.
    #[inline(always)]
    pub fn dot(self, o: V3) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    /// Vector product.
    #[inline(always)]
    pub fn cross(self, o: V3) -> V3 {
        v3(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    /// Length.
    #[inline(always)]
    pub fn len(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// Unit vector of the same direction; zero stays zero.
    #[inline(always)]
    pub fn unit(self) -> V3 {
        let l = self.len();
        if l > 1e-12 { self * (1.0 / l) } else { V3::ZERO }
    }

    /// The vector without its height.
    pub fn flat(self) -> V3 {
        v3(self.x, self.y, 0.0)
    }

    /// Same place, other height.
    pub fn at_height(self, z: f32) -> V3 {
        v3(self.x, self.y, z)
    }

    /// Whether all three numbers are finite.
    pub fn is_finite(self) -> bool {
        self.x.is_finite() && self.y.is_finite() && self.z.is_finite()
    }
}

impl Add for V3 {
    type Output = V3;
    #[inline(always)]
    fn add(self, o: V3) -> V3 {
        v3(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}
impl AddAssign for V3 {
    #[inline(always)]
    fn add_assign(&mut self, o: V3) {
        *self = *self + o;
    }
}
impl Sub for V3 {
    type Output = V3;
    #[inline(always)]
    fn sub(self, o: V3) -> V3 {
        v3(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}
impl Neg for V3 {
    type Output = V3;
    #[inline(always)]
    fn neg(self) -> V3 {
        v3(-self.x, -self.y, -self.z)
    }
}
impl Mul<f32> for V3 {
    type Output = V3;
    #[inline(always)]
    fn mul(self, s: f32) -> V3 {
        v3(self.x * s, self.y * s, self.z * s)
    }
}

/// A rotation matrix by its columns (the local axes in the parent's frame).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct M3 {
    /// Local x axis.
    pub x: V3,
    /// Local y axis.
    pub y: V3,
    /// Local z axis.
    pub z: V3,
}

impl M3 {
    /// No rotation.
    pub const ID: M3 = M3 { x: v3(1.0, 0.0, 0.0), y: v3(0.0, 1.0, 0.0), z: v3(0.0, 0.0, 1.0) };

    /// Rotation about x by `a` radians.
    pub fn rot_x(a: f32) -> M3 {
        let (s, c) = (libm::sinf(a), libm::cosf(a));
        M3 { x: v3(1.0, 0.0, 0.0), y: v3(0.0, c, s), z: v3(0.0, -s, c) }
    }

    /// Rotation about y by `a` radians.
    pub fn rot_y(a: f32) -> M3 {
        let (s, c) = (libm::sinf(a), libm::cosf(a));
        M3 { x: v3(c, 0.0, -s), y: v3(0.0, 1.0, 0.0), z: v3(s, 0.0, c) }
    }

    /// Rotation about z by `a` radians.
    pub fn rot_z(a: f32) -> M3 {
        let (s, c) = (libm::sinf(a), libm::cosf(a));
        M3 { x: v3(c, s, 0.0), y: v3(-s, c, 0.0), z: v3(0.0, 0.0, 1.0) }
    }

    /// Local to parent.
    #[inline(always)]
    pub fn apply(&self, v: V3) -> V3 {
        self.x * v.x + self.y * v.y + self.z * v.z
    }

    /// Parent to local.
    #[inline(always)]
    pub fn apply_inv(&self, v: V3) -> V3 {
        v3(self.x.dot(v), self.y.dot(v), self.z.dot(v))
    }

    /// First `o`, then `self`.
    pub fn then(&self, o: &M3) -> M3 {
        M3 { x: self.apply(o.x), y: self.apply(o.y), z: self.apply(o.z) }
    }

    /// As a unit quaternion `[x, y, z, w]` with `w >= 0` (Shepperd's method).
    pub fn quat(&self) -> [f32; 4] {
        let (m00, m11, m22) = (self.x.x, self.y.y, self.z.z);
        let trace = m00 + m11 + m22;
        let q = if trace > 0.0 {
            let s = (trace + 1.0).sqrt() * 2.0;
            [(self.y.z - self.z.y) / s, (self.z.x - self.x.z) / s, (self.x.y - self.y.x) / s, 0.25 * s]
        } else if m00 > m11 && m00 > m22 {
            let s = (1.0 + m00 - m11 - m22).sqrt() * 2.0;
            [0.25 * s, (self.y.x + self.x.y) / s, (self.z.x + self.x.z) / s, (self.y.z - self.z.y) / s]
        } else if m11 > m22 {
            let s = (1.0 + m11 - m00 - m22).sqrt() * 2.0;
            [(self.y.x + self.x.y) / s, 0.25 * s, (self.z.y + self.y.z) / s, (self.z.x - self.x.z) / s]
        } else {
            let s = (1.0 + m22 - m00 - m11).sqrt() * 2.0;
            [(self.z.x + self.x.z) / s, (self.z.y + self.y.z) / s, 0.25 * s, (self.x.y - self.y.x) / s]
        };
        if q[3] < 0.0 { [-q[0], -q[1], -q[2], -q[3]] } else { q }
    }
}

/// Place and orientation of a body: metres and a unit quaternion `[x, y, z, w]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pose {
    /// Centre of the body in the world (robot base at the origin, table top at z = 0).
    pub position: V3,
    /// Unit quaternion `[x, y, z, w]`, local to world.
    pub rotation: [f32; 4],
}

impl Default for Pose {
    fn default() -> Self {
        Self { position: V3::ZERO, rotation: [0.0, 0.0, 0.0, 1.0] }
    }
}

impl Pose {
    /// A pose from a place and an angle about the vertical (radians).
    pub fn upright(position: V3, yaw: f32) -> Self {
        Self { position, rotation: [0.0, 0.0, libm::sinf(yaw * 0.5), libm::cosf(yaw * 0.5)] }
    }

    /// The rotation as a matrix; a quaternion of any positive length is accepted.
    pub fn matrix(&self) -> M3 {
        let [x, y, z, w] = self.rotation;
        let n = x * x + y * y + z * z + w * w;
        let s = if n > 1e-12 { 2.0 / n } else { 0.0 };
        M3 {
            x: v3(1.0 - s * (y * y + z * z), s * (x * y + w * z), s * (x * z - w * y)),
            y: v3(s * (x * y - w * z), 1.0 - s * (x * x + z * z), s * (y * z + w * x)),
            z: v3(s * (x * z + w * y), s * (y * z - w * x), 1.0 - s * (x * x + y * y)),
        }
    }

    /// `[x, y, z, qx, qy, qz, qw]`, the order of the dataset's labels.
    pub fn to_array(&self) -> [f32; 7] {
        let (p, q) = (self.position, self.rotation);
        [p.x, p.y, p.z, q[0], q[1], q[2], q[3]]
    }

    /// The inverse of [`Pose::to_array`].
    pub fn from_array(a: &[f32; 7]) -> Self {
        Self { position: v3(a[0], a[1], a[2]), rotation: [a[3], a[4], a[5], a[6]] }
    }

    /// Whether all seven numbers are finite.
    pub fn is_finite(&self) -> bool {
        self.position.is_finite() && self.rotation.iter().all(|v| v.is_finite())
    }
}

/// A frame used inside the world's own geometry: origin and rotation matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Origin in the parent's frame.
    pub p: V3,
    /// Axes in the parent's frame.
    pub r: M3,
}

impl Place {
    /// The parent's own frame.
    pub const ID: Place = Place { p: V3::ZERO, r: M3::ID };

    /// A frame from origin and axes.
    pub const fn new(p: V3, r: M3) -> Self {
        Self { p, r }
    }

    /// Compose: `child` is given in this frame.
    pub fn then(&self, child: &Place) -> Place {
        Place { p: self.point(child.p), r: self.r.then(&child.r) }
    }

    /// A local point in the parent's frame.
    #[inline(always)]
    pub fn point(&self, v: V3) -> V3 {
        self.p + self.r.apply(v)
    }

    /// As a label.
    pub fn pose(&self) -> Pose {
        Pose { position: self.p, rotation: self.r.quat() }
    }
}

impl From<&Pose> for Place {
    fn from(pose: &Pose) -> Self {
        Place { p: pose.position, r: pose.matrix() }
    }
}

/// 0 below `a`, 1 above `b`, smooth between.
#[inline(always)]
pub fn smoothstep(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Linear blend.
#[inline(always)]
pub fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The angle brought into `(-pi, pi]`.
pub fn wrap(a: f32) -> f32 {
    let tau = 2.0 * std::f32::consts::PI;
    let r = a - tau * (a / tau + 0.5).floor();
    if r <= -std::f32::consts::PI { r + tau } else { r }
}
