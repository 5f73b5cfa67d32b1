//! Primitives and their intersections with rays.

use crate::world::arm::{self, JOINTS, Skin, Solid};
use crate::world::math::{M3, Place, Pose, V3, v3};
use crate::world::scene::{BowlSpec, SceneSpec, Shape, tee_boxes};

/// Shape of a primitive in its own frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// Half extents and the width of the rounded look of its edges.
    Box(V3, f32),
    /// Radius, half height along z, width of the rounded look of its rim.
    Cylinder(f32, f32, f32),
    /// Radius, half length along z.
    Capsule(f32, f32),
    /// Outer radius, inner radius, half height, height of the floor above the base.
    Cup(f32, f32, f32, f32),
}

/// What a primitive looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    /// Linear RGB.
    pub albedo: V3,
    /// Strength of the highlight.
    pub gloss: f32,
}

/// A primitive in the world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prim {
    pub form: Form,
    pub at: Place,
    pub paint: Paint,
    /// Primitives of one rigid body do not shade each other.
    pub body: u16,
    /// Radius of the ball around `at.p` that holds it.
    pub bound: f32,
}

/// A hit: distance along the ray (in units of its direction), the normal in the world, a number for the face.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub t: f32,
    pub normal: V3,
    pub face: u8,
}

impl Prim {
    pub fn new(form: Form, at: Place, paint: Paint, body: u16) -> Self {
        let bound = match form {
            Form::Box(h, _) => h.len(),
            Form::Cylinder(r, h, _) => (r * r + h * h).sqrt(),
            Form::Capsule(r, h) => r + h,
            Form::Cup(r, _, h, _) => (r * r + h * h).sqrt(),
        };
        Self { form, at, paint, body, bound }
    }

    /// A ray's origin in the primitive's frame.
    #[inline(always)]
    pub fn local_point(&self, p: V3) -> V3 {
        self.at.r.apply_inv(p - self.at.p)
    }

    /// The nearest hit in `(1e-5, t_max)`; `o` is the ray's origin in the local frame.
    #[inline]
    pub fn hit(&self, o: V3, dir: V3, t_max: f32) -> Option<Hit> {
        let d = self.at.r.apply_inv(dir);
        let (t, n, face) = match self.form {
            Form::Box(h, bevel) => hit_box(o, d, h, bevel, t_max)?,
            Form::Cylinder(r, h, bevel) => hit_cylinder(o, d, r, h, bevel, t_max)?,
            Form::Capsule(r, h) => hit_capsule(o, d, r, h, t_max)?,
            Form::Cup(r, inner, h, floor) => hit_cup(o, d, r, inner, h, floor, t_max)?,
        };
        Some(Hit { t, normal: self.at.r.apply(n), face })
    }
}

#[inline(always)]
fn inv(x: f32) -> f32 {
    if x.abs() < 1e-9 { if x < 0.0 { -1e9 } else { 1e9 } } else { 1.0 / x }
}

/// Entry and exit of a ray through a box (slabs); entry > exit means a miss.
#[inline(always)]
pub(crate) fn slabs(o: V3, d: V3, h: V3) -> (f32, f32) {
    let m = v3(inv(d.x), inv(d.y), inv(d.z));
    let (ax, bx) = (-m.x * o.x, m.x.abs() * h.x);
    let (ay, by) = (-m.y * o.y, m.y.abs() * h.y);
    let (az, bz) = (-m.z * o.z, m.z.abs() * h.z);
    let near = (ax - bx).max(ay - by).max(az - bz);
    let far = (ax + bx).min(ay + by).min(az + bz);
    (near, far)
}

type LocalHit = (f32, V3, u8);

#[inline]
fn hit_box(o: V3, d: V3, h: V3, bevel: f32, t_max: f32) -> Option<LocalHit> {
    let (near, far) = slabs(o, d, h);
    if near > far || near < 1e-5 || near >= t_max {
        return None;
    }
    let p = o + d * near;
    // Distance inside each pair of faces; the face that was hit is the one with the least.
    let g = v3(h.x - p.x.abs(), h.y - p.y.abs(), h.z - p.z.abs());
    let sign = |x: f32| if x < 0.0 { -1.0 } else { 1.0 };
    let s = v3(sign(p.x), sign(p.y), sign(p.z));
    let face = if g.x <= g.y && g.x <= g.z {
        if s.x < 0.0 { 0 } else { 1 }
    } else if g.y <= g.z {
        if s.y < 0.0 { 2 } else { 3 }
    } else if s.z < 0.0 {
        4
    } else {
        5
    };
    // Edges look rounded: the normal leans toward the neighbouring face.
    let lean = |g: f32| {
        let x = 1.0 - g / bevel;
        if x > 0.0 { x * x } else { 0.0 }
    };
    let mut n = v3(s.x * lean(g.x), s.y * lean(g.y), s.z * lean(g.z));
    match face {
        0 | 1 => n.x = s.x,
        2 | 3 => n.y = s.y,
        _ => n.z = s.z,
    }
    Some((near, n.unit(), face))
}

#[inline]
fn hit_cylinder(o: V3, d: V3, r: f32, h: f32, bevel: f32, t_max: f32) -> Option<LocalHit> {
    let a = d.x * d.x + d.y * d.y;
    let b = o.x * d.x + o.y * d.y;
    let c = o.x * o.x + o.y * o.y - r * r;
    let iz = inv(d.z);
    let (z0, z1) = (-iz * o.z - iz.abs() * h, -iz * o.z + iz.abs() * h);
    let (mut t0, mut t1) = (-1e9, 1e9);
    if a > 1e-12 {
        let disc = b * b - a * c;
        if disc < 0.0 {
            return None;
        }
        let s = disc.sqrt();
        t0 = (-b - s) / a;
        t1 = (-b + s) / a;
    } else if c > 0.0 {
        return None;
    }
    let (near, far) = (t0.max(z0), t1.min(z1));
    if near > far || near < 1e-5 || near >= t_max {
        return None;
    }
    let p = o + d * near;
    let rho = (p.x * p.x + p.y * p.y).sqrt().max(1e-9);
    let radial = v3(p.x / rho, p.y / rho, 0.0);
    let up = if p.z < 0.0 { -1.0 } else { 1.0 };
    let (n, face) = if z0 > t0 {
        let x = (1.0 - (r - rho) / bevel).max(0.0);
        (radial * (x * x) + v3(0.0, 0.0, up), if up < 0.0 { 1 } else { 2 })
    } else {
        let x = (1.0 - (h - p.z.abs()) / bevel).max(0.0);
        (radial + v3(0.0, 0.0, up * x * x), 0)
    };
    Some((near, n.unit(), face))
}

#[inline]
fn hit_capsule(o: V3, d: V3, r: f32, h: f32, t_max: f32) -> Option<LocalHit> {
    let a = d.x * d.x + d.y * d.y;
    let b = o.x * d.x + o.y * d.y;
    let c = o.x * o.x + o.y * o.y - r * r;
    let mut best = t_max;
    let mut normal = None;
    let disc = b * b - a * c;
    if a > 1e-12 && disc >= 0.0 {
        let t = (-b - disc.sqrt()) / a;
        let z = o.z + d.z * t;
        if t > 1e-5 && t < best && z.abs() <= h {
            let p = o + d * t;
            best = t;
            normal = Some(v3(p.x / r, p.y / r, 0.0));
        }
    }
    if normal.is_none() {
        let dd = d.dot(d);
        for cz in [-h, h] {
            let q = v3(o.x, o.y, o.z - cz);
            let b = q.dot(d);
            let disc = b * b - dd * (q.dot(q) - r * r);
            if disc >= 0.0 {
                let t = (-b - disc.sqrt()) / dd;
                if t > 1e-5 && t < best {
                    best = t;
                    normal = Some((q + d * t) * (1.0 / r));
                }
            }
        }
    }
    normal.map(|n| (best, n, 0))
}

/// A bowl with straight walls: outer wall, rim, inner wall, floor.
#[inline]
fn hit_cup(o: V3, d: V3, r: f32, inner: f32, h: f32, floor: f32, t_max: f32) -> Option<LocalHit> {
    let mut best: Option<LocalHit> = None;
    let mut offer = |t: f32, n: V3, face: u8| {
        if t > 1e-5 && t < best.map_or(t_max, |b| b.0) {
            best = Some((t, n, face));
        }
    };
    let a = d.x * d.x + d.y * d.y;
    let b = o.x * d.x + o.y * d.y;
    let oo = o.x * o.x + o.y * o.y;
    if a > 1e-12 {
        let disc = b * b - a * (oo - r * r);
        if disc >= 0.0 {
            let t = (-b - disc.sqrt()) / a;
            let p = o + d * t;
            if p.z.abs() <= h {
                offer(t, v3(p.x / r, p.y / r, 0.0), 0);
            }
        }
        // The inner wall is seen from within: the far crossing.
        let disc = b * b - a * (oo - inner * inner);
        if disc >= 0.0 {
            let t = (-b + disc.sqrt()) / a;
            let p = o + d * t;
            if p.z <= h && p.z >= -h + floor {
                offer(t, v3(-p.x / inner, -p.y / inner, 0.0), 1);
            }
        }
    }
    if d.z < -1e-9 {
        for (z, lo, hi, face) in [(h, inner, r, 2u8), (-h + floor, 0.0, inner, 3)] {
            let t = (z - o.z) / d.z;
            let p = o + d * t;
            let rho = p.x * p.x + p.y * p.y;
            if rho <= hi * hi && rho >= lo * lo {
                offer(t, v3(0.0, 0.0, 1.0), face);
            }
        }
    }
    best
}

/// sRGB 0..255 to linear 0..1.
pub(crate) fn linear(rgb: [u8; 3]) -> V3 {
    let f = |c: u8| {
        let x = c as f32 / 255.0;
        if x <= 0.04045 { x / 12.92 } else { libm::powf((x + 0.055) / 1.055, 2.4) }
    };
    v3(f(rgb[0]), f(rgb[1]), f(rgb[2]))
}

/// First body number of the objects; the arm's links come before.
pub(crate) const OBJECT_BODY: u16 = 16;
const BOWL_BODY: u16 = 32;

/// Paints of a scene, resolved once.
pub(crate) struct Paints {
    body: Paint,
    accent: Paint,
    dark: Paint,
    objects: Vec<Paint>,
    bowl: Paint,
}

impl Paints {
    pub fn new(spec: &SceneSpec) -> Self {
        let p = |rgb, gloss| Paint { albedo: linear(rgb), gloss };
        Self {
            body: p(spec.arm.body, 0.10),
            accent: p(spec.arm.accent, 0.12),
            dark: p(spec.arm.dark, 0.16),
            objects: spec.objects.iter().map(|o| p(o.rgb, 0.10)).collect(),
            bowl: p(spec.bowl.map_or([200; 3], |b| b.rgb), 0.08),
        }
    }
}

/// The arm's pieces; `moving` chooses those that joints move, else those that never do.
pub(crate) fn arm_prims(q: &[f32; JOINTS], paints: &Paints, moving: bool, out: &mut Vec<Prim>) {
    let links = arm::forward(q);
    for part in arm::parts() {
        if (part.link > 0) != moving {
            continue;
        }
        let Some(link) = links.get(part.link) else { continue };
        let form = match part.solid {
            Solid::Box(h) => Form::Box(h, (h.x.min(h.y).min(h.z) * 0.45).min(0.005)),
            Solid::Cylinder(r, h) => Form::Cylinder(r, h, 0.0025),
            Solid::Capsule(r, h) => Form::Capsule(r, h),
        };
        let paint = match part.skin {
            Skin::Body => paints.body,
            Skin::Accent => paints.accent,
            Skin::Dark => paints.dark,
        };
        out.push(Prim::new(form, link.then(&part.at), paint, part.link as u16));
    }
}

/// The objects at the given poses.
pub(crate) fn object_prims(spec: &SceneSpec, poses: &[Pose], paints: &Paints, out: &mut Vec<Prim>) {
    for (i, ((object, pose), paint)) in spec.objects.iter().zip(poses).zip(&paints.objects).enumerate() {
        if !pose.is_finite() {
            continue;
        }
        let at = Place::from(pose);
        let body = OBJECT_BODY + i as u16;
        match object.shape {
            Shape::Cube { half } => {
                out.push(Prim::new(Form::Box(v3(half, half, half), 0.003), at, *paint, body))
            }
            Shape::Cylinder { radius, half_height } => {
                out.push(Prim::new(Form::Cylinder(radius, half_height, 0.003), at, *paint, body));
            }
            Shape::Tee { half_width, half_height } => {
                for (c, h) in tee_boxes(half_width, half_height) {
                    let place = at.then(&Place::new(c, M3::ID));
                    out.push(Prim::new(Form::Box(h, 0.002), place, *paint, body));
                }
            }
        }
    }
}

/// The bowl.
pub(crate) fn bowl_prim(bowl: &BowlSpec, paints: &Paints) -> Prim {
    let at = Place::new(v3(bowl.center[0], bowl.center[1], bowl.height * 0.5), M3::ID);
    let form = Form::Cup(bowl.radius, bowl.radius - bowl.wall, bowl.height * 0.5, bowl.wall);
    Prim::new(form, at, paints.bowl, BOWL_BODY)
}
