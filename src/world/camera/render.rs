//! One frame: moving things over the cached background.

use super::Camera;
use super::background::{Background, GROUND_SHADE, Still, sky, table_hit};
use super::paint::{Encoder, Lights};
use super::prim::{Form, Paints, Prim, arm_prims, object_prims};
use super::shadow::{Caster, Lamp, shaded};
use crate::Frame;
use crate::world::arm::{self, JOINTS};
use crate::world::math::{Pose, V3, v3};
use crate::world::scene::SceneSpec;

/// Places of the eight samples of an edge pixel (an eight-queens pattern).
pub(crate) const SAMPLES: [(f32, f32); 8] = [
    (0.0625, 0.4375),
    (0.1875, 0.8125),
    (0.3125, 0.1875),
    (0.4375, 0.6875),
    (0.5625, 0.0625),
    (0.6875, 0.5625),
    (0.8125, 0.9375),
    (0.9375, 0.3125),
];

const TILE: usize = 8;

/// What a tile of 8 x 8 pixels has to look at: bit k = primitive k.
#[derive(Clone, Copy, Default)]
struct Tile {
    seen: u64,
    shaded: u64,
    covered: u64,
}

/// Draws frames of one scene at one size; keeps the background between frames.
pub struct Renderer {
    pub(super) spec: SceneSpec,
    pub(super) camera: Camera,
    lights: Lights,
    sky: Lamp,
    pub(super) paints: Paints,
    encoder: Encoder,
    pub(super) background: Background,
    pub(super) width: usize,
    pub(super) height: usize,
    ids: Vec<u16>,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renderer({}x{})", self.width, self.height)
    }
}

struct Shot<'a> {
    prims: &'a [Prim],
    origins: &'a [V3],
    casters: &'a [Caster],
    overhead: &'a [Caster],
}

impl Renderer {
    /// The size that [`Renderer::new`] takes: each side within 16..=1024.
    pub fn clamp_size(width: usize, height: usize) -> (usize, usize) {
        (width.clamp(16, 1024), height.clamp(16, 1024))
    }

    /// Prepares a scene for pictures of this size (clamped by [`Renderer::clamp_size`]).
    pub fn new(spec: &SceneSpec, width: usize, height: usize) -> Self {
        let (width, height) = Self::clamp_size(width, height);
        let camera = Camera::new(&spec.camera);
        let lights = Lights::new(&spec.light);
        let encoder = Encoder::new();
        let background = Background::new(spec, &camera, &lights, &encoder, width, height);
        Self {
            spec: spec.clone(),
            camera,
            lights,
            sky: sky(),
            paints: Paints::new(spec),
            encoder,
            background,
            width,
            height,
            ids: vec![0; width * height],
        }
    }

    /// Width and height of its pictures.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The picture of the arm at `joints` (degrees, gripper 0..100) and the objects at `objects`.
    pub fn render(&mut self, joints: &[f32; JOINTS], objects: &[Pose]) -> Frame {
        let joints = arm::clamp_joints(joints, &self.spec.start);
        let mut prims = Vec::with_capacity(24);
        arm_prims(&joints, &self.paints, true, &mut prims);
        object_prims(&self.spec, objects, &self.paints, &mut prims);
        prims.truncate(64);
        let origins: Vec<V3> = prims.iter().map(|p| p.local_point(self.camera.eye)).collect();
        let casters: Vec<Caster> = prims.iter().map(|p| Caster::new(p, &self.lights.lamp)).collect();
        let overhead: Vec<Caster> = prims.iter().map(|p| Caster::new(p, &self.sky)).collect();
        let shot = Shot { prims: &prims, origins: &origins, casters: &casters, overhead: &overhead };

        let across = self.width.div_ceil(TILE);
        let tiles = self.cull(&shot, across);
        let mut data = self.background.bytes.clone();
        let mut ids = std::mem::take(&mut self.ids);
        ids.fill(0);
        for (index, tile) in tiles.iter().enumerate() {
            if tile.seen | tile.shaded | tile.covered != 0 {
                self.first_pass(
                    &shot,
                    tile,
                    (index % across) * TILE,
                    (index / across) * TILE,
                    &mut ids,
                    &mut data,
                );
            }
        }
        for (index, tile) in tiles.iter().enumerate() {
            if tile.seen != 0 {
                self.second_pass(
                    &shot,
                    tile,
                    (index % across) * TILE,
                    (index / across) * TILE,
                    &ids,
                    &mut data,
                );
            }
        }
        self.ids = ids;
        Frame { width: self.width, height: self.height, data }
    }

    /// Which tiles each primitive can touch, by itself, by its shadow, and by darkening the table below it.
    fn cull(&self, shot: &Shot<'_>, across: usize) -> Vec<Tile> {
        let down = self.height.div_ceil(TILE);
        let mut tiles = vec![Tile::default(); across * down];
        let high = self.spec.bowl.map_or(0.0, |b| b.height);
        let l = self.lights.lamp.l;
        for (k, prim) in shot.prims.iter().enumerate() {
            let half = match prim.form {
                Form::Box(h, _) => h,
                Form::Cylinder(r, h, _) | Form::Cup(r, _, h, _) => v3(r, r, h),
                Form::Capsule(r, h) => v3(r, r, h + r),
            };
            let (mut seen, mut shaded, mut covered) = (Bounds::NONE, Bounds::NONE, Bounds::NONE);
            for i in 0..8u8 {
                let s = |bit: u8, v: f32| if i & bit != 0 { v } else { -v };
                let c = prim.at.point(v3(s(1, half.x), s(2, half.y), s(4, half.z)));
                seen.add(self.camera.project(c, self.width, self.height), 1.0);
                for z in [0.0, high] {
                    let lift = (c.z - z).max(0.0);
                    let p = (c - l * (lift / l.z)).at_height(z);
                    let blur = (self.lights.lamp.blur(lift / l.z * 1.3 + 0.01) + 0.002).min(0.04);
                    shaded.add(
                        self.camera.project(p, self.width, self.height),
                        self.camera.reach(p, blur, self.height),
                    );
                    let p = c.at_height(z);
                    let blur = (self.sky.blur(lift * 1.3 + 0.01) + 0.002).min(0.04);
                    covered.add(
                        self.camera.project(p, self.width, self.height),
                        self.camera.reach(p, blur, self.height),
                    );
                    if high == 0.0 {
                        break;
                    }
                }
            }
            let bit = 1u64 << k;
            seen.mark(across, down, |i| tiles[i].seen |= bit);
            shaded.mark(across, down, |i| tiles[i].shaded |= bit);
            // Only what is near the table darkens it from above.
            if prim.at.p.z < 0.16 {
                covered.mark(across, down, |i| tiles[i].covered |= bit);
            }
        }
        tiles
    }

    /// The background's colour under this frame's shadows.
    fn ground(&self, shot: &Shot<'_>, tile: &Tile, still: &Still) -> V3 {
        let mut vis = 1.0;
        if tile.shaded != 0 {
            vis = 1.0 - shaded(shot.casters, tile.shaded, &self.lights.lamp, still.p, None);
        }
        let mut open = 1.0;
        if tile.covered != 0 {
            open = 1.0 - GROUND_SHADE * shaded(shot.overhead, tile.covered, &self.sky, still.p, None);
        }
        still.ambient * open + still.lit * vis
    }

    #[inline]
    fn nearest(&self, shot: &Shot<'_>, seen: u64, dir: V3, mut t: f32) -> Option<(usize, super::prim::Hit)> {
        let mut best = None;
        let mut bits = seen;
        while bits != 0 {
            let k = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(hit) = shot.prims[k].hit(shot.origins[k], dir, t) {
                t = hit.t;
                best = Some((k, hit));
            }
        }
        best
    }

    fn first_pass(
        &self,
        shot: &Shot<'_>,
        tile: &Tile,
        x0: usize,
        y0: usize,
        ids: &mut [u16],
        data: &mut [u8],
    ) {
        let (w, h) = (self.width as f32, self.height as f32);
        for y in y0..(y0 + TILE).min(self.height) {
            for x in x0..(x0 + TILE).min(self.width) {
                let at = y * self.width + x;
                let still = &self.background.stills[at];
                let mut hit = None;
                let dir = self.camera.ray(x as f32 + 0.5, y as f32 + 0.5, w, h);
                if tile.seen != 0 {
                    let far = match self.background.depths.get(still.depth as usize) {
                        Some(d) => d[8],
                        None => table_hit(self.camera.eye, dir),
                    };
                    hit = self.nearest(shot, tile.seen, dir, far);
                }
                let colour = match hit {
                    Some((k, hit)) => {
                        ids[at] = (k as u16) * 8 + hit.face as u16 + 1;
                        let prim = &shot.prims[k];
                        let p = self.camera.eye + dir * hit.t;
                        let vis = 1.0 - shaded(shot.casters, u64::MAX, &self.lights.lamp, p, Some(prim.body));
                        self.lights.shade(&prim.paint, hit.normal, (-dir).unit(), vis)
                    }
                    None => self.ground(shot, tile, still),
                };
                data[at * 3..at * 3 + 3].copy_from_slice(&self.encoder.rgb(colour));
            }
        }
    }

    /// Pixels at edges get eight samples.
    fn second_pass(&self, shot: &Shot<'_>, tile: &Tile, x0: usize, y0: usize, ids: &[u16], data: &mut [u8]) {
        let (w, h) = (self.width as f32, self.height as f32);
        for y in y0..(y0 + TILE).min(self.height) {
            for x in x0..(x0 + TILE).min(self.width) {
                let at = y * self.width + x;
                if !self.edge(ids, x, y) {
                    continue;
                }
                let still = &self.background.stills[at];
                let ground = self.ground(shot, tile, still);
                let depths = self.background.depths.get(still.depth as usize);
                let mut sum = V3::ZERO;
                // Shadows are smooth: one look per primitive and pixel is enough.
                let mut known: [(usize, f32); 4] = [(usize::MAX, 0.0); 4];
                let mut count = 0;
                for (k, s) in SAMPLES.iter().enumerate() {
                    let dir = self.camera.ray(x as f32 + s.0, y as f32 + s.1, w, h);
                    let far = depths.map_or_else(|| table_hit(self.camera.eye, dir), |d| d[k]);
                    let Some((id, hit)) = self.nearest(shot, tile.seen, dir, far) else {
                        sum += ground;
                        continue;
                    };
                    let prim = &shot.prims[id];
                    let vis = match known.iter().find(|v| v.0 == id) {
                        Some(v) => v.1,
                        None => {
                            let p = self.camera.eye + dir * hit.t;
                            let vis =
                                1.0 - shaded(shot.casters, u64::MAX, &self.lights.lamp, p, Some(prim.body));
                            known[count % 4] = (id, vis);
                            count += 1;
                            vis
                        }
                    };
                    sum += self.lights.shade(&prim.paint, hit.normal, (-dir).unit(), vis);
                }
                data[at * 3..at * 3 + 3].copy_from_slice(&self.encoder.rgb(sum * 0.125));
            }
        }
    }

    #[inline]
    fn edge(&self, ids: &[u16], x: usize, y: usize) -> bool {
        let (w, h) = (self.width, self.height);
        let id = ids[y * w + x];
        let (xa, xb) = (x.saturating_sub(1), (x + 1).min(w - 1));
        let (ya, yb) = (y.saturating_sub(1), (y + 1).min(h - 1));
        (ya..=yb).any(|v| ids[v * w + xa..=v * w + xb].iter().any(|&o| o != id))
    }
}

/// A rectangle of pixels that grows.
struct Bounds {
    x: (f32, f32),
    y: (f32, f32),
}

impl Bounds {
    const NONE: Bounds = Bounds { x: (1e9, -1e9), y: (1e9, -1e9) };

    fn add(&mut self, p: Option<[f32; 2]>, r: f32) {
        let Some([x, y]) = p else {
            *self = Bounds { x: (-1e9, 1e9), y: (-1e9, 1e9) };
            return;
        };
        self.x = (self.x.0.min(x - r), self.x.1.max(x + r));
        self.y = (self.y.0.min(y - r), self.y.1.max(y + r));
    }

    fn mark(&self, across: usize, down: usize, mut each: impl FnMut(usize)) {
        let first = |v: f32| (v / TILE as f32).floor().max(0.0);
        let (x0, y0) = (first(self.x.0) as usize, first(self.y.0) as usize);
        let (x1, y1) = ((self.x.1 / TILE as f32).floor(), (self.y.1 / TILE as f32).floor());
        if x1 < 0.0 || y1 < 0.0 {
            return;
        }
        for y in y0..=(y1 as usize).min(down.wrapping_sub(1)) {
            for x in x0..=(x1 as usize).min(across.wrapping_sub(1)) {
                if x < across && y < down {
                    each(y * across + x);
                }
            }
        }
    }
}
