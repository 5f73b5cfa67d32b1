//! Soft shadows without noise: seen from the lamp every primitive is a flat convex shape; a point is as
//! dark as it lies inside that shape, blurred by the lamp's angle times the distance to what casts.

use super::prim::{Form, Prim, slabs};
use crate::world::math::{V3, v3};

/// Axes of the lamp: `l` points to it, `a` and `b` span its view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lamp {
    pub l: V3,
    a: V3,
    b: V3,
    softness: f32,
}

impl Lamp {
    pub fn new(direction: V3, softness: f32) -> Self {
        let l = direction.unit();
        let a = l.cross(v3(0.31, 0.95, 0.05)).unit();
        Self { l, a, b: l.cross(a), softness: softness.clamp(0.001, 0.5) }
    }

    /// Half width of the penumbra at a distance from what casts it, metres.
    pub fn blur(&self, distance: f32) -> f32 {
        (self.softness * distance).clamp(NARROWEST, WIDEST)
    }

    #[inline(always)]
    fn flat(&self, p: V3) -> (f32, f32) {
        (self.a.dot(p), self.b.dot(p))
    }
}

#[derive(Clone, Copy)]
struct Edge {
    nx: f32,
    ny: f32,
    d: f32,
}

enum Outline {
    /// Half planes of a convex polygon.
    Polygon(Vec<Edge>),
    /// A segment with a radius.
    Stadium((f32, f32), (f32, f32), f32),
}

/// A primitive as the lamp sees it.
pub(crate) struct Caster {
    outline: Outline,
    center: (f32, f32),
    /// Everything that it can shade lies within this distance (squared) of the centre in the lamp's view.
    reach2: f32,
    body: u16,
    prim: Prim,
    local_l: V3,
    half: V3,
}

/// Widest penumbra considered, metres.
const WIDEST: f32 = 0.03;
/// Narrowest penumbra, metres: about half a pixel, so that shadow edges are antialiased.
const NARROWEST: f32 = 0.0009;

impl Caster {
    pub fn new(prim: &Prim, lamp: &Lamp) -> Self {
        let at = &prim.at;
        let (outline, half) = match prim.form {
            Form::Box(h, _) => {
                let mut points = Vec::with_capacity(8);
                for i in 0..8u8 {
                    let s = |bit: u8, v: f32| if i & bit != 0 { v } else { -v };
                    points.push(lamp.flat(at.point(v3(s(1, h.x), s(2, h.y), s(4, h.z)))));
                }
                (Outline::Polygon(hull(points)), h)
            }
            Form::Cylinder(r, h, _) | Form::Cup(r, _, h, _) => {
                let mut points = Vec::with_capacity(32);
                for (c, s) in CIRCLE {
                    for z in [-h, h] {
                        points.push(lamp.flat(at.point(v3(r * c, r * s, z))));
                    }
                }
                (Outline::Polygon(hull(points)), v3(r, r, h))
            }
            Form::Capsule(r, h) => {
                let a = lamp.flat(at.point(v3(0.0, 0.0, -h)));
                let b = lamp.flat(at.point(v3(0.0, 0.0, h)));
                (Outline::Stadium(a, b, r), v3(r, r, h + r))
            }
        };
        let reach = prim.bound + WIDEST;
        Self {
            outline,
            center: lamp.flat(at.p),
            reach2: reach * reach,
            body: prim.body,
            prim: *prim,
            local_l: at.r.apply_inv(lamp.l),
            half,
        }
    }

    /// Share of the lamp that this caster hides from `p`, whose lamp coordinates are `(u, v)`.
    #[inline]
    fn hides(&self, p: V3, u: f32, v: f32, softness: f32) -> f32 {
        let (du, dv) = (u - self.center.0, v - self.center.1);
        if du * du + dv * dv > self.reach2 {
            return 0.0;
        }
        let inside = match &self.outline {
            Outline::Polygon(edges) => {
                let mut d = -1e9f32;
                for e in edges {
                    d = d.max(e.nx * u + e.ny * v - e.d);
                    if d >= WIDEST {
                        return 0.0;
                    }
                }
                d
            }
            Outline::Stadium(a, b, r) => {
                let (ex, ey) = (b.0 - a.0, b.1 - a.1);
                let l2 = ex * ex + ey * ey;
                let t =
                    if l2 > 1e-12 { (((u - a.0) * ex + (v - a.1) * ey) / l2).clamp(0.0, 1.0) } else { 0.0 };
                let (x, y) = (u - a.0 - ex * t, v - a.1 - ey * t);
                (x * x + y * y).sqrt() - r
            }
        };
        // How far toward the lamp the middle of the caster is above this point.
        let o = self.prim.local_point(p);
        let (near, far) = slabs(o, self.local_l, self.half);
        let middle = 0.5 * (near + far);
        if middle <= 0.0 {
            return 0.0;
        }
        let width = (softness * middle).clamp(NARROWEST, WIDEST);
        let t = (0.5 - 0.5 * inside / width).clamp(0.0, 1.0);
        let edge = t * t * (3.0 - 2.0 * t);
        // Bodies that touch do not pop in and out of shading each other.
        edge * (middle * 400.0).min(1.0)
    }
}

/// Share of the lamp that the casters chosen by `mask` (bit k = caster k) hide from `p` on body `body`.
#[inline]
pub(crate) fn shaded(casters: &[Caster], mask: u64, lamp: &Lamp, p: V3, body: Option<u16>) -> f32 {
    let (u, v) = lamp.flat(p);
    let mut hidden = 0.0f32;
    for (k, c) in casters.iter().enumerate() {
        if mask >> (k & 63) & 1 == 0 || body == Some(c.body) {
            continue;
        }
        hidden = hidden.max(c.hides(p, u, v, lamp.softness));
        if hidden >= 1.0 {
            break;
        }
    }
    hidden
}

/// Share of the lamp that reaches `p` past all casters.
pub(crate) fn visible(casters: &[Caster], lamp: &Lamp, p: V3, body: Option<u16>) -> f32 {
    1.0 - shaded(casters, u64::MAX, lamp, p, body)
}

/// Sixteen points on the unit circle.
const CIRCLE: [(f32, f32); 16] = {
    const A: f32 = 0.923_879_5;
    const B: f32 = 0.382_683_43;
    const C: f32 = std::f32::consts::FRAC_1_SQRT_2;
    [
        (1.0, 0.0),
        (A, B),
        (C, C),
        (B, A),
        (0.0, 1.0),
        (-B, A),
        (-C, C),
        (-A, B),
        (-1.0, 0.0),
        (-A, -B),
        (-C, -C),
        (-B, -A),
        (0.0, -1.0),
        (B, -A),
        (C, -C),
        (A, -B),
    ]
};

/// Convex hull (Andrew's monotone chain) as half planes with unit outward normals.
fn hull(mut points: Vec<(f32, f32)>) -> Vec<Edge> {
    points.sort_by(|p, q| p.0.total_cmp(&q.0).then(p.1.total_cmp(&q.1)));
    let cross =
        |o: (f32, f32), a: (f32, f32), b: (f32, f32)| (a.0 - o.0) * (b.1 - o.1) - (a.1 - o.1) * (b.0 - o.0);
    let half = |points: &mut dyn Iterator<Item = (f32, f32)>| {
        let mut chain: Vec<(f32, f32)> = Vec::new();
        for p in points {
            while let [.., a, b] = chain.as_slice() {
                if cross(*a, *b, p) > 1e-12 {
                    break;
                }
                chain.pop();
            }
            chain.push(p);
        }
        chain.pop();
        chain
    };
    let mut ring = half(&mut points.iter().copied());
    ring.extend(half(&mut points.iter().rev().copied()));
    let mut edges = Vec::with_capacity(ring.len());
    for (i, a) in ring.iter().enumerate() {
        let Some(b) = ring.get((i + 1) % ring.len()) else { continue };
        // Counter-clockwise: outward is to the right of the edge.
        let (nx, ny) = (b.1 - a.1, a.0 - b.0);
        let l = (nx * nx + ny * ny).sqrt();
        if l > 1e-9 {
            edges.push(Edge { nx: nx / l, ny: ny / l, d: (nx * a.0 + ny * a.1) / l });
        }
    }
    edges
}
