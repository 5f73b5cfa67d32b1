//! Light on surfaces, patterns on the table, and the way to bytes.

use super::prim::{Paint, linear};
use super::shadow::Lamp;
use crate::world::math::{V3, mix, smoothstep, v3};
use crate::world::scene::{GoalSpec, LightSpec, Pattern, SceneSpec, TableSpec};

/// The lights, resolved once.
#[derive(Clone, Copy)]
pub(crate) struct Lights {
    pub lamp: Lamp,
    lamp_rgb: V3,
    ambient: V3,
}

#[inline(always)]
fn times(a: V3, b: V3) -> V3 {
    v3(a.x * b.x, a.y * b.y, a.z * b.z)
}

impl Lights {
    pub fn new(spec: &LightSpec) -> Self {
        Self { lamp: Lamp::new(spec.direction, spec.softness), lamp_rgb: spec.lamp, ambient: spec.ambient }
    }

    /// Linear RGB of a surface: `vis` = share of the lamp, `to_eye` a unit vector.
    #[inline(always)]
    pub fn shade(&self, paint: &Paint, n: V3, to_eye: V3, vis: f32) -> V3 {
        let up = 0.66 + 0.34 * n.z;
        let facing = n.dot(self.lamp.l).max(0.0) * vis;
        let half = (self.lamp.l + to_eye).unit();
        let s = n.dot(half).max(0.0);
        let s2 = s * s;
        let s4 = s2 * s2;
        let s16 = s4 * s4 * s4 * s4;
        let shine = paint.gloss * s16 * s16 * vis;
        times(paint.albedo, self.ambient * up + self.lamp_rgb * facing) + self.lamp_rgb * shine
    }

    /// The table's two parts: by the surroundings alone, and by the lamp alone.
    pub fn table(&self, albedo: V3, falloff: f32) -> (V3, V3) {
        (times(albedo, self.ambient) * falloff, times(albedo, self.lamp_rgb) * (self.lamp.l.z * falloff))
    }
}

/// The table's paint, resolved once.
pub(crate) struct Ground {
    one: V3,
    two: V3,
    pattern: Pattern,
    goal: Option<(GoalSpec, V3)>,
    middle: V3,
}

/// Width of the goal's ring, metres.
const RING: f32 = 0.004;

impl Ground {
    pub fn new(spec: &SceneSpec) -> Self {
        let TableSpec { rgb, rgb2, pattern, .. } = spec.table;
        Self {
            one: linear(rgb),
            two: linear(rgb2),
            pattern,
            goal: spec.goal.map(|g| (g, linear(g.rgb))),
            middle: spec.camera.target,
        }
    }

    /// Whether one sample in the middle of a pixel is enough around this place; `size` = size of the pixel there.
    pub fn smooth(&self, x: f32, y: f32, size: f32) -> bool {
        let plain = matches!(self.pattern, Pattern::Plain | Pattern::Cloud { .. });
        plain
            && self.goal.is_none_or(|(g, _)| {
                let d = v3(x - g.center[0], y - g.center[1], 0.0).len();
                (d - g.radius).abs() > size + RING && d > RING
            })
    }

    /// Linear RGB of the table at a place.
    pub fn albedo(&self, x: f32, y: f32) -> V3 {
        let t = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Wood { board } => wood(x, y, board),
            Pattern::Checks { size } => {
                let k = (x / size).floor() as i64 + (y / size).floor() as i64;
                if k.rem_euclid(2) == 0 { 0.0 } else { 1.0 }
            }
            Pattern::Stripes { period, angle } => {
                let s = (x * libm::cosf(angle) + y * libm::sinf(angle)) / period;
                if s - s.floor() < 0.5 { 0.0 } else { 1.0 }
            }
            Pattern::Cloud { size } => {
                let n = noise(x / size, y / size) * 0.65 + noise(x / size * 2.7 + 9.1, y / size * 2.7) * 0.35;
                smoothstep(0.25, 0.75, n)
            }
        };
        let base = self.one * (1.0 - t) + self.two * t;
        let Some((g, colour)) = &self.goal else { return base };
        let d = v3(x - g.center[0], y - g.center[1], 0.0).len();
        if d > g.radius {
            base
        } else if d > g.radius - RING {
            *colour
        } else {
            base * 0.6 + *colour * 0.4
        }
    }

    /// The room is a little darker away from the middle of the picture.
    pub fn falloff(&self, x: f32, y: f32) -> f32 {
        let d = v3(x - self.middle.x, y - self.middle.y, 0.0).len();
        1.0 - 0.30 * smoothstep(0.08, 0.55, d)
    }
}

/// A pseudo-random number in 0..1 for a lattice point.
fn lattice(i: i64, j: i64) -> f32 {
    let mut z =
        (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (j as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    z = (z ^ (z >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 29;
    (z >> 40) as f32 * (1.0 / 16_777_216.0)
}

/// Value noise with smooth interpolation.
fn noise(x: f32, y: f32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (i, j) = (fx as i64, fy as i64);
    let (u, v) = (smoothstep(0.0, 1.0, x - fx), smoothstep(0.0, 1.0, y - fy));
    let row = |j: i64| mix(lattice(i, j), lattice(i.wrapping_add(1), j), u);
    mix(row(j), row(j.wrapping_add(1)), v)
}

/// Boards along x: each with its own tone, fine grain, a dark seam between them.
fn wood(x: f32, y: f32, board: f32) -> f32 {
    let k = (y / board).floor();
    let across = y / board - k;
    let seam = if across * board < 0.0012 { 0.9 } else { 0.0 };
    let tone = lattice(k as i64, 17) * 0.35;
    let grain = noise(x * 9.0 + k * 3.7, y * 170.0) * 0.35;
    (tone + grain + seam).min(1.0)
}

/// Linear 0..1 to sRGB bytes through a table of 4096 steps.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub fn new() -> Self {
        Self(
            (0..4096)
                .map(|i| {
                    let x = i as f32 / 4095.0;
                    let y =
                        if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * libm::powf(x, 1.0 / 2.4) - 0.055 };
                    (y * 255.0 + 0.5) as u8
                })
                .collect(),
        )
    }

    #[inline(always)]
    pub fn rgb(&self, c: V3) -> [u8; 3] {
        let f = |x: f32| self.0.get((x.clamp(0.0, 1.0) * 4095.0 + 0.5) as usize).copied().unwrap_or(255);
        [f(c.x), f(c.y), f(c.z)]
    }
}
