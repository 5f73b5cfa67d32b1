//! What never moves in an episode (table, goal, bowl, the arm's base), drawn once.

use super::Camera;
use super::paint::{Encoder, Ground, Lights};
use super::prim::{Paints, Prim, arm_prims, bowl_prim};
use super::render::SAMPLES;
use super::shadow::{Caster, Lamp, visible};
use crate::world::arm::JOINTS;
use crate::world::math::{V3, v3};
use crate::world::scene::SceneSpec;

/// One pixel of the background.
#[derive(Clone, Copy)]
pub(crate) struct Still {
    /// Light from the surroundings, linear.
    pub ambient: V3,
    /// Light from the lamp, linear.
    pub lit: V3,
    /// The place that the middle of the pixel shows.
    pub p: V3,
    /// Where the distances of its samples are kept, when it shows more than the table; else `u32::MAX`.
    pub depth: u32,
}

/// The background.
pub(crate) struct Background {
    pub stills: Vec<Still>,
    pub bytes: Vec<u8>,
    /// Distances along the rays of the eight samples and the middle.
    pub depths: Vec<[f32; 9]>,
}

/// Distance along a ray to the table, in units of its direction.
#[inline(always)]
pub(crate) fn table_hit(eye: V3, d: V3) -> f32 {
    if d.z < -1e-4 { -eye.z / d.z } else { 1e6 }
}

/// Strength with which things near the table darken it from above.
pub(crate) const GROUND_SHADE: f32 = 0.5;

/// The direction from which ambient light comes, mostly: a very wide lamp overhead.
pub(crate) fn sky() -> Lamp {
    Lamp::new(v3(0.0, 0.0, 1.0), 0.45)
}

impl Background {
    pub fn new(
        spec: &SceneSpec,
        camera: &Camera,
        lights: &Lights,
        encoder: &Encoder,
        width: usize,
        height: usize,
    ) -> Self {
        let ground = Ground::new(spec);
        let paints = Paints::new(spec);
        let mut prims = Vec::new();
        arm_prims(&[0.0; JOINTS], &paints, false, &mut prims);
        if let Some(bowl) = &spec.bowl {
            prims.push(bowl_prim(bowl, &paints));
        }
        let sky = sky();
        let casters: Vec<Caster> = prims.iter().map(|p| Caster::new(p, &lights.lamp)).collect();
        let overhead: Vec<Caster> = prims.iter().map(|p| Caster::new(p, &sky)).collect();
        let scene = Scene {
            camera,
            lights,
            ground: &ground,
            prims: &prims,
            casters: &casters,
            overhead: &overhead,
            sky,
        };

        let (w, h) = (width as f32, height as f32);
        let discs: Vec<(f32, f32, f32)> = prims
            .iter()
            .map(|p| {
                let [x, y] = camera.project(p.at.p, width, height).unwrap_or([0.0, 0.0]);
                (x, y, camera.reach(p.at.p, p.bound, height))
            })
            .collect();
        let mut stills = Vec::with_capacity(width * height);
        let mut bytes = Vec::with_capacity(width * height * 3);
        let mut depths = Vec::new();
        for j in 0..height {
            for i in 0..width {
                let (x, y) = (i as f32 + 0.5, j as f32 + 0.5);
                let near = discs.iter().any(|d| (x - d.0) * (x - d.0) + (y - d.1) * (y - d.1) < d.2 * d.2);
                let dir = camera.ray(x, y, w, h);
                let t = table_hit(camera.eye, dir);
                let p = camera.eye + dir * t;
                let size = 2.5 * t * (1.0 / h);
                let mut still = if !near && t < 1e5 && ground.smooth(p.x, p.y, size) {
                    let (ambient, lit) = scene.table(p);
                    Still { ambient, lit, p, depth: u32::MAX }
                } else {
                    let (mut ambient, mut lit) = (V3::ZERO, V3::ZERO);
                    let mut depth = [0.0f32; 9];
                    for (k, s) in SAMPLES.iter().enumerate() {
                        let (t, a, l) = scene.sample(camera.ray(i as f32 + s.0, j as f32 + s.1, w, h), near);
                        ambient += a * 0.125;
                        lit += l * 0.125;
                        depth[k] = t;
                    }
                    let (t, _, _) = scene.sample(dir, near);
                    depth[8] = t;
                    let mut index = u32::MAX;
                    if near {
                        index = depths.len() as u32;
                        depths.push(depth);
                    }
                    Still { ambient, lit, p: camera.eye + dir * t, depth: index }
                };
                if still.p.len() > 1e4 {
                    still.p = v3(0.0, 0.0, -1e4);
                }
                bytes.extend_from_slice(&encoder.rgb(still.ambient + still.lit));
                stills.push(still);
            }
        }
        Self { stills, bytes, depths }
    }
}

struct Scene<'a> {
    camera: &'a Camera,
    lights: &'a Lights,
    ground: &'a Ground,
    prims: &'a [Prim],
    casters: &'a [Caster],
    overhead: &'a [Caster],
    sky: Lamp,
}

impl Scene<'_> {
    fn table(&self, p: V3) -> (V3, V3) {
        let (ambient, lit) = self.lights.table(self.ground.albedo(p.x, p.y), self.ground.falloff(p.x, p.y));
        let open = 1.0 - GROUND_SHADE * (1.0 - visible(self.overhead, &self.sky, p, None));
        (ambient * open, lit * visible(self.casters, &self.lights.lamp, p, None))
    }

    /// Distance, ambient part and lamp part of one ray.
    fn sample(&self, dir: V3, near: bool) -> (f32, V3, V3) {
        let mut t = table_hit(self.camera.eye, dir);
        let mut best = None;
        if near {
            for prim in self.prims {
                if let Some(hit) = prim.hit(prim.local_point(self.camera.eye), dir, t) {
                    t = hit.t;
                    best = Some((prim, hit));
                }
            }
        }
        match best {
            Some((prim, hit)) => {
                let p = self.camera.eye + dir * t;
                let to_eye = (-dir).unit();
                let dark = self.lights.shade(&prim.paint, hit.normal, to_eye, 0.0);
                let vis = visible(self.casters, &self.lights.lamp, p, Some(prim.body));
                let all = self.lights.shade(&prim.paint, hit.normal, to_eye, vis);
                (t, dark, all - dark)
            }
            None if t < 1e5 => {
                let (a, l) = self.table(self.camera.eye + dir * t);
                (t, a, l)
            }
            None => {
                let (a, _) = self.lights.table(v3(0.5, 0.5, 0.5), 1.0);
                (t, a, V3::ZERO)
            }
        }
    }
}
